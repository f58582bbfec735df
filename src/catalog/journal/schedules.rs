//! The journal and the thread that writes it, under many schedules. What is on
//! disk is looked at at any moment: that is what a crash would leave.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};

use rusqlite::Connection;
use shuttle::future::{block_on, spawn, yield_now};
use tokio::sync::Semaphore;

use super::*;
use crate::catalog::{Settings, Source, WALKS};
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

fn open(path: &Path) -> Arc<Catalog> {
    // No power fails here.
    let store = Store::open_with(path, "account", "PRAGMA synchronous = OFF;").unwrap();
    Arc::new(Catalog {
        journal: Journal::open(&store),
        source: Source::Account(Arc::clone(&CLIENT)),
        settings: Settings::default(),
        clock: Clock::system(),
        store,
        state: Default::default(),
        walks: Arc::new(Semaphore::new(WALKS)),
        order: 1.into(),
    })
}

/// What a crash would leave now.
struct Disk(Connection);

impl Disk {
    fn has(&self, sql: &str) -> bool {
        let found = self.0.prepare_cached(sql).unwrap().exists([]);
        found.unwrap()
    }

    fn has_intent(&self, id: u64) -> bool {
        self.has(&format!("SELECT 1 FROM intents WHERE id = {id}"))
    }

    fn texts(&self) -> Vec<String> {
        let sql = "SELECT what FROM intents ORDER BY what";
        let mut statement = self.0.prepare_cached(sql).unwrap();
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
    let intent = intent.await;
    let id = intent.id;
    let begun = Begun {
        id,
        number,
        stays: matches!(end, End::Left),
    };
    seen.begun.lock().unwrap().push(begun);
    yield_now().await;
    catalog.remember_fact(&format!("{number}"), String::new(), catalog.clock.now());
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
async fn look(path: PathBuf, seen: Arc<Seen>) {
    let disk = Disk(Connection::open(path).unwrap());
    while !seen.over.load(Relaxed) {
        // Nothing else happens between these.
        for Begun { id, number, stays } in seen.begun.lock().unwrap().clone() {
            let is_noted = disk.has(&format!("SELECT 1 FROM facts WHERE name = '{number}'"));
            let is_open = disk.has_intent(id);
            assert!(is_open || is_noted && !stays, "{number} is nowhere");
        }
        yield_now().await;
    }
}

#[test]
fn schedules_of_changes_that_are_noted_and_struck_out() {
    let directory = tempfile::tempdir().unwrap();
    let template = directory.path().join("template.db");
    let catalog = open(&template);
    catalog.note(EARLIER.to_owned());
    drop(catalog);
    check_some(ONE_OF, move || {
        let directory = tempfile::tempdir_in(directory.path()).unwrap();
        let path = directory.path().join("x.db");
        std::fs::copy(&template, &path).unwrap();
        let catalog = open(&path);
        let seen = Arc::new(Seen::default());
        let looks = spawn(look(path.clone(), Arc::clone(&seen)));
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
        block_on(catalog.settle());
        seen.over.store(true, Relaxed);
        block_on(looks).unwrap();
        let mut ids: Vec<_> = seen.begun.lock().unwrap().iter().map(|b| b.id).collect();
        ids.push(told[0].id);
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "each has a number of its own");
        let disk = Disk(Connection::open(&path).unwrap());
        assert_eq!(disk.texts(), ["4 left", EARLIER]);
        drop(disk);
        drop(catalog);
    });
}
