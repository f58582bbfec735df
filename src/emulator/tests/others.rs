//! The control handle as another program on the account.

use super::*;
use crate::emulator::{InfoPath, ListingLag, Node, NodeKind, UrlStability};

fn paths(rig: &Rig) -> Vec<String> {
    let name = |node: Node| match node.kind {
        NodeKind::Folder => format!("{}/", node.path),
        NodeKind::File => node.path,
    };
    rig.control.tree().into_iter().map(name).collect()
}

#[tokio::test]
async fn files_are_moved_renamed_copied_and_replaced() {
    let rig = Rig::free().await;
    let control = &rig.control;
    let (a, b) = (control.add_folder(0, "a"), control.add_folder(0, "b"));
    let url = control.add_file(a, "f", b"one");
    assert_eq!(control.move_file(&url, b).as_deref(), Some(&*url));
    assert_eq!(control.rename_file(&url, "g$").as_deref(), Some(&*url));
    assert_eq!(paths(&rig), ["a/", "b/", "b/g$"]);
    let copy = control.copy_file(&url, a, None).unwrap();
    let other = control.copy_file(&url, a, Some("h")).unwrap();
    assert!(copy != url && other != copy);
    assert_eq!(paths(&rig), ["a/", "a/g$", "a/h", "b/", "b/g$"]);
    let new = control.replace_file(&url, b"two two").unwrap();
    assert_ne!(new, url);
    let node = control.file_at("b/g$").unwrap();
    assert_eq!((node.size, &node.url, node.id), (7, &new, b));
    assert_eq!(rig.call("file/info", json!({"url": url})).await.status, 404);
    assert_eq!(control.used(), 3 + 3 + 7);

    // What is not there.
    assert_eq!(control.move_file(&url, b), None);
    assert_eq!(control.move_file(&new, 7), None);
    assert_eq!(control.rename_file(&url, "x"), None);
    assert_eq!(control.copy_file(&new, 7, None), None);
    assert_eq!(control.replace_file(&url, b"x"), None);
    control.set_behaviour(|b| b.url_stability = UrlStability::Changes);
    let moved = control.move_file(&new, 0).unwrap();
    assert_ne!(moved, new);
    assert_eq!(control.file_at("g$").unwrap().url, moved);
}

#[tokio::test]
async fn folders_are_moved_and_renamed() {
    let rig = Rig::free().await;
    let control = &rig.control;
    let (a, b) = (control.add_folder(0, "a"), control.add_folder(0, "b"));
    let inner = control.add_folder(a, "inner");
    control.add_file(inner, "f", b"x");
    assert!(control.move_folder(a, b));
    assert_eq!(paths(&rig), ["b/", "b/a/", "b/a/inner/", "b/a/inner/f"]);
    for (id, parent) in [(b, inner), (b, b), (0, b), (7, 0), (a, 7)] {
        assert!(!control.move_folder(id, parent));
    }
    assert!(control.rename_folder(inner, "new"));
    assert!(!control.rename_folder(0, "new") && !control.rename_folder(7, "new"));
    assert!(control.move_folder(a, 0));
    assert!(control.swap_folder_names(a, b));
    assert!(!control.swap_folder_names(a, 0) && !control.swap_folder_names(7, a));
    assert_eq!(paths(&rig), ["a/", "b/", "b/new/", "b/new/f"]);
    assert_eq!(control.folder_at("b").unwrap().id, a);
    assert_eq!(control.folder_at("b/new").unwrap().path, "b/new");
    assert_eq!(control.folder_at("").unwrap().id, 0);
    let parents = [inner, b, 0, 7].map(|id| control.parent_of(id));
    assert_eq!(parents, [Some(a), Some(0), Some(0), None]);
    assert_eq!(control.folder_at("b/none"), None);
}

