//! A soak: 64 clients with a mixed load against the real program for a while.
//! Memory, file descriptors and threads of the server are to stay where they
//! were after the warm-up, and to go back when nobody asks any more.
//!
//! `cargo bench --bench soak`; `SOAK_SECONDS` sets how long (600 by default).
//! The exit code is 1 when something grows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement stops at the first surprise"
)]

mod process;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::future::join_all;
use futures::stream;
use pluton_fichier::emulator::{self, DEMO_API_KEY, Emulator, Fault, FaultKind};
use pluton_fichier::proto::get_response::Payload as Got;
use pluton_fichier::proto::put_request::Payload;
use pluton_fichier::proto::*;
use process::{Client, Process, connect};
use tokio::time::Instant;
use tonic::{Code, Status};

const CLIENTS: u64 = 64;
const SAMPLE: Duration = Duration::from_secs(5);
/// Connections to 1Fichier that nobody uses for 90 s are closed within as long again.
const REST: Duration = Duration::from_secs(200);
/// What a median may grow: a part of it, and some pages.
const GROWTH: f64 = 0.15;
const PAGES_MIB: f64 = 6.0;
const STREAM_FROM: &str = "1048576";

/// What the system tells of a process.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    memory_mib: f64,
    files: usize,
    threads: usize,
    transfers: usize,
    done: u64,
}

