//! User data that are not on disk yet.
//!
//! Of several writes to one thing the last counts, so that all of them are one
//! transaction whatever their number, and take no more room than what they are
//! about while nothing can be written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::SystemTime;

use rusqlite::Connection;

use super::trouble::Trouble;
use super::{Intent, Write, checksums, modified, user};
use crate::catalog::recorded::ContentKey;
use crate::checksum::Checksum;

/// More than these are not kept for later.
const MOST: usize = 50_000;

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) at: SystemTime,
    pub(super) arguments: String,
    pub(super) outcome: String,
}

/// The modification time of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Time {
    At(i64),
    /// What the database says of another file, which was not changed since.
    Of(String),
    Gone,
}

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsaved {
    outcomes: HashMap<String, Outcome>,
    facts: HashMap<String, (SystemTime, String)>,
    checksums: HashMap<ContentKey, Vec<Checksum>>,
    /// In this order, so that the files of a folder lie together.
    recorded: Vec<ContentKey>,
    modified: HashMap<String, Time>,
    /// `None` for one that is ended.
    intents: BTreeMap<u64, Option<Intent>>,
    identities: BTreeSet<String>,
}

impl Unsaved {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many things it is about.
    pub(super) fn len(&self) -> usize {
        self.outcomes.len()
            + self.facts.len()
            + self.checksums.len()
            + self.modified.len()
            + self.intents.len()
            + self.identities.len()
    }

    /// Takes a write; `below` is what is being written just now, and
    /// `is_stored` tells whether an intent is on disk. Returns whether there
    /// was room for it.
    pub(super) fn add(
        &mut self,
        write: Write,
        below: Option<&Self>,
        is_stored: impl Fn(u64) -> bool,
    ) -> bool {
        let is_full = self.len() >= MOST;
        match write {
            // Few, and needed.
            Write::Fact { name, value, at } => {
                self.facts.insert(name, (at, value));
            }
            Write::Identity { account } => {
                self.identities.insert(account);
            }
            Write::Intent(intent) => {
                self.intents.insert(intent.id, Some(intent));
            }
            Write::Done { id } => {
                let is_known =
                    is_stored(id) || below.is_some_and(|below| below.intents.contains_key(&id));
                match is_known {
                    true => self.intents.insert(id, None),
                    false => self.intents.remove(&id),
                };
            }
            Write::ModifiedNoMore { url } => {
                // The time of a file that is gone does no harm.
                if !is_full || self.modified.contains_key(&url) {
                    self.modified.insert(url, Time::Gone);
                }
            }
            _ if is_full => return false,
            Write::Outcome {
                request,
                arguments,
                outcome,
                at,
            } => {
                let outcome = Outcome {
                    at,
                    arguments,
                    outcome,
                };
                self.outcomes.insert(request, outcome);
            }
            Write::Checksums { key, sums } => self.add_sums(key, sums),
            Write::Modified { url, time } => {
                self.modified.insert(url, Time::At(time));
            }
            Write::ModifiedOf { from, to } => {
                let known = self
                    .time(&from)
                    .or_else(|| below.and_then(|below| below.time(&from)));
                match known.cloned() {
                    // It has none to pass on.
                    Some(Time::Gone) => {}
                    Some(time) => {
                        self.modified.insert(to, time);
                    }
                    None => {
                        self.modified.insert(to, Time::Of(from));
                    }
                }
            }
            // Is not for this database.
            Write::Listing { .. }
            | Write::Change { .. }
            | Write::Doubt { .. }
            | Write::Forget { .. }
            | Write::Shown { .. }
            | Write::FolderGone { .. }
            | Write::File { .. }
            | Write::FolderMissing { .. }
            | Write::Missing { .. }
            | Write::Unsure { .. } => {}
        }
        true
    }

    fn add_sums(&mut self, key: ContentKey, sums: Vec<Checksum>) {
        match self.checksums.get_mut(&key) {
            Some(known) => checksums::merge(known, sums),
            None => {
                self.recorded.push(key.clone());
                self.checksums.insert(key, sums);
            }
        }
    }

    /// Puts what was to be written before under this.
    pub(super) fn put_under(&mut self, before: Self) {
        let mut all = before;
        all.outcomes.extend(std::mem::take(&mut self.outcomes));
        all.facts.extend(std::mem::take(&mut self.facts));
        all.modified.extend(std::mem::take(&mut self.modified));
        all.intents.append(&mut self.intents);
        all.identities.append(&mut self.identities);
        for key in std::mem::take(&mut self.recorded) {
            if let Some(sums) = self.checksums.remove(&key) {
                all.add_sums(key, sums);
            }
        }
        *self = all;
    }

    pub(super) fn outcome(&self, request: &str) -> Option<&Outcome> {
        self.outcomes.get(request)
    }

    pub(super) fn fact(&self, name: &str) -> Option<(SystemTime, String)> {
        self.facts.get(name).cloned()
    }

    pub(super) fn time(&self, url: &str) -> Option<&Time> {
        self.modified.get(url)
    }

    pub(super) fn sums(&self, key: &ContentKey) -> Option<&Vec<Checksum>> {
        self.checksums.get(key)
    }

