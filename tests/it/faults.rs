//! Bad days: each operation against each fault at each call that it makes.

use std::sync::LazyLock;
use std::time::Duration;

use pluton_fichier::emulator::FaultKind::{self, *};
use pluton_fichier::proto::*;
use tonic::Code;

use crate::checks::*;
use crate::harness::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    List,
    Stat,
    Hash,
    About,
    TestConnection,
    Get,
    GetRange,
    Put,
    PutUnknownSize,
    PutReplacing,
    PutLarge,
    PutIntoNew,
    Delete,
    Mkdir,
    Rmdir,
    Purge,
    MoveDir,
}

use Operation::*;

/// The calls that an operation makes.
fn endpoints(operation: Operation) -> &'static [&'static str] {
    match operation {
        List | Stat | Hash => &["folder/ls"],
        About => &["user/info"],
        TestConnection => &["user/info", "folder/ls"],
        Get | GetRange => &["download/get_token", "download"],
        PutLarge => &["upload.cgi", "end.pl"],
        Put | PutUnknownSize => &["upload/get_upload_server", "upload.cgi", "end.pl"],
        PutReplacing => &[
            "upload/get_upload_server",
            "upload.cgi",
            "end.pl",
            "file/rm",
        ],
        PutIntoNew => &[
            "folder/mkdir",
            "upload/get_upload_server",
            "upload.cgi",
            "end.pl",
        ],
        Delete => &["file/rm"],
        Mkdir => &["folder/mkdir"],
        Rmdir => &["folder/rm"],
        Purge => &["file/rm", "folder/rm"],
        // A rename, a move, and a look at the end.
        MoveDir => &["folder/mkdir", "folder/mv", "folder/ls"],
    }
}

/// The faults that make sense at a call.
pub(crate) fn kinds(endpoint: &str) -> Vec<FaultKind> {
    let ko = |http, message: &str| Ko {
        http,
        message: message.to_owned(),
    };
    let mut kinds = vec![
        Status(503),
        ResetBeforeAnswer,
        ResetAfterEffect,
        HtmlPage,
        EmptyBody,
        Hang,
    ];
    match endpoint {
        "upload.cgi" => {
            kinds.extend([ResetAtByte(700), ResetAtByte(100_000), Corrupt]);
            kinds.extend(
                [
                    "Ne peut ouvrir le fichier destination",
                    "Pas de fichier trouvé dans l'envoi",
                    "Quelque chose de nouveau",
                ]
                .map(|text| NodeRefusal(text.to_owned())),
            );
        }
        "end.pl" => kinds.extend([TruncatedJson, EmptyLinks, WaitPage]),
        "download" => kinds.extend([
            ResetAtByte(0),
            ResetAtByte(70_000),
            Truncate(70_000),
            Corrupt,
            TokenExpired,
            IgnoreRange,
            WrongRange,
            Status(404),
        ]),
        _ => kinds.extend([
            TruncatedJson,
            Truncate(10),
            ResetAtByte(10),
            Flood,
            Status(500),
            ko(403, "Flood detected: User Locked #223"),
            ko(403, "Only 1 location allowed at a time #887"),
            ko(200, "Something new #9"),
            Delay(Duration::from_secs(20)),
        ]),
    }
    kinds
}

fn large() -> Vec<u8> {
    static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| content((16 << 20) + 1));
    LARGE.clone()
}

/// What the operation writes.
fn written(operation: Operation) -> Option<(&'static str, Vec<u8>)> {
    match operation {
        Put | PutUnknownSize => Some(("d/new", content(300_000))),
        PutReplacing => Some(("d/old", content(300_001))),
        PutIntoNew => Some(("n/o/new", content(300_000))),
        PutLarge => Some(("d/new", large())),
        _ => None,
    }
}

