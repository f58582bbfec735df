//! The content of a file on its way here.

use bytes::Bytes;
use tonic::Code;

use super::Range;
use super::connect::Session;
use super::exit::Problem;
use super::io::{Io, Writer};
use super::progress::Progress;
use super::retry::Retry;
use crate::error::Reason;
use crate::proto::get_response::Payload;
use crate::proto::{ByteRange, Chunk, Entry, GetHeader, GetRequest, GetTrailer};

/// Why a download failed.
pub(super) enum Failed {
    /// For a reason that can be told.
    Told(Problem),
    /// What came could not be written.
    Write(std::io::Error),
}

impl<E: Into<Problem>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Told(error.into())
    }
}

/// What to download.
pub(super) struct Wanted {
    pub(super) path: String,
    /// Where to begin, and how much to get.
    pub(super) range: Option<Range>,
    /// Only the file with this etag; empty for any.
    pub(super) etag: String,
    /// The server compares a whole file with its checksum.
    pub(super) verify: bool,
}

/// A download that goes on where it broke.
pub(super) struct Download<'a> {
    wanted: Wanted,
    writer: Writer,
    progress: &'a Progress,
    /// The file as the first answer described it.
    pub(super) entry: Option<Entry>,
    /// Where the wanted bytes begin.
    start: u64,
    /// Where they end, once it is known.
    end: Option<u64>,
    pub(super) received: u64,
    /// What was done of the file before.
    before: u64,
}

impl<'a> Download<'a> {
    pub(super) fn new(wanted: Wanted, writer: Writer, progress: &'a Progress) -> Self {
        Self {
            start: wanted.range.map_or(0, |range| range.offset),
            wanted,
            writer,
            progress,
            entry: None,
            end: None,
            received: 0,
            before: 0,
        }
    }

    /// Goes on with a file of which so much is here.
    pub(super) fn after(wanted: Wanted, size: u64, writer: Writer, progress: &'a Progress) -> Self {
        let range = Range {
            offset: size,
            length: None,
        };
        let range = (size > 0).then_some(range);
        let mut download = Self::new(Wanted { range, ..wanted }, writer, progress);
        download.before = size;
        progress.resume(size);
        download
    }

    /// Gets all of it; tells whether the server compared it with its checksum.
    /// What came before a failure is written.
    pub(super) async fn run(&mut self, session: &Session, io: &Io) -> Result<bool, Failed> {
        let outcome = self.attempts(session, io).await;
        if let Err(Failed::Write(_)) = outcome {
            return outcome;
        }
        let written = self.writer.finish().await;
        let verified = outcome?;
        written.map_err(Failed::Write)?;
        Ok(verified)
    }

    async fn attempts(&mut self, session: &Session, io: &Io) -> Result<bool, Failed> {
        let mut retry = Retry::new(session);
        loop {
            let before = self.received;
            match self.attempt(session).await {
                Ok(verified) => return Ok(verified),
                Err(Failed::Told(problem)) => {
                    // Only the trailer is missing, and nothing is left to ask for.
                    let complete = self.received > 0 && self.end == Some(self.position());
                    if complete && problem.retryable() {
                        return Ok(false);
                    }
                    // A download that gets on is worth as many repeats again.
                    if self.received > before {
                        retry = Retry::new(session);
                    }
                    retry.wait(problem, io, self.progress).await?;
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    /// The next byte in the file.
    fn position(&self) -> u64 {
        self.start + self.received
    }

    async fn attempt(&mut self, session: &Session) -> Result<bool, Failed> {
        let offset = self.position();
        let length = match self.end {
            Some(end) => Some(end - offset),
            None => self.wanted.range.and_then(|range| range.length),
        };
        let whole = self.wanted.range.is_none() && self.received == 0;
        let range = ByteRange {
            offset: offset as i64,
            length: length.map(|length| length as i64),
        };
        let etag = match &self.entry {
            Some(entry) => &entry.etag,
            None => &self.wanted.etag,
        };
        let request = GetRequest {
            remote: session.remote(),
            path: self.wanted.path.clone(),
            ranges: if whole { Vec::new() } else { vec![range] },
            if_match_etag: etag.clone(),
            verify: (!self.wanted.verify).then_some(false),
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
                    self.progress.position(self.before + self.received);
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
                let path = &self.wanted.path;
                let text = format!("{path:?} was replaced while it was read; get it again");
                let mut problem = Problem::new(Code::Aborted, text);
                problem.reason = Some(Reason::ContentChanged.as_str().to_owned());
                return Err(problem);
            }
            _ => {}
        }
        self.end = end;
        self.entry = Some(entry);
        if let Some(end) = end {
            self.progress
                .total(self.before + end.saturating_sub(self.start));
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
