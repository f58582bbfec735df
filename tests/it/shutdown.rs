//! How the server stops.

use std::time::Duration;

use pluton_fichier::proto::put_request::Payload;
use pluton_fichier::proto::storage_backend_client::StorageBackendClient;
use pluton_fichier::proto::*;
use pluton_fichier::server::Server;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::checks::seconds;
use crate::harness::*;
use crate::streams::Slow;

async fn refused(client: &Client) {
    let list = list(client, ListRequest::default()).await;
    let status = assert_reason(list, "SHUTTING_DOWN");
    assert!(retry_delay(&status) >= Duration::from_secs(1));
    // Also one that sends more than fits into a window.
    let data = content(4 << 20);
    assert_reason(put(client, header("late"), &data).await, "SHUTTING_DOWN");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_work_ends_and_the_rest_is_refused() {
    let mut world = build(Default::default(), |config| {
        config.shutdown_grace = Duration::from_secs(120);
    })
    .await;
    world.control.add_file(0, "old", &content(4 << 20));
    let slow = Slow::start(&world.client);
    slow.send(header("f"), 1 << 20).await;
    let request = GetRequest {
        path: "old".into(),
        ..GetRequest::default()
    };
    let mut reading = world
        .client
        .clone()
        .get(request)
        .await
        .unwrap()
        .into_inner();
    assert!(reading.message().await.unwrap().is_some());

    let server = world.server.take().unwrap();
    let address = format!("http://{}", server.addresses()[0]);
    let stop = tokio::spawn(server.stop());
    seconds(1).await;
    refused(&world.client).await;
    let channel = Endpoint::from_shared(address.clone()).unwrap();
    let channel = channel.connect().await.expect("it still answers");
    refused(&StorageBackendClient::new(channel.clone())).await;
    for service in ["", "pluton.storage.v1.StorageBackend"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let health = HealthClient::new(channel.clone()).check(request).await;
        assert_eq!(
            health.unwrap().into_inner().status(),
            ServingStatus::NotServing
        );
    }
    assert!(!stop.is_finished());

    slow.messages.send(commit(1 << 20)).await.unwrap();
    assert_eq!(slow.call.await.unwrap().unwrap().size, Some(1 << 20));
    assert!(!stop.is_finished(), "the other one is still reading");
    while reading.message().await.unwrap().is_some() {}
    let start = Instant::now();
    stop.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(
        Endpoint::from_shared(address)
            .unwrap()
            .connect()
            .await
            .is_err()
    );
    assert_eq!(world.stored(), ["f", "old"]);
    let server = Server::start(world.config.clone()).await.unwrap();
    world.client = connect(&server).await;
    world.server = Some(server);
    assert_eq!(world.names("", false).await, ["f", "old"]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_the_grace_time_is_cut_off_and_told() {
    let mut world = world().await;
    world.control.add_file(0, "old", &content(32 << 20));
    let before = world.stored();
    let slow = Slow::start(&world.client);
    slow.send(header("f"), 1 << 20).await;
    let request = GetRequest {
        path: "old".into(),
        ..GetRequest::default()
    };
    let mut reading = world
        .client
        .clone()
        .get(request)
        .await
        .unwrap()
        .into_inner();
    assert!(reading.message().await.unwrap().is_some());
    let (messages, receiver) = mpsc::channel(1);
    messages
        .send(message(Payload::Header(header("silent"))))
        .await
        .unwrap();
    let mut client = world.client.clone();
    let silent = tokio::spawn(async move { client.put(ReceiverStream::new(receiver)).await });
    seconds(1).await;

    let start = Instant::now();
    world.server.take().unwrap().stop().await;
    let grace = world.config.shutdown_grace;
    assert!(start.elapsed() >= grace && start.elapsed() < grace + Duration::from_secs(3));
    assert_reason(slow.call.await.unwrap(), "SHUTTING_DOWN");
    assert_reason(silent.await.unwrap(), "SHUTTING_DOWN");
    let cut = async {
        while reading.message().await?.is_some() {}
        Ok(())
    };
    assert_reason(cut.await, "SHUTTING_DOWN");
    seconds(60).await;
    assert_eq!(world.stored(), before);

    // Everything is free again, and nothing is left.
    let server = Server::start(world.config.clone()).await.unwrap();
    world.client = connect(&server).await;
    world.server = Some(server);
    world.put("f", b"again").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_server_had_buffered_is_removed() {
    let mut world = world().await;
    world.server.take().unwrap().stop().await;
    let spool = world.config.state_dir.as_ref().unwrap().join("spool");
    std::fs::write(spool.join(".tmpAbCdEf"), b"half an upload").unwrap();
    let server = Server::start(world.config.clone()).await.unwrap();
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0);
    world.client = connect(&server).await;
    world.server = Some(server);
    put(&world.client, header("f"), &content(1 << 20))
        .await
        .unwrap();
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0);
}
