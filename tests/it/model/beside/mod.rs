//! Lives in which another program changes the same account at any time: what is
//! there is no longer known from what was asked for. So each request is judged
//! by what the account held before and after it, and by what the server may
//! have remembered. At the end, after a while in which nobody does anything, the
//! server and the account agree.

mod account;
mod judge;
mod memory;
mod others;
mod removed;
mod stored;

#[cfg(test)]
mod judge_tests;
#[cfg(test)]
mod memory_tests;

use std::time::Duration;

use fastrand::Rng;
use pluton_fichier::emulator::{ListingLag, Options, UnknownParent, UrlStability};
use pluton_fichier::proto::*;
use serde_json::Value;
use tokio::time::Instant;

use self::account::Account;
use self::judge::Case;
use self::memory::{Age, Memory};
use self::others::Act;
use super::compare::shown_path;
use super::run::{Runner, told};
use super::step::Step;
use super::tree::Outcome;
use crate::harness::list;

const STEPS: usize = 50;
/// Until where files landed was asked for.
const LANDED: Duration = Duration::from_secs(70);
/// Until what could not be removed was tried again.
const KNOWN: Duration = Duration::from_secs(210);
/// Nothing that is remembered counts any more, and nothing is on its way.
const LATER: Duration = Duration::from_secs(1_500);

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Client(Step),
    /// A listing that is not to be taken from memory.
    List {
        path: String,
        recursive: bool,
    },
    Others(Act),
}

/// An account, and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct Life {
    options: Options,
    pub(super) events: Vec<Event>,
}

/// The same names more often.
fn nearer(text: &str) -> String {
    text.replace(" é ", "a").replace('＄', "b")
}

fn near(step: Step) -> Step {
    match step {
        Step::Put {
            path,
            content,
            mode,
            parents,
            sized,
            twice,
        } => Step::Put {
            path: nearer(&path),
            content,
            mode,
            parents,
            sized,
            twice,
        },
        Step::Get { path } => Step::Get {
            path: nearer(&path),
        },
        Step::Stat { path } => Step::Stat {
            path: nearer(&path),
        },
        Step::Hash { path } => Step::Hash {
            path: nearer(&path),
        },
        Step::List {
            path,
            recursive,
            page_size,
        } => Step::List {
            path: nearer(&path),
            recursive,
            page_size,
        },
        Step::Delete {
            paths,
            allow_missing,
        } => Step::Delete {
            paths: paths.iter().map(|path| nearer(path)).collect(),
            allow_missing,
        },
        Step::Mkdir { path, parents } => Step::Mkdir {
            path: nearer(&path),
            parents,
        },
        Step::Rmdir {
            path,
            allow_missing,
        } => Step::Rmdir {
            path: nearer(&path),
            allow_missing,
        },
        Step::Copy { from, to, mode } => Step::Copy {
            from: nearer(&from),
            to: nearer(&to),
            mode,
        },
        Step::Move { from, to, mode } => Step::Move {
            from: nearer(&from),
            to: nearer(&to),
            mode,
        },
        Step::MoveDir { from, to } => Step::MoveDir {
            from: nearer(&from),
            to: nearer(&to),
        },
        Step::Purge { path, dry } => Step::Purge {
            path: nearer(&path),
            dry,
        },
        Step::Dedupe { path, identical } => Step::Dedupe {
            path: nearer(&path),
            identical,
        },
        other => other,
    }
}

/// Requests as in other lives; those that are judged.
fn request(random: &mut Rng) -> Step {
    loop {
        let step = near(Step::random(random));
        let other = matches!(
            step,
            Step::PutMany { .. } | Step::OthersPut { .. } | Step::OthersRemove { .. }
        );
        if !other {
            return step;
        }
    }
}

