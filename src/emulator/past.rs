//! What listings still show of files and folders that have changed since: an index lags [API I].

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use tokio::time::Instant;

/// A folder: its account and its id.
pub(super) type Place = (usize, u64);

/// Earlier states, by what had them. A state that no listing shows any more is forgotten.
#[derive(Debug)]
pub(super) struct Past<K, T> {
    states: HashMap<K, Vec<State<T>>>,
    /// Whose states may be shown in a folder.
    places: HashMap<Place, BTreeSet<K>>,
    count: usize,
    /// With so many states those that are over are looked for.
    most: usize,
}

/// A state, and where and how long listings show it.
#[derive(Debug)]
struct State<T> {
    place: Place,
    from: Instant,
    until: Instant,
    state: T,
}

impl<T> State<T> {
    fn is_shown(&self, now: Instant) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether listings show it now or later.
    fn remains(&self, now: Instant) -> bool {
        now < self.until && self.from < self.until
    }
}

impl<K, T> Default for Past<K, T> {
    fn default() -> Past<K, T> {
        Past {
            states: HashMap::new(),
            places: HashMap::new(),
            count: 0,
            most: 64,
        }
    }
}

impl<K: Clone + Eq + Hash + Ord, T> Past<K, T> {
    /// Something changes, which shows at `until`: up to then listings of `place` show the state
    /// that it had, from when they begin to.
    ///
    /// What shows later than the change does not show at all: an index does not go back in time.
    pub(super) fn change(
        &mut self,
        key: &K,
        place: Place,
        from: Instant,
        until: Instant,
        state: impl FnOnce() -> T,
    ) {
        for earlier in self.states.get_mut(key).into_iter().flatten() {
            earlier.until = earlier.until.min(until);
        }
        let now = Instant::now();
        if until <= now || until <= from {
            return;
        }
        if self.count >= self.most {
            self.forget(now);
        }
        self.states.entry(key.clone()).or_default().push(State {
            place,
            from,
            until,
            state: state(),
        });
        self.places.entry(place).or_default().insert(key.clone());
        self.count += 1;
    }

    /// What a listing of a folder shows of earlier states.
    pub(super) fn shown(&self, place: Place, now: Instant) -> impl Iterator<Item = (&K, &T)> {
        self.in_place(place)
            .filter(move |(_, state)| state.is_shown(now))
            .map(|(key, state)| (key, &state.state))
    }

    /// Whether listings of a folder show an earlier state of anything, now or later.
    pub(super) fn remains(&self, place: Place, now: Instant) -> bool {
        self.in_place(place).any(|(_, state)| state.remains(now))
    }

    /// The earlier state that listings show instead of the present one.
    pub(super) fn of(&self, key: &K, now: Instant) -> Option<&T> {
        let states = self.states.get(key)?;
        let shown = states.iter().find(|state| state.is_shown(now))?;
        Some(&shown.state)
    }

    /// The folders in which earlier states are shown.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.places.keys().copied()
    }

    fn in_place(&self, place: Place) -> impl Iterator<Item = (&K, &State<T>)> {
        let keys = self.places.get(&place).into_iter().flatten();
        keys.filter_map(|key| self.states.get_key_value(key))
            .flat_map(|(key, states)| states.iter().map(move |state| (key, state)))
            .filter(move |(_, state)| state.place == place)
    }

    /// Forgets the states that are over. Called when there are twice as many as were left the
    /// last time, so that each change pays for a few.
    fn forget(&mut self, now: Instant) {
        self.states.retain(|_, states| {
            states.retain(|state| state.remains(now));
            !states.is_empty()
        });
        self.places.clear();
        self.count = 0;
        for (key, states) in &self.states {
            for state in states {
                let keys = self.places.entry(state.place).or_default();
                keys.insert(key.clone());
                self.count += 1;
            }
        }
        self.most = (2 * self.count).max(64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shown(past: &Past<u32, &'static str>, folder: u64, now: Instant) -> Vec<&'static str> {
        past.shown((0, folder), now)
            .map(|(_, state)| *state)
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn states_show_until_the_next_one_does() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut past = Past::default();
        past.change(&1, (0, 7), start, at(10), || "first");
        past.change(&1, (0, 8), at(10), at(12), || "second");
        assert_eq!(shown(&past, 7, at(9)), ["first"]);
        assert_eq!(shown(&past, 7, at(10)), [""; 0]);
        assert_eq!(shown(&past, 8, at(9)), [""; 0]);
        assert_eq!(shown(&past, 8, at(11)), ["second"]);
        assert_eq!(past.of(&1, at(11)), Some(&"second"));
        assert_eq!(past.of(&1, at(12)), None);
        assert!(past.remains((0, 8), start) && !past.remains((0, 8), at(12)));
        // A change that shows at five is the end of all that would show later.
        past.change(&1, (0, 9), at(12), at(5), || "third");
        assert_eq!(shown(&past, 7, at(4)), ["first"]);
        for folder in [7, 8, 9] {
            assert_eq!(shown(&past, folder, at(6)), [""; 0]);
            assert!(!past.remains((0, folder), at(6)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_forgotten() {
        let mut past = Past::default();
        for number in 0..10_000 {
            let now = Instant::now();
            past.change(
                &number,
                (0, 7),
                now,
                now + Duration::from_millis(100),
                || "state",
            );
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(past.count <= 200 + 64, "{}", past.count);
        assert_eq!(shown(&past, 7, Instant::now()).len(), 99);
    }
}
