//! Limits, locks and bans, in paused time.

use super::*;

async fn limited(limits: Limits) -> Rig {
    Rig::start(Options {
        limits,
        ..Options::default()
    })
    .await
}

fn is_flood(reply: &Reply) -> bool {
    reply.status == 403 && reply.message().starts_with("Flood detected: IP Locked #")
}

async fn free_call(rig: &Rig) -> Reply {
    rig.call("remote/ls", json!({})).await
}

#[tokio::test(start_paused = true)]
async fn three_calls_a_second_and_a_lock() {
    let rig = limited(Limits::documented()).await;
    let (node, id) = rig.node().await;
    for _ in 0..2 {
        assert_eq!(free_call(&rig).await.status, 200);
    }
    let flood = free_call(&rig).await;
    assert!(is_flood(&flood), "{flood:?}");
    // Nodes are not locked.
    let request = rig.upload_request(&node, &id, form(0, &[("a", "x")]));
    assert_eq!(request.send().await.unwrap().status(), 302);
    pass(29).await;
    assert!(is_flood(&free_call(&rig).await));
    pass(1).await;
    assert_eq!(free_call(&rig).await.status, 200);
    assert_eq!(rig.calls().floods(), 2);
}

#[tokio::test(start_paused = true)]
async fn flood_numbers_vary() {
    let rig = limited(Limits {
        requests_per_second: Some(1),
        ..Limits::documented()
    })
    .await;
    free_call(&rig).await;
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(free_call(&rig).await.message());
    }
    let expected =
        ["374", "412", "1032"].map(|number| format!("Flood detected: IP Locked #{number}"));
    assert_eq!(messages, expected);
}

#[tokio::test(start_paused = true)]
async fn a_lock_may_be_extended_by_impatience() {
    let rig = limited(Limits {
        requests_per_second: Some(1),
        lock_extends: true,
        ..Limits::documented()
    })
    .await;
    free_call(&rig).await;
    assert!(is_flood(&free_call(&rig).await));
    pass(20).await;
    assert!(is_flood(&free_call(&rig).await));
    pass(20).await;
    assert!(is_flood(&free_call(&rig).await));
    pass(30).await;
    assert_eq!(free_call(&rig).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn one_repeated_listing_is_tolerated() {
    let rig = limited(Limits::documented()).await;
    let list = async || rig.call("file/ls", json!({"folder_id": 0})).await;
    assert_eq!(list().await.status, 200);
    pass(5).await;
    assert_eq!(list().await.status, 200);
    pass(5).await;
    assert!(is_flood(&list().await));
    pass(30).await;
    assert_eq!(list().await.status, 200);

    rig.control.reset_limits();
    rig.control.set_limits(Limits::strict());
    assert_eq!(list().await.status, 200);
    pass(29).await;
    assert!(is_flood(&list().await));
}

#[tokio::test(start_paused = true)]
async fn listings_of_all_folders_together_are_limited() {
    let rig = limited(Limits::documented()).await;
    for folder in 0..5 {
        let reply = rig.call("folder/ls", json!({"folder_id": 0})).await;
        assert_eq!(reply.status, 200, "{folder}");
        tokio::time::advance(Duration::from_millis(400)).await;
    }
    assert!(is_flood(
        &rig.call("folder/ls", json!({"folder_id": 0})).await
    ));
}

#[tokio::test(start_paused = true)]
async fn the_account_is_listed_once_an_hour() {
    let rig = limited(Limits::documented()).await;
    let url = rig.control.add_file(0, "a", b"x");
    let list = async || rig.call("file/ls", json!({"folder_id": -1})).await;
    let first = list().await.json();
    assert_eq!(first["items"][0]["url"], url);
    assert_eq!(first["items"][0]["folder_id"], 0);
    pass(3_599).await;
    assert!(is_flood(&list().await));
    pass(31).await;
    assert_eq!(list().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn user_info_has_limits_of_its_own() {
    let rig = limited(Limits::documented()).await;
    let info = async || rig.call("user/info", json!({})).await;
    let first = info().await.json();
    assert_eq!(first["offer"], "1");
    assert_eq!(first["default_quota"], 1_000_000_000_000_u64);
    pass(30).await;
    assert!(is_flood(&info().await));
    // Nothing else is locked.
    assert_eq!(free_call(&rig).await.status, 200);
    pass(60).await;
    assert_eq!(info().await.message(), "Flood detected: User Locked #223");
    pass(300).await;
    assert_eq!(info().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn repeated_refusals_lead_to_a_ban() {
    let rig = limited(Limits {
        requests_per_second: None,
        ..Limits::documented()
    })
    .await;
    let missing = json!({"url": "https://1fichier.com/?none"});
    for _ in 0..10 {
        let reply = rig.call("file/info", missing.clone()).await;
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (404, "Resource not found #469")
        );
    }
    let banned = free_call(&rig).await;
    assert_eq!(
        (banned.status, banned.message().as_str()),
        (403, "IP Locked #79")
    );
    pass(3_600).await;
    assert_eq!(free_call(&rig).await.status, 200);
}

#[tokio::test]
async fn no_limits() {
    let rig = Rig::free().await;
    for _ in 0..30 {
        assert_eq!(rig.call("file/ls", json!({})).await.status, 200);
        assert_eq!(rig.call("user/info", json!({})).await.status, 200);
    }
    assert_eq!(rig.calls().floods(), 0);
}
