//! Every kind of fault once.

use super::*;
use tokio::time::timeout;

const LONG: Duration = Duration::from_millis(300);

async fn refused(request: reqwest::RequestBuilder) -> bool {
    match request.send().await {
        Ok(response) => response.bytes().await.is_err(),
        Err(_) => true,
    }
}

#[tokio::test]
async fn faults_wait_their_turn() {
    let rig = Rig::free().await;
    rig.control.inject(Fault {
        endpoint: "folder/*".to_owned(),
        skip: 1,
        times: 2,
        kind: FaultKind::Status(503),
    });
    let mut statuses = Vec::new();
    for _ in 0..4 {
        rig.ok("file/ls", json!({})).await;
        statuses.push(rig.call("folder/ls", json!({})).await.status);
    }
    assert_eq!(statuses, [200, 503, 503, 200]);
    rig.fault("*", FaultKind::Status(500));
    rig.control.clear_faults();
    rig.ok("file/ls", json!({})).await;
}

#[tokio::test]
async fn calls_without_effect() {
    let rig = Rig::free().await;
    let mkdir = || json!({"name": "a"});
    rig.fault("folder/mkdir", FaultKind::Status(502));
    let reply = rig.call("folder/mkdir", mkdir()).await;
    assert_eq!(reply.status, 502);
    assert!(reply.text.starts_with('<'));
    let message = "Something #77".to_owned();
    rig.fault(
        "v1",
        FaultKind::Ko {
            http: 403,
            message: message.clone(),
        },
    );
    let reply = rig.call("folder/mkdir", mkdir()).await;
    assert_eq!((reply.status, reply.message()), (403, message));
    rig.fault("folder/mkdir", FaultKind::HtmlPage);
    assert!(
        rig.call("folder/mkdir", mkdir())
            .await
            .text
            .starts_with('<')
    );
    rig.fault("folder/mkdir", FaultKind::ResetBeforeAnswer);
    assert!(refused(rig.post("folder/mkdir", &mkdir())).await);
    rig.fault("folder/mkdir", FaultKind::Hang);
    assert!(
        timeout(LONG, rig.call("folder/mkdir", mkdir()))
            .await
            .is_err()
    );
    rig.control.set_limits(Limits::documented());
    rig.fault("folder/mkdir", FaultKind::Flood);
    for _ in 0..2 {
        assert!(
            rig.call("folder/mkdir", mkdir())
                .await
                .message()
                .contains("IP Locked")
        );
    }
    assert!(rig.control.tree().is_empty());
}

