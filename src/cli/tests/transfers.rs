//! `put`, `get` and `cat`.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::fake::{CHUNK, status};
use super::{Client, run};
use crate::cli::exit::Exit;
use crate::error::Reason;

fn content(size: usize) -> Bytes {
    (0..size).map(|index| (index / 7) as u8).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn put_stores_a_file() {
    let client = Client::new().await;
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().join("a.bin");
    let content = content(700_001);
    fs::write(&local, &content).unwrap();
    let local = local.to_str().unwrap();
    let stored = client.run(&["put", local, "/docs/"]).await;
    assert_eq!(
        (stored.exit, stored.out.as_str()),
        (Exit::Ok, "stored docs/a.bin (683.59 KiB)\n")
    );
    assert_eq!(client.fake.state().files["docs/a.bin"], content);
    assert_eq!(client.fake.state().headers[0].size, Some(700_001));
    assert_eq!(client.fake.state().headers[0].create_parents, Some(true));

    let again = client
        .run(&[
            "put",
            local,
            "docs/a.bin",
            "--create-only",
            "--json",
            "--no-parents",
        ])
        .await;
    assert_eq!(again.exit, Exit::AlreadyExists);
    assert_eq!(again.error()["error"]["reason"], "ENTRY_EXISTS");
    assert_eq!(client.fake.state().headers[1].create_parents, Some(false));
    let replaced = client.run(&["put", local, "docs/a.bin", "--json"]).await;
    assert_eq!(replaced.json()["entry"]["size"], 700_001);
}

#[tokio::test]
async fn put_stores_standard_input() {
    let client = Client::new().await;
    let content = content(600_000);
    let address = client.address.to_string();
    let stored = run(&address, &["put", "-", "x"], &content).await;
    assert_eq!(stored.exit, Exit::Ok, "{stored:?}");
    assert_eq!(client.fake.state().files["x"], content);
    assert_eq!(client.fake.state().headers[0].size, None);
    assert_eq!(
        run(&address, &["put", "-", "x/"], b"").await.exit,
        Exit::Usage
    );
    // A stream cannot be read again.
    client.fake.state().put_failures = vec![status(Reason::ShuttingDown, "stopping")];
    let failed = run(&address, &["put", "-", "x"], b"1").await;
    assert_eq!(failed.exit, Exit::Unavailable);
    assert!(
        failed
            .err
            .starts_with("error: stopping [SHUTTING_DOWN]\nhint: try again in ")
    );
}

#[tokio::test]
async fn put_tries_again_with_the_same_id() {
    let client = Client::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), content(2_000_000)).unwrap();
    let local = file.path().to_str().unwrap();
    let away = || status(Reason::UpstreamUnavailable, "away");
    client.fake.state().put_failures = vec![away(), away(), away()];
    let words = ["put", local, "x", "--retries", "3"];
    let stored = client.run(&words).await;
    assert_eq!(stored.exit, Exit::Ok, "{stored:?}");
    assert!(
        stored
            .err
            .contains("away; trying again in 10ms (attempt 4 of 4)"),
        "{stored:?}"
    );
    {
        let state = client.fake.state();
        assert_eq!(state.headers.len(), 4);
        assert!(
            state
                .headers
                .iter()
                .all(|header| header.request_id == state.headers[0].request_id)
        );
        assert_eq!(state.files["x"].len(), 2_000_000);
    }
    client.fake.state().put_failures = vec![away(), away(), away(), away()];
    let words = ["put", local, "y", "--json", "--retries", "3"];
    let failed = client.run(&words).await;
    assert_eq!(failed.exit, Exit::Unavailable);
    assert_eq!(failed.error()["error"]["retry_after_seconds"], 0.01);
}

#[tokio::test]
async fn put_of_a_file_that_shrinks_stores_nothing() {
    let client = Client::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 << 20).unwrap();
    let handle = file.reopen().unwrap();
    client.fake.state().on_put = Some(Box::new(move || handle.set_len(32 << 20).unwrap()));
    let failed = client
        .run(&["put", file.path().to_str().unwrap(), "x"])
        .await;
    assert_eq!(failed.exit, Exit::Other);
    assert!(
        failed.err.contains("changed while it was read"),
        "{failed:?}"
    );
    let state = client.fake.state();
    assert_eq!((state.uncommitted, state.files.len()), (1, 0));
}

#[tokio::test]
async fn put_of_a_file_that_grows_stores_nothing() {
    let client = Client::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(32 << 20).unwrap();
    let handle = file.reopen().unwrap();
    client.fake.state().on_put = Some(Box::new(move || handle.set_len(33 << 20).unwrap()));
    let failed = client
        .run(&["put", file.path().to_str().unwrap(), "x"])
        .await;
    assert!(failed.err.contains("then longer"), "{failed:?}");
    let state = client.fake.state();
    assert_eq!((state.uncommitted, state.files.len()), (1, 0));
}

