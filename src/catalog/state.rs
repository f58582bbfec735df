//! The folders in memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::change::{Change, Own, keep_latest};
use super::content::{Content, FileRecord};
use super::node::Node;
use super::store::Remembered;
use super::{GRACE, Snapshot, YOUNG};
use crate::clock::{Clock, Moment};

/// Removed folders that are remembered.
const REMOVED: usize = 10_000;

/// Answers that are remembered about single files and folders, and how long.
const CONFIRMED: usize = 10_000;
const CONFIRMED_FOR: Duration = Duration::from_secs(60);

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    File(Box<str>),
    Folder(i64),
}

/// All of them.
#[derive(Default)]
pub(super) struct State {
    pub(super) nodes: HashMap<i64, Node>,
    pub(super) entries: usize,
    /// Folders that were removed from here. Those who still hold the id of one
    /// need not ask 1Fichier: questions in vain lead to a ban ([API §1.1]).
    removed: HashSet<i64>,
    /// What 1Fichier told to be in a folder, asked for it alone, and when.
    confirmed: HashMap<(i64, Item), Instant>,
    /// Where each folder is: a folder has one parent, the one that showed it
    /// last. Only parents in memory.
    parents: HashMap<i64, i64>,
    uses: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

/// What a listing has brought.
pub(super) struct Merged {
    pub(super) snapshot: Snapshot,
    /// Folders that are to be listed anew because of it.
    pub(super) doubted: Vec<i64>,
    /// Files that are not where they were, by folder and link.
    pub(super) moved: Vec<(i64, Box<str>)>,
    /// Own changes that it is the first to show.
    pub(super) shown: HashSet<String>,
}

impl State {
    pub(super) fn touch(&mut self, id: i64) -> &mut Node {
        self.uses += 1;
        let node = self.nodes.entry(id).or_default();
        node.used = self.uses;
        node
    }

    /// Takes what was on disk, unless something newer came meanwhile.
    pub(super) fn remember(
        &mut self,
        id: i64,
        remembered: Remembered,
        clock: &Clock,
        limit: usize,
    ) {
        let node = self.nodes.entry(id).or_default();
        if std::mem::replace(&mut node.loaded, true) {
            return;
        }
        let now = Instant::now();
        let mut changes: Vec<_> = remembered
            .changes
            .into_iter()
            .filter_map(|(at, change)| {
                let age = clock.age(Moment::remembered(at));
                // A change from the future keeps its whole grace.
                let age = if age == Duration::MAX {
                    Duration::ZERO
                } else {
                    age
                };
                let at = now.checked_sub(age).unwrap_or(now);
                (age < GRACE).then(|| Own::new(change, at))
            })
            .collect();
        // What is known to be gone since is not here, whatever was put on disk
        // before: nobody knew this folder while that was found out.
        let is_gone =
            |change: &Change| change.folder().is_some_and(|id| self.removed.contains(&id));
        let all = changes.len();
        changes.retain(|own| !is_gone(&own.change));
        if changes.len() < all {
            node.wrong = Some(now);
        }
        changes.append(&mut node.changes);
        node.changes = changes;
        if node.known.is_none()
            && let Some((mut content, as_of, listed)) = remembered.content
        {
            // What is older has been laid over the listing before it was kept.
            let as_of_age = clock.age(Moment::remembered(as_of));
            let newer = node
                .changes
                .iter()
                .filter(|own| own.at.elapsed() <= as_of_age);
            for own in newer {
                own.change.apply(&mut content);
            }
            for gone in &self.removed {
                if content.has_folder(*gone) {
                    content.remove_folder(*gone);
                    node.wrong = Some(now);
                }
            }
            for folder in content.folders() {
                // What is in memory is newer.
                self.parents.entry(folder.id).or_insert(id);
            }
            self.entries += content.len();
            node.doubted |= listed <= SystemTime::UNIX_EPOCH;
            node.known = Some(Snapshot {
                content: Arc::new(content),
                as_of: Moment::remembered(as_of),
                listed: Moment::remembered(listed),
            });
        }
        self.evict(limit, id);
    }

