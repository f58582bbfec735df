//! Single requests of many clients leave together, and each is answered by
//! itself.

use std::time::Duration;

use futures::future::join_all;
use pluton_fichier::emulator::{self, Fault, FaultKind};
use pluton_fichier::proto::*;
use tonic::Status;

use crate::checks::seconds;
use crate::harness::*;

async fn moved(world: &World, from: &str, to: &str, mode: WriteMode) -> Result<Entry, Status> {
    let request = MoveRequest {
        source_path: from.to_owned(),
        destination_path: to.to_owned(),
        write_mode: mode.into(),
        ..MoveRequest::default()
    };
    Ok(world
        .client
        .clone()
        .r#move(request)
        .await?
        .into_inner()
        .entry
        .unwrap())
}

async fn copied(world: &World, from: &str, to: &str, mode: WriteMode) -> Result<Entry, Status> {
    let request = CopyRequest {
        source_path: from.to_owned(),
        destination_path: to.to_owned(),
        write_mode: mode.into(),
        ..CopyRequest::default()
    };
    Ok(world
        .client
        .clone()
        .copy(request)
        .await?
        .into_inner()
        .entry
        .unwrap())
}

async fn many(world: &World, folder: &str, count: usize) -> Vec<String> {
    let paths: Vec<_> = (0..count)
        .map(|number| format!("{folder}/{number:03}"))
        .collect();
    let data = content(50);
    for outcome in join_all(paths.iter().map(|path| world.put(path, &data))).await {
        outcome.unwrap();
    }
    paths
}

