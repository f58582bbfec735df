//! `tree`.

use std::fmt::Write as _;

use serde::Serialize;

use super::connect::Session;
use super::exit::{Exit, Problem};
use super::io::Io;
use super::list::Pages;
use super::output::{self, EntryDocument};
use super::{TreeArgs, base_name, directory_path, staleness};
use crate::proto::{Entry, EntryType, ListRequest};

#[derive(Serialize)]
struct NodeDocument {
    /// 1 for what is in the directory itself.
    depth: u32,
    #[serde(flatten)]
    entry: EntryDocument,
}

/// A directory that is being drawn.
struct Level {
    /// What is left of it, the next one last.
    entries: Vec<Entry>,
    /// What stands before its lines.
    indent: String,
}

#[derive(Default)]
struct Counts {
    directories: u64,
    files: u64,
    bytes: i64,
}

/// Draws it directory by directory: only what is on the way to the place that
/// is being drawn is in memory.
pub(super) async fn tree(args: &TreeArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let path = directory_path(&args.path);
    let mut exits = Vec::new();
    let entries = children(args, session, &path, io, &mut exits).await?;
    if !io.json {
        let root = if path.is_empty() { "/" } else { &path };
        io.line(&output::printable_name(root))?;
    }
    let mut counts = Counts::default();
    let mut levels = vec![Level {
        entries,
        indent: String::new(),
    }];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.pop() else {
            levels.pop();
            continue;
        };
        let last = level.entries.is_empty();
        let line = line(&entry, &level.indent, last, args.long);
        let deeper = level.indent.clone() + if last { "    " } else { "│   " };
        let depth = levels.len() as u32;
        let is_directory = entry.r#type() == EntryType::Directory;
        counts.add(&entry, is_directory);
        let path = entry.path.clone();
        if io.json {
            let entry = entry.into();
            io.document(&NodeDocument { depth, entry })?;
        } else {
            io.line(&line)?;
        }
        if !is_directory || args.max_depth.is_some_and(|most| depth >= most) {
            continue;
        }
        // The tree goes on beside a directory that cannot be read.
        match children(args, session, &path, io, &mut exits).await {
            Ok(entries) => levels.push(Level {
                entries,
                indent: deeper,
            }),
            Err(problem) => {
                io.report(&problem, Some(&path));
                exits.push(problem.exit);
            }
        }
    }
    if !io.json {
        io.line(&counts.text(args.directories))?;
    }
    Ok(Exit::of_all(&exits))
}

/// What is in a directory, the last first.
async fn children(
    args: &TreeArgs,
    session: &Session,
    path: &str,
    io: &Io,
    exits: &mut Vec<Exit>,
) -> Result<Vec<Entry>, Problem> {
    let only = args.directories.then(|| EntryType::Directory.into());
    let request = ListRequest {
        remote: session.remote(),
        path: path.to_owned(),
        types: only.into_iter().collect(),
        max_staleness: staleness(args.max_staleness)?,
        ..ListRequest::default()
    };
    let mut pages = Pages::new(session, request);
    let mut entries = Vec::new();
    while let Some(page) = pages.next(io).await? {
        entries.extend(page.entries);
        for failed in page.failures {
            let problem = Problem::from(failed.failure.unwrap_or_default());
            io.report(&problem, Some(&failed.path));
            exits.push(problem.exit);
        }
    }
    entries.reverse();
    Ok(entries)
}

fn line(entry: &Entry, indent: &str, last: bool, long: bool) -> String {
    let branch = if last { "└── " } else { "├── " };
    let name = output::printable_name(base_name(&entry.path));
    let mut line = format!("{indent}{branch}{name}");
    match entry.size {
        _ if entry.r#type() == EntryType::Directory => line.push('/'),
        Some(size) if long => {
            let _ = write!(line, " ({})", output::size(size));
        }
        _ => {}
    }
    line
}

impl Counts {
    fn add(&mut self, entry: &Entry, is_directory: bool) {
        if is_directory {
            self.directories += 1;
        } else {
            self.files += 1;
            self.bytes = self.bytes.saturating_add(entry.size.unwrap_or_default());
        }
    }

    fn text(&self, directories_only: bool) -> String {
        let plural = |count: u64, one: &str, many: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {many}"),
        };
        let directories = plural(self.directories, "directory", "directories");
        if directories_only {
            return directories;
        }
        let files = plural(self.files, "file", "files");
        let size = output::size(self.bytes);
        format!("{directories}, {files}, {size}")
    }
}