async fn perform(world: &World, operation: Operation) -> Result<(), tonic::Status> {
    let old = content(300_000);
    match operation {
        List => assert_eq!(world.list("d", false).await?.len(), 2),
        Stat => assert_eq!(world.stat("d/old").await?.size, Some(300_000)),
        Hash => assert_eq!(world.hash("d/old").await?, whirlpool(&old)),
        About => {
            let answer = world.client.clone().about(AboutRequest::default()).await?;
            assert!(answer.into_inner().total_bytes.is_some());
        }
        TestConnection => {
            let request = TestConnectionRequest::default();
            let answer = world
                .client
                .clone()
                .test_connection(request)
                .await?
                .into_inner();
            for check in answer.checks {
                let failed = check.state() == CheckState::Failed;
                let reason = check.failure.map(|failure| failure.reason);
                assert!(!failed || reason.is_some_and(|reason| reason.starts_with("UPSTREAM_")));
            }
        }
        Get => assert!(world.get("d/old").await?.content == old, "wrong bytes"),
        GetRange => assert!(
            world.range("d/old", 1_000, 200_000).await? == old[1_000..201_000],
            "wrong bytes"
        ),
        Put | PutReplacing | PutIntoNew | PutLarge => {
            let (path, data) = written(operation).unwrap();
            let entry = world.put(path, &data).await?;
            assert_eq!(entry.checksums[0].hex, whirlpool(&data));
        }
        PutUnknownSize => {
            let (path, data) = written(operation).unwrap();
            put(&world.client, header(path), &data).await?;
        }
        Delete => match world.delete(&["d/old"]).await.remove(0).as_str() {
            "" => {}
            reason => return Err(failed(reason)),
        },
        Mkdir => assert!(world.mkdir("m").await?.entry.is_some()),
        Rmdir => world.rmdir("d/empty").await?,
        Purge => {
            let request = PurgeRequest {
                path: "d".to_owned(),
                ..PurgeRequest::default()
            };
            let mut stream = world.client.clone().purge(request).await?.into_inner();
            let mut failures = Vec::new();
            while let Some(answer) = stream.message().await? {
                failures.extend(answer.failures);
                if answer.done && !failures.is_empty() {
                    let failure = failures.remove(0).failure.unwrap();
                    return Err(failed(&failure.reason));
                }
            }
        }
        MoveDir => {
            let request = MoveDirRequest {
                source_path: "d".to_owned(),
                destination_path: "m/e".to_owned(),
                ..MoveDirRequest::default()
            };
            let answer = world.client.clone().move_dir(request).await?.into_inner();
            assert_eq!(answer.entry.unwrap().path, "m/e");
        }
    }
    Ok(())
}

/// The failure of one target as the failure of a call.
fn failed(reason: &str) -> tonic::Status {
    use tonic_types::{ErrorDetails, StatusExt};
    let mut details = ErrorDetails::with_error_info(reason, "storage.pluton", []);
    let locked = matches!(reason, "UPSTREAM_UNAVAILABLE" | "UPSTREAM_LOCKED");
    if locked {
        details.set_retry_info(Some(Duration::from_secs(1)));
    }
    let code = if locked {
        Code::Unavailable
    } else {
        Code::Internal
    };
    tonic::Status::with_error_details(code, reason, details)
}

/// An account with nothing in it, and a server that knows nothing of it. Time
/// costs nothing here, a new server does.
async fn clear(world: &World) {
    for node in world.control.tree() {
        world.control.remove_file(&node.url);
    }
    for node in world.control.tree().into_iter().rev() {
        world.control.remove_folder(node.id);
    }
    world.control.reset_limits();
    minutes(11).await;
}

