//! Files that share a path.

use std::collections::{BTreeMap, HashSet};

use super::rename::Renaming;
use super::{DedupeMode, Group, Left, Walk};
use crate::backend::batch::{Change, Target};
use crate::backend::entry::Entry;
use crate::backend::locks::{Guard, Key};
use crate::backend::path::RemotePath;
use crate::catalog::{Content, FileRecord, Whirlpool};
use crate::error::{Error, Result};
use crate::fichier::{Kind, Priority, Scope};

/// What is done with the files of one path.
#[derive(Debug, Default)]
struct Plan {
    kept: String,
    stays: Vec<FileRecord>,
    goes: Vec<FileRecord>,
    renamed: Vec<FileRecord>,
}

impl Plan {
    /// For files with one path, the newest first.
    fn new(mode: DedupeMode, files: Vec<FileRecord>) -> Self {
        let mut plan = Self::default();
        let keeps = match mode {
            DedupeMode::Oldest => files.last(),
            _ => files.first(),
        };
        plan.kept = keeps.map(|file| file.url.to_string()).unwrap_or_default();
        let mut contents: HashSet<(u64, Whirlpool)> = HashSet::new();
        for file in files {
            let kept = *file.url == *plan.kept;
            match mode {
                DedupeMode::Report | DedupeMode::Directories => plan.stays.push(file),
                DedupeMode::Identical => {
                    // Without a checksum nobody knows what it holds.
                    let known = file.whirlpool.clone().map(|sum| (file.size, sum));
                    let again = known.is_some_and(|known| !contents.insert(known));
                    let place = if again {
                        &mut plan.goes
                    } else {
                        &mut plan.stays
                    };
                    place.push(file);
                }
                DedupeMode::Newest | DedupeMode::Oldest if kept => plan.stays.push(file),
                DedupeMode::Newest | DedupeMode::Oldest => plan.goes.push(file),
                DedupeMode::Rename if kept => plan.stays.push(file),
                DedupeMode::Rename => plan.renamed.push(file),
            }
        }
        plan
    }

    /// The files whose being there others may go for.
    fn relied_on(&self) -> Vec<&FileRecord> {
        let stands_for_others = |file: &&FileRecord| {
            let same =
                |gone: &FileRecord| (gone.size, &gone.whirlpool) == (file.size, &file.whirlpool);
            let kept = *file.url == *self.kept;
            self.goes.iter().any(|gone| kept || same(gone))
        };
        self.stays.iter().filter(stands_for_others).collect()
    }
}

/// Nobody else writes to a path while this is held, even if its directory had
/// another path when the write began.
pub(super) type Held = [Guard; 2];

/// The files of a path, and what is done with them or why nothing is.
type Certain = (Vec<FileRecord>, Result<Plan>);

fn entries(path: &RemotePath, files: &[FileRecord]) -> Vec<Entry> {
    let entry = |file| Entry::file(path.clone(), file, files.len());
    files.iter().map(entry).collect()
}

impl Walk {
    /// What would be done.
    pub(super) fn plan(
        &self,
        path: RemotePath,
        files: Vec<FileRecord>,
        content: &Content,
    ) -> Group {
        let all = entries(&path, &files);
        let plan = Plan::new(self.options.mode, files);
        let mut remaining = entries(&path, &plan.stays);
        let mut failures = Vec::new();
        let mut renaming = Renaming::new(&self.remote, content);
        for file in &plan.renamed {
            match renaming.free_file_name(&path) {
                Ok((path, _)) => remaining.push(Entry::file(path, file, 1)),
                Err(error) => failures.push((path.clone(), error)),
            }
        }
        Group {
            path,
            entries: all,
            kept: plan.kept,
            remaining,
            failures,
        }
    }

    /// Resolves the files of these paths: together where nobody else writes,
    /// one after the other where somebody does.
    pub(super) async fn resolve_files(
        &self,
        folder: i64,
        paths: Vec<RemotePath>,
    ) -> Result<(), Left> {
        let locks = &self.remote.account.locks;
        let (mut held, mut busy) = (BTreeMap::new(), Vec::new());
        for path in paths {
            match self.try_hold(folder, &path) {
                Some(locks) => drop(held.insert(path, locks)),
                None => busy.push(path),
            }
        }
        self.resolve_held(folder, held).await?;
        for path in busy {
            // Those who write take them in this order.
            let lock = self.unless_left(locks.hold(Key::path(&path))).await?;
            let segment = path.segments().last().unwrap_or_default();
            let claim = locks.hold(Key::place(folder, segment));
            let held = [lock, self.unless_left(claim).await?];
            self.resolve_held(folder, BTreeMap::from([(path, held)]))
                .await?;
        }
        Ok(())
    }

    /// A path and its place in the folder, unless somebody writes there.
    pub(super) fn try_hold(&self, folder: i64, path: &RemotePath) -> Option<Held> {
        let locks = &self.remote.account.locks;
        let segment = path.segments().last().unwrap_or_default();
        Some([
            locks.try_hold(Key::path(path))?,
            locks.try_hold(Key::place(folder, segment))?,
        ])
    }

