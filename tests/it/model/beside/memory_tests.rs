//! What may be remembered, by accounts made up for it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::account::account;
use super::memory::*;

async fn wait(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

fn urls(memory: &Memory, path: &str, age: Age) -> (Vec<String>, Vec<String>, bool) {
    let found = memory.files(path, age, Instant::now());
    let all = |urls: BTreeSet<String>| urls.into_iter().collect();
    (all(found.may), all(found.always), found.may_miss)
}

fn found(may: &[&str], always: &[&str], may_miss: bool) -> (Vec<String>, Vec<String>, bool) {
    let all = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect();
    (all(may), all(always), may_miss)
}

#[tokio::test(start_paused = true)]
async fn what_others_did_may_be_unknown_for_a_while() {
    let mut memory = Memory::new(account(&[(1, 0, "a")], &[("old", 1, "f")]), Duration::ZERO);
    wait(1_000).await;
    // Another file in its place, at the same moment.
    memory.others_did(account(&[(1, 0, "a")], &[("new", 1, "f")]), false);
    for age in [Age::Seen, Age::Read] {
        let both = found(&["new", "old"], &[], false);
        assert_eq!(urls(&memory, "a/f", age), both, "{age:?}");
    }
    wait(33).await;
    let new = found(&["new"], &["new"], false);
    assert_eq!(urls(&memory, "a/f", Age::Seen), new);
    assert_eq!(urls(&memory, "a/f", Age::Read).0, ["new", "old"]);
    wait(300).await;
    assert_eq!(urls(&memory, "a/f", Age::Read), new);
    // The folder goes away with it: whoever knows the folder knows the file.
    memory.others_did(account(&[(1, 0, "b")], &[("new", 1, "f")]), false);
    assert_eq!(urls(&memory, "a/f", Age::Seen), found(&["new"], &[], true));
    assert_eq!(urls(&memory, "b/f", Age::Seen), found(&["new"], &[], true));
    wait(33).await;
    assert_eq!(urls(&memory, "a/f", Age::Seen), found(&[], &[], true));
    assert_eq!(urls(&memory, "b/f", Age::Seen), new);
}

#[tokio::test(start_paused = true)]
async fn own_changes_are_known_and_held_against_listings() {
    let mut memory = Memory::new(account(&[(1, 0, "a")], &[]), Duration::ZERO);
    wait(1_000).await;
    let stored = account(&[(1, 0, "a")], &[("own", 1, "f")]);
    memory.server_did(stored.clone());
    let own = found(&["own"], &["own"], false);
    assert_eq!(urls(&memory, "a/f", Age::Read), own);
    wait(40).await;
    memory.others_did(account(&[(1, 0, "a")], &[]), false);
    wait(40).await;
    // It may take that for a listing that lags, but must not remove it.
    assert_eq!(
        urls(&memory, "a/f", Age::Listed),
        found(&["own"], &[], true)
    );
    assert_eq!(urls(&memory, "a/f", Age::Seen), found(&[], &[], true));
    wait(300).await;
    assert_eq!(urls(&memory, "a/f", Age::Listed), found(&[], &[], true));
    assert_eq!(urls(&memory, "a/f", Age::Read).0, ["own"]);
    wait(300).await;
    assert_eq!(urls(&memory, "a/f", Age::Read).0, [""; 0]);

    // Once a listing has shown it, later ones count.
    memory.server_did(stored);
    wait(2).await;
    memory.was_listed(1, Instant::now());
    wait(2).await;
    memory.others_did(account(&[(1, 0, "a")], &[]), false);
    wait(2).await;
    assert_eq!(urls(&memory, "a/f", Age::Listed), found(&[], &[], true));
}

#[tokio::test(start_paused = true)]
async fn a_new_folder_that_others_take_may_still_be_shown() {
    let mut memory = Memory::new(account(&[], &[]), Duration::ZERO);
    memory.server_did(account(&[(1, 0, "a"), (2, 1, "b")], &[]));
    memory.others_did(
        account(&[(1, 0, "a"), (2, 9, "b"), (9, 0, "away")], &[]),
        false,
    );
    wait(31).await;
    let last = memory.last().clone();
    memory.server_did(last);
    memory.was_listed(1, Instant::now());
    let known = memory.folders("a/b", Age::Listed, Instant::now());
    assert_eq!(known.may, BTreeSet::from([2]));
}
