//! Moving and copying files inside 1Fichier.

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::{CancellationToken, DropGuard};
use unicode_normalization::UnicodeNormalization;

use super::batch::{Change, Target};
use super::directories::Made;
use super::entry::{Entry, etag};
use super::in_use::Writing;
use super::lost::{Fate, Route};
use super::path::RemotePath;
use super::put::{PutOptions, Stored, WriteMode, etag_mismatch};
use super::{AtPath, Remote, path_key};
use crate::catalog::FileRecord;
use crate::error::{Error, Result};
use crate::fichier::{self, Batch, Kind, Priority, Scope, Turn};

/// Times that a move or copy is sent again that listings show not to have
/// happened.
const REPEATS: u32 = 2;

/// How a file is moved or copied.
#[derive(Clone, Debug, Default)]
pub struct RelocateOptions {
    /// What happens to a file that is already there.
    pub mode: WriteMode,
    /// The source must have this etag.
    pub if_match: Option<String>,
    /// Chosen by the client: a repeat with the same id replays the outcome.
    pub request_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Move,
    Copy,
}

/// A move or copy that cannot be refused any more.
struct Relocation {
    remote: Remote,
    source: RemotePath,
    destination: RemotePath,
    mode: WriteMode,
    route: Route,
    /// Where the file was at the beginning.
    original: (i64, FileRecord),
    made: Made,
    writing: Option<Writing>,
    request: Option<(String, String, OwnedMutexGuard<()>)>,
    /// Nobody else writes to these paths.
    _paths: Vec<OwnedMutexGuard<()>>,
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
        self.relocate(scope, Action::Move, source, destination, options)
            .await
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
        self.relocate(scope, Action::Copy, source, destination, options)
            .await
    }

    async fn relocate(
        &self,
        scope: Scope,
        action: Action,
        source: &RemotePath,
        destination: &RemotePath,
        options: RelocateOptions,
    ) -> Result<Stored> {
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
            let lock = account.locks.hold(format!("request {id}")).await;
            if let Some(entry) = account.replay(&id, &arguments).await? {
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
        let (from, files) = self.find_files(scope, source, None).await?;
        let file = &files[0];
        if options.if_match.is_some_and(|wanted| wanted != etag(file)) {
            return Err(etag_mismatch(source));
        }
        if source == destination && (action == Action::Move || options.mode != WriteMode::KeepBoth)
        {
            if action == Action::Copy {
                return Err(Error::invalid_field(
                    "destination_path",
                    "it is the same as source_path",
                ));
            }
            let entry = Entry::file(source.clone(), file, files.len());
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
        self.check_target(scope, destination, &target).await?;

        // What is sent must be entered even if the caller goes away.
        let relocation = Relocation {
            remote: self.clone(),
            source: source.clone(),
            destination: destination.clone(),
            mode: options.mode,
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
            writing: None,
            request,
            _paths: paths,
        };
        let cancel = CancellationToken::new();
        let guard: DropGuard = cancel.clone().drop_guard();
        let task = account.tasks.spawn(relocation.run(scope, cancel));
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
/// moved away, and where that may be for a moment.
fn keys(action: Action, source: &RemotePath, destination: &RemotePath) -> Vec<String> {
    let mut keys = vec![path_key(destination)];
    if action == Action::Move {
        keys.push(path_key(source));
        if let (Some((_, name)), Some((parent, _))) = (source.split(), destination.split()) {
            keys.push(path_key(&parent.join(name)));
        }
    }
    keys
}

fn same_name(left: &str, right: &str) -> bool {
    // Whether 1Fichier normalises Unicode is not known ([API §J39]).
    left == right || left.nfc().eq(right.nfc())
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
                self.writing = None;
                self.remote.unmake(std::mem::take(&mut self.made)).await;
                self.remote.account.catalog.settle().await;
                Err(error)
            }
        }
    }

    /// Finds or makes the folder at the destination.
    async fn open(&mut self, scope: Scope, cancel: &CancellationToken) -> Result<()> {
        let parent = self.parent();
        self.writing = None;
        let opened = tokio::select! {
            biased;
            opened = self.remote.folder_to_write(scope, &parent, &mut self.made) => opened?,
            () = cancel.cancelled() => return Err(fichier::Error::given_up("folder/mkdir").into()),
        };
        let (to, writing) = opened;
        self.writing = Some(writing);
        self.route.to = to;
        let known = self.remote.account.catalog.peek(to).await;
        self.route.before = known
            .iter()
            .flat_map(|known| known.content.files())
            .filter(|file| *file.name == *self.route.name)
            .map(|file| file.url.clone())
            .collect();
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
        loop {
            let error = match self.send(scope, cancel).await {
                Ok(url) => return Ok(url),
                Err(error) => error,
            };
            // Where listings lag, the repeat of what had happened is refused.
            let unsure = error.outcome_unknown()
                || matches!(error.kind(), Kind::NoChange) && !self.route.copy
                || repeats > 0 && matches!(error.kind(), Kind::Refused | Kind::NotFound);
            if error.kind() == Kind::NoDestination && !made_again {
                made_again = true;
                let account = &self.remote.account;
                account.catalog.folder_gone(self.route.to);
                self.open(scope, cancel).await?;
            } else if unsure {
                tracing::info!(%error, destination = %self.destination, "looking what became of a file");
                match self.remote.fate(&self.route, error.when()).await {
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
                    Ok(Fate::Gone) => return Err(self.failed(fichier::Error::gone("file/mv"))),
                    Err(look) => {
                        tracing::warn!(%look, "it cannot be seen what became of a file");
                        return Err(self.failed(error));
                    }
                }
            } else {
                return Err(self.failed(error));
            }
        }
    }

    /// file/rename inside a folder, file/mv between folders: each refuses the
    /// other's work ([API §10, §11]).
    async fn send(
        &mut self,
        scope: Scope,
        cancel: &CancellationToken,
    ) -> Result<String, fichier::Error> {
        let account = self.remote.account.clone();
        let Route {
            from,
            to,
            copy,
            ref name,
            ref file,
            ..
        } = self.route;
        let (url, name) = (file.url.to_string(), name.clone());
        let same_name = *file.name == *name;
        if !copy {
            account.landings.forget(from, &url);
        }
        if !copy && from == to {
            if same_name {
                return Ok(url);
            }
            let turn = self.turn(scope, "file/rename", cancel).await?;
            let renamed = account.client.rename_files(turn, &[(url, name)]).await?;
            return self.one("file/rename", renamed);
        }
        if same_name {
            let change = if copy {
                Change::Copy(to)
            } else {
                Change::Move(to)
            };
            return self.send_batched(scope, change, cancel).await;
        }
        let endpoint = if copy { "file/cp" } else { "file/mv" };
        let turn = self.turn(scope, endpoint, cancel).await?;
        let urls = [url];
        let sent = if copy {
            let copied = account.client.copy_files(turn, &urls, to, Some(&name));
            copied.await
        } else {
            let moved = account.client.move_files(turn, &urls, to, Some(&name));
            moved.await
        };
        match sent.and_then(|batch| self.one(endpoint, batch)) {
            Err(error) if error.kind() == Kind::NotFound => {
                // The file or its destination.
                match account.client.file_exists(scope, &urls[0]).await {
                    Ok(false) => Err(error),
                    Err(other) if !matches!(other.kind(), Kind::Access | Kind::Password) => {
                        Err(other)
                    }
                    _ => Err(fichier::Error::no_destination(endpoint)),
                }
            }
            // In two steps, then.
            Err(error) if !copy && matches!(error.kind(), Kind::Refused | Kind::NoChange) => {
                tracing::debug!(%error, "moving and renaming a file one after the other");
                let url = self.send_batched(scope, Change::Move(to), cancel).await?;
                self.passed(FileRecord {
                    url: url.as_str().into(),
                    ..self.route.file.clone()
                });
                let turn = account.client.turn(scope, "file/rename").await?;
                let renamed = account.client.rename_files(turn, &[(url, name)]).await?;
                self.one("file/rename", renamed)
            }
            other => other,
        }
    }

    /// The turn to make a call, unless the caller goes away before.
    async fn turn(
        &self,
        scope: Scope,
        endpoint: &'static str,
        cancel: &CancellationToken,
    ) -> Result<Turn, fichier::Error> {
        tokio::select! {
            biased;
            turn = self.remote.account.client.turn(scope, endpoint) => turn,
            () = cancel.cancelled() => Err(fichier::Error::given_up(endpoint)),
        }
    }

    async fn send_batched(
        &self,
        scope: Scope,
        change: Change,
        cancel: &CancellationToken,
    ) -> Result<String, fichier::Error> {
        let target = Target {
            folder: self.route.from,
            url: self.route.file.url.to_string(),
        };
        let batches = &self.remote.account.batches;
        let outcomes = batches.run_until(scope, change, &[target], cancel).await;
        let outcome = outcomes.into_iter().next();
        outcome.unwrap_or_else(|| Err(fichier::Error::undone()))
    }

    /// The answer for the only file of a call.
    fn one(&mut self, endpoint: &'static str, batch: Batch) -> Result<String, fichier::Error> {
        let Some((_, url)) = batch.done.into_iter().next() else {
            return Err(if batch.untold {
                fichier::Error::untold(endpoint)
            } else {
                fichier::Error::undone()
            });
        };
        match batch.name {
            Some(told) if !same_name(&told, &self.route.name) => {
                let error = fichier::Error::misnamed(endpoint, &self.route.name, &told);
                // It is there, under a name that nobody wants.
                self.passed(FileRecord {
                    url: url.into(),
                    name: told.into(),
                    ..self.route.file.clone()
                });
                Err(error)
            }
            _ => Ok(url),
        }
    }

    /// The file (or its copy) is in its folder, but not under its name yet.
    fn passed(&mut self, file: FileRecord) {
        let catalog = &self.remote.account.catalog;
        if !self.route.copy {
            catalog.file_removed(self.route.from, &self.route.file.url);
        }
        catalog.file_added(self.route.to, file.clone());
        self.route.from = self.route.to;
        self.route.file = file;
    }

    /// Undoes what was done half.
    async fn take_back(&mut self, error: Error) -> Error {
        let account = self.remote.account.clone();
        let (from, original) = self.original.clone();
        let file = self.route.file.clone();
        if file == original && self.route.from == from {
            return error;
        }
        let url = file.url.to_string();
        let scope = Scope::new(Priority::Upload);
        let taken_back = if self.route.copy {
            self.remote.remove_urls(scope, self.route.to, &[url]).await
        } else {
            self.send_back(scope, from, &original, file).await
        };
        match taken_back {
            Ok(()) => error,
            Err(undo) => {
                tracing::error!(source = %self.source, destination = %self.destination, %error, %undo, "a move was done half, and could not be undone");
                account.catalog.doubt(self.route.to);
                account.catalog.doubt(from);
                let shown = self.remote.codec.to_segment(&self.route.file.name);
                let place = self.parent().join(&shown);
                let text = format!("{}; the file is {place:?} now", error.message());
                Error::new(error.reason(), text).at(self.source.as_str())
            }
        }
    }

    /// Brings a file to where it was, under the name that it had.
    async fn send_back(
        &mut self,
        scope: Scope,
        from: i64,
        original: &FileRecord,
        mut file: FileRecord,
    ) -> Result<(), fichier::Error> {
        let account = self.remote.account.clone();
        let now = |batch: Batch| batch.done.into_iter().next().map(|(_, url)| url);
        if file.name != original.name {
            let pair = (file.url.to_string(), original.name.to_string());
            let renamed = account.client.rename_files(scope, &[pair]).await?;
            let url = now(renamed).ok_or_else(fichier::Error::undone)?;
            account.catalog.file_removed(self.route.to, &file.url);
            file.url = url.into();
            file.name = original.name.clone();
            account.catalog.file_added(self.route.to, file.clone());
        }
        if self.route.to != from {
            let urls = [file.url.to_string()];
            let moved = account.client.move_files(scope, &urls, from, None).await?;
            let url = now(moved).ok_or_else(fichier::Error::undone)?;
            account.catalog.file_removed(self.route.to, &file.url);
            file.url = url.into();
            account.catalog.file_added(from, file);
        }
        Ok(())
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
        let mut moved = FileRecord {
            url: url.into(),
            name: name.as_str().into(),
            ..file.clone()
        };
        if extension(&moved.name) != extension(&file.name) {
            // 1Fichier derives it from the name.
            moved.content_type = "".into();
        }
        if copy {
            // A file of its own, as far as is known.
            (moved.password, moved.acl) = (false, false);
            remote.stamp(to, segment, &mut moved).await;
        } else {
            account.catalog.file_removed(from, &file.url);
        }
        account.catalog.file_added(to, moved.clone());
        // Before anything older goes: it may be the only one in its place.
        let (to, moved) = if copy || self.original.0 != to {
            remote
                .confirm_landing(Scope::new(Priority::Upload), &parent, to, &moved)
                .await?
        } else {
            (to, moved)
        };
        let mut count = 1;
        if self.mode == WriteMode::KeepBoth {
            if let Some(known) = account.catalog.peek(to).await {
                count = known.content.find_files(remote.codec, segment).len();
            }
        } else {
            remote.remove_older(&path, to, segment, &moved).await;
        }
        if let Some((id, arguments, _lock)) = self.request.take() {
            account.remember(id, arguments, &path, &moved);
        }
        account.catalog.settle().await;
        Ok(Entry::file(path, &moved, count))
    }

    /// What a failure tells about the catalog.
    fn failed(&self, error: fichier::Error) -> Error {
        let Route {
            from, to, ref file, ..
        } = self.route;
        let catalog = &self.remote.account.catalog;
        match error.kind() {
            Kind::NotFound => {
                catalog.file_removed(from, &file.url);
                catalog.doubt(from);
                return Error::file_not_found(self.source.as_str());
            }
            Kind::Refused | Kind::NoChange => {
                catalog.doubt(from);
                catalog.doubt(to);
            }
            Kind::NoDestination => {
                catalog.folder_gone(to);
                return Error::from(error).at(self.parent().as_str());
            }
            Kind::Name => return Error::from(error).at(self.destination.as_str()),
            _ if error.outcome_unknown() => {
                catalog.doubt(from);
                catalog.doubt(to);
            }
            _ => {}
        }
        Err::<(), _>(error)
            .at_path(&self.source)
            .err()
            .unwrap_or_else(|| Error::internal("a failure without an error"))
    }
}
