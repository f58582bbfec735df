//! Everything around `/v1`: keys, nodes, shared folders, TLS, the control endpoints.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::emulator::{AccountOptions, NodeKind};

async fn message_of(request: reqwest::RequestBuilder) -> (u16, String) {
    let reply = Reply::of(request.send().await.unwrap()).await;
    (reply.status, reply.message())
}

#[tokio::test]
async fn keys() {
    let rig = Rig::free().await;
    let nothing = json!({});
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(message_of(rig.post_with(&"k".repeat(32), "folder/ls", &nothing)).await);
    }
    seen.sort();
    let expected = [(401, "Not authenticated #247"), (403, "No such user #142")];
    assert_eq!(
        seen,
        expected.map(|(status, text)| (status, text.to_owned()))
    );
    let (status, text) = message_of(rig.post_with("short", "folder/ls", &nothing)).await;
    assert_eq!((status, text.as_str()), (403, "Bad token"));
    let without_key = |path: &str| {
        let url = format!("{}/v1/{path}.cgi", rig.base);
        rig.http
            .post(url)
            .header("content-type", "application/json")
    };
    assert_eq!(message_of(without_key("folder/ls")).await.0, 401);
    assert_eq!(
        message_of(without_key("upload/get_upload_server")).await.0,
        200
    );
    // The type is looked at before the key.
    let url = format!("{}/v1/upload/get_upload_server.cgi", rig.base);
    assert_eq!(
        message_of(rig.http.get(&url)).await.1,
        "Content-Type not JSON #24"
    );
    let get = rig
        .http
        .get(&url)
        .header("content-type", "application/json");
    assert_eq!(message_of(get).await.0, 200);
    assert_eq!(message_of(rig.post("no/thing", &nothing)).await.0, 404);
    assert_eq!(
        rig.call("folder/ls", json!({"folder_id": "0"}))
            .await
            .status,
        400
    );

    let requests = rig.control.last_requests();
    assert_eq!(requests.len(), 9);
    assert!(requests[0].authorized && !requests[4].authorized);
    assert!(!requests[0].headers.contains_key("authorization"));
    assert_eq!(requests[8].body, r#"{"folder_id":"0"}"#);
    rig.control.reset_calls();
    assert_eq!(rig.calls().total_v1(), 0);
}

#[tokio::test]
async fn what_nodes_refuse() {
    let rig = Rig::free().await;
    for (name, content) in [("", "x"), ("empty", ""), (" a", "x"), ("..", "x")] {
        let (reply, ..) = rig.send(0, &[("good", "x"), (name, content)]).await;
        assert_eq!(reply.status, 200, "{name:?}");
        assert!(reply.text.contains("bloc2"), "{name:?}");
    }
    let (node, id) = rig.node().await;
    let quoted = rig
        .http
        .post(format!("http://{node}/upload.cgi?id={id}"))
        .header("content-type", "multipart/form-data; boundary=\"b0undary\"")
        .body(form(0, &[("a", "x")]));
    let reply = Reply::of(quoted.send().await.unwrap()).await;
    assert!(reply.text.contains("Pas de fichier trouvé dans l'envoi"));
    let many: Vec<(&str, &str)> = vec![("a", "x"); 501];
    assert!(rig.send(0, &many).await.0.text.contains("bloc2"));
    rig.control
        .set_account(0, |account| account.quota_bytes = 3);
    assert!(
        rig.send(0, &[("a", "four")])
            .await
            .0
            .text
            .contains("insuffisant")
    );
    rig.control
        .set_account(0, |account| account.upload_forbidden = true);
    assert!(rig.send(0, &[("a", "x")]).await.0.text.contains("interdit"));
    assert!(rig.control.tree().is_empty());
}

