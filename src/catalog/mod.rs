//! What an account's tree looks like, remembered.
//!
//! A folder is listed when somebody needs it and nobody listed it lately; one
//! listing serves all that wait for it. Own changes are applied at once, and
//! stay applied over later listings until those agree: 1Fichier's listings
//! lag behind its changes ([API §I]). All of it is also on disk, so that a
//! warm start lists nothing; in memory are the folders used last.

mod content;
mod node;
mod store;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

pub use content::{Content, FileRecord, FolderRecord, Whirlpool};
pub use store::Store;

use crate::clock::{Clock, Moment};
use crate::error::{Error, Reason, Result};
use crate::fichier::{Client, FolderListing, LISTING_CAP, Scope};
use node::{Change, State};
use store::Write;

/// How long an own change stands against listings that do not show it.
const GRACE: Duration = Duration::from_secs(300);

/// How much is remembered, and for how long it counts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder listed less than this ago is not listed again.
    pub freshness: Duration,
    /// Nobody else writes to the account: what is known stays true.
    pub exclusive: bool,
    /// Entries held in memory at the most; the folders used least recently go.
    pub max_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            freshness: Duration::from_secs(300),
            exclusive: false,
            max_entries: 200_000,
        }
    }
}

/// A folder's content as of a moment, with all own changes since.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The content.
    pub content: Arc<Content>,
    /// When 1Fichier was asked.
    pub as_of: Moment,
}

type Flight = Shared<BoxFuture<'static, Result<Snapshot>>>;
type WeakFlight = WeakShared<BoxFuture<'static, Result<Snapshot>>>;

/// Counters for people.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// Folders in memory.
    pub folders: u64,
    /// Entries in memory.
    pub entries: u64,
    /// Reads answered from memory or disk.
    pub hits: u64,
    /// Reads that needed a listing.
    pub misses: u64,
    /// Why the catalog is not written to disk; `None` when it is.
    pub problem: Option<String>,
}

