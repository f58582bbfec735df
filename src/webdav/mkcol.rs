//! MKCOL.

use http::StatusCode;
use http_body::Body as _;

use super::{Asked, made, no_parent, not_allowed, scope};
use crate::access::Act;
use crate::backend::{Ended, RemotePath};
use crate::error::Reason;
use crate::fichier::Priority;
use crate::http::{Body, Failure, Response, drain};

pub(super) async fn mkcol(asked: &Asked, body: Body) -> Result<Response, Failure> {
    let has_body = !body.is_end_stream();
    drain(body);
    if has_body {
        let text = "this server makes plain directories only: MKCOL must have no body";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let (remote, path) = (asked.remote(), asked.path());
    asked.call.check(Act::Add, &[path.as_str()])?;
    let scope = scope(Priority::Upload);
    // rclone takes this status for "it exists".
    let exists = || {
        Ok(not_allowed(&format!(
            "there is something at {path:?} already"
        )))
    };
    match remote.within(scope, remote.mkdir(scope, path, false)).await {
        Ok((_, true)) => Ok(made(false)),
        Ok((_, false)) => exists(),
        Err(Ended::Failed(error)) => match error.reason() {
            Reason::DirectoryNotFound => {
                let parent = path
                    .split()
                    .map_or_else(RemotePath::root, |(parent, _)| parent);
                Err(no_parent(&parent))
            }
            // A file has the path, or is on the way to it.
            Reason::NotADirectory => match asked.look(scope, &file(path)).await? {
                Some(_) => exists(),
                None => Err(error.into()),
            },
            _ => Err(error.into()),
        },
        Err(ended) => Err(ended.into()),
    }
}

fn file(path: &RemotePath) -> super::Target {
    super::Target {
        path: path.clone(),
        slash: false,
    }
}
