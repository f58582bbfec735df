//! Reading and removing objects.

use http::request::Parts;

use super::address::Object;
use super::{done, missing};
use crate::access::Act;
use crate::backend::{DeleteTarget, Entry, EntryKind};
use crate::error::Reason;
use crate::fichier::Priority;
use crate::http::{Call, Failure, Response, file_as, head as describe, scope};

/// The object, if there is one.
pub(super) async fn find(call: &Call, object: &Object) -> Result<Option<Entry>, Failure> {
    let scope = scope(object.priority(Priority::Read));
    let found = async {
        match call.remote.stat(scope, &object.path, None).await {
            Ok((entry, _)) => Ok(Some(entry)),
            Err(error) if error.reason() == Reason::FileNotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    let entry = call.remote.within(scope, found).await?;
    Ok(entry.filter(|entry| entry.kind == EntryKind::File))
}

async fn existing(call: &Call, object: &Object) -> Result<Entry, Failure> {
    call.check(Act::Read, &[object.path.as_str()])?;
    let found = find(call, object).await?;
    found.ok_or_else(|| missing(object))
}

/// Its size.
pub(super) async fn head(call: &Call, object: &Object) -> Result<Response, Failure> {
    let entry = existing(call, object).await?;
    Ok(describe(&entry))
}

/// Its content, or a part of it.
pub(super) async fn get(
    call: &Call,
    object: &Object,
    request: &Parts,
) -> Result<Response, Failure> {
    let entry = existing(call, object).await?;
    let priority = object.priority(Priority::Read);
    file_as(priority, &call.remote, &request.headers, &entry).await
}

/// Removes it. One that is gone is removed: restic repeats what it got no
/// answer to. An upload of it that is not over yet ends before.
pub(super) async fn delete(call: &Call, object: Object) -> Result<Response, Failure> {
    let scope = scope(object.priority(Priority::Delete));
    let targets = [DeleteTarget {
        path: object.path,
        if_match: None,
        every: true,
    }];
    let removal = call.remote.delete(scope, &targets, true);
    let results = call.remote.within(scope, removal).await?;
    for result in results {
        result?;
    }
    Ok(done())
}
