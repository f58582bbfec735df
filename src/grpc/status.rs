//! Errors as rich gRPC statuses (design, section 3).

use std::collections::HashMap;
use std::time::Duration;

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{DOMAIN, Error, Reason};
use crate::proto;
use crate::quote::{self, MAX_MESSAGE};

/// By this, gRPC libraries that repeat calls themselves learn when, in
/// milliseconds, or that they shall not (gRPC proposal A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// A library that waits longer runs into the deadline of its call, and its
/// caller never learns what RetryInfo says.
const LONGEST_PUSHBACK: Duration = Duration::from_secs(10);

/// What the text and the details may take together. Some clients take 8 KiB in
/// all (Java), others 16, and there are other headers.
const MOST: usize = 6 << 10;

/// The code is a function of the reason; ErrorInfo always comes with it, and
/// the detail that fits the code.
pub(crate) fn status(error: &Error) -> Status {
    let mut most = MAX_MESSAGE;
    loop {
        let status = within(error, most);
        if size(&status) <= MOST || most < 100 {
            return status;
        }
        most /= 2;
    }
}

/// What a status takes at the most, as it is sent.
fn size(status: &Status) -> usize {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    let text = status.message().as_bytes();
    let text: usize = text
        .iter()
        .map(|byte| if plain(byte) { 1 } else { 3 })
        .sum();
    text + status.details().len().div_ceil(3) * 4
}

/// With so many bytes of each text.
fn within(error: &Error, most: usize) -> Status {
    let text = |text| quote::within(text, most);
    let mut metadata: HashMap<String, String> = error
        .metadata()
        .iter()
        .map(|(key, value)| ((*key).to_owned(), text(value).into_owned()))
        .collect();
    let path = error.path().map(text);
    if let Some(path) = &path {
        metadata.insert("path".to_owned(), path.clone().into_owned());
    }
    let mut details = ErrorDetails::with_error_info(error.reason().as_str(), DOMAIN, metadata);
    let resource = || path.as_deref().unwrap_or_default();
    let message = text(error.message());
    match error.reason().code() {
        Code::InvalidArgument => {
            details.add_bad_request_violation(error.field_name().unwrap_or("path"), &*message);
        }
        Code::NotFound | Code::AlreadyExists => {
            details.set_resource_info(resource_type(error.reason()), resource(), "", &*message);
        }
        Code::FailedPrecondition => {
            details.add_precondition_failure_violation(
                error.reason().as_str(),
                resource(),
                &*message,
            );
        }
        Code::ResourceExhausted => {
            details.add_quota_failure_violation(error.reason().as_str(), &*message);
        }
        _ => {}
    }
    if let Some(delay) = error.retry_delay() {
        details.set_retry_info(Some(delay));
    }
    let (code, metadata) = (error.reason().code(), pushback(error));
    Status::with_error_details_and_metadata(code, &*message, details, metadata)
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

    proptest::proptest! {
        /// Whatever callers give.
        #[test]
        fn a_status_fits_into_what_clients_take(
            texts in proptest::collection::vec(".{0,3000}", 6),
            reason in 0..Reason::ALL.len(),
        ) {
            let text = |at: usize| texts[at].as_str();
            let message = format!("{:?} is not {:?}: {}", text(0), text(1), text(2));
            let error = Error::new(Reason::ALL[reason], message)
                .at(text(3))
                .field(text(4))
                .with("remote", text(5))
                .with("upstream_message", text(0));
            let mut headers = http::HeaderMap::new();
            status(&error).add_header(&mut headers).unwrap();
            let size: usize = headers
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len() + 32)
                .sum();
            proptest::prop_assert!(size <= 7 << 10, "{} bytes", size);
        }
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
