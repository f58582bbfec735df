//! Another program uses the account at the same time: what it has moved, put or
//! removed is what counts, whatever is remembered.

use std::time::Duration;

use pluton_fichier::emulator::{self, Node};
use pluton_fichier::proto::*;
use tonic::Status;

use crate::checks::*;
use crate::harness::*;

fn file(world: &World, path: &str) -> Node {
    world.control.file_at(path).expect(path)
}

fn folder(world: &World, path: &str) -> u64 {
    world.control.folder_at(path).expect(path).id
}

/// Makes a tree, as another program, that the server lists.
async fn known(files: &[&str], folders: &[&str]) -> World {
    let world = world().await;
    for path in folders {
        make(&world, path);
    }
    for path in files {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = make(&world, parent);
        world.control.add_file(parent, name, &bytes_of(path));
    }
    world.list("", true).await.unwrap();
    world
}

fn make(world: &World, path: &str) -> u64 {
    let mut here = 0;
    let mut walked = String::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        walked = format!("{walked}/{name}");
        let there = world.control.folder_at(walked.trim_start_matches('/'));
        here = there.map_or_else(|| world.control.add_folder(here, name), |node| node.id);
    }
    here
}

fn bytes_of(path: &str) -> Vec<u8> {
    content(1_000 + path.len())
}

/// Longer than what is seen counts for changes, shorter than memory is fresh.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(35)).await;
}

async fn purge(world: &World, path: &str) -> Result<PurgeResponse, Status> {
    let request = PurgeRequest {
        path: path.to_owned(),
        ..PurgeRequest::default()
    };
    let mut answers = world.client.clone().purge(request).await?.into_inner();
    let mut last = PurgeResponse::default();
    while let Some(answer) = answers.message().await? {
        assert!(answer.failures.is_empty(), "{:?}", answer.failures);
        last = answer;
    }
    assert!(last.done);
    Ok(last)
}

async fn relocate(world: &World, from: &str, to: &str, copy: bool) -> Result<Entry, Status> {
    let (source_path, destination_path) = (from.to_owned(), to.to_owned());
    let mut client = world.client.clone();
    let entry = if copy {
        let request = CopyRequest {
            source_path,
            destination_path,
            ..CopyRequest::default()
        };
        client.copy(request).await?.into_inner().entry
    } else {
        let request = MoveRequest {
            source_path,
            destination_path,
            ..MoveRequest::default()
        };
        client.r#move(request).await?.into_inner().entry
    };
    Ok(entry.unwrap())
}