/// What all clients count together.
#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    wrong: AtomicU64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let length = std::env::var("SOAK_SECONDS").map_or(600, |text| text.parse().unwrap());
    let length = Duration::from_secs(length);
    let options = emulator::Options {
        limits: emulator::Limits::none(),
        ..emulator::Options::default()
    };
    let emulator = Emulator::start(options).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    std::fs::write(&key, DEMO_API_KEY).unwrap();
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let more = ["--calls-per-second", "0", "--stream-from", STREAM_FROM];
    let state = home.path().join("state");
    let (server, address) = Process::serve(&emulator.api_url(), &key, &state, &more);
    let watcher = connect(&address).await;
    warm_up(&watcher).await;
    let start = sample(&server, &watcher, Duration::ZERO, 0).await;
    println!("{CLIENTS} clients for {} s", length.as_secs());
    print_header();
    print(&start);

    let counts = Arc::new(Counts::default());
    let began = Instant::now();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (address, counts) = (address.clone(), Arc::clone(&counts));
        clients.push(tokio::spawn(async move {
            User::new(number, connect(&address).await, counts)
                .live(began + length)
                .await;
        }));
    }
    let control = emulator.control();
    let mut samples = Vec::new();
    let mut random = Rng::with_seed(7);
    while began.elapsed() < length {
        tokio::time::sleep(SAMPLE).await;
        // The network is not always there.
        for endpoint in ["v1", "upload.cgi", "end.pl", "download"] {
            control.inject(Fault {
                endpoint: endpoint.to_owned(),
                skip: random.u32(..200),
                times: 1,
                kind: [FaultKind::ResetAfterEffect, FaultKind::ResetBeforeAnswer]
                    [random.usize(..2)]
                .clone(),
            });
        }
        let done = counts.done.load(Ordering::Relaxed);
        let taken = sample(&server, &watcher, began.elapsed(), done).await;
        print(&taken);
        samples.push(taken);
    }
    for client in join_all(clients).await {
        client.unwrap();
    }
    control.clear_faults();
    tokio::time::sleep(REST).await;
    let done = counts.done.load(Ordering::Relaxed);
    let rest = sample(&server, &watcher, began.elapsed(), done).await;
    print(&rest);
    println!(
        "{done} operations, {} failed, {:.0} MiB moved, {} read wrong",
        counts.failed.load(Ordering::Relaxed),
        counts.bytes.load(Ordering::Relaxed) as f64 / f64::from(1 << 20),
        counts.wrong.load(Ordering::Relaxed),
    );
    let mut complaints = judge(&start, &samples, &rest);
    if counts.wrong.load(Ordering::Relaxed) > 0 {
        complaints.push("content was read wrong".to_owned());
    }
    for complaint in &complaints {
        println!("GROWS: {complaint}");
    }
    if complaints.is_empty() {
        println!("flat");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// So that what is made at the first use is there at the start.
async fn warm_up(client: &Client) {
    let data = Bytes::from(vec![7; 100_000]);
    put(client, "warm".to_owned(), data).await.unwrap();
    get(client, "warm".to_owned()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
}

async fn sample(server: &Process, watcher: &Client, at: Duration, done: u64) -> Sample {
    let pid = server.0.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| -> f64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let activity = watcher
        .clone()
        .get_activity(GetActivityRequest::default())
        .await;
    Sample {
        at,
        memory_mib: field("VmRSS:") / 1024.0,
        files: std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count(),
        threads: field("Threads:") as usize,
        transfers: activity.unwrap().into_inner().transfers.len(),
        done,
    }
}

fn print_header() {
    println!(
        "{:>7} {:>12} {:>7} {:>8} {:>10} {:>12}",
        "second", "memory MiB", "files", "threads", "transfers", "operations"
    );
}

fn print(sample: &Sample) {
    println!(
        "{:>7} {:>12.1} {:>7} {:>8} {:>10} {:>12}",
        sample.at.as_secs(),
        sample.memory_mib,
        sample.files,
        sample.threads,
        sample.transfers,
        sample.done
    );
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<_> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The last third against the one before it, and the rest against the start.
fn judge(start: &Sample, samples: &[Sample], rest: &Sample) -> Vec<String> {
    assert!(
        samples.len() >= 6,
        "SOAK_SECONDS is too short to tell anything"
    );
    let third = samples.len() / 3;
    let (second, last) = (&samples[third..2 * third], &samples[2 * third..]);
    let mut complaints = Vec::new();
    let mut compare = |what: &str, of: fn(&Sample) -> f64, more: f64| {
        let (before, after) = (median(second, of), median(last, of));
        println!("{what}: median {before:.1} in the second third, {after:.1} in the last");
        if after > before * (1.0 + GROWTH) + more {
            complaints.push(format!("{what}, from {before:.1} to {after:.1}"));
        }
    };
    compare("memory MiB", |sample| sample.memory_mib, PAGES_MIB);
    compare("files", |sample| sample.files as f64, 4.0);
    compare("threads", |sample| sample.threads as f64, 2.0);
    println!(
        "files: {} at the start, {} at rest",
        start.files, rest.files
    );
    if rest.files > start.files + 2 {
        complaints.push(format!(
            "files at rest, from {} to {}",
            start.files, rest.files
        ));
    }
    if rest.transfers > 0 {
        complaints.push(format!("{} transfers at rest", rest.transfers));
    }
    complaints
}

/// A client with files of its own.
struct User {
    home: String,
    client: Client,
    random: Rng,
    counts: Arc<Counts>,
    /// The number and size of each file's content, where it is known.
    files: BTreeMap<String, (u64, usize)>,
}

fn content(number: u64, size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    Rng::with_seed(number).fill(&mut bytes);
    bytes.into()
}

impl User {
    fn new(number: u64, client: Client, counts: Arc<Counts>) -> Self {
        Self {
            home: format!("user{number}"),
            client,
            random: Rng::with_seed(number),
            counts,
            files: BTreeMap::new(),
        }
    }

    async fn live(mut self, until: Instant) {
        while Instant::now() < until {
            let pause = self.random.u64(20..400);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let count = match self.step().await {
                Ok(bytes) => {
                    self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
                    &self.counts.done
                }
                Err(status) => {
                    let temporary =
                        matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
                    assert!(
                        temporary || status.message().contains("1Fichier"),
                        "{status:?}"
                    );
                    &self.counts.failed
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn path(&mut self) -> String {
        format!(
            "{}/{}f{}",
            self.home,
            ["", "x/", "y/"][self.random.usize(..3)],
            self.random.u8(..4)
        )
    }

    async fn step(&mut self) -> Result<u64, Status> {
        let path = self.path();
        let known = self.files.get(&path).copied();
        let mut client = self.client.clone();
        match (self.random.u8(..20), known) {
            (0..8, _) | (_, None) => {
                let size = match self.random.u8(..12) {
                    0 => self.random.usize(1 << 20..6 << 20),
                    1..4 => self.random.usize(64 << 10..600 << 10),
                    _ => self.random.usize(1..64 << 10),
                };
                let number = self.random.u64(..);
                self.files.remove(&path);
                put(&client, path.clone(), content(number, size)).await?;
                self.files.insert(path, (number, size));
                Ok(size as u64)
            }
            (8..13, Some((number, size))) => {
                let got = get(&client, path).await?;
                if got != content(number, size) {
                    self.counts.wrong.fetch_add(1, Ordering::Relaxed);
                }
                Ok(size as u64)
            }
            (13, _) => {
                let request = ListRequest {
                    path: self.home.clone(),
                    recursive: true,
                    ..ListRequest::default()
                };
                let mut stream = client.list(request).await?.into_inner();
                while stream.message().await?.is_some() {}
                Ok(0)
            }
            (14..16, Some(_)) => {
                let request = StatRequest {
                    path,
                    ..StatRequest::default()
                };
                client.stat(request).await?;
                Ok(0)
            }
            (16..18, Some(_)) => {
                self.files.remove(&path);
                let target = DeleteTarget {
                    path,
                    ..DeleteTarget::default()
                };
                let request = DeleteRequest {
                    targets: vec![target],
                    ..DeleteRequest::default()
                };
                client.delete(request).await?;
                Ok(0)
            }
            (_, Some(known)) => {
                let to = self.path();
                if to != path {
                    self.files.remove(&path);
                    self.files.remove(&to);
                    let request = MoveRequest {
                        source_path: path,
                        destination_path: to.clone(),
                        ..MoveRequest::default()
                    };
                    client.r#move(request).await?;
                    self.files.insert(to, known);
                }
                Ok(0)
            }
        }
    }
}

async fn put(client: &Client, path: String, data: Bytes) -> Result<(), Status> {
    let size = data.len();
    let mut messages = vec![Payload::Header(PutHeader {
        path,
        size: Some(size as i64),
        ..PutHeader::default()
    })];
    for offset in (0..size).step_by(256 << 10) {
        messages.push(Payload::Chunk(Chunk {
            offset: offset as i64,
            data: data.slice(offset..size.min(offset + (256 << 10))),
            crc32c: None,
        }));
    }
    messages.push(Payload::Commit(PutCommit {
        size: size as i64,
        checksums: Vec::new(),
    }));
    let messages = messages.into_iter().map(|payload| PutRequest {
        payload: Some(payload),
    });
    client
        .clone()
        .put(stream::iter(messages.collect::<Vec<_>>()))
        .await?;
    Ok(())
}

async fn get(client: &Client, path: String) -> Result<Vec<u8>, Status> {
    let request = GetRequest {
        path,
        ..GetRequest::default()
    };
    let mut stream = client.clone().get(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(answer) = stream.message().await? {
        match answer.payload {
            Some(Got::Chunk(chunk)) => bytes.extend_from_slice(&chunk.data),
            Some(Got::Trailer(_)) => return Ok(bytes),
            _ => {}
        }
    }
    Err(Status::data_loss("no trailer"))
}
