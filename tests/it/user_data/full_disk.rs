//! A disk that is full, for a program of its own: the system refuses to let
//! files grow, as on a disk without room.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use pluton_fichier::emulator::{self, DEMO_API_KEY, Emulator};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{THEN, names_in, until};
use crate::harness::*;

/// A server as a process of its own.
struct Program {
    child: Child,
    client: Client,
    http: String,
}

impl Program {
    /// Starts it. Files may grow to `most` bytes.
    async fn start(home: &Path, api: &str, most: Option<u64>) -> Self {
        let limit = match most {
            // In blocks of 512 bytes.
            Some(most) => format!("ulimit -S -f {}; ", most / 512),
            None => String::new(),
        };
        // The signal would end it before the system can refuse.
        let shell = format!("trap '' XFSZ; {limit}exec \"$0\" \"$@\"");
        let mut child = Command::new("sh")
            .args(["-c", &shell, env!("CARGO_BIN_EXE_pluton-fichier")])
            .args(["serve", "--log", "debug", "--api-url", api])
            .args([
                "--grpc-listen",
                "127.0.0.1:0",
                "--http-listen",
                "127.0.0.1:0",
            ])
            .args(["--calls-per-second", "0"])
            .arg("--state-dir")
            .arg(home.join("state"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PLUTON_FICHIER_API_KEY", DEMO_API_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let read = stdout.read_line(&mut line);
        let read = tokio::time::timeout(Duration::from_secs(60), read).await;
        assert!(read.unwrap().unwrap() > 0, "it does not start");
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = format!("http://{}", ready["address"].as_str().unwrap());
        let endpoint = tonic::transport::Endpoint::from_shared(address).unwrap();
        Self {
            child,
            client: Client::new(endpoint.connect().await.unwrap()),
            http: ready["http_addresses"][0].as_str().unwrap().to_owned(),
        }
    }

    fn pid(&self) -> Pid {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        Pid::from_raw(pid).unwrap()
    }

    /// From now on files may grow to so many bytes.
    fn limit(&self, most: Option<u64>) {
        let limit = Rlimit {
            current: most,
            maximum: None,
        };
        prlimit(Some(self.pid()), Resource::Fsize, limit).unwrap();
    }

    async fn put(&self, path: &str, data: &[u8]) -> Result<(), String> {
        let header = pluton_fichier::proto::PutHeader {
            size: Some(data.len() as i64),
            ..header(path)
        };
        let stored = put(&self.client, header, data).await;
        stored.map(drop).map_err(|status| reason(&status))
    }

    async fn content(&self, path: &str) -> Vec<u8> {
        let request = pluton_fichier::proto::GetRequest {
            path: path.to_owned(),
            ..Default::default()
        };
        get(&self.client, request).await.unwrap().content
    }

    fn address(&self, path: &str) -> String {
        format!("http://{}/dav/fichier/{path}", self.http)
    }

    async fn put_then(&self, path: &str) {
        let request = reqwest::Client::new().put(self.address(path));
        let request = request.header("X-OC-Mtime", "784111777");
        let answer = request.body("then").send().await.unwrap();
        assert_eq!(answer.status(), 201);
    }

    async fn last_modified(&self, path: &str) -> String {
        let request = reqwest::Client::new().head(self.address(path));
        let answer = request.send().await.unwrap();
        answer.headers()["last-modified"]
            .to_str()
            .unwrap()
            .to_owned()
    }

    async fn problem(&self) -> String {
        let request = pluton_fichier::proto::GetActivityRequest::default();
        let activity = self.client.clone().get_activity(request).await.unwrap();
        activity.into_inner().catalog.unwrap().persistence_problem
    }

    async fn recovers(&self) {
        until("it recovers by itself", async || {
            self.problem().await.is_empty()
        })
        .await;
    }

    async fn stop(mut self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
        assert!(self.child.wait().await.unwrap().success());
    }
}

async fn account() -> (Emulator, String) {
    let options = emulator::Options {
        limits: emulator::Limits::none(),
        ..emulator::Options::default()
    };
    let emulator = Emulator::start(options).await.unwrap();
    let api = emulator.api_url();
    (emulator, api)
}

/// What lies in the directory of the databases are two of them, whole.
fn assert_whole(home: &Path) {
    let directory = home.join("state/catalog");
    let names = names_in(&directory);
    assert_eq!(names.len(), 2, "nothing is put away: {names:?}");
    for name in names {
        let connection = rusqlite::Connection::open(directory.join(name)).unwrap();
        let check =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        assert_eq!(check.unwrap(), "ok");
    }
}

#[tokio::test]
async fn a_full_disk_at_the_start_stops_nothing_and_damages_nothing() {
    let (emulator, api) = account().await;
    let home = tempfile::tempdir().unwrap();
    let program = Program::start(home.path(), &api, None).await;
    program.put_then("f").await;
    program.put("a/x", &content(1_000)).await.unwrap();
    program.stop().await;

    let program = Program::start(home.path(), &api, Some(4_096)).await;
    let control = emulator.control();
    control.reset_calls();
    assert_eq!(
        program.put("a/y", &content(10)).await.unwrap_err(),
        "STATE_UNAVAILABLE"
    );
    assert_eq!(control.calls().get("upload.cgi"), 0);
    assert_eq!(program.content("a/x").await, content(1_000));
    assert_eq!(program.last_modified("f").await, THEN, "it can be read");
    assert!(!program.problem().await.is_empty());
    program.limit(None);
    program.recovers().await;
    program.put("a/y", &content(10)).await.unwrap();
    program.put_then("g").await;
    program.stop().await;
    assert_whole(home.path());

    let program = Program::start(home.path(), &api, None).await;
    for path in ["f", "g"] {
        assert_eq!(program.last_modified(path).await, THEN);
    }
    program.stop().await;
}

#[tokio::test]
async fn a_first_start_on_a_full_disk_begins_when_there_is_room() {
    let (_emulator, api) = account().await;
    let home = tempfile::tempdir().unwrap();
    let program = Program::start(home.path(), &api, Some(512)).await;
    assert_eq!(
        program.put("a/y", &content(10)).await.unwrap_err(),
        "STATE_UNAVAILABLE"
    );
    program.limit(None);
    program.recovers().await;
    program.put_then("f").await;
    program.stop().await;
    assert_whole(home.path());
}

#[tokio::test]
async fn a_disk_that_fills_up_and_is_emptied_loses_nothing() {
    let (emulator, api) = account().await;
    let home = tempfile::tempdir().unwrap();
    let program = Program::start(home.path(), &api, None).await;
    program.put_then("f").await;
    for round in 0..2 {
        program.limit(Some(64 << 10));
        let mut stored = 0;
        let refused = loop {
            assert!(stored < 1_000);
            let path = format!("{round}/{stored}");
            match program.put(&path, &content(100)).await {
                Ok(()) => stored += 1,
                Err(reason) => break reason,
            }
        };
        assert_eq!(refused, "STATE_UNAVAILABLE", "{round}");
        assert_eq!(program.last_modified("f").await, THEN);
        program.limit(None);
        program.recovers().await;
        // Each that was acknowledged is there once.
        let tree = emulator.control().tree();
        for number in 0..stored {
            let path = format!("{round}/{number}");
            assert_eq!(tree.iter().filter(|node| node.path == path).count(), 1);
        }
    }
    program.put_then("g").await;
    program.stop().await;
    assert_whole(home.path());
    let program = Program::start(home.path(), &api, None).await;
    for path in ["f", "g"] {
        assert_eq!(program.last_modified(path).await, THEN);
    }
    program.stop().await;
}
