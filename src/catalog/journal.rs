//! What is about to be changed at 1Fichier, on disk before the call is made.
//!
//! A run that ends between a call and what is noted of it leaves its intents
//! behind: the next one does not trust what it remembers of those folders, and
//! whoever wrote an intent finds out how it ended.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use super::Catalog;
use super::store::{self, Store, Write};
use crate::sync::Mutex;

/// What an earlier run had begun, and did not note the end of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// By which it is ended.
    pub id: u64,
    /// What it was, in the words of whoever began it.
    pub what: String,
}

/// The numbers of intents.
#[derive(Debug, Default)]
pub(super) struct Journal {
    next: AtomicU64,
    unfinished: Mutex<Vec<Unfinished>>,
}

impl Journal {
    /// What an earlier run has left. What it had begun to change is doubted.
    pub(super) fn open(store: &Store) -> Self {
        let left = store.intents();
        let last = left.iter().map(|intent| intent.id).max().unwrap_or(0);
        let folders: BTreeSet<i64> = left.iter().flat_map(|left| left.folders.clone()).collect();
        for folder in folders {
            store.write(Write::Doubt { folder });
        }
        for intent in &left {
            for (folder, touched) in intent
                .folders
                .iter()
                .flat_map(|folder| intent.touched.iter().map(move |touched| (*folder, touched)))
            {
                let touched = touched.clone();
                store.write(Write::Unsure { folder, touched });
            }
        }
        let mut unfinished = Vec::new();
        for intent in left {
            match intent.what {
                // Nothing more to do than not to trust.
                what if what.is_empty() => store.write(Write::Done { id: intent.id }),
                what => unfinished.push(Unfinished {
                    id: intent.id,
                    what,
                }),
            }
        }
        Self {
            next: (last + 1).into(),
            unfinished: unfinished.into(),
        }
    }
}

/// What is about to be removed, renamed or moved.
#[derive(Clone, Debug)]
pub enum Touched {
    /// A file, by its link.
    File(String),
    /// A folder, by its id.
    Folder(i64),
}

impl Touched {
    /// How changes that added or removed it begin, or what they hold: it may
    /// have been on its way back to where it was removed from.
    fn texts(&self) -> Vec<String> {
        match self {
            Self::File(url) => vec![format!("\"{url}\"")],
            Self::Folder(id) => vec![
                format!("{{\"FolderAdded\":{{\"id\":{id},"),
                format!("{{\"FolderRemoved\":{id}}}"),
            ],
        }
    }
}

/// A change that is about to be made. Ended when it is known how it ended; one
/// that is dropped leaves its folders in doubt.
pub struct Intent {
    catalog: Arc<Catalog>,
    id: u64,
    folders: Vec<i64>,
    stays: bool,
}

impl fmt::Debug for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Intent({})", self.id)
    }
}

impl Catalog {
    /// Notes that the content of these folders is about to change, and waits
    /// until that is on disk. With a text it is told to the next run if this
    /// one does not end it.
    pub async fn intend(
        self: &Arc<Self>,
        folders: Vec<i64>,
        touched: Vec<Touched>,
        what: String,
    ) -> Intent {
        let id = self.journal.next.fetch_add(1, Ordering::Relaxed);
        let intent = Intent {
            catalog: Arc::clone(self),
            id,
            folders,
            stays: false,
        };
        self.store.write(Write::Intent(store::Intent {
            id,
            folders: intent.folders.clone(),
            touched: touched.iter().flat_map(Touched::texts).collect(),
            what,
        }));
        self.settle().await;
        intent
    }

    /// Notes what is left to do, to be on disk with the next
    /// [`Catalog::settle`]. It stays there until [`Catalog::end_intent`].
    pub fn note(&self, what: String) -> u64 {
        let id = self.journal.next.fetch_add(1, Ordering::Relaxed);
        self.rewrite_intent(id, what);
        id
    }

