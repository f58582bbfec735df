//! Moving and copying files inside 1Fichier.

mod send;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::batch::Target;
use super::directories::{Made, Writable};
use super::entry::Entry;
use super::journal::{Source, Task, Write, way};
use super::locks::{Guard, Key, Operation, operation};
use super::lost::{Fate, Look, Route};
use super::path::RemotePath;
use super::put::{PutOptions, Stored, WriteMode};
use super::twins::{FileAt, pick};
use super::{AtPath, Remote, replay};
use crate::catalog::{FileRecord, Intent, Touched};
use crate::error::{Error, Result};
use crate::fichier::{self, Kind, Priority, Scope};

/// Times that a move or copy is sent again that listings show not to have
/// happened.
const REPEATS: u32 = 2;
/// Times that another file is found at the source, in the place of one that
/// 1Fichier does not know any more.
const SOURCES: u32 = 2;

/// How a file is moved or copied.
#[derive(Clone, Debug, Default)]
pub struct RelocateOptions {
    /// What happens to a file that is already there.
    pub mode: WriteMode,
    /// The source is the file with this etag; without one, the newest of the path.
    pub if_match: Option<String>,
    /// Chosen by the client: a repeat with the same id replays the outcome.
    pub request_id: Option<String>,
    /// Its modification time from now on, in seconds since the Unix epoch; if
    /// not given, it keeps the one that it has.
    pub modified: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Move,
    Copy,
}

/// A move or copy that cannot be refused any more.
struct Relocation {
    remote: Remote,
    action: Action,
    source: RemotePath,
    destination: RemotePath,
    mode: WriteMode,
    modified: Option<i64>,
    if_match: Option<String>,
    route: Route,
    /// Where the file was at the beginning.
    original: (i64, FileRecord),
    made: Made,
    /// The directory at the destination, and the right to write this name.
    target: Option<(Writable, Guard)>,
    /// What it is to do, on disk.
    intent: Option<(Intent, Write)>,
    /// Nobody knows where it is.
    is_lost: bool,
    request: Option<(String, String, Guard)>,
    /// Nobody else writes to these paths.
    _paths: Vec<Guard>,
}

impl Remote {
    /// Moves or renames a file. One that is already at the destination is
    /// removed once the file has arrived; if that fails, it stays for now.
    ///
    /// # Errors
    /// FILE_NOT_FOUND, IS_A_DIRECTORY, ENTRY_EXISTS, ETAG_MISMATCH.
    pub async fn move_file(
        &self,
        scope: Scope,
        source: &RemotePath,
        destination: &RemotePath,
        options: RelocateOptions,
    ) -> Result<Stored> {
        operation(self.relocate(scope, Action::Move, source, destination, options)).await
    }

    /// Copies a file.
    ///
    /// # Errors
    /// FILE_NOT_FOUND, IS_A_DIRECTORY, ENTRY_EXISTS, ETAG_MISMATCH.
    pub async fn copy_file(
        &self,
        scope: Scope,
        source: &RemotePath,
        destination: &RemotePath,
        options: RelocateOptions,
    ) -> Result<Stored> {
        operation(self.relocate(scope, Action::Copy, source, destination, options)).await
    }

