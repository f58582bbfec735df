//! Entries that share a path: found, told, and resolved.
//!
//! A walk goes from directory to directory. Where it changes something, it
//! first lists the directory anew: nothing goes before what stays is certain
//! to be there.

mod directories;
mod files;
mod rename;

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::entry::Entry;
use super::locks::operation;
use super::path::RemotePath;
use super::{AtPath, Remote};
use crate::catalog::{Content, FileRecord, FolderRecord, newest_first};
use crate::error::{Error, Reason, Result};
use crate::fichier::{Priority, Scope};

/// Groups that wait for whoever asked.
const AHEAD: usize = 16;
/// How long it waits for a client that does not read.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is done with entries that share a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DedupeMode {
    /// Nothing.
    #[default]
    Report,
    /// Of files with one content all but one go.
    Identical,
    /// All but the newest go.
    Newest,
    /// All but the oldest go.
    Oldest,
    /// All but the newest get other names.
    Rename,
    /// Directories become one; files stay as they are.
    Directories,
}

/// What to look for, and what to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct DedupeOptions {
    /// Also in sub-directories.
    pub recursive: bool,
    /// What is done.
    pub mode: DedupeMode,
    /// Only say what would be done.
    pub validate_only: bool,
}

impl DedupeOptions {
    fn changes(&self) -> bool {
        self.mode != DedupeMode::Report && !self.validate_only
    }
}

/// Entries that share a path.
#[derive(Clone, Debug)]
pub struct Group {
    /// The path.
    pub path: RemotePath,
    /// What had it: files, the newest first, or directories, the oldest first.
    pub entries: Vec<Entry>,
    /// The id of what keeps it.
    pub kept: String,
    /// What is left of them.
    pub remaining: Vec<Entry>,
    /// What could not be done.
    pub failures: Vec<(RemotePath, Error)>,
}

impl Group {
    /// A directory that could not be looked into.
    fn unread(path: RemotePath, error: Error) -> Self {
        Self {
            entries: Vec::new(),
            kept: String::new(),
            remaining: Vec::new(),
            failures: vec![(path.clone(), error)],
            path,
        }
    }
}

/// A walk on its way. When this is dropped, it enters what it has sent, and
/// stops.
#[derive(Debug)]
pub struct Dedupe {
    groups: mpsc::Receiver<Group>,
    _cancel: DropGuard,
}

impl Dedupe {
    /// The next group; `None` when there are no more.
    pub async fn next(&mut self) -> Option<Group> {
        self.groups.recv().await
    }
}

impl Remote {
    /// Finds entries that share a path, and resolves them.
    ///
    /// # Errors
    /// READ_ONLY, DIRECTORY_NOT_FOUND, NOT_A_DIRECTORY.
    pub async fn dedupe(
        &self,
        scope: Scope,
        path: &RemotePath,
        options: DedupeOptions,
    ) -> Result<Dedupe> {
        if options.mode != DedupeMode::Report {
            self.check_writable()?;
        }
        let since = Instant::now();
        // Of several, those above are made one first.
        let directory = self.directory(scope, path, None).await?;
        let id = directory.only(path)?.folder.id;
        self.snapshot(scope, id, None).await.at_path(path)?;
        let (sender, groups) = mpsc::channel(AHEAD);
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let walk = Walk {
            remote: self.clone(),
            scope,
            options,
            since,
            groups: sender,
            cancel,
        };
        let walk = operation(walk.run(path.clone(), id));
        self.account.tasks.spawn(walk);
        Ok(Dedupe {
            groups,
            _cancel: guard,
        })
    }
}

/// The walk.
struct Walk {
    remote: Remote,
    scope: Scope,
    options: DedupeOptions,
    /// What is changed must have been listed since then.
    since: Instant,
    groups: mpsc::Sender<Group>,
    cancel: CancellationToken,
}

/// Why a walk ends early: nobody wants to know the rest.
struct Left;

