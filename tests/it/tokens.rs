//! Reads at the same time share one token, and its failure.

use std::time::Duration;

use futures::future::join_all;
use pluton_fichier::proto::*;
use tokio::time::Instant;

use crate::harness::*;

fn part(path: &str, offset: usize) -> GetRequest {
    GetRequest {
        path: path.to_owned(),
        ranges: vec![ByteRange {
            offset: offset as i64,
            length: Some(1_000),
        }],
        ..GetRequest::default()
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_reads_cost_one_token() {
    let world = world().await;
    let data = content(100_000);
    world.put("file.bin", &data).await.unwrap();
    world.control.reset_calls();
    let reads = (0..50).map(|index| get(&world.client, part("file.bin", index * 1_900)));
    for (index, read) in join_all(reads).await.into_iter().enumerate() {
        let offset = index * 1_900;
        assert!(read.unwrap().content == data[offset..offset + 1_000]);
    }
    assert_eq!(world.control.calls().total_v1(), 1);

    // Its life is over: one more.
    tokio::time::sleep(Duration::from_secs(290)).await;
    get(&world.client, part("file.bin", 7)).await.unwrap();
    assert_eq!(world.control.calls().get("download/get_token"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_is_asked_for_once() {
    let world = world().await;
    world.put("file.bin", &content(100_000)).await.unwrap();
    let url = world.stat("file.bin").await.unwrap().id;
    assert!(world.control.remove_file(&url));
    world.control.reset_calls();
    let reads = (0..10).map(|index| get(&world.client, part("file.bin", index)));
    for read in join_all(reads).await {
        assert_reason(read, "FILE_NOT_FOUND");
    }
    assert_eq!(world.control.calls().get("download/get_token"), 1);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_does_not_take_the_token_along() {
    let world = world().await;
    let data = content(100_000);
    world.put("file.bin", &data).await.unwrap();
    world.control.lock([127, 0, 0, 1].into());
    // The lock is met by the first call, and lasts longer than one waits.
    let mut hasty = tonic::Request::new(part("file.bin", 0));
    hasty.set_timeout(Duration::from_secs(5));
    let start = Instant::now();
    let mut client = world.client.clone();
    let hasty = async move {
        let mut stream = client.get(hasty).await?.into_inner();
        while stream.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    let patient = get(&world.client, part("file.bin", 5));
    let (hasty, patient) = tokio::join!(hasty, patient);
    assert_reason(hasty, "UPSTREAM_LOCKED");
    assert!(patient.unwrap().content == data[5..1_005]);
    assert!(start.elapsed() > Duration::from_secs(30));
}