/// The catalog of one account.
pub struct Catalog {
    client: Arc<Client>,
    settings: Settings,
    clock: Clock,
    store: Store,
    state: Mutex<State>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

impl Catalog {
    /// The catalog of an account, as far as it is remembered at `path`.
    /// `account` tells one account from another.
    ///
    /// # Errors
    /// A text for the operator when the database cannot be used at all.
    pub fn open(
        path: &Path,
        account: &str,
        client: Arc<Client>,
        settings: Settings,
        clock: Clock,
    ) -> Result<Arc<Self>, String> {
        let store = Store::open(path, account)?;
        if store.was_set_aside() {
            client.budget().restore_unknown();
        }
        for (folder, at) in store.listed_since(clock.now() - Duration::from_secs(60)) {
            client
                .budget()
                .restore_listing(folder, clock.age(Moment::remembered(at)));
        }
        Ok(Arc::new(Self {
            client,
            settings,
            clock,
            store,
            state: Mutex::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content of a folder, no older than `max_staleness` (or as
    /// configured), unless 1Fichier allows no newer listing yet.
    ///
    /// # Errors
    /// When it must be listed and cannot be, or has more files than can be
    /// listed.
    pub async fn folder(
        self: &Arc<Self>,
        scope: Scope,
        id: i64,
        max_staleness: Option<Duration>,
    ) -> Result<Snapshot> {
        self.load(id).await;
        let flight = {
            let mut state = self.lock();
            let node = state.touch(id);
            if let Some(known) = &node.known
                && self.is_usable(known, node.doubted, id, max_staleness)
            {
                let known = known.clone();
                state.hits += 1;
                return Ok(known);
            }
            match node.flight.as_ref().and_then(WeakShared::upgrade) {
                Some(flight) => flight,
                None => {
                    let flight: Flight = Arc::clone(self).list(scope, id).boxed().shared();
                    node.flight = flight.downgrade();
                    state.misses += 1;
                    flight
                }
            }
        };
        flight.await
    }

    fn is_usable(
        &self,
        known: &Snapshot,
        doubted: bool,
        id: i64,
        max_staleness: Option<Duration>,
    ) -> bool {
        let age = self.clock.age(known.as_of);
        let limit = match max_staleness {
            Some(limit) => limit,
            None if self.settings.exclusive => Duration::MAX,
            None => self.settings.freshness,
        };
        let trusted = !doubted && age <= limit;
        // The 30 s between two listings of a folder always win.
        trusted
            || (age < self.settings.freshness
                && self.client.listing_allowed_in(id) > Duration::ZERO)
    }

    /// What is remembered of a folder, whatever its age. Lists nothing.
    pub async fn peek(&self, id: i64) -> Option<Snapshot> {
        self.load(id).await;
        self.lock()
            .nodes
            .get(&id)
            .and_then(|node| node.known.clone())
    }

    /// Brings a folder from disk to memory.
    async fn load(&self, id: i64) {
        if self.lock().touch(id).loaded {
            return;
        }
        let remembered = self.store.load(id).await;
        self.lock()
            .remember(id, remembered, &self.clock, self.settings.max_entries);
    }

    /// One listing, on behalf of all that wait. It has no deadline of its own:
    /// each caller stops waiting at its own, and the listing stops when none
    /// is left.
    async fn list(self: Arc<Self>, scope: Scope, id: i64) -> Result<Snapshot> {
        let scope = Scope {
            deadline: None,
            ..scope
        };
        let as_of = self.clock.moment();
        let listing = self.client.list_folder(scope, id).await?;
        let content = complete(listing)?;
        // Memory and disk change in the same order: under the lock.
        let mut state = self.lock();
        let snapshot = state.merge(id, content, as_of, self.settings.max_entries);
        let content = Arc::clone(&snapshot.content);
        self.store.write(Write::Listing {
            folder: id,
            content,
            at: as_of.time,
        });
        Ok(snapshot)
    }

    fn change(&self, folder: i64, change: Change) {
        let mut state = self.lock();
        self.store.write(Write::Change {
            folder,
            change: change.clone(),
            at: self.clock.now(),
        });
        state.change(folder, change);
    }

    /// A file was stored here.
    pub fn file_added(&self, folder: i64, file: FileRecord) {
        self.change(folder, Change::FileAdded(file));
    }

    /// A file is gone.
    pub fn file_removed(&self, folder: i64, url: &str) {
        self.change(folder, Change::FileRemoved(url.into()));
    }

    /// An empty folder was made here.
    pub fn folder_made(&self, parent: i64, folder: FolderRecord) {
        let (id, as_of) = (folder.id, self.clock.moment());
        let mut state = self.lock();
        self.store.write(Write::Listing {
            folder: id,
            content: Arc::default(),
            at: as_of.time,
        });
        state.made(id, as_of);
        drop(state);
        self.change(parent, Change::FolderAdded(folder));
    }

    /// A folder was found here that the last listing did not show.
    pub fn folder_found(&self, parent: i64, folder: FolderRecord) {
        self.change(parent, Change::FolderAdded(folder));
    }

    /// A folder is gone.
    pub fn folder_removed(&self, parent: i64, id: i64) {
        self.forget(id);
        self.change(parent, Change::FolderRemoved(id));
    }

    fn forget(&self, id: i64) {
        let mut state = self.lock();
        self.store.write(Write::Forget { folder: id });
        state.forget(id);
    }

    /// What is remembered of the folder was found to be wrong.
    pub fn doubt(&self, folder: i64) {
        let mut state = self.lock();
        self.store.write(Write::Doubt { folder });
        if let Some(node) = state.nodes.get_mut(&folder) {
            node.doubted = true;
        }
    }

    /// Waits until all changes so far are on disk: what is acknowledged must
    /// survive a crash.
    pub async fn settle(&self) {
        self.store.flush().await;
    }

    /// Whether a fresh listing of the folder shows anything in it.
    pub fn known_full(&self, folder: i64) -> bool {
        let state = self.lock();
        state.nodes.get(&folder).is_some_and(|node| {
            let full = node
                .known
                .as_ref()
                .filter(|known| !known.content.is_empty());
            full.is_some_and(|known| {
                !node.doubted && self.clock.age(known.as_of) <= self.settings.freshness
            })
        })
    }

    /// Whether the folder was changed from here so lately that 1Fichier may
    /// not show it yet.
    pub fn changed_lately(&self, folder: i64) -> bool {
        self.lock()
            .nodes
            .get(&folder)
            .is_some_and(node::Node::changed_lately)
    }

    /// Remembers the outcome of a call under its request id.
    pub fn remember_outcome(&self, request: String, arguments: String, outcome: String) {
        self.store.write(Write::Outcome {
            request,
            arguments,
            outcome,
            at: self.clock.now(),
        });
    }

    /// The arguments and the outcome of an earlier call with this request id,
    /// if it was less than half an hour ago.
    pub async fn outcome(&self, request: &str) -> Option<(String, String)> {
        const MEMORY: Duration = Duration::from_secs(1_800);
        let (at, arguments, outcome) = self.store.outcome(request.to_owned()).await?;
        (self.clock.age(Moment::remembered(at)) < MEMORY).then_some((arguments, outcome))
    }

    /// Remembers a fact about the account.
    pub fn remember_fact(&self, name: &str, value: String, at: SystemTime) {
        self.store.write(Write::Fact {
            name: name.to_owned(),
            value,
            at,
        });
    }

    /// A remembered fact, and when it was so.
    pub fn fact(&self, name: &str) -> Option<(Moment, String)> {
        let (at, value) = self.store.fact(name)?;
        Some((Moment::remembered(at), value))
    }

    /// Counters for people.
    pub fn activity(&self) -> Activity {
        let state = self.lock();
        Activity {
            folders: state
                .nodes
                .values()
                .filter(|node| node.known.is_some())
                .count() as u64,
            entries: state.entries as u64,
            hits: state.hits,
            misses: state.misses,
            problem: self.store.problem(),
        }
    }
}

/// A listing of 5,000 files is a cut one, and a cut one is never trusted
/// ([API §G]).
fn complete(listing: FolderListing) -> Result<Content> {
    let files = listing.files.unwrap_or_default();
    if files.len() >= LISTING_CAP {
        return Err(Error::new(
            Reason::UpstreamProtocol,
            format!(
                "the folder has {LISTING_CAP} files or more, and 1Fichier lists no more of them; \
                 spread them over several folders"
            ),
        ));
    }
    if let Some(count) = listing.file_count
        && count != files.len() as u64
    {
        // Counters lag behind listings; below the cap the listing is whole.
        tracing::debug!(
            count,
            listed = files.len(),
            "the folder's file count differs from its listing"
        );
    }
    Ok(Content::new(
        listing
            .folders
            .into_iter()
            .map(FolderRecord::from)
            .collect(),
        files.into_iter().map(FileRecord::from).collect(),
    ))
}
