//! What belongs to an account under another name or in another layout.

use super::*;
use crate::fichier::ROOT;

/// The layouts of released versions, as they made them.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE listings (folder INTEGER PRIMARY KEY, listed_at INTEGER NOT NULL, as_of INTEGER NOT NULL);
CREATE TABLE files (
    folder INTEGER NOT NULL, url TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, time INTEGER,
    whirlpool BLOB, content_type TEXT NOT NULL, flags INTEGER NOT NULL,
    PRIMARY KEY (folder, url)) WITHOUT ROWID;
CREATE TABLE folders (
    parent INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL, time INTEGER, flags INTEGER NOT NULL,
    PRIMARY KEY (parent, id)) WITHOUT ROWID;
CREATE TABLE changes (folder INTEGER NOT NULL, at INTEGER NOT NULL, change TEXT NOT NULL);
CREATE INDEX changes_by_folder ON changes (folder);
CREATE INDEX changes_by_time ON changes (at);
CREATE TABLE outcomes (request TEXT PRIMARY KEY, at INTEGER NOT NULL, arguments TEXT NOT NULL, outcome TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, at INTEGER NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
";
const CHECKSUMS: &str = "
CREATE TABLE checksums (
    id INTEGER PRIMARY KEY, lead INTEGER NOT NULL, identity BLOB NOT NULL, size INTEGER NOT NULL, sums BLOB NOT NULL);
CREATE INDEX checksums_by_lead ON checksums (lead);
";
const INTENTS: &str = "CREATE TABLE intents (
    id INTEGER PRIMARY KEY, folders TEXT NOT NULL, touched TEXT NOT NULL, what TEXT NOT NULL);";
const MODIFIED: &str = "CREATE TABLE modified (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, time INTEGER NOT NULL);";

fn now() -> i64 {
    crate::clock::to_millis(SystemTime::now())
}

/// A database as a released version leaves it.
fn released(path: &Path, name: &str, schema: i64) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL")
        .unwrap();
    connection.execute_batch(TABLES).unwrap();
    for (since, table) in [(3, CHECKSUMS), (4, INTENTS), (5, MODIFIED)] {
        if schema >= since {
            connection.execute_batch(table).unwrap();
        }
    }
    let run = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| {
        connection.execute(sql, parameters).unwrap();
    };
    run(
        "INSERT INTO meta VALUES ('schema', ?1), ('account', ?2), ('closed', 1)",
        &[&schema, &name],
    );
    let listed = now() - 120_000;
    run("INSERT INTO listings VALUES (0, ?1, ?1)", &[&listed]);
    run(
        "INSERT INTO files VALUES (0, ?1, 'f', 3, 1700000000, ?2, 'text/plain', ?3)",
        &[&url("f"), &vec![0xab; 64], &((5_i64 << 32 | 7) << 8)],
    );
    run(
        "INSERT INTO folders VALUES (0, 7, 'sub', 1700000000, 0)",
        &[],
    );
    run(
        "INSERT INTO outcomes VALUES ('r', ?1, 'arguments', 'R')",
        &[&now()],
    );
    run("INSERT INTO facts VALUES ('starts', ?1, '5')", &[&listed]);
    run(
        "INSERT INTO facts VALUES ('last_call', ?1, ''), ('user_info', ?1, '{}')",
        &[&listed],
    );
    if schema >= 3 {
        let (key, mut sums) = (key("f"), vec![2_u8]);
        sums.extend([0x77; 32]);
        run(
            "INSERT INTO checksums (lead, identity, size, sums) VALUES (?1, ?2, 3, ?3)",
            &[&key.lead(), &key.identity(), &sums],
        );
    }
    if schema >= 4 {
        run("INSERT INTO intents VALUES (41, '0 7', '', 'task')", &[]);
    }
    if schema >= 5 {
        run(
            "INSERT INTO modified VALUES (11, ?1, 784111777)",
            &[&url("f")],
        );
    }
}

