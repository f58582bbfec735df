//! From paths to folders and files.

use super::entry::Entry;
use super::path::{MAX_NAME_BYTES, RemotePath};
use super::{AtPath, Remote, Staleness};
use crate::catalog::{FileRecord, FolderRecord, Snapshot};
use crate::clock::Moment;
use crate::error::{Error, Reason, Result};
use crate::fichier::{ROOT, Scope};

/// What a path names.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Root,
    Folder(FolderRecord),
    /// All files with that path, the newest first.
    Files {
        parent: i64,
        files: Vec<FileRecord>,
    },
    Nothing,
}

/// Where a path's walk ended.
#[derive(Clone, Debug)]
pub(super) enum Walk {
    /// The folder.
    Folder(i64),
    /// This folder exists, and nothing named by the rest of the path.
    Missing { last: i64, depth: usize },
    /// A file stands where a folder is needed; the path of the file.
    File(RemotePath),
}

impl Remote {
    pub(super) async fn snapshot(
        &self,
        scope: Scope,
        folder: i64,
        staleness: Staleness,
    ) -> Result<Snapshot> {
        self.account.catalog.folder(scope, folder, staleness).await
    }

    /// Walks down to a folder. One that turns out to be gone is missing in its
    /// parent when the walk begins anew.
    pub(super) async fn walk(
        &self,
        scope: Scope,
        path: &RemotePath,
        staleness: Staleness,
    ) -> Result<Walk> {
        for _ in path.segments() {
            match self.walk_once(scope, path, staleness).await {
                Err(error) if error.reason() == Reason::DirectoryNotFound => {}
                walk => return walk,
            }
        }
        self.walk_once(scope, path, staleness).await
    }

    async fn walk_once(
        &self,
        scope: Scope,
        path: &RemotePath,
        staleness: Staleness,
    ) -> Result<Walk> {
        let mut folder = ROOT;
        let mut here = RemotePath::root();
        for (depth, segment) in path.segments().enumerate() {
            let snapshot = self
                .snapshot(scope, folder, staleness)
                .await
                .at_path(&here)?;
            match snapshot.content.find_folder(self.codec, segment) {
                Some(found) => folder = found.id,
                None if snapshot.content.find_files(self.codec, segment).is_empty() => {
                    return Ok(Walk::Missing {
                        last: folder,
                        depth,
                    });
                }
                None => return Ok(Walk::File(here.join(segment))),
            }
            here = here.join(segment);
        }
        Ok(Walk::Folder(folder))
    }

    /// The id of an existing folder. With a demand for freshness, a folder
    /// that seems to be missing is looked for again with that demand on the
    /// way to it.
    pub(super) async fn folder_id(
        &self,
        scope: Scope,
        path: &RemotePath,
        staleness: Staleness,
    ) -> Result<i64> {
        let mut walk = self.walk(scope, path, None).await?;
        if !matches!(walk, Walk::Folder(_)) && staleness.is_some() {
            walk = self.walk(scope, path, staleness).await?;
        }
        match walk {
            Walk::Folder(id) => Ok(id),
            Walk::Missing { .. } => Err(Error::directory_not_found(path.as_str())),
            Walk::File(file) => Err(Error::not_a_directory(file.as_str())),
        }
    }

    /// What a path names, and as of when.
    pub(super) async fn find(
        &self,
        scope: Scope,
        path: &RemotePath,
        staleness: Staleness,
    ) -> Result<(Found, Moment)> {
        let Some((parent, name)) = path.split() else {
            return Ok((Found::Root, self.account.clock.moment()));
        };
        if self.is_read_only() {
            // One that is unknown is no reason to call its files missing.
            self.snapshot(scope, ROOT, staleness).await?;
        }
        let parent_id = match self.folder_id(scope, &parent, staleness).await {
            Ok(id) => id,
            // Below a missing directory there is nothing.
            Err(error) if error.reason() == Reason::DirectoryNotFound => {
                return Ok((Found::Nothing, self.account.clock.moment()));
            }
            Err(error) => return Err(error),
        };
        let snapshot = match self.snapshot(scope, parent_id, staleness).await {
            Err(error) if error.reason() == Reason::DirectoryNotFound => {
                return Ok((Found::Nothing, self.account.clock.moment()));
            }
            snapshot => snapshot.at_path(path)?,
        };
        let files: Vec<_> = snapshot
            .content
            .find_files(self.codec, name)
            .into_iter()
            .cloned()
            .collect();
        let found = if !files.is_empty() {
            Found::Files {
                parent: parent_id,
                files,
            }
        } else if let Some(folder) = snapshot.content.find_folder(self.codec, name) {
            Found::Folder(folder.clone())
        } else {
            Found::Nothing
        };
        Ok((found, snapshot.as_of))
    }

    /// A file: its folder, and all files with that path, the newest first.
    pub(super) async fn find_files(
        &self,
        scope: Scope,
        path: &RemotePath,
        staleness: Staleness,
    ) -> Result<(i64, Vec<FileRecord>)> {
        match self.find(scope, path, staleness).await?.0 {
            Found::Files { parent, files } => Ok((parent, files)),
            Found::Root | Found::Folder(_) => Err(Error::is_a_directory(path.as_str())),
            Found::Nothing => Err(Error::file_not_found(path.as_str())),
        }
    }

    /// The name to store for a new entry.
    pub(super) fn stored_name(&self, path: &RemotePath, segment: &str) -> Result<String> {
        let stored = self
            .codec
            .to_stored(segment)
            .map_err(|error| Error::invalid_path(path.as_str(), error))?;
        if stored.len() > MAX_NAME_BYTES {
            return Err(Error::invalid_path(
                path.as_str(),
                format_args!(
                    "the name {segment:?} takes {} bytes as stored, and 1Fichier allows {MAX_NAME_BYTES}",
                    stored.len()
                ),
            )
            .with("max_name_bytes", MAX_NAME_BYTES.to_string()));
        }
        Ok(stored)
    }

    /// Every name of a path must be storable before anything is made.
    pub(super) fn check_names(&self, path: &RemotePath) -> Result<()> {
        for segment in path.segments() {
            self.stored_name(path, segment)?;
        }
        Ok(())
    }

    /// Describes one entry.
    ///
    /// # Errors
    /// FILE_NOT_FOUND when there is nothing at the path.
    pub async fn stat(
        &self,
        scope: Scope,
        path: &RemotePath,
        staleness: Staleness,
    ) -> Result<(Entry, Moment)> {
        let (found, as_of) = self.find(scope, path, staleness).await?;
        let entry = match found {
            Found::Root => Entry::root(),
            Found::Folder(folder) => Entry::directory(path.clone(), &folder),
            Found::Files { files, .. } => {
                self.file_entry(path.clone(), &files[0], files.len()).await
            }
            Found::Nothing => {
                return Err(Error::new(
                    Reason::FileNotFound,
                    format!("there is nothing at {path:?}"),
                )
                .at(path.as_str()));
            }
        };
        Ok((entry, as_of))
    }
}