async fn move_dir(world: &World, from: &str, to: &str) -> Result<(), Status> {
    let request = MoveDirRequest {
        source_path: from.to_owned(),
        destination_path: to.to_owned(),
        ..MoveDirRequest::default()
    };
    world.client.clone().move_dir(request).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn what_another_program_has_moved_to_safety_is_not_removed() {
    let world = known(&["A/B/f", "A/g", "E/i", "E/j"], &["safe", "A/C"]).await;
    a_while().await;
    let control = &world.control;
    let safe = folder(&world, "safe");
    assert!(control.move_folder(folder(&world, "A/B"), safe));
    assert!(control.move_folder(folder(&world, "A/C"), safe));
    control.move_file(&file(&world, "E/i").url, safe).unwrap();
    assert_eq!(world.delete(&["E/i"]).await, ["FILE_NOT_FOUND"]);
    assert_reason(world.rmdir("A/C").await, "DIRECTORY_NOT_FOUND");
    purge(&world, "A").await.unwrap();
    assert_eq!(
        world.stored_all(),
        ["E", "E/j", "safe", "safe/B", "safe/B/f", "safe/C", "safe/i"]
    );
    assert_eq!(world.delete(&["E/j"]).await, [""]);
    assert_eq!(world.control.calls().floods(), 0);
}

/// The folder that holds it has gone elsewhere, with all that is in it.
#[tokio::test(start_paused = true)]
async fn what_went_elsewhere_with_its_folder_is_not_removed() {
    for by_us in [false, true] {
        let world = known(&[], &["safe"]).await;
        for path in ["A/B/f", "A/B/g", "A/B/D/h"] {
            if by_us {
                world.put(path, &bytes_of(path)).await.unwrap();
            } else {
                let (parent, name) = path.rsplit_once('/').unwrap();
                let parent = make(&world, parent);
                world.control.add_file(parent, name, &bytes_of(path));
            }
        }
        if !by_us {
            seconds(31).await;
            let request = RefreshRequest {
                recursive: true,
                reload: true,
                ..RefreshRequest::default()
            };
            world.client.clone().refresh(request).await.unwrap();
        }
        a_while().await;
        let safe = folder(&world, "safe");
        assert!(world.control.move_folder(folder(&world, "A"), safe));
        let before = world.stored();
        assert_eq!(
            world.delete(&["A/B/f"]).await,
            ["FILE_NOT_FOUND"],
            "by us: {by_us}"
        );
        assert_reason(purge(&world, "A/B/D").await, "DIRECTORY_NOT_FOUND");
        assert_reason(purge(&world, "A").await, "DIRECTORY_NOT_FOUND");
        assert_reason(
            relocate(&world, "A/B/g", "x", false).await,
            "FILE_NOT_FOUND",
        );
        assert_reason(move_dir(&world, "A/B", "C").await, "DIRECTORY_NOT_FOUND");
        assert_eq!(world.stored(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_version_that_went_elsewhere_is_not_removed_with_its_path() {
    for copy in [None, Some(true), Some(false)] {
        let world = known(&["E/i", "x"], &["safe"]).await;
        a_while().await;
        let safe = folder(&world, "safe");
        let moved = file(&world, "E/i");
        world.control.move_file(&moved.url, safe).unwrap();
        match copy {
            None => drop(world.put("E/i", &content(77)).await.unwrap()),
            Some(copy) => drop(relocate(&world, "x", "E/i", copy).await.unwrap()),
        }
        assert_eq!(
            file(&world, "safe/i").whirlpool,
            moved.whirlpool,
            "{copy:?}"
        );
        assert_eq!(world.control.files_at("E/i").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_moved_file_and_a_renamed_directory_are_not_moved_on() {
    let world = known(&["E/i", "D/f"], &["safe"]).await;
    a_while().await;
    let safe = folder(&world, "safe");
    world
        .control
        .move_file(&file(&world, "E/i").url, safe)
        .unwrap();
    assert!(world.control.rename_folder(folder(&world, "D"), "mine"));
    assert_reason(relocate(&world, "E/i", "x", false).await, "FILE_NOT_FOUND");
    assert_reason(move_dir(&world, "D", "y").await, "DIRECTORY_NOT_FOUND");
    assert_eq!(world.stored(), ["mine/f", "safe/i"]);
}

/// Another program removes a file and uploads another one in its place.
async fn replaced(path: &str) -> (World, Vec<u8>) {
    let world = known(&[path, "Q/other"], &[]).await;
    a_while().await;
    let new = content(4_321);
    world
        .control
        .replace_file(&file(&world, path).url, &new)
        .unwrap();
    (world, new)
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_replaced_is_found_by_every_call() {
    for call in [
        "get", "range", "copy", "move", "hash", "delete", "link", "password",
    ] {
        let (world, new) = replaced("Q/x").await;
        world.control.reset_calls();
        match call {
            "get" => assert_eq!(world.get("Q/x").await.unwrap().content, new),
            "range" => assert_eq!(world.range("Q/x", 7, 100).await.unwrap(), new[7..107]),
            "copy" | "move" => {
                relocate(&world, "Q/x", "Q/y", call == "copy")
                    .await
                    .unwrap();
                assert_eq!(file(&world, "Q/y").whirlpool, whirlpool(&new));
            }
            "hash" => {
                let request = HashRequest {
                    path: "Q/x".to_owned(),
                    algorithm: HashAlgorithm::Blake3.into(),
                    allow_download: true,
                    ..HashRequest::default()
                };
                let answer = world
                    .client
                    .clone()
                    .hash(request)
                    .await
                    .unwrap()
                    .into_inner();
                let wanted = sum(HashAlgorithm::Blake3, &new).1;
                assert_eq!(answer.checksum.unwrap().hex, wanted);
            }
            "delete" => {
                assert_eq!(world.delete(&["Q/x"]).await, [""]);
                assert_eq!(world.stored(), ["Q/other"]);
            }
            _ => {
                let request = PublicLinkRequest {
                    path: "Q/x".to_owned(),
                    password: if call == "link" { "" } else { "secret word" }.to_owned(),
                    ..PublicLinkRequest::default()
                };
                let answer = world.client.clone().public_link(request).await.unwrap();
                assert_eq!(answer.into_inner().url, file(&world, "Q/x").url);
            }
        }
        let calls = world.control.calls();
        let listings = calls.get("folder/ls") + calls.get("file/ls");
        assert!(listings <= 2 && calls.total_v1() <= 6, "{call}: {calls}");
        assert_eq!(calls.floods(), 0);
    }
}

/// So soon after a listing that 1Fichier allows no other.
#[tokio::test(start_paused = true)]
async fn a_file_that_was_replaced_a_moment_ago_is_found() {
    let world = known(&["Q/x"], &[]).await;
    seconds(5).await;
    let new = content(4_321);
    world
        .control
        .replace_file(&file(&world, "Q/x").url, &new)
        .unwrap();
    let begin = tokio::time::Instant::now();
    assert_eq!(world.get("Q/x").await.unwrap().content, new);
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "asked for by its name"
    );
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_was_made_anew_is_found() {
    for soon in [false, true] {
        let world = known(&["Q/x"], &[]).await;
        if soon {
            seconds(5).await;
        } else {
            a_while().await;
        }
        world.control.remove_folder(folder(&world, "Q"));
        let parent = make(&world, "Q");
        let new = content(4_321);
        world.control.add_file(parent, "x", &new);
        assert_eq!(world.get("Q/x").await.unwrap().content, new, "soon: {soon}");
        assert_eq!(world.names("Q", false).await, ["Q/x"]);
        assert_eq!(world.control.calls().floods(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_not_found_after_one_look() {
    let world = known(&["Q/x", "Q/y"], &[]).await;
    a_while().await;
    world.control.remove_file(&file(&world, "Q/x").url);
    world.control.reset_calls();
    assert_reason(world.get("Q/x").await, "FILE_NOT_FOUND");
    let calls = world.control.calls();
    assert_eq!(calls.total_v1(), 2, "a token, and a listing: {calls}");
    assert_reason(world.get("Q/x").await, "FILE_NOT_FOUND");
    assert_eq!(world.control.calls().total_v1(), 2);
    assert_eq!(world.names("Q", false).await, ["Q/y"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_now_is_not_called_missing() {
    let world = known(&["Q/x"], &[]).await;
    a_while().await;
    world.control.remove_file(&file(&world, "Q/x").url);
    for endpoint in ["folder/ls", "file/ls", "file/info"] {
        world.fail(endpoint, u32::MAX, emulator::FaultKind::Status(503));
    }
    assert_reason(world.get("Q/x").await, "UPSTREAM_UNAVAILABLE");
    world.control.clear_faults();
    assert_reason(world.get("Q/x").await, "FILE_NOT_FOUND");
}

/// Also where all was written from here, and no listing was needed.
#[tokio::test(start_paused = true)]
async fn a_removal_whose_target_is_gone_has_succeeded_or_says_so() {
    use emulator::RmMissing;
    for answer in [
        RmMissing::RemovedZero,
        RmMissing::Ko,
        RmMissing::NotFound,
        RmMissing::KoOtherText,
    ] {
        for wait in [0, 40] {
            let options = emulator::Options::default();
            let world = build(options, |_| ()).await;
            world.control.set_behaviour(|play| play.rm_missing = answer);
            for name in ["k/f0", "k/f1", "k/f2"] {
                world.put(name, &bytes_of(name)).await.unwrap();
            }
            seconds(wait).await;
            world.control.remove_file(&file(&world, "k/f1").url);
            let request = DeleteRequest {
                targets: ["k/f0", "k/f1"]
                    .map(|path| DeleteTarget {
                        path: path.to_owned(),
                        ..DeleteTarget::default()
                    })
                    .to_vec(),
                allow_missing: true,
                ..DeleteRequest::default()
            };
            let results = world.client.clone().delete(request).await.unwrap();
            for result in results.into_inner().results {
                assert!(result.failure.is_none(), "{answer:?} {wait}: {result:?}");
            }
            assert_eq!(world.names("k", false).await, ["k/f2"], "{answer:?} {wait}");
            world.control.remove_file(&file(&world, "k/f2").url);
            let gone = purge(&world, "k").await;
            gone.unwrap();
            assert_eq!(world.stored_all(), [""; 0], "{answer:?} {wait}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_gone_is_left_out() {
    let world = known(&["A/B/f", "A/C/g"], &[]).await;
    a_while().await;
    world.control.remove_folder(folder(&world, "A/B"));
    let request = RefreshRequest {
        recursive: true,
        reload: true,
        ..RefreshRequest::default()
    };
    let refreshed = world.client.clone().refresh(request).await.unwrap();
    assert_eq!(refreshed.into_inner().loaded_directories, 3);
    a_while().await;
    world.control.remove_folder(folder(&world, "A/C"));
    let request = ListRequest {
        recursive: true,
        max_staleness: Some(Duration::from_secs(30).try_into().unwrap()),
        ..ListRequest::default()
    };
    for page in list(&world.client, request).await.unwrap() {
        assert!(page.failures.is_empty(), "{:?}", page.failures);
    }
    assert_eq!(world.names("", true).await, ["A/"]);
}

#[tokio::test(start_paused = true)]
async fn no_tree_that_others_make_stops_a_walk() {
    let world = known(&["A/B/f", "A/g"], &[]).await;
    let (a, b) = (folder(&world, "A"), folder(&world, "A/B"));
    assert!(world.control.move_folder(b, 0) && world.control.move_folder(a, b));
    a_while().await;
    let fresh = ListRequest {
        max_staleness: Some(Duration::ZERO.try_into().unwrap()),
        ..ListRequest::default()
    };
    list(&world.client, fresh.clone()).await.unwrap();
    let of_b = ListRequest {
        path: "B".to_owned(),
        ..fresh
    };
    list(&world.client, of_b).await.unwrap();
    for reload in [false, true] {
        let request = RefreshRequest {
            recursive: true,
            reload,
            ..RefreshRequest::default()
        };
        let mut client = world.client.clone();
        let refreshed = client.refresh(request);
        let refreshed = tokio::time::timeout(Duration::from_secs(300), refreshed).await;
        refreshed.expect("an end").unwrap();
    }
    assert_eq!(world.names("", true).await, ["B/", "B/A/", "B/f", "B/A/g"]);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_listed_inside_itself_hides_nothing() {
    let world = known(&["A/B/f", "A/g"], &[]).await;
    let (a, b) = (folder(&world, "A"), folder(&world, "A/B"));
    world.control.add_false_entry(a, a);
    world.control.add_false_entry(b, a);
    for _ in 0..3 {
        a_while().await;
        let request = RefreshRequest {
            recursive: true,
            reload: true,
            ..RefreshRequest::default()
        };
        world.client.clone().refresh(request).await.unwrap();
        let names = world.names("", true).await;
        for name in ["A/", "A/B/", "A/B/f", "A/g"] {
            assert!(names.iter().any(|shown| shown == name), "{names:?}");
        }
        assert_eq!(world.get("A/B/f").await.unwrap().content, bytes_of("A/B/f"));
    }
}

/// Calls by link do not know for a while what was stored a moment ago.
#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_there_though_calls_by_link_lag() {
    for lag in [0, 3] {
        for call in ["get", "copy", "move", "delete", "put", "test"] {
            let world = world().await;
            world.control.set_behaviour(|play| {
                play.url_delay = Duration::from_secs(2);
                play.index_delay = Duration::from_secs(lag);
            });
            let data = content(1_000);
            if call != "test" {
                world.put("d/x", &data).await.unwrap();
            }
            let mut wanted = vec!["d/x"];
            match call {
                "get" => assert_eq!(world.get("d/x").await.unwrap().content, data),
                "copy" => {
                    relocate(&world, "d/x", "d/y", true).await.unwrap();
                    wanted.push("d/y");
                }
                "move" => {
                    relocate(&world, "d/x", "d/y", false).await.unwrap();
                    wanted = vec!["d/y"];
                }
                "delete" => {
                    assert_eq!(world.delete(&["d/x"]).await, [""]);
                    wanted.clear();
                }
                "put" => drop(world.put("d/x", &content(2_000)).await.unwrap()),
                _ => {
                    let request = TestConnectionRequest {
                        check_write: true,
                        ..TestConnectionRequest::default()
                    };
                    let answer = world.client.clone().test_connection(request).await.unwrap();
                    let answer = answer.into_inner();
                    assert!(answer.healthy, "{:?}", answer.checks);
                    wanted.clear();
                }
            }
            let now = |world: &World| {
                let world = &world;
                let mut names = world.stored();
                names.sort();
                names
            };
            assert_eq!(now(&world), wanted, "{call}, listings {lag} s late");
            if call != "test" {
                assert_eq!(world.names("d", false).await, wanted, "{call}");
            }
            seconds(40).await;
            assert_eq!(now(&world), wanted, "{call} later");
            assert_eq!(world.control.calls().floods(), 0, "{call}");
        }
    }
}
