//! Files that are removed, moved or copied leave in batches: one call does a
//! hundred of them ([API §H]), and single requests of many clients gather
//! while they wait for the call.

mod work;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::landing::Landings;
use super::seen::{SEEN, SEEN_WHEN_SENT};
use crate::catalog::{Catalog, Touched};
use crate::error::Reason;
use crate::fichier::{BATCH, Batch, Client, Error, Kind, LISTING_CAP, Priority, Scope, Turn};
use crate::spans::{self, Tasks};
use crate::transfer::{Fit, Gather};
use work::Work;

/// Folders that are listed at the most to see what is left of a batch.
const LISTINGS: usize = 10;
/// Files that are asked for at the most where listings do not tell.
const QUESTIONS: usize = 5;
/// Times that a file is looked at again because its batch had to wait.
const LOOKS: usize = 3;
/// What is done with files; those of one kind share a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Change {
    /// They are removed.
    Remove,
    /// They move to this folder and keep their names.
    Move(i64),
    /// They are copied to this folder and keep their names.
    Copy(i64),
}

impl Change {
    fn endpoint(self) -> &'static str {
        match self {
            Self::Remove => "file/rm",
            Self::Move(_) => "file/mv",
            Self::Copy(_) => "file/cp",
        }
    }

    /// Whether the files are not where they were afterwards.
    fn takes_away(self) -> bool {
        !matches!(self, Self::Copy(_))
    }

    /// Where the files go.
    fn destination(self) -> Option<i64> {
        match self {
            Self::Remove => None,
            Self::Move(folder) | Self::Copy(folder) => Some(folder),
        }
    }

    fn scope(self) -> Scope {
        Scope::new(match self {
            Self::Remove => Priority::Delete,
            Self::Move(_) | Self::Copy(_) => Priority::Upload,
        })
    }
}

/// What gathers in one batch: urgent ones wait for no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lane {
    change: Change,
    urgent: bool,
}

impl Lane {
    fn scope(self) -> Scope {
        match self.urgent {
            true => Scope::new(Priority::Urgent),
            false => self.change.scope(),
        }
    }
}

/// A file by its folder and URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) folder: i64,
    pub(super) url: String,
    /// Nobody else moves it: it need not be [seen lately](SEEN).
    #[serde(default, skip_serializing)]
    pub(super) is_certain: bool,
}

impl Target {
    /// A file that another program may have moved.
    pub(super) fn new(folder: i64, url: &str) -> Self {
        Self {
            folder,
            url: url.to_owned(),
            is_certain: false,
        }
    }
}

/// The URL that the file has afterwards.
type Outcome = Result<String, Error>;

/// `None` tells that it was seen too long ago to be sent.
type Answer = Option<Outcome>;

#[derive(Debug)]
struct Item {
    target: Target,
    outcome: oneshot::Sender<Answer>,
    /// Of the call that it is for.
    span: Span,
}

/// The batches of one account.
#[derive(Debug)]
pub(super) struct Batches {
    client: Arc<Client>,
    catalog: Arc<Catalog>,
    waiting: Gather<Lane, Item>,
    landings: Landings,
    tasks: Tasks,
}

impl Batches {
    pub(super) fn new(
        client: Arc<Client>,
        catalog: Arc<Catalog>,
        landings: Landings,
        tasks: Tasks,
    ) -> Arc<Self> {
        Arc::new(Self {
            client,
            catalog,
            waiting: Gather::default(),
            landings,
            tasks,
        })
    }

    /// Does one thing to files; one result for each, in order: the URL that
    /// the file (or its copy) has now. NotFound tells that it was gone. Removed
    /// files leave the catalog even if the caller does not wait. What is taken
    /// away is looked at before, unless it was seen lately.
    pub(super) async fn run(
        self: &Arc<Self>,
        scope: Scope,
        change: Change,
        targets: &[Target],
    ) -> Vec<Outcome> {
        self.run_until(scope, change, targets, &CancellationToken::new())
            .await
    }