async fn assert_adopted(store: &Store, schema: i64, case: &str) {
    assert_eq!(outcome_of(store, "r").await.as_deref(), Some("R"), "{case}");
    if schema >= 3 {
        assert!(has_sums(store, "f").await, "{case}");
    }
    if schema >= 5 {
        assert_eq!(time_of(store, "f").await, Some(784_111_777), "{case}");
    }
}

#[tokio::test]
async fn every_released_layout_is_adopted_without_loss() {
    for schema in 2..=5 {
        let case = format!("layout {schema}");
        let dir = tempfile::tempdir().unwrap();
        released(&dir.path().join("x.db"), "x", schema);
        for start in 1..=2 {
            let store = open(dir.path());
            let lessons = store.lessons();
            let crashed = lessons
                .iter()
                .any(|lesson| matches!(lesson, Lesson::RecentCalls | Lesson::UnknownListings));
            assert!(!crashed, "{case}");
            let left: Vec<_> = lessons
                .into_iter()
                .filter_map(|lesson| match lesson {
                    Lesson::Left { intents, own: true } => Some(intents),
                    _ => None,
                })
                .flatten()
                .collect();
            assert_eq!(
                left.len(),
                usize::from(schema >= 4),
                "{case}, start {start}"
            );
            for intent in left {
                assert_eq!((intent.folders, &*intent.what), (vec![0, 7], "task"));
            }
            assert_adopted(&store, schema, &case).await;
            let (content, _, listed) = store.load(ROOT).await.content.unwrap();
            assert_eq!(content.len(), 2, "{case}: what was listed is known");
            assert!(listed < SystemTime::now() - Duration::from_secs(60));
            assert_eq!(content.files().next().unwrap().order, 5 << 32 | 7);
            assert!(store.next_order() >> 32 > 5, "{case}");
            assert_eq!(store.problem(), None);
        }
        assert_eq!(files(dir.path()), ["x.db", "x.user"], "{case}");
    }
}

#[tokio::test]
async fn an_older_version_in_between_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for name in ["f", "g"] {
        store.write(time(name, 1));
    }
    drop(store);
    // It puts away what it does not know, and begins anew.
    std::fs::rename(dir.path().join("x.db"), dir.path().join("x.set-aside-1")).unwrap();
    released(&dir.path().join("x.db"), "x", 5);
    for _ in 0..2 {
        let store = open(dir.path());
        assert_adopted(&store, 5, "the newer time counts").await;
        assert_eq!(time_of(&store, "g").await, Some(1));
        assert_eq!(left(&store).len(), 1, "once");
    }
}

#[tokio::test]
async fn a_damaged_database_of_a_released_layout_is_saved_as_far_as_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    released(&path, "x", 5);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("DROP TABLE meta").unwrap();
    drop(connection);
    let store = open(dir.path());
    assert_adopted(&store, 5, "damaged").await;
    assert!(store.problem().unwrap().contains("damaged"));
}

fn new_key(dir: &Path) -> Store {
    let shelf = Shelf::new(dir.to_owned(), ["y".to_owned()]);
    Store::open(&shelf, options("y")).unwrap()
}

fn shown(folder: i64, files: &[&str], folders: &[i64]) -> Write {
    let files = files.iter().map(|name| file(name)).collect();
    let folders = folders.iter().map(|id| super::folder(*id)).collect();
    Write::Listing {
        folder,
        content: Arc::new(Content::new(folders, files)),
        as_of: SystemTime::now(),
        at: SystemTime::now(),
    }
}

async fn settled(store: &Store) {
    store.flush().await.unwrap();
    // What is taken over is, between other writes.
    for number in 0..20 {
        store.write(time("other", number));
        store.flush().await.unwrap();
    }
}

