//! What is on disk is damaged.

use super::*;

/// Overwrites pages of a database that nobody has open.
fn damage(path: &Path, pages: impl Iterator<Item = usize>) {
    const PAGE: usize = 4_096;
    let mut bytes = std::fs::read(path).unwrap();
    for page in pages {
        if let Some(page) = bytes.get_mut(page * PAGE..(page + 1) * PAGE) {
            page.fill(0xa5);
        }
    }
    std::fs::write(path, bytes).unwrap();
}

fn count(path: &Path) -> usize {
    std::fs::read(path).unwrap().len() / 4_096
}

fn with_damage(dir: &Path, what: &str) -> usize {
    let is_it = |name: &&String| name.contains(what);
    files(dir).iter().filter(is_it).count()
}

#[tokio::test]
async fn a_damaged_cache_is_put_away_at_once_and_touches_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for folder in 0..20 {
        let files = (0..200).map(|number| file(&format!("{folder}-{number}")));
        store.write(listing(folder, files.collect()));
    }
    store.write(time("a", 5));
    store.write(intent(3, "task"));
    drop(store);
    let path = dir.path().join("x.db");
    // The first pages hold the layout and what is checked at the start.
    let pages = count(&path);
    damage(&path, pages / 4..pages);
    let store = open(dir.path());
    assert_eq!(left(&store), [(3, "task".to_owned())]);
    for folder in 0..20 {
        store.load(folder).await;
    }
    until(|| async { with_damage(dir.path(), "set-aside") == 1 }).await;
    store.write(listing(5, vec![file("new")]));
    store.flush().await.unwrap();
    until(|| async { store.load(5).await.content.is_some() }).await;
    assert!(store.load(6).await.content.is_none());
    assert_eq!(store.problem(), None, "it goes on");
    assert_eq!(time_of(&store, "a").await, Some(5));
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.load(5).await.content.unwrap().0.len(), 2);
    assert_eq!(time_of(&store, "a").await, Some(5));
    let lessons = store.lessons();
    let unknown = |lesson: &Lesson| matches!(lesson, Lesson::UnknownListings);
    assert!(
        lessons.iter().any(unknown),
        "what was listed lately is not known"
    );
}

#[tokio::test]
async fn own_changes_are_saved_from_a_damaged_cache() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.write(added(1, "own"));
    let files = (0..3_000).map(|number| file(&number.to_string()));
    store.write(listing(2, files.collect()));
    drop(store);
    let path = dir.path().join("x.db");
    let pages = count(&path);
    damage(&path, pages / 2..pages);
    let store = open(dir.path());
    store.load(2).await;
    until(|| async { with_damage(dir.path(), "set-aside") == 1 }).await;
    until(|| async { store.load(1).await.changes.len() == 1 }).await;
}

