//! The program under test, as a process of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use pluton_fichier::proto::storage_backend_client::StorageBackendClient;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tonic::transport::Endpoint;

use crate::operation::{Client, STREAM_FROM};

/// A server that runs. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    address: String,
}

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(30);

impl Program {
    /// Starts it on a state directory; `home` holds that, the key and the log.
    pub(crate) async fn start(home: &Path, api: &str, calls_per_second: u32) -> Self {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(home.join("log"))
            .unwrap();
        let socket = format!("unix:{}", home.join("socket").display());
        let mut child = Command::new(env!("CARGO_BIN_EXE_pluton-fichier"))
            .env_clear()
            .args(["serve", "--log", "info", "--api-url", api])
            .arg("--api-key-file")
            .arg(home.join("key"))
            .arg("--state-dir")
            .arg(home.join("state"))
            // The socket of the process that was killed is in the way.
            .args(["--grpc-listen", "127.0.0.1:0", "--grpc-listen", &socket])
            .args(["--stream-from", &STREAM_FROM.to_string()])
            .args(["--calls-per-second", &calls_per_second.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let read = tokio::time::timeout(START, stdout.read_line(&mut line)).await;
        assert!(
            matches!(read, Ok(Ok(length)) if length > 0),
            "the server does not start: {}",
            std::fs::read_to_string(home.join("log")).unwrap_or_default()
        );
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        Self {
            child,
            address: ready["address"].as_str().unwrap().to_owned(),
        }
    }

    pub(crate) async fn connect(&self) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        StorageBackendClient::new(endpoint.connect().await.unwrap())
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL; returns once it is gone.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}
