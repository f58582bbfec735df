//! `mv`, `cp` and `purge`.

use serde_json::json;

use super::Client;
use super::fake::{failure, status};
use crate::cli::exit::Exit;
use crate::error::Reason;
use crate::proto::{PathFailure, PurgeResponse, WriteMode};

#[tokio::test]
async fn mv_moves_what_the_source_is() {
    let client = Client::new().await;
    for path in ["docs/a.txt", "docs/b.txt", "x"] {
        client.fake.hold(path, "12345");
    }
    let file = client.run(&["mv", "/docs/a.txt", "new/"]).await;
    assert_eq!((file.exit, &*file.out), (Exit::Ok, "moved to new/a.txt\n"));
    let renamed = client
        .run(&["mv", "x", "/y", "--create-only", "--json"])
        .await;
    assert_eq!(renamed.json()["entry"]["path"], "y");
    let directory = client.run(&["mv", "docs", "old docs"]).await;
    assert_eq!(
        (directory.exit, &*directory.out),
        (Exit::Ok, "moved to old docs/\n")
    );
    // A slash behind it: what it is needs no question.
    let named = client.run(&["mv", "y/", "z/", "--json"]).await;
    assert_eq!(
        named.json()["entry"],
        json!({"path": "z/y", "type": "directory"})
    );
    {
        let state = client.fake.state();
        assert_eq!(state.moves[0].destination_path, "new/a.txt");
        assert_eq!(state.moves[0].write_mode(), WriteMode::Replace);
        assert_eq!(state.moves[1].write_mode(), WriteMode::CreateOnly);
        let moves: Vec<_> = state
            .directory_moves
            .iter()
            .map(|request| (&*request.source_path, &*request.destination_path))
            .collect();
        assert_eq!(moves, [("docs", "old docs"), ("y", "z/y")]);
        assert!(
            state
                .directory_moves
                .iter()
                .all(|request| !request.request_id.is_empty())
        );
    }
    let missing = client.run(&["mv", "none", "x"]).await;
    assert_eq!(missing.exit, Exit::NotFound);
    assert_eq!(client.run(&["mv", "/", "x/"]).await.exit, Exit::Usage);
}

#[tokio::test]
async fn cp_copies_a_file_and_a_lost_answer_is_asked_for_again() {
    let client = Client::new().await;
    client.fake.hold("a", "12345");
    client.fake.state().move_failures = vec![status(Reason::UpstreamUnavailable, "away")];
    let copied = client.run(&["cp", "a", "/b/"]).await;
    assert_eq!((copied.exit, &*copied.out), (Exit::Ok, "copied to b/a\n"));
    assert!(copied.err.contains("trying again"), "{copied:?}");
    {
        let state = client.fake.state();
        assert_eq!(state.copies.len(), 2);
        assert_eq!(state.copies[0].request_id, state.copies[1].request_id);
        assert_eq!(state.files["b/a"], "12345");
    }
    client.fake.state().move_failures = vec![status(Reason::EntryExists, "it exists")];
    let refused = client.run(&["cp", "a", "b/a", "--create-only"]).await;
    assert_eq!(refused.exit, Exit::AlreadyExists);
}

fn answer(removed_files: i64, removed_directories: i64, done: bool) -> PurgeResponse {
    PurgeResponse {
        removed_files,
        removed_directories,
        failures: Vec::new(),
        done,
    }
}

#[tokio::test]
async fn purge_tells_what_went_and_what_did_not() {
    let client = Client::new().await;
    let answers = vec![Ok(answer(100, 0, false)), Ok(answer(101, 1, true))];
    client.fake.state().purge_answers = vec![answers.clone(), answers];
    let purged = client.run(&["purge", "/docs/"]).await;
    assert_eq!(
        (purged.exit, &*purged.out),
        (Exit::Ok, "removed 101 files and 1 directory\n")
    );
    let counted = client
        .run(&["purge", "docs", "-n", "--json", "--ignore-missing"])
        .await;
    let expected = json!({
        "path": "docs", "dry_run": true, "removed_files": 101, "removed_directories": 1,
        "failures": 0, "done": true,
    });
    assert_eq!(counted.json(), expected);
    {
        let state = client.fake.state();
        assert_eq!(state.purges[0].path, "docs");
        assert!(!state.purges[0].validate_only && !state.purges[0].allow_missing);
        assert!(state.purges[1].validate_only && state.purges[1].allow_missing);
    }

    let failed = PurgeResponse {
        failures: vec![PathFailure {
            path: "docs/full".into(),
            failure: Some(failure(Reason::DirectoryNotEmpty, "it is not empty")),
        }],
        ..answer(1, 0, true)
    };
    client.fake.state().purge_answers = vec![vec![Ok(failed)]];
    let purged = client.run(&["purge", "docs"]).await;
    assert_eq!(purged.exit, Exit::Precondition);
    assert_eq!(purged.out, "removed 1 file and 0 directories\n");
    assert_eq!(
        purged.err,
        "error: docs/full: it is not empty [DIRECTORY_NOT_EMPTY]\n"
    );
}

#[tokio::test]
async fn purge_goes_on_after_trouble_and_says_when_it_was_cut_off() {
    let client = Client::new().await;
    let away = || Err(status(Reason::UpstreamUnavailable, "away"));
    client.fake.state().purge_answers = vec![
        vec![Ok(answer(100, 3, false)), away()],
        vec![Ok(answer(20, 2, true))],
        vec![Ok(answer(7, 0, false))],
    ];
    let purged = client.run(&["purge", "docs"]).await;
    assert_eq!(purged.out, "removed 120 files and 5 directories\n");
    assert!(
        client.fake.state().purges[1].allow_missing,
        "nothing may be left"
    );
    let cut = client.run(&["purge", "docs"]).await;
    assert_eq!(cut.exit, Exit::Other, "{cut:?}");
    assert_eq!(cut.out, "removed 7 files and 0 directories\n");
    assert!(cut.err.contains("before the purge was done"), "{cut:?}");
}

#[tokio::test]
async fn purge_of_the_root_must_be_meant() {
    let client = Client::new().await;
    for root in ["/", ""] {
        let refused = client.run(&["purge", root]).await;
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.err.contains("--allow-root"), "{refused:?}");
    }
    assert!(client.fake.state().purges.is_empty());
    client.fake.state().purge_answers = vec![vec![Ok(answer(5, 2, true))]];
    let purged = client.run(&["purge", "/", "--allow-root"]).await;
    assert_eq!(purged.exit, Exit::Ok);
    assert!(client.fake.state().purges[0].allow_root);
}
