//! What 1Fichier's documentation leaves open, played in each way where it
//! matters to a client.

use std::time::Duration;

use futures::future::join_all;
use pluton_fichier::emulator::{
    AccountOptions, Batch, ForbiddenChars, Limits, MkdirExisting, Offer, Options, RmMissing,
    TokenRefusal, UnknownFolder,
};
use pluton_fichier::encoding::Mask;
use pluton_fichier::proto::*;

use crate::checks::*;
use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn a_folder_made_behind_our_back_is_used() {
    for existing in [MkdirExisting::Refuse, MkdirExisting::ReturnExisting] {
        let world = played(|behaviour| behaviour.mkdir_existing = existing).await;
        assert!(world.names("", false).await.is_empty());
        let theirs = world.control.add_folder(0, "theirs");
        world.control.add_file(theirs, "before", b"before");
        let made = world.mkdir("theirs").await.unwrap().entry.unwrap();
        assert_eq!(made.id, theirs.to_string(), "{existing:?}");
        world.put("theirs/ours", b"ours").await.unwrap();
        assert_eq!(
            world.stored_all(),
            ["theirs", "theirs/before", "theirs/ours"],
            "{existing:?}"
        );
        minutes(6).await;
        world.assert_agreement(&format!("{existing:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_mkdir_returned_counts_as_empty_no_longer_than_its_parent_as_known() {
    let world = played(|behaviour| behaviour.mkdir_existing = MkdirExisting::ReturnExisting).await;
    assert!(world.names("", false).await.is_empty());
    seconds(200).await;
    let theirs = world.control.add_folder(0, "theirs");
    world.control.add_file(theirs, "before", b"before");
    world.mkdir("theirs").await.unwrap();
    // 310 s after the listing of the parent, which is all that is known of both.
    seconds(110).await;
    assert_eq!(world.names("theirs", false).await, ["theirs/before"]);
}

#[tokio::test(start_paused = true)]
async fn a_put_into_a_folder_made_behind_our_back_finds_it() {
    for existing in [MkdirExisting::Refuse, MkdirExisting::ReturnExisting] {
        let world = played(|behaviour| behaviour.mkdir_existing = existing).await;
        assert!(world.names("", false).await.is_empty());
        world.control.add_folder(0, "d");
        let puts = (0..4).map(|number| {
            let world = &world;
            async move { world.put(&format!("d/{number}"), b"x").await }
        });
        for stored in join_all(puts).await {
            stored.unwrap();
        }
        assert_eq!(world.stored(), ["d/0", "d/1", "d/2", "d/3"], "{existing:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_a_folder_removed_behind_our_back_says_so_or_is_empty() {
    for unknown in [UnknownFolder::NotFound, UnknownFolder::Ko] {
        let world = played(|behaviour| behaviour.unknown_folder = unknown).await;
        world.control.add_folder(0, "d");
        assert!(world.names("d", false).await.is_empty());
        seconds(250).await;
        let root = world.listed_within("", 60).await.0;
        assert_eq!(root, ["d"]);
        world.control.remove_folder(world.folder("d"));
        seconds(100).await;
        // The listing of d is too old, that of the root is not.
        assert_reason(world.list("d", false).await, "DIRECTORY_NOT_FOUND");
        seconds(31).await;
        assert!(world.names("", true).await.is_empty(), "{unknown:?}");
        assert!(world.mkdir("d").await.unwrap().created);
        world.assert_agreement(&format!("{unknown:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_empty_listing_proves_no_removal() {
    let world = played(|behaviour| behaviour.unknown_folder = UnknownFolder::EmptyList).await;
    world.control.add_folder(0, "d");
    assert!(world.names("d", false).await.is_empty());
    world.control.remove_folder(world.folder("d"));
    minutes(6).await;
    assert_reason(world.list("d", false).await, "DIRECTORY_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn files_removed_behind_our_back_are_missing_and_others_go() {
    for missing in [RmMissing::RemovedZero, RmMissing::Ko, RmMissing::NotFound] {
        for batch in [Batch::Partial, Batch::AllOrNothing] {
            let context = format!("{missing:?} {batch:?}");
            let world = played(|behaviour| {
                behaviour.rm_missing = missing;
                behaviour.batch = batch;
            })
            .await;
            for name in ["a", "b", "c", "d"] {
                world.put(name, name.as_bytes()).await.unwrap();
            }
            for gone in ["b", "c"] {
                assert!(world.control.remove_file(&world.urls(gone)[0]));
            }
            assert_eq!(world.delete(&["b"]).await, ["FILE_NOT_FOUND"], "{context}");
            let results = world.delete(&["a", "c", "d"]).await;
            assert_eq!(results, ["", "FILE_NOT_FOUND", ""], "{context}");
            assert!(world.stored().is_empty(), "{context}");
            minutes(6).await;
            world.assert_agreement(&context).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_files_removed_behind_our_back_do_not_lead_to_a_ban() {
    for missing in [RmMissing::RemovedZero, RmMissing::Ko, RmMissing::NotFound] {
        for batch in [Batch::Partial, Batch::AllOrNothing] {
            let context = format!("{missing:?} {batch:?}");
            let world = played(|behaviour| {
                behaviour.rm_missing = missing;
                behaviour.batch = batch;
            })
            .await;
            world.control.add_many_files(0, "f", 250, 10);
            let names = world.names("", false).await;
            for name in names.iter().take(230) {
                world.control.remove_file(&world.urls(name)[0]);
            }
            minutes(1).await;
            world.control.reset_calls();
            let paths: Vec<_> = names.iter().map(String::as_str).collect();
            let results = world.delete(&paths).await;
            for (name, result) in names.iter().zip(&results) {
                let expected = if name.as_str() < "f00230" {
                    "FILE_NOT_FOUND"
                } else {
                    ""
                };
                assert_eq!(result, expected, "{context}: {name}");
            }
            assert!(world.stored().is_empty(), "{context}");
            let calls = world.control.calls();
            assert!(calls.total_v1() <= 12, "{context}: {calls}");
            // Not banned: the account still answers.
            assert!(world.mkdir("new").await.unwrap().created, "{context}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_replaced_whatever_its_url_answers() {
    for refusal in [
        TokenRefusal::Forbidden,
        TokenRefusal::NotFound,
        TokenRefusal::Gone,
        TokenRefusal::Redirect,
        TokenRefusal::Html,
    ] {
        let world = played(|behaviour| {
            behaviour.token_refusal = refusal;
            // Sooner than documented: the client cannot know.
            behaviour.token_resume = Duration::from_secs(60);
            behaviour.token_start = Duration::from_secs(60);
        })
        .await;
        let data = content(300_000);
        world.put("f", &data).await.unwrap();
        for (pause, tokens) in [(0, 1), (1, 1), (2, 2), (6, 3)] {
            minutes(pause).await;
            assert!(world.get("f").await.unwrap().content == data, "{refusal:?}");
            let calls = world.control.calls();
            assert_eq!(calls.get("download/get_token"), tokens, "{refusal:?}");
        }
        // Where no token ever works, the client is told, soon.
        world.control.set_behaviour(|behaviour| {
            behaviour.token_start = Duration::ZERO;
            behaviour.token_resume = Duration::ZERO;
        });
        minutes(6).await;
        world.control.reset_calls();
        world.fail(
            "download",
            100,
            pluton_fichier::emulator::FaultKind::TokenExpired,
        );
        assert_reason(world.get("f").await, "UPSTREAM_UNAVAILABLE");
        assert!(world.control.calls().get("download/get_token") <= 3);
    }
}

#[tokio::test(start_paused = true)]
async fn listings_that_lag_neither_hide_nor_resurrect() {
    let world = played(|behaviour| behaviour.index_delay = Duration::from_secs(90)).await;
    world.mkdir("d").await.unwrap();
    world.put("d/a", b"one").await.unwrap();
    world.put("d/b", b"two").await.unwrap();
    world.put("d/b", b"three").await.unwrap();
    assert_eq!(world.delete(&["d/a"]).await, [""]);
    for _ in 0..12 {
        assert_eq!(world.listed_within("d", 0).await.0, ["d/b"]);
        let entry = world.stat("d/b").await.unwrap();
        assert_eq!((entry.size, entry.attributes.len()), (Some(5), 0));
        seconds(31).await;
    }
    assert!(
        world.control.calls().get("folder/ls") >= 10,
        "upstream was asked"
    );
    world.assert_agreement("after the lag").await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_just_emptied_can_be_removed_while_listings_lag() {
    let world = played(|behaviour| behaviour.index_delay = Duration::from_secs(10)).await;
    world.put("d/a", b"x").await.unwrap();
    seconds(20).await;
    assert_eq!(world.delete(&["d/a"]).await, [""]);
    world.rmdir("d").await.unwrap();
    assert!(world.stored_all().is_empty());
    assert!(world.names("", true).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_folder_filled_behind_our_back_is_not_removed() {
    let world = world().await;
    world.put("d/a", b"x").await.unwrap();
    assert_eq!(world.delete(&["d/a"]).await, [""]);
    world.control.add_file(world.folder("d"), "theirs", b"x");
    assert_reason(world.rmdir("d").await, "DIRECTORY_NOT_EMPTY");
    // It is known now that something is in it.
    seconds(31).await;
    assert_eq!(world.names("d", false).await, ["d/theirs"]);
}

#[tokio::test(start_paused = true)]
async fn names_that_1fichier_changes_or_refuses_leave_nothing() {
    for rule in [ForbiddenChars::Refuse, ForbiddenChars::Replace] {
        let mut options = Options::default();
        options.behaviour.forbidden_chars = rule;
        let plain: Mask = "Slash".parse().unwrap();
        let world = build(options, |config| config.remotes[0].encoding = plain).await;
        world.put("good", b"x").await.unwrap();
        for path in ["a<b.txt", "new/a$b", "f<g/h"] {
            assert_reason(world.put(path, b"content").await, "INVALID_PATH");
        }
        let large = content((16 << 20) + 1);
        assert_reason(world.put("large<", &large).await, "INVALID_PATH");
        assert_reason(world.mkdir("x<y").await, "INVALID_PATH");
        seconds(60).await;
        assert_eq!(world.stored_all(), ["good"], "{rule:?}");
        minutes(6).await;
        world.assert_agreement(&format!("{rule:?}")).await;
        // One bad name does not spoil the files that leave with it.
        let names = ["one", "two<", "three", "four"];
        let puts = names.map(|name| world.put(name, b"together"));
        let results: Vec<_> = join_all(puts)
            .await
            .into_iter()
            .map(|r| r.is_ok())
            .collect();
        assert_eq!(results, [true, false, true, true], "{rule:?}");
        seconds(60).await;
        assert_eq!(world.stored(), ["four", "good", "one", "three"], "{rule:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn node_hiccups_fail_no_upload() {
    for concurrent in [1, 8, 40] {
        let world = played(|behaviour| behaviour.node_failure_percent = 30).await;
        let numbers: Vec<usize> = (0..40).collect();
        for together in numbers.chunks(concurrent) {
            let puts = together.iter().map(|number| {
                let world = &world;
                async move {
                    world
                        .put(&format!("d/{number}"), &content(100 + number))
                        .await
                }
            });
            for stored in join_all(puts).await {
                stored.unwrap();
            }
        }
        assert_eq!(world.stored().len(), 40);
        minutes(6).await;
        world.assert_agreement("after hiccups").await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_calls_for_one_listing_stay_within_strict_limits() {
    let options = Options {
        limits: Limits::strict(),
        ..Options::default()
    };
    let world = build(options, |_| ()).await;
    world
        .control
        .set_behaviour(|behaviour| behaviour.folder_ls_ignores_files = true);
    for number in 0..12 {
        let folder = world.control.add_folder(0, &format!("d{number:02}"));
        world.control.add_file(folder, "f", b"x");
    }
    for _ in 0..2 {
        assert_eq!(world.names("", true).await.len(), 24);
        assert_eq!(
            world.control.calls().floods(),
            0,
            "{}",
            world.control.calls()
        );
        minutes(6).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_protected_file_of_our_own_is_listed_and_says_what_it_needs() {
    for needed in [true, false] {
        let world = played(|behaviour| behaviour.own_password_needed = needed).await;
        let url = world.control.add_file(0, "secret", b"secret");
        world.control.set_file_password(&url, Some("password"));
        let entry = world.stat("secret").await.unwrap();
        assert_eq!(entry.attributes["password"], "1");
        match world.get("secret").await {
            Ok(download) => assert!(!needed && download.content == b"secret"),
            Err(status) => {
                assert!(needed);
                assert_eq!(reason(&status), "UPSTREAM_ACCESS_DENIED");
            }
        }
        assert!(
            world.control.calls().get("download/get_token") == 1,
            "asked once"
        );
        assert_eq!(world.delete(&["secret"]).await, [""]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_account_lacks_is_named_once_and_not_repeated() {
    let account = |change: fn(&mut AccountOptions)| {
        let mut account = AccountOptions::default();
        change(&mut account);
        Options {
            accounts: vec![account],
            ..Options::default()
        }
    };
    let free = build(account(|account| account.offer = Offer::Free), |_| ()).await;
    free.control.add_file(0, "f", b"x");
    assert_reason(free.get("f").await, "UPSTREAM_PLAN_REQUIRED");
    assert_eq!(free.control.calls().get("download/get_token"), 1);

    let address = played(|behaviour| behaviour.professional_equipment = true).await;
    address.control.add_file(0, "f", b"x");
    assert_reason(address.get("f").await, "UPSTREAM_PLAN_REQUIRED");
    assert_eq!(address.control.calls().get("download/get_token"), 1);

    let full = build(account(|account| account.quota_bytes = 500), |_| ()).await;
    full.put("small", &content(400)).await.unwrap();
    assert_reason(
        full.put("new/more", &content(400)).await,
        "STORAGE_QUOTA_EXCEEDED",
    );
    seconds(60).await;
    assert_eq!(full.stored_all(), ["small"]);

    let other = build(
        account(|account| account.api_keys = vec!["x".repeat(32)]),
        |_| (),
    )
    .await;
    for _ in 0..20 {
        assert_reason(other.list("", false).await, "UPSTREAM_CREDENTIALS_REJECTED");
    }
    assert_eq!(
        other.control.calls().total_v1(),
        1,
        "a refused key is not tried again"
    );
    let answer = other
        .client
        .clone()
        .test_connection(TestConnectionRequest::default())
        .await;
    assert!(!answer.unwrap().into_inner().healthy);
}

#[tokio::test(start_paused = true)]
async fn an_old_file_of_the_same_content_is_not_taken_for_the_new_one() {
    // The report tells nothing, so that the folder is looked into.
    let world = played(|behaviour| behaviour.empty_links = 20).await;
    world.control.add_file(0, "same", b"content");
    let old = world.urls("same");
    let stored = world.put("same", b"content").await.unwrap();
    assert_eq!(world.urls("same"), std::slice::from_ref(&stored.id));
    assert_ne!(old, [stored.id]);
    world.assert_agreement("replaced by the same content").await;
}
