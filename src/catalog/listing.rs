//! When a folder is listed, and who waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::change::Change;
use super::content::Content;
use super::source::{Source, may_be_cut};
use super::state::Merged;
use super::store::Write;
use super::walk::{Verdict, Walk, judge, whole};
use super::{Catalog, Snapshot, YOUNG};
use crate::clock::{Moment, to_millis};
use crate::error::{Error, Reason, Result};
use crate::fichier::{Client, FolderListing, Kind, LISTING_CAP, MAX_WAIT, ROOT, Scope};
use crate::spans::{self, Joinable};

/// How long nobody tries again what cannot be listed.
const FAILED: Duration = Duration::from_secs(300);
/// What a folder's parent showed less than this ago counts, when the folder is
/// listed as empty: no newer listing is allowed.
const SHOWN: Duration = Duration::from_secs(30);
/// When to ask again for a new folder that 1Fichier does not show.
const FIRST_LAG: Duration = Duration::from_secs(5);

type Flight = Shared<BoxFuture<'static, Result<Snapshot>>>;

/// A listing on its way, for all that wait for it.
pub(super) struct InFlight {
    flight: WeakShared<BoxFuture<'static, Result<Snapshot>>>,
    joinable: Joinable,
    /// When it will be done, where that takes long.
    end: watch::Receiver<Option<Instant>>,
    since: Instant,
    /// A walk goes on though nobody waits.
    walk: Option<(Flight, AbortOnDropHandle<()>)>,
}

impl InFlight {
    pub(super) fn is_alive(&self) -> bool {
        self.waited_for().is_some()
    }

    /// The listing, unless it is over or nobody waits for it any more.
    fn waited_for(&self) -> Option<Flight> {
        let flight = self.flight.upgrade();
        flight.filter(|flight| flight.peek().is_none())
    }

    /// Since when a walk is on its way: what was changed since then counts
    /// until it ends.
    pub(super) fn walking_since(&self) -> Option<Instant> {
        self.walk.as_ref().map(|_| self.since)
    }
}

impl Catalog {
    /// The content of a folder, no older than `max_staleness` (or as
    /// configured), unless 1Fichier allows no newer listing yet.
    ///
    /// # Errors
    /// When it must be listed and cannot be; UPSTREAM_UNAVAILABLE when it has
    /// so many files that listing them takes longer than the caller waits.
    pub async fn folder(
        self: &Arc<Self>,
        scope: Scope,
        id: i64,
        max_staleness: Option<Duration>,
    ) -> Result<Snapshot> {
        if self.is_removed(id) {
            let text = "the directory is gone: it was removed";
            return Err(Error::new(Reason::DirectoryNotFound, text));
        }
        self.load(id).await;
        let (mut flight, mut end, joined) = {
            let mut state = self.lock();
            let node = state.touch(id);
            if let Some(known) = &node.known
                && self.is_usable(known, node.doubted, id, max_staleness)
            {
                let known = known.clone();
                state.hits += 1;
                return Ok(known);
            }
            if let Some((at, error)) = &node.failed
                && at.elapsed()
                    < max_staleness
                        .unwrap_or(Duration::MAX)
                        .min(self.settings.freshness)
                        .min(FAILED)
            {
                return Err(error.clone());
            }
            let current = node.flight.as_ref();
            match current.and_then(|current| Some((current.waited_for()?, current))) {
                Some((flight, current)) => {
                    (flight, current.end.clone(), Some(current.joinable.clone()))
                }
                None => {
                    let (told, end) = watch::channel(None);
                    let span = spans::listing();
                    let listing = Arc::clone(self).list(scope, id, told).inspect({
                        let span = span.clone();
                        move |listed| {
                            let reason = listed.as_ref().err().map(Error::reason);
                            spans::ended(&span, reason.map_or("ok", Reason::as_str));
                        }
                    });
                    let (joinable, listing) = Joinable::new(span, listing);
                    let flight: Flight = listing.boxed().shared();
                    node.failed = None;
                    node.flight = flight.downgrade().map(|flight| InFlight {
                        flight,
                        joinable,
                        end: end.clone(),
                        since: Instant::now(),
                        walk: None,
                    });
                    state.misses += 1;
                    (flight, end, None)
                }
            }
        };
        if let Some(joined) = joined {
            joined.join();
        }
        end.mark_changed();
        loop {
            tokio::select! {
                biased;
                result = &mut flight => return result,
                at = expected(&mut end) => {
                    if max_staleness.is_none() && let Some(known) = self.known_meanwhile(id) {
                        return Ok(known);
                    }
                    if scope.deadline.is_some_and(|deadline| deadline < at) {
                        return Err(later(at.saturating_duration_since(Instant::now())));
                    }
                }
            }
        }
    }

