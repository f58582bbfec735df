//! What those who read and write have in common with the thread that has the
//! databases.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::queue::{Job, Queue, Side, Waiting};
use super::real::{Instant, pause};
use super::shelf::{Held, shown};
use super::trouble::Trouble;
use super::{Lesson, Write};
use crate::clock::Clock;
use crate::sync::mpsc::{Receiver, channel};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Calls that may have been made under an earlier key wait so long for what was
/// remembered of that.
const TAKING: Duration = Duration::from_secs(30);

/// The time of day, wherever it is asked for.
#[derive(Debug)]
pub(super) struct Day {
    clock: Clock,
    /// A clock of virtual time goes with its runtime.
    runtime: Option<Handle>,
}

impl Day {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            runtime: Handle::try_current().ok(),
        }
    }

    pub(super) fn now(&self) -> SystemTime {
        let _entered = self.runtime.as_ref().map(Handle::enter);
        self.clock.now()
    }
}

/// A connection that only reads.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) connection: Option<Connection>,
    /// Counts the databases that it has read.
    pub(super) generation: u64,
}

/// What people should know.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) user: Option<String>,
    pub(super) cache: Option<String>,
    /// Damaged user data: the files are told of until somebody takes them away.
    pub(super) damaged: Vec<PathBuf>,
    /// User data of a later version.
    pub(super) newer: Vec<PathBuf>,
    /// There were user data, and they were not there at the start.
    pub(super) gone: Option<PathBuf>,
}

#[cfg(test)]
type Hook = Box<dyn Fn(Side, &Connection) -> rusqlite::Result<()> + Send>;

/// What all have in common.
pub(super) struct Shared {
    pub(super) queue: Mutex<Queue>,
    work: Condvar,
    room: Condvar,
    pub(super) status: Mutex<Status>,
    /// Spares looking for what was never recorded.
    pub(super) has_checksums: AtomicBool,
    pub(super) has_modified: AtomicBool,
    /// The number of the next file that is stored, and of the next intent.
    pub(super) order: AtomicU64,
    pub(super) next_intent: AtomicU64,
    /// There are databases of which it is not known whose they are.
    pub(super) has_strays: AtomicBool,
    /// A database is being taken over, and wakes when none is.
    taking: Mutex<bool>,
    taken: Condvar,
    /// By what 1Fichier told the account is known.
    pub(super) identities: Mutex<BTreeSet<String>>,
    lessons: Mutex<Vec<Lesson>>,
    pub(super) news: watch::Sender<()>,
    pub(super) required: bool,
    pub(super) day: Day,
    #[cfg(test)]
    pub(super) hook: Mutex<Option<Hook>>,
    pub(super) user: Mutex<Reader>,
    pub(super) cache: Mutex<Reader>,
    // Dropped last: nobody else opens the databases before they are closed.
    pub(super) held: Held,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the wait for the disk ends.
pub(super) enum Wait {
    Over(Result<(), String>),
    For(Receiver<Result<(), String>>),
}

impl Shared {
    pub(super) fn new(held: Held, required: bool, clock: Clock) -> Self {
        Self {
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            status: Mutex::default(),
            has_checksums: AtomicBool::new(false),
            has_modified: AtomicBool::new(false),
            order: AtomicU64::new(1),
            next_intent: AtomicU64::new(1),
            has_strays: AtomicBool::new(false),
            taking: Mutex::default(),
            taken: Condvar::new(),
            identities: Mutex::default(),
            lessons: Mutex::default(),
            news: watch::Sender::new(()),
            required,
            day: Day::new(clock),
            #[cfg(test)]
            hook: Mutex::default(),
            user: Mutex::default(),
            cache: Mutex::default(),
            held,
        }
    }

    pub(super) fn reader(&self, side: Side) -> MutexGuard<'_, Reader> {
        lock(match side {
            Side::User => &self.user,
            Side::Cache => &self.cache,
        })
    }

