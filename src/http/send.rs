//! A file as the body of an answer.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::stream;
use http::response::Builder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::{Body, Failure, Response, Wanted, scope, wanted};
use crate::backend::{ByteRange, Ended, Entry, Read, ReadOptions, Remote, room, until_deadline};
use crate::error::{Error, Reason};
use crate::fichier::{Priority, Scope};

/// A file without its content, as for HEAD.
pub fn head(entry: &Entry) -> Response {
    // Ranges are for GET only.
    let (builder, _) = describe(&HeaderMap::new(), entry);
    finish(builder, Body::empty())
}

/// A file, or the part of it that the headers want. The whole of a file is
/// compared with its stored checksum, and breaks off before its end if it
/// differs.
///
/// # Errors
/// What the read fails with until its first bytes are there.
pub async fn file(
    remote: &Remote,
    headers: &HeaderMap,
    entry: &Entry,
) -> Result<Response, Failure> {
    file_as(Priority::Read, remote, headers, entry).await
}

/// The same, as urgent as that.
///
/// # Errors
/// As [`file()`].
pub async fn file_as(
    priority: Priority,
    remote: &Remote,
    headers: &HeaderMap,
    entry: &Entry,
) -> Result<Response, Failure> {
    let (builder, wanted) = describe(headers, entry);
    let ranges = match wanted {
        Wanted::Nothing => return Ok(finish(builder, Body::empty())),
        Wanted::Whole => Vec::new(),
        Wanted::Part { offset, length } => vec![ByteRange {
            offset,
            length: Some(length),
        }],
    };
    let options = ReadOptions {
        ranges,
        // Of what the headers tell, and nothing else.
        if_match: Some(entry.etag.clone()),
        verify: true,
    };
    // A transfer may take longer than a call may wait.
    let read = remote.read(Scope::new(priority), &entry.path, options);
    let read = remote.within(scope(priority), read).await;
    let mut read = read.map_err(|ended| match ended {
        // It was replaced between two looks; whoever asks again finds the other.
        Ended::Failed(error) if error.reason() == Reason::EtagMismatch => Failure {
            retry_after: Some(1),
            ..Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the file was just replaced; try again",
            )
        },
        ended => ended.into(),
    })?;
    // Only with the first bytes it is known that there is something to announce.
    let first = until_deadline(scope(priority), read.next()).await?;
    let first = first.map(|piece| piece.data);
    let all: u64 = read.ranges.iter().map(|range| range.length).sum();
    match first {
        // It is all there is: whether it is right is known before anything is
        // announced.
        Some(data) if data.len() as u64 == all => {
            read.finish().await?;
            Ok(finish(builder, Body::from(data)))
        }
        first => Ok(finish(builder, body(read, first))),
    }
}

fn describe(headers: &HeaderMap, entry: &Entry) -> (Builder, Wanted) {
    let size = entry.size.unwrap_or_default();
    // It is made of letters, digits and hyphens.
    let etag = HeaderValue::from_str(&format!("\"{}\"", entry.etag));
    let etag = etag.unwrap_or(HeaderValue::from_static("\"\""));
    let wanted = wanted(headers, size, &etag);
    let (status, length, range) = match wanted {
        Wanted::Whole => (StatusCode::OK, size, None),
        Wanted::Part { offset, length } => {
            let range = format!("bytes {offset}-{}/{size}", offset + length - 1);
            (StatusCode::PARTIAL_CONTENT, length, Some(range))
        }
        Wanted::Nothing => {
            let range = format!("bytes */{size}");
            (StatusCode::RANGE_NOT_SATISFIABLE, 0, Some(range))
        }
    };
    let content_type = HeaderValue::from_str(&entry.content_type).ok();
    let content_type = content_type
        .filter(|value| !value.is_empty())
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let mut builder = http::Response::builder()
        .status(status)
        .header(header::CONTENT_LENGTH, length)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::ACCEPT_RANGES, "bytes")
        // What anybody stored is no page of this server, with a reader's rights.
        .header(header::CONTENT_SECURITY_POLICY, "sandbox")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::ETAG, etag);
    if let Some(time) = entry.time {
        builder = builder.header(header::LAST_MODIFIED, date(time));
    }
    if let Some(range) = range {
        builder = builder.header(header::CONTENT_RANGE, range);
    }
    (builder, wanted)
}

/// Seconds since the Unix epoch, as HTTP writes them.
pub fn date(time: i64) -> String {
    let since = Duration::from_secs(u64::try_from(time).unwrap_or_default());
    let time = UNIX_EPOCH
        .checked_add(since)
        .filter(|time| *time < year_9999());
    httpdate::fmt_http_date(time.unwrap_or(UNIX_EPOCH))
}

/// `fmt_http_date` writes no later ones.
fn year_9999() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(253_370_764_800)
}

fn finish(builder: Builder, body: Body) -> Response {
    match builder.body(body) {
        Ok(response) => response,
        Err(error) => super::refusal(&Error::internal(format!("an answer is no HTTP: {error}"))),
    }
}

/// The bytes of a read, of which the first are there. It works ahead by one
/// piece.
fn body(read: Read, first: Option<Bytes>) -> Body {
    let (sender, pieces) = mpsc::channel(1);
    let work = send(read, first, sender).in_current_span();
    let work = AbortOnDropHandle::new(tokio::spawn(work));
    Body::from_stream(stream::unfold(Some((pieces, work)), |state| async move {
        let (mut pieces, work) = state?;
        if let Some(piece) = pieces.recv().await {
            return Some((Ok(piece), Some((pieces, work))));
        }
        // A body that ends with an error is cut off: its reader knows that
        // something is missing, by the length that was announced.
        let end = work
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        end.err().map(|error| (Err(error), None))
    }))
}

async fn send(mut read: Read, first: Option<Bytes>, pieces: mpsc::Sender<Bytes>) -> io::Result<()> {
    // The last piece waits until the whole is verified: what came complete
    // counts as good.
    let mut held = first;
    loop {
        let room = room(&pieces, &mut read).await;
        let room = room.map_err(|reason| io::Error::other(reason.message()))?;
        let next = read.next().await.map_err(broken)?;
        match (next, held.take()) {
            (Some(piece), Some(before)) => {
                room.send(before);
                held = Some(piece.data);
            }
            (Some(piece), None) => {
                drop(room);
                held = Some(piece.data);
            }
            (None, last) => {
                read.finish().await.map_err(broken)?;
                if let Some(last) = last {
                    room.send(last);
                }
                return Ok(());
            }
        }
    }
}

fn broken(error: Error) -> io::Error {
    // Its caller sees only that something is missing.
    tracing::warn!(reason = error.reason().as_str(), "a download broke off");
    io::Error::other(error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        for odd in [-1, i64::MIN, i64::MAX] {
            assert_eq!(date(odd), "Thu, 01 Jan 1970 00:00:00 GMT");
        }
    }
}
