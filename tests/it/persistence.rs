//! What survives a restart, and what is not trusted after one.

use std::path::PathBuf;
use std::time::Duration;

use pluton_fichier::proto::*;
use pluton_fichier::server::Server;

use crate::harness::*;

fn catalogs(world: &World) -> Vec<PathBuf> {
    let dir = world.config.state_dir.as_ref().unwrap().join("catalog");
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .collect()
}

fn set_aside(world: &World) -> usize {
    let dir = world.config.state_dir.as_ref().unwrap().join("catalog");
    let names = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| {
            name.contains("set-aside") && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .count()
}

async fn filled() -> World {
    let world = world().await;
    for path in ["a/1", "a/2", "a/b/3", "4"] {
        world.put(path, &content(1_000 + path.len())).await.unwrap();
    }
    world
}

const ALL: [&str; 6] = ["4", "a/", "a/1", "a/2", "a/b/", "a/b/3"];

#[tokio::test(start_paused = true)]
async fn a_warm_start_lists_nothing() {
    let mut world = filled().await;
    let before = world.list("", true).await.unwrap();
    world.restart().await;
    world.control.reset_calls();
    assert_eq!(world.list("", true).await.unwrap(), before);
    assert_eq!(world.names("", true).await, ALL);
    world.stat("a/b/3").await.unwrap();
    assert_eq!(world.control.calls().total_v1(), 0);
    // What it knows is good enough to write with.
    world.put("a/5", &content(10)).await.unwrap();
    assert_eq!(world.control.calls().total_v1(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_survives_a_crash() {
    let mut world = filled().await;
    world.delete(&["a/2"]).await;
    world.mkdir("new").await.unwrap();
    // Dropped, not stopped: nothing has a chance to be written afterwards.
    drop(world.server.take());
    world.server = Some(Server::start(world.config.clone()).await.unwrap());
    world.client = connect(world.server.as_ref().unwrap()).await;
    world.control.reset_calls();
    assert_eq!(
        world.names("", true).await,
        ["4", "a/", "new/", "a/1", "a/b/", "a/b/3"]
    );
    assert_eq!(world.control.calls().total_v1(), 0);
}

#[tokio::test(start_paused = true)]
async fn own_changes_outlive_a_restart_while_listings_lag() {
    let mut world = filled().await;
    world
        .control
        .set_behaviour(|behaviour| behaviour.index_delay = Duration::from_secs(120));
    world.put("a/late", &content(10)).await.unwrap();
    world.delete(&["a/1"]).await;
    world.restart().await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    let request = ListRequest {
        path: "a".to_owned(),
        max_staleness: Some(prost_types::Duration::default()),
        ..ListRequest::default()
    };
    let pages = list(&world.client, request).await.unwrap();
    let names: Vec<_> = pages[0]
        .entries
        .iter()
        .map(|entry| entry.path.as_str())
        .collect();
    assert_eq!(names, ["a/2", "a/b", "a/late"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_replayed_after_a_restart() {
    let mut world = world().await;
    let header = PutHeader {
        size: Some(3),
        request_id: "id-1".to_owned(),
        ..header("x")
    };
    let first = put(&world.client, header.clone(), b"abc").await.unwrap();
    world.restart().await;
    let again = world
        .client
        .clone()
        .put(futures::stream::iter(messages(header, b"abc")))
        .await
        .unwrap()
        .into_inner();
    assert!(again.replayed);
    assert_eq!(again.entry.unwrap(), first);
    assert_eq!(world.stored(), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_newer_or_foreign_catalog_is_set_aside() {
    let mut world = filled().await;
    let edit = |sql: &'static str| {
        move |path: &PathBuf| {
            rusqlite::Connection::open(path)
                .unwrap()
                .execute_batch(sql)
                .unwrap();
        }
    };
    let damages: [&dyn Fn(&PathBuf); 4] = [
        &|path| std::fs::write(path, b"this is no database").unwrap(),
        &|path| std::fs::write(path, b"").unwrap(),
        &edit("UPDATE meta SET value = 99 WHERE name = 'schema'"),
        &edit("UPDATE meta SET value = 'another' WHERE name = 'account'"),
    ];
    for (number, damage) in damages.iter().enumerate() {
        world.server.take().unwrap().stop().await;
        let [path] = &catalogs(&world)[..] else {
            panic!("one catalog")
        };
        damage(path);
        world.server = Some(Server::start(world.config.clone()).await.unwrap());
        world.client = connect(world.server.as_ref().unwrap()).await;
        world.control.reset_calls();
        assert_eq!(world.names("", true).await, ALL, "{number}");
        assert_eq!(
            world.control.calls().get("folder/ls"),
            3,
            "{number}: nothing of it was trusted"
        );
        assert_eq!(
            set_aside(&world),
            number + 1,
            "{number}: and nothing was deleted"
        );
        // The next listing of these folders is allowed only then.
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_rules_of_listings_survive_a_restart() {
    let options = pluton_fichier::emulator::Options {
        limits: pluton_fichier::emulator::Limits::strict(),
        ..Default::default()
    };
    let mut world = build(options, |_| ()).await;
    world.control.add_folder(0, "seen");
    assert_eq!(world.names("", false).await, ["seen/"]);
    for _ in 0..3 {
        world.restart().await;
        let request = ListRequest {
            max_staleness: Some(prost_types::Duration::default()),
            ..ListRequest::default()
        };
        let pages = list(&world.client, request).await.unwrap();
        assert_eq!(pages[0].entries.len(), 1);
    }
    assert_eq!(world.control.calls().floods(), 0);
    assert_eq!(world.control.calls().get("folder/ls"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lock_of_the_account_survives_a_restart() {
    let mut world = world().await;
    world.put("x", b"abc").await.unwrap();
    world.control.lock("127.0.0.1".parse().unwrap());
    let impatient = || {
        let mut request = tonic::Request::new(AboutRequest::default());
        request.set_timeout(Duration::from_secs(5));
        request
    };
    assert_reason(
        world.client.clone().about(impatient()).await,
        "UPSTREAM_LOCKED",
    );
    // Written by a task of its own.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.restart().await;
    world.control.reset_calls();
    let status = assert_reason(
        world.client.clone().about(impatient()).await,
        "UPSTREAM_LOCKED",
    );
    assert!(status.message().contains("Locked"), "{status:?}");
    assert_eq!(
        world.control.calls().total_v1(),
        0,
        "no call during the lock"
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    world
        .client
        .clone()
        .about(AboutRequest::default())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn jumps_of_the_clock_only_cost_listings() {
    let mut world = filled().await;
    for hours in [-5, 7] {
        world.server.take().unwrap().stop().await;
        world.config.clock = world.config.clock.shifted(hours * 3600);
        tokio::time::sleep(Duration::from_secs(60)).await;
        world.server = Some(Server::start(world.config.clone()).await.unwrap());
        world.client = connect(world.server.as_ref().unwrap()).await;
        world.control.reset_calls();
        assert_eq!(world.names("", true).await, ALL);
        assert_eq!(world.control.calls().get("folder/ls"), 3, "{hours}");
    }
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_catalog_that_is_damaged_is_replaced_and_the_server_goes_on() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    let mut world = world().await;
    for folder in ["a", "b", "c"] {
        let id = world.control.add_folder(0, folder);
        world.control.add_many_files(id, "f", 400, 10);
    }
    assert_eq!(world.names("", true).await.len(), 1_203);
    world.server.take().unwrap().stop().await;
    let [path] = &catalogs(&world)[..] else {
        panic!("one catalog")
    };
    let mut bytes = std::fs::read(path).unwrap();
    let start = bytes.len() / 4;
    bytes[start..].fill(0xa5);
    std::fs::write(path, bytes).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;

    world.server = Some(Server::start(world.config.clone()).await.unwrap());
    world.client = connect(world.server.as_ref().unwrap()).await;
    assert_eq!(world.names("", true).await.len(), 1_203);
    world.put("a/new", &content(10)).await.unwrap();
    assert_eq!(world.get("a/new").await.unwrap().content, content(10));
    assert_eq!(set_aside(&world), 1);
    let activity = world
        .client
        .clone()
        .get_activity(GetActivityRequest::default())
        .await
        .unwrap();
    let problem = activity.into_inner().catalog.unwrap().persistence_problem;
    assert_eq!(problem, "", "what is listed from now on is kept");
    tokio::time::sleep(Duration::from_secs(11)).await;
    let address = format!("http://{}", world.server.as_ref().unwrap().addresses()[0]);
    let channel = tonic::transport::Endpoint::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut health = HealthClient::new(channel);
    for service in ["pluton-fichier.catalog", "pluton.storage.v1.StorageBackend"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    world.restart().await;
    world.control.reset_calls();
    assert_eq!(world.names("", true).await.len(), 1_204);
    assert_eq!(world.control.calls().total_v1(), 0);
}
