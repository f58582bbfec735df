//! Moving and renaming directories.

use std::time::Duration;

use futures::future::join_all;
use pluton_fichier::emulator::{
    Fault, FaultKind, MkdirExisting, MvRename, UnknownFolder, UnknownParent,
};
use pluton_fichier::proto::*;
use tonic::Status;

use crate::checks::*;
use crate::harness::*;

async fn moved(world: &World, from: &str, to: &str) -> Result<Entry, Status> {
    let answer = world.client.clone().move_dir(request(from, to)).await?;
    Ok(answer.into_inner().entry.unwrap())
}

fn request(from: &str, to: &str) -> MoveDirRequest {
    MoveDirRequest {
        source_path: from.to_owned(),
        destination_path: to.to_owned(),
        ..MoveDirRequest::default()
    }
}

/// Some directories, all of them known.
async fn filled(world: &World) {
    for path in ["a/1", "a/b/2", "x/3"] {
        world.put(path, path.as_bytes()).await.unwrap();
    }
    world.names("", true).await;
}

/// The calls of an operation, each with what it says of its destination.
fn calls(world: &World) -> Vec<String> {
    let requests = world.control.last_requests().into_iter();
    requests
        .filter(|request| request.endpoint.starts_with("folder/"))
        .map(|request| {
            let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
            let destination = body.get("destination_folder_id");
            match (request.endpoint.as_str(), body["rename"].as_str()) {
                ("folder/mv", Some(name)) => format!("rename {name} in {}", destination.unwrap()),
                ("folder/mv", None) => format!("move to {}", destination.unwrap()),
                (other, _) => other.to_owned(),
            }
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_renamed_and_moved_with_all_that_is_in_it() {
    for mv_rename in [MvRename::HonoursDestination, MvRename::IgnoresDestination] {
        let world = played(|behaviour| behaviour.mv_rename = mv_rename).await;
        filled(&world).await;
        let id = world.folder("a").to_string();
        let x = world.folder("x");
        world.control.reset_calls();
        let steps: [(&str, &str, Vec<String>); 5] = [
            ("a", "c", vec!["rename c in 0".into()]),
            ("c", "x/c", vec![format!("move to {x}")]),
            // Both at once is never asked for.
            (
                "x/c",
                "d",
                vec![format!("rename d in {x}"), "move to 0".into()],
            ),
            (
                "d",
                "x/it's \"$5\"",
                vec!["rename it＇s ＂＄5＂ in 0".into(), format!("move to {x}")],
            ),
            ("x/it's \"$5\"", "x/a", vec![format!("rename a in {x}")]),
        ];
        for (from, to, expected) in steps {
            let entry = moved(&world, from, to).await.unwrap();
            assert_eq!((entry.path.as_str(), &entry.id), (to, &id));
            assert_eq!(entry.r#type(), EntryType::Directory);
            let mut made = calls(&world);
            assert_eq!(
                made.pop().as_deref(),
                Some("folder/ls"),
                "one look at the end"
            );
            assert_eq!(made, expected, "{from} to {to}");
            assert_eq!(world.control.calls().total_v1(), made.len() as u64 + 1);
            world.control.reset_calls();
            assert_reason(world.stat(from).await, "FILE_NOT_FOUND");
            assert_eq!(world.stat(to).await.unwrap(), entry);
            let inside = [format!("{to}/1"), format!("{to}/b/"), format!("{to}/b/2")];
            assert_eq!(world.names(to, true).await, inside);
            assert_eq!(world.list("", true).await.unwrap().len(), 6);
            assert_eq!(
                world.control.calls().total_v1(),
                0,
                "nothing is listed again"
            );
        }
        minutes(6).await;
        world.assert_agreement("listed again").await;
        assert_eq!(world.get("x/a/b/2").await.unwrap().content, b"a/b/2");
    }
}

#[tokio::test(start_paused = true)]
async fn no_name_on_the_way_meets_another_entry() {
    for mv_rename in [MvRename::HonoursDestination, MvRename::IgnoresDestination] {
        for (taken, way) in [
            (vec!["n"], vec!["move to X", "rename n in X"]),
            (vec!["x/a"], vec!["rename n in 0", "move to X"]),
            (
                vec!["n", "x/a"],
                vec!["rename T in 0", "move to X", "rename n in X"],
            ),
        ] {
            let world = played(|behaviour| behaviour.mv_rename = mv_rename).await;
            filled(&world).await;
            for path in &taken {
                world.mkdir(path).await.unwrap();
            }
            let x = world.folder("x").to_string();
            world.control.reset_calls();
            moved(&world, "a", "x/n").await.unwrap();
            let made: Vec<_> = calls(&world)
                .iter()
                .map(|call| {
                    let call = call.replace(&x, "X");
                    match call.find(".pluton-fichier-move-") {
                        Some(at) => format!("{}T{}", &call[..at], &call[at + 53..]),
                        None => call,
                    }
                })
                .collect();
            assert_eq!(made[..made.len() - 1], way);
            assert_eq!(
                world.names("x/n", true).await,
                ["x/n/1", "x/n/b/", "x/n/b/2"]
            );
            for path in &taken {
                assert_eq!(world.names(path, true).await, [""; 0], "{path}");
            }
            minutes(6).await;
            world.assert_agreement("after the way").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_move_refuses_leaves_everything_as_it_was() {
    let world = world().await;
    filled(&world).await;
    world.mkdir("x/a").await.unwrap();
    world.put("file", b"file").await.unwrap();
    let before = world.stored_all();
    world.control.reset_calls();
    for (from, to, expected) in [
        ("none", "new/parent/x", "DIRECTORY_NOT_FOUND"),
        // The source is looked at first.
        ("none", "file", "DIRECTORY_NOT_FOUND"),
        ("file", "new/x", "NOT_A_DIRECTORY"),
        ("file/none", "new/x", "NOT_A_DIRECTORY"),
        ("a", "x", "ENTRY_EXISTS"),
        ("a", "x/a", "ENTRY_EXISTS"),
        ("a", "file", "ENTRY_EXISTS"),
        ("a", "", "ENTRY_EXISTS"),
        ("a", "a", "ENTRY_EXISTS"),
        ("a", "a/b", "ENTRY_EXISTS"),
        ("", "", "ENTRY_EXISTS"),
        ("", "a", "ENTRY_EXISTS"),
        ("", "new", "INVALID_PATH"),
        ("a", "a/new", "INVALID_PATH"),
        ("a", "a/b/new/deeper", "INVALID_PATH"),
        ("a", "file/new", "NOT_A_DIRECTORY"),
        ("a", "a//b", "INVALID_PATH"),
        ("a", &"x".repeat(251), "INVALID_PATH"),
    ] {
        let status = assert_reason(moved(&world, from, to).await, expected);
        if expected == "ENTRY_EXISTS" || to.starts_with("a/") && to != "a//b" {
            assert!(
                status
                    .message()
                    .contains(if to.is_empty() { "root" } else { to }),
                "{status:?}"
            );
        }
    }
    assert_eq!(world.control.calls().total_v1(), 0);
    assert_eq!(world.stored_all(), before);
    // A name that only begins the same is another directory.
    moved(&world, "a", "a2").await.unwrap();
    moved(&world, "a2", "new/parents/a").await.unwrap();
    assert_eq!(world.names("new", true).await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn which_of_several_directories_is_meant_is_not_guessed() {
    let world = world().await;
    let first = world.control.add_folder(0, "d");
    let second = world.control.add_folder(0, "d");
    world.control.add_folder(second, "sub");
    world.control.add_folder(0, "to");
    let status = assert_reason(moved(&world, "d", "e").await, "AMBIGUOUS_PATH");
    assert!(status.message().contains("Dedupe"), "{status:?}");
    assert_eq!(fact(&status, "ids"), format!("{first} {second}"));
    assert_eq!(world.control.calls().get("folder/mv"), 0);
    // Of what is in them, each is known; and it stays in its folder.
    moved(&world, "d/sub", "d/other").await.unwrap();
    let node = |path: &str| {
        world
            .control
            .tree()
            .into_iter()
            .find(|node| node.path == path)
    };
    let sub = node("d/other").unwrap().id;
    assert_eq!(world.stat("d/other").await.unwrap().id, sub.to_string());
    assert_eq!(
        calls(&world)
            .iter()
            .filter(|call| call.starts_with("rename"))
            .count(),
        1
    );
    moved(&world, "d/other", "to/sub").await.unwrap();
    moved(&world, "to", "d/to").await.unwrap();
    world.control.remove_folder(second);
    assert_eq!(
        world.stored_all(),
        ["d", "d/to", "d/to/sub"],
        "in the first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_move_is_replayed_by_its_request_id_also_after_a_restart() {
    let mut world = world().await;
    filled(&world).await;
    let request = MoveDirRequest {
        request_id: "once".to_owned(),
        ..request("a", "x/b c")
    };
    let ask = async |world: &World, request: &MoveDirRequest| {
        let answer = world.client.clone().move_dir(request.clone()).await?;
        Ok::<_, Status>(answer.into_inner())
    };
    let first = ask(&world, &request).await.unwrap();
    world.restart().await;
    world.control.reset_calls();
    let again = ask(&world, &request).await.unwrap();
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.entry, again.entry);
    for other in [
        MoveDirRequest {
            destination_path: "c".to_owned(),
            ..request.clone()
        },
        MoveDirRequest {
            source_path: "a x/b".to_owned(),
            destination_path: "c".to_owned(),
            ..request
        },
    ] {
        assert_reason(ask(&world, &other).await, "REQUEST_ID_REUSED");
    }
    assert_eq!(world.control.calls().total_v1(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_catalog_on_disk_agrees_after_a_restart() {
    let mut world = world().await;
    filled(&world).await;
    moved(&world, "a", "x/y").await.unwrap();
    moved(&world, "x/y/b", "b").await.unwrap();
    moved(&world, "x/y", "a").await.unwrap();
    // Dropped, not stopped: what was acknowledged is on disk already.
    drop(world.server.take());
    let server = pluton_fichier::server::Server::start(world.config.clone()).await;
    world.server = Some(server.unwrap());
    world.client = connect(world.server.as_ref().unwrap()).await;
    world.control.reset_calls();
    world.assert_agreement("after a restart").await;
    assert_eq!(
        world.names("", true).await,
        ["a/", "b/", "x/", "a/1", "b/2", "x/3"]
    );
    assert_eq!(world.control.calls().total_v1(), 0);
    // Listings of all these folders agree with the changes of late.
    seconds(31).await;
    for directory in ["", "a", "b", "x"] {
        world.listed_within(directory, 0).await;
    }
    world.assert_agreement("listed again").await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_came_and_went_and_came_back_is_shown() {
    let world = world().await;
    filled(&world).await;
    for _ in 0..3 {
        moved(&world, "a", "x/a").await.unwrap();
        moved(&world, "x/a", "a").await.unwrap();
    }
    for _ in 0..3 {
        seconds(31).await;
        assert_eq!(world.listed_within("", 0).await.0, ["a", "x"]);
        assert_eq!(world.listed_within("x", 0).await.0, ["x/3"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_program_did_meanwhile_is_noticed() {
    for existing in [MkdirExisting::Refuse, MkdirExisting::Duplicate] {
        let world = played(|behaviour| behaviour.mkdir_existing = existing).await;
        filled(&world).await;
        // Somebody made a directory of the name.
        let theirs = world.control.add_folder(0, "new");
        let status = assert_reason(moved(&world, "a", "new").await, "ENTRY_EXISTS");
        assert_eq!(fact(&status, "path"), "new", "{existing:?}");
        let tree: Vec<_> = world.stored_all();
        assert_eq!(
            tree,
            ["a", "a/1", "a/b", "a/b/2", "new", "x", "x/3"],
            "{existing:?}"
        );
        assert_eq!(world.stat("new").await.unwrap().id, theirs.to_string());
        // The second call meets it: the first is undone.
        world.control.add_folder(world.folder("x"), "n");
        assert_reason(moved(&world, "a", "x/n").await, "ENTRY_EXISTS");
        assert_eq!(
            world.names("a", true).await,
            ["a/1", "a/b/", "a/b/2"],
            "{existing:?}"
        );
        assert_eq!(world.stored(), ["a/1", "a/b/2", "x/3"], "{existing:?}");
        // The directory is gone.
        world.control.remove_folder(world.folder("a"));
        assert_reason(moved(&world, "a", "b").await, "DIRECTORY_NOT_FOUND");
        assert_reason(world.stat("a").await, "FILE_NOT_FOUND");
        minutes(6).await;
        world.assert_agreement(&format!("{existing:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_another_program_removed_is_made_again() {
    for unknown_parent in [UnknownParent::Refuse, UnknownParent::Root] {
        for unknown_folder in [
            UnknownFolder::NotFound,
            UnknownFolder::Ko,
            UnknownFolder::EmptyList,
        ] {
            for (from, to) in [("d/a", "x/y/a"), ("d/a", "x/y/new")] {
                let context = format!("{unknown_parent:?} {unknown_folder:?} {to}");
                let world = played(|behaviour| {
                    behaviour.unknown_parent = unknown_parent;
                    behaviour.unknown_folder = unknown_folder;
                })
                .await;
                for path in ["d/a/1", "x/y/2"] {
                    world.put(path, path.as_bytes()).await.unwrap();
                }
                world.names("", true).await;
                seconds(60).await;
                world.control.remove_folder(world.folder("x/y"));
                let entry = moved(&world, from, to).await.unwrap();
                assert_eq!(entry.path, to);
                assert_eq!(world.stored(), [format!("{to}/1")], "{context}");
                assert_eq!(
                    world.get(&format!("{to}/1")).await.unwrap().content,
                    b"d/a/1"
                );
                assert_eq!(world.control.calls().floods(), 0);
                minutes(6).await;
                world.assert_agreement(&context).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn parents_made_for_a_move_that_fails_go_again() {
    let world = world().await;
    filled(&world).await;
    let refusal = FaultKind::Ko {
        http: 200,
        message: "Something new #9".to_owned(),
    };
    world.fail("folder/mv", 1, refusal);
    assert_reason(moved(&world, "a", "n/o/a").await, "UPSTREAM_PROTOCOL");
    seconds(5).await;
    assert_eq!(world.stored_all(), ["a", "a/1", "a/b", "a/b/2", "x", "x/3"]);
    world.assert_agreement("after the failure").await;
}

#[tokio::test(start_paused = true)]
async fn what_stops_half_way_is_undone_or_says_where_it_is() {
    // The second call is refused; the way back works, or does not.
    for back in [true, false] {
        let world = world().await;
        filled(&world).await;
        let ko = |message: &str| FaultKind::Ko {
            http: 200,
            message: message.to_owned(),
        };
        world.control.inject(pluton_fichier::emulator::Fault {
            endpoint: "folder/mv".to_owned(),
            skip: 1,
            times: if back { 1 } else { 2 },
            kind: ko("Something new #9"),
        });
        let status = assert_reason(moved(&world, "a", "x/n").await, "UPSTREAM_PROTOCOL");
        let expected: &[&str] = if back {
            &["a/1", "a/b/2", "x/3"]
        } else {
            assert_eq!(fact(&status, "current_path"), "n");
            assert!(status.message().contains("\"n\""), "{status:?}");
            &["n/1", "n/b/2", "x/3"]
        };
        assert_eq!(world.stored(), expected, "{status:?}");
        world.assert_agreement("at once").await;
        minutes(6).await;
        world.assert_agreement("later").await;
        if !back {
            moved(&world, "n", "x/n").await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_1fichier_changes_or_refuses_are_not_kept() {
    use pluton_fichier::emulator::{ForbiddenChars, Options};
    use pluton_fichier::encoding::Mask;
    for rule in [ForbiddenChars::Refuse, ForbiddenChars::Replace] {
        let mut options = Options::default();
        options.behaviour.forbidden_chars = rule;
        let plain: Mask = "Slash".parse().unwrap();
        let world = build(options, |config| config.remotes[0].encoding = plain).await;
        filled(&world).await;
        for to in ["a<b", "x/a<b", "new/a<b"] {
            let status = assert_reason(moved(&world, "a", to).await, "INVALID_PATH");
            assert_eq!(fact(&status, "path"), to, "{rule:?}");
            seconds(10).await;
            assert_eq!(world.stored(), ["a/1", "a/b/2", "x/3"], "{rule:?} {to}");
        }
        minutes(6).await;
        world.assert_agreement(&format!("{rule:?}")).await;
    }
}

/// In virtual time, writes that are on their way while their directory moves.
#[tokio::test(start_paused = true)]
async fn writes_below_go_on_while_a_directory_moves() {
    let world = world().await;
    filled(&world).await;
    let puts = (0..20).map(|number| {
        let world = &world;
        async move {
            let path = format!("a/b/new{number:02}");
            world.put(&path, &content(1_000 + number)).await
        }
    });
    let renames = async {
        for (from, to) in [("a", "c"), ("c", "x/d"), ("x/d/b", "b")] {
            tokio::time::sleep(Duration::from_millis(500)).await;
            moved(&world, from, to).await.unwrap();
        }
    };
    let (stored, ()) = tokio::join!(join_all(puts), renames);
    assert!(stored.iter().all(Result::is_ok));
    let names: Vec<_> = world.stored();
    assert_eq!(names.len(), 23, "{names:?}");
    for number in 0..20 {
        let name = format!("/new{number:02}");
        let there: Vec<_> = names.iter().filter(|path| path.ends_with(&name)).collect();
        assert_eq!(there.len(), 1, "{names:?}");
        let back = world.get(there[0]).await.unwrap().content;
        assert_eq!(back, content(1_000 + number));
    }
    seconds(40).await;
    assert_eq!(world.stored(), names, "nothing is moved afterwards");
    world.assert_agreement("after the moves").await;
    minutes(6).await;
    world.assert_agreement("listed again").await;
}

/// In real time: an upload that is open stops the virtual clock.
#[tokio::test]
async fn a_large_write_goes_with_its_directory_and_replaces_what_it_should() {
    let world = unlimited().await;
    world.put("a/f", b"older").await.unwrap();
    let data = content(20 << 20);
    let header = PutHeader {
        size: Some(data.len() as i64),
        ..header("a/f")
    };
    let all = messages(header, &data);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut client = world.client.clone();
    let large = tokio::spawn(async move {
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        client.put(stream).await
    });
    let mut all = all.into_iter();
    for message in all.by_ref().take(3) {
        sender.send(message).await.unwrap();
    }
    while world.control.open_uploads() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    moved(&world, "a", "b").await.unwrap();
    // Another write to the same place, by its new path, waits for neither.
    let small = world.put("b/f", b"small").await.unwrap();
    assert_eq!(world.urls("b/f").len(), 1);
    for message in all {
        sender.send(message).await.unwrap();
    }
    drop(sender);
    large.await.unwrap().unwrap();
    assert_eq!(world.urls("b/f").len(), 1, "not {}", small.id);
    assert!(world.get("b/f").await.unwrap().content == data);
    assert_eq!(world.stored_all(), ["b", "b/f"]);
    world.assert_agreement("after both").await;
}

#[tokio::test(start_paused = true)]
async fn files_that_landed_in_the_root_are_brought_to_where_their_directory_was_moved() {
    let world = world().await;
    for path in ["a/1", "a/2"] {
        world.put(path, path.as_bytes()).await.unwrap();
    }
    moved(&world, "a", "b").await.unwrap();
    // Another program removes it, so soon that it is trusted: what comes now
    // lands in the root, and the first write asks for it, by the old path.
    let folder = world.folder("b");
    world.control.remove_folder(folder);
    world.put("b/3", b"b/3").await.unwrap();
    seconds(60).await;
    assert_eq!(world.stored(), ["b/3"]);
    assert_eq!(world.get("b/3").await.unwrap().content, b"b/3");
    world.assert_agreement("brought home").await;
}

#[tokio::test(start_paused = true)]
async fn moves_at_the_same_time_happen_one_after_the_other() {
    let world = world().await;
    filled(&world).await;
    // Each into the other: the one that comes second finds the first gone from
    // its place, and a directory of that name is made for it.
    let (one, two) = tokio::join!(moved(&world, "a", "x/a"), moved(&world, "x", "a/x"));
    let other: &[&str] = match (one.unwrap().path.as_str(), two.unwrap().path.as_str()) {
        ("x/a", "a/x") if world.stat("a/x/a").await.is_ok() => &["a/x/3", "a/x/a/1", "a/x/a/b/2"],
        _ => &["x/a/1", "x/a/b/2", "x/a/x/3"],
    };
    assert_eq!(world.stored(), other);
    world.assert_agreement("each into the other").await;
    // One directory to two places, and two to one.
    let names = ["p", "q", "r", "s"];
    for name in names {
        world
            .put(&format!("{name}/f"), name.as_bytes())
            .await
            .unwrap();
    }
    let moves = names[1..].iter().map(|to| {
        let to = format!("new/{to}");
        let world = &world;
        async move { moved(world, "p", &to).await }
    });
    assert_eq!(
        join_all(moves)
            .await
            .iter()
            .filter(|moved| moved.is_ok())
            .count(),
        1
    );
    let moves = names[1..].iter().map(|from| moved(&world, from, "target"));
    assert_eq!(
        join_all(moves)
            .await
            .iter()
            .filter(|moved| moved.is_ok())
            .count(),
        1
    );
    assert_eq!(world.stored().len(), 7);
    minutes(6).await;
    world.assert_agreement("after all").await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_leave_a_directory_half_way() {
    let world = world().await;
    filled(&world).await;
    for patience in [1_u64, 200, 350, 700, 1_500, 4_000] {
        let (from, to) = match world.stat("a").await {
            Ok(_) => ("a", "x/n"),
            Err(_) => ("x/n", "a"),
        };
        world.fail("folder/mv", 3, FaultKind::Delay(Duration::from_millis(300)));
        let patience = Duration::from_millis(patience);
        let _ = tokio::time::timeout(patience, moved(&world, from, to)).await;
        seconds(30).await;
        world.control.clear_faults();
        let stored = world.stored();
        let whole = [["a/1", "a/b/2", "x/3"], ["x/3", "x/n/1", "x/n/b/2"]];
        assert!(whole.iter().any(|whole| stored == *whole), "{stored:?}");
        world.assert_agreement(&format!("{patience:?}")).await;
    }
}

/// Each fault at each of the calls, also those of the way back: whatever is
/// said, nothing is lost, and all agree about where it is.
#[tokio::test(start_paused = true)]
async fn a_fault_at_any_call_loses_nothing() {
    let world = world().await;
    let (mut combinations, mut unseen, mut elsewhere) = (0, 0, 0);
    for kind in crate::matrix::kinds::kinds("folder/mv") {
        for skip in 0..2 {
            for times in [1, 2, 100] {
                let context = format!("{kind:?} x {times} behind {skip}");
                for node in world.control.tree().into_iter().rev() {
                    world.control.remove_folder(node.id);
                }
                world.control.reset_limits();
                minutes(11).await;
                filled(&world).await;
                world.control.inject(pluton_fichier::emulator::Fault {
                    endpoint: "folder/mv".to_owned(),
                    skip,
                    times,
                    kind: kind.clone(),
                });
                let outcome = moved(&world, "a", "x/n").await;
                world.control.clear_faults();
                let at = match &outcome {
                    Ok(_) => "x/n".to_owned(),
                    Err(status) => {
                        let reason = assert_clear(status, &context);
                        assert!(reason.starts_with("UPSTREAM_"), "{context}: {status:?}");
                        use tonic_types::StatusExt;
                        let details = status.get_error_details();
                        let info = details.error_info().unwrap();
                        elsewhere += u32::from(info.metadata.contains_key("current_path"));
                        let here = info.metadata.get("current_path");
                        here.map_or("a".to_owned(), Clone::clone)
                    }
                };
                let mut expected = vec![format!("{at}/1"), format!("{at}/b/2"), "x/3".to_owned()];
                expected.sort();
                assert_eq!(world.stored(), expected, "{context}: {outcome:?}");
                minutes(11).await;
                world.assert_agreement(&context).await;
                if outcome.is_err() {
                    moved(&world, &at, "x/n").await.unwrap();
                }
                combinations += 1;
                unseen += u32::from(outcome.is_ok());
            }
        }
    }
    println!("{combinations} combinations, {unseen} not seen, {elsewhere} left elsewhere");
    assert!(unseen > combinations / 2 && elsewhere > 0);
}

/// Both are in one folder at the same time: whichever is later is the file,
/// and none removes the other.
#[tokio::test(start_paused = true)]
async fn writes_to_one_place_by_two_paths_leave_one_file() {
    let world = world().await;
    world.put("a/f", b"older").await.unwrap();
    seconds(60).await;
    // The first is stored, and what it replaces is not removed yet.
    let slow = Fault {
        endpoint: "file/info".to_owned(),
        // What it replaces is looked at before.
        skip: 1,
        times: 1,
        kind: FaultKind::Delay(Duration::from_secs(5)),
    };
    world.control.inject(slow);
    let (first, second) = tokio::join!(world.put("a/f", b"first"), async {
        seconds(2).await;
        assert_eq!(world.stored(), ["a/f", "a/f"]);
        moved(&world, "a", "b").await.unwrap();
        world.put("b/f", b"second").await
    });
    first.unwrap();
    second.unwrap();
    assert_eq!(world.stored(), ["b/f"]);
    assert_eq!(world.get("b/f").await.unwrap().content, b"second");
    minutes(6).await;
    world.assert_agreement("after both").await;
}

/// A write that began before its directory moved, and that another program
/// takes the directory away from.
#[tokio::test(start_paused = true)]
async fn what_lands_in_the_root_goes_to_where_its_directory_was_moved() {
    let world = world().await;
    world.put("a/1", b"1").await.unwrap();
    let slow = FaultKind::Delay(Duration::from_secs(10));
    world.fail("upload/get_upload_server", 1, slow);
    let (stored, ()) = tokio::join!(world.put("a/2", b"2"), async {
        seconds(1).await;
        moved(&world, "a", "b").await.unwrap();
        world.control.remove_folder(world.folder("b"));
    });
    stored.unwrap();
    seconds(60).await;
    assert_eq!(world.stored(), ["b/2"]);
    minutes(6).await;
    world.assert_agreement("brought home").await;
}
