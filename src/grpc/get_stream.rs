//! The response stream of Get: header, chunks, trailer.

use bytes::{Bytes, BytesMut};
use futures::Stream;
use futures::stream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::convert;
use super::deadline::before_deadline;
use super::status::status;
use crate::backend::{NotTaken, Read, room};
use crate::error::{Error, Result};
use crate::fichier::Scope;
use crate::proto::get_response::Payload;
use crate::proto::{Chunk, GetHeader, GetResponse, GetTrailer};
use crate::spans;

fn message(payload: Payload) -> GetResponse {
    GetResponse {
        payload: Some(payload),
    }
}

/// Pieces as they come from the network, cut and joined to chunks.
#[derive(Debug)]
struct Chunks {
    read: Read,
    size: usize,
    /// What is left of the last piece, and where it begins.
    left: Bytes,
    at: u64,
    range: usize,
    ended: bool,
}

impl Chunks {
    async fn next(&mut self) -> Result<Option<(u64, Bytes)>> {
        let mut joined = BytesMut::new();
        let mut offset = self.at;
        loop {
            if self.left.is_empty() && !self.ended {
                match self.read.next().await? {
                    None => self.ended = true,
                    Some(piece) => {
                        // No chunk holds bytes of two ranges.
                        let jumped = piece.range != self.range;
                        self.range = piece.range;
                        self.at = piece.offset;
                        self.left = piece.data;
                        if jumped && !joined.is_empty() {
                            // Another range: what was collected goes first.
                            return Ok(Some((offset, joined.freeze())));
                        }
                        if joined.is_empty() {
                            offset = self.at;
                        }
                    }
                }
            }
            if self.left.is_empty() {
                return Ok((!joined.is_empty()).then(|| (offset, joined.freeze())));
            }
            let room = self.size - joined.len();
            let piece = self.left.split_to(room.min(self.left.len()));
            self.at += piece.len() as u64;
            if joined.is_empty() && piece.len() == self.size {
                return Ok(Some((offset, piece))); // no copy
            }
            if joined.is_empty() {
                joined.reserve(self.size);
            }
            joined.extend_from_slice(&piece);
            if joined.len() == self.size {
                return Ok(Some((offset, joined.freeze())));
            }
        }
    }
}

/// Sends the messages, the trailer last and only when all is well.
async fn send(
    mut chunks: Chunks,
    messages: mpsc::Sender<GetResponse>,
) -> std::result::Result<(), Status> {
    let ranges = chunks.read.ranges.iter().copied();
    let header = GetHeader {
        entry: Some(convert::entry(chunks.read.entry.clone())),
        resolved_ranges: ranges.map(convert::resolved).collect(),
    };
    room(&messages, &mut chunks.read)
        .await
        .map_err(not_taken)?
        .send(message(Payload::Header(header)));
    loop {
        let room = room(&messages, &mut chunks.read).await.map_err(not_taken)?;
        let Some((offset, data)) = chunks.next().await.map_err(|error| status(&error))? else {
            let end = chunks.read.finish().await.map_err(|error| status(&error))?;
            room.send(message(Payload::Trailer(GetTrailer {
                sent_bytes: convert::to_i64(end.bytes),
                checksums: end.checksums.into_iter().map(convert::checksum).collect(),
                verified: end.verified,
            })));
            return Ok(());
        };
        let crc32c = Some(crc32c::crc32c(&data));
        room.send(message(Payload::Chunk(Chunk {
            offset: convert::to_i64(offset),
            data,
            crc32c,
        })));
    }
}

fn not_taken(reason: NotTaken) -> Status {
    match reason {
        NotTaken::Left => Status::cancelled(reason.message()),
        NotTaken::TooSlow => Status::deadline_exceeded(reason.message()),
    }
}

/// The messages of a read. It works ahead by one message.
pub(super) fn messages(
    scope: Scope,
    read: Read,
    chunk_size: usize,
) -> impl Stream<Item = std::result::Result<GetResponse, Status>> {
    let chunks = Chunks {
        read,
        size: chunk_size,
        left: Bytes::new(),
        at: 0,
        range: 0,
        ended: false,
    };
    let (sender, messages) = mpsc::channel(1);
    let work = AbortOnDropHandle::new(spans::spawn(before_deadline(scope, send(chunks, sender))));
    stream::unfold(Some((messages, work)), |state| async move {
        let (mut messages, work) = state?;
        if let Some(message) = messages.recv().await {
            return Some((Ok(message), Some((messages, work))));
        }
        // How it ended is told behind the last message.
        let end = match work.await {
            Ok(end) => end,
            Err(error) => Err(status(&Error::internal(format!("a read stopped: {error}")))),
        };
        end.err().map(|error| (Err(error), None))
    })
}
