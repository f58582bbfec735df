//! Folders that something is being written to. 1Fichier silently puts a file
//! into the root when its folder is gone ([API §4.2]), so none is removed
//! under a write.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tokio::sync::Notify;

use super::locks::{Key, order};
use crate::sync::{Mutex, MutexGuard};

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

/// Nobody begins to write to the folder while this is held. Whoever holds it
/// waits for no lock: those who want to write wait with locks of their own.
#[derive(Debug)]
pub(super) struct Removing {
    shared: Arc<Shared>,
    folder: i64,
    _note: order::Note,
}

impl Drop for Removing {
    fn drop(&mut self) {
        self.shared.leave(self.folder, |used| used.removing = false);
    }
}

impl FoldersInUse {
    /// Keeps a folder from being removed. Waits while that is being tried, so
    /// the folder may be gone afterwards.
    pub(super) async fn write(&self, folder: i64) -> Writing {
        order::may_wait_for_removal(folder);
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(writing) = self.try_write(folder) {
                return writing;
            }
            changed.await;
        }
    }

    fn try_write(&self, folder: i64) -> Option<Writing> {
        let mut folders = self.0.lock();
        let used = folders.entry(folder).or_default();
        if used.removing {
            return None;
        }
        used.writers += 1;
        Some(Writing(Arc::clone(&self.0), folder))
    }

    /// Lets a folder be removed, unless it is in use. Nobody waits for that: a
    /// write may take as long as its client likes.
    pub(super) fn remove(&self, folder: i64) -> Option<Removing> {
        let mut folders = self.0.lock();
        if folders.contains_key(&folder) {
            return None;
        }
        folders.entry(folder).or_default().removing = true;
        drop(folders);
        Some(Removing {
            shared: Arc::clone(&self.0),
            folder,
            _note: order::note(Key::Removing(folder)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use shuttle::future::{block_on, spawn, yield_now};
    use tokio::sync::Barrier;

    use super::*;
    use crate::backend::locks::operation;
    use crate::sync::check;

    #[tokio::test]
    async fn a_folder_is_written_to_or_removed() {
        let folders = FoldersInUse::default();
        let writers = operation(async { [folders.write(1).await, folders.write(1).await] });
        let [first, second] = writers.await;
        let remove = async |folder| operation(async { folders.remove(folder) }).await;
        assert!(remove(1).await.is_none());
        assert!(remove(2).await.is_some());
        drop(first);
        assert!(remove(1).await.is_none());
        drop(second);
        let removing = remove(1).await.unwrap();
        assert!(remove(1).await.is_none());
        let writer = tokio::spawn({
            let folders = folders.clone();
            operation(async move { folders.write(1).await })
        });
        tokio::task::yield_now().await;
        assert!(!writer.is_finished());
        drop(removing);
        drop(writer.await.unwrap());
        assert!(folders.0.lock().is_empty());
    }
    /// Who is in a folder, by what they have got.
    #[derive(Default)]
    struct Seen {
        writers: AtomicUsize,
        removers: AtomicUsize,
    }

    struct Counted<'a>(&'a AtomicUsize);

    impl<'a> Counted<'a> {
        fn new(number: &'a AtomicUsize) -> Self {
            number.fetch_add(1, Relaxed);
            Self(number)
        }
    }

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Relaxed);
        }
    }

    impl Seen {
        fn check(&self) {
            let seen = (self.writers.load(Relaxed), self.removers.load(Relaxed));
            assert!(seen.1 == 0 || seen == (0, 1), "{seen:?}");
        }
    }

    /// Writes until all others that write have begun, too: they do not wait for
    /// each other.
    async fn write(folders: FoldersInUse, seen: Arc<Seen>, others: Arc<Barrier>) {
        let _writing = folders.write(1).await;
        let _counted = Counted::new(&seen.writers);
        seen.check();
        others.wait().await;
        seen.check();
    }

    async fn remove(folders: FoldersInUse, seen: Arc<Seen>) {
        let Some(_removing) = folders.remove(1) else {
            return;
        };
        let _counted = Counted::new(&seen.removers);
        seen.check();
        yield_now().await;
        seen.check();
    }

    #[test]
    fn schedules_of_writers_and_removers() {
        check(|| {
            let folders = FoldersInUse::default();
            let seen = Arc::new(Seen::default());
            let write = |others| write(folders.clone(), Arc::clone(&seen), others);
            let both = Arc::new(Barrier::new(2));
            let leaver = spawn(write(Arc::new(Barrier::new(1))));
            let tasks = [
                spawn(remove(folders.clone(), Arc::clone(&seen))),
                spawn(write(Arc::clone(&both))),
                spawn(remove(folders.clone(), Arc::clone(&seen))),
                spawn(write(both)),
            ];
            // A caller that leaves, at any moment.
            leaver.abort();
            for task in tasks {
                block_on(task).unwrap();
            }
            let _ = block_on(leaver);
            assert!(folders.0.lock().is_empty(), "nothing is remembered");
        });
    }
}
