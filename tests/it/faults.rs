//! Faults that meet several calls at once; what each does to one call is in the
//! matrix.

use std::time::Duration;

use pluton_fichier::emulator::FaultKind::*;
use pluton_fichier::proto::*;

use crate::harness::*;

/// In real time: an upload that is open stops the virtual clock.
#[tokio::test]
async fn a_failed_upload_does_not_take_the_folder_from_under_another() {
    let world = unlimited().await;
    // A large file makes the folder and is given up; a small one is on its way
    // there. 1Fichier would put it into the root ([API §4.2]).
    let (chunks, receiver) = tokio::sync::mpsc::channel(4);
    let large = PutHeader {
        size: Some(20 << 20),
        ..header("new/large")
    };
    let messages = crate::harness::messages(large, &content(1_000));
    for message in messages.into_iter().take(2) {
        chunks.send(message).await.unwrap();
    }
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut client = world.client.clone();
    let given_up = tokio::spawn(async move { client.put(stream).await });
    while world.control.open_uploads() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let delay = Delay(Duration::from_secs(2));
    world.fail("upload/get_upload_server", 1, delay);
    let client = world.client.clone();
    let small = tokio::spawn(async move { put(&client, header("new/small"), b"small").await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    given_up.abort();
    drop(chunks);
    small.await.unwrap().unwrap();
    assert_eq!(world.stored(), ["new/small"]);
    world.assert_agreement("after giving up").await;
}