#[tokio::test]
async fn calls_with_effect_and_no_answer() {
    let rig = Rig::free().await;
    rig.fault("folder/mkdir", FaultKind::ResetAfterEffect);
    assert!(refused(rig.post("folder/mkdir", &json!({"name": "a"}))).await);
    rig.fault("folder/mkdir", FaultKind::HangAfterEffect);
    let hangs = timeout(LONG, rig.call("folder/mkdir", json!({"name": "aa"})));
    assert!(hangs.await.is_err());
    rig.fault("folder/mkdir", FaultKind::EmptyBody);
    assert_eq!(
        rig.call("folder/mkdir", json!({"name": "b"})).await.text,
        ""
    );
    rig.fault("folder/mkdir", FaultKind::TruncatedJson);
    let reply = rig.call("folder/mkdir", json!({"name": "c"})).await;
    assert!(serde_json::from_str::<Value>(&reply.text).is_err());
    rig.fault("folder/mkdir", FaultKind::Truncate(5));
    assert!(refused(rig.post("folder/mkdir", &json!({"name": "d"}))).await);
    rig.fault("folder/mkdir", FaultKind::Delay(LONG));
    let begin = tokio::time::Instant::now();
    rig.mkdir(0, "e").await;
    assert!(begin.elapsed() >= LONG);
    let names: Vec<String> = rig
        .control
        .tree()
        .into_iter()
        .map(|node| node.path)
        .collect();
    assert_eq!(names, ["a", "aa", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn parts_of_batches() {
    let rig = Rig::free().await;
    rig.fault("upload.cgi", FaultKind::PartialBatch(2));
    let (_, node, id) = rig.send(0, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let links = rig.end(&node, &id).await.json()["links"].clone();
    assert_eq!(links.as_array().unwrap().len(), 2);
    rig.fault("file/rm", FaultKind::PartialBatch(1));
    let files = json!({"files": [{"url": links[0]["download"]}, {"url": links[1]["download"]}]});
    assert_eq!(rig.ok("file/rm", files).await["removed"], 1);
    assert_eq!(rig.names(0).await, ["b"]);
}

#[tokio::test]
async fn uploads_that_fail() {
    let rig = Rig::free().await;
    let big = "x".repeat(500_000);
    for at in [0, 1_000, 400_000] {
        rig.fault("upload.cgi", FaultKind::ResetAtByte(at));
        let (node, id) = rig.node().await;
        assert!(refused(rig.upload_request(&node, &id, form(0, &[("a", &big)]))).await);
    }
    rig.fault("upload.cgi", FaultKind::NodeRefusal("Raison".to_owned()));
    assert!(
        rig.send(0, &[("a", "x")])
            .await
            .0
            .text
            .contains("<div class=\"bloc2\">Raison</div>")
    );
    rig.fault("upload.cgi", FaultKind::Status(500));
    assert_eq!(rig.send(0, &[("a", &big)]).await.0.status, 500);
    assert!(rig.control.tree().is_empty());

    rig.fault("upload.cgi", FaultKind::ResetAfterEffect);
    let (node, id) = rig.node().await;
    assert!(refused(rig.upload_request(&node, &id, form(0, &[("a", "x")]))).await);
    assert_eq!(rig.names(0).await, ["a"]);
    assert_eq!(
        rig.end(&node, &id).await.json()["links"][0]["filename"],
        "a"
    );

    rig.fault("upload.cgi", FaultKind::HangAfterEffect);
    let (node, id) = rig.node().await;
    let upload = rig.upload_request(&node, &id, form(0, &[("hangs", "x")]));
    assert!(timeout(LONG, upload.send()).await.is_err());
    assert_eq!(rig.names(0).await, ["a", "hangs"]);
    assert_eq!(
        rig.end(&node, &id).await.json()["links"][0]["filename"],
        "hangs"
    );

    rig.fault("upload.cgi", FaultKind::Corrupt);
    let corrupt = rig.put(0, "b", "content").await;
    let good = rig.put(0, "c", "content").await;
    let sums = async |url: &str| rig.ok("file/info", json!({"url": url})).await["checksum"].clone();
    assert_ne!(sums(&corrupt).await, sums(&good).await);

    rig.fault("end.pl", FaultKind::EmptyLinks);
    rig.fault("end.pl", FaultKind::WaitPage);
    assert_eq!(rig.end(&node, &id).await.json()["links"], json!([]));
    assert!(rig.end(&node, &id).await.text.starts_with('<'));
    assert_eq!(rig.control.open_uploads(), 0);
}

#[tokio::test]
async fn downloads_that_fail() {
    let rig = Rig::free().await;
    let content = "0123456789".repeat(100_000);
    let url = rig.put(0, "f", &content).await;
    let token = rig.token(&url, 0).await;

    for kind in [
        FaultKind::ResetAtByte(300_000),
        FaultKind::Truncate(300_000),
    ] {
        rig.fault("download", kind);
        let mut response = rig.http.get(&token).send().await.unwrap();
        let mut got = 0;
        while let Ok(Some(piece)) = response.chunk().await {
            got += piece.len();
        }
        assert_eq!(got, 300_000);
    }
    rig.fault("download", FaultKind::Hang);
    let stalled = timeout(LONG, rig.get(&token, None)).await;
    assert!(stalled.is_err());
    rig.fault("download", FaultKind::Corrupt);
    let wrong = rig.get(&token, Some("bytes=0-9")).await.text;
    assert_eq!(
        wrong
            .bytes()
            .zip(content.bytes())
            .filter(|(a, b)| a != b)
            .count(),
        1
    );
    rig.fault("download", FaultKind::TokenExpired);
    assert_eq!(rig.get(&token, None).await.status, 403);
    rig.fault("download", FaultKind::HtmlPage);
    let page = rig.get(&token, None).await;
    assert_eq!((page.status, page.header("content-disposition")), (200, ""));
    rig.fault("download", FaultKind::IgnoreRange);
    let whole = rig.get(&token, Some("bytes=5-9")).await;
    assert_eq!((whole.status, whole.text.len()), (200, content.len()));
    rig.fault("download", FaultKind::WrongRange);
    let other = rig.get(&token, Some("bytes=5-9")).await;
    assert_eq!((other.status, other.text.as_str()), (206, "6789"));
    assert!(other.header("content-range").starts_with("bytes 6-9/"));
    rig.control.corrupt_file(&url);
    assert_ne!(rig.get(&token, None).await.text, content);
}