pub(super) fn life(seed: u64) -> (Life, String) {
    let mut random = Rng::with_seed(seed ^ 0x6f74_6865_7273);
    let (mut options, text) = super::upstream(&mut random);
    let behaviour = &mut options.behaviour;
    // A folder that is made in one that others have just removed would be made in
    // the root, and no call tells.
    behaviour.unknown_parent = UnknownParent::default();
    // Files are known by their links here.
    behaviour.url_stability = UrlStability::Stable;
    behaviour.listing_lag = ListingLag::Everything;
    behaviour.index_delay = Duration::from_secs([0, 0, 3, 10][random.usize(..4)]);
    behaviour.url_delay = Duration::from_secs([0, 0, 0, 2][random.usize(..4)]);
    let text = format!(
        "{text}, listings lag {:?}, links {:?}",
        behaviour.index_delay, behaviour.url_delay
    );
    let mut events = Vec::new();
    for _ in 0..STEPS {
        events.push(match random.u8(..100) {
            0..24 => Event::Others(Act::random(&mut random)),
            24..36 => {
                let seconds = [1, 10, 31, 36, 45, 62, 100, 301, 700][random.usize(..9)];
                Event::Client(Step::Wait { seconds })
            }
            36..42 => Event::List {
                path: match random.bool() {
                    true => String::new(),
                    false => "a".to_owned(),
                },
                recursive: random.bool(),
            },
            _ => Event::Client(request(&mut random)),
        });
    }
    (Life { options, events }, text)
}

/// The same without the other program, and without lag: nothing is left to
/// memory, and the rules must say so.
pub(super) fn life_alone(seed: u64) -> (Life, String) {
    let (mut life, text) = life(seed);
    life.options.behaviour.index_delay = Duration::ZERO;
    life.options.behaviour.url_delay = Duration::ZERO;
    life.events
        .retain(|event| !matches!(event, Event::Others(_)));
    (life, text)
}

/// The reason in a failure of one path.
fn reason_of(outcome: Outcome) -> Outcome {
    outcome.map_err(|text| {
        let reason = text
            .strip_prefix("PathFailure")
            .and_then(|text| text.split("reason: \"").nth(1))
            .and_then(|text| text.split('"').next());
        reason.map_or(text.clone(), str::to_owned)
    })
}

struct Beside {
    runner: Runner,
    memory: Memory,
    limited: bool,
    /// Requests of before are known.
    looked: Instant,
}

/// Lives it; how many events there were, or what was wrong.
pub(super) async fn run(life: &Life) -> Result<usize, String> {
    let runner = Runner::start(&life.options).await;
    let lag = life.options.behaviour.index_delay;
    let mut beside = Beside {
        memory: Memory::new(Account::now(&runner), lag),
        limited: life.options.limits != pluton_fichier::emulator::Limits::none(),
        looked: Instant::now(),
        runner,
    };
    for (number, event) in life.events.iter().enumerate() {
        let done = beside.happen(event).await;
        done.map_err(|error| format!("event {number}, {event:?}: {error}"))?;
    }
    beside.runner.world.idle(LATER).await;
    beside.nothing_by_itself()?;
    beside.agree().await?;
    beside.runner.no_floods()?;
    Ok(life.events.len())
}

impl Beside {
    /// Nothing but requests and others change the account.
    fn nothing_by_itself(&self) -> Result<(), String> {
        let now = Account::now(&self.runner);
        if now == *self.memory.last() {
            return Ok(());
        }
        let was = self.memory.last();
        Err(format!("the server has changed {was:?}\ninto {now:?}"))
    }

    fn is_lagging(&self) -> bool {
        !self.runner.world.control.behaviour().index_delay.is_zero()
    }

    fn late_links(&self) -> bool {
        !self.runner.world.control.behaviour().url_delay.is_zero()
    }

    async fn happen(&mut self, event: &Event) -> Result<(), String> {
        // Nothing happens at the very moment of something else.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.nothing_by_itself()?;
        match event {
            Event::Others(act) => {
                let control = self.runner.world.control.clone();
                act.perform(&control, self.memory.last(), &self.memory);
                let account = Account::now(&self.runner);
                self.memory.others_did(account, act.late);
                Ok(())
            }
            Event::List { path, recursive } => self.list(path, *recursive).await,
            Event::Client(step) => self.ask(step).await,
        }
    }

    async fn ask(&mut self, step: &Step) -> Result<(), String> {
        let asked = Instant::now();
        let got = reason_of(self.runner.act(step).await);
        self.learn_listings();
        let mut after = Account::now(&self.runner);
        if got.is_err() && after != *self.memory.last() {
            // What had left before it failed still ends, and what was made for it
            // goes again.
            tokio::time::sleep(Duration::from_secs(5)).await;
            after = Account::now(&self.runner);
        }
        let mut judged = self.judge(step, &got, &after, asked);
        if judged.as_ref().is_err_and(|wrong| wrong.may_come_right) {
            let later = if self.late_links() { KNOWN } else { LANDED };
            let lag = self.runner.world.control.behaviour().index_delay;
            tokio::time::sleep(later + lag).await;
            after = Account::now(&self.runner);
            judged = self.judge(step, &got, &after, asked);
        }
        judged.map_err(|wrong| {
            let (what, calls) = (wrong.what, self.runner.calls());
            let held = self.memory.last().paths();
            format!("{got:?}: {what}\nbefore it: {held:?}\ncalls: {calls}")
        })?;
        self.memory.server_did(after);
        Ok(())
    }

