//! `get --recursive`.

use std::future::Future;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::batch::{self, BACKLOG, Direction, Ended, Outcome};
use super::connect::Session;
use super::exit::{Exit, Problem};
use super::fetch::{Fetched, Rules, fetch};
use super::io::Io;
use super::list::{Pages, relative};
use super::names::{below, check_links};
use super::part::{Target, There};
use super::progress::{Board, Progress};
use super::{GetArgs, base_name, directory_path};
use crate::proto::{Entry, EntryType, ListRequest};

const SAVED: Direction = Direction {
    done: "saved",
    up: false,
};

/// What the listing tells.
enum Found {
    Entry(Entry),
    Failed(String, Problem),
}

/// Fetches what is in a directory.
pub(super) async fn get_tree(
    args: &GetArgs,
    rules: &Rules<'_>,
    open: impl Future<Output = Result<Session, Problem>>,
    io: &Io,
) -> Result<Exit, Problem> {
    let path = directory_path(&args.remote_path);
    let root = destination(&path, args.local.as_deref())?;
    let session = open.await?;
    let board = Board::new(io);
    let request = ListRequest {
        remote: session.remote(),
        path: path.clone(),
        recursive: true,
        max_staleness: rules.staleness(),
        ..ListRequest::default()
    };
    let mut pages = Pages::new(&session, request);
    // What holds for every file is found out before the first one.
    let first = pages.next(io).await?;
    make(&root)?;
    let (tx, rx) = mpsc::channel(BACKLOG);
    let listing = async {
        // Ends with the sender.
        let tx = tx;
        let mut next = Ok(first);
        loop {
            let page = match next {
                Ok(Some(page)) => page,
                Ok(None) => return,
                Err(problem) => {
                    let _ = tx.send(Found::Failed(path.clone(), problem)).await;
                    return;
                }
            };
            let failures = page.failures.into_iter().map(|failed| {
                let problem = Problem::from(failed.failure.unwrap_or_default());
                Found::Failed(failed.path, problem)
            });
            for found in page.entries.into_iter().map(Found::Entry).chain(failures) {
                if let Found::Entry(entry) = &found
                    && entry.r#type() == EntryType::File
                {
                    board.found(size(entry));
                }
                if tx.send(found).await.is_err() {
                    return;
                }
            }
            next = pages.next(io).await;
        }
    };
    let to = Destination {
        root: &root,
        path: &path,
        follow: args.transfer.follow,
    };
    let jobs = ReceiverStream::new(rx).map(|found| one(found, &to, rules, &session, &board, io));
    let saving = batch::run(&SAVED, jobs, args.transfer.transfers, &board, io);
    tokio::join!(listing, saving).1
}

struct Destination<'a> {
    root: &'a Path,
    /// What the root stands for.
    path: &'a str,
    follow: bool,
}

impl Destination<'_> {
    fn of(&self, path: &str) -> Result<PathBuf, Problem> {
        let inside = relative(path, self.path);
        if !self.path.is_empty() && inside.len() == path.len() {
            return Err(Problem::contract("it lists what is elsewhere"));
        }
        let local = below(self.root, inside)?;
        if !self.follow {
            check_links(self.root, &local)?;
        }
        Ok(local)
    }
}

fn destination(path: &str, local: Option<&Path>) -> Result<PathBuf, Problem> {
    let name = base_name(path);
    let into = |directory: &Path| match name {
        "" => Err(Problem::usage(
            "name the local directory: the root has no name",
        )),
        name => below(directory, name),
    };
    match local {
        None => into(Path::new("")),
        Some(local) if local.as_os_str() == "-" => Err(Problem::usage(
            "a directory cannot be written to standard output",
        )),
        Some(local) if local.as_os_str().as_encoded_bytes().ends_with(b"/") => into(local),
        Some(local) => Ok(local.to_owned()),
    }
}

fn size(entry: &Entry) -> u64 {
    let size = entry.size.and_then(|size| u64::try_from(size).ok());
    size.unwrap_or_default()
}

async fn one(
    found: Found,
    to: &Destination<'_>,
    rules: &Rules<'_>,
    session: &Session,
    board: &Board,
    io: &Io,
) -> Ended {
    let mut entry = match found {
        Found::Entry(entry) => entry,
        Found::Failed(path, problem) => {
            return Ended {
                local: path.clone(),
                path,
                outcome: Err(problem),
            };
        }
    };
    let path = entry.path.clone();
    let is_file = entry.r#type() == EntryType::File;
    let size = size(&entry);
    let progress = match is_file {
        true => board.file(base_name(&path), size),
        false => Progress::none(),
    };
    let place = to.of(&path);
    let local = match &place {
        Ok(place) => place.display().to_string(),
        Err(_) => path.clone(),
    };
    let outcome = match place {
        Err(problem) => Err(problem),
        Ok(place) if !is_file => directory(&place),
        Ok(place) => file(&mut entry, place, rules, session, &progress, io).await,
    };
    if is_file {
        let transferred = matches!(outcome, Ok(Outcome::Transferred(_)));
        board.ended(&progress, size, transferred);
    }
    if outcome.is_ok() {
        session.retries.succeeded();
    }
    Ended {
        path,
        local,
        outcome,
    }
}

fn directory(place: &Path) -> Result<Outcome, Problem> {
    if place.is_dir() {
        return Ok(Outcome::Nothing);
    }
    make(place)?;
    Ok(Outcome::Made)
}

fn make(place: &Path) -> Result<(), Problem> {
    std::fs::create_dir_all(place).map_err(|error| {
        let place = place.display();
        Problem::local(format!("cannot make {place}: {error}"))
    })
}

async fn file(
    entry: &mut Entry,
    place: PathBuf,
    rules: &Rules<'_>,
    session: &Session,
    progress: &Progress,
    io: &Io,
) -> Result<Outcome, Problem> {
    if let Some(parent) = place.parent() {
        make(parent)?;
    }
    let target = Target::at(place)?;
    if target.there == There::Special {
        let text = format!("{} is not a regular file", target.path.display());
        return Err(Problem::new(tonic::Code::FailedPrecondition, text));
    }
    Ok(
        match fetch(session, io, entry, &target, rules, progress).await? {
            Fetched::Unchanged => Outcome::Unchanged(size(entry)),
            Fetched::Saved { .. } => Outcome::Transferred(size(entry)),
        },
    )
}