/// Sends bytes as they are, breaks off there if asked, and returns what comes back until the end.
async fn raw(address: SocketAddr, request: &str, break_off: bool) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    if break_off {
        stream.shutdown().await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn bodies_have_a_length_and_are_complete() {
    let rig = Rig::free().await;
    let address = rig.emulator.address();
    let (_, id) = rig.node().await;
    let head = format!(
        "POST /upload.cgi?id={id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {DEMO_API_KEY}\r\n\
         Content-Type: multipart/form-data; boundary=b0undary\r\n"
    );
    let body = form(0, &[("a", "content")]);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(
        raw(address, &chunked, false)
            .await
            .starts_with("HTTP/1.1 411")
    );
    let cut = format!(
        "{head}Content-Length: {}\r\n\r\n{}",
        body.len(),
        &body[..body.len() - 30]
    );
    assert_eq!(raw(address, &cut, true).await, "");
    let unfinished = &body[..body.len() - 4];
    let short = format!(
        "{head}Content-Length: {}\r\n\r\n{unfinished}",
        unfinished.len()
    );
    assert!(raw(address, &short, false).await.contains("Pas de fichier"));
    assert!(rig.control.tree().is_empty());
    let whole = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    assert!(
        raw(address, &whole, false)
            .await
            .starts_with("HTTP/1.1 302")
    );
    assert_eq!(rig.names(0).await, ["a"]);
    let sent = rig.control.last_requests();
    let upload = sent
        .iter()
        .rfind(|request| request.endpoint == "upload.cgi")
        .unwrap();
    let summary: Value = serde_json::from_str(&upload.body).unwrap();
    assert_eq!(summary["fields"]["did"], "0");
    assert_eq!(summary["files"][0], json!({"name": "a", "size": 7}));
}

#[tokio::test]
async fn guests_and_their_links() {
    let rig = Rig::free().await;
    let send = async |fields: &[(&str, &str)]| {
        let (node, id) = rig.node().await;
        let mut body = String::new();
        for (name, value) in fields {
            body.push_str(&format!(
                "--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            ));
        }
        body.push_str(&form(0, &[("guest.txt", "x")]));
        let request = rig
            .http
            .post(format!("http://{node}/upload.cgi?id={id}"))
            .header("content-type", "multipart/form-data; boundary=b0undary")
            .body(body);
        assert_eq!(request.send().await.unwrap().status(), 302);
        let csv = rig
            .http
            .get(format!("http://{node}/end.pl?xid={id}"))
            .header("EXPORT", "1");
        let csv = Reply::of(csv.send().await.unwrap()).await.text;
        assert!(csv.starts_with("guest.txt;1;"));
        rig.end(&node, &id).await.json()
    };
    let end = send(&[("domain", "3"), ("dpass", "secret")]).await;
    let url = end["links"][0]["download"].as_str().unwrap();
    assert!(url.starts_with("https://desfichiers.com/?"));
    let remove = end["links"][0]["remove"].as_str().unwrap();
    let info = json!({"url": format!("{url}&af=1"), "pass": "secret"});
    assert_eq!(rig.ok("file/info", info).await["pass"], 1);
    let code = remove.rsplit('/').next().unwrap();
    let rm = |code: &str| json!({"files": [{"url": url, "code": code}]});
    assert_eq!(rig.ok("file/rm", rm("")).await["removed"], 0);
    assert_eq!(rig.ok("file/rm", rm(code)).await["removed"], 1);

    let email = AccountOptions::default().email;
    assert_eq!(send(&[("user", &email)]).await["incoming"], 1);
    let tree = rig.control.tree();
    assert_eq!(tree[1].path, "incoming/guest.txt");
    assert_eq!(
        (tree[0].kind, tree[1].kind),
        (NodeKind::Folder, NodeKind::File)
    );
}

#[tokio::test]
async fn shared_folders_and_link_checks() {
    let rig = Rig::free().await;
    let folder = rig.mkdir(0, "public").await;
    let url = rig.put(folder, "a&b", "x").await;
    let shared = rig
        .ok("folder/share", json!({"folder_id": folder, "share": 1}))
        .await;
    let share = shared["url"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    let address = format!("{}/dir/{share}?json=1", rig.base);
    let listing = rig.get(&address, None).await.json();
    let item = json!({"filename": "a&b", "link": url, "size": 1, "password": 0, "acl": 0});
    assert_eq!(listing, json!([item]));
    assert_eq!(
        rig.get(&format!("{}/dir/none?json=1", rig.base), None)
            .await
            .status,
        404
    );

    let share = rig.control.share_folder(folder, Some("pass word"));
    let address = format!("{}/dir/{share}", rig.base);
    assert!(
        rig.get(&format!("{address}?json=1"), None)
            .await
            .text
            .contains("pass")
    );
    let post = rig.http.post(&address).body("json=1&pass=pass+word");
    assert_eq!(
        Reply::of(post.send().await.unwrap()).await.json()[0]["link"],
        url
    );
    let sent = rig.control.last_requests();
    assert_eq!(sent[sent.len() - 1].body, "json=1&pass=pass+word");
    rig.control.set_behaviour(|b| b.stringify_numbers = true);
    rig.control.set_file_password(&url, Some("secret"));
    let post = || {
        rig.http
            .post(format!("{address}?json=1"))
            .body("pass=pass+word")
    };
    let listing = Reply::of(post().send().await.unwrap()).await.json();
    assert_eq!(listing[0]["size"], "1");
    assert_eq!(listing[0]["password"], "1");
    for (kind, status, word) in [
        (
            FaultKind::Page {
                http: 200,
                text: "Your requests are too fast".to_owned(),
            },
            200,
            "too fast",
        ),
        (FaultKind::Redirect("/?c=DB".to_owned()), 302, "Moved"),
    ] {
        rig.control.inject(Fault {
            endpoint: "dir".to_owned(),
            skip: 0,
            times: 1,
            kind,
        });
        let reply = Reply::of(post().send().await.unwrap()).await;
        assert_eq!(reply.status, status);
        assert!(reply.text.contains(word), "{}", reply.text);
    }

    let form = format!("links[]={url}&links%5B%5D=https%3A%2F%2F1fichier.com%2F%3Fgone&links[]=x");
    let check = rig
        .http
        .post(format!("{}/check_links.pl", rig.base))
        .body(form);
    let lines = Reply::of(check.send().await.unwrap()).await.text;
    let expected =
        format!("{url};a&amp;b;1\nhttps://1fichier.com/?gone;;;NOT FOUND\nx;;;BAD LINK\n");
    assert_eq!(lines, expected);
    let id = url.rsplit('?').next().unwrap();
    assert!(
        rig.get(&format!("{}/?{id}", rig.base), None)
            .await
            .text
            .contains("a&amp;b")
    );
    assert_eq!(
        rig.get(&format!("{}/p0000000000", rig.base), None)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn edits_behind_the_service() {
    let rig = Rig::free().await;
    let folder = rig.control.add_folder(0, "a");
    let inner = rig.control.add_folder(folder, "b");
    let url = rig.control.add_file(inner, "f", b"Hello world\n");
    let paths: Vec<String> = rig
        .control
        .tree()
        .into_iter()
        .map(|node| node.path)
        .collect();
    assert_eq!(paths, ["a", "a/b", "a/b/f"]);
    assert_eq!(
        rig.get(&rig.token(&url, 0).await, None).await.text,
        "Hello world\n"
    );
    let copy = rig
        .ok("file/cp", json!({"urls": [url], "rename": "g"}))
        .await;
    assert_eq!(copy["filename"], "g");
    assert!(rig.control.remove_file(&url));
    assert!(!rig.control.remove_file(&url));
    // A copy does not need the original.
    let copy = copy["urls"][0]["to_url"].as_str().unwrap();
    assert_eq!(
        rig.get(&rig.token(copy, 0).await, None).await.text,
        "Hello world\n"
    );
    assert!(rig.control.remove_folder(folder));
    assert_eq!(rig.names(0).await, ["g"]);
    let attributes = json!({"urls": [copy], "description": "d", "pass": "secret"});
    assert_eq!(
        rig.ok("file/chattr", attributes.clone()).await["updated"],
        1
    );
    assert_eq!(
        rig.call("file/chattr", attributes).await.message(),
        "No changes requested"
    );
}

#[tokio::test]
async fn only_on_loopback() {
    let options = Options {
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        ..Options::default()
    };
    let error = Emulator::start(options).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("loopback"));
}

#[tokio::test]
async fn contents_leave_with_the_emulator() {
    let parent = tempfile::tempdir().unwrap();
    let rig = Rig::start(Options {
        data_dir: Some(parent.path().join("data")),
        ..Options::default()
    })
    .await;
    rig.control.add_file(0, "a", b"x");
    let data = parent.path().join("data");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
    let Rig {
        emulator,
        control,
        http,
        ..
    } = rig;
    drop((control, http));
    emulator.stop().await;
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
}

#[tokio::test]
async fn real_names_over_tls() {
    let emulator = Emulator::start(Options {
        tls: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let pem = emulator.ca_pem().unwrap();
    let ca = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let mut client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy();
    for name in ["api", "up2", "up3", "a-4"] {
        client = client.resolve(&format!("{name}.1fichier.com"), emulator.address());
    }
    let client = client.build().unwrap();
    assert!(emulator.api_url().starts_with("https://api.1fichier.com:"));
    let call = async |endpoint: &str, body: Value| {
        let request = client
            .post(format!("{}/{endpoint}.cgi", emulator.api_url()))
            .header("authorization", format!("Bearer {DEMO_API_KEY}"))
            .header("content-type", "application/json")
            .body(body.to_string());
        Reply::of(request.send().await.unwrap()).await.json()
    };
    let node = call("upload/get_upload_server", json!({})).await;
    let host = node["url"].as_str().unwrap();
    assert!(host.starts_with("up"));
    let url = emulator.control().add_file(0, "f", b"over TLS");
    let token = call("download/get_token", json!({"url": url})).await;
    let token = token["url"].as_str().unwrap();
    assert!(token.starts_with("https://a-4.1fichier.com:"));
    assert_eq!(
        client
            .get(token)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "over TLS"
    );
}

#[tokio::test]
async fn control_by_other_processes() {
    let rig = Rig::start(Options {
        control_endpoints: true,
        ..Options::default()
    })
    .await;
    let url = |operation: &str| format!("{}/_control/{operation}", rig.base);
    let post = async |operation: &str, body: Value| {
        let request = rig.http.post(url(operation)).body(body.to_string());
        Reply::of(request.send().await.unwrap()).await
    };
    assert_eq!(
        post("limits", json!("none")).await.json()["requests_per_second"],
        Value::Null
    );
    assert_eq!(
        post("limits", json!({"flood_lock": 1.5})).await.json()["flood_lock"],
        1.5
    );
    let changed = post(
        "behaviour",
        json!({
            "mkdir_existing": "duplicate",
            "index_delay": 2,
            "listing_lag": "everything",
            "url_delay": 2.5,
            "info_path": "with_name",
            "rm_missing": "ko_other_text",
        }),
    )
    .await;
    assert_eq!(changed.json()["mkdir_existing"], "duplicate");
    assert_eq!(changed.json()["listing_lag"], "everything");
    assert_eq!(changed.json()["url_delay"], 2.5);
    assert_eq!(rig.control.behaviour().index_delay, Duration::from_secs(2));
    assert_eq!(post("behaviour", json!({"no_such": 1})).await.status, 400);
    for kind in [
        json!({"status": 503}),
        json!("reset_before_answer"),
        json!({"ko": {"http": 200, "message": "no"}}),
        json!({"delay": 0.5}),
    ] {
        let fault = json!({"endpoint": "folder/ls", "kind": kind});
        assert_eq!(post("fault", fault).await.status, 200);
    }
    assert_eq!(rig.call("folder/ls", json!({})).await.status, 503);
    post("fault", json!({"clear": true})).await;
    assert_eq!(rig.call("folder/ls", json!({})).await.status, 200);
    let calls = rig.get(&url("calls"), None).await.json();
    assert_eq!(
        (&calls["calls"]["folder/ls"], &calls["total_v1"]),
        (&json!(2), &json!(2))
    );
    rig.mkdir(0, "a").await;
    assert_eq!(rig.get(&url("tree"), None).await.json()[0]["path"], "a");
    assert_eq!(
        rig.get(&url("requests"), None).await.json()[2]["endpoint"],
        "folder/mkdir"
    );
    post("reset", json!({})).await;
    assert_eq!(rig.get(&url("calls"), None).await.json()["total_v1"], 0);
    // Off by default.
    let other = Rig::free().await;
    assert_eq!(
        other
            .get(&format!("{}/_control/calls", other.base), None)
            .await
            .status,
        404
    );
}
