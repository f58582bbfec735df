//! Every switch once.

use std::collections::BTreeMap;

use super::*;
use crate::emulator::{
    Batch, DateWindow, DatesOnMove, EmptyArrays, ForbiddenChars, InfoContentType, LinkOrder,
    MkdirExisting, MvRename, MvSameFolder, MvWithRename, RenameSameName, RmMissing, UnknownFolder,
    UnknownParent, UrlStability,
};

#[tokio::test]
async fn moving_a_folder_with_a_new_name() {
    let rig = Rig::free().await;
    let (from, to) = (rig.mkdir(0, "from").await, rig.mkdir(0, "to").await);
    let inner = rig.mkdir(from, "inner").await;
    let order = json!({"folder_id": inner, "destination_folder_id": to, "rename": "new"});
    let answer = rig.ok("folder/mv", order.clone()).await;
    assert_eq!(
        (&answer["old_name"], &answer["new_name"]),
        (&json!("inner"), &json!("new"))
    );
    assert!(rig.control.tree().iter().any(|node| node.path == "to/new"));
    // An absent destination is the root.
    rig.ok(
        "folder/mv",
        json!({"folder_id": inner, "destination_user": "", "rename": "top"}),
    )
    .await;
    assert!(rig.control.tree().iter().any(|node| node.path == "top"));

    rig.control
        .set_behaviour(|b| b.mv_rename = MvRename::IgnoresDestination);
    rig.ok("folder/mv", order).await;
    assert!(rig.control.tree().iter().any(|node| node.path == "new"));
    let into_itself = json!({"folder_id": to, "destination_folder_id": to});
    assert_eq!(
        rig.call("folder/mv", into_itself).await.json()["status"],
        "KO"
    );
}

#[tokio::test]
async fn making_a_folder_that_exists() {
    let rig = Rig::free().await;
    let id = rig.mkdir(0, "a").await;
    assert!(id >= 4_000_000);
    let reply = rig.call("folder/mkdir", json!({"name": "a"})).await;
    assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("KO")));
    rig.control
        .set_behaviour(|b| b.mkdir_existing = MkdirExisting::ReturnExisting);
    assert_eq!(rig.mkdir(0, "a").await, id);
    rig.control
        .set_behaviour(|b| b.mkdir_existing = MkdirExisting::Duplicate);
    assert_ne!(rig.mkdir(0, "a").await, id);
}

#[tokio::test]
async fn answers_to_uploads() {
    let rig = Rig::with(|b| {
        b.xid_differs = true;
        b.extra_links = 1;
        b.wait_pages_by_extension = BTreeMap::from([("exe".to_owned(), 2)]);
        b.empty_links = 1;
        b.link_order = LinkOrder::Shuffled;
    })
    .await;
    let (reply, node, id) = rig.send(0, &[("a.EXE", "x")]).await;
    let xid = reply
        .header("location")
        .rsplit('=')
        .next()
        .unwrap()
        .to_owned();
    assert_ne!(xid, id);
    assert!(rig.end(&node, &id).await.text.starts_with('<'));
    for _ in 0..2 {
        assert!(
            rig.end(&node, &xid)
                .await
                .text
                .contains("Veuillez patienter")
        );
    }
    assert_eq!(rig.end(&node, &xid).await.json()["links"], json!([]));
    let links = rig.end(&node, &xid).await.json()["links"].clone();
    assert_eq!(links[0], links[1]);

    rig.control.set_behaviour(|b| {
        *b = Behaviour {
            wait_pages: 1,
            upload_answer_200: true,
            ..Behaviour::default()
        }
    });
    let (reply, node, id) = rig.send(0, &[("b", "x")]).await;
    assert_eq!(reply.status, 200);
    assert!(!reply.text.contains("bloc2"));
    assert!(rig.end(&node, &id).await.text.starts_with('<'));
    assert_eq!(
        rig.end(&node, &id).await.json()["links"][0]["filename"],
        "b"
    );

    rig.control.set_behaviour(|b| {
        *b = Behaviour {
            json_on_upload: true,
            ..Behaviour::default()
        }
    });
    let (node, id) = rig.node().await;
    let request = rig
        .upload_request(&node, &id, form(0, &[("c", "x")]))
        .header("JSON", "1");
    let reply = Reply::of(request.send().await.unwrap()).await;
    assert_eq!(reply.json()["links"][0]["filename"], "c");

    // An id is good for one emission.
    let request = rig.upload_request(&node, &id, form(0, &[("d", "x")]));
    assert!(
        Reply::of(request.send().await.unwrap())
            .await
            .text
            .contains("bloc2")
    );
    rig.control.set_behaviour(|b| b.upload_id_check = false);
    let request = rig.upload_request(&node, &id, form(0, &[("d", "x")]));
    assert_eq!(Reply::of(request.send().await.unwrap()).await.status, 302);

    rig.control.set_behaviour(|b| b.node_failure_percent = 100);
    let (reply, ..) = rig.send(0, &[("e", "x")]).await;
    assert!(
        reply
            .text
            .contains("<div class=\"bloc2\">Ne peut ouvrir le fichier destination</div>")
    );
}

