//! Put and Get of a large file through the whole server, as ratios of what a
//! bare gRPC stream and a plain HTTP transfer of the same bytes reach in the
//! same run. Each part is a process of its own, as in real use.
//!
//! `cargo bench --bench throughput [-- --mib N] [--rounds N]`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark fails by panicking"
)]

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use pluton_fichier::proto::get_response::Payload as Got;
use pluton_fichier::proto::put_request::Payload;
use pluton_fichier::proto::*;
use tokio::time::Instant;

mod bare;
mod process;

use process::{Client, PROGRAM, Process, connect, number};

const CHUNK: usize = 256 << 10;

fn content() -> Bytes {
    Bytes::from((0..CHUNK).map(|_| fastrand::u8(..)).collect::<Vec<_>>())
}

fn put_messages(path: &str, size: usize, data: Bytes) -> impl Stream<Item = PutRequest> + use<> {
    let header = PutHeader {
        path: path.to_owned(),
        size: Some(size as i64),
        ..PutHeader::default()
    };
    let message = |payload| PutRequest {
        payload: Some(payload),
    };
    let chunks = (0..size / CHUNK).map(move |index| {
        let offset = (index * CHUNK) as i64;
        message(Payload::Chunk(Chunk {
            offset,
            data: data.clone(),
            crc32c: None,
        }))
    });
    let commit = PutCommit {
        size: size as i64,
        checksums: Vec::new(),
    };
    stream::iter([message(Payload::Header(header))])
        .chain(stream::iter(chunks))
        .chain(stream::iter([message(Payload::Commit(commit))]))
}

async fn put(client: &mut Client, path: &str, size: usize) -> Duration {
    let messages = put_messages(path, size, content());
    let start = Instant::now();
    client.put(messages).await.unwrap();
    start.elapsed()
}

async fn get(client: &mut Client, path: &str, size: usize, verify: bool) -> Duration {
    let start = Instant::now();
    let request = GetRequest {
        path: path.to_owned(),
        verify: Some(verify),
        ..GetRequest::default()
    };
    let mut stream = client.get(request).await.unwrap().into_inner();
    let mut received = 0;
    let mut trailer = false;
    while let Some(message) = stream.message().await.unwrap() {
        match message.payload.unwrap() {
            Got::Chunk(chunk) => received += chunk.data.len(),
            Got::Trailer(_) => trailer = true,
            Got::Header(_) => {}
        }
    }
    assert!(trailer && received == size);
    start.elapsed()
}

async fn call(
    http: &reqwest::Client,
    api: &str,
    key: &str,
    endpoint: &str,
    body: &str,
) -> serde_json::Value {
    let answer = http
        .post(format!("{api}/{endpoint}.cgi"))
        .bearer_auth(key)
        .header("Content-Type", "application/json")
        .body(body.to_owned())
        .send()
        .await
        .unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// A plain upload; returns its time and the file's URL.
async fn http_put(http: &reqwest::Client, api: &str, key: &str, size: usize) -> (Duration, String) {
    let data = content();
    let start = Instant::now();
    let node = call(http, api, key, "upload/get_upload_server", "{}").await;
    let (host, id) = (node["url"].as_str().unwrap(), node["id"].as_str().unwrap());
    let head =
        "--b\r\nContent-Disposition: form-data; name=\"file[]\"; filename=\"plain.bin\"\r\n\r\n";
    let tail = "\r\n--b--\r\n";
    let pieces = (0..size / CHUNK).map(move |_| Ok::<_, std::io::Error>(data.clone()));
    let body = stream::iter([Ok(Bytes::from(head))])
        .chain(stream::iter(pieces))
        .chain(stream::iter([Ok(Bytes::from(tail))]));
    http.post(format!("http://{host}/upload.cgi?id={id}"))
        .bearer_auth(key)
        .header("Content-Type", "multipart/form-data; boundary=b")
        .header("Content-Length", head.len() + size + tail.len())
        .body(reqwest::Body::wrap_stream(body))
        .send()
        .await
        .unwrap();
    let report = http
        .get(format!("http://{host}/end.pl?xid={id}"))
        .header("JSON", "1")
        .send()
        .await
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report.bytes().await.unwrap()).unwrap();
    (
        start.elapsed(),
        report["links"][0]["download"].as_str().unwrap().to_owned(),
    )
}