    /// The content of a folder by a listing of after a moment. Waits until
    /// 1Fichier allows one.
    ///
    /// # Errors
    /// As [`Catalog::folder`]; UPSTREAM_UNAVAILABLE when no such listing is
    /// allowed in time.
    pub async fn folder_since(
        self: &Arc<Self>,
        scope: Scope,
        id: i64,
        since: Instant,
    ) -> Result<Snapshot> {
        // The first may join a listing that began earlier.
        const ATTEMPTS: u32 = 3;
        let mut wait = None;
        self.load(id).await;
        for _ in 0..ATTEMPTS {
            wait = self.listing_after(id, since);
            if let Some(wait) = wait {
                let end = Instant::now() + wait;
                if wait > MAX_WAIT || scope.deadline.is_some_and(|deadline| deadline < end) {
                    break;
                }
                tokio::time::sleep(wait).await;
            }
            let snapshot = self.folder(scope, id, Some(since.elapsed())).await?;
            wait = self.listing_after(id, since);
            if wait.is_none() {
                return Ok(snapshot);
            }
        }
        let wait = wait.unwrap_or_default() + Duration::from_secs(1);
        Err(Error::new(
            Reason::UpstreamUnavailable,
            format!(
                "1Fichier allows to look into the directory anew in {} s; ask again then",
                wait.as_secs()
            ),
        )
        .retry_after(wait))
    }

    fn is_usable(
        &self,
        known: &Snapshot,
        doubted: bool,
        id: i64,
        max_staleness: Option<Duration>,
    ) -> bool {
        let age = self.clock.age(known.listed);
        let limit = match max_staleness {
            Some(limit) => limit,
            None if self.settings.exclusive => Duration::MAX,
            None => self.settings.freshness,
        };
        let trusted = !doubted && age <= limit;
        // The 30 s between two listings of a folder always win.
        trusted || (age < self.settings.freshness && self.source.closed_for(id) > Duration::ZERO)
    }

    /// What counts while a walk lists the folder anew: 1Fichier allows no
    /// newer listing yet.
    fn known_meanwhile(&self, id: i64) -> Option<Snapshot> {
        let state = self.lock();
        let node = state.nodes.get(&id).filter(|node| !node.doubted)?;
        node.known.clone()
    }

    /// One listing, on behalf of all that wait. It has no deadline of its own:
    /// each caller stops waiting at its own, and the listing stops when none
    /// is left.
    async fn list(
        self: Arc<Self>,
        scope: Scope,
        id: i64,
        end: watch::Sender<Option<Instant>>,
    ) -> Result<Snapshot> {
        let scope = Scope {
            deadline: None,
            ..scope
        };
        let as_of = self.clock.moment();
        let listing = match self.source.list(scope, id).await {
            Err(error) if self.source.is_shared() => {
                let lasts = error.kind() == Kind::NotFound || error.is_about_password();
                let error = Error::from(error);
                if lasts {
                    self.cannot_be_listed(id, &error);
                }
                return Err(error);
            }
            Err(error) if error.kind() == Kind::NotFound && id != ROOT => {
                return Err(self.not_known(id));
            }
            other => other?,
        };
        let as_of = listing.asked.map_or(as_of, |at| self.clock.at(at));
        if listing.is_empty() && !self.is_whole_without(scope, id).await? {
            return Err(self.not_known(id));
        }
        let client = match &self.source {
            Source::Shared(_) if may_be_cut(&listing) => {
                let text = format!(
                    "the shared folder shows exactly {LISTING_CAP} files, as many as 1Fichier lists at the most: \
                     there may be more, which cannot be asked for; share fewer files in each folder"
                );
                return Err(Error::new(Reason::UpstreamProtocol, text));
            }
            Source::Account(client) if judge(&listing) != Verdict::Whole => Arc::clone(client),
            _ => return Ok(self.keep(id, whole(listing), as_of, as_of)),
        };
        let flight = self.walk(client, scope, id, end, listing, as_of);
        // The walk does not need those who wait for it.
        drop(self);
        flight.await
    }

    /// 1Fichier does not know the folder. One that was made from here a moment
    /// ago is there all the same.
    fn not_known(&self, id: i64) -> Error {
        let is_young = {
            let state = self.lock();
            state.made_ago(id).is_some_and(|age| age < YOUNG)
        };
        if is_young {
            let text = "1Fichier does not show the new directory yet; ask again";
            return Error::new(Reason::UpstreamUnavailable, text).retry_after(FIRST_LAG);
        }
        self.folder_gone(id);
        let text = "the directory is gone: another program removed it";
        Error::new(Reason::DirectoryNotFound, text)
    }

    /// Whether a folder that is listed as empty is there: 1Fichier may show one
    /// that is gone so ([API §J9]). Only its parent can tell; it is asked where
    /// the folder was known to hold something.
    async fn is_whole_without(self: &Arc<Self>, scope: Scope, id: i64) -> Result<bool> {
        let parent = {
            let state = self.lock();
            let known = state.nodes.get(&id).and_then(|node| node.known.as_ref());
            match known {
                Some(known)
                    if id != ROOT && !known.content.is_empty() && !self.settings.exclusive =>
                {
                    state.parent_of(id)
                }
                _ => None,
            }
        };
        let Some(parent) = parent else {
            return Ok(true);
        };
        let shown = self.folder_lately(scope, parent).await?;
        Ok(shown.content.has_folder(id))
    }

