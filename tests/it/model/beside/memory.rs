//! What the server may remember of an account that others change.
//!
//! It remembers folders, each as it was listed at some time; its own changes it
//! knows, and holds them against listings for minutes, as those may lag. So of
//! each entry of a folder it may have any state that the account had since the
//! oldest listing that still counts, with all own changes since. A path is
//! followed through folders that were listed at different times.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::account::{Account, Changes};
use crate::model::tree::parent;

/// Listings count for so long when something is only asked.
const FRESH: Duration = Duration::from_secs(300);
/// Own changes are held against listings for so long, unless one shows them.
const GRACE: Duration = Duration::from_secs(300);
/// What is removed was seen in its folder so long ago at most.
pub(super) const SEEN: Duration = Duration::from_secs(30);
/// Clocks on the wire have no more than seconds.
const ROUNDING: Duration = Duration::from_secs(1);
/// So long states are remembered.
const KEPT: Duration = Duration::from_secs(1_000);

/// How old memory may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// It was listed for this request.
    Listed,
    /// It counts for what removes.
    Seen,
    /// It counts for what is asked.
    Read,
}

/// A file or a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    File(String),
    Folder(u64),
}

/// What may be at a path.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) may: BTreeSet<T>,
    /// All that is there whatever is remembered.
    pub(super) always: BTreeSet<T>,
    /// Whether it may be that nothing is known there.
    pub(super) may_miss: bool,
}

/// Which of a folder's entries.
#[derive(Clone, Copy)]
enum Which<'a> {
    Named(&'a str),
    All,
}

/// All that may be remembered.
pub(super) struct Memory {
    /// From when on the account was so, with all own changes of later.
    states: VecDeque<(Instant, Account)>,
    lag: Duration,
    /// When the server put something where it is: the folder, and the name.
    added: BTreeMap<Entry, (Instant, u64, String)>,
    /// What a listing has shown where the server had put it.
    shown: BTreeSet<Entry>,
    /// When the server took something out of a folder.
    removed: BTreeMap<(u64, Entry), Instant>,
    /// Until when listings do not show yet where others put something.
    hidden: BTreeMap<Entry, Instant>,
}

impl Account {
    fn entries_in<'a>(&'a self, folder: u64, which: Which<'a>) -> impl Iterator<Item = Entry> + 'a {
        let fits = move |name: &str| match which {
            Which::Named(wanted) => name == wanted,
            Which::All => true,
        };
        let files = self
            .files
            .iter()
            .filter(move |(_, file)| file.folder == folder && fits(&file.name))
            .map(|(url, _)| Entry::File(url.clone()));
        let folders = self
            .folders
            .iter()
            .filter(move |(_, sub)| sub.parent == folder && fits(&sub.name))
            .map(|(id, _)| Entry::Folder(*id));
        files.chain(folders)
    }

    fn has(&self, folder: u64, which: Which<'_>, entry: &Entry) -> bool {
        self.entries_in(folder, which).any(|one| one == *entry)
    }
}

fn is_folder(entry: &Entry) -> bool {
    matches!(entry, Entry::Folder(_))
}

impl Memory {
    pub(super) fn new(account: Account, lag: Duration) -> Self {
        Self {
            states: VecDeque::from([(Instant::now(), account)]),
            lag,
            added: BTreeMap::new(),
            shown: BTreeSet::new(),
            removed: BTreeMap::new(),
            hidden: BTreeMap::new(),
        }
    }

    /// The account as it was left.
    pub(super) fn last(&self) -> &Account {
        &self.states.back().expect("there is always one").1
    }

    /// Others have changed the account, which shows at once or late.
    pub(super) fn others_did(&mut self, account: Account, late: bool) {
        let now = Instant::now();
        let changes = Changes::between(self.last(), &account);
        let files = changes.new_files.into_iter().chain(changes.moved_files);
        let folders = changes.new_folders.into_iter().chain(changes.moved_folders);
        for entry in files.map(Entry::File).chain(folders.map(Entry::Folder)) {
            match late {
                true => self.hidden.insert(entry, now + self.lag),
                false => self.hidden.remove(&entry),
            };
        }
        self.states.push_back((now, account));
        while self.states.len() > 1 && self.states[1].0 + KEPT < now {
            self.states.pop_front();
        }
    }

