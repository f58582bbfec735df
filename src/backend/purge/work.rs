//! The work of a purge, in a task of its own.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::PurgeProgress;
use super::tree::Tree;
use crate::backend::batch::{Change, Target};
use crate::backend::locks::Key;
use crate::backend::path::RemotePath;
use crate::backend::resolve::Walk;
use crate::backend::rmdir::not_empty;
use crate::backend::seen::SEEN_WHEN_SENT;
use crate::backend::twins::FolderAt;
use crate::backend::{Remote, Staleness};
use crate::catalog::{Content, Touched};
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, BATCH, Kind, ROOT, Scope};

/// How long a purge waits for a client that does not read.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long it waits for a folder that is being written to, and how often it
/// looks.
const BUSY: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(1);
/// How long files wait for others to fill a call, while folders are listed.
const WAIT: Duration = Duration::from_secs(10);
/// Times that a removal is sent whose answer was lost.
const REPEATS: u32 = 3;
/// Calls that may fail in a row for reasons that pass before all is given up.
const STRIKES: u32 = 3;

/// A file that is to go.
#[derive(Debug)]
struct File {
    folder: i64,
    url: Box<str>,
    name: Box<str>,
    /// Nobody else moves it.
    is_certain: bool,
}

/// A folder whose entries are gone through.
#[derive(Debug)]
struct Level {
    id: i64,
    files: std::vec::IntoIter<(Box<str>, Box<str>)>,
    folders: std::vec::IntoIter<FolderAt>,
}

/// Why the work ends before its end.
#[derive(Debug)]
enum Stop {
    /// Nobody listens any more.
    Left,
    /// Nothing more can be done.
    Failed(Error),
}

/// A purge.
#[derive(Debug)]
pub(super) struct Work {
    remote: Remote,
    scope: Scope,
    path: RemotePath,
    roots: std::vec::IntoIter<FolderAt>,
    only_count: bool,
    sender: mpsc::Sender<Result<PurgeProgress>>,
    levels: Vec<Level>,
    tree: Tree,
    pending: Vec<File>,
    /// When the first of them was found.
    since: Option<Instant>,
    progress: PurgeProgress,
    /// There is news.
    changed: bool,
    strikes: u32,
}

