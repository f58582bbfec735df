//! Moves and copies: what they cost, whatever 1Fichier plays, and on bad days.

use std::time::Duration;

use futures::future::join_all;
use pluton_fichier::emulator::FaultKind::*;
use pluton_fichier::emulator::{
    Behaviour, DatesOnMove, FaultKind, ForbiddenChars, MvWithRename, Options, UnknownParent,
    UrlStability,
};
use pluton_fichier::encoding::Mask;
use pluton_fichier::proto::*;
use tonic::Status;

use crate::checks::*;
use crate::harness::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Move,
    Copy,
}

use Action::*;

/// Moves or copies a file; tells also whether it was replayed.
pub(crate) async fn relocate_as(
    client: &Client,
    action: Action,
    from: &str,
    to: &str,
    mode: WriteMode,
    request_id: &str,
) -> Result<(Entry, bool), Status> {
    let (source_path, destination_path) = (from.to_owned(), to.to_owned());
    let (write_mode, request_id) = (mode.into(), request_id.to_owned());
    let mut client = client.clone();
    match action {
        Move => {
            let request = MoveRequest {
                source_path,
                destination_path,
                write_mode,
                request_id,
                ..MoveRequest::default()
            };
            let answer = client.r#move(request).await?.into_inner();
            Ok((answer.entry.unwrap(), answer.replayed))
        }
        Copy => {
            let request = CopyRequest {
                source_path,
                destination_path,
                write_mode,
                request_id,
                ..CopyRequest::default()
            };
            let answer = client.copy(request).await?.into_inner();
            Ok((answer.entry.unwrap(), answer.replayed))
        }
    }
}

async fn relocate(
    world: &World,
    action: Action,
    from: &str,
    to: &str,
    mode: WriteMode,
) -> Result<Entry, Status> {
    let outcome = relocate_as(&world.client, action, from, to, mode, "").await;
    outcome.map(|(entry, _)| entry)
}

