//! Errors as HTTP statuses.
//!
//! Clients show the first line of the text to people, or nothing but the
//! status: it says what failed and what to do. 404 tells that something is
//! certainly not there; what is not known is 503.

use http::{HeaderValue, StatusCode, header};

use super::{Body, Response};
use crate::backend::Ended;
use crate::error::{Error, Reason};
use crate::quote;

/// Why a call of an HTTP face failed.
#[derive(Debug)]
pub struct Failure {
    /// The status.
    pub status: StatusCode,
    /// What failed and what to do: one line.
    pub message: String,
    /// When a repeat is worth it, in seconds.
    pub retry_after: Option<u64>,
    /// For the log; a failure of the face's own has none.
    pub reason: Option<Reason>,
}

impl Failure {
    /// A failure of the face's own.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
            reason: None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        // Rounded up: who comes a little early is refused again.
        let seconds = |delay: std::time::Duration| delay.as_millis().div_ceil(1_000);
        Self {
            status: status(error.reason()),
            message: error.message().replace(['\r', '\n'], " "),
            retry_after: error
                .retry_delay()
                .map(|delay| u64::try_from(seconds(delay)).unwrap_or(u64::MAX).max(1)),
            reason: Some(error.reason()),
        }
    }
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Failed(error) => error.into(),
            Ended::Expired => Self {
                retry_after: Some(5),
                reason: Some(Reason::UpstreamUnavailable),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "1Fichier did not answer in time; try again",
                )
            },
        }
    }
}

/// The status of a reason.
pub fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::InvalidField
        | Reason::InvalidPath
        | Reason::ProtocolViolation
        | Reason::SizeMismatch
        | Reason::ChecksumMismatch
        | Reason::RequestIdReused
        | Reason::UploadNotCommitted
        | Reason::PageTokenExpired => StatusCode::BAD_REQUEST,
        // 1Fichier cannot store it, whoever asks and however often.
        Reason::EmptyFile | Reason::CapabilityMissing => StatusCode::UNPROCESSABLE_ENTITY,
        Reason::FileTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::RemoteNotFound | Reason::FileNotFound | Reason::DirectoryNotFound => {
            StatusCode::NOT_FOUND
        }
        Reason::EntryExists | Reason::EtagMismatch => StatusCode::PRECONDITION_FAILED,
        Reason::IsADirectory
        | Reason::NotADirectory
        | Reason::DirectoryNotEmpty
        | Reason::AmbiguousPath
        | Reason::ContentChanged => StatusCode::CONFLICT,
        Reason::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        Reason::TokenInvalid => StatusCode::UNAUTHORIZED,
        Reason::ReadOnly
        | Reason::PrefixForbidden
        | Reason::UpstreamAccessDenied
        | Reason::UpstreamPlanRequired
        | Reason::UpstreamCredentialsRejected => StatusCode::FORBIDDEN,
        Reason::StorageQuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
        Reason::SpoolFull
        | Reason::TooManyTransfers
        | Reason::UpstreamLocked
        | Reason::UpstreamUnavailable
        | Reason::ShuttingDown
        | Reason::StateUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::StoredContentCorrupt | Reason::UpstreamProtocol | Reason::InternalError => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        let mut response = Response::new(Body::from(quote::message(failure.message) + "\n"));
        *response.status_mut() = failure.status;
        let headers = response.headers_mut();
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, text);
        if let Some(seconds) = failure.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(reason) = failure.reason {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

/// A result as an answer.
pub fn answer(result: Result<Response, Failure>) -> Response {
    result.unwrap_or_else(Response::from)
}

/// An error as an answer.
pub fn refusal(error: &Error) -> Response {
    Failure::from(error).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_is_certainly_not_there_is_404() {
        for reason in Reason::ALL {
            let status = status(*reason);
            let absent = reason.code() == tonic::Code::NotFound;
            assert_eq!(status == StatusCode::NOT_FOUND, absent, "{reason:?}");
            assert!(status.is_client_error() || status.is_server_error());
            // What passes is told as such.
            if Error::new(*reason, "").retry_delay().is_some() {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{reason:?}");
            }
        }
    }

    #[test]
    fn one_line_and_when_to_come_back() {
        let error = Error::new(Reason::UpstreamLocked, "locked\nfor a while");
        let response = refusal(&error.clone().retry_after(Duration::from_millis(30_001)));
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "31");
        assert_eq!(response.extensions().get(), Some(&Reason::UpstreamLocked));
        assert_eq!(Failure::from(&error).message, "locked for a while");
    }
}
