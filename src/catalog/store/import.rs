//! User data of another database: of an earlier layout, of a key that is not
//! used any more, or of one that is damaged.
//!
//! They are taken over in steps, between which other writes have their turn. A
//! step may be repeated after a crash: times and checksums are added to what is
//! there, and what may be added once only comes last, with the note that the
//! database is taken over.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::trouble::Trouble;
use super::unsaved::Outcome;
use super::{Intent, checksums, layout, modified, user};
use crate::clock::from_millis;

/// Rows of one step.
const STEP: i64 = 2_000;
/// Beyond what any database counts.
const FAR: i64 = 1 << 48;

/// Which of two values of one thing counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newer {
    Here,
    There,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Times,
    Checksums,
    Rest,
    Done,
}

/// A database that is being taken over.
#[derive(Debug)]
pub(super) struct Import {
    path: PathBuf,
    source: Connection,
    /// By which it is known as taken over.
    id: Option<String>,
    newer: Newer,
    stage: Stage,
    after: i64,
    /// So many rows are read at once.
    limit: i64,
    /// Rows that were read, and places where none could be.
    rows: u64,
    gaps: u64,
    begun: Vec<Intent>,
    skips_intents: bool,
}

/// Where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    stage: Stage,
    after: i64,
    rows: u64,
    gaps: u64,
}

impl Import {
    /// One that is whole, as far as is known.
    pub(super) fn new(path: &Path, newer: Newer) -> Result<Self, Trouble> {
        let source = layout::connect(path)?;
        let id = match layout::meta(&source, "id")? {
            Some(id) => id,
            None => {
                let id = layout::new_id();
                layout::set_meta(&source, "id", &id)?;
                id
            }
        };
        Ok(Self::of(path, source, Some(id), newer))
    }

    /// One that is damaged: what can be read of it.
    pub(super) fn salvage(path: &Path) -> Result<Self, Trouble> {
        let source = Connection::open(path)?;
        Ok(Self::of(path, source, None, Newer::Here))
    }

    fn of(path: &Path, source: Connection, id: Option<String>, newer: Newer) -> Self {
        Self {
            path: path.to_owned(),
            source,
            id,
            newer,
            stage: Stage::Times,
            after: 0,
            limit: STEP,
            rows: 0,
            gaps: 0,
            begun: Vec::new(),
            skips_intents: false,
        }
    }

    /// What is begun is known better than the database tells.
    pub(super) fn skips_intents(&mut self, skips: bool) {
        self.skips_intents = skips;
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether something of it could not be read.
    pub(super) fn is_damaged(&self) -> bool {
        self.gaps > 0
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            stage: self.stage,
            after: self.after,
            rows: self.rows,
            gaps: self.gaps,
        }
    }

    /// What was read since then was not written.
    pub(super) fn go_back(&mut self, mark: Mark) {
        let Mark {
            stage,
            after,
            rows,
            gaps,
        } = mark;
        (self.stage, self.after, self.rows, self.gaps) = (stage, after, rows, gaps);
        self.limit = STEP;
    }

    /// What was begun and not ended, under the numbers that it has here.
    pub(super) fn take_begun(&mut self) -> Vec<Intent> {
        std::mem::take(&mut self.begun)
    }

    /// The next step, within a transaction of the database that takes it over.
    /// Returns whether it was the last.
    pub(super) fn step(
        &mut self,
        into: &Connection,
        next_intent: &AtomicU64,
    ) -> Result<bool, Trouble> {
        let replaces = self.newer == Newer::There;
        match self.stage {
            Stage::Times => {
                let rows = self.read("modified", "url, time", |row| {
                    Some((text(row, 1)?, number(row, 2)?))
                })?;
                for (url, time) in rows {
                    self.add(modified::take_over(into, &url, time, replaces))?;
                }
            }
            Stage::Checksums => {
                let rows = self.read("checksums", "identity, size, sums", |row| {
                    Some((blob(row, 1)?, number(row, 2)?, blob(row, 3)?))
                })?;
                for (identity, size, sums) in rows {
                    let row = (&*identity, size, &*sums);
                    self.add(checksums::take_over(into, row, replaces))?;
                }
            }
            Stage::Rest => {
                self.take_rest(into, next_intent)?;
                self.stage = Stage::Done;
            }
            Stage::Done => {}
        }
        Ok(self.stage == Stage::Done)
    }

