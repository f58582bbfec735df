//! What cannot be asked for again belongs to the account, whatever key opens
//! it, and outlives what happens to the disk and to the clock.

mod full_disk;

use std::path::{Path, PathBuf};
use std::time::Duration;

use pluton_fichier::config::{Listen, RemoteConfig};
use pluton_fichier::emulator::{self, AccountOptions, DEMO_API_KEY, Fault, FaultKind};
use pluton_fichier::fichier::ApiKey;
use pluton_fichier::proto::*;
use pluton_fichier::server::Server;
use rusqlite::Connection;

use crate::checks::*;
use crate::harness::*;

/// Another key of the same account.
const NEW_KEY: &str = "another-key_for=the-same_account";
/// The key of another account.
const OTHER_KEY: &str = "a-key_for=another-account-of_min";

const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// An account with two keys, and another account.
async fn with_two_keys() -> World {
    let account = AccountOptions {
        api_keys: vec![DEMO_API_KEY.to_owned(), NEW_KEY.to_owned()],
        ..AccountOptions::default()
    };
    let other = AccountOptions {
        api_keys: vec![OTHER_KEY.to_owned()],
        email: "other@example.org".to_owned(),
        ..AccountOptions::default()
    };
    let options = emulator::Options {
        accounts: vec![account, other],
        ..emulator::Options::default()
    };
    build(options, |config| {
        config.http_listen = vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())];
    })
    .await
}

fn use_keys(world: &mut World, keys: &[&str]) {
    let remotes = keys.iter().enumerate().map(|(number, key)| {
        let name = match number {
            0 => "fichier",
            _ => "second",
        };
        RemoteConfig::new(name, Some(ApiKey::new(key).unwrap()))
    });
    world.config.remotes = remotes.collect();
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
    answer.headers()["last-modified"]
        .to_str()
        .unwrap()
        .to_owned()
}

fn state(world: &World) -> PathBuf {
    world.config.state_dir.as_ref().unwrap().join("catalog")
}

/// Names of what lies in a directory, without those of SQLite's own files.
fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    names
}

async fn stop(world: &mut World) {
    world.server.take().unwrap().stop().await;
}

async fn start(world: &mut World) {
    let server = Server::start(world.config.clone()).await.unwrap();
    world.client = connect(&server).await;
    world.server = Some(server);
}

/// Waits in real time for what the thread does that has the databases.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1_500 {
        if is_so().await {
            return;
        }
        #[allow(clippy::disallowed_methods, reason = "the disk knows no virtual time")]
        let pause = || std::thread::sleep(Duration::from_millis(10));
        tokio::task::spawn_blocking(pause).await.unwrap();
    }
    panic!("{what}");
}

fn with_id(path: &str) -> PutHeader {
    PutHeader {
        size: Some(3),
        request_id: "id-1".to_owned(),
        ..header(path)
    }
}

async fn problem(world: &World) -> String {
    let request = GetActivityRequest::default();
    let activity = world.client.clone().get_activity(request).await.unwrap();
    activity.into_inner().catalog.unwrap().persistence_problem
}

async fn unfinished(world: &World) -> i64 {
    let request = GetActivityRequest::default();
    let activity = world.client.clone().get_activity(request).await.unwrap();
    activity.into_inner().catalog.unwrap().unfinished_writes
}

