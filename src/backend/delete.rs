//! Removing files.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::batch::{Change, Target};
use super::path::RemotePath;
use super::twins::{FileAt, pick};
use super::{AtPath, Remote, path_key};
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
        self.check_writable()?;
        // Whoever moves one of them away must have done so before it is looked
        // up, or do so after it is gone: it would be removed at its new place.
        let keys = targets.iter().map(|target| path_key(&target.path));
        let held = self.account.locks.hold_all(keys.collect()).await;
        for target in targets {
            self.account.give_up_writes(&target.path);
        }
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
        let outcomes = self.remove_held(scope, files.clone(), held).await?;
        for (file, outcome) in files.iter().zip(&outcomes) {
            let Some(indices) = wanted.get(&file.url) else {
                continue;
            };
            for index in indices {
                let DeleteTarget { path, every, .. } = &targets[*index];
                let failed = match outcome {
                    Ok(_) => continue,
                    Err(error) if error.kind() == Kind::NotFound => {
                        if allow_missing || *every {
                            continue;
                        }
                        Err(Error::file_not_found(path.as_str()))
                    }
                    Err(error) => Err(error.clone()).at_path(path),
                };
                results[*index] = failed;
            }
        }
        self.account.catalog.settle().await?;
        Ok(results)
    }

    /// Removes files whose paths are held until that is over, even if the
    /// caller goes away; what has not left then does not leave any more.
    async fn remove_held(
        &self,
        scope: Scope,
        files: Vec<Target>,
        held: Vec<OwnedMutexGuard<()>>,
    ) -> Result<Vec<Result<String, fichier::Error>>> {
        let scope = scope.with_priority(Priority::Delete);
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let batches = Arc::clone(&self.account.batches);
        let removal = self.account.tasks.spawn(async move {
            let _held = held;
            let removal = batches.run_until(scope, Change::Remove, &files, &cancel);
            removal.await
        });
        let outcomes = removal.await;
        guard.disarm();
        outcomes.map_err(|error| Error::internal(format!("a removal stopped: {error}")))
    }

    async fn find_targets(&self, scope: Scope, target: &DeleteTarget) -> Result<Vec<Target>> {
        let files = self.find_files(scope, &target.path, None).await?;
        if target.every && target.if_match.is_none() {
            return Ok(files.iter().map(FileAt::target).collect());
        }
        let file = pick(&files, target.if_match.as_deref(), &target.path)?;
        Ok(vec![file.target()])
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
