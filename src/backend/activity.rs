//! What an account is doing, for people who watch.

use std::sync::Arc;

use super::path::RemotePath;
use super::{Account, Remote, Remotes};
use crate::catalog;
use crate::fichier;
use crate::transfer::{Direction, Progress, TransferView};

/// What an account is doing.
#[derive(Clone, Debug)]
pub struct AccountActivity {
    /// The remotes that share it.
    pub remotes: Vec<Arc<str>>,
    /// Its request budget.
    pub budget: fichier::Activity,
    /// Its transfers.
    pub transfers: Vec<TransferView>,
    /// What is remembered of it.
    pub catalog: catalog::Activity,
}

impl Remote {
    pub(super) fn track(
        &self,
        path: &RemotePath,
        direction: Direction,
        size: Option<u64>,
    ) -> Progress {
        let time = self.account.clock.now();
        self.account.tracker.begin(
            Arc::clone(&self.name),
            path.to_string(),
            direction,
            size,
            time,
        )
    }

    /// The time of day.
    pub fn now(&self) -> std::time::SystemTime {
        self.account.clock.now()
    }
}

impl Remotes {
    /// What the accounts are doing; only that of one remote if one is given.
    pub fn activity(&self, only: Option<&Remote>) -> Vec<AccountActivity> {
        let mut seen: Vec<(&Arc<Account>, Vec<Arc<str>>)> = Vec::new();
        for remote in self.all() {
            if only.is_some_and(|only| !Arc::ptr_eq(&only.account, &remote.account)) {
                continue;
            }
            match seen
                .iter_mut()
                .find(|(account, _)| Arc::ptr_eq(account, &remote.account))
            {
                Some((_, names)) => names.push(Arc::clone(&remote.name)),
                None => seen.push((&remote.account, vec![Arc::clone(&remote.name)])),
            }
        }
        seen.into_iter()
            .map(|(account, remotes)| AccountActivity {
                remotes,
                budget: account.client.budget().activity(),
                transfers: account.tracker.view(),
                catalog: account.catalog.activity(),
            })
            .collect()
    }
}
