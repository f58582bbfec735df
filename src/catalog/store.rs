//! The catalog on disk: an SQLite database that a warm start reads instead of
//! asking 1Fichier again.
//!
//! SQLite through `rusqlite`: its calls block, which suits one writer thread
//! that groups many small changes into one transaction; an async wrapper would
//! add threads of its own and nothing else. One process uses the database; the
//! state directory's lock sees to that.

mod checksums;
mod modified;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension, params};

use super::content::{Content, FileRecord};
use super::node::Change;
use super::recorded::ContentKey;
use crate::checksum::Checksum;
use crate::clock::{from_millis, to_millis};
use crate::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use crate::sync::{Mutex, MutexGuard, thread};
use rows::{load, write_group};

/// Changes with the layout of the tables. A number without a way to this one is
/// not read.
const SCHEMA: i64 = 5;
/// From one layout to the next.
const MIGRATIONS: [(i64, &str); 3] = [(2, checksums::TABLE), (3, INTENTS), (4, modified::TABLE)];
/// Changes written in one transaction at the most.
const GROUP: usize = 1_000;
/// Changes that may wait for the writer.
const QUEUE: usize = 10_000;

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
-- listed_at is negative when what is remembered is not to be trusted.
CREATE TABLE listings (folder INTEGER PRIMARY KEY, listed_at INTEGER NOT NULL, as_of INTEGER NOT NULL);
CREATE TABLE files (
    folder INTEGER NOT NULL, url TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, time INTEGER,
    whirlpool BLOB, content_type TEXT NOT NULL, flags INTEGER NOT NULL,
    PRIMARY KEY (folder, url)) WITHOUT ROWID;
CREATE TABLE folders (
    parent INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL, time INTEGER, flags INTEGER NOT NULL,
    PRIMARY KEY (parent, id)) WITHOUT ROWID;
CREATE TABLE changes (folder INTEGER NOT NULL, at INTEGER NOT NULL, change TEXT NOT NULL);
CREATE INDEX changes_by_folder ON changes (folder);
CREATE INDEX changes_by_time ON changes (at);
CREATE TABLE outcomes (request TEXT PRIMARY KEY, at INTEGER NOT NULL, arguments TEXT NOT NULL, outcome TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, at INTEGER NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
";

/// Finds the folders that hold one: there is only one of them.
const PARENTS: &str = "CREATE INDEX IF NOT EXISTS folders_by_id ON folders (id);";

/// What is about to be changed.
///
/// `touched` holds, for each file or folder concerned, how changes that added or
/// removed it are written.
const INTENTS: &str = "CREATE TABLE intents (
    id INTEGER PRIMARY KEY, folders TEXT NOT NULL, touched TEXT NOT NULL, what TEXT NOT NULL);";

/// An intent that was not ended.
#[derive(Debug)]
pub(super) struct Intent {
    pub(super) id: u64,
    pub(super) folders: Vec<i64>,
    pub(super) touched: Vec<String>,
    pub(super) what: String,
}

/// What is remembered of a folder.
#[derive(Debug)]
pub(super) struct Remembered {
    /// The content, as of when it is, and when its listing was complete.
    pub(super) content: Option<(Content, SystemTime, SystemTime)>,
    pub(super) changes: Vec<(SystemTime, Change)>,
}

