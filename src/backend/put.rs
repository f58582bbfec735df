//! Writing files: content in, verified, and only then in the place of what
//! was there.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::directories::{Made, Writable};
use super::entry::Entry;
use super::journal::{Task, Write};
use super::locks::{Guard, Key, Operation, operation};
use super::path::RemotePath;
use super::twins::FileAt;
use super::{AtPath, Remote, replay};
use crate::catalog::{FileRecord, Whirlpool};
use crate::error::{Error, Reason, Result};
use crate::fichier::{MAX_FILE_BYTES, Scope, StoredFile};
use crate::transfer::{
    Algorithm, Checksum, Direction, Expected, Hasher, Progress, Spool, SpoolPolicy, Streaming,
};

/// How far apart two tellings of 1Fichier's time may lie, in seconds.
const TOLERANCE: i64 = 2;

/// What happens to a file that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WriteMode {
    /// The new file takes its place.
    #[default]
    Replace,
    /// The call fails.
    CreateOnly,
    /// Both stay.
    KeepBoth,
}

/// What is written, and how.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// Bytes, when known.
    pub size: Option<u64>,
    /// What happens to a file that is already there.
    pub mode: WriteMode,
    /// The file to be replaced must have this etag.
    pub if_match: Option<String>,
    /// Make missing parents.
    pub create_parents: bool,
    /// Checksums that the content must have.
    pub checksums: Vec<Checksum>,
    /// Chosen by the client: a repeat with the same id replays the outcome.
    pub request_id: Option<String>,
    /// Its modification time, in seconds since the Unix epoch.
    pub modified: Option<i64>,
}

/// A file that is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The file.
    pub entry: Entry,
    /// It was stored by an earlier call with the same request id.
    pub replayed: bool,
}

/// A write that began.
#[derive(Debug)]
pub enum Begun {
    /// The content may come.
    Session(Box<PutSession>),
    /// An earlier call did it already; the content is not needed.
    Replayed(Stored),
}

/// Where the content goes while it arrives.
#[derive(Debug)]
enum Sink {
    Spool(Spool),
    Stream(Box<Streaming>),
    /// An earlier call with the same request id has stored this: the content is
    /// only compared.
    Replay(Box<Entry>),
}

/// A file that is being written. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct PutSession {
    remote: Remote,
    path: RemotePath,
    stored_name: String,
    options: PutOptions,
    hasher: Hasher,
    received: u64,
    sink: Option<Sink>,
    folder: Option<Writable>,
    made: Made,
    progress: Progress,
    /// One call of a request id at a time.
    request: Option<(String, Guard)>,
    operation: Operation,
}

impl Remote {
    /// Begins to write a file. Refuses at once what cannot succeed.
    ///
    /// # Errors
    /// EMPTY_FILE, FILE_TOO_LARGE, INVALID_PATH, IS_A_DIRECTORY,
    /// NOT_A_DIRECTORY, DIRECTORY_NOT_FOUND, ENTRY_EXISTS, ETAG_MISMATCH,
    /// SPOOL_FULL, TOO_MANY_TRANSFERS, CAPABILITY_MISSING, READ_ONLY.
    pub async fn put(&self, scope: Scope, path: &RemotePath, options: PutOptions) -> Result<Begun> {
        operation(self.begin_put(scope, path, options)).await
    }

    async fn begin_put(
        &self,
        scope: Scope,
        path: &RemotePath,
        options: PutOptions,
    ) -> Result<Begun> {
        self.check_writable()?;
        let Some((parent, segment)) = path.split() else {
            return Err(Error::is_a_directory(""));
        };
        check_size(path, options.size)?;
        self.check_names(path)?;
        let stored_name = self.stored_name(path, segment)?;
        let uploads = &self.account.uploads;
        if uploads.policy() == SpoolPolicy::Never && options.size.is_none() {
            return Err(size_needed(path));
        }
        let progress = self.track(path, Direction::Upload, options.size)?;
        let mut request = None;
        let mut replayed = None;
        if let Some(id) = &options.request_id {
            let lock = self.account.locks.hold(Key::request(id)).await;
            replayed = self.replay(id, &options.arguments(path)).await?;
            if let Some(entry) = &replayed
                && options
                    .checksums
                    .iter()
                    .any(|sum| entry.checksums.contains(sum))
            {
                // The content is known to be the same.
                return Ok(Begun::Replayed(Stored {
                    entry: entry.clone(),
                    replayed: true,
                }));
            }
            request = Some((id.clone(), lock));
        }
        // Room is set aside before anything is waited for.
        let sink = match replayed {
            Some(entry) => Some(Sink::Replay(Box::new(entry))),
            None if uploads.streams(options.size) => None,
            None => Some(self.spool(path, options.size)?),
        };
        if !matches!(sink, Some(Sink::Replay(_))) {
            self.check_target(scope, path, &options, false).await?;
        }

        let algorithms = options
            .checksums
            .iter()
            .map(|sum| sum.algorithm)
            .chain(self.recorded_hashes())
            .chain([Algorithm::Whirlpool]);
        let mut session = PutSession {
            remote: self.clone(),
            path: path.clone(),
            stored_name,
            hasher: Hasher::new(algorithms),
            received: 0,
            sink,
            folder: None,
            made: Made::new(),
            progress,
            request,
            operation: Operation::current(),
            options,
        };
        if let (None, Some(size)) = (&session.sink, session.options.size) {
            session.begin_stream(scope, &parent, size).await?;
        }
        if session.sink.is_none() {
            session.sink = Some(self.spool(path, session.options.size)?);
        }
        Ok(Begun::Session(Box::new(session)))
    }

