//! `put` and `get` of directories, and what is not transferred again.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use super::fake::{failure, status};
use super::{Client, Outcome};
use crate::cli::exit::Exit;
use crate::error::Reason;
use crate::proto::PathFailure;

fn lines(outcome: &Outcome) -> Vec<Value> {
    let lines = outcome.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{outcome:?}")))
        .collect()
}

fn summary(outcome: &Outcome) -> Value {
    let mut summary = lines(outcome).pop().unwrap()["summary"].take();
    summary.as_object_mut().unwrap().remove("seconds");
    summary
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[tokio::test]
async fn put_stores_a_directory_and_only_once() {
    let client = Client::new().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    write(&root, &[("a", "1"), ("d/b", "22"), ("d/e/c\nd", "333")]);
    fs::create_dir(root.join("empty")).unwrap();
    symlink("a", root.join("link")).unwrap();
    let local = root.to_str().unwrap();
    let stored = client.run(&["put", "-r", local, "/docs/"]).await;
    assert_eq!(stored.exit, Exit::Ok, "{stored:?}");
    let mut told: Vec<_> = stored.out.lines().collect();
    let last = told.pop().unwrap();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "made docs/root/empty/",
            "stored docs/root/a (1 B)",
            "stored docs/root/d/b (2 B)",
            "stored docs/root/d/e/c␊d (3 B)",
        ]
    );
    assert!(
        last.starts_with("stored 3 files (6 B) in ")
            && last.ends_with(", 1 directories made, 1 skipped"),
        "{last}"
    );
    let skipped = format!("skipped {local}/link: a symbolic link (see --follow)\n");
    assert_eq!(stored.err, skipped);
    assert_eq!(client.fake.state().files["docs/root/d/e/c␊d"], "333");
    {
        let mut state = client.fake.state();
        let ids: std::collections::BTreeSet<_> = state
            .headers
            .iter()
            .map(|header| &header.request_id)
            .collect();
        assert_eq!(ids.len(), 3, "each file has an id of its own");
        state.headers.clear();
    }

    // The content decides, then the size alone, then nothing.
    fs::write(root.join("d/b"), "xx").unwrap();
    let to = ["put", "-r", local, "docs/root", "--json"];
    let again = client.run(&[&to[..], &["--size-only"]].concat()).await;
    let expected = json!({"transferred": 0, "bytes": 0, "unchanged": 3, "directories": 1,
        "skipped": 1, "failed": 0});
    assert_eq!(summary(&again), expected);
    let again = client.run(&to).await;
    assert_eq!(summary(&again)["unchanged"], 2);
    assert_eq!(client.fake.state().headers.len(), 1);
    assert_eq!(client.fake.state().files["docs/root/d/b"], "xx");
    let quiet = ["put", "-rfq", local, "docs/root"];
    let forced = client.run(&quiet).await;
    assert_eq!((&*forced.out, &*forced.err), ("", ""));
    assert_eq!(client.fake.state().headers.len(), 4);

    let followed = client.run(&["put", "-r", local, "", "--follow"]).await;
    assert_eq!(followed.exit, Exit::Ok, "{followed:?}");
    assert_eq!(
        client.fake.state().files["link"],
        "1",
        "into the root itself"
    );
}

#[tokio::test]
async fn put_of_one_file_skips_what_is_there() {
    let client = Client::new().await;
    client.fake.hold("a", "12345");
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[("a", "12345")]);
    let local = directory.path().join("a");
    let local = local.to_str().unwrap();
    let there = client.run(&["put", local, "a"]).await;
    assert_eq!((there.exit, &*there.out), (Exit::Ok, "a is up to date\n"));
    let there = client.run(&["put", local, "a", "--json"]).await.json();
    assert_eq!(there["status"], "unchanged");
    assert_eq!(client.fake.state().headers.len(), 0);
    // Whoever wants to know how the path is asks for it to be written.
    let strict = client.run(&["put", local, "a", "--create-only"]).await;
    assert_eq!(strict.exit, Exit::AlreadyExists);
    for more in [
        &["--force"][..],
        &["--keep-both"],
        &["--if-match", "etag-5"],
    ] {
        let words = [&["put", local, "a"], more].concat();
        assert_eq!(client.run(&words).await.out, "stored a (5 B)\n", "{more:?}");
    }
    let sum = format!("whirlpool:{}", super::fake::whirlpool(b"12345"));
    client.run(&["put", local, "a", "--expect", &sum]).await;
    let state = client.fake.state();
    assert_eq!(
        state.headers[2].write_mode(),
        crate::proto::WriteMode::KeepBoth
    );
    assert_eq!(state.headers[3].if_match_etag, "etag-5");
    assert_eq!(state.headers[4].checksums[0].hex.len(), 128);
}