    fn judge(
        &self,
        step: &Step,
        got: &Outcome,
        after: &Account,
        asked: Instant,
    ) -> Result<(), judge::Wrong> {
        let case = Case {
            memory: &self.memory,
            before: self.memory.last(),
            after,
            asked,
            untold: self.limited || self.late_links() || self.is_lagging(),
            late_links: self.late_links(),
        };
        match (step, got) {
            (
                Step::List {
                    path, recursive, ..
                },
                Ok(text),
            ) => {
                let shown: Vec<String> = serde_json::from_str(text).expect("paths");
                let listed = case.listed(path, *recursive, &shown, Age::Read);
                listed.map_err(|what| judge::Wrong {
                    what,
                    may_come_right: false,
                })
            }
            _ => case.judge(step, got),
        }
    }

    /// What 1Fichier has listed since the last request.
    fn learn_listings(&mut self) {
        for request in self.runner.world.control.last_requests() {
            if request.at < self.looked || !request.endpoint.ends_with("/ls") {
                continue;
            }
            let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
            let folder = body["folder_id"].as_u64().unwrap_or(0);
            self.memory.was_listed(folder, request.at);
        }
        self.looked = Instant::now();
    }

    /// A listing that must tell the truth, if 1Fichier allows one.
    async fn list(&mut self, path: &str, recursive: bool) -> Result<(), String> {
        let asked = Instant::now();
        let shown = self.shown(path, recursive, Some(prost_types::Duration::default()));
        let shown = shown.await;
        self.learn_listings();
        let after = Account::now(&self.runner);
        let case = Case {
            memory: &self.memory,
            before: self.memory.last(),
            after: &after,
            asked,
            untold: self.limited || self.late_links() || self.is_lagging(),
            late_links: self.late_links(),
        };
        let judged = match &shown {
            Ok(shown) => {
                // The way to a directory may be taken from memory.
                let from_memory = self.limited || !path.is_empty();
                let age = if from_memory { Age::Read } else { Age::Listed };
                case.listed(path, recursive, shown, age)
            }
            Err(reason) => {
                let step = Step::List {
                    path: path.to_owned(),
                    recursive,
                    page_size: 0,
                };
                let judged = case.judge(&step, &reason_of(Err(reason.clone())));
                judged.map_err(|wrong| wrong.what)
            }
        };
        let calls = self.runner.calls();
        judged.map_err(|what| {
            let held = self.memory.last().paths();
            format!("{shown:?}: {what}\nheld: {held:?}\ncalls: {calls}")
        })
    }

    async fn shown(
        &self,
        path: &str,
        recursive: bool,
        max_staleness: Option<prost_types::Duration>,
    ) -> Result<Vec<String>, String> {
        let request = ListRequest {
            path: path.to_owned(),
            recursive,
            max_staleness,
            ..ListRequest::default()
        };
        let pages = list(&self.runner.world.client, request).await;
        let mut shown = Vec::new();
        for page in pages.map_err(told)? {
            if let Some(failed) = page.failures.first() {
                return Err(format!("{failed:?}"));
            }
            shown.extend(page.entries.iter().map(shown_path));
        }
        Ok(shown)
    }

    /// The server shows exactly what is there.
    async fn agree(&self) -> Result<(), String> {
        let mut shown = self.shown("", true, None).await?;
        shown.sort();
        let mut held = self.memory.last().paths();
        // Files that share a path are shown as one.
        held.dedup();
        if shown != held {
            return Err(format!("in the end it shows {shown:?} instead of {held:?}"));
        }
        for path in held.iter().filter(|path| !path.ends_with('/')) {
            let got = self.runner.world.get(path).await.map_err(told)?;
            let got = self
                .runner
                .content(&crate::harness::whirlpool(&got.content));
            let account = self.memory.last();
            let mut contents = account
                .files_at(path)
                .map(|url| &account.files[url].content);
            if !contents.any(|content| *content == got) {
                return Err(format!("in the end {path:?} is read as {got}"));
            }
        }
        Ok(())
    }
}
