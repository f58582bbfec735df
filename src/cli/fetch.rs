//! One file on its way to a local path: only if it is not there, and what came
//! of it before is not asked for again.

use serde::Serialize;

use super::args::{GetArgs, Range};
use super::compare::{Likeness, compare, has_checksum};
use super::connect::Session;
use super::download::{Download, Failed, Wanted};
use super::exit::Problem;
use super::io::{Io, Writer};
use super::part::{Part, Target, There};
use super::progress::Progress;
use super::retry::repeated;
use crate::error::Reason;
use crate::proto::{Entry, EntryType, StatRequest};

/// How files are fetched.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    size_only: bool,
    /// Fetch also what is there.
    force: bool,
    /// Replace what differs.
    update: bool,
    verify: bool,
    range: Option<Range>,
    if_match: Option<&'a str>,
    staleness: Option<prost_types::Duration>,
}

impl<'a> Rules<'a> {
    pub(super) fn of(args: &'a GetArgs) -> Result<Self, Problem> {
        Ok(Self {
            size_only: args.transfer.size_only,
            force: args.transfer.force,
            update: args.update,
            verify: !args.no_verify,
            range: args.range,
            if_match: args.if_match.as_deref(),
            staleness: super::staleness(args.transfer.max_staleness)?,
        })
    }

    pub(super) fn staleness(&self) -> Option<prost_types::Duration> {
        self.staleness
    }

    /// Of several files with one path not the newest is wanted.
    fn means_another(&self, entry: &Entry) -> bool {
        self.if_match.is_some_and(|etag| etag != entry.etag)
    }

    /// A special file is written to as it is, without a look at it.
    pub(super) fn wanted(&self, path: &str) -> Wanted {
        Wanted {
            path: path.to_owned(),
            range: self.range,
            etag: self.if_match.unwrap_or_default().to_owned(),
            verify: self.verify,
        }
    }
}

/// What became of a file.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "status")]
pub(super) enum Fetched {
    /// It is here, and was before.
    Unchanged,
    Saved {
        /// What came now.
        bytes: u64,
        /// Its checksum is right.
        verified: bool,
    },
}

/// What the server says of a file.
pub(super) async fn look(
    session: &Session,
    io: &Io,
    path: &str,
    staleness: Option<prost_types::Duration>,
) -> Result<Entry, Problem> {
    let answer = repeated(session, io, async || {
        let request = StatRequest {
            remote: session.remote(),
            path: path.to_owned(),
            max_staleness: staleness,
        };
        Ok(session.client().stat(session.request(request)).await?)
    });
    let entry = answer.await?.into_inner().entry;
    entry.ok_or_else(|| Problem::contract("it does not describe the entry"))
}

/// What the server says of a file that is to be fetched.
pub(super) async fn look_at_file(
    session: &Session,
    io: &Io,
    path: &str,
    rules: &Rules<'_>,
) -> Result<Entry, Problem> {
    let entry = look(session, io, path, rules.staleness).await?;
    if entry.r#type() != EntryType::Directory {
        return Ok(entry);
    }
    let reason = Reason::IsADirectory;
    let text = format!("{path:?} is a directory; fetch it with --recursive");
    let mut problem = Problem::new(reason.code(), text);
    problem.reason = Some(reason.as_str().to_owned());
    Err(problem)
}

/// Fetches a file that the server described so.
pub(super) async fn fetch(
    session: &Session,
    io: &Io,
    entry: &mut Entry,
    target: &Target,
    rules: &Rules<'_>,
    progress: &Progress,
) -> Result<Fetched, Problem> {
    if let There::File(size) = target.there
        && !rules.force
    {
        if rules.range.is_some() && !rules.update {
            return Err(target.exists(""));
        }
        let likeness = if rules.range.is_some() || rules.means_another(entry) {
            Likeness::Differs
        } else {
            compare(&target.path, size, entry, rules.size_only).await?
        };
        match likeness {
            Likeness::Equal => return Ok(Fetched::Unchanged),
            _ if rules.update => {}
            Likeness::Differs => return Err(target.exists(" and differs")),
            Likeness::Unknown => {
                let why = ", and no checksum is known to compare it with (see --size-only)";
                return Err(target.exists(why));
            }
        }
    }
    match transfer(session, io, entry, target, rules, progress).await {
        Err(problem) if problem.is_change() && rules.if_match.is_none() => {
            // It was replaced since it was looked at: the new one is meant.
            *entry = look_at_file(session, io, &entry.path, rules).await?;
            transfer(session, io, entry, target, rules, progress).await
        }
        fetched => fetched,
    }
}

async fn transfer(
    session: &Session,
    io: &Io,
    entry: &mut Entry,
    target: &Target,
    rules: &Rules<'_>,
    progress: &Progress,
) -> Result<Fetched, Problem> {
    let failed = |error| target.failed(&error);
    let size = entry.size.and_then(|size| u64::try_from(size).ok());
    // Only of a whole file can be told whether what is here belongs to it.
    let remote = session.remote();
    let known = size.filter(|_| rules.range.is_none() && !rules.means_another(entry));
    let key = known.map(|size| {
        let Entry { path, etag, .. } = entry;
        format!("{remote}\0{path}\0{etag}\0{size}")
    });
    let mut part = Part::open(target, key.as_deref(), io)?;
    let mut begun = match (&key, size) {
        (Some(_), Some(size)) => part.length(size).map_err(failed)?,
        _ => 0,
    };
    let mut received = 0;
    loop {
        let mut verified = false;
        if begun == 0 || Some(begun) != size {
            let mut wanted = rules.wanted(&entry.path);
            if rules.if_match.is_none() {
                wanted.etag.clone_from(&entry.etag);
            }
            let file = part.after(begun).map_err(failed)?;
            let writer = Writer::new(file).map_err(failed)?;
            let mut download = match rules.range {
                Some(_) => Download::new(wanted, writer, progress),
                None => Download::after(wanted, begun, writer, progress),
            };
            let outcome = download.run(session, io).await;
            received += download.received;
            // What is sent is described best by what it was sent with.
            if let Some(sent) = download.entry.take() {
                *entry = sent;
            }
            verified = match outcome {
                Ok(verified) => verified,
                Err(Failed::Write(error)) => return Err(failed(error)),
                Err(Failed::Told(problem)) => {
                    if problem.exit == super::Exit::Corrupt {
                        part.discard();
                    }
                    return Err(problem);
                }
            };
        }
        if !verified && rules.verify && rules.range.is_none() {
            match has_checksum(part.path(), entry).await? {
                Likeness::Equal => verified = true,
                Likeness::Unknown => {}
                Likeness::Differs if begun > 0 => {
                    let path = &entry.path;
                    let text = format!("what was here of {path} was damaged; it is fetched anew");
                    progress.suspend(|| io.note(&text));
                    begun = 0;
                    continue;
                }
                Likeness::Differs => {
                    part.discard();
                    let path = &entry.path;
                    let text = format!("what came of {path:?} does not have its checksum");
                    return Err(Problem::corrupt(text));
                }
            }
        }
        let replace = rules.force || rules.update;
        part.finish(target, entry, replace)?;
        let bytes = received;
        return Ok(Fetched::Saved { bytes, verified });
    }
}