/// Something to write.
#[derive(Debug)]
pub(super) enum Write {
    Listing {
        folder: i64,
        content: Arc<Content>,
        as_of: SystemTime,
        at: SystemTime,
    },
    Change {
        folder: i64,
        change: Change,
        at: SystemTime,
    },
    /// What is remembered of the folder is not to be trusted.
    Doubt {
        folder: i64,
    },
    Forget {
        folder: i64,
    },
    /// The folder is in no other one.
    FolderGone {
        folder: i64,
    },
    /// A file is in a folder, and no own change says so.
    File {
        folder: i64,
        file: FileRecord,
    },
    /// The folder is not in this one, and no own change says so.
    FolderMissing {
        parent: i64,
        id: i64,
    },
    /// The file is not in this folder, and no own change says so.
    Missing {
        folder: i64,
        url: String,
    },
    Outcome {
        request: String,
        arguments: String,
        outcome: String,
        at: SystemTime,
    },
    Fact {
        name: String,
        value: String,
        at: SystemTime,
    },
    Checksums {
        key: ContentKey,
        sums: Vec<Checksum>,
    },
    /// The modification time of a file.
    Modified {
        url: String,
        time: i64,
    },
    /// A file has that of another one.
    ModifiedOf {
        from: String,
        to: String,
    },
    /// The file is gone.
    ModifiedNoMore {
        url: String,
    },
    /// Something that is about to be changed, in place of what stood there.
    Intent(Intent),
    /// Own changes of something in a folder do not count any more.
    Unsure {
        folder: i64,
        touched: String,
    },
    /// An intent is ended.
    Done {
        id: u64,
    },
    /// Everything before it is written.
    Barrier(Sender<()>),
}

