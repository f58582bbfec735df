//! 10,000 connections at once, to the program as a process of its own: what
//! the system lets one process open does not count twice.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use futures::{StreamExt, stream};
use pluton_fichier::emulator::{DEMO_API_KEY, Emulator, Options};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tonic::transport::Endpoint;

use super::limits::health_check;
use super::*;

const WANTED: usize = 10_000;
/// What this process and the program have open beside those connections.
const OTHERS: usize = 2_000;
/// Most memory for each, in bytes; in a debug build it is about 24 KiB.
const EACH: usize = 64 << 10;

/// As many as the system allows. Raises this process's own limit.
fn crowd() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let fitting = usize::try_from(open).unwrap().saturating_sub(OTHERS);
    if fitting < WANTED {
        let fitting = fitting.max(100);
        eprintln!(
            "only {open} files may be open here (ulimit -Hn): \
             {fitting} connections are tried and not {WANTED}"
        );
        return fitting;
    }
    WANTED
}

/// In bytes.
fn resident(program: &Child) -> usize {
    let status = format!("/proc/{}/status", program.id().unwrap());
    let status = fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() << 10
}

/// A connection that has asked for something, was answered, and stays; `None`
/// if it was sent away.
async fn idle(address: &str) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(&health_check()).await.ok()?;
    let mut said = Vec::new();
    // The settings of the server, and its answer.
    while said.len() < 90 {
        match socket.read_buf(&mut said).await {
            Ok(1..) => {}
            _ => return None,
        }
    }
    Some(socket)
}

/// So many of them, each tried until it is let in; some at a time, because the
/// system's own queue of those that come is short.
async fn idle_ones(address: &str, count: usize) -> Vec<TcpStream> {
    let persistent = async |_| {
        for _ in 0..500 {
            if let Some(socket) = idle(address).await {
                return socket;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not let in although there is place");
    };
    let connections = stream::iter(0..count).map(persistent);
    connections.buffer_unordered(200).collect().await
}

async fn caller(address: &str, secret: &str) -> Option<Holder> {
    let bearer = Bearer(format!("Bearer {secret}").parse().unwrap());
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.ok()?;
    Some(StorageBackendClient::with_interceptor(channel, bearer))
}

/// In real time: so many connections need a moment.
#[tokio::test]
async fn ten_thousand_connections_do_no_harm() {
    let count = crowd();
    let emulator = Emulator::start(Options::default()).await.unwrap();
    let state = tempfile::tempdir().unwrap();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let secret = Secret::generate().unwrap();
    let file = TokenFile::within(state.path());
    let everything = "".parse().unwrap();
    file.add("crowd", &everything, Mode::Full, &secret.digest())
        .unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_pluton-fichier"))
        .args(["serve", "--grpc-listen", "127.0.0.1:0"])
        .args(["--api-url", &emulator.api_url()])
        .args(["--max-connections", &(count + 1).to_string()])
        .arg("--state-dir")
        .arg(state.path())
        .env("PLUTON_FICHIER_API_KEY", DEMO_API_KEY)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    stdout.read_line(&mut ready).await.unwrap();
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let address = ready["address"].as_str().unwrap();

    let mut first = caller(address, secret.reveal()).await.unwrap();
    first.stat(StatRequest::default()).await.unwrap();
    let before = resident(&program);
    let crowd = idle_ones(address, count).await;
    let with = resident(&program).saturating_sub(before);
    assert!(
        with < count * EACH,
        "{count} connections take {with} bytes, {} each",
        with / count
    );

    // Who was there goes on, and one more is sent away without a word.
    let made = MkdirRequest {
        path: "made".to_owned(),
        ..MkdirRequest::default()
    };
    first.mkdir(made).await.unwrap();
    let mut one_more = TcpStream::connect(address).await.unwrap();
    let mut said = Vec::new();
    // A reset is an end, too.
    let _ = one_more.read_to_end(&mut said).await;
    assert!(said.is_empty(), "{said:?}");

    // One leaves, and its place is another caller's.
    let mut crowd = crowd;
    drop(crowd.pop());
    let mut second = until_let_in(address, secret.reveal()).await;
    second.stat(StatRequest::default()).await.unwrap();
    drop(second);

    // All leave, and as many come again: nothing of the first ones is left.
    drop(crowd);
    let again = idle_ones(address, count).await;
    let now = resident(&program).saturating_sub(before);
    // Memory that is free comes in pieces; what is lost would take as much again.
    assert!(
        now < with + with / 4 * 3 + (8 << 20),
        "as many take {now} bytes the second time, and took {with} the first time"
    );
    first.stat(StatRequest::default()).await.unwrap();
    drop(again);
    let mut third = until_let_in(address, secret.reveal()).await;
    third.stat(StatRequest::default()).await.unwrap();

    program.kill().await.unwrap();
    let mut log = String::new();
    let mut stderr = program.stderr.take().unwrap();
    stderr.read_to_string(&mut log).await.unwrap();
    assert!(log.contains("--max-connections allows more"), "{log}");
    eprintln!("{count} connections: {with} bytes, then {now}");
}

/// The server learns a moment later that somebody has left.
async fn until_let_in(address: &str, secret: &str) -> Holder {
    for _ in 0..500 {
        if let Some(mut holder) = caller(address, secret).await
            && holder.stat(StatRequest::default()).await.is_ok()
        {
            return holder;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody is let in although there is place");
}
