//! Which HTTP face a path belongs to.

use percent_encoding::percent_decode_str;

use super::http::{Handle, nothing_here};
use crate::access::Caller;
use crate::admin::Face;
use crate::backend::Remotes;
use crate::http::{Request, Response, drain};
use crate::restic;
use crate::webdav;

/// The HTTP faces.
#[derive(Clone, Debug)]
pub(super) struct Faces {
    remotes: Remotes,
}

impl Faces {
    pub(super) fn new(remotes: Remotes) -> Self {
        Self { remotes }
    }
}

/// The face of a path, and what stands behind it.
fn split(path: &str) -> (Face, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    match path.split_once('/') {
        Some(("dav", rest)) => (Face::WebDav, rest),
        None if path == "dav" => (Face::WebDav, ""),
        Some(("restic", rest)) => (Face::Restic, rest),
        _ => (Face::Other, ""),
    }
}

impl Handle for Faces {
    fn concerned(&self, path: &str) -> (Face, Option<String>) {
        let (face, rest) = split(path);
        let name = rest.split('/').next().unwrap_or_default();
        let name = percent_decode_str(name).decode_utf8_lossy();
        let remote = (!name.is_empty()).then(|| self.remotes.get(&name).ok());
        (
            face,
            remote.flatten().map(|remote| remote.name().to_owned()),
        )
    }

    async fn handle(&self, caller: Caller, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        match split(&path) {
            (Face::WebDav, rest) => webdav::handle(&self.remotes, caller, rest, request).await,
            (Face::Restic, rest) => restic::handle(&self.remotes, caller, rest, request).await,
            (Face::Other, _) => {
                drain(request.into_body());
                nothing_here(
                    "there is nothing here: WebDAV is at /dav/REMOTE/, restic's REST at /restic/REMOTE/PATH/",
                )
            }
        }
    }
}
