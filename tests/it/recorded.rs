//! Checksums that are computed when a content passes through, and remembered.

use pluton_fichier::emulator::{FaultKind, Options};
use pluton_fichier::proto::*;

use crate::harness::*;

async fn recording(algorithms: &str) -> World {
    build(Options::default(), |config| {
        config.record_hashes = algorithms.parse().unwrap();
    })
    .await
}

fn expected(algorithms: &[HashAlgorithm], data: &[u8]) -> Vec<(HashAlgorithm, String)> {
    let algorithms = algorithms.iter();
    algorithms.map(|algorithm| sum(*algorithm, data)).collect()
}

const ALWAYS: [HashAlgorithm; 3] = [
    HashAlgorithm::Whirlpool,
    HashAlgorithm::Sha256,
    HashAlgorithm::Md5,
];

#[tokio::test(start_paused = true)]
async fn uploads_of_every_kind_have_their_checksums_everywhere_at_no_call() {
    let mut world = world().await;
    for (path, size, known) in [
        ("small", 1, true),
        ("buffered", 300_000, false),
        ("streamed", (16 << 20) + 1, true),
    ] {
        let data = content(size);
        let header = PutHeader {
            size: known.then_some(size as i64),
            ..header(path)
        };
        let stored = put(&world.client, header, &data).await.unwrap();
        let wanted = expected(&ALWAYS, &data);
        assert_eq!(sums(&stored), wanted, "{path}: Put");
        for restarted in [false, true] {
            world.control.reset_calls();
            assert_eq!(
                sums(&world.stat(path).await.unwrap()),
                wanted,
                "{path}: Stat"
            );
            let listed = world.list("", true).await.unwrap();
            let listed = listed.iter().find(|entry| entry.path == path).unwrap();
            assert_eq!(sums(listed), wanted, "{path}: List");
            for (algorithm, hex) in &wanted {
                let answer = world.on("").hash(path, *algorithm, false).await.unwrap();
                assert!(!answer.computed);
                assert_eq!(&answer.checksum.unwrap().hex, hex, "{path}: Hash");
                assert_eq!(sums(&answer.entry.unwrap()), wanted);
            }
            assert_eq!(world.control.calls().total_v1(), 0);
            let download = world.get(path).await.unwrap();
            assert_eq!(sums(&download.header.entry.unwrap()), wanted, "{path}: Get");
            if !restarted {
                world.restart().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn they_belong_to_the_content_and_not_to_the_path() {
    let mut world = world().await;
    let data = content(5_000);
    let wanted = expected(&ALWAYS, &data);
    world.put("a", &data).await.unwrap();
    let copied = world.on("").copy("a", "d/copy").await.unwrap();
    assert_eq!(sums(&copied), wanted);
    let request = MoveRequest {
        source_path: "a".into(),
        destination_path: "d/moved".into(),
        ..MoveRequest::default()
    };
    let moved = world.client.clone().r#move(request).await.unwrap();
    assert_eq!(sums(&moved.into_inner().entry.unwrap()), wanted);
    // The same bytes from elsewhere, and others.
    world.control.add_file(0, "same", &data);
    world.control.add_file(0, "other", b"other");
    world.restart().await;
    world.listed_fresh("").await;
    for path in ["d/copy", "d/moved", "same"] {
        assert_eq!(sums(&world.stat(path).await.unwrap()), wanted, "{path}");
    }
    let other = world.stat("other").await.unwrap();
    assert_eq!(sums(&other), expected(&ALWAYS[..1], b"other"));
    // Other bytes at the old path do not have them.
    let replaced = world.put("same", b"new").await.unwrap();
    assert_eq!(sums(&replaced), expected(&ALWAYS, b"new"));
}

#[tokio::test(start_paused = true)]
async fn what_clients_name_is_recorded_too() {
    let world = recording("none").await;
    let data = content(1_000);
    let (_, sha1) = sum(HashAlgorithm::Sha1, &data);
    let named = vec![Checksum {
        algorithm: HashAlgorithm::Sha1.into(),
        hex: sha1,
    }];
    let header = PutHeader {
        checksums: named.clone(),
        ..header("header")
    };
    let stored = put(&world.client, header, &data).await.unwrap();
    let wanted = expected(&[HashAlgorithm::Whirlpool, HashAlgorithm::Sha1], &data);
    assert_eq!(sums(&stored), wanted);

    // In the commit, of a content that was buffered.
    let data = content(2_000);
    let (_, crc) = sum(HashAlgorithm::Crc32c, &data);
    let mut messages = messages(crate::harness::header("commit"), &data);
    messages.pop();
    messages.push(message(put_request::Payload::Commit(PutCommit {
        size: 2_000,
        checksums: vec![Checksum {
            algorithm: HashAlgorithm::Crc32c.into(),
            hex: crc,
        }],
    })));
    let stored = send(&world.client, messages).await.unwrap();
    let wanted = expected(&[HashAlgorithm::Whirlpool, HashAlgorithm::Crc32c], &data);
    assert_eq!(sums(&stored), wanted);
    assert_eq!(sums(&world.stat("commit").await.unwrap()), wanted);

    let stored = world.put("nothing", b"nothing").await.unwrap();
    assert_eq!(sums(&stored), expected(&ALWAYS[..1], b"nothing"));
    let info = world.client.clone().get_info(GetInfoRequest {}).await;
    let info = info.unwrap().into_inner();
    assert_eq!(info.remotes[0].recorded_hashes().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_was_not_stored_records_nothing() {
    let world = world().await;
    let data = content(3_000);
    let header = PutHeader {
        checksums: vec![Checksum {
            algorithm: HashAlgorithm::Md5.into(),
            hex: "0".repeat(32),
        }],
        ..header("f")
    };
    let refused = put(&world.client, header, &data).await;
    assert_reason(refused, "CHECKSUM_MISMATCH");
    world.control.add_file(0, "f", &data);
    world.listed_fresh("").await;
    let entry = world.stat("f").await.unwrap();
    assert_eq!(sums(&entry), expected(&ALWAYS[..1], &data));
}

impl World {
    /// A listing of now, as soon as it is allowed.
    async fn listed_fresh(&self, path: &str) {
        tokio::time::sleep(std::time::Duration::from_secs(31)).await;
        self.listed_within(path, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_download_that_was_verified_records_what_it_computed() {
    let mut world = world().await;
    let data = content(400_000);
    let url = world.control.add_file(0, "f", &data);
    world.control.corrupt_file(&url);
    let hash = async |world: &World, algorithm, download| {
        world.on("").hash("f", algorithm, download).await
    };
    let refused = hash(&world, HashAlgorithm::Blake3, true).await;
    assert_reason(refused, "STORED_CONTENT_CORRUPT");
    let refused = hash(&world, HashAlgorithm::Blake3, false).await;
    assert_reason(refused, "CAPABILITY_MISSING");

    let sound = world.control.add_file(0, "g", &data);
    assert!(world.control.remove_file(&url));
    world.listed_fresh("").await;
    let on = world.on("");
    let answer = on.hash("g", HashAlgorithm::Blake3, true).await.unwrap();
    assert!(answer.computed);
    let all = [
        HashAlgorithm::Whirlpool,
        HashAlgorithm::Sha256,
        HashAlgorithm::Md5,
        HashAlgorithm::Blake3,
    ];
    let wanted = expected(&all, &data);
    assert_eq!(sums(&answer.entry.unwrap()), wanted);
    world.restart().await;
    world.control.reset_calls();
    let answer = world.on("").hash("g", HashAlgorithm::Blake3, true).await;
    let answer = answer.unwrap();
    assert!(!answer.computed, "remembered");
    let entry = world.stat("g").await.unwrap();
    assert_eq!((sums(&entry), entry.id), (wanted, sound));
    assert_eq!(world.control.calls().iter().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replayed_outcome_has_them_too() {
    let mut world = world().await;
    let header = PutHeader {
        request_id: "id".to_owned(),
        size: Some(3),
        ..header("f")
    };
    let first = put(&world.client, header.clone(), b"abc").await.unwrap();
    assert_eq!(sums(&first), expected(&ALWAYS, b"abc"));
    world.restart().await;
    let again = put(&world.client, header, b"abc").await.unwrap();
    assert_eq!(again, first);
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_listing_have_them_each() {
    let world = world().await;
    for number in 0..7 {
        let data = content(100 + number);
        world.put(&format!("d/{number}"), &data).await.unwrap();
    }
    for page_size in [1, 3, 100] {
        let request = ListRequest {
            recursive: true,
            page_size,
            ..ListRequest::default()
        };
        let pages = list(&world.client, request).await.unwrap();
        let entries: Vec<_> = pages.into_iter().flat_map(|page| page.entries).collect();
        assert_eq!(entries.len(), 8);
        for (number, entry) in entries[1..].iter().enumerate() {
            assert_eq!(sums(entry), expected(&ALWAYS, &content(100 + number)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_told_while_the_account_is_banned() {
    let mut world = world().await;
    world.put("d/f", b"content").await.unwrap();
    let unknown = world.control.add_folder(0, "unknown");
    world.control.add_file(unknown, "x", b"x");
    world.listed_fresh("").await;
    let banned = FaultKind::Ko {
        http: 403,
        message: "IP Locked #79".to_owned(),
    };
    world.fail("folder/ls", 1, banned);
    assert_reason(world.list("unknown", false).await, "UPSTREAM_LOCKED");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    world.control.reset_calls();
    for _ in 0..2 {
        let entry = world.stat("d/f").await.unwrap();
        assert_eq!(sums(&entry), expected(&ALWAYS, b"content"));
        assert_eq!(world.names("d", false).await, ["d/f"]);
        let md5 = world.on("").hash("d/f", HashAlgorithm::Md5, false).await;
        assert!(!md5.unwrap().computed);
        assert_reason(world.list("unknown", false).await, "UPSTREAM_LOCKED");
        world.restart().await;
    }
    assert_eq!(world.control.calls().total_v1(), 0);
}