#[tokio::test]
async fn windows_of_dates() {
    let rig = Rig::free().await;
    for (name, date) in [
        ("a", 1_767_618_130),
        ("b", 1_767_618_131),
        ("c", 1_767_618_132),
    ] {
        let url = rig.control.add_file(0, name, b"x");
        rig.control.set_file_date(&url, date);
    }
    let list = async |bounds: Value| {
        let items = rig.ok("file/ls", bounds).await["items"].clone();
        let names = items.as_array().into_iter().flatten();
        let mut names: Vec<String> = names
            .map(|item| item["filename"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names.concat()
    };
    let middle = "2026-01-05 14:02:11";
    assert_eq!(list(json!({"sent_after": middle})).await, "c");
    assert_eq!(list(json!({"sent_before": middle})).await, "a");
    assert_eq!(list(json!({"sent_before": "yesterday"})).await, "abc");
    rig.control
        .set_behaviour(|b| b.date_window = DateWindow::Inclusive);
    assert_eq!(
        list(json!({"sent_after": middle, "sent_before": middle})).await,
        "b"
    );
    rig.control
        .set_behaviour(|b| b.date_window = DateWindow::Ignored);
    assert_eq!(list(json!({"sent_after": middle})).await, "abc");
}

#[tokio::test(start_paused = true)]
async fn dates_of_moved_files() {
    let rig = Rig::free().await;
    let folder = rig.mkdir(0, "a").await;
    let url = rig.put(0, "f", "x").await;
    let date = async |url: &str| rig.ok("file/info", json!({"url": url})).await["date"].clone();
    let first = date(&url).await;
    pass(10).await;
    let mv = json!({"urls": [url], "destination_folder_id": folder});
    assert_eq!(rig.ok("file/mv", mv).await["urls"][0], url);
    assert_eq!(date(&url).await, first);
    let copy = rig.ok("file/cp", json!({"urls": [url]})).await["urls"][0].clone();
    assert_eq!(copy["from_url"], url);
    assert_ne!(date(copy["to_url"].as_str().unwrap()).await, first);
    rig.control
        .set_behaviour(|b| b.dates_on_move = DatesOnMove::AlwaysKept);
    let copy = rig.ok("file/cp", json!({"urls": [url]})).await["urls"][0]["to_url"].clone();
    assert_eq!(date(copy.as_str().unwrap()).await, first);
    rig.control
        .set_behaviour(|b| b.dates_on_move = DatesOnMove::AlwaysNew);
    rig.ok(
        "file/mv",
        json!({"urls": [url], "destination_folder_id": 0}),
    )
    .await;
    assert_ne!(date(&url).await, first);
}

#[tokio::test]
async fn unknown_folders() {
    let rig = Rig::free().await;
    for endpoint in ["file/ls", "folder/ls"] {
        rig.control
            .set_behaviour(|b| b.unknown_folder = UnknownFolder::NotFound);
        assert_eq!(
            rig.call(endpoint, json!({"folder_id": 7})).await.status,
            404
        );
        rig.control
            .set_behaviour(|b| b.unknown_folder = UnknownFolder::Ko);
        let reply = rig.call(endpoint, json!({"folder_id": 7})).await;
        assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("KO")));
        rig.control
            .set_behaviour(|b| b.unknown_folder = UnknownFolder::EmptyList);
        rig.ok(endpoint, json!({"folder_id": 7})).await;
    }
    let mkdir = json!({"name": "a", "folder_id": 7});
    assert_eq!(
        rig.call("folder/mkdir", mkdir.clone()).await.json()["status"],
        "KO"
    );
    rig.control
        .set_behaviour(|b| b.unknown_parent = UnknownParent::Root);
    rig.ok("folder/mkdir", mkdir).await;
    assert_eq!(rig.control.tree()[0].path, "a");
    // Uploads always go to the root then.
    rig.put(7, "f", "x").await;
    assert_eq!(rig.names(0).await, ["f"]);
}

