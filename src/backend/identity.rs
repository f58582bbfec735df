//! Whose account a key opens.
//!
//! What is remembered of an account belongs to the account, and keys are
//! changed. 1Fichier tells whose it is once in the life of a state directory,
//! in the background; nothing waits for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::Account;
use crate::encoding::Mask;
use crate::fichier::{Priority, ROOT, Scope};

/// How long the call may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long until 1Fichier is asked again where it could not tell; each next
/// one waits twice as long.
const FIRST: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(21_600);

/// Finds out whose account it is, unless that is known.
pub(super) async fn find_out(account: Weak<Account>) {
    let mut pause = FIRST;
    loop {
        let Some(known) = account.upgrade() else {
            return;
        };
        known.look_for_evidence().await;
        let is_over = known.catalog.is_identified() || !known.ask().await;
        drop(known);
        if is_over {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST);
    }
}

impl Account {
    /// A listing of the root shows whether what an earlier key has left is of
    /// this account: at once, while it may take minutes until 1Fichier tells.
    async fn look_for_evidence(self: &Arc<Self>) {
        if !self.catalog.has_strays() {
            return;
        }
        let scope = Scope::new(Priority::Background);
        if let Err(error) = self.catalog.folder(scope, ROOT, None).await {
            tracing::debug!(%error, "the root cannot be listed to see whose account it is");
        }
    }

    /// Asks 1Fichier; `true` when it may tell later.
    async fn ask(self: &Arc<Self>) -> bool {
        let remote = self.remote_of(Mask::FICHIER.bits());
        let asked = self.shelf.ask_in_turn(async {
            // Whoever asks about the account waits for this call: it waits for
            // nothing itself, and no longer than others would.
            tokio::time::sleep(self.client.user_info_allowed_in()).await;
            let scope = Scope {
                priority: Priority::Read,
                deadline: Some(Instant::now() + PATIENCE),
            };
            remote.user(scope).await
        });
        match asked.await {
            // It is noted by whoever asks.
            Ok(known) if known.info.account.is_some() => false,
            // What an earlier run was told, because 1Fichier does not answer.
            Ok(known) if self.clock.age(known.as_of) > PATIENCE => true,
            Ok(_) => {
                tracing::info!(
                    "1Fichier does not tell whose account it is; what is remembered of it is known by the key"
                );
                false
            }
            Err(error) => {
                tracing::debug!(%error, "1Fichier does not tell now whose account it is");
                error.retry_delay().is_some()
            }
        }
    }
}
