//! The longest texts that a caller can give, on every face: no error repeats
//! more than 200 characters of them, and what is told of it fits into what
//! clients take.

use std::collections::HashMap;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use pluton_fichier::config::Listen;
use pluton_fichier::emulator;
use pluton_fichier::proto::DESCRIPTORS;
use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;
use tower::ServiceExt;

use crate::harness::*;

/// What a client takes that was not told otherwise: 8 KiB (Java), others 16.
const MOST_METADATA: usize = 8 << 10;
/// A piece of a text, so that no more of it than 200 characters is seen.
const QUOTED: usize = 200;

/// Texts by the character that they are made of.
fn texts() -> Vec<(String, usize)> {
    let of = |unit: &str, size: usize| (unit.to_owned(), size / unit.len());
    let mut texts = Vec::new();
    for unit in [
        "a",
        "é",
        "\u{10ffff}",
        "\"",
        "\\",
        "\u{1}",
        "a/",
        "/",
        "b:",
        "%",
    ] {
        for size in [5_000, 60_000] {
            texts.push(of(unit, size));
        }
    }
    texts.push(of("a", 900_000));
    texts
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(DESCRIPTORS).unwrap()
}

fn field(tag: i32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_key(
        u32::try_from(tag).unwrap(),
        prost::encoding::WireType::LengthDelimited,
        &mut out,
    );
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend(bytes);
    out
}

/// A message for each text in it, also in messages in it, and one with all.
fn filled(all: &HashMap<String, DescriptorProto>, name: &str, text: &str) -> Vec<Vec<u8>> {
    let mut ways = Vec::new();
    for part in &all[name].field {
        let values = match part.r#type() {
            Type::String => vec![text.as_bytes().to_vec()],
            Type::Message if all.contains_key(part.type_name()) => {
                filled(all, part.type_name(), text)
            }
            _ => Vec::new(),
        };
        ways.extend(values.into_iter().map(|value| field(part.number(), &value)));
    }
    if ways.len() > 1 {
        ways.push(ways.concat());
    }
    ways
}

async fn channel(world: &World) -> Channel {
    let address = &world.server.as_ref().unwrap().addresses()[0];
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    endpoint.unwrap().connect().await.unwrap()
}

/// No more of the text than may be.
#[track_caller]
fn assert_short(said: &str, unit: &str, what: &str) {
    let shown = said.replace("\\\\", "\\").replace("\\\"", "\"");
    for said in [said, &shown] {
        assert!(
            !said.contains(&unit.repeat(QUOTED / unit.chars().count() + 1)),
            "{what}: {said}"
        );
    }
    assert!(said.chars().count() <= 1_200, "{what}: {said}");
}

#[tokio::test(start_paused = true)]
async fn no_status_repeats_a_long_text() {
    let world = world().await;
    let channel = channel(&world).await;
    let set = descriptors();
    let mut messages = HashMap::new();
    for file in &set.file {
        for message in &file.message_type {
            let name = format!(".{}.{}", file.package(), message.name());
            messages.insert(name, message.clone());
        }
    }
    let methods = set.file.iter().flat_map(|file| &file.service);
    let (mut refused, mut most) = (0, 0);
    for method in methods.flat_map(|service| &service.method) {
        let path = format!("/pluton.storage.v1.StorageBackend/{}", method.name());
        for (unit, count) in texts() {
            let text = unit.repeat(count);
            for message in filled(&messages, method.input_type(), &text) {
                if message.len() > 1 << 20 {
                    continue;
                }
                let length = (message.len() as u32).to_be_bytes();
                let body = [&[0][..], &length, &message].concat();
                let request = http::Request::post(&path)
                    .header("te", "trailers")
                    .header("content-type", "application/grpc")
                    .body(Body::new(Full::new(Bytes::from(body))))
                    .unwrap();
                let answer = channel.clone().oneshot(request).await.unwrap();
                let mut headers = answer.headers().clone();
                let body = answer.into_body().collect().await.unwrap();
                headers.extend(body.trailers().cloned().unwrap_or_default());
                let told = headers.iter();
                let size: usize = told
                    .map(|(name, value)| name.as_str().len() + value.len() + 32)
                    .sum();
                let what = format!("{} with {count} times {unit:?}", method.name());
                assert!(size <= MOST_METADATA, "{what}: {size} bytes");
                most = most.max(size);
                let status = Status::from_header_map(&headers).unwrap();
                if status.code() == tonic::Code::Ok {
                    continue;
                }
                refused += 1;
                reason(&status);
                assert_short(status.message(), &unit, &what);
                let details = status.get_error_details();
                for value in details.error_info().unwrap().metadata.values() {
                    assert_short(value, &unit, &what);
                    assert!(value.chars().count() <= QUOTED, "{what}: {value}");
                }
                for violation in details
                    .bad_request()
                    .map(|bad| bad.field_violations.clone())
                    .unwrap_or_default()
                {
                    assert_short(&violation.description, &unit, &what);
                }
                if let Some(resource) = details.resource_info() {
                    assert_short(&resource.description, &unit, &what);
                    assert!(resource.resource_name.chars().count() <= QUOTED, "{what}");
                }
            }
        }
    }
    assert!(refused > 1_000, "{refused}");
    assert!(most > 1_000, "{most}");
    assert_eq!(world.control.calls().get("upload.cgi"), 0);
}

