//! Operations on paths, with rclone's semantics: between the faces, which
//! speak to clients, and the 1Fichier client.

mod about;
mod activity;
mod batch;
mod carry;
mod connection;
mod deadline;
mod dedupe;
mod delete;
mod directories;
mod entry;
mod feed;
mod in_use;
mod journal;
mod landing;
mod links;
mod list;
mod locks;
mod login;
mod lost;
mod modified;
mod move_dir;
mod path;
mod purge;
mod put;
mod questions;
mod read;
mod recorded;
mod recovery;
mod refresh;
mod relocate;
mod replace;
mod replay;
mod resolve;
mod rmdir;
mod seen;
mod twins;
mod warned;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use std::path::PathBuf;

use tokio_util::task::AbortOnDropHandle;

pub use about::Quota;
pub use activity::{Activity, BudgetActivity, CatalogActivity, LoginActivity, TreeActivity};
pub use connection::{Check, CheckState};
pub use deadline::{Ended, until_deadline};
pub use dedupe::{Dedupe, DedupeMode, DedupeOptions, Group};
pub use delete::DeleteTarget;
pub use entry::{Entry, EntryKind};
pub use feed::{NotTaken, room};
pub use links::LinkOptions;
pub use list::{ListOptions, Listing, Page};
pub use login::Login;
pub use path::{MAX_DEPTH, MAX_NAME_BYTES, RemotePath};
pub use purge::{Purge, PurgeOptions, PurgeProgress};
pub use put::{Begun, PutOptions, PutSession, Stored, WriteMode};
pub use read::{ByteRange, HashValue, Piece, Read, ReadOptions, Resolved};
pub use refresh::Refreshed;
pub use relocate::RelocateOptions;

use crate::catalog::{self, Catalog, Source};
use crate::clock::{Clock, to_millis};
use crate::encoding::{Mask, NameCodec};
use crate::error::{Error, Reason, Result};
use crate::fichier::{Access, Budget, Client, Password, Scope, ShareId, SharedFolder, time};
use crate::spans::Tasks;
use crate::transfer::{Algorithms, Downloads, Slots, SpoolDir, Tracker, UploadLimits, Uploads};

/// Most targets of one delete request.
pub const MAX_DELETE_TARGETS: usize = 10_000;
/// Most ranges of one read.
pub const MAX_RANGES: usize = 1_000;
/// Most entries of one page.
pub const MAX_PAGE: usize = 5_000;

/// What an account needs to work.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// What is remembered.
    pub catalog: catalog::Settings,
    /// How much is uploaded at once.
    pub uploads: UploadLimits,
    /// How many transfers there may be, of all accounts together.
    pub slots: Arc<Slots>,
    /// Checksums that are computed and recorded beside Whirlpool.
    pub record_hashes: Algorithms,
    /// Where the catalog is kept; one file for each account.
    pub catalog_dir: PathBuf,
    /// The time of day.
    pub clock: Clock,
}

/// A public folder that is read in place of an account's own tree.
#[derive(Clone, Debug)]
pub struct Share {
    /// Which one.
    pub id: ShareId,
    /// Its password.
    pub password: Option<Password>,
    /// The budget of 1Fichier's website, one for all public folders.
    pub pages: Arc<Budget>,
}

/// The tree of one 1Fichier account, or one public folder: one catalog,
/// whatever the number of remotes and clients that use it.
#[derive(Debug)]
pub struct Account {
    login: Arc<Login>,
    /// Makes no call that changes anything for a public folder.
    client: Arc<Client>,
    /// What listings are counted against, where that is not the client's.
    pages: Option<Arc<Budget>>,
    catalog: Arc<Catalog>,
    uploads: Arc<Uploads>,
    downloads: Arc<Downloads>,
    batches: Arc<batch::Batches>,
    tracker: Tracker,
    spool: Arc<SpoolDir>,
    /// Whole files that were read and had another checksum than the stored one.
    read_wrong: AtomicU64,
    locks: locks::Locks,
    in_use: in_use::FoldersInUse,
    landings: landing::Landings,
    recovery: recovery::Recovery,
    warned: warned::Warned,
    questions: questions::Questions,
    clock: Clock,
    record_hashes: Algorithms,
    tasks: Tasks,
    _budget_keepers: Vec<AbortOnDropHandle<()>>,
}

