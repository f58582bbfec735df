//! Answers over HTTP: JSON, pages, and answers that go wrong on purpose.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::header::{CONTENT_TYPE, HeaderMap, LOCATION, VARY};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};

/// A body of any kind.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
/// An answer.
pub(super) type Answer = Response<Body>;

/// No answer: the connection is closed.
#[derive(Debug)]
pub(super) struct Abort;

impl std::fmt::Display for Abort {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("connection given up on purpose")
    }
}

impl std::error::Error for Abort {}

/// What handlers return.
pub(super) type Outcome = Result<Answer, Abort>;

/// Set when the connection is to end with a reset instead of a proper close.
#[derive(Debug, Clone, Default)]
pub(super) struct ResetFlag(Arc<AtomicBool>);

impl ResetFlag {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Ends the connection with a reset and no answer.
    pub(super) fn abort<T>(&self) -> Result<T, Abort> {
        self.set();
        Err(Abort)
    }
}

/// A body that is at hand.
pub(super) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into())
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// An answer with this status, type and body.
pub(super) fn answer(status: u16, kind: &'static str, content: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(full(content));
    // Statuses come from this module and from tests; a number that is none becomes a 500.
    *answer.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    answer
}

/// A JSON answer [API §1].
pub(super) fn json(status: u16, content: impl Into<Bytes>) -> Answer {
    answer(status, "application/json; charset=utf-8", content)
}

/// An HTML page with this text.
pub(super) fn page(status: u16, text: &str) -> Answer {
    let text = escape(text);
    let content = format!(
        "<!DOCTYPE html>\n<html><head><title>1fichier.com</title></head>\n<body>{text}</body></html>\n"
    );
    answer(status, "text/html; charset=utf-8", content)
}

/// The page an upload node shows instead of storing: the reason stands in the first `bloc2`
/// [API §4.4].
pub(super) fn node_refusal(reason: &str) -> Answer {
    let reason = escape(reason);
    let content = format!(
        "<!DOCTYPE html>\n<html><head><title>1fichier.com</title></head>\n<body>\n\
         <div class=\"bloc2\"></div>\n<div class=\"bloc2\">{reason}</div>\n</body></html>\n"
    );
    answer(200, "text/html; charset=utf-8", content)
}

/// A redirect with a short page.
pub(super) fn redirect(location: &str) -> Answer {
    let mut answer = page(302, "Moved ! Temporary Redirect");
    if let Ok(value) = HeaderValue::from_str(location) {
        answer.headers_mut().insert(LOCATION, value);
    }
    answer
}

/// Escapes text for HTML; quotes, which need it only in attributes, stay.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A header's value if it is there and readable.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The parameters of a query or a form, decoded. Bytes that are no UTF-8 are replaced.
pub(super) fn parameters(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes
            .get(at + 1..at + 3)
            .filter(|hex| byte == b'%' && hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How a body ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The connection is reset.
    Reset,
    /// The connection is closed.
    Close,
    /// Nothing more comes.
    Stall,
}

/// How long a cut waits, so that what was sent before it has left the process.
const FLUSH: Duration = Duration::from_millis(20);

/// Lets only `bytes` of the pieces through and then cuts.
pub(super) fn cut_after(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    bytes: u64,
    cut: Cut,
    flag: ResetFlag,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let begin = (Box::pin(pieces), bytes, flag);
    stream::unfold(begin, move |(mut pieces, left, flag)| async move {
        let next = if left > 0 { pieces.next().await } else { None };
        match next {
            Some(Ok(mut piece)) => {
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - piece.len() as u64;
                Some((Ok(piece), (pieces, left, flag)))
            }
            Some(Err(error)) => Some((Err(error), (pieces, 0, flag))),
            None => {
                tokio::time::sleep(FLUSH).await;
                match cut {
                    Cut::Stall => std::future::pending::<()>().await,
                    Cut::Reset => flag.set(),
                    Cut::Close => {}
                }
                Some((Err(io::Error::other(Abort)), (pieces, 0, flag)))
            }
        }
    })
}

/// A body out of pieces. The length must be set as a header.
pub(super) fn streamed(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    BodyExt::boxed_unsync(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let form = "json=1&pass=a%20b+c%C3%A9&links%5B%5D=https%3A%2F%2Fx%2F%3Fa&bad=%zz";
        let pairs = parameters(form);
        let expected = [
            ("json", "1"),
            ("pass", "a b cé"),
            ("links[]", "https://x/?a"),
            ("bad", "%zz"),
        ];
        let expected: Vec<(String, String)> = expected
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(pairs, expected);
    }
}
