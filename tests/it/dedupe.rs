//! Entries that share a path.

use std::collections::BTreeMap;
use std::time::Duration;

use pluton_fichier::emulator::FaultKind::*;
use pluton_fichier::emulator::{
    Batch, Behaviour, Fault, FaultKind, MvRename, RmMissing, UrlStability,
};
use pluton_fichier::encoding::Mask;
use pluton_fichier::proto::*;
use tonic::Status;

use crate::checks::*;
use crate::harness::*;

type Play = (&'static str, fn(&mut Behaviour));

const CHANGING: [DedupeMode; 4] = [
    DedupeMode::Identical,
    DedupeMode::Newest,
    DedupeMode::Oldest,
    DedupeMode::Rename,
];

fn order(path: &str, mode: DedupeMode) -> DedupeRequest {
    DedupeRequest {
        path: path.to_owned(),
        recursive: true,
        mode: mode.into(),
        ..DedupeRequest::default()
    }
}

async fn ask(client: &Client, request: DedupeRequest) -> Result<Vec<DedupeResponse>, Status> {
    let mut stream = client.clone().dedupe(request).await?.into_inner();
    let mut groups = Vec::new();
    while let Some(group) = stream.message().await? {
        groups.push(group);
    }
    Ok(groups)
}

async fn dedupe(world: &World, path: &str, mode: DedupeMode) -> Vec<DedupeResponse> {
    let groups = ask(&world.client, order(path, mode)).await.unwrap();
    for group in &groups {
        assert_eq!(group.failures, [], "{}", group.path);
    }
    groups
}

/// Files of one path, an hour apart and the oldest first; their URLs.
fn plant(world: &World, folder: u64, name: &str, contents: &[&str]) -> Vec<String> {
    let urls: Vec<_> = contents
        .iter()
        .map(|content| world.control.add_file(folder, name, content.as_bytes()))
        .collect();
    for (age, url) in urls.iter().rev().enumerate() {
        let date = 1_767_618_131 - 3_600 * age as i64;
        world.control.set_file_date(url, date);
    }
    urls
}

fn ids(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.id.as_str()).collect()
}

fn paths(groups: &[DedupeResponse]) -> Vec<&str> {
    groups.iter().map(|group| group.path.as_str()).collect()
}

