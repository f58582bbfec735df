//! Which locks an operation holds: debug builds assert that it takes them in
//! the order of their keys. Release builds note nothing.

#[cfg(debug_assertions)]
pub(in crate::backend) use asserted::*;
#[cfg(not(debug_assertions))]
pub(in crate::backend) use unnoted::*;

#[cfg(debug_assertions)]
mod asserted {
    use std::collections::BTreeSet;
    use std::future::Future;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use crate::backend::locks::Key;

    tokio::task_local! {
        static CURRENT: Operation;
    }

    /// What takes locks one after the other: a call of a client, or work on
    /// behalf of nobody. It may go on in a task that it spawns.
    #[derive(Clone, Debug, Default)]
    pub(in crate::backend) struct Operation(Arc<Mutex<BTreeSet<Key>>>);

    impl Operation {
        /// The one that is going on here; a new one where none is.
        pub(in crate::backend) fn current() -> Self {
            CURRENT.try_with(Self::clone).unwrap_or_default()
        }

        /// Makes work part of this operation, whatever task does it.
        pub(in crate::backend) fn goes_on<F: Future>(
            self,
            work: F,
        ) -> impl Future<Output = F::Output> {
            CURRENT.scope(self, work)
        }

        fn held(&self) -> MutexGuard<'_, BTreeSet<Key>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Makes work an operation, unless it is part of one already. All that
    /// takes locks is part of one. A spawned task is part of none before it is
    /// told ([`Operation::goes_on`]), so what it does for itself is an operation
    /// of its own. So are futures that run side by side in one task.
    pub(in crate::backend) async fn operation<F: Future>(work: F) -> F::Output {
        Operation::current().goes_on(work).await
    }

    /// The current operation, which wants or has got a lock.
    fn current_for(key: &Key) -> Operation {
        // A check switches tasks in the middle of a poll, where the current
        // operation would be another task's.
        #[cfg(test)]
        if crate::sync::in_check() {
            return Operation::default();
        }
        let current = CURRENT.try_with(Operation::clone);
        assert!(
            current.is_ok(),
            "{key:?} is wanted outside of an operation: see locks::operation"
        );
        current.unwrap_or_default()
    }

    fn last_held(wanted: &Key) -> Option<Key> {
        current_for(wanted).held().last().cloned()
    }

    /// The current operation is about to wait for a lock.
    pub(in crate::backend) fn may_wait_for(wanted: &Key) {
        if let Some(held) = last_held(wanted) {
            assert!(
                held < *wanted,
                "lock order: {wanted:?} is wanted while {held:?} is held: see locks::Key"
            );
        }
    }

    /// The current operation is about to wait for the end of the removal of a
    /// folder, which whoever removes one must not do.
    pub(in crate::backend) fn may_wait_for_removal(folder: i64) {
        let wanted = Key::Removing(folder);
        if let Some(held) = last_held(&wanted) {
            assert!(
                !matches!(held, Key::Removing(_)),
                "lock order: the end of {wanted:?} is waited for while {held:?} is held: see locks::Key"
            );
        }
    }

    /// The operation holds a lock while this exists.
    #[derive(Debug)]
    pub(in crate::backend) struct Note(Operation, Key);

    /// The current operation has got a lock.
    pub(in crate::backend) fn note(key: Key) -> Note {
        let operation = current_for(&key);
        operation.held().insert(key.clone());
        Note(operation, key)
    }

    impl Drop for Note {
        fn drop(&mut self) {
            self.0.held().remove(&self.1);
        }
    }
}

#[cfg(not(debug_assertions))]
mod unnoted {
    use std::future::Future;

    use crate::backend::locks::Key;

    #[derive(Clone, Debug)]
    pub(in crate::backend) struct Operation;

    impl Operation {
        pub(in crate::backend) fn current() -> Self {
            Self
        }

        pub(in crate::backend) fn goes_on<F: Future>(self, work: F) -> F {
            work
        }
    }

    pub(in crate::backend) fn operation<F: Future>(work: F) -> F {
        work
    }

    pub(in crate::backend) fn may_wait_for(_: &Key) {}

    pub(in crate::backend) fn may_wait_for_removal(_: i64) {}

