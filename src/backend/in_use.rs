//! Folders that uploads are on their way to. 1Fichier silently puts a file
//! into the root when its folder is gone ([API §4.2]), so such a folder is not
//! removed from here.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct State {
    users: HashMap<i64, usize>,
    closed: HashSet<i64>,
}

/// Who uses which folder.
#[derive(Clone, Debug, Default)]
pub(super) struct InUse(Arc<Mutex<State>>);

impl InUse {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a folder; `None` when it is being removed.
    pub(super) fn enter(&self, folder: i64) -> Option<Use> {
        let mut state = self.lock();
        if state.closed.contains(&folder) {
            return None;
        }
        *state.users.entry(folder).or_insert(0) += 1;
        Some(Use {
            all: self.clone(),
            folder,
        })
    }

    /// Lets nobody enter the folder any more, so that it can be removed;
    /// `None` when somebody uses it or removes it already.
    pub(super) fn close(&self, folder: i64) -> Option<Closed> {
        let mut state = self.lock();
        if state.users.contains_key(&folder) || !state.closed.insert(folder) {
            return None;
        }
        Some(Closed {
            all: self.clone(),
            folder,
        })
    }
}

/// A folder that is kept.
#[derive(Debug)]
pub(super) struct Use {
    all: InUse,
    folder: i64,
}

impl Use {
    pub(super) fn folder(&self) -> i64 {
        self.folder
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut state = self.all.lock();
        if let Some(users) = state.users.get_mut(&self.folder) {
            *users -= 1;
            if *users == 0 {
                state.users.remove(&self.folder);
            }
        }
    }
}

/// A folder that nobody enters until this is dropped.
#[derive(Debug)]
pub(super) struct Closed {
    all: InUse,
    folder: i64,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.all.lock().closed.remove(&self.folder);
    }
}