    fn spool(&self, path: &RemotePath, size: Option<u64>) -> Result<Sink> {
        let spool = Spool::new(&self.account.spool, size).at_path(path)?;
        Ok(Sink::Spool(spool))
    }

    /// Whether a file can be written whose size is not known before its end.
    pub fn takes_unknown_sizes(&self) -> bool {
        !self.is_read_only() && self.account.uploads.policy() != SpoolPolicy::Never
    }
}

impl PutOptions {
    /// What a repeat must have in common with the first call.
    fn arguments(&self, path: &RemotePath) -> String {
        format!(
            "put {path} {:?} {:?} {:?} {:?}",
            self.size, self.mode, self.if_match, self.checksums
        )
    }
}

/// The outcome of an earlier call, if the content is the same that it stored.
fn same_content(
    entry: &Entry,
    received: u64,
    sums: &[Checksum],
    announced: &[Checksum],
) -> Result<Stored> {
    let differs = |sum: &Checksum| {
        let mut known = entry.checksums.iter();
        known.any(|known| known.algorithm == sum.algorithm && known.hex != sum.hex)
    };
    if entry.size != Some(received) || sums.iter().chain(announced).any(differs) {
        return Err(replay::reused("another content"));
    }
    Ok(Stored {
        entry: entry.clone(),
        replayed: true,
    })
}

fn check_size(path: &RemotePath, size: Option<u64>) -> Result<()> {
    match size {
        Some(0) => Err(empty_file(path)),
        Some(size) if size > MAX_FILE_BYTES => Err(Error::new(
            Reason::FileTooLarge,
            format!(
                "{path:?} has {size} bytes, and 1Fichier takes files of at most {MAX_FILE_BYTES}"
            ),
        )
        .at(path.as_str())
        .with("max_file_bytes", MAX_FILE_BYTES.to_string())),
        _ => Ok(()),
    }
}

fn caller_left(path: &RemotePath) -> Error {
    Error::new(Reason::UploadNotCommitted, "the caller went away").at(path.as_str())
}

fn size_needed(path: &RemotePath) -> Error {
    Error::new(
        Reason::CapabilityMissing,
        format!(
            "the size of {path:?} must be known before its content comes, because this server buffers no uploads; \
             put it into the header, or start the server with --spool auto"
        ),
    )
    .at(path.as_str())
    .with("capability", "PUT_UNKNOWN_SIZE")
}

fn empty_file(path: &RemotePath) -> Error {
    Error::new(
        Reason::EmptyFile,
        format!("{path:?} is empty, and 1Fichier cannot store empty files; leave it out"),
    )
    .at(path.as_str())
}

pub(super) fn etag_mismatch(path: &RemotePath) -> Error {
    Error::new(
        Reason::EtagMismatch,
        format!("{path:?} is not the file that the etag names any more; look again"),
    )
    .at(path.as_str())
}

impl PutSession {
    /// Straight to a node, if a connection is free. A missing parent must be
    /// made first, because the request begins with its id.
    async fn begin_stream(&mut self, scope: Scope, parent: &RemotePath, size: u64) -> Result<()> {
        let target = self
            .remote
            .folder_to_write(scope, parent, &mut self.made)
            .await?;
        let folder = target.id();
        self.folder = Some(target);
        let uploads = &self.remote.account.uploads;
        let stream = uploads
            .stream(scope, folder, &self.stored_name, size)
            .await
            .at_path(&self.path)?;
        self.sink = stream.map(|stream| Sink::Stream(Box::new(stream)));
        Ok(())
    }

