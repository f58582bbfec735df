//! What is known of the folders that a purge is in: which of them have nothing
//! left in them, and when it is worth trying to remove them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::path::RemotePath;
use crate::backend::twins::FolderAt;

/// A folder that was just emptied may look full for a while ([API §18]): when
/// it is tried again, seen from its last change.
const LAG: [u64; 4] = [1, 4, 10, 22];

/// A folder that is being emptied.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) at: FolderAt,
    pub(super) path: RemotePath,
    /// It was named: nothing above it is concerned.
    pub(super) is_root: bool,
    /// Files and folders in it that are not dealt with.
    left: usize,
    /// Something in it stays, so it must stay too.
    stays: bool,
    /// When a file of it last went, and when anything did.
    file_gone: Option<Instant>,
    changed: Option<Instant>,
    /// Since when it is tried in vain.
    tried: Option<Instant>,
    /// Times that the answer was lost.
    pub(super) lost: u32,
}

/// The folders that are being emptied, from the named ones down to those that
/// have something left in them.
#[derive(Debug, Default)]
pub(super) struct Tree {
    open: HashMap<i64, Open>,
    /// Folders with nothing left in them, by when they are due.
    ready: BTreeSet<(Instant, i64)>,
    /// How long removed files have been seen to be in the way. All that was
    /// emptied lately waits for it at the same time.
    lag: Duration,
}

impl Tree {
    /// Takes a folder with so many entries.
    pub(super) fn enter(&mut self, at: FolderAt, path: RemotePath, is_root: bool, left: usize) {
        let id = at.folder.id;
        self.open.insert(
            id,
            Open {
                at,
                path,
                is_root,
                left,
                stays: false,
                file_gone: None,
                changed: None,
                tried: None,
                lost: 0,
            },
        );
        if left == 0 {
            self.ready.insert((Instant::now(), id));
        }
    }

    pub(super) fn get(&self, id: i64) -> Option<&Open> {
        self.open.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: i64) -> Option<&mut Open> {
        self.open.get_mut(&id)
    }

    /// The folder and those that it is in, up to the one that was named.
    pub(super) fn way_up(&self, id: i64) -> impl Iterator<Item = &Open> {
        std::iter::successors(self.open.get(&id), |open| match open.is_root {
            true => None,
            false => self.open.get(&open.at.parent),
        })
    }

    /// One of the files of a folder is dealt with.
    pub(super) fn file_done(&mut self, folder: i64, gone: bool) {
        if let Some(open) = self.open.get_mut(&folder)
            && gone
        {
            open.file_gone = Some(Instant::now());
        }
        self.entry_done(folder, gone);
    }

    fn entry_done(&mut self, folder: i64, gone: bool) {
        let Some(open) = self.open.get_mut(&folder) else {
            return;
        };
        open.left = open.left.saturating_sub(1);
        match gone {
            true => open.changed = Some(Instant::now()),
            false => open.stays = true,
        }
        if open.left > 0 {
            return;
        }
        if open.stays {
            self.folder_done(folder, false);
        } else {
            let due = open.file_gone.map(|at| at + self.lag);
            let now = Instant::now();
            self.ready
                .insert((due.map_or(now, |due| due.max(now)), folder));
        }
    }

    /// A folder is dealt with, and with it perhaps those that it was in.
    pub(super) fn folder_done(&mut self, id: i64, gone: bool) {
        if let Some(open) = self.open.remove(&id)
            && !open.is_root
        {
            self.entry_done(open.at.parent, gone);
        }
    }

    /// A folder of one that is open was not entered.
    pub(super) fn skipped(&mut self, parent: i64, gone: bool) {
        self.entry_done(parent, gone);
    }

