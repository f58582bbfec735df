//! Another program changes the account while we know it.

use std::time::Duration;

use crate::harness::*;

/// Removes a folder and what is in it, as another program would.
fn remove_folder(world: &World, path: &str) {
    let tree = world.control.tree();
    let below = format!("{path}/");
    for node in tree
        .iter()
        .filter(|node| node.path.starts_with(&below) && !node.url.is_empty())
    {
        world.control.remove_file(&node.url);
    }
    let folder = tree.iter().find(|node| node.path == path).unwrap();
    assert!(world.control.remove_folder(folder.id));
}

#[tokio::test(start_paused = true)]
async fn a_put_into_a_folder_that_is_gone_makes_it_again() {
    let world = world().await;
    world.put("a/b/1", &content(100)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    remove_folder(&world, "a/b");
    let data = content(200);
    world.put("a/b/2", &data).await.unwrap();
    assert_eq!(world.stored(), ["a/b/2"], "and nothing lies in the root");
    assert_eq!(world.get("a/b/2").await.unwrap().content, data);
    assert_eq!(world.names("a/b", false).await, ["a/b/2"]);
}

#[tokio::test(start_paused = true)]
async fn a_large_put_into_a_folder_that_is_gone_makes_it_again() {
    let world = world().await;
    world.put("a/1", &content(100)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    remove_folder(&world, "a");
    world.put("a/2", &content(17 << 20)).await.unwrap();
    assert_eq!(world.stored(), ["a/2"]);
}

#[tokio::test(start_paused = true)]
async fn files_that_landed_in_the_root_are_noticed_and_brought_home() {
    let world = world().await;
    world.put("a/b/1", &content(100)).await.unwrap();
    // So soon that the folder is trusted.
    remove_folder(&world, "a/b");
    for number in 2..5 {
        world
            .put(&format!("a/b/{number}"), &content(100 + number))
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(world.stored(), ["a/b/2", "a/b/3", "a/b/4"]);
    for number in 2..5 {
        let path = format!("a/b/{number}");
        assert_eq!(
            world.get(&path).await.unwrap().content,
            content(100 + number)
        );
    }
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn asking_where_files_landed_costs_one_call_now_and_then() {
    let world = world().await;
    for number in 0..40 {
        world
            .put(&format!("a/{number}"), &content(100))
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calls = world.control.calls();
    assert!(calls.get("file/info") <= 2, "{calls}");
    assert_eq!(calls.get("upload/get_upload_server"), 40);
}

#[tokio::test(start_paused = true)]
async fn files_that_we_remove_again_are_not_asked_for() {
    let world = world().await;
    for number in 0..15 {
        let path = format!("d{number}/f");
        world.put(&path, &content(100)).await.unwrap();
        assert_eq!(world.delete(&[&path]).await, [""]);
    }
    world.control.reset_calls();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.control.calls().total_v1(), 0);
}

#[tokio::test(start_paused = true)]
async fn files_that_we_move_on_stay_where_they_were_moved() {
    let world = world().await;
    for (from, to) in [("a/1", "b/1"), ("a/2", "2")] {
        world.put(from, &content(100)).await.unwrap();
        let request = pluton_fichier::proto::MoveRequest {
            source_path: from.to_owned(),
            destination_path: to.to_owned(),
            ..Default::default()
        };
        world.client.clone().r#move(request).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.stored(), ["2", "b/1"]);
    assert_eq!(world.names("", true).await, ["2", "a/", "b/", "b/1"]);
}