    /// Bytes received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// SIZE_MISMATCH when there are more than announced, SPOOL_FULL, or when
    /// the upload node fails.
    pub async fn write(&mut self, data: Bytes) -> Result<()> {
        self.received += data.len() as u64;
        self.progress.add(data.len());
        match self.options.size {
            Some(size) if self.received > size => return Err(self.size_mismatch(size)),
            None if self.received > MAX_FILE_BYTES => {
                return check_size(&self.path, Some(self.received));
            }
            _ => {}
        }
        self.hasher.update(data.clone()).await;
        match &mut self.sink {
            Some(Sink::Spool(spool)) => spool.write(data).await.at_path(&self.path),
            Some(Sink::Stream(stream)) => stream.send(data).await.at_path(&self.path),
            Some(Sink::Replay(_)) => Ok(()),
            None => Err(Error::internal("a write after the end")),
        }
    }

    fn size_mismatch(&self, announced: u64) -> Error {
        Error::new(
            Reason::SizeMismatch,
            format!(
                "{announced} bytes of {:?} were announced and {} came; nothing was stored",
                self.path, self.received
            ),
        )
        .at(self.path.as_str())
        .with("announced_bytes", announced.to_string())
        .with("received_bytes", self.received.to_string())
    }

    /// Ends the content. Returns when the file is stored and verified, and
    /// what it replaces is removed. Dropping the future takes the upload back
    /// if it has not left yet.
    ///
    /// # Errors
    /// SIZE_MISMATCH, CHECKSUM_MISMATCH: nothing was stored. STORED_CONTENT_CORRUPT
    /// when 1Fichier kept storing something else.
    pub async fn commit(
        mut self,
        scope: Scope,
        size: u64,
        checksums: &[Checksum],
    ) -> Result<Stored> {
        if size != self.received
            || self
                .options
                .size
                .is_some_and(|announced| announced != self.received)
        {
            let announced = self
                .options
                .size
                .filter(|announced| *announced != self.received)
                .unwrap_or(size);
            return Err(self.size_mismatch(announced));
        }
        if self.received == 0 {
            return Err(empty_file(&self.path));
        }
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new([]));
        let mut sums = hasher.finish().await;
        if let Some(Sink::Replay(entry)) = &self.sink {
            return same_content(entry, self.received, &sums, checksums);
        }
        let sink = match self.sink.take() {
            Some(Sink::Spool(spool)) => {
                let content = spool.finish().await.at_path(&self.path)?;
                sums.extend(self.late_sums(checksums, &sums, &content).await?);
                Ready::Spooled(content)
            }
            Some(Sink::Stream(stream)) => {
                let missing = checksums
                    .iter()
                    .find(|sum| sums.iter().all(|known| known.algorithm != sum.algorithm));
                if let Some(sum) = missing {
                    return Err(Error::invalid_field(
                        "commit.checksums",
                        format_args!(
                            "a {} of a file that is not buffered must be named in the header already, or be recorded of every upload (`--record-hashes`)",
                            sum.algorithm
                        ),
                    ));
                }
                Ready::Streaming(stream)
            }
            Some(Sink::Replay(_)) | None => return Err(Error::internal("a second commit")),
        };
        for wanted in self.options.checksums.iter().chain(checksums) {
            if let Some(got) = sums.iter().find(|sum| sum.algorithm == wanted.algorithm)
                && got.hex != wanted.hex
            {
                return Err(Error::new(
                    Reason::ChecksumMismatch,
                    format!(
                        "the content of {:?} has another {} than announced; nothing was stored",
                        self.path, got.algorithm
                    ),
                )
                .at(self.path.as_str())
                .with("expected", wanted.hex.clone())
                .with("actual", got.hex.clone()));
            }
        }
        let whirlpool = sums
            .iter()
            .find(|sum| sum.algorithm == Algorithm::Whirlpool);
        let Some(whirlpool) = whirlpool else {
            return Err(Error::internal("the content was not hashed"));
        };
        let expected = Expected {
            name: self.stored_name.clone(),
            size: self.received,
            whirlpool: whirlpool.hex.clone(),
            older: Vec::new(),
        };

