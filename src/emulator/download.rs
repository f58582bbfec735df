//! Token URLs on the download hosts [API F].

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::behaviour::TokenRefusal;
use super::body::{Body, Place, open_at};
use super::fault::FaultKind;
use super::file::File;
use super::http::{Answer, Cut, Outcome, cut_after, full, header, page, redirect, streamed};
use super::server::{Peer, arrive, plain_fault};
use super::state::Shared;

/// How much is read from disk at once, in bytes.
const PIECE: usize = 256 * 1024;
/// Pieces read ahead of the connection.
const AHEAD: usize = 2;
/// Zeros to send for contents that are nothing else.
static ZEROS: [u8; PIECE] = [0; PIECE];

/// Answers a token URL, or a path that nobody knows.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    peer: &Peer,
    path: &str,
    request: Request<Incoming>,
) -> Outcome {
    let token = path.trim_start_matches('/');
    // The second step of a token that redirects.
    let token = token.strip_prefix("r/").unwrap_or(token);
    if !shared.state().tokens.contains_key(token) {
        let _ = arrive(
            shared,
            if is_token(token) { "download" } else { "page" },
            &request,
        );
        return Ok(page(404, "The requested file could not be found"));
    }
    let fault = arrive(shared, "download", &request);
    let fault = match plain_fault(shared, peer, fault).await {
        Ok(outcome) => return outcome,
        Err(fault) => fault,
    };
    let head = request.method() == Method::HEAD;
    if !head && request.method() != Method::GET {
        return Ok(page(405, "Method Not Allowed"));
    }
    let first_step = !path.starts_with("/r/");
    if first_step && shared.state().behaviour.token_redirect {
        return Ok(redirect(&format!("/r/{token}")));
    }
    let Some((file, inline)) = use_token(shared, token, head, fault.as_ref()) else {
        return Ok(refuse(shared, token));
    };
    if fault == Some(FaultKind::ResetAfterEffect) {
        return peer.reset.abort();
    }
    serve(shared, peer, file, inline, head, request.headers(), fault)
}

/// Whether a path looks like a token, known or not [API §2].
fn is_token(text: &str) -> bool {
    text.strip_prefix('p')
        .is_some_and(|digits| digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The file behind a token that is still good. The first use must come soon after the issue,
/// later ones within the time for resuming [API §2].
fn use_token(
    shared: &Shared,
    name: &str,
    head: bool,
    fault: Option<&FaultKind>,
) -> Option<(File, bool)> {
    let mut state = shared.state();
    let state = &mut *state;
    let token = state.tokens.get_mut(name)?;
    let age = Instant::now().saturating_duration_since(token.issued);
    let lifetime = if token.used {
        state.behaviour.token_resume
    } else {
        state.behaviour.token_start
    };
    let used_up = token.used && token.single && state.behaviour.single_enforced;
    if age > lifetime || used_up || fault == Some(&FaultKind::TokenExpired) {
        return None;
    }
    // Looking at the headers is not a download.
    token.used |= !head;
    let file = state.store.file(&token.file)?.clone();
    Some((file, token.inline))
}

/// What a token answers that cannot be used any more [API J26].
fn refuse(shared: &Shared, name: &str) -> Answer {
    let state = shared.state();
    let text = "The download link has expired";
    match state.behaviour.token_refusal {
        TokenRefusal::Forbidden => page(403, text),
        TokenRefusal::NotFound => page(404, text),
        TokenRefusal::Gone => page(410, text),
        TokenRefusal::Html => page(200, text),
        TokenRefusal::Redirect => {
            let id = state.tokens.get(name).map_or("", |token| &*token.file);
            redirect(&format!("/?{id}"))
        }
    }
}

fn serve(
    shared: &Arc<Shared>,
    peer: &Peer,
    file: File,
    inline: bool,
    head: bool,
    headers: &HeaderMap,
    fault: Option<FaultKind>,
) -> Outcome {
    let Some(body) = file.body.clone() else {
        return Ok(page(404, "The requested file could not be found"));
    };
    let asked = header(headers, "range").filter(|_| fault != Some(FaultKind::IgnoreRange));
    let mut range = match asked.map(|text| parse_range(text, file.size)) {
        None | Some(Asked::Ignored) => None,
        Some(Asked::Part(first, last)) => Some((first, last)),
        Some(Asked::Beyond) => return Ok(beyond(file.size)),
    };
    if fault == Some(FaultKind::WrongRange) {
        range = range.map(|(first, last)| {
            let first = if first < last { first + 1 } else { 0 };
            (first, last)
        });
    }
    let (first, length) = match range {
        Some((first, last)) => (first, last + 1 - first),
        None => (0, file.size),
    };
    let content = if head {
        full(Bytes::new())
    } else {
        let corrupt = file.corrupt || fault == Some(FaultKind::Corrupt);
        let flip = corrupt.then_some(length / 2);
        let pieces = pieces(shared, body, first, length, flip);
        match fault {
            Some(FaultKind::ResetAtByte(at)) => {
                streamed(cut_after(pieces, at, Cut::Reset, peer.reset.clone()))
            }
            Some(FaultKind::Truncate(at)) => {
                streamed(cut_after(pieces, at, Cut::Close, peer.reset.clone()))
            }
            Some(FaultKind::Hang) => streamed(cut_after(
                pieces,
                length / 2,
                Cut::Stall,
                peer.reset.clone(),
            )),
            Some(FaultKind::EmptyBody) => full(Bytes::new()),
            _ => streamed(pieces),
        }
    };
    let mut answer = Response::new(content);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if fault != Some(FaultKind::EmptyBody) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let kind = if inline { "inline" } else { "attachment" };
    let disposition = format!("{kind}; filename=\"{}\"", file.name.replace('"', "_"));
    if let Ok(value) = HeaderValue::from_bytes(disposition.as_bytes()) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    if let Some((first, last)) = range {
        let text = format!("bytes {first}-{last}/{}", file.size);
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(CONTENT_RANGE, value);
        }
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(answer)
}

fn beyond(size: u64) -> Answer {
    let mut answer = page(416, "Requested Range Not Satisfiable");
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        answer.headers_mut().insert(CONTENT_RANGE, value);
    }
    answer
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// From the first to the last byte, both included.
    Part(u64, u64),
    /// Nothing that exists.
    Beyond,
    /// Not understood: the whole file is sent.
    Ignored,
}

/// Reads a single range. Several ranges and ends counted from the back were never tried with the
/// service [API F]; they are ignored.
fn parse_range(text: &str, size: u64) -> Asked {
    let Some((first, last)) = text
        .trim()
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Asked::Ignored;
    };
    let Ok(first) = first.trim().parse::<u64>() else {
        return Asked::Ignored;
    };
    let last = match last.trim() {
        "" => u64::MAX,
        last => match last.parse::<u64>() {
            Ok(last) if last >= first => last,
            _ => return Asked::Ignored,
        },
    };
    if first >= size {
        return Asked::Beyond;
    }
    Asked::Part(first, last.min(size - 1))
}

