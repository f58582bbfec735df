//! The HTTP listener before any face: who comes in, and for how long.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pluton_fichier::config::Listen;
use pluton_fichier::emulator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::*;

async fn listening(require_token: bool) -> World {
    build(emulator::Options::default(), |config| {
        config.http_listen = vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())];
        config.require_token = require_token;
    })
    .await
}

async fn raw(world: &World) -> TcpStream {
    let address = &world.server.as_ref().unwrap().http_addresses()[0];
    TcpStream::connect(address).await.unwrap()
}

/// Sends this, and reads until the server ends the connection. Gives what it
/// said, and how long that took.
async fn until_closed(world: &World, bytes: &[u8]) -> (String, u64) {
    let begin = Instant::now();
    let mut socket = raw(world).await;
    socket.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    // A reset is an end, too.
    let _ = socket.read_to_end(&mut said).await;
    let said = String::from_utf8_lossy(&said).into_owned();
    (said, begin.elapsed().as_secs())
}

async fn ask(world: &World, header: &str) -> String {
    ask_for("localhost", world, header).await
}

async fn ask_for(host: &str, world: &World, header: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{header}\r\n");
    until_closed(world, request.as_bytes()).await.0
}

fn basic(pair: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

#[tokio::test(start_paused = true)]
async fn tokens_come_as_bearer_or_as_a_password() {
    let world = listening(true).await;
    let secret = make(&world, "web", "", Mode::Full);
    a_while().await;
    for header in [
        format!("Authorization: Bearer {secret}\r\n"),
        basic(&format!("anybody:{secret}")),
        basic(&format!(":{secret}")),
    ] {
        let said = ask(&world, &header).await;
        assert!(said.starts_with("HTTP/1.1 404"), "{said}");
        assert!(!said.contains(&secret));
    }
    for (header, word) in [
        (String::new(), "a valid token is needed"),
        (basic("me:wrong"), "a valid token is needed"),
        (basic("me:"), "there is no password"),
        // Pluton's form, left empty.
        (basic("undefined:undefined"), "came as \"undefined\""),
        (
            "Authorization: Bearer \r\n".to_owned(),
            "a valid token is needed",
        ),
    ] {
        let said = ask(&world, &header).await;
        assert!(said.starts_with("HTTP/1.1 401"), "{said}");
        let lower = said.to_ascii_lowercase();
        assert!(lower.contains("www-authenticate: basic realm="), "{said}");
        let (_, text) = said.split_once("\r\n\r\n").unwrap();
        assert!(text.contains(word), "{header}: {said}");
        assert_eq!(text.lines().count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_needs_no_token_may_leave_the_form_empty() {
    let world = listening(false).await;
    for header in [String::new(), basic("undefined:undefined"), basic("me:")] {
        let said = ask(&world, &header).await;
        assert!(said.starts_with("HTTP/1.1 404"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_and_silent_clients_are_sent_away() {
    let world = listening(true).await;
    // Nothing, half a request, and one without a token.
    for begin in [
        "",
        "GET / HTTP/1.1\r\nHo",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "PRI * HTTP/2.0\r\n",
    ] {
        let (_, seconds) = until_closed(&world, begin.as_bytes()).await;
        assert!((30..=32).contains(&seconds), "{seconds} s after {begin:?}");
    }
    let secret = make(&world, "web", "", Mode::Full);
    a_while().await;
    let request =
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n\r\n");
    let (_, seconds) = until_closed(&world, request.as_bytes()).await;
    assert!((119..=125).contains(&seconds), "{seconds} s");
}

#[tokio::test(start_paused = true)]
async fn header_bombs_of_http_1_are_refused() {
    let world = listening(false).await;
    let many: String = (0..200).map(|line| format!("x-{line}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    for bomb in [many, long] {
        let said = ask(&world, &bomb).await;
        assert!(
            said.starts_with("HTTP/1.1 431") || said.is_empty(),
            "{said}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_idle_end_with_the_server() {
    let mut world = listening(false).await;
    let mut socket = raw(&world).await;
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    socket.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 404");
    let begin = Instant::now();
    world.server.take().unwrap().stop().await;
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_sites_do_not_use_what_a_browser_here_reaches() {
    for token in [false, true] {
        let world = listening(token).await;
        let mut header = String::new();
        if token {
            header = basic(&format!("me:{}", make(&world, "web", "", Mode::Full)));
            a_while().await;
        }
        let own = "Origin: http://localhost:80\r\nSec-Fetch-Site: same-origin\r\n";
        let said = ask_for("localhost:80", &world, &format!("{header}{own}")).await;
        assert!(said.starts_with("HTTP/1.1 404"), "{said}");
        for foreign in [
            "Origin: http://example.org\r\n",
            "Origin: null\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
        ] {
            let said = ask(&world, &format!("{header}{foreign}")).await;
            assert!(said.starts_with("HTTP/1.1 403"), "{said}");
        }
        // A page that has led its own name here.
        let page = "Origin: http://example.org\r\nSec-Fetch-Site: same-origin\r\n";
        let said = ask_for("example.org", &world, &format!("{header}{page}")).await;
        let expected = if token {
            "HTTP/1.1 404"
        } else {
            "HTTP/1.1 421"
        };
        assert!(said.starts_with(expected), "{said}");
    }
}

/// No browser comes there, and clients write any host.
#[tokio::test(start_paused = true)]
async fn a_unix_socket_is_asked_for_by_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/http.sock");
    let listen = Listen::Unix(path.clone());
    let world = build(emulator::Options::default(), |config| {
        config.http_listen = vec![listen];
    })
    .await;
    for host in ["localhost", "pluton.example", "run%2Fhttp.sock:80"] {
        let mut socket = UnixStream::connect(&path).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 404"), "{host}: {said}");
    }
    drop(world);
}
