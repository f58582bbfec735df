//! What was begun and not seen to end: by an earlier run, or by a call whose
//! outcome could not be found out. It is looked after until it is as it should
//! be: a file is the old or the new one, whole and once, and a directory is not
//! half-way.

mod folders;
mod writes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tracing::Instrument;

use super::batch::Target;
use super::journal::{Task, Write};
use super::locks::operation;
use super::path::RemotePath;
use super::twins::Directory;
use super::{Account, Remote};
use crate::catalog::{Catalog, FileRecord, Intent, Unfinished};
use crate::fichier::{Priority, Scope};
use crate::spans;

/// How long until the first repeat; each next one waits twice as long.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3_600);
/// After a start the second look comes as soon as 1Fichier allows it.
const AGAIN: Duration = Duration::from_secs(31);
/// What was on its way may show as late as this; then it does not come any more
/// ([API §5, §I]).
const LINGER: Duration = Duration::from_secs(900);
/// Changes that are looked after; more than these stay as they are.
const MOST: usize = 10_000;

/// Something that is looked after.
#[derive(Clone, Debug)]
struct Open {
    task: Task,
    /// What 1Fichier told before that does not count.
    since: Instant,
    /// Until when it may still show.
    until: Instant,
    /// An earlier run began it.
    is_old: bool,
    /// It was looked for, and did not show.
    looked: bool,
    /// The call that began it, where that is known.
    cause: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Queue {
    /// By intent.
    open: BTreeMap<u64, Open>,
    /// Somebody will look after them.
    scheduled: bool,
}

/// What an account looks after.
#[derive(Debug, Default)]
pub(super) struct Recovery(Mutex<Queue>);

/// What a look has brought.
enum Seen {
    /// There is nothing more to do.
    End,
    /// It does not show yet.
    NotYet,
    /// Nothing is known, or something could not be done.
    Unknown,
}

impl Recovery {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: u64) -> Option<Open> {
        self.lock().open.get(&id).cloned()
    }

    fn all(&self) -> Vec<(u64, Open)> {
        let queue = self.lock();
        let open = queue.open.iter();
        open.map(|(id, open)| (*id, open.clone())).collect()
    }

    /// There is nothing more to do.
    fn end(&self, id: u64, catalog: &Catalog) {
        if self.lock().open.remove(&id).is_some() {
            catalog.end_intent(id);
        }
    }

    /// Changes of which nobody knows yet how they ended.
    pub(super) fn unfinished(&self) -> u64 {
        let queue = self.lock();
        queue.open.values().filter(|open| !open.looked).count() as u64
    }
}

/// Files of one content that an interrupted write is told from.
const MOST_VOUCHED: usize = 1_000;

fn scope() -> Scope {
    Scope::new(Priority::Background)
}

impl Account {
    /// Takes up what an earlier run has left.
    pub(super) fn resume(self: &Arc<Self>) {
        let mut is_first = false;
        for Unfinished { id, what } in self.catalog.take_unfinished() {
            match serde_json::from_str::<Task>(&what) {
                Ok(Task::Landing(landing)) => {
                    let remote = self.remote_of(landing.encoding);
                    remote.confirm_later(id, landing);
                }
                Ok(task) => is_first |= self.enqueue(id, task, true),
                Err(error) => {
                    tracing::error!(%error, "what an earlier version had begun is not understood; look for duplicates with Dedupe");
                    self.catalog.end_intent(id);
                }
            }
        }
        // Not before all are there: the next look is a minute later.
        if is_first {
            self.begin_recovery(Duration::ZERO);
        }
    }

    /// Looks after what could not be seen to end.
    pub(super) fn leave(self: &Arc<Self>, intent: Intent, task: Task) {
        let id = intent.leave(task.text());
        self.look_after(id, task);
    }

    /// A file is at its path. What it was to replace and could not be removed
    /// goes later.
    pub(super) fn written(
        self: &Arc<Self>,
        intent: Intent,
        write: Write,
        folder: i64,
        file: &FileRecord,
        left: Vec<Target>,
    ) {
        if left.is_empty() {
            intent.done();
            return;
        }
        let left = Write {
            folder,
            before: left,
            kept: Some(file.url.clone()),
            source: None,
            request: None,
            ..write
        };
        self.leave(intent, Task::Write(left));
    }