    /// Changes a folder that is in memory, and counts its entries anew.
    fn update(&mut self, id: i64, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(&id) {
            let before = node.entries();
            change(node);
            self.entries = (self.entries + node.entries()).saturating_sub(before);
        }
    }

    /// Takes a listing that began at `began`; own changes of late overlay it.
    pub(super) fn merge(
        &mut self,
        id: i64,
        mut content: Content,
        began: Instant,
        as_of: Moment,
        listed: Moment,
        limit: usize,
    ) -> Merged {
        // No folder is in itself.
        content.remove_folder(id);
        let node = self.nodes.entry(id).or_default();
        let before = node.entries();
        node.keep_order(&mut content);
        node.forget_old_changes();
        keep_latest(&mut node.changes);
        let mut shown = HashSet::new();
        for own in node.changes.iter_mut().filter(|own| !own.shown) {
            own.shown = own.change.is_shown(&content);
            if own.shown {
                shown.insert(own.change.subject_text());
            }
        }
        node.changes
            .retain(|own| !own.shown || own.at.elapsed() < YOUNG);
        for change in node.changes() {
            change.apply(&mut content);
        }
        let doubted = self.adopt(id, &mut content, began);
        let moved = self.take_from_others(id, &content, began);
        if !self.removed.is_empty() {
            for folder in content.folders() {
                self.removed.remove(&folder.id);
            }
        }
        let after = content.len();
        let snapshot = Snapshot {
            content: Arc::new(content),
            as_of,
            listed,
        };
        let node = self.nodes.entry(id).or_default();
        let old = node.known.replace(snapshot.clone());
        for folder in old.iter().flat_map(|old| old.content.folders()) {
            if self.parents.get(&folder.id) == Some(&id) && !snapshot.content.has_folder(folder.id)
            {
                self.parents.remove(&folder.id);
            }
        }
        let node = self.nodes.entry(id).or_default();
        node.doubted = false;
        if node.wrong.is_some_and(|since| since <= began) {
            node.wrong = None;
        }
        node.flight = None;
        node.failed = None;
        self.entries = self.entries.saturating_sub(before) + after;
        self.evict(limit, id);
        Merged {
            snapshot,
            doubted,
            moved,
            shown,
        }
    }

    /// The folders of a listing are in this folder now, and in no other: those
    /// that held them forget them. What an own call has put elsewhere since the
    /// listing began stays there.
    fn adopt(&mut self, id: i64, content: &mut Content, began: Instant) -> Vec<i64> {
        let mut doubted = Vec::new();
        let folders: Vec<i64> = content.folders().map(|folder| folder.id).collect();
        for folder in folders {
            let old = self.parents.get(&folder).copied().filter(|old| *old != id);
            let Some(old) = old else {
                self.parents.insert(folder, id);
                continue;
            };
            let holder = self.nodes.get(&old);
            let put_there = holder
                .and_then(|node| node.own_folder(folder))
                .is_some_and(|own| own.at > began);
            if put_there {
                content.remove_folder(folder);
            } else if self.is_within(id, folder) {
                // Either what is known of the way to here is old, or 1Fichier
                // shows a folder inside itself. A listing of the old parent
                // tells.
                if let Some(node) = self.nodes.get_mut(&old) {
                    node.doubted = true;
                }
                doubted.push(old);
            } else {
                self.leave(old, folder);
                self.parents.insert(folder, id);
            }
        }
        doubted
    }

    /// A file that a listing shows is not where an own change has put it before
    /// the listing began: another program has moved it.
    fn take_from_others(
        &mut self,
        id: i64,
        content: &Content,
        began: Instant,
    ) -> Vec<(i64, Box<str>)> {
        let mut moved = Vec::new();
        for (other, node) in self.nodes.iter().filter(|(other, _)| **other != id) {
            let old = node
                .changes
                .iter()
                .filter(|own| !own.shown && own.at < began);
            let here = old
                .filter_map(|own| own.change.file())
                .filter(|file| content.has_file(&file.url));
            moved.extend(here.map(|file| (*other, file.url.clone())));
        }
        for (other, url) in &moved {
            self.file_missing(*other, url);
        }
        moved
    }

