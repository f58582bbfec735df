//! What operations cost, and that the account is never flooded.

use std::time::Duration;

use futures::future::join_all;
use pluton_fichier::emulator::{FaultKind, Limits, Options};
use pluton_fichier::proto::*;
use tokio::time::Instant;
use tonic_types::StatusExt;

use crate::checks::*;
use crate::harness::*;

async fn limited(limits: Limits) -> World {
    build(
        Options {
            limits,
            ..Options::default()
        },
        |_| (),
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn a_mixed_load_of_many_tasks_floods_nothing() {
    for limits in [Limits::documented(), Limits::strict()] {
        let world = limited(limits).await;
        for folder in 0..4 {
            world.put(&format!("d{folder}/old"), b"old").await.unwrap();
        }
        let tasks = (0..16).map(|task: usize| {
            let world = &world;
            async move {
                for step in 0..13_usize {
                    let folder = format!("d{}", (task + step) % 4);
                    let mine = format!("{folder}/{task}-{}", step / 4);
                    let data = content(100 + task);
                    match (task + step) % 13 {
                        0..=3 => drop(world.put(&mine, &data).await.unwrap()),
                        4 => drop(world.listed_within(&folder, 0).await),
                        5 => drop(world.names("", true).await),
                        6 => drop(world.get(&format!("{folder}/old")).await.unwrap()),
                        7 => drop(world.stat(&format!("{folder}/none")).await),
                        8 => drop(world.delete(&[&mine]).await),
                        9 => drop(world.mkdir(&format!("{folder}/sub{task}")).await.unwrap()),
                        10 => drop(world.rmdir(&format!("{folder}/sub{}", task / 2)).await),
                        11 => drop(
                            world
                                .client
                                .clone()
                                .about(AboutRequest::default())
                                .await
                                .unwrap(),
                        ),
                        _ => drop(world.hash(&format!("{folder}/old")).await.unwrap()),
                    }
                }
            }
        });
        join_all(tasks).await;
        let calls = world.control.calls();
        assert_eq!(calls.floods(), 0, "{calls}");
        minutes(6).await;
        world.assert_agreement("after the load").await;
        assert_eq!(world.control.calls().floods(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn reading_the_tree_costs_one_call_for_each_folder_and_then_none() {
    let world = world().await;
    for number in 0..20 {
        let folder = world.control.add_folder(0, &format!("d{number:02}"));
        world.control.add_file(folder, "f", b"content");
    }
    assert_eq!(world.names("", true).await.len(), 40);
    assert_eq!(world.control.calls().get("folder/ls"), 21);
    assert_eq!(world.control.calls().total_v1(), 21);
    world.control.reset_calls();
    world.names("", true).await;
    for number in 0..20 {
        let path = format!("d{number:02}/f");
        world.stat(&path).await.unwrap();
        assert_eq!(world.hash(&path).await.unwrap(), whirlpool(b"content"));
        assert_reason(
            world.stat(&format!("d{number:02}/none")).await,
            "FILE_NOT_FOUND",
        );
    }
    world
        .client
        .clone()
        .get_info(GetInfoRequest::default())
        .await
        .unwrap();
    assert_eq!(
        world.control.calls().total_v1(),
        0,
        "{}",
        world.control.calls()
    );
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_puts_into_a_new_folder_share_their_calls() {
    let world = world().await;
    let puts = (0..200).map(|number| {
        let world = &world;
        async move {
            world
                .put(&format!("new/{number:03}"), &content(100 + number))
                .await
        }
    });
    for stored in join_all(puts).await {
        stored.unwrap();
    }
    let calls = world.control.calls();
    assert_eq!(calls.get("folder/mkdir"), 1, "{calls}");
    assert!(calls.get("upload/get_upload_server") <= 5, "{calls}");
    assert_eq!(calls.get("folder/ls"), 1, "{calls}");
    assert_eq!(calls.floods(), 0);
    assert_eq!(world.stored().len(), 200);
    // Observed: how many groups they left in.
    println!("200 puts: {} uploads", calls.get("upload.cgi"));
    world.control.reset_calls();
    let paths: Vec<_> = (0..200).map(|number| format!("new/{number:03}")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    assert!(world.delete(&paths).await.iter().all(String::is_empty));
    assert_eq!(world.control.calls().total_v1(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_reads_and_deletes_and_questions_cost_little() {
    let world = world().await;
    let data = content(1_000_000);
    world.put("f", &data).await.unwrap();
    world.control.reset_calls();
    let ranges = (0..50).map(|number: usize| {
        let (world, data) = (&world, &data);
        async move {
            let offset = number * 19_997;
            let part = world.range("f", offset as i64, 5_000).await.unwrap();
            assert!(part == data[offset..][..5_000]);
        }
    });
    join_all(ranges).await;
    let tokens = world.control.calls().get("download/get_token");
    assert_eq!(tokens, 1, "one token for ranges that come together");
    let ranges = (0..50).map(|number| ByteRange {
        offset: number * 20_000,
        length: Some(10),
    });
    let request = GetRequest {
        path: "f".to_owned(),
        ranges: ranges.collect(),
        ..GetRequest::default()
    };
    assert_eq!(
        get(&world.client, request).await.unwrap().content.len(),
        500
    );
    assert_eq!(world.control.calls().total_v1(), 1);

    let many = world.control.add_folder(0, "many");
    world.control.add_many_files(many, "f", 250, 10);
    seconds(31).await;
    let names = world.listed_within("", 0).await.0;
    assert_eq!(names, ["f", "many"]);
    let names = world.names("many", false).await;
    world.control.reset_calls();
    let paths: Vec<_> = names.iter().map(String::as_str).collect();
    assert!(world.delete(&paths).await.iter().all(String::is_empty));
    assert_eq!(world.control.calls().get("file/rm"), 3);
    assert_eq!(world.control.calls().total_v1(), 3);

    world.control.reset_calls();
    for expected in [1, 1, 2] {
        for _ in 0..5 {
            world
                .client
                .clone()
                .about(AboutRequest::default())
                .await
                .unwrap();
        }
        assert_eq!(world.control.calls().get("user/info"), expected);
        seconds(151).await;
    }

    world.control.reset_calls();
    let lists = (0..100).map(|_| world.names("", false));
    assert!(join_all(lists).await.iter().all(|names| names.len() == 2));
    assert_eq!(
        world.control.calls().total_v1(),
        1,
        "one listing for all who wait"
    );
}

#[tokio::test(start_paused = true)]
async fn what_others_change_is_seen_when_asked_for_and_after_a_while() {
    let world = world().await;
    world.put("ours", b"ours").await.unwrap();
    let (names, first) = world.listed_within("", 300).await;
    assert_eq!(names, ["ours"]);
    world.control.add_file(0, "theirs", b"theirs");
    // No listing is allowed yet: the old answer, which says how old it is.
    seconds(10).await;
    assert_eq!(world.listed_within("", 0).await, (names, first));
    seconds(21).await;
    let (names, second) = world.listed_within("", 0).await;
    assert_eq!(names, ["ours", "theirs"]);
    assert!((second.seconds, second.nanos) > (first.seconds, first.nanos));
    // Our own file counts for no longer than it is shown.
    world.control.remove_file(&world.urls("ours")[0]);
    seconds(31).await;
    assert_eq!(world.listed_within("", 0).await.0, ["theirs"]);
    world.control.remove_file(&world.urls("theirs")[0]);
    seconds(290).await;
    assert_eq!(world.names("", false).await, ["theirs"]);
    seconds(11).await;
    assert!(world.names("", false).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_flood_silences_everybody_and_a_second_one_for_longer() {
    let world = world().await;
    world.put("f", b"content").await.unwrap();
    world.control.reset_calls();
    for number in 0..20 {
        world.control.add_folder(0, &format!("d{number:02}"));
    }
    minutes(6).await;
    for pause in [30, 60] {
        let injected = if pause == 30 { 1 } else { 2 };
        world.control.reset_calls();
        world.fail("*", injected, FaultKind::Flood);
        let start = Instant::now();
        let lists = (0..20).map(|number| {
            let world = &world;
            async move { world.list(&format!("d{number:02}"), false).await }
        });
        let watched = async {
            // Whatever was on its way has arrived.
            seconds(5).await;
            let before = world.control.calls().total_v1();
            seconds(24).await;
            assert_eq!(world.control.calls().total_v1(), before, "silence");
            assert!(before <= 3);
        };
        let (listed, ()) = tokio::join!(join_all(lists), watched);
        for list in listed {
            list.unwrap();
        }
        let least = if pause == 30 { 30 } else { 90 };
        assert!(
            start.elapsed() >= Duration::from_secs(least),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(world.control.calls().floods(), u64::from(injected));
        minutes(10).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_in_a_hurry_is_told_how_long_a_lock_lasts() {
    let world = world().await;
    world.fail("v1", 1, FaultKind::Flood);
    let mut request = tonic::Request::new(StatRequest {
        path: "f".to_owned(),
        ..StatRequest::default()
    });
    request.set_timeout(Duration::from_secs(10));
    let start = Instant::now();
    let status = world.client.clone().stat(request).await.unwrap_err();
    assert_eq!(reason(&status), "UPSTREAM_LOCKED");
    let wait = status
        .get_error_details()
        .retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert!((29..=32).contains(&wait.as_secs()), "{wait:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_ban_is_told_and_nothing_is_called_meanwhile() {
    let world = world().await;
    world.put("f", b"content").await.unwrap();
    let ban = FaultKind::Ko {
        http: 403,
        message: "IP Locked #79".to_owned(),
    };
    world.fail("v1", 1, ban);
    for attempt in 0..10 {
        world.control.reset_calls();
        let status = assert_reason(world.put("g", b"more").await, "UPSTREAM_LOCKED");
        let wait = status
            .get_error_details()
            .retry_info()
            .unwrap()
            .retry_delay
            .unwrap();
        assert!((2_900..=3_601).contains(&wait.as_secs()), "{wait:?}");
        let expected = u64::from(attempt == 0);
        assert_eq!(world.control.calls().total_v1(), expected);
        assert_reason(world.get("f").await, "UPSTREAM_LOCKED");
        assert_reason(world.mkdir("d").await, "UPSTREAM_LOCKED");
        assert_eq!(world.control.calls().total_v1(), expected, "silence");
        minutes(1).await;
    }
    minutes(55).await;
    world.put("g", b"more").await.unwrap();
    assert_eq!(world.stored(), ["f", "g"]);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_may_be_cut_is_an_error() {
    let world = world().await;
    let many = world.control.add_folder(0, "many");
    let few = world.control.add_folder(0, "few");
    world.control.add_many_files(many, "f", 5_000, 10);
    world.control.add_many_files(few, "f", 4_999, 10);
    let status = world.list("many", false).await.unwrap_err();
    assert_clear(&status, "a full listing");
    let status = world.stat("many/nothing").await.unwrap_err();
    assert_ne!(assert_clear(&status, "stat"), "FILE_NOT_FOUND");
    assert_eq!(world.names("few", false).await.len(), 4_999);
    let request = ListRequest {
        recursive: true,
        ..ListRequest::default()
    };
    let pages = list(&world.client, request).await.unwrap();
    let failures: Vec<_> = pages.iter().flat_map(|page| &page.failures).collect();
    assert_eq!(
        failures
            .iter()
            .map(|failure| &failure.path)
            .collect::<Vec<_>>(),
        ["many"]
    );
    let entries: usize = pages.iter().map(|page| page.entries.len()).sum();
    assert_eq!(entries, 2 + 4_999);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_again_and_again_is_no_flood() {
    let world = world().await;
    world.control.add_file(0, "f", b"content");
    world.fail("folder/ls", 3, FaultKind::TruncatedJson);
    assert_eq!(world.names("", false).await, ["f"]);
    let calls = world.control.calls();
    assert_eq!((calls.get("folder/ls"), calls.floods()), (4, 0));
}
