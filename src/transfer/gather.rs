//! Items that wait for the same call gather until the call may be made, and
//! leave together.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use tokio::sync::Notify;

use crate::sync::{Mutex, MutexGuard};

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<(u64, T)>,
    /// Wakes the collector when the last one was withdrawn.
    deserted: Arc<Notify>,
}

/// What to do with the next item of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It goes along.
    Take,
    /// Nobody waits for it any more.
    Drop,
    /// The group is full.
    Stop,
}

/// Queues by what their items have in common.
#[derive(Debug)]
pub(crate) struct Gather<K, T> {
    next: AtomicU64,
    /// A queue exists while somebody collects from it.
    queues: Mutex<HashMap<K, Queue<T>>>,
}

impl<K, T> Default for Gather<K, T> {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            queues: Mutex::default(),
        }
    }
}

impl<K: Hash + Eq, T> Gather<K, T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Queue<T>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item. Returns its number, and whether the caller must start to
    /// collect because nobody does.
    pub(crate) fn push(&self, key: K, item: T) -> (u64, bool) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut queues = self.lock();
        let start = !queues.contains_key(&key);
        let queue = queues.entry(key).or_insert_with(|| Queue {
            waiting: VecDeque::new(),
            deserted: Arc::default(),
        });
        queue.waiting.push_back((id, item));
        (id, start)
    }

    /// Takes the next group.
    pub(crate) fn take(&self, key: &K, mut fit: impl FnMut(&[T], &T) -> Fit) -> Vec<T> {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(key) else {
            return Vec::new();
        };
        let mut group = Vec::new();
        while let Some((_, item)) = queue.waiting.front() {
            let fit = fit(&group, item);
            if fit == Fit::Stop {
                break;
            }
            if let Some((_, item)) = queue.waiting.pop_front()
                && fit == Fit::Take
            {
                group.push(item);
            }
        }
        group
    }

    /// What is told of the one that waits longest.
    pub(crate) fn first<R>(&self, key: &K, tell: impl FnOnce(&T) -> R) -> Option<R> {
        let queues = self.lock();
        let (_, item) = queues.get(key)?.waiting.front()?;
        Some(tell(item))
    }

    /// How many wait.
    pub(crate) fn waiting(&self, key: &K) -> usize {
        let queues = self.lock();
        queues.get(key).map_or(0, |queue| queue.waiting.len())
    }

    /// Whether nothing waits any more. Then the collector is done, and the
    /// next item needs a new one.
    pub(crate) fn is_done(&self, key: &K) -> bool {
        let mut queues = self.lock();
        if queues
            .get(key)
            .is_some_and(|queue| !queue.waiting.is_empty())
        {
            return false;
        }
        queues.remove(key);
        true
    }

    /// Takes an item back; false when it has left already.
    pub(crate) fn withdraw(&self, key: &K, id: u64) -> bool {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(key) else {
            return false;
        };
        let before = queue.waiting.len();
        queue.waiting.retain(|(other, _)| *other != id);
        if queue.waiting.is_empty() {
            queue.deserted.notify_one();
        }
        queue.waiting.len() < before
    }

    /// Ends when nothing waits any more, because all was withdrawn: then the
    /// collector need not go on waiting for the call.
    pub(crate) async fn deserted(&self, key: &K) {
        loop {
            let deserted = match self.lock().get(key) {
                Some(queue) if !queue.waiting.is_empty() => Arc::clone(&queue.deserted),
                _ => return,
            };
            deserted.notified().await;
        }
    }

    /// Withdraws the item when dropped, if it has not left by then.
    pub(crate) fn place(&self, key: K, id: u64) -> Place<'_, K, T> {
        Place {
            gather: self,
            key,
            id,
        }
    }
}

/// The place of an item, for as long as somebody waits for it.
#[derive(Debug)]
pub(crate) struct Place<'a, K: Hash + Eq, T> {
    gather: &'a Gather<K, T>,
    key: K,
    id: u64,
}

