//! PUT.

use http::{HeaderValue, StatusCode, header};
use http_body::Body as _;

use super::conditions::Conditions;
use super::{Asked, headers, made, no_parent, not_allowed, scope};
use crate::access::{Act, Mode};
use crate::backend::{Begun, Ended, EntryKind, PutOptions, WriteMode};
use crate::error::Reason;
use crate::fichier::Priority;
use crate::http::{Body, Failure, Response, drain, receive};

pub(super) async fn put(asked: &Asked, body: Body) -> Result<Response, Failure> {
    let size = body.size_hint().exact();
    let (begun, existed, has_time) = match begin(asked, size).await {
        Ok(begun) => begun,
        Err(refused) => {
            drain(body);
            return refused;
        }
    };
    let stored = receive(begun, body, &[]).await?;
    let mut response = made(existed);
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", stored.entry.etag)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    if has_time {
        headers::accept(&mut response);
    }
    Ok(response)
}

/// The write that began, whether something was there, and whether it has a time
/// of its own; or what else is to be answered.
async fn begin(
    asked: &Asked,
    size: Option<u64>,
) -> Result<(Begun, bool, bool), Result<Response, Failure>> {
    let (remote, path) = (asked.remote(), asked.path());
    let refuse = |failure: Failure| Err(failure);
    asked
        .call
        .check(Act::Add, &[path.as_str()])
        .map_err(|error| Err(error.into()))?;
    if asked.target.slash {
        return Err(Ok(not_allowed(
            "only a file can be put, and the address ends with a slash",
        )));
    }
    if asked.headers.contains_key(header::CONTENT_RANGE) {
        let text = "a file can be put as a whole only, and the request has a Content-Range";
        return Err(Err(Failure::new(StatusCode::BAD_REQUEST, text)));
    }
    let modified = headers::modified(&asked.headers).map_err(refuse)?;
    let checksums = headers::checksums(&asked.headers).map_err(refuse)?;
    let scope = scope(Priority::Upload);
    let there = asked.look(scope, &asked.target).await.map_err(refuse)?;
    let conditions = Conditions::of(&asked.headers);
    conditions.check(there.as_ref()).map_err(refuse)?;
    if let Some(entry) = &there {
        if entry.kind == EntryKind::Directory {
            return Err(Ok(not_allowed(&format!("{path:?} is a directory"))));
        }
        asked
            .call
            .check(Act::Change, &[path.as_str()])
            .map_err(|error| Err(error.into()))?;
    }
    // Who may only add must not replace what came meanwhile.
    let only_new = conditions.only_new() || asked.call.caller.mode() == Mode::AppendOnly;
    let options = PutOptions {
        size,
        mode: match only_new {
            true => WriteMode::CreateOnly,
            false => WriteMode::Replace,
        },
        if_match: conditions.etag_to_keep(there.as_ref()),
        create_parents: false,
        checksums,
        request_id: None,
        modified,
    };
    match remote.within(scope, remote.put(scope, path, options)).await {
        Ok(begun) => Ok((begun, there.is_some(), modified.is_some())),
        Err(Ended::Failed(error)) if error.reason() == Reason::DirectoryNotFound => {
            let parent = path.split().map(|(parent, _)| parent);
            Err(Err(no_parent(&parent.unwrap_or_else(|| path.clone()))))
        }
        Err(ended) => Err(Err(ended.into())),
    }
}
