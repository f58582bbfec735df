//! Whose are the databases that no configured key opens?
//!
//! They are an account's whose key was changed, if that account is the same:
//! because 1Fichier told the same address, or because a listing made with the
//! new key shows a file or a folder that they remember. Links of files and ids
//! of folders are those of one thing for its whole life ([API §C]).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::shelf::Shelf;
use super::trouble::Trouble;
use super::user::Kind;
use super::{cache, layout, user};
use crate::catalog::content::Content;
use crate::fichier::ROOT;

/// Entries of one listing that are looked for.
const LOOKED_FOR: usize = 200;

/// How certain a listing makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Proof {
    /// A folder, or a file in one: other accounts may share folders with this
    /// one.
    Weak,
    /// A file in the root, which is shared with nobody.
    Strong,
}

/// A database that no key opens.
#[derive(Debug)]
pub(super) struct Stray {
    name: String,
    /// Where its user data are.
    data: PathBuf,
    user: Option<Connection>,
    cache: Option<Connection>,
    identities: BTreeSet<String>,
    id: Option<String>,
}

/// Those that may belong to one account or public folder.
#[derive(Debug)]
pub(super) struct Owner {
    kind: Kind,
    strays: Vec<Stray>,
}

fn open(path: PathBuf) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).ok()?;
    let is_readable = layout::schema(&connection).is_ok_and(|schema| schema.is_some());
    is_readable.then_some(connection)
}

/// Where the user data of a name are, and how to read them.
fn data_of(shelf: &Shelf, name: &str) -> Option<(PathBuf, Connection)> {
    let path = shelf.user(name);
    if path.exists() {
        return Some((path.clone(), open(path)?));
    }
    // An earlier layout has them in the cache.
    let path = shelf.cache(name);
    let connection = open(path.clone())?;
    let schema = layout::schema(&connection).ok()??;
    cache::WITH_USER_DATA
        .contains(&schema)
        .then_some((path, connection))
}

/// Where the user data of a name are, if there are any.
pub(super) fn data_path(shelf: &Shelf, name: &str) -> Option<PathBuf> {
    data_of(shelf, name).map(|(path, _)| path)
}

/// Reads the user data of all other names, as far as they can be read.
pub(super) fn each_other(shelf: &Shelf, names: &[String], mut read: impl FnMut(&Connection)) {
    for name in names {
        if let Some((_, connection)) = data_of(shelf, name) {
            read(&connection);
        }
    }
}

impl Stray {
    fn new(shelf: &Shelf, name: &str, kind: Kind) -> Option<Self> {
        let (data, user) = data_of(shelf, name)?;
        let cache = open(shelf.cache(name));
        let found = match layout::meta(&user, "kind").ok()? {
            Some(kind) => kind,
            None => kind_of(&user, cache.as_ref()).ok()??.text().to_owned(),
        };
        if found != kind.text() {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            data,
            identities: user::identities(&user).unwrap_or_default(),
            id: layout::meta(&user, "id").ok().flatten(),
            user: Some(user),
            cache,
        })
    }

    fn shows(
        &self,
        connection: Option<&Connection>,
        sql: &str,
        of: &dyn rusqlite::ToSql,
        folder: i64,
    ) -> bool {
        let look = |connection: &Connection| -> rusqlite::Result<bool> {
            let mut statement = connection.prepare_cached(sql)?;
            match statement.parameter_count() {
                1 => statement.exists([of]),
                _ => statement.exists(rusqlite::params![of, folder]),
            }
        };
        connection.is_some_and(|connection| look(connection).unwrap_or(false))
    }

    /// What a listing says about it.
    fn proof(&self, folder: i64, content: &Content) -> Option<Proof> {
        const FILE: &str = "SELECT 1 FROM files WHERE url = ?1 AND folder = ?2";
        const TIME: &str = "SELECT 1 FROM modified WHERE url = ?1";
        const FOLDER: &str = "SELECT 1 FROM folders WHERE id = ?1 AND parent = ?2";
        let (cache, user) = (self.cache.as_ref(), self.user.as_ref());
        let has_file = content.files().take(LOOKED_FOR).any(|file| {
            self.shows(cache, FILE, &&*file.url, folder)
                || self.shows(user, TIME, &&*file.url, folder)
        });
        if has_file {
            return Some(match folder {
                ROOT => Proof::Strong,
                _ => Proof::Weak,
            });
        }
        let mut folders = content.folders().take(LOOKED_FOR);
        let has_folder = folders.any(|sub| self.shows(cache, FOLDER, &sub.id, folder));
        has_folder.then_some(Proof::Weak)
    }
}

/// Earlier layouts do not say what they are. The pages of public folders tell
/// neither dates nor checksums, and have no sub-folders.
fn kind_of(user: &Connection, cache: Option<&Connection>) -> Result<Option<Kind>, Trouble> {
    if user::fact(user, "last_page")?.is_some() {
        return Ok(Some(Kind::Shared));
    }
    let Some(cache) = cache else {
        return Ok(None);
    };
    let listed: bool = cache.query_row(
        "SELECT EXISTS (SELECT 1 FROM folders) OR EXISTS (SELECT 1 FROM files WHERE time IS NOT NULL OR whirlpool IS NOT NULL)",
        [],
        |row| row.get(0),
    )?;
    Ok(listed.then_some(Kind::Account))
}

impl Owner {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            strays: Vec::new(),
        }
    }

    /// Looks which databases no key opens.
    pub(super) fn look_around(&mut self, shelf: &Arc<Shelf>) {
        let strays = shelf.strays();
        let strays = strays.iter();
        self.strays = strays
            .filter_map(|name| Stray::new(shelf, name, self.kind))
            .collect();
    }

    pub(super) fn has_strays(&self) -> bool {
        !self.strays.is_empty()
    }

    /// Those that are certainly this one's, because they are known by the same
    /// address.
    pub(super) fn known_as(&mut self, identities: &BTreeSet<String>) -> Vec<(String, PathBuf)> {
        self.take(|stray| !stray.identities.is_disjoint(identities))
    }

    /// Those that are this one's, because a listing shows what they remember.
    pub(super) fn shown_by(
        &mut self,
        folder: i64,
        content: &Content,
        identities: &BTreeSet<String>,
    ) -> Vec<(String, PathBuf)> {
        let kind = self.kind;
        self.take(|stray| {
            // An address may have been changed at 1Fichier: only what cannot be
            // shared with another account counts more.
            let others = !stray.identities.is_empty()
                && !identities.is_empty()
                && stray.identities.is_disjoint(identities);
            let needed = match kind {
                Kind::Account if others => Proof::Strong,
                _ => Proof::Weak,
            };
            stray.proof(folder, content) >= Some(needed)
        })
    }

    /// Those that were taken over.
    pub(super) fn merged(&mut self, is_merged: impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
        self.take(|stray| stray.id.as_deref().is_some_and(&is_merged))
    }

    fn take(&mut self, is_ours: impl Fn(&Stray) -> bool) -> Vec<(String, PathBuf)> {
        let (ours, others) = std::mem::take(&mut self.strays)
            .into_iter()
            .partition(is_ours);
        self.strays = others;
        let ours: Vec<Stray> = ours;
        ours.into_iter()
            .map(|stray| (stray.name, stray.data))
            .collect()
    }
}
