//! The emulator driven over HTTP, as any client would.

mod basics;
mod faults;
mod lag;
mod limits;
mod others;
mod switches;
mod tokens;
mod web;

use std::time::Duration;

use serde_json::{Value, json};

use super::{Behaviour, Calls, Control, DEMO_API_KEY, Emulator, Fault, FaultKind, Limits, Options};

/// An emulator and a client that follows no redirects.
struct Rig {
    emulator: Emulator,
    control: Control,
    http: reqwest::Client,
    base: String,
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or("").to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    async fn of(response: reqwest::Response) -> Reply {
        Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }
}

impl Rig {
    async fn start(options: Options) -> Rig {
        let emulator = Emulator::start(options).await.unwrap();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Rig {
            control: emulator.control(),
            base: format!("http://{}", emulator.address()),
            emulator,
            http,
        }
    }

    /// Without limits.
    async fn free() -> Rig {
        Rig::with(|_| {}).await
    }

    /// Without limits, with these switches.
    async fn with(change: impl FnOnce(&mut Behaviour)) -> Rig {
        let rig = Rig::start(Options {
            limits: Limits::none(),
            ..Options::default()
        })
        .await;
        rig.control.set_behaviour(change);
        rig
    }

    fn post(&self, endpoint: &str, body: &Value) -> reqwest::RequestBuilder {
        self.post_with(DEMO_API_KEY, endpoint, body)
    }

    fn post_with(&self, key: &str, endpoint: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}/v1/{endpoint}.cgi", self.base))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    async fn call(&self, endpoint: &str, body: Value) -> Reply {
        Reply::of(self.post(endpoint, &body).send().await.unwrap()).await
    }

    /// A call that must succeed.
    async fn ok(&self, endpoint: &str, body: Value) -> Value {
        let reply = self.call(endpoint, body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let value = reply.json();
        assert_ne!(value["status"], "KO", "{reply:?}");
        value
    }

    /// A node's address and an id.
    async fn node(&self) -> (String, String) {
        let answer = self.ok("upload/get_upload_server", json!({})).await;
        assert!(answer.get("status").is_none());
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        (text("url"), text("id"))
    }

    fn upload_request(&self, node: &str, id: &str, body: String) -> reqwest::RequestBuilder {
        self.http
            .post(format!("http://{node}/upload.cgi?id={id}"))
            .header("authorization", format!("Bearer {DEMO_API_KEY}"))
            .header("content-type", "multipart/form-data; boundary=b0undary")
            .body(body)
    }

    /// Sends files and returns the node's answer together with node and id.
    async fn send(&self, did: u64, files: &[(&str, &str)]) -> (Reply, String, String) {
        let (node, id) = self.node().await;
        let request = self.upload_request(&node, &id, form(did, files));
        (Reply::of(request.send().await.unwrap()).await, node, id)
    }

    async fn end(&self, node: &str, xid: &str) -> Reply {
        let request = self
            .http
            .get(format!("http://{node}/end.pl?xid={xid}"))
            .header("JSON", "1");
        Reply::of(request.send().await.unwrap()).await
    }

    /// Uploads one file and returns its link.
    async fn put(&self, did: u64, name: &str, content: &str) -> String {
        let (reply, node, id) = self.send(did, &[(name, content)]).await;
        assert_eq!(reply.status, 302, "{reply:?}");
        let end = self.end(&node, &id).await.json();
        end["links"][0]["download"].as_str().unwrap().to_owned()
    }

    async fn mkdir(&self, parent: u64, name: &str) -> u64 {
        let answer = self
            .ok("folder/mkdir", json!({"name": name, "folder_id": parent}))
            .await;
        answer["folder_id"].as_u64().unwrap()
    }

    async fn token(&self, url: &str, single: u8) -> String {
        let body = json!({"url": url, "single": single});
        let answer = self.ok("download/get_token", body).await;
        answer["url"].as_str().unwrap().to_owned()
    }

    async fn get(&self, url: &str, range: Option<&str>) -> Reply {
        let mut request = self.http.get(url);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    /// The names that `file/ls` shows, in order.
    async fn names(&self, folder: u64) -> Vec<String> {
        let answer = self.ok("file/ls", json!({"folder_id": folder})).await;
        let mut names: Vec<String> = answer["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| item["filename"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(answer["count"], names.len());
        names
    }

    fn fault(&self, endpoint: &str, kind: FaultKind) {
        self.control.inject(Fault {
            endpoint: endpoint.to_owned(),
            skip: 0,
            times: 1,
            kind,
        });
    }

    fn calls(&self) -> Calls {
        self.control.calls()
    }
}

/// A multipart body in the service's dialect.
fn form(did: u64, files: &[(&str, &str)]) -> String {
    let mut body =
        format!("--b0undary\r\nContent-Disposition: form-data; name=\"did\"\r\n\r\n{did}\r\n");
    for (name, content) in files {
        body.push_str(&format!(
            "--b0undary\r\nContent-Disposition: form-data; name=\"file[]\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{content}\r\n"
        ));
    }
    body.push_str("--b0undary--\r\n");
    body
}

/// Lets the runtime's time pass.
async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}
