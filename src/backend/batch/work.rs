//! Sending one batch, until it is known what became of each file.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Batches, Change, Outcome, Target};
use crate::backend::seen::TOO_EARLY;
use crate::error::Reason;
use crate::fichier::{Batch, Error, Kind, ROOT, Turn};

/// How often what is left of a batch is sent again.
const ROUNDS: usize = 5;
/// Calls for one batch at the most while it is cut into halves.
const SPLITS: usize = 30;
/// Times that a removal whose answer was lost is sent again.
const REPEATS: u32 = 3;

/// One batch, until each of its files is known to be done, to be gone
/// (NotFound), or to be refused. A move or copy whose answer was lost stays
/// unknown: it is whoever asked for it that knows what to look for.
pub(super) struct Work<'a, T> {
    pub(super) batches: &'a Arc<Batches>,
    pub(super) change: Change,
    pub(super) started: Instant,
    pub(super) turn: Option<Turn>,
    pub(super) tell: T,
}

impl<T: FnMut(String, Outcome)> Work<'_, T> {
    fn tell_all(&mut self, targets: Vec<Target>, error: &Error) {
        for target in targets {
            (self.tell)(target.url, Err(error.clone()));
        }
    }

    pub(super) async fn run(mut self, targets: Vec<Target>) {
        let gone = Error::gone(self.change.endpoint());
        let mut young_again = TOO_EARLY.into_iter();
        let mut parts = VecDeque::from([targets]);
        // What a call that lost its answer may have removed.
        let mut perhaps: HashSet<String> = HashSet::new();
        let (mut rounds, mut lost) = (0, 0);
        while let Some(part) = parts.pop_front() {
            rounds += 1;
            let urls: Vec<String> = part.iter().map(|target| target.url.clone()).collect();
            let turn = self
                .turn
                .take()
                .unwrap_or_else(|| self.change.scope().into());
            let (left, refusal) = match self.batches.call(self.change, turn, &urls).await {
                Ok(Batch { done, untold, .. }) => {
                    let progress = !done.is_empty();
                    let left = part
                        .into_iter()
                        .filter(|target| done.iter().all(|(url, _)| *url != target.url))
                        .collect::<Vec<_>>();
                    for (url, now) in done {
                        (self.tell)(url, Ok(now));
                    }
                    if untold {
                        self.tell_all(left, &Error::untold(self.change.endpoint()));
                        continue;
                    }
                    if progress && !left.is_empty() && rounds < ROUNDS {
                        parts.push_back(left);
                        continue;
                    }
                    (left, None)
                }
                Err(error)
                    if is_vague(&error) && self.any_young(&part) && young_again.len() > 0 =>
                {
                    (part, Some(error))
                }
                // Only a removal can be sent again without harm.
                Err(error)
                    if error.outcome_unknown()
                        && self.change == Change::Remove
                        && lost < REPEATS =>
                {
                    lost += 1;
                    perhaps.extend(urls);
                    parts.push_front(part);
                    tokio::time::sleep(Duration::from_secs(lost.into())).await;
                    continue;
                }
                // One bad file may have made 1Fichier refuse all ([API §J11]).
                Err(error) if is_refusal(error.kind()) && part.len() > 1 => (part, Some(error)),
                // How 1Fichier words that a file is gone is not known.
                Err(error)
                    if self.change == Change::Remove
                        && matches!(error.kind(), Kind::Refused | Kind::NoChange) =>
                {
                    self.ask_for_one(part, &perhaps, &gone, |_| error.clone())
                        .await;
                    continue;
                }
                Err(error)
                    if error.kind() == Kind::NotFound && self.change.destination().is_some() =>
                {
                    // The file or its destination.
                    self.ask_for_one(part, &perhaps, &gone, |endpoint| {
                        Error::no_destination(endpoint)
                    })
                    .await;
                    continue;
                }
                Err(error) if error.kind() == Kind::NotFound => {
                    self.tell_gone(part, &perhaps, &error);
                    continue;
                }
                Err(error) => {
                    self.tell_all(part, &error);
                    continue;
                }
            };
            if left.is_empty() {
                continue;
            }
            // What was stored from here a moment ago is there, though calls by
            // link may not know it yet.
            if refusal.as_ref().is_none_or(is_vague)
                && self.any_young(&left)
                && let Some(seconds) = young_again.next()
            {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                parts.push_front(left);
                continue;
            }
            if left.len() == 1 && refusal.is_none() {
                // Not done although 1Fichier said OK: most likely gone before.
                self.ask_for_one(left, &perhaps, &gone, |_| Error::undone())
                    .await;
                continue;
            }
            // Several are in doubt. Listings tell which of them are gone; to
            // ask for each would lead to a ban ([API §1.1]).
            let (there, missing) = self
                .batches
                .still_listed(self.change.scope(), left, self.started)
                .await;
            let told = !missing.is_empty();
            self.tell_gone(missing, &perhaps, &gone);
            if there.is_empty() {
                continue;
            }
            if told {
                parts.push_back(there);
            } else if refusal.as_ref().is_none_or(is_vague) && self.destination_is_gone().await {
                self.tell_all(there, &Error::no_destination(self.change.endpoint()));
            } else if there.len() > 1 && rounds < SPLITS {
                let (left, right) = there.split_at(there.len() / 2);
                parts.push_back(left.to_vec());
                parts.push_back(right.to_vec());
            } else {
                let error = refusal.unwrap_or_else(Error::undone);
                self.tell_all(there, &error);
            }
        }
    }

    fn any_young(&self, targets: &[Target]) -> bool {
        let is_young = |target: &Target| self.batches.is_young(target);
        targets.iter().any(is_young)
    }

    /// Asks whether a file is where it was; `otherwise` tells why nothing was
    /// done if it is.
    async fn ask_for_one(
        &mut self,
        targets: Vec<Target>,
        perhaps: &HashSet<String>,
        gone: &Error,
        otherwise: impl Fn(&'static str) -> Error,
    ) {
        let Some(target) = targets.first() else {
            return;
        };
        let scope = self.change.scope();
        match self.batches.is_there(scope, target).await {
            Ok(false) => self.tell_gone(targets, perhaps, gone),
            Ok(true) => self.tell_all(targets, &otherwise(self.change.endpoint())),
            Err(error) => self.tell_all(targets, &error),
        }
    }

    /// All were refused, and all are there: is it because of where they go?
    async fn destination_is_gone(&self) -> bool {
        let Some(folder) = self.change.destination().filter(|folder| *folder != ROOT) else {
            return false;
        };
        let listed = self
            .batches
            .catalog
            .folder_since(self.change.scope(), folder, self.started)
            .await;
        matches!(listed, Err(error) if error.reason() == Reason::DirectoryNotFound)
    }

    /// What an earlier call of this batch may have removed was removed.
    fn tell_gone(&mut self, targets: Vec<Target>, perhaps: &HashSet<String>, error: &Error) {
        for target in targets {
            let outcome = if perhaps.contains(&target.url) {
                Ok(target.url.clone())
            } else {
                Err(error.clone())
            };
            (self.tell)(target.url, outcome);
        }
    }
}

/// Whether it may be for the sake of the destination.
fn is_vague(refusal: &Error) -> bool {
    matches!(
        refusal.kind(),
        Kind::NotFound | Kind::Refused | Kind::NoChange
    )
}

fn is_refusal(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::NotFound
            | Kind::Refused
            | Kind::Access
            | Kind::Password
            | Kind::WrongPassword
            | Kind::NoChange
    )
}
