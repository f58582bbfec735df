//! What is about to be changed at 1Fichier, on disk before the call is made.
//!
//! A run that ends between a call and what is noted of it leaves its intents
//! behind: the next one does not trust what it remembers of those folders, and
//! whoever wrote an intent finds out how it ended.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError};

use super::Catalog;
use super::store::{self, Write};
use crate::fichier;
use crate::sync::{Mutex, MutexGuard};

/// What an earlier run had begun, and did not note the end of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// By which it is ended.
    pub id: u64,
    /// What it was, in the words of whoever began it.
    pub what: String,
}

/// What earlier runs had begun.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Vec<Unfinished>>);

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Vec<Unfinished>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalog {
    /// What an earlier run has left. What it had begun to change is doubted.
    /// Where the catalog is its own, its changes of that do not count either.
    pub(super) fn take_up(&self, left: Vec<store::Intent>, own: bool) {
        let folders: BTreeSet<i64> = left.iter().flat_map(|left| left.folders.clone()).collect();
        for folder in folders {
            self.doubt(folder);
        }
        for intent in left.iter().filter(|_| own) {
            for (folder, touched) in intent
                .folders
                .iter()
                .flat_map(|folder| intent.touched.iter().map(move |touched| (*folder, touched)))
            {
                let touched = touched.clone();
                self.store.write(Write::Unsure { folder, touched });
            }
        }
        for intent in left {
            match intent.what {
                // Nothing more to do than not to trust.
                what if what.is_empty() => self.end_intent(intent.id),
                what => self.journal.lock().push(Unfinished {
                    id: intent.id,
                    what,
                }),
            }
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
                format!("{{\"FolderMade\":{{\"id\":{id},"),
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
    ///
    /// # Errors
    /// When the disk does not take it: then nothing may be changed.
    pub async fn intend(
        self: &Arc<Self>,
        folders: Vec<i64>,
        touched: Vec<Touched>,
        what: String,
    ) -> Result<Intent, fichier::Error> {
        self.check_kept()?;
        let id = self.store.next_intent();
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
        match self.settle().await {
            Ok(()) => Ok(intent),
            Err(error) => {
                intent.done();
                Err(error)
            }
        }
    }

    /// Notes what is left to do, to be on disk with the next
    /// [`Catalog::settle`]. It stays there until [`Catalog::end_intent`].
    pub fn note(&self, what: String) -> u64 {
        let id = self.store.next_intent();
        self.rewrite_intent(id, what);
        id
    }

    /// What an earlier run has begun and not ended. Told once.
    pub fn take_unfinished(&self) -> Vec<Unfinished> {
        std::mem::take(&mut self.journal.lock())
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
    use std::time::SystemTime;

    use super::*;
    use crate::catalog::change::Change;
    use crate::catalog::content::{FileRecord, FolderRecord};
    use crate::catalog::{Settings, Shelf, Source};
    use crate::clock::Clock;
    use crate::fichier::{ApiKey, Client, Hosts, Limits};

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

    fn open(shelf: &Arc<Shelf>) -> Arc<Catalog> {
        let hosts = Hosts::new("http://127.0.0.1:9/v1").unwrap();
        let client = Client::new(hosts, ApiKey::new("k").unwrap(), Limits::none());
        let source = Source::Account(Arc::new(client.unwrap()));
        let names = vec!["x".to_owned()];
        Catalog::open(shelf, names, source, Settings::default(), Clock::system()).unwrap()
    }

    async fn changes(catalog: &Catalog, folder: i64) -> Vec<String> {
        let changes = catalog.store.load(folder).await.changes.into_iter();
        changes.map(|(_, change)| format!("{change:?}")).collect()
    }

    #[tokio::test]
    async fn what_was_not_ended_is_told_once_and_its_own_changes_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path().to_owned(), []);
        let catalog = open(&shelf);
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
            catalog.store.write(write);
        }
        drop(catalog);
        let catalog = open(&shelf);
        let what = "a task".to_owned();
        assert_eq!(catalog.take_unfinished(), [Unfinished { id: 4, what }]);
        assert_eq!(catalog.take_unfinished(), []);
        assert_eq!(catalog.store.next_intent(), 5);
        drop(catalog);
        // Only what somebody has to end is still there.
        let catalog = open(&shelf);
        let left: Vec<_> = catalog.take_unfinished();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].id, 4);
        let left = changes(&catalog, 1).await;
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].contains("other") && left[1].contains("77"));
        let left = changes(&catalog, 2).await;
        assert_eq!(left.len(), 1, "another folder's file counts: {left:?}");
        assert!(left[0].contains("touched"));
    }
}
