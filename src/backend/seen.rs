//! What is there now: the proof that a change needs.
//!
//! Memory answers reads while it is fresh. It does not destroy: another program
//! may have moved what is remembered elsewhere, and a call by link or id would
//! find it there. So what is removed, replaced or moved away was seen in its
//! folder lately, and so was each folder on the way to it, unless nobody else
//! writes there or the name tells the content.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::directories::{ATTEMPTS, unstable};
use super::locks::{Key, operation};
use super::path::RemotePath;
use super::resolve::{Found, Walk};
use super::twins::{Directory, FileAt, FolderAt};
use super::{AtPath, Remote, Staleness};
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, Kind, LISTING_CAP, Scope, same_name};

/// What was seen longer ago than this is looked at before it is removed,
/// replaced or moved away. 1Fichier allows one listing of a folder in 30 seconds
/// ([API §1.1]), and the request budget keeps a margin.
pub(super) const SEEN: Duration = Duration::from_secs(31);
/// What was seen in time may be this old when the call leaves: a longer wait
/// for the request budget wants another look.
pub(super) const SEEN_WHEN_SENT: Duration = Duration::from_secs(45);

/// Seconds until a folder is looked for again that 1Fichier refuses to make or to
/// move, perhaps because there is one that others have made: listings may not
/// show it yet ([API §I]).
pub(super) const SHOWN_LATE: [u64; 3] = [1, 3, 10];

/// Seconds until a file is asked for again that is there and that calls by its
/// link do not know yet.
pub(super) const TOO_EARLY: [u64; 3] = [1, 2, 4];

impl RemotePath {
    /// Whether the name of the file is its content: an object of a restic
    /// repository below `data`, `index`, `snapshots`, `keys` or `locks`, which
    /// is there or not, and never another one ([pluton.md §5]).
    pub(super) fn names_its_content(&self) -> bool {
        let mut segments = self.segments().rev();
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(name) = segments
            .next()
            .filter(|name| name.len() == 64 && is_hex(name))
        else {
            return false;
        };
        match segments.next() {
            Some("index" | "snapshots" | "keys" | "locks") => true,
            Some(part) => {
                name.starts_with(part) && part.len() == 2 && segments.next() == Some("data")
            }
            None => false,
        }
    }
}

impl Remote {
    /// Whether what is remembered of a path suffices to change it.
    pub(super) fn is_certain(&self, path: &RemotePath) -> bool {
        self.account.catalog.is_exclusive() || path.names_its_content()
    }

    /// How old what is known of a path, and of the way to it, may be for a
    /// change.
    pub(super) fn staleness_of_changes(&self, path: &RemotePath) -> Staleness {
        (!self.is_certain(path) && !self.is_read_only()).then_some(SEEN)
    }

    /// Walks down to a directory that is to be changed, or something in it. Each
    /// folder on the way was seen in its parent lately.
    ///
    /// # Errors
    /// UPSTREAM_UNAVAILABLE when 1Fichier does not show now what was made from
    /// here.
    pub(super) async fn walk_now(&self, scope: Scope, path: &RemotePath) -> Result<Walk> {
        let mut walk = self.walk(scope, path, None).await?;
        let Some(seen) = self.staleness_of_changes(path) else {
            return Ok(walk);
        };
        for _ in 0..ATTEMPTS {
            if !matches!(walk, Walk::Folder(_)) {
                return Ok(walk);
            }
            walk = self.walk(scope, path, Some(seen)).await?;
            let unseen = self.unseen_on_way(path).await;
            if unseen.is_empty() {
                return Ok(walk);
            }
            let parents: BTreeSet<i64> = unseen.iter().map(|at| at.parent).collect();
            if self.list_lately(scope, parents).await? {
                continue;
            }
            if self.ask_for_way(scope, path, &unseen).await? {
                return Ok(walk);
            }
            walk = self.walk(scope, path, None).await?;
        }
        Err(unstable(path))
    }

