//! `link` and `dedupe`.

use std::io::Read;

use serde::Serialize;

use super::connect::Session;
use super::exit::{Exit, Problem};
use super::io::Io;
use super::output::{self, EntryDocument, ErrorBody};
use super::retry::repeated;
use super::{DedupeArgs, DedupeChoice, LinkArgs, directory_path};
use crate::proto::{DedupeMode, DedupeRequest, DedupeResponse, EntryType, PublicLinkRequest};

/// Most bytes of a file with a password; a longer one was not meant.
const LONGEST: usize = 4_096;

#[derive(Serialize)]
struct LinkDocument {
    path: String,
    url: Option<String>,
}

/// The password in a file, or on standard input: its first line.
fn password(args: &LinkArgs, io: &Io) -> Result<String, Problem> {
    let Some(path) = &args.password_file else {
        return Ok(String::new());
    };
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Problem::usage(format!("cannot read the password from {shown}: {error}"))
    };
    let source: Box<dyn Read> = if path.as_os_str() == "-" {
        match io.take_input() {
            Some(input) => input,
            None => return Err(Problem::usage("standard input is not to be had")),
        }
    } else {
        Box::new(std::fs::File::open(path).map_err(unreadable)?)
    };
    let mut content = Vec::new();
    source
        .take(LONGEST as u64 + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    if content.len() > LONGEST {
        return Err(Problem::usage(format!(
            "{shown} has more than {LONGEST} bytes; is it the file with the password?"
        )));
    }
    let text = String::from_utf8(content)
        .map_err(|_| Problem::usage(format!("{shown} is not a text in UTF-8")))?;
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err(Problem::usage(format!("there is no password in {shown}"))),
    }
}

pub(super) async fn link(args: &LinkArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let path = directory_path(&args.path);
    let request = PublicLinkRequest {
        remote: session.remote(),
        path: path.clone(),
        revoke: args.revoke,
        password: password(args, io)?,
    };
    let answer = repeated(session, io, async || {
        let request = session.request(request.clone());
        Ok(session.client().public_link(request).await?.into_inner())
    });
    let url = Some(answer.await?.url).filter(|url| !url.is_empty());
    if io.json {
        io.document(&LinkDocument { path, url })?;
    } else if let Some(url) = url {
        io.line(&output::printable_name(&url))?;
    }
    Ok(Exit::Ok)
}

impl From<DedupeChoice> for DedupeMode {
    fn from(choice: DedupeChoice) -> Self {
        match choice {
            DedupeChoice::Report => Self::Report,
            DedupeChoice::Identical => Self::Identical,
            DedupeChoice::Newest => Self::Newest,
            DedupeChoice::Oldest => Self::Oldest,
            DedupeChoice::Rename => Self::Rename,
        }
    }
}

#[derive(Serialize)]
struct FailureDocument {
    path: String,
    error: ErrorBody,
}

#[derive(Serialize)]
struct GroupDocument {
    path: String,
    entries: Vec<EntryDocument>,
    kept_id: String,
    remaining: Vec<EntryDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<FailureDocument>,
}

pub(super) async fn dedupe(args: &DedupeArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let request = DedupeRequest {
        remote: session.remote(),
        path: directory_path(&args.path),
        recursive: args.recursive,
        mode: DedupeMode::from(args.mode).into(),
        validate_only: args.dry_run,
    };
    // What was told already is not told again: only its beginning is repeated.
    let groups = repeated(session, io, async || {
        let request = session.request(request.clone());
        Ok(session.client().dedupe(request).await?.into_inner())
    });
    let mut groups = groups.await?;
    let mut exits = Vec::new();
    while let Some(mut group) = groups.message().await? {
        let failures: Vec<_> = std::mem::take(&mut group.failures)
            .into_iter()
            .map(|failed| {
                (
                    failed.path,
                    Problem::from(failed.failure.unwrap_or_default()),
                )
            })
            .collect();
        for (_, problem) in &failures {
            if !exits.contains(&problem.exit) {
                exits.push(problem.exit);
            }
        }
        if io.json {
            let failures = failures.iter().map(|(path, problem)| FailureDocument {
                path: path.clone(),
                error: ErrorBody::new(problem, None),
            });
            io.document(&GroupDocument {
                failures: failures.collect(),
                path: group.path,
                entries: group.entries.into_iter().map(Into::into).collect(),
                kept_id: group.kept_id,
                remaining: group.remaining.into_iter().map(Into::into).collect(),
            })?;
            continue;
        }
        io.write(&text(&group, args.mode == DedupeChoice::Report))?;
        for (path, problem) in failures {
            io.report(&problem, Some(&path));
        }
    }
    Ok(Exit::of_all(&exits))
}

/// A path, and what became of each entry that had it.
fn text(group: &DedupeResponse, report: bool) -> String {
    if group.entries.is_empty() {
        return String::new();
    }
    let mut rows = Vec::new();
    for entry in &group.entries {
        let left = group.remaining.iter().find(|left| left.id == entry.id);
        let fate = match left {
            _ if report && entry.id == group.kept_id => "counts".to_owned(),
            _ if report => "hidden".to_owned(),
            Some(left) if left.path != entry.path => {
                format!("renamed to {}", output::printable_name(&left.path))
            }
            Some(_) => "stays".to_owned(),
            None if entry.r#type() == EntryType::Directory => "merged".to_owned(),
            None => "removed".to_owned(),
        };
        let size = entry.size.map_or("-".to_owned(), output::size);
        let time = entry.modify_time.as_ref().and_then(output::local_time);
        rows.push(vec![
            "   ".to_owned(),
            size,
            time.unwrap_or_else(|| "-".to_owned()),
            entry.id.clone(),
            fate,
        ]);
    }
    let path = output::printable_name(&group.path);
    format!("{path}\n{}", output::table(&rows))
}
