//! `get` and `cat`.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use tempfile::TempPath;
use tonic::Code;

use super::connect::{Retry, Session};
use super::exit::{Exit, Problem};
use super::io::{Io, Writer};
use super::output::{self, EntryDocument};
use super::progress::Progress;
use super::{CatArgs, GetArgs, Range, base_name, file_path};
use crate::proto::get_response::Payload;
use crate::proto::{ByteRange, Chunk, Entry, GetHeader, GetRequest, GetTrailer};

#[derive(Serialize)]
struct GetDocument {
    entry: EntryDocument,
    local: String,
    bytes: u64,
    verified: bool,
}

pub(super) async fn get(
    args: &GetArgs,
    open: impl Future<Output = Result<Session, Problem>>,
    io: &Io,
) -> Result<Exit, Problem> {
    let path = file_path(&args.remote_path);
    let target = match args.local.as_deref() {
        Some(local) if local.as_os_str() == "-" => {
            return to_stdout(path, args.range, &open.await?, io).await;
        }
        local => Target::find(&path, local, args.force)?,
    };
    let session = open.await?;
    let failed = |error| target.failed(&error);
    let (file, temporary) = target.create().map_err(failed)?;
    let writer = Writer::new(file).map_err(failed)?;
    let mut download = Download::new(path, args.range, writer, io);
    let verified = match download.run(&session, io).await {
        Ok(verified) => verified,
        Err(Failed::Told(problem)) => return Err(problem),
        Err(Failed::Write(error)) => return Err(failed(error)),
    };
    if let Some(temporary) = temporary {
        target.keep(temporary)?;
    }
    download.progress.finish();
    let bytes = download.received;
    let local = target.path.display().to_string();
    if io.json {
        let entry = download.entry.unwrap_or_default().into();
        io.document(&GetDocument {
            entry,
            local,
            bytes,
            verified,
        })?;
    } else {
        let size = output::size(bytes as i64);
        io.line(&format!(
            "saved {} ({size})",
            output::printable_name(&local)
        ))?;
    }
    Ok(Exit::Ok)
}

pub(super) async fn cat(args: &CatArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    to_stdout(file_path(&args.remote_path), args.range, session, io).await
}

async fn to_stdout(
    path: String,
    range: Option<Range>,
    session: &Session,
    io: &Io,
) -> Result<Exit, Problem> {
    let failed = |error| Problem::output(&error);
    let writer = Writer::new(io.out.clone()).map_err(failed)?;
    let mut download = Download::new(path, range, writer, io);
    if io.out_is_terminal {
        download.progress = Progress::none();
    }
    match download.run(session, io).await {
        Ok(_) => Ok(Exit::Ok),
        Err(Failed::Told(problem)) => Err(problem),
        Err(Failed::Write(error)) => Err(failed(error)),
    }
}

/// Where a file is written to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    replace: bool,
    /// Not a regular file: written to as it is.
    special: bool,
}

impl Target {
    pub(super) fn find(remote: &str, local: Option<&Path>, force: bool) -> Result<Self, Problem> {
        let name = base_name(remote);
        let in_directory = |directory: &Path| match name {
            "" | "." | ".." => Err(Problem::usage(format!("{remote:?} is not a file's path"))),
            name => Ok(directory.join(name)),
        };
        let mut path = match local {
            None => in_directory(Path::new(""))?,
            Some(local) if local.is_dir() => in_directory(local)?,
            Some(local) => local.to_owned(),
        };
        let mut special = false;
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                let path = path.display();
                return Err(Problem::local(format!("{path} is a directory")));
            }
            Ok(metadata) if !metadata.is_file() => special = true,
            Ok(_) if !force => return Err(exists(&path)),
            // A link stays a link.
            Ok(_) => path = path.canonicalize().unwrap_or(path),
            Err(_) => {}
        }
        Ok(Self {
            path,
            replace: force,
            special,
        })
    }

    /// Makes the temporary file.
    fn create(&self) -> std::io::Result<(File, Option<TempPath>)> {
        if self.special {
            let file = OpenOptions::new().write(true).open(&self.path)?;
            return Ok((file, None));
        }
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        // Room for what is added to a name that is as long as names can be.
        let short: String = name.chars().take(50).collect();
        let prefix = format!(".{short}.part-");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let (file, path) = builder.tempfile_in(directory)?.into_parts();
        Ok((file, Some(path)))
    }

    /// Gives the finished file its name.
    fn keep(&self, temporary: TempPath) -> Result<(), Problem> {
        let kept = match self.replace {
            true => temporary.persist(&self.path),
            false => temporary.persist_noclobber(&self.path),
        };
        kept.map_err(|failure| match failure.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(&self.path),
            _ => self.failed(&failure.error),
        })
    }

    fn failed(&self, error: &std::io::Error) -> Problem {
        Problem::local(format!("cannot write {}: {error}", self.path.display()))
    }
}

fn exists(path: &Path) -> Problem {
    let path = path.display();
    Problem::new(
        Code::AlreadyExists,
        format!("{path} exists; replace it with --force"),
    )
}

enum Failed {
    Told(Problem),
    Write(std::io::Error),
}

impl<E: Into<Problem>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Told(error.into())
    }
}