    /// The same; what has not left when `cancel` is, does not leave any more.
    pub(super) async fn run_until(
        self: &Arc<Self>,
        scope: Scope,
        change: Change,
        targets: &[Target],
        cancel: &CancellationToken,
    ) -> Vec<Outcome> {
        let lane = Lane {
            change,
            urgent: scope.is_urgent(),
        };
        let mut outcomes: Vec<Option<Outcome>> = vec![None; targets.len()];
        let mut left: Vec<usize> = (0..targets.len()).collect();
        let several = targets.len() > QUESTIONS;
        for _ in 0..LOOKS {
            // All are looked at before any leaves: they leave together.
            let looks = left.iter().map(|at| async {
                tokio::select! {
                    biased;
                    look = self.look(scope, change, &targets[*at], several) => look,
                    () = cancel.cancelled() => Err(Error::given_up(change.endpoint())),
                }
            });
            let looks = join_all(looks).await;
            let mut waits = Vec::with_capacity(left.len());
            for (at, look) in left.drain(..).zip(looks) {
                match look {
                    Ok(()) => waits.push(self.enter(scope, lane, at, &targets[at], cancel)),
                    Err(error) => outcomes[at] = Some(Err(error)),
                }
            }
            for (at, answer) in join_all(waits).await {
                match answer {
                    Some(outcome) => outcomes[at] = Some(outcome),
                    None => left.push(at),
                }
            }
            if left.is_empty() {
                break;
            }
        }
        let late = || Err(Error::unseen(change.endpoint()));
        let outcomes = outcomes.into_iter();
        outcomes
            .map(|outcome| outcome.unwrap_or_else(late))
            .collect()
    }

    /// Makes sure that a file which is to be taken away is in its folder.
    ///
    /// # Errors
    /// NotFound when it is not; others when it cannot be known now.
    async fn look(
        &self,
        scope: Scope,
        change: Change,
        target: &Target,
        several: bool,
    ) -> Result<(), Error> {
        let Target {
            folder,
            ref url,
            is_certain,
        } = *target;
        let is_certain = is_certain || self.catalog.is_exclusive();
        if is_certain || !change.takes_away() || self.was_seen(target, SEEN) {
            return Ok(());
        }
        let gone = || Error::gone(change.endpoint());
        let known = self.catalog.peek(folder).await;
        // One of a folder that is listed in parts, for minutes, is asked for.
        let is_large = self.catalog.is_walked(folder)
            || known.is_some_and(|known| known.content.len() >= LISTING_CAP);
        if !is_large || several {
            match self.catalog.folder(scope, folder, Some(SEEN)).await {
                Ok(listed) if !listed.content.has_file(url) => return Err(gone()),
                Ok(_) => {}
                Err(error) if error.reason() == Reason::DirectoryNotFound => return Err(gone()),
                Err(error) => return Err(Error::not_seen(change.endpoint(), &error)),
            }
            if self.was_seen(target, SEEN) {
                return Ok(());
            }
            if !self.catalog.is_listed_within(folder, SEEN) {
                // 1Fichier allows no listing now.
                let now = Instant::now();
                let since = now.checked_sub(SEEN).unwrap_or(now);
                match self.catalog.folder_since(scope, folder, since).await {
                    Ok(listed) if !listed.content.has_file(url) => return Err(gone()),
                    Ok(_) if self.was_seen(target, SEEN) => return Ok(()),
                    Ok(_) => {}
                    Err(error) if error.reason() == Reason::DirectoryNotFound => {
                        return Err(gone());
                    }
                    Err(error) => return Err(Error::not_seen(change.endpoint(), &error)),
                }
            }
        }
        // Or it was stored from here a while ago, and no listing shows it.
        if self.is_there(scope, target).await? {
            self.catalog.file_found(folder, url);
            return Ok(());
        }
        self.catalog.file_missing(folder, url);
        Err(gone())
    }

    fn was_seen(&self, target: &Target, within: Duration) -> bool {
        let seen = self.catalog.file_seen(target.folder, &target.url);
        seen.is_some_and(|age| age <= within)
    }