        // From here on the work goes on even if the caller goes away: what was
        // sent must be entered, and what it replaces removed.
        let cancel = CancellationToken::new();
        let guard: DropGuard = cancel.clone().drop_guard();
        let tasks = self.remote.account.tasks.clone();
        let operation = self.operation.clone();
        let store = operation.goes_on(self.store(scope, sink, expected, sums, cancel));
        let entry = tasks.spawn(store).await;
        guard.disarm();
        let entry =
            entry.map_err(|error| Error::internal(format!("an upload stopped: {error}")))??;
        Ok(Stored {
            entry,
            replayed: false,
        })
    }

    /// Checksums that only the commit asks for; buffered content can be read
    /// again.
    async fn late_sums(
        &self,
        wanted: &[Checksum],
        known: &[Checksum],
        content: &crate::transfer::Spooled,
    ) -> Result<Vec<Checksum>> {
        use futures::TryStreamExt;
        let missing: Vec<_> = wanted
            .iter()
            .map(|sum| sum.algorithm)
            .filter(|algorithm| known.iter().all(|sum| sum.algorithm != *algorithm))
            .collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let mut hasher = Hasher::new(missing);
        let mut bytes = content.read();
        while let Some(data) = bytes
            .try_next()
            .await
            .map_err(|error| Error::internal(format!("the upload buffer failed: {error}")))?
        {
            hasher.update(data).await;
        }
        Ok(hasher.finish().await)
    }

    async fn store(
        mut self,
        scope: Scope,
        mut content: Ready,
        mut expected: Expected,
        sums: Vec<Checksum>,
        cancel: CancellationToken,
    ) -> Result<Entry> {
        let account = Arc::clone(&self.remote.account);
        let remote = self.remote.clone();
        let path = self.path.clone();
        let (parent, segment) = path
            .split()
            .ok_or_else(|| Error::internal("the root was written"))?;
        let ready = async {
            // Those to one path make its parents together.
            let lock = account.locks.hold(Key::path(&path));
            let lock = if_it_waits(lock, || content.lend_connection()).await;
            let target = match self.folder.take() {
                Some(target) => target,
                None => {
                    let options = &self.options;
                    remote.check_target(scope, &path, options, true).await?;
                    remote
                        .folder_to_write(scope, &parent, &mut self.made)
                        .await?
                }
            };
            let claimed = remote.claim(scope, &target, &path, segment, &self.options);
            let claimed = if_it_waits(claimed, || content.lend_connection()).await?;
            Ok::<_, Error>((lock, claimed, target))
        };
        // Nothing was sent yet: who goes away takes it back.
        let (_lock, (_claim, older), target) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(caller_left(&path)),
            ready = ready => ready?,
        };
        expected.older = older.iter().map(|at| at.file.url.to_string()).collect();
        let folder = target.id();
        let request = self.request.as_ref();
        let mut write = Write {
            before: older.iter().map(FileAt::target).collect(),
            replaces: self.options.mode != WriteMode::KeepBoth,
            request: request.map(|(id, _)| (id.clone(), self.options.arguments(&path))),
            modified: self.options.modified,
            ..Write::new(
                &remote,
                &path,
                folder,
                &expected.name,
                expected.size,
                Whirlpool::from_hex(&expected.whirlpool),
            )
        };
        let there: Vec<_> = older.into_iter().map(|at| at.file).collect();
        let adopted = account.adopt(&write, &there);
        if let Some(adopted) = &adopted {
            write.before.retain(|target| *target.url != *adopted.url);
        }
        let intent = account
            .intend(vec![folder], Vec::new(), &Task::Write(write.clone()))
            .await
            .at_path(&path)?;
        let was_there = adopted.is_some();
        let stored = match (adopted, content) {
            (Some(file), _) => {
                tracing::info!(%path, "an earlier call has stored this content after all");
                Ok((stored(file, &expected), false))
            }
            (None, Ready::Spooled(content)) => {
                let uploads = &account.uploads;
                let stored = uploads.store(scope, folder, expected.clone(), content, cancel);
                stored
                    .await
                    .map(|stored| (stored.file, stored.perhaps_twice))
            }
            (None, Ready::Streaming(stream)) => {
                let stored = stream.commit(expected.clone()).await;
                stored.map(|stored| (stored, false))
            }
        };
        let (stored, perhaps_twice) = match stored {
            Ok(stored) => stored,
            Err(error) if error.is_unresolved() => {
                // It may show yet, and then what it replaces goes.
                account.catalog.doubt(folder);
                account.leave(intent, Task::Write(write));
                return Err(error).at_path(&path);
            }
            Err(error) => {
                intent.done();
                return Err(error).at_path(&path);
            }
        };
        let mut file = record(stored, expected);
        let folders: Vec<i64> = target.directory.ids().collect();
        remote.stamp(&folders, segment, &mut file).await;
        // 1Fichier's Whirlpool is that of the bytes that were hashed.
        remote.record(&file, sums);
        account.catalog.file_added(folder, file.clone());
        account.vouch_for(&file);
        // Before anything older goes: it may be the only copy in its place.
        let scope = Scope::new(scope.priority);
        let (landed, file) = remote.confirm_landing(scope, &parent, folder, &file).await;
        let made = std::mem::take(&mut self.made);
        let folders = match landed == folder {
            true => folders,
            false => {
                // What was made in a directory that another program has moved.
                drop(target);
                remote.unmake_moved(made).await;
                vec![landed]
            }
        };
        match self.options.modified {
            Some(time) => account.catalog.set_modified(&file.url, time),
            // It may have that of the earlier call.
            None if was_there => account.catalog.forget_modified(&file.url),
            None => {}
        }
        // The file is safe: what follows is not the caller's to wait for or to
        // cancel.
        let left = match self.options.mode {
            WriteMode::KeepBoth => Vec::new(),
            _ => {
                remote.supersede(&path, Some(&file.url)).await;
                remote.remove_older(&path, &folders, segment, &file).await
            }
        };
        let count = remote.count(&folders, segment).await;
        if let Some((id, _lock)) = self.request.take() {
            let what = replay::Stored::File(file.clone());
            account.remember(id, self.options.arguments(&path), &path, what);
        }
        if perhaps_twice {
            account.watch_for_second(&write, landed, &file);
        }
        account.written(intent, write, landed, &file, left);
        account.catalog.settle().await.at_path(&path)?;
        Ok(remote.file_entry(path, &file, count).await)
    }
}

