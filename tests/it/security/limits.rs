//! Callers that want to bring the server down.

use pluton_fichier::emulator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::Code;
use tower::ServiceExt;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

/// A frame of HTTP/2 [RFC 9113, section 4.1].
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header field in words of its own [RFC 7541, section 6.2.2].
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0, name.len() as u8];
    bytes.extend(name.bytes());
    bytes.push(value.len() as u8);
    bytes.extend(value.bytes());
    bytes
}

/// The begin of a connection that asks for the health of the server.
pub(super) fn health_check() -> Vec<u8> {
    let fields = [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", "/grpc.health.v1.Health/Check"),
        field(":authority", "localhost"),
        field("content-type", "application/grpc"),
        field("te", "trailers"),
    ];
    [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, 4, 1, &fields.concat()),
        frame(DATA, 1, 1, &[0; 5]),
    ]
    .concat()
}

async fn raw(world: &World) -> TcpStream {
    let address = &world.server.as_ref().unwrap().addresses()[0];
    TcpStream::connect(address).await.unwrap()
}

/// Sends this, and reads until the server ends the connection. Gives how long
/// that took, and what it said.
async fn until_closed(mut socket: TcpStream, bytes: &[u8]) -> (u64, Vec<u8>) {
    let begin = Instant::now();
    socket.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    // A reset is an end, too.
    let _ = socket.read_to_end(&mut said).await;
    (begin.elapsed().as_secs(), said)
}

#[tokio::test(start_paused = true)]
async fn who_does_not_ask_is_sent_away() {
    let world = world().await;
    let settings = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    for begin in [&b""[..], b"PRI * HT", PREFACE, &settings] {
        let (seconds, _) = until_closed(raw(&world).await, begin).await;
        assert!((30..=32).contains(&seconds), "{seconds} s after {begin:?}");
    }
    // A request in time, and a peer that then is dead: it does not answer pings.
    let (seconds, said) = until_closed(raw(&world).await, &health_check()).await;
    assert!((55..=65).contains(&seconds), "{seconds} s");
    let status = said.windows(11).any(|part| part == b"grpc-status");
    assert!(status || said.len() > 60, "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_token_keeps_no_connection_open() {
    let world = build(emulator::Options::default(), |config| {
        config.require_token = true
    })
    .await;
    let mut refused = health_check();
    let path = b"/grpc.health.v1.Health/Check";
    let place = refused
        .windows(path.len())
        .position(|part| part == path)
        .unwrap();
    refused[place..place + path.len()].copy_from_slice(b"/pluton.storage.v1.Nonsense/");
    let (seconds, _) = until_closed(raw(&world).await, &refused).await;
    assert!((30..=32).contains(&seconds), "{seconds} s");
}

#[tokio::test(start_paused = true)]
async fn slow_handshakes_hold_nobody_up() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("cert"), &pem).unwrap();
    std::fs::write(path("key"), key.serialize_pem()).unwrap();
    let files = pluton_fichier::tls::TlsFiles {
        cert: path("cert"),
        key: path("key"),
        client_ca: None,
    };
    let world = build(emulator::Options::default(), |config| {
        config.tls = Some(files)
    })
    .await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let socket = raw(&world).await;
        slow.push(tokio::spawn(until_closed_owned(socket)));
    }
    let address = &world.server.as_ref().unwrap().addresses()[0];
    let port = address.rsplit(':').next().unwrap();
    let config = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(pem));
    let endpoint = tonic::transport::Endpoint::from_shared(format!("https://localhost:{port}"));
    let endpoint = endpoint.unwrap().tls_config(config).unwrap();
    let begin = Instant::now();
    let mut client = StorageBackendClient::new(endpoint.connect().await.unwrap());
    client.get_info(GetInfoRequest {}).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(9));
    for slow in slow {
        let seconds = slow.await.unwrap();
        assert!((9..=30).contains(&seconds), "{seconds} s");
    }
}

async fn until_closed_owned(socket: TcpStream) -> u64 {
    // The begin of a record of TLS that never goes on.
    until_closed(socket, b"\x16\x03\x01").await.0
}

#[tokio::test(start_paused = true)]
async fn header_bombs_are_refused() {
    let world = world().await;
    let mut request = Request::new(GetInfoRequest {});
    for number in 0..64 {
        let name: tonic::metadata::MetadataKey<Ascii> = format!("x-{number}").parse().unwrap();
        let value = "x".repeat(1 << 10).parse().unwrap();
        request.metadata_mut().insert(name, value);
    }
    let status = world.client.clone().get_info(request).await.unwrap_err();
    assert_ne!(status.code(), Code::Ok, "{status:?}");
    world.stat("").await.unwrap();
    // Headers that never end.
    let mut socket = raw(&world).await;
    let begin = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, 0, 1, &field(":method", "POST")),
    ];
    socket.write_all(&begin.concat()).await.unwrap();
    let more = frame(
        CONTINUATION,
        0,
        1,
        &field("x", &"y".repeat(100)).repeat(100),
    );
    let mut sent = 0;
    while socket.write_all(&more).await.is_ok() {
        sent += more.len();
        assert!(sent < 32 << 20, "the server takes headers without end");
        tokio::task::yield_now().await;
    }
    world.stat("").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_of_4_gib_is_refused_at_its_first_bytes() {
    let world = world().await;
    let channel = channel(&world).await;
    for call in ["Stat", "Put", "Delete"] {
        let body = http_body_util::Full::new(bytes::Bytes::from_static(b"\0\xff\xff\xff\xff12345"));
        let request = http::Request::post(format!("/pluton.storage.v1.StorageBackend/{call}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(tonic::body::Body::new(body))
            .unwrap();
        let answer = channel.clone().oneshot(request).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(reason(&status), "INVALID_FIELD", "{call}: {status:?}");
        assert!(status.message().contains("4294967295"), "{status:?}");
    }
    // What a client may send: 1 MiB in a chunk, and not a byte more.
    let limit = 1 << 20;
    for (size, taken) in [(limit, true), (limit + 1, false), (2 * limit, false)] {
        let parts = vec![
            message(put_request::Payload::Header(header("f"))),
            chunk(0, &content(size)),
            commit(size),
        ];
        let sent = send(&world.client, parts).await;
        assert_eq!(sent.is_ok(), taken, "{size}: {sent:?}");
        if !taken {
            assert_reason(sent, "INVALID_FIELD");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_place_for_so_many_and_no_more() {
    let world = build(emulator::Options::default(), |config| {
        config.max_connections = 8
    })
    .await;
    world.stat("").await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..7 {
        let mut socket = raw(&world).await;
        socket.write_all(PREFACE).await.unwrap();
        idle.push(socket);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (seconds, said) = until_closed(raw(&world).await, b"").await;
    assert_eq!((seconds, said.len()), (0, 0));
    // Who is in stays in, and who was sent away has made place.
    world.stat("").await.unwrap();
    tokio::time::sleep(Duration::from_secs(40)).await;
    let mut second = StorageBackendClient::new(channel(&world).await);
    second.stat(StatRequest::default()).await.unwrap();
    drop(idle);
}
