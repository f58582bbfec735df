//! Random lives of an account, compared step by step with a simple model, with
//! restarts in between and the open questions of 1Fichier played differently
//! each time.
//!
//! `MODEL_SEQUENCES` sets how many lives are led (100 by default, 2,000 in the
//! nightly run), `MODEL_SEED` where they begin. A failure is cut down to the
//! steps that it needs and printed with its seed; with `MODEL_ALL=1` every life
//! is led, and those that fail are only named.

mod act;
mod beside;
mod compare;
mod crowd;
mod lost;
mod run;
mod step;
mod tree;

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use pluton_fichier::emulator::{
    Behaviour, DatesOnMove, ListingLag, MvRename, MvSameFolder, Options, RenameSameName,
    UrlStability,
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

/// A life that can be led again with less in it.
trait Lead: Clone {
    fn len(&self) -> usize;
    fn cut(&mut self, part: Range<usize>);
    fn told(&self) -> String;
    /// How much of it there was, or what went wrong.
    async fn lead(&self) -> Result<usize, String>;
}

impl Lead for Life {
    fn len(&self) -> usize {
        self.steps.len()
    }

    fn cut(&mut self, part: Range<usize>) {
        self.steps.drain(part);
    }

    fn told(&self) -> String {
        format!("{:#?}", self.steps)
    }

    async fn lead(&self) -> Result<usize, String> {
        run(self).await
    }
}

impl Lead for beside::Life {
    fn len(&self) -> usize {
        self.events.len()
    }

    fn cut(&mut self, part: Range<usize>) {
        self.events.drain(part);
    }

    fn told(&self) -> String {
        format!("{:#?}", self.events)
    }

    async fn lead(&self) -> Result<usize, String> {
        beside::run(self).await
    }
}

/// The shortest life found that still fails.
async fn shorten<L: Lead>(mut failing: L, mut error: String) -> (L, String) {
    let mut size = failing.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < failing.len() {
            let mut shorter = failing.clone();
            shorter.cut(at..(at + size).min(failing.len()));
            match shorter.lead().await {
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

/// A life in which listings or new links may lag, and answers are lost.
fn late_life(seed: u64) -> (Life, String) {
    let mut random = Rng::with_seed(seed ^ 0x6c61_7465);
    let (mut options, text) = upstream(&mut random);
    let behaviour = &mut options.behaviour;
    behaviour.listing_lag = ListingLag::Everything;
    behaviour.index_delay = Duration::from_secs([0, 3, 10, 20][random.usize(..4)]);
    behaviour.url_delay = Duration::from_secs([0, 0, 2][random.usize(..3)]);
    let text = format!(
        "{text}, listings lag {:?}, links {:?}",
        behaviour.index_delay, behaviour.url_delay
    );
    let mut steps = Vec::new();
    for _ in 0..STEPS {
        let step = Step::random(&mut random);
        steps.push(match random.u8(..6) {
            0 if !step.changing_calls().is_empty() => step.lost(&mut random),
            _ => step,
        });
    }
    (Life { options, steps }, text)
}

async fn lives<L: Lead>(part: u64, life: fn(u64) -> (L, String)) {
    let count = number_of("MODEL_SEQUENCES", 100);
    let first = number_of("MODEL_SEED", 0);
    let all = number_of("MODEL_ALL", 0) > 0;
    let (mut steps, mut led, mut failed) = (0, 0, 0);
    for seed in (first..first + count).filter(|seed| seed % 2 == part) {
        let (life, text) = life(seed);
        match life.lead().await {
            Ok(done) => steps += done,
            Err(error) if all => {
                println!("seed {seed} ({text}): {error:.1000}\n");
                failed += 1;
            }
            Err(error) => {
                let (life, error) = shorten(life, error).await;
                let steps = life.told();
                panic!("seed {seed}: {error}\nupstream: {text}\nsteps: {steps}");
            }
        }
        led += 1;
    }
    println!("{led} lives of {steps} steps, {failed} do not agree with the model");
    assert_eq!(failed, 0);
    assert!(count < 20 || steps > led * 15);
}

#[tokio::test(start_paused = true)]
async fn random_lives_agree_with_the_model_one() {
    lives(0, life).await;
}

#[tokio::test(start_paused = true)]
async fn random_lives_agree_with_the_model_two() {
    lives(1, life).await;
}

#[tokio::test(start_paused = true)]
async fn late_lives_agree_with_the_model_one() {
    lives(0, late_life).await;
}

#[tokio::test(start_paused = true)]
async fn late_lives_agree_with_the_model_two() {
    lives(1, late_life).await;
}

#[tokio::test(start_paused = true)]
async fn lives_alone_are_right_by_the_rules_for_two_programs() {
    lives(0, beside::life_alone).await;
}

#[tokio::test(start_paused = true)]
async fn lives_beside_another_program_are_right_one() {
    lives(0, beside::life).await;
}

#[tokio::test(start_paused = true)]
async fn lives_beside_another_program_are_right_two() {
    lives(1, beside::life).await;
}
