//! Did a file land in its folder? 1Fichier silently puts files into the root
//! when another program has removed their folder ([API §4.2]), and neither the
//! upload nor its report tells.
//!
//! Asking costs a call, so one answer counts for a while: a folder that was
//! seen lately is trusted at once and asked about a little later, for all files
//! that came meanwhile. What landed elsewhere is moved to where it belongs, or
//! goes if something else became of its path. A file is looked after until that
//! is done, also after a restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::batch::{Change, Target};
use super::journal::{Landing, Task, is_place};
use super::locks::{Key, operation};
use super::path::RemotePath;
use super::resolve::Walk;
use super::seen::TOO_EARLY;
use super::twins::{Directory, FolderAt};
use super::{AtPath, Remote};
use crate::catalog::{Catalog, FileRecord, Touched};
use crate::error::{Error, Reason, Result};
use crate::fichier::{BATCH, FileInfo, Kind, Priority, ROOT, Scope};
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

    /// A folder is not where memory has it, as 1Fichier says. What was stored
    /// there by old memory belongs to the path that was asked for; what was
    /// stored just before the folder was moved goes with it.
    async fn leave_moved(&self, scope: Scope, path: &RemotePath, folder: i64, pending: &[Pending]) {
        let account = &self.account;
        let landings = &account.landings;
        // It may be moved from here just now: it is asked again later.
        let Some(_tree) = account.locks.try_hold(Key::Tree) else {
            return;
        };
        if landings.path_of(folder, path) != *path {
            return;
        }
        let asked = Instant::now();
        let way = self.known_way(path).await;
        let way: Vec<&FolderAt> = way.iter().flat_map(Directory::folders).collect();
        let catalog = &account.catalog;
        // What 1Fichier tells may be late, too.
        if way
            .iter()
            .any(|at| catalog.was_moved(at.parent, at.folder.id))
        {
            return;
        }
        for FolderAt { parent, folder } in way {
            match catalog.folder_since(scope, *parent, asked).await {
                // What was made from here, and is not shown, is not there.
                Ok(_) => catalog.forget_unshown(*parent, folder.id),
                Err(error) if error.reason() == Reason::DirectoryNotFound => {}
                Err(error) => {
                    tracing::warn!(%path, %error, "cannot see whether another program moved a directory");
                    return;
                }
            }
        }
        let is_there = match self.walk(scope, path, None).await {
            Ok(Walk::Folder(directory)) => directory.ids().any(|id| id == folder),
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(%path, %error, "cannot see whether another program moved a directory");
                return;
            }
        };
        account.questions.told_path(!is_there);
        if is_there {
            landings.seen(folder, asked);
        }
        let (unsure, sure): (Vec<Pending>, Vec<Pending>) = pending
            .iter()
            .cloned()
            .partition(|pending| pending.unsure && !is_there);
        landings.take(folder, |known| {
            sure.iter().any(|asked| asked.note == known.note)
        });
        if !unsure.is_empty() {
            self.bring_home(scope, path, folder, folder, &unsure).await;
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

    /// Moves files to their directory, which is made again. What is not moved
    /// stays pending.
    async fn bring_home(
        &self,
        scope: Scope,
        path: &RemotePath,
        gone: i64,
        from: i64,
        pending: &[Pending],
    ) {
        let files = pending.len();
        tracing::warn!(%path, files, "another program removed a directory, or moved it away, while files were on their way; it is made again and they are moved there");
        if let Err(error) = self.move_home(scope, path, gone, from, pending).await {
            tracing::warn!(%path, %error, "uploaded files lie elsewhere, and cannot be moved to their directory now; this is tried again");
        }
    }

    async fn move_home(
        &self,
        scope: Scope,
        path: &RemotePath,
        gone: i64,
        from: i64,
        pending: &[Pending],
    ) -> Result<()> {
        let account = &self.account;
        let (unwanted, wanted): (Vec<&Pending>, Vec<_>) =
            pending.iter().partition(|pending| pending.landing.unwanted);
        self.remove_strays(gone, from, &unwanted).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        let wanted = match from {
            ROOT => self.strays_in_root(scope, gone, wanted).await?,
            _ => wanted,
        };
        if wanted.is_empty() {
            return Ok(());
        }
        let scope = scope.with_priority(Priority::Upload);
        let mut target = self.folder_to_write(scope, path, &mut Vec::new()).await;
        let is_blocked = |error: &Error| error.reason() == Reason::NotADirectory;
        if from == ROOT && target.as_ref().is_err_and(is_blocked) {
            // One of them may have the name of the directory.
            self.hide_strays(gone, &wanted);
            target = self.folder_to_write(scope, path, &mut Vec::new()).await;
        }
        let target = target?;
        let folder = target.id();
        for part in wanted.chunks(BATCH) {
            let urls: Vec<String> = part.iter().map(|it| it.file().url.to_string()).collect();
            let touched = urls.iter().cloned().map(Touched::File).collect();
            let intent = account.changing(&[from, folder], touched).await;
            let intent = intent.at_path(path)?;
            let moved = account.client.move_files(scope, &urls, folder, None).await;
            // Where the answer is lost, the next question tells.
            let done = moved.at_path(path)?.done;
            for (old, now) in done {
                let Some(it) = part.iter().find(|it| *it.file().url == *old) else {
                    continue;
                };
                let file = FileRecord {
                    url: now.as_str().into(),
                    ..it.file().clone()
                };
                account.catalog.file_removed(from, &old);
                account.catalog.file_added(folder, file.clone());
                if old != now {
                    account.catalog.pass_modified_on(&old, &now);
                }
                self.arrived(gone, it, (folder, file)).await?;
            }
            intent.done();
        }
        account.landings.seen(folder, Instant::now());
        account.catalog.settle().await.at_path(path)
    }

    /// The files that lie in the root: others were moved elsewhere on purpose,
    /// or removed.
    async fn strays_in_root<'a>(
        &self,
        scope: Scope,
        gone: i64,
        pending: Vec<&'a Pending>,
    ) -> Result<Vec<&'a Pending>> {
        if let [_] = &*pending {
            // That is the one that was asked about.
            return Ok(pending);
        }
        let account = &self.account;
        let root = account.catalog.folder_since(scope, ROOT, Instant::now());
        let root = root.await?;
        let (there, elsewhere): (Vec<_>, Vec<_>) = pending
            .into_iter()
            .partition(|it| it.hidden || root.content.has_file(&it.file().url));
        // A listing may be late with those that came a moment ago.
        let settled = |known: &Pending| {
            let mut elsewhere = elsewhere.iter();
            let is_young = account.catalog.is_young(gone, &known.file().url);
            !is_young && elsewhere.any(|it| it.note == known.note)
        };
        account.landings.take(gone, settled);
        Ok(there)
    }

    /// Keeps files from listings of the root until they are moved away.
    fn hide_strays(&self, gone: i64, strays: &[&Pending]) {
        for stray in strays {
            self.account.catalog.file_removed(ROOT, &stray.file().url);
        }
        self.account.landings.change(gone, |known| {
            for pending in &mut known.pending {
                pending.hidden |= strays.iter().any(|stray| stray.note == pending.note);
            }
        });
    }

    /// A file is in its directory. It goes all the same if something else became
    /// of its path meanwhile.
    async fn arrived(&self, gone: i64, pending: &Pending, home: Home) -> Result<()> {
        let account = &self.account;
        let taken = account
            .landings
            .take(gone, |known| known.note == pending.note);
        let Some(known) = taken.into_iter().next() else {
            return Ok(());
        };
        if known.landing.unwanted {
            let target = Target::new(home.0, &home.1.url);
            let removed = self
                .remove_all(Scope::new(Priority::Delete), &[target])
                .await;
            return removed.map_err(Into::into);
        }
        if known.awaited {
            let url = known.landing.file.url;
            account
                .landings
                .change(gone, |known| known.homes.insert(url, home));
        }
        Ok(())
    }

    /// Removes files from where they are that nobody wants any more.
    async fn remove_strays(&self, gone: i64, from: i64, strays: &[&Pending]) -> Result<()> {
        let account = &self.account;
        let targets: Vec<Target> = strays
            .iter()
            .map(|stray| Target {
                // 1Fichier told just now that it is there.
                is_certain: true,
                ..Target::new(from, &stray.file().url)
            })
            .collect();
        let scope = Scope::new(Priority::Delete);
        let outcomes = account.batches.run(scope, Change::Remove, &targets).await;
        for (stray, outcome) in strays.iter().zip(outcomes) {
            match outcome {
                Err(error) if error.kind() != Kind::NotFound => return Err(error.into()),
                _ => drop(
                    account
                        .landings
                        .take(gone, |known| known.note == stray.note),
                ),
            }
        }
        Ok(())
    }
}