    /// What an earlier run has begun and not ended. Told once.
    pub fn take_unfinished(&self) -> Vec<Unfinished> {
        let mut unfinished = self
            .journal
            .unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut unfinished)
    }

    /// It is known how an intent ended.
    pub fn end_intent(&self, id: u64) {
        self.store.write(Write::Done { id });
    }

    /// An intent has another text now; nothing is changed any more.
    pub fn rewrite_intent(&self, id: u64, what: String) {
        self.store.write(Write::Intent(store::Intent {
            id,
            folders: Vec::new(),
            touched: Vec::new(),
            what,
        }));
    }
}

impl Intent {
    /// It is known how it ended, and the catalog knows it too.
    pub fn done(mut self) {
        self.folders.clear();
    }

    /// What was to be changed is changed, or is looked after; what is left to
    /// do is this. It stays on disk until [`Catalog::end_intent`].
    pub fn leave(mut self, what: String) -> u64 {
        self.catalog.rewrite_intent(self.id, what);
        self.folders.clear();
        self.stays = true;
        self.id
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        for folder in std::mem::take(&mut self.folders) {
            self.catalog.doubt(folder);
        }
        if !self.stays {
            self.catalog.end_intent(self.id);
        }
    }
}

#[cfg(test)]
mod schedules;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;
    use crate::catalog::content::{FileRecord, FolderRecord};
    use crate::catalog::node::Change;

    fn file(url: &str) -> FileRecord {
        FileRecord {
            url: url.into(),
            name: "n".into(),
            size: 1,
            time: None,
            whirlpool: None,
            content_type: "".into(),
            password: false,
            acl: false,
            cdn: false,
            order: 0,
        }
    }

    fn folder(id: i64) -> FolderRecord {
        FolderRecord {
            id,
            name: "n".into(),
            time: None,
            password: false,
        }
    }

    fn intent(id: u64, folders: &[i64], touched: &[Touched], what: &str) -> Write {
        Write::Intent(store::Intent {
            id,
            folders: folders.to_vec(),
            touched: touched.iter().flat_map(Touched::texts).collect(),
            what: what.to_owned(),
        })
    }

    async fn changes(path: &Path, folder: i64) -> Vec<String> {
        let store = Store::open(path, "account").unwrap();
        let changes = store.load(folder).await.changes.into_iter();
        changes.map(|(_, change)| format!("{change:?}")).collect()
    }

    #[tokio::test]
    async fn what_was_not_ended_is_told_once_and_its_own_changes_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let store = Store::open(&path, "account").unwrap();
        let at = SystemTime::now();
        let change = |folder, change| Write::Change { folder, change, at };
        for write in [
            change(1, Change::FileAdded(file("touched"))),
            change(1, Change::FileAdded(file("other"))),
            change(1, Change::FolderRemoved(7)),
            change(1, Change::FolderRemoved(77)),
            change(2, Change::FileAdded(file("touched"))),
            change(2, Change::FolderAdded(folder(7))),
            intent(3, &[1], &[Touched::File("touched".to_owned())], ""),
            intent(4, &[1, 2], &[Touched::Folder(7)], "a task"),
            intent(5, &[2], &[], "over"),
            Write::Done { id: 5 },
        ] {
            store.write(write);
        }
        drop(store);
        let store = Store::open(&path, "account").unwrap();
        let journal = Journal::open(&store);
        let told = std::mem::take(&mut *journal.unfinished.lock().unwrap());
        let what = "a task".to_owned();
        assert_eq!(told, [Unfinished { id: 4, what }]);
        assert_eq!(journal.next.into_inner(), 5);
        drop(store);
        let left = changes(&path, 1).await;
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].contains("other") && left[1].contains("77"));
        let left = changes(&path, 2).await;
        assert_eq!(left.len(), 1, "another folder's file counts: {left:?}");
        assert!(left[0].contains("touched"));
        // Only what somebody has to end is still there.
        let store = Store::open(&path, "account").unwrap();
        let left: Vec<_> = store.intents().iter().map(|intent| intent.id).collect();
        assert_eq!(left, [4]);
    }
}
