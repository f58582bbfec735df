//! What an account's tree looks like, remembered.
//!
//! A folder is listed when somebody needs it and nobody listed it lately; one
//! listing serves all that wait for it. Own changes are applied at once, and
//! stay applied over later listings until those agree: 1Fichier's listings
//! lag behind its changes ([API §I]). All of it is also on disk, so that a
//! warm start lists nothing; in memory are the folders used last.

mod change;
mod content;
mod journal;
mod listing;
mod modified;
mod node;
mod order;
mod recorded;
mod source;
mod state;
mod store;
mod walk;
mod windows;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

pub use content::{Content, FileRecord, FolderRecord, Whirlpool};
pub use journal::{Intent, Touched, Unfinished};
pub use order::newest_first;
pub use recorded::ContentKey;
pub use source::Source;
pub use store::Shelf;

use crate::clock::{Clock, Moment};
use crate::encoding::NameCodec;
use crate::error::Result;
use crate::fichier;
use crate::sync::{Mutex, MutexGuard};
use change::Change;
use node::Node;
use state::{Item, State};
use store::{Lesson, Store, Write};

/// How long an own change stands against listings that do not show it.
const GRACE: Duration = Duration::from_secs(300);
/// How long 1Fichier may answer that it does not know what was stored or made
/// from here, though it is there ([API §I]).
pub const YOUNG: Duration = Duration::from_secs(30);
/// Large folders that are listed in parts at one time.
const WALKS: usize = 2;

/// How much is remembered, and for how long it counts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder listed less than this ago is not listed again.
    pub freshness: Duration,
    /// Nobody else writes to the account: what is known stays true.
    pub exclusive: bool,
    /// Entries held in memory at the most; the folders used least recently go.
    pub max_entries: usize,
    /// Nothing is promised that cannot be written to disk.
    pub state_required: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            freshness: Duration::from_secs(300),
            exclusive: false,
            max_entries: 200_000,
            state_required: true,
        }
    }
}

/// A folder's content as of a moment, with all own changes since.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The content.
    pub content: Arc<Content>,
    /// When 1Fichier was asked, for the oldest part of it.
    pub as_of: Moment,
    /// When the listing was complete. Its freshness counts from here: a large
    /// folder takes minutes.
    listed: Moment,
}

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

/// The catalog of one account, or of one public folder.
pub struct Catalog {
    source: Source,
    settings: Settings,
    clock: Clock,
    store: Store,
    state: Mutex<State>,
    walks: Arc<Semaphore>,
    journal: journal::Journal,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

impl Catalog {
    /// The catalog of an account, as far as it is remembered on a shelf under
    /// the first of these names. The others are names that earlier versions
    /// gave to the same.
    ///
    /// # Errors
    /// A text for the operator when there is no name or no thread for it.
    pub fn open(
        shelf: &Arc<Shelf>,
        names: Vec<String>,
        source: Source,
        settings: Settings,
        clock: Clock,
    ) -> Result<Arc<Self>, String> {
        let options = store::Options {
            names,
            is_shared: source.is_shared(),
            required: settings.state_required,
            clock,
        };
        let catalog = Self {
            store: Store::open(shelf, options)?,
            journal: journal::Journal::default(),
            source,
            settings,
            clock,
            state: Mutex::default(),
            walks: Arc::new(Semaphore::new(WALKS)),
        };
        catalog.learn();
        Ok(Arc::new(catalog))
    }

    /// Wakes when there is something to [learn](Self::learn).
    pub fn news(&self) -> watch::Receiver<()> {
        self.store.news()
    }

    /// Takes up what was learnt of earlier runs: at the start, or later, where
    /// it could not be read before or another key has left it.
    pub fn learn(&self) {
        for lesson in self.store.lessons() {
            match lesson {
                Lesson::RecentCalls => self.source.restore_calls(),
                Lesson::UnknownListings => self.source.restore_unknown(),
                Lesson::Listed(folders) => {
                    for (folder, at) in folders {
                        let age = self.clock.age(Moment::remembered(at));
                        self.source.restore_listing(folder, age);
                    }
                }
                Lesson::Left { intents, own } => self.take_up(intents, own),
            }
        }
    }

