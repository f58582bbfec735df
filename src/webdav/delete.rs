//! DELETE: a file, or a directory with all that is in it.

use http::StatusCode;

use super::conditions::Conditions;
use super::{Asked, empty, refuse_root, scope};
use crate::access::Act;
use crate::backend::{DeleteTarget, Ended, EntryKind, PurgeOptions};
use crate::error::Error;
use crate::fichier::{Priority, Scope};
use crate::http::{Failure, Response};

pub(super) async fn delete(asked: &Asked) -> Result<Response, Failure> {
    let (remote, path) = (asked.remote(), asked.path());
    asked.call.check(Act::Change, &[path.as_str()])?;
    refuse_root(path)?;
    let scope = scope(Priority::Delete);
    let entry = asked.find(scope).await?;
    let conditions = Conditions::of(&asked.headers);
    conditions.check(Some(&entry))?;
    if entry.kind == EntryKind::Directory {
        purge(asked, scope).await?;
    } else {
        let target = DeleteTarget {
            path: path.clone(),
            if_match: conditions.etag_to_keep(Some(&entry)),
            every: true,
        };
        let targets = [target];
        let results = remote.within(scope, remote.delete(scope, &targets, false));
        for result in results.await? {
            result?;
        }
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn purge(asked: &Asked, scope: Scope) -> Result<(), Failure> {
    let (remote, path) = (asked.remote(), asked.path());
    let purge = remote.purge(scope, path, PurgeOptions::default());
    let mut purge = remote.within(scope, purge).await?;
    let (mut failed, mut failures) = (None, 0);
    let (mut files, mut directories) = (0, 0);
    loop {
        let next = async { purge.next().await.transpose() };
        match remote.within(scope, next).await {
            Ok(Some(progress)) => {
                (files, directories) = (progress.removed_files, progress.removed_directories);
                failures += progress.failures.len();
                let mut new = progress.failures.into_iter();
                failed = failed.or_else(|| new.next());
            }
            Ok(None) => break,
            Err(Ended::Expired) => {
                let text = format!(
                    "{files} files and {directories} directories are removed, and some are left; ask again to go on"
                );
                return Err(Failure {
                    retry_after: Some(1),
                    ..Failure::new(StatusCode::SERVICE_UNAVAILABLE, text)
                });
            }
            Err(ended) => return Err(ended.into()),
        }
    }
    match failed {
        None => Ok(()),
        Some((place, error)) => {
            let text = format!(
                "{failures} entries could not be removed; {place:?}: {}",
                error.message()
            );
            Err(Error::new(error.reason(), text).into())
        }
    }
}
