//! The response stream of Dedupe.

use futures::{Stream, stream};
use tonic::Status;

use super::convert;
use super::deadline::within;
use crate::backend::{Dedupe, Group, Remote};
use crate::fichier::Scope;
use crate::proto::DedupeResponse;

/// The groups of a walk, as they are resolved.
pub(super) fn messages(
    scope: Scope,
    remote: Remote,
    dedupe: Dedupe,
) -> impl Stream<Item = Result<DedupeResponse, Status>> {
    stream::try_unfold((remote, dedupe), move |(remote, mut dedupe)| async move {
        let group = within(scope, &remote, async { Ok(dedupe.next().await) }).await?;
        Ok(group.map(|group| (response(group), (remote, dedupe))))
    })
}

fn response(group: Group) -> DedupeResponse {
    DedupeResponse {
        path: group.path.to_string(),
        entries: group.entries.into_iter().map(convert::entry).collect(),
        kept_id: group.kept,
        failures: group
            .failures
            .into_iter()
            .map(convert::path_failure)
            .collect(),
        remaining: group.remaining.into_iter().map(convert::entry).collect(),
    }
}
