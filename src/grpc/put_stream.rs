//! The request stream of Put: header, chunks, commit.
//!
//! tonic shows a cancelled client stream as a clean end, so nothing counts
//! before the commit came.

use std::time::Duration;

use tonic::{Status, Streaming};

use super::called::Called;
use super::convert;
use super::deadline::{before_deadline, until_deadline, within};
use super::rights;
use super::status::status;
use crate::access::Caller;
use crate::backend::{Begun, PutOptions, PutSession, Remote, Remotes, Stored};
use crate::error::{Error, Reason, Result};
use crate::fichier::Scope;
use crate::proto::put_request::Payload;
use crate::proto::{Chunk, PutHeader, PutRequest};

/// A client that sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(300);

fn violation(text: &str) -> Status {
    status(&Error::new(Reason::ProtocolViolation, text).field("payload"))
}

async fn next(stream: &mut Streaming<PutRequest>) -> std::result::Result<Option<Payload>, Status> {
    let message = tokio::time::timeout(SILENCE, stream.message())
        .await
        .map_err(|_| {
            let text = format!(
                "no message came for {} s; nothing was stored",
                SILENCE.as_secs()
            );
            status(&Error::new(Reason::UploadNotCommitted, text))
        })??;
    match message {
        None => Ok(None),
        Some(PutRequest {
            payload: Some(payload),
        }) => Ok(Some(payload)),
        Some(PutRequest { payload: None }) => {
            Err(violation("a message has no header, chunk or commit"))
        }
    }
}

/// How long a caller may go on sending after its answer.
const LEFTOVER: Duration = Duration::from_secs(5);

/// Receives a file and stores it.
pub(super) async fn receive(
    remotes: &Remotes,
    scope: Scope,
    caller: &Caller,
    called: &Called,
    mut stream: Streaming<PutRequest>,
) -> std::result::Result<Stored, Status> {
    let result = admitted(remotes, scope, caller, called, &mut stream).await;
    // A stream that is dropped unread is reset, and the reset may overtake the
    // answer: the caller would not learn why.
    tokio::spawn(tokio::time::timeout(LEFTOVER, async move {
        while let Ok(Some(_)) = stream.message().await {}
    }));
    result
}

async fn admitted(
    remotes: &Remotes,
    scope: Scope,
    caller: &Caller,
    called: &Called,
    stream: &mut Streaming<PutRequest>,
) -> std::result::Result<Stored, Status> {
    let mut header = match before_deadline(scope, next(stream)).await? {
        Some(Payload::Header(header)) => header,
        Some(_) => return Err(violation("the first message must be the header")),
        None => return Err(not_committed()),
    };
    let admitted = rights::admit(caller, remotes, called, &mut header)?;
    let stored = store(remotes, scope, header, stream).await;
    stored.map_err(|failure| admitted.failure(failure))
}

async fn store(
    remotes: &Remotes,
    scope: Scope,
    header: PutHeader,
    stream: &mut Streaming<PutRequest>,
) -> std::result::Result<Stored, Status> {
    let remote = remotes
        .get(&header.remote)
        .map_err(|error| status(&error))?
        .clone();
    let mut session = match within(scope, &remote, begin(&remote, scope, header)).await? {
        Begun::Session(session) => session,
        Begun::Replayed(stored) => return Ok(stored),
    };
    loop {
        match before_deadline(scope, next(stream)).await? {
            Some(Payload::Chunk(chunk)) => until_deadline(scope, take(&mut session, chunk)).await?,
            Some(Payload::Commit(commit)) => {
                let sums = convert::checksums("commit.checksums", commit.checksums);
                let commit = async {
                    let size = convert::to_u64("commit.size", commit.size)?;
                    session.commit(scope, size, &sums?).await
                };
                return until_deadline(scope, commit).await;
            }
            Some(Payload::Header(_)) => return Err(violation("a second header came")),
            None => return Err(not_committed()),
        }
    }
}

fn not_committed() -> Status {
    status(&Error::new(
        Reason::UploadNotCommitted,
        "the stream ended without its commit message; nothing was stored",
    ))
}

async fn begin(remote: &Remote, scope: Scope, header: PutHeader) -> Result<Begun> {
    let path = remote.path(&header.path)?;
    let options = PutOptions {
        modified: None,
        size: header
            .size
            .map(|size| convert::to_u64("header.size", size))
            .transpose()?,
        mode: convert::write_mode(header.write_mode)?,
        if_match: convert::none_if_empty(header.if_match_etag),
        create_parents: header.create_parents.unwrap_or(true),
        checksums: convert::checksums("header.checksums", header.checksums)?,
        request_id: convert::none_if_empty(header.request_id),
    };
    remote.put(scope, &path, options).await
}

fn chunk_too_large(found: impl std::fmt::Display) -> Error {
    let most = convert::MAX_CHUNK;
    Error::invalid_field(
        "chunk.data",
        format_args!("{found}; at most {most} bytes are allowed"),
    )
}

async fn take(session: &mut PutSession, chunk: Chunk) -> Result<()> {
    let offset = convert::to_u64("chunk.offset", chunk.offset)?;
    if offset != session.received() {
        let what = if offset > session.received() {
            "a gap"
        } else {
            "an overlap"
        };
        return Err(Error::new(
            Reason::ProtocolViolation,
            format!(
                "chunk at offset {offset} leaves {what}: {} was expected; nothing was stored",
                session.received()
            ),
        )
        .field("chunk.offset"));
    }
    if chunk.data.len() > convert::MAX_CHUNK {
        return Err(chunk_too_large(format_args!("{} bytes", chunk.data.len())));
    }
    if let Some(expected) = chunk.crc32c
        && crc32c::crc32c(&chunk.data) != expected
    {
        return Err(Error::new(
            Reason::ChecksumMismatch,
            format!("the chunk at offset {offset} does not have its CRC-32C; nothing was stored"),
        )
        .field("chunk.crc32c"));
    }
    session.write(chunk.data).await
}
