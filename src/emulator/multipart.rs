//! Multipart bodies as upload nodes read them [API §4.3], piece by piece.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::Finder;

/// The most bytes of headers in one part. A limit of the emulator.
const LONGEST_HEADERS: usize = 16 * 1024;

/// What the parser saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A part began.
    Begin(Part),
    /// More content of the part.
    Data(Bytes),
    /// The part ended.
    End,
}

/// A part's headers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) filename: Option<String>,
}

/// The body is not in the service's dialect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Preamble,
    Content,
    AfterDelimiter,
    Headers,
    Epilogue,
}

/// Splits a body at its boundary. Pieces may be cut anywhere.
#[derive(Debug)]
pub(super) struct Parser {
    delimiter: Vec<u8>,
    finder: Finder<'static>,
    state: State,
    /// What cannot be judged before more comes.
    held: Bytes,
}

impl Parser {
    pub(super) fn new(boundary: &str) -> Parser {
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        Parser {
            finder: Finder::new(&delimiter).into_owned(),
            delimiter,
            state: State::Preamble,
            // The first boundary has no line before it; with this one it looks like the others.
            held: Bytes::from_static(b"\r\n"),
        }
    }

    /// Reads one more piece and tells what it brought.
    pub(super) fn push(&mut self, piece: Bytes, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let mut input = if self.held.is_empty() {
            piece
        } else {
            let mut joined = BytesMut::with_capacity(self.held.len() + piece.len());
            joined.extend_from_slice(&self.held);
            joined.extend_from_slice(&piece);
            self.held = Bytes::new();
            joined.freeze()
        };
        loop {
            match self.state {
                State::Preamble | State::Content => {
                    let content = self.state == State::Content;
                    let Some(at) = self.finder.find(&input) else {
                        let held = self.partial_delimiter(&input);
                        self.held = input.split_off(input.len() - held);
                        if content && !input.is_empty() {
                            events.push(Event::Data(input));
                        }
                        return Ok(());
                    };
                    if content {
                        if at > 0 {
                            events.push(Event::Data(input.slice(..at)));
                        }
                        events.push(Event::End);
                    }
                    input.advance(at + self.delimiter.len());
                    self.state = State::AfterDelimiter;
                }
                State::AfterDelimiter => {
                    if input.len() < 2 {
                        self.held = input;
                        return Ok(());
                    }
                    self.state = match input.split_to(2).as_ref() {
                        b"\r\n" => State::Headers,
                        b"--" => State::Epilogue,
                        _ => return Err(Malformed),
                    };
                }
                State::Headers => {
                    let Some(end) = memchr::memmem::find(&input, b"\r\n\r\n") else {
                        if input.len() > LONGEST_HEADERS {
                            return Err(Malformed);
                        }
                        self.held = input;
                        return Ok(());
                    };
                    events.push(Event::Begin(read_headers(&input.split_to(end))?));
                    input.advance(4);
                    self.state = State::Content;
                }
                State::Epilogue => return Ok(()),
            }
        }
    }

    /// Whether the body is complete: the closing boundary came.
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Epilogue
    }

    /// The length of the longest end of `input` that the delimiter begins with.
    fn partial_delimiter(&self, input: &[u8]) -> usize {
        let longest = input.len().min(self.delimiter.len() - 1);
        let from = input.len() - longest;
        let tail = input.get(from..).unwrap_or_default();
        // A delimiter has its carriage return only at the start, unless the boundary is odd; the
        // candidates are few.
        memchr::memchr_iter(b'\r', tail)
            .find(|at| {
                tail.get(*at..)
                    .is_some_and(|end| self.delimiter.starts_with(end))
            })
            .map_or(0, |at| tail.len() - at)
    }
}

/// The boundary of a `Content-Type` value; it must not be quoted [API §4.1].
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = rest.trim().strip_prefix("boundary=")?;
    let good = !boundary.is_empty()
        && boundary.len() <= 70
        && boundary
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b';'));
    good.then_some(boundary)
}

/// Reads a part's headers: `Content-Disposition` must come first with quoted values, and plain
/// fields must not have a type.
fn read_headers(block: &[u8]) -> Result<Part, Malformed> {
    let text = std::str::from_utf8(block).map_err(|_| Malformed)?;
    let mut lines = text.split("\r\n");
    let (first, disposition) = lines
        .next()
        .and_then(|line| line.split_once(':'))
        .ok_or(Malformed)?;
    let disposition = disposition.trim();
    if !first.eq_ignore_ascii_case("content-disposition") {
        return Err(Malformed);
    }
    let parameters = disposition.strip_prefix("form-data").ok_or(Malformed)?;
    let part = read_parameters(parameters)?;
    let typed = lines.any(|line| {
        line.split_once(':')
            .is_some_and(|(name, _)| name.eq_ignore_ascii_case("content-type"))
    });
    if typed && part.filename.is_none() {
        return Err(Malformed);
    }
    Ok(part)
}

/// Reads `; name="…"; filename="…"`. Values end at the next quote, there are no escapes.
fn read_parameters(mut rest: &str) -> Result<Part, Malformed> {
    let (mut part_name, mut filename) = (None, None);
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        rest = rest.strip_prefix(';').ok_or(Malformed)?.trim_start();
        let (name, value) = rest.split_once('=').ok_or(Malformed)?;
        let (value, after) = value
            .strip_prefix('"')
            .and_then(|value| value.split_once('"'))
            .ok_or(Malformed)?;
        match name {
            "name" => part_name = Some(value.to_owned()),
            "filename" => filename = Some(value.to_owned()),
            _ => return Err(Malformed),
        }
        rest = after;
    }
    Ok(Part {
        name: part_name.ok_or(Malformed)?,
        filename,
    })
}

#[cfg(test)]
#[path = "multipart_tests.rs"]
mod tests;