    #[derive(Debug)]
    pub(in crate::backend) struct Note;

    pub(in crate::backend) fn note(_: Key) -> Note {
        Note
    }
}

#[cfg(test)]
#[cfg(debug_assertions)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::Arc;

    use futures::FutureExt;

    use super::*;
    use crate::backend::in_use::FoldersInUse;
    use crate::backend::locks::{Key, Locks};
    use crate::backend::path::RemotePath;

    fn path(text: &str) -> Key {
        Key::Path(RemotePath::parse(text).unwrap())
    }

    /// What an operation complains about.
    async fn complaint<T>(work: impl Future<Output = T>) -> String {
        let ended = AssertUnwindSafe(operation(work)).catch_unwind().await;
        match ended.map(drop) {
            Ok(()) => String::new(),
            Err(text) => *text.downcast::<String>().unwrap(),
        }
    }

    #[tokio::test]
    async fn debug_builds_assert_the_order() {
        let locks = Locks::default();
        for (first, second) in [
            (path("b"), path("a")),
            (Key::Tree, path("a")),
            (Key::mkdir(1, "n"), Key::place(1, "n")),
            (Key::Landing(1), Key::Landing(1)),
        ] {
            let wrong = complaint(async {
                let _first = locks.hold(first.clone()).await;
                locks.hold(second.clone()).await
            });
            let wrong = wrong.await;
            assert!(
                wrong.contains(&format!("{second:?} is wanted while {first:?} is held")),
                "{wrong}"
            );
            let tried = complaint(async {
                let _first = locks.try_hold(first.clone()).unwrap();
                locks.hold(second).await
            });
            assert!(tried.await.contains("lock order"), "what was tried is held");
        }
    }

    #[tokio::test]
    async fn the_order_goes_along_into_tasks_and_not_to_others() {
        let locks = Arc::new(Locks::default());
        // A guard, and the work that has it, move to another task.
        let wrong = complaint(async {
            let held = locks.hold(Key::Tree).await;
            let locks = Arc::clone(&locks);
            let work = Operation::current().goes_on(async move {
                let _held = held;
                AssertUnwindSafe(locks.hold(path("a")))
                    .catch_unwind()
                    .await
                    .is_err()
            });
            assert!(tokio::spawn(work).await.unwrap());
        });
        assert_eq!(wrong.await, "");
        // What ended is not held; futures side by side are not one operation.
        let right = complaint(async {
            drop(locks.hold(Key::Tree).await);
            let _held = locks.hold(path("b")).await;
            let locks = Arc::clone(&locks);
            let other = tokio::spawn(operation(async move { locks.hold(path("a")).await }));
            drop(other.await.unwrap());
        });
        assert_eq!(right.await, "");
        let (both, _) = tokio::join!(
            complaint(async {
                let _held = locks.hold(path("b")).await;
                tokio::task::yield_now().await;
            }),
            operation(async {
                drop(locks.hold(path("a")).await);
            }),
        );
        assert_eq!(both, "");
        let outside = AssertUnwindSafe(locks.hold(Key::Tree)).catch_unwind().await;
        assert!(outside.is_err(), "nothing is noted outside of operations");
    }

    #[tokio::test]
    async fn whoever_removes_a_folder_waits_for_no_lock() {
        let (locks, folders) = (Locks::default(), FoldersInUse::default());
        for key in [Key::Tree, Key::mkdir(1, "n")] {
            let wrong = complaint(async {
                let _removing = folders.remove(1).unwrap();
                locks.hold(key).await
            });
            assert!(wrong.await.contains("while Removing(1) is held"));
        }
        let wrong = complaint(async {
            let _removing = folders.remove(1).unwrap();
            folders.write(2).await
        });
        assert!(wrong.await.contains("Removing(2) is waited for while"));
        // Others do, whatever they hold, and several are removed at once.
        let right = complaint(async {
            let _making = locks.hold(Key::mkdir(1, "n")).await;
            let _writing = folders.write(1).await;
            [folders.remove(3).unwrap(), folders.remove(2).unwrap()]
        });
        assert_eq!(right.await, "");
    }
}
