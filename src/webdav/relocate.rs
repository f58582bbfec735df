//! MOVE and COPY.

use http::StatusCode;

use super::conditions::Conditions;
use super::target::{self, Target};
use super::{Asked, headers, made, refuse_root, scope};
use crate::access::{Act, Mode};
use crate::backend::{EntryKind, RelocateOptions, WriteMode};
use crate::fichier::{Priority, Scope};
use crate::http::{Failure, Response};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Move,
    Copy,
}

pub(super) async fn relocate(asked: &Asked, action: Action) -> Result<Response, Failure> {
    let (remote, source) = (asked.remote(), asked.path());
    let (name, mut destination) = target::destination(&asked.headers, &asked.uri)?;
    destination.path = remote.standard(destination.path);
    let act = match action {
        Action::Move => Act::Change,
        Action::Copy => Act::Add,
    };
    let forbidden = |text| Failure::new(StatusCode::FORBIDDEN, text);
    if name != remote.name() {
        let text =
            "files are moved and copied inside one remote only; copy them through the client";
        return Err(forbidden(text));
    }
    asked
        .call
        .check(act, &[source.as_str(), destination.path.as_str()])?;
    refuse_root(source)?;
    refuse_root(&destination.path)?;
    if *source == destination.path {
        return Err(forbidden("the source and the Destination are the same"));
    }
    let overwrite = overwrite(asked)?;
    let modified = headers::modified(&asked.headers)?;
    let scope = scope(Priority::Upload);
    let entry = asked.find(scope).await?;
    let conditions = Conditions::of(&asked.headers);
    conditions.check(Some(&entry))?;
    asked.check_parent(scope, &destination.path).await?;
    if entry.kind == EntryKind::Directory {
        return directory(asked, scope, action, &destination).await;
    }
    let there = asked.look(scope, &destination).await?;
    if there.is_some() && overwrite {
        asked
            .call
            .check(Act::Change, &[destination.path.as_str()])?;
    }
    let may_replace = overwrite && asked.call.caller.mode() != Mode::AppendOnly;
    let options = RelocateOptions {
        mode: match may_replace {
            true => WriteMode::Replace,
            false => WriteMode::CreateOnly,
        },
        if_match: conditions.etag_to_keep(Some(&entry)),
        request_id: None,
        modified,
    };
    match action {
        Action::Move => {
            let moved = remote.move_file(scope, source, &destination.path, options);
            remote.within(scope, moved).await?
        }
        Action::Copy => {
            let copied = remote.copy_file(scope, source, &destination.path, options);
            remote.within(scope, copied).await?
        }
    };
    let mut response = made(there.is_some());
    if modified.is_some() {
        headers::accept(&mut response);
    }
    Ok(response)
}

/// A directory takes no other's place: what is there would be lost as a whole.
async fn directory(
    asked: &Asked,
    scope: Scope,
    action: Action,
    destination: &Target,
) -> Result<Response, Failure> {
    if action == Action::Copy {
        let text = "this server copies files only; copy the directory file by file";
        return Err(Failure::new(StatusCode::NOT_IMPLEMENTED, text));
    }
    let remote = asked.remote();
    let moved = remote.move_directory(scope, asked.path(), &destination.path, None);
    remote.within(scope, moved).await?;
    Ok(made(false))
}

fn overwrite(asked: &Asked) -> Result<bool, Failure> {
    match asked.headers.get("overwrite").map(|value| value.as_bytes()) {
        None | Some(b"T" | b"t") => Ok(true),
        Some(b"F" | b"f") => Ok(false),
        Some(_) => {
            let text = "the Overwrite header is neither T nor F";
            Err(Failure::new(StatusCode::BAD_REQUEST, text))
        }
    }
}
