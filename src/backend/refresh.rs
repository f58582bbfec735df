//! Forgetting or reloading what is remembered of directories.

use std::collections::HashSet;
use std::time::Duration;

use super::path::RemotePath;
use super::{AtPath, Remote};
use crate::error::{Reason, Result};
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
        let first: Vec<_> = directory.ids().collect();
        let mut folders = first.clone();
        // What other programs make of the tree, or 1Fichier shows of it, may be
        // no tree.
        let mut visited = HashSet::new();
        while let Some(id) = folders.pop() {
            if !visited.insert(id) {
                continue;
            }
            tokio::task::coop::consume_budget().await;
            let known = catalog.peek(id).await;
            catalog.doubt(id);
            let content = if reload {
                match self.snapshot(scope, id, Some(Duration::ZERO)).await {
                    Ok(content) => {
                        refreshed.loaded += 1;
                        Some(content)
                    }
                    // Another program has removed it meanwhile.
                    Err(error)
                        if error.reason() == Reason::DirectoryNotFound && !first.contains(&id) =>
                    {
                        None
                    }
                    Err(error) => return Err(error).at_path(path),
                }
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
