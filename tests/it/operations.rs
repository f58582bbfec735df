//! Each operation as it should go.

use std::time::Duration;

use pluton_fichier::emulator::{Fault, FaultKind, Options};
use pluton_fichier::proto::*;
use tonic::{Code, Status};

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn what_is_put_comes_back() {
    let world = world().await;
    for size in [1, 100, 65_536, 65_537, 262_144, 1_000_000] {
        let data = content(size);
        let path = format!("dir/file {size}.bin");
        let entry = world.put(&path, &data).await.unwrap();
        assert_eq!(
            (entry.path.as_str(), entry.size),
            (path.as_str(), Some(size as i64))
        );
        assert_eq!(entry.checksums[0].hex, whirlpool(&data));
        let back = world.get(&path).await.unwrap();
        assert!(back.content == data);
        assert!(back.trailer.verified);
        assert_eq!(back.trailer.checksums, entry.checksums[..1]);
        assert_eq!(back.header.entry.unwrap(), entry);
    }
    assert_eq!(world.names("", true).await.len(), 7);
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn large_files_stream_through_and_unknown_sizes_are_buffered() {
    let world = world().await;
    let data = content(20 << 20);
    let known = world.put("known.bin", &data).await.unwrap();
    let unknown = put(&world.client, header("unknown.bin"), &data)
        .await
        .unwrap();
    assert_eq!(known.checksums, unknown.checksums);
    assert!(world.get("known.bin").await.unwrap().content == data);
    assert!(world.get("unknown.bin").await.unwrap().content == data);
}

/// Folders and files whose names sort differently with and without a slash
/// behind them.
fn plant(world: &World) {
    let control = &world.control;
    let a = control.add_folder(0, "a");
    let b = control.add_folder(a, "b");
    let dash = control.add_folder(0, "a-");
    control.add_folder(0, "empty");
    for (folder, name) in [
        (0, "a.txt"),
        (0, "z"),
        (a, "1"),
        (a, "2"),
        (b, "x"),
        (b, "y"),
        (dash, "3"),
    ] {
        control.add_file(folder, name, name.as_bytes());
    }
}

const TREE: [&str; 11] = [
    "a/", "a-/", "a.txt", "empty/", "z", "a/1", "a/2", "a/b/", "a/b/x", "a/b/y", "a-/3",
];

fn marked(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| match entry.r#type() {
            EntryType::Directory => format!("{}/", entry.path),
            _ => entry.path.clone(),
        })
        .collect()
}

fn entries(pages: Vec<ListResponse>) -> Vec<Entry> {
    pages.into_iter().flat_map(|page| page.entries).collect()
}

