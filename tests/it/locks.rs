//! Operations that wait for each other: each of them ends.

use std::time::Duration;

use pluton_fichier::emulator::FaultKind::*;
use pluton_fichier::emulator::Options;
use pluton_fichier::proto::*;
use tokio::time::timeout;

use crate::harness::*;
use crate::relocations::Action::{self, *};
use crate::relocations::relocate_as;
use crate::streams::{LARGE, Slow, pieces, seconds, sized};

/// Longer than any operation of these tests takes that waits for nobody.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// A world with a file `a/x`, and a Move or Copy of it to `d/y` that has made
/// `d` and fails some minutes later, because no answer of 1Fichier arrives.
async fn failing(
    world: &World,
    action: Action,
) -> tokio::task::JoinHandle<Result<(Entry, bool), tonic::Status>> {
    world.put("a/x", b"content").await.unwrap();
    let endpoint = match action {
        Move => "file/mv",
        Copy => "file/cp",
    };
    world.fail(endpoint, 100, ResetBeforeAnswer);
    // Listings have to tell, which takes a while.
    world.fail("file/info", 100, Status(503));
    let client = world.client.clone();
    let call = tokio::spawn(async move {
        let mode = WriteMode::Replace;
        relocate_as(&client, action, "a/x", "d/y", mode, "").await
    });
    while !world.stored_all().contains(&"d".to_owned()) {
        seconds(1).await;
    }
    call
}

#[tokio::test(start_paused = true)]
async fn a_failing_relocation_and_a_streamed_put_to_its_destination_both_end() {
    for action in [Move, Copy] {
        let world = world().await;
        let failing = failing(&world, action).await;
        let put = Slow::start(&world.client);
        put.send(sized("d/y", LARGE), LARGE).await;
        put.messages.send(commit(LARGE)).await.unwrap();
        assert!(!failing.is_finished(), "it holds the path");
        let failed = timeout(PATIENCE, failing).await;
        let failed = failed.unwrap_or_else(|_| panic!("the {action:?} hangs"));
        assert_reason(failed.unwrap(), "UPSTREAM_UNAVAILABLE");
        let stored = timeout(PATIENCE, put.call).await;
        let stored = stored.unwrap_or_else(|_| panic!("the Put beside the {action:?} hangs"));
        assert_eq!(stored.unwrap().unwrap().size, Some(LARGE as i64));
        assert_eq!(world.stored_all(), ["a", "a/x", "d", "d/y"]);
        world.assert_agreement("afterwards").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_relocation_does_not_wait_for_a_large_put_into_its_directory() {
    for action in [Move, Copy] {
        let world = world().await;
        let failing = failing(&world, action).await;
        let put = Slow::start(&world.client);
        put.send(sized("d/other", LARGE), 0).await;
        let messages = put.messages.clone();
        // It takes half an hour.
        let sender = tokio::spawn(async move {
            for piece in pieces(LARGE) {
                messages.send(piece).await.unwrap();
                seconds(30).await;
            }
            messages.send(commit(LARGE)).await.unwrap();
        });
        let failed = timeout(PATIENCE, failing).await;
        let failed = failed.unwrap_or_else(|_| panic!("the {action:?} waits for the Put"));
        assert_reason(failed.unwrap(), "UPSTREAM_UNAVAILABLE");
        assert!(!sender.is_finished() && !put.call.is_finished());
        sender.await.unwrap();
        put.call.await.unwrap().unwrap();
        assert_eq!(world.stored_all(), ["a", "a/x", "d", "d/other"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_has_the_connection_and_one_that_has_the_path_both_end() {
    let world = build(Options::default(), |config| config.uploads.connections = 1).await;
    world.mkdir("d").await.unwrap();
    let streamed = Slow::start(&world.client);
    streamed.send(sized("d/f", LARGE), LARGE).await;
    assert_eq!(world.control.open_uploads(), 1);
    // It is buffered, and waits for the connection.
    let client = world.client.clone();
    let buffered = tokio::spawn(async move { put(&client, header("d/f"), b"small").await });
    seconds(10).await;
    assert!(!buffered.is_finished());
    streamed.messages.send(commit(LARGE)).await.unwrap();
    for put in [streamed.call, buffered] {
        let stored = timeout(Duration::from_secs(120), put).await;
        stored.expect("it waits for the other").unwrap().unwrap();
    }
    assert_eq!(world.stored_all(), ["d", "d/f"]);
    world.assert_agreement("afterwards").await;
}