#[tokio::test]
async fn one_failure_does_not_stop_the_others() {
    let client = Client::new().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for number in 0..20 {
        fs::write(root.join(number.to_string()), "x").unwrap();
    }
    let local = root.to_str().unwrap();
    client.fake.state().put_failures = vec![status(Reason::EmptyFile, "no empty files")];
    let words = ["put", "-r", local, "d", "--json", "--transfers", "3"];
    let stored = client.run(&words).await;
    assert_eq!(stored.exit, Exit::Precondition, "as the one failed");
    let mut lines = lines(&stored);
    lines.pop();
    let failed: Vec<_> = lines
        .iter()
        .filter(|line| line["status"] == "failed")
        .collect();
    assert_eq!((lines.len(), failed.len()), (20, 1));
    assert_eq!(failed[0]["error"]["reason"], "EMPTY_FILE");
    assert_eq!(summary(&stored)["transferred"], 19);
    client.fake.state().put_failures = vec![
        status(Reason::EmptyFile, "no empty files"),
        status(Reason::ReadOnly, "not here"),
    ];
    let words = ["put", "-rf", local, "d"];
    let mixed = client.run(&words).await;
    assert_eq!(mixed.exit, Exit::Other, "{mixed:?}");
    assert!(
        mixed.err.contains("no empty files [EMPTY_FILE]"),
        "{mixed:?}"
    );
    assert!(mixed.out.contains(", 2 failed\n"), "{mixed:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_once() {
    let client = Client::new().await;
    let directory = tempfile::tempdir().unwrap();
    for number in 0..30 {
        fs::write(directory.path().join(number.to_string()), "x").unwrap();
    }
    let local = directory.path().to_str().unwrap();
    let away = status(Reason::UpstreamUnavailable, "away");
    client.fake.state().put_failures = vec![away; 200];
    let words = [
        "put",
        "-r",
        local,
        "d",
        "--retries",
        "2",
        "--transfers",
        "1",
    ];
    let failed = client.run(&words).await;
    assert_eq!(failed.exit, Exit::Unavailable);
    assert_eq!(failed.err.matches("trying again").count(), 2, "{failed:?}");
    assert_eq!(client.fake.state().headers.len(), 32, "of each one attempt");
    // A success makes repeats worth it again.
    {
        let mut state = client.fake.state();
        state.put_failures = vec![status(Reason::UpstreamUnavailable, "away"); 3];
        state.headers.clear();
    }
    let stored = client.run(&words).await;
    assert_eq!(client.fake.state().headers.len(), 32);
    assert!(stored.out.contains("stored 29 files"), "{stored:?}");
}

/// Each call waits for two others: one at a time would wait for ever.
#[tokio::test]
async fn files_go_at_the_same_time_but_not_more_than_wanted() {
    let client = Client::new().await;
    let directory = tempfile::tempdir().unwrap();
    for number in 0..9 {
        fs::write(directory.path().join(number.to_string()), "x").unwrap();
    }
    let local = directory.path().to_str().unwrap();
    let meeting = std::sync::Arc::new(tokio::sync::Barrier::new(3));
    client.fake.state().meeting = Some(meeting);
    for words in [["put", "-r", local, "d"], ["get", "-rf", "d", local]] {
        let words = [&words[..], &["--transfers", "3"]].concat();
        let done = client.run(&words).await;
        assert_eq!(done.exit, Exit::Ok, "{done:?}");
    }
    assert_eq!(client.fake.state().running, (0, 3));
}

#[tokio::test]
async fn put_of_a_directory_finds_out_first_what_holds_for_all() {
    let client = Client::new().await;
    client.fake.hold("file", "x");
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[("a", "1")]);
    let local = directory.path().to_str().unwrap();
    let onto = client.run(&["put", "-r", local, "file"]).await;
    assert!(onto.err.contains("NOT_A_DIRECTORY"), "{onto:?}");
    let absent = client
        .run(&["put", "-r", local, "none", "--no-parents"])
        .await;
    assert_eq!(absent.exit, Exit::NotFound, "{absent:?}");
    let missing = format!("{local}/missing");
    let missing = client.run(&["put", "-r", &missing, "d"]).await;
    assert!(missing.err.contains("cannot read"), "{missing:?}");
    assert!(client.fake.state().headers.is_empty());
    let plain = client.run(&["put", local, "d"]).await;
    assert!(plain.err.contains("--recursive"), "{plain:?}");
}

