//! The journal and the thread that writes it, under many schedules. What is on
//! disk is looked at at any moment: that is what a crash would leave.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};

use rusqlite::Connection;
use shuttle::future::{block_on, spawn, yield_now};

use super::*;
use crate::catalog::change::Change;
use crate::catalog::{Settings, Shelf, Source};
use crate::clock::Clock;
use crate::fichier::{ApiKey, Client, Hosts, Limits};
use crate::sync::check_some;

/// Schedules that are left out for each one that is not: databases take long.
const ONE_OF: usize = 5;
/// What an earlier run has left.
const EARLIER: &str = "earlier";

static CLIENT: LazyLock<Arc<Client>> = LazyLock::new(|| {
    let hosts = Hosts::new("http://127.0.0.1:9").unwrap();
    Arc::new(Client::new(hosts, ApiKey::new("key").unwrap(), Limits::none()).unwrap())
});

fn open(directory: &Path) -> Arc<Catalog> {
    let shelf = Shelf::new(directory.to_owned(), ["x".to_owned()]);
    let source = Source::Account(Arc::clone(&CLIENT));
    let names = vec!["x".to_owned()];
    Catalog::open(&shelf, names, source, Settings::default(), Clock::system()).unwrap()
}

/// What a crash would leave now.
struct Disk {
    user: Connection,
    cache: Connection,
}

impl Disk {
    fn of(directory: &Path) -> Self {
        let open = |name| Connection::open(directory.join(name)).unwrap();
        Self {
            user: open("x.user"),
            cache: open("x.db"),
        }
    }

    /// What came of a change can be listed again; that it was begun cannot.
    fn has_outcome(&self, number: i64) -> bool {
        let sql = "SELECT 1 FROM changes WHERE folder = ?1";
        self.cache
            .prepare_cached(sql)
            .unwrap()
            .exists([number])
            .unwrap()
    }

    fn has_intent(&self, id: u64) -> bool {
        let sql = "SELECT 1 FROM intents WHERE id = ?1";
        let mut statement = self.user.prepare_cached(sql).unwrap();
        statement.exists([id.cast_signed()]).unwrap()
    }

    fn texts(&self) -> Vec<String> {
        let sql = "SELECT what FROM intents ORDER BY what";
        let mut statement = self.user.prepare_cached(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

/// How a change ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Done,
    Doubted,
    Left,
    LeftAndEnded,
}

/// What is known of a change whose intent was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Begun {
    id: u64,
    number: i64,
    /// Somebody has to look after it, for ever.
    stays: bool,
}

#[derive(Default)]
struct Seen {
    begun: std::sync::Mutex<Vec<Begun>>,
    over: AtomicBool,
}

/// Changes something: what comes of it is noted before its intent is ended.
async fn change(catalog: Arc<Catalog>, seen: Arc<Seen>, number: i64, end: End) {
    let intent = catalog.intend(vec![number], Vec::new(), format!("{number}"));
    let intent = intent.await.unwrap();
    let id = intent.id;
    let begun = Begun {
        id,
        number,
        stays: matches!(end, End::Left),
    };
    seen.begun.lock().unwrap().push(begun);
    yield_now().await;
    catalog.store.write(Write::Change {
        folder: number,
        change: Change::FileRemoved(number.to_string().into()),
        at: catalog.clock.now(),
    });
    match end {
        End::Done => intent.done(),
        End::Doubted => drop(intent),
        End::Left => assert_eq!(intent.leave(format!("{number} left")), id),
        End::LeftAndEnded => {
            intent.leave(format!("{number} left"));
            yield_now().await;
            catalog.end_intent(id);
        }
    }
}

/// Looks at the disk again and again. Each change is there as one that was
/// begun, or with what came of it.
async fn look(directory: PathBuf, seen: Arc<Seen>) {
    let disk = Disk::of(&directory);
    while !seen.over.load(Relaxed) {
        // Nothing else happens between these.
        for Begun { id, number, stays } in seen.begun.lock().unwrap().clone() {
            // In this order: an end that is noted between the two is seen.
            let is_open = disk.has_intent(id);
            let is_over = disk.has_outcome(number) && !stays;
            assert!(is_open || is_over, "{number} is nowhere");
        }
        yield_now().await;
    }
}

#[test]
fn schedules_of_changes_that_are_noted_and_struck_out() {
    let directory = tempfile::tempdir().unwrap();
    let template = directory.path().join("template");
    std::fs::create_dir(&template).unwrap();
    let catalog = open(&template);
    catalog.note(EARLIER.to_owned());
    drop(catalog);
    check_some(ONE_OF, move || {
        let directory = tempfile::tempdir_in(directory.path()).unwrap();
        let path = directory.path();
        for name in ["x.db", "x.user"] {
            std::fs::copy(template.join(name), path.join(name)).unwrap();
        }
        let catalog = open(path);
        let seen = Arc::new(Seen::default());
        let looks = spawn(look(path.to_owned(), Arc::clone(&seen)));
        // A caller that leaves, at any moment: nothing comes of its change.
        let leaver = change(Arc::clone(&catalog), Arc::default(), 1, End::Done);
        let leaver = spawn(leaver);
        let change = |number, end| {
            let (catalog, seen) = (Arc::clone(&catalog), Arc::clone(&seen));
            spawn(change(catalog, seen, number, end))
        };
        let changes = [
            change(2, End::Done),
            change(3, End::Doubted),
            change(4, End::Left),
            change(5, End::LeftAndEnded),
        ];
        let told = [1, 2].map(|_| {
            let catalog = Arc::clone(&catalog);
            spawn(async move { catalog.take_unfinished() })
        });
        leaver.abort();
        for change in changes {
            block_on(change).unwrap();
        }
        let _ = block_on(leaver);
        let told = told.into_iter().flat_map(|told| block_on(told).unwrap());
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), 1, "told once");
        block_on(catalog.settle()).unwrap();
        seen.over.store(true, Relaxed);
        block_on(looks).unwrap();
        let mut ids: Vec<_> = seen.begun.lock().unwrap().iter().map(|b| b.id).collect();
        ids.push(told[0].id);
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "each has a number of its own");
        let disk = Disk::of(path);
        assert_eq!(disk.texts(), ["4 left", EARLIER]);
        drop(disk);
        drop(catalog);
    });
}