#[tokio::test]
async fn put_of_what_cannot_be_read() {
    let client = Client::new().await;
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().to_str().unwrap();
    let refused = client.run(&["put", local, "x"]).await;
    assert!(refused.err.contains("is a directory"), "{refused:?}");
    let missing = client.run(&["put", &format!("{local}/missing"), "x"]).await;
    assert!(missing.err.contains("cannot read"), "{missing:?}");
    assert!(client.fake.state().headers.is_empty());
}

#[tokio::test]
async fn get_writes_a_file() {
    let client = Client::new().await;
    let content = content(12_345);
    client.fake.hold("d/a.bin", content.clone());
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().to_str().unwrap();
    let saved = client.run(&["get", "d/a.bin", local]).await;
    assert_eq!(
        (saved.exit, saved.out),
        (Exit::Ok, format!("saved {local}/a.bin (12.06 KiB)\n"))
    );
    let file = directory.path().join("a.bin");
    assert_eq!(fs::read(&file).unwrap(), content);
    assert_eq!(client.fake.state().gets[0].ranges, []);

    let again = client.run(&["get", "d/a.bin", local]).await;
    let up_to_date = format!("{local}/a.bin is up to date\n");
    assert_eq!((again.exit, again.out), (Exit::Ok, up_to_date));
    assert_eq!(client.fake.state().gets.len(), 1);
    fs::write(&file, "old").unwrap();
    let refused = client.run(&["get", "d/a.bin", local]).await;
    assert_eq!(refused.exit, Exit::AlreadyExists);
    assert!(
        refused.err.contains("differs; replace it with --update"),
        "{refused:?}"
    );
    let updated = client.run(&["get", "d/a.bin", local, "--update"]).await;
    assert_eq!(updated.exit, Exit::Ok, "{updated:?}");
    assert_eq!(fs::read(&file).unwrap(), content);
    let forced = client
        .run(&["get", "d/a.bin", local, "--force", "--json"])
        .await
        .json();
    assert_eq!(
        (&forced["bytes"], &forced["verified"]),
        (&12_345.into(), &true.into())
    );
    assert_eq!(fs::read(&file).unwrap(), content);
    assert_eq!(names(directory.path()), ["a.bin"]);
}

#[tokio::test]
async fn get_goes_on_where_it_broke() {
    let client = Client::new().await;
    let content = content(10 * CHUNK + 1);
    client.fake.hold("a", content.clone());
    client.fake.state().get_breaks = vec![3, 0, 4];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("b");
    let saved = client.run(&["get", "a", file.to_str().unwrap()]).await;
    assert_eq!(saved.exit, Exit::Ok, "{saved:?}");
    assert_eq!(fs::read(&file).unwrap(), content);
    let state = client.fake.state();
    let offsets: Vec<_> = state.gets[1..]
        .iter()
        .map(|get| get.ranges[0].offset)
        .collect();
    assert_eq!(offsets, [3000, 3000, 7000]);
    assert!(
        state.gets[1..]
            .iter()
            .all(|get| get.if_match_etag == "etag-10001")
    );
}

#[tokio::test]
async fn get_that_lacks_only_its_trailer_is_done() {
    let client = Client::new().await;
    client.fake.hold("a", "x".repeat(2 * CHUNK));
    client.fake.state().get_breaks = vec![2];
    let got = client.run(&["cat", "a", "--range", "500"]).await;
    assert_eq!((got.exit, got.out.len()), (Exit::Ok, 1500), "{got:?}");
    assert_eq!(client.fake.state().gets.len(), 1);
}

#[tokio::test]
async fn get_that_fails_for_good_leaves_nothing() {
    let client = Client::new().await;
    client.fake.hold("a", content(5 * CHUNK));
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().to_str().unwrap();
    client.fake.state().get_breaks = vec![0, 0, 0];
    let words = ["get", "a", local, "--retries", "2"];
    let away = client.run(&words).await;
    assert_eq!(
        (away.exit, client.fake.state().gets.len()),
        (Exit::Unavailable, 3)
    );
    client.fake.state().damage_chunks = true;
    let damaged = client.run(&["get", "a", local]).await;
    assert_eq!(damaged.exit, Exit::Corrupt, "{damaged:?}");
    client.fake.state().damage_chunks = false;
    client.fake.state().leave_out_trailer = true;
    let incomplete = client.run(&["get", "a", local, "--json"]).await;
    assert_eq!(incomplete.error()["error"]["code"], "DATA_LOSS");
    assert_eq!(
        client.run(&["get", "missing", local]).await.exit,
        Exit::NotFound
    );
    assert_eq!(names(directory.path()), [""; 0]);
}