#[tokio::test]
async fn batches_and_missing_files() {
    let rig = Rig::free().await;
    let missing = "https://1fichier.com/?nothing";
    let good = rig.put(0, "f", "x").await;
    let both = json!({"files": [{"url": missing}, {"url": good}]});
    rig.control.set_behaviour(|b| b.batch = Batch::AllOrNothing);
    assert_eq!(
        rig.call("file/rm", both.clone()).await.json()["status"],
        "KO"
    );
    rig.control.set_behaviour(|b| b.batch = Batch::Partial);
    let answer = rig.ok("file/rm", both).await;
    assert_eq!(
        (&answer["removed"], &answer["urls"]),
        (&json!(1), &json!([good]))
    );

    let again = json!({"files": [{"url": good}]});
    assert_eq!(rig.ok("file/rm", again.clone()).await["removed"], 0);
    rig.control.set_behaviour(|b| b.rm_missing = RmMissing::Ko);
    let reply = rig.call("file/rm", again.clone()).await;
    assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("KO")));
    rig.control
        .set_behaviour(|b| b.rm_missing = RmMissing::NotFound);
    assert_eq!(rig.call("file/rm", again.clone()).await.status, 404);
    for (missing, text) in [
        (RmMissing::KoNothingRemoved, "No file has been removed #312"),
        (RmMissing::KoOtherText, "Nothing to delete"),
    ] {
        rig.control.set_behaviour(|b| b.rm_missing = missing);
        let reply = rig.call("file/rm", again.clone()).await;
        assert_eq!((reply.status, &*reply.message()), (200, text));
    }
    rig.control
        .set_behaviour(|b| b.rm_missing = RmMissing::NotFound);
    rig.control.set_behaviour(|b| b.all_ko_200 = true);
    assert_eq!(rig.call("file/rm", again).await.status, 200);
}

