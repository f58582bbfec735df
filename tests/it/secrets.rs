//! Nothing that the process emits holds a secret: what it prints and logs, the
//! figures and the page of the admin listener, its arguments, its statuses, and
//! the files that it keeps.

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pluton_fichier::emulator::{Emulator, Options};
use pluton_fichier::proto::*;
use tonic::Request;
use tonic::transport::Endpoint;

use crate::harness::*;

const KEY: &str = "Kq7-key-of=the-account_93xw-abc=";
const FILE_PASSWORD: &str = "Xyzzy-of-files-17";
const LINK_PASSWORD: &str = "Plugh-of-links-18";
const HTTP_TOKEN: &str = "token-of-a-caller-over-http";
const NAME: &str = "a-name-for-nobody";

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All files below a directory: nobody else may read them.
fn files(directory: &Path, into: &mut Vec<u8>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        if path.is_dir() {
            assert_eq!(mode & 0o077, 0, "{path:?} {mode:o}");
            files(&path, into);
        } else {
            into.extend(fs::read(&path).unwrap());
        }
    }
}

#[tokio::test]
async fn nothing_that_is_emitted_holds_a_secret() {
    let mut options = Options::default();
    options.accounts[0].api_keys = vec![KEY.to_owned()];
    let emulator = Emulator::start(options).await.unwrap();
    let control = emulator.control();
    let state = tempfile::tempdir().unwrap();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut log = tempfile::tempfile().unwrap();
    let server = Command::new(env!("CARGO_BIN_EXE_pluton-fichier"))
        .args(["serve", "--grpc-listen", "127.0.0.1:0"])
        .args(["--http-listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0", "--log", "trace"])
        .args(["--api-url", &emulator.api_url()])
        .arg("--state-dir")
        .arg(state.path())
        .env("PLUTON_FICHIER_API_KEY", KEY)
        .env("PLUTON_FICHIER_FILE_PASSWORD", FILE_PASSWORD)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone().unwrap())
        .spawn();
    let mut server = Killed(server.unwrap());
    let mut stdout = BufReader::new(server.0.stdout.take().unwrap());
    let mut printed = String::new();
    stdout.read_line(&mut printed).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let endpoint = format!("http://{}", ready["address"].as_str().unwrap());
    let endpoint = Endpoint::from_shared(endpoint).unwrap();
    let mut client = Client::new(endpoint.connect().await.unwrap());

    // Content, links, a refusal, and a call with ids of its caller.
    let mut told = String::new();
    let path = format!("d/{NAME}");
    put(&client, header(&path), b"content").await.unwrap();
    let wanted = GetRequest {
        path: path.clone(),
        ..GetRequest::default()
    };
    get(&client, wanted).await.unwrap();
    let link = PublicLinkRequest {
        path: path.clone(),
        password: LINK_PASSWORD.to_owned(),
        ..PublicLinkRequest::default()
    };
    client.public_link(link.clone()).await.unwrap();
    let bad = PublicLinkRequest {
        password: format!("{LINK_PASSWORD}\n"),
        ..link
    };
    told += &format!("{:?}", client.public_link(bad).await.unwrap_err());
    let mut stat = Request::new(StatRequest {
        path: format!("d/none/{NAME}"),
        ..StatRequest::default()
    });
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let metadata = stat.metadata_mut();
    metadata.insert("x-request-id", "request-of-mine".parse().unwrap());
    metadata.insert("traceparent", parent.parse().unwrap());
    let status = client.stat(stat).await.unwrap_err();
    assert_eq!(
        status.metadata().get("x-request-id").unwrap(),
        "request-of-mine"
    );
    told += &format!("{status:?}");
    let mut stranger = Request::new(StatRequest::default());
    let token = "Bearer token-of-a-caller".parse().unwrap();
    stranger.metadata_mut().insert("authorization", token);
    let status = client.stat(stranger).await.unwrap_err();
    assert_reason::<()>(Err(status.clone()), "TOKEN_INVALID");
    told += &format!("{status:?}");

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = format!("http://{}", ready["http_addresses"][0].as_str().unwrap());
    let found = http
        .get(format!("{base}/dav/fichier/{path}"))
        .header("x-request-id", "http-request-of-mine")
        .header("traceparent", &parent)
        .send();
    let found = found.await.unwrap();
    assert_eq!(found.status(), 200);
    assert_eq!(found.headers()["x-request-id"], "http-request-of-mine");
    assert_eq!(found.text().await.unwrap(), "content");
    let refused = http.get(format!("{base}/restic/fichier/d/{NAME}/config"));
    let refused = refused.basic_auth("anybody", Some(HTTP_TOKEN)).send();
    let refused = refused.await.unwrap();
    assert_eq!(refused.status(), 401);
    told += &format!(
        "{:?}{}",
        refused.headers().clone(),
        refused.text().await.unwrap()
    );

    for page in ["/", "/metrics", "/status.json", "/healthz"] {
        let url = format!("http://{}{page}", ready["admin_address"].as_str().unwrap());
        let answer = http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer = answer.text().await.unwrap();
        assert!(
            !answer.contains(NAME),
            "{page} names a file that is not in transfer"
        );
        told += &answer;
    }
    let process = format!("/proc/{}/cmdline", server.0.id());
    told += &String::from_utf8_lossy(&fs::read(process).unwrap());
    drop(server);
    stdout.read_to_string(&mut printed).unwrap();
    told += &printed;
    let mut text = String::new();
    log.rewind().unwrap();
    log.read_to_string(&mut text).unwrap();

    // The line of the call says what it should, and nothing of its path.
    let line = text
        .lines()
        .find(|line| line.contains("request-of-mine") && line.contains("a call ended"));
    let line = line.expect("a line for the call");
    for part in ["Stat", "NOT_FOUND", "FILE_NOT_FOUND", "fichier", trace] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains(NAME), "{line}");
    let line = text
        .lines()
        .find(|line| line.contains("http-request-of-mine") && line.contains("a request ended"));
    let line = line.expect("a line for the request");
    let parts = ["webdav", "GET", "200", "fichier", "sent=7", "ms=", trace];
    for part in parts {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains(NAME), "{line}");
    let line = text
        .lines()
        .find(|line| line.contains("restic") && line.contains("a request ended"));
    let line = line.expect("a line for the one that was refused");
    assert!(
        line.contains("401") && line.contains("TOKEN_INVALID"),
        "{line}"
    );
    assert!(text.contains("TRACE"), "the log is complete");
    told += &text;
    let mut kept = told.into_bytes();
    files(state.path(), &mut kept);
    let mut secrets: Vec<_> = [KEY, FILE_PASSWORD, LINK_PASSWORD, "token-of-a-caller"]
        .map(str::to_owned)
        .into();
    let basic = STANDARD.encode(format!("anybody:{HTTP_TOKEN}"));
    secrets.extend([HTTP_TOKEN.to_owned(), basic]);
    // The time-limited URLs of downloads.
    let requests = control.last_requests();
    let downloads = requests
        .iter()
        .filter(|request| request.endpoint == "download");
    let tokens: Vec<_> = downloads
        .map(|request| request.target.trim_start_matches('/').to_owned())
        .collect();
    assert!(
        !tokens.is_empty() && tokens.iter().all(|token| token.len() > 6),
        "{tokens:?}"
    );
    secrets.extend(tokens);
    for secret in &secrets {
        let found = memchr::memmem::find(&kept, secret.as_bytes());
        let shown = found.map(|at| {
            let near = &kept[at.saturating_sub(200)..(at + 100).min(kept.len())];
            String::from_utf8_lossy(near).into_owned()
        });
        assert_eq!(shown, None, "holds {secret}");
    }
}
