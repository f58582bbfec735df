//! Requests that a web page has a browser make: pages of strangers must not use
//! what their readers may.

use http::{Request, header};

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