#[tokio::test]
async fn renaming_and_moving_files() {
    let rig = Rig::free().await;
    let folder = rig.mkdir(0, "a").await;
    let url = rig.put(0, "f.txt", "x").await;
    let rename =
        |url: &str, name: &str| json!({"urls": [{"url": url, "filename": name}], "pretty": 1});
    let reply = rig.call("file/rename", rename(&url, "f.txt")).await;
    assert_eq!(
        (reply.status, reply.message().as_str()),
        (200, "No file has been renamed #312")
    );
    let answer = rig.call("file/rename", rename(&url, "g.pdf")).await;
    assert!(answer.text.contains('\n'));
    assert_eq!(answer.json()["urls"][0]["old_filename"], "f.txt");
    assert_eq!(answer.json()["urls"][0]["url"], url);

    let mv =
        |to: u64, name: &str| json!({"urls": [url], "destination_folder_id": to, "rename": name});
    assert_eq!(rig.call("file/mv", mv(0, "h")).await.json()["status"], "KO");
    assert_eq!(
        rig.call("file/mv", mv(folder, "g.pdf")).await.json()["status"],
        "KO"
    );
    rig.control.set_behaviour(|b| {
        b.mv_same_folder = MvSameFolder::Ignore;
        b.rename_same_name = RenameSameName::Accept;
    });
    assert_eq!(rig.ok("file/mv", mv(0, "h")).await["moved"], 1);
    assert_eq!(rig.names(0).await, ["g.pdf"]);
    assert_eq!(rig.ok("file/mv", mv(folder, "g.pdf")).await["moved"], 1);

    rig.control
        .set_behaviour(|b| b.url_stability = UrlStability::Changes);
    let answer = rig.ok("file/mv", mv(0, "h")).await;
    assert_eq!(answer["filename"], "h");
    assert_ne!(answer["urls"][0], url);
    assert_eq!(rig.call("file/info", json!({"url": url})).await.status, 404);
}

#[tokio::test]
async fn moving_with_a_new_name() {
    let rig = Rig::free().await;
    let folder = rig.mkdir(0, "a").await;
    let url = rig.put(0, "f", "x").await;
    let mv =
        |to: u64, name: &str| json!({"urls": [url], "destination_folder_id": to, "rename": name});
    rig.control
        .set_behaviour(|b| b.mv_with_rename = MvWithRename::Refuse);
    let refused = rig.call("file/mv", mv(folder, "g")).await;
    assert_eq!(refused.json()["status"], "KO");
    assert_eq!(rig.names(0).await, ["f"]);
    rig.control
        .set_behaviour(|b| b.mv_with_rename = MvWithRename::KeepsName);
    let answer = rig.ok("file/mv", mv(folder, "g")).await;
    assert_eq!(
        (&answer["moved"], answer.get("filename")),
        (&json!(1), None)
    );
    assert_eq!(rig.names(folder).await, ["f"]);
    rig.control.set_behaviour(|b| *b = Behaviour::default());
    assert_eq!(rig.ok("file/mv", mv(0, "g")).await["filename"], "g");
    assert_eq!(rig.names(0).await, ["g"]);
}

#[tokio::test]
async fn dates_of_answers() {
    let rig = Rig::start(Options {
        start_date: Some(1_761_440_400),
        limits: Limits::none(),
        ..Options::default()
    })
    .await;
    let reply = rig.call("folder/ls", json!({})).await;
    assert!(
        reply.header("date").starts_with("Sun, 26 Oct 2025 01:00:"),
        "{reply:?}"
    );
    rig.control.set_behaviour(|b| b.usual_date_header = false);
    let reply = rig.call("folder/ls", json!({})).await;
    assert_eq!(reply.header("date"), "today");
}

#[tokio::test]
async fn answers_without_links() {
    let rig = Rig::with(|b| b.told_urls = false).await;
    let folder = rig.mkdir(0, "a").await;
    let url = rig.put(0, "f", "x").await;
    let answers = [
        (
            "file/mv",
            json!({"urls": [url], "destination_folder_id": folder}),
            "moved",
        ),
        (
            "file/rename",
            json!({"urls": [{"url": url, "filename": "g"}]}),
            "renamed",
        ),
        ("file/cp", json!({"urls": [url], "folder_id": 0}), "copied"),
    ];
    for (endpoint, order, count) in answers {
        let answer = rig.ok(endpoint, order).await;
        assert_eq!(
            (&answer[count], &answer["urls"]),
            (&json!(1), &json!([])),
            "{endpoint}"
        );
    }
    assert_eq!(
        (rig.names(0).await, rig.names(folder).await),
        (vec!["g".to_owned()], vec!["g".to_owned()])
    );
}