    /// What becomes of intents: the new text, or the end.
    pub(super) fn intents(&self) -> impl Iterator<Item = (u64, Option<&Intent>)> {
        self.intents
            .iter()
            .map(|(id, intent)| (*id, intent.as_ref()))
    }

    pub(super) fn identities(&self) -> impl Iterator<Item = &String> {
        self.identities.iter()
    }

    /// Writes all of it, within a transaction. `guard` is given each single
    /// write, and says what its failure means.
    pub(super) fn apply(
        &self,
        connection: &Connection,
        guard: impl Fn(&str, &dyn Fn() -> rusqlite::Result<()>) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        // Before what the other files have is changed.
        for (to, time) in &self.modified {
            if let Time::Of(from) = time {
                guard("a modification time", &|| {
                    modified::pass_on(connection, from, to, modified::MOST)
                })?;
            }
        }
        for (url, time) in &self.modified {
            guard("a modification time", &|| match time {
                Time::At(time) => modified::set(connection, url, *time, modified::MOST),
                Time::Gone => modified::forget(connection, url),
                Time::Of(_) => Ok(()),
            })?;
        }
        for key in &self.recorded {
            let sums = self.checksums.get(key).map_or(&[][..], Vec::as_slice);
            guard("checksums", &|| {
                checksums::record(connection, key, sums, checksums::MOST)
            })?;
        }
        for (request, outcome) in &self.outcomes {
            guard("an outcome", &|| {
                user::set_outcome(connection, request, outcome)
            })?;
        }
        for (name, (at, value)) in &self.facts {
            guard("a fact", &|| user::set_fact(connection, name, *at, value))?;
        }
        for (id, intent) in &self.intents {
            guard("an intent", &|| match intent {
                Some(intent) => user::set_intent(connection, intent),
                None => user::end_intent(connection, *id),
            })?;
        }
        for account in &self.identities {
            guard("an identity", &|| user::add_identity(connection, account))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(unsaved: &mut Unsaved, write: Write) {
        assert!(unsaved.add(write, None, |_| false));
    }

    fn time(url: &str, time: i64) -> Write {
        Write::Modified {
            url: url.to_owned(),
            time,
        }
    }

    fn pass(from: &str, to: &str) -> Write {
        Write::ModifiedOf {
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }

    #[test]
    fn times_are_passed_on_as_they_were() {
        let mut below = Unsaved::default();
        add(&mut below, time("below", 1));
        let mut unsaved = Unsaved::default();
        unsaved.add(pass("below", "b"), Some(&below), |_| false);
        unsaved.add(pass("disk", "d"), Some(&below), |_| false);
        // Changed afterwards: the copies keep what it had.
        add(&mut unsaved, time("disk", 9));
        unsaved.add(pass("d", "dd"), Some(&below), |_| false);
        assert_eq!(unsaved.time("b"), Some(&Time::At(1)));
        assert_eq!(unsaved.time("dd"), Some(&Time::Of("disk".to_owned())));
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(modified::TABLE).unwrap();
        modified::set(&connection, "disk", 5, 99).unwrap();
        unsaved.apply(&connection, |_, write| Ok(write()?)).unwrap();
        let urls = ["b", "d", "dd", "disk"].map(ToOwned::to_owned);
        let times = modified::look_up(&connection, &urls).unwrap();
        let times: Vec<_> = urls.iter().map(|url| times[url]).collect();
        assert_eq!(times, [1, 5, 5, 9]);
    }

    #[test]
    fn what_is_over_takes_no_room() {
        let mut unsaved = Unsaved::default();
        for id in 0..3 * MOST as u64 {
            let intent = Intent {
                id,
                folders: vec![1],
                touched: Vec::new(),
                what: "x".to_owned(),
            };
            assert!(unsaved.add(Write::Intent(intent), None, |_| false));
            assert!(unsaved.add(Write::Done { id }, None, |_| false));
            let url = (id % 100).to_string();
            assert!(unsaved.add(time(&url, 1), None, |_| false));
        }
        assert_eq!(unsaved.len(), 100);
        // What is on disk must go there.
        unsaved.add(Write::Done { id: 7 }, None, |_| true);
        assert_eq!(unsaved.intents().next(), Some((7, None)));
    }

    #[test]
    fn there_is_an_end_to_what_is_kept_for_later() {
        let mut unsaved = Unsaved::default();
        let kept = (0..2 * MOST)
            .filter(|number| unsaved.add(time(&number.to_string(), 1), None, |_| false))
            .count();
        assert_eq!(kept, MOST);
        let intent = Intent {
            id: 1,
            folders: Vec::new(),
            touched: Vec::new(),
            what: String::new(),
        };
        assert!(
            unsaved.add(Write::Intent(intent), None, |_| false),
            "but changes that are begun are known"
        );
    }

    #[test]
    fn the_later_one_counts() {
        let mut before = Unsaved::default();
        add(&mut before, time("a", 1));
        add(&mut before, time("b", 1));
        let mut after = Unsaved::default();
        add(&mut after, time("b", 2));
        after.add(Write::Done { id: 1 }, None, |_| true);
        after.put_under(before);
        assert_eq!(after.time("a"), Some(&Time::At(1)));
        assert_eq!(after.time("b"), Some(&Time::At(2)));
        assert_eq!(after.len(), 3);
    }
}
