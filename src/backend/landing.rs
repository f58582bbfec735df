//! Did a file land in its folder? 1Fichier silently puts files into the root
//! when another program has removed their folder ([API §4.2]), and neither the
//! upload nor its report tells.
//!
//! Asking costs a call, so one answer counts for a while: a folder that was
//! seen lately is trusted at once and asked about a little later, for all files
//! that came meanwhile. What landed elsewhere is moved to where it belongs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::journal::{Landing, Task};
use super::path::RemotePath;
use super::resolve::Walk;
use super::{AtPath, Remote};
use crate::catalog::{Catalog, FileRecord};
use crate::error::Result;
use crate::fichier::{self, BATCH, Kind, Priority, ROOT, Scope};

/// A folder that was seen less than this ago is trusted for now.
const TRUST: Duration = Duration::from_secs(30);
/// Files of a folder that are remembered until it is asked about.
const PENDING: usize = 10_000;

/// A file whose place is not confirmed, and the note of it on disk.
#[derive(Debug)]
struct Pending {
    file: FileRecord,
    note: u64,
}

#[derive(Debug, Default)]
struct Folder {
    /// Where it is, as far as those who write to it know.
    path: Option<RemotePath>,
    /// When 1Fichier last showed that the folder exists.
    seen: Option<Instant>,
    /// What was stored since then.
    pending: Vec<Pending>,
    /// Somebody will ask.
    scheduled: bool,
}

/// What is known of the folders that are written to.
#[derive(Clone, Debug)]
pub(super) struct Landings {
    folders: Arc<Mutex<HashMap<i64, Folder>>>,
    catalog: Arc<Catalog>,
}

impl Landings {
    pub(super) fn new(catalog: Arc<Catalog>) -> Self {
        Self {
            folders: Arc::default(),
            catalog,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Folder>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, folder: i64, change: impl FnOnce(&mut Folder)) {
        let mut folders = self.lock();
        if folders.len() > 10_000 {
            folders.retain(|_, folder| {
                folder.scheduled || folder.seen.is_some_and(|at| at.elapsed() < TRUST)
            });
        }
        change(folders.entry(folder).or_default());
    }

    /// 1Fichier showed the folder at this moment.
    pub(super) fn seen(&self, folder: i64, at: Instant) {
        self.change(folder, |known| known.seen = known.seen.max(Some(at)));
    }

    /// Something will be written to the folder, which has this path now.
    pub(super) fn written(&self, folder: i64, path: &RemotePath) {
        self.change(folder, |known| known.path = Some(path.clone()));
    }

    /// A directory has another path now: files that are on their way belong
    /// there.
    pub(super) fn moved(&self, from: &RemotePath, to: &RemotePath) {
        for known in self.lock().values_mut() {
            let path = known.path.as_ref();
            if let Some(path) = path.and_then(|path| path.moved(from, to)) {
                known.path = Some(path);
            }
        }
    }

    /// Where files of the folder belong.
    fn path_of(&self, folder: i64, otherwise: &RemotePath) -> RemotePath {
        let folders = self.lock();
        let known = folders.get(&folder).and_then(|known| known.path.clone());
        known.unwrap_or_else(|| otherwise.clone())
    }

    /// A file leaves its folder on purpose: to ask for it would be one of the
    /// questions in vain that lead to a ban ([API §1.1]).
    pub(super) fn forget(&self, folder: i64, url: &str) {
        if let Some(known) = self.lock().get_mut(&folder)
            && let Some(at) = known
                .pending
                .iter()
                .position(|pending| *pending.file.url == *url)
        {
            let pending = known.pending.remove(at);
            self.catalog.end_intent(pending.note);
        }
    }

    /// It is known where these are.
    fn settled(&self, pending: &[Pending]) {
        for pending in pending {
            self.catalog.end_intent(pending.note);
        }
    }
}

impl Remote {
    /// Makes sure that a stored file is in its folder: now, when the folder was
    /// not seen lately, else soon. Returns the folder where it is.
    ///
    /// # Errors
    /// When it landed elsewhere and cannot be moved.
    pub(super) async fn confirm_landing(
        &self,
        scope: Scope,
        path: &RemotePath,
        folder: i64,
        file: &FileRecord,
    ) -> Result<(i64, FileRecord)> {
        let account = &self.account;
        // 1Fichier tells nothing about what is protected.
        let untold = file.password || file.acl;
        if folder == ROOT || untold || account.catalog.is_exclusive() {
            return Ok((folder, file.clone()));
        }
        let trusted = {
            let listed = account.catalog.listed_at(folder);
            let mut folders = account.landings.lock();
            let known = folders.entry(folder).or_default();
            known.seen = known.seen.max(listed);
            if known.pending.len() < PENDING {
                let landing = Landing {
                    path: path.clone(),
                    encoding: self.codec.mask().bits(),
                    folder,
                    file: file.clone(),
                };
                known.pending.push(Pending {
                    file: file.clone(),
                    note: account.catalog.note(Task::Landing(landing).text()),
                });
            }
            known.seen.is_some_and(|at| at.elapsed() < TRUST)
        };
        if trusted {
            self.confirm_soon(path, folder);
            return Ok((folder, file.clone()));
        }
        let stored = Instant::now();
        let _lock = account.locks.hold(format!("landing {folder}")).await;
        let asked_meanwhile = account
            .landings
            .lock()
            .get(&folder)
            .and_then(|known| known.seen);
        if asked_meanwhile.is_some_and(|at| at >= stored) {
            // Another file of the same time was asked about.
            return Ok((folder, file.clone()));
        }
        let moved = self.confirm_now(scope, path, folder).await?;
        Ok(match moved {
            None => (folder, file.clone()),
            Some((folder, files)) => {
                let found = files
                    .into_iter()
                    .find(|moved| moved.whirlpool == file.whirlpool && moved.name == file.name);
                (folder, found.unwrap_or_else(|| file.clone()))
            }
        })
    }

