//! Download tokens: how long they last, and who gets one.

use super::*;
use crate::emulator::{AccountOptions, Acl, Offer, TokenRefusal};

#[tokio::test(start_paused = true)]
async fn tokens_end() {
    let rig = Rig::free().await;
    let url = rig.put(0, "f", "content").await;
    let unused = rig.token(&url, 0).await;
    let used = rig.token(&url, 0).await;
    assert_eq!(rig.get(&used, None).await.text, "content");
    pass(301).await;
    for (refusal, status) in [
        (TokenRefusal::Forbidden, 403),
        (TokenRefusal::NotFound, 404),
        (TokenRefusal::Gone, 410),
        (TokenRefusal::Redirect, 302),
        (TokenRefusal::Html, 200),
    ] {
        rig.control.set_behaviour(|b| b.token_refusal = refusal);
        let reply = rig.get(&unused, None).await;
        assert_eq!(reply.status, status);
        assert!(reply.header("content-type").starts_with("text/html"));
    }
    assert_eq!(rig.get(&used, Some("bytes=0-0")).await.text, "c");
    pass(1_500).await;
    assert!(rig.get(&used, None).await.text.contains("expired"));

    let single = rig.token(&url, 1).await;
    assert_eq!(rig.get(&single, None).await.text, "content");
    assert!(rig.get(&single, None).await.text.contains("expired"));
    rig.control.set_behaviour(|b| {
        b.single_enforced = false;
        b.token_redirect = true;
    });
    let moved = rig.get(&single, None).await;
    assert_eq!(moved.status, 302);
    let next = format!("{}{}", rig.base, moved.header("location"));
    assert_eq!(rig.get(&next, None).await.text, "content");
}

#[tokio::test]
async fn who_may_download() {
    let rig = Rig::start(Options {
        limits: Limits::none(),
        accounts: vec![
            AccountOptions::default(),
            AccountOptions {
                api_keys: vec!["x".repeat(32)],
                email: "other@example.org".to_owned(),
                offer: Offer::Free,
                ..AccountOptions::default()
            },
        ],
        ..Options::default()
    })
    .await;
    let url = rig.put(0, "f", "x").await;
    let message = async |body: Value| rig.call("download/get_token", body).await.message();
    rig.control.set_file_password(&url, Some("secret"));
    assert!(
        message(json!({"url": url}))
            .await
            .starts_with("Password not provided.")
    );
    assert!(
        message(json!({"url": url, "pass": "wrong"}))
            .await
            .starts_with("Invalid password.")
    );
    rig.ok("download/get_token", json!({"url": url, "pass": "secret"}))
        .await;
    rig.control.set_behaviour(|b| b.own_password_needed = false);
    rig.ok("download/get_token", json!({"url": url, "pass": null}))
        .await;

    rig.control
        .set_behaviour(|b| b.professional_equipment = true);
    assert!(
        message(json!({"url": url}))
            .await
            .contains("professional equipment, must have CDN")
    );
    // Credits are used by force, or where they are asked for.
    rig.control
        .set_account(0, |account| account.cdn_credits = 2.5);
    rig.ok("download/get_token", json!({"url": url})).await;
    rig.control.set_behaviour(|b| b.cdn_forced = false);
    assert!(
        message(json!({"url": url, "cdn": 0}))
            .await
            .contains("must have CDN")
    );
    rig.ok("download/get_token", json!({"url": url, "cdn": 1}))
        .await;
    rig.control.set_account(0, |account| {
        account.cdn_credits = 0.0;
        account.offer = Offer::Gold;
    });
    rig.ok("download/get_token", json!({"url": url})).await;

    let acl = Acl {
        email: vec!["other@example.org".to_owned()],
        ..Acl::default()
    };
    rig.control.set_file_acl(&url, acl);
    assert_eq!(
        message(json!({"url": url})).await,
        "Resource not allowed #631"
    );
    rig.control.set_file_acl(&url, Acl::default());
    rig.control.set_account(0, |account| account.locked = true);
    assert_eq!(message(json!({"url": url})).await, "Owner locked #620");
    rig.control
        .set_account(0, |account| account.offer = Offer::Free);
    assert_eq!(
        message(json!({"url": url})).await,
        "Must be a customer (Premium, Access) #236"
    );

    // Another account cannot remove it.
    let foreign = rig
        .post_with(
            &"x".repeat(32),
            "file/rm",
            &json!({"files": [{"url": url}]}),
        )
        .send();
    let answer = Reply::of(foreign.await.unwrap()).await.json();
    assert_eq!(answer["removed"], 0);
}
