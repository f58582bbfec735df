//! Making directories.

use std::time::Duration;

use tokio::time::Instant;

use super::entry::Entry;
use super::in_use::Writing;
use super::locks::{Key, operation};
use super::path::RemotePath;
use super::resolve::Walk;
use super::seen::SHOWN_LATE;
use super::twins::{Directory, FolderAt};
use super::{AtPath, Remote};
use crate::catalog::{FolderRecord, Touched};
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, Kind, Priority, ROOT, Scope, Turn};

/// Times that a path is looked up again because it changed meanwhile.
pub(super) const ATTEMPTS: usize = 5;

/// Folders made on the way to one, the outermost first.
pub(super) type Made = Vec<FolderAt>;

/// A directory that is written to: it is not removed from here while this is
/// held.
#[derive(Debug)]
pub(super) struct Writable {
    pub(super) directory: Directory,
    _writing: Writing,
}

impl Writable {
    /// The folder that takes new entries.
    pub(super) fn id(&self) -> i64 {
        self.directory.id()
    }
}

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
        operation(self.make_directory(scope, path, create_parents)).await
    }

    async fn make_directory(
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
        if let Some((parent, _)) = path.split() {
            if !self.unseen_on_way(&parent).await.is_empty() {
                // Another program may have moved one of them.
                let seen = self.staleness_of_changes(path);
                self.walk(scope, &parent, seen).await?;
            }
            if !create_parents {
                self.directory(scope, &parent, None).await?;
            }
        }
        let mut made = Made::new();
        for _ in 0..ATTEMPTS {
            self.make_folders(scope, path, &mut made).await?;
            // Unless it was removed or moved away just now.
            if let Walk::Folder(directory) = self.walk(scope, path, None).await? {
                if !made.is_empty() {
                    self.account.catalog.settle().await.at_path(path)?;
                }
                return Ok((directory.entry(path.clone()), !made.is_empty()));
            }
        }
        Err(unstable(path))
    }

    /// The id of a folder, made with its parents where missing. What was made
    /// is told even when it fails half-way.
    pub(super) async fn make_folders(
        &self,
        scope: Scope,
        path: &RemotePath,
        made: &mut Made,
    ) -> Result<i64> {
        for _ in 0..ATTEMPTS {
            let (last, depth) = match self.walk(scope, path, None).await? {
                Walk::Folder(directory) => return Ok(directory.id()),
                Walk::File(file) => return Err(Error::not_a_directory(file.as_str())),
                Walk::Missing { last, depth } => (last, depth),
            };
            if let Some(id) = self.make_below(scope, last, path, depth, made).await? {
                return Ok(id);
            }
        }
        Err(unstable(path))
    }

    /// Makes what is missing of a path below the folder that its first `depth`
    /// segments lead to; `None` when that is gone.
    async fn make_below(
        &self,
        scope: Scope,
        last: i64,
        path: &RemotePath,
        depth: usize,
        made: &mut Made,
    ) -> Result<Option<i64>> {
        let mut folder = last;
        let mut here = RemotePath::root();
        for segment in path.segments().take(depth) {
            here = here.join(segment);
        }
        for segment in path.segments().skip(depth) {
            here = here.join(segment);
            let outcome = self.make_folder(scope, folder, segment, &here).await?;
            let Some((found, new)) = outcome else {
                return Ok(None);
            };
            let (parent, id) = (folder, found.id);
            if new {
                made.push(FolderAt {
                    parent,
                    folder: found,
                });
            }
            folder = id;
        }
        Ok(Some(folder))
    }

    /// The same for a directory that is written to.
    pub(super) async fn folder_to_write(
        &self,
        scope: Scope,
        path: &RemotePath,
        made: &mut Made,
    ) -> Result<Writable> {
        for _ in 0..ATTEMPTS {
            let id = self.make_folders(scope, path, made).await?;
            let writing = self.account.in_use.write(id).await;
            // Unless that happened just now.
            match self.walk(scope, path, None).await? {
                Walk::Folder(directory) if directory.id() == id => {
                    self.account.landings.written(id, path);
                    return Ok(Writable {
                        directory,
                        _writing: writing,
                    });
                }
                _ => {}
            }
        }
        Err(unstable(path))
    }

    /// Makes one folder; `None` when its parent is gone.
    async fn make_folder(
        &self,
        scope: Scope,
        parent: i64,
        segment: &str,
        path: &RemotePath,
    ) -> Result<Option<(FolderRecord, bool)>> {
        let name = self.stored_name(path, segment)?;
        // Creations of one name one after the other: 1Fichier may make two
        // folders of it ([API §J2]).
        let key = Key::mkdir(parent, segment);
        let lock = self.account.locks.hold(key).await;
        let writing = self.account.in_use.write(parent).await;
        if self.account.catalog.is_removed(parent) {
            return Ok(None);
        }
        let snapshot = match self.snapshot(scope, parent, None).await {
            // Another program removed it: it is looked for again.
            Err(error) if error.reason() == Reason::DirectoryNotFound => return Ok(None),
            snapshot => snapshot.at_path(path)?,
        };
        if let Some(folder) = snapshot.content.find_folder(self.codec, segment) {
            return Ok(Some((folder.clone(), false)));
        }
        let turn = self
            .account
            .client
            .turn(scope.with_priority(Priority::Upload), "folder/mkdir")
            .await
            .at_path(path)?;
        // It goes on even if the caller goes away: what is made must be known.
        let (remote, path) = (self.clone(), path.clone());
        let work = self.account.tasks.spawn(async move {
            let _held = (lock, writing);
            let segment = path.segments().last().unwrap_or_default();
            let intent = remote.account.changing(&[parent], Vec::new()).await;
            let intent = intent.at_path(&path)?;
            let made = remote.make_in(scope, turn, parent, segment, name, &path);
            let made = made.await;
            intent.done();
            made
        });
        work.await
            .map_err(|error| Error::internal(format!("a directory was not made: {error}")))?
    }

    /// Makes the call, and finds out what came of it; `None` when the parent is
    /// gone.
    async fn make_in(
        &self,
        scope: Scope,
        turn: Turn,
        parent: i64,
        segment: &str,
        name: String,
        path: &RemotePath,
    ) -> Result<Option<(FolderRecord, bool)>> {
        let made = self.account.client.make_folder(turn, parent, &name).await;
        let error = match made {
            Ok((id, stored)) if stored == name => {
                self.account.landings.seen(id, Instant::now());
                let time = self.account.upload_time();
                let folder = FolderRecord {
                    id,
                    name: name.into(),
                    time: Some(time),
                    password: false,
                };
                self.account.catalog.folder_made(parent, folder.clone());
                return Ok(Some((folder, true)));
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
        let mut is_gone = error.kind() == Kind::NotFound;
        if perhaps {
            match self.look_again(scope, parent, segment).await {
                Ok(Some(folder)) => return Ok(Some((folder, error.outcome_unknown()))),
                Ok(None) => {
                    let late = self.shown_late(scope, parent, segment).await;
                    if let Some(folder) = late.at_path(path)? {
                        return Ok(Some((folder, error.outcome_unknown())));
                    }
                }
                Err(look) if look.kind() == Kind::NotFound => is_gone = true,
                Err(look) => return Err(look).at_path(path),
            }
        }
        if is_gone && parent != ROOT {
            // Another program removed the parent: it is looked for again.
            self.account.catalog.folder_gone(parent);
            return Ok(None);
        }
        Err(error).at_path(path)
    }

    /// Lists a folder anew to see whether a sub-folder is there. Waits for the
    /// 30 seconds between two listings if it must.
    async fn look_again(
        &self,
        scope: Scope,
        parent: i64,
        segment: &str,
    ) -> std::result::Result<Option<FolderRecord>, fichier::Error> {
        let listing = self.account.client.list_folder(scope, parent).await?;
        self.account.catalog.doubt(parent);
        let found = listing
            .folders
            .into_iter()
            .filter(|folder| self.codec.matches(&folder.name, segment));
        let found = found.min_by_key(|folder| folder.id).map(FolderRecord::from);
        if let Some(folder) = &found {
            self.account.catalog.folder_shown(parent, folder.clone());
        }
        Ok(found)
    }

    /// The same where listings may lag: the folder may be there all the same.
    async fn shown_late(
        &self,
        scope: Scope,
        parent: i64,
        segment: &str,
    ) -> std::result::Result<Option<FolderRecord>, fichier::Error> {
        let account = &self.account;
        for pause in SHOWN_LATE {
            self.wait(scope, Duration::from_secs(pause)).await?;
            let folders = account.client.list_sub_folders(scope, parent).await?;
            let mut found = folders.into_iter();
            if let Some(found) = found.find(|folder| self.codec.matches(&folder.name, segment)) {
                let folder = FolderRecord::from(found);
                account.catalog.folder_shown(parent, folder.clone());
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    /// Nothing on the way to a path is to be trusted any more.
    pub(super) async fn doubt_way_to(&self, path: &RemotePath) {
        self.account.catalog.doubt(ROOT);
        for directory in self.known_way(path).await {
            for id in directory.ids() {
                self.account.catalog.doubt(id);
            }
        }
    }

    /// Takes folders away again that were made for something that failed.
    /// Only empty ones go that nobody writes to. Waits for no lock, so that the
    /// caller may hold any.
    pub(super) async fn unmake(&self, made: Made) {
        self.unmake_folders(made, false).await;
    }

    /// The same for folders that were made in a directory which is not where
    /// memory had it.
    pub(super) async fn unmake_moved(&self, made: Made) {
        self.unmake_folders(made, true).await;
    }

    async fn unmake_folders(&self, made: Made, moved: bool) {
        for FolderAt { parent, folder } in made.into_iter().rev() {
            let id = folder.id;
            // Others may have begun to write there, or have moved it.
            let Some(_removing) = self.account.in_use.remove(id) else {
                return;
            };
            let catalog = &self.account.catalog;
            let may_be_there = moved || catalog.may_hold(parent, &folder);
            if catalog.known_full(id) || !may_be_there {
                return;
            }
            let intent = self
                .account
                .changing(&[parent], vec![Touched::Folder(id)])
                .await;
            let intent = match intent {
                Ok(intent) => intent,
                Err(error) => {
                    tracing::debug!(%error, "a folder made for a failed upload stays");
                    return;
                }
            };
            match self
                .account
                .client
                .remove_folder(Scope::new(Priority::Delete), id)
                .await
            {
                Ok(()) => {
                    self.account.catalog.folder_removed(parent, id);
                    intent.done();
                }
                Err(error) => {
                    tracing::debug!(%error, "a folder made for a failed upload stays");
                    if !error.outcome_unknown() {
                        intent.done();
                    }
                    return;
                }
            }
        }
    }
}

/// Others remove or move what the path leads to, again and again.
pub(super) fn unstable(path: &RemotePath) -> Error {
    Error::new(
        Reason::UpstreamUnavailable,
        format!("directories on the way to {path:?} come and go; try again later"),
    )
    .at(path.as_str())
}
