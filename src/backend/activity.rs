//! What the server is doing, for people who watch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::path::RemotePath;
use super::{Account, AtPath, Login, Quota, Remote, Remotes};
use crate::catalog;
use crate::error::Result;
use crate::fichier::{self, Budget, Requested};
use crate::transfer::{Direction, Progress, Totals, TransferView};

/// What the accounts are doing.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// Request budgets, each once.
    pub budgets: Vec<BudgetActivity>,
    /// API keys, each once.
    pub logins: Vec<LoginActivity>,
    /// The trees of accounts, and public folders, each once.
    pub trees: Vec<TreeActivity>,
    /// The buffer of uploads, which all share.
    pub spool: SpoolActivity,
}

/// What one API key opens.
#[derive(Clone, Debug)]
pub struct LoginActivity {
    /// The remotes that use it.
    pub remotes: Vec<Arc<str>>,
    /// What was asked of 1Fichier with it.
    pub requested: Requested,
    /// What 1Fichier told last of the account, if anybody asked.
    pub quota: Option<Quota>,
}

/// The tree of an account, or a public folder.
#[derive(Clone, Debug)]
pub struct TreeActivity {
    /// The remotes that show it.
    pub remotes: Vec<Arc<str>>,
    /// Transfers in work.
    pub transfers: Vec<TransferView>,
    /// Uploads so far.
    pub uploads: Totals,
    /// Downloads so far.
    pub downloads: Totals,
    /// Files so far that 1Fichier stored with another content than was sent.
    pub stored_wrong: u64,
    /// Whole files so far that were read and had another checksum than the
    /// stored one.
    pub read_wrong: u64,
    /// What is remembered.
    pub catalog: CatalogActivity,
    /// Changes of which nobody knows yet how they ended.
    pub unfinished: u64,
}

/// The buffer of uploads.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpoolActivity {
    /// Bytes in it.
    pub used: u64,
    /// Bytes that fit.
    pub limit: u64,
}

/// A request budget.
#[derive(Clone, Debug)]
pub struct BudgetActivity {
    /// The remotes that share it.
    pub remotes: Vec<Arc<str>>,
    /// It is that of 1Fichier's website, for the pages of shared folders.
    pub website: bool,
    /// What it is doing.
    pub activity: fichier::Activity,
}

/// What is remembered of a tree.
pub type CatalogActivity = catalog::Activity;

impl Remote {
    /// A transfer begins.
    ///
    /// # Errors
    /// TOO_MANY_TRANSFERS.
    pub(super) fn track(
        &self,
        path: &RemotePath,
        direction: Direction,
        size: Option<u64>,
    ) -> Result<Progress> {
        let time = self.account.clock.now();
        let name = Arc::clone(&self.name);
        let tracker = &self.account.tracker;
        let begun = tracker.begin(name, path.to_string(), direction, size, time);
        begun.at_path(path)
    }

    /// The time of day.
    pub fn now(&self) -> std::time::SystemTime {
        self.account.clock.now()
    }

    /// The budgets that its calls are counted against.
    fn budgets(&self) -> impl Iterator<Item = (&Arc<Budget>, bool)> {
        let account = &self.account;
        let pages = account.pages.iter().map(|pages| (pages, true));
        [(account.client.budget(), false)].into_iter().chain(pages)
    }
}

impl Account {
    fn activity(&self) -> TreeActivity {
        TreeActivity {
            remotes: Vec::new(),
            transfers: self.tracker.view(),
            uploads: self.tracker.totals(Direction::Upload),
            downloads: self.tracker.totals(Direction::Download),
            stored_wrong: self.uploads.stored_wrong(),
            read_wrong: self.read_wrong.load(Ordering::Relaxed),
            catalog: self.catalog.activity(),
            unfinished: self.recovery.unfinished(),
        }
    }
}

impl Login {
    fn activity(&self) -> LoginActivity {
        LoginActivity {
            remotes: Vec::new(),
            requested: self.client.requested(),
            quota: self.quota(),
        }
    }
}

/// The place of what several remotes share.
fn place<'a, T>(known: &mut Vec<&'a Arc<T>>, one: &'a Arc<T>) -> (usize, bool) {
    let found = known.iter().position(|known| Arc::ptr_eq(known, one));
    let place = found.unwrap_or_else(|| {
        known.push(one);
        known.len() - 1
    });
    (place, found.is_none())
}

impl Remotes {
    /// What the accounts are doing; only that of one remote if one is given,
    /// with all that share its budgets.
    pub fn activity(&self, only: Option<&Remote>) -> Activity {
        let mut activity = Activity::default();
        let (mut budgets, mut logins, mut trees) = (Vec::new(), Vec::new(), Vec::new());
        let wanted = |budget: &Arc<Budget>| {
            only.is_none_or(|only| only.budgets().any(|(known, _)| Arc::ptr_eq(known, budget)))
        };
        for remote in self.all() {
            let (name, account) = (&remote.name, &remote.account);
            for (budget, website) in remote.budgets().filter(|(budget, _)| wanted(budget)) {
                let (place, is_new) = place(&mut budgets, budget);
                if is_new {
                    activity.budgets.push(BudgetActivity {
                        remotes: Vec::new(),
                        website,
                        activity: budget.activity(),
                    });
                }
                activity.budgets[place].remotes.push(Arc::clone(name));
            }
            let of_login = |only: &Remote| Arc::ptr_eq(&only.account.login, &account.login);
            if only.is_none_or(of_login) {
                let (place, is_new) = place(&mut logins, &account.login);
                if is_new {
                    activity.logins.push(account.login.activity());
                }
                activity.logins[place].remotes.push(Arc::clone(name));
            }
            if only.is_none_or(|only| Arc::ptr_eq(&only.account, account)) {
                let (place, is_new) = place(&mut trees, account);
                if is_new {
                    activity.trees.push(account.activity());
                }
                activity.trees[place].remotes.push(Arc::clone(name));
            }
            activity.spool = SpoolActivity {
                used: account.spool.used(),
                limit: account.spool.limit(),
            };
        }
        activity
    }
}