#[tokio::test]
async fn a_listing_proves_whose_a_database_of_another_key_is() {
    for (case, write, is_proof) in [
        ("a file", shown(ROOT, &["f"], &[]), true),
        ("a folder", shown(ROOT, &[], &[7]), true),
        ("a file elsewhere", shown(3, &["f"], &[]), true),
        ("others", shown(ROOT, &["g"], &[8]), false),
        ("a folder elsewhere", shown(3, &[], &[7]), false),
        ("nothing", shown(ROOT, &[], &[]), false),
    ] {
        for schema in [5, 6] {
            let case = format!("{case}, layout {schema}");
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.db");
            released(&path, "x", 5);
            if schema == 6 {
                drop(open(dir.path()));
            }
            let store = new_key(dir.path());
            assert!(store.has_strays(), "{case}");
            assert_eq!(time_of(&store, "f").await, None, "{case}");
            let Write::Listing {
                folder, content, ..
            } = &write
            else {
                panic!()
            };
            store.write(Write::Listing {
                folder: *folder,
                content: Arc::clone(content),
                as_of: SystemTime::now(),
                at: SystemTime::now(),
            });
            if !is_proof {
                settled(&store).await;
                assert_eq!(time_of(&store, "f").await, None, "{case}");
                assert!(store.has_strays(), "{case}");
                continue;
            }
            until(|| async { !store.has_strays() && !path.exists() }).await;
            assert_adopted(&store, 5, &case).await;
            let left = left(&store);
            assert_eq!(left.len(), 1, "{case}: {left:?}");
            assert_eq!(left[0].1, "task");
            drop(store);
            let store = new_key(dir.path());
            assert_adopted(&store, 5, &case).await;
            assert!(!store.has_strays());
            let names = files(dir.path());
            let merged = names.iter().filter(|name| name.contains(".merged-"));
            assert_eq!(merged.count(), 1, "kept: {names:?}");
        }
    }
}

#[tokio::test]
async fn one_address_is_one_account_and_another_one_is_not() {
    for (known, told, is_same) in [("a", "a", true), ("a", "b", false)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store.write(time("f", 5));
        store.write(shown(ROOT, &[], &[7]));
        store.identify(known.to_owned());
        store.flush().await.unwrap();
        assert!(store.is_identified());
        drop(store);
        let store = new_key(dir.path());
        assert!(!store.is_identified());
        store.identify(told.to_owned());
        settled(&store).await;
        if is_same {
            until(|| async { time_of(&store, "f").await == Some(5) }).await;
            continue;
        }
        // A folder may be shared between two accounts; the root is not.
        store.write(shown(ROOT, &[], &[7]));
        settled(&store).await;
        assert_eq!(time_of(&store, "f").await, None);
        store.write(shown(ROOT, &["f"], &[]));
        until(|| async { time_of(&store, "f").await == Some(5) }).await;
        drop(store);
        // It has two addresses now.
        let shelf = Shelf::new(dir.path().to_owned(), ["z".to_owned()]);
        let store = Store::open(&shelf, options("z")).unwrap();
        store.identify(known.to_owned());
        until(|| async { time_of(&store, "f").await == Some(5) }).await;
    }
}

#[tokio::test]
async fn keys_that_are_changed_back_and_forth_go_in_no_circles() {
    let dir = tempfile::tempdir().unwrap();
    for (number, name) in ["x", "y", "x", "y", "x"].into_iter().enumerate() {
        let shelf = Shelf::new(dir.path().to_owned(), [name.to_owned()]);
        let store = Store::open(&shelf, options(name)).unwrap();
        store.identify("a".to_owned());
        store.write(time(&format!("of {number}"), 1));
        for earlier in 0..=number {
            let earlier = format!("of {earlier}");
            until(|| async { time_of(&store, &earlier).await == Some(1) }).await;
        }
        until(|| async {
            files(dir.path())
                .iter()
                .filter(|name| name.ends_with(".user"))
                .count()
                == 1
        })
        .await;
    }
    // Two keys of one account at once: each has its own, and none is merged.
    let both = ["x".to_owned(), "y".to_owned()];
    let shelf = Shelf::new(dir.path().to_owned(), both);
    let first = Store::open(&shelf, options("x")).unwrap();
    let second = Store::open(&shelf, options("y")).unwrap();
    second.identify("a".to_owned());
    settled(&second).await;
    settled(&first).await;
    assert_eq!(time_of(&second, "of 0").await, None);
    drop((first, second));
    let store = new_key(dir.path());
    until(|| async { time_of(&store, "of 0").await == Some(1) }).await;
}

