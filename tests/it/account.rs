//! What 1Fichier tells about the account, and the dates that it writes.

use std::time::SystemTime;

use pluton_fichier::clock::Clock;
use pluton_fichier::emulator::{AccountOptions, FaultKind, Options};
use pluton_fichier::proto::*;

use crate::checks::*;
use crate::harness::*;

async fn holding(change: impl FnOnce(&mut AccountOptions), strings: bool) -> World {
    let mut account = AccountOptions::default();
    change(&mut account);
    let mut options = Options {
        accounts: vec![account],
        ..Options::default()
    };
    options.behaviour.stringify_numbers = strings;
    build(options, |_| ()).await
}

#[tokio::test(start_paused = true)]
async fn figures_are_what_they_say_whatever_type_they_have() {
    for strings in [false, true] {
        let change = |account: &mut AccountOptions| {
            account.quota_bytes = 5_000;
            account.cold_storage = 1_000;
            account.cdn_credits = 2.5;
        };
        let world = holding(change, strings).await;
        world.control.add_file(0, "f", &content(3_000));
        let about = world.on("").about().await.unwrap();
        assert_eq!(about.total_bytes, Some(5_000));
        assert_eq!(about.used_bytes, Some(4_000), "recently accessed or not");
        assert_eq!(about.free_bytes, Some(2_000), "as told");
        assert_eq!(about.account["plan"], "Premium");
        assert_eq!(about.account["cdn_credits_gb"], "2.5");
        let told = about.as_of_time.unwrap().seconds;
        for (name, days) in [("statistics_time", 0), ("subscription_end", 365)] {
            let moment: jiff::Timestamp = about.account[name].parse().unwrap();
            let apart = moment.as_second() - told - days * 86_400;
            assert!(apart.abs() < 120, "{name} is in UTC: {apart} s");
        }
        assert!(!about.account.contains_key("over_quota_bytes"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_too_full_has_nothing_left() {
    for strings in [false, true] {
        let world = holding(|account| account.quota_bytes = 1_000, strings).await;
        world.control.add_file(0, "f", &content(3_000));
        let about = world.on("").about().await.unwrap();
        assert_eq!(about.total_bytes, Some(1_000));
        assert_eq!(about.used_bytes, Some(3_000));
        assert_eq!(about.free_bytes, Some(0));
        assert_eq!(about.account["over_quota"], "1");
        assert_eq!(about.account["over_quota_bytes"], "2000");
    }
}

#[tokio::test(start_paused = true)]
async fn old_figures_with_their_date_are_better_than_none() {
    let world = world().await;
    let first = world.on("").about().await.unwrap();
    minutes(6).await;
    world.fail("user/info", 10, FaultKind::Status(503));
    assert_eq!(world.on("").about().await.unwrap(), first);
    world.control.clear_faults();
    minutes(6).await;
    let later = world.on("").about().await.unwrap();
    assert!(later.as_of_time.unwrap().seconds > first.as_of_time.unwrap().seconds);
}

/// 2025-10-26 01:00 UTC: French clocks go from 03:00 back to 02:00.
const CHANGE: i64 = 1_761_440_400;

#[tokio::test(start_paused = true)]
async fn the_newest_file_stays_the_newest_through_the_hour_that_comes_twice() {
    // Where the server's clock stands, and where the other file's: in the first
    // or second pass, before or after.
    for (own, other) in [
        (600, -600),
        (600, 300),
        (-600, 600),
        (4_000, 600),
        (-4_000, 600),
    ] {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let shift = CHANGE + own - now.as_secs() as i64;
        let world = build(Options::default(), |config| {
            config.clock = Clock::virtual_time().shifted(shift);
        })
        .await;
        let theirs = world.control.add_file(0, "f", b"theirs");
        world.control.set_file_date(&theirs, CHANGE + other);
        let listed = world.stat("f").await.unwrap();
        let header = PutHeader {
            write_mode: WriteMode::KeepBoth.into(),
            size: Some(4),
            ..header("f")
        };
        let ours = put(&world.client, header, b"ours").await.unwrap();
        let stored = ours.modify_time.unwrap().seconds;
        world.control.set_file_date(&ours.id, CHANGE + own);
        let before = world.stat("f").await.unwrap();
        seconds(31).await;
        world.listed_within("", 0).await;
        let after = world.stat("f").await.unwrap();
        assert_eq!(before.id, after.id, "{own} {other}");
        // The first pass is what the date says; a second at the most lies
        // between the upload and its entry.
        let shown = |seconds: i64| {
            seconds
                - if (0..3_600).contains(&seconds) {
                    3_600
                } else {
                    0
                }
        };
        assert_eq!(listed.modify_time.unwrap().seconds, CHANGE + shown(other));
        assert!((stored - CHANGE - shown(own)).abs() <= 2, "{own}: {stored}");
        let newest = if shown(own) > shown(other) {
            &ours.id
        } else {
            &theirs
        };
        assert_eq!(&after.id, newest, "{own} {other}");
    }
}
