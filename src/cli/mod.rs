//! The client commands: a small client for the gRPC service.
//!
//! Each command prints its result on standard output, for people or, with
//! `--json`, as one JSON document (`ls`, `tree`, `dedupe` and transfers of directories: one object a line). Errors go to
//! standard error, and [`Exit`] tells scripts what kind of failure it was.

mod activity;
mod args;
mod batch;
mod compare;
mod connect;
mod credentials;
mod download;
mod exit;
mod fetch;
mod get;
mod get_tree;
mod health;
mod io;
mod links;
mod list;
mod manage;
mod names;
mod output;
mod part;
mod progress;
mod purge;
mod put;
mod put_tree;
mod relocate;
mod restic;
mod retry;
#[cfg(test)]
mod tests;
mod tree;
mod upload;
mod walk;

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

pub use args::{
    AboutArgs, ActivityArgs, CatArgs, ClientCommand, ConnectArgs, CpArgs, DedupeArgs, DedupeChoice,
    EntryKind, Expected, GetArgs, HashArgs, HashKind, HealthcheckArgs, InfoArgs, LinkArgs, LsArgs,
    MkdirArgs, MvArgs, PurgeArgs, PutArgs, Range, RefreshArgs, RmArgs, RmdirArgs, StatArgs,
    TestArgs, TransferArgs, TreeArgs,
};
pub use exit::{EXIT_CODES, Exit};
pub use restic::{ResticArgs, Upstream, proxy, serve_restic};

use connect::Session;
use exit::Problem;
use io::Io;

/// Runs a command to its end, Ctrl-C or SIGTERM. The exit code is an [`Exit`].
pub async fn run(command: ClientCommand) -> ExitCode {
    let io = Io::standard(command.connect().json, command.quiet());
    run_with(command, &io).await.into()
}

async fn run_with(command: ClientCommand, io: &Io) -> Exit {
    let timeout = command.connect().timeout;
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let expiry = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    // Whatever ends first drops the others, and with them temporary files.
    let outcome = tokio::select! {
        biased;
        outcome = execute(&command, io, deadline) => outcome,
        () = interrupted() => Err(Problem::interrupted()),
        () = expiry => Err(Problem::new(Code::DeadlineExceeded, "not finished in time")),
    };
    let outcome = outcome.and_then(|exit| io.flush().map(|()| exit));
    let outcome = tell_kept(outcome, io);
    match (outcome, timeout) {
        (Ok(exit), _) => exit,
        (Err(mut problem), timeout) => {
            if let (Code::DeadlineExceeded, Some(timeout)) = (problem.code, timeout) {
                let limit = output::duration(timeout);
                problem.message = format!("{} (--timeout {limit})", problem.message);
            }
            io.report(&problem, None);
            problem.exit
        }
    }
}

/// Tells which partial files stay, in an error that is told anyway or by a note.
fn tell_kept(outcome: Result<Exit, Problem>, io: &Io) -> Result<Exit, Problem> {
    let kept: Vec<_> = io
        .take_kept()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let text = match kept.as_slice() {
        [] => return outcome,
        [one] => format!("what has come is kept in {one}"),
        many => format!("what has come of {} files is kept beside them", many.len()),
    };
    let text = format!("{text}; the same command goes on with it");
    match outcome {
        Ok(exit) => {
            io.note(&text);
            Ok(exit)
        }
        Err(mut problem) => {
            problem.message = format!("{}; {text}", problem.message);
            let names = kept.join("\n");
            problem.metadata.insert("partial_files".into(), names);
            Err(problem)
        }
    }
}

async fn execute(
    command: &ClientCommand,
    io: &Io,
    deadline: Option<Instant>,
) -> Result<Exit, Problem> {
    let open = Session::open(command.connect(), deadline);
    match command {
        // These look at the local side before they connect.
        ClientCommand::Put(args) => put::put(args, open, io).await,
        ClientCommand::Get(args) => get::get(args, open, io).await,
        ClientCommand::Cat(args) => get::cat(args, &open.await?, io).await,
        ClientCommand::Ls(args) => list::ls(args, &open.await?, io).await,
        ClientCommand::Tree(args) => tree::tree(args, &open.await?, io).await,
        ClientCommand::Stat(args) => list::stat(args, &open.await?, io).await,
        ClientCommand::Hash(args) => list::hash(args, &open.await?, io).await,
        ClientCommand::Rm(args) => manage::rm(args, &open.await?, io).await,
        ClientCommand::About(args) => manage::about(args, &open.await?, io).await,
        ClientCommand::Mkdir(args) => manage::mkdir(args, &open.await?, io).await,
        ClientCommand::Rmdir(args) => manage::rmdir(args, &open.await?, io).await,
        ClientCommand::Link(args) => links::link(args, &open.await?, io).await,
        ClientCommand::Dedupe(args) => links::dedupe(args, &open.await?, io).await,
        ClientCommand::Purge(args) => purge::purge(args, &open.await?, io).await,
        ClientCommand::Mv(args) => relocate::mv(args, &open.await?, io).await,
        ClientCommand::Cp(args) => relocate::cp(args, &open.await?, io).await,
        ClientCommand::Test(args) => manage::test(args, &open.await?, io).await,
        ClientCommand::Info(_) => manage::info(&open.await?, io).await,
        ClientCommand::Refresh(args) => manage::refresh(args, &open.await?, io).await,
        ClientCommand::Activity(args) => activity::activity(args, &open.await?, io).await,
        ClientCommand::Healthcheck(_) => health::healthcheck(&open.await?, io).await,
    }
}

/// Ends when the process is asked to stop.
async fn interrupted() {
    let ctrl_c = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<Option<()>>();
    tokio::select! {
        () = ctrl_c => {}
        _ = terminate => {}
    }
}

/// A file's path as the service wants it.
fn file_path(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

/// A directory's path as the service wants it.
fn directory_path(path: &str) -> String {
    path.trim_matches('/').to_owned()
}

/// How old an answer may be, as the service wants it.
fn staleness(age: Option<Duration>) -> Result<Option<prost_types::Duration>, Problem> {
    let age = age.map(prost_types::Duration::try_from).transpose();
    age.map_err(|_| Problem::usage("--max-staleness is too long"))
}

/// The last segment of a path.
fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
