//! MKCOL, DELETE, MOVE and COPY, and what they cost.

use super::*;

#[tokio::test(start_paused = true)]
async fn directories_are_made_once() {
    let world = served().await;
    ask(&world, "MKCOL", "a/").gives(201).await;
    ask(&world, "MKCOL", "a/").gives(405).await;
    ask(&world, "MKCOL", "").gives(405).await;
    ask(&world, "MKCOL", "b/c").gives(409).await;
    put(&world, "f", b"1").await;
    ask(&world, "MKCOL", "f").gives(405).await;
    ask(&world, "MKCOL", "f/g").gives(409).await;
    ask(&world, "MKCOL", "d").body("<x/>").gives(415).await;
    assert_eq!(world.stored_all(), ["a", "f"]);
    // As rclone's transfers do it.
    let made = (0..4).map(|_| ask(&world, "MKCOL", "same").answer());
    let mut made: Vec<_> = futures::future::join_all(made).await;
    made.sort_by_key(|answer| answer.status);
    let statuses: Vec<_> = made.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [201, 405, 405, 405]);
}

#[tokio::test(start_paused = true)]
async fn a_tree_goes_in_few_calls() {
    let world = served().await;
    let top = world.control.add_folder(0, "top");
    for number in 0..3 {
        let folder = world.control.add_folder(top, &format!("d{number}"));
        for file in 0..100 {
            world.control.add_file(folder, &format!("f{file}"), b"1");
        }
    }
    put(&world, "stays", b"1").await;
    world.control.reset_calls();
    ask(&world, "DELETE", "top/").gives(204).await;
    // As the gRPC call of that name: 4 listings, the files together, 4 folders.
    assert_eq!(calls(&world), "file/rm 3, folder/ls 4, folder/rm 4");
    assert_eq!(world.stored_all(), ["stays"]);
    ask(&world, "DELETE", "top/").gives(404).await;
    ask(&world, "DELETE", "stays/").gives(404).await;
    ask(&world, "DELETE", "").gives(403).await;
    assert_eq!(calls(&world), "");
    ask(&world, "DELETE", "stays").gives(204).await;
    assert_eq!(calls(&world), "file/rm 1");
}

#[tokio::test(start_paused = true)]
async fn moves_and_copies_of_files() {
    let world = served().await;
    put(&world, "f", b"one").await;
    put(&world, "g", b"two").await;
    ask(&world, "MKCOL", "d").gives(201).await;
    world.control.reset_calls();
    ask(&world, "MOVE", "f")
        .to("g")
        .with("Overwrite", "F")
        .gives(412)
        .await;
    ask(&world, "COPY", "f")
        .to("g")
        .with("Overwrite", "F")
        .gives(412)
        .await;
    ask(&world, "MOVE", "f").to("none/g").gives(409).await;
    ask(&world, "MOVE", "f").to("f").gives(403).await;
    ask(&world, "MOVE", "f").to("d").gives(409).await;
    ask(&world, "MOVE", "none").to("h").gives(404).await;
    ask(&world, "MOVE", "f").gives(400).await;
    ask(&world, "MOVE", "f")
        .to("h")
        .with("Overwrite", "?")
        .gives(400)
        .await;
    assert_eq!(calls(&world), "");
    ask(&world, "MOVE", "f").to("d/f").gives(201).await;
    assert_eq!(calls(&world), "file/mv 1");
    ask(&world, "COPY", "d/f").to("d/g").gives(201).await;
    assert_eq!(ask(&world, "GET", "d/g").gives(200).await.body, b"one");
    ask(&world, "MOVE", "d/f").to("g").gives(204).await;
    assert_eq!(ask(&world, "GET", "g").gives(200).await.body, b"one");
    assert_eq!(world.stored(), ["d/g", "g"]);
}

#[tokio::test(start_paused = true)]
async fn moves_of_directories() {
    let world = served().await;
    for path in ["a", "a/b", "c"] {
        ask(&world, "MKCOL", path).gives(201).await;
    }
    put(&world, "a/b/f", b"1").await;
    world.control.reset_calls();
    ask(&world, "MOVE", "a/b/").to("c/d/").gives(201).await;
    assert_eq!(world.stored_all(), ["a", "c", "c/d", "c/d/f"]);
    ask(&world, "MOVE", "c").to("a").gives(412).await;
    ask(&world, "MOVE", "c").to("c/d/e").gives(400).await;
    let answer = ask(&world, "COPY", "c").to("e").gives(501).await;
    assert!(answer.text().contains("file by file"));
    assert_eq!(world.stored_all(), ["a", "c", "c/d", "c/d/f"]);
}

#[tokio::test(start_paused = true)]
async fn a_destination_elsewhere_is_refused() {
    let world = served().await;
    put(&world, "f", b"1").await;
    for (to, status) in [
        ("http://elsewhere/dav/fichier/g", 502),
        ("/restic/fichier/g", 403),
        ("/dav/other/g", 403),
        ("/dav/fichier/../g", 400),
        ("/dav/fichier/a%2Fb", 400),
        ("/dav/fichier/", 403),
    ] {
        ask(&world, "MOVE", "f")
            .with("Destination", to)
            .gives(status)
            .await;
    }
    ask(&world, "MOVE", "f")
        .with("Destination", "/dav/fichier/g")
        .gives(201)
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_leaves_no_older_version() {
    let world = served().await;
    world.put("d/a", b"new").await.unwrap();
    let folder = world.folder("d");
    for old in [b"old 1", b"old 2"] {
        world.control.add_file(folder, "a", old);
    }
    world.idle(std::time::Duration::from_secs(400)).await;
    ask(&world, "DELETE", "d/a").gives(204).await;
    ask(&world, "GET", "d/a").gives(404).await;
    assert_eq!(world.stored(), Vec::<String>::new());
}
