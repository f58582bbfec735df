//! Storing objects.

use http::{HeaderMap, StatusCode, header};

use super::address::Object;
use super::objects::find;
use super::{appends_only, done};
use crate::backend::{Entry, PutOptions, WriteMode};
use crate::error::{Error, Reason};
use crate::fichier::Priority;
use crate::http::{Body, Call, Failure, Response, drain, next_piece, receive_as, scope};
use crate::transfer::{Algorithm, Checksum, Hasher};

/// Stores an object, after its content was found to be what its name says.
pub(super) async fn store(
    call: &Call,
    object: &Object,
    headers: &HeaderMap,
    body: &mut Option<Body>,
) -> Result<Response, Failure> {
    call.remote.check_writable()?;
    let size = length(headers)?;
    if let Some(entry) = find(call, object).await? {
        // A repeat changes nothing: who may only add may send it, too.
        if entry.size == Some(size) && (object.name.is_some() || !appends_only(call)) {
            return repeat(object, &entry, body).await;
        }
        if object.name.is_none() || appends_only(call) {
            return Err(exists(object));
        }
        // What has the name of this content, but not its size, is damaged.
    }
    let replaces = object.name.is_some() && !appends_only(call);
    let sha256 = object.name.map(|name| Checksum {
        algorithm: Algorithm::Sha256,
        hex: name.to_hex(),
    });
    let options = PutOptions {
        size: Some(size),
        mode: match replaces {
            true => WriteMode::Replace,
            false => WriteMode::CreateOnly,
        },
        create_parents: true,
        checksums: sha256.into_iter().collect(),
        ..PutOptions::default()
    };
    let priority = object.priority(Priority::Upload);
    let scope = scope(priority);
    let begun = call.remote.put(scope, &object.path, options);
    let begun = match call
        .remote
        .within(scope, begun)
        .await
        .map_err(Failure::from)
    {
        Err(failure) if failure.status == StatusCode::PRECONDITION_FAILED => {
            // Somebody else was faster.
            return match find(call, object).await? {
                Some(entry) if entry.size == Some(size) => repeat(object, &entry, body).await,
                _ => Err(exists(object)),
            };
        }
        begun => begun?,
    };
    let Some(body) = body.take() else {
        return Err(Error::internal("a body was read twice").into());
    };
    match receive_as(priority, begun, body, &[]).await {
        Err(failure) if failure.status == StatusCode::PRECONDITION_FAILED => {
            // The same, while the content came. It was that of its name, and so
            // was the other's.
            match find(call, object).await? {
                Some(entry) if object.name.is_some() && entry.size == Some(size) => Ok(done()),
                _ => Err(exists(object)),
            }
        }
        stored => stored.map(|_| done()),
    }
}

/// restic announces every size.
fn length(headers: &HeaderMap) -> Result<u64, Failure> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let size = values.next().and_then(|value| value.to_str().ok());
    size.and_then(|size| size.parse().ok()).ok_or_else(|| {
        Failure::new(
            StatusCode::LENGTH_REQUIRED,
            "the size must come before the content, as Content-Length",
        )
    })
}

fn exists(object: &Object) -> Failure {
    let path = &object.path;
    let text = format!("there is something at {path:?} already, and it is not replaced");
    Failure::new(StatusCode::FORBIDDEN, text)
}

/// The content is compared with what is there, and nothing is stored: a repeat
/// of a call whose answer was lost succeeds.
async fn repeat(
    object: &Object,
    entry: &Entry,
    body: &mut Option<Body>,
) -> Result<Response, Failure> {
    let Some(body) = body.take() else {
        return Err(Error::internal("a body was read twice").into());
    };
    let mut frames = body.into_data_stream();
    let mut hasher = Hasher::new([Algorithm::Sha256, Algorithm::Whirlpool]);
    loop {
        match next_piece(&mut frames).await {
            Ok(Some(data)) => hasher.update(data).await,
            Ok(None) => break,
            Err(error) => {
                drain(Body::from_stream(frames));
                return Err(error.into());
            }
        }
    }
    let sums = hasher.finish().await;
    let of = |sums: &[Checksum], algorithm| {
        let sum = sums.iter().find(|sum| sum.algorithm == algorithm);
        sum.map(|sum| sum.hex.clone())
    };
    let path = object.path.as_str();
    if let Some(name) = object.name
        && of(&sums, Algorithm::Sha256) != Some(name.to_hex())
    {
        let text = format!("the content of {path:?} is not that of its name; nothing was stored");
        return Err(Error::new(Reason::ChecksumMismatch, text).into());
    }
    let known = of(&entry.checksums, Algorithm::Whirlpool);
    match known.is_some() && known == of(&sums, Algorithm::Whirlpool) {
        true => Ok(done()),
        false if object.name.is_none() => Err(exists(object)),
        // restic removes it, and sends it again.
        false => {
            let text =
                format!("what is stored at {path:?} is damaged; remove it and send it again");
            Err(Error::new(Reason::StoredContentCorrupt, text).into())
        }
    }
}
