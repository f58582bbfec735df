//! Deadlines of callers.
//!
//! tonic turns an expired `grpc-timeout` into CANCELLED; the handlers race it
//! and answer DEADLINE_EXCEEDED, or what really stands in the way.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::status::status;
use crate::backend::{self, Ended, Remote};
use crate::error::Error;
use crate::fichier::{Priority, Scope};

/// The scope of a call: its deadline, a little before the caller's own clock
/// ends, so that the answer arrives in time.
pub(super) fn scope(metadata: &MetadataMap, priority: Priority) -> Scope {
    let timeout = metadata
        .get("grpc-timeout")
        .and_then(|text| text.to_str().ok())
        .and_then(parse);
    let deadline = timeout
        .map(|timeout| timeout - (timeout / 10).min(Duration::from_millis(100)))
        .and_then(|timeout| Instant::now().checked_add(timeout));
    Scope { priority, deadline }
}

/// `TimeoutValue TimeoutUnit` of the gRPC protocol.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

fn to_status(ended: Ended) -> Status {
    match ended {
        Ended::Failed(error) => status(&error),
        Ended::Expired => exceeded(),
    }
}

fn exceeded() -> Status {
    Status::new(
        Code::DeadlineExceeded,
        "the deadline of the call passed before the work was done",
    )
}

/// [`Remote::within`], with statuses.
pub(super) async fn within<T>(
    scope: Scope,
    remote: &Remote,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Status> {
    remote.within(scope, work).await.map_err(to_status)
}

/// [`backend::until_deadline`], with statuses.
pub(super) async fn until_deadline<T>(
    scope: Scope,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Status> {
    let result = backend::until_deadline(scope, work).await;
    result.map_err(to_status)
}

/// The same for work that has its own statuses.
pub(super) async fn before_deadline<T>(
    scope: Scope,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let work = async { Ok(work.await) };
    let result: Result<_, Ended> = backend::until_deadline::<_, Ended>(scope, work).await;
    result.map_err(to_status)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_the_protocol() {
        assert_eq!(parse("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse("2S"), Some(Duration::from_secs(2)));
        assert_eq!(
            parse("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for bad in ["", "m", "1", "1x", "123456789S", "-1S", "é"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
