//! Large files that are read in segments, several at a time.

use pluton_fichier::emulator::{Fault, FaultKind, Options};
use pluton_fichier::proto::*;
use tonic::Code;

use crate::checks::seconds;
use crate::harness::*;

const MIB: usize = 1 << 20;
/// Six segments, the last of three bytes.
const SIZE: usize = 5 * MIB + 3;

async fn segmented(connections: usize) -> World {
    build(Options::default(), |config| {
        config.downloads.connections = connections;
        config.downloads.segments = 4;
        config.downloads.segment_bytes = MIB as u64;
    })
    .await
}

fn ask(path: &str) -> GetRequest {
    GetRequest {
        path: path.to_owned(),
        ..GetRequest::default()
    }
}

#[tokio::test(start_paused = true)]
async fn segments_are_put_together_in_order_with_one_token() {
    let data = content(SIZE);
    for connections in [1, 2, 16] {
        let world = segmented(connections).await;
        world.control.add_file(0, "f", &data);
        let back = world.get("f").await.unwrap();
        assert!(back.content == data && back.trailer.verified);
        let mut at = 0;
        for (offset, length) in back.chunks {
            assert_eq!(offset, at);
            at += length as i64;
        }
        let calls = world.control.calls();
        assert_eq!(calls.get("download/get_token"), 1);
        assert_eq!(calls.get("download"), 6);
        assert_eq!(calls.total_v1(), 2, "a listing and a token");
        for (offset, length) in [(0, MIB), (7, 2 * MIB), (MIB - 1, SIZE - MIB + 1), (SIZE, 0)] {
            let part = world.range("f", offset as i64, length as i64).await;
            assert!(part.unwrap() == data[offset..offset + length]);
        }
        assert_eq!(world.control.calls().get("download/get_token"), 1);
        seconds(1).await;
        assert_eq!(world.control.open_downloads(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn small_files_are_read_in_one_piece() {
    let world = segmented(16).await;
    let data = content(MIB);
    world.control.add_file(0, "f", &data);
    assert!(world.get("f").await.unwrap().content == data);
    assert_eq!(world.control.calls().get("download"), 1);
}

/// What may happen to one of the requests, whichever it is, and does not harm.
#[tokio::test(start_paused = true)]
async fn a_fault_in_any_segment_is_repaired() {
    let data = content(SIZE);
    for (kind, tokens) in [
        (FaultKind::ResetBeforeAnswer, 1),
        (FaultKind::ResetAtByte(300_000), 1),
        (FaultKind::Truncate(70_000), 1),
        (FaultKind::Status(503), 1),
        (FaultKind::Hang, 1),
        (FaultKind::HtmlPage, 2),
        (FaultKind::TokenExpired, 2),
        (FaultKind::IgnoreRange, 2),
        (FaultKind::WrongRange, 2),
    ] {
        for skip in [0, 1, 2, 5] {
            let world = segmented(16).await;
            world.control.add_file(0, "f", &data);
            world.control.inject(Fault {
                endpoint: "download".to_owned(),
                skip,
                times: 1,
                kind: kind.clone(),
            });
            let what = format!("{kind:?} behind {skip} requests");
            let back = world
                .get("f")
                .await
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(back.content == data && back.trailer.verified, "{what}");
            let calls = world.control.calls();
            assert_eq!(calls.get("download/get_token"), tokens, "{what}");
            // The last segment is so short that two faults do not reach it.
            let repeats = calls.get("download");
            assert!((6..=7).contains(&repeats), "{what}: {repeats}");
            seconds(1).await;
            assert_eq!(world.control.open_downloads(), 0, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn damage_in_any_segment_never_ends_well() {
    let data = content(SIZE);
    for skip in 0..6 {
        let world = segmented(16).await;
        world.control.add_file(0, "f", &data);
        world.control.inject(Fault {
            endpoint: "download".to_owned(),
            skip,
            times: 1,
            kind: FaultKind::Corrupt,
        });
        let status = assert_reason(world.get("f").await, "STORED_CONTENT_CORRUPT");
        assert_eq!(status.code(), Code::DataLoss);
    }
}

/// A server that serves only so many connections at once.
#[tokio::test(start_paused = true)]
async fn what_several_connections_do_not_get_one_does() {
    let data = content(SIZE);
    let world = segmented(16).await;
    world.control.add_file(0, "f", &data);
    // The first segment is served, and then one fails as often as it is tried,
    // and the others with it.
    world.control.inject(Fault {
        endpoint: "download".to_owned(),
        skip: 1,
        times: 15,
        kind: FaultKind::Status(503),
    });
    assert!(world.get("f").await.unwrap().content == data);
    // For ever is too often.
    world.fail("download", 1_000, FaultKind::Status(503));
    assert_reason(world.get("f").await, "UPSTREAM_UNAVAILABLE");
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_is_asked_for_once() {
    let world = segmented(16).await;
    let url = world.control.add_file(0, "f", &content(SIZE));
    world.stat("f").await.unwrap();
    world.control.remove_file(&url);
    assert_reason(world.get("f").await, "FILE_NOT_FOUND");
    assert_eq!(world.control.calls().get("download/get_token"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_frees_every_segment() {
    // Larger than what the kernel takes on the way.
    let world = build(Options::default(), |config| {
        config.downloads.connections = 2;
        config.downloads.segments = 2;
        config.downloads.segment_bytes = 48 << 20;
    })
    .await;
    world.control.add_many_files(0, "f", 1, 96 << 20);
    for with_connection in [false, true] {
        let mut client = connect(world.server.as_ref().unwrap()).await;
        let mut stream = client.get(ask("f00000")).await.unwrap().into_inner();
        for _ in 0..4 {
            assert!(stream.message().await.unwrap().is_some());
        }
        seconds(1).await;
        // Both are free again after the first time.
        assert_eq!(world.control.open_downloads(), 2);
        if with_connection {
            drop(client);
        }
        drop(stream);
        seconds(1).await;
        assert_eq!(world.control.open_downloads(), 0);
    }
}

/// One that takes its time keeps no connection, and loses nothing.
#[tokio::test(start_paused = true)]
async fn a_reader_that_pauses_goes_on_where_it_was() {
    let world = segmented(4).await;
    let data = content(16 * MIB);
    world.control.add_file(0, "f", &data);
    let mut stream = world
        .client
        .clone()
        .get(ask("f"))
        .await
        .unwrap()
        .into_inner();
    let mut back = Vec::new();
    let mut trailer = None;
    let mut taken = 0;
    while let Some(message) = stream.message().await.unwrap() {
        match message.payload.unwrap() {
            get_response::Payload::Chunk(chunk) => {
                assert_eq!(chunk.offset, back.len() as i64);
                back.extend_from_slice(&chunk.data);
            }
            get_response::Payload::Trailer(end) => trailer = Some(end),
            get_response::Payload::Header(_) => {}
        }
        taken += 1;
        if taken % 16 == 0 {
            seconds(20).await;
            assert!(back.len() == data.len() || world.control.open_downloads() == 0);
        }
    }
    assert!(back == data && trailer.unwrap().verified);
    // Four pauses in about 80 s: the token outlasts them.
    assert_eq!(world.control.calls().get("download/get_token"), 1);
}
