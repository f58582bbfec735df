//! From paths to folders and files.

use super::entry::{Entry, EntryKind};
use super::path::{MAX_NAME_BYTES, RemotePath};
use super::twins::{Contents, Directory, FileAt, Wants};
use super::{AtPath, Remote, Staleness};
use crate::catalog::Snapshot;
use crate::clock::Moment;
use crate::error::{Error, Reason, Result};
use crate::fichier::{ROOT, Scope};

/// What a path names.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Root,
    Folder(Directory),
    Files {
        /// All files with that path, the newest first.
        files: Vec<FileAt>,
        /// A directory has the same path.
        beside: bool,
    },
    Nothing,
}

impl Found {
    /// The files, for whoever needs one.
    ///
    /// # Errors
    /// FILE_NOT_FOUND, IS_A_DIRECTORY.
    pub(super) fn into_files(self, path: &RemotePath) -> Result<Vec<FileAt>> {
        match self {
            Self::Files { files, .. } => Ok(files),
            Self::Root | Self::Folder(_) => Err(Error::is_a_directory(path.as_str())),
            Self::Nothing => Err(Error::file_not_found(path.as_str())),
        }
    }
}

/// Where a path's walk ended.
#[derive(Clone, Debug)]
pub(super) enum Walk {
    /// The folders that the path names.
    Folder(Directory),
    /// This folder exists, and nothing named by the rest of the path.
    Missing { last: i64, depth: usize },
    /// A file stands where a folder is needed; the path of the file.
    File(RemotePath),
}

impl Remote {
    /// The path that a caller means, checked and in [standard
    /// form](Self::standard).
    ///
    /// # Errors
    /// As [`RemotePath::parse`].
    pub fn path(&self, text: &str) -> Result<RemotePath> {
        RemotePath::parse(text).map(|path| self.standard(path))
    }

    /// The same path in rclone's standard form, the only one in which entries
    /// are told: `a␊b` where a caller wrote a line feed. Both mean one name, and
    /// are stored under one ([rclone-compat §2.1]).
    pub fn standard(&self, path: RemotePath) -> RemotePath {
        path.standard(self.codec)
    }

    pub(super) async fn snapshot(
        &self,
        scope: Scope,
        folder: i64,
        staleness: Staleness,
    ) -> Result<Snapshot> {
        self.account.catalog.folder(scope, folder, staleness).await
    }

    /// Walks down to a directory. A folder that turns out to be gone is missing
    /// in its parent when the walk begins anew.
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
        let mut directory = Directory::root();
        let mut here = RemotePath::root();
        for (depth, segment) in path.segments().enumerate() {
            let contents = self
                .contents_with(scope, &directory, staleness, segment, Wants::Directory)
                .await
                .at_path(&here)?;
            here = here.join(segment);
            match contents.find_directory(self.codec, segment) {
                Some(found) => directory = found,
                None if contents.find_files(self.codec, segment).is_empty() => {
                    return Ok(Walk::Missing {
                        last: directory.id(),
                        depth,
                    });
                }
                None => return Ok(Walk::File(here)),
            }
            self.warn_of_duplicates(EntryKind::Directory, &here, directory.len());
        }
        Ok(Walk::Folder(directory))
    }

    /// The directories on the way to a path, itself included, as far as they are
    /// remembered, the outermost first. Asks nothing.
    pub(super) async fn known_way(&self, path: &RemotePath) -> Vec<Directory> {
        let mut way = Vec::new();
        let mut directory = Directory::root();
        for segment in path.segments() {
            let mut parts = Vec::with_capacity(directory.len());
            for id in directory.ids() {
                parts.extend(self.account.catalog.peek(id).await.map(|known| (id, known)));
            }
            let contents = Contents { parts };
            let Some(found) = contents.find_directory(self.codec, segment) else {
                break;
            };
            directory = found.clone();
            way.push(found);
        }
        way
    }

    /// A directory as it is remembered. Asks nothing.
    pub(super) async fn known_directory(&self, path: &RemotePath) -> Option<Directory> {
        if path.is_root() {
            return Some(Directory::root());
        }
        let mut way = self.known_way(path).await;
        (way.len() == path.segments().count())
            .then(|| way.pop())
            .flatten()
    }

    /// An existing directory. With a demand for freshness, one that seems to be
    /// missing is looked for again with that demand on the way to it.
    pub(super) async fn directory(
        &self,
        scope: Scope,
        path: &RemotePath,
        staleness: Staleness,
    ) -> Result<Directory> {
        let mut walk = self.walk(scope, path, None).await?;
        if !matches!(walk, Walk::Folder(_)) && staleness.is_some() {
            walk = self.walk(scope, path, staleness).await?;
        }
        match walk {
            Walk::Folder(directory) => Ok(directory),
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
        let now = self.account.clock.moment();
        let Some((parent, name)) = path.split() else {
            return Ok((Found::Root, now));
        };
        if self.is_read_only() {
            // One that is unknown is no reason to call its files missing.
            self.snapshot(scope, ROOT, staleness).await?;
        }
        let contents = match self.contents_of(scope, &parent, staleness, name).await {
            Ok(contents) => contents,
            // Below a missing directory there is nothing.
            Err(error) if error.reason() == Reason::DirectoryNotFound => {
                return Ok((Found::Nothing, now));
            }
            Err(error) => return Err(error),
        };
        let directory = contents.find_directory(self.codec, name);
        let files = contents.find_files(self.codec, name);
        self.warn_of_duplicates(EntryKind::File, path, files.len());
        let found = match directory {
            beside if !files.is_empty() => Found::Files {
                files,
                beside: beside.is_some(),
            },
            Some(directory) => {
                self.warn_of_duplicates(EntryKind::Directory, path, directory.len());
                Found::Folder(directory)
            }
            None => Found::Nothing,
        };
        Ok((found, contents.as_of(now)))
    }

    /// What a directory holds, for whoever looks for a name in it. One that turns
    /// out to be gone is looked for again: another one may have its path.
    async fn contents_of(
        &self,
        scope: Scope,
        path: &RemotePath,
        staleness: Staleness,
        name: &str,
    ) -> Result<Contents> {
        let mut attempts = path.segments().count();
        loop {
            let directory = self.directory(scope, path, staleness).await?;
            let contents = self.contents_with(scope, &directory, staleness, name, Wants::File);
            match contents.await {
                Err(error) if error.reason() == Reason::DirectoryNotFound && attempts > 0 => {
                    attempts -= 1;
                }
                contents => return contents.at_path(path),
            }
        }
    }

    /// All files with a path, the newest first.
    pub(super) async fn find_files(
        &self,
        scope: Scope,
        path: &RemotePath,
        staleness: Staleness,
    ) -> Result<Vec<FileAt>> {
        self.find(scope, path, staleness).await?.0.into_files(path)
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
            Found::Folder(directory) => directory.entry(path.clone()),
            Found::Files { files, beside } => {
                let entry = self.file_entry(path.clone(), &files[0].file, files.len());
                entry.await.beside_directory(beside)
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
