//! The body of a request as a file.

use std::time::Duration;

use axum::body::BodyDataStream;
use bytes::Bytes;
use futures::StreamExt;
use http_body::Body as _;

use super::{Body, Failure, scope};
use crate::backend::{Begun, PutSession, Stored, until_deadline};
use crate::error::{Error, Reason};
use crate::fichier::Priority;
use crate::transfer::Checksum;

/// A client that sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(300);
/// How long a caller may go on sending after its answer: what is dropped unread
/// is reset, and the reset may overtake the answer.
const LEFTOVER: Duration = Duration::from_secs(5);

/// Takes the content of a write that began, and stores it. A body that breaks
/// off stores nothing. A stream of HTTP/2 that is reset without an error looks
/// like one that ended: the write must know its size, if it was announced.
///
/// # Errors
/// What the write fails with. What is left of the body is drained.
pub async fn receive(begun: Begun, body: Body, sums: &[Checksum]) -> Result<Stored, Failure> {
    receive_as(Priority::Upload, begun, body, sums).await
}

/// The same, as urgent as that.
///
/// # Errors
/// As [`receive`].
pub async fn receive_as(
    priority: Priority,
    begun: Begun,
    body: Body,
    sums: &[Checksum],
) -> Result<Stored, Failure> {
    let mut session = match begun {
        Begun::Session(session) => session,
        Begun::Replayed(stored) => {
            drain(body);
            return Ok(stored);
        }
    };
    let mut frames = body.into_data_stream();
    if let Err(failure) = take(&mut session, &mut frames).await {
        drain(Body::from_stream(frames));
        return Err(failure);
    }
    let size = session.received();
    // The time counts from the last byte.
    let scope = scope(priority);
    Ok(until_deadline(scope, session.commit(scope, size, sums)).await?)
}

async fn take(session: &mut PutSession, frames: &mut BodyDataStream) -> Result<(), Failure> {
    while let Some(data) = next_piece(frames).await? {
        session.write(data).await?;
    }
    Ok(())
}

/// The next bytes of a body; `None` at its end.
///
/// # Errors
/// UPLOAD_NOT_COMMITTED when it breaks off, or nothing comes for long.
pub async fn next_piece(frames: &mut BodyDataStream) -> Result<Option<Bytes>, Error> {
    let not_stored = |why: String| {
        Error::new(
            Reason::UploadNotCommitted,
            format!("{why}; nothing was stored"),
        )
    };
    match tokio::time::timeout(SILENCE, frames.next()).await {
        Err(_) => {
            let text = format!("nothing came for {} s", SILENCE.as_secs());
            Err(not_stored(text))
        }
        Ok(None) => Ok(None),
        Ok(Some(Err(error))) => Err(not_stored(format!("the body broke off: {error}"))),
        Ok(Some(Ok(data))) => Ok(Some(data)),
    }
}

/// Takes what is left of a body for a while, so that its sender learns why it
/// is refused.
pub fn drain(body: Body) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(tokio::time::timeout(LEFTOVER, async move {
        let mut frames = body.into_data_stream();
        while let Some(Ok(_)) = frames.next().await {}
    }));
}
