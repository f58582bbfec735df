//! The rules themselves, by accounts made up for it.

use std::time::Duration;

use tokio::time::Instant;

use super::account::{Account, account};
use super::judge::*;
use super::memory::Memory;
use crate::model::step::{Step, Write};
use crate::model::tree::Outcome;

/// Others change the first account into the second; so many seconds later a
/// request changes that into the third.
async fn judged(
    accounts: [&Account; 3],
    seconds: u64,
    step: &Step,
    got: &Outcome,
) -> Result<(), Wrong> {
    let [first, before, after] = accounts;
    let mut memory = Memory::new(first.clone(), Duration::ZERO);
    tokio::time::advance(Duration::from_secs(1_000)).await;
    memory.others_did(before.clone(), false);
    tokio::time::advance(Duration::from_secs(seconds)).await;
    let case = Case {
        memory: &memory,
        before,
        after,
        asked: Instant::now(),
        untold: false,
        late_links: false,
    };
    case.judge(step, got)
}

fn delete(path: &str) -> Step {
    Step::Delete {
        paths: vec![path.to_owned()],
        allow_missing: false,
    }
}

fn put(path: &str) -> Step {
    Step::Put {
        path: path.to_owned(),
        content: 0,
        mode: Write::Replace,
        parents: true,
        sized: true,
        twice: false,
    }
}

fn done(reason: &str) -> Outcome {
    Ok(format!("[{reason:?}]"))
}

const A: (u64, u64, &str) = (1, 0, "a");

#[tokio::test(start_paused = true)]
async fn nothing_is_removed_that_others_have_moved_away() {
    let first = account(&[A, (2, 1, "b")], &[("f", 2, "x")]);
    let moved = account(&[A, (2, 1, "b")], &[("f", 0, "safe")]);
    let taken = account(&[A, (2, 0, "safe")], &[("f", 2, "x")]);
    for before in [&moved, &taken] {
        let mut after = before.clone();
        after.files.clear();
        let step = delete("a/b/x");
        let gone = [&first, before, &after];
        assert!(judged(gone, 20, &step, &done("")).await.is_ok());
        assert!(judged(gone, 40, &step, &done("")).await.is_err());
        let kept = [&first, before, before];
        for (seconds, reason, is_right) in [
            (40, "FILE_NOT_FOUND", true),
            // It may be taken from memory, though nothing is removed.
            (40, "", true),
            (40, "IS_A_DIRECTORY", false),
        ] {
            let judged = judged(kept, seconds, &step, &done(reason)).await;
            assert_eq!(judged.is_ok(), is_right, "{reason:?}");
        }
        let purge = Step::Purge {
            path: "a".to_owned(),
            dry: false,
        };
        let purged = account(&[], &[]);
        let counted = Ok("1 files, 2 directories".to_owned());
        let gone = [&first, before, &purged];
        assert!(judged(gone, 20, &purge, &counted).await.is_ok());
        assert!(judged(gone, 40, &purge, &counted).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_have_replaced_is_found() {
    let first = account(&[A], &[("old", 1, "x")]);
    let before = account(&[A], &[("new", 1, "x")]);
    let none = account(&[A], &[]);
    let step = delete("a/x");
    for seconds in [5, 100] {
        let gone = [&first, &before, &none];
        assert!(judged(gone, seconds, &step, &done("")).await.is_ok());
        let kept = [&first, &before, &before];
        let missing = done("FILE_NOT_FOUND");
        assert!(judged(kept, seconds, &step, &missing).await.is_err());
        let get = Step::Get {
            path: "a/x".to_owned(),
        };
        for (got, is_right) in [
            (Ok("new".to_owned()), true),
            (Ok("old".to_owned()), true),
            (Ok("other".to_owned()), false),
            (Err("FILE_NOT_FOUND".to_owned()), false),
            (Err("UPSTREAM_PROTOCOL: no".to_owned()), false),
        ] {
            let judged = judged(kept, seconds, &get, &got).await;
            assert_eq!(judged.is_ok(), is_right, "{got:?}");
        }
    }
    // It claims to have removed it.
    let kept = [&first, &before, &before];
    assert!(judged(kept, 100, &step, &done("")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_where_its_path_leads() {
    let first = account(&[A], &[("old", 1, "x")]);
    let before = account(&[(1, 0, "b")], &[("old", 1, "x")]);
    let got = Ok("content 0".to_owned());
    let step = put("a/x");
    let with = |folders: &[(u64, u64, &str)], files: &[(&str, u64, &str)]| {
        let mut after = account(folders, files);
        if let Some(file) = after.files.get_mut("new") {
            file.content = "content 0".to_owned();
        }
        after
    };
    let home = with(
        &[(1, 0, "b"), (2, 0, "a")],
        &[("old", 1, "x"), ("new", 2, "x")],
    );
    let carried = with(&[(1, 0, "b")], &[("old", 1, "x"), ("new", 1, "x")]);
    let replaced = with(&[(1, 0, "b"), (2, 0, "a")], &[("new", 2, "x")]);
    let lost = with(&[(1, 0, "b")], &[("old", 1, "x"), ("new", 0, "x")]);
    for (after, soon, late) in [
        (&home, true, true),
        // As if others had renamed the folder afterwards.
        (&carried, true, false),
        (&replaced, true, false),
        (&lost, false, false),
    ] {
        let accounts = [&first, &before, after];
        assert_eq!(
            judged(accounts, 10, &step, &got).await.is_ok(),
            soon,
            "{after:?}"
        );
        assert_eq!(
            judged(accounts, 40, &step, &got).await.is_ok(),
            late,
            "{after:?}"
        );
    }
    let wrong = judged([&first, &before, &lost], 10, &step, &got).await;
    assert!(wrong.unwrap_err().may_come_right);
    // What is removed instead does not come back.
    let step = delete("a/x");
    let gone = [&first, &before, &with(&[(1, 0, "b")], &[])];
    let wrong = judged(gone, 40, &step, &done("")).await;
    assert!(!wrong.unwrap_err().may_come_right);
}
