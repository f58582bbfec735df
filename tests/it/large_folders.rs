//! Folders with more files than 1Fichier lists at once: listed completely by
//! dates, or refused with the reason; never silently cut.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pluton_fichier::emulator::{self, DateWindow, Fault, FaultKind};
use pluton_fichier::proto::*;
use tokio::time::Instant;
use tonic::{Code, Request, Status};

use crate::harness::*;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs() as i64
}

/// An account with every limit, strictly enforced, and a low cap.
async fn capped(cap: usize) -> World {
    let options = emulator::Options {
        limits: emulator::Limits::strict(),
        ..emulator::Options::default()
    };
    let world = build(options, |_| ()).await;
    world
        .control
        .set_behaviour(|behaviour| behaviour.listing_cap = cap);
    world
}

/// Adds a directory of files and gives each the date that `date` says.
fn fill(world: &World, name: &str, count: usize, date: impl Fn(usize) -> i64) -> u64 {
    let folder = world.control.add_folder(0, name);
    add(world, folder, "f", count, date);
    folder
}

fn add(world: &World, folder: u64, prefix: &str, count: usize, date: impl Fn(usize) -> i64) {
    let before = urls(world, folder);
    world.control.add_many_files(folder, prefix, count, 7);
    let new = urls(world, folder).into_iter();
    let new = new.filter(|url| !before.contains(url));
    for (number, url) in new.enumerate() {
        world.control.set_file_date(&url, date(number));
    }
}

fn urls(world: &World, folder: u64) -> HashSet<String> {
    let tree = world.control.tree().into_iter();
    tree.filter(|node| node.id == folder && !node.url.is_empty())
        .map(|node| node.url)
        .collect()
}

/// Dates over half a year, none of them of today.
fn spread(number: usize) -> i64 {
    now() - 20_000_000 + (number as i64 * 7_919) % 15_000_000
}

fn listings(world: &World) -> (u64, u64) {
    let calls = world.control.calls();
    (calls.get("folder/ls"), calls.get("file/ls"))
}

/// What the server lists is what 1Fichier holds.
async fn assert_complete(world: &World, path: &str) {
    let mut listed = world.names(path, false).await;
    listed.sort();
    let prefix = format!("{path}/");
    let mut stored = world.stored();
    stored.retain(|stored| stored.starts_with(&prefix));
    stored.sort();
    assert_eq!(listed.len(), stored.len());
    assert!(listed == stored);
    assert_eq!(world.control.calls().floods(), 0);
}

async fn list_within(world: &World, path: &str, deadline: u64) -> Result<(), Status> {
    let mut request = Request::new(StatRequest {
        path: format!("{path}/f00000"),
        ..StatRequest::default()
    });
    request.set_timeout(Duration::from_secs(deadline));
    world.client.clone().stat(request).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn twelve_thousand_files_take_five_listings() {
    let mut world = capped(5_000).await;
    fill(&world, "large", 12_000, spread);
    let start = Instant::now();
    assert_complete(&world, "large").await;
    // The root and the cut listing, three windows, the check.
    assert_eq!(listings(&world), (3, 3));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(130), "{took:?}");

    // It is known from now on, also after a restart.
    world.control.reset_calls();
    assert_complete(&world, "large").await;
    world.stat("large/f11999").await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.restart().await;
    assert_complete(&world, "large").await;
    assert_eq!(world.control.calls().total_v1(), 0);

    // What needs certainty about names works.
    let entry = world.put("large/new.bin", b"new").await.unwrap();
    assert_eq!(entry.size, Some(3));
    world.put("large/f00001", b"replaced").await.unwrap();
    assert_complete(&world, "large").await;
    // Where the first one landed is asked for, and that tells of the way to what
    // is replaced.
    assert_eq!(listings(&world), (0, 0), "{}", world.control.calls());
}

#[tokio::test(start_paused = true)]
async fn edges_may_count_or_not() {
    for edges in [DateWindow::Exclusive, DateWindow::Inclusive] {
        let world = capped(50).await;
        world
            .control
            .set_behaviour(|behaviour| behaviour.date_window = edges);
        // Many files to a second, and windows that end next to full ones.
        let date =
            |number: usize| 1_750_000_000 + number as i64 / 30 + (number as i64 / 90) * 1_000;
        fill(&world, "large", 400, date);
        assert_complete(&world, "large").await;
        let (folders, files) = listings(&world);
        // The cap is low: a second listing makes sure of it.
        assert_eq!(folders, 4);
        assert!(files <= 45, "{edges:?}: {files}");
    }
}

