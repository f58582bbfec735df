//! The WebDAV face, as raw HTTP.

mod bad_input;
mod files;
mod listings;
mod rights;
mod times;
mod trees;

use pluton_fichier::config::{Config, Listen};
use pluton_fichier::emulator;
use pluton_fichier::proto::HashAlgorithm;
use reqwest::{Method, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::checks::*;
use crate::harness::*;

fn listening(config: &mut Config) {
    config.http_listen = vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())];
}

/// With every limit of 1Fichier's.
async fn served() -> World {
    build(emulator::Options::default(), listening).await
}

/// One request, as it is made.
struct Ask<'a> {
    world: &'a World,
    request: reqwest::RequestBuilder,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .to_str()
            .unwrap()
    }

    /// What stands between the tags of each element of this name.
    fn all(&self, element: &str) -> Vec<String> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let text = self.text();
        text.split(&open)
            .skip(1)
            .map(|rest| rest.split(&close).next().unwrap().to_owned())
            .collect()
    }
}

/// The address of a path on the server.
fn address(world: &World) -> String {
    world.server.as_ref().unwrap().http_addresses()[0].clone()
}

/// A request to an address below `/dav/fichier/`.
fn ask<'a>(world: &'a World, method: &str, path: &str) -> Ask<'a> {
    let url = format!("http://{}/dav/fichier/{path}", address(world));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    Ask {
        world,
        request: reqwest::Client::new().request(method, url),
    }
}

impl Ask<'_> {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    fn to(self, path: &str) -> Self {
        let url = format!("http://{}/dav/fichier/{path}", address(self.world));
        self.with("Destination", &url)
    }

    fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    /// Without a length.
    fn chunked(self, body: Vec<u8>) -> Self {
        let pieces: Vec<_> = body
            .chunks(10_000)
            .map(|piece| Ok(piece.to_vec()))
            .collect();
        let pieces: Vec<std::io::Result<Vec<u8>>> = pieces;
        self.body(reqwest::Body::wrap_stream(futures::stream::iter(pieces)))
    }

    async fn send(self) -> Response {
        self.request.send().await.unwrap()
    }

    async fn answer(self) -> Answer {
        let response = self.send().await;
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    /// The answer must have this status.
    #[track_caller]
    fn gives(self, status: u16) -> impl Future<Output = Answer> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.answer().await;
            let text = String::from_utf8_lossy(&answer.body);
            assert_eq!(answer.status, status, "at {caller}: {text}");
            if status >= 400 && !text.starts_with("<?xml") {
                // Pluton shows the first line alone.
                assert!(
                    status == 416 || text.trim_end().lines().count() == 1,
                    "{text:?}"
                );
            }
            answer
        }
    }
}

async fn put(world: &World, path: &str, content: &[u8]) {
    ask(world, "PUT", path)
        .body(content.to_vec())
        .gives(201)
        .await;
}

async fn propfind(world: &World, path: &str, depth: &str, body: &str) -> Answer {
    let request = ask(world, "PROPFIND", path).with("Depth", depth);
    request.body(body.to_owned()).gives(207).await
}

/// The addresses that a listing tells, without the way to the remote.
async fn hrefs(world: &World, path: &str) -> Vec<String> {
    let answer = propfind(world, path, "1", "").await;
    let hrefs = answer.all("D:href").into_iter();
    hrefs
        .map(|href| href.strip_prefix("/dav/fichier/").unwrap().to_owned())
        .collect()
}

async fn last_modified(world: &World, path: &str) -> String {
    let told = propfind(world, path, "0", "")
        .await
        .all("D:getlastmodified");
    let head = ask(world, "HEAD", path).gives(200).await;
    assert_eq!(told, [head.header("last-modified")]);
    told.into_iter().next().unwrap()
}

/// Sends bytes as they are. Gives the status and the last line.
async fn raw(world: &World, head: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address(world)).await.unwrap();
    let head = format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).await.unwrap();
    let status = said.split(' ').nth(1).unwrap().parse().unwrap();
    (status, said.lines().last().unwrap().to_owned())
}

/// The calls since the last time.
fn calls(world: &World) -> String {
    let calls = world.control.calls();
    assert_eq!(calls.floods(), 0, "{calls}");
    world.control.reset_calls();
    let calls: Vec<_> = calls
        .iter()
        .map(|(endpoint, count)| format!("{endpoint} {count}"))
        .collect();
    calls.join(", ")
}

#[tokio::test(start_paused = true)]
async fn what_it_can_do() {
    let world = served().await;
    let answer = ask(&world, "OPTIONS", "").gives(200).await;
    assert_eq!(answer.header("dav"), "1");
    assert!(answer.header("allow").contains("PROPFIND"));
    for method in ["LOCK", "UNLOCK", "POST", "PATCH", "REPORT"] {
        let answer = ask(&world, method, "a").gives(405).await;
        assert!(answer.header("allow").contains("MKCOL"));
    }
    assert_eq!(StatusCode::METHOD_NOT_ALLOWED.as_u16(), 405);
    // A directory is no page.
    ask(&world, "GET", "").gives(405).await;
    let url = format!("http://{}/dav", address(&world));
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("/dav/REMOTE/"));
}