    /// A number for a file that is stored now: larger than those of all files
    /// stored before, in earlier runs too.
    pub fn next_order(&self) -> u64 {
        self.store.next_order()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// 1Fichier told of a file that the last listing did not show. Not an own
    /// change: the next listing counts.
    pub fn file_shown(&self, folder: i64, file: FileRecord) {
        let mut state = self.lock();
        self.store.write(Write::File {
            folder,
            file: file.clone(),
        });
        state.file_shown(folder, file);
    }

    /// A file is gone.
    pub fn file_removed(&self, folder: i64, url: &str) {
        self.change(folder, Change::FileRemoved(url.into()));
    }

    /// A file has another name in the same folder now.
    pub fn file_renamed(&self, folder: i64, file: FileRecord, old_name: &str) {
        self.change(folder, Change::FileRenamed(file, old_name.into()));
    }

    /// A file has a password now, or none any more.
    pub fn file_protected(&self, folder: i64, url: &str, password: bool) {
        self.change(folder, Change::FileProtected(url.into(), password));
    }

    /// A folder has a password now, or none any more.
    pub fn folder_protected(&self, parent: i64, id: i64, password: bool) {
        self.change(parent, Change::FolderProtected(id, password));
    }

    /// A folder was made here. It may have been there, made by another program
    /// since the parent was listed ([API §J2]): that it is empty is known as of
    /// that listing.
    pub fn folder_made(&self, parent: i64, folder: FolderRecord) {
        let id = folder.id;
        let mut state = self.lock();
        let known = |id: i64| {
            let node = state.nodes.get(&id)?;
            node.known.as_ref().map(|known| known.as_of)
        };
        // One that is known already may have something in it.
        if let Some(as_of) = known(parent).filter(|_| known(id).is_none()) {
            self.store.write(Write::Listing {
                folder: id,
                content: Arc::default(),
                as_of: as_of.time,
                at: as_of.time,
            });
            state.made(id, as_of);
        }
        drop(state);
        self.change(parent, Change::FolderMade(folder));
    }

    /// 1Fichier says, asked for what is in it, that a folder is in another one.
    pub fn folder_found(&self, parent: i64, id: i64) {
        self.lock().confirm(parent, Item::Folder(id));
    }

    /// Whether the folder is being listed in parts, for minutes.
    pub fn is_walked(&self, id: i64) -> bool {
        let state = self.lock();
        state.nodes.get(&id).is_some_and(Node::is_walked)
    }

    /// A folder is not where it was put from here: only a listing tells where it
    /// is.
    pub fn folder_missing(&self, parent: i64, id: i64) {
        let mut state = self.lock();
        self.store.write(Write::FolderMissing { parent, id });
        state.leave(parent, id);
        drop(state);
        self.mistrust(parent);
    }

    /// A folder was made here, and is not where it was made, as 1Fichier has told:
    /// unless a listing has shown it, it is not remembered any more.
    pub fn forget_unshown(&self, parent: i64, id: i64) {
        let mut state = self.lock();
        let node = state.nodes.get(&parent);
        let own = node.and_then(|node| node.own_folder(id));
        if own.is_some_and(|own| !own.shown) {
            self.store.write(Write::FolderMissing { parent, id });
            state.leave(parent, id);
        }
    }

    /// A folder was seen here that the last listing did not show.
    pub fn folder_shown(&self, parent: i64, folder: FolderRecord) {
        self.change(parent, Change::FolderAdded(folder));
    }

    /// A folder was removed.
    pub fn folder_removed(&self, parent: i64, id: i64) {
        {
            let mut state = self.lock();
            self.store.write(Write::Forget { folder: id });
            state.removed(id);
        }
        self.change(parent, Change::FolderRemoved(id));
    }

    /// Whether the folder was removed from here.
    pub fn is_removed(&self, id: i64) -> bool {
        self.lock().is_removed(id)
    }

    /// A folder has another parent or another name. What is known of its
    /// content stays true: folders keep their ids ([API §C]).
    pub fn folder_moved(&self, from: i64, to: i64, folder: FolderRecord) {
        if from != to {
            self.change(from, Change::FolderRemoved(folder.id));
        }
        self.change(to, Change::FolderAdded(folder));
    }

    /// 1Fichier does not know the folder: it is in no other either. Where it
    /// was there may be another one of its name by now.
    pub fn folder_gone(&self, id: i64) {
        let parents: Vec<i64> = {
            let mut state = self.lock();
            let parents = state.holders(id);
            state.removed(id);
            self.store.write(Write::Forget { folder: id });
            parents
        };
        self.store.write(Write::FolderGone { folder: id });
        for parent in parents {
            self.change(parent, Change::FolderRemoved(id));
            self.mistrust(parent);
        }
    }

    /// 1Fichier does not know a file that was here. Nothing hides it if a
    /// listing shows it again: only what was removed from here is known to stay
    /// away.
    pub fn file_missing(&self, folder: i64, url: &str) {
        let mut state = self.lock();
        self.store.write(Write::Missing {
            folder,
            url: url.to_owned(),
        });
        state.file_missing(folder, url);
        drop(state);
        self.mistrust(folder);
    }

    /// 1Fichier holds something else than what is remembered of the folder:
    /// what that lacks may be there. A listing that begins later ends this.
    pub fn mistrust(&self, folder: i64) {
        self.doubt(folder);
        if let Some(node) = self.lock().nodes.get_mut(&folder) {
            node.wrong = Some(Instant::now());
        }
    }

    /// Since when what is remembered of a folder is known to be wrong.
    pub fn wrong_since(&self, folder: i64) -> Option<Instant> {
        self.lock().nodes.get(&folder)?.wrong
    }

    /// How long ago 1Fichier showed that a file is in a folder: by a listing,
    /// or by an own call that put it there. `None` when nothing in memory says
    /// that it is there.
    pub fn file_seen(&self, folder: i64, url: &str) -> Option<Duration> {
        let state = self.lock();
        let node = state.nodes.get(&folder)?;
        let own = node.own_file(url);
        let known = node.known.as_ref();
        let seen = match known.filter(|known| known.content.has_file(url)) {
            Some(known) => Some(Node::seen(own, self.shown(known))),
            None => own
                .filter(|_| known.is_none())
                .map(|own| Node::seen(Some(own), Duration::MAX)),
        };
        seen.map(|age| age.min(state.confirmed(folder, Item::File(url.into()))))
    }

    /// The same for a sub-folder of this name.
    pub fn folder_seen(&self, parent: i64, folder: &FolderRecord) -> Option<Duration> {
        let state = self.lock();
        let node = state.nodes.get(&parent)?;
        let known = node.known.as_ref()?;
        let found = known.content.folder(folder.id)?;
        let listed = self.shown(known);
        let seen =
            (found.name == folder.name).then(|| Node::seen(node.own_folder(folder.id), listed));
        seen.map(|age| age.min(state.confirmed(parent, Item::Folder(folder.id))))
    }

    /// Whether a folder was moved or renamed from here to where it is lately, and
    /// no listing has shown it there.
    pub fn was_moved(&self, parent: i64, id: i64) -> bool {
        let state = self.lock();
        let node = state.nodes.get(&parent);
        node.is_some_and(|node| node.was_moved(id))
    }

    /// Whether a listing of a folder is no older than this.
    pub fn is_listed_within(&self, folder: i64, age: Duration) -> bool {
        let state = self.lock();
        let known = state
            .nodes
            .get(&folder)
            .and_then(|node| node.known.as_ref());
        known.is_some_and(|known| self.shown(known) <= age)
    }

    /// How long ago a listing showed a content. One in parts counts as of now
    /// for as long as it took: no newer one is to be had sooner.
    fn shown(&self, known: &Snapshot) -> Duration {
        let took = known.listed.time.duration_since(known.as_of.time);
        let age = self.clock.age(known.listed);
        age.saturating_sub(took.unwrap_or_default())
    }

    /// 1Fichier says, asked for it alone, that a file is in a folder.
    pub fn file_found(&self, folder: i64, url: &str) {
        self.lock().confirm(folder, Item::File(url.into()));
    }

    /// Whether a file was put here, or got its name here, so lately from here
    /// that 1Fichier may not know it by its link yet.
    pub fn is_young(&self, folder: i64, url: &str) -> bool {
        let state = self.lock();
        let node = state.nodes.get(&folder);
        node.and_then(|node| node.own_file(url))
            .is_some_and(|own| own.at.elapsed() < YOUNG)
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
            .is_none_or(|known| self.clock.age(known.listed) > since.elapsed())
            .then(|| self.source.listing_allowed_in(folder))
    }

    /// Whether nobody else writes to the account.
    pub fn is_exclusive(&self) -> bool {
        self.settings.exclusive
    }

    /// When the folder was last listed, by the steady clock.
    pub fn listed_at(&self, folder: i64) -> Option<Instant> {
        let state = self.lock();
        let known = state.nodes.get(&folder)?.known.as_ref()?;
        Instant::now().checked_sub(self.clock.age(known.listed))
    }

    /// What is remembered of the folder was found to be wrong.
    pub fn doubt(&self, folder: i64) {
        let mut state = self.lock();
        self.store.write(Write::Doubt { folder });
        if let Some(node) = state.nodes.get_mut(&folder) {
            node.doubted = true;
            node.failed = None;
        }
    }

    /// Waits until all changes so far are on disk: what is acknowledged must
    /// survive a crash.
    ///
    /// # Errors
    /// When the disk does not take them. They stay in memory, and are written
    /// when it does.
    pub async fn settle(&self) -> Result<(), fichier::Error> {
        self.store.flush().await.map_err(fichier::Error::unkept)
    }

    /// Whether what is done now could be noted on disk, as far as is known.
    ///
    /// # Errors
    /// When it could not.
    pub fn check_kept(&self) -> Result<(), fichier::Error> {
        match self.store.refusal() {
            Some(why) => Err(fichier::Error::unkept(why)),
            None => Ok(()),
        }
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
                !node.doubted && self.clock.age(known.listed) <= self.settings.freshness
            })
        })
    }

    /// Whether a file is known only because it was put there from here: no
    /// listing has shown it yet.
    pub fn is_unlisted(&self, folder: i64, url: &str) -> bool {
        let state = self.lock();
        let mut changes = state.nodes.get(&folder).into_iter().flat_map(Node::changes);
        changes.any(|change| match change {
            Change::FileAdded(file) | Change::FileReturned(file) => *file.url == *url,
            _ => false,
        })
    }

    /// Whether a folder is in another under this name, as far as is remembered.
    /// One of which nothing is in memory may hold anything.
    pub fn may_hold(&self, parent: i64, folder: &FolderRecord) -> bool {
        let state = self.lock();
        let known = state
            .nodes
            .get(&parent)
            .and_then(|node| node.known.as_ref());
        known.is_none_or(|known| {
            let found = known.content.folder(folder.id);
            found.is_some_and(|found| found.name == folder.name)
        })
    }

    /// Whether a folder has no entry of this stored name, or of another one
    /// for the same segment; `None` when nothing of it is in memory.
    pub fn lacks(&self, folder: i64, codec: NameCodec, name: &str) -> Option<bool> {
        let state = self.lock();
        let known = state
            .nodes
            .get(&folder)
            .and_then(|node| node.known.as_ref());
        let segment = codec.to_segment(name);
        known.map(|known| {
            known.content.find_folder(codec, &segment).is_none()
                && known.content.find_files(codec, &segment).is_empty()
        })
    }

    /// Whether the folder was changed from here so lately that 1Fichier may
    /// not show it yet.
    pub fn changed_lately(&self, folder: i64) -> bool {
        self.lock()
            .nodes
            .get(&folder)
            .is_some_and(Node::changed_lately)
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
    ///
    /// # Errors
    /// When that cannot be known now.
    pub async fn outcome(&self, request: &str) -> Result<Option<(String, String)>, fichier::Error> {
        const MEMORY: Duration = Duration::from_secs(1_800);
        let found = self.store.outcome(request.to_owned()).await;
        let found = found.map_err(fichier::Error::unkept)?;
        Ok(found.and_then(|(at, arguments, outcome)| {
            let age = self.clock.age(Moment::remembered(self.past(at)));
            (age < MEMORY).then_some((arguments, outcome))
        }))
    }

    /// A moment that was noted; a clock that was ahead then counts as now.
    fn past(&self, at: SystemTime) -> SystemTime {
        at.min(self.clock.now())
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
        Some((Moment::remembered(self.past(at)), value))
    }

    /// The same of a fact about the time to come.
    pub fn fact_ahead(&self, name: &str) -> Option<(SystemTime, String)> {
        self.store.fact(name)
    }

    /// When 1Fichier was asked last who the account is, with another key.
    pub fn asked_with_another_key(&self) -> Option<Duration> {
        let (at, _) = self.fact(store::ASKED)?;
        Some(self.clock.age(at))
    }

    /// Whether 1Fichier has told whose account it is.
    pub fn is_identified(&self) -> bool {
        self.store.is_identified()
    }

    /// 1Fichier has told whose account it is: what was remembered of it under
    /// other keys belongs to it.
    pub fn identify(&self, account: &str) {
        self.store.identify(account.to_owned());
    }

    /// Waits until what was remembered under another key is taken over, as far
    /// as listings have shown that it is this account's.
    pub async fn taken_over(&self) {
        // What a listing shows is looked at when it is written.
        if self.settle().await.is_ok() {
            self.store.taken_over().await;
        }
    }

    /// Whether there are databases that no key opens, and that may be this
    /// account's.
    pub fn has_strays(&self) -> bool {
        self.store.has_strays()
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
