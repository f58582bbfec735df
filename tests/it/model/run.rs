//! Leads a life against the server, and against the model.

use std::time::Duration;

use pluton_fichier::emulator::{Options, Request};
use pluton_fichier::encoding::{Mask, NameCodec};
use pluton_fichier::fichier::Limits;
use pluton_fichier::proto::*;
use tonic::Status;

use super::step::{Step, Write};
use super::tree::Tree;
use super::{CONTENTS, STREAM_FROM, bytes_of};
use crate::harness::*;

/// An account and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) options: Options,
    pub(super) steps: Vec<Step>,
}

pub(super) struct Runner {
    pub(super) world: World,
    pub(super) tree: Tree,
    /// What the account may hold instead of `tree`, while a request has no
    /// outcome; nothing otherwise.
    pub(super) open: Vec<Tree>,
    /// Steps since a request had no outcome.
    pub(super) unsettled: u32,
    /// Whirlpool checksums of the contents.
    sums: Vec<String>,
    pub(super) requests: u64,
}

pub(super) fn codec() -> NameCodec {
    NameCodec::new(Mask::FICHIER)
}

pub(super) fn wire(mode: Write) -> i32 {
    match mode {
        Write::Replace => WriteMode::Replace,
        Write::CreateOnly => WriteMode::CreateOnly,
        Write::KeepBoth => WriteMode::KeepBoth,
    }
    .into()
}

/// The reason of a failure. Two names for what is wrong with a path are one here.
pub(super) fn told(status: Status) -> String {
    let reason = reason(&status);
    if matches!(
        reason.as_str(),
        "UPSTREAM_UNAVAILABLE" | "UPSTREAM_PROTOCOL" | "INTERNAL_ERROR" | "UPSTREAM_LOCKED"
    ) {
        return format!("{reason}: {}", status.message());
    }
    reason
}

/// Does the steps; how many it did, or what went wrong.
pub(super) async fn run(life: &Life) -> Result<usize, String> {
    let mut runner = Runner::start(&life.options).await;
    for (number, step) in life.steps.iter().enumerate() {
        let at = |error: String| format!("step {number}, {step:?}: {error}");
        if !runner.is_settled() && !runner.is_patient() {
            runner.settle().await.map_err(at)?;
        }
        let done = match runner.is_settled() {
            true => runner.step(step).await,
            false => runner.go_on(step).await,
        };
        done.map_err(at)?;
    }
    runner.settle().await?;
    // Whatever was only remembered is asked for anew now.
    tokio::time::sleep(Duration::from_secs(700)).await;
    runner.compare_listing().await?;
    runner.compare_upstream()?;
    runner.no_floods()?;
    Ok(life.steps.len())
}

impl Runner {
    /// A server and an account that is played like this.
    pub(super) async fn start(options: &Options) -> Self {
        let limited = options.limits != pluton_fichier::emulator::Limits::none();
        let world = build(options.clone(), |config| {
            config.uploads.stream_from = STREAM_FROM;
            if !limited {
                config.limits = Limits::none();
            }
        })
        .await;
        let sums = (0..CONTENTS.len())
            .map(|content| whirlpool(&bytes_of(content)))
            .collect();
        Self {
            world,
            tree: Tree::default(),
            open: Vec::new(),
            unsettled: 0,
            sums,
            requests: 0,
        }
    }

    /// Does a step, and compares everything with the model.
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        self.learn_order().await?;
        if let Step::Lost {
            step,
            effect,
            restart,
        } = step
        {
            return self.lose(step, *effect, *restart).await;
        }
        let before = self.tree.clone();
        let expected = self.tree.apply(step);
        let got = self.act(step).await;
        if got != expected {
            return Err(format!(
                "{got:?} instead of {expected:?}\nbefore it: {before:#?}"
            ));
        }
        let mut compared = self.compare().await;
        // An older version whose link is not known yet goes later.
        if !self.world.control.behaviour().url_delay.is_zero() {
            for seconds in [10, 200] {
                if compared.is_err() {
                    self.world.idle(Duration::from_secs(seconds)).await;
                    compared = self.compare().await;
                }
            }
        }
        compared.map_err(|error| format!("{error}\nbefore it: {before:#?}"))
    }

    async fn compare(&self) -> Result<(), String> {
        self.compare_listing().await?;
        self.compare_upstream()
    }

    pub(super) fn no_floods(&self) -> Result<(), String> {
        match self.world.control.calls().floods() {
            0 => Ok(()),
            floods => Err(format!("{floods} floods: {}", self.calls())),
        }
    }

    pub(super) fn content(&self, sum: &str) -> String {
        match self.sums.iter().position(|known| known == sum) {
            Some(content) => format!("content {content}"),
            None => format!("unknown content {sum}"),
        }
    }

    pub(super) fn entry(&self, entry: Option<Entry>) -> String {
        let entry = entry.expect("an entry");
        if entry.r#type() == EntryType::Directory {
            return "directory".to_owned();
        }
        let whirlpool = |sum: &&Checksum| sum.algorithm() == HashAlgorithm::Whirlpool;
        let sum = entry
            .checksums
            .iter()
            .find(whirlpool)
            .map(|sum| sum.hex.as_str());
        self.content(sum.unwrap_or_default())
    }

    /// Which of several files the server means by a path.
    async fn learn_order(&mut self) -> Result<(), String> {
        let several: Vec<String> = self
            .tree
            .files
            .iter()
            .filter(|(_, files)| files.len() > 1)
            .map(|(path, _)| path.clone())
            .collect();
        for path in several {
            let seen = self.world.stat(&path).await.map_err(told)?;
            let seen = self.entry(Some(seen));
            let files = self.tree.files.get_mut(&path).expect("it was there");
            let at = files
                .iter()
                .position(|content| seen == format!("content {content}"))
                .ok_or_else(|| format!("{path:?} has {seen} and not one of {files:?}"))?;
            files[..=at].rotate_right(1);
        }
        Ok(())
    }

    /// What was called when, for a failure's report.
    pub(super) fn calls(&self) -> String {
        let requests = self.world.control.last_requests();
        let start = requests.first().map(|request| request.at);
        let line = |request: &Request| {
            let at = start.map_or(0.0, |start| (request.at - start).as_secs_f64());
            format!("\n{at:.3} {} {}", request.endpoint, request.body)
        };
        requests.iter().map(line).collect()
    }
}
