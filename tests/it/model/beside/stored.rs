//! The rules for what stores and moves.

use super::account::Changes;
use super::judge::{Case, Check, fail, upwards};
use super::memory::{Age, SEEN};
use crate::model::step::Write;
use crate::model::tree::parent;

impl Case<'_> {
    pub(super) fn made_towards(&self, path: &str, changes: &Changes) -> Check {
        for id in &changes.new_folders {
            // What was made for nothing stays where 1Fichier does not show yet that
            // it is empty.
            let is_left = self.untold && !self.after.is_full(*id);
            if !is_left && !upwards(path).any(|path| self.is_folder_at(*id, path)) {
                let made = self.after.path(*id);
                return fail(format!("it made the directory {made:?}"));
            }
        }
        Ok(())
    }

    /// Whether a folder is where a path leads: now, or by what the server may
    /// have seen within the last 30 seconds. What others did to directories that
    /// lately may as well have been done after the request.
    pub(super) fn is_folder_at(&self, id: u64, path: &str) -> bool {
        if self.folders(path, Age::Seen).may.contains(&id)
            || self.after.path(id).as_deref() == Some(path)
        {
            return true;
        }
        // It was made in one that is.
        let name = path.rsplit('/').next();
        !self.before.folders.contains_key(&id)
            && self.after.folders.get(&id).is_some_and(|folder| {
                Some(folder.name.as_str()) == name && self.is_folder_at(folder.parent, parent(path))
            })
    }

    /// The same for a file.
    pub(super) fn is_file_at(&self, url: &str, path: &str) -> bool {
        let file = &self.after.files[url];
        path.rsplit('/').next() == Some(file.name.as_str())
            && self.is_folder_at(file.folder, parent(path))
    }

    /// What has another file than the one it tells of: nothing may be touched
    /// but what is replaced.
    pub(super) fn replaced(
        &self,
        path: &str,
        mode: Write,
        except: Option<&str>,
        changes: &Changes,
    ) -> Check {
        let known = self.files(path, Age::Seen);
        if mode == Write::CreateOnly && !self.files(path, Age::Read).always.is_empty() {
            return fail("something was there");
        }
        let folders = self.folders(path, Age::Read);
        if !folders.always.is_empty() && self.files(path, Age::Read).may.is_empty() {
            return fail("a directory was there");
        }
        for url in &changes.gone_files {
            if mode != Write::Replace || !known.may.contains(url) {
                return fail(format!(
                    "it removed what was not there: {}",
                    self.told(changes)
                ));
            }
        }
        // Where nothing was known to be, or what it stored just before, it does
        // not look.
        let is_own = |url: &String| {
            let added = self.memory.added_at(url);
            added.is_some_and(|at| at + SEEN >= self.asked)
        };
        let is_looked_at = !known.may.iter().any(is_own);
        if mode == Write::Replace && !self.files(path, Age::Read).may_miss && is_looked_at {
            for url in known
                .always
                .iter()
                .filter(|url| Some(url.as_str()) != except)
            {
                if self.after.files.contains_key(url) {
                    return fail(format!("{url} was to be replaced"));
                }
            }
        }
        if !changes.gone_folders.is_empty() || !changes.moved_folders.is_empty() {
            return fail(format!("it touched directories: {}", self.told(changes)));
        }
        self.made_towards(parent(path), changes)
    }

    /// Whether a copy has the name that others gave to its source just before:
    /// they may as well have done it to the copy.
    pub(super) fn copied_under_its_name(&self, from: &str, to: &str, changes: &Changes) -> bool {
        let [url] = changes.new_files.as_slice() else {
            return false;
        };
        let copy = &self.after.files[url];
        let source = self.files(from, Age::Seen).may;
        let mut source = source.iter().filter_map(|url| self.before.files.get(url));
        from.rsplit('/').next() == to.rsplit('/').next()
            && self.is_folder_at(copy.folder, parent(to))
            && source.any(|source| source.name == copy.name && source.content == copy.content)
    }

    pub(super) fn stored(
        &self,
        path: &str,
        content: &str,
        mode: Write,
        changes: &Changes,
    ) -> Check {
        let [url] = changes.new_files.as_slice() else {
            return fail(format!("there is not one new file: {}", self.told(changes)));
        };
        let now = &self.after.files[url];
        // A file that has the name of a directory that is gone keeps that from
        // being made again.
        let is_blocked = now.folder == 0 && self.may_be_blocked(parent(path));
        if !(self.is_file_at(url, path) || is_blocked) || now.content != content {
            return fail(format!("it is elsewhere: {}", self.told(changes)));
        }
        if !changes.moved_files.is_empty() {
            return fail(format!("it moved files: {}", self.told(changes)));
        }
        self.replaced(path, mode, None, changes)
    }

    pub(super) fn moved(
        &self,
        from: &str,
        to: &str,
        content: &str,
        mode: Write,
        changes: &Changes,
    ) -> Check {
        let known = self.files(from, Age::Seen).may;
        // Others may have done the same.
        if changes.moved_files.is_empty()
            && known
                .iter()
                .any(|url| self.after.path_of_file(url).as_deref() == Some(to))
        {
            return self.replaced(to, Write::KeepBoth, None, changes);
        }
        let [url] = changes.moved_files.as_slice() else {
            return fail(format!("it did not move one file: {}", self.told(changes)));
        };
        if !known.contains(url) {
            return fail(format!(
                "it moved what was not there: {}",
                self.told(changes)
            ));
        }
        let now = &self.after.files[url];
        // Others may as well have moved it after it got its new name.
        let is_renamed = parent(from) == parent(to)
            && now.folder == self.before.files[url].folder
            && to.rsplit('/').next() == Some(now.name.as_str());
        if !(self.is_file_at(url, to) || is_renamed) || now.content != content {
            return fail(format!("it is elsewhere: {}", self.told(changes)));
        }
        if !changes.new_files.is_empty() {
            return fail(format!("there are new files: {}", self.told(changes)));
        }
        self.replaced(to, mode, Some(url), changes)
    }

    pub(super) fn moved_directory(&self, from: &str, to: &str, changes: &Changes) -> Check {
        let known = self.folders(from, Age::Seen).may;
        if changes.moved_folders.is_empty()
            && known
                .iter()
                .any(|id| self.after.path(*id).as_deref() == Some(to))
        {
            return self.nothing(changes);
        }
        let [id] = changes.moved_folders.as_slice() else {
            return fail(format!(
                "it did not move one directory: {}",
                self.told(changes)
            ));
        };
        if !known.contains(id) {
            return fail(format!(
                "it moved what was not there: {}",
                self.told(changes)
            ));
        }
        let moved = &self.after.folders[id];
        // Others may as well have moved it after it got its new name.
        let is_renamed =
            parent(from) == parent(to) && moved.parent == self.before.folders[id].parent;
        if to.rsplit('/').next() != Some(moved.name.as_str())
            || !(is_renamed || self.is_folder_at(moved.parent, parent(to)))
        {
            return fail(format!("it is elsewhere: {}", self.told(changes)));
        }
        let others = Changes {
            moved_folders: Vec::new(),
            ..changes.clone()
        };
        self.nothing_but_directories(parent(to), &others)
    }
}
