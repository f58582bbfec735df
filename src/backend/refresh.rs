//! Forgetting or reloading what is remembered of directories.

use std::time::Duration;

use super::path::RemotePath;
use super::{AtPath, Remote};
use crate::error::Result;
use crate::fichier::Scope;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Directories that are listed anew at their next use.
    pub dropped: u64,
    /// Directories that were listed anew.
    pub loaded: u64,
}

impl Remote {
    /// Makes the next use of a directory list it anew, or lists it now. Own
    /// changes that 1Fichier does not show yet stay.
    ///
    /// # Errors
    /// DIRECTORY_NOT_FOUND, NOT_A_DIRECTORY.
    pub async fn refresh(
        &self,
        scope: Scope,
        path: &RemotePath,
        recursive: bool,
        reload: bool,
    ) -> Result<Refreshed> {
        let catalog = &self.account.catalog;
        // What is asked to be forgotten may be what hides the directory.
        let directory = self.directory(scope, path, Some(Duration::ZERO)).await?;
        let mut refreshed = Refreshed::default();
        let mut folders: Vec<_> = directory.ids().collect();
        while let Some(id) = folders.pop() {
            let known = catalog.peek(id).await;
            catalog.doubt(id);
            let content = if reload {
                refreshed.loaded += 1;
                Some(
                    self.snapshot(scope, id, Some(Duration::ZERO))
                        .await
                        .at_path(path)?,
                )
            } else {
                refreshed.dropped += u64::from(known.is_some());
                known
            };
            if recursive && let Some(snapshot) = content {
                folders.extend(snapshot.content.folders().map(|folder| folder.id));
            }
        }
        Ok(refreshed)
    }
}