    /// The content of a folder as 1Fichier showed it lately.
    fn folder_lately(
        self: &Arc<Self>,
        scope: Scope,
        id: i64,
    ) -> BoxFuture<'static, Result<Snapshot>> {
        let catalog = Arc::clone(self);
        Box::pin(async move { catalog.folder(scope, id, Some(SHOWN)).await })
    }

    /// Begins to list a folder in parts, which goes on though nobody waits,
    /// but not without the catalog.
    fn walk(
        self: &Arc<Self>,
        client: Arc<Client>,
        scope: Scope,
        id: i64,
        end: watch::Sender<Option<Instant>>,
        listing: FolderListing,
        as_of: Moment,
    ) -> Flight {
        let told = end.subscribe();
        let walk = Walk {
            client,
            catalog: Arc::downgrade(self),
            scope,
            folder: id,
            end,
            found: HashMap::new(),
        };
        let catalog = Arc::downgrade(self);
        let turns = Arc::clone(&self.walks);
        let now = to_millis(as_of.time) / 1_000;
        let (done, result) = oneshot::channel();
        let task = spans::spawn(async move {
            // Each may hold some hundred thousand files: memory is bounded.
            let _turn = turns.acquire_owned().await;
            let outcome = walk.run(listing, now).await;
            let Some(catalog) = catalog.upgrade() else {
                return;
            };
            let outcome = outcome
                .map(|content| catalog.keep(id, content, as_of, catalog.clock.moment()))
                .inspect_err(|error| catalog.walk_failed(id, error));
            let _ = done.send(outcome);
        });
        let stopped = || {
            Error::new(
                Reason::UpstreamUnavailable,
                "the listing of the folder was stopped; ask again",
            )
        };
        let flight: Flight = result
            .map(move |result| result.unwrap_or_else(|_| Err(stopped())))
            .boxed()
            .shared();
        let mut state = self.lock();
        let node = state.touch(id);
        let since = node
            .flight
            .as_ref()
            .map_or_else(Instant::now, |flight| flight.since);
        let before = node.flight.as_ref();
        let joinable = before.map(|flight| flight.joinable.clone());
        node.flight = flight.downgrade().map(|weak| InFlight {
            flight: weak,
            joinable: joinable.unwrap_or_default(),
            end: told,
            since,
            walk: Some((flight.clone(), AbortOnDropHandle::new(task))),
        });
        flight
    }

    /// Takes a complete listing.
    fn keep(&self, id: i64, content: Content, as_of: Moment, listed: Moment) -> Snapshot {
        let began = as_of.instant().unwrap_or_else(Instant::now);
        let limit = self.settings.max_entries;
        // Memory and disk change in the same order: under the lock.
        let mut state = self.lock();
        let Merged {
            snapshot,
            doubted,
            moved,
            shown: subjects,
        } = state.merge(id, content, began, as_of, listed, limit);
        self.store.write(Write::Listing {
            folder: id,
            content: Arc::clone(&snapshot.content),
            as_of: as_of.time,
            at: listed.time,
        });
        if !subjects.is_empty() {
            let folder = id;
            self.store.write(Write::Shown { folder, subjects });
        }
        for folder in doubted {
            self.store.write(Write::Doubt { folder });
        }
        for (folder, url) in moved {
            let url = url.into();
            self.store.write(Write::Missing { folder, url });
        }
        snapshot
    }

    fn walk_failed(&self, id: i64, error: &Error) {
        tracing::warn!(folder = id, %error, "a folder could not be listed completely");
        self.lock().touch(id).flight = None;
        // What cost minutes is not tried again for each caller.
        if error.reason() == Reason::UpstreamProtocol {
            self.cannot_be_listed(id, error);
        }
    }

    /// The same answer is given to all who ask for a while.
    fn cannot_be_listed(&self, id: i64, error: &Error) {
        self.lock().touch(id).failed = Some((Instant::now(), error.clone()));
    }

    /// Files of a folder that were changed from here so lately that a listing
    /// or a count may not know it.
    pub(super) fn own_changes(&self, folder: i64) -> Vec<Box<str>> {
        let state = self.lock();
        let changes = state
            .nodes
            .get(&folder)
            .into_iter()
            .flat_map(|node| node.changes());
        changes
            .filter_map(|change| match change {
                Change::FileRemoved(url) => Some(url.clone()),
                change => Some(change.file()?.url.clone()),
            })
            .collect()
    }
}

/// The next word on when a long listing will be done.
async fn expected(end: &mut watch::Receiver<Option<Instant>>) -> Instant {
    while end.changed().await.is_ok() {
        if let Some(at) = *end.borrow_and_update() {
            return at;
        }
    }
    std::future::pending().await
}

fn later(wait: Duration) -> Error {
    let wait = wait + Duration::from_secs(1);
    Error::new(
        Reason::UpstreamUnavailable,
        format!(
            "the directory has more files than 1Fichier lists at once; it is being listed in parts, \
             one every 30 s, and will be known in about {} s; ask again then",
            wait.as_secs()
        ),
    )
    .retry_after(wait)
}