impl<K: Hash + Eq, T> Drop for Place<'_, K, T> {
    fn drop(&mut self) {
        self.gather.withdraw(&self.key, self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use shuttle::future::{block_on, spawn, yield_now};
    use tokio::sync::oneshot;

    use super::*;
    use crate::sync::check;

    #[tokio::test]
    async fn a_queue_is_deserted_when_its_last_item_is_withdrawn() {
        let gather = Gather::default();
        gather.deserted(&"a").await;
        let (first, _) = gather.push("a", 1);
        let place = gather.place("a", gather.push("a", 2).0);
        let mut deserted = std::pin::pin!(gather.deserted(&"a"));
        assert!(futures::poll!(&mut deserted).is_pending());
        drop(place);
        assert!(
            futures::poll!(&mut deserted).is_pending(),
            "one still waits"
        );
        gather.withdraw(&"a", first);
        deserted.await;
    }

    #[test]
    fn items_gather_until_they_are_taken() {
        let gather = Gather::default();
        let (first, start) = gather.push("a", 1);
        assert!(start);
        assert!(!gather.push("a", 2).1, "somebody collects already");
        assert!(gather.push("b", 9).1, "another queue");
        let (last, _) = gather.push("a", 3);
        assert!(gather.withdraw(&"a", last) && !gather.withdraw(&"a", last));
        assert_eq!(
            gather.take(&"a", |group, _| if group.is_empty() {
                Fit::Take
            } else {
                Fit::Stop
            }),
            [1]
        );
        assert!(!gather.withdraw(&"a", first));
        assert!(!gather.is_done(&"a"));
        assert_eq!(gather.take(&"a", |_, _| Fit::Drop), Vec::<i32>::new());
        assert!(gather.is_done(&"a"));
        assert!(gather.push("a", 4).1, "nobody collects any more");
    }
    const LANE: &str = "lane";

    type Handle = shuttle::future::JoinHandle<()>;

    /// Items that leave in groups, as files do in a call.
    #[derive(Default)]
    struct Calls {
        gather: Gather<&'static str, (u32, oneshot::Sender<u32>)>,
        /// Nobody is ever allowed to call.
        is_locked: bool,
        left: std::sync::Mutex<Vec<u32>>,
        /// Those who collect.
        collecting: AtomicUsize,
        collectors: std::sync::Mutex<Vec<Handle>>,
    }

    impl Calls {
        /// Then another one may collect.
        fn is_done(&self) -> bool {
            self.collecting.fetch_sub(1, Ordering::Relaxed);
            let is_done = self.gather.is_done(&LANE);
            if !is_done {
                self.collecting.fetch_add(1, Ordering::Relaxed);
            }
            is_done
        }
    }

    /// What those do who collect (`Batches::collect`, `Uploads::collect`).
    async fn collect(calls: Arc<Calls>) {
        let gather = &calls.gather;
        calls.collecting.fetch_add(1, Ordering::Relaxed);
        loop {
            assert_eq!(calls.collecting.load(Ordering::Relaxed), 1);
            let turn = async {
                match calls.is_locked {
                    true => std::future::pending().await,
                    false => yield_now().await,
                }
            };
            tokio::select! {
                biased;
                () = turn => {}
                () = gather.deserted(&LANE) => match calls.is_done() {
                    true => return,
                    false => continue,
                },
            }
            let group = gather.take(&LANE, |group, (_, sender)| {
                if sender.is_closed() {
                    Fit::Drop
                } else if group.len() < 2 {
                    Fit::Take
                } else {
                    Fit::Stop
                }
            });
            for (number, sender) in group {
                calls.left.lock().unwrap().push(number);
                let _ = sender.send(number);
            }
            if calls.is_done() {
                return;
            }
        }
    }

    async fn ask(calls: Arc<Calls>, number: u32) -> u32 {
        let (sender, receiver) = oneshot::channel();
        let (id, start) = calls.gather.push(LANE, (number, sender));
        if start {
            let collector = spawn(collect(Arc::clone(&calls)));
            calls.collectors.lock().unwrap().push(collector);
        }
        let _place = calls.gather.place(LANE, id);
        receiver.await.unwrap()
    }

    /// All collectors end, and nothing is remembered.
    fn is_over(calls: &Calls) {
        loop {
            let Some(collector) = calls.collectors.lock().unwrap().pop() else {
                break;
            };
            block_on(collector).unwrap();
        }
        assert!(calls.gather.lock().is_empty());
    }

    #[test]
    fn schedules_of_items_that_gather_and_are_withdrawn() {
        check(|| {
            let calls = Arc::new(Calls::default());
            let leaver = spawn(ask(Arc::clone(&calls), 0));
            let stayers = [1, 2, 3].map(|number| spawn(ask(Arc::clone(&calls), number)));
            leaver.abort();
            for (number, stayer) in (1..).zip(stayers) {
                assert_eq!(block_on(stayer).unwrap(), number);
            }
            let _ = block_on(leaver);
            is_over(&calls);
            let mut left = calls.left.lock().unwrap().clone();
            left.retain(|number| *number != 0);
            left.sort_unstable();
            assert_eq!(left, [1, 2, 3], "each leaves once");
        });
    }

    #[test]
    fn schedules_of_items_that_are_all_withdrawn() {
        check(|| {
            let calls = Arc::new(Calls {
                is_locked: true,
                ..Calls::default()
            });
            let leavers = [1, 2, 3].map(|number| spawn(ask(Arc::clone(&calls), number)));
            for leaver in &leavers {
                leaver.abort();
            }
            for leaver in leavers {
                let _ = block_on(leaver);
            }
            // Nobody waits for a call that nobody wants.
            is_over(&calls);
        });
    }
}
