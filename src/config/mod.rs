//! What the server is told: by flags, environment, a TOML file and rclone's
//! configuration.
//!
//! The first place that states something wins:
//!
//! 1. a flag,
//! 2. `PLUTON_FICHIER_…`,
//! 3. `RCLONE_CONFIG_<REMOTE>_…`, 4. `RCLONE_FICHIER_…` (options of remotes),
//! 5. the TOML file,
//! 6. `rclone.conf` (options of remotes),
//! 7. the default.
//!
//! Nothing stops at the first problem: [`ServeArgs::load`] finds them all, and
//! where every value comes from.

mod args;
mod environment;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod layers;
mod listen;
mod load;
mod network;
mod notes;
mod obscure;
mod options;
mod rclone;
mod remotes;
mod report;
mod schema;
mod server;
#[cfg(test)]
mod tests;
mod toml_file;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use crate::checksum::Algorithms;
use crate::clock::Clock;
use crate::encoding::Mask;
use crate::fichier::{ApiKey, Hosts, Limits, Password, ShareId};
use crate::tls::TlsFiles;
use crate::transfer::{DownloadLimits, UploadLimits};

pub use args::{
    FileArgs, LogArgs, LogFormat, PasswordFormat, RemoteArgs, ServeArgs, ServerArgs, StateArgs,
    with_variables,
};
pub use environment::Environment;
pub use listen::Listen;
pub use load::{Loaded, Logging};
pub use report::Report;

/// The real API.
pub const API_URL: &str = "https://api.1fichier.com/v1";

/// Where the accounts are.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// The emulator, in this process.
    Emulator,
    /// An API on the network.
    Api(Hosts),
}

/// A remote: an account and how it is seen. The options are those of rclone's
/// `fichier` backend.
#[derive(Clone, Debug)]
pub struct RemoteConfig {
    /// Its name in requests.
    pub name: String,
    /// The account; `None` means the emulated one.
    pub key: Option<ApiKey>,
    /// Name encoding.
    pub encoding: Mask,
    /// Password of the files.
    pub file_password: Option<Password>,
    /// Password of the shared folder.
    pub folder_password: Option<Password>,
    /// A public folder, which then is all that the remote shows.
    pub shared_folder: Option<ShareId>,
    /// Read with CDN credits.
    pub cdn: bool,
    /// A word on it, for people.
    pub description: String,
}

impl RemoteConfig {
    /// A remote with rclone's defaults.
    pub fn new(name: &str, key: Option<ApiKey>) -> Self {
        Self {
            name: name.to_owned(),
            key,
            encoding: Mask::FICHIER,
            file_password: None,
            folder_password: None,
            shared_folder: None,
            cdn: false,
            description: String::new(),
        }
    }
}

/// What `serve` does.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses of the gRPC service.
    pub grpc_listen: Vec<Listen>,
    /// Addresses of the HTTP faces.
    pub http_listen: Vec<Listen>,
    /// Address of metrics, health and the status page, if they are wanted.
    pub admin_listen: Option<Listen>,
    /// TLS for the TCP ones.
    pub tls: Option<TlsFiles>,
    /// Calls on Unix sockets need a token too, and those on TCP also when there
    /// is none.
    pub require_token: bool,
    /// Most connections of each address.
    pub max_connections: usize,
    /// Where the accounts are.
    pub upstream: Upstream,
    /// The remotes, at least one; the first is the default.
    pub remotes: Vec<RemoteConfig>,
    /// For files; `None` means a temporary directory.
    pub state_dir: Option<PathBuf>,
    /// How long a listed directory counts as known.
    pub freshness: Duration,
    /// Nobody else writes to the account.
    pub exclusive: bool,
    /// What cannot be noted on disk is not done.
    pub state_required: bool,
    /// 1Fichier is asked once whose account a key opens.
    pub identify: bool,
    /// Most bytes of buffered uploads.
    pub spool_bytes: u64,
    /// How much is uploaded at once.
    pub uploads: UploadLimits,
    /// How much is downloaded at once.
    pub downloads: DownloadLimits,
    /// Most transfers in work, whichever way they go.
    pub max_transfers: usize,
    /// Checksums that are computed and recorded beside Whirlpool.
    pub record_hashes: Algorithms,
    /// The request budget.
    pub limits: Limits,
    /// How long transfers may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// The time of day.
    pub clock: Clock,
}
