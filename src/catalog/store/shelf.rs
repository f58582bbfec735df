//! The databases of a state directory: two for each account or public folder,
//! named after the key that opens it, or after the folder.
//!
//! `NAME.db` holds what can be listed again, `NAME.user` what cannot. Keys are
//! changed, so that a name says nothing of what belongs together: what is
//! remembered of an account under a key that is not used any more is taken
//! over once it is certain whose it is (`owner.rs`).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two questions who accounts are: 1Fichier answers one in a minute to
/// one address, and one in 5 minutes for one account ([API §1.1]), which two
/// keys may open.
const ASKING: Duration = Duration::from_secs(301);

const CACHE: &str = "db";
const USER: &str = "user";

/// The databases of a state directory.
#[derive(Debug)]
pub struct Shelf {
    directory: PathBuf,
    /// Names that belong to what is configured.
    expected: HashSet<String>,
    /// Nothing that lies here otherwise is of the same accounts.
    is_for_new: bool,
    held: Mutex<HashSet<String>>,
    /// When somebody asked last who an account is.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Shelf {
    /// Those of a directory. `expected` are all names that will be opened, and
    /// are never taken for what an earlier key has left.
    pub fn new(directory: PathBuf, expected: impl IntoIterator<Item = String>) -> Arc<Self> {
        Arc::new(Self::of(directory, expected, false))
    }

    /// The same for accounts that never were before: those of an emulator.
    pub fn for_new_accounts(
        directory: PathBuf,
        expected: impl IntoIterator<Item = String>,
    ) -> Arc<Self> {
        Arc::new(Self::of(directory, expected, true))
    }

    fn of(
        directory: PathBuf,
        expected: impl IntoIterator<Item = String>,
        is_for_new: bool,
    ) -> Self {
        Self {
            directory,
            expected: expected.into_iter().collect(),
            is_for_new,
            held: Mutex::default(),
            asked: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the databases of a name; `None` while somebody else has them.
    pub(super) fn hold(self: &Arc<Self>, name: &str) -> Option<Held> {
        let is_free = self.lock().insert(name.to_owned());
        is_free.then(|| Held {
            shelf: Arc::clone(self),
            name: name.to_owned(),
        })
    }

    /// All names under which something lies here.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = HashSet::new();
        let Ok(entries) = std::fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_one = path
                .extension()
                .is_some_and(|kind| kind == CACHE || kind == USER);
            // What was set aside has more dots in its name.
            if let Some(name) = path.file_stem().and_then(|name| name.to_str())
                && is_one
                && !name.contains('.')
            {
                names.insert(name.to_owned());
            }
        }
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort();
        names
    }

    /// The names that nothing configured has, and nobody uses.
    pub(super) fn strays(&self) -> Vec<String> {
        if self.is_for_new {
            return Vec::new();
        }
        let held = self.lock();
        let mut names = self.names();
        names.retain(|name| !self.expected.contains(name) && !held.contains(name));
        names
    }

    /// Databases of a name that were put away for this reason.
    pub(super) fn put_away(&self, name: &str, what: &str) -> Vec<PathBuf> {
        let begins = [USER, CACHE].map(|kind| format!("{name}.{kind}.{what}-"));
        let Ok(entries) = std::fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        let mut found: Vec<_> = entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                name.to_str().is_some_and(|name| {
                    let is_one = begins.iter().any(|begin| name.starts_with(begin));
                    is_one && !name.ends_with("-wal") && !name.ends_with("-shm")
                })
            })
            .map(|entry| entry.path())
            .collect();
        found.sort();
        found
    }

    pub(super) fn cache(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.{CACHE}"))
    }

    pub(super) fn user(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.{USER}"))
    }

    /// Waits for the turn to ask 1Fichier who an account is. The accounts of
    /// one server ask one after the other.
    pub async fn ask_in_turn<T>(&self, ask: impl Future<Output = T>) -> T {
        let mut asked = self.asked.lock().await;
        if let Some(last) = *asked {
            tokio::time::sleep_until(last + ASKING).await;
        }
        let answer = ask.await;
        *asked = Some(Instant::now());
        answer
    }
}

/// The databases of one name, which nobody else opens meanwhile.
#[derive(Debug)]
pub(super) struct Held {
    shelf: Arc<Shelf>,
    name: String,
}

impl Held {
    pub(super) fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What can be listed again.
    pub(super) fn cache(&self) -> PathBuf {
        self.shelf.cache(&self.name)
    }

    /// What cannot.
    pub(super) fn user(&self) -> PathBuf {
        self.shelf.user(&self.name)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shelf.lock().remove(&self.name);
    }
}

/// How a file is told to people: without the directory, which they know.
pub(super) fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
