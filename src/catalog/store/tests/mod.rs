mod adoption;
mod damage;
mod trouble;

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::*;
use crate::catalog::content::{FileRecord, FolderRecord, Whirlpool, shared_type};
use crate::checksum::Algorithm;

fn file(name: &str) -> FileRecord {
    FileRecord {
        url: url(name).into(),
        name: name.into(),
        size: 3,
        time: Some(1_700_000_000),
        whirlpool: Whirlpool::from_hex(&"ab".repeat(64)),
        content_type: shared_type("text/plain"),
        password: true,
        acl: false,
        cdn: true,
        order: (3 << 32) + 5,
    }
}

fn url(name: &str) -> String {
    format!("https://1fichier.com/?{name}")
}

fn folder(id: i64) -> FolderRecord {
    FolderRecord {
        id,
        name: "sub".into(),
        time: None,
        password: false,
    }
}

fn listing(folder_id: i64, files: Vec<FileRecord>) -> Write {
    Write::Listing {
        folder: folder_id,
        content: Arc::new(Content::new(vec![folder(7)], files)),
        as_of: SystemTime::now(),
        at: SystemTime::now(),
    }
}

fn added(folder: i64, name: &str) -> Write {
    Write::Change {
        folder,
        change: Change::FileAdded(file(name)),
        at: SystemTime::now(),
    }
}

fn time(name: &str, time: i64) -> Write {
    Write::Modified {
        url: url(name),
        time,
    }
}

fn sums(name: &str) -> Write {
    Write::Checksums {
        key: key(name),
        sums: vec![sum()],
    }
}

fn sum() -> Checksum {
    Checksum {
        algorithm: Algorithm::Sha256,
        hex: "7".repeat(Algorithm::Sha256.hex_digits()),
    }
}

fn key(name: &str) -> ContentKey {
    ContentKey::of_link(&url(name), 3)
}

fn outcome(request: &str) -> Write {
    Write::Outcome {
        request: request.to_owned(),
        arguments: "arguments".to_owned(),
        outcome: request.to_uppercase(),
        at: SystemTime::now(),
    }
}

fn intent(id: u64, what: &str) -> Write {
    Write::Intent(Intent {
        id,
        folders: vec![1],
        touched: Vec::new(),
        what: what.to_owned(),
    })
}

fn options(name: &str) -> Options {
    Options {
        names: vec![name.to_owned()],
        is_shared: false,
        required: true,
        clock: Clock::system(),
    }
}

fn shelf(dir: &Path) -> Arc<Shelf> {
    Shelf::new(dir.to_owned(), ["x".to_owned()])
}

fn open(dir: &Path) -> Store {
    Store::open(&shelf(dir), options("x")).unwrap()
}

async fn time_of(store: &Store, name: &str) -> Option<i64> {
    let times = store.modified(vec![url(name)]).await;
    times.get(&url(name)).copied()
}

async fn has_sums(store: &Store, name: &str) -> bool {
    let sums = store.checksums(vec![key(name)]).await;
    sums.is_some_and(|sums| !sums[0].is_empty())
}

async fn outcome_of(store: &Store, request: &str) -> Option<String> {
    let found = store.outcome(request.to_owned()).await.unwrap();
    found.map(|(_, _, outcome)| outcome)
}

/// What earlier runs had begun, as far as it was not told yet.
fn left(store: &Store) -> Vec<(u64, String)> {
    let mut left = Vec::new();
    for lesson in store.lessons() {
        if let Lesson::Left { intents, .. } = lesson {
            left.extend(intents.into_iter().map(|intent| (intent.id, intent.what)));
        }
    }
    left
}

/// Waits in real time, as the thread does that writes.
async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    for _ in 0..1_000 {
        if is_so().await {
            return;
        }
        tokio::task::spawn_blocking(|| real::pause(Duration::from_millis(10)))
            .await
            .unwrap();
    }
    panic!("it did not come");
}

/// Names of what lies in a directory, without those of SQLite's own files.
fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.write(listing(1, vec![file("a"), file("b")]));
    let now = SystemTime::now();
    store.write(Write::Change {
        folder: 1,
        change: Change::FileRemoved(file("a").url),
        at: now,
    });
    store.write(added(1, "c"));
    store.write(Write::Change {
        folder: 2,
        change: Change::FolderRemoved(9),
        at: now,
    });
    for write in [time("a", 5), sums("a"), outcome("r"), intent(3, "task")] {
        store.write(write);
    }
    drop(store);
    assert_eq!(files(dir.path()), ["x.db", "x.user"]);
    let store = open(dir.path());
    let remembered = store.load(1).await;
    let (content, _, _) = remembered.content.unwrap();
    let mut files: Vec<_> = content.files().cloned().collect();
    files.sort_by(|left, right| left.name.cmp(&right.name));
    assert_eq!(files, [file("b"), file("c")]);
    assert_eq!(content.folders().next().unwrap().id, 7);
    assert_eq!(remembered.changes.len(), 2);
    let other = store.load(2).await;
    assert!(other.content.is_none(), "a change alone is no listing");
    assert_eq!(other.changes.len(), 1);
    assert_eq!(time_of(&store, "a").await, Some(5));
    assert!(has_sums(&store, "a").await && !has_sums(&store, "b").await);
    assert_eq!(outcome_of(&store, "r").await.as_deref(), Some("R"));
    assert_eq!(left(&store), [(3, "task".to_owned())]);
    assert_eq!(store.next_intent(), 4);
    assert_eq!(store.problem(), None);
}