    /// Queues something to write.
    pub(super) fn push(&self, write: Write) {
        match write {
            Write::Checksums { .. } => self.has_checksums.store(true, Ordering::Relaxed),
            Write::Modified { .. } => self.has_modified.store(true, Ordering::Relaxed),
            _ => {}
        }
        let mut queue = lock(&self.queue);
        // For the milliseconds that the writer takes: it needs no lock that is
        // held here.
        while write.side() == Side::Cache && queue.is_full() && !queue.is_stuck {
            queue = self
                .room
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.push(write);
        drop(queue);
        self.work.notify_one();
    }

    pub(super) fn push_job(&self, job: Job) {
        lock(&self.queue).jobs.push_back(job);
        self.work.notify_one();
    }

    /// Begins to wait until all that was queued is on disk; readers need only
    /// what can be listed again.
    pub(super) fn wait(&self, is_reader: bool) -> Wait {
        let mut queue = lock(&self.queue);
        let (until, written) = (queue.queued, queue.written);
        let is_written = match is_reader {
            true => written.cache >= until.cache,
            false => {
                let has_cache = !queue.is_cache_behind() || queue.is_noted_behind;
                written.user >= until.user && has_cache
            }
        };
        if is_written {
            return Wait::Over(Ok(()));
        }
        if is_reader && queue.is_stuck {
            return Wait::Over(Err(String::new()));
        }
        if !is_reader && let Some(why) = &queue.refusing {
            return Wait::Over(Err(why.clone()));
        }
        let (answer, answered) = channel();
        queue.waiting.push(Waiting {
            until,
            is_reader,
            answer,
        });
        drop(queue);
        self.work.notify_one();
        Wait::For(answered)
    }

    /// Waits until there is work, or until a moment at the latest; `look`
    /// tells whether there is.
    pub(super) fn sleep(&self, mut look: impl FnMut(&Queue) -> Sleep) {
        let mut queue = lock(&self.queue);
        loop {
            match look(&queue) {
                Sleep::No => return,
                Sleep::Until(moment) => {
                    let now = Instant::now();
                    let Some(left) = moment.checked_duration_since(now) else {
                        return;
                    };
                    let woken = self.work.wait_timeout(queue, left);
                    queue = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Sleep::Long => {
                    queue = self
                        .work
                        .wait(queue)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    pub(super) fn set_taking(&self, is_taking: bool) {
        *lock(&self.taking) = is_taking;
        if !is_taking {
            self.taken.notify_all();
        }
    }

    /// Waits until no database is being taken over, but not for ever.
    pub(super) fn wait_until_taken(&self) {
        let until = Instant::now() + TAKING;
        let mut taking = lock(&self.taking);
        while *taking && let Some(left) = until.checked_duration_since(Instant::now()) {
            let woken = self.taken.wait_timeout(taking, left);
            taking = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// There is room in the queue again.
    pub(super) fn make_room(&self) {
        self.room.notify_all();
    }

    pub(super) fn close(&self) {
        lock(&self.queue).is_closing = true;
        self.work.notify_one();
    }

    /// Reads a database, unless that is not possible now.
    pub(super) fn read<T>(
        &self,
        side: Side,
        read: impl Fn(&Connection) -> Result<T, Trouble>,
    ) -> Option<T> {
        const TRIES: u32 = 3;
        for again in 1..=TRIES {
            let reader = self.reader(side);
            let generation = reader.generation;
            let trouble = match read(reader.connection.as_ref()?) {
                Ok(found) => return Some(found),
                Err(trouble) => trouble,
            };
            drop(reader);
            match trouble {
                // A damaged page is noticed when it is needed: to read them all
                // at the start would take longer the larger the account is.
                Trouble::Damage(why) => {
                    self.push_job(Job::Damaged {
                        side,
                        generation,
                        why,
                    });
                    return None;
                }
                Trouble::Passing(_) if again < TRIES => {
                    pause(Duration::from_millis(20));
                }
                trouble => {
                    tracing::warn!(%trouble, ?side, "what is remembered cannot be read now");
                    return None;
                }
            }
        }
        None
    }

    /// Something was learnt of earlier runs.
    pub(super) fn teach(&self, lesson: Lesson) {
        lock(&self.lessons).push(lesson);
    }

    /// What was learnt since the last time.
    pub(super) fn take_lessons(&self) -> Vec<Lesson> {
        std::mem::take(&mut lock(&self.lessons))
    }

    pub(super) fn has_lessons(&self) -> bool {
        !lock(&self.lessons).is_empty()
    }

    /// What people should know; `None` when all is well.
    pub(super) fn problem(&self) -> Option<String> {
        let dropped = lock(&self.queue).dropped;
        let mut status = lock(&self.status);
        let mut problems = Vec::new();
        if let Some(why) = &status.user {
            let then = match self.required {
                true => "changes are refused until it can",
                false => "changes go on, and what they leave may be forgotten",
            };
            problems.push(format!(
                "what cannot be asked for again (modification times, checksums, unfinished changes) cannot be written to disk: {why}; {then}"
            ));
        }
        if let Some(why) = &status.cache {
            problems.push(format!(
                "what is known of the account is not kept on disk at the moment: {why}"
            ));
        }
        status.damaged.retain(|path| path.exists());
        status.newer.retain(|path| path.exists());
        for path in &status.damaged {
            problems.push(format!(
                "user data were damaged; what could be read of them was kept, and the rest is in {}: move that file away to end this message",
                shown(path)
            ));
        }
        if let Some(path) = &status.gone {
            problems.push(format!(
                "the user data ({}) were gone at the start: modification times, checksums and unfinished changes are not known any more",
                shown(path)
            ));
        }
        for path in &status.newer {
            problems.push(format!(
                "{} holds user data of a later version of this program, which takes them up again",
                shown(path)
            ));
        }
        if dropped > 0 && status.user.is_some() {
            problems.push(format!(
                "there was no room in memory for {dropped} modification times, checksums and outcomes"
            ));
        }
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

/// Whether the thread that has the databases sleeps.
pub(super) enum Sleep {
    No,
    Until(Instant),
    Long,
}
