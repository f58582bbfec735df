//! Did a file land in its folder? 1Fichier silently puts files into the root
//! when another program has removed their folder ([API §4.2]), and neither the
//! upload nor its report tells.
//!
//! Asking costs a call, so one answer counts for a while: a folder that was
//! seen lately is trusted at once and asked about a little later, for all files
//! that came meanwhile. What landed elsewhere is moved to where it belongs, or
//! goes if something else became of its path. A file is looked after until that
//! is done, also after a restart.

mod home;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::Remote;
use super::journal::{Landing, Task, is_place};
use super::locks::{Key, operation};
use super::path::RemotePath;
use super::seen::TOO_EARLY;
use super::twins::FolderAt;
use crate::catalog::{Catalog, FileRecord};
use crate::error::Reason;
use crate::fichier::{FileInfo, Kind, Priority, ROOT, Scope};
use crate::spans;

/// A folder that was seen less than this ago is trusted for now.
const TRUST: Duration = Duration::from_secs(30);
/// After a failure it is asked again later and later, but no later than this.
const LONGEST: Duration = Duration::from_secs(900);
/// Files of a folder that are remembered until it is asked about.
const PENDING: usize = 10_000;
/// Files that are asked about, until one of them tells.
const SAMPLES: usize = 3;

/// A file whose place is not confirmed, and the note of it on disk.
#[derive(Clone, Debug)]
struct Pending {
    landing: Landing,
    note: u64,
    /// A call waits to learn where it is.
    awaited: bool,
    /// Its folder was not seen lately where memory has it, and the call that
    /// stored it still waits.
    unsure: bool,
    /// It is kept from listings of the root, where it lies.
    hidden: bool,
    /// The call that stored it; not known after a restart.
    cause: Option<Arc<str>>,
}

impl Pending {
    fn file(&self) -> &FileRecord {
        &self.landing.file
    }

    /// It is not brought home any more.
    fn give_up(&mut self, catalog: &Catalog) {
        if !std::mem::replace(&mut self.landing.unwanted, true) {
            let task = Task::Landing(self.landing.clone());
            catalog.rewrite_intent(self.note, task.text());
        }
    }
}

#[derive(Debug, Default)]
struct Folder {
    /// Where it is, as far as those who write to it know.
    path: Option<RemotePath>,
    /// When 1Fichier last showed that the folder exists.
    seen: Option<Instant>,
    /// What was stored since then.
    pending: Vec<Pending>,
    /// Where files are by now that calls wait for, by the link that they had.
    homes: HashMap<Box<str>, Home>,
    /// Somebody will ask.
    scheduled: bool,
}

/// A folder, and the file as it is there.
type Home = (i64, FileRecord);

/// What a question has brought.
enum Answer {
    /// Files are in their folder, or where somebody has put them on purpose.
    Home,
    /// They are in the root.
    Astray,
    /// They are in their folder, and that is not where memory has it.
    Moved,
    /// 1Fichier does not tell; it is asked again later.
    Unknown,
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

