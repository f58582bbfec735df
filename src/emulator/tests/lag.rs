//! What listings show late, and links that calls know late.

use super::*;
use crate::emulator::{Batch, ListingLag, UrlStability};

/// Everything lags by ten seconds from now on.
async fn lagging() -> Rig {
    Rig::with(|b| {
        b.index_delay = Duration::from_secs(10);
        b.listing_lag = ListingLag::Everything;
    })
    .await
}

impl Rig {
    /// What `folder/ls` shows, sub-folders with a slash, in order; and its numbers must fit.
    async fn shown(&self, folder: u64) -> Vec<String> {
        let order = json!({"folder_id": folder, "files": 1});
        let answer = self.ok("folder/ls", order).await;
        let texts = |list: &str, name: &str, end: &str| -> Vec<String> {
            let list = answer[list].as_array().into_iter().flatten();
            list.map(|item| format!("{}{end}", item[name].as_str().unwrap()))
                .collect()
        };
        let files = texts("items", "filename", "");
        let items = answer["items"].as_array().into_iter().flatten();
        let size: u64 = items.map(|item| item["size"].as_u64().unwrap()).sum();
        assert_eq!(answer["files"], files.len());
        assert_eq!(answer["size"].as_u64().unwrap_or(0), size);
        assert_eq!(answer["size"].is_null(), files.is_empty());
        assert_eq!(self.names(folder).await.len(), files.len());
        let mut all = [texts("sub_folders", "name", "/"), files].concat();
        all.sort();
        all
    }
}

