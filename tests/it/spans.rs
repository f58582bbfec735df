//! In each line that a call causes stands its id, also where the work is a task
//! of its own, is shared, or goes on when the call is over. That no line is
//! without a name at all, `emitted.rs` sees to in every test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use pluton_fichier::emulator;
use pluton_fichier::emulator::FaultKind::{self, *};
use pluton_fichier::fichier::Limits;
use pluton_fichier::proto::*;
use tonic::{IntoStreamingRequest, Request};

use crate::checks::*;
use crate::emitted::{follow, lines_of};
use crate::harness::*;

/// A message of a call that its caller knows by this id.
fn named<T>(id: &str, message: T) -> Request<T> {
    follow(id);
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("x-request-id", id.parse().unwrap());
    request
}

async fn put_as(world: &World, id: &str, path: &str, data: &[u8]) -> Result<(), tonic::Status> {
    let header = PutHeader {
        size: Some(data.len() as i64),
        ..header(path)
    };
    let stream = futures::stream::iter(messages(header, data));
    let mut request = stream.into_streaming_request();
    follow(id);
    let metadata = request.metadata_mut();
    metadata.insert("x-request-id", id.parse().unwrap());
    world.client.clone().put(request).await.map(drop)
}

/// The lines of a call that hold this text.
fn lines(id: &str, text: &str) -> Vec<String> {
    let lines = lines_of(id).into_iter();
    lines.filter(|line| line.contains(text)).collect()
}

fn refusal() -> FaultKind {
    NodeRefusal("Ne peut ouvrir le fichier destination".to_owned())
}

