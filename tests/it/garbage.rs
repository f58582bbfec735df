//! Bytes that are no gRPC, or no message of the contract: the error of whoever
//! sent them, on every method of every service.

use std::collections::BTreeSet;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use pluton_fichier::emulator;
use pluton_fichier::proto::put_request::Payload;
use pluton_fichier::proto::*;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::ServiceExt;

use crate::emitted::{follow, lines_of};
use crate::harness::*;

const STORAGE: &str = "/pluton.storage.v1.StorageBackend/";

/// A method, and whether its request is a stream.
struct Method {
    path: String,
    streams: bool,
    /// Its request has a field 1 that is a text or a message.
    has_field: bool,
}

/// All that the server serves.
fn methods() -> Vec<Method> {
    let sets = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut methods = Vec::new();
    for set in sets {
        for file in FileDescriptorSet::decode(set).unwrap().file {
            for service in &file.service {
                for method in &service.method {
                    methods.push(Method {
                        path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                        streams: method.client_streaming(),
                        has_field: method.name() != "GetInfo",
                    });
                }
            }
        }
    }
    assert!(methods.len() > 20);
    methods
}

async fn channel(world: &World) -> Channel {
    let address = &world.server.as_ref().unwrap().addresses()[0];
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    endpoint.unwrap().connect().await.unwrap()
}

/// What came back.
struct Answer {
    http: u16,
    status: Option<Status>,
    /// What the log says of it.
    lines: Vec<String>,
}

/// Calls a method with these headers, among others or in their place, and this
/// body.
async fn call(channel: &Channel, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
    let id = format!("garbage-{}", uuid::Uuid::new_v4());
    follow(&id);
    let mut request = http::Request::post(path)
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("x-request-id", &id)
        .body(body)
        .unwrap();
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        match *value {
            "" => request.headers_mut().remove(name),
            value => request.headers_mut().insert(name, value.parse().unwrap()),
        };
    }
    let answer = channel.clone().oneshot(request).await.unwrap();
    let http = answer.status().as_u16();
    let mut status = Status::from_header_map(answer.headers());
    let body = answer.into_body().collect().await;
    if status.is_none() {
        let trailers = body.unwrap().trailers().cloned().unwrap_or_default();
        status = Status::from_header_map(&trailers);
    }
    let lines = lines_of(&id);
    Answer {
        http,
        status,
        lines,
    }
}

/// A message with its prefix.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

fn full(bytes: Vec<u8>) -> Body {
    Body::new(Full::new(Bytes::from(bytes)))
}

/// It is the caller's error, and nobody else's.
#[track_caller]
fn assert_callers(answer: &Answer, what: &str) -> (String, String) {
    let status = answer.status.clone().expect(what);
    assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
    let details = status.get_error_details();
    let violations = details.bad_request().expect(what).field_violations.clone();
    assert_eq!(violations.len(), 1, "{what}");
    assert!(!violations[0].description.is_empty(), "{what}");
    for line in &answer.lines {
        let level = line.split_whitespace().nth(1).unwrap();
        assert!(matches!(level, "DEBUG" | "TRACE"), "{what}: {line}");
    }
    let ended = answer.lines.iter().filter(|line| line.contains("ended"));
    assert_eq!(ended.count(), 1, "{what}: {:?}", answer.lines);
    (reason(&status), violations[0].field.clone())
}

