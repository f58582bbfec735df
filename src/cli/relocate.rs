//! `mv` and `cp`.

use serde::Serialize;

use super::connect::{Retry, Session};
use super::exit::{Exit, Problem};
use super::io::Io;
use super::output::{self, EntryDocument};
use super::progress::Progress;
use super::{CpArgs, MvArgs, base_name, directory_path, file_path};
use crate::proto::{
    CopyRequest, Entry, EntryType, MoveDirRequest, MoveRequest, StatRequest, WriteMode,
};

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
    let is_directory = args.source.ends_with('/') || is_directory(session, &source).await?;
    let (entry, replayed) = if is_directory {
        if args.create_only {
            io.note("--create-only is not needed: a directory never replaces anything");
        }
        let request = MoveDirRequest {
            remote: session.remote(),
            source_path: source,
            destination_path: destination,
            request_id: request_id(),
        };
        repeated(io, async || {
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
            write_mode: write_mode(args.create_only).into(),
            request_id: request_id(),
            ..MoveRequest::default()
        };
        repeated(io, async || {
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
        write_mode: write_mode(args.create_only).into(),
        request_id: request_id(),
        ..CopyRequest::default()
    };
    let (entry, replayed) = repeated(io, async || {
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

fn write_mode(create_only: bool) -> WriteMode {
    match create_only {
        true => WriteMode::CreateOnly,
        false => WriteMode::Replace,
    }
}

/// The same for every attempt: what was done is not done twice.
fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

async fn is_directory(session: &Session, path: &str) -> Result<bool, Problem> {
    let request = StatRequest {
        remote: session.remote(),
        path: path.to_owned(),
        max_staleness: None,
    };
    let answer = session.client().stat(session.request(request)).await?;
    let entry = answer.into_inner().entry.unwrap_or_default();
    Ok(entry.r#type() == EntryType::Directory)
}

async fn repeated(
    io: &Io,
    attempt: impl AsyncFn() -> Result<(Option<Entry>, bool), Problem>,
) -> Result<(Entry, bool), Problem> {
    let mut retry = Retry::new();
    loop {
        match attempt().await {
            Ok((Some(entry), replayed)) => return Ok((entry, replayed)),
            Ok((None, _)) => return Err(Problem::contract("it does not tell where the entry is")),
            Err(problem) => retry.wait(problem, io, &Progress::none()).await?,
        }
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