    /// Makes sure that folders were listed lately. Waits where 1Fichier allows no
    /// listing now. False when all of them were.
    async fn list_lately(
        &self,
        scope: Scope,
        folders: impl IntoIterator<Item = i64>,
    ) -> Result<bool> {
        let catalog = &self.account.catalog;
        let mut listed = false;
        for folder in folders {
            if catalog.is_listed_within(folder, SEEN) {
                continue;
            }
            listed = true;
            let now = Instant::now();
            let since = now.checked_sub(SEEN).unwrap_or(now);
            match catalog.folder_since(scope, folder, since).await {
                Err(error) if error.reason() == Reason::DirectoryNotFound => {}
                listed => drop(listed?),
            }
        }
        Ok(listed)
    }

    /// Folders on the way to a directory that only own calls have told of, a
    /// while ago: what listings do not show may lag, or another program has
    /// moved it.
    pub(super) async fn unseen_on_way(&self, path: &RemotePath) -> Vec<FolderAt> {
        let catalog = &self.account.catalog;
        let was_seen = |at: &FolderAt| {
            let age = catalog.folder_seen(at.parent, &at.folder);
            age.is_some_and(|age| age <= SEEN)
        };
        let way = self.known_way(path).await;
        let folders = way.iter().flat_map(Directory::folders);
        folders.filter(|at| !was_seen(at)).cloned().collect()
    }

    /// Asks 1Fichier for the path of a file in a directory, which names all
    /// folders on the way. False when another program has moved one of them:
    /// they are looked for by listings then.
    async fn ask_for_way(
        &self,
        scope: Scope,
        path: &RemotePath,
        unseen: &[FolderAt],
    ) -> Result<bool> {
        let catalog = &self.account.catalog;
        let directory = self.known_directory(path).await;
        let mut is_told = None;
        let ids: Vec<i64> = directory.iter().flat_map(Directory::ids).collect();
        for &id in &ids {
            let Some(known) = catalog.peek(id).await else {
                continue;
            };
            let Some(witness) = known.content.files().next() else {
                continue;
            };
            match self.account.client.file_info(scope, &witness.url).await {
                Ok(info) if info.folder.is_some_and(|folder| folder != id) => {
                    catalog.file_missing(id, &witness.url);
                }
                Ok(info) => {
                    let names: Vec<_> = path.segments().collect();
                    let same = |stored: &str, segment: &str| self.codec.matches(stored, segment);
                    is_told = info.is_below(&names, same);
                }
                Err(error) if error.kind() == Kind::NotFound => {
                    catalog.file_missing(id, &witness.url);
                }
                Err(error) => return Err(error).at_path(path),
            }
            break;
        }
        // One that is gone is in no other place.
        if is_told.is_none() && self.list_lately(scope, ids.iter().copied()).await? {
            let left = self.known_directory(path).await;
            let left: Vec<i64> = left.iter().flat_map(Directory::ids).collect();
            if left != ids {
                return Ok(false);
            }
        }
        match is_told {
            Some(true) => {
                for FolderAt { parent, folder } in unseen {
                    catalog.folder_found(*parent, folder.id);
                }
                Ok(true)
            }
            Some(false) => {
                for FolderAt { parent, folder } in unseen {
                    catalog.folder_missing(*parent, folder.id);
                }
                Ok(false)
            }
            None => Err(Error::new(
                Reason::UpstreamUnavailable,
                format!("1Fichier does not show yet that {path:?} is where it was made; ask again"),
            )
            .at(path.as_str())
            .retry_after(SEEN)),
        }
    }

    /// A directory that is to be changed.
    ///
    /// # Errors
    /// As [`Remote::directory`].
    pub(super) async fn directory_now(&self, scope: Scope, path: &RemotePath) -> Result<Directory> {
        match self.walk_now(scope, path).await? {
            Walk::Folder(directory) => Ok(directory),
            Walk::Missing { .. } => Err(Error::directory_not_found(path.as_str())),
            Walk::File(file) => Err(Error::not_a_directory(file.as_str())),
        }
    }

