//! Removing directories with all that is in them.

use std::time::Duration;

use pluton_fichier::emulator::{Batch, Fault, FaultKind, RmMissing};
use pluton_fichier::proto::*;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::checks::*;
use crate::harness::*;

fn request(path: &str) -> PurgeRequest {
    PurgeRequest {
        path: path.to_owned(),
        ..PurgeRequest::default()
    }
}

/// All answers of a purge that ends as it should.
async fn answers(world: &World, request: PurgeRequest) -> Result<Vec<PurgeResponse>, Status> {
    let mut stream = world.client.clone().purge(request).await?.into_inner();
    let mut answers: Vec<PurgeResponse> = Vec::new();
    while let Some(answer) = stream.message().await? {
        if let Some(last) = answers.last() {
            assert!(!last.done, "nothing comes behind the end");
            assert!(last.removed_files <= answer.removed_files);
            assert!(last.removed_directories <= answer.removed_directories);
        }
        answers.push(answer);
    }
    assert!(answers.last().is_some_and(|last| last.done), "{answers:?}");
    Ok(answers)
}

/// Files, directories, and what failed with its reason.
type Summary = (i64, i64, Vec<(String, String)>);

async fn purged(world: &World, request: PurgeRequest) -> Result<Summary, Status> {
    let answers = answers(world, request).await?;
    let last = answers.last().unwrap();
    let (files, directories) = (last.removed_files, last.removed_directories);
    let failures = answers.into_iter().flat_map(|answer| answer.failures);
    let failures = failures.map(|failed| (failed.path, failed.failure.unwrap().reason));
    Ok((files, directories, failures.collect()))
}

/// A tree of 12 folders with 250 files below `top`, three levels deep.
fn plant(world: &World) {
    let top = world.control.add_folder(0, "top");
    world.control.add_many_files(top, "t", 37, 10);
    for branch in 0..3 {
        let folder = world.control.add_folder(top, &format!("b{branch}"));
        world.control.add_many_files(folder, "b", 25, 10);
        for leaf in 0..2 {
            let folder = world.control.add_folder(folder, &format!("l{leaf}"));
            let files = if (branch, leaf) == (1, 1) { 0 } else { 27 };
            world.control.add_many_files(folder, "l", files, 10);
        }
    }
    let rest = world.control.add_folder(top, "rest");
    world.control.add_many_files(rest, "r", 3, 10);
    world.control.add_folder(top, "empty");
    world.control.add_file(0, "other", b"other");
}

const FILES: i64 = 37 + 3 * 25 + 5 * 27 + 3;
const FOLDERS: i64 = 12;

#[tokio::test(start_paused = true)]
async fn a_tree_goes_in_as_few_calls_as_its_files_and_folders_need() {
    assert_eq!(FILES, 250);
    let world = exclusive(|_| ()).await;
    plant(&world);
    world.names("", true).await;
    world.control.reset_calls();
    let answers = answers(&world, request("top")).await.unwrap();
    let calls = world.control.calls();
    assert_eq!(calls.get("file/rm"), 3, "{calls}");
    assert_eq!(calls.get("folder/rm"), 12, "{calls}");
    assert_eq!(calls.total_v1(), 3 + 12, "{calls}");
    assert_eq!(calls.floods(), 0);
    let last = answers.last().unwrap();
    assert_eq!(
        (last.removed_files, last.removed_directories),
        (FILES, FOLDERS)
    );
    assert!(answers.iter().all(|answer| answer.failures.is_empty()));
    for files in [100, 200, 250] {
        assert!(answers.iter().any(|answer| answer.removed_files == files));
    }
    assert_eq!(world.stored_all(), ["other"]);
    assert_eq!(world.names("", true).await, ["other"]);
    assert_reason(world.stat("top").await, "FILE_NOT_FOUND");
    assert_eq!(
        world.control.calls().total_v1(),
        15,
        "nothing is listed again"
    );
}

