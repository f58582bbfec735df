//! Transfers in flight, for people who watch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

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
    size: Option<u64>,
    done: AtomicU64,
    start: Instant,
    time: SystemTime,
}

type Table = Mutex<BTreeMap<u64, Arc<Transfer>>>;

fn lock(table: &Table) -> MutexGuard<'_, BTreeMap<u64, Arc<Transfer>>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The transfers of one account.
#[derive(Debug, Default)]
pub struct Tracker {
    next: AtomicU64,
    table: Arc<Table>,
}

/// One transfer's count; when dropped, the transfer has ended.
#[derive(Debug)]
pub struct Progress {
    id: u64,
    transfer: Arc<Transfer>,
    table: Arc<Table>,
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
    /// A transfer begins.
    pub fn begin(
        &self,
        remote: Arc<str>,
        path: String,
        direction: Direction,
        size: Option<u64>,
        time: SystemTime,
    ) -> Progress {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let done = AtomicU64::new(0);
        let transfer = Arc::new(Transfer {
            remote,
            path,
            direction,
            size,
            done,
            start: Instant::now(),
            time,
        });
        lock(&self.table).insert(id, Arc::clone(&transfer));
        Progress {
            id,
            transfer,
            table: Arc::clone(&self.table),
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
                size: transfer.size,
                done: transfer.done.load(Ordering::Relaxed),
                start: transfer.time,
                elapsed: transfer.start.elapsed(),
            })
            .collect()
    }
}

impl Progress {
    /// More bytes are done.
    pub fn add(&self, bytes: usize) {
        self.transfer
            .done
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        lock(&self.table).remove(&self.id);
    }
}
