//! The multipart body of an upload, of exactly the announced length.
//!
//! Written by hand because 1Fichier's dialect is narrow ([API §4.3]) and
//! because a multipart library sends a silently cut body when a stream is
//! longer than announced.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::BoxStream;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

/// The content of one file: a stream, and how many bytes it must give.
pub struct Content {
    /// Bytes that the stream gives.
    pub size: u64,
    /// The bytes. Opened at its turn, so that many parts hold few resources.
    pub open: Box<dyn FnOnce() -> BoxStream<'static, io::Result<Bytes>> + Send>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// One file of an upload.
#[derive(Debug)]
pub struct Part {
    /// The name to store, already in a form that 1Fichier accepts.
    pub name: String,
    /// The bytes.
    pub content: Content,
}

enum Segment {
    Bytes(Bytes),
    Closed(Content),
    Open {
        remaining: u64,
        stream: BoxStream<'static, io::Result<Bytes>>,
    },
    /// Nothing passes before somebody says so; if nobody does, the request is
    /// cut off and 1Fichier stores nothing ([API §E5]).
    Gate(oneshot::Receiver<()>),
}

pub(super) struct MultipartBody {
    // Never contended: a body is polled through `&mut`. The lock only makes
    // streams that are not `Sync` fit the HTTP client.
    segments: Mutex<VecDeque<Segment>>,
    remaining: u64,
    /// What stands behind the gate.
    held: u64,
    /// Counts the bytes handed to the connection.
    sent: Arc<AtomicU64>,
}

/// The `Content-Type` for a boundary: unquoted, as 1Fichier wants it.
pub(super) fn content_type(boundary: &str) -> String {
    format!("multipart/form-data; boundary={boundary}")
}

pub(super) fn new_boundary() -> String {
    format!("pluton{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

impl MultipartBody {
    /// `did` is the destination folder; `gate`, when given, holds the end of
    /// the body back.
    pub(super) fn new(
        boundary: &str,
        did: i64,
        parts: Vec<Part>,
        gate: Option<oneshot::Receiver<()>>,
        sent: Arc<AtomicU64>,
    ) -> Self {
        let mut segments = VecDeque::with_capacity(parts.len() * 2 + 3);
        // Plain fields carry no Content-Type; Content-Disposition comes first.
        let mut text = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"did\"\r\n\r\n{did}\r\n"
        );
        for part in parts {
            text.push_str(&format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"file[]\"; filename=\"{}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n",
                quoted(&part.name)
            ));
            segments.push_back(Segment::Bytes(std::mem::take(&mut text).into()));
            segments.push_back(Segment::Closed(part.content));
            text.push_str("\r\n");
        }
        text.push_str(&format!("--{boundary}--\r\n"));
        let mut held = 0;
        if let Some(gate) = gate {
            segments.push_back(Segment::Gate(gate));
            held = text.len() as u64;
        }
        segments.push_back(Segment::Bytes(text.into()));
        let remaining = segments
            .iter()
            .map(|segment| match segment {
                Segment::Bytes(bytes) => bytes.len() as u64,
                Segment::Closed(content) => content.size,
                Segment::Open { remaining, .. } => *remaining,
                Segment::Gate(_) => 0,
            })
            .sum();
        Self {
            segments: Mutex::new(segments),
            remaining,
            held,
            sent,
        }
    }

    /// How much of it the gate holds back.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    pub(super) fn length(&self) -> u64 {
        self.remaining
    }
}

/// What would end the quoted name. No mask in use leaves these in; without
/// this a hostile mask could write its own headers.
fn quoted(name: &str) -> String {
    name.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn wrong_length(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the content is {what} than announced"),
    )
}

