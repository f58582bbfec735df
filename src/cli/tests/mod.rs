//! The commands end to end, against a server in memory.

mod fake;
mod recursive;
mod transfers;
mod trees;
mod units;

use std::io::{Cursor, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use clap::Parser;
use serde_json::{Value, json};

use super::exit::Exit;
use super::io::{Io, SharedWriter};
use super::{ClientCommand, run_with};
use crate::error::Reason;
use crate::proto::{DedupeMode, DedupeResponse, Entry, EntryType, PathFailure};
use fake::Fake;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Write for Buffer {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(data)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a command did.
#[derive(Debug)]
struct Outcome {
    exit: Exit,
    out: String,
    err: String,
}

impl Outcome {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{self:?}"))
    }

    fn error(&self) -> Value {
        serde_json::from_str(&self.err).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// Streams that nobody listens to.
pub(super) fn quiet_io() -> Io {
    Io {
        out: SharedWriter::new(std::io::sink()),
        err: SharedWriter::new(std::io::sink()),
        input: Mutex::new(None),
        json: false,
        quiet: true,
        kept: Mutex::default(),
        interactive: false,
        out_is_terminal: false,
    }
}

/// Runs a command line as a process would.
async fn run(server: &str, words: &[&str], input: &[u8]) -> Outcome {
    let (out, err) = (Buffer::default(), Buffer::default());
    let exit = run_to(server, words, input, out.clone(), err.clone()).await;
    Outcome {
        exit,
        out: String::from_utf8(out.take()).unwrap(),
        err: String::from_utf8(err.take()).unwrap(),
    }
}

async fn run_to(
    server: &str,
    words: &[&str],
    input: &[u8],
    out: impl Write + Send + 'static,
    err: impl Write + Send + 'static,
) -> Exit {
    let program = std::iter::once("pluton-fichier");
    let server = ["--server", server];
    let words = program.chain(words.iter().copied()).chain(server);
    let command = Cli::try_parse_from(words).unwrap().command;
    let io = Io {
        out: SharedWriter::new(out),
        err: SharedWriter::new(err),
        input: Mutex::new(Some(Box::new(Cursor::new(input.to_vec())))),
        json: command.connect().json,
        quiet: command.quiet(),
        kept: Mutex::default(),
        interactive: false,
        out_is_terminal: false,
    };
    run_with(command, &io).await
}

struct Client {
    fake: Fake,
    address: SocketAddr,
}

impl Client {
    async fn new() -> Self {
        let (fake, address) = Fake::start().await;
        Self { fake, address }
    }

    async fn run(&self, words: &[&str]) -> Outcome {
        run(&self.address.to_string(), words, b"").await
    }
}

#[tokio::test]
async fn ls_prints_names() {
    let client = Client::new().await;
    for path in ["docs/a.txt", "docs/deep/b.txt", "other"] {
        client.fake.hold(path, "12345");
    }
    let root = client.run(&["ls"]).await;
    assert_eq!((root.exit, root.out.as_str()), (Exit::Ok, "docs/\nother\n"));
    let docs = client.run(&["ls", "/docs/"]).await;
    assert_eq!(docs.out, "a.txt\ndeep/\n");
    let all = [
        "ls",
        "-r",
        "docs",
        "--max-depth",
        "3",
        "--max-staleness",
        "1m",
    ];
    let all = client.run(&all).await;
    assert_eq!(all.out, "a.txt\ndeep/b.txt\n");
    let long = client.run(&["ls", "-l", "docs"]).await;
    assert!(
        long.out.starts_with("              5  2023-11-1"),
        "{long:?}"
    );
    assert!(
        long.out.contains("  -                    deep/\n"),
        "{long:?}"
    );
    let state = client.fake.state();
    assert_eq!(state.lists[2].max_depth, 3);
    assert_eq!(state.lists[2].max_staleness.unwrap().seconds, 60);
    assert_eq!(state.lists[0].max_staleness, None);
}

#[tokio::test]
async fn ls_in_json_and_with_failures() {
    let client = Client::new().await;
    client.fake.hold("a", "12345");
    client.fake.hold("d/b", "1");
    client.fake.state().list_failures = vec![PathFailure {
        path: "locked".into(),
        failure: Some(fake::failure(Reason::UpstreamAccessDenied, "no access")),
    }];
    let listed = client.run(&["ls", "--json"]).await;
    assert_eq!(listed.exit, Exit::Other);
    let lines: Vec<Value> = listed
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let file = json!({
        "path": "a", "type": "file", "size": 5, "modify_time": "2023-11-14T22:13:20Z",
        "checksums": {"whirlpool": fake::whirlpool(b"12345")}, "etag": "etag-5",
    });
    assert_eq!(lines, [file, json!({"path": "d", "type": "directory"})]);
    let error = &listed.error()["error"];
    assert_eq!(error["path"], "locked");
    assert_eq!(error["reason"], "UPSTREAM_ACCESS_DENIED");

    let listed = client.run(&["ls"]).await;
    assert_eq!(
        listed.err,
        "error: locked: no access [UPSTREAM_ACCESS_DENIED]\n"
    );
}

#[tokio::test]
async fn rm_tells_about_each_file() {
    let client = Client::new().await;
    client.fake.hold("a", "1");
    let removed = client.run(&["rm", "/a", "missing"]).await;
    assert_eq!(removed.exit, Exit::NotFound);
    assert_eq!(
        removed.err,
        "error: missing: there is no such file [FILE_NOT_FOUND]\n"
    );
    assert_eq!(removed.out, "");
    assert!(client.fake.state().files.is_empty());

    client.fake.hold("a", "1");
    let removed = client.run(&["rm", "--json", "a", "missing"]).await;
    let results = &removed.json()["results"];
    assert_eq!(results[0], json!({"path": "a", "removed": true}));
    assert_eq!(results[1]["error"]["code"], "NOT_FOUND");
    assert_eq!(
        client.run(&["rm", "x", "--ignore-missing"]).await.exit,
        Exit::Ok
    );

    let many: Vec<String> = (0..2001).map(|number| format!("f{number}")).collect();
    let words: Vec<&str> = ["rm", "--ignore-missing"]
        .into_iter()
        .chain(many.iter().map(String::as_str))
        .collect();
    assert_eq!(client.run(&words).await.exit, Exit::Ok);
    assert!(client.fake.state().deletes.ends_with(&[1000, 1000, 1]));
}

#[tokio::test]
async fn errors_keep_code_reason_and_facts() {
    let client = Client::new().await;
    let missing = client.run(&["stat", "x", "--json"]).await;
    assert_eq!((missing.exit, missing.out.as_str()), (Exit::NotFound, ""));
    let expected = json!({"error": {
        "code": "NOT_FOUND", "reason": "FILE_NOT_FOUND", "message": "there is no file \"x\"",
        "metadata": {"path": "p"},
    }});
    assert_eq!(missing.error(), expected);
    let missing = client.run(&["stat", "x"]).await;
    assert_eq!(
        missing.err,
        "error: there is no file \"x\" [FILE_NOT_FOUND]\n"
    );
    assert_eq!(client.run(&["rmdir", "d"]).await.exit, Exit::Precondition);
    assert_eq!(
        client.run(&["mkdir", "d/e", "--no-parents"]).await.exit,
        Exit::NotFound
    );
}

#[tokio::test]
async fn small_commands() {
    let client = Client::new().await;
    client.fake.hold("a", vec![7; 2048]);
    let stat = client.run(&["stat", "a"]).await.out;
    assert!(stat.contains("size       2048 B (2.00 KiB)\n"), "{stat}");
    assert_eq!(
        client.run(&["stat", "a", "--json"]).await.json()["size"],
        2048
    );
    let hash = client.run(&["hash", "/a", "--algorithm", "sha256"]).await;
    assert_eq!(hash.out, "00ff  a\n");
    let hash = client.run(&["hash", "a", "--json"]).await.json();
    assert_eq!(hash["algorithm"], "whirlpool");
    let about = client.run(&["about"]).await.out;
    assert_eq!(
        about,
        "total  1.00 TiB\nused   1.50 GiB\nfree   unknown\nplan   premium\n"
    );
    assert_eq!(
        client.run(&["about", "--json"]).await.json()["total_bytes"],
        1_u64 << 40
    );
    assert_eq!(
        client.run(&["mkdir", "/d/", "--json"]).await.json()["entry"]["path"],
        "d"
    );
    let info = client.run(&["info", "--json"]).await.json();
    assert_eq!(
        info["remotes"][0]["capabilities"],
        json!(["put_unknown_size"])
    );
    assert!(
        client
            .run(&["info"])
            .await
            .out
            .contains("main (fichier, default)")
    );
}

#[tokio::test]
async fn link_prints_the_url_and_takes_passwords_from_files() {
    let client = Client::new().await;
    let link = client.run(&["link", "/a/b/"]).await;
    assert_eq!(
        (link.exit, link.out.as_str()),
        (Exit::Ok, "https://example.org/a/b\n")
    );
    let link = client.run(&["link", "a", "--json"]).await.json();
    assert_eq!(link, json!({"path": "a", "url": "https://example.org/a"}));
    let revoked = client.run(&["link", "a", "--revoke"]).await;
    assert_eq!((revoked.exit, revoked.out.as_str()), (Exit::Ok, ""));
    let revoked = client
        .run(&["link", "a", "--revoke", "--json"])
        .await
        .json();
    assert_eq!(revoked["url"], Value::Null);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "a good one \r\nsecond line\n").unwrap();
    let words = ["link", "a", "--password-file", file.to_str().unwrap()];
    assert_eq!(client.run(&words).await.exit, Exit::Ok);
    let server = client.address.to_string();
    let words = ["link", "a", "--password-file", "-"];
    assert_eq!(run(&server, &words, b"from stdin").await.exit, Exit::Ok);
    let empty = run(&server, &words, b"\n").await;
    assert_eq!(empty.exit, Exit::Usage);
    let missing = ["link", "a", "--password-file", "/nonexistent"];
    assert_eq!(client.run(&missing).await.exit, Exit::Usage);
    // The first line of a file that is not cut.
    let longest = [b"first\n".as_slice(), &[b'x'; 4_090]].concat();
    assert_eq!(run(&server, &words, &longest).await.exit, Exit::Ok);
    let longer = [&longest[..], b"x"].concat();
    for (content, word) in [
        (&longer[..], "- has more than 4096 bytes"),
        (b"pass\xff\n", "- is not a text in UTF-8"),
    ] {
        let refused = run(&server, &words, content).await;
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.err.contains(word), "{}", refused.err);
    }
    let state = client.fake.state();
    let passwords: Vec<_> = state
        .links
        .iter()
        .map(|link| link.password.as_str())
        .collect();
    assert_eq!(
        passwords,
        ["", "", "", "", "a good one ", "from stdin", "first"]
    );
}

#[tokio::test]
async fn dedupe_tells_what_becomes_of_each_entry() {
    let client = Client::new().await;
    let entry = |path: &str, id: &str, kind: EntryType| Entry {
        path: path.into(),
        id: id.into(),
        r#type: kind.into(),
        size: (kind == EntryType::File).then_some(5),
        ..Entry::default()
    };
    let files = ["1", "2", "3"].map(|id| entry("f", id, EntryType::File));
    let folders = ["7", "8"].map(|id| entry("d", id, EntryType::Directory));
    client.fake.state().groups = vec![
        DedupeResponse {
            path: "f".into(),
            entries: files.to_vec(),
            kept_id: "1".into(),
            remaining: vec![files[0].clone(), entry("f-1", "2", EntryType::File)],
            failures: Vec::new(),
        },
        DedupeResponse {
            path: "d".into(),
            entries: folders.to_vec(),
            kept_id: "7".into(),
            remaining: vec![folders[0].clone()],
            failures: Vec::new(),
        },
        DedupeResponse {
            path: "locked".into(),
            failures: vec![PathFailure {
                path: "locked".into(),
                failure: Some(fake::failure(Reason::UpstreamAccessDenied, "no access")),
            }],
            ..DedupeResponse::default()
        },
    ];
    let words = ["dedupe", "/x/", "-R", "--mode", "rename", "--dry-run"];
    let told = client.run(&words).await;
    assert_eq!(told.exit, Exit::Permission);
    assert_eq!(
        told.out,
        "f\n     5 B  -  1  stays\n     5 B  -  2  renamed to f-1\n     5 B  -  3  removed\n\
         d\n     -  -  7  stays\n     -  -  8  merged\n"
    );
    assert_eq!(
        told.err,
        "error: locked: no access [UPSTREAM_ACCESS_DENIED]\n"
    );
    let report = client.run(&["dedupe"]).await.out;
    assert!(
        report.starts_with("f\n     5 B  -  1  counts\n     5 B  -  2  hidden\n"),
        "{report}"
    );
    let lines = client.run(&["dedupe", "--json"]).await;
    let lines: Vec<Value> = lines
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["remaining"][1]["path"], "f-1");
    assert_eq!(
        lines[2]["failures"][0]["error"]["reason"],
        "UPSTREAM_ACCESS_DENIED"
    );
    let state = client.fake.state();
    let first = &state.dedupes[0];
    assert_eq!(
        (first.path.as_str(), first.mode()),
        ("x", DedupeMode::Rename)
    );
    assert!(first.recursive && first.validate_only);
    assert_eq!(state.dedupes[1].mode(), DedupeMode::Report);
}