#[tokio::test(start_paused = true)]
async fn filters_without_effect_are_an_error_that_is_not_repeated() {
    let world = capped(50).await;
    world
        .control
        .set_behaviour(|behaviour| behaviour.date_window = DateWindow::Ignored);
    fill(&world, "large", 120, spread);
    let status = assert_reason(world.list("large", false).await, "UPSTREAM_PROTOCOL");
    assert!(
        status.message().contains("date filters do not work"),
        "{status:?}"
    );
    assert!(status.message().contains("spread its files"), "{status:?}");
    assert_eq!(listings(&world), (3, 1));
    let again = world.put("large/new", b"new").await;
    assert_reason(again, "UPSTREAM_PROTOCOL");
    assert_eq!(listings(&world), (3, 1));
    // Put right, and asked for anew.
    world
        .control
        .set_behaviour(|behaviour| behaviour.date_window = DateWindow::Exclusive);
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_complete(&world, "large").await;
}

#[tokio::test(start_paused = true)]
async fn too_many_files_of_one_second_are_an_error() {
    for edges in [DateWindow::Exclusive, DateWindow::Inclusive] {
        let world = capped(50).await;
        world
            .control
            .set_behaviour(|behaviour| behaviour.date_window = edges);
        fill(&world, "large", 60, |_| 1_750_000_000);
        let status = assert_reason(world.list("large", false).await, "UPSTREAM_PROTOCOL");
        let text = status.message();
        assert!(
            text.contains("the same date, 2025-06-15 17:06:40"),
            "{status:?}"
        );
        assert_eq!(world.control.calls().floods(), 0);
        let (_, files) = listings(&world);
        assert!(files <= 6, "{files}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_walk_goes_on_when_nobody_waits() {
    let world = capped(1_000).await;
    fill(&world, "large", 3_500, spread);
    world.names("", false).await;
    let first = list_within(&world, "large", 40).await;
    let status = assert_reason(first, "UPSTREAM_UNAVAILABLE");
    assert!(status.message().contains("listed in parts"), "{status:?}");
    let wait = retry_delay(&status);
    // Others are told the same, and cause no listings.
    let second = list_within(&world, "large", 20).await;
    assert_reason(second, "UPSTREAM_UNAVAILABLE");
    tokio::time::sleep(wait).await;
    list_within(&world, "large", 40)
        .await
        .unwrap_or_else(|status| {
            let more = retry_delay(&status);
            assert!(more <= Duration::from_secs(185), "{status:?}");
        });
    tokio::time::sleep(Duration::from_secs(190)).await;
    list_within(&world, "large", 1).await.unwrap();
    assert_complete(&world, "large").await;
    let (folders, files) = listings(&world);
    // The root twice: it was fresh no more.
    assert_eq!(folders, 5);
    assert!(files <= 6, "{files}");
}

#[tokio::test(start_paused = true)]
async fn what_changes_meanwhile() {
    let world = capped(100).await;
    world
        .control
        .set_behaviour(|behaviour| behaviour.index_delay = Duration::from_secs(20));
    let folder = fill(&world, "large", 450, spread);
    world.put("other/known", b"x").await.unwrap();
    let waiting = {
        let client = world.client.clone();
        tokio::spawn(async move {
            let request = ListRequest {
                path: "large".to_owned(),
                ..ListRequest::default()
            };
            list(&client, request).await
        })
    };
    // Somebody else adds and removes while it goes on.
    tokio::time::sleep(Duration::from_secs(130)).await;
    let (_, files) = listings(&world);
    assert!((2..8).contains(&files), "{files}");
    add(&world, folder, "late", 30, |_| now() + 130);
    for url in urls(&world, folder).into_iter().take(5) {
        world.control.remove_file(&url);
    }
    let pages = waiting.await.unwrap().unwrap();
    let listed: HashSet<_> = pages
        .iter()
        .flat_map(|page| &page.entries)
        .map(|entry| entry.path.clone())
        .collect();
    let mut stored = world.stored();
    stored.retain(|path| path.starts_with("large/"));
    let lacking: Vec<_> = stored
        .iter()
        .filter(|path| !listed.contains(*path))
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    // Removed by somebody else after they were listed: seen at the next time.
    assert!(listed.len() <= stored.len() + 5);
    assert_eq!(world.control.calls().floods(), 0);

    // Own changes are seen at once though the index is late.
    world.put("large/own", b"own").await.unwrap();
    assert_eq!(world.delete(&["large/f00000"]).await.len(), 1);
    world.stat("large/own").await.unwrap();
    let gone = world.stat("large/f00000").await;
    assert_reason(gone, "FILE_NOT_FOUND");
}

/// Own changes during the listing are neither undone by its older parts nor
/// lost.
#[tokio::test(start_paused = true)]
async fn own_changes_survive_a_long_listing() {
    let world = capped(50).await;
    world
        .control
        .set_behaviour(|behaviour| behaviour.index_delay = Duration::from_secs(15));
    let names: Vec<_> = (0..5).map(|number| format!("large/old{number}")).collect();
    for name in &names {
        world.put(name, b"x").await.unwrap();
    }
    let folder = world
        .control
        .tree()
        .into_iter()
        .find(|node| node.path == "large")
        .unwrap()
        .id;
    add(&world, folder, "f", 600, spread);
    tokio::time::sleep(Duration::from_secs(301)).await;
    let refused = list_within(&world, "large", 60).await;
    // What was known counts while it is listed anew.
    assert_reason(refused, "FILE_NOT_FOUND");
    world.put("large/during", b"new").await.unwrap();
    assert_eq!(world.delete(&["large/old0", "large/old1"]).await, ["", ""]);
    let start = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(30)).await;
        if world.names("large", false).await.len() > 100 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(1_500));
    }
    assert!(
        start.elapsed() > Duration::from_secs(400),
        "longer than the grace of changes: {:?}",
        start.elapsed()
    );
    assert_complete(&world, "large").await;
}