#[tokio::test(start_paused = true)]
async fn single_deletes_of_many_clients_leave_together() {
    let world = world().await;
    let paths = many(&world, "a", 150).await;
    world.control.reset_calls();
    let outcomes = join_all(
        paths
            .iter()
            .map(|path| async { world.delete(&[path]).await }),
    )
    .await;
    assert!(outcomes.iter().all(|outcome| outcome == &[""]));
    // The first leaves alone because nothing else is there yet.
    assert!(
        world.control.calls().get("file/rm") <= 3,
        "{}",
        world.control.calls()
    );
    assert_eq!(world.stored(), Vec::<String>::new());
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_bad_file_of_a_batch_fails_alone() {
    for batch in [emulator::Behaviour::default().batch] {
        let world = world().await;
        world
            .control
            .set_behaviour(|behaviour| behaviour.batch = batch);
        let paths = many(&world, "a", 20).await;
        let gone = world.stat(&paths[7]).await.unwrap().id;
        world.control.remove_file(&gone);
        let refs: Vec<_> = paths.iter().map(String::as_str).collect();
        let reasons = world.delete(&refs).await;
        for (number, reason) in reasons.iter().enumerate() {
            assert_eq!(reason, if number == 7 { "FILE_NOT_FOUND" } else { "" });
        }
        assert_eq!(world.stored(), Vec::<String>::new());
        assert_eq!(world.names("a", false).await, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn files_move_to_another_folder_in_one_call() {
    let world = world().await;
    let paths = many(&world, "from", 100).await;
    world.mkdir("to").await.unwrap();
    world.control.reset_calls();
    let targets: Vec<_> = paths
        .iter()
        .map(|path| path.replace("from", "to"))
        .collect();
    let all = paths
        .iter()
        .zip(&targets)
        .map(|(from, to)| moved(&world, from, to, WriteMode::Replace));
    for outcome in join_all(all).await {
        outcome.unwrap();
    }
    assert!(
        world.control.calls().get("file/mv") <= 2,
        "{}",
        world.control.calls()
    );
    assert_eq!(
        world.control.calls().total_v1(),
        world.control.calls().get("file/mv")
    );
    assert_eq!(world.stored(), targets);
    assert_eq!(world.names("from", false).await, Vec::<String>::new());
    assert_eq!(world.names("to", false).await, targets);
}

#[tokio::test(start_paused = true)]
async fn moves_rename_replace_and_keep() {
    for stability in [
        emulator::UrlStability::Stable,
        emulator::UrlStability::Changes,
    ] {
        let world = world().await;
        world
            .control
            .set_behaviour(|behaviour| behaviour.url_stability = stability);
        let data = content(10);
        world.put("a/x", &data).await.unwrap();
        // In the same folder; to another one; both at once; with characters to encode.
        for (from, to) in [
            ("a/x", "a/y"),
            ("a/y", "b/y"),
            ("b/y", "c/d/z"),
            ("c/d/z", "c/d/it's \"$5\""),
        ] {
            let entry = moved(&world, from, to, WriteMode::Replace).await.unwrap();
            assert_eq!(entry.path, to);
            assert_reason(world.stat(from).await, "FILE_NOT_FOUND");
            assert_eq!(world.stat(to).await.unwrap(), entry);
            assert_eq!(world.get(to).await.unwrap().content, data);
        }
        assert_eq!(world.stored(), ["c/d/it＇s ＂＄5＂"]);
        // Onto an existing file.
        let older = content(20);
        world.put("t", &older).await.unwrap();
        assert_reason(
            moved(&world, "c/d/it's \"$5\"", "t", WriteMode::CreateOnly).await,
            "ENTRY_EXISTS",
        );
        moved(&world, "c/d/it's \"$5\"", "t", WriteMode::Replace)
            .await
            .unwrap();
        assert_eq!(world.stored(), ["t"]);
        assert_eq!(world.get("t").await.unwrap().content, data);
        // Onto itself: nothing happens.
        moved(&world, "t", "t", WriteMode::Replace).await.unwrap();
        world.mkdir("dir").await.unwrap();
        assert_reason(
            moved(&world, "t", "dir", WriteMode::Replace).await,
            "IS_A_DIRECTORY",
        );
        assert_reason(
            moved(&world, "nothing", "u", WriteMode::Replace).await,
            "FILE_NOT_FOUND",
        );
        world.put("u", &older).await.unwrap();
        moved(&world, "t", "u", WriteMode::KeepBoth).await.unwrap();
        assert_eq!(world.stored(), ["u", "u"]);
    }
}

#[tokio::test(start_paused = true)]
async fn copies_are_files_of_their_own() {
    let world = world().await;
    let data = content(10);
    let original = world.put("a/x", &data).await.unwrap();
    for to in ["b/x", "a/y", "c/z"] {
        let copy = copied(&world, "a/x", to, WriteMode::Replace).await.unwrap();
        assert_ne!(copy.id, original.id);
        assert_eq!(copy.checksums, original.checksums);
    }
    assert_reason(
        copied(&world, "a/x", "a/x", WriteMode::Replace).await,
        "INVALID_FIELD",
    );
    world.delete(&["a/x"]).await;
    for path in ["b/x", "a/y", "c/z"] {
        assert_eq!(world.get(path).await.unwrap().content, data);
    }
    // A copy replaces what is there; rclone leaves two files.
    world.put("d", &content(5)).await.unwrap();
    copied(&world, "b/x", "d", WriteMode::Replace)
        .await
        .unwrap();
    assert_eq!(world.stored(), ["a/y", "b/x", "c/z", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_move_is_replayed_by_its_request_id() {
    let world = world().await;
    world.put("a", &content(10)).await.unwrap();
    let request = MoveRequest {
        source_path: "a".to_owned(),
        destination_path: "b".to_owned(),
        request_id: "once".to_owned(),
        ..MoveRequest::default()
    };
    let first = world
        .client
        .clone()
        .r#move(request.clone())
        .await
        .unwrap()
        .into_inner();
    let again = world
        .client
        .clone()
        .r#move(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.entry, again.entry);
    let other = MoveRequest {
        destination_path: "c".to_owned(),
        ..request
    };
    assert_reason(
        world.client.clone().r#move(other).await,
        "REQUEST_ID_REUSED",
    );
}

#[tokio::test(start_paused = true)]
async fn refresh_shows_what_others_did() {
    let world = world().await;
    world.put("d/mine", &content(10)).await.unwrap();
    assert_eq!(world.names("", true).await, ["d/", "d/mine"]);
    let folder = world.stat("d").await.unwrap().id.parse().unwrap();
    world.control.add_file(folder, "theirs", b"abc");
    let refresh = |reload| {
        let request = RefreshRequest {
            recursive: true,
            reload,
            ..RefreshRequest::default()
        };
        let mut client = world.client.clone();
        async move { client.refresh(request).await.unwrap().into_inner() }
    };
    assert_eq!(
        world.names("d", false).await,
        ["d/mine"],
        "within the freshness"
    );
    assert_eq!(refresh(false).await.dropped_directories, 2);
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    assert_eq!(world.names("d", false).await, ["d/mine", "d/theirs"]);
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    world.control.add_file(folder, "more", b"abc");
    assert_eq!(refresh(true).await.loaded_directories, 2);
    world.control.reset_calls();
    assert_eq!(
        world.names("d", false).await,
        ["d/mine", "d/more", "d/theirs"]
    );
    assert_eq!(world.control.calls().total_v1(), 0);
}

#[tokio::test(start_paused = true)]
async fn activity_shows_budget_transfers_and_catalog() {
    let world = world().await;
    world.put("x", &content(1_000)).await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let header = PutHeader {
        size: Some(1_000),
        ..header("y")
    };
    sender
        .send(message(put_request::Payload::Header(header)))
        .await
        .unwrap();
    sender.send(chunk(0, &content(600))).await.unwrap();
    let mut client = world.client.clone();
    let put = tokio::spawn(async move {
        client
            .put(tokio_stream::wrappers::ReceiverStream::new(receiver))
            .await
    });
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let activity = world
        .client
        .clone()
        .get_activity(GetActivityRequest::default())
        .await
        .unwrap()
        .into_inner();
    let [transfer] = &activity.transfers[..] else {
        panic!("{activity:?}")
    };
    assert_eq!(
        (transfer.path.as_str(), transfer.size, transfer.done_bytes),
        ("y", Some(1_000), 600)
    );
    assert_eq!(transfer.direction(), TransferDirection::Upload);
    assert!(transfer.bytes_per_second > 0);
    let [budget] = &activity.budgets[..] else {
        panic!("{activity:?}")
    };
    assert_eq!(budget.remotes, ["fichier"]);
    assert_eq!(budget.calls_last_minute["upload/get_upload_server"], 1);
    assert!(budget.requests_per_second > 2.9 && budget.locked_until.is_none());
    assert_eq!(activity.catalog.unwrap().persistence_problem, "");
    drop(sender);
    assert_reason(put.await.unwrap(), "UPLOAD_NOT_COMMITTED");
    let after = world
        .client
        .clone()
        .get_activity(GetActivityRequest::default())
        .await
        .unwrap();
    assert_eq!(after.into_inner().transfers, []);
}

#[tokio::test(start_paused = true)]
async fn one_bad_member_of_an_upload_group_fails_alone() {
    // Without encoding, the node refuses what 1Fichier forbids in names.
    let world = build(emulator::Options::default(), |config| {
        config.remotes[0].encoding = pluton_fichier::encoding::Mask::NONE;
    })
    .await;
    world.mkdir("d").await.unwrap();
    let names: Vec<_> = (0..30)
        .map(|number| {
            if number == 17 {
                "d/a$b".to_owned()
            } else {
                format!("d/{number:02}")
            }
        })
        .collect();
    let data = content(500);
    let outcomes = join_all(names.iter().map(|name| world.put(name, &data))).await;
    for (name, outcome) in names.iter().zip(outcomes) {
        if name == "d/a$b" {
            assert!(outcome.is_err(), "{outcome:?}");
        } else {
            outcome.unwrap();
        }
    }
    let mut good: Vec<_> = names.into_iter().filter(|name| name != "d/a$b").collect();
    good.sort();
    assert_eq!(world.stored(), good, "the others are there, once");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_damaged_on_its_way_is_sent_again_alone() {
    let world = world().await;
    world.mkdir("d").await.unwrap();
    world.control.inject(emulator::Fault {
        endpoint: "upload.cgi".to_owned(),
        skip: 0,
        times: 2,
        kind: emulator::FaultKind::Corrupt,
    });
    let data = content(500);
    let names: Vec<_> = (0..30).map(|number| format!("d/{number:02}")).collect();
    for outcome in join_all(names.iter().map(|name| world.put(name, &data))).await {
        outcome.unwrap();
    }
    assert_eq!(world.stored(), names);
    for name in &names {
        assert_eq!(world.get(name).await.unwrap().content, data);
    }
}

#[tokio::test(start_paused = true)]
async fn members_whose_client_left_do_not_disturb_the_others() {
    let world = world().await;
    world.mkdir("d").await.unwrap();
    let data = content(500);
    let names: Vec<_> = (0..30).map(|number| format!("d/{number:02}")).collect();
    let outcomes = join_all(names.iter().enumerate().map(|(number, name)| {
        let patience = if number % 3 == 0 { 1 } else { 60_000 };
        tokio::time::timeout(
            std::time::Duration::from_millis(patience),
            world.put(name, &data),
        )
    }))
    .await;
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let stored = world.stored();
    for (name, outcome) in names.iter().zip(outcomes) {
        let times = stored.iter().filter(|stored| *stored == name).count();
        match outcome {
            Ok(outcome) => {
                outcome.unwrap();
                assert_eq!(times, 1, "{name}");
            }
            Err(_) => assert!(times <= 1, "{name}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn replacing_costs_one_removal_for_each_group() {
    let world = world().await;
    many(&world, "d", 60).await;
    world.control.reset_calls();
    many(&world, "d", 60).await;
    let calls = world.control.calls();
    assert_eq!(world.stored().len(), 60);
    assert!(
        calls.get("file/rm") <= calls.get("upload/get_upload_server"),
        "{calls}"
    );
    assert_eq!(
        calls.get("file/rm") + calls.get("upload/get_upload_server"),
        calls.total_v1(),
        "{calls}"
    );
}

#[tokio::test(start_paused = true)]
async fn making_directories_costs_one_call_for_each_missing_level() {
    let world = world().await;
    world.names("", false).await;
    for (path, calls) in [("a/b/c", 3), ("a/b/c", 0), ("a/b/d", 1), ("a/x/y", 2)] {
        world.control.reset_calls();
        world.mkdir(path).await.unwrap();
        assert_eq!(world.control.calls().total_v1(), calls, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_is_moved_or_deleted_never_both() {
    for (delay_of, pause) in [
        ("file/rm", 0),
        ("file/rm", 500),
        ("file/mv", 0),
        ("file/mv", 500),
    ] {
        let world = world().await;
        world.put("a/x", b"content").await.unwrap();
        world.mkdir("b").await.unwrap();
        seconds(10).await;
        world.control.inject(Fault {
            endpoint: delay_of.to_owned(),
            skip: 0,
            times: 1,
            kind: FaultKind::Delay(Duration::from_secs(3)),
        });
        let pause = Duration::from_millis(pause);
        let delete = async {
            if delay_of == "file/mv" {
                tokio::time::sleep(pause).await;
            }
            world.delete(&["a/x"]).await
        };
        let rescue = async {
            if delay_of == "file/rm" {
                tokio::time::sleep(pause).await;
            }
            moved(&world, "a/x", "b/x", WriteMode::Replace).await
        };
        let (deleted, moved) = tokio::join!(delete, rescue);
        let stays = match moved {
            Ok(_) => vec!["b/x".to_owned()],
            Err(_) => vec![],
        };
        assert_eq!(world.stored(), stays, "{delay_of} {pause:?}: {deleted:?}");
        assert_eq!(
            deleted == [""],
            stays.is_empty(),
            "{delay_of} {pause:?}: {deleted:?}"
        );
    }
}
