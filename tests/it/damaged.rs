//! Content that 1Fichier gives with a wrong byte: no face gives the whole of it
//! as if it were right, and every such read is counted.

use hyper_util::rt::{TokioExecutor, TokioIo};
use pluton_fichier::config::Listen;
use pluton_fichier::emulator;
use pluton_fichier::proto::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;

/// One that comes in one piece, one in several, and one that is sent while it
/// is read.
const SIZES: [usize; 3] = [3_000, 300_000, 5_000_000];

async fn served() -> World {
    build(emulator::Options::default(), |config| {
        config.http_listen = vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())];
    })
    .await
}

fn http(world: &World) -> &str {
    &world.server.as_ref().unwrap().http_addresses()[0]
}

/// Reads that were found wrong so far.
async fn counted(world: &World) -> usize {
    let admin = world.server.as_ref().unwrap().admin_address().unwrap();
    let answer = reqwest::get(format!("http://{admin}/metrics")).await;
    let text = answer.unwrap().text().await.unwrap();
    let name =
        "pluton_fichier_verification_failures_total{remote=\"fichier\",direction=\"download\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().parse::<f64>().unwrap() as usize
}

/// How an answer ended.
#[derive(Debug)]
struct Got {
    status: u16,
    announced: usize,
    body: Vec<u8>,
}

/// Asks over a socket, and reads until the server closes it.
async fn raw(world: &World, version: &str, path: &str, headers: &[String]) -> Got {
    let mut socket = TcpStream::connect(http(world)).await.unwrap();
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "GET {path} HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    // A reset is an end, too.
    let _ = socket.read_to_end(&mut said).await;
    let end = memchr::memmem::find(&said, b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&said[..end]).to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    Got {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        announced: length.split("\r\n").next().unwrap().parse().unwrap(),
        body: said[end + 4..].to_vec(),
    }
}

impl Got {
    /// Nobody can take it for the whole.
    #[track_caller]
    fn assert_broken(&self, size: usize, what: &str) {
        let [status, announced, body] = [self.status.into(), self.announced, self.body.len()];
        match status {
            500 => assert!(body == announced && body < 500, "{what}: {body}"),
            200 | 206 => {
                assert_eq!(announced, size, "{what}");
                assert!(body < size, "{what}: all {size} bytes came");
            }
            _ => panic!("{what}: {status}"),
        }
    }
}

/// Addresses of a file of restic's, and of the same file over WebDAV.
async fn stored(world: &World, size: usize, corrupt: bool) -> (Vec<u8>, [String; 2]) {
    let data = content(size);
    let name = sum(HashAlgorithm::Sha256, &data).1;
    let path = format!("repo/data/{}/{name}", &name[..2]);
    let url = world.put(&path, &data).await.unwrap().id;
    if corrupt {
        world.control.corrupt_file(&url);
    }
    let restic = format!("/restic/fichier/repo/data/{name}");
    (data, [format!("/dav/fichier/{path}"), restic])
}

