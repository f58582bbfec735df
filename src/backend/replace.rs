//! What a write meets at its place, and what it takes the place of.

use super::batch::Target;
use super::directories::Writable;
use super::entry::etag;
use super::locks::{Guard, Key};
use super::path::RemotePath;
use super::put::{PutOptions, WriteMode, etag_mismatch};
use super::resolve::Found;
use super::seen::SEEN;
use super::twins::FileAt;
use super::{AtPath, Remote, Staleness};
use crate::catalog::FileRecord;
use crate::error::{Error, Reason, Result};
use crate::fichier::{Priority, Scope};

impl Remote {
    /// What stands at the path now must allow the write. What is to be replaced
    /// at once, or forbids the write, is looked at: memory may be old.
    pub(super) async fn check_target(
        &self,
        scope: Scope,
        path: &RemotePath,
        options: &PutOptions,
        at_once: bool,
    ) -> Result<()> {
        if !options.create_parents
            && let Some((parent, _)) = path.split()
        {
            self.directory(scope, &parent, None).await?;
        }
        let found = self.find(scope, path, None).await?.0;
        let replaces =
            at_once && options.mode != WriteMode::KeepBoth && matches!(found, Found::Files { .. });
        if !replaces && allows(path, options, found).is_ok() {
            return Ok(());
        }
        let found = match options.if_match {
            // What memory lacks is wanted.
            Some(_) => {
                let staleness = self.staleness_of_changes(path);
                self.find(scope, path, staleness).await?;
                self.find_now(scope, path).await?
            }
            None => self.find_now(scope, path).await?,
        };
        allows(path, options, found)
    }

    /// Writes to one place one after the other, so that each sees what the one
    /// before it left. The path is not enough: a directory that was moved has
    /// another one than when the write began. What stands there now must allow
    /// the write. Returns the files that are there, too.
    pub(super) async fn claim(
        &self,
        scope: Scope,
        target: &Writable,
        path: &RemotePath,
        segment: &str,
        options: &PutOptions,
    ) -> Result<(Guard, Vec<FileAt>)> {
        let key = Key::place(target.id(), segment);
        let lock = self.account.locks.hold(key).await;
        let contents = match self.contents(scope, &target.directory, None).await {
            // Another program removed it: the landing will tell.
            Err(error) if error.reason() == Reason::DirectoryNotFound => {
                return Ok((lock, Vec::new()));
            }
            contents => contents.at_path(path)?,
        };
        let files = contents.find_files(self.codec, segment);
        if files.is_empty() && contents.find_directory(self.codec, segment).is_some() {
            return Err(Error::is_a_directory(path.as_str()));
        }
        check_existing(path, options, files.first().map(|at| &at.file))?;
        Ok((lock, files))
    }

    /// Removes all other files of a path from the folders of its directory.
    /// The new one is safe already; the caller holds the path. Returns what
    /// stays for now.
    pub(super) async fn remove_older(
        &self,
        path: &RemotePath,
        folders: &[i64],
        segment: &str,
        new: &FileRecord,
    ) -> Vec<Target> {
        let scope = Scope::new(Priority::Delete);
        let mut older = Vec::new();
        for &folder in folders {
            let known = self.others_of(scope, folder, segment, new, None).await;
            let catalog = &self.account.catalog;
            let is_seen = |file: &FileRecord| {
                let age = catalog.file_seen(folder, &file.url);
                age.is_some_and(|age| age <= SEEN)
            };
            let seen = self.staleness_of_changes(path);
            if seen.is_some() && !known.iter().all(is_seen) && !self.is_large(folder).await {
                // Each of them is looked at. The listing may show more: what was
                // there before the new one came goes, too.
                let shown = self.others_of(scope, folder, segment, new, seen).await;
                let more = shown.into_iter().filter(|file| {
                    file.time < new.time && known.iter().all(|known| known.url != file.url)
                });
                older.extend(more.map(|file| Target::new(folder, &file.url)));
            }
            older.extend(known.into_iter().map(|file| Target {
                is_certain: self.is_certain(path),
                ..Target::new(folder, &file.url)
            }));
        }
        if older.is_empty() {
            return older;
        }
        match self.remove_all(scope, &older).await {
            Ok(()) => Vec::new(),
            Err(error) => {
                tracing::warn!(%path, %error, "an older version of a replaced file stays for now, as a duplicate");
                older
            }
        }
    }
}

impl Remote {
    /// The files of a name in a folder but one, as far as is known.
    async fn others_of(
        &self,
        scope: Scope,
        folder: i64,
        segment: &str,
        except: &FileRecord,
        staleness: Staleness,
    ) -> Vec<FileRecord> {
        let known = match self.snapshot(scope, folder, staleness).await {
            Ok(known) => Some(known),
            Err(_) => self.account.catalog.peek(folder).await,
        };
        let Some(known) = known else {
            return Vec::new();
        };
        let files = known.content.find_files(self.codec, segment).into_iter();
        let others = files.filter(|file| file.url != except.url);
        others.cloned().collect()
    }
}

/// Whether what a path names allows a write to it.
fn allows(path: &RemotePath, options: &PutOptions, found: Found) -> Result<()> {
    let existing = match found {
        Found::Root | Found::Folder(_) => return Err(Error::is_a_directory(path.as_str())),
        Found::Files { files, .. } => files.into_iter().next(),
        Found::Nothing => None,
    };
    check_existing(path, options, existing.as_ref().map(|at| &at.file))
}

fn check_existing(
    path: &RemotePath,
    options: &PutOptions,
    existing: Option<&FileRecord>,
) -> Result<()> {
    if options.mode == WriteMode::CreateOnly && existing.is_some() {
        return Err(Error::new(
            Reason::EntryExists,
            format!("there is already a file {path:?}"),
        )
        .at(path.as_str()));
    }
    match &options.if_match {
        Some(wanted) if existing.is_none_or(|file| etag(file) != *wanted) => {
            Err(etag_mismatch(path))
        }
        _ => Ok(()),
    }
}
