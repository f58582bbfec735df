//! What can be listed again: folders, files, and own changes that listings may
//! not show yet.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Connection, params};

use super::trouble::Trouble;
use super::{layout, rows};
use crate::clock::{from_millis, to_millis};

/// Changes with the layout of the tables. A number without a way to this one is
/// not read.
const SCHEMA: i64 = 6;
/// In these, user data lay in the same database; they are in one of their own
/// before it is brought to a later layout.
pub(super) const WITH_USER_DATA: RangeInclusive<i64> = 2..=5;
const WITHOUT_USER_DATA: &str = "
DROP TABLE IF EXISTS checksums; DROP TABLE IF EXISTS intents; DROP TABLE IF EXISTS modified;
DROP TABLE IF EXISTS outcomes; DROP TABLE IF EXISTS facts;
CREATE INDEX IF NOT EXISTS folders_by_id ON folders (id);
";
/// From one layout to a later one.
const MIGRATIONS: &[(i64, i64, &str)] = &[
    (2, 6, WITHOUT_USER_DATA),
    (3, 6, WITHOUT_USER_DATA),
    (4, 6, WITHOUT_USER_DATA),
    (5, 6, WITHOUT_USER_DATA),
];

const TABLES: &str = "
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
-- A folder is in one other folder only.
CREATE INDEX folders_by_id ON folders (id);
";

/// A database in use.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// It takes the place of one that could not be used, and does not know
    /// what was listed before.
    pub(super) replaced: bool,
}

/// Opens or makes the cache that belongs to a database with user data. One that
/// is damaged, newer or of another account is put away.
pub(super) fn open(path: &Path, name: &str, user: &str) -> Result<Opened, Trouble> {
    let mut replaced = false;
    if path.exists() {
        match check(path, name, user) {
            Ok(connection) => {
                return Ok(Opened {
                    connection,
                    replaced,
                });
            }
            Err(Trouble::Passing(why)) => return Err(Trouble::Passing(why)),
            Err(why) => {
                replaced = true;
                let away = layout::put_away(path, "set-aside")?;
                tracing::warn!(catalog = %path.display(), set_aside = %away.display(), %why, "what is remembered of listings cannot be used; starting with nothing");
            }
        }
    }
    let connection = layout::connect(path)?;
    make(&connection, name, user)?;
    layout::sync_directory(path);
    Ok(Opened {
        connection,
        replaced,
    })
}

fn check(path: &Path, name: &str, user: &str) -> Result<Connection, Trouble> {
    let connection = layout::connect(path)?;
    layout::migrate(&connection, path, MIGRATIONS)?;
    let wrong = |why: String| Err(Trouble::Damage(why));
    match layout::schema(&connection)? {
        Some(SCHEMA) => {}
        Some(other) => {
            return wrong(format!(
                "its layout is number {other}, and this version knows {SCHEMA}"
            ));
        }
        None => return wrong("it is empty".to_owned()),
    }
    if layout::meta(&connection, "account")?.as_deref() != Some(name) {
        return wrong("it belongs to another account".to_owned());
    }
    match layout::meta(&connection, "user")? {
        Some(owner) if owner == user => {}
        // Brought from an earlier layout just now.
        None => layout::set_meta(&connection, "user", user)?,
        Some(_) => return wrong("its user data are not there".to_owned()),
    }
    Ok(connection)
}

fn make(connection: &Connection, name: &str, user: &str) -> Result<(), Trouble> {
    let begun = "BEGIN IMMEDIATE";
    connection.execute_batch(begun)?;
    let made = || -> rusqlite::Result<()> {
        connection.execute_batch(layout::META)?;
        connection.execute_batch(TABLES)?;
        layout::set_meta(connection, "schema", &SCHEMA.to_string())?;
        layout::set_meta(connection, "account", name)?;
        layout::set_meta(connection, "user", user)?;
        connection.execute_batch("COMMIT")
    };
    made().map_err(|error| {
        let _ = connection.execute_batch("ROLLBACK");
        error.into()
    })
}

/// Takes the database in use: no time that it holds lies ahead afterwards. A
/// change keeps its grace from now on. When a folder was listed of which a clock
/// that was wrong told is not known, and counts as long ago; returns whether
/// there is one.
pub(super) fn begin(connection: &Connection, now: SystemTime) -> rusqlite::Result<bool> {
    let now = to_millis(now);
    connection.execute("UPDATE changes SET at = ?1 WHERE at > ?1", [now])?;
    let unknown = connection.execute(
        "UPDATE listings SET listed_at = CASE WHEN listed_at < 0 THEN -1 ELSE 1 END, as_of = 1 \
         WHERE ABS(listed_at) > ?1 OR as_of > ?1",
        [now],
    )?;
    Ok(unknown > 0)
}

/// It took the place of another one just now.
fn mark_replaced(connection: &Connection, now: SystemTime) -> rusqlite::Result<()> {
    layout::set_meta(connection, "replaced", &to_millis(now).to_string())
}

/// Whether a database can be read as it is.
pub(super) fn is_ours(
    connection: &Connection,
    name: &str,
    user: Option<&str>,
) -> Result<bool, Trouble> {
    Ok(layout::schema(connection)? == Some(SCHEMA)
        && layout::meta(connection, "account")?.as_deref() == Some(name)
        && layout::meta(connection, "user")?.as_deref() == user)
}

/// Whether it took the place of another one so lately that what was listed
/// before may not be listed again yet.
pub(super) fn was_replaced_since(connection: &Connection, since: SystemTime) -> bool {
    let replaced = layout::meta(connection, "replaced").ok().flatten();
    let replaced = replaced.and_then(|at| at.parse::<i64>().ok());
    replaced.is_some_and(|at| at > to_millis(since))
}

/// The folders listed since a moment; the oldest first.
pub(super) fn listed_since(
    connection: &Connection,
    since: SystemTime,
) -> Result<Vec<(i64, SystemTime)>, Trouble> {
    let mut statement = connection
        .prepare("SELECT folder, ABS(listed_at) AS at FROM listings WHERE at > ?1 ORDER BY at")?;
    let rows = statement.query_map([to_millis(since)], |row| {
        Ok((row.get(0)?, from_millis(row.get(1)?)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Forgets the listings that could not be written.
pub(super) fn forget(connection: &mut Connection, folders: &BTreeSet<i64>) -> Result<(), Trouble> {
    let transaction = connection.transaction()?;
    for folder in folders {
        rows::forget_listing(&transaction, *folder)?;
    }
    Ok(transaction.commit()?)
}

/// A row of the own changes that listings may not show yet.
pub(super) type ChangeRow = (i64, i64, String);

/// What can still be read of the own changes: a listing that lags would undo
/// them.
pub(super) fn salvage(path: &Path) -> Vec<ChangeRow> {
    let read = || -> Result<Vec<ChangeRow>, Trouble> {
        let connection = layout::connect(path)?;
        let mut statement = connection.prepare("SELECT folder, at, change FROM changes")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.map_while(Result::ok).collect())
    };
    read().unwrap_or_default()
}

/// Takes the place of another one of which these were saved.
pub(super) fn put_back(
    connection: &mut Connection,
    rows: &[ChangeRow],
    now: SystemTime,
) -> Result<(), Trouble> {
    let transaction = connection.transaction()?;
    mark_replaced(&transaction, now)?;
    for (folder, at, change) in rows {
        transaction
            .prepare_cached("INSERT INTO changes VALUES (?1, ?2, ?3)")?
            .execute(params![folder, at, change])?;
    }
    Ok(transaction.commit()?)
}
