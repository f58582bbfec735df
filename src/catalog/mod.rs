//! What an account's tree looks like, remembered.
//!
//! A folder is listed when somebody needs it and nobody listed it lately; one
//! listing serves all that wait for it. Own changes are applied at once, and
//! stay applied over later listings until those agree: 1Fichier's listings
//! lag behind its changes ([API §I]).

mod content;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::Instant;

pub use content::{Content, FileRecord, FolderRecord};

use crate::error::{Error, Reason, Result};
use crate::fichier::{Client, FolderListing, Kind, LISTING_CAP, ROOT, Scope};

/// How long an own change stands against listings that do not show it.
const GRACE: Duration = Duration::from_secs(300);

/// How much is remembered, and for how long it counts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder listed less than this ago is not listed again.
    pub freshness: Duration,
    /// Entries held in memory at the most; the folders used least recently go.
    pub max_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            freshness: Duration::from_secs(300),
            max_entries: 500_000,
        }
    }
}

/// When 1Fichier was asked.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    at: Instant,
    /// The same by the clock on the wall.
    pub time: SystemTime,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            time: SystemTime::now(),
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

#[derive(Clone, Debug)]
enum Change {
    FileAdded(FileRecord),
    FileRemoved(String),
    FolderAdded(FolderRecord),
    FolderRemoved(i64),
}

type Flight = Shared<BoxFuture<'static, Result<Snapshot>>>;
type WeakFlight = WeakShared<BoxFuture<'static, Result<Snapshot>>>;

#[derive(Default)]
struct Node {
    known: Option<Snapshot>,
    /// Nobody should trust `known` any more, but it still counts while
    /// 1Fichier allows no new listing.
    doubted: bool,
    changes: Vec<(Instant, Change)>,
    flight: Option<WeakFlight>,
    used: u64,
}

#[derive(Default)]
struct State {
    nodes: HashMap<i64, Node>,
    entries: usize,
    clock: u64,
    hits: u64,
    misses: u64,
}

/// Counters for people.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    /// Folders in memory.
    pub folders: u64,
    /// Entries in memory.
    pub entries: u64,
    /// Reads answered from memory.
    pub hits: u64,
    /// Reads that needed a listing.
    pub misses: u64,
}

