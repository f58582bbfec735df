//! Removing a directory with all that is in it.
//!
//! The tree is walked depth first, folder by folder, so that memory does not
//! grow with it. Files leave in full batches, whatever folders they are in, and
//! a folder goes as soon as nothing is left in it.

mod tree;
mod work;

use tokio::sync::mpsc;

use super::Remote;
use super::locks::operation;
use super::path::RemotePath;
use super::resolve::Walk;
use super::twins::Directory;
use crate::error::{Error, Result};
use crate::fichier::Scope;
use work::Work;

/// Messages that a slow reader may be behind.
const QUEUE: usize = 16;

/// How a directory is purged.
#[derive(Clone, Copy, Debug, Default)]
pub struct PurgeOptions {
    /// A directory that does not exist counts as removed.
    pub allow_missing: bool,
    /// Only count what would be removed.
    pub validate_only: bool,
    /// The path may be the root: its content goes.
    pub allow_root: bool,
}

/// How far a purge is; the numbers count from its start.
#[derive(Clone, Debug, Default)]
pub struct PurgeProgress {
    /// Files removed.
    pub removed_files: u64,
    /// Folders removed.
    pub removed_directories: u64,
    /// What could not be removed, since the last time.
    pub failures: Vec<(RemotePath, Error)>,
    /// This is the end.
    pub done: bool,
}

/// A purge on its way. Dropping it stops it after the call in flight.
#[derive(Debug)]
pub struct Purge(mpsc::Receiver<Result<PurgeProgress>>);

impl Purge {
    /// The next news; `None` after the end.
    pub async fn next(&mut self) -> Option<Result<PurgeProgress>> {
        self.0.recv().await
    }
}

impl Remote {
    /// Begins to remove a directory with all that is in it. What fails is told
    /// and stays, with the directories that it is in; the rest goes.
    ///
    /// # Errors
    /// DIRECTORY_NOT_FOUND unless `allow_missing`, NOT_A_DIRECTORY; INVALID_PATH
    /// for the root unless `allow_root`.
    pub async fn purge(
        &self,
        scope: Scope,
        path: &RemotePath,
        options: PurgeOptions,
    ) -> Result<Purge> {
        self.check_writable()?;
        if path.is_root() && !options.allow_root {
            return Err(Error::invalid_path(
                "",
                "purging the root removes everything in the account; set `allow_root` if that is meant",
            ));
        }
        let walk = match options.validate_only {
            true => self.walk(scope, path, None).await?,
            false => self.walk_now(scope, path).await?,
        };
        let directory = match walk {
            Walk::Folder(directory) => Some(directory),
            Walk::Missing { .. } if options.allow_missing => None,
            Walk::Missing { .. } => return Err(Error::directory_not_found(path.as_str())),
            Walk::File(file) => return Err(Error::not_a_directory(file.as_str())),
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        let roots = directory.iter().flat_map(Directory::folders).cloned();
        let roots = roots.collect();
        let work = Work::new(
            self.clone(),
            scope,
            path,
            roots,
            options.validate_only,
            sender,
        );
        self.account.tasks.spawn(operation(work.run()));
        Ok(Purge(receiver))
    }
}