/// How an operation ended may not contradict what is stored; afterwards, and
/// after a repeat where it failed, all is as it should be.
async fn bad_day(
    world: &World,
    operation: Operation,
    endpoint: &str,
    times: u32,
    kind: FaultKind,
) -> bool {
    let context = format!("{operation:?}: {endpoint} {kind:?} x {times}");
    clear(world).await;
    world.put("d/old", &content(300_000)).await.unwrap();
    world.mkdir("d/empty").await.unwrap();
    if matches!(operation, List | Stat | Hash | TestConnection) {
        minutes(6).await;
    }
    world.fail(endpoint, times, kind.clone());
    let outcome = perform(world, operation).await;
    if let Err(status) = &outcome {
        let reason = assert_clear(status, &context);
        let fits = reason.starts_with("UPSTREAM_")
            || reason == "STORED_CONTENT_CORRUPT"
            // How 1Fichier words this refusal is not known ([API §18]).
            || matches!(operation, Rmdir | Purge)
                && reason == "DIRECTORY_NOT_EMPTY"
                && matches!(kind, Ko { .. });
        assert!(fits, "{context}: {status:?}");
        assert!(
            times > 1 || !repeatable(operation, endpoint, &kind),
            "{context}: {status:?}"
        );
    }
    world.control.clear_faults();
    minutes(11).await;
    if outcome.is_err() {
        // What was done all the same, the repeat may find done.
        let repeated = perform(world, operation).await;
        let done = match (&repeated, operation) {
            (Ok(()), _) => true,
            (Err(status), Delete) => reason(status) == "FILE_NOT_FOUND",
            (Err(status), Rmdir | Purge | MoveDir) => reason(status) == "DIRECTORY_NOT_FOUND",
            _ => false,
        };
        assert!(done, "{context}: {repeated:?}");
        minutes(6).await;
    }
    let removed = times == 1 && repeatable(operation, endpoint, &kind);
    if endpoint == "file/rm" && !removed && operation == PutReplacing {
        // What could not be removed stays until the next write.
        perform(world, operation).await.unwrap();
    }
    let stored = world.stored();
    let expected: &[&str] = match operation {
        Put | PutUnknownSize | PutLarge => &["d/new", "d/old"],
        PutIntoNew => &["d/old", "n/o/new"],
        Delete | Purge => &[],
        MoveDir => &["m/e/old"],
        _ => &["d/old"],
    };
    assert_eq!(stored, expected, "{context}");
    world.assert_agreement(&context).await;
    if let Some((path, data)) = written(operation) {
        assert!(world.get(path).await.unwrap().content == data, "{context}");
    }
    outcome.is_ok()
}

/// Whether one such fault must not be seen by the client at all.
fn repeatable(operation: Operation, endpoint: &str, kind: &FaultKind) -> bool {
    match (operation, endpoint, kind) {
        // Content that was not kept cannot be sent again; an unkept answer of
        // a change is told; refusals are final.
        (PutLarge, "upload.cgi", _) | (_, "folder/mkdir", _) | (Rmdir, "folder/rm", _) => false,
        (_, _, Ko { message, .. }) => message.starts_with("Flood"),
        (Get, "download", Corrupt) | (GetRange, "download", Corrupt) => false,
        _ => true,
    }
}

async fn bad_days(operations: &[Operation], times: u32) {
    let world = world().await;
    let (mut combinations, mut unseen) = (0, 0);
    for operation in operations {
        for endpoint in endpoints(*operation) {
            for kind in kinds(endpoint) {
                if *operation == GetRange && kind == Corrupt {
                    continue; // nothing to compare a part with
                }
                combinations += 1;
                unseen += u32::from(bad_day(&world, *operation, endpoint, times, kind).await);
            }
        }
    }
    println!("{operations:?}: {combinations} combinations, {unseen} not seen by the client");
}

#[tokio::test(start_paused = true)]
async fn reads_survive_a_fault_or_say_what_it_was() {
    bad_days(&[List, Stat, Hash, About, TestConnection, Get, GetRange], 1).await;
}

#[tokio::test(start_paused = true)]
async fn reads_say_what_stays_wrong() {
    bad_days(&[List, About, TestConnection, Get, GetRange], 100).await;
}

#[tokio::test(start_paused = true)]
async fn changes_survive_a_fault_or_say_what_it_was() {
    bad_days(
        &[
            Put,
            PutUnknownSize,
            PutReplacing,
            PutIntoNew,
            Delete,
            Mkdir,
            Rmdir,
            Purge,
            MoveDir,
        ],
        1,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn changes_say_what_stays_wrong() {
    bad_days(
        &[
            Put,
            PutReplacing,
            PutIntoNew,
            Delete,
            Mkdir,
            Rmdir,
            Purge,
            MoveDir,
        ],
        100,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn large_uploads_survive_a_fault_or_say_what_it_was() {
    let world = world().await;
    let kinds = [
        ("upload.cgi", ResetAfterEffect),
        ("upload.cgi", Corrupt),
        ("upload.cgi", EmptyBody),
        ("end.pl", ResetBeforeAnswer),
    ];
    for (endpoint, kind) in kinds {
        bad_day(&world, PutLarge, endpoint, 1, kind).await;
    }
}

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
