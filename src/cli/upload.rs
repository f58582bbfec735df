//! The content of a file on its way to the server.

use std::fs::Metadata;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::connect::Session;
use super::exit::Problem;
use super::io::{self, Input, Io, Piece};
use super::progress::Progress;
use super::retry::Retry;
use crate::proto::put_request::Payload;
use crate::proto::{Chunk, PutCommit, PutHeader, PutRequest, PutResponse};

/// Messages that wait for the connection.
const QUEUE: usize = 2;
/// How long the server may take to notice that there is no commit.
const FAREWELL: Duration = Duration::from_secs(5);

/// Stores a content; a file is read and sent again where that is worth it.
pub(super) async fn upload(
    session: &Session,
    io: &Io,
    local: &Path,
    mut source: Source,
    mut header: PutHeader,
    progress: &Progress,
) -> Result<PutResponse, Problem> {
    // The same for every attempt: what was stored is not stored twice.
    header.request_id = uuid::Uuid::new_v4().to_string();
    let mut retry = Retry::new(session);
    loop {
        let before = source.before.take();
        header.size = before.as_ref().map(|before| before.len() as i64);
        let problem = match attempt(session, &header, source.input, before, progress).await {
            Ok(response) => return Ok(response),
            Err(problem) => problem,
        };
        if !source.repeatable {
            return Err(problem);
        }
        retry.wait(problem, io, progress).await?;
        source = Source::open(local, io).await?;
        progress.position(0);
    }
}

/// What is to be stored.
pub(super) struct Source {
    input: Input,
    /// What a regular file was like when it was opened.
    before: Option<Metadata>,
    /// It can be read again.
    repeatable: bool,
}

impl Source {
    pub(super) async fn open(path: &Path, io: &Io) -> Result<Self, Problem> {
        let failed = |error| unreadable(path, &error);
        let once = |input| Self {
            input,
            before: None,
            repeatable: false,
        };
        if path.as_os_str() == "-" {
            let stream = io
                .take_input()
                .ok_or_else(|| Problem::local("standard input was read already"))?;
            return Ok(once(Input::Stream(stream)));
        }
        let metadata = tokio::fs::metadata(path).await.map_err(failed)?;
        if metadata.is_dir() {
            let path = path.display();
            return Err(Problem::local(format!(
                "{path} is a directory; store it with --recursive"
            )));
        }
        if !metadata.is_file() {
            return Ok(once(Input::Path(path.to_owned())));
        }
        let file = tokio::fs::File::open(path).await.map_err(failed)?;
        let before = file.metadata().await.map_err(failed)?;
        Ok(Self {
            input: Input::File(file.into_std().await),
            before: Some(before),
            repeatable: true,
        })
    }

    /// Its size, if it is a regular file.
    pub(super) fn size(&self) -> Option<u64> {
        self.before.as_ref().map(Metadata::len)
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::local(format!("cannot read {}: {error}", path.display()))
}

async fn attempt(
    session: &Session,
    header: &PutHeader,
    input: Input,
    before: Option<Metadata>,
    progress: &Progress,
) -> Result<PutResponse, Problem> {
    let (tx, rx) = mpsc::channel(QUEUE);
    let mut client = session.client();
    let call = client.put(session.request(ReceiverStream::new(rx)));
    let feed = feed(tx, header.clone(), input, before, progress);
    tokio::pin!(call, feed);
    // An answer that comes before the end of the content is the answer.
    tokio::select! {
        answer = &mut call => return Ok(answer?.into_inner()),
        fed = &mut feed => {
            if let Err(problem) = fed {
                // The stream has ended without its commit: nothing is stored.
                let _ = tokio::time::timeout(FAREWELL, call).await;
                return Err(problem);
            }
        }
    }
    Ok(call.await?.into_inner())
}

/// Sends the content. When this fails, the commit has not been sent.
async fn feed(
    tx: mpsc::Sender<PutRequest>,
    header: PutHeader,
    input: Input,
    before: Option<Metadata>,
    progress: &Progress,
) -> Result<(), Problem> {
    let send = async |payload| {
        let payload = Some(payload);
        tx.send(PutRequest { payload }).await.is_ok()
    };
    let unreadable = |error: std::io::Error| Problem::local(format!("cannot read: {error}"));
    if !send(Payload::Header(header)).await {
        return Ok(());
    }
    let mut pieces = io::read(input).map_err(unreadable)?;
    let mut sent = 0_u64;
    loop {
        let piece = pieces.recv().await;
        let piece = piece.ok_or_else(|| Problem::local("the reading thread has ended"))?;
        match piece.map_err(unreadable)? {
            Piece::Data { data, crc32c } => {
                let offset = sent as i64;
                sent += data.len() as u64;
                if let Some(before) = &before
                    && sent > before.len()
                {
                    return Err(changed(before, "longer"));
                }
                let crc32c = Some(crc32c);
                let chunk = Chunk {
                    offset,
                    data,
                    crc32c,
                };
                if !send(Payload::Chunk(chunk)).await {
                    return Ok(());
                }
                progress.position(sent);
            }
            Piece::End(after) => {
                if let Some(before) = &before {
                    if sent < before.len() {
                        return Err(changed(before, "shorter"));
                    }
                    check_unchanged(before, after.as_ref())?;
                }
                let commit = PutCommit {
                    size: sent as i64,
                    checksums: Vec::new(),
                };
                send(Payload::Commit(commit)).await;
                return Ok(());
            }
        }
    }
}

fn check_unchanged(before: &Metadata, after: Option<&Metadata>) -> Result<(), Problem> {
    let Some(after) = after else { return Ok(()) };
    if after.len() != before.len() {
        return Err(changed(before, "another size"));
    }
    if let (Ok(before_time), Ok(after_time)) = (before.modified(), after.modified())
        && before_time != after_time
    {
        return Err(changed(before, "modified"));
    }
    Ok(())
}

fn changed(before: &Metadata, how: &str) -> Problem {
    Problem::local(format!(
        "the local file changed while it was read ({} bytes at first, then {how}); nothing was \
         stored",
        before.len()
    ))
}
