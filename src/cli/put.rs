//! `put`.

use std::future::Future;
use std::path::Path;

use serde::Serialize;
use tonic::Code;

use super::compare::{Likeness, compare};
use super::connect::Session;
use super::exit::{Exit, Problem};
use super::fetch::look;
use super::io::Io;
use super::names::to_segment;
use super::output::{self, EntryDocument};
use super::progress::Progress;
use super::upload::{Source, upload};
use super::{PutArgs, base_name, file_path, put_tree};
use crate::proto::{Checksum, Entry, EntryType, HashAlgorithm, PutHeader, WriteMode};

/// What became of a file.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// It is there, and was before.
    Unchanged(Entry),
    Stored {
        entry: Entry,
        replayed: bool,
    },
}

#[derive(Serialize)]
struct PutDocument {
    entry: EntryDocument,
    status: &'static str,
    replayed: bool,
}

pub(super) async fn put(
    args: &PutArgs,
    open: impl Future<Output = Result<Session, Problem>>,
    io: &Io,
) -> Result<Exit, Problem> {
    if args.transfer.recursive && args.local.is_dir() {
        return put_tree::put_tree(args, open, io).await;
    }
    let path = destination(&args.remote_path, &args.local)?;
    let source = Source::open(&args.local, io).await?;
    let session = open.await?;
    let progress = Progress::new(io, base_name(&path), source.size());
    let header = header(args, path, &session);
    // Whoever wants the path to be free, or to hold a certain file, asks the
    // server for that.
    let exact = args.create_only || args.if_match.is_some() || !args.expect.is_empty();
    let stored = store(
        args,
        &session,
        io,
        &args.local,
        source,
        header,
        !exact,
        &progress,
    )
    .await?;
    progress.finish();
    let (entry, status, replayed) = match stored {
        Stored::Unchanged(entry) => (entry, "unchanged", false),
        Stored::Stored { entry, replayed } => (entry, "stored", replayed),
    };
    if io.json {
        io.document(&PutDocument {
            entry: entry.into(),
            status,
            replayed,
        })?;
    } else {
        let size = output::size(entry.size.unwrap_or_default());
        let path = output::printable_name(&entry.path);
        io.result(&match status {
            "unchanged" => format!("{path} is up to date"),
            _ => format!("stored {path} ({size})"),
        })?;
    }
    Ok(Exit::Ok)
}

pub(super) fn header(args: &PutArgs, path: String, session: &Session) -> PutHeader {
    let write_mode = match (args.create_only, args.keep_both) {
        (true, _) => WriteMode::CreateOnly,
        (_, true) => WriteMode::KeepBoth,
        _ => WriteMode::Replace,
    };
    let checksums = args.expect.iter().map(|expected| Checksum {
        algorithm: HashAlgorithm::from(expected.algorithm).into(),
        hex: expected.hex.clone(),
    });
    PutHeader {
        remote: session.remote(),
        path,
        write_mode: write_mode.into(),
        if_match_etag: args.if_match.clone().unwrap_or_default(),
        create_parents: Some(!args.no_parents),
        checksums: checksums.collect(),
        ..PutHeader::default()
    }
}

/// Stores a file, if `compared` only where it is not there already.
#[expect(clippy::too_many_arguments, reason = "what one file needs on its way")]
pub(super) async fn store(
    args: &PutArgs,
    session: &Session,
    io: &Io,
    local: &Path,
    source: Source,
    header: PutHeader,
    compared: bool,
    progress: &Progress,
) -> Result<Stored, Problem> {
    if let Some(size) = source.size()
        && compared
        && !args.transfer.force
        && !args.keep_both
    {
        let staleness = super::staleness(args.transfer.max_staleness)?;
        match look(session, io, &header.path, staleness).await {
            Ok(entry) if entry.r#type() == EntryType::File => {
                let likeness = compare(local, size, &entry, args.transfer.size_only).await?;
                if likeness == Likeness::Equal {
                    return Ok(Stored::Unchanged(entry));
                }
            }
            // What stands in the way, the server says.
            Ok(_) => {}
            Err(problem) if problem.code == Code::NotFound => {}
            Err(problem) => return Err(problem),
        }
    }
    let response = upload(session, io, local, source, header, progress).await?;
    let entry = response
        .entry
        .ok_or_else(|| Problem::contract("it does not tell what was stored"))?;
    let replayed = response.replayed;
    Ok(Stored::Stored { entry, replayed })
}

/// Where a file goes.
pub(super) fn destination(remote: &str, local: &Path) -> Result<String, Problem> {
    let path = file_path(remote);
    if !path.is_empty() && !path.ends_with('/') {
        return Ok(path);
    }
    let name = match local.file_name() {
        Some(name) if local.as_os_str() != "-" => name,
        _ => return Err(Problem::usage("name the remote file: it cannot be guessed")),
    };
    Ok(path + &to_segment(name))
}