#[tokio::test(start_paused = true)]
async fn moved_and_renamed_files_show_late() {
    let rig = lagging().await;
    let (a, b) = (
        rig.control.add_folder(0, "a"),
        rig.control.add_folder(0, "b"),
    );
    let url = rig.control.add_file(a, "f", b"content");
    let mv = json!({"urls": [url], "destination_folder_id": b});
    rig.ok("file/mv", mv).await;
    pass(4).await;
    rig.ok(
        "file/rename",
        json!({"urls": [{"url": url, "filename": "longer"}]}),
    )
    .await;
    let info = rig.ok("file/info", json!({"url": url})).await;
    assert_eq!(
        (&info["path"], &info["filename"]),
        (&json!("b"), &json!("longer"))
    );
    pass(5).await;
    assert_eq!(rig.shown(a).await, ["f"]);
    assert_eq!(rig.shown(b).await, [""; 0]);
    pass(1).await;
    assert_eq!(rig.shown(a).await, [""; 0]);
    assert_eq!(rig.shown(b).await, ["f"]);
    pass(4).await;
    assert_eq!(rig.shown(b).await, ["longer"]);
    // The attributes that listings tell, too; and the name in them.
    let chattr = json!({"urls": [url], "pass": "password", "filename": "g"});
    rig.ok("file/chattr", chattr).await;
    let item = async || rig.ok("file/ls", json!({"folder_id": b})).await["items"][0].clone();
    assert_eq!(
        (&item().await["pass"], rig.shown(b).await),
        (&json!(0), vec!["longer".to_owned()])
    );
    pass(10).await;
    assert_eq!(
        (&item().await["pass"], rig.shown(b).await),
        (&json!(1), vec!["g".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn added_and_removed_files_show_late() {
    let rig = lagging().await;
    let url = rig.control.add_file(0, "f", b"content");
    rig.ok("file/cp", json!({"urls": [url], "rename": "copy"}))
        .await;
    rig.put(0, "new", "x").await;
    pass(3).await;
    rig.ok("file/rm", json!({"files": [{"url": url}]})).await;
    assert_eq!(rig.shown(0).await, ["f"]);
    pass(7).await;
    assert_eq!(rig.shown(0).await, ["copy", "f", "new"]);
    pass(3).await;
    assert_eq!(rig.shown(0).await, ["copy", "new"]);
    // What is gone before it shows is shown all the same, for as long as it was there.
    let url = rig.put(0, "short", "x").await;
    pass(2).await;
    rig.ok("file/rm", json!({"files": [{"url": url}]})).await;
    assert_eq!(rig.shown(0).await, ["copy", "new"]);
    pass(8).await;
    assert_eq!(rig.shown(0).await, ["copy", "new", "short"]);
    pass(2).await;
    assert_eq!(rig.shown(0).await, ["copy", "new"]);
    // The whole account as it was.
    let a = rig.control.add_folder(0, "a");
    let url = rig.control.file_at("copy").unwrap().url;
    rig.ok(
        "file/mv",
        json!({"urls": [url], "destination_folder_id": a}),
    )
    .await;
    let folders = async || {
        let all = rig.ok("file/ls", json!({"folder_id": -1})).await["items"].clone();
        let mut all: Vec<u64> = all
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["folder_id"].as_u64().unwrap())
            .collect();
        all.sort_unstable();
        all
    };
    assert_eq!(folders().await, [0, 0]);
    pass(10).await;
    assert_eq!(folders().await, [0, a]);
}

#[tokio::test(start_paused = true)]
async fn folders_show_late() {
    let rig = lagging().await;
    let (a, b) = (
        rig.control.add_folder(0, "a"),
        rig.control.add_folder(0, "b"),
    );
    let new = rig.mkdir(0, "new").await;
    assert_eq!(rig.shown(0).await, ["a/", "b/"]);
    // It is there, though nobody sees it.
    assert_eq!(rig.shown(new).await, [""; 0]);
    assert_eq!(
        rig.call("folder/mkdir", json!({"name": "new"}))
            .await
            .json()["status"],
        "KO"
    );
    pass(10).await;
    assert_eq!(rig.shown(0).await, ["a/", "b/", "new/"]);

    let mv = json!({"folder_id": b, "destination_folder_id": a});
    rig.ok("folder/mv", mv).await;
    let rename = json!({"folder_id": new, "destination_folder_id": 0, "rename": "old"});
    rig.ok("folder/mv", rename).await;
    let name = async |id: u64| rig.ok("folder/ls", json!({"folder_id": id})).await["name"].clone();
    assert_eq!(rig.shown(0).await, ["a/", "b/", "new/"]);
    assert_eq!(
        (rig.shown(a).await, name(new).await),
        (vec![], json!("new"))
    );
    pass(10).await;
    assert_eq!(rig.shown(0).await, ["a/", "old/"]);
    assert_eq!(
        (rig.shown(a).await, name(new).await),
        (vec!["b/".to_owned()], json!("old"))
    );

    let share = json!({"folder_id": b, "share": 1});
    rig.ok("folder/share", share).await;
    let shared = async || rig.ok("folder/ls", json!({"folder_id": b})).await["shared"].clone();
    assert!(shared().await.is_null());
    pass(10).await;
    assert!(shared().await.is_string());
}

#[tokio::test(start_paused = true)]
async fn a_folder_whose_content_still_shows_is_not_removed() {
    let rig = lagging().await;
    let (a, b) = (
        rig.control.add_folder(0, "a"),
        rig.control.add_folder(0, "b"),
    );
    let url = rig.control.add_file(a, "f", b"x");
    let rm = |id: u64| json!({"folder_id": id});
    let refused = async |id: u64| rig.call("folder/rm", rm(id)).await.json()["status"] == "KO";
    rig.ok(
        "file/mv",
        json!({"urls": [url], "destination_folder_id": 0}),
    )
    .await;
    assert!(refused(a).await);
    pass(10).await;
    rig.ok("folder/rm", rm(a)).await;
    // The parent shows what is gone, and listings of the folder itself find nothing.
    assert_eq!(rig.shown(0).await, ["a/", "b/", "f"]);
    assert_eq!(rig.call("folder/ls", rm(a)).await.status, 404);
    pass(10).await;
    assert_eq!(rig.shown(0).await, ["b/", "f"]);
    let inner = rig.mkdir(b, "inner").await;
    pass(1).await;
    rig.ok("folder/rm", rm(inner)).await;
    assert!(refused(b).await);
    pass(10).await;
    rig.ok("folder/rm", rm(b)).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_shows_sooner_shows_alone() {
    let rig = lagging().await;
    let (a, b) = (
        rig.control.add_folder(0, "a"),
        rig.control.add_folder(0, "b"),
    );
    let url = rig.control.add_file(0, "f", b"x");
    rig.ok(
        "file/mv",
        json!({"urls": [url], "destination_folder_id": a}),
    )
    .await;
    pass(1).await;
    // Another program, which is seen at once.
    rig.control.move_file(&url, b).unwrap();
    let everywhere = async || [rig.shown(0).await, rig.shown(a).await, rig.shown(b).await].concat();
    assert_eq!(everywhere().await, ["a/", "b/", "f"]);
    assert_eq!(rig.shown(b).await, ["f"]);
    pass(20).await;
    assert_eq!(everywhere().await, ["a/", "b/", "f"]);
    // A delay counts from the change, whatever it is later.
    rig.ok(
        "file/mv",
        json!({"urls": [url], "destination_folder_id": a}),
    )
    .await;
    rig.control
        .set_behaviour(|b| b.index_delay = Duration::ZERO);
    assert_eq!(rig.shown(b).await, ["f"]);
    pass(10).await;
    assert_eq!(rig.shown(a).await, ["f"]);
}

#[tokio::test(start_paused = true)]
async fn moves_and_folders_show_at_once_if_only_uploads_and_removals_lag() {
    let rig = Rig::with(|b| {
        b.index_delay = Duration::from_secs(10);
        b.listing_lag = ListingLag::UploadsAndRemovals;
    })
    .await;
    let a = rig.mkdir(0, "a").await;
    let url = rig.control.add_file(0, "f", b"x");
    rig.ok(
        "file/mv",
        json!({"urls": [url], "destination_folder_id": a}),
    )
    .await;
    assert_eq!(
        (rig.shown(0).await, rig.shown(a).await),
        (vec!["a/".to_owned()], vec!["f".to_owned()])
    );
    // A new file shows late wherever it is by then.
    let new = rig.put(0, "new", "x").await;
    pass(4).await;
    rig.ok(
        "file/mv",
        json!({"urls": [new], "destination_folder_id": a}),
    )
    .await;
    assert_eq!(rig.shown(a).await, ["f"]);
    pass(6).await;
    assert_eq!(rig.shown(a).await, ["f", "new"]);
}

#[tokio::test(start_paused = true)]
async fn new_links_are_known_late() {
    let rig = Rig::with(|b| b.url_delay = Duration::from_secs(2)).await;
    let url = rig.put(0, "f", "x").await;
    assert_eq!(rig.names(0).await, ["f"]);
    let by_name = json!({"folder_id": 0, "filename": "f"});
    let unknown = async |endpoint: &str, order: Value| {
        let reply = rig.call(endpoint, order).await;
        assert_eq!(reply.json()["status"], "KO", "{endpoint}: {reply:?}");
        (reply.status, reply.message())
    };
    let not_found = (404, "Resource not found #469".to_owned());
    for endpoint in ["file/info", "download/get_token"] {
        assert_eq!(unknown(endpoint, json!({"url": url})).await, not_found);
        assert_eq!(unknown(endpoint, by_name.clone()).await, not_found);
    }
    let orders = [
        ("file/cp", json!({"urls": [url], "folder_id": 0})),
        (
            "file/mv",
            json!({"urls": [url], "destination_folder_id": 0}),
        ),
        (
            "file/rename",
            json!({"urls": [{"url": url, "filename": "g"}]}),
        ),
        ("file/chattr", json!({"urls": [url], "description": "d"})),
    ];
    for (endpoint, order) in &orders {
        unknown(endpoint, order.clone()).await;
    }
    let rm = json!({"files": [{"url": url}]});
    assert_eq!(rig.ok("file/rm", rm.clone()).await["removed"], 0);
    let old = rig.control.add_file(0, "old", b"x");
    let both = json!({"files": [{"url": url}, {"url": old}]});
    rig.control.set_behaviour(|b| b.batch = Batch::AllOrNothing);
    unknown("file/rm", both.clone()).await;
    rig.control.set_behaviour(|b| b.batch = Batch::Partial);
    assert_eq!(rig.ok("file/rm", both).await["urls"], json!([old]));
    pass(2).await;
    rig.ok("file/info", by_name).await;
    rig.token(&url, 0).await;
    let copy = rig.ok("file/cp", orders[0].1.clone()).await["urls"][0]["to_url"].clone();
    assert_eq!(unknown("file/info", json!({"url": copy})).await, not_found);
    rig.ok("file/rename", orders[2].1.clone()).await;
    // Its link is as old as it was.
    rig.ok("file/info", json!({"url": url})).await;
    rig.control
        .set_behaviour(|b| b.url_stability = UrlStability::Changes);
    let new = rig
        .ok(
            "file/rename",
            json!({"urls": [{"url": url, "filename": "h"}]}),
        )
        .await["urls"][0]["url"]
        .clone();
    for url in [json!(url), new.clone()] {
        assert_eq!(unknown("file/info", json!({"url": url})).await, not_found);
    }
    pass(2).await;
    rig.ok("file/info", json!({"url": new})).await;
    rig.ok("file/rm", json!({"files": [{"url": copy}, {"url": new}]}))
        .await;
    assert!(rig.control.tree().is_empty());
}
