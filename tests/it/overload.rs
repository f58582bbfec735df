//! More than fits: what is refused, what waits, and what those free who leave.

use std::panic::Location;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use pluton_fichier::emulator::{FaultKind, Options};
use pluton_fichier::proto::put_request::Payload;
use pluton_fichier::proto::*;
use pluton_fichier::transfer::SpoolPolicy;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::checks::seconds;
use crate::harness::*;
use crate::streams::{CONTENT, LARGE, Slow, put_shared, sized};

async fn spooling(policy: SpoolPolicy, uploads: usize) -> World {
    build(Options::default(), |config| {
        config.uploads.spool = policy;
        config.uploads.connections = uploads;
    })
    .await
}

fn ask(path: &str) -> GetRequest {
    GetRequest {
        path: path.to_owned(),
        ..GetRequest::default()
    }
}

/// Transfers that are shown, and calls that wait for the budget.
async fn busy(world: &World) -> (usize, i64) {
    let request = GetActivityRequest::default();
    let activity = world.client.clone().get_activity(request).await.unwrap();
    let activity = activity.into_inner();
    let queued = activity
        .budgets
        .iter()
        .flat_map(|budget| budget.queued_calls.values());
    (activity.transfers.len(), queued.sum())
}

/// Transfers and queued calls become so many. What crosses the kernel takes
/// real time, in which a paused clock goes on: a busy machine gets some more.
#[track_caller]
fn settles(world: &World, expected: (usize, i64)) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let mut found = busy(world).await;
        for _ in 0..20 {
            if found == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            found = busy(world).await;
        }
        panic!("{found:?} instead of {expected:?} at {caller}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_puts_on_one_connection_with_one_upload_slot_all_finish() {
    use SpoolPolicy::{Always, Auto, Never};
    for (policy, known, count, size) in [
        (Auto, false, 20, 2 << 20),
        (Auto, true, 20, 2 << 20),
        (Always, true, 20, 2 << 20),
        (Never, true, 20, 2 << 20),
        (Auto, true, 5, 16 << 20),
        (Never, true, 5, 16 << 20),
    ] {
        let world = spooling(policy, 1).await;
        let paths: Vec<_> = (0..count).map(|number| format!("d/f{number:02}")).collect();
        let puts = paths.iter().map(|path| {
            let header = match known {
                true => sized(path, size),
                false => header(path),
            };
            put_shared(&world.client, header, size)
        });
        for outcome in join_all(puts).await {
            assert_eq!(outcome.unwrap().size, Some(size as i64));
        }
        assert_eq!(world.stored(), paths);
        let calls = world.control.calls();
        assert_eq!(calls.floods(), 0);
        if policy == Never {
            assert_eq!(calls.get("upload.cgi"), count, "one upload for each");
            assert_eq!(calls.get("upload/get_upload_server"), count);
        } else if count == 20 {
            assert!(calls.get("upload.cgi") < 10, "they leave in groups");
        }
        settles(&world, (0, 0)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_buffer_the_size_must_be_known() {
    let world = build(Options::default(), |config| {
        config.uploads.spool = SpoolPolicy::Never;
        config.spool_bytes = 0;
    })
    .await;
    world.control.reset_calls();
    let status = assert_reason(
        put(&world.client, header("f"), b"1").await,
        "CAPABILITY_MISSING",
    );
    assert_eq!(fact(&status, "capability"), "PUT_UNKNOWN_SIZE");
    assert!(status.message().contains("--spool auto"), "{status}");
    assert_eq!(world.control.calls().total_v1(), 0);
    for size in [1, 1000, LARGE] {
        put_shared(&world.client, sized("f", size), size)
            .await
            .unwrap();
        assert!(world.get("f").await.unwrap().content == CONTENT[..size]);
    }
    let info = world
        .client
        .clone()
        .get_info(GetInfoRequest::default())
        .await;
    let capabilities = &info.unwrap().into_inner().remotes[0].capabilities;
    assert!(!capabilities.contains(&Capability::PutUnknownSize.into()));
    assert!(capabilities.contains(&Capability::Put.into()));
}

/// A buffered file survives a node that refuses it; one that streams through is
/// the client's to repeat.
#[tokio::test(start_paused = true)]
async fn what_is_buffered_is_sent_again_without_the_client() {
    for (policy, survives) in [
        (SpoolPolicy::Always, true),
        (SpoolPolicy::Auto, false),
        (SpoolPolicy::Never, false),
    ] {
        let world = spooling(policy, 4).await;
        let hiccup = "Ne peut ouvrir le fichier destination".to_owned();
        world.fail("upload.cgi", 1, FaultKind::NodeRefusal(hiccup));
        let outcome = put_shared(&world.client, sized("f", LARGE), LARGE).await;
        if survives {
            outcome.unwrap();
        } else {
            assert_reason(outcome, "UPSTREAM_UNAVAILABLE");
        }
        let sent = if survives { 2 } else { 1 };
        assert_eq!(world.control.calls().get("upload.cgi"), sent);
        assert_eq!(world.stored().len(), usize::from(survives));
    }
}

/// A Put that waits for a connection holds nobody up, and not for ever.
#[tokio::test(start_paused = true)]
async fn a_put_without_a_buffer_waits_for_a_connection_but_not_for_ever() {
    let world = spooling(SpoolPolicy::Never, 1).await;
    let first = Slow::start(&world.client);
    first.send(sized("first", LARGE), 1 << 20).await;
    let start = Instant::now();
    let second = put_shared(&world.client, sized("second", LARGE), LARGE);
    let trickle = async {
        for at in 0..31 {
            seconds(60).await;
            let chunk = chunk((1 << 20) + at, &CONTENT[(1 << 20) + at..][..1]);
            first.messages.send(chunk).await.unwrap();
            world.stat("").await.unwrap();
        }
    };
    let (second, ()) = tokio::join!(second, trickle);
    let status = assert_reason(second, "TOO_MANY_TRANSFERS");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(retry_delay(&status) >= Duration::from_secs(1));
    assert!(start.elapsed() >= Duration::from_secs(1_800));
    // The first one goes on; when it leaves, there is room at once.
    first.call.abort();
    seconds(1).await;
    put_shared(&world.client, sized("second", LARGE), LARGE)
        .await
        .unwrap();
    assert_eq!(world.stored(), ["second"]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_into_the_buffer_is_refused_before_anything_is_read() {
    for policy in [SpoolPolicy::Auto, SpoolPolicy::Always] {
        let world = build(Options::default(), |config| {
            config.uploads.spool = policy;
            config.spool_bytes = 2 << 20;
        })
        .await;
        world.mkdir("d").await.unwrap();
        let holder = Slow::start(&world.client);
        holder.send(sized("d/a", 3 << 19), 1000).await;
        world.control.reset_calls();

        // Only the header is sent: the answer needs no more.
        let late = Slow::start(&world.client);
        let announced = message(Payload::Header(sized("e/b", 1 << 20)));
        late.messages.send(announced).await.unwrap();
        let start = Instant::now();
        let status = assert_reason(late.call.await.unwrap(), "SPOOL_FULL");
        assert!(start.elapsed() < Duration::from_secs(1));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(retry_delay(&status) >= Duration::from_secs(1));
        // Of unknown size: as far as it goes.
        let status = assert_reason(
            put(&world.client, header("d/c"), &CONTENT[..1 << 20]).await,
            "SPOOL_FULL",
        );
        assert!(status.message().contains("--spool-bytes"), "{status}");
        assert_eq!(world.control.calls().total_v1(), 0);

        // What will never fit need not come back.
        if policy == SpoolPolicy::Always {
            let outcome = put_shared(&world.client, sized("d/d", 3 << 20), 3 << 20).await;
            let status = assert_reason(outcome, "SPOOL_FULL");
            assert!(
                tonic_types::StatusExt::get_error_details(&status)
                    .retry_info()
                    .is_none()
            );
        }
        holder.call.abort();
        seconds(1).await;
        put_shared(&world.client, sized("d/e", 2 << 20), 2 << 20)
            .await
            .unwrap();
        assert_eq!(world.stored_all(), ["d", "d/e"]);
    }
}

#[tokio::test(start_paused = true)]
async fn more_transfers_than_configured_are_refused_at_once() {
    let world = build(Options::default(), |config| config.max_transfers = 3).await;
    world.control.add_file(0, "old", &CONTENT);
    world.stat("old").await.unwrap();
    let puts = [Slow::start(&world.client), Slow::start(&world.client)];
    for (number, put) in puts.iter().enumerate() {
        put.send(header(&format!("p{number}")), 1000).await;
    }
    let mut reading = world
        .client
        .clone()
        .get(ask("old"))
        .await
        .unwrap()
        .into_inner();
    assert!(reading.message().await.unwrap().is_some());
    assert_eq!(busy(&world).await.0, 3);
    let start = Instant::now();
    for outcome in [
        world.put("late", b"1").await.map(drop),
        put(&world.client, header("late"), &CONTENT).await.map(drop),
        world.get("old").await.map(drop),
        world
            .on("")
            .hash("old", HashAlgorithm::Sha1, true)
            .await
            .map(drop),
    ] {
        let status = assert_reason(outcome, "TOO_MANY_TRANSFERS");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(retry_delay(&status) >= Duration::from_secs(1));
        assert!(status.message().contains("--max-transfers"), "{status}");
    }
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(world.names("", false).await, ["old"], "other calls go on");
    drop(reading);
    seconds(1).await;
    world.put("late", b"1").await.unwrap();
    for put in puts {
        put.messages.send(commit(1000)).await.unwrap();
        put.call.await.unwrap().unwrap();
    }
    assert_eq!(world.stored(), ["late", "old", "p0", "p1"]);
}

/// Each holds what it has not taken, no connection, and nobody up.
#[tokio::test(start_paused = true)]
async fn slow_readers_hold_only_their_own_buffers() {
    let world = world().await;
    world.control.add_file(0, "slow", &CONTENT);
    world.control.add_file(0, "fast", &CONTENT);
    world.stat("slow").await.unwrap();
    let mut readers = Vec::new();
    for _ in 0..64 {
        let mut client = connect(world.server.as_ref().unwrap()).await;
        let mut stream = client.get(ask("slow")).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some(), "the header");
        readers.push((client, stream));
    }
    // Those that came first make room for the others: 16 connections for 64.
    seconds(20).await;
    let request = GetActivityRequest::default();
    let activity = world.client.clone().get_activity(request).await.unwrap();
    let transfers = activity.into_inner().transfers;
    assert_eq!(transfers.len(), 64);
    // A client takes 2 MiB unread; then come a few chunks on their way.
    for transfer in &transfers {
        assert!(
            (1..=3 << 20).contains(&transfer.done_bytes),
            "{} bytes were fetched for one that takes nothing",
            transfer.done_bytes
        );
    }
    assert_eq!(world.control.open_downloads(), 0);
    assert!(world.get("fast").await.unwrap().content == CONTENT[..]);
    assert_eq!(world.control.open_downloads(), 0);

    // They go on where they were.
    let rest = readers.into_iter().map(|(_client, mut stream)| async move {
        let mut content = Vec::with_capacity(LARGE);
        while let Some(message) = stream.message().await.unwrap() {
            match message.payload.unwrap() {
                get_response::Payload::Chunk(chunk) => content.extend_from_slice(&chunk.data),
                get_response::Payload::Trailer(end) => assert!(end.verified),
                get_response::Payload::Header(_) => panic!("a second header"),
            }
        }
        assert!(content == CONTENT[..]);
    });
    let rest: Vec<_> = rest.take(4).collect();
    join_all(rest).await;
    seconds(1).await;
    settles(&world, (0, 0)).await;
    let tokens = world.control.calls().get("download/get_token");
    assert_eq!(tokens, 2, "one for each file");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_for_an_hour_is_given_up() {
    let world = world().await;
    world.control.add_file(0, "f", &CONTENT);
    let mut stream = world
        .client
        .clone()
        .get(ask("f"))
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());
    seconds(3_500).await;
    assert_eq!(busy(&world).await.0, 1);
    seconds(200).await;
    assert_eq!(busy(&world).await.0, 0);
    let end = async {
        while stream.message().await?.is_some() {}
        Ok::<_, Status>(())
    };
    let status = end.await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("read the rest"), "{status}");
}

/// A call that waits for something, until it is aborted.
async fn waiting<T: Send + 'static>(
    call: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let call = tokio::spawn(call);
    seconds(2).await;
    assert!(!call.is_finished());
    call
}

/// A lock of the account for four minutes, which everybody waits out.
async fn lock(world: &World) {
    world.fail("folder/ls", 4, FaultKind::Flood);
    assert_reason(world.list("unlisted", false).await, "UPSTREAM_LOCKED");
    settles(world, (0, 0)).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_while_calls_wait_frees_everything() {
    let world = build(Options::default(), |config| {
        config.spool_bytes = 2 << 20;
        // No call looks before it removes.
        config.exclusive = true;
    })
    .await;
    world.mkdir("known").await.unwrap();
    let folder = world.control.add_folder(0, "d");
    for number in 0..3 {
        world
            .control
            .add_file(folder, &format!("f{number}"), b"content");
    }
    world.control.add_folder(0, "unlisted");
    let request = RefreshRequest {
        reload: true,
        ..RefreshRequest::default()
    };
    seconds(40).await;
    world.client.clone().refresh(request).await.unwrap();
    assert_eq!(world.names("d", false).await.len(), 3);
    lock(&world).await;

    let client = || world.client.clone();
    let file = || {
        let mut messages = vec![message(Payload::Header(sized("known/f", 2 << 20)))];
        for at in 0..8 {
            let data = CONTENT.slice(at << 18..(at + 1) << 18);
            let offset = (at << 18) as i64;
            messages.push(message(Payload::Chunk(Chunk {
                offset,
                data,
                crc32c: None,
            })));
        }
        messages.push(commit(2 << 20));
        messages
    };
    // A Put whose file is complete and waits for a node.
    for _ in 0..3 {
        // Each fills the buffer: the one before must have left it.
        let mut caller = client();
        let messages = file();
        let call = waiting(async move { caller.put(futures::stream::iter(messages)).await }).await;
        settles(&world, (1, 1)).await;
        call.abort();
        seconds(1).await;
        settles(&world, (0, 0)).await;
    }
    // A Put that looks at what is there, before it reads and after.
    for path in ["unlisted/f", "unlisted/a/b/f"] {
        for sized in [sized(path, 1000), header(path), sized(path, LARGE)] {
            let mut caller = client();
            let messages = messages(sized, &CONTENT[..1000]);
            let call =
                waiting(async move { caller.put(futures::stream::iter(messages)).await }).await;
            settles(&world, (1, 1)).await;
            call.abort();
            seconds(1).await;
            settles(&world, (0, 0)).await;
        }
    }
    // A Put that makes a directory first.
    let mut caller = client();
    let all = messages(header("known/new/f"), b"1");
    let call = waiting(async move { caller.put(futures::stream::iter(all)).await }).await;
    settles(&world, (1, 1)).await;
    call.abort();
    seconds(1).await;
    settles(&world, (0, 0)).await;
    // A list, alone and with others.
    let request = || ListRequest {
        path: "unlisted".into(),
        ..ListRequest::default()
    };
    let (one, two) = (client(), client());
    let one = waiting(async move { list(&one, request()).await }).await;
    let two = waiting(async move { list(&two, request()).await }).await;
    // One listing for both.
    settles(&world, (0, 1)).await;
    one.abort();
    seconds(1).await;
    settles(&world, (0, 1)).await;
    two.abort();
    seconds(1).await;
    settles(&world, (0, 0)).await;
    // Deletions: those who stay keep their place.
    let remove = |name: &str| {
        let target = DeleteTarget {
            path: format!("d/{name}"),
            ..DeleteTarget::default()
        };
        let request = DeleteRequest {
            targets: vec![target],
            ..DeleteRequest::default()
        };
        let mut caller = client();
        async move { caller.delete(request).await }
    };
    let (one, two) = (waiting(remove("f0")).await, waiting(remove("f1")).await);
    // One call for both.
    settles(&world, (0, 1)).await;
    one.abort();
    seconds(1).await;
    settles(&world, (0, 1)).await;
    two.abort();
    seconds(1).await;
    settles(&world, (0, 0)).await;
    // A read that waits for its token.
    let mut reader = client();
    let read = waiting(async move { reader.get(ask("d/f2")).await }).await;
    settles(&world, (1, 1)).await;
    read.abort();
    seconds(1).await;
    settles(&world, (0, 0)).await;

    // Nothing of all this was done, and nothing is called for it later.
    world.control.reset_calls();
    seconds(400).await;
    assert_eq!(world.control.calls().total_v1(), 0);
    assert_eq!(world.stored(), ["d/f0", "d/f1", "d/f2"]);
    assert!(!world.stored_all().contains(&"known/new".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_in_the_middle_of_a_transfer_frees_everything() {
    let world = build(Options::default(), |config| {
        config.uploads.connections = 1;
        config.uploads.spool = SpoolPolicy::Never;
        config.downloads.connections = 1;
    })
    .await;
    world.control.add_file(0, "old", &CONTENT);
    world.stat("old").await.unwrap();
    // The first holds the connection, the second waits for it.
    let first = Slow::start(&world.client);
    first.send(sized("a", LARGE), 1 << 20).await;
    let second = Slow::start(&world.client);
    let begin = message(Payload::Header(sized("b", LARGE)));
    second.messages.send(begin).await.unwrap();
    seconds(1).await;
    settles(&world, (2, 0)).await;
    assert_eq!(world.control.open_uploads(), 1);
    second.call.abort();
    seconds(1).await;
    settles(&world, (1, 0)).await;
    assert_eq!(world.control.open_uploads(), 1);
    first.call.abort();
    seconds(1).await;
    settles(&world, (0, 0)).await;
    assert_eq!(world.control.open_uploads(), 0);
    // The same with downloads. The first one is read on all the time, so that
    // it keeps its connection.
    let mut first = world
        .client
        .clone()
        .get(ask("old"))
        .await
        .unwrap()
        .into_inner();
    assert!(first.message().await.unwrap().is_some());
    assert!(first.message().await.unwrap().is_some());
    let second = world.client.clone().get(ask("old")).await.unwrap();
    settles(&world, (2, 0)).await;
    drop(second);
    seconds(1).await;
    settles(&world, (1, 0)).await;
    drop(first);
    seconds(1).await;
    assert_eq!(
        (busy(&world).await, world.control.open_downloads()),
        ((0, 0), 0)
    );
    put_shared(&world.client, sized("a", LARGE), LARGE)
        .await
        .unwrap();
    let back = world.get("a").await.unwrap();
    assert_eq!(Bytes::from(back.content), *CONTENT);
}
