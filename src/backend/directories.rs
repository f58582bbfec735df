//! Making and removing directories.

use std::time::Duration;

use tokio::time::Instant;

use super::entry::Entry;
use super::in_use::Writing;
use super::path::RemotePath;
use super::resolve::{Found, Walk};
use super::{AtPath, Remote};
use crate::catalog::FolderRecord;
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, Kind, Priority, ROOT, Scope};

/// A folder that was just emptied may look full for a while ([API §18]).
const EMPTYING: [u64; 4] = [1, 3, 6, 12];

/// Folders made on the way to one, the outermost first: parent and id.
pub(super) type Made = Vec<(i64, i64)>;

impl Remote {
    /// Makes a directory, with its parents if asked for. One that exists is no
    /// error. Returns it, and whether it was made now.
    ///
    /// # Errors
    /// NOT_A_DIRECTORY when a file stands in the way, DIRECTORY_NOT_FOUND when
    /// a parent is missing and must not be made. A refusal by 1Fichier is an
    /// error and never the root.
    pub async fn mkdir(
        &self,
        scope: Scope,
        path: &RemotePath,
        create_parents: bool,
    ) -> Result<(Entry, bool)> {
        self.check_writable()?;
        if path.is_root() {
            return Ok((Entry::root(), false));
        }
        self.check_names(path)?;
        if !create_parents && let Some((parent, _)) = path.split() {
            self.folder_id(scope, &parent, None).await?;
        }
        let mut made = Made::new();
        self.make_folders(scope, path, &mut made).await?;
        let entry = match self.find_directory(scope, path).await? {
            Some(folder) => Entry::directory(path.clone(), &folder),
            None => {
                return Err(
                    Error::internal("a directory that was made is not in the catalog")
                        .at(path.as_str()),
                );
            }
        };
        if !made.is_empty() {
            self.account.catalog.settle().await;
        }
        Ok((entry, !made.is_empty()))
    }

    async fn find_directory(
        &self,
        scope: Scope,
        path: &RemotePath,
    ) -> Result<Option<FolderRecord>> {
        let Some((parent, name)) = path.split() else {
            return Ok(None);
        };
        let parent = self.folder_id(scope, &parent, None).await?;
        let snapshot = self.snapshot(scope, parent, None).await.at_path(path)?;
        Ok(snapshot.content.find_folder(self.codec, name).cloned())
    }

    /// The id of a folder, made with its parents where missing. What was made
    /// is told even when it fails half-way.
    pub(super) async fn make_folders(
        &self,
        scope: Scope,
        path: &RemotePath,
        made: &mut Made,
    ) -> Result<i64> {
        let (mut folder, depth) = match self.walk(scope, path, None).await? {
            Walk::Folder(id) => return Ok(id),
            Walk::File(file) => return Err(Error::not_a_directory(file.as_str())),
            Walk::Missing { last, depth } => (last, depth),
        };
        let mut here = RemotePath::root();
        for segment in path.segments().take(depth) {
            here = here.join(segment);
        }
        for segment in path.segments().skip(depth) {
            here = here.join(segment);
            let (id, new) = self.make_folder(scope, folder, segment, &here).await?;
            if new {
                made.push((folder, id));
            }
            folder = id;
        }
        Ok(folder)
    }

    /// The same for a folder that is written to: it is not removed from here
    /// before the guard is dropped.
    pub(super) async fn folder_to_write(
        &self,
        scope: Scope,
        path: &RemotePath,
        made: &mut Made,
    ) -> Result<(i64, Writing)> {
        loop {
            let id = self.make_folders(scope, path, made).await?;
            let writing = self.account.in_use.write(id).await;
            // Unless that happened just now.
            match self.walk(scope, path, None).await? {
                Walk::Folder(found) if found == id => return Ok((id, writing)),
                _ => {}
            }
        }
    }

    async fn make_folder(
        &self,
        scope: Scope,
        parent: i64,
        segment: &str,
        path: &RemotePath,
    ) -> Result<(i64, bool)> {
        let name = self.stored_name(path, segment)?;
        // Creations of one name one after the other: 1Fichier may make two
        // folders of it ([API §J2]).
        let key = format!("mkdir {parent} {segment}");
        let _lock = self.account.locks.hold(key).await;
        let _writing = self.account.in_use.write(parent).await;
        let snapshot = self.snapshot(scope, parent, None).await.at_path(path)?;
        if let Some(folder) = snapshot.content.find_folder(self.codec, segment) {
            return Ok((folder.id, false));
        }
        let made = self
            .account
            .client
            .make_folder(scope.with_priority(Priority::Upload), parent, &name)
            .await;
        let error = match made {
            Ok((id, stored)) if stored == name => {
                self.account.landings.seen(id, Instant::now());
                let time = self.account.upload_time();
                self.account.catalog.folder_made(
                    parent,
                    FolderRecord {
                        id,
                        name: name.into(),
                        time: Some(time),
                        password: false,
                    },
                );
                return Ok((id, true));
            }
            Ok((id, stored)) => {
                let scope = scope.with_priority(Priority::Delete);
                if let Err(error) = self.account.client.remove_folder(scope, id).await {
                    tracing::error!(%error, "a folder under a wrong name could not be removed");
                }
                return Err(Error::invalid_path(
                    path.as_str(),
                    format_args!("1Fichier stores the name {name:?} as {stored:?}"),
                ));
            }
            Err(error) => error,
        };
        // Perhaps it exists after all: made by somebody else, or by this very
        // call whose answer was lost.
        let perhaps =
            error.outcome_unknown() || matches!(error.kind(), Kind::Refused | Kind::NoChange);
        if perhaps && let Some(id) = self.look_again(scope, parent, segment).await? {
            return Ok((id, error.outcome_unknown()));
        }
        if error.kind() == Kind::NotFound {
            // The parent is gone: what is remembered of it is wrong.
            self.account.catalog.doubt(parent);
            self.doubt_way_to(scope, path).await;
            return Err(Error::directory_not_found(
                &path
                    .split()
                    .map_or(String::new(), |(parent, _)| parent.to_string()),
            ));
        }
        Err(error).at_path(path)
    }

