//! restic's REST protocol over HTTP, as restic itself speaks it.

mod load;
mod protocol;
mod rights;
mod stdio;

use std::time::Duration;

use pluton_fichier::config::{Config, Listen};
use pluton_fichier::emulator;
use reqwest::{Method, Response, StatusCode};

use crate::harness::*;

const V2: &str = "application/vnd.x.restic.rest.v2";

/// A server with the face, and a client for one repository.
struct Repository {
    world: World,
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

async fn repository() -> Repository {
    adapted(|_| ()).await
}

async fn adapted(adapt: impl FnOnce(&mut Config)) -> Repository {
    let world = build(emulator::Options::default(), |config| {
        config.http_listen = vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())];
        adapt(config);
    })
    .await;
    let address = world.server.as_ref().unwrap().http_addresses()[0].clone();
    Repository {
        world,
        client: reqwest::Client::builder().no_proxy().build().unwrap(),
        base: format!("http://{address}/restic/fichier/a/repo/"),
        token: None,
    }
}

fn name_of(content: &[u8]) -> String {
    sum(pluton_fichier::proto::HashAlgorithm::Sha256, content).1
}

impl Repository {
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.base);
        let request = self.client.request(method, url).header("Accept", V2);
        match &self.token {
            Some(token) => request.basic_auth("me", Some(token)),
            None => request,
        }
    }

    async fn send(&self, method: Method, path: &str) -> Response {
        self.request(method, path).send().await.unwrap()
    }

    async fn post(&self, path: &str, content: Vec<u8>) -> StatusCode {
        let request = self.request(Method::POST, path).body(content);
        request.send().await.unwrap().status()
    }

    /// Stores an object under the name that it must have.
    async fn store(&self, kind: &str, content: &[u8]) -> (String, StatusCode) {
        let path = format!("{kind}/{}", name_of(content));
        let status = self.post(&path, content.to_vec()).await;
        (path, status)
    }

    async fn delete(&self, path: &str) -> StatusCode {
        self.send(Method::DELETE, path).await.status()
    }

    async fn list(&self, kind: &str) -> Vec<(String, u64)> {
        let answer = self.send(Method::GET, &format!("{kind}/")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], V2);
        let text = answer.text().await.unwrap();
        let array: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let entry = |entry: &serde_json::Value| {
            let name = entry["name"].as_str().unwrap().to_owned();
            (name, entry["size"].as_u64().unwrap())
        };
        array.iter().map(entry).collect()
    }

    fn uploads(&self) -> u64 {
        self.world.control.calls().get("upload.cgi")
    }
}
