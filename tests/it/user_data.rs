//! What cannot be asked for again belongs to the account, whatever key opens
//! it, and outlives what happens to the disk and to the clock.

use std::path::PathBuf;
use std::time::Duration;

use pluton_fichier::config::Listen;
use pluton_fichier::emulator::{self, AccountOptions, DEMO_API_KEY};
use pluton_fichier::fichier::ApiKey;
use pluton_fichier::proto::*;
use pluton_fichier::server::Server;

use crate::checks::*;
use crate::harness::*;

/// Another key of the same account.
const NEW_KEY: &str = "another-key_for=the-same_account";

const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// An account with two keys.
async fn with_two_keys() -> World {
    let account = AccountOptions {
        api_keys: vec![DEMO_API_KEY.to_owned(), NEW_KEY.to_owned()],
        ..AccountOptions::default()
    };
    let options = emulator::Options {
        accounts: vec![account],
        ..emulator::Options::default()
    };
    build(options, |config| {
        config.http_listen = vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())];
    })
    .await
}

fn use_key(world: &mut World, key: &str) {
    world.config.remotes[0].key = Some(ApiKey::new(key).unwrap());
}

fn address(world: &World, path: &str) -> String {
    let server = world.server.as_ref().unwrap();
    format!("http://{}/dav/fichier/{path}", server.http_addresses()[0])
}

async fn put_then(world: &World, path: &str) {
    let request = reqwest::Client::new().put(address(world, path));
    let request = request.header("X-OC-Mtime", "784111777");
    let answer = request.body(path.to_owned()).send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

async fn last_modified(world: &World, path: &str) -> String {
    let request = reqwest::Client::new().head(address(world, path));
    let answer = request.send().await.unwrap();
    answer.headers()["last-modified"].to_str().unwrap().to_owned()
}

fn state(world: &World) -> PathBuf {
    world.config.state_dir.as_ref().unwrap().join("catalog")
}

async fn start(world: &mut World) {
    let server = Server::start(world.config.clone()).await.unwrap();
    world.client = connect(&server).await;
    world.server = Some(server);
}

fn with_id(path: &str) -> PutHeader {
    PutHeader {
        size: Some(3),
        request_id: "id-1".to_owned(),
        ..header(path)
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_key_finds_times_checksums_and_requests() {
    let mut world = with_two_keys().await;
    put_then(&world, "f").await;
    let first = put(&world.client, with_id("x"), b"abc").await.unwrap();
    let known = sums(&world.stat("f").await.unwrap());
    assert_eq!(known.len(), 3);
    use_key(&mut world, NEW_KEY);
    world.restart().await;
    minutes(6).await;
    world.names("", true).await;
    seconds(1).await;
    assert_eq!(last_modified(&world, "f").await, THEN);
    assert_eq!(sums(&world.stat("f").await.unwrap()), known);
    let again = futures::stream::iter(messages(with_id("x"), b"abc"));
    let again = world.client.clone().put(again).await.unwrap().into_inner();
    assert!(again.replayed);
    assert_eq!(again.entry.unwrap(), first);
    assert_eq!(world.stored(), ["f", "x"]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_noted_while_the_clock_was_ahead_lasts_no_longer_than_it_can() {
    const DAYS: i64 = 400 * 86_400;
    let mut world = world().await;
    world.put("x", b"abc").await.unwrap();
    world.server.take().unwrap().stop().await;
    world.config.clock = world.config.clock.shifted(DAYS);
    start(&mut world).await;
    world.control.lock("127.0.0.1".parse().unwrap());
    let impatient = || {
        let mut request = tonic::Request::new(AboutRequest::default());
        request.set_timeout(Duration::from_secs(5));
        request
    };
    let locked = world.client.clone().about(impatient()).await;
    assert_reason(locked, "UPSTREAM_LOCKED");
    seconds(1).await;
    world.server.take().unwrap().stop().await;
    world.config.clock = world.config.clock.shifted(-DAYS);
    start(&mut world).await;
    let locked = world.client.clone().about(impatient()).await;
    let status = assert_reason(locked, "UPSTREAM_LOCKED");
    let wait = retry_delay(&status);
    assert!(wait < Duration::from_secs(301), "{wait:?}");
    for _ in 0..4 {
        seconds(20).await;
        world.restart().await;
    }
    world.client.clone().about(impatient()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_noted_is_refused_until_it_can() {
    let world = world().await;
    world.put("a/x", &content(1_000)).await.unwrap();
    // Another program holds the databases.
    let mut held = Vec::new();
    for entry in std::fs::read_dir(state(&world)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.ends_with("-wal") && !name.ends_with("-shm") {
            let connection = rusqlite::Connection::open(&path).unwrap();
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            held.push(connection);
        }
    }
    world.control.reset_calls();
    let refused = world.put("a/y", &content(10)).await;
    assert_reason(refused, "STATE_UNAVAILABLE");
    assert_eq!(world.control.calls().total_v1(), 0);
    assert_eq!(world.get("a/x").await.unwrap().content, content(1_000));
    drop(held);
    std::thread::sleep(Duration::from_secs(6));
    world.put("a/y", &content(10)).await.unwrap();
}
