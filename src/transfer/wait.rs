//! A limited number of connections, and waiting for one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fichier::{Error, Kind};

/// How long a transfer waits for a connection to 1Fichier that others use.
pub const CONNECTION_WAIT: Duration = Duration::from_secs(1_800);

/// One connection; it is free again when this is dropped.
pub(super) type Connection = OwnedSemaphorePermit;

/// Connections of one kind.
#[derive(Debug)]
pub(super) struct Connections {
    endpoint: &'static str,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Connections {
    /// So many, all of them free.
    pub(super) fn new(endpoint: &'static str, most: usize) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            free: Arc::new(Semaphore::new(most)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// One that nobody waits for.
    pub(super) fn take(&self) -> Option<Connection> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// Waits for one, in the order of coming.
    ///
    /// # Errors
    /// [`Kind::Busy`] after [`CONNECTION_WAIT`].
    pub(super) async fn wait(&self) -> Result<Connection, Error> {
        if let Some(connection) = self.take() {
            return Ok(connection);
        }
        let _waiting = Waiting::new(&self.waiting);
        let free = Arc::clone(&self.free).acquire_owned();
        match tokio::time::timeout(CONNECTION_WAIT, free).await {
            Ok(Ok(connection)) => Ok(connection),
            // It is never closed.
            Ok(Err(_)) => Err(Error::stopping(self.endpoint)),
            Err(_) => Err(Error::new(
                self.endpoint,
                Kind::Busy,
                format!(
                    "none was free for {} minutes",
                    CONNECTION_WAIT.as_secs() / 60
                ),
            )),
        }
    }

    /// Whether somebody waits for one.
    pub(super) fn are_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Counts somebody as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_and_who_leaves_is_forgotten() {
        let connections = Connections::new("test", 1);
        let held = connections.wait().await.unwrap();
        assert!(connections.take().is_none() && !connections.are_wanted());
        {
            let mut waiting = std::pin::pin!(connections.wait());
            let soon = tokio::time::timeout(Duration::from_secs(1), &mut waiting).await;
            assert!(soon.is_err() && connections.are_wanted());
        }
        assert!(!connections.are_wanted());
        assert_eq!(connections.wait().await.unwrap_err().kind(), Kind::Busy);
        drop(held);
        assert!(connections.wait().await.is_ok());
    }
}
