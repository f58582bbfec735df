//! What a caller can get wrong: refused with its reason, and nothing stored.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use pluton_fichier::emulator::{AccountOptions, Offer, Options};
use pluton_fichier::fichier::ApiKey;
use pluton_fichier::proto::put_request::Payload;
use pluton_fichier::proto::*;
use pluton_fichier::quote::shortened;
use sha2::Digest;
use tonic::Status;

use crate::harness::*;

/// Above this size an upload streams straight through.
const LARGE: usize = (16 << 20) + 1;
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| content(LARGE + 1));

/// A buffered and a streamed upload, of known and unknown size.
const SIZES: [(usize, bool); 3] = [(1000, true), (1000, false), (LARGE, true)];

fn sized(path: &str, size: i64) -> PutHeader {
    PutHeader {
        size: Some(size),
        ..header(path)
    }
}

fn head(header: PutHeader) -> PutRequest {
    message(Payload::Header(header))
}

/// Sends an upload into missing parents; it must fail and leave nothing.
#[track_caller]
fn expect_refusal(
    world: &World,
    messages: Vec<PutRequest>,
    reason: &'static str,
) -> impl Future<Output = Status> {
    let before = world.stored_all();
    let here = std::panic::Location::caller();
    async move {
        // Slow enough for a streamed upload to be on its way to the node.
        let paced = stream::iter(messages).then(|message| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            message
        });
        let outcome = world.client.clone().put(paced).await;
        let status = outcome.expect_err(&format!("{reason} at {here}"));
        assert_eq!(
            crate::harness::reason(&status),
            reason,
            "{status:?} at {here}"
        );
        // Folders that were made for it go a little later.
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(world.stored_all(), before, "{here}");
        assert_eq!(world.control.open_uploads(), 0, "{here}");
        status
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_none_is_refused_by_every_operation() {
    let world = world().await;
    let long = format!("d/{}", "n".repeat(251));
    let deep = vec!["x"; 129].join("/");
    for path in [
        "/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/../b", "a\0b", &deep,
    ] {
        let invalid = |status: Status| {
            assert_eq!(reason(&status), "INVALID_PATH", "{path:?}: {status:?}");
            assert_eq!(fact(&status, "path"), shortened(path));
        };
        invalid(world.put(path, b"1").await.unwrap_err());
        invalid(world.get(path).await.unwrap_err());
        invalid(world.list(path, false).await.unwrap_err());
        invalid(world.stat(path).await.unwrap_err());
        invalid(world.mkdir(path).await.map(drop).unwrap_err());
        invalid(world.rmdir(path).await.unwrap_err());
        let request = HashRequest {
            path: path.to_owned(),
            ..HashRequest::default()
        };
        invalid(
            world
                .client
                .clone()
                .hash(request)
                .await
                .map(drop)
                .unwrap_err(),
        );
        assert_eq!(world.delete(&[path]).await, ["INVALID_PATH"]);
    }
    assert_eq!(world.control.calls().total_v1(), 0);
    for outcome in [
        world.put(&long, b"1").await.map(drop),
        world.put(&format!("{long}/f"), b"1").await.map(drop),
        world.mkdir(&long).await.map(drop),
    ] {
        let status = assert_reason(outcome, "INVALID_PATH");
        let told = fact(&status, "path");
        assert!(
            [&long, &format!("{long}/f")]
                .iter()
                .any(|path| told == shortened(path))
        );
        assert_eq!(fact(&status, "max_name_bytes"), "250");
    }
    assert_eq!(world.stored_all(), [""; 0]);
    world.put(&long[..252], b"1").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn bytes_of_the_stored_name_count_not_characters() {
    let world = world().await;
    world.put(&"é".repeat(125), b"1").await.unwrap();
    assert_reason(world.put(&"é".repeat(126), b"1").await, "INVALID_PATH");
    // Stored as a full-width character of three bytes.
    world.put(&"$".repeat(83), b"1").await.unwrap();
    assert_reason(world.put(&"$".repeat(84), b"1").await, "INVALID_PATH");
    assert_eq!(world.stored().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_no_file_and_a_file_no_directory() {
    let world = world().await;
    world.put("d/f", b"1").await.unwrap();
    let hash = async |path: &str| {
        let request = HashRequest {
            path: path.into(),
            ..HashRequest::default()
        };
        world.client.clone().hash(request).await.map(drop)
    };
    for path in ["", "d"] {
        for outcome in [
            world.put(path, b"1").await.map(drop),
            world.get(path).await.map(drop),
            hash(path).await,
        ] {
            assert_eq!(
                fact(&assert_reason(outcome, "IS_A_DIRECTORY"), "path"),
                path
            );
        }
        assert_eq!(world.delete(&[path]).await, ["IS_A_DIRECTORY"]);
    }
    for mode in [WriteMode::CreateOnly, WriteMode::KeepBoth] {
        let header = PutHeader {
            write_mode: mode.into(),
            ..header("d")
        };
        assert_reason(put(&world.client, header, b"1").await, "IS_A_DIRECTORY");
    }
    for outcome in [
        world.put("d/f/x", b"1").await.map(drop),
        world.put("d/f/x/y", b"1").await.map(drop),
        world.list("d/f", false).await.map(drop),
        world.list("d/f/x", true).await.map(drop),
        world.mkdir("d/f").await.map(drop),
        world.mkdir("d/f/x").await.map(drop),
        world.rmdir("d/f").await,
        world.rmdir("d/f/x").await,
    ] {
        assert_eq!(
            fact(&assert_reason(outcome, "NOT_A_DIRECTORY"), "path"),
            "d/f"
        );
    }
    assert_eq!(world.stored_all(), ["d", "d/f"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_file_is_refused() {
    let world = world().await;
    let status = expect_refusal(&world, messages(sized("a/f", 0), b""), "EMPTY_FILE").await;
    assert_eq!(fact(&status, "path"), "a/f");
    let status = expect_refusal(&world, messages(header("a/f"), b""), "EMPTY_FILE").await;
    assert_eq!(fact(&status, "path"), "a/f");
    let chunks = vec![head(header("a/f")), chunk(0, b""), chunk(0, b""), commit(0)];
    expect_refusal(&world, chunks, "EMPTY_FILE").await;
}

#[tokio::test(start_paused = true)]
async fn without_a_commit_nothing_is_stored() {
    let world = world().await;
    for (size, known) in SIZES {
        let header = PutHeader {
            size: known.then_some(size as i64),
            ..header("a/b/f")
        };
        let mut all = messages(header, &CONTENT[..size]);
        all.pop();
        expect_refusal(&world, all.clone(), "UPLOAD_NOT_COMMITTED").await;
        all.truncate(1);
        expect_refusal(&world, all, "UPLOAD_NOT_COMMITTED").await;
    }
    expect_refusal(&world, Vec::new(), "UPLOAD_NOT_COMMITTED").await;
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_gap_or_an_overlap_stores_nothing() {
    let world = world().await;
    for (size, known) in SIZES {
        let header = PutHeader {
            size: known.then_some(size as i64),
            ..header("a/b/f")
        };
        for second in [99, 101, 0, size] {
            let all = vec![
                head(header.clone()),
                chunk(0, &CONTENT[..100]),
                chunk(second, &CONTENT[100..200]),
                commit(200),
            ];
            let status = expect_refusal(&world, all, "PROTOCOL_VIOLATION").await;
            assert_eq!(field(&status), "chunk.offset");
        }
    }
    expect_refusal(
        &world,
        vec![head(header("f")), chunk(1, b"1"), commit(1)],
        "PROTOCOL_VIOLATION",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_size_stores_nothing() {
    let world = world().await;
    for size in [1000, LARGE] {
        let announced = |path| sized(path, size as i64);
        let facts = |status: &Status| {
            (
                fact(status, "announced_bytes"),
                fact(status, "received_bytes"),
            )
        };
        // Fewer than announced, with a commit that agrees with the header or with the content.
        let mut fewer = messages(announced("a/f"), &CONTENT[..size - 1]);
        let status = expect_refusal(&world, fewer.clone(), "SIZE_MISMATCH").await;
        assert_eq!(facts(&status), (size.to_string(), (size - 1).to_string()));
        *fewer.last_mut().unwrap() = commit(size);
        expect_refusal(&world, fewer, "SIZE_MISMATCH").await;
        // More than announced.
        let more = messages(announced("a/f"), &CONTENT[..size + 1]);
        expect_refusal(&world, more, "SIZE_MISMATCH").await;
        // A commit that is wrong alone.
        for wrong in [0, size - 1, size + 1] {
            let mut all = messages(announced("a/f"), &CONTENT[..size]);
            *all.last_mut().unwrap() = commit(wrong);
            let status = expect_refusal(&world, all, "SIZE_MISMATCH").await;
            assert_eq!(facts(&status), (wrong.to_string(), size.to_string()));
        }
    }
    let mut unknown = messages(header("a/f"), b"hello");
    *unknown.last_mut().unwrap() = commit(4);
    expect_refusal(&world, unknown, "SIZE_MISMATCH").await;
}

fn sha256(data: &[u8]) -> Checksum {
    let digest = sha2::Sha256::digest(data);
    Checksum {
        algorithm: HashAlgorithm::Sha256.into(),
        hex: digest.iter().map(|byte| format!("{byte:02X}")).collect(),
    }
}

fn whirlpool_sum(data: &[u8]) -> Checksum {
    Checksum {
        algorithm: HashAlgorithm::Whirlpool.into(),
        hex: whirlpool(data),
    }
}

fn committed(header: PutHeader, data: &[u8], checksums: Vec<Checksum>) -> Vec<PutRequest> {
    let mut all = messages(header, data);
    *all.last_mut().unwrap() = message(Payload::Commit(PutCommit {
        size: data.len() as i64,
        checksums,
    }));
    all
}

#[tokio::test(start_paused = true)]
async fn a_wrong_checksum_stores_nothing_and_a_right_one_does_no_harm() {
    let world = world().await;
    for (size, known) in SIZES {
        let data = &CONTENT[..size];
        let header = PutHeader {
            size: known.then_some(size as i64),
            ..header("a/f")
        };
        for wrong in [sha256(b"other"), whirlpool_sum(b"other")] {
            let in_header = PutHeader {
                checksums: vec![wrong.clone()],
                ..header.clone()
            };
            let status =
                expect_refusal(&world, messages(in_header, data), "CHECKSUM_MISMATCH").await;
            assert_eq!(fact(&status, "expected"), wrong.hex.to_lowercase());
        }
        let wrong = vec![whirlpool_sum(data), whirlpool_sum(b"other")];
        expect_refusal(
            &world,
            committed(header.clone(), data, wrong),
            "CHECKSUM_MISMATCH",
        )
        .await;
        // Both places count.
        let named = PutHeader {
            checksums: vec![sha256(data)],
            ..header.clone()
        };
        expect_refusal(
            &world,
            committed(named, data, vec![sha256(b"other")]),
            "CHECKSUM_MISMATCH",
        )
        .await;
    }
    let wrong = vec![sha256(b"other")];
    expect_refusal(
        &world,
        committed(header("a/f"), b"data", wrong),
        "CHECKSUM_MISMATCH",
    )
    .await;
    // A large file is not kept: what is not computed of every upload must be
    // in the header too when the commit asks for it.
    let large = &CONTENT[..LARGE];
    let late = |sum| committed(sized("a/f", LARGE as i64), large, vec![sum]);
    let sha1 = Checksum {
        algorithm: HashAlgorithm::Sha1.into(),
        hex: "0".repeat(40),
    };
    expect_refusal(&world, late(sha1), "INVALID_FIELD").await;
    expect_refusal(&world, late(sha256(b"other")), "CHECKSUM_MISMATCH").await;

    for (size, known) in SIZES {
        let data = &CONTENT[..size];
        let sums = vec![sha256(data), whirlpool_sum(data)];
        let header = PutHeader {
            size: known.then_some(size as i64),
            checksums: sums.clone(),
            ..header("a/f")
        };
        send(&world.client, committed(header, data, sums))
            .await
            .unwrap();
    }
    send(&world.client, late(sha256(large))).await.unwrap();
    assert_eq!(world.stored_all(), ["a", "a/f"]);
}

#[tokio::test(start_paused = true)]
async fn a_checksum_that_is_none_is_refused_before_any_byte() {
    let world = world().await;
    for hex in ["", "12", &"g".repeat(64), &"é".repeat(32), &"0".repeat(128)] {
        let wrong = vec![Checksum {
            algorithm: HashAlgorithm::Sha256.into(),
            hex: hex.into(),
        }];
        let in_header = PutHeader {
            checksums: wrong.clone(),
            ..header("a/f")
        };
        let status = expect_refusal(&world, vec![head(in_header)], "INVALID_FIELD").await;
        assert_eq!(field(&status), "header.checksums");
        let status = expect_refusal(
            &world,
            committed(header("a/f"), b"1", wrong),
            "INVALID_FIELD",
        )
        .await;
        assert_eq!(field(&status), "commit.checksums");
    }
    let unknown = vec![Checksum {
        algorithm: 99,
        hex: "00".into(),
    }];
    expect_refusal(
        &world,
        vec![head(PutHeader {
            checksums: unknown,
            ..header("f")
        })],
        "INVALID_FIELD",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_chunk_with_a_wrong_crc_stores_nothing() {
    let world = world().await;
    for (size, known) in SIZES {
        let header = PutHeader {
            size: known.then_some(size as i64),
            ..header("a/f")
        };
        let with_crc = |crc| {
            let data = Bytes::from_static(b"hello");
            message(Payload::Chunk(Chunk {
                offset: 0,
                data,
                crc32c: Some(crc),
            }))
        };
        let right = crc32c::crc32c(b"hello");
        let all = vec![head(header.clone()), with_crc(right ^ 1), commit(5)];
        let status = expect_refusal(&world, all, "CHECKSUM_MISMATCH").await;
        assert_eq!(field(&status), "chunk.crc32c");
        if !known {
            send(
                &world.client,
                vec![head(header), with_crc(right), commit(5)],
            )
            .await
            .unwrap();
            assert_eq!(world.delete(&["a/f"]).await, [""]);
            world.rmdir("a").await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_in_a_wrong_order_are_refused() {
    let world = world().await;
    let empty = PutRequest { payload: None };
    for (size, known) in SIZES {
        let first = head(PutHeader {
            size: known.then_some(size as i64),
            ..header("a/f")
        });
        for wrong in [first.clone(), empty.clone()] {
            let all = vec![first.clone(), chunk(0, b"1"), wrong, commit(1)];
            expect_refusal(&world, all, "PROTOCOL_VIOLATION").await;
        }
    }
    for first in [chunk(0, b"1"), commit(1), empty] {
        expect_refusal(
            &world,
            vec![first, head(header("f")), chunk(0, b"1"), commit(1)],
            "PROTOCOL_VIOLATION",
        )
        .await;
    }
    assert_eq!(
        world.control.calls().get("upload.cgi"),
        2,
        "the streamed ones, cut off"
    );
}

#[tokio::test(start_paused = true)]
async fn a_chunk_over_the_limit_is_refused() {
    let world = world().await;
    for size in [(1 << 20) + 1, 5 << 20] {
        for (announced, path) in [(None, "a/f"), (Some(LARGE as i64), "b/f")] {
            let all = vec![
                head(PutHeader {
                    size: announced,
                    ..header(path)
                }),
                chunk(0, &CONTENT[..size]),
                commit(size),
            ];
            let status = expect_refusal(&world, all, "INVALID_FIELD").await;
            assert_eq!(field(&status), "chunk.data");
        }
    }
    let all = vec![
        head(header("f")),
        chunk(0, &CONTENT[..1 << 20]),
        commit(1 << 20),
    ];
    send(&world.client, all).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_over_the_limit_is_refused_before_any_byte() {
    let world = world().await;
    for size in [300_000_000_001, i64::MAX] {
        let status = expect_refusal(&world, vec![head(sized("a/f", size))], "FILE_TOO_LARGE").await;
        assert_eq!(
            (fact(&status, "path"), fact(&status, "max_file_bytes")),
            ("a/f".into(), "300000000000".into())
        );
    }
    assert_eq!(world.control.calls().total_v1(), 0);
}

#[tokio::test(start_paused = true)]
async fn negative_numbers_are_refused() {
    let world = world().await;
    let refused = |outcome: Result<(), Status>, name: &str| {
        assert_eq!(field(&assert_reason(outcome, "INVALID_FIELD")), name);
    };
    let read = async |request: GetRequest| {
        get(
            &world.client,
            GetRequest {
                path: "f".into(),
                ..request
            },
        )
        .await
        .map(drop)
    };
    let range = |offset, length| GetRequest {
        ranges: vec![ByteRange { offset, length }],
        ..GetRequest::default()
    };
    refused(read(range(-1, None)).await, "ranges.offset");
    refused(read(range(0, Some(-1))).await, "ranges.length");
    refused(
        read(GetRequest {
            chunk_size: -1,
            ..GetRequest::default()
        })
        .await,
        "chunk_size",
    );
    let walk = async |request: ListRequest| list(&world.client, request).await.map(drop);
    refused(
        walk(ListRequest {
            page_size: -1,
            ..ListRequest::default()
        })
        .await,
        "page_size",
    );
    refused(
        walk(ListRequest {
            max_depth: -1,
            ..ListRequest::default()
        })
        .await,
        "max_depth",
    );
    let max_staleness = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    refused(
        walk(ListRequest {
            max_staleness,
            ..ListRequest::default()
        })
        .await,
        "max_staleness",
    );
    let stat = StatRequest {
        max_staleness,
        ..StatRequest::default()
    };
    refused(
        world.client.clone().stat(stat).await.map(drop),
        "max_staleness",
    );
    let write = async |messages| send(&world.client, messages).await.map(drop);
    refused(write(vec![head(sized("f", -1))]).await, "header.size");
    let back = message(Payload::Chunk(Chunk {
        offset: -1,
        data: Bytes::from_static(b"1"),
        crc32c: None,
    }));
    refused(
        write(vec![head(header("f")), back, commit(1)]).await,
        "chunk.offset",
    );
    let less = message(Payload::Commit(PutCommit {
        size: -1,
        checksums: Vec::new(),
    }));
    refused(
        write(vec![head(header("f")), chunk(0, b"1"), less]).await,
        "commit.size",
    );
    assert_eq!(world.stored_all(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn values_that_no_enum_has_are_refused() {
    let world = world().await;
    let refused = |outcome: Result<(), Status>, name: &str| {
        assert_eq!(field(&assert_reason(outcome, "INVALID_FIELD")), name);
    };
    for types in [vec![99], vec![0], vec![1, -1]] {
        let request = ListRequest {
            types,
            ..ListRequest::default()
        };
        refused(list(&world.client, request).await.map(drop), "types");
    }
    let request = HashRequest {
        path: "f".into(),
        algorithm: 99,
        ..HashRequest::default()
    };
    refused(
        world.client.clone().hash(request).await.map(drop),
        "algorithm",
    );
    let all = vec![head(PutHeader {
        write_mode: 99,
        ..header("f")
    })];
    refused(send(&world.client, all).await.map(drop), "write_mode");
}

#[tokio::test(start_paused = true)]
async fn too_many_ranges_or_targets_are_refused() {
    let world = world().await;
    world.put("f", b"1").await.unwrap();
    let read = async |count| {
        let ranges = vec![
            ByteRange {
                offset: 0,
                length: Some(1)
            };
            count
        ];
        get(
            &world.client,
            GetRequest {
                path: "f".into(),
                ranges,
                ..GetRequest::default()
            },
        )
        .await
    };
    assert_eq!(read(1000).await.unwrap().content.len(), 1000);
    assert_eq!(
        field(&assert_reason(read(1001).await, "INVALID_FIELD")),
        "ranges"
    );
    let targets = vec![
        DeleteTarget {
            path: "f".into(),
            ..DeleteTarget::default()
        };
        10_001
    ];
    let request = DeleteRequest {
        targets,
        ..DeleteRequest::default()
    };
    assert_eq!(
        field(&assert_reason(
            world.client.clone().delete(request).await,
            "INVALID_FIELD"
        )),
        "targets"
    );
    assert_eq!(world.stored(), ["f"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_id_that_is_too_long_is_refused() {
    let world = world().await;
    let header = PutHeader {
        request_id: "x".repeat(257),
        ..header("a/f")
    };
    let status = expect_refusal(&world, messages(header, b"1"), "INVALID_FIELD").await;
    assert_eq!(field(&status), "request_id");
}

async fn with_key(key: &str) -> World {
    let key = ApiKey::new(key).unwrap();
    build(Options::default(), move |config| {
        config.remotes[0].key = Some(key);
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_is_tried_once() {
    let world = with_key("wrong-key_wrong-key_wrong-key_00").await;
    for _ in 0..5 {
        assert_reason(world.stat("f").await, "UPSTREAM_CREDENTIALS_REJECTED");
        assert_reason(world.put("f", b"1").await, "UPSTREAM_CREDENTIALS_REJECTED");
        assert_reason(world.list("", true).await, "UPSTREAM_CREDENTIALS_REJECTED");
        assert_reason(
            world.client.clone().about(AboutRequest::default()).await,
            "UPSTREAM_CREDENTIALS_REJECTED",
        );
        assert_eq!(
            world.delete(&["f"]).await,
            ["UPSTREAM_CREDENTIALS_REJECTED"]
        );
    }
    assert_eq!(world.control.calls().total_v1(), 1);

    let answer = world
        .client
        .clone()
        .test_connection(TestConnectionRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(!answer.healthy);
    let states: Vec<_> = answer
        .checks
        .iter()
        .map(|check| (check.name.as_str(), check.state()))
        .collect();
    let skipped = |name| (name, CheckState::Skipped);
    assert_eq!(
        states,
        [
            ("reachable", CheckState::Passed),
            ("credentials", CheckState::Failed),
            skipped("plan"),
            skipped("list"),
            skipped("write"),
        ]
    );
    let failure = answer.checks[1].failure.as_ref().unwrap();
    assert_eq!(failure.reason, "UPSTREAM_CREDENTIALS_REJECTED");
    assert_eq!(world.control.calls().total_v1(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_revoked_under_load_does_not_lead_to_a_ban() {
    let world = world().await;
    for number in 0..40 {
        world.control.add_file(0, &format!("f{number}"), b"1");
    }
    world.list("", false).await.unwrap();
    world.control.reset_calls();
    world
        .control
        .set_account(0, |account| account.api_keys.clear())
        .unwrap();
    let paths: Vec<_> = (0..40).map(|number| format!("f{number}")).collect();
    let reads = paths.iter().map(|path| world.get(path));
    for outcome in futures::future::join_all(reads).await {
        assert_reason(outcome, "UPSTREAM_CREDENTIALS_REJECTED");
    }
    let calls = world.control.calls().total_v1();
    assert!(calls <= 3, "{calls} refused calls; ten lead to a ban");
}

#[tokio::test(start_paused = true)]
async fn a_free_account_cannot_read_and_the_connection_test_says_why() {
    let options = Options {
        accounts: vec![AccountOptions {
            offer: Offer::Free,
            ..AccountOptions::default()
        }],
        ..Options::default()
    };
    let world = build(options, |_| ()).await;
    world.control.add_file(0, "f", b"1");
    for _ in 0..20 {
        assert_reason(world.get("f").await, "UPSTREAM_PLAN_REQUIRED");
    }
    assert_eq!(
        world.control.calls().get("download/get_token"),
        1,
        "ten refusals lead to a ban"
    );
    let answer = world
        .client
        .clone()
        .test_connection(TestConnectionRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(!answer.healthy);
    let plan = &answer.checks[2];
    assert_eq!(
        (plan.name.as_str(), plan.state()),
        ("plan", CheckState::Failed)
    );
    assert_eq!(
        plan.failure.as_ref().unwrap().reason,
        "UPSTREAM_PLAN_REQUIRED"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_remote_is_refused_by_every_operation() {
    let world = world().await;
    let mut client = world.client.clone();
    let remote = || "other".to_owned();
    let refused = |outcome: Result<(), Status>| {
        let status = assert_reason(outcome, "REMOTE_NOT_FOUND");
        assert_eq!(fact(&status, "remote"), "other");
    };
    refused(
        client
            .stat(StatRequest {
                remote: remote(),
                ..StatRequest::default()
            })
            .await
            .map(drop),
    );
    refused(
        client
            .hash(HashRequest {
                remote: remote(),
                ..HashRequest::default()
            })
            .await
            .map(drop),
    );
    refused(
        client
            .list(ListRequest {
                remote: remote(),
                ..ListRequest::default()
            })
            .await
            .map(drop),
    );
    refused(
        client
            .get(GetRequest {
                remote: remote(),
                ..GetRequest::default()
            })
            .await
            .map(drop),
    );
    refused(
        client
            .delete(DeleteRequest {
                remote: remote(),
                ..DeleteRequest::default()
            })
            .await
            .map(drop),
    );
    refused(
        client
            .mkdir(MkdirRequest {
                remote: remote(),
                ..MkdirRequest::default()
            })
            .await
            .map(drop),
    );
    refused(
        client
            .rmdir(RmdirRequest {
                remote: remote(),
                ..RmdirRequest::default()
            })
            .await
            .map(drop),
    );
    refused(
        client
            .about(AboutRequest { remote: remote() })
            .await
            .map(drop),
    );
    refused(
        client
            .test_connection(TestConnectionRequest {
                remote: remote(),
                check_write: false,
            })
            .await
            .map(drop),
    );
    let header = PutHeader {
        remote: remote(),
        ..header("f")
    };
    refused(put(&world.client, header, b"1").await.map(drop));
    let named = StatRequest {
        remote: "fichier".into(),
        ..StatRequest::default()
    };
    client.stat(named).await.unwrap();
    assert_eq!(world.control.calls().total_v1(), 0);
}