/// The codes that calls were counted with, and answers have.
async fn codes(world: &World) -> BTreeSet<String> {
    let admin = world.server.as_ref().unwrap().admin_address().unwrap();
    let answer = reqwest::get(format!("http://{admin}/metrics")).await;
    let text = answer.unwrap().text().await.unwrap();
    let of_calls = text.lines().filter(|line| line.contains("_rpcs_total{"));
    of_calls
        .map(|line| {
            let (_, rest) = line.split_once("code=\"").unwrap();
            rest.split('"').next().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn bytes_that_do_not_decode_are_the_callers_error() {
    let world = world().await;
    let channel = channel(&world).await;
    let long = [&[0][..], &u32::MAX.to_be_bytes(), b"12345"].concat();
    let cut = [&[0, 0, 0, 0, 100][..], b"abc"].concat();
    for method in methods() {
        let ask = async |what: &str, body: Vec<u8>| {
            let what = format!("{what} to {}", method.path);
            let answer = call(&channel, &method.path, &[], full(body)).await;
            assert_callers(&answer, &what)
        };
        let violation = "PROTOCOL_VIOLATION".to_owned();
        for (what, body) in [
            ("a message that is cut", cut.clone()),
            ("a prefix that is cut", vec![0, 0, 0]),
            ("an unknown flag", [&[2][..], &framed(b"")[1..]].concat()),
            (
                "compressed by nothing",
                [&[1][..], &framed(b"")[1..]].concat(),
            ),
            ("the tag 0", framed(&[0, 0])),
            ("the wire type 7", framed(&[15])),
        ] {
            assert_eq!(
                ask(what, body).await.0,
                violation,
                "{what} to {}",
                method.path
            );
        }
        let (reason, _) = ask("a length beyond the end", framed(b"\x0a\x7fa")).await;
        assert!(
            ["INVALID_FIELD", &violation].contains(&&*reason),
            "{reason}"
        );
        assert_eq!(ask("4 GiB", long.clone()).await.0, "INVALID_FIELD");
        if !method.streams {
            assert_eq!(ask("nothing", Vec::new()).await.0, violation);
            let twice = [framed(b""), cut.clone()].concat();
            assert_eq!(ask("garbage behind a message", twice).await.0, violation);
        }
        if method.has_field {
            // As a text it is no UTF-8, and as a message it has no field.
            let (reason, field) = ask("bad UTF-8", framed(b"\x0a\x02\xff\xfe")).await;
            assert_eq!(reason, "INVALID_FIELD", "{}", method.path);
            assert!(!field.is_empty() && field != "request", "{field}");
            let (reason, named) = ask("a number for a text", framed(&[8, 1])).await;
            assert_eq!((&*reason, named), ("INVALID_FIELD", field));
        }
    }
    let codes = codes(&world).await;
    assert_eq!(codes, BTreeSet::from(["INVALID_ARGUMENT".to_owned()]));
    assert_eq!(world.control.calls().total_v1(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_bad_field_is_named() {
    let world = world().await;
    let channel = channel(&world).await;
    let bad = b"\x02\xff\xfe";
    for (call_of, tag, name) in [
        ("Stat", 1, "remote"),
        ("Stat", 2, "path"),
        ("Get", 2, "path"),
    ] {
        let message = [&[tag << 3 | 2][..], bad].concat();
        let path = format!("{STORAGE}{call_of}");
        let answer = call(&channel, &path, &[], full(framed(&message))).await;
        let (reason, field) = assert_callers(&answer, call_of);
        assert_eq!((&*reason, &*field), ("INVALID_FIELD", name));
    }
    // In a message of a message.
    let target = b"\x12\x04\x0a\x02\xff\xfe";
    let path = format!("{STORAGE}Delete");
    let answer = call(&channel, &path, &[], full(framed(target))).await;
    let (_, field) = assert_callers(&answer, "Delete");
    assert_eq!(field, "targets.path");
}

#[tokio::test(start_paused = true)]
async fn garbage_in_the_middle_of_a_put_stores_nothing() {
    let world = world().await;
    let channel = channel(&world).await;
    let parts = [
        message(Payload::Header(header("d/f"))),
        chunk(0, b"hello"),
        commit(5),
    ];
    let parts: Vec<_> = parts.map(|part| framed(&part.encode_to_vec())).into();
    let path = format!("{STORAGE}Put");
    for (what, garbage) in [
        ("bad UTF-8", framed(b"\x0a\x04\x0a\x02\xff\xfe")),
        ("a message that is cut", vec![0, 0, 0, 0, 9, 1]),
        ("an unknown flag", vec![7, 0, 0, 0, 0]),
    ] {
        for before in 0..=2 {
            let begin = parts[..before].concat();
            let answer = call(
                &channel,
                &path,
                &[],
                full([begin, garbage.clone()].concat()),
            );
            assert_callers(&answer.await, what);
        }
    }
    world.idle(std::time::Duration::from_secs(60)).await;
    assert_eq!(world.stored_all(), [""; 0]);
    let answer = call(&channel, &path, &[], full(parts.concat())).await;
    assert_eq!(answer.status.unwrap().code(), Code::Ok);
    assert_eq!(world.stored(), ["d/f"]);
}

/// In the middle of a message, with an error of HTTP/2.
#[tokio::test(start_paused = true)]
async fn a_request_that_breaks_off_is_no_defect() {
    let world = world().await;
    let channel = channel(&world).await;
    for method in ["Stat", "Put"] {
        let id = format!("broken-{method}");
        follow(&id);
        let half = Ok(http_body::Frame::data(Bytes::from_static(&[
            0, 0, 0, 0, 9, 1,
        ])));
        let frames = futures::stream::iter([half, Err(Status::internal("broken"))]);
        // The first bytes arrive before the end.
        let frames = futures::StreamExt::then(frames, async |frame| {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            frame
        });
        let frames = Box::pin(frames);
        let request = http::Request::post(format!("{STORAGE}{method}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header("x-request-id", &id)
            .body(Body::new(StreamBody::new(frames)))
            .unwrap();
        let answer = channel.clone().oneshot(request).await;
        drop(answer);
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        for line in lines_of(&id) {
            let level = line.split_whitespace().nth(1).unwrap();
            assert!(matches!(level, "DEBUG" | "TRACE"), "{line}");
        }
    }
    for code in codes(&world).await {
        assert!(
            ["CANCELLED", "INVALID_ARGUMENT"].contains(&&*code),
            "{code}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_compressed_is_refused_as_a_capability() {
    let world = world().await;
    let channel = channel(&world).await;
    for method in methods() {
        let headers = [("grpc-encoding", "gzip")];
        let body = [&[1][..], &framed(b"\x1f\x8b garbage")[1..]].concat();
        let answer = call(&channel, &method.path, &headers, full(body)).await;
        let status = answer.status.unwrap();
        assert_eq!(status.code(), Code::Unimplemented, "{}", method.path);
        assert_eq!(reason(&status), "CAPABILITY_MISSING");
        assert_eq!(fact(&status, "capability"), "COMPRESSION");
        let accepted = status.metadata().get("grpc-accept-encoding");
        assert_eq!(accepted.unwrap(), "identity");
    }
    let headers = [("grpc-encoding", "identity")];
    let path = format!("{STORAGE}GetInfo");
    let answer = call(&channel, &path, &headers, full(framed(b""))).await;
    assert_eq!(answer.status.unwrap().code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_content_type_that_is_not_grpc_is_415() {
    let world = build(emulator::Options::default(), |config| {
        config.require_token = true;
    })
    .await;
    let channel = channel(&world).await;
    let mut paths: Vec<_> = methods().into_iter().map(|method| method.path).collect();
    paths.push("/".to_owned());
    paths.push("/pluton.storage.v1.None/None".to_owned());
    for path in &paths {
        for bad in [
            "",
            "application/json",
            "text/html; charset=utf-8",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcx",
            "x/application/grpc",
        ] {
            let body = full(framed(b""));
            let answer = call(&channel, path, &[("content-type", bad)], body).await;
            assert_eq!(answer.http, 415, "{bad} to {path}");
            assert_callers(&answer, bad);
        }
    }
    for good in [
        "application/grpc",
        "application/grpc+proto",
        "Application/gRPC; charset=utf-8",
    ] {
        let headers = [("content-type", good)];
        let path = "/grpc.health.v1.Health/Check";
        let answer = call(&channel, path, &headers, full(framed(b""))).await;
        assert_eq!(answer.http, 200, "{good}");
        assert_eq!(answer.status.unwrap().code(), Code::Ok, "{good}");
    }
}