    /// Whether a folder is in its parent now, under the name that it had.
    pub(super) async fn folder_is_there(
        &self,
        scope: Scope,
        path: &RemotePath,
        at: &FolderAt,
    ) -> Result<bool> {
        let catalog = &self.account.catalog;
        let Some(seen) = self.staleness_of_changes(path) else {
            return Ok(catalog.may_hold(at.parent, &at.folder));
        };
        let was_seen = || {
            let age = catalog.folder_seen(at.parent, &at.folder);
            age.is_some_and(|age| age <= SEEN)
        };
        if was_seen() {
            return Ok(true);
        }
        match self.snapshot(scope, at.parent, Some(seen)).await {
            Err(error) if error.reason() == Reason::DirectoryNotFound => return Ok(false),
            listed => drop(listed?),
        }
        if !was_seen() {
            self.list_lately(scope, [at.parent]).await?;
        }
        if was_seen() || !catalog.may_hold(at.parent, &at.folder) {
            return Ok(was_seen());
        }
        self.ask_for_way(scope, path, std::slice::from_ref(at))
            .await
    }

    /// What a path names that is to be changed. What memory does not know is
    /// not looked for.
    pub(super) async fn find_now(&self, scope: Scope, path: &RemotePath) -> Result<Found> {
        let found = self.find(scope, path, None).await?.0;
        let (Some((parent, _)), Some(seen)) = (path.split(), self.staleness_of_changes(path))
        else {
            return Ok(found);
        };
        match &found {
            Found::Nothing | Found::Root => return Ok(found),
            Found::Files { files, .. } if self.ask_for_file(scope, &parent, files).await => {
                return Ok(found);
            }
            _ => {}
        }
        let Walk::Folder(directory) = self.walk_now(scope, &parent).await? else {
            return Ok(Found::Nothing);
        };
        // A folder that is listed in parts takes minutes: its files are asked
        // for one by one.
        for id in directory.ids() {
            if !self.is_large(id).await {
                match self.snapshot(scope, id, Some(seen)).await {
                    // Another program removed it: it is looked for again.
                    Err(error) if error.reason() == Reason::DirectoryNotFound => break,
                    listed => drop(listed?),
                }
                self.list_lately(scope, [id]).await?;
            }
        }
        Ok(self.find(scope, path, None).await?.0)
    }

    /// Asks for the only file of a path, where that spares listings of its folder
    /// and of those on the way: the answer tells of all of them. False when
    /// listings have to tell.
    async fn ask_for_file(&self, scope: Scope, parent: &RemotePath, files: &[FileAt]) -> bool {
        let account = &self.account;
        let [FileAt { folder, file }] = files else {
            return false;
        };
        let unseen = self.unseen_on_way(parent).await;
        let age = account.catalog.file_seen(*folder, &file.url);
        let is_seen = age.is_some_and(|age| age <= SEEN);
        let mut listings: BTreeSet<i64> = unseen.iter().map(|at| at.parent).collect();
        if !is_seen {
            listings.insert(*folder);
        }
        if listings.is_empty() {
            return true;
        }
        if listings.len() < 2 || !account.questions.may_ask_in(*folder) {
            return false;
        }
        let Ok(info) = account.client.file_info(scope, &file.url).await else {
            return false;
        };
        let names: Vec<_> = parent.segments().collect();
        let same = |stored: &str, segment: &str| self.codec.matches(stored, segment);
        let is_there = info.folder == Some(*folder)
            && same_name(&info.file.name, &file.name)
            && info.is_below(&names, same) == Some(true);
        if is_there {
            account.catalog.file_found(*folder, &file.url);
            for FolderAt { parent, folder } in unseen {
                account.catalog.folder_found(parent, folder.id);
            }
        }
        is_there
    }

    /// The files of a path that are to be changed, the newest first.
    ///
    /// # Errors
    /// FILE_NOT_FOUND, IS_A_DIRECTORY.
    pub(super) async fn files_now(&self, scope: Scope, path: &RemotePath) -> Result<Vec<FileAt>> {
        self.find_now(scope, path).await?.into_files(path)
    }

    /// 1Fichier does not know the link of a file, or refuses it without a reason
    /// that is known. The files that have its path now: others, or the same
    /// again, if that was stored a moment ago and may be known by now. `None`
    /// when 1Fichier has the file where it was: the refusal has another reason.
    ///
    /// # Errors
    /// FILE_NOT_FOUND when the path is empty, UPSTREAM_UNAVAILABLE when that
    /// cannot be known now.
    pub(super) async fn found_again(
        &self,
        scope: Scope,
        path: &RemotePath,
        old: &FileAt,
        error: &fichier::Error,
    ) -> Result<Option<Vec<FileAt>>> {
        operation(self.look_again_for(scope, path, old, error)).await
    }

