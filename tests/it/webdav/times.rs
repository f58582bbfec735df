//! Modification times.

use pluton_fichier::emulator::{Fault, FaultKind};

use super::*;

const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const SECONDS: &str = "784111777";

async fn put_then(world: &World, path: &str) {
    let put = ask(world, "PUT", path)
        .with("X-OC-Mtime", SECONDS)
        .body(path.to_owned());
    let answer = put.answer().await;
    assert!([201, 204].contains(&answer.status), "{answer:?}");
    assert_eq!(answer.header("x-oc-mtime"), "accepted");
}

#[tokio::test(start_paused = true)]
async fn times_stay_through_moves_copies_and_restarts() {
    let mut world = served().await;
    put_then(&world, "f").await;
    put(&world, "without", b"1").await;
    assert_eq!(last_modified(&world, "f").await, THEN);
    assert_ne!(last_modified(&world, "without").await, THEN);
    ask(&world, "MKCOL", "d").gives(201).await;
    ask(&world, "COPY", "f").to("d/copy").gives(201).await;
    ask(&world, "COPY", "f").to("copy").gives(201).await;
    ask(&world, "MOVE", "f").to("d/moved").gives(201).await;
    ask(&world, "MOVE", "d").to("e").gives(201).await;
    world.restart().await;
    for path in ["e/copy", "e/moved", "copy"] {
        assert_eq!(last_modified(&world, path).await, THEN, "{path}");
    }
    let listed = propfind(&world, "e", "1", "")
        .await
        .all("D:getlastmodified");
    assert_eq!(listed.iter().filter(|time| *time == THEN).count(), 2);
    // gRPC tells 1Fichier's own.
    assert!(
        world
            .stat("copy")
            .await
            .unwrap()
            .modify_time
            .unwrap()
            .seconds
            > 784_111_777
    );
}

#[tokio::test(start_paused = true)]
async fn a_time_goes_with_its_file() {
    let world = served().await;
    put_then(&world, "f").await;
    // What takes its place has its own time, or none.
    ask(&world, "PUT", "f").body("2").gives(204).await;
    assert_ne!(last_modified(&world, "f").await, THEN);
    put_then(&world, "f").await;
    ask(&world, "DELETE", "f").gives(204).await;
    put(&world, "f", b"f").await;
    assert_ne!(last_modified(&world, "f").await, THEN);
}

/// What takes a file's place may be older by its time.
#[tokio::test(start_paused = true)]
async fn an_older_time_is_a_change_too() {
    let world = served().await;
    put(&world, "f", b"new").await;
    let known = last_modified(&world, "f").await;
    let known_already = |time: &str| {
        let request = ask(&world, "GET", "f").with("If-Modified-Since", time);
        request.answer()
    };
    assert_eq!(known_already(&known).await.status, 304);
    put_then(&world, "f").await;
    let answer = known_already(&known).await;
    assert_eq!((answer.status, answer.text()), (200, "f".to_owned()));
    assert_eq!(known_already(THEN).await.status, 304);
    // The time of the client counts, as it is told; an etag says more.
    let put = |header: &str, value: &str| {
        let request =
            ask(&world, "PUT", "f").with("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:36 GMT");
        request.with(header, value).body("2").answer()
    };
    assert_eq!(put("x-any", "1").await.status, 412);
    let head = ask(&world, "HEAD", "f").gives(200).await;
    assert_eq!(put("If-Match", head.header("etag")).await.status, 204);
    put_then(&world, "f").await;
    ask(&world, "DELETE", "f")
        .with("If-Unmodified-Since", THEN)
        .gives(204)
        .await;
}