#[tokio::test]
async fn test_tells_what_failed() {
    let client = Client::new().await;
    let healthy = client.run(&["test"]).await;
    assert_eq!(
        (healthy.exit, healthy.out.as_str()),
        (Exit::Ok, "reachable  passed  -\nhealthy\n")
    );
    let ill = client.run(&["test", "--write"]).await;
    assert_eq!(ill.exit, Exit::Other);
    assert!(
        ill.out
            .contains("write      failed  -  may not write [READ_ONLY]\nnot healthy\n"),
        "{ill:?}"
    );
    let ill = client.run(&["test", "--write", "--json"]).await;
    assert_eq!(ill.json()["checks"][1]["error"]["reason"], "READ_ONLY");
}

#[tokio::test]
async fn a_server_that_is_away() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let away = run(&address, &["ls"], b"").await;
    assert_eq!(away.exit, Exit::Unavailable);
    assert!(
        away.err
            .starts_with(&format!("error: cannot connect to {address}: ")),
        "{away:?}"
    );
    assert!(
        away.err.ends_with("start it with: pluton-fichier serve\n"),
        "{away:?}"
    );
    let away = run("unix:/nonexistent/socket", &["ls", "--json"], b"").await;
    assert_eq!(away.error()["error"]["code"], "UNAVAILABLE");
    assert_eq!(run("ftp://x", &["ls"], b"").await.exit, Exit::Usage);
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let fake = Fake::default();
    fake.hold("a", "1");
    let service = crate::proto::storage_backend_server::StorageBackendServer::new(fake);
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    let listed = run(&format!("unix:{}", path.display()), &["ls"], b"").await;
    assert_eq!(listed.out, "a\n", "{listed:?}");
}

#[tokio::test]
async fn a_timeout_ends_the_command() {
    let client = Client::new().await;
    client.fake.state().stall = true;
    let late = client.run(&["ls", "--timeout", "200ms"]).await;
    assert_eq!(late.exit, Exit::Unavailable);
    assert_eq!(late.err, "error: not finished in time (--timeout 200ms)\n");
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_failure() {
    struct Left;
    impl Write for Left {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let client = Client::new().await;
    client.fake.hold("a", vec![1; 100_000]);
    for words in [&["ls"][..], &["cat", "a"], &["about", "--json"]] {
        let err = Buffer::default();
        let server = client.address.to_string();
        let exit = run_to(&server, words, b"", Left, err.clone()).await;
        assert_eq!((exit, err.take()), (Exit::Ok, vec![]), "{words:?}");
    }
}