    async fn look_again_for(
        &self,
        scope: Scope,
        path: &RemotePath,
        old: &FileAt,
        error: &fichier::Error,
    ) -> Result<Option<Vec<FileAt>>> {
        let account = &self.account;
        let FileAt { folder, file } = old;
        // Ten questions for one file that is gone would lead to a ban
        // ([API §1.1]): who comes meanwhile has the same answer.
        let asked = Instant::now();
        let turn = account.locks.hold(Key::Question(file.url.to_string()));
        let _turn = turn.await;
        let seen = account.catalog.file_seen(*folder, &file.url);
        if seen.is_none_or(|age| age < asked.elapsed()) {
            return self.find_files(scope, path, None).await.map(Some);
        }
        if error.kind() != Kind::NotFound {
            let target = old.target();
            let there = account.batches.is_there(scope, &target).await;
            if there.at_path(path)? {
                return Ok(None);
            }
        }
        for seconds in TOO_EARLY {
            if !account.catalog.is_young(*folder, &file.url) {
                break;
            }
            // Stored from here a moment ago: it is there.
            self.wait(scope, Duration::from_secs(seconds))
                .await
                .at_path(path)?;
            match account.client.file_info(scope, &file.url).await {
                Ok(info) if info.folder.is_none_or(|told| told == *folder) => {
                    account.catalog.file_found(*folder, &file.url);
                    return self.find_files(scope, path, None).await.map(Some);
                }
                Ok(_) => break,
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error).at_path(path),
            }
        }
        account.catalog.file_missing(*folder, &file.url);
        let files = self.find_files(scope, path, None).await?;
        if files.iter().all(|at| at.file.url != file.url) {
            return Ok(Some(files));
        }
        // Listings show it, and calls by its link do not know it: either of them
        // lags.
        for seconds in TOO_EARLY {
            self.wait(scope, Duration::from_secs(seconds))
                .await
                .at_path(path)?;
            match account.client.file_info(scope, &file.url).await {
                Ok(_) => {
                    account.catalog.file_found(*folder, &file.url);
                    return Ok(Some(files));
                }
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error).at_path(path),
            }
        }
        Err(not_known(path))
    }

    /// Waits, unless the caller does not wait as long.
    pub(super) async fn wait(&self, scope: Scope, time: Duration) -> Result<(), fichier::Error> {
        let end = Instant::now() + time;
        if scope.deadline.is_some_and(|deadline| deadline < end) {
            let text = "1Fichier does not know yet what was stored a moment ago";
            return Err(fichier::Error::new("wait", Kind::Deadline, text));
        }
        tokio::time::sleep_until(end).await;
        Ok(())
    }

    pub(super) async fn is_large(&self, folder: i64) -> bool {
        let catalog = &self.account.catalog;
        let known = catalog.peek(folder).await;
        catalog.is_walked(folder) || known.is_some_and(|known| known.content.len() >= LISTING_CAP)
    }
}

fn not_known(path: &RemotePath) -> Error {
    Error::new(
        Reason::UpstreamUnavailable,
        format!("{path:?} is there, and 1Fichier does not know it by its link yet; ask again"),
    )
    .at(path.as_str())
    .retry_after(SEEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_a_repository_are_named_after_their_content() {
        let name = "ab".repeat(32);
        for (directory, is_object) in [
            ("data/ab", true),
            ("backups/repo/data/ab", true),
            ("repo/index", true),
            ("locks", true),
            ("data/cd", false),
            ("ab", false),
            ("repo/other", false),
        ] {
            let path = RemotePath::parse(&format!("{directory}/{name}")).unwrap();
            assert_eq!(path.names_its_content(), is_object, "{path}");
        }
        for other in [name.as_str(), "index/config", "index/abcd"] {
            assert!(!RemotePath::parse(other).unwrap().names_its_content());
        }
    }
}
