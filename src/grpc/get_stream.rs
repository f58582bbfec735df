//! The response stream of Get: header, chunks, trailer.

use bytes::{Bytes, BytesMut};
use futures::Stream;
use futures::stream;
use tonic::Status;

use super::convert;
use super::deadline::until_deadline;
use crate::backend::Read;
use crate::error::Result;
use crate::fichier::Scope;
use crate::proto::get_response::Payload;
use crate::proto::{Chunk, GetHeader, GetResponse, GetTrailer};

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

enum Stage {
    Header(Box<Chunks>),
    Body(Box<Chunks>),
    Done,
}

/// The messages of a read. The trailer comes only when all is well.
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
    stream::try_unfold(Stage::Header(Box::new(chunks)), move |stage| async move {
        match stage {
            Stage::Header(chunks) => {
                let header = GetHeader {
                    entry: Some(convert::entry(chunks.read.entry.clone())),
                    resolved_ranges: chunks
                        .read
                        .ranges
                        .iter()
                        .copied()
                        .map(convert::resolved)
                        .collect(),
                };
                Ok(Some((
                    message(Payload::Header(header)),
                    Stage::Body(chunks),
                )))
            }
            Stage::Body(mut chunks) => match until_deadline(scope, chunks.next()).await? {
                Some((offset, data)) => {
                    let crc32c = Some(crc32c::crc32c(&data));
                    let chunk = Chunk {
                        offset: convert::to_i64(offset),
                        data,
                        crc32c,
                    };
                    Ok(Some((message(Payload::Chunk(chunk)), Stage::Body(chunks))))
                }
                None => {
                    let end = until_deadline(scope, chunks.read.finish()).await?;
                    let trailer = GetTrailer {
                        sent_bytes: convert::to_i64(end.bytes),
                        checksums: end.checksums.into_iter().map(convert::checksum).collect(),
                        verified: end.verified,
                    };
                    Ok(Some((message(Payload::Trailer(trailer)), Stage::Done)))
                }
            },
            Stage::Done => Ok(None),
        }
    })
}
