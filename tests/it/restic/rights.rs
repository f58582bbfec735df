//! What tokens allow.

use pluton_fichier::access::{Mode, Secret, TokenFile};

use super::*;

async fn holding(prefix: &str, mode: Mode) -> Repository {
    let mut repo = repository().await;
    let secret = Secret::generate().unwrap();
    let file = TokenFile::within(repo.world.config.state_dir.as_ref().unwrap());
    let prefix = prefix.parse().unwrap();
    file.add("restic", &prefix, mode, &secret.digest()).unwrap();
    repo.token = Some(secret.reveal().to_owned());
    tokio::time::sleep(Duration::from_secs(12)).await;
    repo
}

#[tokio::test(start_paused = true)]
async fn append_only_tokens_add_and_take_their_locks_away() {
    let repo = holding("fichier:a/repo", Mode::AppendOnly).await;
    assert_eq!(repo.post("?create=true", Vec::new()).await, 200);
    assert_eq!(repo.post("config", b"config".to_vec()).await, 200);
    let mut paths = Vec::new();
    for kind in ["data", "keys", "snapshots", "index", "locks"] {
        let (path, status) = repo.store(kind, kind.as_bytes()).await;
        assert_eq!(status, 200);
        assert_eq!(repo.post(&path, kind.into()).await, 200, "the same again");
        let other = vec![0; kind.len() + 1];
        assert_eq!(repo.post(&path, other).await, 403, "there is one");
        paths.push(path);
    }
    assert_eq!(repo.post("config", b"config".to_vec()).await, 403);
    let lock = paths.pop().unwrap();
    for path in &paths {
        assert_eq!(repo.delete(path).await, 403);
        assert_eq!(repo.send(Method::GET, path).await.status(), 200);
    }
    assert_eq!(repo.delete("config").await, 403);
    assert_eq!(repo.delete(&lock).await, 200);
    assert_eq!(repo.world.stored().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn read_only_tokens_change_nothing_not_even_locks() {
    let repo = holding("fichier:a", Mode::ReadOnly).await;
    assert_eq!(repo.list("keys").await, []);
    assert_eq!(repo.post("?create=true", Vec::new()).await, 403);
    let (lock, status) = repo.store("locks", b"lock").await;
    assert_eq!(status, 403);
    assert_eq!(repo.delete(&lock).await, 403);
    assert_eq!(repo.world.stored_all(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn tokens_reach_no_other_repository() {
    let mut repo = holding("fichier:a/repo", Mode::Full).await;
    assert_eq!(repo.store("keys", b"key").await.1, 200);
    assert_eq!(repo.delete("config").await, 200);
    let base = repo.base.clone();
    for other in [
        "fichier/a/repository/",
        "fichier/a/",
        "fichier/",
        "other/a/repo/",
    ] {
        repo.base = base.replace("fichier/a/repo/", other);
        assert_eq!(repo.store("keys", b"key").await.1, 403, "{other}");
        for path in ["config", "keys/"] {
            assert_eq!(repo.send(Method::GET, path).await.status(), 403, "{other}");
        }
    }
    repo.base = base;
    repo.token = Some("wrong".to_owned());
    assert_eq!(repo.send(Method::GET, "config").await.status(), 401);
    assert_eq!(repo.store("keys", b"key").await.1, 401);
}