#[tokio::test(start_paused = true)]
async fn an_upload_names_every_call_that_it_serves() {
    let world = world().await;
    world.mkdir("d").await.unwrap();
    world.fail("upload.cgi", 3, refusal());
    let ids: Vec<_> = (0..8).map(|number| format!("upload-{number}")).collect();
    let puts = ids.iter().enumerate().map(|(number, id)| {
        let (world, path) = (&world, format!("d/{number}"));
        async move { put_as(world, id, &path, &content(100 + number)).await }
    });
    for stored in join_all(puts).await {
        stored.unwrap();
    }
    let uploads = world.control.calls().get("upload.cgi") - 3;
    assert!(uploads < 8, "some leave together: {uploads}");
    for id in &ids {
        assert_eq!(lines(id, "a call ended").len(), 1);
        assert!(!lines(id, "another node is tried").is_empty(), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_names_every_call_that_it_serves() {
    let world = world().await;
    for number in 0..6 {
        world.control.add_file(0, &format!("f{number}"), b"1");
    }
    world.list("", false).await.unwrap();
    world.fail("file/rm", 1, Flood);
    let ids: Vec<_> = (0..6).map(|number| format!("removal-{number}")).collect();
    let removals = ids.iter().enumerate().map(|(number, id)| {
        let target = DeleteTarget {
            path: format!("f{number}"),
            ..DeleteTarget::default()
        };
        let request = DeleteRequest {
            targets: vec![target],
            ..DeleteRequest::default()
        };
        let mut client = world.client.clone();
        async move { client.delete(named(id, request)).await }
    });
    for removed in join_all(removals).await {
        removed.unwrap();
    }
    let calls = world.control.calls().get("file/rm");
    assert!(calls < 6, "{calls} calls");
    let told: Vec<_> = ids
        .iter()
        .flat_map(|id| lines(id, "1Fichier locked the account"))
        .collect();
    let named = |line: &String| ids.iter().filter(|id| line.contains(*id)).count();
    assert!(told.iter().any(|line| named(line) > 1), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_listing_names_who_began_it_and_who_joins_says_so() {
    let world = world().await;
    world.control.add_file(0, "f", b"1");
    world.fail("folder/ls", 1, Status(503));
    let ids = ["listing-0", "listing-1", "listing-2"];
    let lists = ids.map(|id| {
        let mut client = world.client.clone();
        async move {
            let answer = client.list(named(id, ListRequest::default())).await;
            let mut pages = answer.unwrap().into_inner();
            while pages.message().await.unwrap().is_some() {}
        }
    });
    join_all(lists).await;
    assert_eq!(world.control.calls().get("folder/ls"), 2);
    let repeated = |id: &&str| lines(id, "repeating a 1Fichier call").len() == 1;
    let begun: Vec<_> = ids.into_iter().filter(repeated).collect();
    let [first] = begun[..] else {
        panic!("{begun:?}")
    };
    for id in ids.into_iter().filter(|id| *id != first) {
        let joined = lines(id, "waiting for what another request asks for");
        assert_eq!(joined.len(), 1, "{id}");
        assert!(
            joined[0].contains(&format!("begun_by=\"{first}\"")),
            "{joined:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_download_names_its_call_over_one_connection_and_several() {
    for segments in [1, 4] {
        let world = build(emulator::Options::default(), |config| {
            config.downloads.segments = segments;
            config.downloads.segment_bytes = 1 << 20;
        })
        .await;
        world.put("f", &content(6 << 20)).await.unwrap();
        world.fail("download", 2, ResetAtByte(70_000));
        let id = format!("download-{segments}");
        let request = GetRequest {
            path: "f".to_owned(),
            ..GetRequest::default()
        };
        let answer = world.client.clone().get(named(&id, request)).await;
        let mut messages = answer.unwrap().into_inner();
        while messages.message().await.unwrap().is_some() {}
        assert!(
            lines(&id, "a download broke").len() >= 2,
            "{:#?}",
            lines_of(&id)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_done_later_names_the_call_that_caused_it() {
    let world = world().await;
    // Another program removes a folder that was seen just before.
    world.put("a/b/1", &content(100)).await.unwrap();
    let file = world.urls("a/b/1").remove(0);
    world.control.remove_file(&file);
    assert!(world.control.remove_folder(world.folder("a/b")));
    put_as(&world, "landing-1", "a/b/2", &content(101))
        .await
        .unwrap();
    let made_again = "another program removed a directory";
    assert_eq!(lines("landing-1", made_again).len(), 0);
    seconds(40).await;
    let told = lines("landing-1", made_again);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("caused_by=") && told[0].contains(" landing-1\""),
        "{told:?}"
    );

    // An answer is lost, and nobody can tell what became of the upload.
    world.put("x", &content(1_000)).await.unwrap();
    minutes(1).await;
    world.fail("upload.cgi", 1, ResetAfterEffect);
    world.fail("end.pl", 100, Status(503));
    world.control.inject(emulator::Fault {
        endpoint: "v1".to_owned(),
        // The look at what it replaces, and the question for a node.
        skip: 2,
        times: u32::MAX,
        kind: Status(503),
    });
    put_as(&world, "lost-1", "x", &content(2_000))
        .await
        .unwrap_err();
    world.control.clear_faults();
    minutes(4).await;
    for r in world.control.last_requests() {
        eprintln!("{:?} {} {}", r.at, r.endpoint, r.body);
    }
    assert_eq!(world.get("x").await.unwrap().content, content(2_000));
    let told = lines("lost-1", "background");
    let removed = |line: &&String| line.contains("the older version of a replaced file is removed");
    let told: Vec<_> = told.iter().filter(removed).collect();
    assert_eq!(told.len(), 1, "{:#?}", lines_of("lost-1"));
    assert!(told[0].contains("caused_by=\"lost-1\""), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn work_that_goes_on_without_its_caller_names_it() {
    let world = build(
        emulator::Options {
            limits: emulator::Limits::none(),
            ..emulator::Options::default()
        },
        |config| config.limits = Limits::none(),
    )
    .await;
    world.put("d/f", &content(100)).await.unwrap();
    // It replaces this one, which goes last.
    world.put("g", &content(200)).await.unwrap();
    world.fail("file/mv", 1, Delay(Duration::from_secs(20)));
    world.fail("file/rm", 1, Flood);
    let request = MoveRequest {
        source_path: "d/f".to_owned(),
        destination_path: "g".to_owned(),
        ..MoveRequest::default()
    };
    let mut client = world.client.clone();
    let moving = client.r#move(named("left-1", request));
    let left = tokio::time::timeout(Duration::from_secs(5), moving).await;
    assert!(left.is_err(), "it takes longer");
    seconds(1).await;
    assert_eq!(lines("left-1", "CANCELLED").len(), 1);
    let locked = "1Fichier locked the account";
    assert_eq!(lines("left-1", locked).len(), 0);
    seconds(30).await;
    assert_eq!(
        lines("left-1", locked).len(),
        1,
        "{:#?}",
        lines_of("left-1")
    );
}

/// `.spawn(` of tokio itself forgets whose work it is.
#[test]
fn what_is_spawned_for_calls_takes_their_spans_along() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for layer in ["backend", "catalog", "transfer", "fichier"] {
        look(&root.join(layer), &mut found);
    }
    // These serve nobody, or everybody.
    let known = [
        "backend/mod.rs",
        "backend/keep_budget.rs",
        "backend/landing.rs",
        "fichier/budget/mod.rs",
    ];
    found.retain(|place: &String| !known.iter().any(|known| place.contains(known)));
    assert!(found.is_empty(), "use crate::spans::spawn: {found:#?}");
}

fn look(directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            look(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // Tests stand at the end of a file, or in files of their own.
        let text = text.split("#[cfg(test)]").next().unwrap();
        if path.to_string_lossy().ends_with("tests.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let spawns = line.contains("tokio::spawn(") || line.contains("task::spawn(");
            if spawns && !line.contains(".instrument(") {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
}