/// The catalog of one account.
pub struct Catalog {
    client: Arc<Client>,
    settings: Settings,
    state: Mutex<State>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

impl Catalog {
    /// An empty catalog that asks through this client.
    pub fn new(client: Arc<Client>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            client,
            settings,
            state: Mutex::default(),
        })
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
        let flight = {
            let mut state = self.lock();
            state.clock += 1;
            let clock = state.clock;
            let node = state.nodes.entry(id).or_default();
            node.used = clock;
            if let Some(known) = &node.known {
                let age = known.as_of.at.elapsed();
                let limit = max_staleness.unwrap_or(self.settings.freshness);
                let fresh = age <= limit && !node.doubted;
                if fresh
                    || self.client.listing_allowed_in(id) > Duration::ZERO
                        && age < self.settings.freshness
                {
                    let known = known.clone();
                    state.hits += 1;
                    return Ok(known);
                }
            }
            let running = node.flight.as_ref().and_then(WeakShared::upgrade);
            match running {
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

    /// One listing, on behalf of all that wait. It has no deadline of its own:
    /// each caller stops waiting at its own, and the listing stops when none
    /// is left.
    async fn list(self: Arc<Self>, scope: Scope, id: i64) -> Result<Snapshot> {
        let scope = Scope {
            deadline: None,
            ..scope
        };
        let as_of = Moment::now();
        let listing = match self.client.list_folder(scope, id).await {
            Err(error) if error.kind() == Kind::NotFound && id != ROOT => {
                self.folder_gone(id);
                let text = "the directory is gone: another program removed it";
                return Err(Error::new(Reason::DirectoryNotFound, text));
            }
            other => other?,
        };
        let content = complete(listing)?;
        Ok(self.merge(id, content, as_of))
    }

    fn merge(&self, id: i64, mut content: Content, as_of: Moment) -> Snapshot {
        let mut state = self.lock();
        let now = Instant::now();
        let node = state.nodes.entry(id).or_default();
        let before = node.known.as_ref().map_or(0, |known| known.content.len());
        // What the listing shows needs no help any more. A removal stands for
        // its whole time: another listing may be older.
        node.changes
            .retain(|(at, change)| now - *at < GRACE && !change.is_shown(&content));
        for (_, change) in &node.changes {
            change.apply(&mut content);
        }
        let after = content.len();
        let snapshot = Snapshot {
            content: Arc::new(content),
            as_of,
        };
        node.known = Some(snapshot.clone());
        node.doubted = false;
        node.flight = None;
        state.entries = state.entries + after - before.min(state.entries + after);
        state.evict(self.settings.max_entries, id);
        snapshot
    }

    fn change(&self, folder: i64, change: Change) {
        let mut state = self.lock();
        let node = state.nodes.entry(folder).or_default();
        let mut difference = 0_isize;
        if let Some(known) = &mut node.known {
            let content = Arc::make_mut(&mut known.content);
            let before = content.len() as isize;
            change.apply(content);
            difference = content.len() as isize - before;
        }
        node.changes.push((Instant::now(), change));
        if node.changes.len() > 1_000 {
            let now = Instant::now();
            node.changes.retain(|(at, _)| now - *at < GRACE);
        }
        state.entries = state.entries.saturating_add_signed(difference);
    }

    /// A file was stored here.
    pub fn file_added(&self, folder: i64, file: FileRecord) {
        self.change(folder, Change::FileAdded(file));
    }

    /// A file is gone.
    pub fn file_removed(&self, folder: i64, url: &str) {
        self.change(folder, Change::FileRemoved(url.to_owned()));
    }

    /// A folder was made here. It may have been there, made by another program
    /// since the parent was listed ([API §J2]): that it is empty is known as of
    /// that listing.
    pub fn folder_made(&self, parent: i64, folder: FolderRecord) {
        let mut state = self.lock();
        let as_of = state
            .nodes
            .get(&parent)
            .and_then(|node| node.known.as_ref())
            .map(|known| known.as_of);
        if let Some(as_of) = as_of {
            let node = state.nodes.entry(folder.id).or_default();
            node.known.get_or_insert(Snapshot {
                content: Arc::default(),
                as_of,
            });
        }
        drop(state);
        self.change(parent, Change::FolderAdded(folder));
    }

    /// A folder was found here that the last listing did not show.
    pub fn folder_found(&self, parent: i64, folder: FolderRecord) {
        self.change(parent, Change::FolderAdded(folder));
    }

    /// Whether a fresh listing of the folder shows anything in it.
    pub fn known_full(&self, folder: i64) -> bool {
        self.lock().nodes.get(&folder).is_some_and(|node| {
            let known = node
                .known
                .as_ref()
                .filter(|known| known.as_of.at.elapsed() <= self.settings.freshness);
            !node.doubted && known.is_some_and(|known| !known.content.is_empty())
        })
    }

    /// A folder is gone.
    pub fn folder_removed(&self, parent: i64, id: i64) {
        let mut state = self.lock();
        if let Some(node) = state.nodes.remove(&id) {
            let entries = node.known.map_or(0, |known| known.content.len());
            state.entries = state.entries.saturating_sub(entries);
        }
        drop(state);
        self.change(parent, Change::FolderRemoved(id));
    }

    /// 1Fichier does not know the folder: it is in no other either.
    fn folder_gone(&self, id: i64) {
        let holds = |node: &Node| {
            let known = node.known.as_ref();
            known.is_some_and(|known| known.content.folders().any(|folder| folder.id == id))
        };
        let parents: Vec<i64> = self
            .lock()
            .nodes
            .iter()
            .filter(|(_, node)| holds(node))
            .map(|(parent, _)| *parent)
            .collect();
        for parent in parents {
            self.folder_removed(parent, id);
        }
    }

    /// What is remembered of the folder was found to be wrong.
    pub fn doubt(&self, folder: i64) {
        if let Some(node) = self.lock().nodes.get_mut(&folder) {
            node.doubted = true;
        }
    }

    /// How long until the folder can be listed; `None` when it was listed since
    /// a moment.
    pub fn listing_after(&self, folder: i64, since: Instant) -> Option<Duration> {
        let state = self.lock();
        let known = state
            .nodes
            .get(&folder)
            .and_then(|node| node.known.as_ref());
        known
            .is_none_or(|known| known.as_of.at < since)
            .then(|| self.client.listing_allowed_in(folder))
    }

    /// Whether the folder was changed from here so lately that 1Fichier may
    /// not show it yet.
    pub fn changed_lately(&self, folder: i64) -> bool {
        let now = Instant::now();
        self.lock()
            .nodes
            .get(&folder)
            .is_some_and(|node| node.changes.iter().any(|(at, _)| now - *at < GRACE))
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
        }
    }
}

impl State {
    /// Forgets the folders used least recently. What was changed lately stays:
    /// a new listing would not show it yet.
    fn evict(&mut self, limit: usize, keep: i64) {
        if self.entries <= limit {
            return;
        }
        let now = Instant::now();
        let mut candidates: Vec<_> = self
            .nodes
            .iter()
            .filter(|(id, node)| {
                **id != keep
                    && node.known.is_some()
                    && node.changes.iter().all(|(at, _)| now - *at >= GRACE)
            })
            .map(|(id, node)| (node.used, *id))
            .collect();
        candidates.sort_unstable();
        for (_, id) in candidates {
            if self.entries <= limit - limit / 10 {
                break;
            }
            if let Some(node) = self.nodes.remove(&id) {
                let entries = node.known.map_or(0, |known| known.content.len());
                self.entries = self.entries.saturating_sub(entries);
            }
        }
    }
}

impl Change {
    /// Whether a listing shows the addition.
    fn is_shown(&self, content: &Content) -> bool {
        match self {
            Self::FileAdded(file) => content.has_file(&file.url),
            Self::FolderAdded(folder) => content.folders().any(|other| other.id == folder.id),
            Self::FileRemoved(_) | Self::FolderRemoved(_) => false,
        }
    }

    fn apply(&self, content: &mut Content) {
        match self {
            Self::FileAdded(file) => content.add_file(file.clone()),
            Self::FileRemoved(url) => content.remove_file(url),
            Self::FolderAdded(folder) => content.add_folder(folder.clone()),
            Self::FolderRemoved(id) => content.remove_folder(*id),
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
                "the folder has {LISTING_CAP} files or more, and 1Fichier lists no more of them; spread them over several folders"
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