    /// Resolves the files of paths that nobody else writes to.
    async fn resolve_held(
        &self,
        folder: i64,
        held: BTreeMap<RemotePath, Held>,
    ) -> Result<(), Left> {
        if held.is_empty() {
            return Ok(());
        }
        let account = &self.remote.account;
        let mut groups = Vec::new();
        let mut plans = Vec::new();
        for path in held.keys() {
            // As it is now that they are held.
            let Some((all, plan)) = self.certain(folder, path).await? else {
                continue;
            };
            let (plan, failure) = match plan {
                Ok(plan) => (plan, None),
                // Nothing is done with them.
                Err(error) => (Plan::new(DedupeMode::Report, all.clone()), Some(error)),
            };
            groups.push(Group {
                path: path.clone(),
                entries: entries(path, &all),
                kept: plan.kept.clone(),
                remaining: Vec::new(),
                failures: failure
                    .into_iter()
                    .map(|error| (path.clone(), error))
                    .collect(),
            });
            plans.push(plan);
        }

        let targets: Vec<Target> = plans
            .iter()
            .flat_map(|plan| &plan.goes)
            .map(|file| Target::new(folder, &file.url))
            .collect();
        let scope = Scope::new(Priority::Delete);
        let outcomes = account
            .batches
            .run_until(scope, Change::Remove, &targets, &self.cancel)
            .await;
        let mut outcomes = outcomes.into_iter();
        for (group, plan) in groups.iter_mut().zip(&mut plans) {
            for file in std::mem::take(&mut plan.goes) {
                let Some(outcome) = outcomes.next() else {
                    break;
                };
                match outcome {
                    Err(error) if error.kind() != Kind::NotFound => {
                        let error = Error::from(error).at(group.path.as_str());
                        group.failures.push((group.path.clone(), error));
                        plan.stays.push(file);
                    }
                    _ => account.catalog.file_removed(folder, &file.url),
                }
            }
        }
        for (group, plan) in groups.iter_mut().zip(&plans) {
            group.remaining = entries(&group.path, &plan.stays);
        }
        let renamed: Vec<_> = plans
            .into_iter()
            .enumerate()
            .flat_map(|(at, plan)| plan.renamed.into_iter().map(move |file| (at, file)))
            .collect();
        if !renamed.is_empty() {
            self.rename_files(folder, &mut groups, renamed).await;
        }
        if let Err(error) = account.catalog.settle().await {
            let error = Error::from(error);
            for group in &mut groups {
                let error = error.clone().at(group.path.as_str());
                group.failures.push((group.path.clone(), error));
            }
        }
        drop(held);
        for group in groups {
            self.tell(group).await?;
        }
        Ok(())
    }

    /// The files of a path and what is done with them, once all that others go
    /// for is certain to be there. `None` when the path is not ambiguous any
    /// more.
    async fn certain(&self, folder: i64, path: &RemotePath) -> Result<Option<Certain>, Left> {
        let account = &self.remote.account;
        let segment = path.segments().last().unwrap_or_default();
        'again: loop {
            let Some(known) = account.catalog.peek(folder).await else {
                return Ok(None);
            };
            let found = known.content.find_files(self.remote.codec, segment);
            let files: Vec<FileRecord> = found.into_iter().cloned().collect();
            if files.len() < 2 {
                return Ok(None);
            }
            let plan = Plan::new(self.options.mode, files.clone());
            for file in plan.relied_on() {
                // The listing shows all others.
                if !account.catalog.is_unlisted(folder, &file.url) {
                    continue;
                }
                let asked = account.client.file_exists(self.upload_scope(), &file.url);
                match self.unless_left(asked).await? {
                    Ok(true) => {}
                    Ok(false) => {
                        account.catalog.file_removed(folder, &file.url);
                        continue 'again;
                    }
                    Err(error) => {
                        let error = Error::from(error).at(path.as_str());
                        return Ok(Some((files, Err(error))));
                    }
                }
            }
            return Ok(Some((files, Ok(plan))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(url: &str, size: u64, sum: Option<u8>) -> FileRecord {
        FileRecord {
            url: url.into(),
            name: "n".into(),
            size,
            time: None,
            whirlpool: sum.and_then(|sum| Whirlpool::from_bytes(&[sum; 64])),
            content_type: "".into(),
            password: false,
            acl: false,
            cdn: false,
            order: 0,
        }
    }

    fn urls(files: &[FileRecord]) -> Vec<&str> {
        files.iter().map(|file| &*file.url).collect()
    }

    #[test]
    fn each_mode_keeps_what_it_says() {
        let files = vec![
            file("new", 1, Some(1)),
            file("other", 1, Some(2)),
            file("same", 1, Some(1)),
            file("larger", 2, Some(1)),
            file("unknown", 1, None),
            file("unknown too", 1, None),
            file("other again", 1, Some(2)),
        ];
        let plan = |mode| Plan::new(mode, files.clone());
        let identical = plan(DedupeMode::Identical);
        assert_eq!(
            urls(&identical.stays),
            ["new", "other", "larger", "unknown", "unknown too"]
        );
        assert_eq!(urls(&identical.goes), ["same", "other again"]);
        assert_eq!(identical.kept, "new");
        let relied_on: Vec<_> = identical
            .relied_on()
            .iter()
            .map(|file| &*file.url)
            .collect();
        assert_eq!(relied_on, ["new", "other"]);
        let newest = plan(DedupeMode::Newest);
        assert_eq!((urls(&newest.stays), newest.goes.len()), (vec!["new"], 6));
        let oldest = plan(DedupeMode::Oldest);
        assert_eq!(
            (urls(&oldest.stays), oldest.goes.len()),
            (vec!["other again"], 6)
        );
        let rename = plan(DedupeMode::Rename);
        assert_eq!(
            (urls(&rename.stays), rename.renamed.len()),
            (vec!["new"], 6)
        );
        let report = plan(DedupeMode::Report);
        assert_eq!((report.stays.len(), report.kept.as_str()), (7, "new"));
        assert!(report.relied_on().is_empty());
    }
}
