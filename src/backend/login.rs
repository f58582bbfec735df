//! What one API key opens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::about::Known;
use crate::fichier::{ApiKey, Client, Hosts, Limits};
use crate::transfer::{DownloadLimits, Downloads};

/// What one API key opens. The account's own tree and the shared folders that
/// are read with the key have it in common: the client with its request budget,
/// the downloads, and what 1Fichier tells about the account.
#[derive(Debug)]
pub struct Login {
    pub(super) client: Arc<Client>,
    pub(super) downloads: Arc<Downloads>,
    /// Held by whoever asks what `user` is.
    pub(super) asking: tokio::sync::Mutex<()>,
    user: Mutex<Option<Known>>,
}

impl Login {
    /// A key that was not used yet, with so many downloads at once.
    ///
    /// # Errors
    /// A text for the operator, when the TLS library cannot start.
    pub fn new(
        hosts: Hosts,
        key: ApiKey,
        limits: Limits,
        downloads: DownloadLimits,
    ) -> Result<Arc<Self>, String> {
        let client = Client::new(hosts, key, limits);
        let client = Arc::new(client.map_err(|error| error.to_string())?);
        Ok(Arc::new(Self {
            downloads: Downloads::new(Arc::clone(&client), downloads),
            client,
            asking: tokio::sync::Mutex::default(),
            user: Mutex::default(),
        }))
    }

    /// What 1Fichier told last of the account.
    pub(super) fn user(&self) -> MutexGuard<'_, Option<Known>> {
        self.user.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what an earlier run was told about the account, if it is newer.
    pub(super) fn remember(&self, remembered: Option<Known>) {
        let Some(remembered) = remembered else {
            return;
        };
        let mut user = self.user();
        if user
            .as_ref()
            .is_none_or(|known| known.is_older(&remembered))
        {
            *user = Some(remembered);
        }
    }
}