    /// Whether a folder is another one, or inside it, as far as is in memory.
    fn is_within(&self, mut id: i64, ancestor: i64) -> bool {
        let mut seen = HashSet::new();
        while id != ancestor {
            if !seen.insert(id) {
                return false;
            }
            match self.parents.get(&id) {
                Some(parent) => id = *parent,
                None => return false,
            }
        }
        true
    }

    /// 1Fichier says that something is in a folder.
    pub(super) fn confirm(&mut self, folder: i64, item: Item) {
        if self.confirmed.len() >= CONFIRMED {
            self.confirmed.retain(|_, at| at.elapsed() < CONFIRMED_FOR);
        }
        if self.confirmed.len() < CONFIRMED {
            self.confirmed.insert((folder, item), Instant::now());
        }
    }

    /// How long ago it said so.
    pub(super) fn confirmed(&self, folder: i64, item: Item) -> Duration {
        let at = self.confirmed.get(&(folder, item));
        at.map_or(Duration::MAX, Instant::elapsed)
    }

    /// The folder that holds this one, as far as is in memory. `None` also where
    /// that is not certain: one of its parents would be inside it.
    pub(super) fn parent_of(&self, id: i64) -> Option<i64> {
        let parent = *self.parents.get(&id)?;
        (!self.is_within(parent, id)).then_some(parent)
    }

    /// How long ago a folder was made from here, in this run.
    pub(super) fn made_ago(&self, id: i64) -> Option<Duration> {
        Some(self.nodes.get(&id)?.made?.elapsed())
    }

    /// Folders in memory that hold this one.
    pub(super) fn holders(&self, id: i64) -> Vec<i64> {
        let holds = |node: &Node| {
            let known = node.known.as_ref();
            known.is_some_and(|known| known.content.has_folder(id))
        };
        let holding = self.nodes.iter().filter(|(_, node)| holds(node));
        holding.map(|(parent, _)| *parent).collect()
    }

    /// A folder is in another one than this. That it was removed from here
    /// stays known: a late listing may still show it.
    pub(super) fn leave(&mut self, parent: i64, folder: i64) {
        self.update(parent, |node| {
            if let Some(known) = &mut node.known
                && known.content.has_folder(folder)
            {
                Arc::make_mut(&mut known.content).remove_folder(folder);
            }
            node.changes
                .retain(|own| own.change.folder() != Some(folder));
        });
    }

    /// 1Fichier told of a file by itself.
    pub(super) fn file_shown(&mut self, folder: i64, mut file: FileRecord) {
        self.update(folder, |node| {
            if let Some(known) = &mut node.known {
                let content = Arc::make_mut(&mut known.content);
                if let Some(known) = content.file(&file.url) {
                    file.order = known.order;
                }
                content.add_file(file);
            }
        });
    }

    /// 1Fichier does not know a file that was here: no own change brings it
    /// back, and none hides it if a listing shows it.
    pub(super) fn file_missing(&mut self, folder: i64, url: &str) {
        self.update(folder, |node| node.forget_file(url));
    }

    /// A folder was made: it is empty.
    pub(super) fn made(&mut self, id: i64, as_of: Moment) {
        let node = self.touch(id);
        node.loaded = true;
        node.made = Some(Instant::now());
        node.known.get_or_insert(Snapshot {
            content: Arc::default(),
            as_of,
            listed: as_of,
        });
    }

    pub(super) fn change(&mut self, folder: i64, change: Change) {
        let added = change.folder();
        self.nodes.entry(folder).or_default();
        self.update(folder, |node| {
            if let Some(known) = &mut node.known {
                change.apply(Arc::make_mut(&mut known.content));
            }
            node.changes.push(Own::new(change, Instant::now()));
            if node.changes.len().is_multiple_of(1_000) {
                node.forget_old_changes();
            }
        });
        if let Some(added) = added {
            self.removed.remove(&added);
            if let Some(old) = self.parents.insert(added, folder)
                && old != folder
            {
                self.leave(old, added);
            }
        }
    }