impl Work {
    pub(super) fn new(
        remote: Remote,
        scope: Scope,
        path: &RemotePath,
        roots: Vec<FolderAt>,
        only_count: bool,
        sender: mpsc::Sender<Result<PurgeProgress>>,
    ) -> Self {
        Self {
            remote,
            scope,
            path: path.clone(),
            roots: roots.into_iter(),
            only_count,
            sender,
            levels: Vec::new(),
            tree: Tree::default(),
            pending: Vec::with_capacity(BATCH),
            since: None,
            progress: PurgeProgress::default(),
            changed: false,
            strikes: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let end = self.go_through().await;
        self.progress.done = end.is_ok();
        self.changed |= end.is_ok();
        let told = self.tell().await;
        if let (Err(Stop::Failed(error)), Ok(())) = (end, told) {
            let _ = self.sender.send_timeout(Err(error), PATIENCE).await;
        }
    }

    async fn go_through(&mut self) -> Result<(), Stop> {
        loop {
            self.tell().await?;
            let walked = self.levels.is_empty() && self.roots.len() == 0;
            if let Some(id) = self.tree.take_due() {
                self.remove_folder(id).await?;
            } else if self.pending.len() >= BATCH
                || (walked || self.has_waited()) && !self.pending.is_empty()
            {
                self.remove_files().await?;
            } else if !walked {
                self.step().await?;
            } else if let Some(due) = self.tree.next_due() {
                let sender = self.sender.clone();
                tokio::select! {
                    () = sender.closed() => return Err(Stop::Left),
                    () = tokio::time::sleep_until(due) => {}
                }
            } else {
                return Ok(());
            }
        }
    }

    /// Whether the files that wait were found long ago: the next listing may take
    /// a while, and they are to go as they were seen.
    fn has_waited(&self) -> bool {
        !self.only_count
            && !self.remote.account.catalog.is_exclusive()
            && self.since.is_some_and(|since| since.elapsed() > WAIT)
    }

    /// Tells the news, if there is any.
    async fn tell(&mut self) -> Result<(), Stop> {
        if self.sender.is_closed() {
            return Err(Stop::Left);
        }
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        // What is told as removed must be so after a crash, too.
        let kept = self.remote.account.catalog.settle().await;
        kept.map_err(|error| Stop::Failed(Error::from(error).at(self.path.as_str())))?;
        let news = PurgeProgress {
            failures: std::mem::take(&mut self.progress.failures),
            ..self.progress.clone()
        };
        let sent = self.sender.send_timeout(Ok(news), PATIENCE).await;
        sent.map_err(|_| Stop::Left)
    }

    fn fail(&mut self, path: RemotePath, error: Error) {
        let error = error.at(path.as_str());
        self.progress.failures.push((path, error));
        self.changed = true;
    }

    /// One step of the walk.
    async fn step(&mut self) -> Result<(), Stop> {
        let Some(level) = self.levels.last_mut() else {
            if let Some(root) = self.roots.next() {
                self.enter(root, self.path.clone(), true).await?;
            }
            return Ok(());
        };
        let id = level.id;
        if let Some((url, name)) = level.files.next() {
            let path = self.tree.get(id).map(|open| &open.path);
            let path = path.map(|path| path.join(&self.remote.codec.to_segment(&name)));
            let is_certain = path.is_some_and(|path| self.remote.is_certain(&path));
            self.since.get_or_insert_with(Instant::now);
            self.pending.push(File {
                folder: id,
                url,
                name,
                is_certain,
            });
        } else if let Some(at) = level.folders.next() {
            let Some(parent) = self.tree.get(id) else {
                return Ok(());
            };
            let segment = self.remote.codec.to_segment(&at.folder.name);
            let path = parent.path.join(&segment);
            let catalog = &self.remote.account.catalog;
            // Removed or moved away meanwhile, from here.
            if !self.is_in_place(id) || !catalog.may_hold(at.parent, &at.folder) {
                self.tree.skipped(id, true);
            } else if self.tree.get(at.folder.id).is_some() {
                let text = "1Fichier lists it inside itself; remove it in its console";
                self.fail(path, Error::new(Reason::UpstreamProtocol, text));
                self.tree.skipped(id, false);
            } else {
                self.enter(at, path, false).await?;
            }
        } else {
            self.levels.pop();
        }
        Ok(())
    }

    /// Lists a folder.
    async fn enter(&mut self, at: FolderAt, path: RemotePath, is_root: bool) -> Result<(), Stop> {
        let (id, parent) = (at.folder.id, at.parent);
        let staleness = self.staleness(id, &path).await;
        let listing = self.remote.snapshot(self.scope, id, staleness);
        let listed = tokio::select! {
            biased;
            () = self.sender.closed() => return Err(Stop::Left),
            listed = listing => listed,
        };
        let skip = |work: &mut Self, gone| {
            if !is_root {
                work.tree.skipped(parent, gone);
            }
        };
        match listed {
            Ok(snapshot) => {
                self.strikes = 0;
                let level = level(id, &snapshot.content);
                let left = level.files.len() + level.folders.len();
                self.tree.enter(at, path, is_root, left);
                self.levels.push(level);
            }
            Err(error) if error.reason() == Reason::DirectoryNotFound => skip(self, true),
            Err(error) => {
                self.give_up_if_hopeless(&error, error.retry_delay().is_some())?;
                self.fail(path, error);
                skip(self, false);
            }
        }
        Ok(())
    }

    /// How old what is known of a folder may be. What its names tell cannot be
    /// another file by now.
    async fn staleness(&self, id: i64, path: &RemotePath) -> Staleness {
        let staleness = self.remote.staleness_of_changes(path);
        let known = self.remote.account.catalog.peek(id).await?;
        let codec = self.remote.codec;
        let mut files = known.content.files();
        let named = |name: &str| path.join(&codec.to_segment(name)).names_its_content();
        let certain = known.content.folders().next().is_none()
            && !known.content.is_empty()
            && files.all(|file| named(&file.name));
        staleness.filter(|_| !certain && !self.only_count)
    }

    /// Whether another program has left a folder where it was found, and those
    /// on the way to it. Looks at what was not seen lately.
    async fn was_left(&self, id: i64) -> Result<bool> {
        if self.remote.account.catalog.is_exclusive() {
            return Ok(true);
        }
        for open in self.tree.way_up(id) {
            let there = open.at.folder.id == ROOT
                || self
                    .remote
                    .folder_is_there(self.scope, &open.path, &open.at)
                    .await?;
            if !there {
                return Ok(false);
            }
        }
        let Some((parent, _)) = self.path.split() else {
            return Ok(true);
        };
        let roots = self.tree.way_up(id).filter(|open| open.is_root);
        let parents: Vec<i64> = roots.map(|open| open.at.parent).collect();
        Ok(match self.remote.walk_now(self.scope, &parent).await? {
            Walk::Folder(directory) => directory.ids().any(|id| parents.contains(&id)),
            _ => false,
        })
    }

    /// Whether a folder, and those on the way to it, were seen lately enough for
    /// a call.
    fn was_seen(&self, id: i64) -> bool {
        let catalog = &self.remote.account.catalog;
        let was_seen = |at: &FolderAt| {
            let age = catalog.folder_seen(at.parent, &at.folder);
            age.is_some_and(|age| age <= SEEN_WHEN_SENT)
        };
        let mut way = self.tree.way_up(id);
        catalog.is_exclusive() || way.all(|open| open.at.folder.id == ROOT || was_seen(&open.at))
    }

    /// Whether a folder is still where it was found: what was moved away from
    /// here meanwhile is not to be removed.
    fn is_in_place(&self, id: i64) -> bool {
        let catalog = &self.remote.account.catalog;
        self.tree.way_up(id).all(|open| {
            open.at.folder.id == ROOT || catalog.may_hold(open.at.parent, &open.at.folder)
        })
    }

    /// Removes the files that wait, in one call.
    async fn remove_files(&mut self) -> Result<(), Stop> {
        let files = std::mem::take(&mut self.pending);
        self.since = None;
        if self.only_count {
            self.progress.removed_files += files.len() as u64;
            self.changed = true;
            for file in files {
                self.tree.file_done(file.folder, true);
            }
            return Ok(());
        }
        let files = self.left_in_place(files).await?;
        let account = std::sync::Arc::clone(&self.remote.account);
        // A file that is moved away while its removal waits would be removed at
        // its new place.
        let keys = files.iter().filter_map(|file| {
            let open = self.tree.get(file.folder)?;
            Some(Key::path(
                &open.path.join(&self.remote.codec.to_segment(&file.name)),
            ))
        });
        let keys = keys.collect();
        let hold = async {
            (
                account.locks.hold_all(keys).await,
                account.locks.hold(Key::Tree).await,
            )
        };
        let held = tokio::select! {
            biased;
            () = self.sender.closed() => return Err(Stop::Left),
            held = hold => held,
        };
        let (files, others) = self.still_there(files).await;
        for file in others {
            self.tree.file_done(file.folder, true);
        }
        let targets: Vec<_> = files
            .iter()
            .map(|file| Target {
                is_certain: file.is_certain,
                ..Target::new(file.folder, &file.url)
            })
            .collect();
        // What has not left when nobody listens any more does not leave; what
        // has left is over before others may have these paths.
        let cancel = CancellationToken::new();
        let removal = account
            .batches
            .run_until(self.scope, Change::Remove, &targets, &cancel);
        tokio::pin!(removal);
        let outcomes = tokio::select! {
            biased;
            outcomes = &mut removal => outcomes,
            () = self.sender.closed() => {
                cancel.cancel();
                removal.await
            }
        };
        drop(held);
        self.changed = true;
        let mut failure: Option<fichier::Error> = None;
        for (file, outcome) in files.into_iter().zip(outcomes) {
            let gone = match outcome {
                Ok(_) => {
                    self.strikes = 0;
                    self.progress.removed_files += 1;
                    true
                }
                Err(error) if error.kind() == Kind::NotFound => true,
                Err(error) => {
                    if let Some(open) = self.tree.get(file.folder) {
                        let segment = self.remote.codec.to_segment(&file.name);
                        let path = open.path.join(&segment);
                        self.fail(path, Error::from(error.clone()));
                    }
                    failure = Some(error);
                    false
                }
            };
            self.tree.file_done(file.folder, gone);
        }
        match failure {
            Some(error) => self.give_up_if_hopeless(&error.clone().into(), passes(&error)),
            None => Ok(()),
        }
    }

    /// Files of folders that no other program has moved away. What cannot be
    /// known now stays.
    async fn left_in_place(&mut self, files: Vec<File>) -> Result<Vec<File>, Stop> {
        let mut folders: HashMap<i64, Option<bool>> = HashMap::new();
        let mut failure = None;
        for file in &files {
            if folders.contains_key(&file.folder) {
                continue;
            }
            let sender = self.sender.clone();
            let left = tokio::select! {
                biased;
                () = sender.closed() => return Err(Stop::Left),
                left = self.was_left(file.folder) => left,
            };
            let left = left.map_err(|error| failure = Some(error)).ok();
            folders.insert(file.folder, left);
        }
        let mut here = Vec::with_capacity(files.len());
        for file in files {
            match folders.get(&file.folder).copied().flatten() {
                Some(true) => here.push(file),
                Some(false) => self.tree.file_done(file.folder, true),
                None => {
                    if let (Some(open), Some(error)) = (self.tree.get(file.folder), &failure) {
                        let segment = self.remote.codec.to_segment(&file.name);
                        let path = open.path.join(&segment);
                        self.fail(path, error.clone());
                    }
                    self.tree.file_done(file.folder, false);
                }
            }
        }
        match failure {
            Some(error) => {
                self.give_up_if_hopeless(&error, error.retry_delay().is_some())?;
                Ok(here)
            }
            None => Ok(here),
        }
    }

    /// Files that are still where they were found, and others.
    async fn still_there(&self, files: Vec<File>) -> (Vec<File>, Vec<File>) {
        let catalog = &self.remote.account.catalog;
        let mut folders = HashMap::new();
        for file in &files {
            if folders.contains_key(&file.folder) {
                continue;
            }
            let in_place = self.is_in_place(file.folder);
            folders.insert(file.folder, (in_place, catalog.peek(file.folder).await));
        }
        files.into_iter().partition(|file| {
            folders.get(&file.folder).is_some_and(|(in_place, known)| {
                let known = known.as_ref();
                *in_place && known.is_none_or(|known| known.content.has_file(&file.url))
            })
        })
    }

    /// Removes a folder that should have nothing in it any more.
    async fn remove_folder(&mut self, id: i64) -> Result<(), Stop> {
        let Some(open) = self.tree.get(id) else {
            return Ok(());
        };
        let (parent, path) = (open.at.parent, open.path.clone());
        if id == ROOT {
            self.tree.folder_done(id, true);
            return Ok(());
        }
        if self.only_count {
            self.removed(id);
            return Ok(());
        }
        let sender = self.sender.clone();
        let left = tokio::select! {
            biased;
            () = sender.closed() => return Err(Stop::Left),
            left = self.was_left(id) => left,
        };
        match left {
            Ok(true) => {}
            Ok(false) => {
                self.tree.folder_done(id, true);
                return Ok(());
            }
            Err(error) => {
                self.give_up_if_hopeless(&error, error.retry_delay().is_some())?;
                self.stays(id, path, error);
                return Ok(());
            }
        }
        let account = std::sync::Arc::clone(&self.remote.account);
        let _tree = tokio::select! {
            biased;
            () = self.sender.closed() => return Err(Stop::Left),
            lock = account.locks.hold(Key::Tree) => lock,
        };
        if !self.is_in_place(id) {
            self.tree.folder_done(id, true);
            return Ok(());
        }
        let Some(_removing) = account.in_use.remove(id) else {
            if self.tree.in_vain(id) < BUSY {
                self.tree.again_after(id, LOOK);
            } else {
                self.stays(id, path.clone(), in_use(&path));
            }
            return Ok(());
        };
        if account.catalog.known_full(id) {
            self.stays(id, path.clone(), not_empty(&path));
            return Ok(());
        }
        let turn = tokio::select! {
            biased;
            () = self.sender.closed() => return Err(Stop::Left),
            turn = account.client.turn(self.scope, "folder/rm") => turn,
        };
        if !self.was_seen(id) {
            // The call had to wait for long.
            self.tree.again_after(id, Duration::ZERO);
            return Ok(());
        }
        let intent = account.changing(&[parent], vec![Touched::Folder(id)]).await;
        let (intent, outcome) = match (intent, turn) {
            (Ok(intent), Ok(turn)) => {
                let outcome = account.client.remove_folder(turn, id).await;
                (Some(intent), outcome)
            }
            (Ok(intent), Err(error)) => (Some(intent), Err(error)),
            (Err(error), _) => (None, Err(error)),
        };
        let ended = self.folder_called(id, parent, path, outcome).await;
        if let Some(intent) = intent {
            intent.done();
        }
        ended
    }

    /// What the call to remove a folder has brought.
    async fn folder_called(
        &mut self,
        id: i64,
        parent: i64,
        path: RemotePath,
        outcome: Result<(), fichier::Error>,
    ) -> Result<(), Stop> {
        let account = std::sync::Arc::clone(&self.remote.account);
        let error = match outcome {
            Ok(()) => {
                account.catalog.folder_removed(parent, id);
                self.strikes = 0;
                self.removed(id);
                return Ok(());
            }
            Err(error) => error,
        };
        match error.kind() {
            Kind::NotFound => {
                account.catalog.folder_removed(parent, id);
                self.tree.folder_done(id, true);
            }
            Kind::Refused => {
                self.strikes = 0;
                let changed_before = account.catalog.changed_lately(id);
                if !self.tree.refused(id, changed_before) {
                    // Another program may have filled it.
                    account.catalog.doubt(id);
                    self.stays(id, path.clone(), not_empty(&path));
                }
            }
            _ if error.outcome_unknown() => self.look_for(id, parent, path, error).await?,
            _ => {
                self.give_up_if_hopeless(&error.clone().into(), passes(&error))?;
                self.stays(id, path, error.into());
            }
        }
        Ok(())
    }

    /// Gone or not: its parent's listing knows.
    async fn look_for(
        &mut self,
        id: i64,
        parent: i64,
        path: RemotePath,
        error: fichier::Error,
    ) -> Result<(), Stop> {
        let account = std::sync::Arc::clone(&self.remote.account);
        match self.remote.folder_is_listed(self.scope, parent, id).await {
            Ok(false) => {
                account.catalog.folder_removed(parent, id);
                self.strikes = 0;
                self.removed(id);
            }
            Ok(true) => {
                let lost = self.tree.get_mut(id).map_or(REPEATS, |open| {
                    open.lost += 1;
                    open.lost
                });
                if lost < REPEATS {
                    self.tree.again_after(id, Duration::from_secs(lost.into()));
                } else {
                    self.give_up_if_hopeless(&error.clone().into(), true)?;
                    self.stays(id, path, error.into());
                }
            }
            Err(_) => {
                account.catalog.doubt(parent);
                self.give_up_if_hopeless(&error.clone().into(), true)?;
                self.stays(id, path, error.into());
            }
        }
        Ok(())
    }

    fn removed(&mut self, id: i64) {
        self.progress.removed_directories += 1;
        self.changed = true;
        self.tree.folder_done(id, true);
    }

    fn stays(&mut self, id: i64, path: RemotePath, error: Error) {
        self.fail(path, error);
        self.tree.folder_done(id, false);
    }

    /// What concerns the whole account ends the purge at once, and so does
    /// what should pass and does not.
    fn give_up_if_hopeless(&mut self, error: &Error, passes: bool) -> Result<(), Stop> {
        let whole_account = matches!(
            error.reason(),
            Reason::UpstreamLocked
                | Reason::UpstreamCredentialsRejected
                | Reason::UpstreamPlanRequired
        );
        if passes {
            self.strikes += 1;
        }
        if whole_account || self.strikes >= STRIKES {
            return Err(Stop::Failed(error.clone().at(self.path.as_str())));
        }
        Ok(())
    }
}

fn level(id: i64, content: &Content) -> Level {
    let mut files: Vec<_> = content
        .files()
        .map(|file| (file.url.clone(), file.name.clone()))
        .collect();
    files.sort_by(|left, right| left.1.cmp(&right.1));
    let mut folders: Vec<_> = content
        .folders()
        .map(|folder| FolderAt {
            parent: id,
            folder: folder.clone(),
        })
        .collect();
    folders.sort_by_key(|at| at.folder.id);
    Level {
        id,
        files: files.into_iter(),
        folders: folders.into_iter(),
    }
}

fn passes(error: &fichier::Error) -> bool {
    error.is_transient()
}

fn in_use(path: &RemotePath) -> Error {
    Error::new(
        Reason::DirectoryNotEmpty,
        format!("a file is being stored in {path:?}; purge it again when that is done"),
    )
    .at(path.as_str())
}