    async fn relocate(
        &self,
        scope: Scope,
        action: Action,
        source: &RemotePath,
        destination: &RemotePath,
        options: RelocateOptions,
    ) -> Result<Stored> {
        self.check_writable()?;
        let account = &self.account;
        let Some((_, segment)) = destination.split() else {
            return Err(Error::is_a_directory(""));
        };
        self.check_names(destination)?;
        let name = self.stored_name(destination, segment)?;
        let arguments = format!(
            "{action:?} {source} {destination} {:?} {:?}",
            options.mode, options.if_match
        );
        let mut request = None;
        if let Some(id) = options.request_id {
            let lock = account.locks.hold(Key::request(&id)).await;
            if let Some(entry) = self.replay(&id, &arguments).await? {
                return Ok(Stored {
                    entry,
                    replayed: true,
                });
            }
            request = Some((id, arguments, lock));
        }

        let paths = account
            .locks
            .hold_all(keys(action, source, destination))
            .await;
        let files = match action {
            Action::Move => {
                let files = self.files_now(scope, source).await?;
                if files.len() > 1 {
                    // One of them may be the older version of another.
                    self.settle_shown(source).await;
                    self.find_files(scope, source, None).await?
                } else {
                    files
                }
            }
            Action::Copy => self.find_files(scope, source, None).await?,
        };
        let FileAt { folder: from, file } = pick(&files, options.if_match.as_deref(), source)?;
        let from = *from;
        if source == destination && (action == Action::Move || options.mode != WriteMode::KeepBoth)
        {
            if action == Action::Copy {
                return Err(Error::invalid_field(
                    "destination_path",
                    "it is the same as source_path",
                ));
            }
            let entry = self.file_entry(source.clone(), file, files.len()).await;
            return Ok(Stored {
                entry,
                replayed: false,
            });
        }
        let target = PutOptions {
            mode: options.mode,
            create_parents: true,
            ..PutOptions::default()
        };
        self.check_target(scope, destination, &target, true).await?;

        // What is sent must be entered even if the caller goes away.
        let relocation = Relocation {
            remote: self.clone(),
            action,
            source: source.clone(),
            destination: destination.clone(),
            mode: options.mode,
            modified: options.modified,
            if_match: options.if_match.clone(),
            route: Route {
                from,
                file: file.clone(),
                to: from,
                name,
                copy: action == Action::Copy,
                before: Default::default(),
            },
            original: (from, file.clone()),
            made: Made::new(),
            target: None,
            intent: None,
            is_lost: false,
            request,
            _paths: paths,
        };
        let cancel = CancellationToken::new();
        let guard: DropGuard = cancel.clone().drop_guard();
        let run = Operation::current().goes_on(relocation.run(scope, cancel));
        let task = account.tasks.spawn(run);
        let entry = task.await;
        guard.disarm();
        let entry =
            entry.map_err(|error| Error::internal(format!("a move stopped: {error}")))??;
        Ok(Stored {
            entry,
            replayed: false,
        })
    }
}

/// The paths that nobody else may write to meanwhile: the destination, what is
/// moved away, and where the file or its copy may be for a moment.
fn keys(action: Action, source: &RemotePath, destination: &RemotePath) -> Vec<Key> {
    let way = way(source, destination).filter(|path| action == Action::Move || path != source);
    let paths = way.chain([destination.clone()]);
    paths.map(Key::Path).collect()
}

fn extension(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, extension)| extension)
}

impl Relocation {
    async fn run(mut self, scope: Scope, cancel: CancellationToken) -> Result<Entry> {
        let scope = scope.with_priority(Priority::Upload);
        let outcome = match self.open(scope, &cancel).await {
            Ok(()) => self.transfer(scope, &cancel).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(url) => self.finish(url).await,
            Err(error) => {
                let error = self.take_back(error).await;
                match self.intent.take() {
                    Some((intent, write)) if self.is_lost => {
                        let account = &self.remote.account;
                        if !self.route.copy {
                            account.give_up_moves(&self.original.1.url);
                        }
                        account.leave(intent, Task::Write(write));
                    }
                    Some((intent, _)) => intent.done(),
                    None => {}
                }
                self.target = None;
                self.remote.unmake(std::mem::take(&mut self.made)).await;
                // It fails anyway.
                let _ = self.remote.account.catalog.settle().await;
                Err(error)
            }
        }
    }

    /// Finds or makes the folder at the destination.
    async fn open(&mut self, scope: Scope, cancel: &CancellationToken) -> Result<()> {
        let parent = self.parent();
        self.target = None;
        let opened = tokio::select! {
            biased;
            opened = self.remote.folder_to_write(scope, &parent, &mut self.made) => opened?,
            () = cancel.cancelled() => return Err(fichier::Error::given_up("folder/mkdir").into()),
        };
        let (_, segment) = self
            .destination
            .split()
            .ok_or_else(|| Error::internal("the root was written"))?;
        let options = PutOptions {
            mode: self.mode,
            create_parents: true,
            ..PutOptions::default()
        };
        let (claim, older) = self
            .remote
            .claim(scope, &opened, &self.destination, segment, &options)
            .await?;
        let to = opened.id();
        self.target = Some((opened, claim));
        self.route.to = to;
        self.intend(older.iter().map(FileAt::target).collect())
            .await?;
        self.route.before = older.into_iter().map(|at| at.file.url).collect();
        Ok(())
    }

    /// The same with another source.
    async fn intend_again(&mut self) -> Result<()> {
        let before = self.intent.as_ref().map(|(_, write)| write.before.clone());
        self.intend(before.unwrap_or_default()).await
    }

