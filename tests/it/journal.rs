//! What was begun and not seen to end is finished later, by this run or the
//! next: a file is the old or the new one, once.

use std::time::Duration;

use pluton_fichier::emulator::Fault;
use pluton_fichier::emulator::FaultKind::{self, *};
use pluton_fichier::proto::*;
use pluton_fichier::server::Server;
use tonic::Status as RpcStatus;

use crate::checks::*;
use crate::harness::*;

fn refusal() -> FaultKind {
    Ko {
        http: 200,
        message: "Something new #9".to_owned(),
    }
}

/// Contents of a path, as 1Fichier holds them, by size.
fn held(world: &World, path: &str) -> Vec<u64> {
    let tree = world.control.tree();
    let files = tree.into_iter().filter(|node| node.path == path);
    let mut sizes: Vec<_> = files.map(|file| file.size).collect();
    sizes.sort_unstable();
    sizes
}

async fn unfinished(world: &World) -> i64 {
    let request = GetActivityRequest::default();
    let activity = world.client.clone().get_activity(request).await.unwrap();
    activity.into_inner().catalog.unwrap().unfinished_writes
}

/// Nothing that is known of files counts any more: they are listed anew.
async fn forget(world: &World) {
    let mut client = world.client.clone();
    let request = RefreshRequest {
        recursive: true,
        ..RefreshRequest::default()
    };
    client.refresh(request).await.unwrap();
}

async fn relocate(world: &World, from: &str, to: &str) -> Result<Entry, RpcStatus> {
    let request = MoveRequest {
        source_path: from.to_owned(),
        destination_path: to.to_owned(),
        ..MoveRequest::default()
    };
    let answer = world.client.clone().r#move(request).await?;
    Ok(answer.into_inner().entry.unwrap())
}

/// An upload takes place, and nobody can find out.
async fn lost_upload(world: &World, header: PutHeader, content: &[u8]) {
    unknown_upload(world, header, content, ResetAfterEffect).await;
}

/// Of an upload nobody can find out whether it took place: everything fails
/// that could tell, and then every call, so that this run learns nothing more.
async fn unknown_upload(world: &World, header: PutHeader, content: &[u8], kind: FaultKind) {
    world.control.reset_calls();
    // What is replaced is looked at before.
    let looks = u32::from(world.control.file_at(&header.path).is_some());
    world.fail("upload.cgi", 1, kind);
    world.fail("end.pl", 100, Status(503));
    world.control.inject(Fault {
        endpoint: "v1".to_owned(),
        // get_upload_server
        skip: looks + 1,
        times: u32::MAX,
        kind: Status(503),
    });
    let status = put(&world.client, header, content).await.unwrap_err();
    assert_eq!(reason(&status), "UPSTREAM_UNAVAILABLE", "{status:?}");
    assert!(retry_delay(&status) > Duration::ZERO);
    let uploads = world.control.calls().get("upload.cgi");
    assert_eq!(uploads, 1, "what may be stored is not sent again");
}

fn shows_after(world: &World, delay: u64) {
    let delay = Duration::from_secs(delay);
    world
        .control
        .set_behaviour(|behaviour| behaviour.index_delay = delay);
}

