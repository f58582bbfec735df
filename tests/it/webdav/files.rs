//! Files: content in and out, ranges, conditions, checksums.

use super::*;

#[tokio::test(start_paused = true)]
async fn put_and_get() {
    let world = served().await;
    let data = content(100_000);
    let answer = ask(&world, "PUT", "f.bin")
        .body(data.clone())
        .gives(201)
        .await;
    let etag = answer.header("etag").to_owned();
    let answer = ask(&world, "GET", "f.bin").gives(200).await;
    assert!(answer.body == data);
    // It is no page of this address, whatever its type.
    assert_eq!(answer.header("content-security-policy"), "sandbox");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("etag"), etag);
    assert_eq!(answer.header("content-length"), "100000");
    assert_eq!(answer.header("accept-ranges"), "bytes");
    // Of unknown length, in its place.
    let other = content(50_000);
    let answer = ask(&world, "PUT", "f.bin")
        .chunked(other.clone())
        .gives(204)
        .await;
    assert_ne!(answer.header("etag"), etag);
    assert!(ask(&world, "GET", "f.bin").gives(200).await.body == other);
    let head = ask(&world, "HEAD", "f.bin").gives(200).await;
    assert_eq!(
        (head.header("content-length"), head.body.len()),
        ("50000", 0)
    );
    assert_eq!(world.stored(), ["f.bin"]);
}

#[tokio::test(start_paused = true)]
async fn ranges() {
    let world = served().await;
    let data = content(1_000);
    put(&world, "f", &data).await;
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=990-", 990, 999),
        ("bytes=-5", 995, 999),
        ("bytes=500-5000", 500, 999),
    ] {
        let answer = ask(&world, "GET", "f")
            .with("Range", range)
            .gives(206)
            .await;
        assert!(answer.body == data[first..=last], "{range}");
        let expected = format!("bytes {first}-{last}/1000");
        assert_eq!(answer.header("content-range"), expected);
        assert_eq!(
            answer.header("content-length"),
            (last - first + 1).to_string()
        );
    }
    let answer = ask(&world, "GET", "f")
        .with("Range", "bytes=1000-")
        .gives(416)
        .await;
    assert_eq!(answer.header("content-range"), "bytes */1000");
    ask(&world, "GET", "f")
        .with("Range", "bytes=1-2,4-5")
        .gives(200)
        .await;
}

#[tokio::test(start_paused = true)]
async fn conditions() {
    let world = served().await;
    let new = |condition: &'static str, value: String| {
        ask(&world, "PUT", "f").with(condition, &value).body("new")
    };
    ask(&world, "PUT", "f")
        .with("If-None-Match", "*")
        .body("1")
        .gives(201)
        .await;
    new("If-None-Match", "*".to_owned()).gives(412).await;
    let etag = ask(&world, "HEAD", "f")
        .gives(200)
        .await
        .header("etag")
        .to_owned();
    ask(&world, "GET", "f")
        .with("If-None-Match", &etag)
        .gives(304)
        .await;
    ask(&world, "GET", "f")
        .with("If-None-Match", "\"x\"")
        .gives(200)
        .await;
    ask(&world, "GET", "f")
        .with("If-Match", "\"x\"")
        .gives(412)
        .await;
    let time = last_modified(&world, "f").await;
    ask(&world, "GET", "f")
        .with("If-Modified-Since", &time)
        .gives(304)
        .await;
    // Whose time comes from a client; a later content may have an earlier one.
    let (before, after) = (
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Fri, 06 Nov 2099 08:49:37 GMT",
    );
    ask(&world, "GET", "f")
        .with("If-Modified-Since", after)
        .gives(200)
        .await;
    for method in ["PUT", "DELETE"] {
        ask(&world, method, "f")
            .with("If-Unmodified-Since", before)
            .gives(412)
            .await;
    }
    new("If-Unmodified-Since", after.to_owned())
        .gives(204)
        .await;
    let etag = ask(&world, "HEAD", "f")
        .gives(200)
        .await
        .header("etag")
        .to_owned();
    new("If-Match", "\"x\"".to_owned()).gives(412).await;
    new("If-Match", format!("\"x\", {etag}")).gives(204).await;
    ask(&world, "DELETE", "f")
        .with("If-Match", &etag)
        .gives(412)
        .await;
    ask(&world, "MOVE", "f")
        .with("If-Match", &etag)
        .to("g")
        .gives(412)
        .await;
    // Who thinks to hold a lock is wrong.
    ask(&world, "DELETE", "f")
        .with("If", "(<opaquelocktoken:x>)")
        .gives(412)
        .await;
    assert_eq!(world.stored(), ["f"]);
}