impl Walk {
    async fn run(self, path: RemotePath, id: i64) {
        let mut folders = vec![(path, id)];
        // Two paths to one folder would walk for ever.
        let mut visited = HashSet::new();
        while let Some((path, id)) = folders.pop() {
            if !visited.insert(id) {
                continue;
            }
            tokio::task::coop::consume_budget().await;
            let is_below = visited.len() > 1;
            let Ok(looked) = self.folder(&path, id).await else {
                return;
            };
            let below = match looked {
                Ok(below) => below,
                // Another program removed it after its parent was listed.
                Err(error) if error.reason() == Reason::DirectoryNotFound && is_below => continue,
                Err(error) => {
                    let unread = Group::unread(path.clone(), error.at(path.as_str()));
                    if self.groups.send_timeout(unread, PATIENCE).await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            if self.options.recursive {
                folders.extend(below.into_iter().rev());
            }
        }
    }

    /// Something that is not worth doing when nobody waits any more.
    async fn unless_left<T>(&self, work: impl Future<Output = T>) -> Result<T, Left> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.cancel.cancelled() => Err(Left),
        }
    }

    /// One directory. Returns what is below it afterwards.
    async fn folder(
        &self,
        path: &RemotePath,
        id: i64,
    ) -> Result<Result<Vec<(RemotePath, i64)>>, Left> {
        let catalog = &self.remote.account.catalog;
        let known = self.remote.snapshot(self.scope, id, None);
        let mut content = match self.unless_left(known).await? {
            Ok(known) => known.content,
            Err(error) => return Ok(Err(error)),
        };
        let files = self.options.mode != DedupeMode::Directories;
        let ambiguous = !self.twins(path, &content).is_empty()
            || files && !self.duplicates(path, &content).is_empty();
        if ambiguous && self.options.changes() {
            let fresh = catalog.folder_since(self.scope, id, self.since);
            content = match self.unless_left(fresh).await? {
                Ok(fresh) => fresh.content,
                Err(error) => return Ok(Err(error)),
            };
        }
        for (path, folders) in self.twins(path, &content) {
            let group = self.resolve_twins(path, id, folders, &content).await?;
            self.tell(group).await?;
        }
        let mut duplicates = self.duplicates(path, &content);
        if !files {
            duplicates.clear();
        }
        if self.options.changes() {
            self.resolve_files(id, duplicates.into_keys().collect())
                .await?;
            if ambiguous && let Some(known) = catalog.peek(id).await {
                content = known.content;
            }
        } else {
            for (path, files) in duplicates {
                let group = self.plan(path, files, &content);
                self.tell(group).await?;
            }
        }
        let codec = self.remote.codec;
        let mut below: Vec<_> = content
            .folders()
            .map(|folder| (path.join(&codec.to_segment(&folder.name)), folder.id))
            .collect();
        below.sort();
        Ok(Ok(below))
    }

    async fn tell(&self, mut group: Group) -> Result<(), Left> {
        self.remote.add_recorded(&mut group.entries).await;
        self.remote.add_recorded(&mut group.remaining).await;
        let sent = self.groups.send_timeout(group, PATIENCE).await;
        sent.map_err(|_| Left)
    }

    /// Folders that share a path, the smallest id first: that one counts
    /// ([API §J2]).
    fn twins(
        &self,
        path: &RemotePath,
        content: &Content,
    ) -> BTreeMap<RemotePath, Vec<FolderRecord>> {
        let codec = self.remote.codec;
        let mut groups: BTreeMap<_, Vec<FolderRecord>> = BTreeMap::new();
        for folder in content.folders() {
            let path = path.join(&codec.to_segment(&folder.name));
            groups.entry(path).or_default().push(folder.clone());
        }
        groups.retain(|_, folders| folders.len() > 1);
        for folders in groups.values_mut() {
            folders.sort_by_key(|folder| folder.id);
        }
        groups
    }

    /// Files that share a path, the newest first.
    fn duplicates(
        &self,
        path: &RemotePath,
        content: &Content,
    ) -> BTreeMap<RemotePath, Vec<FileRecord>> {
        let codec = self.remote.codec;
        let mut groups: BTreeMap<_, Vec<&FileRecord>> = BTreeMap::new();
        for file in content.files() {
            let path = path.join(&codec.to_segment(&file.name));
            groups.entry(path).or_default().push(file);
        }
        groups.retain(|_, files| files.len() > 1);
        let sorted = groups.into_iter().map(|(path, mut files)| {
            newest_first(&mut files);
            (path, files.into_iter().cloned().collect())
        });
        sorted.collect()
    }

    /// For changes: they go on once they are begun, so the caller's deadline
    /// does not count.
    fn upload_scope(&self) -> Scope {
        Scope::new(Priority::Upload)
    }
}