/// The database of one account.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    queue: Option<SyncSender<Write>>,
    reader: Arc<Mutex<Connection>>,
    problem: Arc<Mutex<Option<String>>>,
    writer: Option<thread::JoinHandle<()>>,
    set_aside: bool,
    /// Spares looking for what was never recorded.
    has_checksums: AtomicBool,
    has_modified: AtomicBool,
    crashed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens or makes the database of an account. One that is damaged, newer
    /// or of another account is set aside under another name.
    ///
    /// # Errors
    /// A text for the operator, when not even a new one can be made.
    pub fn open(path: &Path, account: &str) -> Result<Self, String> {
        Self::open_with(path, account, "")
    }

    pub(super) fn open_with(path: &Path, account: &str, settings: &str) -> Result<Self, String> {
        let failed =
            |error: rusqlite::Error| format!("cannot use the catalog {}: {error}", path.display());
        let mut is_aside = false;
        if path.exists()
            && let Err(why) = check(path, account)
        {
            is_aside = true;
            let aside = set_aside(path)
                .map_err(|error| format!("cannot set {} aside: {error}", path.display()))?;
            tracing::warn!(catalog = %path.display(), set_aside = %aside.display(), why, "the catalog is not used; starting with an empty one");
        }
        let writer = open(path).map_err(failed)?;
        let fresh: Option<i64> = writer
            .query_row(
                "SELECT 1 FROM sqlite_master WHERE name = 'meta'",
                [],
                |row| row.get(0),
            )
            .optional()
            .map_err(failed)?;
        if fresh.is_none() {
            let more = [checksums::TABLE, INTENTS, modified::TABLE].concat();
            let make = format!("BEGIN; {TABLES} {more} COMMIT;");
            writer.execute_batch(&make).map_err(failed)?;
            writer
                .execute(
                    "INSERT INTO meta VALUES ('schema', ?1), ('account', ?2)",
                    params![SCHEMA, account],
                )
                .map_err(failed)?;
        }
        migrate(&writer).map_err(failed)?;
        writer.execute_batch(PARENTS).map_err(failed)?;
        // Told only by a run that wrote all that it had to write.
        let closed = writer
            .execute("DELETE FROM meta WHERE name = 'closed'", [])
            .map_err(failed)?;
        writer.execute_batch(settings).map_err(failed)?;
        let reader = open(path).map_err(failed)?;
        let has_checksums = checksums::exist(&reader).map_err(failed)?;
        let has_modified = modified::exist(&reader).map_err(failed)?;
        let (queue, receiver) = sync_channel(QUEUE);
        let problem = Arc::new(Mutex::new(None));
        let thread = {
            let (problem, path) = (Arc::clone(&problem), path.to_owned());
            let write = move || write_all(writer, &receiver, &problem, &path);
            thread::spawn("catalog", write)
                .map_err(|error| format!("cannot start a thread: {error}"))?
        };
        Ok(Self {
            path: path.to_owned(),
            queue: Some(queue),
            reader: Arc::new(Mutex::new(reader)),
            problem,
            writer: Some(thread),
            set_aside: is_aside,
            has_checksums: has_checksums.into(),
            has_modified: has_modified.into(),
            crashed: fresh.is_some() && closed == 0,
        })
    }

    /// Whether an older database could not be used.
    pub(super) fn was_set_aside(&self) -> bool {
        self.set_aside
    }

    /// Whether the last run ended before it had written everything.
    pub(super) fn has_crashed(&self) -> bool {
        self.crashed
    }

    /// Why nothing is written any more; `None` when all is well.
    pub fn problem(&self) -> Option<String> {
        lock(&self.problem).clone()
    }

    /// Queues something to write.
    pub(super) fn write(&self, write: Write) {
        let Some(queue) = &self.queue else { return };
        match write {
            Write::Checksums { .. } => self.has_checksums.store(true, Ordering::Relaxed),
            Write::Modified { .. } => self.has_modified.store(true, Ordering::Relaxed),
            _ => {}
        }
        // Waits while the queue is full, for the milliseconds that the writer
        // takes: it needs no lock that is held here.
        let _ = queue.send(write);
    }

    /// Waits until all that was queued is on disk.
    pub(super) async fn flush(&self) {
        let (done, written) = channel();
        self.write(Write::Barrier(done));
        let _ = thread::blocking(move || written.recv()).await;
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Option<T> {
        if self.problem().is_some() {
            return None; // what is on disk fell behind
        }
        let reader = Arc::clone(&self.reader);
        let result = thread::blocking(move || read(&lock(&reader))).await?;
        // A damaged page is noticed when it is needed: to read them all at the
        // start would take longer the larger the account is.
        result
            .inspect_err(|error| give_up(&self.problem, &self.path, error))
            .ok()
    }

    /// What is remembered of a folder.
    pub(super) async fn load(&self, folder: i64) -> Remembered {
        self.flush().await;
        let nothing = Remembered {
            content: None,
            changes: Vec::new(),
        };
        self.read(move |connection| load(connection, folder))
            .await
            .unwrap_or(nothing)
    }

    /// Whether any checksums were recorded.
    pub(super) fn has_checksums(&self) -> bool {
        self.has_checksums.load(Ordering::Relaxed)
    }

    /// The recorded checksums of contents, in order. Those that are not on disk
    /// yet are not acknowledged yet either.
    pub(super) async fn checksums(&self, keys: Vec<ContentKey>) -> Option<Vec<Vec<Checksum>>> {
        if !self.has_checksums() {
            return None;
        }
        self.read(move |connection| checksums::look_up(connection, &keys))
            .await
    }

    /// Whether any modification times were set.
    pub(super) fn has_modified(&self) -> bool {
        self.has_modified.load(Ordering::Relaxed)
    }

    /// The modification times of files, where there are any. Those that are
    /// not on disk yet are not acknowledged yet either.
    pub(super) async fn modified(&self, urls: Vec<String>) -> Option<HashMap<String, i64>> {
        self.read(move |connection| modified::look_up(connection, &urls))
            .await
    }

    /// The outcome of an earlier call: its arguments and its answer.
    pub(super) async fn outcome(&self, request: String) -> Option<(SystemTime, String, String)> {
        self.flush().await;
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT at, arguments, outcome FROM outcomes WHERE request = ?1")?
                .query_row([request], |row| {
                    Ok((from_millis(row.get(0)?), row.get(1)?, row.get(2)?))
                })
                .optional()
        })
        .await?
    }

    /// A fact and when it was so. Read once, at start.
    pub(super) fn fact(&self, name: &str) -> Option<(SystemTime, String)> {
        let connection = lock(&self.reader);
        connection
            .query_row(
                "SELECT at, value FROM facts WHERE name = ?1",
                [name],
                |row| Ok((from_millis(row.get(0)?), row.get(1)?)),
            )
            .ok()
    }

    /// The intents that were not ended. Read once, at start.
    pub(super) fn intents(&self) -> Vec<Intent> {
        let connection = lock(&self.reader);
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement =
                connection.prepare("SELECT id, folders, touched, what FROM intents ORDER BY id")?;
            let rows = statement.query_map([], |row| {
                let (folders, touched): (String, String) = (row.get(1)?, row.get(2)?);
                Ok(Intent {
                    id: row.get::<_, i64>(0)?.unsigned_abs(),
                    folders: folders
                        .split(' ')
                        .filter_map(|id| id.parse().ok())
                        .collect(),
                    touched: touched.lines().map(ToOwned::to_owned).collect(),
                    what: row.get(3)?,
                })
            })?;
            rows.collect()
        };
        read().unwrap_or_default()
    }

    /// The folders listed since a moment. Read once, at start.
    pub(super) fn listed_since(&self, since: SystemTime) -> Vec<(i64, SystemTime)> {
        let connection = lock(&self.reader);
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement = connection.prepare(
                "SELECT folder, ABS(listed_at) AS at FROM listings WHERE at > ?1 ORDER BY at",
            )?;
            let rows = statement.query_map([to_millis(since)], |row| {
                Ok((row.get(0)?, from_millis(row.get(1)?)))
            })?;
            rows.collect()
        };
        read().unwrap_or_default()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The writer ends when it has written all that was queued.
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    // A crash of the machine must not lose what was acknowledged.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -4096;",
    )?;
    Ok(connection)
}

