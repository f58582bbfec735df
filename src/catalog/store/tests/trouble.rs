//! The disk does not take what is written, for a while.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32};

use rusqlite::ffi;

use super::*;

/// A disk of which tests say what it does.
#[derive(Debug, Default)]
struct Disk {
    /// Pages that a database may have; no bound when it is 0.
    pages: AtomicI64,
    /// The error of SQLite that each write meets, if any.
    user: AtomicI64,
    cache: AtomicI64,
    /// Attempts to write user data.
    attempts: AtomicU32,
    /// A time of this file cannot be written, whenever it is tried.
    is_picky: AtomicBool,
}

impl Disk {
    fn meet(&self, side: Side, connection: &Connection) -> rusqlite::Result<()> {
        let code = match side {
            Side::User => {
                self.attempts.fetch_add(1, Ordering::Relaxed);
                self.user.load(Ordering::Relaxed)
            }
            Side::Cache => self.cache.load(Ordering::Relaxed),
        };
        if code != 0 {
            let code = i32::try_from(code).unwrap();
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        }
        let pages = match self.pages.load(Ordering::Relaxed) {
            0 => 1 << 30,
            pages => pages,
        };
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        if side == Side::User && self.is_picky.load(Ordering::Relaxed) {
            connection.execute_batch(
                "CREATE TEMP TRIGGER IF NOT EXISTS picky BEFORE INSERT ON main.modified WHEN NEW.url LIKE '%bad' \
                 BEGIN SELECT RAISE(ABORT, 'bad'); END",
            )?;
        }
        Ok(())
    }

    fn set(&self, user: i32, cache: i32) {
        self.user.store(user.into(), Ordering::Relaxed);
        self.cache.store(cache.into(), Ordering::Relaxed);
    }
}

fn open_on(disk: &Arc<Disk>, dir: &Path, required: bool) -> Store {
    let options = Options {
        required,
        ..options("x")
    };
    let disk = Arc::clone(disk);
    Store::open_with(&shelf(dir), options, |shared| {
        let hook = move |side: Side, connection: &Connection| disk.meet(side, connection);
        *shared.hook.lock().unwrap() = Some(Box::new(hook));
    })
    .unwrap()
}

fn pages(path: &Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap()
}

async fn recovers(store: &Store) {
    until(|| async { store.flush().await.is_ok() && store.problem().is_none() }).await;
}

#[tokio::test]
async fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let most = pages(&dir.path().join("x.user")).max(pages(&dir.path().join("x.db")));
    let disk = Arc::new(Disk::default());
    let store = open_on(&disk, dir.path(), true);
    store.write(listing(1, vec![file("a")]));
    store.write(time("before", 1));
    store.flush().await.unwrap();
    disk.pages.store(most + 2, Ordering::Relaxed);
    let many = || (0..5_000).map(|number| number.to_string());
    store.write(listing(2, many().map(|name| file(&name)).collect()));
    for name in many() {
        store.write(time(&name, 7));
    }
    store.write(intent(9, "task"));
    let why = store.flush().await.unwrap_err();
    assert!(why.contains("full"), "{why}");
    let problem = store.problem().unwrap();
    assert!(
        problem.contains("full") && problem.contains("refused"),
        "{problem}"
    );
    assert_eq!(store.refusal().as_deref(), Some(&*why));
    // Nobody waits for what does not come, and reads go on.
    let start = real::Instant::now();
    assert!(store.flush().await.is_err());
    assert_eq!(time_of(&store, "4999").await, Some(7));
    assert_eq!(time_of(&store, "before").await, Some(1));
    assert!(store.load(1).await.content.is_some(), "it is on disk");
    assert!(start.elapsed() < Duration::from_millis(900));
    assert_eq!(files(dir.path()), ["x.db", "x.user"], "nothing is put away");

    disk.pages.store(0, Ordering::Relaxed);
    recovers(&store).await;
    assert_eq!(store.refusal(), None);
    assert_eq!(store.load(2).await.content.unwrap().0.len(), 5_001);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.load(2).await.content.unwrap().0.len(), 5_001);
    assert_eq!(time_of(&store, "4999").await, Some(7));
    assert_eq!(left(&store), [(9, "task".to_owned())]);
    assert_eq!(files(dir.path()), ["x.db", "x.user"]);
}