    /// What an earlier run has not asked about.
    pub(super) fn confirm_later(&self, note: u64, landing: Landing) {
        let Landing {
            path, folder, file, ..
        } = landing;
        self.account.landings.change(folder, |known| {
            known.path = Some(path.clone());
            known.pending.push(Pending { file, note });
        });
        self.confirm_soon(&path, folder);
    }

    /// Asks once the trust is over, on behalf of nobody.
    fn confirm_soon(&self, path: &RemotePath, folder: i64) {
        {
            let mut folders = self.account.landings.lock();
            let known = folders.entry(folder).or_default();
            if std::mem::replace(&mut known.scheduled, true) {
                return;
            }
        }
        // Not a task that shutdown waits for, and it keeps nothing alive.
        let (account, name, codec, access, path) = (
            Arc::downgrade(&self.account),
            Arc::clone(&self.name),
            self.codec,
            self.access.clone(),
            path.clone(),
        );
        tokio::spawn(async move {
            tokio::time::sleep(TRUST).await;
            let Some(account) = account.upgrade() else {
                return;
            };
            let remote = Self {
                name,
                account,
                codec,
                access,
            };
            let _lock = remote.account.locks.hold(format!("landing {folder}")).await;
            if let Some(known) = remote.account.landings.lock().get_mut(&folder) {
                known.scheduled = false;
            }
            if let Err(error) = remote
                .confirm_now(Scope::new(Priority::Background), &path, folder)
                .await
            {
                tracing::error!(%path, %error, "uploaded files may not be in their directory; look into the root");
            }
        });
    }

    /// Asks where the last file of a folder is. If elsewhere, moves all that
    /// came since the folder was seen, and returns where they are now.
    async fn confirm_now(
        &self,
        scope: Scope,
        path: &RemotePath,
        folder: i64,
    ) -> Result<Option<(i64, Vec<FileRecord>)>> {
        let account = &self.account;
        let asked = Instant::now();
        let pending = match account.landings.lock().get_mut(&folder) {
            Some(known) => std::mem::take(&mut known.pending),
            None => return Ok(None),
        };
        // The newest that is still there and that may be asked about: others
        // may have been removed or protected since.
        for last in pending.iter().rev().take(3) {
            match account.client.folder_of(scope, &last.file.url).await {
                // Elsewhere than in the root it was put by somebody's will.
                Ok(found) if found != Some(ROOT) => {
                    account.landings.seen(folder, asked);
                    account.landings.settled(&pending);
                    return Ok(None);
                }
                Ok(_) => {
                    let files = pending.iter().map(|pending| pending.file.clone());
                    let home = self.bring_home(scope, path, folder, files.collect()).await;
                    if home.is_ok() {
                        account.landings.settled(&pending);
                    }
                    return home.map(Some);
                }
                Err(error)
                    if error.is_about_password()
                        || matches!(error.kind(), Kind::NotFound | Kind::Access) => {}
                Err(error) => {
                    // Not known: the next one asks again for these too.
                    if let Some(known) = account.landings.lock().get_mut(&folder) {
                        known.pending.extend(pending);
                    }
                    // The file is stored and verified; where, is asked again.
                    tracing::warn!(%path, %error, "cannot see whether files landed in their directory");
                    self.confirm_soon(path, folder);
                    return Ok(None);
                }
            }
        }
        account.landings.settled(&pending);
        Ok(None)
    }

    async fn bring_home(
        &self,
        scope: Scope,
        path: &RemotePath,
        gone: i64,
        files: Vec<FileRecord>,
    ) -> Result<(i64, Vec<FileRecord>)> {
        let account = &self.account;
        let path = &account.landings.path_of(gone, path);
        tracing::warn!(%path, files = files.len(), "another program removed a directory while files were on their way; it is made again and they are moved there");
        account.catalog.folder_gone(gone);
        // Where its parent is not in memory, it is remembered still.
        if let Ok(Walk::Folder(known)) = self.walk(scope, path, Some(Duration::MAX)).await
            && let Some(at) = known.folders().find(|at| at.folder.id == gone)
        {
            account.catalog.folder_removed(at.parent, gone);
        }
        let scope = scope.with_priority(Priority::Upload);
        let target = self.folder_to_write(scope, path, &mut Vec::new()).await?;
        let folder = target.id();
        let mut moved = Vec::with_capacity(files.len());
        for part in files.chunks(BATCH) {
            let urls: Vec<String> = part.iter().map(|file| file.url.to_string()).collect();
            let intent = account.changing(&[ROOT, folder], Vec::new()).await;
            let intent = intent.at_path(path)?;
            let done = account
                .client
                .move_files(scope, &urls, folder, None)
                .await
                .at_path(path)?
                .done;
            for file in part {
                // One that was deleted meanwhile is not brought back.
                let Some((_, now)) = done.iter().find(|(url, _)| **url == *file.url) else {
                    continue;
                };
                let file = FileRecord {
                    url: now.as_str().into(),
                    ..file.clone()
                };
                account.catalog.file_added(folder, file.clone());
                moved.push(file);
            }
            intent.done();
        }
        account.landings.seen(folder, Instant::now());
        if moved.is_empty() && !files.is_empty() {
            return Err(fichier::Error::undone()).at_path(path);
        }
        Ok((folder, moved))
    }
}