    fn change<T>(&self, folder: i64, change: impl FnOnce(&mut Folder) -> T) -> T {
        let mut folders = self.lock();
        if folders.len() > 10_000 {
            folders.retain(|_, folder| {
                folder.scheduled
                    || !folder.pending.is_empty()
                    || folder.seen.is_some_and(|at| at.elapsed() < TRUST)
            });
        }
        change(folders.entry(folder).or_default())
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

    fn pending(&self, folder: i64) -> Vec<Pending> {
        let folders = self.lock();
        let known = folders.get(&folder);
        known.map_or_else(Vec::new, |known| known.pending.clone())
    }

    /// A file leaves its folder on purpose: to ask for it would be one of the
    /// questions in vain that lead to a ban ([API §1.1]).
    pub(super) fn forget(&self, folder: i64, url: &str) {
        self.take(folder, |pending| *pending.file().url == *url);
    }

    /// A file was to go, and was not in its folder: if it landed elsewhere, it
    /// goes from there.
    pub(super) fn is_unwanted(&self, folder: i64, url: &str) {
        if let Some(known) = self.lock().get_mut(&folder) {
            let mut pending = known.pending.iter_mut();
            if let Some(pending) = pending.find(|pending| *pending.file().url == *url) {
                pending.give_up(&self.catalog);
            }
        }
    }

    /// The span of asking, which names the calls that stored the files.
    fn background(&self, folder: i64) -> Span {
        let pending = self.pending(folder);
        let causes = pending.iter().filter_map(|file| file.cause.clone());
        spans::background("landing", causes)
    }

    /// Something else became of a path, in one of these folders: what landed
    /// elsewhere does not come home any more, but the file that is kept.
    pub(super) fn supersede(
        &self,
        path: &RemotePath,
        folders: &[i64],
        kept: Option<&str>,
        segment: impl Fn(&str) -> String,
    ) {
        for (folder, known) in self.lock().iter_mut() {
            let Some(parent) = known.path.clone() else {
                continue;
            };
            for pending in &mut known.pending {
                let its = parent.join(&segment(&pending.file().name));
                let is_kept = kept == Some(&*pending.file().url);
                if !is_kept && is_place(path, folders, &its, *folder) {
                    pending.give_up(&self.catalog);
                }
            }
        }
    }

    /// It is known where these are. Returns them.
    fn take(&self, folder: i64, is_it: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let taken: Vec<Pending> = match self.lock().get_mut(&folder) {
            Some(known) => {
                let taken = known.pending.extract_if(.., |pending| is_it(pending));
                taken.collect()
            }
            None => Vec::new(),
        };
        for pending in &taken {
            self.catalog.end_intent(pending.note);
        }
        taken
    }
}

impl Remote {
    /// Makes sure that a stored file is in its folder: now, when the folder was
    /// not seen lately, else soon. Returns the folder where it is, and the file
    /// as it is there.
    pub(super) async fn confirm_landing(
        &self,
        scope: Scope,
        path: &RemotePath,
        folder: i64,
        file: &FileRecord,
    ) -> (i64, FileRecord) {
        let account = &self.account;
        // 1Fichier tells nothing about what is protected.
        let untold = file.password || file.acl;
        if folder == ROOT || untold || account.catalog.is_exclusive() {
            return (folder, file.clone());
        }
        // Another program may have moved the folder since it was seen there.
        let its = path.join(&self.codec.to_segment(&file.name));
        let unsure = !its.names_its_content() && !self.unseen_on_way(path).await.is_empty();
        let listed = account.catalog.listed_at(folder);
        let trusted = account.landings.change(folder, |known| {
            known.seen = known.seen.max(listed);
            known.path.get_or_insert_with(|| path.clone());
            let trusted = !unsure && known.seen.is_some_and(|at| at.elapsed() < TRUST);
            if known.pending.len() < PENDING {
                let landing = Landing {
                    path: path.clone(),
                    encoding: self.codec.mask().bits(),
                    folder,
                    file: file.clone(),
                    unwanted: false,
                };
                let task = Task::Landing(landing.clone());
                known.pending.push(Pending {
                    landing,
                    note: account.catalog.note(task.text()),
                    awaited: !trusted,
                    unsure,
                    hidden: false,
                    cause: spans::request_id(),
                });
            }
            trusted
        });
        if trusted {
            self.confirm_soon(path, folder);
            return (folder, file.clone());
        }
        let stored = Instant::now();
        let _lock = account.locks.hold(Key::Landing(folder)).await;
        let home = account.landings.change(folder, |known| {
            let asked_meanwhile = known.seen.is_some_and(|at| at >= stored);
            let home = known.homes.remove(&file.url);
            let is_home = asked_meanwhile && !unsure;
            home.or_else(|| is_home.then(|| (folder, file.clone())))
        });
        if let Some(home) = home {
            // Another file of the same time was asked about.
            return home;
        }
        self.confirm_now(scope, path, folder).await;
        if unsure {
            self.insist(scope, path, folder, &file.url).await;
        }
        let home = account
            .landings
            .change(folder, |known| known.homes.remove(&file.url));
        // Where it is not known, it is stored all the same, and looked after.
        home.unwrap_or_else(|| (folder, file.clone()))
    }

    /// Asks again where calls by link do not know a file yet. Only now can it be
    /// told whether its folder was moved before or after it came there.
    async fn insist(&self, scope: Scope, path: &RemotePath, folder: i64, url: &str) {
        let landings = &self.account.landings;
        let is_open = || {
            let pending = landings.pending(folder);
            pending.iter().any(|pending| *pending.file().url == *url)
        };
        for seconds in TOO_EARLY {
            if !is_open()
                || self
                    .wait(scope, Duration::from_secs(seconds))
                    .await
                    .is_err()
            {
                break;
            }
            self.confirm_now(scope, path, folder).await;
        }
        landings.change(folder, |known| {
            let mut pending = known.pending.iter_mut();
            if let Some(pending) = pending.find(|pending| *pending.file().url == *url) {
                pending.unsure = false;
            }
        });
    }

    /// What an earlier run has not asked about.
    pub(super) fn confirm_later(&self, note: u64, landing: Landing) {
        let (path, folder) = (landing.path.clone(), landing.folder);
        self.account.landings.change(folder, |known| {
            known.path = Some(path.clone());
            known.pending.push(Pending {
                landing,
                note,
                awaited: false,
                unsure: false,
                hidden: false,
                cause: None,
            });
        });
        self.confirm_soon(&path, folder);
    }

    /// Asks once the trust is over, on behalf of nobody, and again until it is
    /// known where all files are.
    fn confirm_soon(&self, path: &RemotePath, folder: i64) {
        let scheduled = |known: &mut Folder| std::mem::replace(&mut known.scheduled, true);
        if self.account.landings.change(folder, scheduled) {
            return;
        }
        // Not a task that shutdown waits for, and it keeps nothing alive.
        let (account, name, codec, access, path) = (
            Arc::downgrade(&self.account),
            Arc::clone(&self.name),
            self.codec,
            self.access.clone(),
            path.clone(),
        );
        let work = async move {
            let mut pause = TRUST;
            loop {
                tokio::time::sleep(pause).await;
                let Some(account) = account.upgrade() else {
                    return;
                };
                let remote = Self {
                    name: Arc::clone(&name),
                    account,
                    codec,
                    access: access.clone(),
                };
                let scope = Scope::new(Priority::Background);
                let span = remote.account.landings.background(folder);
                let confirmed = operation(remote.confirm_all(scope, &path, folder));
                if confirmed.instrument(span).await {
                    return;
                }
                pause = (pause * 2).min(LONGEST);
            }
        };
        tokio::spawn(work);
    }