#[tokio::test(start_paused = true)]
async fn times_are_set_by_copies_moves_and_proppatch() {
    let world = served().await;
    put(&world, "f", b"1").await;
    for (method, from, to) in [("COPY", "f", "g"), ("MOVE", "f", "h")] {
        let request = ask(&world, method, from).to(to).with("X-OC-Mtime", SECONDS);
        let answer = request.gives(201).await;
        assert_eq!(answer.header("x-oc-mtime"), "accepted");
        assert_eq!(last_modified(&world, to).await, THEN);
    }
    put(&world, "f", b"1").await;
    let body = |property: &str| {
        format!(
            "<D:propertyupdate xmlns:D=\"DAV:\" xmlns:oc=\"http://owncloud.org/ns\"><D:set><D:prop>\
             <lastmodified xmlns=\"DAV:\">{SECONDS}</lastmodified>{property}</D:prop></D:set></D:propertyupdate>"
        )
    };
    let md5 = |data: &[u8]| {
        let md5 = sum(HashAlgorithm::Md5, data).1;
        format!("<oc:checksums><oc:checksum>MD5:{md5}</oc:checksum></oc:checksums>")
    };
    let patch = |path: &'static str, body: String| ask(&world, "PROPPATCH", path).body(body);
    // All or nothing.
    for wrong in ["<D:displayname>x</D:displayname>".to_owned(), md5(b"2")] {
        let answer = patch("f", body(&wrong)).gives(207).await;
        assert_eq!(
            answer.all("D:status"),
            ["HTTP/1.1 403 Forbidden", "HTTP/1.1 424 Failed Dependency"]
        );
        assert_ne!(last_modified(&world, "f").await, THEN);
    }
    let answer = patch("f", body(&md5(b"1"))).gives(207).await;
    assert_eq!(answer.all("D:status"), ["HTTP/1.1 200 OK"]);
    assert_eq!(last_modified(&world, "f").await, THEN);
    let answer = patch("", body("")).gives(207).await;
    assert_eq!(answer.all("D:status"), ["HTTP/1.1 403 Forbidden"]);
    patch("none", body("")).gives(404).await;
    patch("f", "<x/>".to_owned()).gives(400).await;
    ask(&world, "PUT", "t")
        .with("X-OC-Mtime", "today")
        .body("1")
        .gives(400)
        .await;
}

/// From the call with this effect on, 1Fichier tells nothing more.
fn falls_silent(world: &World, endpoint: &str, calls_before: u32) {
    world.control.reset_calls();
    world.fail(endpoint, 1, FaultKind::ResetAfterEffect);
    world.fail("end.pl", 100, FaultKind::Status(503));
    world.control.inject(Fault {
        endpoint: "v1".to_owned(),
        skip: calls_before,
        times: u32::MAX,
        kind: FaultKind::Status(503),
    });
}

#[tokio::test(start_paused = true)]
async fn what_is_found_after_an_interruption_has_its_time() {
    for restart in [false, true] {
        let mut world = served().await;
        put(&world, "f", b"before").await;
        seconds(60).await;
        // A look at what is replaced, and get_upload_server.
        falls_silent(&world, "upload.cgi", 2);
        let request = ask(&world, "PUT", "f").with("X-OC-Mtime", SECONDS);
        request.body("after").gives(503).await;
        world.control.clear_faults();
        // It is there, and nobody knows.
        assert_eq!(world.urls("f").len(), 2);
        if restart {
            world.restart().await;
        }
        seconds(120).await;
        assert_eq!(world.urls("f").len(), 1, "restart: {restart}");
        assert_eq!(last_modified(&world, "f").await, THEN, "{restart}");

        // A copy takes its source's time along.
        falls_silent(&world, "file/cp", 0);
        ask(&world, "COPY", "f").to("g").gives(503).await;
        world.control.clear_faults();
        assert_eq!(world.urls("g").len(), 1);
        if restart {
            world.restart().await;
        }
        seconds(120).await;
        assert_eq!(last_modified(&world, "g").await, THEN, "{restart}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_that_was_set_since_stays() {
    let world = served().await;
    put(&world, "f", b"before").await;
    seconds(60).await;
    falls_silent(&world, "upload.cgi", 2);
    let request = ask(&world, "PUT", "f").with("X-OC-Mtime", SECONDS);
    request.body("after").gives(503).await;
    world.control.clear_faults();
    // It is found, and looked after again because the older one does not go.
    let refusal = FaultKind::Ko {
        http: 200,
        message: "Something new #9".to_owned(),
    };
    world.fail("file/rm", u32::MAX, refusal);
    seconds(120).await;
    assert_eq!(world.urls("f").len(), 2);
    assert_eq!(last_modified(&world, "f").await, THEN);
    let body = "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop><lastmodified xmlns=\"DAV:\">784111778\
                </lastmodified></D:prop></D:set></D:propertyupdate>";
    ask(&world, "PROPPATCH", "f").body(body).gives(207).await;
    let later = THEN.replace(":37", ":38");
    assert_eq!(last_modified(&world, "f").await, later);
    world.control.clear_faults();
    seconds(1_800).await;
    assert_eq!(world.urls("f").len(), 1);
    assert_eq!(last_modified(&world, "f").await, later);
}
