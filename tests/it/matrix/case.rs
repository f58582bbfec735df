//! One operation that meets one fault, and what must hold then.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use pluton_fichier::emulator::{Fault, FaultKind, NodeKind};
use pluton_fichier::proto::*;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::kinds::Trouble;
use super::operation::Operation;
use crate::harness::*;

/// No operation takes longer, whatever it meets: the waits that the
/// documentation names, one after the other.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Rounds in which what is left over must be cleared up, each longer than the
/// one before.
const ROUNDS: u32 = 5;

/// One directory, in which one operation is done once.
pub(super) struct Case<'a> {
    pub(super) world: &'a World,
    pub(super) operation: Operation,
    pub(super) root: String,
}

/// At which call the fault is met.
#[derive(Clone, Copy, Debug)]
pub(super) enum At<'a> {
    /// This one of those to an endpoint, from 0.
    Call(u32, &'a str),
    /// Every one to an endpoint.
    Each(&'a str),
}

/// How it ended as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing of the fault.
    Nothing,
    /// A failure with this reason.
    Failure(String),
    /// There was no such call this time.
    Unmet,
}

/// What is below a directory: each path, as often as it is there, with what is
/// known of it.
pub(super) type Held = Vec<(String, String)>;

impl Case<'_> {
    pub(super) fn held(&self) -> Held {
        let control = &self.world.control;
        let prefix = format!("{}/", self.root);
        let linked = matches!(
            self.operation,
            Operation::LinkPassword | Operation::LinkDirectory | Operation::LinkRevoke
        );
        let mut held: Held = control
            .tree()
            .into_iter()
            .filter(|node| node.path == self.root || node.path.starts_with(&prefix))
            .map(|node| {
                let mut fact = match node.kind {
                    NodeKind::Folder => "/".to_owned(),
                    NodeKind::File => node.whirlpool,
                };
                if linked {
                    let password = control.file_password(&node.url);
                    let shared = node.kind == NodeKind::Folder
                        && control.folder_share(node.id).url.is_some();
                    fact = format!("{fact} {password:?} {shared}");
                }
                (node.path[self.root.len()..].to_owned(), fact)
            })
            .collect();
        if self.operation == Operation::HashByDownload {
            // Each has its own content.
            held.retain(|(_, fact)| fact == "/");
        }
        if self.operation == Operation::DedupeRename {
            // Which of the others gets which name is not promised.
            let mut facts: Vec<_> = held.iter().map(|(_, fact)| fact.clone()).collect();
            facts.sort();
            for ((_, fact), sorted) in held.iter_mut().zip(facts) {
                *fact = sorted;
            }
        }
        held
    }

    /// Files that are in no case's directory.
    fn strays(&self) -> Vec<String> {
        let stored = self.world.stored_all();
        stored
            .into_iter()
            .filter(|path| !path.starts_with("case"))
            .collect()
    }

    /// A test file that could not be removed stays, and the check says that it
    /// failed: the next one must not stumble over it.
    fn clear_probe(&self) {
        for node in self.world.control.tree() {
            if node.path.starts_with(".pluton-fichier-test-") {
                self.world.control.remove_file(&node.url);
            }
        }
    }

    /// Does it with a fault, and looks at what became of it.
    pub(super) async fn run(
        &self,
        goal: &Held,
        at: At<'_>,
        trouble: &Trouble,
    ) -> Result<Seen, String> {
        let control = &self.world.control;
        control.reset_limits();
        self.world.idle(self.operation.memory()).await;
        control.reset_calls();
        control.set_behaviour(|play| play.index_delay = trouble.lag);
        let before = self.held();
        let (endpoint, skip, times) = match at {
            At::Call(number, endpoint) => (endpoint, number, 1),
            At::Each(endpoint) => (endpoint, 0, u32::MAX),
        };
        control.inject(Fault {
            endpoint: endpoint.to_owned(),
            skip,
            times,
            kind: trouble.kind.clone(),
        });
        let outcome = self.perform().await;
        let met = match at {
            At::Call(number, endpoint) => self.called(endpoint, number).await,
            At::Each(_) => true,
        };
        control.clear_faults();
        control.set_behaviour(|play| play.index_delay = Duration::ZERO);
        if !met {
            return Ok(Seen::Unmet);
        }
        let outcome = outcome?;
        let at_removal = matches!(at, At::Each("file/rm") | At::Call(_, "file/rm"));
        if at_removal && outcome.is_err() && self.operation == Operation::TestConnection {
            self.clear_probe();
        }
        let seen = match &outcome {
            Ok(()) => Seen::Nothing,
            Err(status) => Seen::Failure(self.check_status(status, &trouble.kind)?),
        };
        if let Err(status) = outcome {
            self.between(&before, goal)?;
            self.repeat(goal, status).await?;
        }
        let agreed = self.agreed(goal).await;
        agreed.map_err(|error| format!("{seen:?}, then {error}"))?;
        Ok(seen)
    }

    /// Whether so many calls were made, some of them behind the operation.
    async fn called(&self, endpoint: &str, number: u32) -> bool {
        for _ in 0..5 {
            if self.world.control.calls().get(endpoint) > u64::from(number) {
                return true;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        false
    }

    async fn perform(&self) -> Result<Result<(), Status>, String> {
        let performed = self.operation.perform(self.world, &self.root);
        let performed = AssertUnwindSafe(performed).catch_unwind();
        match tokio::time::timeout(PATIENCE, performed).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(panic)) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text =
                    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Err(format!("a wrong answer: {}", text.unwrap_or_default()))
            }
            Err(_) => Err(format!("no end within {PATIENCE:?}")),
        }
    }

    /// A failure must tell what to do, and what it is about.
    fn check_status(&self, status: &Status, kind: &FaultKind) -> Result<String, String> {
        let details = status.get_error_details();
        let Some(info) = details.error_info() else {
            return Err(format!("no reason in {status:?}"));
        };
        if details.retry_info().is_some() != (status.code() == Code::Unavailable) {
            return Err(format!("when to repeat does not fit: {status:?}"));
        }
        let reason = info.reason.clone();
        let fits = match reason.as_str() {
            "UPSTREAM_LOCKED" | "UPSTREAM_UNAVAILABLE" => status.code() == Code::Unavailable,
            // An answer that makes no sense may make sense the next time.
            "UPSTREAM_PROTOCOL" => matches!(
                kind,
                FaultKind::Ko { .. }
                    | FaultKind::PartialBatch(_)
                    | FaultKind::NodeRefusal(_)
                    | FaultKind::Status(404)
            ),
            "STORED_CONTENT_CORRUPT" => *kind == FaultKind::Corrupt,
            // How 1Fichier words this refusal is not known ([API §18]).
            "DIRECTORY_NOT_EMPTY" => {
                matches!(
                    self.operation,
                    Operation::Rmdir | Operation::Purge | Operation::DedupeDirectories
                ) && matches!(kind, FaultKind::Ko { .. })
            }
            _ => false,
        };
        if fits {
            Ok(reason)
        } else {
            Err(format!("a reason that does not fit: {status:?}"))
        }
    }

    /// After a failure nothing is lost, and of a single change nothing is half
    /// done but directories that were made.
    fn between(&self, before: &Held, goal: &Held) -> Result<(), String> {
        let held = self.held();
        let contents = |held: &Held| -> Vec<String> {
            held.iter()
                .map(|(_, fact)| fact.clone())
                .filter(|fact| !fact.starts_with('/'))
                .collect()
        };
        let kept = contents(before)
            .into_iter()
            .filter(|fact| contents(goal).contains(fact));
        for fact in kept {
            if !contents(&held).contains(&fact) {
                return Err(format!(
                    "{fact:.8}… is lost after a failure: {}",
                    shown(&held)
                ));
            }
        }
        for (path, fact) in &held {
            if !before.contains(&(path.clone(), fact.clone()))
                && !goal.contains(&(path.clone(), fact.clone()))
                && !fact.starts_with('/')
                && !self.operation.is_many()
            {
                return Err(format!("half done after a failure: {}", shown(&held)));
            }
        }
        Ok(())
    }

    /// What failed is asked for again, when the failure said so.
    async fn repeat(&self, goal: &Held, mut status: Status) -> Result<(), String> {
        for _ in 0..3 {
            let details = status.get_error_details();
            let delay = details.retry_info().and_then(|info| info.retry_delay);
            self.world
                .idle(delay.unwrap_or(Duration::from_secs(1)))
                .await;
            // The emulator counts what a client cannot know of.
            self.world.control.reset_limits();
            match self.perform().await? {
                Ok(()) => return Ok(()),
                Err(again) => status = again,
            }
            let done = ["FILE_NOT_FOUND", "DIRECTORY_NOT_FOUND", "ENTRY_EXISTS"];
            if done.contains(&reason(&status).as_str()) && self.held() == *goal {
                return Ok(());
            }
        }
        Err(format!(
            "the repeat fails: {status:?}; {}",
            shown(&self.held())
        ))
    }

    /// Sooner or later the account holds what it should, and the server tells
    /// the same.
    async fn agreed(&self, goal: &Held) -> Result<(), String> {
        let mut error = String::new();
        for round in 0..ROUNDS {
            if round > 0 {
                self.world
                    .idle(Duration::from_secs(61) * 2_u32.pow(round))
                    .await;
            }
            match self.agrees(goal).await {
                Ok(()) => return Ok(()),
                Err(wrong) => error = wrong,
            }
        }
        Err(error)
    }

    async fn agrees(&self, goal: &Held) -> Result<(), String> {
        let held = self.held();
        if held != *goal {
            return Err(format!("{} instead of {}", shown(&held), shown(goal)));
        }
        let strays = self.strays();
        if !strays.is_empty() {
            return Err(format!("{strays:?} are where nobody put them"));
        }
        if self.operation.is_read() {
            return Ok(());
        }
        let request = RefreshRequest {
            path: self.root.clone(),
            recursive: true,
            reload: true,
            ..RefreshRequest::default()
        };
        let refreshed = self.world.client.clone().refresh(request).await;
        let told = match refreshed {
            Ok(_) => self.world.list(&self.root, true).await,
            Err(status) => Err(status),
        };
        let told = match told {
            Ok(entries) => entries,
            Err(status) if held.is_empty() && reason(&status) == "DIRECTORY_NOT_FOUND" => {
                Vec::new()
            }
            Err(status) => return Err(format!("cannot be listed: {status:?}")),
        };
        let mut counts: BTreeMap<(String, bool), usize> = BTreeMap::new();
        for (path, fact) in held.iter().filter(|(path, _)| !path.is_empty()) {
            *counts
                .entry((path.clone(), fact.starts_with('/')))
                .or_default() += 1;
        }
        let listed: BTreeMap<(String, bool), usize> = told
            .iter()
            .map(|entry| {
                let count = entry
                    .attributes
                    .get("duplicates")
                    .map_or(1, |count| count.parse().unwrap());
                let path = entry.path[self.root.len()..].to_owned();
                ((path, entry.r#type() == EntryType::Directory), count)
            })
            .collect();
        if counts != listed {
            return Err(format!("{listed:?} is told instead of {counts:?}"));
        }
        if self.operation == Operation::DedupeRename {
            return Ok(());
        }
        for entry in told
            .iter()
            .filter(|entry| entry.r#type() == EntryType::File)
        {
            let path = &entry.path[self.root.len()..];
            let sum = &entry.checksums[0].hex;
            if !held
                .iter()
                .any(|(at, fact)| at == path && fact.starts_with(sum))
            {
                return Err(format!(
                    "{path:?} is told to be {sum:.8}…: {}",
                    shown(&held)
                ));
            }
        }
        Ok(())
    }
}

fn shown(held: &Held) -> String {
    let each: Vec<_> = held
        .iter()
        .map(|(path, fact)| format!("{path} {fact:.8}"))
        .collect();
    format!("[{}]", each.join(", "))
}
