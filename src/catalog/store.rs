//! The catalog on disk: an SQLite database that a warm start reads instead of
//! asking 1Fichier again.
//!
//! SQLite through `rusqlite`: its calls block, which suits one writer thread
//! that groups many small changes into one transaction; an async wrapper would
//! add threads of its own and nothing else. One process uses the database; the
//! state directory's lock sees to that.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension, params};

use super::content::{Content, FileRecord, FolderRecord, Whirlpool, shared_type};
use super::node::Change;
use crate::clock::{from_millis, to_millis};

/// Changes with the layout of the tables; another number is not read.
const SCHEMA: i64 = 2;
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
    writer: Option<std::thread::JoinHandle<()>>,
    set_aside: bool,
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

    fn open_with(path: &Path, account: &str, settings: &str) -> Result<Self, String> {
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
            let make = format!("BEGIN; {TABLES} COMMIT;");
            writer.execute_batch(&make).map_err(failed)?;
            writer
                .execute(
                    "INSERT INTO meta VALUES ('schema', ?1), ('account', ?2)",
                    params![SCHEMA, account],
                )
                .map_err(failed)?;
        }
        writer.execute_batch(settings).map_err(failed)?;
        let reader = open(path).map_err(failed)?;
        let (queue, receiver) = sync_channel(QUEUE);
        let problem = Arc::new(Mutex::new(None));
        let thread = {
            let (problem, path) = (Arc::clone(&problem), path.to_owned());
            std::thread::Builder::new()
                .name("catalog".to_owned())
                .spawn(move || write_all(writer, &receiver, &problem, &path))
                .map_err(|error| format!("cannot start a thread: {error}"))?
        };
        Ok(Self {
            path: path.to_owned(),
            queue: Some(queue),
            reader: Arc::new(Mutex::new(reader)),
            problem,
            writer: Some(thread),
            set_aside: is_aside,
        })
    }

    /// Whether an older database could not be used.
    pub(super) fn was_set_aside(&self) -> bool {
        self.set_aside
    }

    /// Why nothing is written any more; `None` when all is well.
    pub fn problem(&self) -> Option<String> {
        lock(&self.problem).clone()
    }

    /// Queues something to write.
    pub(super) fn write(&self, write: Write) {
        let Some(queue) = &self.queue else { return };
        // Waits while the queue is full, for the milliseconds that the writer
        // takes: it needs no lock that is held here.
        let _ = queue.send(write);
    }

    /// Waits until all that was queued is on disk.
    pub(super) async fn flush(&self) {
        let (done, written) = channel();
        self.write(Write::Barrier(done));
        let _ = tokio::task::spawn_blocking(move || written.recv()).await;
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Option<T> {
        let reader = Arc::clone(&self.reader);
        let result = tokio::task::spawn_blocking(move || read(&lock(&reader)))
            .await
            .ok()?;
        result
            .inspect_err(|error| tracing::warn!(%error, catalog = %self.path.display(), "the catalog cannot be read"))
            .ok()
    }

    /// What is remembered of a folder.
    pub(super) async fn load(&self, folder: i64) -> Remembered {
        self.flush().await;
        let nothing = Remembered {
            content: None,
            changes: Vec::new(),
        };
        if self.problem().is_some() {
            return nothing; // what is on disk fell behind
        }
        self.read(move |connection| load(connection, folder))
            .await
            .unwrap_or(nothing)
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
    let health: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(damaged)?;
    if health != "ok" {
        return Err(format!("it is damaged ({health})"));
    }
    let meta = |name: &str| {
        connection.query_row(
            "SELECT CAST(value AS TEXT) FROM meta WHERE name = ?1",
            [name],
            |row| row.get::<_, String>(0),
        )
    };
    let schema = meta("schema").map_err(damaged)?;
    if schema != SCHEMA.to_string() {
        return Err(format!(
            "its layout is number {schema}, and this version knows {SCHEMA}"
        ));
    }
    if meta("account").map_err(damaged)? != account {
        return Err("it belongs to another account".to_owned());
    }
    Ok(())
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
            // What is on disk falls behind from here on: it must not be
            // trusted at the next start.
            let text = format!("the catalog is no longer written to disk: {error}");
            tracing::error!(catalog = %path.display(), %error, "the catalog is no longer written to disk; the next start lists again");
            if let Err(error) = set_aside(path) {
                tracing::error!(%error, "the incomplete catalog could not be set aside; remove it before the next start");
            }
            *lock(problem) = Some(text);
        }
        for write in group {
            if let Write::Barrier(done) = write {
                let _ = done.send(());
            }
        }
    }
}