type Play = (&'static str, fn(&mut Behaviour));

/// In the same folder, to another one with the same name, and with another.
const WAYS: [(&str, &str); 3] = [("a/x", "a/y"), ("a/x", "b/x"), ("a/x", "b/y")];

/// An account with a file, a folder to go to, and perhaps a file there.
async fn prepared(world: &World, to: &str, existing: bool) {
    world.put("a/x", &content(1_000)).await.unwrap();
    world.mkdir("b").await.unwrap();
    if existing {
        world.put(to, &content(2_000)).await.unwrap();
    }
}

/// The files of a path: their sizes, as 1Fichier holds them.
fn held(world: &World, path: &str) -> Vec<u64> {
    let tree = world.control.tree();
    let nodes = tree.iter().filter(|node| node.path == path);
    let mut sizes: Vec<_> = nodes.map(|node| node.size).collect();
    sizes.sort_unstable();
    sizes
}

/// What stands at source and destination once all is done.
fn expected(action: Action, mode: WriteMode, existing: bool) -> (Vec<u64>, Vec<u64>) {
    let source = if action == Move { vec![] } else { vec![1_000] };
    let destination = match (existing, mode) {
        (true, WriteMode::KeepBoth) => vec![1_000, 2_000],
        _ => vec![1_000],
    };
    (source, destination)
}

#[tokio::test(start_paused = true)]
async fn however_moves_are_played_clients_see_the_same() {
    let plays: [Play; 9] = [
        ("default", |_| ()),
        ("urls change", |b| b.url_stability = UrlStability::Changes),
        ("urls untold", |b| b.told_urls = false),
        ("urls change untold", |b| {
            b.url_stability = UrlStability::Changes;
            b.told_urls = false;
        }),
        ("no rename in mv", |b| {
            b.mv_with_rename = MvWithRename::Refuse
        }),
        ("rename ignored in mv", |b| {
            b.mv_with_rename = MvWithRename::KeepsName;
        }),
        ("new dates", |b| b.dates_on_move = DatesOnMove::AlwaysNew),
        ("old dates", |b| b.dates_on_move = DatesOnMove::AlwaysKept),
        ("late listings", |b| {
            b.index_delay = Duration::from_secs(20);
            b.told_urls = false;
        }),
    ];
    for (name, play) in plays {
        let world = played(play).await;
        for action in [Move, Copy] {
            for (from, to) in WAYS {
                for (existing, mode) in [
                    (false, WriteMode::Replace),
                    (true, WriteMode::Replace),
                    (true, WriteMode::KeepBoth),
                ] {
                    let context = format!("{name}: {action:?} {from} {to} {mode:?} {existing}");
                    prepared(&world, to, existing).await;
                    minutes(1).await;
                    let entry = relocate(&world, action, from, to, mode).await;
                    let entry = entry.unwrap_or_else(|error| panic!("{context}: {error:?}"));
                    assert_eq!(
                        (entry.path.as_str(), entry.size),
                        (to, Some(1_000)),
                        "{context}"
                    );
                    let (source, destination) = expected(action, mode, existing);
                    assert_eq!(held(&world, from), source, "{context}");
                    assert_eq!(held(&world, to), destination, "{context}");
                    let duplicates = destination.len().to_string();
                    if destination.len() > 1 {
                        assert_eq!(entry.attributes["duplicates"], duplicates, "{context}");
                    }
                    assert!(world.urls(to).contains(&entry.id), "{context}");
                    // A listing agrees, at once and later.
                    for _ in 0..3 {
                        minutes(1).await;
                        let names = world.listed_within("", 0).await.0;
                        assert_eq!(names, ["a", "b"], "{context}");
                        let folder = to.split('/').next().unwrap();
                        let names = world.listed_within(folder, 0).await.0;
                        assert!(names.contains(&to.to_owned()), "{context}: {names:?}");
                    }
                    if mode == WriteMode::Replace {
                        assert_eq!(world.get(to).await.unwrap().content, content(1_000));
                    }
                    assert_eq!(world.control.calls().floods(), 0, "{context}");
                    for node in world.control.tree() {
                        world.control.remove_file(&node.url);
                    }
                    minutes(6).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_came_back_is_there() {
    let world = world().await;
    world.put("a/x", &content(10)).await.unwrap();
    minutes(6).await;
    for (from, to) in [("a/x", "b/x"), ("b/x", "a/y"), ("a/y", "a/x")] {
        relocate(&world, Move, from, to, WriteMode::Replace)
            .await
            .unwrap();
        minutes(1).await;
        assert_eq!(world.listed_within(&to[..1], 0).await.0, [to]);
        minutes(1).await;
        assert_eq!(world.listed_within(&to[..1], 0).await.0, [to]);
    }
    assert_eq!(world.listed_within("b", 0).await.0, [""; 0]);
    world.assert_agreement("back again").await;
}

#[tokio::test(start_paused = true)]
async fn a_move_or_copy_costs_one_call_and_replacing_one_more() {
    for action in [Move, Copy] {
        for (from, to) in WAYS {
            for (existing, calls) in [(false, 1), (true, 2)] {
                let world = world().await;
                prepared(&world, to, existing).await;
                world.control.reset_calls();
                relocate(&world, action, from, to, WriteMode::Replace)
                    .await
                    .unwrap();
                assert_eq!(
                    world.control.calls().total_v1(),
                    calls,
                    "{action:?} {from} {to}: {}",
                    world.control.calls()
                );
                world.assert_agreement("replaced").await;
            }
        }
    }
}

/// The call that does it.
fn endpoint(action: Action, from: &str, to: &str) -> &'static str {
    let folder = |path: &str| path.split('/').next().unwrap().to_owned();
    match action {
        Copy => "file/cp",
        Move if folder(from) == folder(to) => "file/rename",
        Move => "file/mv",
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_up_and_nothing_is_done_twice() {
    let kinds = [
        ResetAfterEffect,
        EmptyBody,
        TruncatedJson,
        Truncate(3),
        ResetBeforeAnswer,
        FaultKind::Status(503),
        HtmlPage,
        Hang,
    ];
    for changes in [UrlStability::Stable, UrlStability::Changes] {
        let world = played(|b| b.url_stability = changes).await;
        for action in [Move, Copy] {
            for (from, to) in WAYS {
                for kind in &kinds {
                    let context = format!("{changes:?} {action:?} {from} {to} {kind:?}");
                    prepared(&world, to, true).await;
                    world.fail(endpoint(action, from, to), 1, kind.clone());
                    let outcome = relocate(&world, action, from, to, WriteMode::Replace).await;
                    assert!(outcome.is_ok(), "{context}: {outcome:?}");
                    minutes(6).await;
                    let (source, destination) = expected(action, WriteMode::Replace, true);
                    assert_eq!(held(&world, from), source, "{context}");
                    assert_eq!(held(&world, to), destination, "{context}");
                    world.assert_agreement(&context).await;
                    for node in world.control.tree() {
                        world.control.remove_file(&node.url);
                    }
                    world.control.clear_faults();
                    minutes(6).await;
                }
            }
        }
        assert_eq!(world.control.calls().floods(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_shows_late_is_not_made_again() {
    let world = played(|b| b.index_delay = Duration::from_secs(45)).await;
    prepared(&world, "b/y", false).await;
    minutes(2).await;
    world.fail("file/cp", 1, ResetAfterEffect);
    let entry = relocate(&world, Copy, "a/x", "b/y", WriteMode::KeepBoth)
        .await
        .unwrap();
    assert_eq!(world.urls("b/y"), [entry.id]);
    assert_eq!(world.control.calls().get("file/cp"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_answer_was_lost_is_looked_up_together() {
    for action in [Move, Copy] {
        let world = world().await;
        let names: Vec<_> = (0..40).map(|number| format!("{number:02}")).collect();
        for name in &names {
            let folder = world
                .control
                .tree()
                .iter()
                .find(|node| node.path == "a")
                .map(|node| node.id);
            let folder = folder.unwrap_or_else(|| world.control.add_folder(0, "a"));
            world.control.add_file(folder, name, name.as_bytes());
        }
        world.control.add_folder(0, "b");
        assert_eq!(world.names("", true).await.len(), 42);
        minutes(2).await;
        world.control.reset_calls();
        let endpoint = endpoint(action, "a/x", "b/x");
        world.fail(endpoint, 100, ResetAfterEffect);
        let all = names.iter().map(|name| {
            let (from, to) = (format!("a/{name}"), format!("b/{name}"));
            let world = &world;
            async move { relocate(world, action, &from, &to, WriteMode::Replace).await }
        });
        for outcome in join_all(all).await {
            outcome.unwrap();
        }
        let calls = world.control.calls();
        assert!(calls.get(endpoint) <= 2, "{calls}");
        assert!(calls.get("folder/ls") <= 3, "{action:?} {calls}");
        let arrived = world
            .stored()
            .iter()
            .filter(|path| path.starts_with("b/"))
            .count();
        assert_eq!(arrived, 40);
        world.control.clear_faults();
        minutes(6).await;
        world.assert_agreement("after a lost batch").await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_move_would_replace_stays_until_it_has_arrived() {
    for (from, to) in WAYS {
        for action in [Move, Copy] {
            let world = world().await;
            prepared(&world, to, true).await;
            let refusal = Ko {
                http: 200,
                message: "Something new #9".to_owned(),
            };
            world.fail("file/mv", 10, refusal.clone());
            world.fail("file/cp", 10, refusal.clone());
            world.fail("file/rename", 10, refusal);
            let status = relocate(&world, action, from, to, WriteMode::Replace)
                .await
                .unwrap_err();
            assert_eq!(assert_clear(&status, "refused"), "UPSTREAM_PROTOCOL");
            assert_eq!(
                (held(&world, from), held(&world, to)),
                (vec![1_000], vec![2_000])
            );
            assert_eq!(world.control.calls().get("file/rm"), 0);
            world.control.clear_faults();
            minutes(6).await;
            world.assert_agreement("after a refusal").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_version_that_cannot_be_removed_fails_nothing_and_goes_later() {
    let refusal = Ko {
        http: 200,
        message: "Something new #9".to_owned(),
    };
    for write in [Some(Move), Some(Copy), None] {
        let world = world().await;
        prepared(&world, "b/y", true).await;
        // What was stored a moment ago is tried four times.
        world.fail("file/rm", 5, refusal.clone());
        let entry = match write {
            Some(action) => relocate(&world, action, "a/x", "b/y", WriteMode::Replace).await,
            None => world.put("b/y", &content(1_000)).await,
        };
        let entry = entry.unwrap();
        assert_eq!(entry.attributes["duplicates"], "2");
        assert_eq!(held(&world, "b/y"), [1_000, 2_000], "{write:?}");
        let shown = world.stat("b/y").await.unwrap();
        assert_eq!(shown.attributes["duplicates"], "2");
        if write != Some(Move) {
            assert_eq!(shown.id, entry.id, "the new one is the file");
        }
        // Refused once more, then done.
        seconds(65).await;
        assert_eq!(held(&world, "b/y"), [1_000, 2_000], "{write:?}");
        minutes(3).await;
        assert_eq!(world.urls("b/y"), [entry.id], "{write:?}");
        world.control.reset_calls();
        minutes(60).await;
        assert_eq!(
            world.control.calls().get("file/rm"),
            0,
            "nothing is left to do"
        );
        world.assert_agreement("after a while").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_version_stays_when_the_file_that_replaced_it_is_gone() {
    let world = world().await;
    prepared(&world, "b/y", true).await;
    world.fail(
        "file/rm",
        4,
        Ko {
            http: 200,
            message: "Something new #9".to_owned(),
        },
    );
    relocate(&world, Move, "a/x", "b/y", WriteMode::Replace)
        .await
        .unwrap();
    // What was moved there took the place of the other, which came second.
    relocate(&world, Move, "b/y", "c", WriteMode::Replace)
        .await
        .unwrap();
    relocate(&world, Move, "b/y", "d", WriteMode::Replace)
        .await
        .unwrap();
    minutes(30).await;
    assert_eq!(
        (held(&world, "c"), held(&world, "d")),
        (vec![1_000], vec![2_000])
    );
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_another_program_removed_is_made_again() {
    for unknown in [UnknownParent::Refuse, UnknownParent::Root] {
        for action in [Move, Copy] {
            for to in ["b/x", "b/y"] {
                let context = format!("{unknown:?} {action:?} {to}");
                let world = played(|b| b.unknown_parent = unknown).await;
                prepared(&world, to, false).await;
                minutes(1).await;
                world.control.remove_folder(world.folder("b"));
                let entry = relocate(&world, action, "a/x", to, WriteMode::Replace).await;
                let entry = entry.unwrap_or_else(|error| panic!("{context}: {error:?}"));
                assert_eq!(held(&world, to), [1_000], "{context}");
                assert_eq!(world.urls(to), [entry.id], "{context}");
                minutes(6).await;
                world.assert_agreement(&context).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_moves_to_a_removed_folder_arrive_all_the_same() {
    let world = world().await;
    let a = world.control.add_folder(0, "a");
    let b = world.control.add_folder(0, "b");
    let names: Vec<_> = (0..20).map(|number| format!("{number:02}")).collect();
    for name in &names {
        world.control.add_file(a, name, name.as_bytes());
    }
    assert_eq!(world.names("", true).await.len(), 22);
    minutes(1).await;
    world.control.remove_folder(b);
    let all = names.iter().map(|name| {
        let (from, to) = (format!("a/{name}"), format!("b/{name}"));
        let world = &world;
        async move { relocate(world, Move, &from, &to, WriteMode::Replace).await }
    });
    for outcome in join_all(all).await {
        outcome.unwrap();
    }
    let calls = world.control.calls();
    assert!(
        calls.get("file/mv") <= 6 && calls.get("file/info") <= 3,
        "{calls}"
    );
    assert_eq!(world.stored().len(), 20);
    assert!(world.stored().iter().all(|path| path.starts_with("b/")));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_another_program_removed_is_not_found() {
    for action in [Move, Copy] {
        for (from, to) in WAYS {
            let world = world().await;
            prepared(&world, to, true).await;
            world.control.remove_file(&world.urls(from)[0]);
            let outcome = relocate(&world, action, from, to, WriteMode::Replace).await;
            assert_reason(outcome, "FILE_NOT_FOUND");
            assert_eq!(held(&world, to), [2_000]);
            // And no directory is left behind.
            world.control.remove_file(&world.urls(to)[0]);
            minutes(6).await;
            world.put(from, &content(1_000)).await.unwrap();
            world.control.remove_file(&world.urls(from)[0]);
            let outcome = relocate(&world, action, from, "n/e/w", WriteMode::Replace).await;
            assert_reason(outcome, "FILE_NOT_FOUND");
            assert_eq!(world.stored_all(), ["a", "b"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_1fichier_changes_or_refuses_leaves_all_as_it_was() {
    for rule in [ForbiddenChars::Refuse, ForbiddenChars::Replace] {
        let mut options = Options::default();
        options.behaviour.forbidden_chars = rule;
        let plain: Mask = "Slash".parse().unwrap();
        let world = build(options, |config| config.remotes[0].encoding = plain).await;
        for action in [Move, Copy] {
            for to in ["a/y<", "b/y<"] {
                let context = format!("{rule:?} {action:?} {to}");
                prepared(&world, to, false).await;
                let before = world.urls("a/x");
                let outcome = relocate(&world, action, "a/x", to, WriteMode::Replace).await;
                assert_reason(outcome, "INVALID_PATH");
                assert_eq!(world.stored_all(), ["a", "a/x", "b"], "{context}");
                assert_eq!(world.urls("a/x"), before, "{context}");
                minutes(6).await;
                world.assert_agreement(&context).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_goes_on_when_its_caller_leaves_after_it_was_sent() {
    for action in [Move, Copy] {
        for (from, to) in WAYS {
            let world = world().await;
            prepared(&world, to, true).await;
            minutes(1).await;
            world.fail(endpoint(action, from, to), 1, Delay(Duration::from_secs(5)));
            let call = relocate(&world, action, from, to, WriteMode::Replace);
            let left = tokio::time::timeout(Duration::from_secs(2), call).await;
            left.unwrap_err();
            seconds(10).await;
            let (source, destination) = expected(action, WriteMode::Replace, true);
            assert_eq!(held(&world, from), source, "{action:?} {from} {to}");
            assert_eq!(held(&world, to), destination);
            world.assert_agreement("after the caller left").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_whose_caller_leaves_before_it_was_sent_does_not_happen() {
    for (from, to) in WAYS {
        let world = world().await;
        prepared(&world, to, false).await;
        minutes(1).await;
        // The account is locked for half a minute.
        world.fail("user/info", 1, Flood);
        let client = world.client.clone();
        let (from_path, to_path) = (from.to_owned(), to.to_owned());
        let call = async move {
            seconds(1).await;
            let call = relocate_as(&client, Move, &from_path, &to_path, WriteMode::Replace, "");
            tokio::time::timeout(Duration::from_secs(5), call).await
        };
        let client = world.client.clone();
        let locked = tokio::spawn(async move {
            let mut client = client;
            client.about(AboutRequest::default()).await
        });
        call.await.unwrap_err();
        locked.await.unwrap().unwrap();
        minutes(2).await;
        assert_eq!(held(&world, from), [1_000], "{from} {to}");
        assert!(held(&world, to).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_to_what_is_being_moved_away_loses_neither() {
    for (from, to) in WAYS {
        let world = world().await;
        prepared(&world, to, false).await;
        minutes(1).await;
        world.fail(endpoint(Move, from, to), 1, Delay(Duration::from_secs(10)));
        let moving = relocate(&world, Move, from, to, WriteMode::Replace);
        let writing = async {
            seconds(2).await;
            world.put(from, &content(3_000)).await
        };
        let (moved, written) = tokio::join!(moving, writing);
        moved.unwrap();
        written.unwrap();
        assert_eq!(held(&world, from), [3_000], "{from} {to}");
        assert_eq!(held(&world, to), [1_000], "{from} {to}");
        minutes(6).await;
        world.assert_agreement("after both").await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_move_and_copy_is_replayed_by_its_request_id() {
    for action in [Move, Copy] {
        for (from, to) in WAYS {
            for mode in [WriteMode::Replace, WriteMode::KeepBoth] {
                let mut world = world().await;
                prepared(&world, to, true).await;
                let first = relocate_as(&world.client, action, from, to, mode, "id").await;
                let (first, replayed) = first.unwrap();
                assert!(!replayed);
                // The source is as it was, or another file: it is not looked at.
                if action == Move {
                    world.put(from, &content(5)).await.unwrap();
                }
                world.restart().await;
                world.control.reset_calls();
                let again = relocate_as(&world.client, action, from, to, mode, "id").await;
                let (again, replayed) = again.unwrap();
                assert!(replayed, "{action:?} {from} {to} {mode:?}");
                assert_eq!((again.id, again.path), (first.id, first.path));
                assert_eq!(world.control.calls().total_v1(), 0);
                let other = relocate_as(&world.client, action, from, "z", mode, "id").await;
                assert_reason(other, "REQUEST_ID_REUSED");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_file_onto_itself_makes_a_second_one_only_when_both_may_stay() {
    let world = world().await;
    let original = world.put("x", &content(10)).await.unwrap();
    assert_reason(
        relocate(&world, Copy, "x", "x", WriteMode::Replace).await,
        "INVALID_FIELD",
    );
    let copy = relocate(&world, Copy, "x", "x", WriteMode::KeepBoth)
        .await
        .unwrap();
    assert_ne!(copy.id, original.id);
    assert_eq!(copy.attributes["duplicates"], "2");
    assert_eq!(world.stat("x").await.unwrap().id, copy.id, "the newest");
    assert_eq!(world.stored(), ["x", "x"]);
}
