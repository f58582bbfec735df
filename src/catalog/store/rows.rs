//! Rows of the cache from and to what they mean.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Remembered, Write};
use crate::catalog::GRACE;
use crate::catalog::change::Change;
use crate::catalog::content::{Content, FileRecord, FolderRecord, Whirlpool, shared_type};
use crate::clock::{from_millis, to_millis};

/// Flags have this many bits; above them stands the order of own files.
const ORDER: u32 = 8;

/// Writes a group of changes in one transaction.
pub(super) fn write_group(
    connection: &mut Connection,
    group: &[Arc<Write>],
) -> rusqlite::Result<()> {
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
            let old = to_millis(*at) - GRACE.as_millis() as i64;
            run("DELETE FROM changes WHERE at < ?1", &[&old])?;
            let listed = connection
                .prepare_cached("SELECT 1 FROM listings WHERE folder = ?1")?
                .exists([folder])?;
            match change {
                _ if !listed => {}
                Change::FileAdded(file)
                | Change::FileReturned(file)
                | Change::FileRenamed(file, _) => insert_file(connection, *folder, file)?,
                Change::FileRemoved(url) => {
                    run(
                        "DELETE FROM files WHERE folder = ?1 AND url = ?2",
                        &[folder, url],
                    )?;
                }
                Change::FolderAdded(sub) | Change::FolderMade(sub) => {
                    insert_folder(connection, *folder, sub)?;
                }
                Change::FolderRemoved(id) => {
                    run(
                        "DELETE FROM folders WHERE parent = ?1 AND id = ?2",
                        &[folder, id],
                    )?;
                }
                Change::FileProtected(url, password) => {
                    run(
                        "UPDATE files SET flags = (flags & ~1) | ?3 WHERE folder = ?1 AND url = ?2",
                        &[folder, url, password],
                    )?;
                }
                Change::FolderProtected(id, password) => {
                    run(
                        "UPDATE folders SET flags = ?3 WHERE parent = ?1 AND id = ?2",
                        &[folder, id, password],
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
        Write::Forget { folder } => forget(connection, *folder)?,
        Write::Shown { folder, subjects } => forget_shown(connection, *folder, subjects)?,
        Write::FolderGone { folder } => {
            run("DELETE FROM folders WHERE id = ?1", &[folder])?;
        }
        Write::File { folder, file } => {
            let listed = connection
                .prepare_cached("SELECT 1 FROM listings WHERE folder = ?1")?
                .exists([folder])?;
            if listed {
                insert_file(connection, *folder, file)?;
            }
        }
        Write::FolderMissing { parent, id } => {
            run(
                "DELETE FROM folders WHERE parent = ?1 AND id = ?2",
                &[parent, id],
            )?;
            run(
                "DELETE FROM changes WHERE folder = ?1 AND instr(change, ?2) = 1",
                &[parent, &format!("{{\"FolderAdded\":{{\"id\":{id},")],
            )?;
            run(
                "DELETE FROM changes WHERE folder = ?1 AND instr(change, ?2) = 1",
                &[parent, &format!("{{\"FolderMade\":{{\"id\":{id},")],
            )?;
        }
        Write::Missing { folder, url } => {
            run(
                "DELETE FROM files WHERE folder = ?1 AND url = ?2",
                &[folder, url],
            )?;
            run(
                "DELETE FROM changes WHERE folder = ?1 AND instr(change, ?2) > 0",
                &[folder, &format!("\"{url}\"")],
            )?;
        }
        Write::Unsure { folder, touched } => {
            run(
                "DELETE FROM changes WHERE folder = ?1 AND instr(change, ?2) > 0 AND change LIKE '{\"F%'",
                &[folder, touched],
            )?;
        }
        // Is not for this database.
        Write::Outcome { .. }
        | Write::Fact { .. }
        | Write::Checksums { .. }
        | Write::Modified { .. }
        | Write::ModifiedOf { .. }
        | Write::ModifiedNoMore { .. }
        | Write::Intent(_)
        | Write::Done { .. }
        | Write::Identity { .. } => {}
    }
    Ok(())
}

/// Forgets changes that a listing has shown.
fn forget_shown(
    connection: &Connection,
    folder: i64,
    subjects: &HashSet<String>,
) -> rusqlite::Result<()> {
    let mut shown = Vec::new();
    let mut statement =
        connection.prepare_cached("SELECT rowid, change FROM changes WHERE folder = ?1")?;
    let rows = statement.query_map([folder], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    for row in rows {
        let (id, text) = row?;
        let change: Result<Change, _> = serde_json::from_str(&text);
        if change.is_ok_and(|change| subjects.contains(&change.subject_text())) {
            shown.push(id);
        }
    }
    for id in shown {
        connection
            .prepare_cached("DELETE FROM changes WHERE rowid = ?1")?
            .execute([id])?;
    }
    Ok(())
}

/// Forgets what is known of a folder.
fn forget(connection: &Connection, folder: i64) -> rusqlite::Result<()> {
    forget_listing(connection, folder)?;
    connection
        .prepare_cached("DELETE FROM changes WHERE folder = ?1")?
        .execute([folder])?;
    Ok(())
}

/// Forgets what a folder holds, but not what was changed from here.
pub(super) fn forget_listing(connection: &Connection, folder: i64) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM files WHERE folder = ?1",
        "DELETE FROM folders WHERE parent = ?1",
        "DELETE FROM listings WHERE folder = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([folder])?;
    }
    Ok(())
}

fn insert_file(connection: &Connection, folder: i64, file: &FileRecord) -> rusqlite::Result<()> {
    let flags = i64::from(file.password)
        | i64::from(file.acl) << 1
        | i64::from(file.cdn) << 2
        | (file.order << ORDER) as i64;
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
    // A folder has one parent: the one that showed it last.
    connection
        .prepare_cached("DELETE FROM folders WHERE id = ?1 AND parent <> ?2")?
        .execute(params![folder.id, parent])?;
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

/// What is remembered of a folder.
pub(super) fn load(connection: &Connection, folder: i64) -> rusqlite::Result<Remembered> {
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
                order: (flags as u64) >> ORDER,
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