fn tree(world: &World) -> Vec<(String, String)> {
    let nodes = world.control.tree().into_iter();
    nodes.map(|node| (node.path, node.url)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_report_tells_and_changes_nothing() {
    let world = world().await;
    let a = world.control.add_folder(0, "a");
    let deep = world.control.add_folder(a, "deep");
    let twin = world.control.add_folder(a, "deep");
    let x = plant(&world, 0, "x", &["1", "2"]);
    plant(&world, 0, "alone", &["1"]);
    let y = plant(&world, deep, "y", &["1", "1", "3"]);
    let before = tree(&world);
    for request in [
        order("", DedupeMode::Report),
        DedupeRequest {
            mode: 0,
            ..order("", DedupeMode::Report)
        },
    ] {
        let groups = ask(&world.client, request).await.unwrap();
        assert_eq!(paths(&groups), ["x", "a/deep", "a/deep/y"]);
        let [files, folders, below] = &groups[..] else {
            panic!("{groups:?}")
        };
        assert_eq!(ids(&files.entries), [x[1].as_str(), &x[0]]);
        assert_eq!(files.kept_id, x[1]);
        assert_eq!(files.remaining, files.entries);
        assert_eq!(files.entries[0].attributes["duplicates"], "2");
        let twins = [deep.to_string(), twin.to_string()];
        assert_eq!(ids(&folders.entries), twins);
        assert_eq!(folders.kept_id, twins[0]);
        assert!(
            folders
                .entries
                .iter()
                .all(|e| e.r#type() == EntryType::Directory)
        );
        assert_eq!(ids(&below.entries), [y[2].as_str(), &y[1], &y[0]]);
    }
    assert_eq!(tree(&world), before);
    assert_eq!(
        world.control.calls().get("folder/ls"),
        4,
        "one for each folder, once"
    );
    assert_eq!(world.control.calls().total_v1(), 4);
    let flat = DedupeRequest {
        recursive: false,
        ..order("", DedupeMode::Report)
    };
    assert_eq!(paths(&ask(&world.client, flat).await.unwrap()), ["x"]);
    assert_eq!(
        paths(&dedupe(&world, "a", DedupeMode::Report).await).len(),
        2
    );
    assert_reason(
        ask(&world.client, order("none", DedupeMode::Newest)).await,
        "DIRECTORY_NOT_FOUND",
    );
    assert_reason(
        ask(&world.client, order("alone", DedupeMode::Newest)).await,
        "NOT_A_DIRECTORY",
    );
    let nonsense = DedupeRequest {
        mode: 77,
        ..order("", DedupeMode::Report)
    };
    let status = assert_reason(ask(&world.client, nonsense).await, "INVALID_FIELD");
    assert_eq!(field(&status), "mode");
}

/// What each mode leaves of `1 2 1 3 2`, the oldest first: paths and places.
fn left(mode: DedupeMode) -> (Vec<(&'static str, usize)>, usize) {
    match mode {
        DedupeMode::Identical => (vec![("f.txt", 4), ("f.txt", 3), ("f.txt", 2)], 2),
        DedupeMode::Newest => (vec![("f.txt", 4)], 4),
        DedupeMode::Oldest => (vec![("f.txt", 0)], 4),
        _ => (
            vec![
                ("f.txt", 4),
                ("f-1.txt", 3),
                ("f-2.txt", 2),
                ("f-3.txt", 1),
                ("f-4.txt", 0),
            ],
            0,
        ),
    }
}

#[tokio::test(start_paused = true)]
async fn each_mode_leaves_what_it_says_and_says_it_beforehand() {
    let plays: [Play; 6] = [
        ("default", |_| ()),
        ("urls change", |b| b.url_stability = UrlStability::Changes),
        ("urls untold", |b| b.told_urls = false),
        ("all or nothing", |b| b.batch = Batch::AllOrNothing),
        ("missing is KO", |b| b.rm_missing = RmMissing::Ko),
        ("late listings", |b| b.index_delay = Duration::from_secs(20)),
    ];
    for (name, play) in plays {
        for mode in CHANGING {
            let context = format!("{name} {mode:?}");
            let world = played(play).await;
            let d = world.control.add_folder(0, "d");
            let urls = plant(&world, d, "f.txt", &["1", "2", "1", "3", "2"]);
            plant(&world, d, "other", &["1"]);
            minutes(1).await;
            let before = tree(&world);
            let request = DedupeRequest {
                validate_only: true,
                ..order("", mode)
            };
            let foreseen = ask(&world.client, request).await.unwrap();
            assert_eq!(tree(&world), before, "{context}");
            let groups = dedupe(&world, "", mode).await;
            assert_eq!(paths(&groups), ["d/f.txt"], "{context}");
            let (expected, _) = left(mode);
            for group in [&foreseen[0], &groups[0]] {
                let kept = if mode == DedupeMode::Oldest {
                    &urls[0]
                } else {
                    &urls[4]
                };
                assert_eq!(group.kept_id, *kept, "{context}");
                assert_eq!(ids(&group.entries).len(), 5, "{context}");
                let mut remaining: Vec<_> = group
                    .remaining
                    .iter()
                    .map(|entry| entry.path.clone())
                    .collect();
                let mut wanted: Vec<_> = expected
                    .iter()
                    .map(|(name, _)| format!("d/{name}"))
                    .collect();
                remaining.sort();
                wanted.sort();
                assert_eq!(remaining, wanted, "{context}");
            }
            if name != "urls change" {
                assert_eq!(
                    ids(&foreseen[0].remaining),
                    ids(&groups[0].remaining),
                    "{context}"
                );
            }
            // As 1Fichier holds it, by content.
            let content = |place: usize| ["1", "2", "1", "3", "2"][place];
            let mut wanted: Vec<_> = expected
                .iter()
                .map(|(name, place)| (format!("d/{name}"), whirlpool(content(*place).as_bytes())))
                .chain([("d/other".to_owned(), whirlpool(b"1"))])
                .collect();
            wanted.sort();
            let held: Vec<_> = world
                .control
                .tree()
                .into_iter()
                .filter(|node| !node.url.is_empty())
                .map(|node| (node.path, node.whirlpool))
                .collect();
            assert_eq!(held, wanted, "{context}");
            // The catalog is right, at once and when listed.
            for _ in 0..2 {
                let names = world.names("d", false).await;
                let mut wanted: Vec<_> = wanted.iter().map(|(path, _)| path.clone()).collect();
                wanted.dedup();
                assert_eq!(names, wanted, "{context}");
                minutes(6).await;
            }
            assert_eq!(world.control.calls().floods(), 0);
            // Again: nothing is left to do but what several contents leave.
            let again = dedupe(&world, "", mode).await;
            assert_eq!(
                again.len(),
                usize::from(mode == DedupeMode::Identical),
                "{context}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn removals_and_renamings_leave_in_batches() {
    for (mode, endpoint, calls) in [
        (DedupeMode::Newest, "file/rm", 3),
        (DedupeMode::Identical, "file/rm", 3),
        (DedupeMode::Rename, "file/rename", 3),
    ] {
        for warm in [false, true] {
            let world = world().await;
            let d = world.control.add_folder(0, "d");
            for number in 0..125 {
                plant(
                    &world,
                    d,
                    &format!("f{number:03}"),
                    &["same", "same", "same"],
                );
            }
            if warm {
                world.names("", true).await;
                minutes(1).await;
            }
            world.control.reset_calls();
            let groups = dedupe(&world, "", mode).await;
            assert_eq!(groups.len(), 125);
            let made = world.control.calls();
            assert_eq!(made.get(endpoint), calls, "{mode:?} {warm}: {made}");
            // Where something is changed, a fresh listing is needed.
            let listings = if warm { 1 } else { 2 };
            assert_eq!(made.get("folder/ls"), listings, "{mode:?} {warm}: {made}");
            assert_eq!(made.total_v1(), calls + listings);
            world.control.reset_calls();
            world.names("", true).await;
            assert_eq!(world.control.calls().total_v1(), 0, "the catalog is right");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_unless_what_stays_is_there() {
    for mode in [
        DedupeMode::Newest,
        DedupeMode::Oldest,
        DedupeMode::Identical,
    ] {
        let world = world().await;
        let urls = plant(&world, 0, "f", &["same", "same"]);
        world.names("", false).await;
        // Another program removes the very one that would stay.
        let kept = usize::from(mode != DedupeMode::Oldest);
        world.control.remove_file(&urls[kept]);
        seconds(1).await;
        assert_eq!(dedupe(&world, "", mode).await, [], "{mode:?}");
        assert_eq!(world.urls("f"), [urls[1 - kept].clone()], "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_no_listing_shows_yet_is_asked_about() {
    for there in [true, false] {
        let world = played(|b| b.index_delay = Duration::from_secs(200)).await;
        let theirs = world.control.add_file(0, "f", b"same");
        let header = PutHeader {
            size: Some(4),
            write_mode: WriteMode::KeepBoth.into(),
            ..header("f")
        };
        let ours = put(&world.client, header, b"same").await.unwrap();
        if !there {
            world.control.remove_file(&ours.id);
        }
        world.control.reset_calls();
        let groups = dedupe(&world, "", DedupeMode::Newest).await;
        let calls = world.control.calls();
        assert_eq!(calls.get("file/info"), 1, "{calls}");
        let left = if there { &ours.id } else { &theirs };
        assert_eq!(world.urls("f"), std::slice::from_ref(left));
        assert_eq!(groups.len(), usize::from(there));
        assert_eq!(world.stat("f").await.unwrap().id, *left);
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_free_encoded_and_not_too_long() {
    let world = world().await;
    let long = "x".repeat(246);
    let taken = world.control.add_folder(0, "taken");
    for (name, files) in [
        ("a.tar.gz", 2),
        ("a.tar-1.gz", 1),
        (".hidden", 2),
        ("noext", 3),
        ("noext-2", 1),
        ("it＇s.txt", 2),
    ] {
        for _ in 0..files {
            world.control.add_file(0, name, b"x");
        }
    }
    world.control.add_folder(0, "noext-1");
    for name in [format!("{long}.txt"), format!(".{}", "y".repeat(249))] {
        plant(&world, taken, &name, &["1", "2"]);
    }
    dedupe(&world, "", DedupeMode::Rename).await;
    let names: Vec<_> = world.stored_all();
    let expected = [
        ".hidden",
        ".hidden-1",
        "a.tar-1.gz",
        "a.tar-2.gz",
        "a.tar.gz",
        "it＇s-1.txt",
        "it＇s.txt",
        "noext",
        "noext-1",
        "noext-2",
        "noext-3",
        "noext-4",
        "taken",
    ];
    assert_eq!(names[..expected.len()], expected);
    let long = format!("taken/{}-1.txt", &long[..244]);
    assert!(names.contains(&long), "{names:?}");
    let hidden = format!("taken/.{}-1", "y".repeat(247));
    assert!(names.contains(&hidden), "{names:?}");
    for _ in 0..2 {
        let shown = world.names("", true).await;
        let shown: Vec<_> = shown
            .iter()
            .map(|path| path.trim_end_matches('/'))
            .collect();
        let names: Vec<_> = names.iter().map(|name| name.replace('＇', "'")).collect();
        assert_eq!(shown, names, "the catalog is right");
        minutes(6).await;
    }
}

#[tokio::test(start_paused = true)]
async fn files_whose_stored_names_differ_share_a_path() {
    let world = world().await;
    let raw = world.control.add_file(0, "a$b", b"1");
    let encoded = world.control.add_file(0, "a＄b", b"2");
    world.control.set_file_date(&raw, 1_767_618_131);
    let groups = dedupe(&world, "", DedupeMode::Newest).await;
    assert_eq!(paths(&groups), ["a$b"]);
    assert_eq!(groups[0].kept_id, encoded);
    assert_eq!(world.stored(), ["a＄b"]);
    // Another encoding sees two paths.
    let plain: Mask = "Slash".parse().unwrap();
    let world = build(Default::default(), |config| {
        config.remotes[0].encoding = plain;
    })
    .await;
    world.control.add_file(0, "a$b", b"1");
    world.control.add_file(0, "a＄b", b"2");
    assert_eq!(dedupe(&world, "", DedupeMode::Newest).await, []);
}

/// Three directories of one path, with files and directories that clash.
fn twins(world: &World) -> [u64; 3] {
    let first = world.control.add_folder(0, "d");
    let second = world.control.add_folder(0, "d");
    let third = world.control.add_folder(0, "d");
    plant(world, first, "both", &["old"]);
    plant(world, second, "both", &["older", "new"]);
    plant(world, second, "only", &["2"]);
    plant(world, third, "third", &["3"]);
    let sub = world.control.add_folder(first, "sub");
    let other = world.control.add_folder(second, "sub");
    plant(world, sub, "x", &["1"]);
    plant(world, other, "y", &["2"]);
    let moved = world.control.add_folder(second, "moved");
    plant(world, moved, "z", &["2"]);
    // Twins inside a twin.
    let inner = world.control.add_folder(third, "inner");
    let inner_twin = world.control.add_folder(third, "inner");
    plant(world, inner, "p", &["3"]);
    plant(world, inner_twin, "q", &["3"]);
    [first, second, third]
}

#[tokio::test(start_paused = true)]
async fn directories_of_one_path_are_merged() {
    for (mode, both) in [
        (DedupeMode::Identical, 3),
        (DedupeMode::Newest, 1),
        (DedupeMode::Oldest, 1),
    ] {
        for play in [MvRename::HonoursDestination, MvRename::IgnoresDestination] {
            let world = played(|b| b.mv_rename = play).await;
            let [first, ..] = twins(&world);
            let groups = dedupe(&world, "", mode).await;
            assert_eq!(paths(&groups)[0], "d", "{mode:?}");
            assert_eq!(groups[0].entries.len(), 3);
            assert_eq!(groups[0].kept_id, first.to_string());
            assert_eq!(ids(&groups[0].remaining), [first.to_string()]);
            let mut wanted = vec!["d"];
            wanted.extend(vec!["d/both"; both]);
            wanted.extend([
                "d/inner",
                "d/inner/p",
                "d/inner/q",
                "d/moved",
                "d/moved/z",
                "d/only",
                "d/sub",
                "d/sub/x",
                "d/sub/y",
                "d/third",
            ]);
            assert_eq!(world.stored_all(), wanted, "{mode:?}");
            assert_eq!(world.folder("d"), first);
            // What came together is resolved, too.
            let told: Vec<_> = paths(&groups);
            assert_eq!(told, ["d", "d/both"], "{mode:?}");
            let listed = world.names("", true).await;
            minutes(6).await;
            assert_eq!(world.names("", true).await, listed, "the catalog is right");
            assert_eq!(world.control.calls().floods(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn merging_costs_a_call_for_a_hundred_files_and_for_each_directory() {
    let world = world().await;
    let first = world.control.add_folder(0, "d");
    let second = world.control.add_folder(0, "d");
    world.control.add_many_files(second, "f", 150, 10);
    for number in 0..3 {
        let sub = world.control.add_folder(second, &format!("s{number}"));
        world.control.add_file(sub, "x", b"1");
    }
    world.control.add_file(first, "g", b"1");
    minutes(1).await;
    world.control.reset_calls();
    let request = DedupeRequest {
        recursive: false,
        ..order("", DedupeMode::Newest)
    };
    let groups = ask(&world.client, request).await.unwrap();
    assert_eq!((groups.len(), groups[0].failures.len()), (1, 0));
    let calls: BTreeMap<String, u64> = world
        .control
        .calls()
        .iter()
        .map(|(endpoint, count)| (endpoint.to_owned(), count))
        .collect();
    let wanted = [
        // The parent and both directories.
        ("folder/ls", 3),
        ("file/mv", 2),
        ("folder/mv", 3),
        ("folder/rm", 1),
    ];
    let wanted = wanted.map(|(endpoint, count)| (endpoint.to_owned(), count));
    assert_eq!(calls, BTreeMap::from(wanted));
    assert_eq!(world.stored().len(), 154);
    world.assert_agreement("merged").await;
}

#[tokio::test(start_paused = true)]
async fn directories_of_one_path_get_names_of_their_own() {
    for play in [MvRename::HonoursDestination, MvRename::IgnoresDestination] {
        let world = played(|b| b.mv_rename = play).await;
        let a = world.control.add_folder(0, "a");
        for _ in 0..3 {
            let folder = world.control.add_folder(a, "d.x");
            world.control.add_file(folder, "f", b"1");
        }
        world.control.add_folder(a, "d.x-1");
        let foreseen = DedupeRequest {
            validate_only: true,
            ..order("", DedupeMode::Rename)
        };
        let foreseen = ask(&world.client, foreseen).await.unwrap();
        let groups = dedupe(&world, "", DedupeMode::Rename).await;
        for groups in [&foreseen, &groups] {
            assert_eq!(paths(groups), ["a/d.x"]);
            let remaining: Vec<_> = groups[0]
                .remaining
                .iter()
                .map(|e| e.path.as_str())
                .collect();
            assert_eq!(remaining, ["a/d.x", "a/d.x-2", "a/d.x-3"]);
        }
        let folders: Vec<_> = world
            .stored_all()
            .into_iter()
            .filter(|path| !path.ends_with("/f"))
            .collect();
        assert_eq!(folders, ["a", "a/d.x", "a/d.x-1", "a/d.x-2", "a/d.x-3"]);
        let names = world.names("", true).await;
        assert!(names.contains(&"a/d.x-3/f".to_owned()), "{names:?}");
        for _ in 0..2 {
            minutes(1).await;
            let listed = world.listed_within("a", 0).await.0;
            assert_eq!(listed, ["a/d.x", "a/d.x-1", "a/d.x-2", "a/d.x-3"]);
        }
        minutes(6).await;
        world.assert_agreement("renamed").await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_told_and_the_rest_is_done() {
    let world = world().await;
    let a = world.control.add_folder(0, "a");
    let b = world.control.add_folder(0, "b");
    let c = world.control.add_folder(0, "c");
    for folder in [a, b, c] {
        plant(&world, folder, "f", &["1", "2"]);
    }
    world.names("", false).await;
    // The directory b cannot be read, and in a nothing can be removed.
    let refused = |message: &str| Ko {
        http: 403,
        message: message.to_owned(),
    };
    world.control.inject(Fault {
        endpoint: "folder/ls".to_owned(),
        skip: 1,
        times: 1,
        kind: refused("Resource not allowed #631"),
    });
    world.fail("file/rm", 1, refused("Resource not allowed #632"));
    let groups = ask(&world.client, order("", DedupeMode::Newest))
        .await
        .unwrap();
    let told: Vec<_> = groups
        .iter()
        .map(|group| {
            let reasons = group.failures.iter().map(|failed| {
                let failure = failed.failure.as_ref().unwrap();
                (failed.path.as_str(), failure.reason.as_str())
            });
            (
                group.path.as_str(),
                group.remaining.len(),
                reasons.collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("a/f", 2, vec![("a/f", "UPSTREAM_ACCESS_DENIED")]),
            ("b", 0, vec![("b", "UPSTREAM_ACCESS_DENIED")]),
            ("c/f", 1, vec![]),
        ]
    );
    assert_eq!(world.stored(), ["a/f", "a/f", "b/f", "b/f", "c/f"]);
}

#[tokio::test(start_paused = true)]
async fn a_merge_that_fails_half_loses_nothing_and_is_ended_by_the_next() {
    for endpoint in ["file/mv", "folder/mv", "folder/rm"] {
        for kind in [
            Ko {
                http: 200,
                message: "Something new #9".to_owned(),
            },
            ResetAfterEffect,
            ResetBeforeAnswer,
            EmptyBody,
        ] {
            let context = format!("{endpoint} {kind:?}");
            let world = world().await;
            twins(&world);
            let mut before: Vec<_> = world.stored();
            before.sort();
            world.fail(endpoint, 1, kind);
            let request = || order("", DedupeMode::Identical);
            ask(&world.client, request()).await.unwrap();
            assert_eq!(world.stored(), before, "{context}: every file is there");
            world.control.clear_faults();
            minutes(6).await;
            ask(&world.client, request()).await.unwrap();
            assert_eq!(world.stored(), before, "{context}");
            let folders = world.stored_all().into_iter().filter(|path| path == "d");
            assert_eq!(folders.count(), 1, "{context}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_renaming_that_fails_half_is_told_file_by_file() {
    for kind in [
        ResetAfterEffect,
        ResetBeforeAnswer,
        TruncatedJson,
        PartialBatch(2),
        refusal(),
    ] {
        let world = world().await;
        for number in 0..4 {
            plant(&world, 0, &format!("f{number}"), &["1", "2"]);
        }
        world.fail("file/rename", 1, kind.clone());
        let groups = dedupe(&world, "", DedupeMode::Rename).await;
        assert_eq!(groups.len(), 4, "{kind:?}");
        let wanted: Vec<_> = (0..4)
            .flat_map(|number| [format!("f{number}"), format!("f{number}-1")])
            .collect();
        assert_eq!(world.stored(), wanted, "{kind:?}");
        minutes(6).await;
        world.assert_agreement(&format!("{kind:?}")).await;
    }
}

/// A refusal of all for the sake of one.
fn refusal() -> FaultKind {
    Ko {
        http: 200,
        message: "Something new #9".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_to_the_same_path_at_the_same_time_is_not_lost() {
    for mode in CHANGING {
        for write_mode in [WriteMode::Replace, WriteMode::KeepBoth] {
            for slow in ["file/rm", "file/rename", "upload/get_upload_server"] {
                for (pause, later) in [(0, 0), (500, 0), (3_000, 0), (0, 400), (0, 1_500)] {
                    let context = format!("{mode:?} {write_mode:?} {slow} {pause} {later}");
                    let world = world().await;
                    plant(&world, 0, "f", &["1", "2", "1"]);
                    world.names("", false).await;
                    minutes(1).await;
                    world.fail(slow, 1, Delay(Duration::from_secs(2)));
                    let writing = async {
                        tokio::time::sleep(Duration::from_millis(pause)).await;
                        let header = PutHeader {
                            size: Some(9),
                            write_mode: write_mode.into(),
                            ..header("f")
                        };
                        put(&world.client, header, b"brand new").await.unwrap()
                    };
                    let resolving = async {
                        tokio::time::sleep(Duration::from_millis(later)).await;
                        ask(&world.client, order("", mode)).await
                    };
                    let (written, groups) = tokio::join!(writing, resolving);
                    groups.unwrap();
                    let held: Vec<_> = world
                        .control
                        .tree()
                        .into_iter()
                        .map(|node| node.url)
                        .collect();
                    // Oldest may have come second: then it does what it says.
                    if mode != DedupeMode::Oldest {
                        assert!(held.contains(&written.id), "{context}");
                        assert_eq!(world.stat("f").await.unwrap().id, written.id, "{context}");
                    }
                    assert!(!held.is_empty(), "{context}");
                    world.get("f").await.unwrap();
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_began_under_another_path_is_not_lost() {
    let world = world().await;
    let d = world.control.add_folder(0, "d");
    plant(&world, d, "f", &["1", "2", "1"]);
    world.names("", true).await;
    minutes(1).await;
    // The write has stored its file and removes the older ones.
    world.fail("file/rm", 1, Delay(Duration::from_secs(5)));
    let moving = async {
        seconds(1).await;
        let request = MoveDirRequest {
            source_path: "d".to_owned(),
            destination_path: "e".to_owned(),
            ..MoveDirRequest::default()
        };
        world.client.clone().move_dir(request).await.unwrap();
        ask(&world.client, order("e", DedupeMode::Oldest))
            .await
            .unwrap()
    };
    let (written, _) = tokio::join!(world.put("d/f", b"brand new"), moving);
    assert_eq!(world.urls("e/f"), [written.unwrap().id]);
}

#[tokio::test(start_paused = true)]
async fn a_file_moved_onto_the_path_at_the_same_time_is_not_lost() {
    for mode in [DedupeMode::Newest, DedupeMode::Identical] {
        let world = world().await;
        plant(&world, 0, "f", &["1", "1", "1"]);
        let moved = world.put("d/g", b"moved").await.unwrap();
        minutes(1).await;
        world.fail("file/mv", 1, Delay(Duration::from_secs(3)));
        let request = MoveRequest {
            source_path: "d/g".to_owned(),
            destination_path: "f".to_owned(),
            ..MoveRequest::default()
        };
        let mut client = world.client.clone();
        let moving = client.r#move(request);
        let (answer, groups) = tokio::join!(moving, ask(&world.client, order("", mode)));
        answer.unwrap();
        groups.unwrap();
        assert_eq!(world.urls("f"), [moved.id], "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_walk_that_nobody_waits_for_stops() {
    let world = world().await;
    for number in 0..200 {
        let folder = world.control.add_folder(0, &format!("d{number:03}"));
        plant(&world, folder, "f", &["1", "2"]);
    }
    world.names("", false).await;
    let request = order("", DedupeMode::Newest);
    let mut stream = world
        .client
        .clone()
        .dedupe(request)
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());
    drop(stream);
    minutes(2).await;
    let calls = world.control.calls().total_v1();
    minutes(10).await;
    assert_eq!(world.control.calls().total_v1(), calls, "nothing goes on");
    assert!(world.stored().len() > 300, "{}", world.stored().len());
    // And what it did is known.
    world.names("", true).await;
    minutes(6).await;
    let doubled = world.list("", true).await.unwrap();
    let doubled = doubled
        .iter()
        .filter(|entry| entry.attributes.contains_key("duplicates"));
    assert_eq!(200 - doubled.count(), 400 - world.stored().len());
}

/// All entries, each of several with one path by itself, in pages of one.
async fn each(world: &World, path: &str) -> Vec<Entry> {
    let mut request = ListRequest {
        path: path.to_owned(),
        recursive: true,
        every_duplicate: true,
        page_size: 1,
        ..ListRequest::default()
    };
    let whole = list(&world.client, request.clone()).await.unwrap();
    let whole: Vec<_> = whole.into_iter().flat_map(|page| page.entries).collect();
    // The same, taken up again behind every page.
    let mut parts = Vec::new();
    loop {
        let pages = list(&world.client, request.clone()).await.unwrap();
        parts.extend(pages[0].entries.clone());
        request.page_token = pages[0].next_page_token.clone();
        if request.page_token.is_empty() {
            assert_eq!(parts, whole);
            return whole;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_of_several_entries_is_listed_and_its_etag_means_it() {
    let world = world().await;
    let control = &world.control;
    let first = control.add_folder(0, "d");
    let second = control.add_folder(0, "d");
    control.add_file(second, "x", b"x");
    let urls = plant(&world, first, "f", &["1", "22", "333", "4444"]);
    let entries = each(&world, "").await;
    let shown: Vec<_> = entries
        .iter()
        .map(|entry| (entry.path.as_str(), entry.id.as_str()))
        .collect();
    let (one, two) = (first.to_string(), second.to_string());
    let newest_first = urls.iter().rev().map(|url| ("d/f", url.as_str()));
    let mut expected = vec![("d", one.as_str()), ("d", two.as_str())];
    expected.extend(newest_first);
    assert_eq!(shown[..6], expected);
    assert_eq!(shown[6].0, "d/x");
    assert_eq!(shown.len(), 7, "what is in them is listed once");
    for entry in &entries[..2] {
        assert_eq!(entry.attributes["duplicates"], "2");
    }
    let versions = &entries[2..6];
    for (entry, content) in versions.iter().zip(["4444", "333", "22", "1"]) {
        assert_eq!(entry.attributes["duplicates"], "4");
        let request = GetRequest {
            path: entry.path.clone(),
            if_match_etag: entry.etag.clone(),
            ..GetRequest::default()
        };
        let download = get(&world.client, request).await.unwrap();
        assert_eq!(download.content, content.as_bytes());
    }

    // The second newest goes, the oldest is renamed, and one of the others is copied.
    let target = DeleteTarget {
        path: "d/f".into(),
        if_match_etag: versions[1].etag.clone(),
    };
    let mut client = world.client.clone();
    let request = DeleteRequest {
        targets: vec![target],
        ..DeleteRequest::default()
    };
    let deleted = client.delete(request.clone()).await.unwrap().into_inner();
    assert_eq!(deleted.results[0].failure, None);
    let again = client.delete(request).await.unwrap().into_inner();
    let failure = again.results[0].failure.clone().unwrap();
    assert_eq!(failure.reason, "ETAG_MISMATCH");
    let moving = MoveRequest {
        source_path: "d/f".into(),
        destination_path: "d/oldest".into(),
        if_match_etag: versions[3].etag.clone(),
        ..MoveRequest::default()
    };
    client.r#move(moving).await.unwrap();
    let copying = CopyRequest {
        source_path: "d/f".into(),
        destination_path: "d/copy".into(),
        if_match_etag: versions[2].etag.clone(),
        ..CopyRequest::default()
    };
    client.copy(copying).await.unwrap();
    assert_eq!(world.get("d/oldest").await.unwrap().content, b"1");
    assert_eq!(world.get("d/copy").await.unwrap().content, b"22");
    let left = each(&world, "").await;
    let ids: Vec<_> = left.iter().filter(|entry| entry.path == "d/f").collect();
    let ids: Vec<_> = ids.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, [urls[3].as_str(), urls[1].as_str()]);
}

#[tokio::test(start_paused = true)]
async fn directories_are_merged_alone_if_so_wanted() {
    let world = world().await;
    let control = &world.control;
    let first = control.add_folder(0, "d");
    let second = control.add_folder(0, "d");
    let urls = plant(&world, 0, "f", &["1", "1", "2"]);
    plant(&world, first, "f", &["1"]);
    plant(&world, second, "f", &["1"]);
    let request = DedupeRequest {
        recursive: false,
        ..order("", DedupeMode::Directories)
    };
    let groups = ask(&world.client, request).await.unwrap();
    assert_eq!(paths(&groups), ["d"]);
    assert_eq!(groups[0].failures, []);
    let left: Vec<_> = tree(&world).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left.iter().filter(|path| *path == "d").count(), 1);
    assert_eq!(left.iter().filter(|path| *path == "d/f").count(), 2);
    for url in urls {
        assert!(tree(&world).iter().any(|(_, left)| *left == url), "{url}");
    }
}