    /// A folder was removed from here.
    pub(super) fn removed(&mut self, id: i64) {
        if self.removed.len() >= REMOVED {
            self.removed.clear();
        }
        self.removed.insert(id);
        self.parents.remove(&id);
        self.forget(id);
    }

    pub(super) fn is_removed(&self, id: i64) -> bool {
        self.removed.contains(&id)
    }

    pub(super) fn forget(&mut self, id: i64) {
        if let Some(node) = self.nodes.remove(&id) {
            self.entries = self.entries.saturating_sub(node.entries());
            for folder in node.known.iter().flat_map(|known| known.content.folders()) {
                if self.parents.get(&folder.id) == Some(&id) {
                    self.parents.remove(&folder.id);
                }
            }
        }
    }

    /// Forgets the folders used least recently: they are on disk. What is
    /// being listed stays.
    fn evict(&mut self, limit: usize, keep: i64) {
        // Folders without entries need memory too.
        if self.entries + self.nodes.len() <= limit {
            return;
        }
        let mut candidates: Vec<_> = self
            .nodes
            .iter()
            .filter(|(id, node)| {
                **id != keep && !node.is_listed_now() && !node.doubted && !node.changed_lately()
            })
            .map(|(id, node)| (node.used, *id))
            .collect();
        candidates.sort_unstable();
        for (_, id) in candidates {
            if self.entries + self.nodes.len() <= limit - limit / 10 {
                break;
            }
            self.forget(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::content::FolderRecord;
    use crate::encoding::{Mask, NameCodec};

    fn folder(id: i64, name: &str) -> FolderRecord {
        FolderRecord {
            id,
            name: name.into(),
            time: None,
            password: false,
        }
    }

    /// What is known after a listing that shows these folders.
    fn listed(state: &mut State, id: i64, folders: &[(i64, &str)]) -> Vec<String> {
        let folders = folders.iter().map(|(id, name)| folder(*id, name));
        let content = Content::new(folders.collect(), Vec::new());
        let now = Clock::system().moment();
        let snapshot = state
            .merge(id, content, Instant::now(), now, now, 1_000)
            .snapshot;
        let mut names: Vec<_> = snapshot
            .content
            .folders()
            .map(|folder| folder.name.to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_late_listing_does_not_undo_a_new_name() {
        let mut state = State::default();
        assert_eq!(listed(&mut state, 1, &[(7, "old")]), ["old"]);
        state.change(1, Change::FolderAdded(folder(7, "new")));
        assert_eq!(listed(&mut state, 1, &[(7, "old")]), ["new"]);
        assert_eq!(listed(&mut state, 1, &[(7, "new")]), ["new"]);
        // Shown once, the listing counts again.
        assert_eq!(listed(&mut state, 1, &[(7, "theirs")]), ["theirs"]);
    }

    #[test]
    fn a_removed_folder_is_known_to_be_gone_until_it_is_listed() {
        let mut state = State::default();
        listed(&mut state, 1, &[(7, "x"), (8, "y")]);
        state.change(1, Change::FolderRemoved(7));
        state.removed(7);
        assert!(state.is_removed(7) && !state.is_removed(8));
        // Late listings still show it.
        listed(&mut state, 1, &[(7, "x")]);
        assert!(state.is_removed(7));
        listed(&mut state, 2, &[(7, "x")]);
        assert!(!state.is_removed(7));
        for id in 0..3 * REMOVED {
            state.removed(id as i64);
        }
        assert!(state.removed.len() <= REMOVED);
    }

    #[test]
    fn what_left_and_came_back_stays() {
        let mut state = State::default();
        assert_eq!(listed(&mut state, 1, &[(7, "x")]), ["x"]);
        state.change(1, Change::FolderRemoved(7));
        assert!(listed(&mut state, 1, &[(7, "x")]).is_empty());
        state.change(1, Change::FolderAdded(folder(7, "x")));
        for _ in 0..3 {
            assert_eq!(listed(&mut state, 1, &[(7, "x")]), ["x"]);
        }
        state.change(1, Change::FolderRemoved(7));
        for _ in 0..3 {
            assert!(listed(&mut state, 1, &[(7, "x")]).is_empty());
        }
    }

    fn file(name: &str) -> FileRecord {
        FileRecord {
            url: "u".into(),
            name: name.into(),
            size: 1,
            time: None,
            whirlpool: None,
            content_type: "".into(),
            password: false,
            acl: false,
            cdn: false,
            order: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rename_stands_until_a_listing_has_another_name_than_the_old_one() {
        let mut state = State::default();
        let now = Clock::virtual_time().moment();
        let list = |state: &mut State, name: &str| {
            let content = Content::new(Vec::new(), vec![file(name)]);
            state
                .merge(1, content, Instant::now(), now, now, 100)
                .snapshot
        };
        list(&mut state, "old");
        state.change(1, Change::FileRenamed(file("new"), "old".into()));
        assert_eq!(names(&list(&mut state, "old")), ["new"]);
        // Another program was faster than the listings.
        assert_eq!(names(&list(&mut state, "theirs")), ["theirs"]);
        assert_eq!(names(&list(&mut state, "old")), ["old"]);
        // What was just stored is where listings show it, under their name.
        state.change(1, Change::FileAdded(file("ours")));
        assert_eq!(names(&list(&mut state, "theirs")), ["theirs"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_stands_until_listings_show_it_and_numbers_of_own_files_for_good() {
        let mut state = State::default();
        let now = Clock::virtual_time().moment();
        let stored = FileRecord {
            order: 7,
            ..file("f")
        };
        state.change(1, Change::FileAdded(stored));
        state.change(1, Change::FileProtected("u".into(), true));
        let listed = |state: &mut State, files: Vec<FileRecord>| {
            let content = Content::new(Vec::new(), files);
            let listed = state.merge(1, content, Instant::now(), now, now, 100);
            let shown = listed.snapshot.content.file("u").cloned();
            shown.map(|file| (file.password, file.order))
        };
        // Not listed at all yet; listed without; listed with; taken away again.
        assert_eq!(listed(&mut state, vec![]), Some((true, 7)));
        assert_eq!(listed(&mut state, vec![file("f")]), Some((true, 7)));
        let protected = FileRecord {
            password: true,
            ..file("f")
        };
        assert_eq!(listed(&mut state, vec![protected]), Some((true, 7)));
        assert_eq!(listed(&mut state, vec![file("f")]), Some((false, 7)));
        assert_eq!(listed(&mut state, vec![]), None);
    }

    fn names(snapshot: &Snapshot) -> Vec<&str> {
        let mut names: Vec<_> = snapshot.content.files().map(|file| &*file.name).collect();
        names.sort_unstable();
        names
    }

    #[tokio::test(start_paused = true)]
    async fn a_renamed_file_has_its_new_name_whatever_listings_know() {
        let mut state = State::default();
        let now = Clock::virtual_time().moment();
        let list = |state: &mut State, name: &str| {
            let content = Content::new(Vec::new(), vec![file(name)]);
            state
                .merge(1, content, Instant::now(), now, now, 100)
                .snapshot
        };
        list(&mut state, "old");
        state.change(1, Change::FileRemoved("u".into()));
        state.change(1, Change::FileAdded(file("new")));
        assert_eq!(names(&list(&mut state, "old")), ["new"]);
        assert_eq!(names(&list(&mut state, "new")), ["new"]);
        // Now 1Fichier knows it: what it tells later counts again.
        assert_eq!(names(&list(&mut state, "newer")), ["newer"]);
        // Twice, and the listing is of before, between or after.
        state.change(1, Change::FileRenamed(file("second"), "newer".into()));
        state.change(1, Change::FileRenamed(file("third"), "second".into()));
        assert_eq!(names(&list(&mut state, "newer")), ["third"]);
        assert_eq!(names(&list(&mut state, "second")), ["third"]);
        assert_eq!(names(&list(&mut state, "third")), ["third"]);
        assert_eq!(names(&list(&mut state, "newer")), ["newer"]);
        let codec = NameCodec::new(Mask::FICHIER);
        let known = state.nodes[&1].known.as_ref().unwrap();
        assert_eq!(known.content.find_files(codec, "newer").len(), 1);
    }
}
