//! Passwords of files, and CDN credits.

use pluton_fichier::config::RemoteConfig;
use pluton_fichier::emulator::{AccountOptions, Batch, Options};
use pluton_fichier::fichier::Password;
use pluton_fichier::proto::*;

use crate::checks::*;
use crate::emitted::no_line_may_hold;
use crate::harness::*;

fn password(candidates: &[&str]) -> Option<Password> {
    for text in candidates {
        no_line_may_hold(text);
    }
    Some(Password::new(
        candidates.iter().map(|text| (*text).to_owned()),
    ))
}

/// An account with a remote for each of these options.
async fn remotes(options: Options, of: &[fn(&mut RemoteConfig)]) -> World {
    build(options, |config| {
        let first = config.remotes[0].clone();
        config.remotes = of
            .iter()
            .enumerate()
            .map(|(number, change)| {
                let mut remote = RemoteConfig {
                    name: format!("r{number}"),
                    ..first.clone()
                };
                change(&mut remote);
                remote
            })
            .collect();
    })
    .await
}

fn protect(world: &World, name: &str, pass: &str) {
    let url = world.control.add_file(0, name, name.as_bytes());
    world.control.set_file_password(&url, Some(pass));
}

/// The member of each body that an endpoint was sent.
fn sent(world: &World, endpoint: &str, member: &str) -> Vec<serde_json::Value> {
    let requests = world.control.last_requests();
    requests
        .iter()
        .filter(|request| request.endpoint == endpoint)
        .map(|request| {
            let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
            body.get(member).cloned().unwrap_or_default()
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn both_meanings_are_tried_and_the_one_that_works_is_remembered() {
    let world = remotes(
        Options::default(),
        &[|remote| remote.file_password = password(&["plain text", "obscured"])],
    )
    .await;
    for name in ["a", "b", "c"] {
        protect(&world, name, "obscured");
    }
    let tokens = || world.control.calls().get("download/get_token");
    assert_eq!(world.get("a").await.unwrap().content, b"a");
    assert_eq!(tokens(), 2);
    assert_eq!(world.get("a").await.unwrap().content, b"a");
    assert_eq!(world.get("b").await.unwrap().content, b"b");
    assert_eq!(tokens(), 3, "the second meaning first");
    let passes = sent(&world, "download/get_token", "pass");
    assert_eq!(passes, ["plain text", "obscured", "obscured"]);
    // The other one is still tried.
    let url = world.urls("c")[0].clone();
    world.control.set_file_password(&url, Some("plain text"));
    assert_eq!(world.get("c").await.unwrap().content, b"c");
    assert_eq!(tokens(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_missing_or_wrong_password_is_asked_for_once_and_named() {
    for (change, calls, word) in [
        (
            (|_| ()) as fn(&mut RemoteConfig),
            1,
            "has none; set its `file_password`",
        ),
        (
            |remote| remote.file_password = password(&["wrong"]),
            1,
            "is not the password of the file",
        ),
        (
            |remote| remote.file_password = password(&["wrong", "too"]),
            2,
            "is not the password of the file",
        ),
    ] {
        let world = remotes(Options::default(), &[change]).await;
        protect(&world, "f", "secret");
        for _ in 0..20 {
            let status = assert_reason(world.get("f").await, "UPSTREAM_ACCESS_DENIED");
            assert!(status.message().contains(word), "{status:?}");
            assert!(!format!("{status:?}").contains("wrong"), "{status:?}");
        }
        assert_eq!(world.control.calls().get("download/get_token"), calls);
        minutes(6).await;
        assert_reason(world.get("f").await, "UPSTREAM_ACCESS_DENIED");
        assert_eq!(world.control.calls().get("download/get_token"), 2 * calls);
        // What is not protected is read all the same.
        world.control.add_file(0, "g", b"g");
        minutes(6).await;
        assert_eq!(world.get("g").await.unwrap().content, b"g");
    }
}

#[tokio::test(start_paused = true)]
async fn remotes_of_one_account_do_not_read_with_each_others_passwords() {
    let world = remotes(
        Options::default(),
        &[
            |remote| remote.file_password = password(&["secret"]),
            |remote| remote.file_password = password(&["wrong"]),
            |_| (),
            |remote| remote.file_password = password(&["secret"]),
        ],
    )
    .await;
    protect(&world, "f", "secret");
    world.on("r0").get("f").await.unwrap();
    for remote in ["r1", "r2"] {
        let refused = world.on(remote).get("f").await;
        assert_reason(refused, "UPSTREAM_ACCESS_DENIED");
    }
    // Nor does their refusal stand in the way.
    world.on("r0").get("f").await.unwrap();
    world.on("r3").get("f").await.unwrap();
    assert_eq!(world.control.calls().get("download/get_token"), 3);
    assert_eq!(world.control.calls().get("folder/ls"), 1);
}

#[tokio::test(start_paused = true)]
async fn copies_of_protected_files_carry_the_password() {
    for batch in [Batch::Partial, Batch::AllOrNothing] {
        let mut options = Options::default();
        options.behaviour.batch = batch;
        let world = remotes(
            options,
            &[
                |remote| remote.file_password = password(&["plain", "secret"]),
                |_| (),
            ],
        )
        .await;
        world.control.add_folder(0, "to");
        for name in ["a", "b", "c"] {
            protect(&world, name, "secret");
        }
        world.control.add_file(0, "open", b"open");
        let copied = world.on("r0").copy("a", "to/a").await.unwrap();
        assert_eq!(copied.path, "to/a");
        world.on("r0").copy("b", "to/renamed").await.unwrap();
        assert_eq!(world.control.calls().get("file/cp"), 3);
        assert_eq!(
            sent(&world, "file/cp", "pass"),
            ["plain", "secret", "secret"]
        );
        // One that may not be copied does not take others along.
        let (denied, open) = (world.on("r1"), world.on("r1"));
        let (denied, open) = tokio::join!(denied.copy("c", "to/c"), open.copy("open", "to/open"));
        let status = assert_reason(denied, "UPSTREAM_ACCESS_DENIED");
        assert!(status.message().contains("`file_password`"), "{status:?}");
        open.unwrap();
        // Protected since it was listed.
        let url = world.urls("open")[0].clone();
        world.control.set_file_password(&url, Some("secret"));
        world.on("r0").copy("open", "to/again").await.unwrap();
        assert_eq!(
            world.stored()[4..],
            ["to/a", "to/again", "to/open", "to/renamed"],
            "{batch:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn protected_files_are_moved_replaced_and_removed_without_it() {
    let world = world().await;
    for name in ["a", "b", "c"] {
        protect(&world, name, "secret");
    }
    let request = MoveRequest {
        source_path: "a".into(),
        destination_path: "d/a".into(),
        ..MoveRequest::default()
    };
    world.client.clone().r#move(request).await.unwrap();
    world.put("b", b"new").await.unwrap();
    assert_eq!(world.delete(&["c"]).await, [""]);
    assert_eq!(world.stored(), ["b", "d/a"]);
}

#[tokio::test(start_paused = true)]
async fn cdn_is_sent_where_it_is_set_and_never_else() {
    let world = remotes(Options::default(), &[|remote| remote.cdn = true, |_| ()]).await;
    world.control.add_file(0, "f", b"f");
    world.on("r0").get("f").await.unwrap();
    world.on("r1").get("f").await.unwrap();
    let cdn = sent(&world, "download/get_token", "cdn");
    assert_eq!(cdn, [serde_json::json!(1), serde_json::Value::Null]);
}

#[tokio::test(start_paused = true)]
async fn a_servers_address_is_explained_and_does_not_stop_who_pays() {
    let account = AccountOptions {
        cdn_credits: 3.5,
        ..AccountOptions::default()
    };
    let mut options = Options {
        accounts: vec![account],
        ..Options::default()
    };
    options.behaviour.professional_equipment = true;
    options.behaviour.cdn_forced = false;
    let world = remotes(options, &[|_| (), |remote| remote.cdn = true]).await;
    for name in ["a", "b"] {
        world.control.add_file(0, name, name.as_bytes());
    }
    for name in ["a", "b", "a"] {
        let status = assert_reason(world.on("r0").get(name).await, "UPSTREAM_PLAN_REQUIRED");
        for word in ["CDN credits", "`cdn`", "Premium GOLD", "residential"] {
            assert!(status.message().contains(word), "{word}: {status:?}");
        }
    }
    assert_eq!(world.control.calls().get("download/get_token"), 1);
    for name in ["a", "b"] {
        let download = world.on("r1").get(name).await.unwrap();
        assert_eq!(download.content, name.as_bytes());
    }
    // The refusal is of all files, and of five minutes.
    minutes(4).await;
    assert_reason(world.on("r0").get("b").await, "UPSTREAM_PLAN_REQUIRED");
    assert_eq!(world.control.calls().get("download/get_token"), 3);
    minutes(2).await;
    world
        .control
        .set_behaviour(|behaviour| behaviour.professional_equipment = false);
    world.on("r0").get("b").await.unwrap();

    // Without credits the option alone helps nobody.
    minutes(6).await;
    world
        .control
        .set_behaviour(|behaviour| behaviour.professional_equipment = true);
    world
        .control
        .set_account(0, |account| account.cdn_credits = 0.0);
    for _ in 0..3 {
        assert_reason(world.on("r1").get("a").await, "UPSTREAM_PLAN_REQUIRED");
    }
    assert_eq!(world.control.calls().get("download/get_token"), 5);
}
