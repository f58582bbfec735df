//! Programs under measurement, each a process of its own, as in real use.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a toolbox: not every benchmark needs all of it"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pluton_fichier::proto::storage_backend_client::StorageBackendClient;
use tonic::transport::{Channel, Endpoint};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_pluton-fichier");

pub type Client = StorageBackendClient<Channel>;

/// A child that ends with its handle.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Starts a program and reads its ready line.
    pub fn start(program: &str, args: &[&str]) -> (Self, serde_json::Value) {
        let mut child = Command::new(program)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        (
            Self(child),
            serde_json::from_str(&line).expect("a ready line"),
        )
    }

    /// The server in front of an API; returns its address too.
    pub fn serve(api: &str, keyfile: &Path, state: &Path, more: &[&str]) -> (Self, String) {
        let fixed = [
            "serve",
            "--api-url",
            api,
            "--api-key-file",
            keyfile.to_str().unwrap(),
            "--state-dir",
            state.to_str().unwrap(),
            "--grpc-listen",
            "127.0.0.1:0",
            "--log",
            "warn",
        ];
        let (process, ready) = Self::start(PROGRAM, &[&fixed, more].concat());
        (process, ready["address"].as_str().unwrap().to_owned())
    }

    /// Asks it to end, and waits for that: what it remembers is then on disk.
    pub fn end(mut self) {
        let pid = self.0.id().to_string();
        Command::new("kill").arg(pid).status().unwrap();
        self.0.wait().unwrap();
    }

    /// Peak and present resident memory in MiB.
    pub fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<f64>()
                .unwrap()
                / 1024.0
        };
        (field("VmHWM:"), field("VmRSS:"))
    }
}

pub async fn connect(address: &str) -> Client {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .tcp_nodelay(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .connect()
        .await
        .unwrap();
    StorageBackendClient::new(channel)
}

/// The number behind an option, or its default.
pub fn number(args: &[String], name: &str, default: usize) -> usize {
    args.iter()
        .position(|arg| arg == name)
        .map_or(default, |at| args[at + 1].parse().unwrap())
}
