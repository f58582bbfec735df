//! Remotes that show a public folder: another source of the list, the same
//! budget, and nothing that can be changed.

use std::time::Duration;

use pluton_fichier::config::{Config, RemoteConfig};
use pluton_fichier::emulator::{AccountOptions, Acl, FaultKind, Options, Request};
use pluton_fichier::fichier::{ApiKey, Password, ShareId};
use pluton_fichier::proto::*;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::checks::*;
use crate::emitted::no_line_may_hold;
use crate::harness::*;

const READER: &str = "reader-key_for=the_emulated_api=";

fn password(candidates: &[&str]) -> Option<Password> {
    for text in candidates {
        no_line_may_hold(text);
    }
    Some(Password::new(
        candidates.iter().map(|text| (*text).to_owned()),
    ))
}

fn shared(name: &str, key: Option<ApiKey>, folder: &str) -> RemoteConfig {
    RemoteConfig {
        shared_folder: ShareId::new(folder).ok(),
        ..RemoteConfig::new(name, key)
    }
}

/// A world whose folder "public" is shared, and whose server has a remote
/// "public" beside its own.
async fn sharing(
    pass: Option<&str>,
    options: Options,
    adapt: impl FnOnce(&mut Config, &str),
) -> (World, u64) {
    // The id of the share is known only when the account is there.
    let mut world = build(options, |_| ()).await;
    let folder = world.control.add_folder(0, "public");
    let share = world.control.share_folder(folder, pass);
    let key = world.config.remotes[0].key.clone();
    let mut config = world.config.clone();
    config.remotes.push(shared("public", key, &share));
    adapt(&mut config, &share);
    world.reconfigure(config).await;
    (world, folder)
}

async fn public(folder_files: &[(&str, &[u8])]) -> World {
    let (world, folder) = sharing(None, Options::default(), |_, _| ()).await;
    for (name, content) in folder_files {
        world.control.add_file(folder, name, content);
    }
    world
}

fn pages(world: &World) -> Vec<Request> {
    let requests = world.control.last_requests();
    requests
        .into_iter()
        .filter(|request| request.endpoint == "dir")
        .collect()
}

