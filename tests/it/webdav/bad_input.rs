//! What no well-behaved client sends.

use super::*;

#[tokio::test(start_paused = true)]
async fn addresses_that_are_no_paths() {
    let world = served().await;
    for path in [
        "/dav/fichier/..",
        "/dav/fichier/a/../../b",
        "/dav/fichier/%2e%2e/b",
        "/dav/fichier/a%2Fb",
        "/dav/fichier/a%00b",
        "/dav/fichier//a",
        "/dav/fichier/%ff",
        "/dav/fichier/%4",
        "/dav/",
        "/dav/none/a",
    ] {
        for method in ["GET", "DELETE", "MKCOL"] {
            let (status, text) = raw(&world, &format!("{method} {path} HTTP/1.1")).await;
            assert_eq!(status, 400, "{method} {path}: {text}");
        }
    }
    assert!(world.stored_all().is_empty());
    let (status, _) = raw(&world, "GET /davx/fichier/ HTTP/1.1").await;
    assert_eq!(status, 404);
}

/// Of whatever face, and of the admin listener.
#[tokio::test(start_paused = true)]
async fn a_request_names_one_host() {
    let world = served().await;
    put(&world, "f", b"content").await;
    let admin = world.server.as_ref().unwrap().admin_address().unwrap();
    let http = address(&world);
    for (address, target, found) in [
        (http.as_str(), "/dav/fichier/f", 200),
        (&http, "/restic/fichier/r/config", 404),
        (&http, "/nothing", 404),
        (admin, "/healthz", 200),
        (admin, "/nothing", 404),
    ] {
        let ask = async |version: &str, hosts: &[&str]| -> u16 {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let hosts: String = hosts
                .iter()
                .map(|host| format!("Host: {host}\r\n"))
                .collect();
            let head = format!("GET {target} HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            let mut said = String::new();
            socket.read_to_string(&mut said).await.unwrap();
            said.split(' ').nth(1).unwrap().parse().unwrap()
        };
        assert_eq!(ask("1.1", &["localhost"]).await, found, "{target}");
        assert_eq!(ask("1.0", &["localhost"]).await, found, "{target}");
        assert_eq!(ask("1.0", &[]).await, found, "{target}");
        for bad in [
            &[][..],
            &["localhost", "localhost"],
            &["localhost", "example.org"],
            &["a b"],
            &["me@localhost"],
        ] {
            assert_eq!(ask("1.1", bad).await, 400, "{target} with {bad:?}");
        }
        assert_eq!(
            ask("1.0", &["localhost", "localhost"]).await,
            400,
            "{target}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_no_xml() {
    let world = served().await;
    let bomb = "<!DOCTYPE a [<!ENTITY b \"cccccccccc\">]><propfind xmlns=\"DAV:\">&b;</propfind>";
    let deep = "<a>".repeat(1_001);
    for body in ["<", "nonsense", bomb, deep.as_str()] {
        let request = ask(&world, "PROPFIND", "").with("Depth", "0");
        request.body(body.to_owned()).gives(400).await;
    }
    let long = format!("<a>{}</a>", "x".repeat(1 << 20));
    for request in [
        ask(&world, "PROPFIND", "")
            .with("Depth", "0")
            .body(long.clone()),
        ask(&world, "PROPPATCH", "").chunked(long.into_bytes()),
    ] {
        request.gives(413).await;
    }
}

/// The answer repeats what is asked for, once for each entry.
#[tokio::test(start_paused = true)]
async fn names_are_few_and_short() {
    let world = served().await;
    for number in 0..100 {
        world.control.add_file(0, &format!("f{number}"), b"x");
    }
    let asked = |namespace: usize, local: usize, count: usize| {
        let names: String = (0..count)
            .map(|number| format!("<x:{}{number}/>", "a".repeat(local)))
            .collect();
        let namespace = "n".repeat(namespace);
        format!(
            "<D:propfind xmlns:D=\"DAV:\" xmlns:x=\"{namespace}\"><D:prop>{names}</D:prop></D:propfind>"
        )
    };
    for (namespace, local, count) in [(50_000, 1, 900), (257, 1, 1), (1, 257, 1), (1, 1, 65)] {
        let body = asked(namespace, local, count);
        let request = ask(&world, "PROPFIND", "").with("Depth", "1");
        request.body(body).gives(400).await;
        let body = asked(namespace, local, count).replace("propfind", "propertyupdate");
        let body = body.replace("<D:prop>", "<D:set><D:prop>");
        let body = body.replace("</D:prop>", "</D:prop></D:set>");
        ask(&world, "PROPPATCH", "f1").body(body).gives(400).await;
    }
    let told = propfind(&world, "", "1", &asked(256, 250, 64)).await;
    assert_eq!(told.all("D:href").len(), 101);
    let same = "<D:getetag/>".repeat(500);
    let body = format!("<D:propfind xmlns:D=\"DAV:\"><D:prop>{same}</D:prop></D:propfind>");
    let told = propfind(&world, "f1", "0", &body).await;
    assert_eq!(told.all("D:getetag").len(), 1, "repeats are told once");
    let times = "<D:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</D:getlastmodified>".repeat(2);
    let patch = |names: &str| {
        let body = format!(
            "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop>{names}</D:prop></D:set></D:propertyupdate>"
        );
        ask(&world, "PROPPATCH", "f1").body(body).gives(207)
    };
    for (names, statuses) in [
        (same, vec!["HTTP/1.1 403 Forbidden"]),
        (times.clone(), vec!["HTTP/1.1 200 OK"]),
        // One of them is wrong, and so is the property.
        (
            format!("{times}<D:getlastmodified/>"),
            vec!["HTTP/1.1 403 Forbidden"],
        ),
    ] {
        let told = patch(&names).await;
        assert_eq!(told.all("D:status"), statuses, "{names}");
        assert_eq!(told.text().matches("<D:get").count(), 1, "{names}");
    }
    let most: String = (0..64).map(|number| format!("<a{number}/>")).collect();
    assert_eq!(patch(&most).await.text().matches("<a").count(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_of_a_propfind_is_given_up() {
    let world = served().await;
    let mut socket = TcpStream::connect(address(&world)).await.unwrap();
    let head = "PROPFIND /dav/fichier/ HTTP/1.1\r\nHost: localhost\r\nDepth: 0\r\nContent-Length: 9\r\n\r\n<a>";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut said = [0; 12];
    socket.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 408");
}