/// Content that is complete and checked.
#[derive(Debug)]
enum Ready {
    Spooled(crate::transfer::Spooled),
    Streaming(Box<Streaming>),
}

impl Ready {
    fn lend_connection(&mut self) {
        if let Self::Streaming(stream) = self {
            stream.lend_connection();
        }
    }
}

/// Does something before work that does not end at once.
async fn if_it_waits<T>(work: impl Future<Output = T>, first: impl FnOnce()) -> T {
    let mut work = std::pin::pin!(work);
    if let Poll::Ready(done) = futures::poll!(&mut work) {
        return done;
    }
    first();
    work.await
}

impl Drop for PutSession {
    /// Folders made for an upload that came to nothing go again.
    fn drop(&mut self) {
        let made = std::mem::take(&mut self.made);
        if !made.is_empty() {
            // Nothing is written to them any more.
            self.folder = None;
            let remote = self.remote.clone();
            self.remote
                .account
                .tasks
                .spawn(operation(async move { remote.unmake(made).await }));
        }
    }
}

/// What is there already, as an upload would tell it.
fn stored(file: FileRecord, expected: &Expected) -> StoredFile {
    StoredFile {
        url: file.url.to_string(),
        name: file.name.to_string(),
        size: Some(file.size),
        whirlpool: expected.whirlpool.clone(),
    }
}

fn record(stored: StoredFile, expected: Expected) -> FileRecord {
    FileRecord {
        url: stored.url.into(),
        name: stored.name.into(),
        size: expected.size,
        time: None,
        whirlpool: Whirlpool::from_hex(&expected.whirlpool),
        content_type: "".into(),
        password: false,
        acl: false,
        cdn: false,
        order: 0,
    }
}

impl Remote {
    /// How many files of this name the folders are known to hold: at least the
    /// one that was just put there.
    pub(super) async fn count(&self, folders: &[i64], segment: &str) -> usize {
        let mut count = 0;
        for folder in folders {
            let known = self.account.catalog.peek(*folder).await;
            count += known.map_or(0, |known| {
                known.content.find_files(self.codec, segment).len()
            });
        }
        count.max(1)
    }

    /// Gives a file that was stored just now its number, and the time that
    /// listings will tell of it, as far as is known: where 1Fichier's clock is
    /// not, it is no older than what has its path.
    pub(super) async fn stamp(&self, folders: &[i64], segment: &str, file: &mut FileRecord) {
        let account = &self.account;
        let mut newest = None;
        for folder in folders {
            let known = account.catalog.peek(*folder).await;
            newest = newest.max(known.and_then(|known| {
                let files = known.content.find_files(self.codec, segment);
                files.first().and_then(|file| file.time)
            }));
        }
        let now = account.upload_time();
        // Its answers tell whole seconds, and tell them before the upload.
        let is_vague = |newest: i64| account.client.time().is_none() || newest - now <= TOLERANCE;
        file.time = newest
            .filter(|newest| *newest > now && is_vague(*newest))
            .or(Some(now));
        file.order = account.catalog.next_order();
    }
}
