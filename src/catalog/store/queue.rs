//! What waits for the disk.
//!
//! While the disk takes nothing, memory stays bounded: of user data the last
//! state of each thing counts (`unsaved.rs`), and of more listings than fit it
//! is only noted which folders must be forgotten on disk.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::unsaved::Unsaved;
use super::{Intent, Write};
use crate::sync::mpsc::Sender;

/// Changes that may wait for the writer.
pub(super) const QUEUE: usize = 10_000;

/// One of the two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Cache,
    User,
}

/// How far both databases are written: the number of writes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    pub(super) cache: u64,
    pub(super) user: u64,
}

/// Somebody who waits for the disk.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) until: Position,
    /// Only what can be listed again is waited for.
    pub(super) is_reader: bool,
    pub(super) answer: Sender<Result<(), String>>,
}

/// Something else for the writer to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Whoever read a database has met damage in it. It may have been replaced
    /// since.
    Damaged {
        side: Side,
        generation: u64,
        why: String,
    },
}

/// Intents by their numbers.
pub(super) type Intents = HashMap<u64, Intent>;

/// What waits for the disk.
#[derive(Debug, Default)]
pub(super) struct Queue {
    cache: VecDeque<Arc<Write>>,
    /// Folders whose listings could not be kept.
    pub(super) lost: BTreeSet<i64>,
    /// Changes whenever the queue does in another way than at its ends.
    cut: u64,
    pub(super) pending: Unsaved,
    /// What is being written just now.
    pub(super) in_work: Option<Arc<Unsaved>>,
    /// Those that are on disk.
    pub(super) stored: Intents,
    pub(super) queued: Position,
    pub(super) written: Position,
    pub(super) waiting: Vec<Waiting>,
    pub(super) jobs: VecDeque<Job>,
    /// User data for which there was no room.
    pub(super) dropped: u64,
    /// The disk does not take listings: nobody waits for room.
    pub(super) is_stuck: bool,
    /// It is on disk that the cache does not hold all that it should: that is
    /// not waited for.
    pub(super) is_noted_behind: bool,
    /// Why nobody is told any more that something is on disk.
    pub(super) refusing: Option<String>,
    pub(super) is_closing: bool,
}

/// Listings and changes that are written together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) writes: Vec<Arc<Write>>,
    cut: u64,
}

impl Queue {
    /// Takes a write.
    pub(super) fn push(&mut self, write: Write) {
        if write.side() == Side::Cache {
            if self.is_full() {
                self.cut_short();
            }
            self.cache.push_back(Arc::new(write));
            self.queued.cache += 1;
            return;
        }
        let stored = &self.stored;
        let is_kept = self.pending.add(write, self.in_work.as_deref(), |id| {
            stored.contains_key(&id)
        });
        self.dropped += u64::from(!is_kept);
        self.queued.user += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.cache.len() >= QUEUE
    }

    /// Keeps nothing of listings but that they are lost. Own changes stay, as
    /// far as there is room: listings may not show them yet.
    fn cut_short(&mut self) {
        self.cut += 1;
        for write in std::mem::take(&mut self.cache) {
            match &*write {
                Write::Change { folder, .. } | Write::Unsure { folder, .. }
                    if self.cache.len() < QUEUE / 2 =>
                {
                    self.lost.insert(*folder);
                    self.cache.push_back(write);
                }
                other => self.lost.extend(other.folder()),
            }
        }
        self.written.cache = self.queued.cache - self.cache.len() as u64;
    }

    /// The next listings and changes to write; none when there are none.
    pub(super) fn group(&self, most: usize) -> Group {
        Group {
            writes: self.cache.iter().take(most).cloned().collect(),
            cut: self.cut,
        }
    }

    /// A group is on disk.
    pub(super) fn group_written(&mut self, group: &Group) {
        // What was cut short meanwhile is written anew.
        if group.cut == self.cut {
            self.cache.drain(..group.writes.len());
            self.written.cache = self.queued.cache - self.cache.len() as u64;
        }
    }

    /// Whether the disk holds all that was queued of listings and changes.
    pub(super) fn is_cache_behind(&self) -> bool {
        !self.cache.is_empty() || !self.lost.is_empty()
    }

    /// Whether something that waits is about a folder: what is on disk of it
    /// does not count.
    pub(super) fn concerns(&self, folder: i64) -> bool {
        self.lost.contains(&folder)
            || self
                .cache
                .iter()
                .any(|write| write.folder() == Some(folder))
    }

    /// The user data to write next: what could not be written before, and what
    /// came since.
    pub(super) fn take_unsaved(&mut self) -> Arc<Unsaved> {
        if !self.pending.is_empty() {
            let mut all = std::mem::take(&mut self.pending);
            if let Some(before) = self.in_work.take() {
                all.put_under(Arc::unwrap_or_clone(before));
            }
            self.in_work = Some(Arc::new(all));
        }
        self.in_work.clone().unwrap_or_default()
    }

    /// It is on disk.
    pub(super) fn unsaved_written(&mut self, unsaved: &Unsaved, position: u64) {
        for (id, intent) in unsaved.intents() {
            match intent {
                Some(intent) => self.stored.insert(id, intent.clone()),
                None => self.stored.remove(&id),
            };
        }
        self.in_work = None;
        self.written.user = position;
    }

    pub(super) fn has_unsaved(&self) -> bool {
        !self.pending.is_empty() || self.in_work.is_some()
    }
}
