//! The locks of an account, and the order in which operations take them.

pub(super) mod order;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use super::path::RemotePath;
use crate::sync::Mutex;

pub(super) use order::{Operation, operation};

/// What an operation has for itself while it holds the lock.
///
/// The order of the variants, and within a variant the order of its fields, is
/// the order in which one operation takes locks: an operation that waits for a
/// lock holds none that is equal or comes later. Debug builds assert it. So no
/// operations wait for each other in a circle.
///
/// What else operations wait for fits into this order:
///
/// - `Locks::try_hold` and `FoldersInUse::remove` wait for nobody and may come
///   at any time. What they have taken counts as held.
/// - A write into a folder (`in_use::Writing`) is no lock: nobody waits for its
///   end. A removal of that folder tries, and gives up.
/// - Whoever begins to write into a folder waits for the end of its removal.
///   That may happen with any lock held, because who removes a folder takes no
///   lock before the removal is over: it is the last variant.
/// - A connection to an upload node comes behind all locks, for a buffered file
///   waits for one while its path is held. An upload that has one and waits for
///   a lock lends it (`Streaming::lend_connection`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// Calls with this request id.
    Request(String),
    /// What is written to, moved away from or removed from this path.
    Path(RemotePath),
    /// What is written under this name in this folder, whatever path that has.
    Place(i64, String),
    /// The question where the files landed that were stored in this folder.
    Landing(i64),
    /// What changes where folders are, and what must not go on while they
    /// change their places.
    Tree,
    /// Folders of this name that are made in this folder: 1Fichier may make two
    /// of one name ([API §J2]).
    Mkdir(i64, String),
    /// The question what became of the file with this link.
    Question(String),
    /// The removal of this folder. Taken in `FoldersInUse`, not in `Locks`.
    Removing(i64),
}

impl Key {
    pub(super) fn request(id: &str) -> Self {
        Self::Request(id.to_owned())
    }

    pub(super) fn path(path: &RemotePath) -> Self {
        Self::Path(path.clone())
    }

    pub(super) fn place(folder: i64, segment: &str) -> Self {
        Self::Place(folder, segment.to_owned())
    }

    pub(super) fn mkdir(parent: i64, segment: &str) -> Self {
        Self::Mkdir(parent, segment.to_owned())
    }
}

/// Locks by key, which exist only while somebody holds or wants them.
#[derive(Default)]
pub(super) struct Locks(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_key: HashMap<Key, Weak<tokio::sync::Mutex<()>>>,
    /// At this number those that nobody wants any more are forgotten.
    limit: usize,
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks").finish_non_exhaustive()
    }
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Guard {
    _lock: OwnedMutexGuard<()>,
    _note: order::Note,
}

impl Locks {
    fn get(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by_key.len() > known.limit {
            known.by_key.retain(|_, lock| lock.strong_count() > 0);
            // Thousands may be held at once.
            known.limit = (2 * known.by_key.len()).max(1_000);
        }
        match known.by_key.get(key).and_then(Weak::upgrade) {
            Some(lock) => lock,
            None => {
                let lock = Arc::new(tokio::sync::Mutex::new(()));
                known.by_key.insert(key.clone(), Arc::downgrade(&lock));
                lock
            }
        }
    }

    /// Waits for a lock, in the order of coming.
    pub(super) async fn hold(&self, key: Key) -> Guard {
        order::may_wait_for(&key);
        let lock = self.get(&key).lock_owned().await;
        Guard {
            _lock: lock,
            _note: order::note(key),
        }
    }

    /// `None` when somebody holds it.
    pub(super) fn try_hold(&self, key: Key) -> Option<Guard> {
        let lock = self.get(&key).try_lock_owned().ok()?;
        Some(Guard {
            _lock: lock,
            _note: order::note(key),
        })
    }

    /// Waits for several.
    pub(super) async fn hold_all(&self, mut keys: Vec<Key>) -> Vec<Guard> {
        keys.sort_unstable();
        keys.dedup();
        let mut guards = Vec::with_capacity(keys.len());
        for key in keys {
            guards.push(self.hold(key).await);
        }
        guards
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;

    use shuttle::future::{block_on, spawn, yield_now};

    use super::*;
    use crate::sync::check;

    fn path(text: &str) -> Key {
        Key::Path(RemotePath::parse(text).unwrap())
    }

    #[tokio::test]
    async fn what_is_locked_is_ordered() {
        let order = [
            Key::request("z"),
            path("a"),
            path("b"),
            Key::place(1, "b"),
            Key::place(2, "a"),
            Key::Landing(1),
            Key::Tree,
            Key::mkdir(1, "a"),
            Key::Removing(0),
        ];
        assert!(order.is_sorted());
        let locks = Locks::default();
        let mut unsorted = order.to_vec();
        unsorted.reverse();
        unsorted.push(path("a"));
        let held = operation(locks.hold_all(unsorted)).await;
        assert_eq!(held.len(), order.len());
        for key in order {
            assert!(operation(async { locks.try_hold(key) }).await.is_none());
        }
        drop(held);
        assert!(
            operation(async { locks.try_hold(Key::Tree) })
                .await
                .is_some()
        );
    }
    const KEYS: [Key; 3] = [Key::Landing(1), Key::Landing(2), Key::Tree];

    /// Holds several locks, given in any order, each of which nobody else has.
    async fn hold(locks: Arc<Locks>, held: Arc<[AtomicBool; 3]>, wanted: &[usize]) {
        let keys = wanted.iter().map(|at| KEYS[*at].clone()).collect();
        let _guards = locks.hold_all(keys).await;
        // Set back by whoever is dropped here, too.
        let _mine = Mine::new(&held, wanted);
        yield_now().await;
    }

    struct Mine<'a>(&'a [AtomicBool; 3], &'a [usize]);

    impl<'a> Mine<'a> {
        fn new(held: &'a [AtomicBool; 3], mine: &'a [usize]) -> Self {
            for at in mine {
                assert!(!held[*at].swap(true, Relaxed), "{at} is held twice");
            }
            Self(held, mine)
        }
    }

    impl Drop for Mine<'_> {
        fn drop(&mut self) {
            for at in self.1 {
                assert!(self.0[*at].swap(false, Relaxed));
            }
        }
    }

    #[test]
    fn schedules_of_operations_that_hold_several() {
        check(|| {
            let (locks, held) = (Arc::new(Locks::default()), Arc::default());
            let hold = |wanted| hold(Arc::clone(&locks), Arc::clone(&held), wanted);
            let leaver = spawn(hold(&[1, 0, 2]));
            let tasks = [
                spawn(hold(&[0, 1])),
                spawn(hold(&[1, 2])),
                spawn(hold(&[2, 0])),
            ];
            // A caller that leaves, at any moment.
            leaver.abort();
            if let Some(_guard) = locks.try_hold(KEYS[1].clone()) {
                Mine::new(&held, &[1]);
            }
            for task in tasks {
                block_on(task).unwrap();
            }
            let _ = block_on(leaver);
            let known = locks.0.lock().unwrap();
            let mut left = known.by_key.values().filter(|lock| lock.strong_count() > 0);
            assert!(left.next().is_none(), "nothing is held or wanted");
        });
    }
}
