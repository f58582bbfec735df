//! `serve restic --stdio`, started as restic starts it, in real time.

use std::process::Stdio;

use axum::body::{Body, to_bytes};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::*;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pluton-fichier");

fn start(http: &str, repository: &str) -> Child {
    Command::new(PROGRAM)
        .args(["serve", "restic", "--stdio", "--b2-hard-delete", repository])
        .env("PLUTON_FICHIER_HTTP", http)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn ask(
    client: &mut SendRequest<Body>,
    method: Method,
    path: &str,
    body: &str,
) -> (StatusCode, String) {
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://localhost/{path}"))
        .body(Body::from(body.to_owned()));
    let answer = client.send_request(request.unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let bytes = to_bytes(Body::new(body), 1 << 20).await.unwrap();
    (parts.status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn it_speaks_http_2_until_restic_goes() {
    let repo = repository().await;
    let address = repo.world.server.as_ref().unwrap().http_addresses()[0].clone();
    let mut child = start(&address.to_string(), "fichier:a/repo");
    let pipes = tokio::io::join(child.stdout.take().unwrap(), child.stdin.take().unwrap());
    // It would fail with anything else than frames.
    let shaken = handshake(TokioExecutor::new(), TokioIo::new(pipes)).await;
    let (mut client, connection) = shaken.unwrap();
    let connection = tokio::spawn(connection);
    let (status, _) = ask(&mut client, Method::GET, "file-1", "").await;
    assert_eq!(status, 404, "as restic asks first");
    let (status, _) = ask(&mut client, Method::POST, "config", "settings").await;
    assert_eq!(status, 200);
    let found = ask(&mut client, Method::GET, "config", "").await;
    assert_eq!(found, (StatusCode::OK, "settings".to_owned()));
    assert_eq!(repo.world.stored(), ["a/repo/config"]);
    drop(client);
    connection.await.unwrap().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output());
    let output = ended.await.expect("it ends with its input").unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn what_cannot_be_served_is_told_on_standard_error_alone() {
    let repo = repository().await;
    let address = repo.world.server.as_ref().unwrap().http_addresses()[0].clone();
    let address = address.to_string();
    for (http, repository, text) in [
        ("127.0.0.1:1", "fichier:a", "cannot reach the server"),
        (
            "unix:/nowhere/http.sock",
            "fichier:a",
            "cannot reach the server",
        ),
        (address.as_str(), "other:a", "other"),
        (address.as_str(), "a", "REMOTE:PATH"),
    ] {
        let mut child = start(http, repository);
        // restic keeps it open.
        let _stdin = child.stdin.take();
        let mut out = Vec::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut out)
            .await
            .unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{repository} at {http}");
        assert_eq!(out, b"", "{repository} at {http}");
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.contains(text), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}
