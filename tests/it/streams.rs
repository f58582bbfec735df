//! Clients that go away, deadlines, and many calls at once.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, stream};
use pluton_fichier::emulator::{Fault, FaultKind, Options};
use pluton_fichier::proto::put_request::Payload;
use pluton_fichier::proto::*;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

use crate::harness::*;

/// Above 16 MiB an upload streams straight through.
pub(crate) const LARGE: usize = (16 << 20) + 1;
const PIECE: usize = 256 << 10;
pub(crate) static CONTENT: LazyLock<Bytes> = LazyLock::new(|| content(LARGE).into());

/// The first so many bytes of the large content, without copying them.
pub(crate) fn pieces(size: usize) -> impl Iterator<Item = PutRequest> {
    (0..size).step_by(PIECE).map(move |at| {
        message(Payload::Chunk(Chunk {
            offset: at as i64,
            data: CONTENT.slice(at..size.min(at + PIECE)),
            crc32c: None,
        }))
    })
}

pub(crate) async fn put_shared(
    client: &Client,
    header: PutHeader,
    size: usize,
) -> Result<Entry, Status> {
    let all = stream::iter([message(Payload::Header(header))])
        .chain(stream::iter(pieces(size)))
        .chain(stream::iter([commit(size)]));
    Ok(client.clone().put(all).await?.into_inner().entry.unwrap())
}

/// A Put that sends what it is told to.
pub(crate) struct Slow {
    pub(crate) messages: mpsc::Sender<PutRequest>,
    pub(crate) call: JoinHandle<Result<Entry, Status>>,
}

impl Slow {
    pub(crate) fn start(client: &Client) -> Self {
        let (messages, receiver) = mpsc::channel(1);
        let mut client = client.clone();
        let call = tokio::spawn(async move {
            let answer = client.put(ReceiverStream::new(receiver)).await?;
            Ok(answer.into_inner().entry.unwrap())
        });
        Self { messages, call }
    }

    /// Sends a header and so many bytes, and lets them arrive.
    pub(crate) async fn send(&self, header: PutHeader, size: usize) {
        self.messages
            .send(message(Payload::Header(header)))
            .await
            .unwrap();
        for piece in pieces(size) {
            self.messages.send(piece).await.unwrap();
        }
        seconds(10).await;
    }
}

pub(crate) async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

pub(crate) fn sized(path: &str, size: usize) -> PutHeader {
    PutHeader {
        size: Some(size as i64),
        ..header(path)
    }
}

fn timeout<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn fault(endpoint: &str, kind: FaultKind) -> Fault {
    Fault {
        endpoint: endpoint.into(),
        skip: 0,
        times: 1,
        kind,
    }
}

/// A buffer that a single forgotten upload would fill.
async fn small_spool() -> World {
    build(Options::default(), |config| config.spool_bytes = 2 << 20).await
}

