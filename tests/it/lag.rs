//! Listings that lag, answers that are lost, and a server that is killed in the
//! middle: what was acknowledged stays so.

use std::time::Duration;

use pluton_fichier::emulator::FaultKind::{self, HangAfterEffect, ResetAfterEffect};
use pluton_fichier::proto::*;
use tonic::Status;

use crate::checks::*;
use crate::harness::*;

/// Whatever listings show lags by so much.
fn lag(world: &World, seconds: f64) {
    let delay = Duration::from_secs_f64(seconds);
    world.control.set_behaviour(|play| {
        play.index_delay = delay;
        play.listing_lag = pluton_fichier::emulator::ListingLag::Everything;
    });
}

/// What is at a path, as 1Fichier holds it.
fn sizes(world: &World, path: &str) -> Vec<u64> {
    let files = world.control.files_at(path);
    let mut sizes: Vec<_> = files.iter().map(|file| file.size).collect();
    sizes.sort_unstable();
    sizes
}

async fn copy(client: Client, from: &str, to: &str) -> Result<(), Status> {
    let request = CopyRequest {
        source_path: from.to_owned(),
        destination_path: to.to_owned(),
        ..CopyRequest::default()
    };
    client.clone().copy(request).await.map(drop)
}

async fn relocate(client: Client, from: &str, to: &str) -> Result<(), Status> {
    let request = MoveRequest {
        source_path: from.to_owned(),
        destination_path: to.to_owned(),
        ..MoveRequest::default()
    };
    client.clone().r#move(request).await.map(drop)
}

/// What a client asks for after the kill, about the path `a/p`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Delete,
    MoveAway,
    Put,
    MoveOnto,
    CopyOnto,
    /// The same as was in flight.
    Again,
    Nothing,
}

const THEN: [Then; 7] = [
    Then::Delete,
    Then::MoveAway,
    Then::Put,
    Then::MoveOnto,
    Then::CopyOnto,
    Then::Again,
    Then::Nothing,
];

/// What is in flight when the server is killed: it has had its effect.
#[derive(Clone, Copy, Debug, PartialEq)]
enum InFlight {
    Put,
    Copy,
    CopyRename,
    Move,
    MoveRename,
}

const IN_FLIGHT: [InFlight; 5] = [
    InFlight::Put,
    InFlight::Copy,
    InFlight::CopyRename,
    InFlight::Move,
    InFlight::MoveRename,
];

impl InFlight {
    fn source(self) -> &'static str {
        match self {
            Self::CopyRename | Self::MoveRename => "b/src",
            _ => "b/p",
        }
    }

    fn endpoint(self) -> &'static str {
        match self {
            Self::Put => "upload.cgi",
            Self::Copy | Self::CopyRename => "file/cp",
            Self::Move | Self::MoveRename => "file/mv",
        }
    }

    async fn send(self, client: Client) -> Result<(), Status> {
        match self {
            Self::Put => {
                let header = PutHeader {
                    size: Some(2_000),
                    ..header("a/p")
                };
                put(&client, header, &content(2_000)).await.map(drop)
            }
            Self::Copy | Self::CopyRename => copy(client, self.source(), "a/p").await,
            Self::Move | Self::MoveRename => relocate(client, self.source(), "a/p").await,
        }
    }
}