async fn http_get(
    http: &reqwest::Client,
    api: &str,
    key: &str,
    url: &str,
    size: usize,
) -> Duration {
    let start = Instant::now();
    let token = call(
        http,
        api,
        key,
        "download/get_token",
        &format!("{{\"url\":\"{url}\"}}"),
    )
    .await;
    let mut response = http
        .get(token["url"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    let mut received = 0;
    while let Some(chunk) = response.chunk().await.unwrap() {
        received += chunk.len();
    }
    assert_eq!(received, size);
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|arg| arg == "--bare") {
        return bare::serve();
    }
    let (mib, rounds) = (number(&args, "--mib", 1024), number(&args, "--rounds", 3));
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(run(mib, rounds));
}

async fn run(mib: usize, rounds: usize) {
    let size = mib << 20;
    let key = pluton_fichier::emulator::DEMO_API_KEY;
    let (_emulator, ready) = Process::start(PROGRAM, &["emulator", "--limits", "none"]);
    let api = ready["api_url"].as_str().unwrap().to_owned();
    let keyfile = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keyfile.path(), key).unwrap();
    let state = tempfile::tempdir().unwrap();
    let (server, address) = Process::serve(
        &api,
        keyfile.path(),
        state.path(),
        &["--calls-per-second", "0"],
    );
    let mut client = connect(&address).await;
    let this = std::env::current_exe().unwrap();
    let (_bare, ready) = Process::start(this.to_str().unwrap(), &["--bare"]);
    let mut bare = connect(ready["address"].as_str().unwrap()).await;
    let http = reqwest::Client::new();

    // One small transfer each, so that connections and code are warm.
    put(&mut client, "warm.bin", 20 << 20).await;
    get(&mut client, "warm.bin", 20 << 20, true).await;
    put(&mut bare, "warm.bin", 20 << 20).await;
    let before = server.memory();

    let mut times: Vec<[Duration; 7]> = Vec::new();
    for round in 0..rounds {
        let bare_put = put(&mut bare, "x", size).await;
        let (plain_put, url) = http_put(&http, &api, key, size).await;
        let path = format!("large-{round}.bin");
        let server_put = put(&mut client, &path, size).await;
        let bare_get = get(&mut bare, &format!("{size}"), size, false).await;
        let plain_get = http_get(&http, &api, key, &url, size).await;
        let server_get = get(&mut client, &path, size, true).await;
        let unverified_get = get(&mut client, &path, size, false).await;
        times.push([
            bare_put,
            plain_put,
            server_put,
            bare_get,
            plain_get,
            server_get,
            unverified_get,
        ]);
    }
    let after = server.memory();
    let value = |index: usize| median(times.iter().map(|round| round[index]).collect());
    let rate = |index: usize| mib as f64 / value(index);
    println!(
        "{mib} MiB, median of {rounds}; MiB/s and the ratio to the slower of the two baselines"
    );
    println!("{:<28}{:>10}", "", "MiB/s");
    for (label, index) in [
        ("Put: bare gRPC stream", 0),
        ("Put: plain HTTP upload", 1),
        ("Get: bare gRPC stream", 3),
        ("Get: plain HTTP download", 4),
    ] {
        println!("{label:<28}{:>10.0}", rate(index));
    }
    for (label, index, slower) in [
        ("Put: server, verified", 2, rate(0).min(rate(1))),
        ("Get: server, verified", 5, rate(3).min(rate(4))),
        ("Get: server, verify=false", 6, rate(3).min(rate(4))),
    ] {
        println!(
            "{label:<28}{:>10.0}   ratio {:.2}",
            rate(index),
            rate(index) / slower
        );
    }
    println!("Whirlpool alone, one core   {:>10.0}", whirlpool_rate());
    println!(
        "server memory: {:.1} MiB peak, {:.1} MiB before, {:.1} MiB rise",
        after.0,
        before.1,
        after.0 - before.1
    );
}

/// What one core hashes: the ceiling of a verified transfer.
fn whirlpool_rate() -> f64 {
    use whirlpool::Digest;
    let data = content();
    let start = Instant::now();
    let mut hasher = whirlpool::Whirlpool::new();
    for _ in 0..800 {
        hasher.update(&data);
    }
    std::hint::black_box(hasher.finalize());
    (800 * CHUNK) as f64 / (1 << 20) as f64 / start.elapsed().as_secs_f64()
}