    async fn intend(&mut self, before: Vec<Target>) -> Result<()> {
        if let Some((intent, _)) = self.intent.take() {
            intent.done();
        }
        let Route {
            from,
            ref file,
            to,
            ref name,
            copy,
            ..
        } = self.route;
        let account = &self.remote.account;
        account.vouch_for(file);
        let mut alike = Vec::new();
        if copy && *file.name != **name {
            let known = account.catalog.peek(to).await;
            let files = known.iter().flat_map(|known| known.content.files());
            alike.extend(
                files
                    .filter(|other| other.name == file.name)
                    .map(|other| other.url.clone()),
            );
        }
        let modified = match self.modified {
            None if account.catalog.has_modified() => {
                let original = self.original.1.url.to_string();
                let times = account.catalog.modified(vec![original]).await;
                times.into_values().next()
            }
            given => given,
        };
        let write = Write {
            before,
            replaces: self.mode != WriteMode::KeepBoth,
            modified,
            source: Some(Source {
                path: self.source.clone(),
                folder: from,
                file: file.clone(),
                copy,
                alike,
                is_taken: false,
            }),
            request: self
                .request
                .as_ref()
                .map(|(id, arguments, _)| (id.clone(), arguments.clone())),
            ..Write::new(
                &self.remote,
                &self.destination,
                to,
                name,
                file.size,
                file.whirlpool.clone(),
            )
        };
        let task = Task::Write(write.clone());
        let touched = match copy {
            true => Vec::new(),
            false => vec![Touched::File(file.url.to_string())],
        };
        let intent = account.intend(vec![from, to], touched, &task).await;
        let intent = intent.at_path(&self.destination)?;
        self.intent = Some((intent, write));
        Ok(())
    }

    fn parent(&self) -> RemotePath {
        let split = self.destination.split();
        split.map_or_else(RemotePath::root, |(parent, _)| parent)
    }

    /// Does it, and makes sure that it is done. Returns the URL of the file at
    /// its destination.
    async fn transfer(&mut self, scope: Scope, cancel: &CancellationToken) -> Result<String> {
        let mut repeats = 0;
        let mut made_again = false;
        let mut found_again = 0;
        loop {
            let error = match self.send(scope, cancel).await {
                Ok(url) => return Ok(url),
                Err(error) => error,
            };
            let refused = matches!(
                error.kind(),
                Kind::NoChange | Kind::Refused | Kind::NotFound
            );
            // Where listings lag, the repeat of what had happened is refused.
            let unsure = error.outcome_unknown() || repeats > 0 && refused;
            if error.kind() == Kind::NoDestination && !made_again {
                made_again = true;
                let account = &self.remote.account;
                account.catalog.folder_gone(self.route.to);
                self.open(scope, cancel).await?;
            } else if unsure {
                tracing::info!(%error, destination = %self.destination, "looking what became of a file");
                match self.remote.fate(&self.route, Look::patient(&error)).await {
                    Ok(Fate::Arrived(url)) => return Ok(url),
                    Ok(Fate::Unnamed(file)) => self.passed(file),
                    Ok(Fate::Stayed)
                        if error.outcome_unknown()
                            && repeats < REPEATS
                            && !cancel.is_cancelled() =>
                    {
                        repeats += 1;
                    }
                    Ok(Fate::Stayed) => return Err(self.failed(error)),
                    Ok(Fate::Gone) => {
                        let gone = fichier::Error::gone("file/mv");
                        return Err(self.failed(gone));
                    }
                    Err(look) => {
                        tracing::warn!(%look, "it cannot be seen what became of a file");
                        self.is_lost = true;
                        return Err(self.failed(error));
                    }
                }
            } else if refused && found_again < SOURCES && self.is_at_its_beginning() {
                found_again += 1;
                if let Some(url) = self.was_done(scope, &error).await {
                    return Ok(url);
                }
                if !self.find_again(scope, &error).await? {
                    return Err(self.failed(error));
                }
            } else {
                return Err(self.failed(error));
            }
        }
    }

    /// Whether an earlier run, which was killed, has done it: 1Fichier refuses to
    /// do it again then, and listings may not show it yet.
    async fn was_done(&self, scope: Scope, error: &fichier::Error) -> Option<String> {
        let Route {
            ref file,
            to,
            ref name,
            copy,
            ..
        } = self.route;
        if copy || error.kind() == Kind::NotFound {
            return None;
        }
        let client = &self.remote.account.client;
        let info = client.file_info(scope, &file.url).await.ok()?;
        let is_there = info.folder == Some(to) && fichier::same_name(&info.file.name, name);
        is_there.then(|| file.url.to_string())
    }

    /// Whether nothing was done yet.
    fn is_at_its_beginning(&self) -> bool {
        let (from, file) = &self.original;
        self.route.from == *from && self.route.file == *file
    }