#[tokio::test]
async fn every_error_that_may_pass_is_waited_for() {
    for code in [
        ffi::SQLITE_FULL,
        ffi::SQLITE_BUSY,
        ffi::SQLITE_LOCKED,
        ffi::SQLITE_IOERR_WRITE,
        ffi::SQLITE_IOERR_FSYNC,
        ffi::SQLITE_CANTOPEN,
        ffi::SQLITE_READONLY,
        ffi::SQLITE_NOMEM,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk::default());
        let store = open_on(&disk, dir.path(), true);
        disk.set(code, code);
        store.write(listing(1, vec![file("a")]));
        store.write(time("a", 5));
        assert!(store.flush().await.is_err(), "{code}");
        assert!(store.problem().is_some(), "{code}");
        assert_eq!(time_of(&store, "a").await, Some(5), "{code}");
        disk.set(0, 0);
        recovers(&store).await;
        assert_eq!(files(dir.path()), ["x.db", "x.user"], "{code}");
        drop(store);
        let store = open(dir.path());
        assert_eq!(time_of(&store, "a").await, Some(5), "{code}");
        assert!(store.load(1).await.content.is_some(), "{code}");
    }
}

#[tokio::test]
async fn attempts_have_a_limit_and_are_not_made_in_a_hurry() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let store = open_on(&disk, dir.path(), true);
    // A moment's trouble is not noticed.
    disk.set(ffi::SQLITE_BUSY, 0);
    disk.attempts.store(0, Ordering::Relaxed);
    store.write(time("a", 5));
    let waits = store.flush();
    let mends = until(|| async { disk.attempts.load(Ordering::Relaxed) > 0 });
    let mended = async {
        mends.await;
        disk.set(0, 0);
    };
    let (flushed, ()) = tokio::join!(waits, mended);
    flushed.unwrap();
    assert_eq!(store.problem(), None);
    disk.set(ffi::SQLITE_BUSY, 0);
    store.write(time("b", 5));
    store.flush().await.unwrap_err();
    disk.attempts.store(0, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let attempts = disk.attempts.load(Ordering::Relaxed);
    assert!((1..=4).contains(&attempts), "{attempts} in 2 s");
}

#[tokio::test]
async fn operators_may_choose_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let store = open_on(&disk, dir.path(), false);
    disk.set(ffi::SQLITE_FULL, ffi::SQLITE_FULL);
    store.write(time("a", 5));
    store.flush().await.unwrap();
    assert_eq!(store.refusal(), None);
    let problem = store.problem().unwrap();
    assert!(problem.contains("go on"), "{problem}");
    assert_eq!(time_of(&store, "a").await, Some(5));
    disk.set(0, 0);
    recovers(&store).await;
    drop(store);
    assert_eq!(time_of(&open(dir.path()), "a").await, Some(5));
}

#[tokio::test]
async fn a_start_on_a_full_disk_learns_later_what_was_left() {
    for is_new in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        if !is_new {
            let store = open(dir.path());
            store.write(listing(1, vec![file("a")]));
            store.write(time("a", 5));
            store.write(intent(4, "task"));
        }
        let disk = Arc::new(Disk::default());
        disk.set(ffi::SQLITE_FULL, ffi::SQLITE_FULL);
        let store = open_on(&disk, dir.path(), true);
        let mut news = store.news();
        store.write(time("b", 6));
        assert!(store.flush().await.is_err());
        assert!(store.problem().unwrap().contains("full"));
        assert_eq!(time_of(&store, "b").await, Some(6));
        if !is_new {
            // What can be read without room is read.
            assert_eq!(time_of(&store, "a").await, Some(5));
            assert!(store.load(1).await.content.is_some());
        }
        let before = left(&store);
        disk.set(0, 0);
        recovers(&store).await;
        let known = [before, left(&store)].concat();
        match is_new {
            true => assert!(known.is_empty()),
            false => assert_eq!(known, [(4, "task".to_owned())], "once"),
        }
        assert!(news.has_changed().unwrap() || !is_new);
        news.mark_unchanged();
        drop(store);
        let store = open(dir.path());
        assert_eq!(time_of(&store, "b").await, Some(6));
        assert_eq!(store.problem(), None);
    }
}