#[tokio::test(start_paused = true)]
async fn stat_describes_files_directories_and_the_root() {
    let world = world().await;
    let folder = world.control.add_folder(0, "d");
    let url = world.control.add_file(folder, "f.txt", b"hello");

    let file = world.stat("d/f.txt").await.unwrap();
    assert_eq!(file.path, "d/f.txt");
    assert_eq!(file.r#type(), EntryType::File);
    assert_eq!(file.size, Some(5));
    assert_eq!(file.id, url);
    assert_eq!(
        file.checksums,
        [Checksum {
            algorithm: HashAlgorithm::Whirlpool.into(),
            hex: whirlpool(b"hello"),
        }]
    );
    assert!(file.modify_time.is_some() && !file.etag.is_empty());
    assert!(file.attributes.is_empty());

    let directory = world.stat("d").await.unwrap();
    assert_eq!(directory.r#type(), EntryType::Directory);
    assert_eq!(directory.size, None);
    assert_eq!(directory.id, folder.to_string());
    let root = world.stat("").await.unwrap();
    assert_eq!(
        (root.path.as_str(), root.r#type()),
        ("", EntryType::Directory)
    );
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_not_found_and_costs_nothing_while_fresh() {
    let world = world().await;
    world.control.add_folder(0, "d");
    assert_reason(world.stat("nothing").await, "FILE_NOT_FOUND");
    assert_reason(world.stat("d/nothing").await, "FILE_NOT_FOUND");
    world.control.reset_calls();
    let status = assert_reason(world.stat("none/of/this").await, "FILE_NOT_FOUND");
    assert_eq!(fact(&status, "path"), "none/of/this");
    assert_reason(world.get("d/nothing").await, "FILE_NOT_FOUND");
    assert_reason(world.list("none", false).await, "DIRECTORY_NOT_FOUND");
    assert_reason(world.rmdir("none").await, "DIRECTORY_NOT_FOUND");
    assert_eq!(world.delete(&["d/nothing"]).await, ["FILE_NOT_FOUND"]);
    assert_eq!(world.control.calls().total_v1(), 0);
}

#[tokio::test(start_paused = true)]
async fn stat_with_max_staleness_sees_what_others_did() {
    let world = world().await;
    world.control.add_file(0, "old", b"1");
    world.stat("old").await.unwrap();
    let request = StatRequest {
        path: "new".into(),
        max_staleness: Some(Duration::from_secs(1).try_into().unwrap()),
        ..StatRequest::default()
    };
    world.control.add_file(0, "new", b"1");
    assert_reason(world.stat("new").await, "FILE_NOT_FOUND");
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_reason(world.stat("new").await, "FILE_NOT_FOUND");
    world.client.clone().stat(request).await.unwrap();
    assert_eq!(world.control.calls().get("folder/ls"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_sorted_and_has_parents_before_what_is_in_them() {
    let world = world().await;
    plant(&world);
    assert_eq!(world.names("", false).await, TREE[..5]);
    assert_eq!(world.names("a", false).await, ["a/1", "a/2", "a/b/"]);
    assert_eq!(world.names("empty", false).await, [""; 0]);
    assert_eq!(world.names("", true).await, TREE);
    assert_eq!(world.names("a", true).await, TREE[5..10]);
    assert_eq!(
        world.control.calls().get("folder/ls"),
        5,
        "one for each folder"
    );
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_listing_keeps_to_depth_and_types() {
    let world = world().await;
    plant(&world);
    let ask = async |max_depth, types: &[EntryType]| {
        let request = ListRequest {
            recursive: true,
            max_depth,
            types: types.iter().map(|wanted| (*wanted).into()).collect(),
            ..ListRequest::default()
        };
        marked(&entries(list(&world.client, request).await.unwrap()))
    };
    assert_eq!(ask(1, &[]).await, TREE[..5]);
    let two: Vec<_> = TREE
        .into_iter()
        .filter(|path| !path.starts_with("a/b/x") && !path.starts_with("a/b/y"))
        .collect();
    assert_eq!(ask(2, &[]).await, two);
    assert_eq!(ask(3, &[]).await, TREE);
    assert_eq!(
        ask(0, &[EntryType::Directory]).await,
        ["a/", "a-/", "empty/", "a/b/"]
    );
    assert_eq!(
        ask(0, &[EntryType::File]).await,
        ["a.txt", "z", "a/1", "a/2", "a/b/x", "a/b/y", "a-/3"]
    );
    assert_eq!(ask(0, &[EntryType::File, EntryType::Directory]).await, TREE);
}

#[tokio::test(start_paused = true)]
async fn a_listing_can_be_taken_up_again_behind_every_page() {
    let world = world().await;
    plant(&world);
    for types in [
        vec![],
        vec![EntryType::File.into()],
        vec![EntryType::Directory.into()],
    ] {
        for (path, recursive, max_depth) in
            [("", true, 0), ("", true, 2), ("a", true, 0), ("", false, 0)]
        {
            for page_size in 0..=6 {
                let request = ListRequest {
                    path: path.into(),
                    recursive,
                    max_depth,
                    types: types.clone(),
                    page_size,
                    ..ListRequest::default()
                };
                let whole = entries(
                    list(
                        &world.client,
                        ListRequest {
                            page_size: 0,
                            ..request.clone()
                        },
                    )
                    .await
                    .unwrap(),
                );
                let pages = list(&world.client, request.clone()).await.unwrap();
                assert_eq!(entries(pages.clone()), whole);
                assert!(
                    pages
                        .iter()
                        .all(|page| page_size == 0 || page.entries.len() <= page_size as usize)
                );
                assert!(pages.last().unwrap().next_page_token.is_empty());
                let mut seen = 0;
                for page in &pages[..pages.len() - 1] {
                    seen += page.entries.len();
                    let page_token = page.next_page_token.clone();
                    assert!(!page_token.is_empty());
                    let rest = list(
                        &world.client,
                        ListRequest {
                            page_token,
                            ..request.clone()
                        },
                    )
                    .await
                    .unwrap();
                    assert_eq!(
                        marked(&entries(rest)),
                        marked(&whole[seen..]),
                        "{request:?} behind {seen}"
                    );
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn page_tokens_belong_to_their_listing() {
    let world = world().await;
    plant(&world);
    let request = ListRequest {
        recursive: true,
        page_size: 2,
        ..ListRequest::default()
    };
    let pages = list(&world.client, request.clone()).await.unwrap();
    let page_token = pages[0].next_page_token.clone();
    for other in [
        ListRequest {
            path: "a".into(),
            ..request.clone()
        },
        ListRequest {
            recursive: false,
            ..request.clone()
        },
        ListRequest {
            max_depth: 1,
            ..request.clone()
        },
        ListRequest {
            types: vec![EntryType::File.into()],
            ..request.clone()
        },
    ] {
        let request = ListRequest {
            page_token: page_token.clone(),
            ..other
        };
        assert_reason(list(&world.client, request).await, "PAGE_TOKEN_EXPIRED");
    }
    for garbage in ["x", "1-2-3", "é", "1-00000000-zz-00", &"-".repeat(99)] {
        let request = ListRequest {
            page_token: garbage.into(),
            ..request.clone()
        };
        let status = assert_reason(list(&world.client, request).await, "INVALID_FIELD");
        assert_eq!(field(&status), "page_token", "{garbage}");
    }
    // The page may have another size.
    let request = ListRequest {
        page_token,
        page_size: 100,
        ..request
    };
    assert_eq!(
        marked(&entries(list(&world.client, request).await.unwrap())),
        TREE[2..]
    );
}

#[tokio::test(start_paused = true)]
async fn a_walk_tells_of_the_directory_that_cannot_be_read_and_goes_on() {
    let world = world().await;
    plant(&world);
    world.control.inject(Fault {
        endpoint: "folder/ls".into(),
        skip: 1,
        times: 1,
        kind: FaultKind::Ko {
            http: 403,
            message: "Resource not allowed #631".into(),
        },
    });
    let request = ListRequest {
        recursive: true,
        ..ListRequest::default()
    };
    let pages = list(&world.client, request).await.unwrap();
    let failures: Vec<_> = pages.iter().flat_map(|page| &page.failures).collect();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].path, "a");
    let failure = failures[0].failure.as_ref().unwrap();
    assert_eq!(
        (failure.code, failure.reason.as_str()),
        (Code::PermissionDenied as i32, "UPSTREAM_ACCESS_DENIED")
    );
    assert_eq!(
        marked(&entries(pages)),
        ["a/", "a-/", "a.txt", "empty/", "z", "a-/3"]
    );
}

async fn hash(
    world: &World,
    algorithm: HashAlgorithm,
    allow_download: bool,
) -> Result<HashResponse, Status> {
    let request = HashRequest {
        path: "f".into(),
        algorithm: algorithm.into(),
        allow_download,
        ..HashRequest::default()
    };
    Ok(world.client.clone().hash(request).await?.into_inner())
}

#[tokio::test(start_paused = true)]
async fn whirlpool_is_free_and_other_checksums_need_a_download() {
    use sha2::Digest;
    let world = build(Options::default(), |config| {
        config.record_hashes = "none".parse().unwrap();
    })
    .await;
    let data = content(100_000);
    world.put("f", &data).await.unwrap();
    world.control.reset_calls();
    for algorithm in [HashAlgorithm::Unspecified, HashAlgorithm::Whirlpool] {
        let answer = hash(&world, algorithm, true).await.unwrap();
        let sum = answer.checksum.unwrap();
        assert_eq!(
            (sum.algorithm(), sum.hex),
            (HashAlgorithm::Whirlpool, whirlpool(&data))
        );
        assert!(!answer.computed);
        assert_eq!(answer.entry.unwrap().path, "f");
    }
    assert_eq!(world.control.calls().iter().count(), 0);

    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    for (algorithm, expected) in [
        (HashAlgorithm::Sha256, hex(&sha2::Sha256::digest(&data))),
        (HashAlgorithm::Md5, hex(&md5::Md5::digest(&data))),
        (HashAlgorithm::Sha1, hex(&sha1::Sha1::digest(&data))),
        (
            HashAlgorithm::Blake3,
            blake3::hash(&data).to_hex().to_string(),
        ),
        (
            HashAlgorithm::Crc32c,
            format!("{:08x}", crc32c::crc32c(&data)),
        ),
    ] {
        let status = assert_reason(hash(&world, algorithm, false).await, "CAPABILITY_MISSING");
        assert_eq!(fact(&status, "capability"), "HASH_BY_DOWNLOAD");
        let answer = hash(&world, algorithm, true).await.unwrap();
        assert!(answer.computed);
        let sum = answer.checksum.unwrap();
        assert_eq!((sum.algorithm(), sum.hex), (algorithm, expected));
    }
    assert_eq!(
        world.control.calls().total_v1(),
        1,
        "one token for all downloads"
    );
}

fn range(offset: i64, length: Option<i64>) -> ByteRange {
    ByteRange { offset, length }
}

fn ranged(ranges: &[ByteRange]) -> GetRequest {
    GetRequest {
        path: "f".into(),
        ranges: ranges.to_vec(),
        ..GetRequest::default()
    }
}

#[tokio::test(start_paused = true)]
async fn ranges_come_in_the_order_asked_for_cut_at_the_end() {
    let world = world().await;
    let data = content(600_000);
    world.put("f", &data).await.unwrap();
    world.control.reset_calls();
    let asked = [
        range(500_000, None),
        range(0, Some(10)),
        range(10, Some(10)),
        range(5, Some(300_000)),
        range(599_999, Some(i64::MAX)),
        range(7, Some(0)),
        range(5, Some(5)),
    ];
    let resolved = [
        (500_000, 100_000),
        (0, 10),
        (10, 10),
        (5, 300_000),
        (599_999, 1),
        (7, 0),
        (5, 5),
    ];
    let back = get(&world.client, ranged(&asked)).await.unwrap();
    let told: Vec<_> = back
        .header
        .resolved_ranges
        .iter()
        .map(|range| (range.offset, range.length.unwrap()))
        .collect();
    assert_eq!(told, resolved);
    let expected: Vec<u8> = resolved
        .iter()
        .flat_map(|(offset, length)| &data[*offset as usize..(*offset + *length) as usize])
        .copied()
        .collect();
    assert!(back.content == expected);
    assert!(!back.trailer.verified && back.trailer.checksums.is_empty());

    // Every byte of every chunk stands where the chunk says.
    let mut at = 0;
    for (offset, length) in &back.chunks {
        assert!(back.content[at..at + length] == data[*offset as usize..*offset as usize + length]);
        at += length;
    }
    assert_eq!(world.control.calls().total_v1(), 1, "one token");
}

#[tokio::test(start_paused = true)]
async fn a_range_at_the_end_is_empty_and_one_beyond_it_is_refused() {
    let world = world().await;
    world.put("f", b"hello").await.unwrap();
    let back = get(&world.client, ranged(&[range(5, None)])).await.unwrap();
    assert_eq!((back.content.len(), back.trailer.sent_bytes), (0, 0));
    assert_eq!(back.header.resolved_ranges, [range(5, Some(0))]);
    let status = assert_reason(
        get(&world.client, ranged(&[range(0, None), range(6, Some(1))])).await,
        "RANGE_NOT_SATISFIABLE",
    );
    assert_eq!(
        (fact(&status, "path"), fact(&status, "size")),
        ("f".into(), "5".into())
    );
}

#[tokio::test(start_paused = true)]
async fn chunks_have_the_size_asked_for() {
    let world = world().await;
    let data = content(2_500_000);
    world.put("f", &data).await.unwrap();
    for (wanted, size) in [
        (0, 262_144),
        (10_000, 10_000),
        (1 << 20, 1 << 20),
        (1 << 24, 1 << 20),
    ] {
        let request = GetRequest {
            chunk_size: wanted,
            ..ranged(&[])
        };
        let back = get(&world.client, request).await.unwrap();
        assert!(back.content == data);
        let (last, full) = back.chunks.split_last().unwrap();
        assert!(full.iter().all(|(_, length)| *length == size), "{wanted}");
        assert_eq!(last.1, data.len() - full.len() * size);
        let offsets: Vec<_> = back
            .chunks
            .iter()
            .map(|(offset, _)| *offset as usize)
            .collect();
        assert_eq!(
            offsets,
            (0..back.chunks.len())
                .map(|index| index * size)
                .collect::<Vec<_>>()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_get_without_verification_sends_what_is_stored() {
    let world = world().await;
    let url = world.put("f", &content(300_000)).await.unwrap().id;
    world.control.corrupt_file(&url);
    assert_reason(world.get("f").await, "STORED_CONTENT_CORRUPT");
    let back = get(
        &world.client,
        GetRequest {
            verify: Some(false),
            ..ranged(&[])
        },
    )
    .await
    .unwrap();
    assert!(back.content != content(300_000) && !back.trailer.verified);
}

async fn put_mode(
    world: &World,
    path: &str,
    mode: WriteMode,
    data: &[u8],
) -> Result<Entry, Status> {
    let header = PutHeader {
        write_mode: mode.into(),
        size: Some(data.len() as i64),
        ..header(path)
    };
    put(&world.client, header, data).await
}

#[tokio::test(start_paused = true)]
async fn replacing_leaves_exactly_one_file() {
    let world = world().await;
    // Twins that another program left.
    world.control.add_file(0, "f", b"older");
    world.control.add_file(0, "f", b"old");
    let old = world.stat("f").await.unwrap();
    assert_eq!(old.attributes["duplicates"], "2");
    for data in [&b"new"[..], b"new", b"newer"] {
        let before = world.stat("f").await.unwrap();
        let new = world.put("f", data).await.unwrap();
        assert_ne!(new.etag, before.etag);
        assert_eq!(world.stat("f").await.unwrap(), new);
        assert_eq!(world.stored(), ["f"]);
        assert!(world.get("f").await.unwrap().content == data);
    }
}

#[tokio::test(start_paused = true)]
async fn create_only_never_replaces() {
    let world = world().await;
    put_mode(&world, "f", WriteMode::CreateOnly, b"1")
        .await
        .unwrap();
    let status = assert_reason(
        put_mode(&world, "f", WriteMode::CreateOnly, b"2").await,
        "ENTRY_EXISTS",
    );
    assert_eq!(fact(&status, "path"), "f");
    assert_eq!(world.get("f").await.unwrap().content, b"1");
    assert_eq!(world.stored(), ["f"]);

    let both = [b"a", b"b"].map(|data| put_mode(&world, "g", WriteMode::CreateOnly, data));
    let outcomes = futures::future::join_all(both).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(world.stored(), ["f", "g"]);
}

#[tokio::test(start_paused = true)]
async fn keep_both_keeps_both_and_the_newest_counts() {
    let world = world().await;
    world.control.add_file(0, "f", b"first");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let second = put_mode(&world, "f", WriteMode::KeepBoth, b"second")
        .await
        .unwrap();
    assert_eq!(second.attributes["duplicates"], "2");
    assert_eq!(world.stored(), ["f", "f"]);
    // Dates are 1Fichier's once our own change is history.
    tokio::time::sleep(Duration::from_secs(700)).await;
    let newest = world.stat("f").await.unwrap();
    assert_eq!(
        (newest.id.as_str(), newest.attributes["duplicates"].as_str()),
        (second.id.as_str(), "2")
    );
    assert_eq!(world.names("", false).await, ["f"]);
    assert_eq!(world.get("f").await.unwrap().content, b"second");
    // Deleting takes the newest; the other one is the file again.
    assert_eq!(world.delete(&["f"]).await, [""]);
    assert_eq!(world.get("f").await.unwrap().content, b"first");
}

#[tokio::test(start_paused = true)]
async fn an_etag_guards_put_get_and_delete() {
    let world = world().await;
    let put_if = async |path: &str, etag: &str, data: &[u8]| {
        let header = PutHeader {
            if_match_etag: etag.into(),
            ..header(path)
        };
        put(&world.client, header, data).await
    };
    let get_if = async |etag: &str| {
        get(
            &world.client,
            GetRequest {
                if_match_etag: etag.into(),
                ..ranged(&[])
            },
        )
        .await
    };
    let delete_if = async |etag: &str| {
        let request = DeleteRequest {
            targets: vec![DeleteTarget {
                path: "f".into(),
                if_match_etag: etag.into(),
            }],
            ..DeleteRequest::default()
        };
        let results = world
            .client
            .clone()
            .delete(request)
            .await
            .unwrap()
            .into_inner()
            .results;
        results[0]
            .failure
            .clone()
            .map_or(String::new(), |failure| failure.reason)
    };
    let first = world.put("f", b"1").await.unwrap().etag;
    let second = put_if("f", &first, b"2").await.unwrap().etag;
    assert_reason(put_if("f", &first, b"3").await, "ETAG_MISMATCH");
    assert_reason(put_if("other", &first, b"3").await, "ETAG_MISMATCH");
    assert_reason(get_if(&first).await, "ETAG_MISMATCH");
    assert_eq!(get_if(&second).await.unwrap().content, b"2");
    assert_eq!(delete_if(&first).await, "ETAG_MISMATCH");
    assert_eq!(world.stored(), ["f"]);
    assert_eq!(delete_if(&second).await, "");
    assert_eq!(world.stored(), [""; 0]);
}

async fn put_answer(world: &World, header: PutHeader, data: &[u8]) -> Result<PutResponse, Status> {
    let messages = futures::stream::iter(messages(header, data));
    Ok(world.client.clone().put(messages).await?.into_inner())
}

#[tokio::test(start_paused = true)]
async fn a_request_id_replays_the_first_outcome() {
    let world = world().await;
    let identified = |path: &str| PutHeader {
        request_id: "id-1".into(),
        ..header(path)
    };
    let first = put_answer(&world, identified("f"), b"data").await.unwrap();
    assert!(!first.replayed);
    let uploads = world.control.calls().get("upload.cgi");
    tokio::time::sleep(Duration::from_secs(600)).await;
    let second = put_answer(&world, identified("f"), b"data").await.unwrap();
    assert!(second.replayed);
    assert_eq!(second.entry, first.entry);
    assert_eq!(world.control.calls().get("upload.cgi"), uploads);

    for other in [
        identified("g"),
        PutHeader {
            size: Some(4),
            ..identified("f")
        },
        PutHeader {
            write_mode: WriteMode::KeepBoth.into(),
            ..identified("f")
        },
    ] {
        assert_reason(
            put_answer(&world, other, b"data").await,
            "REQUEST_ID_REUSED",
        );
    }
    assert_eq!(world.stored(), ["f"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_outcome_is_not_replayed() {
    let world = world().await;
    let identified = PutHeader {
        request_id: "id-1".into(),
        size: Some(4),
        ..header("f")
    };
    assert_reason(
        put_answer(&world, identified.clone(), b"dat").await,
        "SIZE_MISMATCH",
    );
    assert!(
        !put_answer(&world, identified, b"data")
            .await
            .unwrap()
            .replayed
    );
    assert_eq!(world.stored(), ["f"]);
}

#[tokio::test(start_paused = true)]
async fn two_calls_with_one_request_id_at_once_upload_once() {
    let world = world().await;
    let identified = PutHeader {
        request_id: "id".into(),
        ..header("f")
    };
    let calls = [(); 5].map(|()| put_answer(&world, identified.clone(), b"data"));
    let answers: Vec<_> = futures::future::join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(answers.iter().filter(|answer| answer.replayed).count(), 4);
    assert!(
        answers
            .iter()
            .all(|answer| answer.entry == answers[0].entry)
    );
    assert_eq!(world.control.calls().get("upload.cgi"), 1);
}

#[tokio::test(start_paused = true)]
async fn parents_are_made_unless_the_call_says_no() {
    let world = world().await;
    let plain = |path: &str| PutHeader {
        create_parents: Some(false),
        ..header(path)
    };
    let status = assert_reason(
        put(&world.client, plain("a/b/f"), b"1").await,
        "DIRECTORY_NOT_FOUND",
    );
    assert_eq!(fact(&status, "path"), "a/b");
    let request = MkdirRequest {
        path: "a/b".into(),
        create_parents: Some(false),
        ..MkdirRequest::default()
    };
    assert_reason(
        world.client.clone().mkdir(request).await,
        "DIRECTORY_NOT_FOUND",
    );
    assert_eq!(world.stored_all(), [""; 0]);
    world.mkdir("a/b").await.unwrap();
    put(&world.client, plain("a/b/f"), b"1").await.unwrap();
    put(&world.client, plain("f"), b"1").await.unwrap();
    world.put("x/y/f", b"1").await.unwrap();
    assert_eq!(
        world.stored_all(),
        ["a", "a/b", "a/b/f", "f", "x", "x/y", "x/y/f"]
    );
}

#[tokio::test(start_paused = true)]
async fn many_files_are_deleted_in_few_calls() {
    let world = world().await;
    let folder = world.control.add_folder(0, "d");
    world.control.add_many_files(folder, "f", 250, 1);
    world.control.add_file(folder, "stays", b"1");
    world.list("d", false).await.unwrap();
    world.control.reset_calls();
    let paths: Vec<_> = (0..250).map(|number| format!("d/f{number:05}")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    assert!(world.delete(&paths).await.iter().all(String::is_empty));
    assert_eq!(world.stored(), ["d/stays"]);
    assert_eq!(world.control.calls().get("file/rm"), 3);
    assert_eq!(world.control.calls().total_v1(), 3);
    assert_eq!(world.names("d", false).await, ["d/stays"]);
}

#[tokio::test(start_paused = true)]
async fn each_target_of_a_delete_succeeds_or_fails_by_itself() {
    let world = world().await;
    plant(&world);
    let paths = [
        "a/1", "a/none", "a//x", "a/b", "", "z/x", "z", "a/b/x", "none/x", "a/1",
    ];
    let expected = [
        "",
        "FILE_NOT_FOUND",
        "INVALID_PATH",
        "IS_A_DIRECTORY",
        "IS_A_DIRECTORY",
        "NOT_A_DIRECTORY",
        "",
        "",
        "FILE_NOT_FOUND",
        "",
    ];
    assert_eq!(world.delete(&paths).await, expected);
    assert_eq!(world.stored(), ["a-/3", "a.txt", "a/2", "a/b/y"]);

    let request = DeleteRequest {
        targets: ["a/1", "none/x", "a/2", "a//x"]
            .map(|path| DeleteTarget {
                path: path.into(),
                ..DeleteTarget::default()
            })
            .to_vec(),
        allow_missing: true,
        ..DeleteRequest::default()
    };
    let results = world
        .client
        .clone()
        .delete(request)
        .await
        .unwrap()
        .into_inner()
        .results;
    let reasons: Vec<_> = results
        .iter()
        .map(|result| {
            result
                .failure
                .as_ref()
                .map(|failure| failure.reason.as_str())
        })
        .collect();
    assert_eq!(reasons, [None, None, None, Some("INVALID_PATH")]);
    assert_eq!(world.stored(), ["a-/3", "a.txt", "a/b/y"]);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_deleted_is_missing_and_does_not_disturb_the_others() {
    let world = world().await;
    let urls: Vec<_> = (0..4)
        .map(|number| world.control.add_file(0, &format!("f{number}"), b"1"))
        .collect();
    world.list("", false).await.unwrap();
    world.control.remove_file(&urls[1]);
    assert_eq!(
        world.delete(&["f0", "f1", "f2"]).await,
        ["", "FILE_NOT_FOUND", ""]
    );
    assert_eq!(world.stored(), ["f3"]);
    assert_eq!(world.names("", false).await, ["f3"]);
}

#[tokio::test(start_paused = true)]
async fn making_a_directory_twice_makes_it_once() {
    let world = world().await;
    let first = world.mkdir("a/b/c").await.unwrap();
    assert!(first.created);
    assert_eq!(first.entry.as_ref().unwrap().path, "a/b/c");
    assert_eq!(world.control.calls().get("folder/mkdir"), 3);
    let second = world.mkdir("a/b/c").await.unwrap();
    assert!(!second.created);
    assert_eq!(second.entry, first.entry);
    assert!(!world.mkdir("a").await.unwrap().created);
    assert!(!world.mkdir("").await.unwrap().created);
    assert_eq!(world.control.calls().get("folder/mkdir"), 3);
    assert_eq!(world.stored_all(), ["a", "a/b", "a/b/c"]);
}

#[tokio::test(start_paused = true)]
async fn many_makers_of_one_directory_make_one() {
    let world = world().await;
    let calls = (0..8).map(|_| world.mkdir("a/b"));
    let answers = futures::future::join_all(calls).await;
    let id =
        |answer: &Result<MkdirResponse, Status>| answer.as_ref().unwrap().entry.clone().unwrap().id;
    assert!(answers.iter().all(|answer| id(answer) == id(&answers[0])));
    assert_eq!(world.stored_all(), ["a", "a/b"]);
    assert_eq!(world.control.calls().get("folder/mkdir"), 2);
}

#[tokio::test(start_paused = true)]
async fn only_an_empty_directory_is_removed() {
    let world = world().await;
    world.put("d/e/f", b"1").await.unwrap();
    let status = assert_reason(world.rmdir("d").await, "DIRECTORY_NOT_EMPTY");
    assert_eq!(fact(&status, "path"), "d");
    assert_reason(world.rmdir("d/e").await, "DIRECTORY_NOT_EMPTY");
    assert_reason(world.rmdir("d/e/f").await, "NOT_A_DIRECTORY");
    assert_reason(world.rmdir("").await, "INVALID_PATH");
    assert_eq!(world.stored_all(), ["d", "d/e", "d/e/f"]);
    assert_eq!(world.delete(&["d/e/f"]).await, [""]);
    world.rmdir("d/e").await.unwrap();
    world.rmdir("d").await.unwrap();
    assert_eq!(world.stored_all(), [""; 0]);
    assert_reason(world.rmdir("d").await, "DIRECTORY_NOT_FOUND");
    for path in ["d", "d/e/g"] {
        let request = RmdirRequest {
            path: path.into(),
            allow_missing: true,
            ..RmdirRequest::default()
        };
        world.client.clone().rmdir(request).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_somebody_else_filled_is_not_removed() {
    let world = world().await;
    let folder = world.control.add_folder(0, "d");
    assert_eq!(world.names("d", false).await, [""; 0]);
    world.control.add_file(folder, "f", b"1");
    assert_reason(world.rmdir("d").await, "DIRECTORY_NOT_EMPTY");
    assert_eq!(world.stored_all(), ["d", "d/f"]);
}

#[tokio::test(start_paused = true)]
async fn about_tells_the_figures_and_remembers_them() {
    let world = world().await;
    world.control.add_file(0, "f", &[0; 1000]);
    let ask = async || {
        world
            .client
            .clone()
            .about(AboutRequest::default())
            .await
            .unwrap()
            .into_inner()
    };
    let about = ask().await;
    assert_eq!(about.total_bytes, Some(1_000_000_000_000));
    assert_eq!(about.used_bytes, Some(1000));
    assert_eq!(about.free_bytes, Some(999_999_999_000));
    assert_eq!(about.account["plan"], "Premium");
    assert!(about.as_of_time.is_some());
    world.control.reset_calls();
    tokio::time::sleep(Duration::from_secs(290)).await;
    assert_eq!(ask().await, about);
    assert_eq!(world.control.calls().total_v1(), 0);
    world.control.add_file(0, "g", &[0; 1000]);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(ask().await.used_bytes, Some(2000));
    assert_eq!(
        (
            world.control.calls().total_v1(),
            world.control.calls().floods()
        ),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_connection_test_passes_and_its_probe_leaves_nothing() {
    let world = world().await;
    for check_write in [false, true] {
        let request = TestConnectionRequest {
            check_write,
            ..TestConnectionRequest::default()
        };
        let answer = world
            .client
            .clone()
            .test_connection(request)
            .await
            .unwrap()
            .into_inner();
        assert!(answer.healthy);
        let states: Vec<_> = answer
            .checks
            .iter()
            .map(|check| (check.name.as_str(), check.state()))
            .collect();
        let write = if check_write {
            CheckState::Passed
        } else {
            CheckState::Skipped
        };
        let passed = |name| (name, CheckState::Passed);
        assert_eq!(
            states,
            [
                passed("reachable"),
                passed("credentials"),
                passed("plan"),
                passed("list"),
                ("write", write)
            ]
        );
        assert!(answer.checks.iter().all(|check| check.elapsed.is_some()));
    }
    assert!(world.control.calls().get("upload.cgi") > 0);
    assert_eq!(world.stored_all(), [""; 0]);
    assert_eq!(world.names("", true).await, [""; 0]);
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn info_claims_what_works_and_makes_no_call() {
    let world = world().await;
    let info = world
        .client
        .clone()
        .get_info(GetInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.server_name, "pluton-fichier");
    assert_eq!(info.server_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(info.api_packages, ["pluton.storage.v1"]);
    assert!(info.api_revision > 0 && !info.instance_id.is_empty());
    let [remote] = &info.remotes[..] else {
        panic!("{info:?}")
    };
    assert_eq!(
        (remote.name.as_str(), remote.provider.as_str()),
        ("fichier", "fichier")
    );
    let claimed: Vec<_> = remote.capabilities().collect();
    use Capability as Can;
    for can in [
        Can::About,
        Can::List,
        Can::ListRecursive,
        Can::Stat,
        Can::Hash,
        Can::HashByDownload,
        Can::Get,
        Can::GetRanges,
        Can::Put,
        Can::PutUnknownSize,
        Can::KeepBoth,
        Can::RequestId,
        Can::Delete,
        Can::Directories,
    ] {
        assert!(claimed.contains(&can), "{can:?}");
    }
    assert_eq!(
        remote.stored_hashes().collect::<Vec<_>>(),
        [HashAlgorithm::Whirlpool]
    );
    let limits = remote.limits.as_ref().unwrap();
    assert_eq!(
        (
            limits.max_file_bytes,
            limits.max_name_bytes,
            limits.max_chunk_bytes
        ),
        (300_000_000_000, 250, 1 << 20)
    );
    let traits = remote.traits.as_ref().unwrap();
    assert!(traits.duplicate_entries && traits.empty_directories);
    assert!(!traits.empty_files && !traits.case_insensitive && !traits.modify_times);
    assert_eq!(world.control.calls().iter().count(), 0);

    let mut world = world;
    world.restart().await;
    let again = world
        .client
        .clone()
        .get_info(GetInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_ne!(again.instance_id, info.instance_id);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_claimed_names_the_missing_capability() {
    let world = world().await;
    let mut client = world.client.clone();
    let info = client.get_info(GetInfoRequest {}).await.unwrap();
    let claimed: Vec<_> = info.into_inner().remotes[0].capabilities().collect();
    let outcomes = [
        (
            Capability::Purge,
            client.purge(PurgeRequest::default()).await.map(drop),
        ),
        (
            Capability::Copy,
            client.copy(CopyRequest::default()).await.map(drop),
        ),
        (
            Capability::Move,
            client.r#move(MoveRequest::default()).await.map(drop),
        ),
        (
            Capability::MoveDir,
            client.move_dir(MoveDirRequest::default()).await.map(drop),
        ),
        (
            Capability::PublicLink,
            client
                .public_link(PublicLinkRequest::default())
                .await
                .map(drop),
        ),
        (
            Capability::Dedupe,
            client.dedupe(DedupeRequest::default()).await.map(drop),
        ),
        (
            Capability::Refresh,
            client.refresh(RefreshRequest::default()).await.map(drop),
        ),
        (
            Capability::Activity,
            client
                .get_activity(GetActivityRequest::default())
                .await
                .map(drop),
        ),
    ];
    for (capability, outcome) in outcomes {
        let missing = outcome
            .err()
            .filter(|status| reason(status) == "CAPABILITY_MISSING");
        assert_eq!(
            missing.is_none(),
            claimed.contains(&capability),
            "{capability:?}"
        );
        if let Some(status) = missing {
            assert_eq!(status.code(), Code::Unimplemented);
            let name = format!("CAPABILITY_{}", fact(&status, "capability"));
            assert_eq!(name, capability.as_str_name());
        }
    }
}
