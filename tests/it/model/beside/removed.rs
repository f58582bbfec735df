//! The rules for what removes.

use std::collections::BTreeSet;

use super::account::Changes;
use super::judge::{Case, Check, fail};
use super::memory::{Age, Entry};
use crate::model::tree::parent;

impl Case<'_> {
    pub(super) fn deleted(
        &self,
        paths: &[String],
        missing: bool,
        text: &str,
        changes: &Changes,
    ) -> Check {
        let reasons: Vec<String> = serde_json::from_str(text).expect("reasons");
        let others = Changes {
            gone_files: Vec::new(),
            ..changes.clone()
        };
        self.nothing_else(&others, changes)?;
        let mut may_go = BTreeSet::new();
        for (path, reason) in paths.iter().zip(&reasons) {
            let known = self.files(path, Age::Seen);
            let gone = || changes.gone_files.iter().any(|url| known.may.contains(url));
            let right = match reason.as_str() {
                "" if missing && self.files(path, Age::Read).may_miss => true,
                "" => gone() || known.always.is_empty(),
                "FILE_NOT_FOUND" => self.files(path, Age::Read).may_miss,
                "IS_A_DIRECTORY" => !self.folders(path, Age::Read).may.is_empty(),
                "NOT_A_DIRECTORY" => self.may_be_blocked(parent(path)),
                reason => {
                    let untold = self.untold || self.is_way_open(parent(path));
                    // 1Fichier does not know what others stored a moment ago.
                    let is_late = self.late_links && reason.starts_with("UPSTREAM_PROTOCOL");
                    is_late || untold && reason.starts_with("UPSTREAM_UNAVAILABLE")
                }
            };
            if !right {
                return fail(format!("{path:?}: {reason:?}; {}", self.told(changes)));
            }
            if reason.is_empty() {
                may_go.extend(known.may);
            }
        }
        match changes.gone_files.iter().find(|url| !may_go.contains(*url)) {
            Some(_) => fail(format!(
                "it removed what was not there: {}",
                self.told(changes)
            )),
            None => Ok(()),
        }
    }

    pub(super) fn nothing_else(&self, others: &Changes, changes: &Changes) -> Check {
        let none = others.new_files.is_empty()
            && others.gone_files.is_empty()
            && others.moved_files.is_empty()
            && others.new_folders.is_empty()
            && others.gone_folders.is_empty()
            && others.moved_folders.is_empty();
        if none {
            return Ok(());
        }
        fail(format!("it changed something else: {}", self.told(changes)))
    }

    pub(super) fn removed_directory(&self, path: &str, missing: bool, changes: &Changes) -> Check {
        let known = self.folders(path, Age::Seen);
        for id in &changes.gone_folders {
            if !known.may.contains(id) || self.before.is_full(*id) {
                return fail(format!("it removed another one: {}", self.told(changes)));
            }
        }
        let unknown = missing && self.folders(path, Age::Read).may_miss;
        if changes.gone_folders.is_empty() && !(unknown || known.may_miss) {
            return fail("nothing was removed");
        }
        let mut left = known.always.iter();
        if !unknown && left.any(|id| self.after.folders.contains_key(id)) {
            return fail("it is still there");
        }
        let others = Changes {
            gone_folders: Vec::new(),
            ..changes.clone()
        };
        self.nothing_else(&others, changes)
    }

    pub(super) fn only_removed_below(&self, path: &str, changes: &Changes) -> Check {
        let known = self.memory.below(path, Age::Seen, self.asked);
        let others = Changes {
            gone_files: Vec::new(),
            gone_folders: Vec::new(),
            ..changes.clone()
        };
        self.nothing_else(&others, changes)?;
        let files = changes.gone_files.iter().cloned().map(Entry::File);
        let folders = changes.gone_folders.iter().copied().map(Entry::Folder);
        match files
            .chain(folders)
            .find(|entry| !known.contains_key(entry))
        {
            Some(entry) => fail(format!(
                "it removed {entry:?}, which was not there: {}",
                self.told(changes)
            )),
            None => Ok(()),
        }
    }

    pub(super) fn purged(&self, path: &str, changes: &Changes) -> Check {
        self.only_removed_below(path, changes)?;
        let known = self.memory.below(path, Age::Seen, self.asked);
        for (entry, _) in known.iter().filter(|(_, always)| **always) {
            let there = match entry {
                Entry::File(url) => self.after.files.contains_key(url),
                Entry::Folder(id) => self.after.folders.contains_key(id),
            };
            if there {
                return fail(format!("{entry:?} is still there"));
            }
        }
        Ok(())
    }

    pub(super) fn deduped(&self, path: &str, identical: bool, changes: &Changes) -> Check {
        let others = Changes {
            gone_files: Vec::new(),
            ..changes.clone()
        };
        self.nothing_else(&others, changes)?;
        for url in &changes.gone_files {
            let at = self.before.path_of_file(url).unwrap_or_default();
            let below = path.is_empty() || at.starts_with(&format!("{path}/"));
            let kept = self.after.files_at(&at).any(|other| {
                !identical || self.after.files[other].content == self.before.files[url].content
            });
            if !below || !kept {
                return fail(format!(
                    "{url} at {at:?} was the only one: {}",
                    self.told(changes)
                ));
            }
        }
        Ok(())
    }
}
