//! Errors as rich gRPC statuses (design, section 3).

use std::collections::HashMap;
use std::time::Duration;

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{DOMAIN, Error, Reason};
use crate::proto;

/// By this, gRPC libraries that repeat calls themselves learn when, in
/// milliseconds, or that they shall not (gRPC proposal A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// A library that waits longer runs into the deadline of its call, and its
/// caller never learns what RetryInfo says.
const LONGEST_PUSHBACK: Duration = Duration::from_secs(10);

/// The code is a function of the reason; ErrorInfo always comes with it, and
/// the detail that fits the code.
pub(crate) fn status(error: &Error) -> Status {
    let mut metadata: HashMap<String, String> = error
        .metadata()
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    if let Some(path) = error.path() {
        metadata.insert("path".to_owned(), path.to_owned());
    }
    let mut details = ErrorDetails::with_error_info(error.reason().as_str(), DOMAIN, metadata);
    let resource = || error.path().unwrap_or_default();
    match error.reason().code() {
        Code::InvalidArgument => {
            details
                .add_bad_request_violation(error.field_name().unwrap_or("path"), error.message());
        }
        Code::NotFound | Code::AlreadyExists => {
            details.set_resource_info(
                resource_type(error.reason()),
                resource(),
                "",
                error.message(),
            );
        }
        Code::FailedPrecondition => {
            details.add_precondition_failure_violation(
                error.reason().as_str(),
                resource(),
                error.message(),
            );
        }
        Code::ResourceExhausted => {
            details.add_quota_failure_violation(error.reason().as_str(), error.message());
        }
        _ => {}
    }
    if let Some(delay) = error.retry_delay() {
        details.set_retry_info(Some(delay));
    }
    let (code, metadata) = (error.reason().code(), pushback(error));
    Status::with_error_details_and_metadata(code, error.message(), details, metadata)
}

fn pushback(error: &Error) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    if let Some(delay) = error.retry_delay() {
        let value = match u64::try_from(delay.as_millis()) {
            Ok(milliseconds) if delay <= LONGEST_PUSHBACK => MetadataValue::from(milliseconds),
            _ => MetadataValue::from_static("-1"),
        };
        metadata.insert(PUSHBACK, value);
    }
    metadata
}

fn resource_type(reason: Reason) -> &'static str {
    match reason {
        Reason::RemoteNotFound => "remote",
        Reason::DirectoryNotFound => "directory",
        Reason::RequestIdReused => "request",
        _ => "file",
    }
}

/// The failure of one item inside a response.
pub(super) fn failure(error: &Error) -> proto::Failure {
    proto::Failure {
        code: error.reason().code() as i32,
        reason: error.reason().as_str().to_owned(),
        message: error.message().to_owned(),
        metadata: error
            .metadata()
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
        retry_delay: error.retry_delay().and_then(|delay| delay.try_into().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_contract_has_its_code() {
        for reason in Reason::ALL {
            let name = format!("ERROR_REASON_{}", reason.as_str());
            assert!(
                proto::ErrorReason::from_str_name(&name).is_some(),
                "{name} is not in error.proto"
            );
            let status = status(&Error::new(*reason, "text"));
            assert_eq!(status.code(), reason.code());
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!(
                (info.reason.as_str(), info.domain.as_str()),
                (reason.as_str(), DOMAIN)
            );
            assert_eq!(
                details.retry_info().is_some(),
                reason.code() == Code::Unavailable
                    || matches!(reason, Reason::SpoolFull | Reason::TooManyTransfers)
            );
        }
    }

    #[test]
    fn details_name_path_field_and_delay() {
        let details = status(&Error::invalid_path("a//b", "why")).get_error_details();
        assert_eq!(
            details.bad_request().unwrap().field_violations[0].field,
            "path"
        );
        assert_eq!(details.error_info().unwrap().metadata["path"], "a//b");
        let error = Error::new(Reason::UpstreamLocked, "x").retry_after(Duration::from_secs(31));
        let details = status(&error).get_error_details();
        assert_eq!(
            details.retry_info().unwrap().retry_delay,
            Some(Duration::from_secs(31))
        );
    }

    #[test]
    fn libraries_wait_for_short_delays_and_leave_long_ones_to_the_caller() {
        let pushback = |error: Error| {
            let status = status(&error);
            let value = status.metadata().get(PUSHBACK)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let after = |milliseconds| {
            let error = Error::new(Reason::UpstreamLocked, "x");
            pushback(error.retry_after(Duration::from_millis(milliseconds)))
        };
        assert_eq!(after(0).unwrap(), "0");
        assert_eq!(after(10_000).unwrap(), "10000");
        assert_eq!(after(10_001).unwrap(), "-1");
        assert_eq!(pushback(Error::invalid_path("a//b", "why")), None);
    }
}