    /// A file was sent again although it may have been stored before: a second
    /// one that shows late goes.
    pub(super) fn watch_for_second(
        self: &Arc<Self>,
        write: &Write,
        folder: i64,
        file: &FileRecord,
    ) {
        let mut second = Write {
            folder,
            unwanted: true,
            request: None,
            ..write.clone()
        };
        second.before.push(Target::new(folder, &file.url));
        let task = Task::Write(second);
        let id = self.catalog.note(task.text());
        self.look_after(id, task);
    }

    fn look_after(self: &Arc<Self>, id: u64, task: Task) {
        if self.enqueue(id, task, false) {
            // Not a task that shutdown waits for, and it keeps nothing alive:
            // what is left is on disk.
            self.begin_recovery(FIRST);
        }
    }

    fn begin_recovery(self: &Arc<Self>, first: Duration) {
        let span = spans::background("recovery", None);
        tokio::spawn(recover(Arc::downgrade(self), first).instrument(span));
    }

    /// Whether nobody looks yet: the caller has to see to it.
    fn enqueue(&self, id: u64, task: Task, is_old: bool) -> bool {
        let now = Instant::now();
        let mut queue = self.recovery.lock();
        if queue.open.len() >= MOST {
            tracing::error!("too many changes wait for their end; look for duplicates with Dedupe");
            self.catalog.end_intent(id);
            return false;
        }
        queue.open.insert(
            id,
            Open {
                task,
                since: now,
                until: now + LINGER,
                is_old,
                looked: false,
                cause: spans::request_id(),
            },
        );
        !std::mem::replace(&mut queue.scheduled, true)
    }

    /// One look at each. Returns whether anything ended.
    async fn look(self: &Arc<Self>) -> bool {
        let ids: Vec<u64> = self.recovery.lock().open.keys().copied().collect();
        let looks = ids.iter().map(|id| operation(self.look_at(*id)));
        let ended = join_all(looks).await.into_iter().filter(|ended| *ended);
        let ended = ended.count() > 0;
        if let Err(error) = self.catalog.settle().await {
            tracing::debug!(%error, "what was found out of unfinished changes is not on disk yet");
        }
        ended
    }

    async fn look_at(self: &Arc<Self>, id: u64) -> bool {
        let Some(open) = self.recovery.get(id) else {
            return false;
        };
        let started = Instant::now();
        let span = spans::background("recovery", open.cause.clone());
        let seen = match &open.task {
            Task::Write(write) => {
                let remote = write.remote(self);
                remote.look_for_write(id, write).instrument(span).await
            }
            Task::Carry(carry) => {
                let remote = self.remote_of(carry.encoding);
                remote.look_for_folder(id, carry).instrument(span).await
            }
            // Has a place of its own.
            Task::Landing(_) => Seen::End,
        };
        let mut queue = self.recovery.lock();
        let Some(open) = queue.open.get_mut(&id) else {
            return true;
        };
        match seen {
            Seen::NotYet if started < open.until => {
                open.looked = true;
                open.since = started;
                false
            }
            Seen::Unknown => false,
            Seen::NotYet | Seen::End => {
                queue.open.remove(&id);
                self.catalog.end_intent(id);
                true
            }
        }
    }

    /// Something else became of a path, in one of these folders: what was on its
    /// way there must not come back when it shows late.
    fn supersede(&self, path: &RemotePath, folders: &[i64]) {
        self.rewrite(|write| write.supersede(path, folders));
    }

    /// A directory has another path: what was on its way to it, too.
    pub(super) fn writes_moved(&self, from: &RemotePath, to: &RemotePath) {
        self.rewrite(|write| write.moved(from, to));
    }

    /// Changes writes that are looked after; `change` tells whether it did.
    fn rewrite(&self, mut change: impl FnMut(&mut Write) -> bool) {
        for (id, open) in &mut self.recovery.lock().open {
            if let Task::Write(write) = &mut open.task
                && change(write)
            {
                self.catalog.rewrite_intent(*id, open.task.text());
            }
        }
    }

