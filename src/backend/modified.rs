//! Modification times of files, kept beside 1Fichier.

use super::entry::{Entry, EntryKind};
use super::path::RemotePath;
use super::twins::FileAt;
use super::{AtPath, Remote};
use crate::error::Result;
use crate::fichier::Scope;

impl Remote {
    /// Puts the times that clients gave to files in the place of their upload
    /// times; one look-up for all of them.
    pub async fn add_modified(&self, entries: &mut [Entry]) {
        let catalog = &self.account.catalog;
        if !catalog.has_modified() {
            return;
        }
        let files = entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::File)
            .map(|entry| entry.id.clone());
        let times = catalog.modified(files.collect()).await;
        for entry in entries {
            if let Some(time) = times.get(&entry.id) {
                entry.time = Some(*time);
            }
        }
    }

    /// Gives a file another modification time, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// FILE_NOT_FOUND, IS_A_DIRECTORY, READ_ONLY, STATE_UNAVAILABLE.
    pub async fn set_modified(&self, scope: Scope, path: &RemotePath, time: i64) -> Result<()> {
        self.check_writable()?;
        let files = self.find_files(scope, path, None).await?;
        let FileAt { file, .. } = &files[0];
        self.account.catalog.set_modified(&file.url, time);
        self.account.catalog.settle().await.at_path(path)
    }
}