/// What is lost in the middle, and what a client asks for and is told of after
/// the kill, under listings that lag.
async fn killed(in_flight: InFlight, then: Then, wait: u64, replaces: bool, late: f64) {
    let context =
        format!("{in_flight:?} {then:?} {wait} s later, replaces: {replaces}, lag {late}");
    let mut world = world().await;
    if replaces {
        world.put("a/p", &content(1_000)).await.unwrap();
    } else {
        world.mkdir("a").await.unwrap();
    }
    if in_flight != InFlight::Put {
        world
            .put(in_flight.source(), &content(2_000))
            .await
            .unwrap();
    }
    world.put("d/other", &content(3_000)).await.unwrap();
    minutes(6).await;
    world.names("", true).await;
    lag(&world, late);
    world.control.reset_calls();
    world.fail(in_flight.endpoint(), 1, HangAfterEffect);
    let client = world.client.clone();
    let sent = tokio::spawn(async move { in_flight.send(client).await });
    while world.control.calls().get(in_flight.endpoint()) == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    world.kill().await;
    sent.abort();
    seconds(wait).await;
    let client = world.client.clone();
    let answer = match then {
        Then::Delete => {
            let request = DeleteRequest {
                targets: vec![DeleteTarget {
                    path: "a/p".to_owned(),
                    ..DeleteTarget::default()
                }],
                allow_missing: true,
                ..DeleteRequest::default()
            };
            let answer = client.clone().delete(request).await;
            answer.map(|answer| {
                let result = answer.into_inner().results.remove(0);
                assert!(result.failure.is_none(), "{context}: {result:?}");
            })
        }
        Then::MoveAway => relocate(client, "a/p", "c/q").await,
        Then::Put => world.put("a/p", &content(4_000)).await.map(drop),
        Then::MoveOnto => relocate(client, "d/other", "a/p").await,
        Then::CopyOnto => copy(client, "d/other", "a/p").await,
        Then::Again => in_flight.send(client).await,
        Then::Nothing => Ok(()),
    };
    let reason = answer
        .as_ref()
        .err()
        .map(|status| assert_clear(status, &context));
    let moves = matches!(in_flight, InFlight::Move | InFlight::MoveRename);
    let soon = sizes(&world, "a/p");
    minutes(30).await;
    let (there, source) = (sizes(&world, "a/p"), sizes(&world, in_flight.source()));
    let calls = world.requests();
    let context =
        format!("{context}: {answer:?}, a/p {soon:?}, then {there:?}, source {source:?}{calls}");
    let old = if replaces { vec![1_000] } else { vec![] };
    let told = match (then, &reason) {
        // Not acknowledged: as before, or done.
        (_, Some(_)) | (Then::Nothing, None) => {
            assert!(there == old || there == [2_000], "{context}");
            None
        }
        (Then::Delete, None) => Some(vec![]),
        (Then::MoveAway, None) => {
            let away = sizes(&world, "c/q");
            assert!(away == old || away == [2_000], "{context} c/q {away:?}");
            Some(vec![])
        }
        (Then::Put, None) => Some(vec![4_000]),
        (Then::MoveOnto | Then::CopyOnto, None) => Some(vec![3_000]),
        (Then::Again, None) => Some(vec![2_000]),
    };
    if let Some(reason) = reason {
        let fits = match then {
            // There was nothing, as far as can be known.
            Then::MoveAway => !replaces && reason == "FILE_NOT_FOUND",
            // The move is done: its source is not there any more.
            Then::Again => moves && reason == "FILE_NOT_FOUND",
            _ => false,
        };
        assert!(fits, "{context}");
    }
    if let Some(told) = told {
        assert_eq!(there, told, "{context}");
    }
    // A copy leaves its source, and of a moved file there is one at the most.
    match in_flight {
        InFlight::Copy | InFlight::CopyRename => assert_eq!(source, [2_000], "{context}"),
        _ if moves => assert!(source.len() <= 1, "{context}"),
        _ => {}
    }
    if then == Then::MoveOnto {
        assert_eq!(sizes(&world, "d/other"), [0; 0], "{context}");
    }
    assert_eq!(unfinished(&world).await, 0, "{context}");
    world.assert_agreement(&context).await;
    assert_eq!(world.control.calls().floods(), 0, "{context}");
}

async fn unfinished(world: &World) -> i64 {
    let request = GetActivityRequest::default();
    let activity = world.client.clone().get_activity(request).await.unwrap();
    activity.into_inner().catalog.unwrap().unfinished_writes
}