#[tokio::test]
async fn another_get_goes_on_with_what_came_before() {
    let client = Client::new().await;
    let content = content(5 * CHUNK);
    client.fake.hold("a", content.clone());
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().to_str().unwrap();
    client.fake.state().get_breaks = vec![3];
    let broken = client.run(&["get", "a", local, "--retries", "0"]).await;
    assert_eq!(broken.exit, Exit::Unavailable);
    let part = names(directory.path()).remove(0);
    let told = format!("what has come is kept in {local}/{part}; the same command goes on");
    assert!(broken.err.contains(&told), "{broken:?}");
    let saved = client.run(&["get", "a", local, "--json"]).await.json();
    assert_eq!(
        (&saved["status"], &saved["bytes"], &saved["verified"]),
        (&"saved".into(), &2000.into(), &true.into()),
        "only what was lacking came, and the whole was compared"
    );
    assert_eq!(client.fake.state().gets[1].ranges[0].offset, 3000);
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), content);
    assert_eq!(names(directory.path()), ["a"]);

    // What was damaged meanwhile is found, and all of it comes again.
    fs::remove_file(directory.path().join("a")).unwrap();
    client.fake.state().get_breaks = vec![3];
    client.run(&["get", "a", local, "--retries", "0"]).await;
    fs::write(directory.path().join(&part), "x".repeat(3000)).unwrap();
    let saved = client.run(&["get", "a", local]).await;
    assert_eq!(saved.exit, Exit::Ok, "{saved:?}");
    assert!(saved.err.contains("was damaged"), "{saved:?}");
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), content);
    assert_eq!(names(directory.path()), ["a"]);

    // What came of another content is of no use.
    fs::remove_file(directory.path().join("a")).unwrap();
    client.fake.state().get_breaks = vec![3];
    client.run(&["get", "a", local, "--retries", "0"]).await;
    client.fake.hold("a", "another");
    assert_eq!(client.run(&["get", "a", local]).await.exit, Exit::Ok);
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"another");
}

#[tokio::test]
async fn get_that_is_stopped_keeps_what_came() {
    let client = Client::new().await;
    client.fake.hold("a", content(5 * CHUNK));
    client.fake.state().stall = true;
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().to_str().unwrap();
    // Ends as Ctrl-C does: the command is dropped where it stands.
    let words = ["get", "a", local, "--timeout", "1s", "--json"];
    let stopped = client.run(&words).await;
    assert_eq!(stopped.exit, Exit::Unavailable, "{stopped:?}");
    let part = names(directory.path()).remove(0);
    assert_eq!(fs::read(directory.path().join(&part)).unwrap().len(), CHUNK);
    let kept = &stopped.error()["error"]["metadata"]["partial_files"];
    assert_eq!(kept, &format!("{local}/{part}"));
    // Of a part of a file nothing is kept.
    let words = ["get", "a", local, "--range", "5", "--timeout", "1s"];
    assert_eq!(client.run(&words).await.exit, Exit::Unavailable);
    assert_eq!(names(directory.path()), [part]);
}

#[tokio::test]
async fn get_survives_a_lost_connection() {
    let client = Client::new().await;
    let content = content(2_000_000);
    client.fake.hold("a", content.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap().to_string();
    let server = client.address;
    tokio::spawn(async move {
        let mut limit = 500_000;
        while let Ok((near, _)) = listener.accept().await {
            let far = tokio::net::TcpStream::connect(server).await.unwrap();
            tokio::spawn(async move {
                let (near_read, mut near_write) = near.into_split();
                let (far_read, mut far_write) = far.into_split();
                let (mut near_read, mut far_read) = (near_read, far_read.take(limit));
                tokio::select! {
                    _ = tokio::io::copy(&mut near_read, &mut far_write) => {}
                    _ = tokio::io::copy(&mut far_read, &mut near_write) => {}
                }
            });
            limit = u64::MAX;
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("b");
    let saved = run(&proxy, &["get", "a", file.to_str().unwrap()], b"").await;
    assert_eq!(saved.exit, Exit::Ok, "{saved:?}");
    assert!(saved.err.contains("was lost"), "{saved:?}");
    assert_eq!(fs::read(&file).unwrap(), content);
    assert_eq!(client.fake.state().gets.len(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn get_into_something_that_is_no_file_writes_to_it() {
    let client = Client::new().await;
    client.fake.hold("a", content(5 * CHUNK));
    let got = client.run(&["get", "a", "/dev/null", "--force"]).await;
    assert_eq!(got.exit, Exit::Ok, "{got:?}");
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

#[tokio::test]
async fn cat_and_ranges() {
    let client = Client::new().await;
    client.fake.hold("a", "0123456789");
    assert_eq!(client.run(&["cat", "/a"]).await.out, "0123456789");
    assert_eq!(
        client.run(&["get", "a", "-", "--range", "2:3"]).await.out,
        "234"
    );
    assert_eq!(client.run(&["cat", "a", "--range", "8:99"]).await.out, "89");
    assert_eq!(client.run(&["cat", "a", "--range", "8:"]).await.out, "89");
    let beyond = client.run(&["cat", "a", "--range", "10"]).await;
    assert_eq!(beyond.exit, Exit::Precondition);
}
