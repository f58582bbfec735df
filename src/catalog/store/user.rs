//! What cannot be listed again: modification times, checksums, outcomes of
//! calls, what is begun and not ended, and what 1Fichier must not be asked for
//! too soon.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension, params};

use super::trouble::Trouble;
use super::unsaved::Outcome;
use super::{Intent, checksums, layout, modified};
use crate::clock::{from_millis, to_millis};

/// Changes with the layout of the tables.
pub(super) const SCHEMA: i64 = 1;
/// From one layout to a later one.
const MIGRATIONS: &[(i64, i64, &str)] = &[];

/// The facts of earlier versions that tell a time to come: how long 1Fichier
/// has locked the account or its website.
const LOCKED_UNTIL: [&str; 2] = ["locked_until", "pages_locked_until"];
/// No lock lasts longer.
const LONGEST_LOCK: Duration = Duration::from_secs(3_601);
/// Outcomes are kept as long; 10 minutes are promised.
const OUTCOMES: i64 = 3_600_000;

/// The number of the last start, so that each start counts above all others.
const STARTS: &str = "starts";
/// Starts are counted to here, and then again from the beginning.
const MOST_STARTS: u32 = 1 << 22;

/// `touched` holds, for each file or folder concerned, how changes that added or
/// removed it are written.
pub(super) const INTENTS: &str = "CREATE TABLE intents (
    id INTEGER PRIMARY KEY, folders TEXT NOT NULL, touched TEXT NOT NULL, what TEXT NOT NULL);";

pub(super) const OUTCOMES_AND_FACTS: &str = "
CREATE TABLE outcomes (request TEXT PRIMARY KEY, at INTEGER NOT NULL, arguments TEXT NOT NULL, outcome TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, at INTEGER NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
";

/// `identities` are hashes of the addresses that the account is known by;
/// `merged` are the databases that were taken over.
const WHOSE: &str = "
CREATE TABLE identities (account TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE merged (id TEXT PRIMARY KEY, file TEXT NOT NULL) WITHOUT ROWID;
";

/// Whose times and checksums a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of an account.
    Account,
    /// Of a public folder.
    Shared,
}

impl Kind {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Shared => "shared",
        }
    }
}

/// Makes the tables of an empty database, within a transaction.
pub(super) fn create(connection: &Connection, id: &str, kind: Kind) -> rusqlite::Result<()> {
    let tables = [
        layout::META,
        OUTCOMES_AND_FACTS,
        checksums::TABLE,
        INTENTS,
        modified::TABLE,
        WHOSE,
    ];
    connection.execute_batch(&tables.concat())?;
    layout::set_meta(connection, "schema", &SCHEMA.to_string())?;
    layout::set_meta(connection, "id", id)?;
    layout::set_meta(connection, "kind", kind.text())
}

/// Brings a database to this layout. `false` when it is a later one's.
pub(super) fn migrate(connection: &Connection, path: &Path) -> Result<bool, Trouble> {
    layout::migrate(connection, path, MIGRATIONS)?;
    Ok(layout::schema(connection)? == Some(SCHEMA))
}

/// What is known of a run before this one.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) id: String,
    /// It ended before it had written everything.
    pub(super) crashed: bool,
    /// The cache did not hold all that it should when it was written last.
    pub(super) cache_behind: bool,
    pub(super) left: Vec<Intent>,
    pub(super) identities: BTreeSet<String>,
    pub(super) starts: Option<u32>,
    pub(super) has_checksums: bool,
    pub(super) has_modified: bool,
}

/// Reads what an earlier run has left.
pub(super) fn before(connection: &Connection) -> Result<Before, Trouble> {
    let missing = || Trouble::Damage("its id is missing".to_owned());
    Ok(Before {
        id: layout::meta(connection, "id")?.ok_or_else(missing)?,
        crashed: layout::meta(connection, "closed")?.is_none(),
        cache_behind: layout::meta(connection, "cache_behind")?.is_some(),
        left: intents(connection)?,
        identities: identities(connection)?,
        starts: starts(connection)?,
        has_checksums: checksums::exist(connection)?,
        has_modified: modified::exist(connection)?,
    })
}

/// Takes the database in use. No time that it holds lies ahead afterwards: a
/// clock that was wrong would keep what it was about alive for as long, and
/// each start anew.
pub(super) fn begin(connection: &Connection, starts: u32, now: SystemTime) -> rusqlite::Result<()> {
    let lasts = to_millis(now + LONGEST_LOCK);
    let now = to_millis(now);
    connection.execute("UPDATE outcomes SET at = ?1 WHERE at > ?1", [now])?;
    let [lock, website] = LOCKED_UNTIL;
    connection.execute(
        "UPDATE facts SET at = ?1 WHERE at > ?1 AND name NOT IN (?2, ?3)",
        params![now, lock, website],
    )?;
    connection.execute(
        "UPDATE facts SET at = ?1 WHERE at > ?1 AND name IN (?2, ?3)",
        params![lasts, lock, website],
    )?;
    set_fact(connection, STARTS, from_millis(now), &starts.to_string())?;
    // Told only by a run that wrote all that it had to write.
    layout::clear_meta(connection, "closed")?;
    Ok(())
}