#[tokio::test]
async fn get_saves_a_directory_and_only_once() {
    let client = Client::new().await;
    for (path, content) in [
        ("d/a", "1"),
        ("d/e/b c", "22"),
        ("d/e/f/x", "333"),
        ("o", "4"),
    ] {
        client.fake.hold(path, content);
    }
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().join("to");
    let to = local.to_str().unwrap();
    let saved = client.run(&["get", "-r", "d", to]).await;
    assert_eq!(saved.exit, Exit::Ok, "{saved:?}");
    assert!(
        saved.out.contains(&format!("saved {to}/e/b c (2 B)\n")),
        "{saved:?}"
    );
    assert!(saved.out.contains("\nsaved 3 files (6 B) in "), "{saved:?}");
    assert_eq!(fs::read(local.join("e/f/x")).unwrap(), b"333");
    let modified = local.join("a").metadata().unwrap().modified().unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_secs(), 1_700_000_000, "the time of the upload");

    fs::write(local.join("a"), "x").unwrap();
    fs::remove_file(local.join("e/f/x")).unwrap();
    client.fake.state().gets.clear();
    let words = ["get", "-r", "/d/", to, "--json"];
    let again = client.run(&words).await;
    assert_eq!(again.exit, Exit::AlreadyExists, "{again:?}");
    let expected = json!({"transferred": 1, "bytes": 3, "unchanged": 1, "directories": 0,
        "skipped": 0, "failed": 1});
    assert_eq!(summary(&again), expected);
    assert_eq!(client.fake.state().gets.len(), 1);
    let updated = client.run(&[&words[..], &["--update"]].concat()).await;
    assert_eq!(summary(&updated)["transferred"], 1);
    assert_eq!(fs::read(local.join("a")).unwrap(), b"1");
    let forced = client.run(&[&words[..], &["--force"]].concat()).await;
    assert_eq!(summary(&forced)["transferred"], 3);

    let into = format!("{to}/");
    client.run(&["get", "-r", "d/e", &into]).await;
    assert_eq!(fs::read(local.join("e/b c")).unwrap(), b"22");
    let root = client.run(&["get", "-r", "/", &into]).await;
    assert_eq!(root.exit, Exit::Usage);
    let stdout = client.run(&["get", "-r", "d", "-"]).await;
    assert_eq!(stdout.exit, Exit::Usage);
    let plain = client.run(&["get", "d", to]).await;
    assert!(plain.err.contains("fetch it with --recursive"), "{plain:?}");
}

#[tokio::test]
async fn no_name_leads_out_of_the_directory() {
    let client = Client::new().await;
    for path in ["d/../../evil", "d/ok", "d/./x", "d//y", "d/link/z", "d/l2"] {
        client.fake.hold(path, "1");
    }
    client.fake.state().list_failures = vec![PathFailure {
        path: "d/locked".into(),
        failure: Some(failure(Reason::UpstreamAccessDenied, "no access")),
    }];
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    let to = directory.path().join("deep/to");
    fs::create_dir_all(&to).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, to.join("link")).unwrap();
    symlink(outside.join("new"), to.join("l2")).unwrap();
    let words = ["get", "-r", "d", to.to_str().unwrap(), "--json"];
    let saved = client.run(&words).await;
    assert_eq!(saved.exit, Exit::Other, "{saved:?}");
    assert_eq!(summary(&saved)["failed"], 4, "{saved:?}");
    assert_eq!(summary(&saved)["transferred"], 3);
    assert!(to.join("．．/．．/evil").exists(), "escaped");
    assert_eq!(outside.read_dir().unwrap().count(), 0);
    assert!(!directory.path().join("evil").exists());
    assert!(to.join("ok").exists());
    let followed = client.run(&[&words[..], &["--follow"]].concat()).await;
    assert_eq!(summary(&followed)["failed"], 3, "{followed:?}");
    assert!(outside.join("z").exists());
    let updated = client
        .run(&[&words[..], &["--follow", "--update"]].concat())
        .await;
    assert_eq!(summary(&updated)["failed"], 2, "{updated:?}");
    assert!(!to.join("l2").is_symlink());
    assert!(
        !outside.join("new").exists(),
        "a link is replaced, not followed"
    );
}

