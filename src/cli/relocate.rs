//! `mv` and `cp`.

use serde::Serialize;

use super::connect::Session;
use super::exit::{Exit, Problem};
use super::fetch::look;
use super::io::Io;
use super::output::{self, EntryDocument};
use super::retry;
use super::{CpArgs, MvArgs, base_name, directory_path, file_path};
use crate::proto::{CopyRequest, Entry, EntryType, MoveDirRequest, MoveRequest, WriteMode};

#[derive(Serialize)]
struct RelocatedDocument {
    entry: EntryDocument,
    replayed: bool,
}

/// Moves a file or a directory: the one that the source is.
pub(super) async fn mv(args: &MvArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let source = directory_path(&args.source);
    let destination = destination(&args.destination, &source)?;
    // A slash behind it says that the directory is meant, should a file have
    // the same path.
    let is_directory = args.source.ends_with('/') || is_directory(session, io, &source).await?;
    let (entry, replayed) = if is_directory {
        if args.create_only || args.keep_both || args.if_match.is_some() {
            io.note(
                "a directory never replaces anything: what is asked for of files is not needed",
            );
        }
        let request = MoveDirRequest {
            remote: session.remote(),
            source_path: source,
            destination_path: destination,
            request_id: request_id(),
        };
        repeated(session, io, async || {
            let request = session.request(request.clone());
            let answer = session.client().move_dir(request).await?.into_inner();
            Ok((answer.entry, answer.replayed))
        })
        .await?
    } else {
        let request = MoveRequest {
            remote: session.remote(),
            source_path: source,
            destination_path: destination,
            write_mode: write_mode(args.create_only, args.keep_both).into(),
            if_match_etag: args.if_match.clone().unwrap_or_default(),
            request_id: request_id(),
        };
        repeated(session, io, async || {
            let request = session.request(request.clone());
            let answer = session.client().r#move(request).await?.into_inner();
            Ok((answer.entry, answer.replayed))
        })
        .await?
    };
    tell(io, "moved to", entry, replayed)
}

/// Copies a file.
pub(super) async fn cp(args: &CpArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let source = file_path(&args.source);
    let request = CopyRequest {
        remote: session.remote(),
        destination_path: destination(&args.destination, &source)?,
        source_path: source,
        write_mode: write_mode(args.create_only, args.keep_both).into(),
        if_match_etag: args.if_match.clone().unwrap_or_default(),
        request_id: request_id(),
    };
    let (entry, replayed) = repeated(session, io, async || {
        let request = session.request(request.clone());
        let answer = session.client().copy(request).await?.into_inner();
        Ok((answer.entry, answer.replayed))
    })
    .await?;
    tell(io, "copied to", entry, replayed)
}

/// Where an entry goes: a path that ends with a slash names the directory to
/// put it into.
pub(super) fn destination(destination: &str, source: &str) -> Result<String, Problem> {
    let path = file_path(destination);
    if !path.is_empty() && !path.ends_with('/') {
        return Ok(path);
    }
    match base_name(source) {
        "" => Err(Problem::usage("the root cannot be moved or copied")),
        name => Ok(path + name),
    }
}

fn write_mode(create_only: bool, keep_both: bool) -> WriteMode {
    match (create_only, keep_both) {
        (true, _) => WriteMode::CreateOnly,
        (_, true) => WriteMode::KeepBoth,
        _ => WriteMode::Replace,
    }
}

/// The same for every attempt: what was done is not done twice.
fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

async fn is_directory(session: &Session, io: &Io, path: &str) -> Result<bool, Problem> {
    let entry = look(session, io, path, None).await?;
    Ok(entry.r#type() == EntryType::Directory)
}

async fn repeated(
    session: &Session,
    io: &Io,
    attempt: impl AsyncFn() -> Result<(Option<Entry>, bool), Problem>,
) -> Result<(Entry, bool), Problem> {
    match retry::repeated(session, io, attempt).await? {
        (Some(entry), replayed) => Ok((entry, replayed)),
        (None, _) => Err(Problem::contract("it does not tell where the entry is")),
    }
}

fn tell(io: &Io, what: &str, entry: Entry, replayed: bool) -> Result<Exit, Problem> {
    if io.json {
        let entry = entry.into();
        io.document(&RelocatedDocument { entry, replayed })?;
    } else {
        let slash = match entry.r#type() {
            EntryType::Directory => "/",
            _ => "",
        };
        let path = output::printable_name(&entry.path);
        io.line(&format!("{what} {path}{slash}"))?;
    }
    Ok(Exit::Ok)
}
