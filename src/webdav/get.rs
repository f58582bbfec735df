//! GET and HEAD.

use http::{HeaderValue, StatusCode, header};

use super::conditions::Conditions;
use super::{Asked, empty, not_allowed, scope};
use crate::access::Act;
use crate::backend::{Entry, EntryKind};
use crate::fichier::Priority;
use crate::http::{self as face, Failure, Response};

pub(super) async fn get(asked: &Asked) -> Result<Response, Failure> {
    match open(asked).await? {
        Ok(entry) => face::file(asked.remote(), &asked.headers, &entry).await,
        Err(response) => Ok(response),
    }
}

pub(super) async fn head(asked: &Asked) -> Result<Response, Failure> {
    Ok(match open(asked).await? {
        Ok(entry) => face::head(&entry),
        Err(response) => response,
    })
}

/// The file, or what else is to be answered.
async fn open(asked: &Asked) -> Result<Result<Entry, Response>, Failure> {
    asked.call.check(Act::Read, &[asked.path().as_str()])?;
    let entry = asked.find(scope(Priority::Read)).await?;
    if entry.kind == EntryKind::Directory {
        let text = "this is a directory, and this server shows directories to WebDAV clients only";
        return Ok(Err(not_allowed(text)));
    }
    if !Conditions::of(&asked.headers).is_known(&entry)? {
        return Ok(Ok(entry));
    }
    let mut response = empty(StatusCode::NOT_MODIFIED);
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", entry.etag)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(Err(response))
}