/// The databases as a released version leaves them: one, named after the key.
fn as_released(world: &World) {
    let directory = state(world);
    for name in names_in(&directory) {
        let Some(stem) = name.strip_suffix(".user") else {
            continue;
        };
        let user = directory.join(&name);
        let connection = Connection::open(directory.join(format!("{stem}.db"))).unwrap();
        connection
            .execute_batch(&format!(
                "ATTACH '{}' AS u;
                 CREATE TABLE outcomes (request TEXT PRIMARY KEY, at INTEGER NOT NULL, arguments TEXT NOT NULL, outcome TEXT NOT NULL) WITHOUT ROWID;
                 CREATE TABLE facts (name TEXT PRIMARY KEY, at INTEGER NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
                 CREATE TABLE checksums (
                    id INTEGER PRIMARY KEY, lead INTEGER NOT NULL, identity BLOB NOT NULL, size INTEGER NOT NULL, sums BLOB NOT NULL);
                 CREATE INDEX checksums_by_lead ON checksums (lead);
                 CREATE TABLE intents (
                    id INTEGER PRIMARY KEY, folders TEXT NOT NULL, touched TEXT NOT NULL, what TEXT NOT NULL);
                 CREATE TABLE modified (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, time INTEGER NOT NULL);
                 INSERT INTO outcomes SELECT * FROM u.outcomes;
                 INSERT INTO facts SELECT * FROM u.facts;
                 INSERT INTO checksums SELECT * FROM u.checksums;
                 INSERT INTO intents SELECT * FROM u.intents;
                 INSERT INTO modified SELECT * FROM u.modified;
                 INSERT INTO meta SELECT name, value FROM u.meta WHERE name = 'closed';
                 DELETE FROM meta WHERE name = 'user';
                 UPDATE meta SET value = 5 WHERE name = 'schema';
                 DETACH u;",
                user.display()
            ))
            .unwrap();
        drop(connection);
        std::fs::remove_file(user).unwrap();
    }
}

/// A lost upload, of which this run learns nothing more.
async fn lost_upload(world: &World, path: &str, data: &[u8]) {
    world.control.reset_calls();
    world.fail("upload.cgi", 1, FaultKind::ResetAfterEffect);
    world.fail("end.pl", 100, FaultKind::Status(503));
    world.control.inject(Fault {
        endpoint: "v1".to_owned(),
        // The look at what it replaces, and the question for a node.
        skip: 2,
        times: u32::MAX,
        kind: FaultKind::Status(503),
    });
    let status = put(&world.client, header(path), data).await.unwrap_err();
    assert_eq!(reason(&status), "UPSTREAM_UNAVAILABLE", "{status:?}");
}

/// A first life that leaves all that cannot be asked for again, and a second
/// one.
#[tokio::test(start_paused = true)]
async fn a_new_key_finds_times_checksums_requests_and_what_is_unfinished() {
    for (key, released) in [
        (NEW_KEY, false),
        // The key is changed with the version.
        (NEW_KEY, true),
        (DEMO_API_KEY, true),
        (DEMO_API_KEY, false),
    ] {
        let case = format!("{key}, released layout: {released}");
        let mut world = with_two_keys().await;
        put_then(&world, "f").await;
        world.put("a/x", &content(1_000)).await.unwrap();
        let first = put(&world.client, with_id("x"), b"abc").await.unwrap();
        let known = sums(&world.stat("f").await.unwrap());
        assert_eq!(known.len(), 3);
        minutes(1).await;
        lost_upload(&world, "a/x", &content(2_000)).await;
        stop(&mut world).await;
        if released {
            as_released(&world);
        }
        world.control.clear_faults();
        use_keys(&mut world, &[key]);
        start(&mut world).await;
        // The first call of all is a repeat.
        let again = futures::stream::iter(messages(with_id("x"), b"abc"));
        let again = world.client.clone().put(again).await.unwrap().into_inner();
        assert!(again.replayed, "{case}");
        assert_eq!(again.entry.unwrap(), first, "{case}");
        assert_eq!(last_modified(&world, "f").await, THEN, "{case}");
        assert_eq!(sums(&world.stat("f").await.unwrap()), known, "{case}");
        minutes(3).await;
        assert_eq!(world.stored(), ["a/x", "f", "x"], "{case}");
        assert_eq!(world.get("a/x").await.unwrap().content, content(2_000));
        assert_eq!(unfinished(&world).await, 0, "{case}");
        assert_eq!(world.control.calls().floods(), 0, "{case}");
        world.restart().await;
        assert_eq!(last_modified(&world, "f").await, THEN, "{case}");
        let names = names_in(&state(&world));
        let in_use = |name: &&String| name.ends_with(".db") || name.ends_with(".user");
        assert_eq!(names.iter().filter(in_use).count(), 2, "{case}: {names:?}");
        assert_eq!(problem(&world).await, "", "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_account_takes_nothing_over() {
    let mut world = with_two_keys().await;
    put_then(&world, "f").await;
    put(&world.client, with_id("x"), b"abc").await.unwrap();
    use_keys(&mut world, &[OTHER_KEY]);
    world.config.identify = true;
    world.restart().await;
    assert_eq!(world.names("", true).await, [""; 0]);
    minutes(10).await;
    let again = futures::stream::iter(messages(with_id("x"), b"abc"));
    let again = world.client.clone().put(again).await.unwrap().into_inner();
    assert!(!again.replayed);
    // The first key comes back to what is its own.
    use_keys(&mut world, &[DEMO_API_KEY]);
    world.restart().await;
    assert_eq!(last_modified(&world, "f").await, THEN);
}

#[tokio::test(start_paused = true)]
async fn two_keys_of_one_account_at_once_share_no_database() {
    let mut world = with_two_keys().await;
    put_then(&world, "f").await;
    world.config.identify = true;
    use_keys(&mut world, &[DEMO_API_KEY, NEW_KEY]);
    for _ in 0..2 {
        world.restart().await;
        minutes(12).await;
        world.on("second").put("g", b"second").await.unwrap();
        // Each has a budget of its own: both list the root.
        seconds(40).await;
        assert_eq!(last_modified(&world, "f").await, THEN);
        assert_eq!(problem(&world).await, "");
    }
    let names = names_in(&state(&world));
    assert_eq!(names.len(), 4, "{names:?}");
    // The first one is not used any more.
    use_keys(&mut world, &[NEW_KEY]);
    world.restart().await;
    seconds(40).await;
    until("the time is taken over", async || {
        last_modified(&world, "f").await == THEN
    })
    .await;
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn whose_account_it_is_is_asked_once_and_for_about_too() {
    let mut world = with_two_keys().await;
    world.config.identify = true;
    let asked = |world: &World| world.control.calls().get("user/info");
    world.restart().await;
    seconds(5).await;
    assert_eq!(asked(&world), 1);
    world.on("").about().await.unwrap();
    assert_eq!(asked(&world), 1);
    for _ in 0..3 {
        world.restart().await;
        minutes(20).await;
        assert_eq!(asked(&world), 1, "it is recorded");
    }
    // By its address it is known though nothing of it is listed.
    let header = with_id("gone");
    put(&world.client, header.clone(), b"abc").await.unwrap();
    assert_eq!(world.delete(&["gone"]).await, [""]);
    use_keys(&mut world, &[NEW_KEY]);
    world.restart().await;
    minutes(6).await;
    assert_eq!(asked(&world), 2);
    let again = futures::stream::iter(messages(header, b"abc"));
    let again = world.client.clone().put(again).await.unwrap().into_inner();
    assert!(again.replayed);
    assert_eq!(world.control.calls().floods(), 0);
    for name in names_in(&state(&world)) {
        let bytes = std::fs::read(state(&world).join(name)).unwrap();
        let address = b"demo@example.org";
        assert!(!bytes.windows(address.len()).any(|part| part == address));
    }
}

#[tokio::test(start_paused = true)]
async fn accounts_ask_one_after_the_other() {
    let mut world = with_two_keys().await;
    world.config.identify = true;
    use_keys(&mut world, &[DEMO_API_KEY, OTHER_KEY]);
    world.restart().await;
    minutes(6).await;
    let calls = world.control.calls();
    assert_eq!((calls.get("user/info"), calls.floods()), (2, 0));
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
async fn a_request_is_replayed_though_the_clock_went_back() {
    let mut world = world().await;
    for hours in [5, -5, -400 * 24] {
        stop(&mut world).await;
        world.config.clock = world.config.clock.shifted(hours * 3_600);
        start(&mut world).await;
        if hours > 0 {
            put(&world.client, with_id("x"), b"abc").await.unwrap();
            continue;
        }
        let again = futures::stream::iter(messages(with_id("x"), b"abc"));
        let again = world.client.clone().put(again).await.unwrap().into_inner();
        assert!(again.replayed, "{hours} hours");
    }
    // It is not kept for ever.
    minutes(31).await;
    world.restart().await;
    let again = futures::stream::iter(messages(with_id("x"), b"abc"));
    let again = world.client.clone().put(again).await.unwrap().into_inner();
    assert!(!again.replayed);
}

#[tokio::test(start_paused = true)]
async fn listings_noted_while_the_clock_was_ahead_hold_nobody_up_for_long() {
    const DAYS: i64 = 400 * 86_400;
    let mut world = world().await;
    for number in 0..40 {
        world.control.add_folder(0, &number.to_string());
    }
    stop(&mut world).await;
    world.config.clock = world.config.clock.shifted(DAYS);
    start(&mut world).await;
    assert_eq!(world.names("", true).await.len(), 40);
    stop(&mut world).await;
    world.config.clock = world.config.clock.shifted(-DAYS);
    for start_number in 0..2 {
        start(&mut world).await;
        let begin = tokio::time::Instant::now();
        world.listed_within("", 0).await;
        let waited = begin.elapsed();
        assert!(
            waited < Duration::from_secs(60),
            "{start_number}: {waited:?}"
        );
        stop(&mut world).await;
    }
    start(&mut world).await;
    assert_eq!(world.control.calls().floods(), 0);
}

/// Another program holds the databases until the answer is dropped.
fn hold_all(world: &World) -> Vec<Connection> {
    let directory = state(world);
    let names = names_in(&directory).into_iter();
    names
        .map(|name| {
            let connection = Connection::open(directory.join(name)).unwrap();
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            connection
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn every_change_is_refused_while_it_cannot_be_noted_and_reads_go_on() {
    let world = with_two_keys().await;
    for path in ["a/x", "a/y", "b/z", "c/d/e"] {
        world.put(path, &content(1_000)).await.unwrap();
    }
    world.mkdir("empty").await.unwrap();
    put_then(&world, "f").await;
    let before = world.stored_all();
    let held = hold_all(&world);
    world.control.reset_calls();
    let refused = world.put("a/new", &content(10)).await;
    let status = assert_reason(refused, "STATE_UNAVAILABLE");
    assert!(retry_delay(&status) > Duration::ZERO);
    let mut client = world.client.clone();
    let (source_path, destination_path) = ("a/x".to_owned(), "b/x".to_owned());
    let relocation = MoveRequest {
        source_path: source_path.clone(),
        destination_path: destination_path.clone(),
        ..MoveRequest::default()
    };
    let copy = CopyRequest {
        source_path,
        destination_path,
        ..CopyRequest::default()
    };
    let directory = MoveDirRequest {
        source_path: "c".to_owned(),
        destination_path: "b/c".to_owned(),
        ..MoveDirRequest::default()
    };
    let link = |path: &str| PublicLinkRequest {
        path: path.to_owned(),
        password: "password".to_owned(),
        ..PublicLinkRequest::default()
    };
    let delete = DeleteRequest {
        targets: vec![DeleteTarget {
            path: "a/x".to_owned(),
            ..DeleteTarget::default()
        }],
        ..DeleteRequest::default()
    };
    let dedupe = DedupeRequest {
        recursive: true,
        mode: DedupeMode::Newest.into(),
        ..DedupeRequest::default()
    };
    let purge = PurgeRequest {
        path: "c".to_owned(),
        ..PurgeRequest::default()
    };
    let purged = match client.purge(purge).await {
        Ok(stream) => stream.into_inner().message().await.map(drop),
        Err(status) => Err(status),
    };
    let deduped = match client.dedupe(dedupe).await {
        Ok(stream) => stream.into_inner().message().await.map(drop),
        Err(status) => Err(status),
    };
    let outcomes = [
        ("Move", client.r#move(relocation).await.map(drop)),
        ("Copy", client.copy(copy).await.map(drop)),
        ("MoveDir", client.move_dir(directory).await.map(drop)),
        (
            "PublicLink",
            client.public_link(link("a/x")).await.map(drop),
        ),
        ("PublicLink", client.public_link(link("a")).await.map(drop)),
        ("Delete", client.delete(delete).await.map(drop)),
        ("Mkdir", world.mkdir("g").await.map(drop)),
        ("Rmdir", world.rmdir("empty").await),
        ("Purge", purged),
        ("Dedupe", deduped),
    ];
    for (call, outcome) in outcomes {
        let status = outcome.expect_err(call);
        assert_eq!(reason(&status), "STATE_UNAVAILABLE", "{call}");
    }
    let patch = "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop>\
                 <lastmodified xmlns=\"DAV:\">5</lastmodified></D:prop></D:set></D:propertyupdate>";
    let method = reqwest::Method::from_bytes(b"PROPPATCH").unwrap();
    let request = reqwest::Client::new().request(method, address(&world, "f"));
    let answer = request.body(patch).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("503") || text.contains("state"), "{text}");
    assert_eq!(world.get("a/x").await.unwrap().content, content(1_000));
    assert_eq!(world.names("", true).await.len(), before.len());
    assert_eq!(last_modified(&world, "f").await, THEN);
    world.hash("a/y").await.unwrap();
    world.on("").about().await.unwrap();
    assert!(problem(&world).await.contains("locked"));
    assert_eq!(world.stored_all(), before);
    drop(held);
    until("it goes on", async || problem(&world).await.is_empty()).await;
    world.put("a/new", &content(10)).await.unwrap();
    assert_eq!(world.delete(&["a/x"]).await, [""]);
}

#[tokio::test(start_paused = true)]
async fn operators_may_choose_that_changes_go_on() {
    let mut world = world().await;
    world.config.state_required = false;
    world.restart().await;
    world.put("a/x", &content(1_000)).await.unwrap();
    let held = hold_all(&world);
    world.put("a/y", &content(10)).await.unwrap();
    let first = put(&world.client, with_id("x"), b"abc").await.unwrap();
    assert_eq!(world.delete(&["a/x"]).await, [""]);
    let again = futures::stream::iter(messages(with_id("x"), b"abc"));
    let again = world.client.clone().put(again).await.unwrap().into_inner();
    assert!(again.replayed, "it is known in memory");
    assert_eq!(again.entry.unwrap(), first);
    assert!(problem(&world).await.contains("go on"));
    drop(held);
    until("it goes on", async || problem(&world).await.is_empty()).await;
    world.restart().await;
    world.control.reset_calls();
    assert_eq!(world.names("", true).await, ["a/", "x", "a/y"]);
    assert_eq!(
        world.control.calls().total_v1(),
        0,
        "all of it came to the disk"
    );
}

/// What was done at 1Fichier while the disk failed is answered as not known to
/// be kept; the repeat is told the outcome once it is on disk.
#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_kept_is_not_told() {
    let world = world().await;
    world.put("a/x", &content(1_000)).await.unwrap();
    world.fail("end.pl", 1, FaultKind::Delay(Duration::from_secs(20)));
    world.control.reset_calls();
    let client = world.client.clone();
    let header = PutHeader {
        size: Some(3),
        request_id: "id-1".to_owned(),
        ..header("a/y")
    };
    let messages = || futures::stream::iter(messages(header.clone(), b"abc"));
    let putting = tokio::spawn({
        let (mut client, messages) = (client.clone(), messages());
        async move { client.put(messages).await }
    });
    while world.control.calls().get("end.pl") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let held = hold_all(&world);
    let status = putting.await.unwrap().unwrap_err();
    assert_eq!(reason(&status), "STATE_UNAVAILABLE");
    assert_eq!(world.stored(), ["a/x", "a/y"]);
    let again = client.clone().put(messages()).await.unwrap_err();
    assert_eq!(reason(&again), "STATE_UNAVAILABLE");
    drop(held);
    until("it goes on", async || problem(&world).await.is_empty()).await;
    let again = client.clone().put(messages()).await.unwrap().into_inner();
    assert!(again.replayed);
    assert_eq!(world.stored(), ["a/x", "a/y"]);
}

#[tokio::test(start_paused = true)]
async fn damaged_user_data_are_saved_and_told_everywhere() {
    let mut world = with_two_keys().await;
    put_then(&world, "f").await;
    stop(&mut world).await;
    let directory = state(&world);
    let names = names_in(&directory);
    let user = names.iter().find(|name| name.ends_with(".user")).unwrap();
    let connection = Connection::open(directory.join(user)).unwrap();
    connection.execute_batch("DROP TABLE facts").unwrap();
    drop(connection);
    start(&mut world).await;
    assert_eq!(last_modified(&world, "f").await, THEN);
    let told = problem(&world).await;
    assert!(told.contains("damaged"), "{told}");
    let admin = world.server.as_ref().unwrap().admin_address().unwrap();
    let ask = |path: &str| reqwest::get(format!("http://{admin}{path}"));
    let metrics = ask("/metrics").await.unwrap().text().await.unwrap();
    assert!(metrics.contains("pluton_fichier_catalog_problem{remote=\"fichier\"} 1"));
    let health = ask("/healthz").await.unwrap().text().await.unwrap();
    assert!(health.contains("damaged"), "{health}");
    world.put("g", b"goes on").await.unwrap();
    for name in names_in(&directory) {
        if name.contains(".damaged-") {
            std::fs::remove_file(directory.join(name)).unwrap();
        }
    }
    assert_eq!(problem(&world).await, "");
}
