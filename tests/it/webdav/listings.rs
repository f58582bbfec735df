//! PROPFIND.

use super::*;

#[tokio::test(start_paused = true)]
async fn directories_and_files_are_told_apart() {
    let world = served().await;
    ask(&world, "MKCOL", "dir").gives(201).await;
    put(&world, "dir/a & b.txt", b"content").await;
    ask(&world, "MKCOL", "dir/sub/").gives(201).await;
    let expected = ["dir/", "dir/a%20%26%20b.txt", "dir/sub/"];
    assert_eq!(hrefs(&world, "dir").await, expected);
    assert_eq!(hrefs(&world, "dir/").await, expected);
    let answer = propfind(&world, "dir/a%20&%20b.txt", "1", "").await;
    assert_eq!(answer.all("D:getcontentlength"), ["7"]);
    assert_eq!(answer.all("D:displayname"), ["a &amp; b.txt"]);
    assert!(answer.text().contains("<D:resourcetype/>"));
    let answer = propfind(&world, "dir", "0", "").await;
    assert_eq!(answer.all("D:resourcetype"), ["<D:collection/>"]);
    assert_eq!(
        answer.header("content-type"),
        "application/xml; charset=utf-8"
    );
    // A file is no directory, and nothing is nothing.
    for missing in ["none", "dir/none/", "dir/a%20%26%20b.txt/", "none/below"] {
        ask(&world, "PROPFIND", missing)
            .with("Depth", "1")
            .gives(404)
            .await;
    }
    for depth in ["infinity", "2"] {
        let answer = ask(&world, "PROPFIND", "")
            .with("Depth", depth)
            .gives(403)
            .await;
        assert!(answer.text().contains("<D:propfind-finite-depth/>"));
    }
}

#[tokio::test(start_paused = true)]
async fn properties_are_told_as_asked_for() {
    let world = served().await;
    put(&world, "f", b"1").await;
    let names = "<propfind xmlns=\"DAV:\"><propname/></propfind>";
    let answer = propfind(&world, "f", "0", names).await.text();
    assert!(answer.contains("<D:getetag/>") && answer.contains("<oc:checksums/>"));
    assert!(!answer.contains("404"));
    let all =
        "<propfind xmlns=\"DAV:\"><allprop/><include><x xmlns=\"u&lt;\"/></include></propfind>";
    let answer = propfind(&world, "f", "0", all).await.text();
    assert!(answer.contains("<x:x xmlns:x=\"u&lt;\"/>") && answer.contains("404 Not Found"));
    let none = "<propfind xmlns=\"DAV:\"><prop/></propfind>";
    let answer = propfind(&world, "f", "0", none).await;
    assert_eq!(answer.all("D:status"), ["HTTP/1.1 200 OK"]);
    world.control.reset_calls();
    let quota = "<D:propfind xmlns:D=\"DAV:\"><D:prop><D:quota-available-bytes/><D:quota-used-bytes/></D:prop></D:propfind>";
    for _ in 0..3 {
        let answer = propfind(&world, "", "0", quota).await;
        assert_eq!(answer.all("D:quota-used-bytes"), ["1"]);
        assert_eq!(answer.all("D:quota-available-bytes"), ["999999999999"]);
    }
    assert_eq!(calls(&world), "user/info 1");
    let answer = propfind(&world, "f", "0", quota).await;
    assert_eq!(answer.all("D:status"), ["HTTP/1.1 404 Not Found"]);
}

#[tokio::test(start_paused = true)]
async fn difficult_names_come_back_as_they_were_sent() {
    let world = served().await;
    let names: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors/fstests-encoding-names.json")).unwrap();
    let names = names.as_array().unwrap().iter();
    let mut sent: Vec<String> = names
        .filter_map(|record| Some(record["standard"].as_str()?.to_owned()))
        .filter(|name| !name.is_empty() && !name.contains(['/', '\0']) && name.len() < 200)
        .take(60)
        .map(|name| name.bytes().map(|byte| format!("%{byte:02X}")).collect())
        .collect();
    sent.extend(["%E2%80%AE", "%EF%BF%BE", "a%3Cb%3E&%22'"].map(str::to_owned));
    futures::future::join_all(sent.iter().map(|name| put(&world, name, name.as_bytes()))).await;
    let told = hrefs(&world, "").await;
    let decode = |text: &str| -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            if *first == b'%' {
                let hex = std::str::from_utf8(&rest[..2]).unwrap();
                bytes.push(u8::from_str_radix(hex, 16).unwrap());
                rest = &rest[2..];
            } else {
                bytes.push(*first);
            }
        }
        bytes
    };
    let told: std::collections::BTreeSet<_> = told.iter().map(|name| decode(name)).collect();
    for name in &sent {
        assert!(told.contains(&decode(name)), "{name}");
        let answer = ask(&world, "GET", name).gives(200).await;
        assert_eq!(answer.body, name.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_folder_is_listed_whole_and_in_pages() {
    let world = served().await;
    let folder = world.control.add_folder(0, "big");
    world.control.add_many_files(folder, "f", 5_200, 7);
    // More than one listing can hold are found by their dates.
    for (number, node) in (0..).zip(world.control.tree()) {
        if !node.url.is_empty() {
            let date = 1_700_000_000 + number * 7_919;
            world.control.set_file_date(&node.url, date);
        }
    }
    let response = ask(&world, "PROPFIND", "big")
        .with("Depth", "1")
        .send()
        .await;
    assert_eq!(response.status(), 207);
    let (mut count, mut longest, mut rest) = (0, 0, String::new());
    let mut response = response;
    while let Some(piece) = response.chunk().await.unwrap() {
        longest = longest.max(piece.len());
        rest.push_str(std::str::from_utf8(&piece).unwrap());
        count += rest.matches("</D:response>").count();
        let end = rest.rfind("</D:response>").map_or(0, |at| at + 13);
        rest.drain(..end);
    }
    assert_eq!(count, 5_201);
    assert!(rest.ends_with("</D:multistatus>"));
    assert!(longest < 1 << 20, "{longest}");
    assert_eq!(world.control.calls().floods(), 0);
}

/// A page of entries is much when each of them tells much.
#[tokio::test(start_paused = true)]
async fn a_page_is_sent_in_pieces() {
    let world = served().await;
    let folder = world.control.add_folder(0, "d");
    world.control.add_many_files(folder, "f", 500, 7);
    let names: String = (0..64).map(|number| format!("<x:p{number}/>")).collect();
    let body = format!(
        "<D:propfind xmlns:D=\"DAV:\" xmlns:x=\"{}\"><D:prop>{names}</D:prop></D:propfind>",
        "n".repeat(250)
    );
    let mut socket = TcpStream::connect(address(&world)).await.unwrap();
    let length = body.len();
    let request = format!(
        "PROPFIND /dav/fichier/d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nDepth: 1\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).await.unwrap();
    let (head, mut rest) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 207"), "{head}");
    let (mut all, mut longest) = (0, 0);
    loop {
        let (size, after) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        all += size;
        longest = longest.max(size);
        rest = &after[size + 2..];
    }
    assert!(all > 8_000_000, "{all}");
    assert!(longest < 100_000, "{longest}");
    assert_eq!(said.matches("</D:response>").count(), 501);
    assert!(said.contains("</D:multistatus>"));
}
