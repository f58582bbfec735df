//! What every client does: folders, uploads, listings, downloads.

use super::*;

/// Whirlpool of `Hello world\n`, from a listing of the real service [API C].
const HELLO: &str = "0a894ff039da399d5a72116b3665cd952abc8a9ffe37bfae4eae4d5381c5102b\
                     237c27e88b03f71c516e08ffa1cc9de9eac55d7d3abd38ea56220018f006a2c5";

#[tokio::test]
async fn a_file_goes_up_and_comes_down() {
    let rig = Rig::free().await;
    let folder = rig.mkdir(0, "backups").await;
    let (reply, node, id) = rig.send(folder, &[("hello.txt", "Hello world\n")]).await;
    assert_eq!(reply.status, 302);
    assert_eq!(reply.header("location"), format!("/end.pl?xid={id}"));
    assert_eq!(reply.header("server"), "nginx");

    // Without the header there is a page for people.
    let page = rig
        .get(&format!("http://{node}/end.pl?xid={id}"), None)
        .await;
    assert!(page.text.starts_with('<'));
    let end = rig.end(&node, &id).await.json();
    assert_eq!(end["incoming"], 0);
    assert!(end.get("status").is_none());
    let link = &end["links"][0];
    assert_eq!(link["filename"], "hello.txt");
    assert_eq!(link["size"], "12");
    assert_eq!(link["whirlpool"], HELLO);
    let url = link["download"].as_str().unwrap();

    let listing = rig.ok("file/ls", json!({"folder_id": folder})).await;
    let item = &listing["items"][0];
    assert_eq!(item["url"], url);
    assert_eq!(item["size"], 12);
    assert_eq!(item["checksum"], HELLO);
    assert_eq!(item["content-type"], "text/plain");
    assert_eq!(item["acl"], 0);
    let info = rig.ok("file/info", json!({"url": url})).await;
    assert_eq!(info["folder_id"], folder);
    assert_eq!(info["path"], "backups");
    assert_eq!(info["content_type"], "text/plain");
    let named = json!({"folder_id": folder, "filename": "hello.txt"});
    assert_eq!(rig.ok("file/info", named).await["url"], url);

    let token = rig.token(url, 0).await;
    let whole = rig.get(&token, None).await;
    assert_eq!((whole.status, whole.text.as_str()), (200, "Hello world\n"));
    assert_eq!(
        whole.header("content-disposition"),
        "attachment; filename=\"hello.txt\""
    );
    let part = rig.get(&token, Some("bytes=6-10")).await;
    assert_eq!((part.status, part.text.as_str()), (206, "world"));
    assert_eq!(part.header("content-range"), "bytes 6-10/12");
    assert_eq!(part.header("content-length"), "5");
    assert_eq!(rig.get(&token, Some("bytes=12-")).await.status, 416);
    let head = rig.http.head(&token).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "12");

    let calls = rig.calls();
    assert_eq!(calls.get("upload.cgi"), 1);
    assert_eq!(calls.get("end.pl"), 2);
    assert_eq!(calls.get("download"), 4);
    assert_eq!(calls.total_v1(), 6);
    assert!(calls.to_string().contains("upload/get_upload_server"));
    rig.emulator.stop().await;
}

#[tokio::test]
async fn one_emission_carries_many_files() {
    let rig = Rig::free().await;
    let names: Vec<String> = (0..500).map(|number| format!("f{number}")).collect();
    let files: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), name.as_str()))
        .collect();
    let (reply, node, id) = rig.send(0, &files).await;
    assert_eq!(reply.status, 302);
    let end = rig.end(&node, &id).await.json();
    let links = end["links"].as_array().unwrap();
    assert_eq!(links.len(), 500);
    assert_eq!(links[499]["filename"], "f499");
    let token = rig.token(links[499]["download"].as_str().unwrap(), 0).await;
    assert_eq!(rig.get(&token, None).await.text, "f499");
}