#[tokio::test(start_paused = true)]
async fn an_upload_of_which_nothing_could_be_learnt_is_finished_when_it_shows() {
    for restart in [false, true] {
        let mut world = world().await;
        world.put("a/x", &content(1_000)).await.unwrap();
        minutes(1).await;
        lost_upload(&world, header("a/x"), &content(2_000)).await;
        assert_eq!(held(&world, "a/x"), [1_000, 2_000]);
        assert_eq!(unfinished(&world).await, 1);
        world.control.clear_faults();
        if restart {
            world.restart().await;
            seconds(40).await;
        } else {
            minutes(2).await;
        }
        assert_eq!(held(&world, "a/x"), [2_000], "restart: {restart}");
        assert_eq!(unfinished(&world).await, 0);
        assert_eq!(world.get("a/x").await.unwrap().content, content(2_000));
        world.assert_agreement("after a while").await;
        world.control.reset_calls();
        minutes(120).await;
        let calls = world.control.calls();
        assert_eq!(calls.total_v1(), 0, "nothing is left to do: {calls}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_found_upload_replaces_is_tried_again_until_it_is_gone() {
    for restart in [false, true] {
        let mut world = world().await;
        world.put("a/x", &content(1_000)).await.unwrap();
        minutes(1).await;
        lost_upload(&world, header("a/x"), &content(2_000)).await;
        world.control.clear_faults();
        world.fail("file/rm", u32::MAX, refusal());
        minutes(4).await;
        assert!(world.control.calls().get("file/rm") > 0, "it was found");
        assert_eq!(held(&world, "a/x"), [1_000, 2_000]);
        world.control.clear_faults();
        if restart {
            world.restart().await;
        }
        minutes(30).await;
        assert_eq!(held(&world, "a/x"), [2_000], "restart: {restart}");
        assert_eq!(unfinished(&world).await, 0);
        world.assert_agreement("after a while").await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_call_has_stored_after_all_is_not_sent_again() {
    let world = world().await;
    world.put("a/x", &content(1_000)).await.unwrap();
    minutes(1).await;
    lost_upload(&world, header("a/x"), &content(2_000)).await;
    world.control.clear_faults();
    seconds(31).await;
    world.control.reset_calls();
    let entry = world.put("a/x", &content(2_000)).await.unwrap();
    assert_eq!(world.control.calls().get("upload.cgi"), 0);
    assert_eq!(world.urls("a/x"), [entry.id]);
    assert_eq!(held(&world, "a/x"), [2_000]);
    assert_eq!(unfinished(&world).await, 0);
    world.assert_agreement("after the second").await;
}

#[tokio::test(start_paused = true)]
async fn what_shows_after_a_later_write_or_removal_goes() {
    for (delete, restart) in [(false, false), (true, false), (true, true)] {
        let mut world = world().await;
        world.put("a/x", &content(1_000)).await.unwrap();
        minutes(1).await;
        shows_after(&world, 200);
        lost_upload(&world, header("a/x"), &content(2_000)).await;
        world.control.clear_faults();
        // It is not to be seen yet.
        let left = if delete {
            seconds(35).await;
            assert_eq!(world.delete(&["a/x"]).await, [""]);
            vec![]
        } else {
            world.put("a/x", &content(3_000)).await.unwrap();
            vec![3_000]
        };
        if restart {
            world.restart().await;
        }
        minutes(20).await;
        assert_eq!(held(&world, "a/x"), left, "delete: {delete}");
        assert_eq!(unfinished(&world).await, 0);
        world.assert_agreement("after a while").await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    /// Stored before the write that was lost.
    Earlier,
    /// Stored after it.
    Later,
    /// Stored by another program.
    Foreign,
}

/// What a lost write has left goes once its path is removed. It may have left
/// nothing, and another file of its content may be brought to the path.
#[tokio::test(start_paused = true)]
async fn what_callers_bring_is_not_taken_for_what_a_lost_write_has_left() {
    for restart in [false, true] {
        for source in [Source::Earlier, Source::Later, Source::Foreign] {
            for copy in [false, true] {
                let case = format!("{source:?}, copy: {copy}, restart: {restart}");
                let mut world = world().await;
                let wanted = content(2_000);
                world.put("a/x", &content(1_000)).await.unwrap();
                world.put("b/other", b"other").await.unwrap();
                if source == Source::Earlier {
                    world.put("b/y", &wanted).await.unwrap();
                }
                if source == Source::Foreign {
                    let folder = world.stat("b").await.unwrap().id.parse().unwrap();
                    world.control.add_file(folder, "y", &wanted);
                    forget(&world).await;
                    minutes(1).await;
                    assert_eq!(world.names("", true).await.len(), 5, "{case}");
                }
                minutes(1).await;
                unknown_upload(&world, header("a/x"), &wanted, ResetBeforeAnswer).await;
                assert_eq!(held(&world, "a/x"), [1_000], "it has left nothing");
                world.control.clear_faults();
                seconds(35).await;
                assert_eq!(world.delete(&["a/x"]).await, [""]);
                if source == Source::Later {
                    world.put("b/y", &wanted).await.unwrap();
                }
                if copy {
                    world.on("").copy("b/y", "a/x").await.unwrap();
                } else {
                    relocate(&world, "b/y", "a/x").await.unwrap();
                }
                assert_eq!(unfinished(&world).await, 1, "{case}");
                if restart {
                    world.restart().await;
                }
                minutes(20).await;
                assert_eq!(held(&world, "a/x"), [2_000], "{case}");
                assert_eq!(unfinished(&world).await, 0, "{case}");
                world.assert_agreement(&case).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_version_that_could_not_be_removed_goes_after_a_restart() {
    let mut world = world().await;
    world.put("a/x", &content(1_000)).await.unwrap();
    world.fail("file/rm", u32::MAX, refusal());
    world.put("a/x", &content(2_000)).await.unwrap();
    assert_eq!(held(&world, "a/x"), [1_000, 2_000]);
    assert_eq!(unfinished(&world).await, 1);
    world.restart().await;
    assert_eq!(unfinished(&world).await, 1);
    assert_eq!(held(&world, "a/x"), [1_000, 2_000]);
    world.control.clear_faults();
    minutes(10).await;
    assert_eq!(held(&world, "a/x"), [2_000]);
    assert_eq!(unfinished(&world).await, 0);
    world.restart().await;
    world.control.reset_calls();
    minutes(10).await;
    assert_eq!(world.control.calls().total_v1(), 0, "it is told only once");
    world.assert_agreement("at the end").await;
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_answer_a_crash_took_is_replayed() {
    let mut world = world().await;
    world.put("a/x", &content(1_000)).await.unwrap();
    minutes(1).await;
    let header = PutHeader {
        request_id: "one".to_owned(),
        ..header("a/x")
    };
    lost_upload(&world, header.clone(), b"second").await;
    world.control.clear_faults();
    world.restart().await;
    seconds(40).await;
    world.control.reset_calls();
    let messages = futures::stream::iter(messages(header, b"second"));
    let again = world.client.clone().put(messages).await.unwrap();
    assert!(again.into_inner().replayed);
    assert_eq!(world.control.calls().total_v1(), 0);
    assert_eq!(held(&world, "a/x"), [6]);
}

#[tokio::test(start_paused = true)]
async fn where_files_landed_is_asked_after_a_restart_too() {
    let mut world = world().await;
    world.put("a/x", &content(1_000)).await.unwrap();
    // Another program removes the directory while the next file is on its way.
    let folder = world.folder("a");
    shows_after(&world, 0);
    for url in world.urls("a/x") {
        world.control.remove_file(&url);
    }
    world.control.remove_folder(folder);
    world.put("a/y", &content(2_000)).await.unwrap();
    assert_eq!(world.stored(), ["y"], "1Fichier puts it into the root");
    world.restart().await;
    minutes(2).await;
    assert_eq!(world.stored(), ["a/y"]);
    world.assert_agreement("after a while").await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_about_to_change_is_listed_anew_after_a_crash() {
    let mut world = world().await;
    world.put("a/x", &content(1_000)).await.unwrap();
    minutes(1).await;
    world.names("", true).await;
    world.fail("file/rm", 1, Hang);
    let client = world.client.clone();
    let delete = tokio::spawn(async move {
        let target = DeleteTarget {
            path: "a/x".to_owned(),
            ..DeleteTarget::default()
        };
        let request = DeleteRequest {
            targets: vec![target],
            ..DeleteRequest::default()
        };
        client.clone().delete(request).await
    });
    world.control.reset_calls();
    while world.control.calls().get("file/rm") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The call had its effect, and the process is gone: what it had on disk at
    // this moment is all that the next one has.
    let image = tempfile::tempdir().unwrap();
    let catalog = world.config.state_dir.as_ref().unwrap().join("catalog");
    std::fs::create_dir(image.path().join("catalog")).unwrap();
    for file in std::fs::read_dir(catalog).unwrap() {
        let file = file.unwrap();
        let copy = image.path().join("catalog").join(file.file_name());
        std::fs::copy(file.path(), copy).unwrap();
    }
    delete.abort();
    drop(world.server.take());
    for url in world.urls("a/x") {
        world.control.remove_file(&url);
    }
    world.config.state_dir = Some(image.path().to_owned());
    world.config.exclusive = true;
    world.server = Some(Server::start(world.config.clone()).await.unwrap());
    world.client = connect(world.server.as_ref().unwrap()).await;
    world.control.reset_calls();
    assert_eq!(world.names("", true).await, ["a/"]);
    let calls = world.control.calls();
    assert_eq!(calls.get("folder/ls"), 1, "only that folder: {calls}");
}