#[tokio::test]
async fn a_crash_while_a_database_is_taken_over_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    released(&dir.path().join("x.db"), "x", 5);
    let before = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    for name in ["x.db", "x.user"] {
        std::fs::copy(dir.path().join(name), before.path().join(name)).unwrap();
    }
    let store = new_key(dir.path());
    store.write(shown(ROOT, &["f"], &[]));
    until(|| async { !dir.path().join("x.user").exists() }).await;
    let id = left(&store)[0].0;
    store.write(Write::Done { id });
    drop(store);
    // The last step, a new name for the files, was not on disk yet.
    for name in ["x.db", "x.user"] {
        std::fs::copy(before.path().join(name), dir.path().join(name)).unwrap();
    }
    let store = new_key(dir.path());
    until(|| async { !dir.path().join("x.user").exists() }).await;
    settled(&store).await;
    assert_eq!(left(&store), [], "it is ended");
    assert_eq!(time_of(&store, "f").await, Some(784_111_777));
}

#[tokio::test]
async fn what_is_known_under_the_new_key_counts_more() {
    let dir = tempfile::tempdir().unwrap();
    released(&dir.path().join("x.db"), "x", 5);
    let store = new_key(dir.path());
    store.write(time("f", 9));
    store.write(outcome("r"));
    store.write(shown(ROOT, &["f"], &[]));
    until(|| async { has_sums(&store, "f").await }).await;
    assert_eq!(time_of(&store, "f").await, Some(9));
}

#[tokio::test]
async fn a_new_key_respects_what_1fichier_remembers_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let fact = |name: &str| Write::Fact {
        name: name.to_owned(),
        value: "said".to_owned(),
        at: SystemTime::now(),
    };
    for name in ["lock", "last_call", "user_info"] {
        store.write(fact(name));
    }
    drop(store);
    let store = new_key(dir.path());
    assert_eq!(store.fact("lock").unwrap().1, "said");
    assert!(store.fact(ASKED).is_some() && store.fact("user_info").is_none());
    let lessons = store.lessons();
    let unknown = |lesson: &Lesson| matches!(lesson, Lesson::UnknownListings);
    assert!(lessons.iter().any(unknown), "it may have listed any folder");
}

#[tokio::test]
async fn a_public_folder_keeps_its_own_whatever_key_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let shared = |names: &[&str]| Options {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        is_shared: true,
        ..options("x")
    };
    let expected = ["s", "k", "l"].map(ToOwned::to_owned);
    // An earlier version named it after the key as well.
    let path = dir.path().join("k.db");
    released(&path, "k", 5);
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "DELETE FROM folders; DELETE FROM intents; DELETE FROM modified;
             UPDATE files SET time = NULL, whirlpool = NULL; INSERT INTO facts VALUES ('last_page', 1, '')",
        )
        .unwrap();
    drop(connection);
    let shelf = Shelf::new(dir.path().to_owned(), expected.clone());
    let store = Store::open(&shelf, shared(&["s", "k"])).unwrap();
    until(|| async { has_sums(&store, "f").await }).await;
    until(|| async { !path.exists() }).await;
    // Another remote reads it with another key at the same time.
    let other = Store::open(&shelf, shared(&["s", "l"])).unwrap();
    other.write(sums("l"));
    drop((store, other));
    // And then alone.
    let shelf = Shelf::new(dir.path().to_owned(), expected);
    let store = Store::open(&shelf, shared(&["s", "l"])).unwrap();
    assert!(has_sums(&store, "f").await);
    until(|| async { has_sums(&store, "l").await }).await;
}

#[tokio::test]
async fn a_public_folder_and_an_account_are_never_one() {
    let dir = tempfile::tempdir().unwrap();
    released(&dir.path().join("x.db"), "x", 5);
    let shelf = Shelf::new(dir.path().to_owned(), ["s".to_owned()]);
    let shared = Options {
        is_shared: true,
        ..options("s")
    };
    let store = Store::open(&shelf, shared).unwrap();
    assert!(!store.has_strays());
    store.write(shown(ROOT, &["f"], &[]));
    settled(&store).await;
    assert!(!has_sums(&store, "f").await);
    assert!(dir.path().join("x.db").exists());
}