#[tokio::test(start_paused = true)]
async fn checksums_are_verified_and_told() {
    let world = served().await;
    let data = content(5_000);
    let [md5, sha1] = [HashAlgorithm::Md5, HashAlgorithm::Sha1].map(|one| sum(one, &data).1);
    let wrong = format!("MD5:{}", sum(HashAlgorithm::Md5, b"x").1);
    let answer = ask(&world, "PUT", "f")
        .with("OC-Checksum", &wrong)
        .body(data.clone());
    assert!(answer.gives(400).await.text().contains("another MD5"));
    let answer = ask(&world, "PUT", "f")
        .with("OC-Checksum", "MD5:xyz")
        .body(data.clone());
    answer.gives(400).await;
    assert!(world.stored().is_empty());
    let good = format!("SHA1:{sha1}");
    let answer = ask(&world, "PUT", "f")
        .with("OC-Checksum", &good)
        .body(data.clone());
    answer.gives(201).await;
    // As rclone asks for a file of an ownCloud.
    let body = "<?xml version=\"1.0\"?><d:propfind xmlns:d=\"DAV:\" xmlns:oc=\"http://owncloud.org/ns\"><d:prop>\
                <d:getcontentlength/><oc:checksums/><oc:permissions/></d:prop></d:propfind>";
    let answer = propfind(&world, "f", "0", body).await;
    let told = answer.all("oc:checksum").remove(0);
    for expected in [format!("MD5:{md5}"), good] {
        assert!(told.split(' ').any(|one| one == expected), "{told}");
    }
    assert_eq!(
        answer.all("D:status"),
        ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"]
    );
    assert!(answer.text().contains("<oc:permissions/>"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_refused() {
    let world = served().await;
    let answer = ask(&world, "PUT", "empty").body("").gives(422).await;
    assert!(answer.text().contains("empty"));
    ask(&world, "PUT", "empty")
        .chunked(Vec::new())
        .gives(422)
        .await;
    ask(&world, "PUT", "a/b").body("1").gives(409).await;
    ask(&world, "PUT", "a/").body("1").gives(405).await;
    ask(&world, "PUT", "").body("1").gives(405).await;
    ask(&world, "PUT", "part")
        .with("Content-Range", "bytes 0-0/2")
        .body("1")
        .gives(400)
        .await;
    ask(&world, "PUT", &"n".repeat(251))
        .body("1")
        .gives(400)
        .await;
    ask(&world, "MKCOL", "d").gives(201).await;
    ask(&world, "PUT", "d").body("1").gives(405).await;
    ask(&world, "PUT", "f").body("1").gives(201).await;
    ask(&world, "PUT", "f/g").body("1").gives(409).await;
    assert_eq!(world.stored_all(), ["d", "f"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_stores_nothing() {
    let world = served().await;
    let mut socket = TcpStream::connect(address(&world)).await.unwrap();
    let head = "PUT /dav/fichier/f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345";
    socket.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    drop(socket);
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(world.stored().is_empty());
}

#[tokio::test(start_paused = true)]
async fn files_cost_as_few_calls_as_over_grpc() {
    let world = served().await;
    hrefs(&world, "").await;
    assert_eq!(calls(&world), "folder/ls 1");
    for number in 0..5 {
        put(&world, &format!("f{number}"), &content(1_000 + number)).await;
    }
    assert_eq!(
        calls(&world),
        "end.pl 5, upload.cgi 5, upload/get_upload_server 5"
    );
}

/// Control characters and rclone's quote, as they are and in standard form.
#[tokio::test(start_paused = true)]
async fn a_name_is_one_however_it_is_written() {
    let world = served().await;
    for (raw, standard) in [("a%0Ab", "a␊b"), ("a%E2%80%9Bb", "a‛‛b")] {
        ask(&world, "MKCOL", raw).gives(201).await;
        ask(&world, "MKCOL", standard).gives(405).await;
        let below = format!("{raw}/{raw}");
        put(&world, &below, b"1").await;
        assert_eq!(world.stored(), [format!("{standard}/{standard}")]);
        ask(&world, "GET", &format!("{standard}/{standard}"))
            .gives(200)
            .await;
        let destination = format!("{raw}/c");
        ask(&world, "MOVE", &below)
            .to(&destination)
            .gives(201)
            .await;
        assert_eq!(world.stored(), [format!("{standard}/c")]);
        ask(&world, "DELETE", raw).gives(204).await;
        assert!(world.stored_all().is_empty());
    }
}