impl World {
    async fn reconfigure(&mut self, config: Config) {
        self.config = config;
        self.restart().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_folder_is_a_flat_list_that_costs_one_page() {
    let world = public(&[
        ("a＄b.txt", b"one"),
        ("twice", b"first"),
        ("twice", b"second!"),
        ("été", b"three"),
    ])
    .await;
    let folder = world.folder("public");
    world.control.add_folder(folder, "not shown");
    world.control.reset_calls();

    let on = world.on("public");
    assert_eq!(on.names().await, ["a$b.txt", "twice", "été"]);
    let entries = on.list("").await.unwrap();
    assert_eq!(entries[0].size, Some(3));
    assert_eq!(entries[1].attributes["duplicates"], "2");
    assert!(entries[0].checksums.is_empty() && entries[0].modify_time.is_none());
    assert!(world.urls("public/a＄b.txt").contains(&entries[0].id));
    assert_eq!(on.stat("a$b.txt").await.unwrap(), entries[0]);
    assert_reason(on.stat("none").await, "FILE_NOT_FOUND");
    assert_eq!(world.control.calls().get("dir"), 1);
    assert_eq!(world.control.calls().total_v1(), 0, "no call to the API");

    let download = on.get("a$b.txt").await.unwrap();
    assert_eq!(download.content, b"one");
    assert!(
        !download.trailer.verified,
        "there is nothing to compare with"
    );
    assert!(download.trailer.checksums.is_empty());
    let calls = world.control.calls();
    assert_eq!((calls.get("download/get_token"), calls.total_v1()), (1, 1));

    for page in pages(&world) {
        assert!(!page.authorized, "no key is sent there");
        assert_eq!(page.method, "GET");
        assert!(page.target.ends_with("?json=1"), "{}", page.target);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_below_the_root() {
    let world = public(&[("file", b"x")]).await;
    let on = world.on("public");
    assert_reason(on.list("sub").await, "DIRECTORY_NOT_FOUND");
    assert_reason(on.list("sub/deeper").await, "DIRECTORY_NOT_FOUND");
    assert_reason(on.list("file").await, "NOT_A_DIRECTORY");
    assert_reason(on.stat("sub/file").await, "FILE_NOT_FOUND");
    assert_reason(on.get("sub/file").await, "FILE_NOT_FOUND");
    assert_reason(on.get("").await, "IS_A_DIRECTORY");
    assert_eq!(on.stat("").await.unwrap().r#type(), EntryType::Directory);
    assert_eq!(world.control.calls().get("dir"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_page_is_asked_for_once_in_thirty_seconds() {
    let mut world = public(&[("file", b"x")]).await;
    let folder = world.folder("public");
    assert_eq!(world.on("public").names().await, ["file"]);
    world.control.add_file(folder, "new", b"y");
    for _ in 0..3 {
        world.on("public").list_within("", Some(0)).await.unwrap();
        seconds(5).await;
    }
    world.restart().await;
    let entries = world.on("public").list_within("", Some(0)).await.unwrap();
    assert_eq!(entries.len(), 1, "what is known, rather than too early");
    assert_eq!(world.control.calls().get("dir"), 1);
    seconds(16).await;
    let entries = world.on("public").list_within("", Some(0)).await.unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(world.control.calls().get("dir"), 2);

    // A page that failed may have counted.
    minutes(6).await;
    world.fail("dir", 1, FaultKind::Status(503));
    assert_reason(world.on("public").list("").await, "UPSTREAM_UNAVAILABLE");
    let start = Instant::now();
    assert_eq!(world.on("public").names().await, ["file", "new"]);
    assert!(
        start.elapsed() >= Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(world.control.calls().get("dir"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_warm_start_asks_for_nothing() {
    let mut world = public(&[("file", b"x")]).await;
    let before = world.on("public").list("").await.unwrap();
    world.restart().await;
    world.control.reset_calls();
    assert_eq!(world.on("public").list("").await.unwrap(), before);
    assert_eq!(world.control.calls().iter().count(), 0);
    // The account's own catalog is another one.
    assert_eq!(world.names("", true).await, ["public/", "public/file"]);
}

/// What every call that changes something answers.
async fn changes(world: &World, remote: &str) -> Vec<(&'static str, Status)> {
    let on = world.on(remote);
    let mut client = world.client.clone();
    let (remote, path) = (remote.to_owned(), "file".to_owned());
    let mut answers = Vec::new();
    macro_rules! refused {
        ($name:literal, $call:expr) => {
            answers.push(($name, $call.await.map(|_| ()).expect_err($name)));
        };
    }
    refused!("Put", on.put("new", b"x"));
    refused!("Put over it", on.put("file", b"x"));
    refused!("Put, large", on.put("large", &content(17 << 20)));
    refused!("Copy", on.copy("file", "copy"));
    refused!(
        "Move",
        client.r#move(MoveRequest {
            remote: remote.clone(),
            source_path: path.clone(),
            destination_path: "moved".into(),
            ..MoveRequest::default()
        })
    );
    refused!(
        "Delete",
        client.delete(DeleteRequest {
            remote: remote.clone(),
            targets: vec![DeleteTarget {
                path: path.clone(),
                ..DeleteTarget::default()
            }],
            allow_missing: true,
        })
    );
    refused!(
        "Mkdir",
        client.mkdir(MkdirRequest {
            remote: remote.clone(),
            path: "new".into(),
            ..MkdirRequest::default()
        })
    );
    refused!(
        "Mkdir of the root",
        client.mkdir(MkdirRequest {
            remote: remote.clone(),
            ..MkdirRequest::default()
        })
    );
    refused!(
        "Rmdir",
        client.rmdir(RmdirRequest {
            remote: remote.clone(),
            path: "none".into(),
            allow_missing: true,
        })
    );
    refused!(
        "Purge",
        client.purge(PurgeRequest {
            remote: remote.clone(),
            allow_root: true,
            ..PurgeRequest::default()
        })
    );
    refused!(
        "MoveDir",
        client.move_dir(MoveDirRequest {
            remote: remote.clone(),
            source_path: "a".into(),
            destination_path: "b".into(),
            ..MoveDirRequest::default()
        })
    );
    refused!(
        "PublicLink, revoked",
        client.public_link(PublicLinkRequest {
            remote: remote.clone(),
            path: path.clone(),
            revoke: true,
            ..PublicLinkRequest::default()
        })
    );
    refused!(
        "PublicLink with a password",
        client.public_link(PublicLinkRequest {
            remote: remote.clone(),
            path: path.clone(),
            password: "secret".into(),
            ..PublicLinkRequest::default()
        })
    );
    refused!(
        "Dedupe",
        client.dedupe(DedupeRequest {
            remote: remote.clone(),
            mode: DedupeMode::Newest.into(),
            ..DedupeRequest::default()
        })
    );
    answers
}

#[tokio::test(start_paused = true)]
async fn every_change_is_refused_before_any_request() {
    let world = public(&[("file", b"x")]).await;
    world.control.reset_calls();
    for (name, status) in changes(&world, "public").await {
        assert_eq!(status.code(), Code::PermissionDenied, "{name}: {status:?}");
        assert_eq!(reason(&status), "READ_ONLY", "{name}");
        assert_eq!(fact(&status, "remote"), "public", "{name}");
        assert!(status.message().contains("shared_folder"), "{name}");
    }
    assert_eq!(world.control.calls().iter().count(), 0);
    assert_eq!(world.stored(), ["public/file"]);
}

#[tokio::test(start_paused = true)]
async fn it_says_what_it_can_do() {
    let world = public(&[]).await;
    let info = world
        .client
        .clone()
        .get_info(GetInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    let [own, public] = &info.remotes[..] else {
        panic!("two remotes")
    };
    let can = |remote: &RemoteInfo| -> Vec<Capability> { remote.capabilities().collect() };
    assert_eq!(
        can(public),
        [
            Capability::About,
            Capability::List,
            Capability::ListRecursive,
            Capability::Stat,
            Capability::HashByDownload,
            Capability::Get,
            Capability::GetRanges,
            Capability::Refresh,
            Capability::Activity,
        ]
    );
    assert!(can(own).contains(&Capability::Put) && can(own).is_sorted());
    assert_eq!(public.stored_hashes().count(), 0);
    assert_eq!(public.recorded_hashes().count(), 0);
    let recorded: Vec<_> = own.recorded_hashes().collect();
    assert_eq!(recorded, [HashAlgorithm::Sha256, HashAlgorithm::Md5]);
    let read_only = |remote: &RemoteInfo| remote.traits.unwrap().read_only;
    assert!(read_only(public) && !read_only(own));
}

#[tokio::test(start_paused = true)]
async fn a_password_is_sent_in_either_meaning() {
    for (candidates, first) in [
        (&["pass word&é"][..], 1),
        (&["pass word&é", "obscured"], 1),
        (&["obscured", "pass word&é"], 2),
    ] {
        let (world, folder) = sharing(Some("pass word&é"), Options::default(), |config, _| {
            config.remotes[1].folder_password = password(candidates);
        })
        .await;
        world.control.add_file(folder, "file", b"x");
        for (step, expected) in [first, first + 1].into_iter().enumerate() {
            let entries = world.on("public").list_within("", Some(0)).await.unwrap();
            assert_eq!(entries.len(), 1);
            let calls = world.control.calls().get("dir");
            assert_eq!(calls, expected, "{candidates:?}, listing {step}");
            seconds(31).await;
        }
        let sent = pages(&world);
        assert!(
            sent.iter()
                .all(|page| page.method == "POST" && !page.authorized)
        );
        let last = &sent[sent.len() - 1].body;
        assert_eq!(last, "json=1&pass=pass+word%26%C3%A9");
        assert_eq!(world.control.calls().total_v1(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_or_wrong_password_says_what_to_set() {
    for (candidates, asked, word) in [
        (None, 1, "has none; set its `folder_password`"),
        (Some(&["wrong"][..]), 1, "is not the password"),
        (Some(&["wrong", "too"][..]), 2, "is not the password"),
    ] {
        let (world, _) = sharing(Some("secret"), Options::default(), |config, _| {
            config.remotes[1].folder_password = candidates.and_then(password);
        })
        .await;
        for _ in 0..5 {
            let status = assert_reason(world.on("public").list("").await, "UPSTREAM_ACCESS_DENIED");
            assert!(status.message().contains(word), "{status:?}");
            assert!(status.message().contains("folder_password"), "{status:?}");
            assert!(!format!("{status:?}").contains("wrong"), "{status:?}");
            let status = world.on("public").stat("file").await;
            assert_reason(status, "UPSTREAM_ACCESS_DENIED");
        }
        assert_eq!(world.control.calls().get("dir"), asked, "asked once");
        // Refresh asks again, as late as the rules of the page demand.
        let start = Instant::now();
        let request = RefreshRequest {
            remote: "public".into(),
            reload: true,
            ..RefreshRequest::default()
        };
        let again = world.client.clone().refresh(request).await;
        assert_reason(again.map(drop), "UPSTREAM_ACCESS_DENIED");
        assert!(start.elapsed() >= Duration::from_secs(30));
        assert_eq!(world.control.calls().get("dir"), 2 * asked);
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_password_shows_another_does_not() {
    let (world, folder) = sharing(Some("secret"), Options::default(), |config, share| {
        config.remotes[1].folder_password = password(&["secret"]);
        let key = config.remotes[0].key.clone();
        config.remotes.push(RemoteConfig {
            folder_password: password(&["wrong"]),
            ..shared("stranger", key.clone(), share)
        });
        config.remotes.push(RemoteConfig {
            folder_password: password(&["secret"]),
            ..shared("friend", key, share)
        });
    })
    .await;
    world.control.add_file(folder, "file", b"x");
    assert_eq!(world.on("public").names().await, ["file"]);
    assert_eq!(world.on("friend").names().await, ["file"]);
    assert_eq!(world.control.calls().get("dir"), 1, "one for both");
    let start = Instant::now();
    let refused = world.on("stranger").list("").await;
    assert_reason(refused, "UPSTREAM_ACCESS_DENIED");
    assert!(
        start.elapsed() >= Duration::from_secs(30),
        "it is the same page"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_share_says_so_whatever_is_asked() {
    let (world, _) = sharing(None, Options::default(), |config, _| {
        config.remotes[1].shared_folder = ShareId::new("Unknown1").ok();
    })
    .await;
    let on = world.on("public");
    for status in [
        on.list("").await.map(drop).unwrap_err(),
        on.stat("file").await.map(drop).unwrap_err(),
        on.get("file").await.map(drop).unwrap_err(),
    ] {
        assert_eq!(reason(&status), "DIRECTORY_NOT_FOUND");
        assert!(status.message().contains("`shared_folder`"), "{status:?}");
    }
    assert_eq!(
        world.control.calls().get("dir"),
        1,
        "and is not asked again"
    );
}

fn page(http: u16, text: &str) -> FaultKind {
    FaultKind::Page {
        http,
        text: text.to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_website_is_obeyed_with_a_whole_form_each_time() {
    let (mut world, folder) = sharing(Some("secret"), Options::default(), |config, _| {
        config.remotes[1].folder_password = password(&["secret"]);
    })
    .await;
    world.control.add_file(folder, "file", b"x");
    world.fail("dir", 1, page(200, "Your requests are too fast"));
    let start = Instant::now();
    assert_eq!(world.on("public").names().await, ["file"]);
    assert!(start.elapsed() >= Duration::from_secs(30));
    let bodies: Vec<_> = pages(&world).into_iter().map(|page| page.body).collect();
    assert_eq!(bodies, ["json=1&pass=secret"; 2]);

    seconds(31).await;
    world.fail("dir", 1, page(403, "IP Locked. Will be unlocked within 1h"));
    let refused = world.on("public").list_within("", Some(0)).await;
    let status = assert_reason(refused, "UPSTREAM_LOCKED");
    assert!(retry_delay(&status) > Duration::from_secs(3_500));
    // Only the website is locked.
    world.put("own", b"x").await.unwrap();
    // The lock outlives a restart.
    seconds(1).await;
    world.restart().await;
    let known = world.on("public").list_within("", Some(0)).await;
    assert_eq!(known.unwrap().len(), 1, "what is known");
    minutes(6).await;
    assert_reason(world.on("public").list("").await, "UPSTREAM_LOCKED");
    assert_eq!(world.control.calls().get("dir"), 3);
    minutes(61).await;
    world.on("public").list_within("", Some(0)).await.unwrap();
    assert_eq!(world.control.calls().get("dir"), 4);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_no_list_are_told_apart() {
    let world = public(&[("file", b"x")]).await;
    for (fault, expected, word) in [
        (page(200, "Welcome"), "UPSTREAM_UNAVAILABLE", "browser"),
        (FaultKind::EmptyBody, "UPSTREAM_UNAVAILABLE", "instead"),
        (FaultKind::TruncatedJson, "UPSTREAM_UNAVAILABLE", "JSON"),
        (FaultKind::Status(503), "UPSTREAM_UNAVAILABLE", "later"),
        (
            FaultKind::Redirect("/?c=DB".into()),
            "UPSTREAM_UNAVAILABLE",
            "database",
        ),
        (
            FaultKind::Redirect("/login.pl".into()),
            "UPSTREAM_UNAVAILABLE",
            "elsewhere",
        ),
        (
            FaultKind::ResetBeforeAnswer,
            "UPSTREAM_UNAVAILABLE",
            "broke",
        ),
    ] {
        world.fail("dir", 1, fault.clone());
        let status = assert_reason(world.on("public").list("").await, expected);
        assert!(status.message().contains(word), "{fault:?}: {status:?}");
        seconds(31).await;
    }
    assert_eq!(world.on("public").names().await, ["file"]);
    assert_eq!(world.control.calls().total_v1(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_the_key_is_one_and_that_of_the_website_another() {
    let (world, folder) = sharing(None, Options::default(), |config, _| {
        let other = ApiKey::new(READER).unwrap();
        config
            .remotes
            .push(RemoteConfig::new("reader", Some(other)));
    })
    .await;
    world.control.add_file(folder, "file", b"x");
    world.control.add_file(0, "own", b"x");
    world.on("public").get("file").await.unwrap();
    world.get("own").await.unwrap();
    let activity = async |remote: &str| {
        let request = GetActivityRequest {
            remote: remote.to_owned(),
        };
        let answer = world.client.clone().get_activity(request).await.unwrap();
        answer.into_inner().budgets
    };
    let seen = |budgets: &[Budget]| -> Vec<(BudgetScope, Vec<String>)> {
        let seen = budgets
            .iter()
            .map(|budget| (budget.scope(), budget.remotes.clone()));
        seen.collect()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let api = (BudgetScope::Api, names(&["fichier", "public"]));
    let website = (BudgetScope::Website, names(&["public"]));
    let reader = (BudgetScope::Api, names(&["reader"]));
    let all = activity("").await;
    assert_eq!(seen(&all), [api.clone(), website.clone(), reader.clone()]);
    assert_eq!(all[0].calls_last_minute["download/get_token"], 2);
    assert_eq!(all[1].calls_last_minute["dir"], 1);
    assert!(all[2].calls_last_minute.is_empty());
    assert_eq!(seen(&activity("public").await), [api.clone(), website]);
    assert_eq!(seen(&activity("fichier").await), [api]);
    assert_eq!(seen(&activity("reader").await), [reader]);

    // A flood that one of them meets is waited for by both.
    minutes(6).await;
    world.fail("download/get_token", 1, FaultKind::Flood);
    let start = Instant::now();
    world.on("public").get("file").await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(30));
    world.control.lock([127, 0, 0, 1].into());
    minutes(6).await;
    let start = Instant::now();
    let (public, own) = (world.on("public"), world.on("fichier"));
    let (left, right) = tokio::join!(public.get("file"), own.get("own"));
    assert!(left.is_ok() && right.is_ok());
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "one pace for both"
    );
    assert!(world.control.calls().floods() <= 2);
}

#[tokio::test(start_paused = true)]
async fn the_account_is_asked_about_once_for_all_remotes_of_its_key() {
    let mut world = public(&[]).await;
    let about = async |world: &World, remote: &str| {
        let mut about = world.on(remote).about().await.unwrap();
        // Remembered to the millisecond.
        about.as_of_time.as_mut().unwrap().nanos /= 1_000_000;
        about
    };
    let own = about(&world, "fichier").await;
    assert_eq!(about(&world, "public").await, own);
    world.restart().await;
    assert_eq!(about(&world, "public").await, own);
    assert_eq!(about(&world, "fichier").await, own);
    assert_eq!(world.control.calls().get("user/info"), 1);
    minutes(6).await;
    let later = about(&world, "public").await;
    assert!(later.as_of_time.unwrap().seconds > own.as_of_time.unwrap().seconds);
    world.restart().await;
    assert_eq!(about(&world, "fichier").await, later);
    assert_eq!(world.control.calls().get("user/info"), 2);
}

/// The shared folder of somebody else.
async fn foreign(adapt: impl FnOnce(&mut Config, &str)) -> (World, u64) {
    let reader = AccountOptions {
        api_keys: vec![READER.to_owned()],
        email: "reader@example.org".to_owned(),
        ..AccountOptions::default()
    };
    let options = Options {
        accounts: vec![AccountOptions::default(), reader],
        ..Options::default()
    };
    sharing(None, options, |config, share| {
        for remote in &mut config.remotes {
            remote.key = Some(ApiKey::new(READER).unwrap());
        }
        adapt(config, share);
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_told_without_pointless_calls() {
    let (world, folder) = foreign(|config, share| {
        let key = config.remotes[0].key.clone();
        config.remotes.push(RemoteConfig {
            file_password: password(&["secret"]),
            ..shared("knowing", key, share)
        });
    })
    .await;
    let secret = world.control.add_file(folder, "secret", b"secret");
    world.control.set_file_password(&secret, Some("secret"));
    let closed = world.control.add_file(folder, "closed", b"closed");
    let open = world.control.add_file(folder, "for readers", b"open");
    let acl = |email: &str| Acl {
        email: vec![email.to_owned()],
        ..Acl::default()
    };
    world
        .control
        .set_file_acl(&closed, acl("other@example.org"));
    world.control.set_file_acl(&open, acl("reader@example.org"));
    world.control.add_file(folder, "free", b"free");

    let on = world.on("public");
    let entries = on.list("").await.unwrap();
    let flags: Vec<_> = entries
        .iter()
        .map(|entry| {
            let names: Vec<_> = entry.attributes.keys().map(String::as_str).collect();
            (entry.path.as_str(), names)
        })
        .collect();
    assert_eq!(
        flags,
        [
            ("closed", vec!["acl"]),
            ("for readers", vec!["acl"]),
            ("free", vec![]),
            ("secret", vec!["password"]),
        ]
    );
    world.control.reset_calls();
    let status = assert_reason(on.get("secret").await, "UPSTREAM_ACCESS_DENIED");
    assert!(status.message().contains("`file_password`"), "{status:?}");
    assert_eq!(
        world.control.calls().total_v1(),
        0,
        "it is known to be in vain"
    );
    let knowing = world.on("knowing");
    assert_eq!(knowing.get("secret").await.unwrap().content, b"secret");
    assert_eq!(world.control.calls().total_v1(), 1);
    assert_eq!(world.control.calls().get("dir"), 0, "one list for both");

    // Only an attempt tells whom a restriction lets in; one is enough.
    for _ in 0..20 {
        let status = assert_reason(on.get("closed").await, "UPSTREAM_ACCESS_DENIED");
        assert!(status.message().contains("restricts"), "{status:?}");
    }
    assert_eq!(world.control.calls().total_v1(), 2);
    assert_eq!(on.get("for readers").await.unwrap().content, b"open");
    assert_eq!(on.get("free").await.unwrap().content, b"free");
    minutes(6).await;
    assert_reason(on.get("closed").await, "UPSTREAM_ACCESS_DENIED");
    assert_eq!(world.control.calls().total_v1(), 5, "asked again");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_is_missed_and_listed_again() {
    let world = public(&[("file", b"x"), ("other", b"y")]).await;
    assert_eq!(world.on("public").names().await, ["file", "other"]);
    let url = world.on("public").stat("file").await.unwrap().id;
    assert!(world.control.remove_file(&url));
    assert_reason(world.on("public").get("file").await, "FILE_NOT_FOUND");
    assert_reason(world.on("public").stat("file").await, "FILE_NOT_FOUND");
    seconds(31).await;
    assert_eq!(world.on("public").names().await, ["other"]);
    assert_eq!(world.control.calls().get("dir"), 2);
}

#[tokio::test(start_paused = true)]
async fn checksums_are_computed_by_reading_and_remembered_by_link() {
    let data = content(200_000);
    let mut world = public(&[("file", &data), ("same", &data)]).await;
    let on = world.on("public");
    for algorithm in [HashAlgorithm::Whirlpool, HashAlgorithm::Sha256] {
        let refused = on.hash("file", algorithm, false).await;
        let status = assert_reason(refused, "CAPABILITY_MISSING");
        assert!(status.message().contains("shared folders"), "{status:?}");
    }
    world.control.reset_calls();
    let answer = on
        .hash("file", HashAlgorithm::Whirlpool, true)
        .await
        .unwrap();
    let checksum = answer.checksum.unwrap();
    assert!(answer.computed);
    assert_eq!(checksum.hex, whirlpool(&data));
    assert_eq!(world.control.calls().get("download"), 1);
    world.restart().await;
    world.control.reset_calls();
    let on = world.on("public");
    // What is recorded of uploads was computed with it.
    let known = [
        HashAlgorithm::Whirlpool,
        HashAlgorithm::Sha256,
        HashAlgorithm::Md5,
    ];
    let expected = known.map(|algorithm| sum(algorithm, &data));
    for (algorithm, hex) in &expected {
        let answer = on.hash("file", *algorithm, false).await.unwrap();
        assert_eq!(
            (&answer.checksum.unwrap().hex, answer.computed),
            (hex, false)
        );
    }
    let entries = on.list("").await.unwrap();
    assert_eq!(sums(&entries[0]), expected);
    assert_eq!(sums(&on.stat("file").await.unwrap()), expected);
    assert!(entries[1].checksums.is_empty(), "another link");
    let download = on.get("file").await.unwrap();
    assert!(!download.trailer.verified);
    assert_eq!(world.control.calls().get("download/get_token"), 1);
    // Where the Whirlpool is known, nothing was recorded.
    assert_eq!(
        sums(&world.stat("public/file").await.unwrap()),
        expected[..1]
    );
}

#[tokio::test(start_paused = true)]
async fn large_lists_are_whole_or_refused() {
    let (world, folder) = sharing(None, Options::default(), |_, _| ()).await;
    world.control.add_many_files(folder, "f", 4_999, 10);
    let count = async || world.on("public").list_within("", Some(0)).await;
    assert_eq!(count().await.unwrap().len(), 4_999);
    seconds(31).await;
    world.control.add_file(folder, "g", b"x");
    let status = assert_reason(count().await, "UPSTREAM_PROTOCOL");
    assert!(status.message().contains("exactly 5000"), "{status:?}");
    seconds(31).await;
    world.control.add_file(folder, "h", b"x");
    assert_eq!(count().await.unwrap().len(), 5_001);
    assert_eq!(world.control.calls().total_v1(), 0);
}

#[tokio::test(start_paused = true)]
async fn numbers_as_strings_and_a_lagging_index_do_not_show() {
    let mut options = Options::default();
    options.behaviour.stringify_numbers = true;
    options.behaviour.index_delay = Duration::from_secs(10);
    let (world, folder) = sharing(None, options, |_, _| ()).await;
    let url = world.control.add_file(folder, "file", b"content");
    world.control.set_file_password(&url, Some("x"));
    let entry = &world.on("public").list("").await.unwrap()[0];
    assert_eq!(entry.size, Some(7));
    assert_eq!(entry.attributes["password"], "1");
}

#[tokio::test(start_paused = true)]
async fn the_connection_is_tested_as_far_as_it_matters() {
    let checked = async |world: &World, remote: &str| -> Vec<(String, CheckState)> {
        let request = TestConnectionRequest {
            remote: remote.to_owned(),
            check_write: true,
        };
        let answer = world.client.clone().test_connection(request).await.unwrap();
        let checks = answer.into_inner().checks;
        checks
            .into_iter()
            .map(|check| (check.name.clone(), check.state()))
            .collect()
    };
    use CheckState::{Failed, Passed, Skipped};
    let states = |checks: Vec<(String, CheckState)>| -> Vec<CheckState> {
        checks.into_iter().map(|(_, state)| state).collect()
    };
    let world = public(&[("file", b"x")]).await;
    let checks = states(checked(&world, "public").await);
    assert_eq!(checks, [Passed, Passed, Passed, Passed, Skipped]);
    assert_eq!(world.stored(), ["public/file"]);
    assert_eq!(world.control.calls().total_v1(), 1);

    // The list needs no key.
    let (world, _) = sharing(None, Options::default(), |config, share| {
        let wrong = ApiKey::new(&"x".repeat(32)).ok();
        config.remotes.push(shared("wrong key", wrong, share));
    })
    .await;
    let checks = states(checked(&world, "wrong key").await);
    assert_eq!(checks, [Passed, Failed, Skipped, Passed, Skipped]);

    let (world, _) = sharing(None, Options::default(), |config, _| {
        config.remotes[1].shared_folder = ShareId::new("Unknown1").ok();
    })
    .await;
    let checks = states(checked(&world, "public").await);
    assert_eq!(checks, [Passed, Passed, Passed, Failed, Skipped]);

    // Downloads are all that it needs.
    for (credits, plan) in [(0.0, Failed), (2.5, Passed)] {
        let (world, _) = sharing(None, Options::default(), |_, _| ()).await;
        world.control.set_account(0, |account| {
            account.offer = pluton_fichier::emulator::Offer::Free;
            account.cdn_credits = credits;
            account.upload_forbidden = true;
        });
        assert_eq!(
            states(checked(&world, "public").await)[2],
            plan,
            "{credits}"
        );
    }
}
