//! Modification times as rows.

use std::collections::HashMap;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

/// `id` counts up, so that those set first are known.
pub(super) const TABLE: &str = "
CREATE TABLE modified (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, time INTEGER NOT NULL);
";

/// Files whose times are kept; those set first go. That is about 140 MB on
/// disk.
pub(super) const MOST: i64 = 1_000_000;

/// Files that are looked up by one statement.
const BATCH: usize = 100;

/// Sets the time of a file.
pub(super) fn set(
    connection: &Connection,
    url: &str,
    time: i64,
    most: i64,
) -> rusqlite::Result<()> {
    let changed = connection
        .prepare_cached("UPDATE modified SET time = ?2 WHERE url = ?1")?
        .execute(params![url, time])?;
    if changed > 0 {
        return Ok(());
    }
    connection
        .prepare_cached("INSERT INTO modified (url, time) VALUES (?1, ?2)")?
        .execute(params![url, time])?;
    let oldest = connection.last_insert_rowid() - most;
    connection
        .prepare_cached("DELETE FROM modified WHERE id <= ?1")?
        .execute([oldest])?;
    Ok(())
}

/// Takes the time of a file from another database. The one that is known here
/// counts, unless `replaces`.
pub(super) fn take_over(
    connection: &Connection,
    url: &str,
    time: i64,
    replaces: bool,
) -> rusqlite::Result<()> {
    let is_known = || {
        connection
            .prepare_cached("SELECT 1 FROM modified WHERE url = ?1")?
            .exists([url])
    };
    match replaces || !is_known()? {
        true => set(connection, url, time, MOST),
        false => Ok(()),
    }
}

/// Gives a file the time of another one, if that has one.
pub(super) fn pass_on(
    connection: &Connection,
    from: &str,
    to: &str,
    most: i64,
) -> rusqlite::Result<()> {
    let time = connection
        .prepare_cached("SELECT time FROM modified WHERE url = ?1")?
        .query_row([from], |row| row.get(0))
        .optional()?;
    match time {
        Some(time) => set(connection, to, time, most),
        None => Ok(()),
    }
}

/// The file is gone.
pub(super) fn forget(connection: &Connection, url: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM modified WHERE url = ?1")?
        .execute([url])?;
    Ok(())
}

/// The times of files, where there are any.
pub(super) fn look_up(
    connection: &Connection,
    urls: &[String],
) -> rusqlite::Result<HashMap<String, i64>> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let places = vec!["?"; BATCH].join(",");
        format!("SELECT url, time FROM modified WHERE url IN ({places})")
    });
    let mut statement = connection.prepare_cached(&SQL)?;
    let mut times = HashMap::new();
    for batch in urls.chunks(BATCH) {
        // The statement has as many places for the last few, too.
        let padding = std::iter::repeat_n("", BATCH - batch.len());
        let wanted = batch.iter().map(String::as_str).chain(padding);
        let mut rows = statement.query(params_from_iter(wanted))?;
        while let Some(row) = rows.next()? {
            times.insert(row.get(0)?, row.get(1)?);
        }
    }
    Ok(times)
}

/// Whether there are any.
pub(super) fn exist(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM modified)", [], |row| {
        row.get(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLE).unwrap();
        connection
    }

    fn url(number: i64) -> String {
        format!("https://1fichier.com/?{number}")
    }

    #[test]
    fn times_are_set_passed_on_and_forgotten() {
        let connection = database();
        assert!(!exist(&connection).unwrap());
        for number in 0..250 {
            set(&connection, &url(number), -number, 999).unwrap();
        }
        set(&connection, &url(7), 70, 999).unwrap();
        pass_on(&connection, &url(7), &url(1_000), 999).unwrap();
        pass_on(&connection, &url(300), &url(8), 999).unwrap();
        forget(&connection, &url(9)).unwrap();
        assert!(exist(&connection).unwrap());
        let wanted: Vec<_> = (0..310).chain([1_000]).map(url).collect();
        let times = look_up(&connection, &wanted).unwrap();
        assert_eq!(times.len(), 250);
        assert_eq!((times[&url(7)], times[&url(1_000)]), (70, 70));
        assert_eq!(times[&url(8)], -8, "there was nothing to pass on");
        assert!(!times.contains_key(&url(9)));
        assert!(look_up(&connection, &[]).unwrap().is_empty());
    }

    #[test]
    fn those_set_first_go_first() {
        let connection = database();
        for number in 0..25 {
            set(&connection, &url(number), 1, 10).unwrap();
            // Takes no more room.
            set(&connection, &url(number), 2, 10).unwrap();
        }
        let wanted: Vec<_> = (0..25).map(url).collect();
        let times = look_up(&connection, &wanted).unwrap();
        assert!((15..25).all(|number| times[&url(number)] == 2));
        assert_eq!(times.len(), 10);
    }
}
