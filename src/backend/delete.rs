//! Removing files, many in one call.

use std::collections::HashMap;

use super::entry::etag;
use super::path::RemotePath;
use super::put::etag_mismatch;
use super::{AtPath, Remote};
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, BATCH, Kind, Priority, Scope};

/// A file to remove.
#[derive(Clone, Debug)]
pub struct DeleteTarget {
    /// Where it is.
    pub path: RemotePath,
    /// It must have this etag.
    pub if_match: Option<String>,
}

/// How often a batch of which only a part was done is sent again.
const ROUNDS: usize = 5;
/// Files whose existence is asked for one by one at the most: such questions
/// in volume lead to a ban ([API §1.1]).
const QUESTIONS: usize = 5;

impl Remote {
    /// Removes files; one result for each target, in order.
    pub async fn delete(
        &self,
        scope: Scope,
        targets: &[DeleteTarget],
        allow_missing: bool,
    ) -> Vec<Result<()>> {
        let mut results: Vec<Result<()>> = Vec::with_capacity(targets.len());
        // By URL: the folder, and the targets that named the file.
        let mut wanted: HashMap<String, (i64, Vec<usize>)> = HashMap::new();
        let mut order = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            let found = match self.find_files(scope, &target.path, None).await {
                Ok((folder, files)) => {
                    // The newest is the file; others of that path are not lost with it.
                    let file = &files[0];
                    match &target.if_match {
                        Some(wanted) if *wanted != etag(file) => Err(etag_mismatch(&target.path)),
                        _ => Ok((folder, file.url.to_string())),
                    }
                }
                Err(error) => Err(error),
            };
            results.push(match found {
                Ok((folder, url)) => {
                    let entry = wanted.entry(url.clone()).or_insert_with(|| {
                        order.push(url);
                        (folder, Vec::new())
                    });
                    entry.1.push(index);
                    Ok(())
                }
                Err(error) if allow_missing && is_missing(&error) => Ok(()),
                Err(error) => Err(error.at(target.path.as_str())),
            });
        }
        let scope = scope.with_priority(Priority::Delete);
        for batch in order.chunks(BATCH) {
            for (url, outcome) in self.remove_batch(scope, batch).await {
                let Some((folder, indices)) = wanted.get(&url) else {
                    continue;
                };
                let gone = matches!(&outcome, Ok(()))
                    || outcome
                        .as_ref()
                        .is_err_and(|error| error.kind() == Kind::NotFound);
                if gone {
                    self.account.catalog.file_removed(*folder, &url);
                }
                for index in indices {
                    let path = &targets[*index].path;
                    results[*index] = match &outcome {
                        Ok(()) => Ok(()),
                        Err(error) if error.kind() == Kind::NotFound && allow_missing => Ok(()),
                        Err(error) if error.kind() == Kind::NotFound => {
                            Err(Error::file_not_found(path.as_str()))
                        }
                        Err(error) => Err(error.clone()).at_path(path),
                    };
                }
            }
        }
        self.account.catalog.settle().await;
        results
    }

    /// Removes files of one folder by URL, and from the catalog. What is gone
    /// already counts as removed.
    pub(super) async fn remove_urls(
        &self,
        scope: Scope,
        folder: i64,
        urls: &[String],
    ) -> Vec<(String, Result<(), fichier::Error>)> {
        let mut results = Vec::with_capacity(urls.len());
        for batch in urls.chunks(BATCH) {
            for (url, outcome) in self.remove_batch(scope, batch).await {
                let outcome = match outcome {
                    Err(error) if error.kind() == Kind::NotFound => Ok(()),
                    other => other,
                };
                if outcome.is_ok() {
                    self.account.catalog.file_removed(folder, &url);
                }
                results.push((url, outcome));
            }
        }
        results
    }

    /// One batch, until each of its files is known to be removed, to be gone
    /// already (NotFound), or to be refused.
    async fn remove_batch(
        &self,
        scope: Scope,
        urls: &[String],
    ) -> Vec<(String, Result<(), fichier::Error>)> {
        let client = &self.account.client;
        let mut results = Vec::with_capacity(urls.len());
        let mut parts = vec![urls.to_vec()];
        let mut rounds = 0;
        while let Some(part) = parts.pop() {
            rounds += 1;
            let removal = match client.remove_files(scope, &part).await {
                Ok(removal) => removal,
                // One bad file may have made 1Fichier refuse all ([API §J11]).
                Err(error)
                    if matches!(error.kind(), Kind::NotFound | Kind::Refused | Kind::Access)
                        && part.len() > 1 =>
                {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.push(right.to_vec());
                    parts.push(left.to_vec());
                    continue;
                }
                Err(error) => {
                    results.extend(part.into_iter().map(|url| (url, Err(error.clone()))));
                    continue;
                }
            };
            let all = removal
                .removed
                .is_none_or(|removed| removed >= part.len() as u64)
                && removal.urls.is_empty();
            let (done, left): (Vec<_>, Vec<_>) = part
                .into_iter()
                .partition(|url| all || removal.urls.iter().any(|removed| same_file(removed, url)));
            let progress = !done.is_empty();
            results.extend(done.into_iter().map(|url| (url, Ok(()))));
            if left.is_empty() {
                continue;
            }
            if progress && rounds < ROUNDS {
                parts.push(left);
                continue;
            }
            // Not removed although 1Fichier said OK: most likely gone before.
            for (asked, url) in left.into_iter().enumerate() {
                let outcome = if asked >= QUESTIONS {
                    Err(fichier::Error::unconfirmed())
                } else {
                    match client.file_exists(scope, &url).await {
                        Ok(false) => Err(fichier::Error::gone()),
                        Ok(true) => Err(fichier::Error::unconfirmed()),
                        Err(error) => Err(error),
                    }
                };
                results.push((url, outcome));
            }
        }
        results
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::FileNotFound | Reason::DirectoryNotFound
    )
}

fn same_file(left: &str, right: &str) -> bool {
    left == right || left.rsplit('?').next() == right.rsplit('?').next()
}
