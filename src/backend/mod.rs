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
mod identity;
mod in_use;
mod journal;
mod keep_budget;
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

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

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

use crate::catalog::{self, Catalog, Shelf, Source};
use crate::clock::{Clock, to_millis};
use crate::encoding::{Mask, NameCodec};
use crate::error::{Error, Reason, Result};
use crate::fichier::{Access, Budget, Client, Password, Scope, ShareId, SharedFolder, time};
use crate::spans::{self, Tasks};
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
    /// Where what is remembered is kept.
    pub shelf: Arc<Shelf>,
    /// Until then 1Fichier is asked whose account it is, if that is not known;
    /// without it, it is not.
    pub identify: Option<CancellationToken>,
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
    shelf: Arc<Shelf>,
    _budget_keepers: Vec<AbortOnDropHandle<()>>,
}

/// The tree of a login, or a public folder that is read with it: where it comes
/// from, and by which names it is remembered.
fn source_of(login: &Login, share: Option<Share>) -> (Arc<Client>, Source, Vec<String>) {
    let client = Arc::clone(&login.client);
    let Some(Share {
        id,
        password,
        pages,
    }) = share
    else {
        let names = vec![client.fingerprint()];
        return (Arc::clone(&client), Source::Account(client), names);
    };
    let client = Arc::new(client.read_only());
    let shared = SharedFolder::new(Arc::clone(&client), pages, id, password);
    let names = shared.fingerprints();
    (client, Source::Shared(Arc::new(shared)), names)
}

impl Account {
    /// An account, or a public folder that is read with its key, that was not
    /// spoken to yet.
    ///
    /// # Errors
    /// A text for the operator, when there is no thread for the catalog.
    pub fn open(
        login: &Arc<Login>,
        share: Option<Share>,
        mut settings: AccountSettings,
        spool: Arc<SpoolDir>,
        tasks: Tasks,
    ) -> Result<Arc<Self>, String> {
        let pages = share.as_ref().map(|share| Arc::clone(&share.pages));
        // Others write to a public folder.
        settings.catalog.exclusive &= share.is_none();
        let (client, source, names) = source_of(login, share);
        let (shelf, clock) = (settings.shelf, settings.clock);
        let catalog = Catalog::open(&shelf, names, source, settings.catalog, clock)?;
        login.remember(about::Known::remembered(&catalog));
        let keep = |budget: &Arc<Budget>, facts| {
            keep_budget::keep(Arc::clone(budget), facts, &catalog, clock)
        };
        let mut budget_keepers = vec![keep(client.budget(), keep_budget::API)];
        budget_keepers.extend(pages.iter().map(|pages| keep(pages, keep_budget::PAGES)));
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
            clock,
            record_hashes: settings.record_hashes,
            tasks,
            shelf,
            _budget_keepers: budget_keepers,
        });
        account.resume();
        tokio::spawn(learn(Arc::downgrade(&account), account.catalog.news()));
        if let Some(stopped) = settings.identify
            && !account.is_shared()
        {
            let span = spans::background("identity", None);
            let finding = identity::find_out(Arc::downgrade(&account)).instrument(span);
            // It would keep the catalog open.
            tokio::spawn(stopped.run_until_cancelled_owned(finding));
        }
        Ok(account)
    }

    /// The names by which the tree of a login, or a public folder that is read
    /// with it, is remembered.
    pub fn names(login: &Login, share: Option<Share>) -> Vec<String> {
        source_of(login, share).2
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

/// Takes up what earlier runs have left, where that is learnt after the start.
async fn learn(account: Weak<Account>, mut news: tokio::sync::watch::Receiver<()>) {
    while news.changed().await.is_ok() {
        let Some(account) = account.upgrade() else {
            return;
        };
        account.catalog.learn();
        account.resume();
    }
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
    /// READ_ONLY, STATE_UNAVAILABLE.
    pub fn check_writable(&self) -> Result<()> {
        if !self.is_read_only() {
            return Ok(self.account.catalog.check_kept()?);
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
