//! Operations on paths, with rclone's semantics: between the faces, which
//! speak to clients, and the 1Fichier client.

mod about;
mod activity;
mod batch;
mod carry;
mod connection;
mod delete;
mod directories;
mod entry;
mod in_use;
mod landing;
mod list;
mod move_dir;
mod path;
mod purge;
mod put;
mod read;
mod refresh;
mod relocate;
mod replace;
mod replay;
mod resolve;
mod rmdir;
mod twins;
mod warned;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use std::path::PathBuf;

use tokio::sync::OwnedMutexGuard;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use about::Quota;
pub use activity::AccountActivity;
pub use connection::{Check, CheckState};
pub use delete::DeleteTarget;
pub use entry::{Entry, EntryKind};
pub use list::{ListOptions, Listing, Page};
pub use path::{MAX_DEPTH, MAX_NAME_BYTES, RemotePath};
pub use purge::{Purge, PurgeOptions, PurgeProgress};
pub use put::{Begun, PutOptions, PutSession, Stored, WriteMode};
pub use read::{ByteRange, HashValue, Piece, Read, ReadOptions, Resolved};
pub use refresh::Refreshed;
pub use relocate::RelocateOptions;

use crate::catalog::{self, Catalog};
use crate::clock::Clock;
use crate::encoding::{Mask, NameCodec};
use crate::error::{Error, Result};
use crate::fichier::{ApiKey, Client, Hosts, Limits, Scope};
use crate::transfer::{Downloads, SpoolDir, Tracker, UploadLimits, Uploads};

/// Most targets of one delete request.
pub const MAX_DELETE_TARGETS: usize = 10_000;
/// Most ranges of one read.
pub const MAX_RANGES: usize = 1_000;
/// Most entries of one page.
pub const MAX_PAGE: usize = 5_000;

/// What an account needs to work.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Where the API is.
    pub hosts: Hosts,
    /// The secret.
    pub key: ApiKey,
    /// The request budget.
    pub limits: Limits,
    /// What is remembered.
    pub catalog: catalog::Settings,
    /// How much is uploaded at once.
    pub uploads: UploadLimits,
    /// Downloads at once.
    pub downloads: usize,
    /// Where the catalog is kept; one file for each account.
    pub catalog_dir: PathBuf,
    /// The time of day.
    pub clock: Clock,
}

/// One 1Fichier account: one budget and one catalog, whatever the number of
/// remotes and clients that use it.
#[derive(Debug)]
pub struct Account {
    client: Arc<Client>,
    catalog: Arc<Catalog>,
    uploads: Arc<Uploads>,
    downloads: Arc<Downloads>,
    batches: Arc<batch::Batches>,
    tracker: Tracker,
    spool: Arc<SpoolDir>,
    locks: Locks,
    in_use: in_use::FoldersInUse,
    landings: landing::Landings,
    warned: warned::Warned,
    clock: Clock,
    user: tokio::sync::Mutex<Option<about::Known>>,
    tasks: TaskTracker,
    _budget_keeper: AbortOnDropHandle<()>,
}

impl Account {
    /// An account that was not spoken to yet.
    ///
    /// # Errors
    /// A text for the operator, when the catalog cannot be used or the TLS
    /// library cannot start.
    pub fn open(
        settings: AccountSettings,
        spool: Arc<SpoolDir>,
        tasks: TaskTracker,
    ) -> Result<Arc<Self>, String> {
        let fingerprint = settings.key.fingerprint(&settings.hosts);
        let client = Client::new(settings.hosts, settings.key, settings.limits);
        let client = Arc::new(client.map_err(|error| error.to_string())?);
        let catalog = Catalog::open(
            &settings.catalog_dir.join(format!("{fingerprint}.db")),
            &fingerprint,
            Arc::clone(&client),
            settings.catalog,
            settings.clock,
        )?;
        let user = about::Known::remembered(&catalog);
        let landings = landing::Landings::default();
        let budget_keeper = keep_budget(Arc::clone(&client), Arc::clone(&catalog), settings.clock);
        Ok(Arc::new(Self {
            batches: batch::Batches::new(
                Arc::clone(&client),
                Arc::clone(&catalog),
                landings.clone(),
                tasks.clone(),
            ),
            catalog,
            uploads: Uploads::new(Arc::clone(&client), settings.uploads),
            downloads: Downloads::new(Arc::clone(&client), settings.downloads),
            tracker: Tracker::default(),
            client,
            spool,
            locks: Locks::default(),
            in_use: in_use::FoldersInUse::default(),
            landings,
            warned: warned::Warned::default(),
            clock: settings.clock,
            user: tokio::sync::Mutex::new(user),
            tasks,
            _budget_keeper: budget_keeper,
        }))
    }
}

