//! Statuses, headers and bodies.

use pluton_fichier::emulator::{Fault, FaultKind};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_repository_begins_with_nothing() {
    let repo = repository().await;
    repo.world.control.reset_calls();
    assert_eq!(repo.post("?create=true", Vec::new()).await, 200);
    assert_eq!(repo.post("?create=true", Vec::new()).await, 200);
    assert_eq!(repo.world.control.calls().total_v1(), 0);
    assert_eq!(repo.send(Method::HEAD, "config").await.status(), 404);
    for kind in ["data", "keys", "locks", "snapshots", "index"] {
        let answer = repo.send(Method::GET, &format!("{kind}/")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), "[]");
    }
    // What restic asks first over stdio.
    assert_eq!(repo.send(Method::GET, "file-123").await.status(), 404);
    assert_eq!(repo.world.stored_all(), Vec::<String>::new());
    assert_eq!(repo.world.control.calls().total_v1(), 1, "the root, once");
}

#[tokio::test(start_paused = true)]
async fn objects_come_back_as_they_were_stored_in_the_layout_of_rclone() {
    let repo = repository().await;
    assert_eq!(repo.post("config", b"configuration".to_vec()).await, 200);
    let pack = content(100_000);
    let (path, status) = repo.store("data", &pack).await;
    assert_eq!(status, 200);
    let name = name_of(&pack);
    let stored = format!("a/repo/data/{}/{name}", &name[..2]);
    assert_eq!(repo.world.stored(), ["a/repo/config".to_owned(), stored]);

    let head = repo.send(Method::HEAD, &path).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"], "100000");
    for (range, expected, label) in [
        ("bytes=0-", &pack[..], "bytes 0-99999/100000"),
        ("bytes=10-19", &pack[10..20], "bytes 10-19/100000"),
        (
            "bytes=99990-200000",
            &pack[99_990..],
            "bytes 99990-99999/100000",
        ),
    ] {
        let request = repo.request(Method::GET, &path).header("Range", range);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 206);
        let length = expected.len().to_string();
        assert_eq!(answer.headers()["content-length"], length.as_str());
        assert_eq!(answer.headers()["content-range"], label);
        assert!(answer.bytes().await.unwrap() == expected, "{range}");
    }
    let request = repo
        .request(Method::GET, &path)
        .header("Range", "bytes=100000-");
    assert_eq!(request.send().await.unwrap().status(), 416);
    let whole = repo.send(Method::GET, "config").await;
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.bytes().await.unwrap(), "configuration");

    assert_eq!(repo.list("data").await, [(name.clone(), 100_000)]);
    // An older restic asks for names only.
    let url = format!("{}data/", repo.base);
    let answer = repo.client.get(url).send().await.unwrap();
    assert_eq!(
        answer.headers()["content-type"],
        "application/vnd.x.restic.rest.v1"
    );
    assert_eq!(answer.text().await.unwrap(), format!(r#"["{name}"]"#));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_what_its_name_says_is_not_stored() {
    let repo = repository().await;
    let name = name_of(b"another");
    // Small ones are buffered, large ones stream through.
    for size in [10, 17 << 20] {
        assert_eq!(repo.post(&format!("data/{name}"), content(size)).await, 400);
    }
    let empty = repo
        .request(Method::POST, &format!("data/{name}"))
        .header("Content-Length", 0);
    assert_eq!(empty.send().await.unwrap().status(), 422);
    assert_eq!(repo.post("data/abc", content(10)).await, 404);
    assert_eq!(repo.post("a//config", content(10)).await, 400);
    let chunked = futures::stream::iter([Ok::<_, std::io::Error>("another")]);
    let request = repo
        .request(Method::POST, &format!("data/{name}"))
        .body(reqwest::Body::wrap_stream(chunked));
    assert_eq!(request.send().await.unwrap().status(), 411);
    assert_eq!(repo.send(Method::PUT, "config").await.status(), 405);
    assert_eq!(repo.delete("").await, 501);
    assert_eq!(repo.world.stored(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn repeats_of_lost_answers_succeed_and_store_nothing_twice() {
    let repo = repository().await;
    let small = content(1_000);
    let (path, status) = repo.store("index", &small).await;
    assert_eq!(status, 200);
    assert_eq!(repo.post("config", b"one".to_vec()).await, 200);
    let uploads = repo.uploads();
    assert_eq!(repo.post(&path, small.clone()).await, 200);
    assert_eq!(repo.post("config", b"one".to_vec()).await, 200);
    assert_eq!(repo.post("config", b"two".to_vec()).await, 403);
    assert_eq!(repo.post("config", b"three".to_vec()).await, 403);
    let other = content(1_001);
    assert_eq!(repo.post(&path, other[..1_000].to_vec()).await, 400);
    assert_eq!(repo.uploads(), uploads);
    assert_eq!(repo.delete(&path).await, 200);
    assert_eq!(repo.delete(&path).await, 200);
    assert_eq!(repo.send(Method::HEAD, &path).await.status(), 404);
    assert_eq!(repo.list("index").await, []);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_object_is_replaced() {
    let repo = repository().await;
    let whole = content(1_000);
    let name = name_of(&whole);
    // Another program has stored half of it.
    let path = format!("a/repo/keys/{name}");
    repo.world.put(&path, &whole[..500]).await.unwrap();
    let path = format!("keys/{name}");
    assert_eq!(repo.post(&path, whole.clone()).await, 200);
    assert_eq!(repo.list("keys").await, [(name, 1_000)]);
    assert_eq!(repo.world.stored().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_body_stores_nothing() {
    let repo = repository().await;
    for size in [1 << 20, 17 << 20] {
        let whole = content(size);
        let path = format!("data/{}", name_of(&whole));
        let broken = futures::stream::iter([
            Ok(whole[..size / 2].to_vec()),
            Err(std::io::Error::other("gone")),
        ]);
        let request = repo
            .request(Method::POST, &path)
            .header("Content-Length", size)
            .body(reqwest::Body::wrap_stream(broken));
        request.send().await.unwrap_err();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(repo.world.stored(), Vec::<String>::new());
        assert_eq!(repo.send(Method::HEAD, &path).await.status(), 404);
        assert_eq!(repo.post(&path, whole).await, 200);
        assert_eq!(repo.delete(&path).await, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_is_certain_is_404() {
    let repo = repository().await;
    let (known, _) = repo.store("keys", &content(100)).await;
    repo.world.idle(Duration::from_secs(400)).await;
    // Nothing of what is known is fresh, and 1Fichier refuses every call.
    repo.world.control.inject(Fault {
        endpoint: "v1".to_owned(),
        skip: 0,
        times: 1_000,
        kind: FaultKind::Ko {
            http: 403,
            message: "Flood detected: IP Locked #374".to_owned(),
        },
    });
    for path in ["config", &known, "keys/", "data/"] {
        let answer = repo.send(Method::GET, path).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 503, "{path}: {text}");
        assert_eq!(text.lines().count(), 1);
    }
    // What needs no knowledge is answered at once.
    assert_eq!(repo.send(Method::GET, "file-1").await.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_told_before_anything_is_announced() {
    let repo = repository().await;
    for (http, message, status) in [
        (404, "Resource not found #469", 404),
        (403, "Resource not allowed #631", 403),
        (403, "Flood detected: IP Locked #374", 503),
        (403, "IP Locked #79", 503),
        (500, "Something is wrong", 503),
    ] {
        let (path, _) = repo.store("keys", message.as_bytes()).await;
        repo.world.control.inject(Fault {
            endpoint: "download/get_token".to_owned(),
            skip: 0,
            times: 1_000,
            kind: FaultKind::Ko {
                http,
                message: message.to_owned(),
            },
        });
        let answer = repo.send(Method::GET, &path).await;
        assert_eq!(answer.status(), status, "{message}");
        let again = answer.headers().contains_key("retry-after");
        assert_eq!(again, status == 503, "{message}");
        assert_eq!(answer.text().await.unwrap().lines().count(), 1);
        repo.world.control.clear_faults();
        // Until any lock is over.
        repo.world.idle(Duration::from_secs(3_700)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_is_not_there_is_no_empty_repository() {
    let mut repo = repository().await;
    repo.base = repo.base.replace("/fichier/", "/other/");
    for path in ["config", "keys/", "data/"] {
        let answer = repo.send(Method::GET, path).await;
        assert_eq!(answer.status(), 400, "{path}");
        let text = answer.text().await.unwrap();
        assert!(text.contains("\"other\""), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_leaves_no_older_one() {
    let repo = repository().await;
    let (path, _) = repo.store("locks", b"lock").await;
    let folder = repo.world.folder("a/repo/locks");
    let name = path.rsplit('/').next().unwrap();
    repo.world.control.add_file(folder, name, b"lock");
    repo.world.control.add_file(folder, name, b"lock");
    repo.world.idle(Duration::from_secs(400)).await;
    assert_eq!(repo.world.stored().len(), 3);
    repo.world.control.reset_calls();
    assert_eq!(repo.delete(&path).await, 200);
    assert_eq!(repo.world.stored(), Vec::<String>::new());
    assert_eq!(repo.world.control.calls().get("file/rm"), 1);
    assert_eq!(repo.list("locks").await, []);
}

#[tokio::test(start_paused = true)]
async fn a_full_account_is_507() {
    let repo = repository().await;
    assert_eq!(repo.store("keys", b"key").await.1, 200);
    let full = |account: &mut emulator::AccountOptions| account.quota_bytes = 10;
    repo.world.control.set_account(0, full).unwrap();
    let (_, status) = repo.store("data", &content(1_000)).await;
    assert_eq!(status, 507);
    assert_eq!(repo.world.stored().len(), 1);
}