/// A cache that fails alone is the lesser trouble: nothing is refused for it,
/// and it is not trusted before it holds everything again.
#[tokio::test]
async fn a_cache_that_cannot_be_written_stops_nobody_and_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let store = open_on(&disk, dir.path(), true);
    store.write(listing(1, vec![file("a")]));
    store.flush().await.unwrap();
    disk.set(0, ffi::SQLITE_IOERR_WRITE);
    store.write(added(1, "b"));
    store.write(time("b", 5));
    let start = real::Instant::now();
    store.flush().await.unwrap();
    store.write(time("c", 5));
    store.flush().await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(900));
    assert!(store.load(1).await.content.is_none(), "the disk is behind");
    until(|| async { store.problem().is_some() }).await;
    assert!(store.problem().unwrap().contains("not kept on disk"));
    // As a killed process leaves it.
    let image = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), image.path().join(entry.file_name())).unwrap();
    }
    let after = open(image.path());
    assert!(after.load(1).await.content.is_none(), "it lacks a file");
    assert_eq!(time_of(&after, "c").await, Some(5));
    drop(after);
    // Or it goes on.
    disk.set(0, 0);
    recovers(&store).await;
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.load(1).await.content.unwrap().0.len(), 3);
}

#[tokio::test]
async fn what_waits_for_the_disk_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let store = open_on(&disk, dir.path(), true);
    store.write(listing(1, vec![file("old")]));
    store.flush().await.unwrap();
    disk.set(ffi::SQLITE_FULL, ffi::SQLITE_FULL);
    store.write(time("a", 1));
    store.flush().await.unwrap_err();
    for number in 0..4 * queue::QUEUE as i64 {
        store.write(listing(number % 7, vec![file("new")]));
    }
    {
        let queue = lock(&store.shared.queue);
        assert!(queue.group(usize::MAX).writes.len() <= queue::QUEUE);
        assert!(queue.lost.len() <= 7);
    }
    assert!(store.load(1).await.content.is_none());
    disk.set(0, 0);
    recovers(&store).await;
    for folder in 0..7 {
        let content = store.load(folder).await.content;
        let is_old = |content: &Content| content.has_file(&url("old"));
        assert!(content.is_none_or(|(content, ..)| !is_old(&content)));
    }
}

#[tokio::test]
async fn what_can_never_be_written_does_not_hold_up_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let store = open_on(&disk, dir.path(), true);
    disk.is_picky.store(true, Ordering::Relaxed);
    for name in ["a", "bad", "b"] {
        store.write(time(name, 5));
    }
    store.flush().await.unwrap();
    assert_eq!(store.problem(), None);
    assert_eq!(time_of(&store, "a").await, Some(5));
    assert_eq!(time_of(&store, "b").await, Some(5));
    assert_eq!(time_of(&store, "bad").await, None);
}

#[tokio::test]
async fn another_program_may_hold_the_databases_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.flush().await.unwrap();
    let other = Mutex::new(Connection::open(dir.path().join("x.user")).unwrap());
    other
        .lock()
        .unwrap()
        .execute_batch("BEGIN IMMEDIATE")
        .unwrap();
    store.write(time("a", 5));
    let why = store.flush().await.unwrap_err();
    assert!(why.contains("locked"), "{why}");
    drop(other);
    recovers(&store).await;
}