async fn all_killed(replaces: bool, late: f64) {
    for in_flight in IN_FLIGHT {
        for then in THEN {
            for wait in [0, 6, 40] {
                killed(in_flight, then, wait, replaces, late).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_after_a_kill_stays_so_one() {
    all_killed(true, 3.0).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_after_a_kill_stays_so_two() {
    all_killed(false, 3.0).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_after_a_kill_stays_so_three() {
    all_killed(true, 0.0).await;
    all_killed(true, 60.0).await;
}

/// The answer is lost, and listings do not show the file yet.
#[tokio::test(start_paused = true)]
async fn a_move_of_a_new_file_whose_answer_is_lost_is_done() {
    for late in [3.0, 20.0] {
        for (to, endpoint) in [
            ("b/x", "file/mv"),
            ("a/y", "file/rename"),
            ("b/y", "file/mv"),
        ] {
            let context = format!("{to}, lag {late}");
            let world = world().await;
            world.mkdir("b").await.unwrap();
            lag(&world, late);
            world.put("a/x", &content(1_000)).await.unwrap();
            world.fail(endpoint, 1, ResetAfterEffect);
            relocate(world.client.clone(), "a/x", to)
                .await
                .unwrap_or_else(|error| panic!("{context}: {error:?}"));
            assert_reason(world.stat("a/x").await, "FILE_NOT_FOUND");
            assert_eq!(world.stored(), [to], "{context}");
            world.put(to, &content(2_000)).await.unwrap();
            assert_eq!(sizes(&world, to), [2_000], "{context}");
            minutes(10).await;
            assert_eq!(world.stored(), [to], "{context}");
            world.assert_agreement(&context).await;
            assert_eq!(world.control.calls().floods(), 0, "{context}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_was_moved_stays_moved_though_listings_lag() {
    for late in [3.0, 20.0, 100.0] {
        for lost in [false, true] {
            for to in ["new", "b/dir", "b/new"] {
                let context = format!("{to}, lag {late}, lost: {lost}");
                let world = world().await;
                world.mkdir("b").await.unwrap();
                world.put("dir/f", &content(1_000)).await.unwrap();
                minutes(6).await;
                world.names("", true).await;
                lag(&world, late);
                if lost {
                    world.fail("folder/mv", 1, ResetAfterEffect);
                }
                let request = MoveDirRequest {
                    source_path: "dir".to_owned(),
                    destination_path: to.to_owned(),
                    ..MoveDirRequest::default()
                };
                let moved = world.client.clone().move_dir(request).await;
                if lost && late > 60.0 {
                    // What cannot be known is told so, and is found out later.
                    if let Err(status) = &moved {
                        assert_eq!(reason(status), "UPSTREAM_UNAVAILABLE", "{context}");
                        assert!(status.message().contains("look there"), "{context}");
                    }
                } else {
                    moved.unwrap_or_else(|error| panic!("{context}: {error:?}"));
                    let names = world.names("", true).await;
                    assert!(names.contains(&format!("{to}/f")), "{context}: {names:?}");
                    assert!(!names.contains(&"dir/".to_owned()), "{context}: {names:?}");
                }
                minutes(20).await;
                assert_eq!(world.stored(), [format!("{to}/f")], "{context}");
                world.assert_agreement(&context).await;
                assert_eq!(world.control.calls().floods(), 0, "{context}");
            }
        }
    }
}

/// A move that is killed and shows late, and a later one to the same place.
#[tokio::test(start_paused = true)]
async fn a_move_that_shows_late_does_not_take_the_place_of_a_later_one() {
    for late in [0.0, 3.0] {
        for wait in [0, 5, 40] {
            let context = format!("lag {late}, {wait} s later");
            let mut world = world().await;
            for (path, size) in [("d/y", 100), ("d/x", 200), ("e/old", 300)] {
                world.put(path, &content(size)).await.unwrap();
            }
            minutes(6).await;
            world.names("", true).await;
            lag(&world, late);
            world.fail("file/mv", 1, HangAfterEffect);
            let client = world.client.clone();
            let first = tokio::spawn(async move { relocate(client, "d/x", "p/z").await });
            while world.control.calls().get("file/mv") == 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
            world.kill().await;
            first.abort();
            seconds(wait).await;
            relocate(world.client.clone(), "d/y", "p/z").await.unwrap();
            minutes(30).await;
            assert_eq!(sizes(&world, "p/z"), [100], "{context}");
            assert_eq!(sizes(&world, "d/y"), [0; 0], "{context}");
            assert!(sizes(&world, "d/x").len() <= 1, "{context}");
            world.assert_agreement(&context).await;
        }
    }
}

/// What is removed or moved is not seen any more from the acknowledgement on.
#[tokio::test(start_paused = true)]
async fn what_was_removed_or_moved_is_not_listed_again() {
    for late in [3.0, 20.0] {
        for restart in [false, true] {
            let context = format!("lag {late}, restart: {restart}");
            let mut world = world().await;
            for path in ["a/x", "a/y", "d/z/f", "e/f"] {
                world.put(path, &content(500)).await.unwrap();
            }
            minutes(6).await;
            world.names("", true).await;
            lag(&world, late);
            assert_eq!(world.delete(&["a/x"]).await, [""]);
            relocate(world.client.clone(), "a/y", "b/y").await.unwrap();
            let request = MoveDirRequest {
                source_path: "d/z".to_owned(),
                destination_path: "b/z".to_owned(),
                ..MoveDirRequest::default()
            };
            world.client.clone().move_dir(request).await.unwrap();
            assert_eq!(world.delete(&["e/f"]).await, [""]);
            world.rmdir("e").await.unwrap();
            if restart {
                world.restart().await;
            }
            let wanted = ["a/", "b/", "b/y", "b/z/", "b/z/f", "d/"];
            for _ in 0..8 {
                let request = ListRequest {
                    recursive: true,
                    max_staleness: Some(Duration::ZERO.try_into().unwrap()),
                    ..ListRequest::default()
                };
                let pages = list(&world.client, request).await.unwrap();
                let shown: Vec<_> = pages.iter().flat_map(|page| &page.entries).collect();
                let mut names: Vec<_> = shown
                    .iter()
                    .map(|entry| match entry.r#type() {
                        EntryType::Directory => format!("{}/", entry.path),
                        _ => entry.path.clone(),
                    })
                    .collect();
                names.sort();
                assert_eq!(names, wanted, "{context}");
                for gone in ["a/x", "a/y", "d/z/f", "e/f"] {
                    assert_reason(world.get(gone).await, "FILE_NOT_FOUND");
                }
                seconds(7).await;
            }
            let header = PutHeader {
                size: Some(10),
                write_mode: WriteMode::CreateOnly.into(),
                ..header("a/x")
            };
            put(&world.client, header, &content(10)).await.unwrap();
            minutes(6).await;
            world.assert_agreement(&context).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_id_with_other_content_is_refused() {
    let world = world().await;
    let with = |checksums: Vec<Checksum>, size: Option<i64>| PutHeader {
        request_id: "one".to_owned(),
        size,
        checksums,
        ..header("f")
    };
    let (first, other) = (content(1_000), {
        let mut other = content(1_000);
        other[500] ^= 1;
        other
    });
    for size in [Some(1_000), None] {
        world.delete(&["f"]).await;
        let id = format!("id {size:?}");
        let with = |checksums: Vec<Checksum>| PutHeader {
            request_id: id.clone(),
            ..with(checksums, size)
        };
        put(&world.client, with(vec![]), &first).await.unwrap();
        world.control.reset_calls();
        let again = messages(with(vec![]), &first);
        let again = world.client.clone().put(futures::stream::iter(again)).await;
        assert!(again.unwrap().into_inner().replayed);
        assert_reason(
            put(&world.client, with(vec![]), &other).await,
            "REQUEST_ID_REUSED",
        );
        let mut longer = first.clone();
        longer.push(0);
        if size.is_none() {
            assert_reason(
                put(&world.client, with(vec![]), &longer).await,
                "REQUEST_ID_REUSED",
            );
        }
        // Told apart by the checksum of the commit, before the content is.
        let mut all = messages(with(vec![]), &first);
        all.pop();
        let (algorithm, hex) = sum(HashAlgorithm::Sha256, &other);
        all.push(message(put_request::Payload::Commit(PutCommit {
            size: 1_000,
            checksums: vec![Checksum {
                algorithm: algorithm.into(),
                hex,
            }],
        })));
        assert_reason(send(&world.client, all).await, "REQUEST_ID_REUSED");
        assert_eq!(world.control.calls().total_v1(), 0);
        assert_eq!(world.get("f").await.unwrap().content, first);
        let _: FaultKind = ResetAfterEffect;
    }
}

/// A removal that names a version leaves an upload alone whose end is unknown.
#[tokio::test(start_paused = true)]
async fn a_removal_of_another_version_leaves_an_unresolved_write_alone() {
    let world = world().await;
    world.put("a/x", &content(1_000)).await.unwrap();
    minutes(1).await;
    world.fail("upload.cgi", 1, ResetAfterEffect);
    world.fail("end.pl", 100, FaultKind::Status(503));
    world.control.inject(pluton_fichier::emulator::Fault {
        endpoint: "v1".to_owned(),
        skip: 2,
        times: u32::MAX,
        kind: FaultKind::Status(503),
    });
    let unresolved = world.put("a/x", &content(2_000)).await;
    assert_reason(unresolved, "UPSTREAM_UNAVAILABLE");
    world.control.clear_faults();
    let target = DeleteTarget {
        path: "a/x".to_owned(),
        if_match_etag: "fnothing-00".to_owned(),
    };
    let request = DeleteRequest {
        targets: vec![target],
        ..DeleteRequest::default()
    };
    let results = world.client.clone().delete(request).await.unwrap();
    let failure = results.into_inner().results.remove(0).failure.unwrap();
    assert_eq!(failure.reason, "ETAG_MISMATCH");
    minutes(5).await;
    assert_eq!(sizes(&world, "a/x"), [2_000]);
    assert_eq!(world.get("a/x").await.unwrap().content, content(2_000));
}