    /// The server has changed the account, which it knows.
    pub(super) fn server_did(&mut self, after: Account) {
        let now = Instant::now();
        let before = self.last().clone();
        let changes = Changes::between(&before, &after);
        for url in changes.new_files.iter().chain(&changes.moved_files) {
            let at = &after.files[url];
            let entry = Entry::File(url.clone());
            if let Some(was) = before.files.get(url)
                && was.folder != at.folder
            {
                self.removed.insert((was.folder, entry.clone()), now);
            }
            self.removed.remove(&(at.folder, entry.clone()));
            self.shown.remove(&entry);
            self.hidden.remove(&entry);
            self.added.insert(entry, (now, at.folder, at.name.clone()));
            for (_, state) in &mut self.states {
                state.files.insert(url.clone(), at.clone());
            }
        }
        for id in changes.new_folders.iter().chain(&changes.moved_folders) {
            let at = &after.folders[id];
            let entry = Entry::Folder(*id);
            if let Some(was) = before.folders.get(id)
                && was.parent != at.parent
            {
                self.removed.insert((was.parent, entry.clone()), now);
            }
            self.removed.remove(&(at.parent, entry.clone()));
            self.shown.remove(&entry);
            self.hidden.remove(&entry);
            self.added.insert(entry, (now, at.parent, at.name.clone()));
            for (_, state) in &mut self.states {
                state.folders.insert(*id, at.clone());
            }
        }
        for (_, state) in &mut self.states {
            for url in &changes.gone_files {
                state.files.remove(url);
            }
            for id in &changes.gone_folders {
                state.folders.remove(id);
            }
        }
        self.states.push_back((now, after));
    }

    /// 1Fichier has listed a folder. What it showed of own changes is not held
    /// against later listings.
    pub(super) fn was_listed(&mut self, folder: u64, at: Instant) {
        let Some(oldest) = at.checked_sub(self.lag) else {
            return;
        };
        let mut shown = Vec::new();
        for (entry, (added, place, name)) in &self.added {
            let mut states = self.between(oldest, at);
            if *place == folder
                && *added < oldest
                && states.all(|state| state.has(folder, Which::Named(name), entry))
            {
                shown.push(entry.clone());
            }
        }
        self.shown.extend(shown);
    }

    /// When the server stored a file or moved it to where it is.
    pub(super) fn added_at(&self, url: &str) -> Option<Instant> {
        let (at, ..) = self.added.get(&Entry::File(url.to_owned()))?;
        Some(*at)
    }

    /// The states from one moment to another, those at both included: several
    /// may have the same moment.
    fn between(&self, from: Instant, to: Instant) -> impl Iterator<Item = &Account> {
        let first = self.states.iter().rposition(|(at, _)| *at < from);
        let states = self.states.range(first.unwrap_or(0)..);
        let states = states.take_while(move |(at, _)| *at <= to);
        states.map(|(_, account)| account)
    }

    /// The states since a moment, the one at that moment included.
    fn since(&self, moment: Instant) -> impl Iterator<Item = &Account> {
        self.between(moment, Instant::now())
    }

    /// From when on states of a folder count.
    fn start(&self, age: Age, asked: Instant) -> Instant {
        let old = match age {
            Age::Listed => Duration::ZERO,
            Age::Seen => SEEN,
            Age::Read => FRESH,
        };
        let first = self.states.front().map_or(asked, |(at, _)| *at);
        asked
            .checked_sub(old + self.lag + ROUNDING)
            .unwrap_or(first)
    }

    /// From when on states of an entry count: own changes are held against
    /// listings.
    fn start_of(&self, folder: u64, entry: &Entry, age: Age, asked: Instant) -> Instant {
        let start = self.start(age, asked);
        let held = match age {
            Age::Seen => return start,
            Age::Listed => GRACE,
            Age::Read => GRACE + FRESH,
        };
        let added = self.added.get(entry).map(|(at, ..)| *at);
        let added = added.filter(|_| !self.shown.contains(entry));
        let removed = self.removed.get(&(folder, entry.clone())).copied();
        let own = added.into_iter().chain(removed);
        own.filter(|at| *at + held + self.lag + ROUNDING >= asked)
            .fold(start, Instant::min)
    }

    /// Whether the server has taken something out of a folder, and holds that
    /// against listings that show it there.
    fn is_held_gone(&self, folder: u64, entry: &Entry, age: Age, asked: Instant) -> bool {
        let held = match age {
            Age::Seen => return false,
            Age::Listed => GRACE,
            Age::Read => GRACE + FRESH,
        };
        let removed = self.removed.get(&(folder, entry.clone()));
        removed.is_some_and(|at| *at + held + self.lag + ROUNDING >= asked)
    }

