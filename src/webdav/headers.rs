//! Headers of ownCloud's, which rclone sends too: times and checksums.

use http::{HeaderMap, HeaderValue, StatusCode};

use super::Response;
use crate::checksum::{Algorithm, Checksum};
use crate::http::Failure;

const TIME: &str = "x-oc-mtime";

/// The modification time that the client gives, in seconds since the Unix
/// epoch; parts of seconds are left out.
///
/// # Errors
/// 400 for what is no number.
pub(super) fn modified(headers: &HeaderMap) -> Result<Option<i64>, Failure> {
    let Some(value) = headers.get(TIME) else {
        return Ok(None);
    };
    let seconds = value.to_str().ok().and_then(seconds);
    let bad = || {
        Failure::new(
            StatusCode::BAD_REQUEST,
            "X-OC-Mtime is no number of seconds",
        )
    };
    seconds.map(Some).ok_or_else(bad)
}

/// A number of seconds, perhaps with a fraction.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    whole.parse().ok().filter(|_| digits)
}

/// Tells that the time was kept.
pub(super) fn accept(response: &mut Response) {
    let accepted = HeaderValue::from_static("accepted");
    response.headers_mut().insert(TIME, accepted);
}

/// The checksums that the client gives: `SHA1:… MD5:…`. Those of other
/// algorithms are not looked at.
///
/// # Errors
/// 400 for what is no checksum.
pub(super) fn checksums(headers: &HeaderMap) -> Result<Vec<Checksum>, Failure> {
    let mut sums = Vec::new();
    for value in headers.get_all("oc-checksum") {
        let text = value.to_str().unwrap_or_default();
        sums.extend(parse_checksums(text).ok_or_else(|| {
            let text = "OC-Checksum is not of the form ALGORITHM:HEX";
            Failure::new(StatusCode::BAD_REQUEST, text)
        })?);
    }
    Ok(sums)
}

/// `None` for what is none.
pub(super) fn parse_checksums(text: &str) -> Option<Vec<Checksum>> {
    let mut sums: Vec<Checksum> = Vec::new();
    for word in text.split_ascii_whitespace() {
        let (label, hex) = word.split_once(':')?;
        let algorithm = match label.to_ascii_uppercase().as_str() {
            "SHA1" => Algorithm::Sha1,
            "MD5" => Algorithm::Md5,
            "SHA256" => Algorithm::Sha256,
            "WHIRLPOOL" => Algorithm::Whirlpool,
            _ => continue,
        };
        let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || hex.len() != algorithm.hex_digits() {
            return None;
        }
        let hex = hex.to_ascii_lowercase();
        if sums.iter().all(|sum| sum.algorithm != algorithm) {
            sums.push(Checksum { algorithm, hex });
        }
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [
            ("1700000000", Some(1_700_000_000)),
            ("-5", Some(-5)),
            ("1700000000.75", Some(1_700_000_000)),
            (" 7 ", Some(7)),
            ("", None),
            ("now", None),
            ("1.x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn sums() {
        let md5 = "D41D8CD98F00B204E9800998ECF8427E";
        let text = format!("ADLER32:1 md5:{md5} MD5:{}", md5.replace('4', "5"));
        let sums = parse_checksums(&text).unwrap();
        assert_eq!(sums.len(), 1);
        assert_eq!(sums[0].hex, md5.to_ascii_lowercase());
        for bad in ["MD5", "MD5:", "SHA1:xyz", "MD5:d4"] {
            assert!(parse_checksums(bad).is_none(), "{bad}");
        }
    }
}
