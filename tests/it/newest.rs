//! Which of several files with one path is the file: the newest, whatever the
//! clocks say.

use pluton_fichier::clock::Clock;
use pluton_fichier::emulator::Options;
use pluton_fichier::proto::*;

use crate::checks::*;
use crate::harness::*;

async fn put_beside(world: &World, path: &str, data: &[u8]) -> Entry {
    let header = PutHeader {
        size: Some(data.len() as i64),
        write_mode: WriteMode::KeepBoth.into(),
        ..header(path)
    };
    put(&world.client, header, data).await.unwrap()
}

/// Stat, List and Get mean this file.
async fn assert_file(world: &World, path: &str, id: &str, data: &[u8], context: &str) {
    assert_eq!(world.stat(path).await.unwrap().id, id, "{context}");
    let listed = world.list("", false).await.unwrap();
    let listed = listed.iter().find(|entry| entry.path == path).unwrap();
    assert_eq!(listed.id, id, "{context}");
    assert!(world.get(path).await.unwrap().content == data, "{context}");
}

#[tokio::test(start_paused = true)]
async fn of_files_stored_within_one_second_the_last_is_the_newest() {
    let mut world = unlimited().await;
    for round in 0..6 {
        let path = format!("f{round}");
        let mut last = None;
        for size in 1..=5 {
            let data = content(size);
            let entry = put_beside(&world, &path, &data).await;
            world
                .control
                .set_file_date(&entry.id, 1_767_618_131 + round);
            assert_file(&world, &path, &entry.id, &data, "at once").await;
            last = Some((entry.id, data));
        }
        let (id, data) = last.unwrap();
        // What a listing shows changes nothing, nor does a restart.
        minutes(6).await;
        assert_file(&world, &path, &id, &data, "listed").await;
        world.restart().await;
        assert_file(&world, &path, &id, &data, "restarted").await;
        minutes(6).await;
        assert_file(&world, &path, &id, &data, "restarted and listed").await;
        // What is stored after a restart is newer, too.
        let newer = put_beside(&world, &path, &content(9)).await;
        world
            .control
            .set_file_date(&newer.id, 1_767_618_131 + round);
        minutes(6).await;
        assert_file(&world, &path, &newer.id, &content(9), "after a restart").await;
        let removed = world.delete(&[&path]).await;
        assert_eq!(removed, [""], "the newest goes");
        assert_file(&world, &path, &id, &data, "the one before").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_does_not_make_a_new_file_old_or_an_old_one_new() {
    for skew in [-86_400, -1, 0, 1, 86_400] {
        let world = build(Options::default(), |config| {
            config.clock = Clock::virtual_time().shifted(skew);
        })
        .await;
        let context = format!("{skew} s off");
        let theirs = world.control.add_file(0, "f", b"theirs");
        assert_file(&world, "f", &theirs, b"theirs", &context).await;
        let ours = put_beside(&world, "f", b"ours").await;
        assert_file(&world, "f", &ours.id, b"ours", &context).await;
        let shown = ours.modify_time.unwrap().seconds;
        seconds(100).await;
        let later = world.control.add_file(0, "f", b"later");
        world.listed_within("", 0).await;
        assert_file(&world, "f", &later, b"later", &context).await;
        // By 1Fichier's own clock from the beginning.
        world.delete(&["f"]).await;
        let listed = world.stat("f").await.unwrap();
        assert_eq!(listed.id, ours.id, "{context}");
        let apart = listed.modify_time.unwrap().seconds - shown;
        assert!(apart.abs() <= 2, "{context}: {apart} s apart");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_time_of_1fichier_a_new_file_is_the_newest_all_the_same() {
    for skew in [-86_400, -10, 0, 86_400] {
        let mut options = Options::default();
        options.behaviour.usual_date_header = false;
        let world = build(options, |config| {
            config.clock = Clock::virtual_time().shifted(skew);
        })
        .await;
        let context = format!("{skew} s off");
        world.control.add_file(0, "f", b"theirs");
        world.stat("f").await.unwrap();
        for size in 1..4 {
            let data = content(size);
            let ours = put_beside(&world, "f", &data).await;
            assert_file(&world, "f", &ours.id, &data, &context).await;
            seconds(31).await;
            world.listed_within("", 0).await;
            assert_file(&world, "f", &ours.id, &data, &context).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_moved_beside_another_file_keeps_its_age() {
    let world = world().await;
    let old = world.put("old", b"old").await.unwrap();
    seconds(10).await;
    let new = world.put("new", b"new").await.unwrap();
    let request = MoveRequest {
        source_path: "old".to_owned(),
        destination_path: "new".to_owned(),
        write_mode: WriteMode::KeepBoth.into(),
        ..MoveRequest::default()
    };
    let moved = world.client.clone().r#move(request).await.unwrap();
    assert_eq!(moved.into_inner().entry.unwrap().id, old.id);
    assert_file(&world, "new", &new.id, b"new", "at once").await;
    minutes(6).await;
    assert_file(&world, "new", &new.id, b"new", "listed").await;
}
