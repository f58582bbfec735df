//! The response stream of Purge.

use futures::{Stream, stream};
use tonic::Status;

use super::convert;
use super::deadline::within;
use crate::backend::{Purge, Remote};
use crate::fichier::Scope;
use crate::proto::PurgeResponse;

/// The messages of a purge; the last one says that it is done.
pub(super) fn messages(
    scope: Scope,
    remote: Remote,
    purge: Purge,
) -> impl Stream<Item = Result<PurgeResponse, Status>> {
    stream::try_unfold((remote, purge), move |(remote, mut purge)| async move {
        let next = async { purge.next().await.transpose() };
        let Some(progress) = within(scope, &remote, next).await? else {
            return Ok(None);
        };
        let response = PurgeResponse {
            removed_files: convert::to_i64(progress.removed_files),
            removed_directories: convert::to_i64(progress.removed_directories),
            failures: progress
                .failures
                .into_iter()
                .map(convert::path_failure)
                .collect(),
            done: progress.done,
        };
        Ok(Some((response, (remote, purge))))
    })
}
