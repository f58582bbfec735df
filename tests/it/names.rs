//! Names, as rclone would store and tell them.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use pluton_fichier::proto::MoveRequest;
use serde_json::Value;

use crate::harness::{assert_reason, unlimited, world};

/// What rclone did with a name that is UTF-8: its form in a path, as stored,
/// and as told again.
struct Record {
    standard: String,
    stored: String,
    told: String,
}

/// Those that can be a segment of a path. 1Fichier has no longer names.
fn recorded() -> Vec<Record> {
    let file: Value = serde_json::from_str(include_str!("../vectors/encoding.json")).unwrap();
    let records = file.as_array().or(file["records"].as_array()).unwrap();
    let record = |record: &Value| {
        let text = |field: &str| Some(record[field].as_str()?.to_owned());
        Some(Record {
            standard: text("standard")?,
            stored: text("encoded")?,
            told: text("decoded")?,
        })
    };
    let usable = |record: &Record| {
        let name = &*record.standard;
        !matches!(name, "" | "." | "..")
            && !name.contains(['/', '\0'])
            && record.stored.len() <= 250
    };
    records.iter().filter_map(record).filter(usable).collect()
}

/// Every recorded name, also those that rclone itself would never tell, such as
/// a raw line feed or a single quote `‛`.
#[tokio::test(start_paused = true)]
async fn names_are_stored_and_told_as_recorded() {
    let world = unlimited().await;
    let usual = |record: &Record| {
        // See below.
        let misread = record.told.ends_with("‛␠");
        // On the wire this is a byte that is not UTF-8.
        let mut quoted = record.standard.split('‛').skip(1);
        let byte = quoted
            .any(|rest| rest.len() > 1 && rest.bytes().take(2).all(|c| c.is_ascii_hexdigit()));
        !misread && !byte
    };
    let records: Vec<_> = recorded().into_iter().filter(usual).collect();
    assert!(records.len() > 1_500, "{}", records.len());
    // One of each that are stored under one name.
    let each: BTreeMap<_, _> = records
        .iter()
        .map(|record| (&record.stored, record))
        .collect();
    let puts = each.values().map(|record| {
        let world = &world;
        async move {
            let told = world.put(&record.standard, b"1").await.unwrap().path;
            assert_eq!(world.get(&record.standard).await.unwrap().content, b"1");
            told
        }
    });
    let told: Vec<_> = futures::stream::iter(puts).buffered(100).collect().await;
    let stored: BTreeSet<_> = world.stored_all().into_iter().collect();
    assert!(each.keys().all(|stored_name| stored.contains(*stored_name)));
    assert_eq!(stored.len(), each.len());
    assert_eq!(told.len(), each.len());
    for record in &records {
        let entry = world.stat(&record.standard).await.unwrap();
        assert_eq!(entry.path, record.told, "{:?}", record.standard);
    }
}

/// rclone does not read back what it wrote for a quote before a space at the
/// end of a name. It is stored as by rclone, and found, and replaced, by either
/// name.
#[tokio::test(start_paused = true)]
async fn a_name_that_rclone_reads_back_otherwise_is_found_by_both() {
    let world = unlimited().await;
    for content in [b"first", b"later"] {
        for name in ["a‛ ", "a‛‛ "] {
            world.put(name, content).await.unwrap();
            assert_eq!(world.stored_all(), ["a‛‛␠"]);
        }
        assert_eq!(world.names("", true).await, ["a‛‛␠"]);
        for name in ["a‛ ", "a‛‛ ", "a‛‛␠"] {
            assert_eq!(world.get(name).await.unwrap().content, content, "{name:?}");
        }
    }
    assert_eq!(world.delete(&["a‛‛ "]).await, [""]);
    assert!(world.stored_all().is_empty());
}

/// In directories, too, and as source and destination of a move.
#[tokio::test(start_paused = true)]
async fn a_raw_character_and_its_picture_name_one_entry() {
    let world = world().await;
    for (raw, standard) in [
        ("a\nb", "a␊b"),
        ("\u{7f}", "␡"),
        ("‛41", "A"),
        ("a‛b", "a‛‛b"),
    ] {
        let below = |name: &str| format!("{name}/{name}");
        assert_eq!(
            world.put(&below(raw), b"1").await.unwrap().path,
            below(standard)
        );
        assert_reason(world.mkdir(&below(raw)).await, "NOT_A_DIRECTORY");
        for name in [raw, standard] {
            assert_eq!(world.get(&below(name)).await.unwrap().content, b"1");
        }
        assert!(!world.mkdir(standard).await.unwrap().created);
        world.put(&below(standard), b"22").await.unwrap();
        assert_eq!(world.names(raw, true).await, [below(standard)]);
        let moving = MoveRequest {
            source_path: below(raw),
            destination_path: format!("moved-{raw}"),
            ..MoveRequest::default()
        };
        let moved = world
            .client
            .clone()
            .r#move(moving)
            .await
            .unwrap()
            .into_inner();
        let entry = moved.entry.unwrap();
        assert_eq!(entry.path, format!("moved-{standard}"));
        assert_eq!(world.delete(&[&format!("moved-{raw}")]).await, [""]);
        world.rmdir(raw).await.unwrap();
        assert!(world.stored_all().is_empty());
    }
}

/// Nothing that is written with quotes leads out of a directory.
#[tokio::test(start_paused = true)]
async fn quoted_dots_and_slashes_are_names() {
    let world = world().await;
    world.put("d/‛2E‛2E/x", b"1").await.unwrap();
    world.put("d/a‛2Fb", b"1").await.unwrap();
    assert_eq!(
        world.names("", true).await,
        ["d/", "d/a／b", "d/．．/", "d/．．/x"]
    );
}