    /// A call tells of this file, or moves it: wherever it is listed next,
    /// nothing that was interrupted before has stored it.
    pub(super) fn vouch_for(&self, file: &FileRecord) {
        self.rewrite(|write| {
            let concerned = write.has_content_of(file)
                && write.kept.is_none()
                && write.vouched.len() < MOST_VOUCHED
                && !write.vouched.contains(&file.url);
            if concerned {
                write.vouched.push(file.url.clone());
            }
            concerned
        });
    }

    /// A file that a write has left gets its modification time; once, because
    /// that may be changed before all is done.
    fn date(&self, id: u64, write: &Write, found: &FileRecord) {
        let Some(time) = write.modified else { return };
        if write.dated || write.kept.is_some() {
            return;
        }
        self.catalog.set_modified(&found.url, time);
        if let Some(open) = self.recovery.lock().open.get_mut(&id)
            && let Task::Write(write) = &mut open.task
        {
            write.dated = true;
            self.catalog.rewrite_intent(id, open.task.text());
        }
    }

    /// A file is moved away: what an earlier move was to do with it does not
    /// count any more.
    pub(super) fn give_up_moves(&self, url: &str) {
        self.forget(|task| match task {
            Task::Write(write) => {
                let source = write.source.as_ref().filter(|source| !source.copy);
                source.is_some_and(|source| *source.file.url == *url)
            }
            _ => false,
        });
    }

    /// The same for a directory.
    pub(super) fn give_up_carries(&self, folder: i64) {
        self.forget(|task| matches!(task, Task::Carry(carry) if carry.folder.id == folder));
    }

    fn forget(&self, what: impl Fn(&Task) -> bool) {
        self.recovery.lock().open.retain(|id, open| {
            let goes = what(&open.task);
            if goes {
                self.catalog.end_intent(*id);
            }
            !goes
        });
    }

    /// A file that an earlier call has stored after all, with the content that
    /// is to be stored now: it need not be sent again.
    pub(super) fn adopt(&self, wanted: &Write, there: &[FileRecord]) -> Option<FileRecord> {
        let mut queue = self.recovery.lock();
        let (id, file) = queue.open.iter().find_map(|(id, open)| {
            let Task::Write(write) = &open.task else {
                return None;
            };
            let same = write.path == wanted.path
                && write.folder == wanted.folder
                && write.size == wanted.size
                && write.whirlpool == wanted.whirlpool
                && write.source.is_none()
                && write.kept.is_none();
            let is_it = |file: &&FileRecord| same && is_it(write, open.is_old, file);
            Some((*id, there.iter().find(is_it)?.clone()))
        })?;
        queue.open.remove(&id);
        self.catalog.end_intent(id);
        Some(file)
    }
}

/// Whether a file is what a write has stored: it was not there before, and no
/// other own write has stored it.
fn is_it(write: &Write, is_old: bool, file: &FileRecord) -> bool {
    // Numbers of one run share their upper half.
    let noted = is_old && file.order > write.order && file.order >> 32 == write.order >> 32;
    // An earlier look has found it, and could not remove what it replaces.
    let found = file.order == write.order;
    write.is_like(file)
        && !write.was_there(&file.url)
        && !write.is_another(&file.url)
        && (file.order == 0 || found || noted)
}

async fn recover(account: std::sync::Weak<Account>, first: Duration) {
    let mut pause = first;
    loop {
        tokio::time::sleep(pause).await;
        let Some(account) = account.upgrade() else {
            return;
        };
        pause = match account.look().await {
            true => FIRST,
            false => (pause * 2).clamp(AGAIN, LONGEST),
        };
        let mut queue = account.recovery.lock();
        if queue.open.is_empty() {
            queue.scheduled = false;
            return;
        }
    }
}

impl Remote {
    /// A call has settled what is at a path: nothing that an earlier one began
    /// there counts any more. To be on disk before the call is acknowledged.
    /// The file with the link that is `kept` is what the call has put there.
    pub(super) async fn supersede(&self, path: &RemotePath, kept: Option<&str>) {
        let Some((parent, _)) = path.split() else {
            return;
        };
        let directory = self.known_directory(&parent).await;
        let folders: Vec<i64> = directory.iter().flat_map(Directory::ids).collect();
        self.account.supersede(path, &folders);
        let codec = self.codec;
        let landings = &self.account.landings;
        landings.supersede(path, &folders, kept, |name| codec.to_segment(name));
    }
}