fn write_group(connection: &mut Connection, group: &[Write]) -> rusqlite::Result<()> {
    if group.iter().all(|write| matches!(write, Write::Barrier(_))) {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for write in group {
        apply(&transaction, write)?;
    }
    transaction.commit()
}

fn apply(connection: &Connection, write: &Write) -> rusqlite::Result<()> {
    let run = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| -> rusqlite::Result<usize> {
        connection.prepare_cached(sql)?.execute(parameters)
    };
    match write {
        Write::Listing {
            folder,
            content,
            as_of,
            at,
        } => {
            run("DELETE FROM files WHERE folder = ?1", &[folder])?;
            run("DELETE FROM folders WHERE parent = ?1", &[folder])?;
            for file in content.files() {
                insert_file(connection, *folder, file)?;
            }
            for sub in content.folders() {
                insert_folder(connection, *folder, sub)?;
            }
            run(
                "INSERT OR REPLACE INTO listings VALUES (?1, ?2, ?3)",
                &[folder, &to_millis(*at), &to_millis(*as_of)],
            )?;
        }
        Write::Change { folder, change, at } => {
            let text = serde_json::to_string(change)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            run(
                "INSERT INTO changes VALUES (?1, ?2, ?3)",
                &[folder, &to_millis(*at), &text],
            )?;
            let old = to_millis(*at) - super::GRACE.as_millis() as i64;
            run("DELETE FROM changes WHERE at < ?1", &[&old])?;
            let listed = connection
                .prepare_cached("SELECT 1 FROM listings WHERE folder = ?1")?
                .exists([folder])?;
            match change {
                _ if !listed => {}
                Change::FileAdded(file) => insert_file(connection, *folder, file)?,
                Change::FileRemoved(url) => {
                    run(
                        "DELETE FROM files WHERE folder = ?1 AND url = ?2",
                        &[folder, url],
                    )?;
                }
                Change::FolderAdded(sub) => insert_folder(connection, *folder, sub)?,
                Change::FolderRemoved(id) => {
                    run(
                        "DELETE FROM folders WHERE parent = ?1 AND id = ?2",
                        &[folder, id],
                    )?;
                }
            }
        }
        Write::Doubt { folder } => {
            run(
                "UPDATE listings SET listed_at = -ABS(listed_at) WHERE folder = ?1",
                &[folder],
            )?;
        }
        Write::Forget { folder } => {
            for sql in [
                "DELETE FROM files WHERE folder = ?1",
                "DELETE FROM folders WHERE parent = ?1",
                "DELETE FROM listings WHERE folder = ?1",
                "DELETE FROM changes WHERE folder = ?1",
            ] {
                run(sql, &[folder])?;
            }
        }
        Write::Outcome {
            request,
            arguments,
            outcome,
            at,
        } => {
            run(
                "INSERT OR REPLACE INTO outcomes VALUES (?1, ?2, ?3, ?4)",
                &[request, &to_millis(*at), arguments, outcome],
            )?;
            // An hour is kept; 10 minutes are promised.
            run(
                "DELETE FROM outcomes WHERE at < ?1",
                &[&(to_millis(*at) - 3_600_000)],
            )?;
        }
        Write::Fact { name, value, at } => {
            run(
                "INSERT OR REPLACE INTO facts VALUES (?1, ?2, ?3)",
                &[name, &to_millis(*at), value],
            )?;
        }
        Write::Barrier(_) => {}
    }
    Ok(())
}

fn insert_file(connection: &Connection, folder: i64, file: &FileRecord) -> rusqlite::Result<()> {
    let flags = i64::from(file.password) | i64::from(file.acl) << 1 | i64::from(file.cdn) << 2;
    connection
        .prepare_cached("INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            folder,
            &*file.url,
            &*file.name,
            file.size as i64,
            file.time,
            file.whirlpool.as_ref().map(Whirlpool::bytes),
            &*file.content_type,
            flags,
        ])?;
    Ok(())
}

fn insert_folder(
    connection: &Connection,
    parent: i64,
    folder: &FolderRecord,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO folders VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            parent,
            folder.id,
            &*folder.name,
            folder.time,
            i64::from(folder.password),
        ])?;
    Ok(())
}