    /// When the next folder is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.ready.first().map(|(due, _)| *due)
    }

    /// A folder that is due.
    pub(super) fn take_due(&mut self) -> Option<i64> {
        loop {
            let now = Instant::now();
            let (due, id) = *self.ready.first().filter(|(due, _)| *due <= now)?;
            self.ready.remove(&(due, id));
            // Others have learnt meanwhile how long it takes.
            let open = self.open.get(&id)?;
            match open.file_gone.map(|at| at + self.lag) {
                Some(due) if due > now && open.tried.is_none() => {
                    self.ready.insert((due, id));
                }
                _ => return Some(id),
            }
        }
    }

    /// To be tried again a little later.
    pub(super) fn again_after(&mut self, id: i64, wait: Duration) {
        self.ready.insert((Instant::now() + wait, id));
    }

    /// 1Fichier says that a folder is not empty. Whether that may pass, so that
    /// it is tried again; `changed_before` tells of changes before the purge.
    pub(super) fn refused(&mut self, id: i64, changed_before: bool) -> bool {
        let now = Instant::now();
        let Some(open) = self.open.get_mut(&id) else {
            return false;
        };
        let first = *open.tried.get_or_insert(now);
        let Some(since) = open.changed.or(changed_before.then_some(first)) else {
            return false;
        };
        let waits = LAG.map(Duration::from_secs);
        let Some(wait) = waits.into_iter().find(|wait| since + *wait > now) else {
            return false;
        };
        if open.file_gone == open.changed {
            self.lag = self.lag.max(wait);
        }
        self.ready.insert((since + wait, id));
        true
    }

    /// How long a folder was tried in vain, this time included.
    pub(super) fn in_vain(&mut self, id: i64) -> Duration {
        let open = self.open.get_mut(&id);
        open.map_or(Duration::MAX, |open| {
            open.tried.get_or_insert_with(Instant::now).elapsed()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::FolderRecord;

    fn at(parent: i64, id: i64) -> FolderAt {
        let folder = FolderRecord {
            id,
            name: id.to_string().into(),
            time: None,
            password: false,
        };
        FolderAt { parent, folder }
    }

    /// 1 holds 2 and 3, which hold one file each.
    fn tree() -> Tree {
        let mut tree = Tree::default();
        let path = || RemotePath::root();
        tree.enter(at(0, 1), path(), true, 2);
        tree.enter(at(1, 2), path(), false, 1);
        tree.enter(at(1, 3), path(), false, 1);
        tree
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_is_due_when_nothing_is_left_in_it() {
        let mut tree = tree();
        assert_eq!(tree.take_due(), None);
        assert_eq!(tree.way_up(3).count(), 2);
        tree.file_done(2, true);
        assert_eq!(tree.take_due(), Some(2));
        tree.folder_done(2, true);
        assert_eq!(tree.take_due(), None);
        tree.file_done(3, true);
        assert_eq!(tree.take_due(), Some(3));
        tree.folder_done(3, true);
        assert_eq!(tree.take_due(), Some(1));
        tree.folder_done(1, true);
        assert!(tree.open.is_empty() && tree.ready.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_holds_a_failure_is_not_tried() {
        let mut tree = tree();
        tree.file_done(2, false);
        tree.file_done(3, true);
        assert_eq!(tree.take_due(), Some(3));
        tree.folder_done(3, true);
        assert!(tree.take_due().is_none() && tree.next_due().is_none());
        assert!(tree.open.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn folders_wait_for_listings_that_lag_at_the_same_time() {
        let mut tree = tree();
        tree.file_done(2, true);
        tree.file_done(3, true);
        let start = Instant::now();
        let mut refusals = 0;
        // The listings lag for 5 seconds.
        while start.elapsed() < Duration::from_secs(30) {
            while let Some(id) = tree.take_due() {
                if start.elapsed() < Duration::from_secs(5) {
                    assert!(tree.refused(id, false));
                    refusals += 1;
                } else {
                    tree.folder_done(id, true);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            if tree.open.is_empty() {
                break;
            }
        }
        assert!(tree.open.is_empty());
        assert!(
            start.elapsed() < Duration::from_secs(11),
            "{:?}",
            start.elapsed()
        );
        // One finds out for both.
        assert_eq!(refusals, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let mut tree = tree();
        tree.file_done(2, true);
        let start = Instant::now();
        loop {
            if let Some(id) = tree.take_due()
                && !tree.refused(id, false)
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!((22..24).contains(&start.elapsed().as_secs()));
        // Nothing of it changed: it is full for another reason.
        tree.enter(at(1, 4), RemotePath::root(), false, 0);
        assert_eq!(tree.take_due(), Some(4));
        assert!(!tree.refused(4, false));
    }
}