    /// What can never be written is left out.
    fn add(&mut self, written: rusqlite::Result<()>) -> Result<(), Trouble> {
        match written.map_err(Trouble::from) {
            Err(Trouble::Faulty(_)) => {
                self.gaps += 1;
                Ok(())
            }
            other => other,
        }
    }

    fn take_rest(&mut self, into: &Connection, next_intent: &AtomicU64) -> Result<(), Trouble> {
        for (request, outcome) in self.outcomes() {
            let known = user::outcome(into, &request)?;
            if known.is_none_or(|known| known.at < outcome.at) {
                user::set_outcome(into, &request, &outcome)?;
            }
        }
        for (name, at, value) in self.facts() {
            user::take_fact(into, &name, from_millis(at), &value)?;
        }
        for account in self.identities() {
            user::add_identity(into, &account)?;
        }
        self.begun.clear();
        while !self.skips_intents {
            let intents = self.read("intents", "folders, touched, what", |row| {
                let (folders, touched) = (text(row, 1)?, text(row, 2)?);
                Some(user::read_intent(0, &folders, &touched, text(row, 3)?))
            })?;
            for intent in intents {
                let id = next_intent.fetch_add(1, Ordering::Relaxed);
                let intent = Intent { id, ..intent };
                user::set_intent(into, &intent)?;
                self.begun.push(intent);
            }
            if self.stage == Stage::Done {
                break;
            }
        }
        if let Some(id) = &self.id {
            user::set_merged(into, id, &super::shelf::shown(&self.path))?;
        }
        Ok(())
    }