struct Download {
    path: String,
    range: Option<Range>,
    writer: Writer,
    progress: Progress,
    /// The file as the first answer described it.
    entry: Option<Entry>,
    /// Where the wanted bytes begin.
    start: u64,
    /// Where they end, once it is known.
    end: Option<u64>,
    received: u64,
}

impl Download {
    fn new(path: String, range: Option<Range>, writer: Writer, io: &Io) -> Self {
        let progress = Progress::new(io, base_name(&path), None);
        Self {
            path,
            range,
            writer,
            progress,
            entry: None,
            start: range.map_or(0, |range| range.offset),
            end: None,
            received: 0,
        }
    }

    /// Gets all of it; tells whether the server compared it with its checksum.
    async fn run(&mut self, session: &Session, io: &Io) -> Result<bool, Failed> {
        let mut retry = Retry::new();
        let verified = loop {
            match self.attempt(session).await {
                Ok(verified) => break verified,
                Err(Failed::Told(problem)) => retry.wait(problem, io, &self.progress).await?,
                Err(failed) => return Err(failed),
            }
            // Only the trailer is missing, and nothing is left to ask for.
            if self.received > 0 && self.end == Some(self.position()) {
                break false;
            }
        };
        self.writer.finish().await.map_err(Failed::Write)?;
        self.progress.finish();
        Ok(verified)
    }

    /// The next byte in the file.
    fn position(&self) -> u64 {
        self.start + self.received
    }

    async fn attempt(&mut self, session: &Session) -> Result<bool, Failed> {
        let offset = self.position();
        let length = match self.end {
            Some(end) => Some(end - offset),
            None => self.range.and_then(|range| range.length),
        };
        let whole = self.range.is_none() && self.received == 0;
        let range = ByteRange {
            offset: offset as i64,
            length: length.map(|length| length as i64),
        };
        let etag = self.entry.as_ref().map(|entry| entry.etag.clone());
        let request = GetRequest {
            remote: session.remote(),
            path: self.path.clone(),
            ranges: if whole { Vec::new() } else { vec![range] },
            if_match_etag: etag.unwrap_or_default(),
            ..GetRequest::default()
        };
        let mut client = session.client();
        let mut stream = client.get(session.request(request)).await?.into_inner();
        let before = self.received;
        let mut begun = false;
        while let Some(message) = stream.message().await? {
            match message.payload {
                Some(Payload::Header(header)) if !begun => {
                    self.header(header, offset)?;
                    begun = true;
                }
                Some(Payload::Chunk(chunk)) if begun => {
                    let data = self.check(chunk)?;
                    let length = data.len() as u64;
                    self.writer.write(data).await.map_err(Failed::Write)?;
                    self.received += length;
                    self.progress.position(self.received);
                }
                Some(Payload::Trailer(trailer)) if begun => {
                    return self.trailer(&trailer, before);
                }
                // Something that a later version of the contract adds.
                None => {}
                Some(_) => Err(Problem::contract("its parts are in the wrong order"))?,
            }
        }
        Err(Problem::corrupt("the server ended the content without its trailer").into())
    }

    fn header(&mut self, header: GetHeader, offset: u64) -> Result<(), Problem> {
        let entry = header
            .entry
            .ok_or_else(|| Problem::contract("it does not describe the file"))?;
        let size = entry.size.and_then(|size| u64::try_from(size).ok());
        let end = match header.resolved_ranges.as_slice() {
            [] if offset == 0 => size,
            [range] if u64::try_from(range.offset) == Ok(offset) => match range.length {
                Some(length) => offset.checked_add_signed(length),
                None => size,
            },
            _ => return Err(Problem::contract("it sends another part of the file")),
        };
        let another = self.end.is_some() && self.end != end;
        match &self.entry {
            Some(first) if another || first.etag != entry.etag || first.size != entry.size => {
                let path = &self.path;
                return Err(Problem::new(
                    Code::Aborted,
                    format!("{path:?} was replaced while it was read; get it again"),
                ));
            }
            _ => {}
        }
        self.end = end;
        self.entry = Some(entry);
        if let Some(end) = end {
            self.progress.total(end.saturating_sub(self.start));
        }
        Ok(())
    }

    fn check(&self, chunk: Chunk) -> Result<Bytes, Problem> {
        let position = self.position();
        if u64::try_from(chunk.offset) != Ok(position) {
            return Err(Problem::corrupt(format!(
                "a gap in the content: byte {position} was due, byte {} came",
                chunk.offset
            )));
        }
        if let Some(crc32c) = chunk.crc32c
            && crc32c::crc32c(&chunk.data) != crc32c
        {
            return Err(Problem::corrupt(format!(
                "the content from byte {position} on was damaged on its way"
            )));
        }
        let end = position + chunk.data.len() as u64;
        match self.end {
            Some(wanted) if end > wanted => Err(Problem::corrupt("more content than announced")),
            _ => Ok(chunk.data),
        }
    }

    fn trailer(&self, trailer: &GetTrailer, before: u64) -> Result<bool, Failed> {
        let received = self.received - before;
        let announced = u64::try_from(trailer.sent_bytes);
        let incomplete = self.end.is_some_and(|end| end != self.position());
        if announced != Ok(received) || incomplete {
            let problem = Problem::corrupt(format!(
                "the content is not complete: {received} bytes came, {} were sent",
                trailer.sent_bytes
            ));
            return Err(problem.into());
        }
        Ok(trailer.verified)
    }
}
