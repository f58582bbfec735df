//! Removing files, many in one call.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

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
/// Calls for one batch at the most while it is cut into halves.
const SPLITS: usize = 30;
/// Folders that are listed at the most to see what is left of a batch.
const LISTINGS: usize = 10;
/// Times that a removal whose answer was lost is sent again.
const REPEATS: u32 = 3;

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
                        _ => Ok((folder, file.url.clone())),
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
            let batch: Vec<_> = batch
                .iter()
                .filter_map(|url| Some((wanted.get(url)?.0, url.clone())))
                .collect();
            for (url, outcome) in self.remove_batch(scope, &batch).await {
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
            let batch: Vec<_> = batch.iter().map(|url| (folder, url.clone())).collect();
            for (url, outcome) in self.remove_batch(scope, &batch).await {
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
        files: &[(i64, String)],
    ) -> Vec<(String, Result<(), fichier::Error>)> {
        let client = &self.account.client;
        let started = Instant::now();
        let mut results = Vec::with_capacity(files.len());
        let mut parts = vec![files.to_vec()];
        // What a call that lost its answer may have removed.
        let mut perhaps: HashSet<String> = HashSet::new();
        let (mut rounds, mut lost) = (0, 0);
        while let Some(part) = parts.pop() {
            rounds += 1;
            let urls: Vec<String> = part.iter().map(|(_, url)| url.clone()).collect();
            let (left, refusal) = match client.remove_files(scope, &urls).await {
                Ok(removal) => {
                    let all = removal
                        .removed
                        .is_none_or(|removed| removed >= part.len() as u64)
                        && removal.urls.is_empty();
                    let (done, left): (Vec<_>, Vec<_>) = part.into_iter().partition(|(_, url)| {
                        all || removal.urls.iter().any(|removed| same_file(removed, url))
                    });
                    let progress = !done.is_empty();
                    results.extend(done.into_iter().map(|(_, url)| (url, Ok(()))));
                    if progress && !left.is_empty() && rounds < ROUNDS {
                        parts.push(left);
                        continue;
                    }
                    (left, None)
                }
                Err(error) if error.outcome_unknown() && lost < REPEATS => {
                    lost += 1;
                    perhaps.extend(urls);
                    parts.push(part);
                    tokio::time::sleep(Duration::from_secs(lost.into())).await;
                    continue;
                }
                // One bad file may have made 1Fichier refuse all ([API §J11]).
                Err(error)
                    if matches!(error.kind(), Kind::NotFound | Kind::Refused | Kind::Access)
                        && part.len() > 1 =>
                {
                    (part, Some(error))
                }
                Err(error) => {
                    results.extend(part.into_iter().map(|(_, url)| (url, Err(error.clone()))));
                    continue;
                }
            };
            if left.is_empty() {
                continue;
            }
            if let ([(_, url)], None) = (left.as_slice(), &refusal) {
                // Not removed although 1Fichier said OK: most likely gone before.
                let outcome = match client.file_exists(scope, url).await {
                    Ok(false) => Err(fichier::Error::gone()),
                    Ok(true) => Err(fichier::Error::unconfirmed()),
                    Err(error) => Err(error),
                };
                results.push((url.clone(), outcome));
                continue;
            }
            // Several are in doubt. Listings tell which of them are gone; to
            // ask for each would lead to a ban ([API §1.1]).
            let (there, gone) = self.still_listed(scope, left, started).await;
            let told = !gone.is_empty();
            results.extend(
                gone.into_iter()
                    .map(|(_, url)| (url, Err(fichier::Error::gone()))),
            );
            if there.is_empty() {
                continue;
            }
            if told {
                parts.push(there);
            } else if there.len() > 1 && rounds < SPLITS {
                let (left, right) = there.split_at(there.len() / 2);
                parts.push(right.to_vec());
                parts.push(left.to_vec());
            } else {
                let error = refusal.unwrap_or_else(fichier::Error::unconfirmed);
                results.extend(there.into_iter().map(|(_, url)| (url, Err(error.clone()))));
            }
        }
        for (url, outcome) in &mut results {
            let gone = outcome
                .as_ref()
                .is_err_and(|error| error.kind() == Kind::NotFound);
            if gone && perhaps.contains(url) {
                *outcome = Ok(());
            }
        }
        results
    }

    /// Which files are still there according to listings that began after
    /// `since`, and which are gone. A folder that cannot be listed keeps all.
    async fn still_listed(&self, scope: Scope, files: Files, since: Instant) -> (Files, Files) {
        let account = &self.account;
        let folders: HashSet<i64> = files.iter().map(|(folder, _)| *folder).collect();
        let mut listed = HashMap::new();
        for folder in folders.into_iter().take(LISTINGS) {
            if let Some(wait) = account.catalog.listing_after(folder, since) {
                tokio::time::sleep(wait).await;
            }
            match self.snapshot(scope, folder, Some(since.elapsed())).await {
                Ok(snapshot) => {
                    listed.insert(folder, Some(snapshot.content));
                }
                Err(error) if error.reason() == Reason::DirectoryNotFound => {
                    listed.insert(folder, None);
                }
                Err(error) => tracing::info!(%error, "a folder to delete from cannot be listed"),
            }
        }
        files.into_iter().partition(|(folder, url)| {
            listed.get(folder).is_none_or(|content| {
                content
                    .as_ref()
                    .is_some_and(|content| content.has_file(url))
            })
        })
    }
}

/// Files by folder and URL.
type Files = Vec<(i64, String)>;

fn is_missing(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::FileNotFound | Reason::DirectoryNotFound
    )
}

fn same_file(left: &str, right: &str) -> bool {
    left == right || left.rsplit('?').next() == right.rsplit('?').next()
}