impl Account {
    /// An account, or a public folder that is read with its key, that was not
    /// spoken to yet.
    ///
    /// # Errors
    /// A text for the operator, when the catalog cannot be used.
    pub fn open(
        login: &Arc<Login>,
        share: Option<Share>,
        mut settings: AccountSettings,
        spool: Arc<SpoolDir>,
        tasks: Tasks,
    ) -> Result<Arc<Self>, String> {
        let mut client = Arc::clone(&login.client);
        let pages = share.as_ref().map(|share| Arc::clone(&share.pages));
        let (fingerprint, source) = match share {
            None => (client.fingerprint(), Source::Account(Arc::clone(&client))),
            Some(Share {
                id,
                password,
                pages,
            }) => {
                client = Arc::new(client.read_only());
                // Others write to it.
                settings.catalog.exclusive = false;
                let shared = SharedFolder::new(Arc::clone(&client), pages, id, password);
                (shared.fingerprint(), Source::Shared(Arc::new(shared)))
            }
        };
        let catalog = Catalog::open(
            &settings.catalog_dir.join(format!("{fingerprint}.db")),
            &fingerprint,
            source,
            settings.catalog,
            settings.clock,
        )?;
        login.remember(about::Known::remembered(&catalog));
        let keep = |budget: &Arc<Budget>, facts| {
            keep_budget(
                Arc::clone(budget),
                facts,
                Arc::clone(&catalog),
                settings.clock,
            )
        };
        let mut budget_keepers = vec![keep(client.budget(), API_FACTS)];
        budget_keepers.extend(pages.iter().map(|pages| keep(pages, PAGE_FACTS)));
        let landings = landing::Landings::new(Arc::clone(&catalog));
        let account = Arc::new(Self {
            login: Arc::clone(login),
            batches: batch::Batches::new(
                Arc::clone(&client),
                Arc::clone(&catalog),
                landings.clone(),
                tasks.clone(),
            ),
            catalog,
            uploads: Uploads::new(Arc::clone(&client), settings.uploads, tasks.clone()),
            downloads: Arc::clone(&login.downloads),
            pages,
            tracker: Tracker::new(settings.slots),
            client,
            spool,
            read_wrong: AtomicU64::new(0),
            locks: locks::Locks::default(),
            in_use: in_use::FoldersInUse::default(),
            landings,
            recovery: recovery::Recovery::default(),
            warned: warned::Warned::default(),
            questions: questions::Questions::default(),
            clock: settings.clock,
            record_hashes: settings.record_hashes,
            tasks,
            _budget_keepers: budget_keepers,
        });
        account.resume();
        Ok(account)
    }

    /// Whether it is a public folder.
    fn is_shared(&self) -> bool {
        self.pages.is_some()
    }

    /// What listings are counted against.
    fn listing_budget(&self) -> &Arc<Budget> {
        self.pages.as_ref().unwrap_or_else(|| self.client.budget())
    }

    /// Now by 1Fichier's clock, as a listing will tell it of what is stored
    /// now.
    fn upload_time(&self) -> i64 {
        let own = || to_millis(self.clock.now()).div_euclid(1_000);
        time::as_listed(self.client.time().unwrap_or_else(own))
    }
}

/// Under which names a budget is remembered: its lock, and its last call.
type BudgetFacts = [&'static str; 2];
const API_FACTS: BudgetFacts = ["locked_until", "last_call"];
const PAGE_FACTS: BudgetFacts = ["pages_locked_until", "last_page"];

/// Keeps a request budget across restarts: 1Fichier remembers the calls and
/// its locks too.
fn keep_budget(
    budget: Arc<Budget>,
    [lock, call]: BudgetFacts,
    catalog: Arc<Catalog>,
    clock: Clock,
) -> AbortOnDropHandle<()> {
    if let Some((until, text)) = catalog.fact(lock)
        && let Ok(remaining) = until.time.duration_since(clock.now())
    {
        budget.restore_lock(remaining, &text);
    }
    if catalog
        .fact(call)
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
                catalog.remember_fact(call, String::new(), now);
                known_call = Some(now);
            }
            let Some((remaining, text)) = budget.activity().locked else {
                continue;
            };
            let until = now + remaining;
            if known_lock.is_none_or(|known| until > known + Duration::from_secs(1)) {
                catalog.remember_fact(lock, text, until);
                known_lock = Some(until);
            }
        }
    }))
}

/// A named view of an account, with its own name encoding and passwords.
#[derive(Clone, Debug)]
pub struct Remote {
    name: Arc<str>,
    account: Arc<Account>,
    codec: NameCodec,
    access: Access,
}

/// How a remote views its account: rclone's options of the `fichier` backend.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// How names are stored.
    pub encoding: Mask,
    /// How files are read.
    pub access: Access,
}

impl Remote {
    /// A view of an account.
    pub fn new(name: &str, account: Arc<Account>, options: RemoteOptions) -> Self {
        Self {
            name: name.into(),
            account,
            codec: NameCodec::new(options.encoding),
            access: options.access,
        }
    }

    /// Whether nothing can be written: it shows a public folder.
    pub fn is_read_only(&self) -> bool {
        self.account.is_shared()
    }

    /// The first thing that every change asks.
    ///
    /// # Errors
    /// READ_ONLY.
    pub fn check_writable(&self) -> Result<()> {
        if !self.is_read_only() {
            return Ok(());
        }
        Err(Error::new(
            Reason::ReadOnly,
            format!(
                "the remote {:?} shows a shared folder, which cannot be changed; write to a remote without `shared_folder`",
                self.name
            ),
        )
        .with("remote", &*self.name))
    }

    /// Its name in requests.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Fails as soon as 1Fichier has locked the account (or its website, for a
    /// public folder) for longer than the caller waits; otherwise never ends.
    pub async fn locked_out(&self, scope: Scope) -> Error {
        self.account.listing_budget().locked_out(scope).await.into()
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

    /// The server is gone: nothing is asked of 1Fichier any more.
    pub fn close(&self) {
        for remote in self.all() {
            remote.account.client.budget().close();
            remote.account.listing_budget().close();
        }
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
                Reason::RemoteNotFound,
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