/// A part of a content that is being read.
struct Reading {
    body: Arc<Body>,
    file: Option<std::fs::File>,
    /// Where it goes on, and how much is left.
    at: u64,
    left: u64,
    /// The byte that is to be wrong.
    flip: Option<u64>,
}

impl Reading {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let size = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        if size == 0 {
            return Ok(None);
        }
        if let (None, Place::Disk(place)) = (&self.file, &self.body.place) {
            self.file = Some(open_at(place.path(), self.at)?);
        }
        let flip = self
            .flip
            .and_then(|byte| byte.checked_sub(self.at))
            .and_then(|byte| usize::try_from(byte).ok())
            .filter(|byte| *byte < size);
        self.at += size as u64;
        self.left -= size as u64;
        if self.file.is_none() && flip.is_none() {
            return Ok(Some(Bytes::from_static(&ZEROS).slice(..size)));
        }
        let mut piece = BytesMut::zeroed(size);
        if let Some(file) = &mut self.file {
            file.read_exact(&mut piece)?;
        }
        if let Some(byte) = flip.and_then(|at| piece.get_mut(at)) {
            *byte ^= 1;
        }
        Ok(Some(piece.freeze()))
    }
}

/// Counts a body that is being sent.
struct Sending(Arc<Shared>);

impl Sending {
    fn new(shared: &Arc<Shared>) -> Sending {
        shared.open_downloads.fetch_add(1, Ordering::Relaxed);
        Sending(Arc::clone(shared))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.open_downloads.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A part of a content in pieces, one byte of it wrong if asked. They are read ahead, so that
/// disk and network work at the same time; each on a blocking thread of its own, because one that
/// waited for the client would stop a paused clock, and with it the client.
fn pieces(
    shared: &Arc<Shared>,
    body: Arc<Body>,
    first: u64,
    length: u64,
    flip: Option<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (to, mut from) = mpsc::channel(AHEAD);
    let mut reading = Reading {
        body,
        file: None,
        at: first,
        left: length,
        flip: flip.and_then(|byte| first.checked_add(byte)),
    };
    tokio::spawn(async move {
        loop {
            let read = tokio::task::spawn_blocking(move || {
                let piece = reading.next();
                (reading, piece)
            });
            let piece = match read.await {
                Ok((rest, piece)) => {
                    reading = rest;
                    piece
                }
                Err(_) => return,
            };
            let Some(piece) = piece.transpose() else {
                return;
            };
            let failed = piece.is_err();
            // The receiver is gone when the client is.
            if to.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    let sending = Sending::new(shared);
    futures::stream::poll_fn(move |context| {
        let _ = &sending;
        from.poll_recv(context)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-9", 100), Asked::Part(0, 9));
        assert_eq!(parse_range("bytes=90-", 100), Asked::Part(90, 99));
        assert_eq!(parse_range("bytes=90-200", 100), Asked::Part(90, 99));
        assert_eq!(parse_range("bytes=100-", 100), Asked::Beyond);
        assert_eq!(parse_range("bytes=-5", 100), Asked::Ignored);
        assert_eq!(parse_range("bytes=5-3", 100), Asked::Ignored);
        assert_eq!(parse_range("bytes=0-1,4-5", 100), Asked::Ignored);
    }
}