#[tokio::test]
async fn the_other_calls_are_repeated_too() {
    let client = Client::new().await;
    client.fake.hold("a", "12345");
    for words in [
        &["ls"][..],
        &["stat", "a"],
        &["hash", "a"],
        &["about"],
        &["mkdir", "d"],
        &["rm", "a"],
        &["link", "b"],
        &["refresh"],
        &["activity"],
        &["tree"],
        &["dedupe"],
    ] {
        client.fake.state().failures = vec![status(Reason::UpstreamUnavailable, "away")];
        let done = client.run(words).await;
        assert_eq!(done.exit, Exit::Ok, "{words:?}: {done:?}");
        assert_eq!(done.err, "away; trying again in 10ms (attempt 2 of 6)\n");
        client.fake.state().failures = vec![status(Reason::UpstreamUnavailable, "away")];
        let once = client.run(&[words, &["--retries", "0"]].concat()).await;
        assert_eq!(once.exit, Exit::Unavailable, "{words:?}: {once:?}");
        client.fake.state().failures.clear();
    }
    // Too long a wait is not begun.
    client.fake.state().failures = vec![status(Reason::UpstreamUnavailable, "away")];
    let words = ["about", "--retry-wait", "5ms"];
    assert_eq!(client.run(&words).await.exit, Exit::Unavailable);
    // Room is free again soon.
    client.fake.hold("a", "1");
    let full = super::fake::later(Reason::TooManyTransfers, "full");
    client.fake.state().failures = vec![full];
    assert_eq!(client.run(&["stat", "a"]).await.exit, Exit::Ok);
    let full = status(Reason::TooManyTransfers, "full");
    client.fake.state().failures = vec![full];
    assert_eq!(client.run(&["stat", "a"]).await.exit, Exit::Unavailable);
}

#[tokio::test]
async fn a_listing_goes_on_behind_its_last_page() {
    let client = Client::new().await;
    for path in ["a", "b", "c"] {
        client.fake.hold(path, "1");
    }
    client.fake.state().break_list = true;
    let listed = client.run(&["ls"]).await;
    assert_eq!(listed.out, "a\nb\nc\n", "{listed:?}");
    assert_eq!(client.fake.state().lists[1].page_token, "1");
}

#[tokio::test]
async fn tree_draws_directories() {
    let client = Client::new().await;
    for path in ["d/a\u{1b}", "d/e/b", "x", "z/q"] {
        client.fake.hold(path, "12345");
    }
    let drawn = client.run(&["tree"]).await;
    let expected = "/\n├── d/\n│   ├── a\\u{1b}\n│   └── e/\n│       └── b\n├── x\n└── z/\n    \
                    └── q\n3 directories, 4 files, 20 B\n";
    assert_eq!((drawn.exit, &*drawn.out), (Exit::Ok, expected));
    let part = client.run(&["tree", "/d/", "--max-depth", "1", "-l"]).await;
    assert_eq!(
        part.out,
        "d\n├── a\\u{1b} (5 B)\n└── e/\n1 directory, 1 file, 5 B\n"
    );
    let lines = lines(&client.run(&["tree", "d", "--json"]).await);
    assert_eq!(
        (&lines[2]["path"], &lines[2]["depth"]),
        (&"d/e/b".into(), &2.into())
    );
    client.run(&["tree", "-d", "z"]).await;
    let state = client.fake.state();
    assert_eq!(state.lists.last().unwrap().types, [2]);
}
