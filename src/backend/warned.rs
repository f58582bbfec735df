//! What was warned of already: one warning for each path, not one at each
//! listing.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use super::Remote;
use super::entry::EntryKind;
use super::path::RemotePath;

/// Paths that are remembered; with more, some are warned of again.
const MOST: usize = 10_000;

/// The paths that were warned of.
#[derive(Debug, Default)]
pub(super) struct Warned {
    /// Hashes: long paths would need more memory than they are worth.
    paths: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl Warned {
    /// Whether this is the first warning of its kind for the path.
    fn is_first(&self, kind: EntryKind, path: &RemotePath) -> bool {
        let hash = self
            .hasher
            .hash_one((kind == EntryKind::Directory, path.as_str()));
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.len() >= MOST {
            paths.clear();
        }
        paths.insert(hash)
    }
}

impl Remote {
    /// Tells the operator of entries that share a path.
    pub(super) fn warn_of_duplicates(&self, kind: EntryKind, path: &RemotePath, count: usize) {
        if count < 2 || !self.account.warned.is_first(kind, path) {
            return;
        }
        match kind {
            EntryKind::File => {
                tracing::warn!(%path, files = count, "several files share a path; the newest counts");
            }
            EntryKind::Directory => {
                tracing::warn!(%path, directories = count, "several directories share a path; they count as one, and Dedupe makes them one");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_warned_of_once_and_memory_is_bounded() {
        let warned = Warned::default();
        let path = |number: usize| RemotePath::parse(&format!("d/{number}")).unwrap();
        assert!(warned.is_first(EntryKind::File, &path(1)));
        assert!(!warned.is_first(EntryKind::File, &path(1)));
        assert!(warned.is_first(EntryKind::Directory, &path(1)));
        for number in 0..3 * MOST {
            warned.is_first(EntryKind::File, &path(number));
        }
        assert!(warned.paths.lock().unwrap().len() <= MOST);
    }
}