#[tokio::test]
async fn damage_of_the_cache_at_the_start_touches_no_user_data() {
    let damages: [&dyn Fn(&Path); 4] = [
        &|path| std::fs::write(path, b"this is no database").unwrap(),
        &|path| std::fs::write(path, b"").unwrap(),
        &|path| {
            let connection = Connection::open(path).unwrap();
            connection.execute_batch("DROP TABLE files").unwrap();
        },
        &|path| {
            let connection = Connection::open(path).unwrap();
            let change = "UPDATE meta SET value = 99 WHERE name = 'schema'";
            connection.execute_batch(change).unwrap();
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store.write(listing(1, vec![file("a")]));
        store.write(time("a", 5));
        drop(store);
        damage(&dir.path().join("x.db"));
        let store = open(dir.path());
        assert!(store.load(1).await.content.is_none(), "{number}");
        until(|| async { with_damage(dir.path(), "set-aside") == 1 }).await;
        store.write(listing(1, vec![file("b")]));
        store.flush().await.unwrap();
        until(|| async { store.load(1).await.content.is_some() }).await;
        assert_eq!(time_of(&store, "a").await, Some(5), "{number}");
        assert_eq!(store.problem(), None, "{number}");
    }
}

#[tokio::test]
async fn what_can_be_read_of_damaged_user_data_is_kept_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..5_000 {
        store.write(time(&number.to_string(), number));
        if number % 5 == 0 {
            store.write(sums(&number.to_string()));
        }
    }
    store.write(outcome("r"));
    store.write(intent(3, "task"));
    store.write(listing(1, vec![file("a")]));
    drop(store);
    let path = dir.path().join("x.user");
    let pages = count(&path);
    damage(&path, [pages / 3, pages / 2, pages / 2 + 1].into_iter());
    let store = open(dir.path());
    // It is met when it is needed.
    let urls: Vec<_> = (0..5_000).map(|number| url(&number.to_string())).collect();
    store.modified(urls.clone()).await;
    for number in 0..1_000 {
        has_sums(&store, &(number * 5).to_string()).await;
    }
    store.write(time("new", 9));
    until(|| async { store.problem().is_some() && store.flush().await.is_ok() }).await;
    let kept = store.modified(urls.clone()).await.len();
    assert!((4_000..=5_000).contains(&kept), "{kept} of 5,000");
    assert_eq!(time_of(&store, "new").await, Some(9));
    assert_eq!(outcome_of(&store, "r").await.as_deref(), Some("R"));
    let problem = store.problem().unwrap();
    assert!(problem.contains("x.user.damaged-"), "{problem}");
    assert_eq!(with_damage(dir.path(), ".damaged-"), 1);
    drop(store);
    // It is told until somebody takes the file away.
    let store = open(dir.path());
    assert!(store.problem().unwrap().contains("damaged"));
    assert_eq!(store.modified(urls.clone()).await.len(), kept);
    assert_eq!(left(&store), [(3, "task".to_owned())], "once");
    assert!(store.load(1).await.content.is_some(), "it is not concerned");
    for name in files(dir.path()) {
        if name.contains(".damaged-") {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
    assert_eq!(store.problem(), None);
}

#[tokio::test]
async fn user_data_that_are_damaged_at_the_start_stop_nothing() {
    let damages: [&dyn Fn(&Path); 3] = [
        &|path| std::fs::write(path, b"this is no database").unwrap(),
        &|path| {
            let connection = Connection::open(path).unwrap();
            connection.execute_batch("DROP TABLE facts").unwrap();
        },
        &|path| damage(path, 0..1),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store.write(time("a", 5));
        store.write(listing(1, vec![file("a")]));
        store.write(intent(3, "task"));
        drop(store);
        damage(&dir.path().join("x.user"));
        let store = open(dir.path());
        assert!(store.problem().unwrap().contains("damaged"), "{number}");
        store.write(time("b", 6));
        store.flush().await.unwrap();
        assert_eq!(time_of(&store, "b").await, Some(6), "{number}");
        // Which folders were being changed may not be known any more.
        assert!(store.load(1).await.content.is_none(), "{number}");
        if number == 1 {
            assert_eq!(time_of(&store, "a").await, Some(5));
            assert_eq!(left(&store).len(), 1);
        }
        drop(store);
        let store = open(dir.path());
        assert_eq!(time_of(&store, "b").await, Some(6), "{number}");
        assert_eq!(with_damage(dir.path(), ".damaged-"), 1, "{number}");
    }
}

#[tokio::test]
async fn user_data_that_are_gone_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.write(listing(1, vec![file("a")]));
    drop(store);
    std::fs::remove_file(dir.path().join("x.user")).unwrap();
    let store = open(dir.path());
    assert!(store.problem().unwrap().contains("gone"));
    assert!(
        store.load(1).await.content.is_none(),
        "nor is the rest trusted"
    );
    drop(store);
    assert_eq!(open(dir.path()).problem(), None);
}

#[tokio::test]
async fn user_data_of_a_later_version_are_kept_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.write(time("a", 5));
    drop(store);
    let set = |path: &Path, schema: i64| {
        let connection = Connection::open(path).unwrap();
        connection
            .execute("UPDATE meta SET value = ?1 WHERE name = 'schema'", [schema])
            .unwrap();
    };
    set(&dir.path().join("x.user"), 99);
    let store = open(dir.path());
    assert!(store.problem().unwrap().contains("later version"));
    assert_eq!(time_of(&store, "a").await, None);
    store.write(time("b", 6));
    drop(store);
    // The later version runs again.
    let away = files(dir.path());
    let away = away.iter().find(|name| name.contains(".newer-")).unwrap();
    set(&dir.path().join(away), user::SCHEMA);
    let store = open(dir.path());
    until(|| async { time_of(&store, "a").await == Some(5) }).await;
    assert_eq!(time_of(&store, "b").await, Some(6));
    until(|| async { store.problem().is_none() }).await;
}