#[tokio::test]
async fn passwords_and_public_links() {
    let rig = Rig::free().await;
    let url = rig.put(0, "f", "x").await;
    let chattr = |pass: &str| json!({"urls": [url], "pass": pass});
    assert_eq!(
        rig.call("file/chattr", chattr("short")).await.json()["status"],
        "KO"
    );
    assert_eq!(rig.control.file_password(&url), None);
    assert_eq!(
        rig.ok("file/chattr", chattr("password")).await["updated"],
        1
    );
    assert_eq!(rig.control.file_password(&url).as_deref(), Some("password"));
    let again = rig.call("file/chattr", chattr("password")).await;
    assert_eq!(
        (again.status, again.message().as_str()),
        (200, "No changes requested")
    );
    rig.ok("file/chattr", chattr("")).await;
    assert_eq!(rig.control.file_password(&url), None);

    let folder = rig.mkdir(0, "a").await;
    rig.control.share_with(folder, "friend@example.com");
    let share = |share: u8| json!({"folder_id": folder, "share": share});
    let link = rig.ok("folder/share", share(1)).await["url"].clone();
    assert!(
        link.as_str()
            .unwrap()
            .starts_with("https://1fichier.com/dir/")
    );
    assert_eq!(rig.ok("folder/share", share(1)).await["url"], link);
    let short = json!({"folder_id": folder, "share": 1, "pass": "12345"});
    assert_eq!(rig.call("folder/share", short).await.json()["status"], "KO");
    let listed = rig.ok("folder/ls", json!({"folder_id": folder})).await;
    assert_eq!(listed["shared"], link);
    assert!(rig.ok("folder/share", share(0)).await.get("url").is_none());
    let state = rig.control.folder_share(folder);
    assert_eq!(
        (state.url, state.users),
        (None, vec!["friend@example.com".to_owned()])
    );
    let missing = json!({"folder_id": 7, "share": 1});
    assert_eq!(rig.call("folder/share", missing).await.status, 404);
    rig.control.set_behaviour(|b| b.foreign_share = true);
    let link = rig.ok("folder/share", share(1)).await["url"].clone();
    assert!(!link.as_str().unwrap().starts_with("https://1fichier.com/"));
}

#[tokio::test]
async fn forms_of_answers() {
    let rig = Rig::free().await;
    let forms = [
        (EmptyArrays::Absent, None),
        (EmptyArrays::Null, Some(Value::Null)),
        (EmptyArrays::Empty, Some(json!([]))),
    ];
    for (form, expected) in forms {
        rig.control.set_behaviour(|b| b.empty_arrays = form);
        assert_eq!(
            rig.ok("file/ls", json!({})).await.get("items"),
            expected.as_ref()
        );
        assert_eq!(
            rig.ok("folder/ls", json!({})).await.get("sub_folders"),
            expected.as_ref()
        );
    }
    let url = rig.put(0, "f", "x").await;
    let info = json!({"url": url});
    assert!(
        rig.ok("file/info", info.clone())
            .await
            .get("status")
            .is_none()
    );
    rig.control.set_behaviour(|b| {
        b.info_status = true;
        b.info_content_type = InfoContentType::Hyphen;
        b.stringify_numbers = true;
    });
    let answer = rig.ok("file/info", info).await;
    assert_eq!(answer["status"], "OK");
    assert_eq!(answer["content-type"], "application/octet-stream");
    assert_eq!(answer["size"], "1");
}