#[tokio::test]
async fn what_is_not_on_disk_yet_is_known_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..300_i64 {
        let name = number.to_string();
        for write in [time(&name, number), sums(&name), outcome(&name)] {
            store.write(write);
        }
        assert_eq!(time_of(&store, &name).await, Some(number));
        assert!(has_sums(&store, &name).await);
        assert!(outcome_of(&store, &name).await.is_some());
        store.write(Write::ModifiedOf {
            from: url(&name),
            to: url("copy"),
        });
        assert_eq!(time_of(&store, "copy").await, Some(number));
        store.write(Write::ModifiedNoMore { url: url(&name) });
        assert_eq!(time_of(&store, &name).await, None);
    }
}

#[tokio::test]
async fn a_run_that_did_not_end_in_good_order_is_known() {
    let crashed = |store: &Store| {
        let lessons = store.lessons();
        lessons
            .iter()
            .any(|lesson| matches!(lesson, Lesson::RecentCalls))
    };
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(!crashed(&store), "there was none before");
    drop(store);
    let store = open(dir.path());
    assert!(!crashed(&store));
    // As a killed process leaves it.
    std::mem::forget(store);
    let store = open(dir.path());
    assert!(crashed(&store));
}

#[tokio::test]
async fn each_start_counts_above_all_others_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for name in ["x", "y", "x", "x", "y", "z", "x"] {
        let store = Store::open(&shelf(dir.path()), options(name)).unwrap();
        let order = store.next_order();
        assert!(order >> 32 > last >> 32 || last == 0, "{name}");
        last = order;
    }
}

#[tokio::test]
async fn one_name_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = shelf(dir.path());
    let both = Options {
        names: vec!["x".to_owned(), "y".to_owned()],
        ..options("x")
    };
    let first = Store::open(&shelf, both.clone()).unwrap();
    let second = Store::open(&shelf, both.clone()).unwrap();
    assert!(Store::open(&shelf, both.clone()).is_err());
    drop((first, second));
    assert_eq!(files(dir.path()), ["x.db", "x.user", "y.db", "y.user"]);
    Store::open(&shelf, both).unwrap();
}

/// Years ahead, as the clock was once.
const AHEAD: Duration = Duration::from_secs(400 * 86_400);

#[tokio::test]
async fn no_time_lies_ahead_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let ahead = SystemTime::now() + AHEAD;
    let store = open(dir.path());
    store.write(Write::Listing {
        folder: 1,
        content: Arc::default(),
        as_of: ahead,
        at: ahead,
    });
    store.write(Write::Change {
        folder: 1,
        change: Change::FolderRemoved(9),
        at: ahead,
    });
    store.write(Write::Outcome {
        request: "r".to_owned(),
        arguments: String::new(),
        outcome: String::new(),
        at: ahead,
    });
    for name in ["lock", "locked_until"] {
        store.write(Write::Fact {
            name: name.to_owned(),
            value: String::new(),
            at: ahead,
        });
    }
    drop(store);
    let unknown = |store: &Store| {
        let lessons = store.lessons();
        let unknown = |lesson: &&Lesson| matches!(lesson, Lesson::UnknownListings);
        lessons.iter().filter(unknown).count()
    };
    for (start, restores) in [(1, 1), (2, 0)] {
        let store = open(dir.path());
        let now = SystemTime::now() + Duration::from_secs(5);
        assert_eq!(unknown(&store), restores, "start {start}");
        let remembered = store.load(1).await;
        let (_, as_of, listed) = remembered.content.unwrap();
        assert!(as_of < now && listed < now && listed > SystemTime::UNIX_EPOCH);
        assert!(remembered.changes[0].0 < now);
        let (at, ..) = store.outcome("r".to_owned()).await.unwrap().unwrap();
        assert!(at < now);
        assert!(store.fact("lock").unwrap().0 < now);
        let (until, _) = store.fact("locked_until").unwrap();
        assert!(until < now + Duration::from_secs(3_601));
    }
}

/// Each start of an emulator has a new account, under a name of its own.
#[tokio::test]
async fn a_new_account_is_no_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    let earlier = open(dir.path());
    earlier.write(Write::Fact {
        name: "last_call".to_owned(),
        value: String::new(),
        at: SystemTime::now(),
    });
    drop(earlier);
    for (is_new, expected) in [(true, 0), (false, 1)] {
        let (directory, names) = (dir.path().to_owned(), ["y".to_owned()]);
        let shelf = match is_new {
            true => Shelf::for_new_accounts(directory, names),
            false => Shelf::new(directory, names),
        };
        assert_eq!(shelf.strays().len(), expected, "{is_new}");
        let store = Store::open(&shelf, options("y")).unwrap();
        let waits = |lesson: &Lesson| matches!(lesson, Lesson::UnknownListings);
        assert_eq!(store.lessons().iter().any(waits), !is_new, "{is_new}");
        drop(store);
        for name in ["y.db", "y.user"] {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
}
