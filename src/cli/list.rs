//! `ls`, `stat` and `hash`.

use std::fmt::Write as _;

use serde::Serialize;
use tonic::Streaming;

use super::connect::Session;
use super::exit::{Exit, Problem};
use super::io::Io;
use super::output::{self, EntryDocument};
use super::progress::Progress;
use super::retry::{Retry, repeated};
use super::{EntryKind, HashArgs, LsArgs, StatArgs, directory_path, file_path, staleness};
use crate::proto::{
    Entry, EntryType, HashAlgorithm, HashRequest, ListRequest, ListResponse, StatRequest,
};

/// The pages of a listing. After a failure it goes on behind the last page.
pub(super) struct Pages<'a> {
    session: &'a Session,
    request: ListRequest,
    stream: Option<Streaming<ListResponse>>,
    retry: Retry<'a>,
    begun: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn new(session: &'a Session, request: ListRequest) -> Self {
        Self {
            session,
            request,
            stream: None,
            retry: Retry::new(session),
            begun: false,
        }
    }

    /// The next page; none behind the last one.
    pub(super) async fn next(&mut self, io: &Io) -> Result<Option<ListResponse>, Problem> {
        loop {
            match self.attempt().await {
                Ok(Some(page)) => {
                    self.request.page_token.clone_from(&page.next_page_token);
                    self.begun = true;
                    self.retry = Retry::new(self.session);
                    return Ok(Some(page));
                }
                Ok(None) => return Ok(None),
                Err(problem) => {
                    self.stream = None;
                    // Without a token nobody knows where it broke.
                    if self.begun && self.request.page_token.is_empty() {
                        return Err(problem);
                    }
                    self.retry.wait(problem, io, &Progress::none()).await?;
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<Option<ListResponse>, Problem> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request = self.session.request(self.request.clone());
                let stream = self.session.client().list(request).await?.into_inner();
                self.stream.insert(stream)
            }
        };
        Ok(stream.message().await?)
    }
}

pub(super) async fn ls(args: &LsArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let path = directory_path(&args.path);
    let kind = args.kind.map(|kind| match kind {
        EntryKind::File => EntryType::File.into(),
        EntryKind::Directory => EntryType::Directory.into(),
    });
    let request = ListRequest {
        remote: session.remote(),
        path: path.clone(),
        recursive: args.recursive,
        max_depth: args.max_depth.unwrap_or_default(),
        types: kind.into_iter().collect(),
        every_duplicate: args.duplicates,
        max_staleness: staleness(args.max_staleness)?,
        ..ListRequest::default()
    };
    let mut pages = Pages::new(session, request);
    let mut exit = Exit::Ok;
    while let Some(page) = pages.next(io).await? {
        let mut lines = String::new();
        for entry in page.entries {
            if io.json {
                lines.push_str(&output::to_json(&EntryDocument::from(entry))?);
                lines.push('\n');
            } else {
                push_line(&mut lines, &entry, &path, args.long);
            }
        }
        io.write(&lines)?;
        for failed in page.failures {
            let problem = Problem::from(failed.failure.unwrap_or_default());
            io.report(&problem, Some(&failed.path));
            exit = Exit::Other;
        }
    }
    Ok(exit)
}

fn push_line(lines: &mut String, entry: &Entry, directory: &str, long: bool) {
    if long {
        let size = entry.size.map(|size| size.to_string());
        let time = entry.modify_time.as_ref().and_then(output::local_time);
        let size = size.unwrap_or_else(|| "-".into());
        let time = time.unwrap_or_else(|| "-".into());
        let _ = write!(lines, "{size:>15}  {time:<19}  ");
    }
    lines.push_str(&output::printable_name(relative(&entry.path, directory)));
    if entry.r#type() == EntryType::Directory {
        lines.push('/');
    }
    lines.push('\n');
}

/// A path as seen from a directory.
pub(super) fn relative<'a>(path: &'a str, directory: &str) -> &'a str {
    let inside = match directory {
        "" => Some(path),
        directory => path
            .strip_prefix(directory)
            .and_then(|rest| rest.strip_prefix('/')),
    };
    inside.unwrap_or(path)
}

#[derive(Serialize)]
struct StatDocument {
    #[serde(flatten)]
    entry: EntryDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of_time: Option<String>,
}

pub(super) async fn stat(args: &StatArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let request = StatRequest {
        remote: session.remote(),
        path: directory_path(&args.path),
        max_staleness: staleness(args.max_staleness)?,
    };
    let response = repeated(session, io, async || {
        let request = session.request(request.clone());
        Ok(session.client().stat(request).await?.into_inner())
    });
    let response = response.await?;
    let entry = response
        .entry
        .ok_or_else(|| Problem::contract("it does not describe the entry"))?;
    if io.json {
        io.document(&StatDocument {
            entry: entry.into(),
            as_of_time: response.as_of_time.as_ref().and_then(output::rfc3339),
        })?;
        return Ok(Exit::Ok);
    }
    let time = entry.modify_time.as_ref().and_then(output::local_time);
    let size = entry.size;
    let entry = EntryDocument::from(entry);
    let size = size.map(|size| match size {
        ..1024 => output::size(size),
        _ => format!("{size} B ({})", output::size(size)),
    });
    let path = if entry.path.is_empty() {
        "/".into()
    } else {
        entry.path
    };
    let mut rows = vec![
        ("path".to_owned(), path),
        ("type".into(), entry.kind.into()),
    ];
    rows.extend(size.map(|size| ("size".into(), size)));
    rows.extend(time.map(|time| ("modified".into(), time)));
    rows.push(("content type".into(), entry.content_type));
    rows.extend(entry.checksums);
    rows.push(("etag".into(), entry.etag));
    rows.push(("id".into(), entry.id));
    rows.extend(entry.attributes);
    rows.retain(|(_, value)| !value.is_empty());
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, value)| vec![name, value])
        .collect();
    io.write(&output::table(&rows))?;
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct HashDocument {
    path: String,
    algorithm: String,
    hex: String,
    computed: bool,
}

pub(super) async fn hash(args: &HashArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let path = file_path(&args.path);
    let request = HashRequest {
        remote: session.remote(),
        path: path.clone(),
        algorithm: HashAlgorithm::from(args.algorithm).into(),
        allow_download: args.download,
    };
    let response = repeated(session, io, async || {
        let request = session.request(request.clone());
        Ok(session.client().hash(request).await?.into_inner())
    });
    let response = response.await?;
    let checksum = response
        .checksum
        .ok_or_else(|| Problem::contract("it has no checksum"))?;
    if io.json {
        io.document(&HashDocument {
            path,
            algorithm: output::algorithm_name(checksum.algorithm()),
            hex: checksum.hex,
            computed: response.computed,
        })?;
    } else {
        let path = output::printable_name(&path);
        io.line(&format!("{}  {path}", checksum.hex))?;
    }
    Ok(Exit::Ok)
}
