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
        let mut results: Vec<Result<()>> = Vec::with_capacity(targets.len());
        // By URL: the targets that named the file.
        let mut wanted: HashMap<String, Vec<usize>> = HashMap::new();
        let mut files = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            results.push(match self.find_targets(scope, target).await {
                Ok(found) => {
                    for file in found {
                        let entry = wanted.entry(file.url.clone()).or_insert_with(|| {
                            files.push(file);
                            Vec::new()
                        });
                        entry.push(index);
                    }
                    Ok(())
                }
                Err(error) if allow_missing && is_missing(&error) => Ok(()),
                Err(error) => Err(error.at(target.path.as_str())),
            });
        }
        // It goes on even if the caller goes away: what was sent must be over
        // before others may have these paths. What has not left then does not
        // leave any more.
        let scope = scope.with_priority(Priority::Delete);
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let (remote, targets) = (self.clone(), targets.to_vec());
        let removal = self.account.tasks.spawn(async move {
            let _held = held;
            let batches = &remote.account.batches;
            let removal = batches.run_until(scope, Change::Remove, &files, &cancel);
            for (file, outcome) in files.iter().zip(removal.await) {
                let Err(error) = outcome else { continue };
                for index in wanted.get(&file.url).into_iter().flatten() {
                    let DeleteTarget { path, every, .. } = &targets[*index];
                    results[*index] = match error.kind() {
                        Kind::NotFound if allow_missing || *every => continue,
                        Kind::NotFound => Err(Error::file_not_found(path.as_str())),
                        _ => Err(error.clone()).at_path(path),
                    };
                }
            }
            for (target, result) in targets.iter().zip(&results) {
                // Whoever names a version means no other one.
                if result.is_ok() && target.if_match.is_none() {
                    remote.supersede(&target.path, None).await;
                }
            }
            remote.account.catalog.settle().await?;
            Ok(results)
        });
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

pub(super) fn is_missing(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::FileNotFound | Reason::DirectoryNotFound
    )
}