async fn nothing_is_left(world: &World, before: &[String]) {
    seconds(60).await;
    assert_eq!(world.control.open_uploads(), 0);
    assert_eq!(world.stored_all(), before);
    assert_eq!(world.names("", true).await.len(), before.len());
    // The whole buffer is free again.
    put_shared(&world.client, sized("whole", 2 << 20), 2 << 20)
        .await
        .unwrap();
    assert_eq!(world.delete(&["whole"]).await, [""]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disappears_in_the_middle_of_a_put_leaves_nothing() {
    let world = small_spool().await;
    world.mkdir("here").await.unwrap();
    let before = world.stored_all();
    for (path, with_connection) in [("here/f", false), ("a/b/f", true), ("a/b/f", false)] {
        for (header, sent) in [
            (header(path), 1 << 20),
            (sized(path, 2 << 20), 1 << 20),
            (sized(path, LARGE), 1 << 20),
            (sized(path, LARGE), LARGE),
        ] {
            let streams = header.size == Some(LARGE as i64);
            let client = connect(world.server.as_ref().unwrap()).await;
            let slow = Slow::start(&client);
            slow.send(header, sent).await;
            assert_eq!(world.control.open_uploads(), usize::from(streams));
            if with_connection {
                drop(client);
            }
            slow.call.abort();
            nothing_is_left(&world, &before).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disappears_while_its_file_waits_to_leave_stores_nothing() {
    let world = small_spool().await;
    world.mkdir("here").await.unwrap();
    let before = world.stored_all();
    for path in ["here/f", "a/b/f"] {
        world.control.inject(fault(
            "upload/get_upload_server",
            FaultKind::Delay(Duration::from_secs(20)),
        ));
        let slow = Slow::start(&world.client);
        slow.send(header(path), 1 << 20).await;
        slow.messages.send(commit(1 << 20)).await.unwrap();
        seconds(5).await;
        slow.call.abort();
        nothing_is_left(&world, &before).await;
    }
    assert_eq!(
        world.control.calls().get("upload.cgi"),
        2,
        "those that check the buffer"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disappears_after_its_file_left_has_stored_it_and_nothing_twice() {
    let world = world().await;
    world.put("f", b"old").await.unwrap();
    for header in [header("f"), sized("f", LARGE)] {
        let size = header.size.map_or(1000, |size| size as usize);
        world.control.inject(fault(
            "upload.cgi",
            FaultKind::Delay(Duration::from_secs(20)),
        ));
        let slow = Slow::start(&world.client);
        slow.send(header, size).await;
        slow.messages.send(commit(size)).await.unwrap();
        seconds(5).await;
        slow.call.abort();
        seconds(60).await;
        assert_eq!(world.stored(), ["f"]);
        assert_eq!(world.stat("f").await.unwrap().size, Some(size as i64));
        assert!(world.get("f").await.unwrap().content == CONTENT[..size]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_is_given_up() {
    let world = small_spool().await;
    for header in [header("a/f"), sized("b/f", LARGE)] {
        let slow = Slow::start(&world.client);
        slow.send(header, 1 << 20).await;
        assert_reason(slow.call.await.unwrap(), "UPLOAD_NOT_COMMITTED");
        drop(slow.messages);
        nothing_is_left(&world, &[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_in_the_middle_of_a_get_frees_its_place() {
    let world = build(Options::default(), |config| {
        config.downloads.connections = 1
    })
    .await;
    for name in ["f", "g"] {
        put_shared(&world.client, sized(name, LARGE), LARGE)
            .await
            .unwrap();
    }
    let ask = |path: &str| GetRequest {
        path: path.into(),
        ..GetRequest::default()
    };
    for with_connection in [false, true] {
        let mut client = connect(world.server.as_ref().unwrap()).await;
        let mut first = client.get(ask("f")).await.unwrap().into_inner();
        for _ in 0..3 {
            assert!(first.message().await.unwrap().is_some());
        }
        // As long as the first one takes what comes.
        let mut second = Box::pin(world.get("g"));
        let reading = async {
            for _ in 0..20 {
                assert!(first.message().await.unwrap().is_some());
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::select! {
            _ = &mut second => panic!("one download at a time"),
            () = reading => {}
        }
        if with_connection {
            drop(client);
        }
        drop(first);
        let second = tokio::time::timeout(Duration::from_secs(20), second)
            .await
            .unwrap()
            .unwrap();
        assert!(second.content == CONTENT[..]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_outlasts_the_deadline_is_told_at_once() {
    let world = world().await;
    world.control.add_folder(0, "d");
    world.stat("d").await.unwrap();
    world
        .control
        .inject(fault("folder/mkdir", FaultKind::Flood));
    let mut client = world.client.clone();
    let soon = Duration::from_secs(20);
    let start = Instant::now();
    let mkdir = MkdirRequest {
        path: "new".into(),
        ..MkdirRequest::default()
    };
    let stat = StatRequest {
        path: "d/f".into(),
        ..StatRequest::default()
    };
    let small = stream::iter(messages(header("small"), b"1"));
    let large = stream::iter(messages(sized("large", LARGE), &CONTENT));
    for outcome in [
        client.mkdir(timeout(mkdir, soon)).await.map(drop),
        client.stat(timeout(stat, soon)).await.map(drop),
        client.put(timeout(small, soon)).await.map(drop),
        client.put(timeout(large, soon)).await.map(drop),
        client
            .about(timeout(AboutRequest::default(), soon))
            .await
            .map(drop),
    ] {
        let status = assert_reason(outcome, "UPSTREAM_LOCKED");
        assert_eq!(status.code(), Code::Unavailable);
        assert!(retry_delay(&status) > Duration::from_secs(25));
    }
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(world.control.calls().floods(), 1);
    assert_eq!(world.stored_all(), ["d"]);
}

#[tokio::test(start_paused = true)]
async fn a_read_whose_token_must_wait_for_a_lock_says_so() {
    let world = world().await;
    world.control.add_file(0, "f", b"1");
    world.stat("f").await.unwrap();
    world
        .control
        .inject(fault("download/get_token", FaultKind::Flood));
    let start = Instant::now();
    let request = timeout(
        GetRequest {
            path: "f".into(),
            ..GetRequest::default()
        },
        Duration::from_secs(20),
    );
    // Before anything is told of the file.
    let status = assert_reason(world.client.clone().get(request).await, "UPSTREAM_LOCKED");
    assert!(retry_delay(&status) > Duration::from_secs(25));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_ends_before_the_deadline_is_waited_out() {
    for endpoint in ["folder/ls", "folder/mkdir", "upload/get_upload_server"] {
        for size in [1000, LARGE] {
            let world = world().await;
            world.control.inject(fault(endpoint, FaultKind::Flood));
            let start = Instant::now();
            let all = messages(sized("d/f", size), &CONTENT[..size]);
            let request = timeout(stream::iter(all), Duration::from_secs(90));
            world.client.clone().put(request).await.unwrap();
            assert!(
                start.elapsed() > Duration::from_secs(29)
                    && start.elapsed() < Duration::from_secs(60)
            );
            assert_eq!(world.control.calls().floods(), 1);
            assert_eq!(world.stored_all(), ["d", "d/f"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_is_told_as_such() {
    let world = world().await;
    world.put("f", b"1").await.unwrap();
    let second = Duration::from_secs(2);
    let late = |endpoint: &str| {
        world
            .control
            .inject(fault(endpoint, FaultKind::Delay(Duration::from_secs(30))));
    };
    let exceeded = |outcome: Result<(), Status>, start: Instant| {
        assert_eq!(outcome.unwrap_err().code(), Code::DeadlineExceeded);
        assert!(start.elapsed() > Duration::from_millis(1800) && start.elapsed() <= second);
    };
    let mut client = world.client.clone();
    late("folder/mkdir");
    let request = MkdirRequest {
        path: "d".into(),
        ..MkdirRequest::default()
    };
    let start = Instant::now();
    exceeded(
        client.mkdir(timeout(request, second)).await.map(drop),
        start,
    );

    seconds(60).await;
    late("download/get_token");
    let start = Instant::now();
    let request = GetRequest {
        path: "f".into(),
        ..GetRequest::default()
    };
    let read = client.get(timeout(request, second)).await;
    exceeded(read.map(drop), start);

    // A client that does not send.
    for size in [1000, LARGE] {
        let (messages, receiver) = mpsc::channel(10);
        messages
            .send(message(Payload::Header(sized("g", size))))
            .await
            .unwrap();
        let start = Instant::now();
        let outcome = client
            .put(timeout(ReceiverStream::new(receiver), second))
            .await;
        exceeded(outcome.map(drop), start);
    }
    seconds(60).await;
    assert_eq!(world.control.open_uploads(), 0);
    assert_eq!(world.stored(), ["f"]);
}

#[tokio::test(start_paused = true)]
async fn many_large_puts_on_one_connection_all_finish() {
    let world = build(Options::default(), |config| config.uploads.connections = 1).await;
    let paths: Vec<_> = (0..20).map(|number| format!("d/f{number:02}")).collect();
    let puts = paths
        .iter()
        .map(|path| put_shared(&world.client, sized(path, LARGE), LARGE));
    for outcome in join_all(puts).await {
        assert_eq!(outcome.unwrap().size, Some(LARGE as i64));
    }
    assert_eq!(world.stored(), paths);
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn many_small_puts_into_one_folder_leave_in_few_uploads() {
    let world = world().await;
    let paths: Vec<_> = (0..64)
        .map(|number| format!("new/folder/f{number:02}"))
        .collect();
    let puts = paths.iter().map(|path| world.put(path, path.as_bytes()));
    for (path, outcome) in paths.iter().zip(join_all(puts).await) {
        assert_eq!(outcome.unwrap().path, *path);
    }
    assert_eq!(world.stored(), paths);
    for path in &paths[..5] {
        assert_eq!(world.get(path).await.unwrap().content, path.as_bytes());
    }
    let calls = world.control.calls();
    assert_eq!((calls.get("folder/mkdir"), calls.floods()), (2, 0));
    assert!(calls.get("upload.cgi") <= 4, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn puts_to_one_path_at_once_leave_one_file() {
    let world = world().await;
    let contents: Vec<_> = (0..10).map(|number| format!("content {number}")).collect();
    let puts = contents
        .iter()
        .map(|data| world.put("d/f", data.as_bytes()));
    let entries: Vec<_> = join_all(puts)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(world.stored(), ["d/f"]);
    let left = world.stat("d/f").await.unwrap();
    assert!(entries.iter().any(|entry| entry.etag == left.etag));
    let data = world.get("d/f").await.unwrap().content;
    assert!(contents.iter().any(|content| content.as_bytes() == data));
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn repeats_of_a_large_put_do_not_starve_the_one_that_is_being_read() {
    let world = world().await;
    let identified = PutHeader {
        request_id: "id".into(),
        ..sized("f", LARGE)
    };
    let puts = (0..20).map(|_| put_shared(&world.client, identified.clone(), LARGE));
    let outcomes = tokio::time::timeout(Duration::from_secs(250), join_all(puts))
        .await
        .expect("they wait for each other");
    for outcome in outcomes {
        outcome.unwrap();
    }
    assert_eq!(world.control.calls().get("upload.cgi"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_fails_does_not_take_the_folder_of_another_one_away() {
    let world = world().await;
    // It makes the folder and then disappears.
    let first = Slow::start(&world.client);
    first.send(sized("d/e/first", LARGE), 1 << 20).await;
    assert_eq!(world.stored_all(), ["d", "d/e"]);
    world.control.inject(fault(
        "upload.cgi",
        FaultKind::Delay(Duration::from_secs(20)),
    ));
    let second = world.put("d/e/second", b"2");
    let gone = async {
        seconds(5).await;
        first.call.abort();
    };
    let (second, ()) = tokio::join!(second, gone);
    second.unwrap();
    assert_eq!(world.stored_all(), ["d", "d/e", "d/e/second"]);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_a_put_is_writing_to_is_not_removed() {
    let world = world().await;
    world.mkdir("d").await.unwrap();
    for size in [1000, LARGE] {
        world.control.inject(fault(
            "upload.cgi",
            FaultKind::Delay(Duration::from_secs(20)),
        ));
        let put = put_shared(&world.client, sized("d/f", size), size);
        let removed = async {
            seconds(5).await;
            world.rmdir("d").await
        };
        let (put, removed) = tokio::join!(put, removed);
        put.unwrap();
        assert_reason(removed, "DIRECTORY_NOT_EMPTY");
        assert_eq!(world.stored_all(), ["d", "d/f"]);
        assert_eq!(world.delete(&["d/f"]).await, [""]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_reaches_a_caller_that_still_sends() {
    let world = world().await;
    for _ in 0..20 {
        let mut messages = messages(header("f"), &content(4 << 20));
        // Refused at the second chunk; the rest is on its way already.
        messages.remove(2);
        assert_reason(send(&world.client, messages).await, "PROTOCOL_VIOLATION");
    }
    assert_eq!(world.stored_all(), Vec::<String>::new());
}
