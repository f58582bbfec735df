//! WebDAV ([RFC 4918], class 1) over the remotes: `/dav/REMOTE/path`.
//!
//! By hand and not by `dav-server`: over its file system a DELETE is a call
//! for each file, and it knows neither the times nor the checksums that rclone
//! sends and reads.
//!
//! [RFC 4918]: https://www.rfc-editor.org/rfc/rfc4918

mod body;
mod conditions;
mod delete;
mod get;
mod headers;
mod mkcol;
mod properties;
mod propfind;
mod proppatch;
mod put;
mod relocate;
mod target;
mod xml;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use crate::access::Caller;
use crate::backend::{Ended, Entry, EntryKind, Remote, RemotePath, Remotes};
use crate::error::{Error, Reason, Result};
use crate::fichier::{Priority, Scope};
use crate::http::{Body, Call, Failure, Request, Response, answer, drain};
use target::Target;

/// What the resources can do.
const ALLOW: HeaderValue = HeaderValue::from_static(
    "OPTIONS, GET, HEAD, PUT, DELETE, MKCOL, MOVE, COPY, PROPFIND, PROPPATCH",
);

/// A request, without its body.
#[derive(Debug)]
struct Asked {
    call: Call,
    target: Target,
    uri: Uri,
    headers: HeaderMap,
}

/// Answers a request to what stands behind `/dav/` in its address.
pub async fn handle(remotes: &Remotes, caller: Caller, rest: &str, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let method = parts.method;
    if method == Method::OPTIONS {
        drain(body);
        return options();
    }
    let asked = address(remotes, caller, rest).and_then(|(call, target)| {
        // There are no locks, so that whoever thinks to hold one is wrong.
        if parts.headers.contains_key("if") {
            let text = "this server has no locks, and does not read the If header";
            return Err(Failure::new(StatusCode::PRECONDITION_FAILED, text));
        }
        Ok(Asked {
            call,
            target,
            uri: parts.uri,
            headers: parts.headers,
        })
    });
    match asked {
        Ok(asked) => answer(dispatch(&method, asked, body).await),
        Err(failure) => {
            drain(body);
            failure.into()
        }
    }
}

fn address(remotes: &Remotes, caller: Caller, rest: &str) -> Result<(Call, Target), Failure> {
    let (name, target) = target::parse(rest)?;
    // 404 would say that a directory is missing: rclone shows no text with it.
    let wrong = |text| Failure::new(StatusCode::BAD_REQUEST, text);
    if name.is_empty() {
        let text = "the address must name a remote: it is /dav/REMOTE/, where REMOTE is \"fichier\" unless \
                    the server was configured with other names";
        return Err(wrong(text.to_owned()));
    }
    match Call::new(caller, remotes, &name) {
        Ok(call) => {
            let path = call.remote.standard(target.path);
            Ok((call, Target { path, ..target }))
        }
        Err(error) if error.reason() == Reason::RemoteNotFound => {
            Err(wrong(error.message().to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

async fn dispatch(method: &Method, asked: Asked, body: Body) -> Result<Response, Failure> {
    match method.as_str() {
        "PUT" => return put::put(&asked, body).await,
        "PROPFIND" => return propfind::propfind(&asked, body).await,
        "PROPPATCH" => return proppatch::proppatch(&asked, body).await,
        "MKCOL" => return mkcol::mkcol(&asked, body).await,
        _ => drain(body),
    }
    match method.as_str() {
        "GET" => get::get(&asked).await,
        "HEAD" => get::head(&asked).await,
        "DELETE" => delete::delete(&asked).await,
        "MOVE" => relocate::relocate(&asked, relocate::Action::Move).await,
        "COPY" => relocate::relocate(&asked, relocate::Action::Copy).await,
        other => {
            let text = format!("this server does not know the method {other:?}");
            Ok(not_allowed(&text))
        }
    }
}

fn options() -> Response {
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert("dav", HeaderValue::from_static("1"));
    headers.insert("ms-author-via", HeaderValue::from_static("DAV"));
    headers.insert(header::ALLOW, ALLOW);
    response
}

fn not_allowed(text: &str) -> Response {
    let mut response: Response = Failure::new(StatusCode::METHOD_NOT_ALLOWED, text).into();
    response.headers_mut().insert(header::ALLOW, ALLOW);
    response
}

/// An answer without a body.
fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The answer to what made something, or put it in the place of another.
fn made(existed: bool) -> Response {
    empty(match existed {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::CREATED,
    })
}

impl Asked {
    fn remote(&self) -> &Remote {
        &self.call.remote
    }

    fn path(&self) -> &RemotePath {
        &self.target.path
    }

    /// What is at a target. Where a file and a directory have one path, a slash
    /// at its end means the directory.
    async fn look(&self, scope: Scope, target: &Target) -> Result<Option<Entry>, Failure> {
        let remote = self.remote();
        let found = remote.within(scope, remote.stat(scope, &target.path, None));
        let mut entry = match found.await {
            Ok((entry, _)) => entry,
            Err(Ended::Failed(error)) if is_missing(&error) => return Ok(None),
            Err(ended) => return Err(ended.into()),
        };
        if entry.kind == EntryKind::File && target.slash {
            if !entry.attributes.contains_key("directory") {
                return Ok(None);
            }
            entry = Entry {
                kind: EntryKind::Directory,
                size: None,
                time: None,
                content_type: String::new(),
                checksums: Vec::new(),
                etag: format!("d-{}", entry.etag),
                ..entry
            };
        }
        remote.add_modified(std::slice::from_mut(&mut entry)).await;
        Ok(Some(entry))
    }

    /// The same for what must be there.
    async fn find(&self, scope: Scope) -> Result<Entry, Failure> {
        let found = self.look(scope, &self.target).await?;
        found.ok_or_else(|| {
            let text = format!("there is nothing at {:?}", self.path());
            Failure::new(StatusCode::NOT_FOUND, text)
        })
    }

    /// The directory that something is put into must be there.
    async fn check_parent(&self, scope: Scope, path: &RemotePath) -> Result<(), Failure> {
        let Some((parent, _)) = path.split() else {
            return Ok(());
        };
        let parent = Target {
            path: parent,
            slash: true,
        };
        match self.look(scope, &parent).await? {
            Some(_) => Ok(()),
            None => Err(no_parent(&parent.path)),
        }
    }
}

fn is_missing(error: &Error) -> bool {
    // A file stands where the way leads through a directory: nothing is below.
    matches!(
        error.reason(),
        Reason::FileNotFound | Reason::DirectoryNotFound | Reason::NotADirectory
    )
}

fn no_parent(parent: &RemotePath) -> Failure {
    let text = format!("there is no directory {parent:?}; make it first");
    Failure::new(StatusCode::CONFLICT, text)
}

/// The root cannot be removed, moved or replaced.
fn refuse_root(path: &RemotePath) -> Result<(), Failure> {
    match path.is_root() {
        true => {
            let text =
                "the root of a remote can be neither removed nor moved; name a directory in it";
            Err(Failure::new(StatusCode::FORBIDDEN, text))
        }
        false => Ok(()),
    }
}

/// The scope of a request.
fn scope(priority: Priority) -> Scope {
    crate::http::scope(priority)
}
