//! `purge`.

use serde::Serialize;

use super::connect::Session;
use super::exit::{Exit, Problem};
use super::io::Io;
use super::progress::Progress;
use super::retry::Retry;
use super::{PurgeArgs, directory_path};
use crate::proto::PurgeRequest;

#[derive(Serialize)]
struct PurgeDocument {
    path: String,
    dry_run: bool,
    removed_files: i64,
    removed_directories: i64,
    failures: u64,
    /// All was gone through.
    done: bool,
}

pub(super) async fn purge(args: &PurgeArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let path = directory_path(&args.path);
    if path.is_empty() && !args.allow_root {
        return Err(Problem::usage(
            "purging the root removes everything in the account; add --allow-root if that is meant",
        ));
    }
    let mut document = PurgeDocument {
        path: path.clone(),
        dry_run: args.dry_run,
        removed_files: 0,
        removed_directories: 0,
        failures: 0,
        done: false,
    };
    let mut request = PurgeRequest {
        remote: session.remote(),
        path,
        allow_missing: args.ignore_missing,
        validate_only: args.dry_run,
        allow_root: args.allow_root,
    };
    let progress = Progress::counting(io, &request.path);
    let mut exits = Vec::new();
    let mut retry = Retry::new(session);
    let outcome = loop {
        match attempt(session, &request, io, &progress, &mut document, &mut exits).await {
            Ok(()) => break Ok(()),
            Err(problem) => {
                if let Err(problem) = retry.wait(problem, io, &progress).await {
                    break Err(problem);
                }
            }
        }
        // What is left may be nothing.
        request.allow_missing |= document.removed_directories > 0 && !args.dry_run;
        if args.dry_run {
            (document.removed_files, document.removed_directories) = (0, 0);
        }
    };
    progress.finish();
    document.done = outcome.is_ok();
    // Also after a failure: this much is gone.
    let began = document.done || document.removed_files + document.removed_directories > 0;
    if io.json && began {
        io.document(&document)?;
    } else if began {
        let verb = if args.dry_run {
            "would remove"
        } else {
            "removed"
        };
        io.line(&format!("{verb} {}", counts(&document)))?;
    }
    outcome?;
    Ok(Exit::of_all(&exits))
}

async fn attempt(
    session: &Session,
    request: &PurgeRequest,
    io: &Io,
    progress: &Progress,
    document: &mut PurgeDocument,
    exits: &mut Vec<Exit>,
) -> Result<(), Problem> {
    // Of earlier attempts.
    let (files, directories) = (document.removed_files, document.removed_directories);
    let mut client = session.client();
    let stream = client.purge(session.request(request.clone())).await?;
    let mut stream = stream.into_inner();
    while let Some(answer) = stream.message().await? {
        document.removed_files = files + answer.removed_files;
        document.removed_directories = directories + answer.removed_directories;
        for failed in answer.failures {
            let problem = Problem::from(failed.failure.unwrap_or_default());
            document.failures += 1;
            if !exits.contains(&problem.exit) {
                exits.push(problem.exit);
            }
            progress.suspend(|| io.report(&problem, Some(&failed.path)));
        }
        progress.message(&counts(document));
        if answer.done {
            return Ok(());
        }
    }
    Err(Problem::contract("it ended before the purge was done"))
}

fn counts(document: &PurgeDocument) -> String {
    let plural = |count: i64, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    format!(
        "{} and {}",
        plural(document.removed_files, "file", "files"),
        plural(document.removed_directories, "directory", "directories"),
    )
}