/// Keeps the request budget across restarts: 1Fichier remembers the calls and
/// its locks too.
fn keep_budget(client: Arc<Client>, catalog: Arc<Catalog>, clock: Clock) -> AbortOnDropHandle<()> {
    const LOCK: &str = "locked_until";
    const CALL: &str = "last_call";
    let budget = client.budget();
    if let Some((until, text)) = catalog.fact(LOCK)
        && let Ok(remaining) = until.time.duration_since(clock.now())
    {
        budget.restore_lock(remaining, &text);
    }
    if catalog
        .fact(CALL)
        .is_some_and(|(at, _)| clock.age(at) < Duration::from_secs(3))
    {
        budget.restore_calls();
    }
    let mut calls = budget.calls();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut known_lock = None;
        let mut known_call = None;
        // Every call wakes this.
        while calls.changed().await.is_ok() {
            let now = clock.now();
            if known_call.is_none_or(|known| now > known + Duration::from_secs(1)) {
                catalog.remember_fact(CALL, String::new(), now);
                known_call = Some(now);
            }
            let Some((remaining, text)) = client.budget().activity().locked else {
                continue;
            };
            let until = now + remaining;
            if known_lock.is_none_or(|known| until > known + Duration::from_secs(1)) {
                catalog.remember_fact(LOCK, text, until);
                known_lock = Some(until);
            }
        }
    }))
}

/// A named view of an account, with its own name encoding.
#[derive(Clone, Debug)]
pub struct Remote {
    name: Arc<str>,
    account: Arc<Account>,
    codec: NameCodec,
}

/// How a remote views its account: rclone's options of the `fichier` backend.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// How names are stored.
    pub encoding: Mask,
}

impl Remote {
    /// A view of an account.
    pub fn new(name: &str, account: Arc<Account>, options: RemoteOptions) -> Self {
        Self {
            name: name.into(),
            account,
            codec: NameCodec::new(options.encoding),
        }
    }

    /// Its name in requests.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Fails as soon as 1Fichier has locked the account for longer than the
    /// caller waits; otherwise never ends.
    pub async fn locked_out(&self, scope: Scope) -> Error {
        self.account.client.budget().locked_out(scope).await.into()
    }
}

/// The configured remotes; the first is the default.
#[derive(Clone, Debug)]
pub struct Remotes(Arc<[Remote]>);

impl Remotes {
    /// Takes at least one remote.
    pub fn new(remotes: Vec<Remote>) -> Self {
        Self(remotes.into())
    }

    /// All of them.
    pub fn all(&self) -> &[Remote] {
        &self.0
    }

    /// The remote of a request.
    ///
    /// # Errors
    /// REMOTE_NOT_FOUND.
    pub fn get(&self, name: &str) -> Result<&Remote> {
        let found = if name.is_empty() {
            self.0.first()
        } else {
            self.0.iter().find(|remote| remote.name() == name)
        };
        found.ok_or_else(|| {
            let known: Vec<_> = self.0.iter().map(Remote::name).collect();
            Error::new(
                crate::error::Reason::RemoteNotFound,
                format!(
                    "no remote is named {name:?}; configured: {}",
                    known.join(", ")
                ),
            )
            .with("remote", name)
            .field("remote")
        })
    }
}

/// Locks by key, which exist only while somebody holds or wants them.
#[derive(Default)]
struct Locks(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks").finish_non_exhaustive()
    }
}

impl Locks {
    async fn hold(&self, key: String) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if locks.len() > 1_000 {
                locks.retain(|_, lock| lock.strong_count() > 0);
            }
            match locks.get(&key).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    locks.insert(key, Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}

/// Gives an error the path that the caller asked for.
trait AtPath<T> {
    fn at_path(self, path: &RemotePath) -> Result<T>;
}

impl<T, E: Into<Error>> AtPath<T> for std::result::Result<T, E> {
    fn at_path(self, path: &RemotePath) -> Result<T> {
        self.map_err(|error| error.into().at(path.as_str()))
    }
}

/// How old an answer may be; `None` means as configured.
type Staleness = Option<Duration>;
