//! What the server does on behalf of nobody, to bring home, finish or clear up
//! what went wrong before, is held to the same rules as calls.

use std::time::Duration;

use pluton_fichier::emulator::FaultKind::{self, *};
use pluton_fichier::emulator::{Control, Fault, UnknownFolder, UnknownParent, UrlStability};
use pluton_fichier::proto::*;
use tokio::time::{Instant, timeout};
use tonic::Status as RpcStatus;

use crate::checks::*;
use crate::harness::*;
use crate::matrix::kinds::kinds;
use crate::relocations::{Action, relocate_as};
use crate::streams::{LARGE, Slow, pieces, sized};

/// So long a new directory counts as there whatever 1Fichier says.
const YOUNG: Duration = Duration::from_secs(30);

/// Another program removes a directory with all that is in it.
fn remove_tree(world: &World, path: &str) {
    assert!(world.control.remove_folder(world.folder(path)));
}

async fn unfinished(world: &World) -> i64 {
    let request = GetActivityRequest::default();
    let activity = world.client.clone().get_activity(request).await.unwrap();
    activity.into_inner().catalog.unwrap().unfinished_writes
}

async fn relocate(world: &World, action: Action, from: &str, to: &str) -> Result<Entry, RpcStatus> {
    let moved = relocate_as(&world.client, action, from, to, WriteMode::Replace, "").await;
    moved.map(|(entry, _)| entry)
}

async fn move_dir(world: &World, from: &str, to: &str) -> Result<(), RpcStatus> {
    let request = MoveDirRequest {
        source_path: from.to_owned(),
        destination_path: to.to_owned(),
        ..MoveDirRequest::default()
    };
    world.client.clone().move_dir(request).await.map(drop)
}

/// Each path that 1Fichier holds, as often as it holds it, with the size.
fn held(world: &World) -> Vec<(String, u64)> {
    let tree = world.control.tree();
    tree.into_iter()
        .map(|node| (node.path, node.size))
        .collect()
}

/// The same as it should be; folders have no size.
fn holding(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter()
        .map(|(path, size)| ((*path).to_owned(), *size))
        .collect()
}

/// A Put of so many bytes.
async fn put_sized(world: &World, path: &str, size: usize) {
    let entry = world.put(path, &content(size)).await;
    let entry = entry.unwrap_or_else(|error| panic!("{path}: {error:?}"));
    assert_eq!(entry.size, Some(size as i64), "{path}");
}

