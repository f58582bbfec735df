//! Removing empty directories.

use std::time::Duration;

use super::directories::{ATTEMPTS, unstable};
use super::locks::operation;
use super::path::RemotePath;
use super::resolve::Walk;
use super::twins::Directory;
use super::{AtPath, Remote};
use crate::catalog::Touched;
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, Kind, Priority, Scope};

/// A folder that was just emptied may look full for a while ([API §18]).
const EMPTYING: [u64; 4] = [1, 3, 6, 12];

impl Remote {
    /// Removes an empty directory.
    ///
    /// # Errors
    /// DIRECTORY_NOT_FOUND unless `allow_missing`, NOT_A_DIRECTORY,
    /// DIRECTORY_NOT_EMPTY.
    pub async fn rmdir(&self, scope: Scope, path: &RemotePath, allow_missing: bool) -> Result<()> {
        operation(self.remove_directory(scope, path, allow_missing)).await
    }

    async fn remove_directory(
        &self,
        scope: Scope,
        path: &RemotePath,
        allow_missing: bool,
    ) -> Result<()> {
        self.check_writable()?;
        if path.is_root() {
            return Err(Error::invalid_path("", "the root cannot be removed"));
        }
        let missing = || {
            if allow_missing {
                Ok(())
            } else {
                Err(Error::directory_not_found(path.as_str()))
            }
        };
        for _ in 0..ATTEMPTS {
            let directory = match self.walk_now(scope, path).await? {
                Walk::Folder(directory) => directory,
                Walk::Missing { .. } => return missing(),
                Walk::File(file) => return Err(Error::not_a_directory(file.as_str())),
            };
            let mut removing = Vec::with_capacity(directory.len());
            for id in directory.ids() {
                let guard = self.account.in_use.remove(id);
                removing.push(guard.ok_or_else(|| not_empty(path))?);
            }
            // Moved elsewhere just now, it is not the one that was named.
            let catalog = &self.account.catalog;
            if !directory
                .folders()
                .all(|at| catalog.may_hold(at.parent, &at.folder))
            {
                continue;
            }
            self.check_empty(scope, path, &directory).await?;
            // It goes on even if the caller goes away: what is gone must leave
            // the catalog, or the next upload to it ends in the root.
            let (remote, at) = (self.clone(), path.clone());
            let removal = self.account.tasks.spawn(async move {
                let _removing = removing;
                remote.remove_twins(scope, &at, &directory).await
            });
            let was_there = removal
                .await
                .map_err(|error| Error::internal(format!("a removal stopped: {error}")))??;
            return if was_there { Ok(()) } else { missing() };
        }
        Err(unstable(path))
    }

    /// What is remembered and fresh spares the call; what is not remembered
    /// 1Fichier itself checks: it removes only empty folders ([API §18]). Of
    /// several with one path none goes when one is not empty, so all of them
    /// must be known.
    async fn check_empty(
        &self,
        scope: Scope,
        path: &RemotePath,
        directory: &Directory,
    ) -> Result<()> {
        let catalog = &self.account.catalog;
        for id in directory.ids() {
            if !catalog.known_full(id) {
                continue;
            }
            // Another program may have emptied it.
            match self
                .snapshot(scope, id, self.staleness_of_changes(path))
                .await
            {
                Err(error) if error.reason() == Reason::DirectoryNotFound => {}
                Err(error) => return Err(error).at_path(path),
                Ok(listed) if listed.content.is_empty() => {}
                Ok(_) => return Err(not_empty(path)),
            }
        }
        if directory.len() == 1 {
            return Ok(());
        }
        match self.contents(scope, directory, None).await {
            Ok(contents) => {
                let mut parts = contents.parts.iter();
                if parts.all(|(_, snapshot)| snapshot.content.is_empty()) {
                    Ok(())
                } else {
                    Err(not_empty(path))
                }
            }
            Err(error) if error.reason() == Reason::DirectoryNotFound => Ok(()),
            Err(error) => Err(error.at(path.as_str())),
        }
    }

    /// Removes all folders of a path, the one that counts last; false if all
    /// were gone already.
    async fn remove_twins(
        &self,
        scope: Scope,
        path: &RemotePath,
        directory: &Directory,
    ) -> Result<bool> {
        let mut was_there = false;
        let folders: Vec<_> = directory.folders().collect();
        for at in folders.into_iter().rev() {
            was_there |= self
                .remove_empty(scope, path, at.parent, at.folder.id)
                .await?;
        }
        Ok(was_there)
    }

    /// Removes a folder; false if it was gone already.
    pub(super) async fn remove_empty(
        &self,
        scope: Scope,
        path: &RemotePath,
        parent: i64,
        id: i64,
    ) -> Result<bool> {
        let intent = self
            .account
            .changing(&[parent], vec![Touched::Folder(id)])
            .await
            .at_path(path)?;
        let removed = self.remove_noted(scope, path, parent, id).await;
        intent.done();
        let kept = self.account.catalog.settle().await;
        let was_there = removed?;
        kept.at_path(path)?;
        Ok(was_there)
    }

    async fn remove_noted(
        &self,
        scope: Scope,
        path: &RemotePath,
        parent: i64,
        id: i64,
    ) -> Result<bool> {
        let catalog = &self.account.catalog;
        let scope = scope.with_priority(Priority::Delete);
        let mut waits = EMPTYING.iter();
        loop {
            let error = match self.account.client.remove_folder(scope, id).await {
                Ok(()) => break,
                Err(error) => error,
            };
            match error.kind() {
                Kind::NotFound => {
                    catalog.folder_removed(parent, id);
                    return Ok(false);
                }
                Kind::Refused if catalog.changed_lately(id) => match waits.next() {
                    Some(wait) => tokio::time::sleep(Duration::from_secs(*wait)).await,
                    None => {
                        // Another program may have filled it.
                        catalog.doubt(id);
                        return Err(not_empty(path));
                    }
                },
                Kind::Refused => {
                    catalog.doubt(id);
                    return Err(not_empty(path));
                }
                _ if error.outcome_unknown() => {
                    // Gone or not: the parent's listing knows.
                    if self.folder_is_listed(scope, parent, id).await? {
                        return Err(error).at_path(path);
                    }
                    break;
                }
                _ => return Err(error).at_path(path),
            }
        }
        catalog.folder_removed(parent, id);
        Ok(true)
    }

    /// Whether 1Fichier shows a folder in another.
    pub(super) async fn folder_is_listed(
        &self,
        scope: Scope,
        parent: i64,
        id: i64,
    ) -> Result<bool, fichier::Error> {
        let folders = self.account.client.list_sub_folders(scope, parent).await?;
        Ok(folders.iter().any(|folder| folder.id == id))
    }
}

pub(super) fn not_empty(path: &RemotePath) -> Error {
    Error::new(
        Reason::DirectoryNotEmpty,
        format!("{path:?} is not empty; remove what is in it first"),
    )
    .at(path.as_str())
}
