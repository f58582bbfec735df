//! Transfers in flight, for people who watch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::{Error, Reason, Result};

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To 1Fichier.
    Upload,
    /// From 1Fichier.
    Download,
}

#[derive(Debug)]
struct Transfer {
    remote: Arc<str>,
    path: String,
    direction: Direction,
    size: OnceLock<u64>,
    done: AtomicU64,
    start: Instant,
    time: SystemTime,
}

type Table = Mutex<BTreeMap<u64, Arc<Transfer>>>;

fn lock(table: &Table) -> MutexGuard<'_, BTreeMap<u64, Arc<Transfer>>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many transfers there may be at once, of all accounts together.
#[derive(Debug)]
pub struct Slots {
    most: usize,
    free: Arc<Semaphore>,
}

impl Slots {
    /// For so many.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            free: Arc::new(Semaphore::new(most)),
        })
    }

    fn take(&self) -> Result<OwnedSemaphorePermit> {
        let slot = Arc::clone(&self.free).try_acquire_owned();
        slot.map_err(|_| {
            Error::new(
                Reason::TooManyTransfers,
                format!(
                    "{} transfers are in work, as many as this server is configured for; \
                     try again when others are done, or raise --max-transfers",
                    self.most
                ),
            )
        })
    }
}

/// Transfers of one direction since the start.
#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct AllCounts {
    up: Counts,
    down: Counts,
}

impl AllCounts {
    fn of(&self, direction: Direction) -> &Counts {
        match direction {
            Direction::Upload => &self.up,
            Direction::Download => &self.down,
        }
    }
}

/// Transfers of one direction since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many began.
    pub begun: u64,
    /// Content bytes that callers sent or were given.
    pub bytes: u64,
}

/// The transfers of one account.
#[derive(Debug)]
pub struct Tracker {
    slots: Arc<Slots>,
    next: AtomicU64,
    table: Arc<Table>,
    counts: Arc<AllCounts>,
}

/// One transfer's count; when dropped, the transfer has ended.
#[derive(Debug)]
pub struct Progress {
    id: u64,
    transfer: Arc<Transfer>,
    table: Arc<Table>,
    counts: Arc<AllCounts>,
    _slot: OwnedSemaphorePermit,
}

/// What can be seen of a transfer.
#[derive(Clone, Debug)]
pub struct TransferView {
    /// The remote.
    pub remote: Arc<str>,
    /// The file.
    pub path: String,
    /// Which way.
    pub direction: Direction,
    /// Bytes, when known.
    pub size: Option<u64>,
    /// Bytes done.
    pub done: u64,
    /// Since when.
    pub start: SystemTime,
    /// For how long.
    pub elapsed: Duration,
}

impl Tracker {
    /// No transfers yet.
    pub fn new(slots: Arc<Slots>) -> Self {
        Self {
            slots,
            next: AtomicU64::new(0),
            table: Arc::default(),
            counts: Arc::default(),
        }
    }

    /// A transfer begins.
    ///
    /// # Errors
    /// TOO_MANY_TRANSFERS.
    pub fn begin(
        &self,
        remote: Arc<str>,
        path: String,
        direction: Direction,
        size: Option<u64>,
        time: SystemTime,
    ) -> Result<Progress> {
        let slot = self.slots.take()?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let done = AtomicU64::new(0);
        let transfer = Arc::new(Transfer {
            remote,
            path,
            direction,
            size: size.map_or_else(OnceLock::new, OnceLock::from),
            done,
            start: Instant::now(),
            time,
        });
        lock(&self.table).insert(id, Arc::clone(&transfer));
        self.counts
            .of(direction)
            .begun
            .fetch_add(1, Ordering::Relaxed);
        Ok(Progress {
            id,
            transfer,
            table: Arc::clone(&self.table),
            counts: Arc::clone(&self.counts),
            _slot: slot,
        })
    }

    /// All transfers so far.
    pub fn totals(&self, direction: Direction) -> Totals {
        let counts = self.counts.of(direction);
        Totals {
            begun: counts.begun.load(Ordering::Relaxed),
            bytes: counts.bytes.load(Ordering::Relaxed),
        }
    }

    /// All transfers, the oldest first.
    pub fn view(&self) -> Vec<TransferView> {
        lock(&self.table)
            .values()
            .map(|transfer| TransferView {
                remote: Arc::clone(&transfer.remote),
                path: transfer.path.clone(),
                direction: transfer.direction,
                size: transfer.size.get().copied(),
                done: transfer.done.load(Ordering::Relaxed),
                start: transfer.time,
                elapsed: transfer.start.elapsed(),
            })
            .collect()
    }
}

impl Progress {
    /// The size is known now.
    pub fn is_of(&self, size: u64) {
        let _ = self.transfer.size.set(size);
    }

    /// More bytes are done.
    pub fn add(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.transfer.done.fetch_add(bytes, Ordering::Relaxed);
        let counts = self.counts.of(self.transfer.direction);
        counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        lock(&self.table).remove(&self.id);
    }
}