    /// The entries that may be known in a folder, and whether they are known
    /// whatever is remembered.
    fn entries(
        &self,
        folder: u64,
        which: Which<'_>,
        age: Age,
        asked: Instant,
    ) -> BTreeMap<Entry, bool> {
        let all: BTreeSet<Entry> = self
            .states
            .iter()
            .flat_map(|(_, account)| account.entries_in(folder, which))
            .collect();
        let mut found = BTreeMap::new();
        for entry in all {
            let start = self.start_of(folder, &entry, age, asked);
            let mut states = self
                .since(start)
                .map(|state| state.has(folder, which, &entry));
            let may = self
                .since(start)
                .any(|state| state.has(folder, which, &entry));
            if may {
                found.insert(entry.clone(), states.all(|has| has));
            }
        }
        found
    }

    /// Whether a folder may be known without such an entry.
    fn may_miss(&self, folder: u64, name: &str, folders: bool, age: Age, asked: Instant) -> bool {
        let which = Which::Named(name);
        let has = |state: &Account| {
            state
                .entries_in(folder, which)
                .any(|entry| is_folder(&entry) == folders)
        };
        let is_there = |state: &Account| folder == 0 || state.folders.contains_key(&folder);
        let start = self.start(age, asked);
        if self
            .since(start)
            .any(|state| !is_there(state) || !has(state))
        {
            return true;
        }
        // What the server took away, and others brought back, counts as gone; and
        // what the server put elsewhere, or no listing shows yet, may be known to
        // be where it was before.
        let mut there = self.last().entries_in(folder, which);
        there.all(|entry| {
            let hidden = self.hidden.get(&entry);
            let own = self.start_of(folder, &entry, age, asked);
            let mut states = self.since(own);
            is_folder(&entry) != folders
                || self.is_held_gone(folder, &entry, age, asked)
                || hidden.is_some_and(|until| *until + ROUNDING >= asked)
                || own < start && !states.all(|state| state.has(folder, which, &entry))
        })
    }

    /// The folders that a path may name.
    pub(super) fn folders(&self, path: &str, age: Age, asked: Instant) -> Found<u64> {
        if path.is_empty() {
            return Found {
                may: BTreeSet::from([0]),
                always: BTreeSet::from([0]),
                may_miss: false,
            };
        }
        let above = self.folders(parent(path), age, asked);
        let name = path.rsplit('/').next().unwrap_or(path);
        let mut found = Found {
            may: BTreeSet::new(),
            always: BTreeSet::new(),
            may_miss: above.may_miss,
        };
        for folder in above.may {
            for (entry, always) in self.entries(folder, Which::Named(name), age, asked) {
                let Entry::Folder(id) = entry else { continue };
                found.may.insert(id);
                if always && above.always.contains(&folder) {
                    found.always.insert(id);
                }
            }
            found.may_miss |= self.may_miss(folder, name, true, age, asked);
        }
        found
    }

    /// The files that a path may name.
    pub(super) fn files(&self, path: &str, age: Age, asked: Instant) -> Found<String> {
        let above = self.folders(parent(path), age, asked);
        let name = path.rsplit('/').next().unwrap_or(path);
        let mut found = Found {
            may: BTreeSet::new(),
            always: BTreeSet::new(),
            may_miss: above.may_miss,
        };
        for folder in above.may {
            for (entry, always) in self.entries(folder, Which::Named(name), age, asked) {
                let Entry::File(url) = entry else { continue };
                if always && above.always.contains(&folder) {
                    found.always.insert(url.clone());
                }
                found.may.insert(url);
            }
            found.may_miss |= self.may_miss(folder, name, false, age, asked);
        }
        found
    }

    /// What may be in a directory and below it, itself included.
    pub(super) fn below(&self, path: &str, age: Age, asked: Instant) -> BTreeMap<Entry, bool> {
        let top = self.folders(path, age, asked);
        let mut found: BTreeMap<Entry, bool> = BTreeMap::new();
        let mut open: Vec<(u64, bool)> = top
            .may
            .iter()
            .map(|id| (*id, top.always.contains(id)))
            .collect();
        while let Some((folder, always)) = open.pop() {
            let known = found.entry(Entry::Folder(folder)).or_insert(false);
            *known |= always;
            for (entry, here) in self.entries(folder, Which::All, age, asked) {
                let here = here && always;
                match entry {
                    // It was seen in more than one place.
                    Entry::Folder(id) if found.contains_key(&Entry::Folder(id)) => {}
                    Entry::Folder(id) => open.push((id, here)),
                    file @ Entry::File(_) => *found.entry(file).or_insert(false) |= here,
                }
            }
        }
        found
    }

    /// The contents that a file's path may have.
    pub(super) fn contents(&self, path: &str, age: Age, asked: Instant) -> BTreeSet<String> {
        let files = self.files(path, age, asked).may;
        let known = |url: &String| {
            let mut states = self.states.iter();
            states.find_map(|(_, account)| Some(account.files.get(url)?.content.clone()))
        };
        files.iter().filter_map(known).collect()
    }
}
