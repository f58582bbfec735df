//! Items that wait for the same call gather until the call may be made, and
//! leave together.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

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
    use super::*;

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
}
