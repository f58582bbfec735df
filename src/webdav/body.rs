//! Bodies of requests that are XML.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};

use crate::http::{Body, Failure, drain};

/// Longest body of a request, in bytes.
const MAX_XML: usize = 64 << 10;
/// How long it may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The whole of a small body.
///
/// # Errors
/// 413, 408, or 400 when it breaks off.
pub(super) async fn read(body: Body) -> Result<Bytes, Failure> {
    let announced = http_body::Body::size_hint(&body).lower();
    if announced > MAX_XML as u64 {
        drain(body);
        return Err(too_long());
    }
    let collected = Limited::new(body, MAX_XML).collect();
    match tokio::time::timeout(PATIENCE, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(Failure::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err(Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time",
        )),
    }
}

fn too_long() -> Failure {
    let text = format!("the body may have {} KiB at the most", MAX_XML >> 10);
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}
