//! `put --recursive`.

use std::future::Future;
use std::path::Path;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::batch::{self, BACKLOG, Direction, Ended, Outcome};
use super::connect::Session;
use super::exit::{Exit, Problem};
use super::fetch::look;
use super::io::Io;
use super::progress::Board;
use super::put::{Stored, destination, header, store};
use super::retry::repeated;
use super::upload::Source;
use super::walk::{Found, walk};
use super::{PutArgs, base_name, directory_path};
use crate::error::Reason;
use crate::proto::{EntryType, MkdirRequest};

const STORED: Direction = Direction {
    done: "stored",
    up: true,
};

/// Stores what is in a directory.
pub(super) async fn put_tree(
    args: &PutArgs,
    open: impl Future<Output = Result<Session, Problem>>,
    io: &Io,
) -> Result<Exit, Problem> {
    // The root itself has no name that could end with a slash.
    let root = match args.remote_path.as_str() {
        "" => String::new(),
        path => directory_path(&destination(path, &args.local)?),
    };
    let shown = args.local.display();
    let mut walked = walk(&args.local, args.transfer.follow)
        .map_err(|error| Problem::local(format!("cannot read {shown}: {error}")))?;
    let session = open.await?;
    check_destination(args, &root, &session, io).await?;
    let board = Board::new(io);
    let (tx, rx) = mpsc::channel(BACKLOG);
    let finding = async {
        // Ends with the sender.
        let tx = tx;
        while let Some(found) = walked.recv().await {
            if let Found::File { size, .. } = &found {
                board.found(*size);
            }
            if tx.send(found).await.is_err() {
                return;
            }
        }
    };
    let jobs = ReceiverStream::new(rx).map(|found| one(found, args, &root, &session, &board, io));
    let storing = batch::run(&STORED, jobs, args.transfer.transfers, &board, io);
    tokio::join!(finding, storing).1
}

/// What holds for every file is found out before the first one.
async fn check_destination(
    args: &PutArgs,
    root: &str,
    session: &Session,
    io: &Io,
) -> Result<(), Problem> {
    let staleness = super::staleness(args.transfer.max_staleness)?;
    let missing = Reason::RemoteNotFound.as_str();
    match look(session, io, root, staleness).await {
        Ok(entry) if entry.r#type() == EntryType::Directory => Ok(()),
        Ok(_) => {
            let reason = Reason::NotADirectory;
            let mut problem = Problem::new(reason.code(), format!("{root:?} is a file"));
            problem.reason = Some(reason.as_str().to_owned());
            Err(problem)
        }
        Err(problem)
            if problem.code == Code::NotFound
                && problem.reason.as_deref() != Some(missing)
                && !args.no_parents =>
        {
            Ok(())
        }
        Err(problem) => Err(problem),
    }
}

async fn one(
    found: Found,
    args: &PutArgs,
    root: &str,
    session: &Session,
    board: &Board,
    io: &Io,
) -> Ended {
    let shown = |local: &Path| local.display().to_string();
    let below = |path: String| match (root, path.as_str()) {
        ("", _) => path,
        (root, "") => root.to_owned(),
        (root, path) => format!("{root}/{path}"),
    };
    match found {
        Found::File { local, path, size } => {
            let path = below(path);
            let outcome = file(&local, &path, size, args, session, board, io).await;
            let local = shown(&local);
            Ended {
                path,
                local,
                outcome,
            }
        }
        Found::EmptyDirectory { local, path } => {
            let path = below(path);
            Ended {
                outcome: directory(&path, session, io).await,
                local: shown(&local),
                path,
            }
        }
        Found::Skipped { local, why } => Ended {
            path: String::new(),
            local: shown(&local),
            outcome: Ok(Outcome::Skipped(why)),
        },
        Found::Failed { local, problem } => Ended {
            path: String::new(),
            local: shown(&local),
            outcome: Err(problem),
        },
    }
}

async fn file(
    local: &Path,
    path: &str,
    size: u64,
    args: &PutArgs,
    session: &Session,
    board: &Board,
    io: &Io,
) -> Result<Outcome, Problem> {
    let progress = board.file(base_name(path), size);
    let stored = async {
        let source = Source::open(local, io).await?;
        let mut header = header(args, path.to_owned(), session);
        // --no-parents is about the destination.
        header.create_parents = Some(true);
        store(args, session, io, local, source, header, true, &progress).await
    };
    let stored = stored.await;
    let transferred = matches!(stored, Ok(Stored::Stored { .. }));
    board.ended(&progress, size, transferred);
    let outcome = match stored? {
        Stored::Unchanged(_) => Outcome::Unchanged(size),
        Stored::Stored { entry, .. } => {
            let stored = entry.size.and_then(|size| u64::try_from(size).ok());
            Outcome::Transferred(stored.unwrap_or(size))
        }
    };
    session.retries.succeeded();
    Ok(outcome)
}

async fn directory(path: &str, session: &Session, io: &Io) -> Result<Outcome, Problem> {
    // The root is there.
    if path.is_empty() {
        return Ok(Outcome::Nothing);
    }
    let made = repeated(session, io, async || {
        let request = MkdirRequest {
            remote: session.remote(),
            path: path.to_owned(),
            create_parents: Some(true),
        };
        Ok(session.client().mkdir(session.request(request)).await?)
    });
    Ok(match made.await?.into_inner().created {
        true => Outcome::Made,
        false => Outcome::Nothing,
    })
}
