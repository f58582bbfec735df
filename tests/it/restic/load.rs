//! Many objects at once, what they cost, and what goes first.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use pluton_fichier::transfer::SpoolPolicy;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;

fn packs(count: usize, size: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| content(size + number)).collect()
}

/// A pack that comes no further than its first bytes until its sender is gone.
fn slow(repo: &Repository, pack: &[u8]) -> (mpsc::Sender<Bytes>, reqwest::RequestBuilder) {
    let (sender, receiver) = mpsc::channel(1_000);
    sender
        .try_send(Bytes::copy_from_slice(&pack[..1_000]))
        .unwrap();
    let rest = tokio_stream::wrappers::ReceiverStream::new(receiver).map(Ok::<_, std::io::Error>);
    let request = repo
        .request(Method::POST, &format!("data/{}", name_of(pack)))
        .header("Content-Length", pack.len())
        .body(reqwest::Body::wrap_stream(rest));
    (sender, request)
}

#[tokio::test(start_paused = true)]
async fn five_packs_on_one_http_2_connection_with_one_upload_slot_all_finish() {
    for policy in [SpoolPolicy::Auto, SpoolPolicy::Always, SpoolPolicy::Never] {
        let mut repo = adapted(|config| {
            config.uploads.connections = 1;
            config.uploads.spool = policy;
        })
        .await;
        let client = reqwest::Client::builder().no_proxy();
        repo.client = client.http2_prior_knowledge().build().unwrap();
        let packs = packs(5, 16 << 20);
        let stored = packs.iter().map(|pack| repo.store("data", pack));
        let work = tokio::time::timeout(Duration::from_secs(280), join_all(stored));
        for (_, status) in work.await.expect("they must not wait for each other") {
            assert_eq!(status, 200, "{policy}");
        }
        assert_eq!(repo.world.stored().len(), 5);
        assert_eq!(repo.world.control.calls().floods(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_repository_costs() {
    let repo = repository().await;
    let calls = || repo.world.control.calls();
    repo.world.control.reset_calls();
    // As restic's init does it.
    assert_eq!(repo.send(Method::HEAD, "config").await.status(), 404);
    assert_eq!(repo.post("?create=true", Vec::new()).await, 200);
    assert_eq!(repo.store("keys", b"key").await.1, 200);
    assert_eq!(repo.list("keys").await.len(), 1);
    assert_eq!(repo.post("config", b"config".to_vec()).await, 200);
    assert_eq!(calls().get("folder/mkdir"), 3, "a, a/repo, a/repo/keys");
    assert_eq!(calls().get("upload/get_upload_server"), 2);
    assert_eq!(calls().get("folder/ls"), 1, "{}", calls());

    repo.world.control.reset_calls();
    let packs = packs(20, 1_000);
    let stored = futures::stream::iter(&packs).map(|pack| repo.store("data", pack));
    let stored: Vec<_> = stored.buffer_unordered(5).collect().await;
    assert!(stored.iter().all(|(_, status)| *status == 200));
    let mut prefixes: Vec<_> = packs
        .iter()
        .map(|pack| name_of(pack)[..2].to_owned())
        .collect();
    prefixes.sort();
    prefixes.dedup();
    assert_eq!(calls().get("folder/mkdir"), prefixes.len() as u64 + 1);
    assert!(calls().get("upload/get_upload_server") <= 20);
    assert_eq!(calls().get("folder/ls"), 0, "{}", calls());

    // A day's work later, the names are still known.
    repo.world.control.reset_calls();
    assert_eq!(repo.list("data").await.len(), 20);
    assert_eq!(calls().total_v1(), 0);
    assert_eq!(calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn deletes_leave_together() {
    let repo = repository().await;
    let packs = packs(100, 100);
    let paths: Vec<_> = packs
        .iter()
        .map(|pack| format!("index/{}", name_of(pack)))
        .collect();
    let stored = packs.iter().map(|pack| repo.store("index", pack));
    assert!(
        join_all(stored)
            .await
            .iter()
            .all(|(_, status)| *status == 200)
    );
    repo.world.control.reset_calls();
    let deleted = join_all(paths.iter().map(|path| repo.delete(path))).await;
    assert!(deleted.iter().all(|status| *status == 200));
    let calls = repo.world.control.calls();
    // The first leaves alone because nothing else is there yet.
    assert!(calls.get("file/rm") <= 3, "{calls}");
    assert_eq!(repo.world.stored(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn locks_overtake_packs_that_hold_every_connection() {
    let repo = repository().await;
    // The directories are there.
    assert_eq!(repo.store("locks", b"first").await.1, 200);
    let packs = packs(4, 17 << 20);
    let (mut senders, mut sending) = (Vec::new(), Vec::new());
    for pack in &packs {
        let (sender, request) = slow(&repo, pack);
        senders.push(sender);
        sending.push(tokio::spawn(async move {
            request.send().await.unwrap().status()
        }));
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let begin = Instant::now();
    let (lock, status) = repo.store("locks", b"second").await;
    assert_eq!(status, 200);
    assert!(repo.list("locks").await.len() == 2, "it shows at once");
    assert_eq!(repo.delete(&lock).await, 200);
    let seconds = begin.elapsed().as_secs();
    assert!(seconds < 5, "{seconds} s");
    // The packs were on their way all the time.
    for (sender, pack) in senders.into_iter().zip(&packs) {
        sender
            .send(Bytes::copy_from_slice(&pack[1_000..]))
            .await
            .unwrap();
    }
    for sent in sending {
        assert_eq!(sent.await.unwrap(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_waits_for_the_upload_of_the_same_object() {
    let repo = repository().await;
    let pack = content(100_000);
    let path = format!("data/{}", name_of(&pack));
    let (stored, deleted) = tokio::join!(repo.store("data", &pack), async {
        // Its upload has begun by then.
        while repo.world.control.open_uploads() == 0 && repo.world.stored().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        repo.delete(&path).await
    });
    assert_eq!((stored.1, deleted), (StatusCode::OK, StatusCode::OK));
    assert_eq!(repo.send(Method::HEAD, &path).await.status(), 404);
    assert_eq!(repo.world.stored(), Vec::<String>::new());
    assert_eq!(repo.store("data", &pack).await.1, 200);
}

/// A repository that another program has filled, and that nobody has listed.
async fn filled(folders: usize) -> Repository {
    let repo = repository().await;
    let control = &repo.world.control;
    let mut folder = 0;
    for name in ["a", "repo", "data"] {
        folder = control.add_folder(folder, name);
    }
    for number in 0..folders {
        let pack = control.add_folder(folder, &format!("{number:02x}"));
        control.add_file(pack, &format!("{number:02x}{}", "0".repeat(62)), b"pack");
    }
    control.reset_calls();
    repo
}

#[tokio::test(start_paused = true)]
async fn packs_of_256_folders_that_nobody_has_listed_cost_a_listing_each() {
    let repo = filled(256).await;
    let listings = || repo.world.control.calls().total_v1();
    // One in three seconds is allowed: what is known by the deadline stays known.
    for _ in 0..2 {
        let answer = repo.send(Method::GET, "data/").await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
    }
    assert_eq!(repo.list("data").await.len(), 256);
    // The four above them, too, and what had become too old of these meanwhile.
    assert_eq!(listings(), 256 + 4 + 3);
    assert_eq!(repo.world.control.calls().floods(), 0);
    repo.world.idle(Duration::from_secs(20 * 3600)).await;
    repo.world.control.reset_calls();
    assert_eq!(repo.list("data").await.len(), 256);
    assert_eq!(listings(), 3, "the way there, and no folder of packs");
}

#[tokio::test(start_paused = true)]
async fn packs_of_which_one_folder_cannot_be_listed_are_not_told_in_part() {
    let repo = filled(5).await;
    repo.world.control.inject(pluton_fichier::emulator::Fault {
        endpoint: "folder/ls".to_owned(),
        // The four above them, and two.
        skip: 6,
        times: 1_000,
        kind: pluton_fichier::emulator::FaultKind::Status(500),
    });
    for _ in 0..3 {
        assert_eq!(repo.send(Method::GET, "data/").await.status(), 503);
    }
    repo.world.control.clear_faults();
    repo.world.idle(Duration::from_secs(60)).await;
    assert_eq!(repo.list("data").await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn packs_are_looked_for_again_after_another_program_wrote_an_index() {
    let repo = repository().await;
    for number in 0..3 {
        let (_, status) = repo.store("data", &content(100 + number)).await;
        assert_eq!(status, 200);
    }
    assert_eq!(repo.store("index", b"ours").await.1, 200);
    repo.world.idle(Duration::from_secs(3_600)).await;
    let listings = || repo.world.control.calls().get("folder/ls");
    repo.world.control.reset_calls();
    assert_eq!(repo.list("data").await.len(), 3);
    assert_eq!(listings(), 4, "the way there, and the index");

    let pack = name_of(b"theirs");
    let data = repo.world.folder("a/repo/data");
    let folder = repo.world.control.add_folder(data, &pack[..2]);
    repo.world.control.add_file(folder, &pack, b"theirs");
    let index = repo.world.folder("a/repo/index");
    repo.world
        .control
        .add_file(index, &name_of(b"index"), b"index");
    repo.world.idle(Duration::from_secs(3_600)).await;
    repo.world.control.reset_calls();
    assert_eq!(repo.list("data").await.len(), 4);
    assert_eq!(listings(), 4 + 1 + 4, "each folder of packs, once");
    repo.world.idle(Duration::from_secs(3_600)).await;
    repo.world.control.reset_calls();
    assert_eq!(repo.list("data").await.len(), 4);
    assert_eq!(listings(), 4);
}