#[tokio::test(start_paused = true)]
async fn folders_that_are_not_known_are_listed_once() {
    let mut world = world().await;
    plant(&world);
    let (files, directories, failures) = purged(&world, request("top")).await.unwrap();
    assert_eq!((files, directories), (FILES, FOLDERS));
    assert!(failures.is_empty());
    let calls = world.control.calls();
    // The root, to find it; and as all that takes 40 s, the root and the
    // directory once more before what is in them goes.
    assert_eq!(calls.get("folder/ls"), 1 + 12 + 2, "{calls}");
    assert_eq!(calls.total_v1(), 15 + 3 + 12, "{calls}");
    assert_eq!(calls.floods(), 0);
    // What is on disk agrees.
    drop(world.server.take());
    let server = pluton_fichier::server::Server::start(world.config.clone()).await;
    world.server = Some(server.unwrap());
    world.client = connect(world.server.as_ref().unwrap()).await;
    world.control.reset_calls();
    world.assert_agreement("after a restart").await;
    assert_eq!(world.control.calls().total_v1(), 0);
}

#[tokio::test(start_paused = true)]
async fn counting_changes_nothing() {
    let world = world().await;
    plant(&world);
    let before = world.stored_all();
    let count = PurgeRequest {
        validate_only: true,
        ..request("top")
    };
    let summary = purged(&world, count.clone()).await.unwrap();
    assert_eq!(summary, (FILES, FOLDERS, vec![]));
    let calls = world.control.calls();
    assert_eq!(calls.total_v1(), calls.get("folder/ls"), "{calls}");
    assert_eq!(world.stored_all(), before);
    world.control.reset_calls();
    assert_eq!(purged(&world, count).await.unwrap(), summary);
    assert_eq!(world.control.calls().total_v1(), 0);
    // What cannot be read would not go, nor what it is in.
    minutes(6).await;
    world.control.inject(Fault {
        endpoint: "folder/ls".to_owned(),
        skip: 2,
        times: 1,
        kind: FaultKind::Ko {
            http: 403,
            message: "Resource not allowed #631".to_owned(),
        },
    });
    let count = PurgeRequest {
        validate_only: true,
        ..request("top")
    };
    let (files, directories, failures) = purged(&world, count).await.unwrap();
    assert_eq!(
        failures,
        [("top/b0".to_owned(), "UPSTREAM_ACCESS_DENIED".to_owned())]
    );
    assert_eq!((files, directories), (FILES - 25 - 54, FOLDERS - 4));
    assert_eq!(world.stored_all(), before);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_purged() {
    let world = world().await;
    world.put("d/f", b"f").await.unwrap();
    world.put("g", b"g").await.unwrap();
    let status = assert_reason(purged(&world, request("")).await, "INVALID_PATH");
    assert!(status.message().contains("allow_root"), "{status:?}");
    assert_reason(purged(&world, request("none")).await, "DIRECTORY_NOT_FOUND");
    assert_reason(
        purged(&world, request("d/none/x")).await,
        "DIRECTORY_NOT_FOUND",
    );
    assert_reason(purged(&world, request("g")).await, "NOT_A_DIRECTORY");
    assert_reason(purged(&world, request("g/x")).await, "NOT_A_DIRECTORY");
    assert_reason(purged(&world, request("a//b")).await, "INVALID_PATH");
    for path in ["none", "d/none/x"] {
        let request = PurgeRequest {
            allow_missing: true,
            ..request(path)
        };
        assert_eq!(purged(&world, request).await.unwrap(), (0, 0, vec![]));
    }
    assert_eq!(world.stored(), ["d/f", "g"]);
    let root = PurgeRequest {
        allow_root: true,
        validate_only: true,
        ..request("")
    };
    assert_eq!(purged(&world, root.clone()).await.unwrap(), (2, 1, vec![]));
    let root = PurgeRequest {
        validate_only: false,
        ..root
    };
    assert_eq!(purged(&world, root.clone()).await.unwrap(), (2, 1, vec![]));
    assert_eq!(world.stored_all(), [""; 0]);
    assert_eq!(world.names("", true).await, [""; 0]);
    assert_eq!(purged(&world, root).await.unwrap(), (0, 0, vec![]), "again");
    world.put("new/f", b"f").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_folders_of_a_path_go_and_a_file_of_the_path_stays() {
    let world = world().await;
    for file in ["1", "2"] {
        let folder = world.control.add_folder(0, "d");
        world.control.add_file(folder, file, b"x");
        let sub = world.control.add_folder(folder, "sub");
        world.control.add_file(sub, file, b"x");
    }
    world.control.add_file(0, "d", b"file");
    world.names("", true).await;
    world.control.reset_calls();
    assert_eq!(purged(&world, request("d")).await.unwrap(), (4, 4, vec![]));
    assert_eq!(world.control.calls().total_v1(), 1 + 4);
    assert_eq!(world.stored_all(), ["d"]);
    assert_eq!(world.get("d").await.unwrap().content, b"file");
}

#[tokio::test(start_paused = true)]
async fn what_fails_stays_with_what_it_is_in_and_the_rest_goes() {
    let world = world().await;
    plant(&world);
    world.names("", true).await;
    world.control.reset_calls();
    // The removal of the first folder is refused for good.
    let refusal = FaultKind::Ko {
        http: 403,
        message: "Resource not allowed #631".to_owned(),
    };
    world.fail("folder/rm", 1, refusal.clone());
    let (files, directories, failures) = purged(&world, request("top")).await.unwrap();
    assert_eq!((files, failures.len()), (FILES, 1));
    let (path, reason) = &failures[0];
    assert_eq!(reason, "UPSTREAM_ACCESS_DENIED");
    // It, and each directory above it, was not removed and not tried.
    let above = 1 + path.matches('/').count() as i64;
    assert_eq!(directories, FOLDERS - above, "{path}");
    let calls = world.control.calls();
    assert_eq!(calls.get("folder/rm"), (FOLDERS - above + 1) as u64);
    let mut left = vec!["other".to_owned(), "top".to_owned()];
    left.extend(
        path.match_indices('/')
            .skip(1)
            .map(|(at, _)| path[..at].to_owned()),
    );
    left.push(path.clone());
    assert_eq!(world.stored_all(), left);
    world.assert_agreement("after the failure").await;
    assert_eq!(
        purged(&world, request("top")).await.unwrap(),
        (0, above, vec![])
    );

    // Files that cannot be removed.
    plant(&world);
    minutes(6).await;
    world.names("", true).await;
    world.control.reset_calls();
    world.fail("file/rm", 100, refusal);
    let (files, directories, failures) = purged(&world, request("top/b1")).await.unwrap();
    assert_eq!((files, directories, failures.len()), (0, 1, 25 + 27));
    assert!(failures.iter().all(|(path, _)| path.starts_with("top/b1/")));
    assert!(failures.iter().any(|(path, _)| path == "top/b1/l0/l00000"));
}

#[tokio::test(start_paused = true)]
async fn what_others_removed_or_added_is_noticed() {
    for missing in [RmMissing::RemovedZero, RmMissing::Ko, RmMissing::NotFound] {
        for batch in [Batch::Partial, Batch::AllOrNothing] {
            let context = format!("{missing:?} {batch:?}");
            // From memory, as nobody else is said to write there.
            let world = exclusive(|behaviour| {
                behaviour.rm_missing = missing;
                behaviour.batch = batch;
            })
            .await;
            plant(&world);
            world.names("", true).await;
            world.control.remove_file(&world.urls("top/t00000")[0]);
            world.control.remove_folder(world.folder("top/b0"));
            world
                .control
                .add_file(world.folder("top/b1/l0"), "theirs", b"theirs");
            let (files, directories, failures) = purged(&world, request("top")).await.unwrap();
            assert_eq!(
                failures,
                [("top/b1/l0".to_owned(), "DIRECTORY_NOT_EMPTY".to_owned())]
            );
            assert_eq!(files, FILES - 1 - 25 - 54, "{context}");
            assert_eq!(directories, FOLDERS - 3 - 3, "{context}");
            let left = ["other", "top", "top/b1", "top/b1/l0", "top/b1/l0/theirs"];
            assert_eq!(world.stored_all(), left, "{context}");
            assert_eq!(world.control.calls().floods(), 0);
            minutes(6).await;
            world.assert_agreement(&context).await;
            assert_eq!(
                purged(&world, request("top")).await.unwrap(),
                (1, 3, vec![])
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn folders_wait_together_for_listings_that_lag() {
    for delay in [3, 15] {
        let world = exclusive(|behaviour| {
            behaviour.index_delay = Duration::from_secs(delay);
        })
        .await;
        for number in 0..20 {
            let folder = world.control.add_folder(0, "top");
            world.control.remove_folder(folder);
            let top = match world.control.tree().first() {
                Some(top) => top.id,
                None => world.control.add_folder(0, "top"),
            };
            let folder = world.control.add_folder(top, &format!("d{number:02}"));
            world.control.add_many_files(folder, "f", 5, 10);
        }
        world.names("", true).await;
        world.control.reset_calls();
        let start = Instant::now();
        assert_eq!(
            purged(&world, request("top")).await.unwrap(),
            (100, 21, vec![])
        );
        let calls = world.control.calls();
        // 21 removals alone take 8 seconds, and one finds out for all.
        assert!(
            start.elapsed() < Duration::from_secs(delay + 18),
            "{:?}",
            start.elapsed()
        );
        assert!(calls.get("folder/rm") <= 21 + 4, "{calls}");
        assert!(world.stored_all().is_empty());
        println!("lag of {delay} s: {:?}, {calls}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_removed_under_a_write() {
    for (delay, waits) in [(4, true), (40, false)] {
        let world = world().await;
        for path in ["d/a/1", "d/b/2"] {
            world.put(path, b"x").await.unwrap();
        }
        let slow = FaultKind::Delay(Duration::from_secs(delay));
        world.fail("upload/get_upload_server", 1, slow);
        let put = async { world.put("d/a/new", b"new").await };
        let purge = async {
            seconds(1).await;
            purged(&world, request("d")).await.unwrap()
        };
        let (stored, (files, directories, failures)) = tokio::join!(put, purge);
        stored.unwrap();
        assert_eq!((files, directories), (2, 1), "{delay} s");
        assert_eq!(
            failures,
            [("d/a".to_owned(), "DIRECTORY_NOT_EMPTY".to_owned())]
        );
        assert_eq!(world.control.calls().get("folder/rm"), 1, "waits: {waits}");
        assert_eq!(world.stored_all(), ["d", "d/a", "d/a/new"]);
        assert_eq!(world.get("d/a/new").await.unwrap().content, b"new");
        seconds(60).await;
        assert_eq!(world.stored(), ["d/a/new"]);
        minutes(6).await;
        world.assert_agreement("after both").await;
    }
}

#[tokio::test(start_paused = true)]
async fn writes_at_any_moment_of_a_purge_are_kept_or_purged_and_never_elsewhere() {
    for pause in (0..24).map(|step| step * 400) {
        let world = world().await;
        for number in 0..6 {
            for file in 0..3 {
                let path = format!("d/{number}/{file}");
                world.put(&path, path.as_bytes()).await.unwrap();
            }
        }
        let puts = async {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let puts = ["d/2/new", "d/5/new", "d/new"].map(|path| world.put(path, b"new"));
            futures::future::join_all(puts).await
        };
        let (stored, purged) = tokio::join!(puts, purged(&world, request("d")));
        let (_, _, failures) = purged.unwrap();
        for stored in stored {
            stored.unwrap();
        }
        let left = world.stored();
        let places = ["d/2/new", "d/5/new", "d/new"];
        assert!(
            left.iter().all(|path| places.contains(&&**path)),
            "{pause}: {left:?}"
        );
        assert!(
            failures
                .iter()
                .all(|(_, reason)| reason == "DIRECTORY_NOT_EMPTY")
        );
        seconds(60).await;
        assert_eq!(world.stored(), left, "{pause}");
        minutes(6).await;
        world.assert_agreement(&format!("{pause} ms")).await;
    }
}

fn rescued(world: &World) -> usize {
    let stored = world.stored();
    stored
        .iter()
        .filter(|path| path.starts_with("rescued/"))
        .count()
}

#[tokio::test(start_paused = true)]
async fn what_is_moved_out_of_a_purge_is_rescued() {
    for pause in (0..25).map(|step| step * 150) {
        let world = world().await;
        plant(&world);
        world.names("", true).await;
        // One of its calls takes long, so that the move comes into its middle.
        world.control.inject(Fault {
            endpoint: "file/rm".to_owned(),
            skip: 1,
            times: 1,
            kind: FaultKind::Delay(Duration::from_secs(4)),
        });
        let rescue = async {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let request = MoveDirRequest {
                source_path: "top/b2".to_owned(),
                destination_path: "rescued/b2".to_owned(),
                ..MoveDirRequest::default()
            };
            let moved = world.client.clone().move_dir(request).await;
            (moved, rescued(&world))
        };
        let ((moved, before), purged) = tokio::join!(rescue, purged(&world, request("top")));
        let (files, _, failures) = purged.unwrap();
        let kept = rescued(&world);
        match moved {
            Ok(_) => {
                assert_eq!(kept, before, "{pause}: what was there when it was moved");
                assert_eq!(files + kept as i64, FILES, "{pause}: {failures:?}");
                assert!(failures.is_empty(), "{pause}: {failures:?}");
                let all = world.stored_all();
                assert!(all.contains(&"rescued/b2".to_owned()), "{pause}: {all:?}");
            }
            Err(status) => {
                assert_eq!(reason(&status), "DIRECTORY_NOT_FOUND", "{pause}");
                assert_eq!(files, FILES);
            }
        }
        minutes(6).await;
        world.assert_agreement(&format!("{pause} ms")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_moved_out_of_a_purge_is_rescued_or_gone_for_all() {
    for pause in (0..25).map(|step| step * 150) {
        let world = world().await;
        plant(&world);
        world.names("", true).await;
        let source = world
            .stored()
            .into_iter()
            .find(|path| path.starts_with("top/b2/"));
        let source = source.unwrap();
        for skip in [0, 1] {
            world.control.inject(Fault {
                endpoint: "file/rm".to_owned(),
                skip,
                times: 1,
                kind: FaultKind::Delay(Duration::from_secs(2)),
            });
        }
        let rescue = async {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let request = MoveRequest {
                source_path: source.clone(),
                destination_path: "rescued/file".to_owned(),
                ..MoveRequest::default()
            };
            world.client.clone().r#move(request).await
        };
        let (moved, purged) = tokio::join!(rescue, purged(&world, request("top")));
        let (files, _, failures) = purged.unwrap();
        assert!(failures.is_empty(), "{pause}: {failures:?}");
        let stays = match moved {
            Ok(_) => vec!["other".to_owned(), "rescued/file".to_owned()],
            Err(status) => {
                assert_eq!(reason(&status), "FILE_NOT_FOUND", "{pause}");
                vec!["other".to_owned()]
            }
        };
        let mut stored = world.stored();
        stored.sort();
        assert_eq!(stored, stays, "{pause}");
        assert_eq!(files, FILES + 1 - stays.len() as i64, "{pause}");
        minutes(6).await;
        world.assert_agreement(&format!("{pause} ms")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_purges_of_one_tree_do_not_disturb_each_other() {
    let world = world().await;
    plant(&world);
    world.names("", true).await;
    world.control.reset_calls();
    let (one, two) = tokio::join!(
        purged(&world, request("top")),
        purged(&world, request("top")),
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.0 + two.0, FILES);
    assert_eq!(one.1 + two.1, FOLDERS);
    assert!(one.2.is_empty() && two.2.is_empty(), "{one:?} {two:?}");
    let calls = world.control.calls();
    assert_eq!(calls.get("folder/rm"), FOLDERS as u64, "{calls}");
    assert!(calls.get("file/rm") <= 4, "{calls}");
    world.assert_agreement("after both").await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_stops_the_purge_and_the_books_are_right() {
    for calls in [1, 4, 9] {
        let mut world = exclusive(|_| ()).await;
        plant(&world);
        world.names("", true).await;
        world.control.reset_calls();
        let mut stream = world
            .client
            .clone()
            .purge(request("top"))
            .await
            .unwrap()
            .into_inner();
        while world.control.calls().total_v1() < calls {
            stream.message().await.unwrap();
        }
        drop(stream);
        seconds(60).await;
        let made = world.control.calls().total_v1();
        assert!(made <= calls + 3, "{calls}: {made}");
        assert!(!world.stored().is_empty());
        world.assert_agreement("after leaving").await;
        world.restart().await;
        world.assert_agreement("after a restart").await;
        let (files, directories, failures) = purged(&world, request("top")).await.unwrap();
        assert!(files <= FILES && directories <= FOLDERS && failures.is_empty());
        assert_eq!(world.stored_all(), ["other"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_ends_with_its_deadline_and_with_a_lock_of_the_account() {
    let world = world().await;
    plant(&world);
    world.names("", true).await;
    let limited = |seconds| {
        let mut request = tonic::Request::new(request("top"));
        request.set_timeout(Duration::from_secs(seconds));
        request
    };
    let end = async |mut stream: tonic::Streaming<PurgeResponse>| loop {
        match stream.message().await {
            Ok(Some(answer)) => assert!(!answer.done),
            Ok(None) => panic!("an end without an error"),
            Err(status) => return status,
        }
    };
    let stream = world.client.clone().purge(limited(2)).await.unwrap();
    assert_eq!(
        end(stream.into_inner()).await.code(),
        Code::DeadlineExceeded
    );
    seconds(30).await;
    assert!(!world.stored().is_empty());
    world.assert_agreement("after the deadline").await;
    let ban = FaultKind::Ko {
        http: 403,
        message: "IP Locked #79".to_owned(),
    };
    world.fail("v1", 1, ban);
    let status = match world.client.clone().purge(request("top")).await {
        Ok(stream) => end(stream.into_inner()).await,
        Err(status) => status,
    };
    assert_eq!(reason(&status), "UPSTREAM_LOCKED");
    minutes(62).await;
    assert!(purged(&world, request("top")).await.unwrap().2.is_empty());
    assert_eq!(world.stored_all(), ["other"]);
}

#[tokio::test(start_paused = true)]
async fn trouble_that_does_not_pass_ends_a_purge_instead_of_failing_each_file() {
    let world = world().await;
    let top = world.control.add_folder(0, "top");
    world.control.add_many_files(top, "f", 2_000, 10);
    world.names("", true).await;
    world.control.reset_calls();
    world.fail("file/rm", 1_000, FaultKind::Status(503));
    let mut stream = world
        .client
        .clone()
        .purge(request("top"))
        .await
        .unwrap()
        .into_inner();
    let mut failures = 0;
    let status = loop {
        match stream.message().await {
            Ok(answer) => failures += answer.unwrap().failures.len(),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&status), "UPSTREAM_UNAVAILABLE");
    assert_eq!(failures, 300);
    assert!(
        world.control.calls().total_v1() <= 3 * 4,
        "{}",
        world.control.calls()
    );
}

#[tokio::test(start_paused = true)]
async fn a_folder_with_more_files_than_a_listing_shows_goes_completely() {
    let world = played(|behaviour| behaviour.listing_cap = 1_000).await;
    let top = world.control.add_folder(0, "top");
    world.control.add_many_files(top, "f", 2_600, 10);
    let urls: Vec<_> = world
        .control
        .tree()
        .into_iter()
        .map(|node| node.url)
        .collect();
    for (number, url) in urls.iter().filter(|url| !url.is_empty()).enumerate() {
        world
            .control
            .set_file_date(url, 1_700_000_000 + number as i64 * 7_919);
    }
    assert_eq!(
        purged(&world, request("top")).await.unwrap(),
        (2_600, 1, vec![])
    );
    let calls = world.control.calls();
    assert_eq!(
        (calls.get("file/rm"), calls.get("folder/rm")),
        (26, 1),
        "{calls}"
    );
    assert!(world.stored_all().is_empty());
    assert_eq!(calls.floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_what_was_purged_meanwhile_asks_for_nothing_that_is_gone() {
    let world = exclusive(|_| ()).await;
    world.control.add_folder(0, "a slow one");
    plant(&world);
    world.names("", false).await;
    world.names("top", true).await;
    world.control.reset_calls();
    world.fail("folder/ls", 1, FaultKind::Delay(Duration::from_secs(40)));
    let whole = ListRequest {
        recursive: true,
        ..ListRequest::default()
    };
    let (pages, purged) = tokio::join!(list(&world.client, whole), async {
        seconds(1).await;
        purged(&world, request("top")).await
    });
    assert!(purged.unwrap().2.is_empty());
    let pages = pages.unwrap();
    let failures: Vec<_> = pages.iter().flat_map(|page| &page.failures).collect();
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(world.control.calls().get("folder/ls"), 1);
}
