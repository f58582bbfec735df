//! By which id its caller knows a call, which trace it is a part of, and how
//! much the log makes of its end: the same over gRPC and over HTTP.

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Code;

/// By this the caller knows the call; it is told in the answer, too.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub(super) const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// A longer id is not taken over.
const MAX_ID: usize = 128;

/// The caller's id if it is one, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        let id = id.as_bytes();
        (1..=MAX_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
    };
    let given = headers.get(REQUEST_ID).filter(usable).cloned();
    given.unwrap_or_else(|| {
        let id = uuid::Uuid::new_v4().simple().to_string();
        // Of hexadecimal digits.
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// The trace of a `traceparent`: `00-TRACE-PARENT-FLAGS`, where later versions
/// may add more.
pub(super) fn trace_id(header: &HeaderValue) -> Option<&str> {
    let text = header.to_str().ok()?;
    let mut parts = text.split('-');
    let hex = |part: &&str, length| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let version = parts.next().filter(|part| hex(part, 2) && *part != "ff")?;
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let trace = parts.next().filter(|part| hex(part, 32) && !zero(part))?;
    parts.next().filter(|part| hex(part, 16) && !zero(part))?;
    parts.next().filter(|part| hex(part, 2))?;
    (version != "00" || parts.next().is_none()).then_some(trace)
}

/// Whom the end of a call concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Whoever mends the server: a defect, or content that is lost.
    Defect,
    /// Whoever runs the server, and not only the caller.
    Operators,
    /// The caller alone.
    Callers,
}

/// That of a code and its reason.
pub(super) fn weight(code: Code, reason: Option<&str>) -> Weight {
    match code {
        Code::Unknown | Code::Internal | Code::DataLoss => Weight::Defect,
        Code::Unavailable | Code::ResourceExhausted | Code::FailedPrecondition
            if reason.is_some_and(concerns_operator) =>
        {
            Weight::Operators
        }
        _ => Weight::Callers,
    }
}

/// Failures for other reasons are the caller's own affair.
fn concerns_operator(reason: &str) -> bool {
    reason.starts_with("UPSTREAM_")
        || matches!(
            reason,
            "SPOOL_FULL" | "TOO_MANY_TRANSFERS" | "STATE_UNAVAILABLE"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_callers_that_are_ids() {
        let id = |given: &'static [u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(given).unwrap());
            request_id(&headers)
        };
        assert_eq!(id(b"abc-1"), "abc-1");
        assert_eq!(id(&[b'x'; MAX_ID]).len(), MAX_ID);
        for bad in [&b""[..], b"a b", b"a\tb", b"\xe9", &[b'x'; MAX_ID + 1]] {
            let made = id(bad);
            assert_eq!(made.len(), 32, "{made:?}");
            assert_ne!(made, id(bad));
        }
    }

    #[test]
    fn traces_of_callers() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let trace = |text: &str| {
            let header = HeaderValue::from_str(text).unwrap();
            trace_id(&header).map(str::to_owned)
        };
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(trace(&good).as_deref(), Some(TRACE));
        assert_eq!(trace(&good.replacen("00", "01", 1)).as_deref(), Some(TRACE));
        let longer = format!("01-{TRACE}-00f067aa0ba902b7-01-more");
        assert_eq!(trace(&longer).as_deref(), Some(TRACE));
        for bad in [
            "",
            "00",
            &format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            &format!("{good}-more"),
        ] {
            assert_eq!(trace(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_concerns_whom() {
        for (code, reason, expected) in [
            (Code::Internal, None, Weight::Defect),
            (
                Code::DataLoss,
                Some("STORED_CONTENT_CORRUPT"),
                Weight::Defect,
            ),
            (
                Code::Unavailable,
                Some("UPSTREAM_LOCKED"),
                Weight::Operators,
            ),
            (
                Code::ResourceExhausted,
                Some("SPOOL_FULL"),
                Weight::Operators,
            ),
            (
                Code::Unavailable,
                Some("STATE_UNAVAILABLE"),
                Weight::Operators,
            ),
            (Code::Unavailable, Some("SHUTTING_DOWN"), Weight::Callers),
            (Code::Unavailable, None, Weight::Callers),
            (Code::NotFound, Some("FILE_NOT_FOUND"), Weight::Callers),
            (Code::Ok, None, Weight::Callers),
        ] {
            assert_eq!(weight(code, reason), expected, "{code:?} {reason:?}");
        }
    }
}