    /// Puts a file among those that wait for the call.
    async fn enter(
        self: &Arc<Self>,
        scope: Scope,
        lane: Lane,
        at: usize,
        target: &Target,
        cancel: &CancellationToken,
    ) -> (usize, Answer) {
        let (outcome, receiver) = oneshot::channel();
        let item = Item {
            target: target.clone(),
            outcome,
            span: Span::current(),
        };
        let (id, start) = self.waiting.push(lane, item);
        if start {
            spans::spawn(Arc::clone(self).collect(lane));
        }
        (at, self.wait(scope, lane, id, receiver, cancel).await)
    }

    async fn wait(
        &self,
        scope: Scope,
        lane: Lane,
        id: u64,
        mut receiver: oneshot::Receiver<Answer>,
        cancel: &CancellationToken,
    ) -> Answer {
        // Whoever leaves takes it along, if it has not left.
        let _place = self.waiting.place(lane, id);
        let stopped = || Some(Err(Error::stopping(lane.change.endpoint())));
        let error = tokio::select! {
            biased;
            outcome = &mut receiver => return outcome.unwrap_or_else(|_| stopped()),
            error = self.client.budget().locked_out(scope) => error,
            () = cancel.cancelled() => Error::given_up(lane.change.endpoint()),
        };
        if self.waiting.withdraw(&lane, id) {
            return Some(Err(error));
        }
        receiver.await.unwrap_or_else(|_| stopped())
    }