#[tokio::test]
async fn caps_and_folder_contents() {
    let rig = Rig::free().await;
    rig.control.add_many_files(0, "f", 30, 1_000);
    rig.mkdir(0, "d").await;
    rig.control.set_behaviour(|b| {
        b.listing_cap = 10;
        b.account_listing_cap = 20;
    });
    assert_eq!(
        rig.ok("file/ls", json!({"folder_id": 0})).await["count"],
        10
    );
    assert_eq!(
        rig.ok("file/ls", json!({"folder_id": -1})).await["count"],
        20
    );
    let folder = rig
        .ok("folder/ls", json!({"folder_id": 0, "files": 1}))
        .await;
    assert_eq!(
        (&folder["files"], &folder["size"]),
        (&json!(30), &json!(30_000))
    );
    assert_eq!(folder["items"].as_array().unwrap().len(), 10);
    assert_eq!(folder["sub_folders"][0]["name"], "d");
    assert_eq!(folder["name"], "Root");
    rig.control
        .set_behaviour(|b| b.folder_ls_ignores_files = true);
    let folder = rig
        .ok("folder/ls", json!({"folder_id": 0, "files": 1}))
        .await;
    assert!(folder.get("items").is_none());
    assert_eq!(rig.control.used(), 30_000);
}

#[tokio::test(start_paused = true)]
async fn listings_lag_behind() {
    let rig = Rig::with(|b| b.index_delay = Duration::from_secs(10)).await;
    let folder = rig.mkdir(0, "a").await;
    let url = rig.put(folder, "f", "x").await;
    assert!(rig.names(folder).await.is_empty());
    rig.ok("file/info", json!({"url": url})).await;
    pass(10).await;
    assert_eq!(rig.names(folder).await, ["f"]);
    assert_eq!(
        rig.ok("file/rm", json!({"files": [{"url": url}]})).await["removed"],
        1
    );
    assert_eq!(rig.names(folder).await, ["f"]);
    assert_eq!(rig.call("file/info", json!({"url": url})).await.status, 404);
    let rm = json!({"folder_id": folder});
    assert_eq!(
        rig.call("folder/rm", rm.clone()).await.json()["status"],
        "KO"
    );
    pass(10).await;
    assert!(rig.names(folder).await.is_empty());
    rig.ok("folder/rm", rm).await;
}

#[tokio::test]
async fn names_with_forbidden_characters() {
    let rig = Rig::free().await;
    let reply = rig.call("folder/mkdir", json!({"name": "a$b"})).await;
    assert_eq!(
        (reply.status, reply.message().as_str()),
        (200, "Bad filename characters")
    );
    let (reply, ..) = rig.send(0, &[("a$b", "x")]).await;
    assert!(reply.text.contains("bloc2"));
    rig.control
        .set_behaviour(|b| b.forbidden_chars = ForbiddenChars::Replace);
    let (_, node, id) = rig.send(0, &[("dir/a$b", "x")]).await;
    assert_eq!(
        rig.end(&node, &id).await.json()["links"][0]["filename"],
        "a_b"
    );

    let escaped = r#"{"name":"\u00e9"}"#;
    let send = async || {
        let request = rig.post("folder/mkdir", &Value::Null).body(escaped);
        Reply::of(request.send().await.unwrap()).await
    };
    assert_eq!(send().await.json()["name"], "é");
    rig.control
        .set_behaviour(|b| b.reject_unicode_escapes = true);
    assert_eq!(send().await.message(), "Bad filename characters");
}

#[tokio::test]
async fn types_of_requests() {
    let rig = Rig::free().await;
    let send = async |kind: &str| {
        let url = format!("{}/v1/folder/ls.cgi", rig.base);
        let request = rig
            .http
            .post(url)
            .header("authorization", format!("Bearer {DEMO_API_KEY}"))
            .header("content-type", kind);
        Reply::of(request.send().await.unwrap()).await
    };
    assert_eq!(
        send("text/plain").await.message(),
        "Content-Type not JSON #24"
    );
    assert_eq!(send("application/json; charset=utf-8").await.status, 400);
    rig.control.set_behaviour(|b| b.reject_charset = false);
    assert_eq!(send("application/json; charset=utf-8").await.status, 200);
}