    /// Lists a folder anew to see whether a sub-folder is there. Waits for the
    /// 30 seconds between two listings if it must.
    async fn look_again(&self, scope: Scope, parent: i64, segment: &str) -> Result<Option<i64>> {
        let listing = self.account.client.list_folder(scope, parent).await?;
        self.account.catalog.doubt(parent);
        let found = listing
            .folders
            .into_iter()
            .filter(|folder| self.codec.to_segment(&folder.name) == segment);
        let found = found.min_by_key(|folder| folder.id).map(FolderRecord::from);
        if let Some(folder) = &found {
            self.account.catalog.folder_found(parent, folder.clone());
        }
        Ok(found.map(|folder| folder.id))
    }

    /// Nothing on the way to a path is to be trusted any more.
    pub(super) async fn doubt_way_to(&self, scope: Scope, path: &RemotePath) {
        let mut here = RemotePath::root();
        self.account.catalog.doubt(ROOT);
        for segment in path.segments() {
            here = here.join(segment);
            match self.walk(scope, &here, Some(Duration::MAX)).await {
                Ok(Walk::Folder(id)) => self.account.catalog.doubt(id),
                _ => return,
            }
        }
    }

    /// Takes folders away again that were made for something that failed.
    /// Only empty ones go.
    pub(super) async fn unmake(&self, made: Made) {
        for (parent, id) in made.into_iter().rev() {
            // Others may have begun to write there.
            let _removing = self.account.in_use.remove_when_idle(id).await;
            if self.account.catalog.known_full(id) {
                return;
            }
            match self
                .account
                .client
                .remove_folder(Scope::new(Priority::Delete), id)
                .await
            {
                Ok(()) => self.account.catalog.folder_removed(parent, id),
                Err(error) => {
                    tracing::debug!(%error, "a folder made for a failed upload stays");
                    return;
                }
            }
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// DIRECTORY_NOT_FOUND unless `allow_missing`, NOT_A_DIRECTORY,
    /// DIRECTORY_NOT_EMPTY.
    pub async fn rmdir(&self, scope: Scope, path: &RemotePath, allow_missing: bool) -> Result<()> {
        self.check_writable()?;
        let Some((parent, _)) = path.split() else {
            return Err(Error::invalid_path("", "the root cannot be removed"));
        };
        let missing = || {
            if allow_missing {
                Ok(())
            } else {
                Err(Error::directory_not_found(path.as_str()))
            }
        };
        let folder = match self.find_directory(scope, path).await {
            Ok(Some(folder)) => folder,
            Ok(None) => {
                return match self.find(scope, path, None).await?.0 {
                    Found::Files { .. } => Err(Error::not_a_directory(path.as_str())),
                    _ => missing(),
                };
            }
            Err(error) if error.reason() == Reason::DirectoryNotFound => return missing(),
            Err(error) => return Err(error),
        };
        let parent = self.folder_id(scope, &parent, None).await?;
        let Some(removing) = self.account.in_use.remove(folder.id) else {
            return Err(not_empty(path));
        };
        // What is remembered and fresh spares the call; what is not remembered
        // 1Fichier itself checks: it removes only empty folders ([API §18]).
        if self.account.catalog.known_full(folder.id) {
            return Err(not_empty(path));
        }
        // It goes on even if the caller goes away: what is gone must leave the
        // catalog, or the next upload to it ends in the root.
        let (remote, at) = (self.clone(), path.clone());
        let removal = self.account.tasks.spawn(async move {
            let _removing = removing;
            remote.remove_empty(scope, &at, parent, folder.id).await
        });
        let was_there = removal
            .await
            .map_err(|error| Error::internal(format!("a removal stopped: {error}")))??;
        if was_there { Ok(()) } else { missing() }
    }

    /// Removes a folder; false if it was gone already.
    pub(super) async fn remove_empty(
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
        catalog.settle().await;
        Ok(true)
    }

    async fn folder_is_listed(
        &self,
        scope: Scope,
        parent: i64,
        id: i64,
    ) -> Result<bool, fichier::Error> {
        let listing = self.account.client.list_folder(scope, parent).await?;
        Ok(listing.folders.iter().any(|folder| folder.id == id))
    }
}

fn not_empty(path: &RemotePath) -> Error {
    Error::new(
        Reason::DirectoryNotEmpty,
        format!("{path:?} is not empty; remove what is in it first"),
    )
    .at(path.as_str())
}