#[tokio::test(start_paused = true)]
async fn reflection_repeats_no_long_text() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

    let world = world().await;
    let mut client = ServerReflectionClient::new(channel(&world).await);
    let text = "a".repeat(4_000);
    for asked in [
        MessageRequest::FileByFilename(text.clone()),
        MessageRequest::FileContainingSymbol(text.clone()),
    ] {
        let request = ServerReflectionRequest {
            host: "h".to_owned(),
            message_request: Some(asked),
        };
        let requests = futures::stream::iter([request]);
        let answer = client.server_reflection_info(requests).await.unwrap();
        let status = answer.into_inner().message().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::NotFound);
        assert!(status.message().chars().count() <= QUOTED, "{status:?}");
    }
}

/// Of a Delete, which goes on with the others.
#[tokio::test(start_paused = true)]
async fn no_failure_in_an_answer_repeats_a_long_text() {
    let world = world().await;
    for (unit, count) in texts() {
        let text = unit.repeat(count.min(10_000));
        let request = pluton_fichier::proto::DeleteRequest {
            targets: vec![pluton_fichier::proto::DeleteTarget {
                path: text.clone(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = world.client.clone().delete(request).await.unwrap();
        let result = answer.into_inner().results.pop().unwrap();
        assert_eq!(result.path, text, "which one it was");
        let failure = result.failure.unwrap();
        assert_short(&failure.message, &unit, "a failure");
        for value in failure.metadata.values() {
            assert!(value.chars().count() <= QUOTED, "{value}");
        }
    }
}

async fn exchange(address: &str, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The server may refuse it before it is there as a whole.
    let _ = socket.write_all(request.as_bytes()).await;
    let mut said = Vec::new();
    let _ = socket.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(start_paused = true)]
async fn no_http_answer_repeats_a_long_text() {
    let world = build(emulator::Options::default(), |config| {
        config.http_listen = vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())];
    })
    .await;
    world.put("f", b"1").await.unwrap();
    let server = world.server.as_ref().unwrap();
    let (http, admin) = (
        server.http_addresses()[0].clone(),
        server.admin_address().unwrap().to_owned(),
    );
    let end = "Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n";
    let mut answered = 0;
    for unit in ["a", "%C3%A9", "%22", "%01", "a/", "/", "..", "b:"] {
        for size in [5_000, 50_000] {
            let text = unit.repeat(size / unit.len());
            let seen = match unit {
                "%C3%A9" => "é",
                "%22" => "\"",
                "%01" => "\u{1}",
                unit => unit,
            };
            let mut requests = Vec::new();
            for method in [
                "GET",
                "HEAD",
                "PUT",
                "DELETE",
                "MKCOL",
                "PROPFIND",
                "PROPPATCH",
                "POST",
                "OPTIONS",
            ] {
                for place in [
                    format!("/dav/fichier/{text}"),
                    format!("/dav/{text}/f"),
                    format!("/restic/fichier/{text}/config"),
                    format!("/restic/fichier/r/data/{text}"),
                    format!("/restic/{text}/r/config"),
                    format!("/{text}"),
                ] {
                    requests.push((&http, format!("{method} {place} HTTP/1.1\r\n{end}\r\n")));
                }
            }
            requests.push((&admin, format!("GET /{text} HTTP/1.1\r\n{end}\r\n")));
            requests.push((
                &http,
                format!("{text} /dav/fichier/f HTTP/1.1\r\n{end}\r\n"),
            ));
            for name in [
                "Destination",
                "If-Match",
                "If-None-Match",
                "If",
                "Range",
                "If-Range",
                "Depth",
                "Overwrite",
                "Origin",
                "X-OC-Mtime",
                "OC-Checksum",
                "Authorization",
                "Accept",
                "X-Request-Id",
                "Traceparent",
                "If-Modified-Since",
                "Content-Type",
            ] {
                for method in ["GET", "PUT", "MOVE", "COPY", "PROPFIND", "DELETE"] {
                    for value in [
                        text.clone(),
                        format!("http://{text}/dav/fichier/x"),
                        format!("\"{text}\""),
                    ] {
                        let line = format!(
                            "{method} /dav/fichier/f HTTP/1.1\r\n{end}{name}: {value}\r\n\r\n"
                        );
                        requests.push((&http, line));
                    }
                    let url = format!("http://localhost/dav/{text}");
                    let line =
                        format!("{method} /dav/fichier/f HTTP/1.1\r\n{end}{name}: {url}\r\n\r\n");
                    requests.push((&http, line));
                }
            }
            for (address, request) in requests {
                let said = exchange(address, &request).await;
                let what = request.chars().take(60).collect::<String>();
                // A listing, or one that is too long for HTTP/1.1 as a whole.
                if said.is_empty() || said.starts_with("HTTP/1.1 2") {
                    continue;
                }
                answered += 1;
                assert!(said.len() <= 3_000, "{what}: {said}");
                assert_short(&said, seen, &what);
                assert_short(&said, unit, &what);
            }
        }
    }
    assert!(answered > 1_000, "{answered}");
}