fn load(connection: &Connection, folder: i64) -> rusqlite::Result<Remembered> {
    let mut changes = Vec::new();
    let mut statement = connection
        .prepare_cached("SELECT at, change FROM changes WHERE folder = ?1 ORDER BY at, rowid")?;
    for row in statement.query_map([folder], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })? {
        let (at, text) = row?;
        // What cannot be read was written by another version: the listing
        // alone counts then.
        if let Ok(change) = serde_json::from_str(&text) {
            changes.push((from_millis(at), change));
        }
    }
    let listed: Option<(i64, i64)> = connection
        .prepare_cached("SELECT listed_at, as_of FROM listings WHERE folder = ?1")?
        .query_row([folder], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((listed_at, as_of)) = listed else {
        return Ok(Remembered {
            content: None,
            changes,
        });
    };
    let files = connection
        .prepare_cached("SELECT url, name, size, time, whirlpool, content_type, flags FROM files WHERE folder = ?1")?
        .query_map([folder], |row| {
            let flags: i64 = row.get(6)?;
            Ok(FileRecord {
                url: row.get::<_, String>(0)?.into(),
                name: row.get::<_, String>(1)?.into(),
                size: row.get::<_, i64>(2)?.unsigned_abs(),
                time: row.get(3)?,
                whirlpool: row.get_ref(4)?.as_blob_or_null()?.and_then(Whirlpool::from_bytes),
                content_type: shared_type(row.get_ref(5)?.as_str()?),
                password: flags & 1 != 0,
                acl: flags & 2 != 0,
                cdn: flags & 4 != 0,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let folders = connection
        .prepare_cached("SELECT id, name, time, flags FROM folders WHERE parent = ?1")?
        .query_map([folder], |row| {
            Ok(FolderRecord {
                id: row.get(0)?,
                name: row.get::<_, String>(1)?.into(),
                time: row.get(2)?,
                password: row.get::<_, i64>(3)? != 0,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Remembered {
        content: Some((
            Content::new(folders, files),
            from_millis(as_of),
            from_millis(listed_at),
        )),
        changes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> FileRecord {
        FileRecord {
            url: format!("https://1fichier.com/?{name}").into(),
            name: name.into(),
            size: 3,
            time: Some(1_700_000_000),
            whirlpool: Whirlpool::from_hex(&"ab".repeat(64)),
            content_type: shared_type("text/plain"),
            password: true,
            acl: false,
            cdn: true,
        }
    }

    fn listing(folder: i64, files: Vec<FileRecord>) -> Write {
        let folders = vec![FolderRecord {
            id: 7,
            name: "sub".into(),
            time: None,
            password: false,
        }];
        Write::Listing {
            folder,
            content: Arc::new(Content::new(folders, files)),
            as_of: SystemTime::now(),
            at: SystemTime::now(),
        }
    }

    #[tokio::test]
    async fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let store = Store::open(&path, "account").unwrap();
        store.write(listing(1, vec![file("a"), file("b")]));
        let now = SystemTime::now();
        store.write(Write::Change {
            folder: 1,
            change: Change::FileRemoved(file("a").url),
            at: now,
        });
        store.write(Write::Change {
            folder: 1,
            change: Change::FileAdded(file("c")),
            at: now,
        });
        store.write(Write::Change {
            folder: 2,
            change: Change::FolderRemoved(9),
            at: now,
        });
        drop(store);
        let store = Store::open(&path, "account").unwrap();
        let remembered = store.load(1).await;
        let (content, _, _) = remembered.content.unwrap();
        let mut files: Vec<_> = content.files().cloned().collect();
        files.sort_by(|left, right| left.name.cmp(&right.name));
        assert_eq!(files, [file("b"), file("c")]);
        assert_eq!(content.folders().next().unwrap().id, 7);
        assert_eq!(remembered.changes.len(), 2);
        let other = store.load(2).await;
        assert!(other.content.is_none(), "a change alone is no listing");
        assert_eq!(other.changes.len(), 1);
    }

    #[tokio::test]
    async fn a_full_disk_ends_the_writing_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        drop(Store::open(&path, "account").unwrap());
        let connection = Connection::open(&path).unwrap();
        let pages: i64 = connection
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        drop(connection);
        let store = Store::open_with(
            &path,
            "account",
            &format!("PRAGMA max_page_count = {};", pages + 2),
        )
        .unwrap();
        store.write(listing(1, vec![file("a")]));
        store.flush().await;
        assert_eq!(store.problem(), None);
        store.write(listing(
            2,
            (0..5_000).map(|number| file(&number.to_string())).collect(),
        ));
        store.flush().await;
        assert!(
            store.problem().unwrap().contains("full"),
            "{:?}",
            store.problem()
        );
        assert!(
            store.load(1).await.content.is_none(),
            "what fell behind is not read"
        );
        drop(store);
        let store = Store::open(&path, "account").unwrap();
        assert!(
            store.load(1).await.content.is_none(),
            "the incomplete one was set aside"
        );
        assert!(
            std::fs::read_dir(dir.path()).unwrap().count() > 1,
            "and not deleted"
        );
    }
}
