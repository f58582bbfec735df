//! The `Range` header ([RFC 9110, section 14]).
//!
//! [RFC 9110, section 14]: https://www.rfc-editor.org/rfc/rfc9110#section-14

use http::{HeaderMap, HeaderValue, header};

/// What a request wants of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it, also when the header asks for what this server does not give:
    /// several ranges, or other units.
    Whole,
    /// One range that lies in the file: its first byte, and how many.
    Part {
        /// First byte.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// A range that begins behind the end.
    Nothing,
}

/// What the headers want of a file of this size and etag.
pub fn wanted(headers: &HeaderMap, size: u64, etag: &HeaderValue) -> Wanted {
    let mut values = headers.get_all(header::RANGE).iter();
    let (Some(range), None) = (values.next(), values.next()) else {
        return Wanted::Whole;
    };
    // Of a file that changed meanwhile, the whole is wanted.
    if headers
        .get(header::IF_RANGE)
        .is_some_and(|known| known != etag)
    {
        return Wanted::Whole;
    }
    range
        .to_str()
        .ok()
        .and_then(|text| parse(text, size))
        .unwrap_or(Wanted::Whole)
}

fn parse(text: &str, size: u64) -> Option<Wanted> {
    let (unit, set) = text.split_once('=')?;
    let (first, last) = set.trim().split_once('-')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let part = |offset, end: u64| match offset < size {
        true => Wanted::Part {
            offset,
            length: end.min(size) - offset,
        },
        false => Wanted::Nothing,
    };
    Some(match (first, last) {
        ("", last) => match number(last)? {
            0 => Wanted::Nothing,
            length => part(size.saturating_sub(length), size),
        },
        (first, "") => part(number(first)?, size),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            part(first, last.saturating_add(1))
        }
    })
}

/// Digits only: `str::parse` would take a sign.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // More than any file has, is behind its end.
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |offset, length| Wanted::Part { offset, length };
        for (text, expected) in [
            ("bytes=0-", part(0, 10)),
            ("bytes=0-0", part(0, 1)),
            ("Bytes=3-5", part(3, 3)),
            ("bytes=3-99", part(3, 7)),
            ("bytes=3-99999999999999999999999", part(3, 7)),
            ("bytes=-4", part(6, 4)),
            ("bytes=-99", part(0, 10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-3", Wanted::Whole),
            ("bytes=1-2,4-5", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes", Wanted::Whole),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_str(text).unwrap());
            let etag = HeaderValue::from_static("\"e\"");
            assert_eq!(wanted(&headers, 10, &etag), expected, "{text}");
            headers.insert(header::IF_RANGE, etag.clone());
            assert_eq!(wanted(&headers, 10, &etag), expected, "{text}");
            headers.insert(header::IF_RANGE, HeaderValue::from_static("\"f\""));
            assert_eq!(wanted(&headers, 10, &etag), Wanted::Whole, "{text}");
        }
    }
}