#[tokio::test]
async fn paths_may_name_several() {
    let rig = Rig::free().await;
    let control = &rig.control;
    let (one, two) = (control.add_folder(0, "a"), control.add_folder(0, "a"));
    control.add_file(one, "f", b"1");
    control.add_file(two, "f", b"22");
    control.add_file(two, "f", b"333");
    let sizes: Vec<u64> = control
        .files_at("a/f")
        .iter()
        .map(|node| node.size)
        .collect();
    assert_eq!(sizes, [1, 2, 3]);
    assert_eq!(control.folder_at("a").unwrap().id, one);
    // Any of them, by folder and name.
    let info = rig.ok("file/info", json!({"folder_id": two, "filename": "f"}));
    assert!([2, 3].contains(&info.await["size"].as_u64().unwrap()));
    let upper = json!({"folder_id": two, "filename": "F"});
    assert_eq!(rig.call("file/info", upper).await.status, 404);
    let elsewhere = json!({"folder_id": 0, "filename": "f"});
    assert_eq!(rig.call("file/info", elsewhere).await.status, 404);
    assert_eq!(control.file_at("a/g"), None);
}

#[tokio::test(start_paused = true)]
async fn changes_are_seen_at_once_or_late() {
    let rig = Rig::with(|b| {
        b.index_delay = Duration::from_secs(10);
        b.url_delay = Duration::from_secs(5);
        b.listing_lag = ListingLag::Everything;
    })
    .await;
    let a = rig.control.add_folder(0, "a");
    let url = rig.control.add_file(0, "f", b"x");
    assert_eq!(rig.names(0).await, ["f"]);
    rig.ok("file/info", json!({"url": url})).await;
    let late = rig.control.lagging();
    late.move_file(&url, a).unwrap();
    let new = late.add_file(0, "new", b"x");
    late.rename_folder(a, "b");
    assert_eq!(rig.names(0).await, ["f"]);
    assert_eq!(rig.call("file/info", json!({"url": new})).await.status, 404);
    assert_eq!(paths(&rig), ["b/", "b/f", "new"]);
    pass(5).await;
    rig.ok("file/info", json!({"url": new})).await;
    pass(5).await;
    assert_eq!(rig.names(0).await, ["new"]);
    assert_eq!(rig.names(a).await, ["f"]);
    late.remove_folder(a);
    let listed = rig.ok("folder/ls", json!({})).await["sub_folders"].clone();
    assert_eq!(listed[0]["name"], "b");
    // Of a folder that is gone, only the listing of the account shows the files.
    let all = rig.ok("file/ls", json!({"folder_id": -1})).await;
    assert_eq!(all["count"], 2);
    pass(10).await;
    assert_eq!(
        rig.ok("file/ls", json!({"folder_id": -1})).await["count"],
        1
    );
}

#[tokio::test]
async fn a_folder_may_be_shown_inside_itself() {
    let rig = Rig::free().await;
    let a = rig.mkdir(0, "a").await;
    let b = rig.mkdir(a, "b").await;
    rig.control.add_false_entry(b, a);
    rig.control.add_false_entry(a, a);
    let inside = async |id: u64| {
        let answer = rig.ok("folder/ls", json!({"folder_id": id})).await;
        let list = answer["sub_folders"].as_array().cloned();
        let ids = list.into_iter().flatten();
        ids.map(|entry| entry["id"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (inside(0).await, inside(a).await, inside(b).await),
        (vec![a], vec![a, b], vec![a])
    );
    assert_eq!(paths(&rig), ["a/", "a/b/"]);
    rig.control.clear_false_entries();
    assert_eq!((inside(a).await, inside(b).await), (vec![b], vec![]));
}

#[tokio::test]
async fn paths_of_files() {
    let rig = Rig::free().await;
    let (a, b) = (rig.mkdir(0, "a").await, rig.control.add_folder(0, "b"));
    let deep = rig.mkdir(a, "c d").await;
    rig.control.move_folder(a, b);
    let urls = [rig.put(0, "f", "x").await, rig.put(deep, "g", "x").await];
    let forms = [
        (InfoPath::Folders, Some(["", "b/a/c d"])),
        (InfoPath::Slash, Some(["/", "/b/a/c d"])),
        (InfoPath::WithName, Some(["f", "b/a/c d/g"])),
        (InfoPath::Absent, None),
    ];
    for (form, expected) in forms {
        rig.control.set_behaviour(|b| b.info_path = form);
        for (at, url) in urls.iter().enumerate() {
            let info = rig.ok("file/info", json!({"url": url})).await;
            let path = info.get("path").map(|path| path.as_str().unwrap());
            assert_eq!(path, expected.map(|paths| paths[at]), "{form:?}");
        }
    }
}
