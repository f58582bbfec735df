//! What the server is doing, for people who watch.

use std::sync::Arc;

use super::path::RemotePath;
use super::{Account, AtPath, Remote, Remotes};
use crate::catalog;
use crate::error::Result;
use crate::fichier::{self, Budget};
use crate::transfer::{Direction, Progress, TransferView};

/// What the accounts are doing.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// Request budgets, each once.
    pub budgets: Vec<BudgetActivity>,
    /// Transfers.
    pub transfers: Vec<TransferView>,
    /// What is remembered.
    pub catalogs: Vec<CatalogActivity>,
    /// Changes of which nobody knows yet how they ended.
    pub unfinished: u64,
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

impl Remotes {
    /// What the accounts are doing; only that of one remote if one is given,
    /// with all that share its budgets.
    pub fn activity(&self, only: Option<&Remote>) -> Activity {
        let mut activity = Activity::default();
        let mut budgets: Vec<&Arc<Budget>> = Vec::new();
        let mut accounts: Vec<&Arc<Account>> = Vec::new();
        let wanted = |budget: &Arc<Budget>| {
            only.is_none_or(|only| only.budgets().any(|(known, _)| Arc::ptr_eq(known, budget)))
        };
        for remote in self.all() {
            for (budget, website) in remote.budgets().filter(|(budget, _)| wanted(budget)) {
                let known = budgets.iter().position(|known| Arc::ptr_eq(known, budget));
                let place = known.unwrap_or_else(|| {
                    budgets.push(budget);
                    activity.budgets.push(BudgetActivity {
                        remotes: Vec::new(),
                        website,
                        activity: budget.activity(),
                    });
                    budgets.len() - 1
                });
                activity.budgets[place]
                    .remotes
                    .push(Arc::clone(&remote.name));
            }
            let account = &remote.account;
            let is_known = accounts.iter().any(|known| Arc::ptr_eq(known, account));
            let is_wanted = only.is_none_or(|only| Arc::ptr_eq(&only.account, account));
            if is_wanted && !is_known {
                accounts.push(account);
                activity.transfers.extend(account.tracker.view());
                activity.catalogs.push(account.catalog.activity());
                activity.unfinished += account.recovery.unfinished();
            }
        }
        activity
    }
}