    /// 1Fichier refused the file. If another one has its path by now, that one
    /// is meant. False when the refusal has another reason.
    ///
    /// # Errors
    /// FILE_NOT_FOUND when the path is empty.
    async fn find_again(&mut self, scope: Scope, error: &fichier::Error) -> Result<bool> {
        let Route { from, ref file, .. } = self.route;
        let old = FileAt {
            folder: from,
            file: file.clone(),
        };
        let found = self.remote.found_again(scope, &self.source, &old, error);
        let Some(files) = found.await? else {
            return Ok(false);
        };
        let FileAt { folder, file } = pick(&files, self.if_match.as_deref(), &self.source)?;
        self.route.from = *folder;
        self.route.file = file.clone();
        self.original = (*folder, file.clone());
        self.intend_again().await?;
        Ok(true)
    }

    /// The file is at its destination.
    async fn finish(mut self, url: String) -> Result<Entry> {
        let (remote, path) = (self.remote.clone(), self.destination.clone());
        let account = &remote.account;
        let (parent, segment) = path
            .split()
            .ok_or_else(|| Error::internal("the root was written"))?;
        let Route {
            from,
            ref file,
            to,
            ref name,
            copy,
            ..
        } = self.route;
        let mut folders = match &self.target {
            Some((into, _)) => into.directory.ids().collect(),
            None => vec![to],
        };
        let mut moved = FileRecord {
            url: url.into(),
            name: name.as_str().into(),
            ..file.clone()
        };
        if extension(&moved.name) != extension(&file.name) {
            // 1Fichier derives it from the name.
            moved.content_type = "".into();
        }
        if self.action == Action::Copy {
            // A file of its own, as far as is known.
            (moved.password, moved.acl) = (false, false);
            remote.stamp(&folders, segment, &mut moved).await;
        } else if self.mode != WriteMode::KeepBoth {
            // It took the place of all that is known there.
            moved.order = account.catalog.next_order();
        }
        if !copy && from == to && moved.url == file.url {
            account.catalog.file_renamed(to, moved.clone(), &file.name);
        } else {
            if !copy {
                account.catalog.file_removed(from, &file.url);
            }
            account.catalog.file_added(to, moved.clone());
        }
        account.vouch_for(&moved);
        if !copy {
            account.give_up_moves(&self.original.1.url);
        }
        // Before anything older goes: it may be the only one in its place.
        let (landed, moved) = if self.action == Action::Copy || self.original.0 != to {
            let scope = Scope::new(Priority::Upload);
            remote.confirm_landing(scope, &parent, to, &moved).await
        } else {
            (to, moved)
        };
        if landed != to {
            folders = vec![landed];
        }
        match self.modified {
            Some(time) => account.catalog.set_modified(&moved.url, time),
            None if moved.url != self.original.1.url => {
                let original = &self.original.1.url;
                account.catalog.pass_modified_on(original, &moved.url);
            }
            None => {}
        }
        if self.action == Action::Move {
            remote.supersede(&self.source, Some(&moved.url)).await;
        }
        let left = match self.mode {
            WriteMode::KeepBoth => Vec::new(),
            _ => {
                remote.supersede(&path, Some(&moved.url)).await;
                remote.remove_older(&path, &folders, segment, &moved).await
            }
        };
        let count = remote.count(&folders, segment).await;
        if let Some((id, arguments, _lock)) = self.request.take() {
            let what = replay::Stored::File(moved.clone());
            account.remember(id, arguments, &path, what);
        }
        if let Some((intent, write)) = self.intent.take() {
            account.written(intent, write, landed, &moved, left);
        }
        account.catalog.settle().await.at_path(&path)?;
        Ok(remote.file_entry(path, &moved, count).await)
    }

    /// What a failure tells about the catalog.
    fn failed(&self, error: fichier::Error) -> Error {
        let Route {
            from, to, ref file, ..
        } = self.route;
        let catalog = &self.remote.account.catalog;
        if error.kind() == Kind::NotFound {
            catalog.file_missing(from, &file.url);
            return Error::file_not_found(self.source.as_str());
        }
        let at = match error.kind() {
            Kind::NoDestination => {
                catalog.folder_gone(to);
                self.parent()
            }
            Kind::Name => self.destination.clone(),
            Kind::Refused | Kind::NoChange => {
                catalog.doubt(from);
                catalog.doubt(to);
                self.source.clone()
            }
            _ => {
                if error.outcome_unknown() {
                    catalog.doubt(from);
                    catalog.doubt(to);
                }
                self.source.clone()
            }
        };
        Error::from(error).at(at.as_str())
    }
}