/// The number of a start, above all others that are known.
pub(super) fn next_start(known: impl Iterator<Item = u32>) -> u32 {
    known
        .max()
        .map_or(0, |last| last.wrapping_add(1) % MOST_STARTS)
}

/// The number of the last start.
pub(super) fn starts(connection: &Connection) -> Result<Option<u32>, Trouble> {
    Ok(fact(connection, STARTS)?.and_then(|(_, starts)| starts.parse().ok()))
}

pub(super) fn identities(connection: &Connection) -> Result<BTreeSet<String>, Trouble> {
    let mut statement = connection.prepare("SELECT account FROM identities")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn add_identity(connection: &Connection, account: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO identities VALUES (?1)")?
        .execute([account])?;
    Ok(())
}

/// Whether a database was taken over.
pub(super) fn is_merged(connection: &Connection, id: &str) -> Result<bool, Trouble> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM merged WHERE id = ?1")?;
    Ok(statement.exists([id])?)
}

pub(super) fn set_merged(connection: &Connection, id: &str, file: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO merged VALUES (?1, ?2)")?
        .execute([id, file])?;
    Ok(())
}

pub(super) fn outcome(connection: &Connection, request: &str) -> Result<Option<Outcome>, Trouble> {
    let found = connection
        .prepare_cached("SELECT at, arguments, outcome FROM outcomes WHERE request = ?1")?
        .query_row([request], |row| {
            Ok(Outcome {
                at: from_millis(row.get(0)?),
                arguments: row.get(1)?,
                outcome: row.get(2)?,
            })
        });
    Ok(found.optional()?)
}

pub(super) fn set_outcome(
    connection: &Connection,
    request: &str,
    outcome: &Outcome,
) -> rusqlite::Result<()> {
    let at = to_millis(outcome.at);
    connection
        .prepare_cached("INSERT OR REPLACE INTO outcomes VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![request, at, outcome.arguments, outcome.outcome])?;
    connection
        .prepare_cached("DELETE FROM outcomes WHERE at < ?1")?
        .execute([at - OUTCOMES])?;
    Ok(())
}

pub(super) fn fact(
    connection: &Connection,
    name: &str,
) -> Result<Option<(SystemTime, String)>, Trouble> {
    let found = connection
        .prepare_cached("SELECT at, value FROM facts WHERE name = ?1")?
        .query_row([name], |row| Ok((from_millis(row.get(0)?), row.get(1)?)));
    Ok(found.optional()?)
}

pub(super) fn set_fact(
    connection: &Connection,
    name: &str,
    at: SystemTime,
    value: &str,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO facts VALUES (?1, ?2, ?3)")?
        .execute(params![name, to_millis(at), value])?;
    Ok(())
}

/// Takes a fact from another database, if it is the later one.
pub(super) fn take_fact(
    connection: &Connection,
    name: &str,
    at: SystemTime,
    value: &str,
) -> Result<(), Trouble> {
    let known = fact(connection, name)?;
    let number = |text: &str| text.parse::<u32>().ok();
    let is_later = known.is_none_or(|(known_at, known)| match name {
        STARTS => number(&known) < number(value),
        _ => known_at < at,
    });
    if is_later {
        set_fact(connection, name, at, value)?;
    }
    Ok(())
}

/// A number above those of all intents.
pub(super) fn next_intent(connection: &Connection) -> Result<u64, Trouble> {
    let last: i64 =
        connection.query_row("SELECT COALESCE(MAX(id), 0) FROM intents", [], |row| {
            row.get(0)
        })?;
    Ok(last.unsigned_abs() + 1)
}

fn intents(connection: &Connection) -> Result<Vec<Intent>, Trouble> {
    let mut statement =
        connection.prepare("SELECT id, folders, touched, what FROM intents ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        let (folders, touched): (String, String) = (row.get(1)?, row.get(2)?);
        Ok(read_intent(row.get(0)?, &folders, &touched, row.get(3)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn read_intent(id: i64, folders: &str, touched: &str, what: String) -> Intent {
    Intent {
        id: id.unsigned_abs(),
        folders: folders
            .split(' ')
            .filter_map(|id| id.parse().ok())
            .collect(),
        touched: touched.lines().map(ToOwned::to_owned).collect(),
        what,
    }
}

pub(super) fn set_intent(connection: &Connection, intent: &Intent) -> rusqlite::Result<()> {
    let folders: Vec<_> = intent.folders.iter().map(ToString::to_string).collect();
    connection
        .prepare_cached("INSERT OR REPLACE INTO intents VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            intent.id.cast_signed(),
            folders.join(" "),
            intent.touched.join("\n"),
            intent.what
        ])?;
    Ok(())
}

pub(super) fn end_intent(connection: &Connection, id: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM intents WHERE id = ?1")?
        .execute([id.cast_signed()])?;
    Ok(())
}