    /// Asks for all files of a folder. False when it has to be asked again.
    async fn confirm_all(&self, scope: Scope, path: &RemotePath, folder: i64) -> bool {
        let landings = &self.account.landings;
        let _lock = self.account.locks.hold(Key::Landing(folder)).await;
        self.confirm_now(scope, path, folder).await;
        landings.change(folder, |known| {
            known.scheduled = !known.pending.is_empty();
            !known.scheduled
        })
    }

    /// Asks where the last files of a folder are. If not in their directory, moves
    /// all there that came since the folder was seen. What is not known stays to
    /// be asked.
    async fn confirm_now(&self, scope: Scope, path: &RemotePath, folder: i64) {
        let account = &self.account;
        let landings = &account.landings;
        let pending = landings.pending(folder);
        if pending.is_empty() {
            return;
        }
        let asked = Instant::now();
        let path = &landings.path_of(folder, path);
        match self.ask_where(scope, path, folder, &pending).await {
            Answer::Home => {
                landings.seen(folder, asked);
                landings.take(folder, |known| {
                    pending.iter().any(|asked| asked.note == known.note)
                });
            }
            Answer::Astray => {
                account.catalog.folder_gone(folder);
                self.bring_home(scope, path, folder, ROOT, &pending).await;
            }
            Answer::Moved => self.leave_moved(scope, path, folder, &pending).await,
            Answer::Unknown => {}
        }
        if !landings.pending(folder).is_empty() {
            self.confirm_soon(path, folder);
        }
    }

    async fn ask_where(
        &self,
        scope: Scope,
        path: &RemotePath,
        folder: i64,
        pending: &[Pending],
    ) -> Answer {
        let account = &self.account;
        let mut is_known = true;
        // The newest that is still there and that may be asked about: others
        // may have been removed or protected since.
        for last in pending.iter().rev().take(SAMPLES) {
            let url = &last.file().url;
            match account.client.file_info(scope, url).await {
                Ok(info) if info.folder == Some(ROOT) => {
                    return self.ask_for_folder(scope, path, folder).await;
                }
                // Elsewhere than in the root it was put by somebody's will.
                Ok(info) if info.folder != Some(folder) => return Answer::Home,
                Ok(info) => {
                    let unsure = pending.iter().any(|pending| pending.unsure);
                    return self.is_way_told(path, &info, unsure).await;
                }
                Err(error) if error.is_about_password() || error.kind() == Kind::Access => {}
                // Calls by link may not know it yet.
                Err(error) if error.kind() == Kind::NotFound => {
                    if account.catalog.is_young(folder, url) {
                        return Answer::Unknown;
                    }
                }
                Err(error) => {
                    // The file is stored and verified; where, is asked again.
                    tracing::warn!(%path, %error, "cannot see whether files landed in their directory");
                    is_known = false;
                    break;
                }
            }
        }
        match is_known {
            true => Answer::Home,
            false => Answer::Unknown,
        }
    }

    /// A file is in its folder. Whether that is where memory has it.
    async fn is_way_told(&self, path: &RemotePath, info: &FileInfo, unsure: bool) -> Answer {
        let account = &self.account;
        let names: Vec<_> = path.segments().collect();
        let same = |stored: &str, segment: &str| self.codec.matches(stored, segment);
        match info.is_below(&names, same) {
            // What is asked on behalf of nobody makes nothing certain that is to be
            // removed.
            Some(true) if !unsure => Answer::Home,
            Some(true) => {
                for FolderAt { parent, folder } in self.unseen_on_way(path).await {
                    account.catalog.folder_found(parent, folder.id);
                }
                Answer::Home
            }
            Some(false) if account.questions.may_trust_paths() => Answer::Moved,
            _ => Answer::Home,
        }
    }

    /// A file is in the root. If its folder is still there, somebody has moved it
    /// on purpose.
    async fn ask_for_folder(&self, scope: Scope, path: &RemotePath, folder: i64) -> Answer {
        let catalog = &self.account.catalog;
        // Where it was is asked, too, if it is listed as empty: that must not be
        // on disk only.
        self.known_way(path).await;
        match catalog.folder_since(scope, folder, Instant::now()).await {
            Err(error) if error.reason() == Reason::DirectoryNotFound => Answer::Astray,
            Ok(listed) if listed.content.files().any(|file| file.order == 0) => Answer::Home,
            // One that is gone may be listed as empty, and own changes stand
            // against listings for a while ([API §J9, §I]).
            Ok(_) if catalog.changed_lately(folder) => Answer::Unknown,
            Ok(_) => Answer::Home,
            Err(_) => Answer::Unknown,
        }
    }
}
