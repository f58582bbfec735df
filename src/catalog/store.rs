//! What is remembered on disk: two SQLite databases.
//!
//! One holds what can be listed again: a warm start reads it instead of asking
//! 1Fichier. If it is damaged it is put away, and listings are made anew. The
//! other holds what cannot be listed again: times, checksums, outcomes, and
//! what is begun (`user.rs`). Nothing that happens to the first touches the
//! second.
//!
//! An error that may pass, such as a full disk, is waited for: what cannot be
//! written stays in memory, and is written when that is possible. Until then
//! nobody is told that it is on disk.
//!
//! SQLite through `rusqlite`: its calls block, which suits one writer thread
//! that groups many small changes into one transaction; an async wrapper would
//! add threads of its own and nothing else. One process uses the databases; the
//! state directory's lock sees to that.

mod cache;
mod checksums;
mod import;
mod layout;
mod modified;
mod open;
mod owner;
mod queue;
mod real;
mod rows;
mod shared;
mod shelf;
mod take_over;
#[cfg(test)]
mod tests;
mod trouble;
mod unsaved;
mod user;
mod writer;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::sync::watch;

use super::change::Change;
use super::content::{Content, FileRecord};
use super::recorded::ContentKey;
use crate::checksum::Checksum;
use crate::clock::Clock;
use crate::sync::thread;
use queue::Side;
use shared::{Shared, Wait, lock};
use unsaved::Time;
use user::Kind;
use writer::Writer;

pub use shelf::Shelf;

/// When 1Fichier was asked last who an account is, under another key: a fact.
pub(super) const ASKED: &str = "user_info_asked";

/// An intent that was not ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Intent {
    pub(super) id: u64,
    pub(super) folders: Vec<i64>,
    pub(super) touched: Vec<String>,
    pub(super) what: String,
}

/// What is remembered of a folder.
#[derive(Debug)]
pub(super) struct Remembered {
    /// The content, as of when it is, and when its listing was complete.
    pub(super) content: Option<(Content, SystemTime, SystemTime)>,
    pub(super) changes: Vec<(SystemTime, Change)>,
}

/// Something to write.
#[derive(Debug)]
pub(super) enum Write {
    Listing {
        folder: i64,
        content: Arc<Content>,
        as_of: SystemTime,
        at: SystemTime,
    },
    Change {
        folder: i64,
        change: Change,
        at: SystemTime,
    },
    /// What is remembered of the folder is not to be trusted.
    Doubt {
        folder: i64,
    },
    Forget {
        folder: i64,
    },
    /// A listing has shown these changes: it counts from now on.
    Shown {
        folder: i64,
        subjects: HashSet<String>,
    },
    /// The folder is in no other one.
    FolderGone {
        folder: i64,
    },
    /// A file is in a folder, and no own change says so.
    File {
        folder: i64,
        file: FileRecord,
    },
    /// The folder is not in this one, and no own change says so.
    FolderMissing {
        parent: i64,
        id: i64,
    },
    /// The file is not in this folder, and no own change says so.
    Missing {
        folder: i64,
        url: String,
    },
    Outcome {
        request: String,
        arguments: String,
        outcome: String,
        at: SystemTime,
    },
    Fact {
        name: String,
        value: String,
        at: SystemTime,
    },
    Checksums {
        key: ContentKey,
        sums: Vec<Checksum>,
    },
    /// The modification time of a file.
    Modified {
        url: String,
        time: i64,
    },
    /// A file has that of another one.
    ModifiedOf {
        from: String,
        to: String,
    },
    /// The file is gone.
    ModifiedNoMore {
        url: String,
    },
    /// Something that is about to be changed, in place of what stood there.
    Intent(Intent),
    /// Own changes of something in a folder do not count any more.
    Unsure {
        folder: i64,
        touched: String,
    },
    /// An intent is ended.
    Done {
        id: u64,
    },
    /// What the account is known by.
    Identity {
        account: String,
    },
}

impl Write {
    /// Where it goes.
    fn side(&self) -> Side {
        match self.folder() {
            Some(_) => Side::Cache,
            None => Side::User,
        }
    }

    /// The folder that it is about; what is about none cannot be listed again.
    fn folder(&self) -> Option<i64> {
        match self {
            Self::Listing { folder, .. }
            | Self::Change { folder, .. }
            | Self::Doubt { folder }
            | Self::Forget { folder }
            | Self::Shown { folder, .. }
            | Self::FolderGone { folder }
            | Self::File { folder, .. }
            | Self::FolderMissing { parent: folder, .. }
            | Self::Missing { folder, .. }
            | Self::Unsure { folder, .. } => Some(*folder),
            Self::Outcome { .. }
            | Self::Fact { .. }
            | Self::Checksums { .. }
            | Self::Modified { .. }
            | Self::ModifiedOf { .. }
            | Self::ModifiedNoMore { .. }
            | Self::Intent(_)
            | Self::Done { .. }
            | Self::Identity { .. } => None,
        }
    }
}

