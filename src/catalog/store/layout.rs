//! What all databases have in common: how they are opened, the table `meta`,
//! and how their files are put away.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::trouble::Trouble;
use crate::clock::to_millis;

/// How long another program's lock of a database is waited for, each time.
const BUSY: Duration = Duration::from_millis(500);

pub(super) const META: &str =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;";

/// Opens a database, or makes an empty one.
pub(super) fn connect(path: &Path) -> Result<Connection, Trouble> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // A crash of the machine must not lose what was acknowledged.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -4096;",
    )?;
    // No power fails in a check of thousands of schedules.
    #[cfg(test)]
    if crate::sync::in_check() {
        connection.execute_batch("PRAGMA synchronous = OFF;")?;
    }
    Ok(connection)
}

/// Opens a database to read it where there is no room to write: no other
/// connection can use it meanwhile, so that SQLite needs no file for what
/// connections have in common.
pub(super) fn connect_alone(path: &Path) -> Result<Connection, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE;")?;
    connection.query_row("SELECT COUNT(*) FROM sqlite_master", [], |_| Ok(()))?;
    Ok(connection)
}

/// The number of the layout; `None` where there are no tables at all.
pub(super) fn schema(connection: &Connection) -> Result<Option<i64>, Trouble> {
    let tables: i64 =
        connection.query_row("SELECT COUNT(*) FROM sqlite_master", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(None);
    }
    let number = meta(connection, "schema")?.and_then(|number| number.parse().ok());
    let missing = || Trouble::Damage("the number of its layout is missing".to_owned());
    number.map(Some).ok_or_else(missing)
}

/// A fact about the database itself.
pub(super) fn meta(connection: &Connection, name: &str) -> Result<Option<String>, Trouble> {
    let value = connection.query_row(
        "SELECT CAST(value AS TEXT) FROM meta WHERE name = ?1",
        [name],
        |row| row.get(0),
    );
    Ok(value.optional()?)
}

pub(super) fn set_meta(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?
        .execute([name, value])?;
    Ok(())
}

/// Whether there was such a fact.
pub(super) fn clear_meta(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let cleared = connection
        .prepare_cached("DELETE FROM meta WHERE name = ?1")?
        .execute([name])?;
    Ok(cleared > 0)
}

/// The name by which a database is known wherever its file lies.
pub(super) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Brings an older layout to a newer one; what it holds stays.
pub(super) fn migrate(
    connection: &Connection,
    path: &Path,
    steps: &[(i64, i64, &str)],
) -> Result<(), Trouble> {
    while let Some(number) = schema(connection)?
        && let Some((from, to, change)) = steps.iter().find(|(from, ..)| *from == number)
    {
        let change = format!(
            "BEGIN IMMEDIATE; {change} UPDATE meta SET value = {to} WHERE name = 'schema'; COMMIT;"
        );
        if let Err(error) = connection.execute_batch(&change) {
            let _ = connection.execute_batch("ROLLBACK");
            return Err(error.into());
        }
        tracing::info!(database = %path.display(), from, to, "a database was brought to a new layout");
    }
    Ok(())
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Gives the files of a database, which nobody has open, another name: that of
/// the database with `what` and the time behind it.
pub(super) fn put_away(path: &Path, what: &str) -> io::Result<PathBuf> {
    let mut stamp = to_millis(SystemTime::now());
    let mut away = with(path, &format!(".{what}-{stamp}"));
    while away.exists() {
        stamp += 1;
        away = with(path, &format!(".{what}-{stamp}"));
    }
    rename(path, &away)?;
    Ok(away)
}

/// The file with the pages comes last: what is left of the others without it
/// is of no harm.
fn rename(path: &Path, to: &Path) -> io::Result<()> {
    for suffix in ["-shm", "-wal"] {
        match std::fs::rename(with(path, suffix), with(to, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, to)?;
    sync_directory(to);
    Ok(())
}

/// Removes the files of a database.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for path in [path.to_owned(), with(path, "-wal"), with(path, "-shm")] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_directory(path);
    Ok(())
}

/// New names of files outlive a crash of the machine.
pub(super) fn sync_directory(path: &Path) {
    let synced = path
        .parent()
        .map(|parent| File::open(parent).and_then(|parent| parent.sync_all()));
    if let Some(Err(error)) = synced {
        tracing::debug!(%error, "the directory of the databases cannot be synced");
    }
}
