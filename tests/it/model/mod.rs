//! Random lives of an account, compared step by step with a simple model, with
//! restarts in between and the open questions of 1Fichier played differently
//! each time.
//!
//! `MODEL_SEQUENCES` sets how many lives are led (100 by default, 2,000 in the
//! nightly run), `MODEL_SEED` where they begin. A failure is cut down to the
//! steps that it needs and printed with its seed.

mod crowd;
mod run;
mod step;
mod tree;

use fastrand::Rng;
use pluton_fichier::emulator::{
    Behaviour, DatesOnMove, MvRename, MvSameFolder, Options, RenameSameName, UrlStability,
};

use crate::upstream_matrix::switches;
use run::{Life, run};
use step::Step;

/// Sizes of the contents; two of them have the same, and one streams.
const CONTENTS: [usize; 5] = [1, 300, 300, 5_000, 70_000];
/// Content of at least this size streams in these tests.
const STREAM_FROM: u64 = 64 << 10;
const STEPS: usize = 30;

fn bytes_of(content: usize) -> Vec<u8> {
    let mut bytes = content_of_size(CONTENTS[content]);
    // Equal sizes do not mean equal bytes.
    bytes[0] = content as u8;
    bytes
}

fn content_of_size(size: usize) -> Vec<u8> {
    crate::harness::content(size)
}

fn number_of(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// How 1Fichier plays this life, and whether its limits are on.
fn upstream(random: &mut Rng) -> (Options, String) {
    let mut options = Options::default();
    let mut names = Vec::new();
    let all = switches();
    for _ in 0..random.usize(0..5) {
        let (name, change) = &all[random.usize(..all.len())];
        change(&mut options.behaviour);
        names.push(name.clone());
    }
    let behaviour: &mut Behaviour = &mut options.behaviour;
    if random.bool() {
        behaviour.mv_rename = MvRename::IgnoresDestination;
    }
    if random.bool() {
        behaviour.mv_same_folder = MvSameFolder::Ignore;
    }
    if random.bool() {
        behaviour.url_stability = UrlStability::Changes;
    }
    if random.bool() {
        behaviour.rename_same_name = RenameSameName::Accept;
    }
    behaviour.dates_on_move = [
        DatesOnMove::KeptByMove,
        DatesOnMove::AlwaysNew,
        DatesOnMove::AlwaysKept,
    ][random.usize(..3)];
    let limited = random.bool();
    if !limited {
        options.limits = pluton_fichier::emulator::Limits::none();
    }
    let text = format!(
        "limits {limited}, {names:?}, {:?} {:?} {:?} {:?} {:?}",
        options.behaviour.mv_rename,
        options.behaviour.mv_same_folder,
        options.behaviour.url_stability,
        options.behaviour.rename_same_name,
        options.behaviour.dates_on_move,
    );
    (options, text)
}

fn life(seed: u64) -> (Life, String) {
    let mut random = Rng::with_seed(seed);
    let (options, text) = upstream(&mut random);
    let steps = (0..STEPS).map(|_| Step::random(&mut random)).collect();
    (Life { options, steps }, text)
}

/// The shortest life found that still fails.
async fn shorten(mut failing: Life, mut error: String) -> (Life, String) {
    let mut size = failing.steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < failing.steps.len() {
            let mut shorter = failing.clone();
            shorter
                .steps
                .drain(at..(at + size).min(failing.steps.len()));
            match run(&shorter).await {
                Err(other) => {
                    failing = shorter;
                    error = other;
                }
                Ok(_) => at += size,
            }
        }
        size /= 2;
    }
    (failing, error)
}

async fn lives(part: u64) {
    let count = number_of("MODEL_SEQUENCES", 100);
    let first = number_of("MODEL_SEED", 0);
    let (mut steps, mut led) = (0, 0);
    for seed in (first..first + count).filter(|seed| seed % 2 == part) {
        let (life, text) = life(seed);
        match run(&life).await {
            Ok(done) => steps += done,
            Err(error) => {
                let (life, error) = shorten(life, error).await;
                panic!(
                    "seed {seed}: {error}\nupstream: {text}\nsteps: {:#?}",
                    life.steps
                );
            }
        }
        led += 1;
    }
    println!("{led} lives of {steps} steps agree with the model");
    assert!(count < 20 || steps > led * 15);
}

#[tokio::test(start_paused = true)]
async fn random_lives_agree_with_the_model_one() {
    lives(0).await;
}

#[tokio::test(start_paused = true)]
async fn random_lives_agree_with_the_model_two() {
    lives(1).await;
}