    /// The next rows of a table with numbered rows. Where some of them cannot
    /// be read it goes on behind them.
    fn read<T>(
        &mut self,
        table: &str,
        columns: &str,
        row: impl Fn(&Row<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Trouble> {
        let sql = format!("SELECT id, {columns} FROM {table} WHERE id > ?1 ORDER BY id LIMIT ?2");
        let mut found = Vec::new();
        let (mut after, limit) = (self.after, self.limit);
        let mut gaps = 0;
        let mut seen = 0;
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.source.prepare_cached(&sql)?;
            let mut rows = statement.query(params![self.after, limit])?;
            while let Some(next) = rows.next()? {
                after = next.get(0)?;
                seen += 1;
                match row(next) {
                    Some(row) => found.push(row),
                    None => gaps += 1,
                }
            }
            Ok(())
        };
        let outcome = read().map_err(Trouble::from);
        self.gaps += gaps;
        self.rows += found.len() as u64;
        match outcome {
            Ok(()) if seen == limit => {
                self.after = after;
                self.limit = (2 * limit).min(STEP);
            }
            Ok(()) => self.next_table(),
            Err(Trouble::Damage(_)) => match self.has(table) {
                Ok(false) => self.next_table(),
                // Row by row, where damage is near.
                Ok(true) if seen > 0 || limit > 1 => (self.after, self.limit) = (after, 1),
                Ok(true) => {
                    self.gaps += 1;
                    match self.behind(table, after) {
                        Some(next) => self.after = next.max(after + 1),
                        None => self.next_table(),
                    }
                }
                Err(_) => {
                    self.gaps += 1;
                    self.next_table();
                }
            },
            Err(trouble) => return Err(trouble),
        }
        Ok(found)
    }

    fn next_table(&mut self) {
        (self.after, self.limit) = (0, STEP);
        self.stage = match self.stage {
            Stage::Times => Stage::Checksums,
            Stage::Checksums => Stage::Rest,
            Stage::Rest | Stage::Done => Stage::Done,
        };
    }

    /// Earlier layouts have fewer tables.
    fn has(&self, table: &str) -> rusqlite::Result<bool> {
        self.source.query_row(
            "SELECT COUNT(*) > 0 FROM sqlite_master WHERE type = 'table' AND name = ?1",
            [table],
            |row| row.get(0),
        )
    }

    /// Behind what cannot be read after a number: the row before the next one
    /// that can.
    fn behind(&self, table: &str, after: i64) -> Option<i64> {
        let sql = format!("SELECT * FROM {table} WHERE id >= ?1 ORDER BY id LIMIT 1");
        let is_readable = |from: i64| {
            let read = || -> rusqlite::Result<()> {
                let mut statement = self.source.prepare_cached(&sql)?;
                let mut rows = statement.query([from])?;
                rows.next().map(drop)
            };
            read().is_ok()
        };
        let mut step = 1;
        while step < FAR && !is_readable(after + step) {
            step *= 2;
        }
        if step >= FAR {
            return None;
        }
        let (mut broken, mut whole) = (after + step / 2, after + step);
        while whole - broken > 1 {
            let middle = broken + (whole - broken) / 2;
            match is_readable(middle) {
                true => whole = middle,
                false => broken = middle,
            }
        }
        Some(whole - 1)
    }

    /// The rows of a small table, from both ends as far as they can be read.
    fn both_ways<T>(
        &mut self,
        table: &str,
        columns: &str,
        by: &str,
        row: impl Fn(&Row<'_>) -> Option<T>,
    ) -> Vec<T> {
        let mut found = Vec::new();
        match self.has(table) {
            Ok(true) => {}
            Ok(false) => return found,
            Err(_) => {
                self.gaps += 1;
                return found;
            }
        }
        for order in ["ASC", "DESC"] {
            let sql = format!("SELECT {columns} FROM {table} ORDER BY {by} {order}");
            let mut read = || -> rusqlite::Result<()> {
                let mut statement = self.source.prepare(&sql)?;
                let mut rows = statement.query([])?;
                while let Some(next) = rows.next()? {
                    found.extend(row(next));
                }
                Ok(())
            };
            if read().is_ok() {
                break;
            }
            self.gaps += 1;
        }
        found
    }

    fn outcomes(&mut self) -> Vec<(String, Outcome)> {
        self.both_ways(
            "outcomes",
            "request, at, arguments, outcome",
            "request",
            |row| {
                let outcome = Outcome {
                    at: from_millis(number(row, 1)?),
                    arguments: text(row, 2)?,
                    outcome: text(row, 3)?,
                };
                Some((text(row, 0)?, outcome))
            },
        )
    }

    fn facts(&mut self) -> Vec<(String, i64, String)> {
        self.both_ways("facts", "name, at, value", "name", |row| {
            Some((text(row, 0)?, number(row, 1)?, text(row, 2)?))
        })
    }

    fn identities(&mut self) -> Vec<String> {
        self.both_ways("identities", "account", "account", |row| text(row, 0))
    }
}

fn text(row: &Row<'_>, at: usize) -> Option<String> {
    match row.get_ref(at) {
        Ok(ValueRef::Text(text)) => String::from_utf8(text.to_vec()).ok(),
        _ => None,
    }
}

fn blob(row: &Row<'_>, at: usize) -> Option<Vec<u8>> {
    match row.get_ref(at) {
        Ok(ValueRef::Blob(blob)) => Some(blob.to_vec()),
        _ => None,
    }
}

fn number(row: &Row<'_>, at: usize) -> Option<i64> {
    match row.get_ref(at) {
        Ok(ValueRef::Integer(number)) => Some(number),
        _ => None,
    }
}

/// What an account that opens with an unknown key takes from those that no key
/// opens any more, before it is certain whose they are: 1Fichier may count for
/// the same address.
pub(super) fn take_clocks(
    into: &Connection,
    from: &Connection,
    as_asked: &str,
) -> Result<(), Trouble> {
    const CLOCKS: [&str; 6] = [
        "lock",
        "locked_until",
        "last_call",
        "pages_lock",
        "pages_locked_until",
        "last_page",
    ];
    for name in CLOCKS {
        if let Some((at, value)) = user::fact(from, name)? {
            user::take_fact(into, name, at, &value)?;
        }
    }
    for name in ["user_info", as_asked] {
        if let Some((at, _)) = user::fact(from, name)? {
            user::take_fact(into, as_asked, at, "")?;
        }
    }
    Ok(())
}
