//! restic's REST protocol, version 2, on the HTTP listener: one repository for
//! each path of a remote, in the layout of `rclone serve restic`.
//!
//! restic takes 404 for "there is none": a list that fails with it empties a
//! repository. So 404 is what the catalog is sure of, and what is not known is
//! 503. Success of a change is exactly 200.

mod address;
mod list;
mod objects;
mod store;

use http::{HeaderValue, Method, StatusCode, header};

use crate::access::{Act, Caller, Mode};
use crate::backend::{RemotePath, Remotes};
use crate::error::{Error, Reason};
use crate::http::{Body, Call, Failure, Request, Response, answer, drain};
use address::{Address, Named, Object};

/// Answers a request; `rest` is its path behind `/restic/`.
pub async fn handle(remotes: &Remotes, caller: Caller, rest: &str, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = Some(body);
    let answered = respond(remotes, caller, rest, &parts, &mut body).await;
    // Who is refused reads the answer when all is sent.
    if let Some(body) = body {
        drain(body);
    }
    answer(answered)
}

async fn respond(
    remotes: &Remotes,
    caller: Caller,
    rest: &str,
    request: &http::request::Parts,
    body: &mut Option<Body>,
) -> Result<Response, Failure> {
    let query = request.uri.query().unwrap_or_default();
    let creating = request.method == Method::POST && query.split('&').any(|q| q == "create=true");
    let Address { remote, named } = Address::parse(rest, creating)?;
    if remote.is_empty() {
        return Err(nothing_here());
    }
    let call = Call::new(caller, remotes, &remote).map_err(no_remote)?;
    match (named.standard(&call.remote), &request.method) {
        (Named::Repository(path), &Method::POST) if creating => create(&call, &path),
        (Named::Repository(path), &Method::DELETE) => {
            call.check(Act::Change, &[path.as_str()])?;
            Err(Failure::new(
                StatusCode::NOT_IMPLEMENTED,
                "a repository is not removed over this protocol; use pluton-fichier purge",
            ))
        }
        (Named::Repository(_) | Named::Nothing, _) => Err(nothing_here()),
        (Named::Objects { kind, path }, &Method::GET) => {
            call.check(Act::Read, &[path.as_str()])?;
            list::list(&call, kind, &path, &request.headers).await
        }
        (Named::Object(object), &Method::HEAD) => objects::head(&call, &object).await,
        (Named::Object(object), &Method::GET) => objects::get(&call, &object, request).await,
        (Named::Object(object), &Method::DELETE) => {
            call.check(removal_of(&object), &[object.path.as_str()])?;
            objects::delete(&call, object).await
        }
        (Named::Object(object), &Method::POST) => {
            call.check(Act::Add, &[object.path.as_str()])?;
            store::store(&call, &object, &request.headers, body).await
        }
        (Named::Objects { .. } | Named::Object(_), _) => Err(Failure::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "restic's protocol has no such request",
        )),
    }
}

/// Makes nothing: directories are made with the first file in them. That a
/// repository exists already is no error; whether it does, restic asks before.
fn create(call: &Call, path: &RemotePath) -> Result<Response, Failure> {
    call.check(Act::Add, &[path.as_str()])?;
    call.remote.check_writable()?;
    Ok(done())
}

/// Whoever may add may lock, too, and takes locks away again.
fn removal_of(object: &Object) -> Act {
    match object.is_lock() {
        true => Act::Add,
        false => Act::Change,
    }
}

/// Whether the caller may only add.
fn appends_only(call: &Call) -> bool {
    call.caller.mode() == Mode::AppendOnly
}

/// 200, without a body.
fn done() -> Response {
    let mut response = Response::new(Body::empty());
    let length = HeaderValue::from_static("0");
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length);
    response
}

fn nothing_here() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "a repository has nothing of this name; its URL is /restic/REMOTE/PATH/",
    )
}

/// 404 would say that a repository is missing, or empty.
fn no_remote(error: Error) -> Failure {
    match error.reason() {
        Reason::RemoteNotFound => Failure::new(StatusCode::BAD_REQUEST, error.message()),
        _ => error.into(),
    }
}

/// There is certainly no such file.
fn missing(object: &Object) -> Failure {
    Error::file_not_found(object.path.as_str()).into()
}