/// What is learnt of earlier runs: at the start, or later, where something
/// could not be read before or belongs to another key.
#[derive(Debug)]
pub(super) enum Lesson {
    /// It may have called a moment ago.
    RecentCalls,
    /// It may have listed any folder a moment ago.
    UnknownListings,
    /// It listed these, the oldest first.
    Listed(Vec<(i64, SystemTime)>),
    /// What it had begun and not ended. `own` says that the cache is that
    /// run's.
    Left { intents: Vec<Intent>, own: bool },
}

/// Which databases, and what is done with them.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Their name; then names by which earlier versions knew the same. One that
    /// is in use in this server is passed over.
    pub(super) names: Vec<String>,
    /// They are of a public folder.
    pub(super) is_shared: bool,
    /// Nothing is done that cannot be noted on disk.
    pub(super) required: bool,
    pub(super) clock: Clock,
}

/// Both databases of one account.
pub(super) struct Store {
    shared: Arc<Shared>,
    writer: Option<thread::JoinHandle<()>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or makes the databases of an account. What cannot be opened now
    /// is opened later.
    ///
    /// # Errors
    /// A text for the operator, when there is no name or no thread for it.
    pub(super) fn open(shelf: &Arc<Shelf>, options: Options) -> Result<Self, String> {
        Self::open_with(shelf, options, |_| ())
    }