impl Body for MultipartBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let segments = this
            .segments
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let bytes = loop {
            match segments.pop_front() {
                None => return Poll::Ready(None),
                Some(Segment::Bytes(bytes)) => break bytes,
                Some(Segment::Closed(content)) => {
                    let Content { size, open } = content;
                    segments.push_front(Segment::Open {
                        remaining: size,
                        stream: open(),
                    });
                }
                Some(Segment::Open {
                    remaining,
                    mut stream,
                }) => match stream.as_mut().poll_next(context) {
                    Poll::Pending => {
                        segments.push_front(Segment::Open { remaining, stream });
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(None) if remaining == 0 => {}
                    Poll::Ready(None) => return Poll::Ready(Some(Err(wrong_length("shorter")))),
                    Poll::Ready(Some(Ok(bytes))) => {
                        let Some(rest) = remaining.checked_sub(bytes.len() as u64) else {
                            return Poll::Ready(Some(Err(wrong_length("longer"))));
                        };
                        segments.push_front(Segment::Open {
                            remaining: rest,
                            stream,
                        });
                        if !bytes.is_empty() {
                            break bytes;
                        }
                    }
                },
                Some(Segment::Gate(mut gate)) => match Pin::new(&mut gate).poll(context) {
                    Poll::Pending => {
                        segments.push_front(Segment::Gate(gate));
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => {
                        let error = io::Error::new(
                            io::ErrorKind::ConnectionAborted,
                            "the upload was given up",
                        );
                        return Poll::Ready(Some(Err(error)));
                    }
                },
            }
        };
        this.remaining = this.remaining.saturating_sub(bytes.len() as u64);
        this.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt;

    use super::*;

    fn part(name: &str, size: u64, pieces: &'static [&'static str]) -> Part {
        let open = move || {
            let pieces: Vec<_> = pieces
                .iter()
                .map(|piece| Ok(Bytes::from_static(piece.as_bytes())))
                .collect();
            Box::pin(stream::iter(pieces)) as BoxStream<'static, _>
        };
        Part {
            name: name.into(),
            content: Content {
                size,
                open: Box::new(open),
            },
        }
    }

    async fn collect(parts: Vec<Part>) -> io::Result<(u64, String)> {
        let body = MultipartBody::new("b", 7, parts, None, Arc::default());
        let length = body.length();
        let bytes = body.collect().await?.to_bytes();
        Ok((length, String::from_utf8(bytes.to_vec()).unwrap()))
    }

    #[tokio::test]
    async fn dialect_and_exact_length() {
        let (length, text) = collect(vec![part("é＂.bin", 3, &["a", "bc"]), part("2", 1, &["x"])])
            .await
            .unwrap();
        assert_eq!(
            text,
            "--b\r\nContent-Disposition: form-data; name=\"did\"\r\n\r\n7\r\n\
             --b\r\nContent-Disposition: form-data; name=\"file[]\"; filename=\"é＂.bin\"\r\n\
             Content-Type: application/octet-stream\r\n\r\nabc\r\n\
             --b\r\nContent-Disposition: form-data; name=\"file[]\"; filename=\"2\"\r\n\
             Content-Type: application/octet-stream\r\n\r\nx\r\n--b--\r\n"
        );
        assert_eq!(length, text.len() as u64);
    }

    #[tokio::test]
    async fn longer_or_shorter_than_announced_is_an_error() {
        assert!(
            collect(vec![part("a", 2, &["abc"])])
                .await
                .unwrap_err()
                .to_string()
                .contains("longer")
        );
        assert!(
            collect(vec![part("a", 2, &["ab", "c"])])
                .await
                .unwrap_err()
                .to_string()
                .contains("longer")
        );
        assert!(
            collect(vec![part("a", 4, &["abc"])])
                .await
                .unwrap_err()
                .to_string()
                .contains("shorter")
        );
    }

    #[tokio::test]
    async fn a_gate_that_is_dropped_cuts_the_body_off() {
        let (open, gate) = oneshot::channel();
        let body = MultipartBody::new(
            "b",
            7,
            vec![part("a", 1, &["a"])],
            Some(gate),
            Arc::default(),
        );
        drop(open);
        assert!(body.collect().await.is_err());
    }
}