#[tokio::test(start_paused = true)]
async fn no_face_over_http_gives_the_whole_of_damaged_content() {
    let world = served().await;
    let mut wrong = 0;
    for size in SIZES {
        let (_, paths) = stored(&world, size, true).await;
        for path in paths {
            let range = |text: String| vec![format!("Range: bytes={text}")];
            let other = [range("0-9".into()), vec!["If-Range: \"other\"".to_owned()]];
            for (headers, status) in [
                (vec![], 200),
                (range("0-".into()), 206),
                (range(format!("0-{}", size - 1)), 206),
                (range(format!("0-{}", size + 9)), 206),
                (range(format!("-{size}")), 206),
                (range(format!("-{}", size + 1)), 206),
                (range("0-9,20-29".into()), 200),
                (range("9-0".into()), 200),
                (other.concat(), 200),
            ] {
                for version in ["1.1", "1.0"] {
                    let what = format!("{path} {headers:?} HTTP/{version}");
                    let got = raw(&world, version, &path, &headers).await;
                    got.assert_broken(size, &what);
                    assert!(
                        [status, 500].contains(&got.status),
                        "{what}: {}",
                        got.status
                    );
                    wrong += 1;
                    assert_eq!(counted(&world).await, wrong, "{what}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nor_over_http_2() {
    let world = served().await;
    for size in SIZES {
        let (_, paths) = stored(&world, size, true).await;
        let socket = TcpStream::connect(http(&world)).await.unwrap();
        let shaken =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket));
        let (mut client, connection) = shaken.await.unwrap();
        tokio::spawn(connection);
        for path in paths {
            let request = http::Request::get(format!("http://{}{path}", http(&world)));
            let request = request.body(axum::body::Body::empty()).unwrap();
            let answer = client.send_request(request).await.unwrap();
            let status = answer.status();
            let body = http_body_util::BodyExt::collect(answer.into_body()).await;
            assert!(status == 500 || body.is_err(), "{path}: {status}");
        }
    }
    assert_eq!(counted(&world).await, 6);
}

/// What is no whole cannot be compared, and what is right comes through.
#[tokio::test(start_paused = true)]
async fn parts_and_right_content_come_through() {
    let world = served().await;
    for size in SIZES {
        let (_, damaged) = stored(&world, size + 1, true).await;
        let (data, right) = stored(&world, size, false).await;
        for path in right {
            for (range, part) in [
                (None, &data[..]),
                (Some("0-".to_owned()), &data[..]),
                (Some(format!("-{size}")), &data[..]),
                (Some("1-".to_owned()), &data[1..]),
                (Some(format!("0-{}", size - 2)), &data[..size - 1]),
            ] {
                let headers: Vec<_> = range
                    .iter()
                    .map(|text| format!("Range: bytes={text}"))
                    .collect();
                let got = raw(&world, "1.1", &path, &headers).await;
                assert_eq!(got.status, if range.is_some() { 206 } else { 200 });
                assert!(got.body == part, "{path} {range:?}");
            }
        }
        for path in damaged {
            let headers = [format!("Range: bytes=0-{}", size - 1)];
            let got = raw(&world, "1.1", &path, &headers).await;
            assert_eq!((got.status, got.body.len()), (206, size));
            let url = format!("http://{}{path}", http(&world));
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let head = client.head(url).send().await.unwrap();
            assert_eq!(head.status(), 200);
            assert_eq!(head.headers()["content-length"], (size + 1).to_string());
        }
    }
    assert_eq!(counted(&world).await, 0);
}

#[tokio::test(start_paused = true)]
async fn ranges_over_grpc_that_are_the_whole_are_verified() {
    let world = served().await;
    let part = |offset, length| ByteRange { offset, length };
    for size in SIZES {
        let read = async |ranges: &[ByteRange], verify| {
            let request = GetRequest {
                path: "f".to_owned(),
                ranges: ranges.to_vec(),
                verify,
                ..GetRequest::default()
            };
            get(&world.client, request).await
        };
        let (all, half) = (size as i64, size as i64 / 2);
        let wholes = [
            vec![],
            vec![part(0, None)],
            vec![part(0, Some(all + 9))],
            vec![part(0, Some(half)), part(half, None)],
            vec![
                part(0, Some(0)),
                part(0, Some(1)),
                part(5, Some(0)),
                part(1, None),
                part(all, None),
            ],
        ];
        let parts = [
            vec![part(1, None)],
            vec![part(0, Some(all - 1))],
            vec![part(half, None), part(0, Some(half))],
            vec![part(0, Some(half)), part(half + 1, None)],
            vec![part(0, Some(half + 1)), part(half, None)],
            vec![part(0, None), part(0, None)],
        ];
        let url = world.put("f", &content(size)).await.unwrap().id;
        for ranges in &wholes {
            let got = read(ranges, None).await.unwrap();
            assert!(
                got.trailer.verified && got.content == content(size),
                "{ranges:?}"
            );
            let whirlpool = sum(HashAlgorithm::Whirlpool, &content(size)).1;
            assert_eq!(got.trailer.checksums[0].hex, whirlpool);
            assert!(!read(ranges, Some(false)).await.unwrap().trailer.verified);
        }
        for ranges in &parts {
            let got = read(ranges, None).await.unwrap();
            assert!(!got.trailer.verified, "{ranges:?}");
            assert_eq!(got.trailer.checksums, []);
        }
        world.control.corrupt_file(&url);
        let before = counted(&world).await;
        for ranges in &wholes {
            assert_reason(read(ranges, None).await, "STORED_CONTENT_CORRUPT");
            read(ranges, Some(false)).await.unwrap();
        }
        for ranges in &parts {
            read(ranges, None).await.unwrap();
        }
        assert_eq!(counted(&world).await, before + wholes.len());
        assert_eq!(world.delete(&["f"]).await, [""]);
    }
}