    async fn collect(self: Arc<Self>, lane: Lane) {
        let change = lane.change;
        loop {
            // This may go on for others when the call that began it is over.
            let first = self.waiting.first(&lane, |item| item.span.clone());
            let first = first.unwrap_or_else(Span::current);
            // While this waits for the budget, the batch grows, or all leave.
            let turn = self.client.turn(lane.scope(), change.endpoint());
            let turn = tokio::select! {
                biased;
                turn = turn.instrument(first) => turn,
                () = self.waiting.deserted(&lane) => match self.waiting.is_done(&lane) {
                    true => return,
                    false => continue,
                },
            };
            let batch = self.waiting.take(&lane, |batch, item| {
                if item.outcome.is_closed() {
                    Fit::Drop
                } else if batch.len() < BATCH {
                    Fit::Take
                } else {
                    Fit::Stop
                }
            });
            let may_leave = |item: &Item| {
                item.target.is_certain
                    || self.catalog.is_exclusive()
                    || !change.takes_away()
                    || self.was_seen(&item.target, SEEN_WHEN_SENT)
            };
            let (batch, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(may_leave);
            for item in late {
                let _ = item.outcome.send(None);
            }
            match turn {
                _ if batch.is_empty() => {}
                Ok(turn) => {
                    let span = spans::together(batch.iter().map(|item| &item.span));
                    let settling = Arc::clone(&self).settle(change, batch, turn);
                    self.tasks.spawn(settling.instrument(span));
                }
                Err(error) => {
                    for item in batch {
                        let _ = item.outcome.send(Some(Err(error.clone())));
                    }
                }
            }
            // A few files each would spend the budget's burst on little.
            if self.waiting.waiting(&lane) < BATCH {
                self.client.budget().space().await;
            }
            if self.waiting.is_done(&lane) {
                return;
            }
        }
    }

    async fn settle(self: Arc<Self>, change: Change, items: Vec<Item>, turn: Turn) {
        // One file may have been asked for several times.
        let mut waiting: HashMap<String, (i64, Vec<oneshot::Sender<Answer>>)> = HashMap::new();
        let mut targets = Vec::new();
        for Item {
            target, outcome, ..
        } in items
        {
            let (_, senders) = waiting
                .entry(target.url.clone())
                .or_insert((target.folder, Vec::new()));
            senders.push(outcome);
            if senders.len() == 1 {
                targets.push(target);
            }
        }
        let mut folders: Vec<i64> = targets.iter().map(|target| target.folder).collect();
        folders.extend(change.destination());
        folders.sort_unstable();
        folders.dedup();
        let touched = targets
            .iter()
            .map(|target| Touched::File(target.url.clone()));
        let intent = self
            .catalog
            .intend(folders, touched.collect(), String::new());
        let intent = match intent.await {
            Ok(intent) => intent,
            // Nothing is done that a crash would leave unknown.
            Err(error) => {
                for sender in waiting.into_values().flat_map(|(_, senders)| senders) {
                    let _ = sender.send(Some(Err(error.clone())));
                }
                return;
            }
        };
        let tell = |url: String, outcome: Outcome| {
            let Some((folder, senders)) = waiting.remove(&url) else {
                return;
            };
            // Here and not by those who wait: they may have left.
            if change == Change::Remove && is_gone(&outcome) {
                match outcome {
                    Ok(_) => {
                        self.catalog.file_removed(folder, &url);
                        self.landings.forget(folder, &url);
                    }
                    // Not by us: if a listing shows it, it is there.
                    Err(_) => {
                        self.catalog.file_missing(folder, &url);
                        self.landings.is_unwanted(folder, &url);
                    }
                }
                self.catalog.forget_modified(&url);
            }
            for sender in senders {
                let _ = sender.send(Some(outcome.clone()));
            }
        };
        Work {
            batches: &self,
            change,
            started: Instant::now(),
            turn: Some(turn),
            tell,
        }
        .run(targets)
        .await;
        intent.done();
    }

    async fn call(&self, change: Change, turn: Turn, urls: &[String]) -> Result<Batch, Error> {
        match change {
            Change::Remove => self.client.remove_files(turn, urls).await,
            Change::Move(folder) => self.client.move_files(turn, urls, folder, None).await,
            Change::Copy(folder) => self.client.copy_files(turn, urls, folder, None).await,
        }
    }

    fn is_young(&self, target: &Target) -> bool {
        self.catalog.is_young(target.folder, &target.url)
    }

    /// Whether 1Fichier has a file in its folder. What it has elsewhere is not
    /// what was meant.
    pub(super) async fn is_there(&self, scope: Scope, target: &Target) -> Result<bool, Error> {
        match self.client.file_info(scope, &target.url).await {
            Ok(info) => Ok(info.folder.is_none_or(|folder| folder == target.folder)),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            // What is refused is there ([API §7]).
            Err(error) if error.is_about_password() || error.kind() == Kind::Access => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Which files are still there according to listings that began after
    /// `since`, and which are gone. A folder that cannot be listed keeps all.
    /// What no listing has shown since it was stored from here is asked for.
    async fn still_listed(
        &self,
        scope: Scope,
        targets: Vec<Target>,
        since: Instant,
    ) -> (Vec<Target>, Vec<Target>) {
        let folders: HashSet<i64> = targets.iter().map(|target| target.folder).collect();
        let mut listed = HashMap::new();
        for folder in folders.into_iter().take(LISTINGS) {
            match self.catalog.folder_since(scope, folder, since).await {
                Ok(snapshot) => {
                    listed.insert(folder, Some(snapshot.content));
                }
                Err(error) if error.reason() == Reason::DirectoryNotFound => {
                    listed.insert(folder, None);
                }
                Err(error) => tracing::info!(%error, "a folder of a batch cannot be listed"),
            }
        }
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        let mut questions = QUESTIONS;
        for target in targets {
            let shown = match listed.get(&target.folder) {
                Some(Some(content)) => content.has_file(&target.url),
                Some(None) => false,
                None => true,
            };
            let is_unlisted = || self.catalog.is_unlisted(target.folder, &target.url);
            let is_there = if shown && questions > 0 && is_unlisted() {
                questions -= 1;
                self.is_there(scope, &target).await.unwrap_or(true)
            } else {
                shown
            };
            match is_there {
                true => there.push(target),
                false => missing.push(target),
            }
        }
        (there, missing)
    }
}

/// Whether a file that was to be removed is not there any more.
fn is_gone(outcome: &Outcome) -> bool {
    outcome
        .as_ref()
        .map_or_else(|error| error.kind() == Kind::NotFound, |_| true)
}
