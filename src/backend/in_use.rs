//! Folders that something is being written to. 1Fichier silently puts a file
//! into the root when its folder is gone ([API §4.2]), so none is removed
//! under a write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Use {
    writers: usize,
    removing: bool,
}

#[derive(Debug, Default)]
struct Shared {
    folders: Mutex<HashMap<i64, Use>>,
    changed: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Use>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, folder: i64, change: impl FnOnce(&mut Use)) {
        let mut folders = self.lock();
        if let Some(used) = folders.get_mut(&folder) {
            change(used);
            if used.writers == 0 && !used.removing {
                folders.remove(&folder);
            }
        }
        drop(folders);
        self.changed.notify_waiters();
    }
}

/// Who writes to which folder.
#[derive(Clone, Debug, Default)]
pub(super) struct FoldersInUse(Arc<Shared>);

/// The folder stays while this is held.
#[derive(Debug)]
pub(super) struct Writing(Arc<Shared>, i64);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.leave(self.1, |used| used.writers -= 1);
    }
}

/// Nobody begins to write to the folder while this is held.
#[derive(Debug)]
pub(super) struct Removing(Arc<Shared>, i64);

impl Drop for Removing {
    fn drop(&mut self) {
        self.0.leave(self.1, |used| used.removing = false);
    }
}

impl FoldersInUse {
    /// Keeps a folder from being removed. Waits while that is being tried, so
    /// the folder may be gone afterwards.
    pub(super) async fn write(&self, folder: i64) -> Writing {
        self.when(|| {
            let mut folders = self.0.lock();
            let used = folders.entry(folder).or_default();
            if used.removing {
                return None;
            }
            used.writers += 1;
            Some(Writing(Arc::clone(&self.0), folder))
        })
        .await
    }

    /// Lets a folder be removed, unless it is in use.
    pub(super) fn remove(&self, folder: i64) -> Option<Removing> {
        let mut folders = self.0.lock();
        if folders.contains_key(&folder) {
            return None;
        }
        folders.entry(folder).or_default().removing = true;
        Some(Removing(Arc::clone(&self.0), folder))
    }

    /// The same, as soon as it is not in use any more.
    pub(super) async fn remove_when_idle(&self, folder: i64) -> Removing {
        self.when(|| self.remove(folder)).await
    }

    async fn when<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(done) = attempt() {
                return done;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_written_to_or_removed() {
        let folders = FoldersInUse::default();
        let first = folders.write(1).await;
        let second = folders.write(1).await;
        assert!(folders.remove(1).is_none());
        assert!(folders.remove(2).is_some());
        let idle = tokio::spawn({
            let folders = folders.clone();
            async move { folders.remove_when_idle(1).await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!idle.is_finished());
        drop(second);
        let removing = idle.await.unwrap();
        assert!(folders.remove(1).is_none());
        let writer = tokio::spawn({
            let folders = folders.clone();
            async move { folders.write(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!writer.is_finished());
        drop(removing);
        drop(writer.await.unwrap());
        assert!(folders.0.lock().is_empty());
    }
}
