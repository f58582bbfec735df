//! For which host a request is, and requests that a web page has a browser make:
//! pages of strangers must not use what their readers may.

use http::{Request, StatusCode, Version, header};

use super::Failure;

/// Whether the request says for which host it is, once and in a way that leaves
/// no doubt ([RFC 9112, section 3.2], [RFC 9113, section 8.3.1]). What stands in
/// between, such as a proxy, may have understood another one else.
///
/// [RFC 3986, section 3.2.2]: https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2
/// [RFC 9112, section 3.2]: https://www.rfc-editor.org/rfc/rfc9112#section-3.2
/// [RFC 9113, section 8.3.1]: https://www.rfc-editor.org/rfc/rfc9113#section-8.3.1
///
/// # Errors
/// 400.
pub fn check_host<B>(request: &Request<B>) -> Result<(), Failure> {
    let bad = |text| Err(Failure::new(StatusCode::BAD_REQUEST, text));
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return bad("the request has several Host headers; send one");
    }
    let Some(host) = first else {
        // Where HTTP/1.1 has this header, HTTP/2 has a field of its own.
        return match request.version() {
            Version::HTTP_09 | Version::HTTP_10 => Ok(()),
            Version::HTTP_11 => bad("the request has no Host header; send one"),
            _ if request.uri().authority().is_some() => Ok(()),
            _ => bad("the request names no host; send :authority"),
        };
    };
    // A name, a number or an escaped path, and a port; nothing at all where an
    // address has no host ([RFC 3986, section 3.2.2]).
    let usable = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte);
    match host.as_bytes().iter().all(usable) {
        true => Ok(()),
        false => bad("the Host header is no host with or without a port"),
    }
}

/// Whether the request was made for a name that no stranger can lead here.
pub fn names_this_machine<B>(request: &Request<B>) -> bool {
    let Some(name) = authority(request) else {
        return true;
    };
    let name = match name.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => name,
    };
    let number = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || number.parse::<std::net::IpAddr>().is_ok()
}

/// The host that the request is for, as its client wrote it.
fn authority<B>(request: &Request<B>) -> Option<&str> {
    let of_uri = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let host = || request.headers().get(header::HOST);
    of_uri.or_else(|| host().map(|host| host.to_str().unwrap_or("?")))
}

/// Whether a page of another site made the request, as far as the browser tells.
pub fn is_of_another_site<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| site == b"cross-site" || site == b"same-site") {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let asked = authority(request);
    let of = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    match (of, asked) {
        (Some((_, of)), Some(asked)) => !of.eq_ignore_ascii_case(asked),
        // Such as "null".
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in headers {
            let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn one_host() {
        let with = |version, uri: &str, hosts: &[&'static str]| {
            let mut request = Request::new(());
            *request.version_mut() = version;
            *request.uri_mut() = uri.parse().unwrap();
            for host in hosts {
                let host = header::HeaderValue::from_static(host);
                request.headers_mut().append(header::HOST, host);
            }
            check_host(&request).is_ok()
        };
        let (old, new, two) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        for (version, uri, hosts, good) in [
            (new, "/", &["a"][..], true),
            (new, "/", &["[::1]:80"], true),
            (new, "/", &[""], true),
            (new, "/", &[], false),
            (new, "/", &["a", "a"], false),
            (new, "/", &["a", "b"], false),
            (new, "http://a/", &[], false),
            (new, "/", &["run%2Fhttp.sock:80"], true),
            (new, "/", &["a b"], false),
            (new, "/", &["a/b"], false),
            (new, "/", &["user@a"], false),
            (old, "/", &[], true),
            (old, "/", &["a", "b"], false),
            (two, "http://a/", &[], true),
            (two, "http://a/", &["a"], true),
            (two, "/", &["a"], true),
            (two, "/", &[], false),
            (two, "http://a/", &["a", "a"], false),
        ] {
            assert_eq!(
                with(version, uri, hosts),
                good,
                "{version:?} {uri} {hosts:?}"
            );
        }
    }

    #[test]
    fn names_of_this_machine() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "[::1]:8080",
            "192.0.2.1",
        ] {
            assert!(names_this_machine(&request(&[("host", host)])), "{host}");
        }
        for host in [
            "example.org",
            "localhost.example.org:80",
            "127.0.0.1.example.org",
            "",
        ] {
            assert!(!names_this_machine(&request(&[("host", host)])), "{host}");
        }
        assert!(names_this_machine(&request(&[])));
    }

    #[test]
    fn pages_of_other_sites() {
        let host = ("host", "127.0.0.1:8080");
        for other in [
            ("origin", "http://example.org"),
            ("origin", "http://127.0.0.1:8081"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(is_of_another_site(&request(&[host, other])), "{other:?}");
        }
        for own in [
            ("origin", "http://127.0.0.1:8080"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(!is_of_another_site(&request(&[host, own])), "{own:?}");
        }
        assert!(!is_of_another_site(&request(&[host])));
    }
}
