//! Public links and passwords.

use std::io::{BufRead, BufReader, Read, Seek};
use std::process::{Child, Command, Stdio};

use pluton_fichier::emulator::FaultKind::{self, *};
use pluton_fichier::proto::*;
use tonic::Status;
use tonic::transport::Endpoint;

use crate::checks::*;
use crate::harness::*;

async fn ask(world: &World, request: PublicLinkRequest) -> Result<String, Status> {
    let answer = world.client.clone().public_link(request).await?;
    Ok(answer.into_inner().url)
}

fn of(path: &str) -> PublicLinkRequest {
    PublicLinkRequest {
        path: path.to_owned(),
        ..PublicLinkRequest::default()
    }
}

fn protected(path: &str, password: &str) -> PublicLinkRequest {
    PublicLinkRequest {
        password: password.to_owned(),
        ..of(path)
    }
}

fn revoked(path: &str) -> PublicLinkRequest {
    PublicLinkRequest {
        revoke: true,
        ..of(path)
    }
}

async fn has_password(world: &World, path: &str) -> bool {
    let entry = world.stat(path).await.unwrap();
    entry.attributes.contains_key("password")
}

#[tokio::test(start_paused = true)]
async fn the_link_of_a_file_is_its_url_and_costs_nothing() {
    let world = world().await;
    let url = world.control.add_file(0, "theirs", b"content");
    let ours = world.put("d/ours", b"content").await.unwrap();
    assert_eq!(ask(&world, of("theirs")).await.unwrap(), url);
    world.control.reset_calls();
    for _ in 0..3 {
        assert_eq!(ask(&world, of("d/ours")).await.unwrap(), ours.id);
        assert_eq!(ask(&world, of("theirs")).await.unwrap(), url);
    }
    let status = assert_reason(ask(&world, of("d/none")).await, "FILE_NOT_FOUND");
    assert_eq!(fact(&status, "path"), "d/none");
    assert_reason(ask(&world, of("")).await, "INVALID_PATH");
    assert_reason(ask(&world, of("d//x")).await, "INVALID_PATH");
    assert_eq!(world.control.calls().total_v1(), 0);
    // A file that somebody removed is not linked once that can be known.
    world.control.remove_file(&url);
    minutes(6).await;
    assert_reason(ask(&world, of("theirs")).await, "FILE_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_password_is_set_changed_and_shown_as_an_attribute() {
    let mut world = world().await;
    let entry = world.put("f", b"content").await.unwrap();
    minutes(6).await;
    assert!(!has_password(&world, "f").await);
    world.control.reset_calls();
    for (password, calls) in [("first secret", 1), ("first secret", 2), ("second", 3)] {
        let link = ask(&world, protected("f", password)).await.unwrap();
        assert_eq!(link, entry.id);
        let set = world.control.file_password(&entry.id);
        assert_eq!(set.as_deref(), Some(password));
        assert_eq!(world.control.calls().get("file/chattr"), calls);
        assert_eq!(world.control.calls().total_v1(), calls);
        assert!(has_password(&world, "f").await, "at once");
    }
    // Without a password the one that is set stays.
    assert_eq!(ask(&world, of("f")).await.unwrap(), entry.id);
    assert!(has_password(&world, "f").await);
    world.restart().await;
    assert!(has_password(&world, "f").await, "after a restart");
    minutes(6).await;
    assert!(has_password(&world, "f").await, "listed");
    // Ours for no longer than it is true.
    world.control.set_file_password(&entry.id, None);
    minutes(6).await;
    assert!(!has_password(&world, "f").await);
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_password_of_a_file_just_stored_is_known_and_its_landing_is_not_asked_for() {
    let world = world().await;
    let entry = world.put("d/f", b"content").await.unwrap();
    ask(&world, protected("d/f", "secret")).await.unwrap();
    assert!(has_password(&world, "d/f").await);
    minutes(10).await;
    assert!(has_password(&world, "d/f").await);
    // 1Fichier tells nothing about a protected file: asking again and again
    // would lead to a ban.
    let calls = world.control.calls();
    assert!(calls.get("file/info") <= 1, "{calls}");
    assert_eq!(world.urls("d/f"), [entry.id]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_password_is_refused_before_any_call() {
    let world = world().await;
    world.put("f", b"content").await.unwrap();
    world.mkdir("d").await.unwrap();
    world.control.reset_calls();
    for path in ["f", "d"] {
        for bad in ["12345", "ééééé", "secret\n", "a\0bcdefg"] {
            let status = assert_reason(ask(&world, protected(path, bad)).await, "INVALID_FIELD");
            assert_eq!(field(&status), "password", "{bad:?}");
            assert!(!status.message().contains(bad));
        }
        let both = PublicLinkRequest {
            revoke: true,
            ..protected(path, "good enough")
        };
        let status = assert_reason(ask(&world, both).await, "INVALID_FIELD");
        assert_eq!(field(&status), "password");
    }
    assert_eq!(world.control.calls().total_v1(), 0);
    ask(&world, protected("f", "éééééé")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_link_of_a_file_cannot_be_taken_away_and_its_password_stays() {
    let world = world().await;
    let entry = world.put("f", b"content").await.unwrap();
    ask(&world, protected("f", "secret")).await.unwrap();
    world.control.reset_calls();
    let status = assert_reason(ask(&world, revoked("f")).await, "CAPABILITY_MISSING");
    assert_eq!(fact(&status, "capability"), "REVOKE_FILE_LINK");
    assert!(status.message().contains("password") && status.message().contains("delete"));
    assert_eq!(world.control.calls().total_v1(), 0);
    let set = world.control.file_password(&entry.id);
    assert_eq!(set.as_deref(), Some("secret"));
    assert_reason(ask(&world, revoked("none")).await, "FILE_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_shared_and_not_shared_any_more() {
    let world = world().await;
    world.put("a/d/f", b"content").await.unwrap();
    let folder = world.folder("a/d");
    world.control.share_with(folder, "friend@example.com");
    world.control.reset_calls();
    let link = ask(&world, of("a/d")).await.unwrap();
    assert!(link.starts_with("https://1fichier.com/dir/"), "{link}");
    assert_eq!(world.control.calls().get("folder/share"), 1);
    assert_eq!(world.control.calls().total_v1(), 1);
    assert_eq!(ask(&world, of("a/d")).await.unwrap(), link, "the same");
    assert!(!has_password(&world, "a/d").await);

    assert_eq!(ask(&world, protected("a/d", "secret")).await.unwrap(), link);
    let shared = world.control.folder_share(folder);
    assert_eq!(shared.password.as_deref(), Some("secret"));
    assert!(has_password(&world, "a/d").await);
    minutes(6).await;
    assert!(has_password(&world, "a/d").await, "listed");
    assert_eq!(ask(&world, of("a/d")).await.unwrap(), link);
    let shared = world.control.folder_share(folder);
    assert_eq!(shared.password.as_deref(), Some("secret"), "it stays");

    for _ in 0..2 {
        assert_eq!(ask(&world, revoked("a/d")).await.unwrap(), "");
        let shared = world.control.folder_share(folder);
        assert_eq!(shared.url, None);
        assert_eq!(shared.users, ["friend@example.com"]);
    }
    let again = ask(&world, of("a/d")).await.unwrap();
    let shared = world.control.folder_share(folder);
    assert_eq!(shared.url.as_deref(), Some(again.as_str()));
    assert_eq!(shared.users, ["friend@example.com"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_costs_a_repeat_and_changes_nothing() {
    let kinds: [FaultKind; 6] = [
        ResetAfterEffect,
        ResetBeforeAnswer,
        EmptyBody,
        TruncatedJson,
        FaultKind::Status(503),
        HtmlPage,
    ];
    for kind in kinds {
        let world = world().await;
        let entry = world.put("d/f", b"content").await.unwrap();
        let folder = world.folder("d");
        world.fail("file/chattr", 1, kind.clone());
        world.fail("folder/share", 1, kind.clone());
        let link = ask(&world, protected("d/f", "secret")).await.unwrap();
        assert_eq!(link, entry.id, "{kind:?}");
        assert!(world.control.file_password(&link).is_some());
        let link = ask(&world, of("d")).await.unwrap();
        assert_eq!(
            world.control.folder_share(folder).url,
            Some(link),
            "{kind:?}"
        );
        world.fail("folder/share", 1, kind.clone());
        ask(&world, revoked("d")).await.unwrap();
        assert_eq!(world.control.folder_share(folder).url, None, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_shared_already_shows_its_link() {
    let world = world().await;
    world.mkdir("d").await.unwrap();
    let link = ask(&world, of("d")).await.unwrap();
    // How 1Fichier answers what changes nothing is not known ([API §16]).
    let unchanged = Ko {
        http: 200,
        message: "No changes requested".to_owned(),
    };
    world.fail("folder/share", 1, unchanged.clone());
    assert_eq!(ask(&world, of("d")).await.unwrap(), link);
    ask(&world, revoked("d")).await.unwrap();
    world.fail("folder/share", 1, unchanged.clone());
    assert_eq!(ask(&world, revoked("d")).await.unwrap(), "");
    world.fail("folder/share", 1, unchanged);
    assert_reason(ask(&world, of("d")).await, "UPSTREAM_UNAVAILABLE");
}

#[tokio::test(start_paused = true)]
async fn a_link_to_elsewhere_is_not_passed_on() {
    let world = played(|behaviour| behaviour.foreign_share = true).await;
    world.mkdir("d").await.unwrap();
    let status = assert_reason(ask(&world, of("d")).await, "UPSTREAM_PROTOCOL");
    assert!(status.message().contains("revoke"), "{status:?}");
    // Revoking still works.
    ask(&world, revoked("d")).await.unwrap();
    assert_eq!(world.control.folder_share(world.folder("d")).url, None);
}

#[tokio::test(start_paused = true)]
async fn what_another_program_removed_is_not_found() {
    let world = world().await;
    let entry = world.put("d/f", b"content").await.unwrap();
    world.mkdir("e").await.unwrap();
    let folder = world.folder("e");
    minutes(1).await;
    world.control.remove_file(&entry.id);
    world.control.remove_folder(folder);
    let status = ask(&world, protected("d/f", "secret")).await;
    assert_reason(status, "FILE_NOT_FOUND");
    assert_reason(ask(&world, of("e")).await, "DIRECTORY_NOT_FOUND");
    assert_reason(world.stat("e").await, "FILE_NOT_FOUND");
    assert_reason(world.stat("d/f").await, "FILE_NOT_FOUND");
}

const SECRET: &str = "Xyzzy-secret-17";

/// The server that people run, in real time, with all that it can log.
#[tokio::test]
async fn a_password_is_in_no_log() {
    struct Killed(Child);
    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut log = tempfile::tempfile().unwrap();
    let server = Command::new(env!("CARGO_BIN_EXE_pluton-fichier"))
        .args(["serve", "--emulator", "--grpc-listen", "127.0.0.1:0"])
        .args(["--log", "trace"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone().unwrap())
        .spawn();
    let mut server = Killed(server.unwrap());
    let mut ready = String::new();
    let stdout = server.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut ready).unwrap();
    let (_, address) = ready.split_once("\"address\":\"").expect(&ready);
    let (address, _) = address.split_once('"').unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = Client::new(endpoint.connect().await.unwrap());
    put(&client, header("d/f"), b"content").await.unwrap();
    for path in ["d/f", "d"] {
        client.public_link(protected(path, SECRET)).await.unwrap();
        let bad = protected(path, &format!("{SECRET}\n"));
        client.public_link(bad).await.unwrap_err();
    }
    drop(server);
    let mut text = String::new();
    log.rewind().unwrap();
    log.read_to_string(&mut text).unwrap();
    assert!(text.contains("file/chattr"), "the call is in the log");
    assert!(!text.contains(SECRET));
}

#[tokio::test(start_paused = true)]
async fn a_password_is_in_no_error_and_no_state() {
    let mut world = world().await;
    world.put("d/f", b"content").await.unwrap();
    for path in ["d/f", "d"] {
        ask(&world, protected(path, SECRET)).await.unwrap();
        let echo = Ko {
            http: 200,
            message: format!("The password {SECRET} is not good #7"),
        };
        world.fail("file/chattr", 1, echo.clone());
        world.fail("folder/share", 1, echo);
        let status = ask(&world, protected(path, SECRET)).await.unwrap_err();
        assert_clear(&status, path);
        assert!(!format!("{status:?}").contains(SECRET), "{status:?}");
        let details = String::from_utf8_lossy(status.details()).into_owned();
        assert!(!details.contains(SECRET), "{details}");
        world.control.clear_faults();
        let _ = ask(&world, protected(path, &format!("{SECRET}\n")))
            .await
            .unwrap_err();
    }
    assert!(!format!("{:?}", protected("f", SECRET)).contains(SECRET));
    world.restart().await;
    let mut folders = vec![world.config.state_dir.clone().unwrap()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes
                .windows(SECRET.len())
                .any(|part| part == SECRET.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    assert!(files > 0);
}
