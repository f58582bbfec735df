//! Many files at a time: what becomes of each is told as it ends, one failure
//! does not stop the others, and a summary comes last.

use std::future::Future;
use std::time::Duration;

use futures::{Stream, StreamExt};
use serde::Serialize;
use tokio::time::Instant;

use super::exit::{Exit, Problem};
use super::io::Io;
use super::output::{self, ErrorBody};
use super::progress::Board;

/// Files that are known before their turn comes.
pub(super) const BACKLOG: usize = 10_000;

/// A file or directory that has come to its end.
pub(super) struct Ended {
    /// Its path on the server.
    pub(super) path: String,
    /// Its path here.
    pub(super) local: String,
    pub(super) outcome: Result<Outcome, Problem>,
}

/// What became of it.
pub(super) enum Outcome {
    /// It was transferred; so large is it.
    Transferred(u64),
    /// It was there before.
    Unchanged(u64),
    /// A directory that was made.
    Made,
    /// A directory that was there before.
    Nothing,
    /// It cannot be transferred.
    Skipped(&'static str),
}

#[derive(Serialize)]
struct EndedDocument {
    path: String,
    local: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

#[derive(Serialize)]
struct SummaryDocument {
    summary: Summary,
}

#[derive(Default, Serialize)]
struct Summary {
    transferred: u64,
    bytes: u64,
    unchanged: u64,
    directories: u64,
    skipped: u64,
    failed: u64,
    seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partial_files: Vec<String>,
}

/// Which way the files go, in words.
pub(super) struct Direction {
    /// "stored" or "saved".
    pub(super) done: &'static str,
    /// A file is called by its path on the server, not by that here.
    pub(super) up: bool,
}

/// Runs so many of the jobs at a time, to the end of all.
pub(super) async fn run<J: Future<Output = Ended>>(
    direction: &Direction,
    jobs: impl Stream<Item = J>,
    at_a_time: u16,
    board: &Board,
    io: &Io,
) -> Result<Exit, Problem> {
    let begin = Instant::now();
    let mut summary = Summary::default();
    let mut exits = Vec::new();
    let ended = jobs.buffer_unordered(at_a_time.into());
    tokio::pin!(ended);
    while let Some(one) = ended.next().await {
        if let Err(problem) = &one.outcome
            && !exits.contains(&problem.exit)
        {
            exits.push(problem.exit);
        }
        summary.add(&one.outcome);
        board.suspend(|| tell(direction, one, io))?;
    }
    board.finish();
    summary.seconds = begin.elapsed().as_secs_f64();
    if io.json {
        let kept = io.take_kept().into_iter();
        summary.partial_files = kept.map(|path| path.display().to_string()).collect();
        io.document(&SummaryDocument { summary })?;
    } else {
        io.result(&summary.text(direction))?;
    }
    Ok(Exit::of_all(&exits))
}

fn tell(direction: &Direction, one: Ended, io: &Io) -> Result<(), Problem> {
    if io.json {
        return match EndedDocument::of(direction, one) {
            Some(document) => io.document(&document),
            None => Ok(()),
        };
    }
    let name = if direction.up { &one.path } else { &one.local };
    let shown = output::printable_name(name);
    match one.outcome {
        Ok(Outcome::Transferred(size)) => {
            let size = output::size(size as i64);
            io.result(&format!("{} {shown} ({size})", direction.done))
        }
        Ok(Outcome::Made) => io.result(&format!("made {shown}/")),
        Ok(Outcome::Unchanged(_) | Outcome::Nothing) => Ok(()),
        Ok(Outcome::Skipped(why)) => {
            io.note(&format!("skipped {}: {why}", one.local));
            Ok(())
        }
        Err(problem) => {
            io.report(&problem, Some(name));
            Ok(())
        }
    }
}

impl EndedDocument {
    /// None where nothing was to be done.
    fn of(direction: &Direction, one: Ended) -> Option<Self> {
        let (status, size, reason, error) = match one.outcome {
            Ok(Outcome::Transferred(size)) => (direction.done, Some(size), None, None),
            Ok(Outcome::Unchanged(size)) => ("unchanged", Some(size), None, None),
            Ok(Outcome::Made) => ("made", None, None, None),
            Ok(Outcome::Nothing) => return None,
            Ok(Outcome::Skipped(why)) => ("skipped", None, Some(why), None),
            Err(problem) => {
                let error = ErrorBody::new(&problem, None);
                ("failed", None, None, Some(error))
            }
        };
        Some(Self {
            path: one.path,
            local: one.local,
            status,
            size,
            reason,
            error,
        })
    }
}

impl Summary {
    fn add(&mut self, outcome: &Result<Outcome, Problem>) {
        match outcome {
            Ok(Outcome::Transferred(size)) => {
                self.transferred += 1;
                self.bytes += size;
            }
            Ok(Outcome::Unchanged(_)) => self.unchanged += 1,
            Ok(Outcome::Made) => self.directories += 1,
            Ok(Outcome::Nothing) => {}
            Ok(Outcome::Skipped(_)) => self.skipped += 1,
            Err(_) => self.failed += 1,
        }
    }

    fn text(&self, direction: &Direction) -> String {
        let files = match self.transferred {
            1 => "1 file".to_owned(),
            count => format!("{count} files"),
        };
        let size = output::size(self.bytes as i64);
        let time = output::duration(Duration::from_secs(self.seconds.round() as u64));
        let mut text = format!("{} {files} ({size}) in {time}", direction.done);
        for (count, what) in [
            (self.unchanged, "unchanged"),
            (self.directories, "directories made"),
            (self.skipped, "skipped"),
            (self.failed, "failed"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text
    }
}