    fn open_with(
        shelf: &Arc<Shelf>,
        options: Options,
        prepare: impl FnOnce(&Shared),
    ) -> Result<Self, String> {
        let Options {
            mut names,
            is_shared,
            required,
            clock,
        } = options;
        let held = names.iter().find_map(|name| shelf.hold(name));
        let held = held.ok_or("the databases of an account are in use already")?;
        names.retain(|name| name != held.name());
        let kind = match is_shared {
            true => Kind::Shared,
            false => Kind::Account,
        };
        let shared = Arc::new(Shared::new(held, required, clock));
        prepare(&shared);
        let mut writer = Writer::new(Arc::clone(&shared), kind, names);
        writer.turn(false);
        let thread = thread::spawn("catalog", move || writer.run())
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self {
            shared,
            writer: Some(thread),
        })
    }

    /// What people should know; `None` when all is well.
    pub(super) fn problem(&self) -> Option<String> {
        self.shared.problem()
    }

    /// What was learnt of earlier runs since the last time.
    pub(super) fn lessons(&self) -> Vec<Lesson> {
        self.shared.take_lessons()
    }

    /// Wakes when there is more to learn.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.shared.news.subscribe()
    }

    /// A number for a file that is stored now.
    pub(super) fn next_order(&self) -> u64 {
        self.shared.order.fetch_add(1, Ordering::Relaxed)
    }

    /// A number for something that is about to be changed.
    pub(super) fn next_intent(&self) -> u64 {
        self.shared.next_intent.fetch_add(1, Ordering::Relaxed)
    }

    /// Queues something to write.
    pub(super) fn write(&self, write: Write) {
        self.shared.push(write);
    }

    /// Why nothing is promised now that must be on disk; `None` when it is.
    pub(super) fn refusal(&self) -> Option<String> {
        if !self.shared.required {
            return None;
        }
        lock(&self.shared.queue).refusing.clone()
    }

    /// Waits until all that was queued is on disk.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn flush(&self) -> Result<(), String> {
        let flushed = self.wait(false).await;
        match self.shared.required {
            true => flushed,
            // The operator wants to go on.
            false => Ok(()),
        }
    }

    async fn wait(&self, is_reader: bool) -> Result<(), String> {
        match self.shared.wait(is_reader) {
            Wait::Over(result) => result,
            Wait::For(answer) => {
                let answered = thread::blocking(move || answer.recv()).await;
                let stopped = || Err("the server is stopping".to_owned());
                match answered {
                    Some(Ok(answer)) => answer,
                    _ => stopped(),
                }
            }
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        side: Side,
        read: impl Fn(&rusqlite::Connection) -> Result<T, trouble::Trouble> + Send + 'static,
    ) -> Option<T> {
        let shared = Arc::clone(&self.shared);
        thread::blocking(move || shared.read(side, read)).await?
    }

    /// What is remembered of a folder.
    pub(super) async fn load(&self, folder: i64) -> Remembered {
        let nothing = Remembered {
            content: None,
            changes: Vec::new(),
        };
        // What is on disk fell behind.
        if self.wait(true).await.is_err() && lock(&self.shared.queue).concerns(folder) {
            return nothing;
        }
        self.read(Side::Cache, move |connection| {
            Ok(rows::load(connection, folder)?)
        })
        .await
        .unwrap_or(nothing)
    }

    /// Whether any checksums were recorded.
    pub(super) fn has_checksums(&self) -> bool {
        self.shared.has_checksums.load(Ordering::Relaxed)
    }

    /// The recorded checksums of contents, in order.
    pub(super) async fn checksums(&self, keys: Vec<ContentKey>) -> Option<Vec<Vec<Checksum>>> {
        if !self.has_checksums() {
            return None;
        }
        let unsaved: Vec<_> = {
            let queue = lock(&self.shared.queue);
            let of = |key: &ContentKey| {
                let mut sums = queue
                    .in_work
                    .as_ref()
                    .and_then(|in_work| in_work.sums(key).cloned())
                    .unwrap_or_default();
                if let Some(newer) = queue.pending.sums(key) {
                    checksums::merge(&mut sums, newer.clone());
                }
                sums
            };
            match queue.has_unsaved() {
                true => keys.iter().map(of).collect(),
                false => Vec::new(),
            }
        };
        let count = keys.len();
        let read = self.read(Side::User, move |connection| {
            Ok(checksums::look_up(connection, &keys)?)
        });
        let mut sums = read.await.unwrap_or_else(|| vec![Vec::new(); count]);
        for (sums, newer) in sums.iter_mut().zip(unsaved) {
            if !newer.is_empty() {
                checksums::merge(sums, newer);
            }
        }
        Some(sums)
    }

    /// Whether any modification times were set.
    pub(super) fn has_modified(&self) -> bool {
        self.shared.has_modified.load(Ordering::Relaxed)
    }

    /// The modification times of files, where there are any.
    pub(super) async fn modified(&self, urls: Vec<String>) -> HashMap<String, i64> {
        let mut times = HashMap::new();
        // By the file that the database is asked for: those that have its time.
        let mut asked: HashMap<String, Vec<String>> = HashMap::new();
        {
            let queue = lock(&self.shared.queue);
            for url in urls {
                let in_work = queue.in_work.as_ref();
                let time = queue
                    .pending
                    .time(&url)
                    .or_else(|| in_work.and_then(|in_work| in_work.time(&url)));
                match time {
                    Some(Time::At(time)) => {
                        times.insert(url, *time);
                    }
                    Some(Time::Gone) => {}
                    Some(Time::Of(from)) => asked.entry(from.clone()).or_default().push(url),
                    None => asked.entry(url.clone()).or_default().push(url),
                }
            }
        }
        let wanted: Vec<String> = asked.keys().cloned().collect();
        let read = self.read(Side::User, move |connection| {
            Ok(modified::look_up(connection, &wanted)?)
        });
        for (from, time) in read.await.unwrap_or_default() {
            for url in asked.remove(&from).unwrap_or_default() {
                times.insert(url, time);
            }
        }
        times
    }

    /// The outcome of an earlier call: when it was, its arguments and its
    /// answer.
    ///
    /// # Errors
    /// Why it cannot be known now.
    pub(super) async fn outcome(
        &self,
        request: String,
    ) -> Result<Option<(SystemTime, String, String)>, String> {
        let known = {
            let queue = lock(&self.shared.queue);
            let in_work = queue.in_work.as_ref();
            let known = queue.pending.outcome(&request).cloned();
            known.or_else(|| in_work.and_then(|in_work| in_work.outcome(&request).cloned()))
        };
        let found = match known {
            Some(known) => Some(known),
            None => {
                let read = self.read(Side::User, move |connection| {
                    user::outcome(connection, &request)
                });
                match read.await {
                    Some(found) => found,
                    None if self.shared.required => {
                        return Err("the outcomes of earlier calls cannot be read now".to_owned());
                    }
                    None => None,
                }
            }
        };
        Ok(found.map(|known| (known.at, known.arguments, known.outcome)))
    }

    /// A fact and when it was so.
    pub(super) fn fact(&self, name: &str) -> Option<(SystemTime, String)> {
        {
            let queue = lock(&self.shared.queue);
            let in_work = queue.in_work.as_ref();
            let known = queue.pending.fact(name);
            let known = known.or_else(|| in_work.and_then(|in_work| in_work.fact(name)));
            if known.is_some() {
                return known;
            }
        }
        let read = |connection: &rusqlite::Connection| user::fact(connection, name);
        self.shared.read(Side::User, read)?
    }

    /// Whether 1Fichier has told what the account is known by.
    pub(super) fn is_identified(&self) -> bool {
        !lock(&self.shared.identities).is_empty()
    }

    /// What 1Fichier told the account is known by.
    pub(super) fn identify(&self, account: String) {
        let is_known = lock(&self.shared.identities).contains(&account);
        if !is_known {
            self.write(Write::Identity { account });
        }
    }

    /// Whether there are databases of which it is not known whose they are.
    pub(super) fn has_strays(&self) -> bool {
        self.shared.has_strays.load(Ordering::Relaxed)
    }
}

impl Store {
    /// Waits until what was found to be this account's is taken over.
    pub(super) async fn taken_over(&self) {
        let shared = Arc::clone(&self.shared);
        let _ = thread::blocking(move || shared.wait_until_taken()).await;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The writer ends when it has written all that was queued.
        self.shared.close();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
