//! Removing files.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

use super::batch::{Change, Target};
use super::locks::{Key, operation};
use super::path::RemotePath;
use super::twins::{FileAt, pick};
use super::{AtPath, Remote};
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, Kind, Priority, Scope};

/// How often a path is looked at again whose file was gone.
const LOOKS: u32 = 2;

/// A file to remove.
#[derive(Clone, Debug)]
pub struct DeleteTarget {
    /// Where it is.
    pub path: RemotePath,
    /// The file with this etag; without one, the newest of the path.
    pub if_match: Option<String>,
    /// Without an etag, each file of the path: for callers that can tell only
    /// one, and would find an older one in its place.
    pub every: bool,
}

impl Remote {
    /// Removes files; one result for each target, in order.
    ///
    /// # Errors
    /// READ_ONLY.
    pub async fn delete(
        &self,
        scope: Scope,
        targets: &[DeleteTarget],
        allow_missing: bool,
    ) -> Result<Vec<Result<()>>> {
        operation(self.delete_files(scope, targets, allow_missing)).await
    }

    async fn delete_files(
        &self,
        scope: Scope,
        targets: &[DeleteTarget],
        allow_missing: bool,
    ) -> Result<Vec<Result<()>>> {
        self.check_writable()?;
        // Whoever moves one of them away must have done so before it is looked
        // up, or do so after it is gone: it would be removed at its new place.
        let keys = targets.iter().map(|target| Key::path(&target.path));
        let held = self.account.locks.hold_all(keys.collect()).await;
        let mut removal = Removal {
            remote: self.clone(),
            scope: scope.with_priority(Priority::Delete),
            targets: targets.to_vec(),
            allow_missing,
            results: targets.iter().map(|_| Ok(())).collect(),
            files: Vec::new(),
            wanted: HashMap::new(),
        };
        for index in 0..targets.len() {
            removal.find(scope, index).await;
        }
        // It goes on even if the caller goes away: what was sent must be over
        // before others may have these paths. What has not left then does not
        // leave any more.
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let removal = self.account.tasks.spawn(operation(async move {
            let _held = held;
            removal.run(&cancel).await
        }));
        let results = removal.await;
        guard.disarm();
        results.map_err(|error| Error::internal(format!("a removal stopped: {error}")))?
    }

    async fn find_targets(&self, scope: Scope, target: &DeleteTarget) -> Result<Vec<Target>> {
        let mut files = self.files_now(scope, &target.path).await?;
        if files.len() > 1 {
            // One of them may be the older version of another.
            self.settle_shown(&target.path).await;
            files = self.find_files(scope, &target.path, None).await?;
        }
        let is_certain = self.is_certain(&target.path);
        let target_of = |at: &FileAt| Target {
            is_certain,
            ..at.target()
        };
        if target.every && target.if_match.is_none() {
            return Ok(files.iter().map(target_of).collect());
        }
        let file = pick(&files, target.if_match.as_deref(), &target.path)?;
        Ok(vec![target_of(file)])
    }

    /// Removes files. What is gone already counts as removed.
    pub(super) async fn remove_all(
        &self,
        scope: Scope,
        files: &[Target],
    ) -> Result<(), fichier::Error> {
        let batches = &self.account.batches;
        let mut result = Ok(());
        for outcome in batches.run(scope, Change::Remove, files).await {
            match outcome {
                Err(error) if error.kind() != Kind::NotFound => result = Err(error),
                _ => {}
            }
        }
        result
    }
}

/// A removal of files, whose paths are held.
struct Removal {
    remote: Remote,
    scope: Scope,
    targets: Vec<DeleteTarget>,
    allow_missing: bool,
    /// By target.
    results: Vec<Result<()>>,
    files: Vec<Target>,
    /// The targets that named a file, by its link.
    wanted: HashMap<String, Vec<usize>>,
}

impl Removal {
    /// Looks for the files of a target.
    async fn find(&mut self, scope: Scope, index: usize) {
        let target = &self.targets[index];
        self.results[index] = match self.remote.find_targets(scope, target).await {
            Ok(found) => {
                for file in found {
                    let entry = self.wanted.entry(file.url.clone()).or_insert_with(|| {
                        self.files.push(file);
                        Vec::new()
                    });
                    entry.push(index);
                }
                Ok(())
            }
            Err(error) if self.allow_missing && is_missing(&error) => Ok(()),
            Err(error) => Err(error.at(target.path.as_str())),
        };
    }

    async fn run(mut self, cancel: &CancellationToken) -> Result<Vec<Result<()>>> {
        for again in 0..=LOOKS {
            let gone = self.remove(cancel).await;
            if again == LOOKS || cancel.is_cancelled() {
                break;
            }
            // Another program has removed them, and may have stored others in
            // their place.
            for index in gone {
                self.find(self.scope, index).await;
            }
            if self.files.is_empty() {
                break;
            }
        }
        for (target, result) in self.targets.iter().zip(&self.results) {
            // Whoever names a version means no other one.
            if result.is_ok() && target.if_match.is_none() {
                self.remote.supersede(&target.path, None).await;
            }
        }
        self.remote.account.catalog.settle().await?;
        Ok(self.results)
    }

    /// Removes what was found. Returns the targets whose file was not there any
    /// more.
    async fn remove(&mut self, cancel: &CancellationToken) -> Vec<usize> {
        let files = std::mem::take(&mut self.files);
        let wanted = std::mem::take(&mut self.wanted);
        let batches = &self.remote.account.batches;
        let removal = batches.run_until(self.scope, Change::Remove, &files, cancel);
        let mut gone = Vec::new();
        for (file, outcome) in files.iter().zip(removal.await) {
            let Err(error) = outcome else { continue };
            for &index in wanted.get(&file.url).into_iter().flatten() {
                let DeleteTarget { path, every, .. } = &self.targets[index];
                if error.kind() == Kind::NotFound {
                    gone.push(index);
                }
                self.results[index] = match error.kind() {
                    Kind::NotFound if self.allow_missing || *every => continue,
                    Kind::NotFound => Err(Error::file_not_found(path.as_str())),
                    _ => Err(error.clone()).at_path(path),
                };
            }
        }
        gone
    }
}

pub(super) fn is_missing(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::FileNotFound | Reason::DirectoryNotFound
    )
}