#[tokio::test(start_paused = true)]
async fn a_put_into_a_tree_that_is_gone_comes_home_without_a_restart() {
    for wait in [0, 20, 40, 400] {
        for gone in ["a", "a/b"] {
            let context = format!("{gone} is gone, {wait} s later");
            let world = world().await;
            put_sized(&world, "a/b/x", 100).await;
            seconds(wait).await;
            remove_tree(&world, gone);
            put_sized(&world, "a/b/y", 200).await;
            minutes(2).await;
            let home = holding(&[("a", 0), ("a/b", 0), ("a/b/y", 200)]);
            assert_eq!(held(&world), home, "{context}{}", world.requests());
            assert_eq!(world.get("a/b/y").await.unwrap().content, content(200));
            assert_eq!(unfinished(&world).await, 0, "{context}");
            assert_eq!(world.control.calls().floods(), 0, "{context}");
            world.assert_agreement(&context).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_or_move_into_a_tree_that_is_gone_makes_it() {
    for wait in [0, 20, 40, 400] {
        for action in [Action::Move, Action::Copy] {
            for to in ["a/b/f", "a/b/g"] {
                let context = format!("{action:?} to {to}, {wait} s later");
                let world = world().await;
                put_sized(&world, "a/b/x", 100).await;
                put_sized(&world, "s/f", 200).await;
                seconds(wait).await;
                remove_tree(&world, "a");
                let mut entry = relocate(&world, action, "s/f", to).await;
                if wait < 30 {
                    // It was made so lately that 1Fichier may not know it yet.
                    let status = assert_reason(entry, "UPSTREAM_UNAVAILABLE");
                    tokio::time::sleep(YOUNG + retry_delay(&status)).await;
                    entry = relocate(&world, action, "s/f", to).await;
                }
                let entry = entry.unwrap_or_else(|error| panic!("{context}: {error:?}"));
                assert_eq!(world.urls(to), [entry.id], "{context}");
                minutes(2).await;
                let mut home = vec![("a", 0), ("a/b", 0), (to, 200), ("s", 0)];
                if action == Action::Copy {
                    home.push(("s/f", 200));
                }
                assert_eq!(held(&world), holding(&home), "{context}");
                assert_eq!(unfinished(&world).await, 0, "{context}");
                assert_eq!(world.control.calls().floods(), 0, "{context}");
                world.assert_agreement(&context).await;
            }
        }
    }
}

/// Whatever fails while files lie in the root: for a while, over a restart, and
/// while the client repeats what was acknowledged.
async fn comes_home_after_failures(endpoint: &'static str) {
    for kind in [
        Status(503),
        ResetBeforeAnswer,
        ResetAfterEffect,
        Flood,
        HtmlPage,
        EmptyBody,
        Ko {
            http: 200,
            message: "Something new #9".to_owned(),
        },
    ] {
        for (restart, again) in [(false, false), (true, false), (false, true), (true, true)] {
            let context = format!("{endpoint} {kind:?}, restart: {restart}, again: {again}");
            let mut world = world().await;
            put_sized(&world, "a/b/x", 100).await;
            remove_tree(&world, "a");
            put_sized(&world, "a/b/y", 200).await;
            put_sized(&world, "a/b/z", 300).await;
            assert_eq!(world.stored(), ["y", "z"], "1Fichier puts it into the root");
            let times = if kind == Flood { 1 } else { 4 };
            world.fail(endpoint, times, kind.clone());
            seconds(45).await;
            if restart {
                world.restart().await;
                seconds(10).await;
            }
            if again {
                put_again(&world, &context).await;
            }
            minutes(30).await;
            let home = [("a", 0), ("a/b", 0), ("a/b/y", 200), ("a/b/z", 300)];
            let all = world.requests();
            assert_eq!(held(&world), holding(&home), "{context}{all}");
            assert_eq!(unfinished(&world).await, 0, "{context}");
            world.assert_agreement(&context).await;
            if kind != Flood {
                assert_eq!(world.control.calls().floods(), 0, "{context}");
            }
        }
    }
}

/// As a client does that has not seen the answer, until it sees one.
async fn put_again(world: &World, context: &str) {
    for _ in 0..10 {
        match world.put("a/b/y", &content(200)).await {
            Ok(_) => return,
            Err(status) => {
                assert_clear(&status, context);
                seconds(30).await;
            }
        }
    }
    panic!("{context}: no end");
}

#[tokio::test(start_paused = true)]
async fn files_in_the_root_come_home_once_though_folder_mkdir_fails() {
    comes_home_after_failures("folder/mkdir").await;
}

#[tokio::test(start_paused = true)]
async fn files_in_the_root_come_home_once_though_file_mv_fails() {
    comes_home_after_failures("file/mv").await;
}

#[tokio::test(start_paused = true)]
async fn files_in_the_root_come_home_once_though_folder_ls_fails() {
    comes_home_after_failures("folder/ls").await;
}

#[tokio::test(start_paused = true)]
async fn files_in_the_root_come_home_once_though_file_info_fails() {
    comes_home_after_failures("file/info").await;
}

#[tokio::test(start_paused = true)]
async fn all_puts_that_wait_for_one_confirmation_tell_the_right_place() {
    for url_stability in [UrlStability::Stable, UrlStability::Changes] {
        for gone in ["a", "a/b"] {
            let context = format!("{gone} is gone, {url_stability:?}");
            let world = played(|play| play.url_stability = url_stability).await;
            put_sized(&world, "a/b/x", 100).await;
            seconds(60).await;
            remove_tree(&world, gone);
            let puts =
                [("a/b/y", 200), ("a/b/z", 300), ("a/b/w", 400)].map(async |(path, size)| {
                    let entry = world.put(path, &content(size)).await;
                    let entry = entry.unwrap_or_else(|error| panic!("{context}: {error:?}"));
                    // Where it is told to be, as soon as it is told.
                    assert_eq!(world.urls(path), [entry.id], "{context}: {path}");
                    assert_eq!(entry.path, path, "{context}");
                });
            futures::future::join_all(puts).await;
            let home = holding(&[
                ("a", 0),
                ("a/b", 0),
                ("a/b/w", 400),
                ("a/b/y", 200),
                ("a/b/z", 300),
            ]);
            assert_eq!(held(&world), home, "{context}");
            for (path, size) in [("a/b/w", 400), ("a/b/y", 200), ("a/b/z", 300)] {
                let got = world.get(path).await.unwrap();
                assert_eq!(got.content, content(size), "{context}");
            }
            minutes(5).await;
            assert_eq!(held(&world), home, "{context}");
            assert_eq!(unfinished(&world).await, 0, "{context}");
            world.assert_agreement(&context).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn files_in_the_root_come_home_whatever_becomes_of_unknown_folders() {
    for parent in [UnknownParent::Refuse, UnknownParent::Root] {
        for folder in [
            UnknownFolder::NotFound,
            UnknownFolder::Ko,
            UnknownFolder::EmptyList,
        ] {
            for (gone, restart) in [("a", false), ("a", true), ("a/b", false), ("a/b", true)] {
                let context = format!("{parent:?} {folder:?} {gone}, restart: {restart}");
                let mut world = played(|play| {
                    play.unknown_parent = parent;
                    play.unknown_folder = folder;
                })
                .await;
                put_sized(&world, "a/b/x", 100).await;
                remove_tree(&world, gone);
                put_sized(&world, "a/b/y", 200).await;
                put_sized(&world, "a/b/z", 300).await;
                if restart {
                    world.restart().await;
                }
                world.control.reset_calls();
                world.idle(Duration::from_secs(1_800)).await;
                let requests = world.requests();
                let home = [("a", 0), ("a/b", 0), ("a/b/y", 200), ("a/b/z", 300)];
                assert_eq!(held(&world), holding(&home), "{context}{requests}");
                assert_eq!(unfinished(&world).await, 0, "{context}");
                let calls = world.control.calls();
                assert_eq!(calls.floods(), 0, "{context}");
                // What is known to be gone is not written to.
                if folder != UnknownFolder::EmptyList {
                    assert_eq!(calls.get("file/mv"), 1, "{context}{requests}");
                }
                world.assert_agreement(&context).await;
            }
        }
    }
}

/// An account with `a/x` and `safe`, as the server has seen it.
async fn seen(old: u64) -> World {
    let world = world().await;
    let folder = world.control.add_folder(0, "a");
    world.control.add_file(folder, "x", &content(100));
    world.control.add_folder(0, "safe");
    world.list("", true).await.unwrap();
    seconds(old).await;
    world.control.reset_calls();
    world
}

fn called(world: &World) -> Vec<String> {
    let requests = world.control.last_requests();
    requests
        .into_iter()
        .map(|request| request.endpoint)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_put_into_a_directory_that_was_moved_away_long_ago_ends_at_its_path() {
    let world = seen(40).await;
    let (a, safe) = (world.folder("a"), world.folder("safe"));
    assert!(world.control.move_folder(a, safe));
    put_sized(&world, "a/y", 200).await;
    let home = holding(&[
        ("a", 0),
        ("a/y", 200),
        ("safe", 0),
        ("safe/a", 0),
        ("safe/a/x", 100),
    ]);
    assert_eq!(held(&world), home, "{}", world.requests());
    let put = ["upload/get_upload_server", "upload.cgi", "end.pl"];
    // Where it is, where its directory is, a new one, and to there.
    let home_again = ["file/info", "folder/ls", "folder/mkdir", "file/mv"];
    assert_eq!(called(&world), [&put[..], &home_again[..]].concat());
    minutes(5).await;
    assert_eq!(held(&world), home);
    assert_eq!(unfinished(&world).await, 0);
    assert_eq!(world.get("a/y").await.unwrap().content, content(200));
    world.assert_agreement("at the end").await;
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_put_into_a_directory_that_was_moved_away_just_now_goes_with_it() {
    let world = seen(5).await;
    let (a, safe) = (world.folder("a"), world.folder("safe"));
    assert!(world.control.move_folder(a, safe));
    put_sized(&world, "a/y", 200).await;
    minutes(5).await;
    let gone = holding(&[
        ("safe", 0),
        ("safe/a", 0),
        ("safe/a/x", 100),
        ("safe/a/y", 200),
    ]);
    assert_eq!(held(&world), gone, "{}", world.requests());
    let calls = world.control.calls();
    assert_eq!(calls.get("file/mv"), 0, "{calls}");
    assert_eq!(unfinished(&world).await, 0);
    assert_eq!(calls.floods(), 0);
}

/// Another program that moves it back stands for 1Fichier, which may tell where
/// it was before.
#[tokio::test(start_paused = true)]
async fn a_put_after_an_own_move_is_not_brought_back_to_the_old_path() {
    for wait in [0, 5, 40, 400] {
        for old_is_told in [false, true] {
            let context = format!("{wait} s later, the old path is told: {old_is_told}");
            let world = seen(5).await;
            put_sized(&world, "a/z", 50).await;
            move_dir(&world, "a", "b").await.unwrap();
            seconds(wait).await;
            if old_is_told {
                let folder = world.folder("b");
                assert!(world.control.rename_folder(folder, "a"));
            }
            put_sized(&world, "b/y", 200).await;
            // An own move counts against what 1Fichier tells for 5 minutes.
            let is_old = old_is_told && wait < 300;
            minutes(if is_old { 1 } else { 20 }).await;
            let (requests, calls) = (world.requests(), world.control.calls());
            assert_eq!(calls.floods(), 0, "{context}");
            if is_old {
                assert_eq!(calls.get("file/mv"), 0, "{context}{requests}");
                assert_eq!(world.stored(), ["a/x", "a/y", "a/z"], "{context}");
                assert!(world.control.rename_folder(world.folder("a"), "b"));
                minutes(5).await;
            }
            let home = match old_is_told && !is_old {
                // It was another program that has moved it, long ago.
                true => vec!["a/x", "a/z", "b/y"],
                false => vec!["b/x", "b/y", "b/z"],
            };
            assert_eq!(world.stored(), home, "{context}{requests}");
            assert_eq!(unfinished(&world).await, 0, "{context}");
        }
    }
}

/// A copy or move makes the directory that it goes to and fails late, while a
/// large upload into the same directory is on its way.
#[tokio::test(start_paused = true)]
async fn a_failed_copy_or_move_does_not_wait_for_a_large_upload_beside_it() {
    for action in [Action::Move, Action::Copy] {
        // The same path waits, another does not.
        for beside in ["new/big", "new/p"] {
            let context = format!("{action:?}, {beside}");
            let size = LARGE;
            let world = world().await;
            put_sized(&world, "s/p", 100).await;
            seconds(40).await;
            world.list("", true).await.unwrap();
            let endpoint = match action {
                Action::Move => "file/mv",
                Action::Copy => "file/cp",
            };
            world.control.reset_calls();
            world.fail(endpoint, 1, Delay(Duration::from_secs(30)));
            let client = world.client.clone();
            let failing = tokio::spawn(async move {
                relocate_as(&client, action, "s/p", "new/p", WriteMode::Replace, "").await
            });
            while world.control.calls().get(endpoint) == 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let slow = Slow::start(&world.client);
            let (messages, header) = (slow.messages.clone(), sized(beside, size));
            let sending = tokio::spawn(async move {
                let header = message(put_request::Payload::Header(header));
                for message in std::iter::once(header).chain(pieces(4 << 20)) {
                    messages.send(message).await.unwrap();
                }
            });
            seconds(10).await;
            for url in world.urls("s/p") {
                world.control.remove_file(&url);
            }
            let begin = Instant::now();
            let failed = timeout(Duration::from_secs(120), failing).await;
            let failed = failed.unwrap_or_else(|_| panic!("{context}: it hangs"));
            assert_reason(failed.unwrap(), "FILE_NOT_FOUND");
            assert!(begin.elapsed() < Duration::from_secs(90), "{context}");
            assert!(!slow.call.is_finished(), "{context}");
            sending.await.unwrap();
            for piece in pieces(size).skip((4 << 20) / (256 << 10)) {
                slow.messages.send(piece).await.unwrap();
            }
            slow.messages.send(commit(size)).await.unwrap();
            let put = timeout(Duration::from_secs(600), slow.call).await;
            let put = put.unwrap_or_else(|_| panic!("{context}: the upload hangs"));
            put.unwrap().unwrap();
            minutes(2).await;
            let home = holding(&[("new", 0), (beside, size as u64), ("s", 0)]);
            assert_eq!(held(&world), home, "{context}");
            assert_eq!(unfinished(&world).await, 0, "{context}");
            world.assert_agreement(&context).await;
        }
    }
}

/// What is left to be repaired, by this run or by the next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Repair {
    /// Files lie in the root, as their directory was removed.
    Landing,
    /// An upload took place, and nothing could be learnt of it.
    Upload,
    /// The same of a move.
    Move,
    /// The same of a directory's move.
    MoveDir,
    /// An older version could not be removed.
    Older,
}

impl Repair {
    /// Everything that could tell what became of a call fails after it.
    fn blind(world: &World, endpoint: &str, kind: FaultKind) {
        world.fail(endpoint, 1, kind);
        for endpoint in ["end.pl", "v1"] {
            world.fail(endpoint, u32::MAX, Status(503));
        }
    }

    async fn begin(self) -> World {
        let world = world().await;
        match self {
            Self::Landing => {
                put_sized(&world, "a/b/x", 100).await;
                remove_tree(&world, "a");
                put_sized(&world, "a/b/y", 200).await;
                put_sized(&world, "a/b/z", 300).await;
                assert_eq!(world.stored(), ["y", "z"]);
                return world;
            }
            Self::MoveDir => put_sized(&world, "a/s/x", 100).await,
            _ => put_sized(&world, "a/x", 100).await,
        }
        put_sized(&world, "c/f", 300).await;
        world.mkdir("d").await.unwrap();
        seconds(40).await;
        let request = RefreshRequest {
            recursive: true,
            reload: true,
            ..RefreshRequest::default()
        };
        world.client.clone().refresh(request).await.unwrap();
        world.control.reset_calls();
        let lost = match self {
            Self::Upload => {
                world.control.inject(Fault {
                    endpoint: "v1".to_owned(),
                    // get_upload_server
                    skip: 1,
                    times: u32::MAX,
                    kind: Status(503),
                });
                world.fail("upload.cgi", 1, ResetAfterEffect);
                world.fail("end.pl", u32::MAX, Status(503));
                world.put("a/x", &content(200)).await.map(drop)
            }
            Self::Move => {
                Self::blind(&world, "file/mv", ResetAfterEffect);
                relocate(&world, Action::Move, "c/f", "a/x").await.map(drop)
            }
            Self::MoveDir => {
                Self::blind(&world, "folder/mv", ResetAfterEffect);
                move_dir(&world, "a/s", "d/t").await
            }
            _ => {
                world.fail("file/rm", u32::MAX, Status(503));
                put_sized(&world, "a/x", 200).await;
                assert_eq!(world.control.files_at("a/x").len(), 2);
                return world;
            }
        };
        let requests = world.requests();
        assert_reason(lost, "UPSTREAM_UNAVAILABLE");
        assert_ne!(held(&world), self.goal(), "{self:?}{requests}");
        world
    }

    /// What the account holds in the end.
    fn goal(self) -> Vec<(String, u64)> {
        holding(match self {
            Self::Landing => &[("a", 0), ("a/b", 0), ("a/b/y", 200), ("a/b/z", 300)],
            Self::Upload | Self::Older => {
                &[("a", 0), ("a/x", 200), ("c", 0), ("c/f", 300), ("d", 0)]
            }
            Self::Move => &[("a", 0), ("a/x", 300), ("c", 0), ("d", 0)],
            Self::MoveDir => &[
                ("a", 0),
                ("c", 0),
                ("c/f", 300),
                ("d", 0),
                ("d/t", 0),
                ("d/t/x", 100),
            ],
        })
    }

    /// Does it, with a fault perhaps. Returns the calls.
    /// Where 1Fichier refuses to do the other half of what was not acknowledged,
    /// it is all as before.
    fn undone(self, fault: Option<&Fault>) -> Option<Vec<(String, u64)>> {
        let is_refused =
            |fault: &Fault| fault.endpoint == "folder/mv" && matches!(fault.kind, Ko { .. });
        let before = [
            ("a", 0),
            ("a/s", 0),
            ("a/s/x", 100),
            ("c", 0),
            ("c/f", 300),
            ("d", 0),
        ];
        (self == Self::MoveDir && fault.is_some_and(is_refused)).then(|| holding(&before))
    }

    async fn run(self, at_start: bool, fault: Option<Fault>) -> Result<Vec<String>, String> {
        let mut world = self.begin().await;
        world.control.clear_faults();
        world.control.reset_calls();
        let meet = |control: &Control| {
            if let Some(fault) = fault.clone() {
                control.inject(fault);
            }
        };
        if at_start {
            world.kill_into(meet).await;
        } else {
            meet(&world.control);
        }
        let is_done = async |world: &World| {
            let left = unfinished(world).await;
            let held = held(world);
            let undone = self.undone(fault.as_ref());
            match left == 0 && (held == self.goal() || undone.as_ref() == Some(&held)) {
                true => Ok(()),
                false => Err(format!("{left} unfinished, {held:?}{}", world.requests())),
            }
        };
        let mut done = Err(String::new());
        for _ in 0..30 {
            world.idle(Duration::from_secs(60)).await;
            done = is_done(&world).await;
            if done.is_ok() {
                break;
            }
        }
        done?;
        let calls = called(&world);
        world.control.clear_faults();
        world.idle(Duration::from_secs(300)).await;
        is_done(&world)
            .await
            .map_err(|wrong| format!("later: {wrong}"))?;
        // What the fault brought is no flood of ours.
        let is_flood = |kind: &FaultKind| match kind {
            // A call that comes late comes together with the next.
            Flood | Delay(_) => true,
            Ko { message, .. } => message.starts_with("Flood"),
            _ => false,
        };
        let floods = world.control.calls().floods();
        if floods > 0 && !fault.as_ref().is_some_and(|fault| is_flood(&fault.kind)) {
            return Err(format!("{floods} floods{}", world.requests()));
        }
        world.assert_agreement(&format!("{self:?}")).await;
        Ok(calls)
    }
}

/// Every call that a repair makes meets every fault once.
async fn every_fault(repair: Repair, at_start: bool) {
    let calls = repair.run(at_start, None).await.unwrap();
    assert!(!calls.is_empty(), "{repair:?}");
    println!("{repair:?}, at start: {at_start}: {calls:?}");
    let mut wrong = Vec::new();
    for (at, endpoint) in calls.iter().enumerate() {
        let earlier = calls[..at].iter().filter(|other| *other == endpoint);
        let skip = earlier.count() as u32;
        for kind in kinds(endpoint) {
            let fault = Fault {
                endpoint: endpoint.clone(),
                skip,
                times: 1,
                kind: kind.clone(),
            };
            if let Err(error) = repair.run(at_start, Some(fault)).await {
                wrong.push(format!("call {at} ({endpoint}), {kind:?}: {error}"));
            }
            assert!(wrong.len() < 6, "{repair:?}: {}", wrong.join("\n"));
        }
    }
    assert!(wrong.is_empty(), "{repair:?}: {}", wrong.join("\n"));
}

macro_rules! repairs {
    ($($name:ident: $repair:ident, $at_start:literal;)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                every_fault(Repair::$repair, $at_start).await;
            }
        )*
    };
}

repairs! {
    a_landing_survives_every_fault_while_running: Landing, false;
    a_landing_survives_every_fault_at_start: Landing, true;
    a_lost_upload_survives_every_fault_while_running: Upload, false;
    a_lost_upload_survives_every_fault_at_start: Upload, true;
    a_lost_move_survives_every_fault_while_running: Move, false;
    a_lost_move_survives_every_fault_at_start: Move, true;
    a_lost_move_of_a_directory_survives_every_fault_while_running: MoveDir, false;
    a_lost_move_of_a_directory_survives_every_fault_at_start: MoveDir, true;
    a_removal_that_is_retried_survives_every_fault_while_running: Older, false;
    a_removal_that_is_retried_survives_every_fault_at_start: Older, true;
}
