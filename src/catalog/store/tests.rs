use super::*;
use crate::catalog::content::{FileRecord, FolderRecord, Whirlpool, shared_type};
use crate::checksum::Algorithm;

fn file(name: &str) -> FileRecord {
    FileRecord {
        url: format!("https://1fichier.com/?{name}").into(),
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

fn listing(folder: i64, files: Vec<FileRecord>) -> Write {
    let folders = vec![FolderRecord {
        id: 7,
        name: "sub".into(),
        time: None,
        password: false,
    }];
    Write::Listing {
        folder,
        content: Arc::new(Content::new(folders, files)),
        as_of: SystemTime::now(),
        at: SystemTime::now(),
    }
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    let store = Store::open(&path, "account").unwrap();
    store.write(listing(1, vec![file("a"), file("b")]));
    let now = SystemTime::now();
    store.write(Write::Change {
        folder: 1,
        change: Change::FileRemoved(file("a").url),
        at: now,
    });
    store.write(Write::Change {
        folder: 1,
        change: Change::FileAdded(file("c")),
        at: now,
    });
    store.write(Write::Change {
        folder: 2,
        change: Change::FolderRemoved(9),
        at: now,
    });
    drop(store);
    let store = Store::open(&path, "account").unwrap();
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
}

#[tokio::test]
async fn a_full_disk_ends_the_writing_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    drop(Store::open(&path, "account").unwrap());
    let connection = Connection::open(&path).unwrap();
    let pages: i64 = connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    drop(connection);
    let store = Store::open_with(
        &path,
        "account",
        &format!("PRAGMA max_page_count = {};", pages + 2),
    )
    .unwrap();
    store.write(listing(1, vec![file("a")]));
    store.flush().await;
    assert_eq!(store.problem(), None);
    store.write(listing(
        2,
        (0..5_000).map(|number| file(&number.to_string())).collect(),
    ));
    store.flush().await;
    assert!(
        store.problem().unwrap().contains("full"),
        "{:?}",
        store.problem()
    );
    assert!(
        store.load(1).await.content.is_none(),
        "what fell behind is not read"
    );
    drop(store);
    let store = Store::open(&path, "account").unwrap();
    assert!(
        store.load(1).await.content.is_none(),
        "the incomplete one was set aside"
    );
    assert!(
        std::fs::read_dir(dir.path()).unwrap().count() > 1,
        "and not deleted"
    );
}

#[tokio::test]
async fn damage_that_is_met_while_reading_ends_the_trust() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    let store = Store::open(&path, "account").unwrap();
    for folder in 0..20 {
        let files = (0..200)
            .map(|number| file(&format!("{folder}-{number}")))
            .collect();
        store.write(listing(folder, files));
    }
    drop(store);
    // The first pages hold the layout and what is checked at the start.
    let mut bytes = std::fs::read(&path).unwrap();
    let start = bytes.len() / 4;
    bytes[start..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let store = Store::open(&path, "account").unwrap();
    for folder in 0..20 {
        store.load(folder).await;
    }
    assert!(store.problem().is_some(), "it was noticed");
    assert!(
        store.load(0).await.content.is_none(),
        "and nothing more is read"
    );
    drop(store);
    let store = Store::open(&path, "account").unwrap();
    assert_eq!(store.problem(), None, "the next start begins anew");
}

#[tokio::test]
async fn a_database_of_the_layout_before_keeps_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    let store = Store::open(&path, "account").unwrap();
    store.write(listing(1, vec![file("a"), file("b")]));
    drop(store);
    let connection = Connection::open(&path).unwrap();
    let back = "DROP TABLE checksums; DROP TABLE intents; DROP TABLE modified; UPDATE meta SET value = 2 WHERE name = 'schema'";
    connection.execute_batch(back).unwrap();
    drop(connection);
    for _ in 0..2 {
        let store = Store::open(&path, "account").unwrap();
        assert!(!store.was_set_aside());
        let (content, _, _) = store.load(1).await.content.unwrap();
        assert_eq!(content.len(), 3);
        assert!(!store.has_checksums());
        assert!(!store.has_modified());
    }
    let store = Store::open(&path, "account").unwrap();
    let sum = |algorithm: Algorithm| Checksum {
        algorithm,
        hex: "7".repeat(algorithm.hex_digits()),
    };
    let key = ContentKey::of_whirlpool(file("a").whirlpool.as_ref().unwrap(), 3);
    let keys = || vec![key.clone(), ContentKey::of_link("none", 3)];
    assert_eq!(store.checksums(keys()).await, None);
    store.write(Write::Checksums {
        key: key.clone(),
        sums: vec![sum(Algorithm::Sha256)],
    });
    store.write(Write::Modified {
        url: "a".to_owned(),
        time: 5,
    });
    drop(store);
    let store = Store::open(&path, "account").unwrap();
    assert!(store.has_modified());
    let times = store.modified(vec!["a".to_owned()]).await.unwrap();
    assert_eq!(times["a"], 5);
    let recorded = vec![vec![sum(Algorithm::Sha256)], Vec::new()];
    assert_eq!(store.checksums(keys()).await, Some(recorded));
}

#[tokio::test]
async fn a_run_that_did_not_end_in_good_order_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    let store = Store::open(&path, "account").unwrap();
    assert!(!store.has_crashed(), "there was none before");
    drop(store);
    let store = Store::open(&path, "account").unwrap();
    assert!(!store.has_crashed());
    // As a killed process leaves it.
    std::mem::forget(store);
    let store = Store::open(&path, "account").unwrap();
    assert!(store.has_crashed());
}