/// Whether a database can be used.
fn check(path: &Path, account: &str) -> Result<(), String> {
    let damaged = |error: rusqlite::Error| format!("it is damaged ({error})");
    let connection = Connection::open(path).map_err(damaged)?;
    let meta = |name: &str| {
        connection.query_row(
            "SELECT CAST(value AS TEXT) FROM meta WHERE name = ?1",
            [name],
            |row| row.get::<_, String>(0),
        )
    };
    let schema = meta("schema").map_err(damaged)?;
    let known = |number: i64| schema == number.to_string();
    if !known(SCHEMA) && !MIGRATIONS.iter().any(|(from, _)| known(*from)) {
        return Err(format!(
            "its layout is number {schema}, and this version knows {SCHEMA}"
        ));
    }
    if meta("account").map_err(damaged)? != account {
        return Err("it belongs to another account".to_owned());
    }
    Ok(())
}

/// Brings an older layout to this one; what it holds stays.
fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    loop {
        let schema: i64 = connection.query_row(
            "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'schema'",
            [],
            |row| row.get(0),
        )?;
        let Some((from, change)) = MIGRATIONS.iter().find(|(from, _)| *from == schema) else {
            return Ok(());
        };
        let next = from + 1;
        connection.execute_batch(&format!(
            "BEGIN; {change} UPDATE meta SET value = {next} WHERE name = 'schema'; COMMIT;"
        ))?;
        tracing::info!(from, to = next, "the catalog was brought to a new layout");
    }
}

fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let stamp = to_millis(SystemTime::now());
    let aside = path.with_extension(format!("set-aside-{stamp}"));
    std::fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        let with = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        match std::fs::rename(with(path), with(&aside)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

fn write_all(
    mut connection: Connection,
    queue: &Receiver<Write>,
    problem: &Mutex<Option<String>>,
    path: &Path,
) {
    while let Ok(first) = queue.recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = queue.try_recv()
        {
            group.push(next);
        }
        if lock(problem).is_none()
            && let Err(error) = write_group(&mut connection, &group)
        {
            give_up(problem, path, &error);
        }
        for write in group {
            if let Write::Barrier(done) = write {
                let _ = done.send(());
            }
        }
    }
    if lock(problem).is_none() {
        // Without it the next start is only more careful.
        let _ = connection.execute("INSERT OR REPLACE INTO meta VALUES ('closed', 1)", []);
    }
}

/// What is on disk cannot be read, or falls behind from here on: it must not be
/// trusted at the next start.
fn give_up(problem: &Mutex<Option<String>>, path: &Path, error: &rusqlite::Error) {
    let mut problem = lock(problem);
    if problem.is_some() {
        return;
    }
    tracing::error!(catalog = %path.display(), %error, "the catalog is no longer used; the next start lists again");
    if let Err(error) = set_aside(path) {
        tracing::error!(%error, "the unusable catalog could not be set aside; remove it before the next start");
    }
    *problem = Some(format!(
        "what is known of the account is not kept on disk any more: {error}"
    ));
}
