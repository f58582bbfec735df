//! Addresses: which path a request means, and how a path is written in one.

use http::header::HOST;
use http::{HeaderMap, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::backend::RemotePath;
use crate::http::Failure;

/// Where the face is.
pub(super) const ROOT: &str = "/dav/";

/// What stands in an address as it is ([RFC 3986], unreserved).
///
/// [RFC 3986]: https://www.rfc-editor.org/rfc/rfc3986
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: RemotePath,
    /// It ends with a slash: a directory is meant.
    pub(super) slash: bool,
}

/// The name of the remote and the target, of what stands behind [`ROOT`].
///
/// # Errors
/// 400 for what is no path.
pub(super) fn parse(rest: &str) -> Result<(String, Target), Failure> {
    let (remote, path) = rest.split_once('/').unwrap_or((rest, ""));
    let remote = segment(remote)?;
    let slash = path.is_empty() || path.ends_with('/');
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = match path {
        "" => RemotePath::root(),
        path => {
            let segments: Result<Vec<_>, _> = path.split('/').map(segment).collect();
            RemotePath::parse(&segments?.join("/"))?
        }
    };
    // `//` behind the name of the remote is no root.
    if path.is_root() && rest.ends_with("//") {
        return Err(bad("the address has an empty segment (`//`)"));
    }
    Ok((remote, Target { path, slash }))
}

/// One segment, decoded.
fn segment(text: &str) -> Result<String, Failure> {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let is_hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        if byte == b'%' && !(is_hex(rest.next()) && is_hex(rest.next())) {
            return Err(bad(
                "the address has a `%` that begins no escape; write it as %25",
            ));
        }
    }
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| bad("the address is not UTF-8"))?;
    if decoded.contains('/') {
        return Err(bad(
            "the address has an escaped slash (%2F), which no name can have",
        ));
    }
    Ok(decoded.into_owned())
}

fn bad(text: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, text)
}

/// The address of an entry, with a slash at the end of a directory's.
pub(super) fn href(remote: &str, path: &RemotePath, directory: bool) -> String {
    let mut href = ROOT.to_owned();
    href.extend(utf8_percent_encode(remote, ESCAPED));
    for segment in path.segments() {
        href.push('/');
        href.extend(utf8_percent_encode(segment, ESCAPED));
    }
    if directory {
        href.push('/');
    }
    href
}

/// What the `Destination` header names: the remote and the target.
///
/// # Errors
/// 400 without one, 502 for another server, 403 for what is not below
/// [`ROOT`].
pub(super) fn destination(headers: &HeaderMap, asked: &Uri) -> Result<(String, Target), Failure> {
    let mut values = headers.get_all("destination").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(bad("one Destination header is needed"));
    };
    let uri: Uri = value
        .to_str()
        .ok()
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| bad("the Destination header is no address"))?;
    if let Some(other) = uri.authority().map(|authority| authority.as_str()) {
        let scheme = uri.scheme_str().unwrap_or_default();
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let mine = asked.authority().map(|authority| authority.as_str());
        let mine = mine.or(host).unwrap_or_default();
        if plain(other, scheme) != plain(mine, scheme) {
            // Before it may stand a password.
            let other = other.rsplit('@').next().unwrap_or_default();
            let text = format!(
                "the Destination is on {other:?}, and this request was sent to {mine:?}; a proxy in between must pass the \
                 Host header on"
            );
            return Err(Failure::new(StatusCode::BAD_GATEWAY, text));
        }
    }
    match uri.path().strip_prefix(ROOT) {
        Some(rest) => parse(rest),
        None => {
            let text = format!("the Destination must be below {ROOT}");
            Err(Failure::new(StatusCode::FORBIDDEN, text))
        }
    }
}

/// Without letter case, user and the port that the scheme has anyway.
fn plain(authority: &str, scheme: &str) -> String {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let port = match scheme {
        "https" => ":443",
        _ => ":80",
    };
    host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(path: &str, slash: bool) -> Target {
        let path = RemotePath::parse(path).unwrap();
        Target { path, slash }
    }

    #[test]
    fn addresses() {
        for (rest, remote, expected) in [
            ("fichier", "fichier", target("", true)),
            ("fichier/", "fichier", target("", true)),
            ("fichier/a", "fichier", target("a", false)),
            ("f%69chier/a/b/", "fichier", target("a/b", true)),
            (
                "x/%C3%A9%20%25%23%3F%5C+",
                "x",
                target("\u{e9} %#?\\+", false),
            ),
            ("x/%01%7F", "x", target("\u{1}\u{7f}", false)),
        ] {
            assert_eq!(
                parse(rest).unwrap(),
                (remote.to_owned(), expected),
                "{rest}"
            );
        }
        for bad in [
            "x/..",
            "x/a/../b",
            "x/%2e%2E/b",
            "x/.",
            "x/a//b",
            "x//",
            "x//a",
            "x/a%2fb",
            "x/a%00",
            "x/%",
            "x/%2",
            "x/%zz",
            "x/%ff",
            "%2f/a",
            "x/a//",
        ] {
            let failure = parse(bad).unwrap_err();
            assert_eq!(failure.status, StatusCode::BAD_REQUEST, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            segments in proptest::collection::vec("[^/\0]{1,12}", 1..4),
            directory: bool,
        ) {
            let text = segments.join("/");
            prop_assume!(segments.iter().all(|segment| segment != "." && segment != ".."));
            let path = RemotePath::parse(&text).unwrap();
            let href = href("a b", &path, directory);
            prop_assert!(href.is_ascii() && href.parse::<Uri>().is_ok());
            let (remote, read) = parse(href.strip_prefix(ROOT).unwrap()).unwrap();
            prop_assert_eq!(remote, "a b");
            prop_assert_eq!(read, Target { path, slash: directory });
        }

        #[test]
        fn nothing_breaks_the_reader(text in ".{0,60}|[%./0-9a-f]{0,20}") {
            if let Ok((_, read)) = parse(&text) {
                prop_assert!(RemotePath::parse(read.path.as_str()).is_ok());
            }
        }
    }

    #[test]
    fn destinations() {
        let of = |host: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            headers.insert("destination", value.parse().unwrap());
            destination(&headers, &Uri::from_static("/dav/x/old"))
                .map(|(remote, target)| (remote, target.path.as_str().to_owned()))
                .map_err(|failure| failure.status.as_u16())
        };
        let new = Ok(("x".to_owned(), "new".to_owned()));
        assert_eq!(of("h:1", "http://h:1/dav/x/new"), new);
        assert_eq!(of("h", "https://H:443/dav/x/n%65w/"), new);
        assert_eq!(of("h:80", "http://h/dav/x/new"), new);
        assert_eq!(of("h", "/dav/x/new"), new);
        assert_eq!(of("h:1", "http://h:2/dav/x/new"), Err(502));
        assert_eq!(of("h", "http://other/dav/x/new"), Err(502));
        assert_eq!(of("h", "http://h/restic/x/new"), Err(403));
        assert_eq!(of("h", "/dav/x/../y"), Err(400));
        assert_eq!(of("h", "not an address"), Err(400));
        let none = destination(&HeaderMap::new(), &Uri::from_static("/dav/x"));
        assert_eq!(none.unwrap_err().status, StatusCode::BAD_REQUEST);
    }
}