#[tokio::test(start_paused = true)]
async fn the_nights_when_clocks_change() {
    for (midnight, hours) in [(1_761_429_600, 5), (1_774_738_800, 4)] {
        for edges in [DateWindow::Exclusive, DateWindow::Inclusive] {
            let world = capped(50).await;
            world
                .control
                .set_behaviour(|behaviour| behaviour.date_window = edges);
            let date = |number: usize| midnight + number as i64 * 36;
            fill(&world, "night", hours * 100, date);
            assert_complete(&world, "night").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn counts_that_are_no_cap_cost_nothing() {
    let world = capped(50).await;
    fill(&world, "even", 50, spread);
    fill(&world, "few", 49, spread);
    assert_complete(&world, "even").await;
    assert_complete(&world, "few").await;
    assert_eq!(listings(&world), (3, 0));
}

/// Windows that are cut unseen are noticed by the folder's own count.
#[tokio::test(start_paused = true)]
async fn what_is_not_found_is_missed() {
    let world = capped(100).await;
    fill(&world, "large", 450, spread);
    let control = world.control.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(100)).await;
        control.set_behaviour(|behaviour| behaviour.listing_cap = 30);
    });
    let status = assert_reason(world.list("large", false).await, "UPSTREAM_PROTOCOL");
    let text = status.message();
    assert!(text.contains("the folder has 450 files"), "{text}");
    assert!(text.contains("fewer"), "{text}");
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lock_on_the_way_is_waited_for() {
    let world = capped(100).await;
    fill(&world, "large", 450, spread);
    world.control.inject(Fault {
        endpoint: "file/ls".to_owned(),
        skip: 2,
        times: 1,
        kind: FaultKind::Flood,
    });
    let listed = world.names("large", false).await;
    assert_eq!(listed.len(), 450);
    assert_eq!(world.control.calls().floods(), 1);
}

/// Listing it would take hours: said at once.
#[tokio::test(start_paused = true)]
async fn a_folder_that_takes_too_long_is_an_error() {
    let world = capped(50).await;
    fill(&world, "huge", 4_000, spread);
    let status = assert_reason(world.list("huge", false).await, "UPSTREAM_PROTOCOL");
    assert!(status.message().contains("4000 files"), "{status:?}");
    assert_eq!(listings(&world), (3, 0));
    assert_eq!(status.code(), Code::Internal);
}

fn retry_delay(status: &Status) -> Duration {
    use tonic_types::StatusExt;
    let details = status.get_error_details();
    details.retry_info().unwrap().retry_delay.unwrap()
}
