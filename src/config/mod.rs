//! What `serve` is told by flags and environment, checked.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::checksum::Algorithms;
use crate::clock::Clock;
use crate::encoding::Mask;
use crate::fichier::{ApiKey, Hosts, Limits, Password};
use crate::transfer::UploadLimits;

/// The real API.
pub const API_URL: &str = "https://api.1fichier.com/v1";

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => {
                Err("unix: needs a path, for example unix:/run/pluton-fichier/grpc.sock".to_owned())
            }
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .replace("localhost:", "127.0.0.1:")
                .parse()
                .map(Self::Tcp)
                .map_err(|_| {
                    "not an ADDRESS:PORT like 127.0.0.1:50051, and not unix:/path".to_owned()
                }),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Options of `serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Address of the gRPC service: ADDRESS:PORT or unix:/path; may be given several times.
    #[arg(
        long,
        env = "PLUTON_FICHIER_GRPC_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:50051",
        value_delimiter = ','
    )]
    pub grpc_listen: Vec<Listen>,

    /// Start an emulated 1Fichier account in this process; no real account is needed or touched.
    #[arg(long, env = "PLUTON_FICHIER_EMULATOR", conflicts_with_all = ["api_url", "api_key_file"])]
    pub emulator: bool,

    /// File that holds the 1Fichier API key. The key itself may stand in PLUTON_FICHIER_API_KEY.
    #[arg(long, env = "PLUTON_FICHIER_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// URL of the 1Fichier API.
    #[arg(long, env = "PLUTON_FICHIER_API_URL", value_name = "URL")]
    pub api_url: Option<String>,

    /// Directory for buffered uploads and what is remembered [default: below $XDG_STATE_HOME].
    #[arg(long, env = "PLUTON_FICHIER_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Name of the remote in requests.
    #[arg(
        long,
        env = "PLUTON_FICHIER_REMOTE_NAME",
        value_name = "NAME",
        default_value = "fichier"
    )]
    pub remote_name: String,

    /// Name encoding, as rclone's option of that name.
    #[arg(long, env = "PLUTON_FICHIER_ENCODING", value_name = "MASK", default_value_t = Mask::FICHIER)]
    pub encoding: Mask,

    /// How long a listed directory counts as known, in seconds.
    #[arg(
        long,
        env = "PLUTON_FICHIER_FRESHNESS",
        value_name = "SECONDS",
        default_value_t = 300
    )]
    pub freshness: u64,

    /// Nobody else writes to the account: what is known stays true until told otherwise.
    #[arg(long, env = "PLUTON_FICHIER_EXCLUSIVE")]
    pub exclusive: bool,

    /// Most bytes of uploads that wait in the state directory.
    #[arg(long, env = "PLUTON_FICHIER_SPOOL_BYTES", value_name = "BYTES", default_value_t = 10 << 30)]
    pub spool_bytes: u64,

    /// Connections to upload nodes at once.
    #[arg(long, env = "PLUTON_FICHIER_UPLOADS", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=30))]
    pub uploads: u16,

    /// Most bytes of files that leave together in one upload.
    #[arg(long, env = "PLUTON_FICHIER_UPLOAD_GROUP_BYTES", value_name = "BYTES", default_value_t = 256 << 20)]
    pub upload_group_bytes: u64,

    /// Most files that leave together in one upload.
    #[arg(long, env = "PLUTON_FICHIER_UPLOAD_GROUP_FILES", value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub upload_group_files: u16,

    /// Larger files of known size stream straight through; smaller ones are buffered and leave in groups.
    #[arg(long, env = "PLUTON_FICHIER_STREAM_FROM", value_name = "BYTES", default_value_t = 16 << 20)]
    pub stream_from: u64,

    /// Connections to download servers at once.
    #[arg(long, env = "PLUTON_FICHIER_DOWNLOADS", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=30))]
    pub downloads: u16,

    /// Checksums that are computed of every upload beside Whirlpool, and remembered: sha256, md5, sha1, blake3, crc32c, or none.
    #[arg(
        long,
        env = "PLUTON_FICHIER_RECORD_HASHES",
        value_name = "LIST",
        default_value = "sha256,md5"
    )]
    pub record_hashes: Algorithms,

    /// Calls a second to the API; 0 removes every limit and is for emulators only.
    #[arg(
        long,
        env = "PLUTON_FICHIER_CALLS_PER_SECOND",
        value_name = "N",
        default_value_t = 3.0
    )]
    pub calls_per_second: f64,

    /// How long transfers may go on after SIGTERM, in seconds.
    #[arg(
        long,
        env = "PLUTON_FICHIER_SHUTDOWN_GRACE",
        value_name = "SECONDS",
        default_value_t = 30
    )]
    pub shutdown_grace: u64,

    /// Listen on other addresses than loopback although there is no encryption and no authentication.
    #[arg(long, env = "PLUTON_FICHIER_INSECURE")]
    pub insecure: bool,
}

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
    /// What follows `/dir/` in the URL of a public folder, which then is all
    /// that the remote shows.
    pub shared_folder: Option<String>,
    /// Read with CDN credits.
    pub cdn: bool,
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
        }
    }
}

/// What `serve` does.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses of the gRPC service.
    pub grpc_listen: Vec<Listen>,
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
    /// Most bytes of buffered uploads.
    pub spool_bytes: u64,
    /// How much is uploaded at once.
    pub uploads: UploadLimits,
    /// Connections to download servers.
    pub downloads: usize,
    /// Checksums that are computed and recorded beside Whirlpool.
    pub record_hashes: Algorithms,
    /// The request budget.
    pub limits: Limits,
    /// How long transfers may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// The time of day.
    pub clock: Clock,
}

impl ServeArgs {
    /// Checks the options and reads the key.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    pub fn check(self, environment: impl Fn(&str) -> Option<String>) -> Result<Config, String> {
        for listen in &self.grpc_listen {
            if let Listen::Tcp(address) = listen
                && !address.ip().is_loopback()
                && !self.insecure
            {
                return Err(format!(
                    "{address} can be reached by others, and there is no encryption or authentication yet; \
                     listen on 127.0.0.1 or a Unix socket, or add --insecure"
                ));
            }
        }
        let rate = self.calls_per_second;
        if !rate.is_finite() || !(0.0..=3.0).contains(&rate) {
            return Err(format!(
                "--calls-per-second {rate}: 1Fichier allows at most 3"
            ));
        }
        let (upstream, key) = if self.emulator {
            (Upstream::Emulator, None)
        } else {
            let url = self.api_url.as_deref().unwrap_or(API_URL);
            let hosts = Hosts::new(url).map_err(|error| format!("--api-url: {error}"))?;
            if rate == 0.0 && !hosts.is_loopback() {
                return Err(
                    "--calls-per-second 0 is for emulators only: 1Fichier would lock the account"
                        .to_owned(),
                );
            }
            let key = read_key(self.api_key_file.as_deref(), &environment)?;
            (Upstream::Api(hosts), Some(key))
        };
        let remote = RemoteConfig {
            encoding: self.encoding,
            ..RemoteConfig::new(&self.remote_name, key)
        };
        let state_dir = match (self.state_dir, &upstream) {
            (Some(dir), _) => Some(dir),
            (None, Upstream::Emulator) => None,
            (None, Upstream::Api(_)) => Some(default_state_dir(&environment)?),
        };
        let limits = if rate == 0.0 {
            Limits::none()
        } else {
            Limits {
                calls_per_second: Some(rate),
                ..Limits::default()
            }
        };
        Ok(Config {
            grpc_listen: self.grpc_listen,
            upstream,
            state_dir,
            remotes: vec![remote],
            freshness: Duration::from_secs(self.freshness),
            exclusive: self.exclusive,
            spool_bytes: self.spool_bytes,
            uploads: UploadLimits {
                connections: self.uploads.into(),
                group_bytes: self.upload_group_bytes,
                group_files: self.upload_group_files.into(),
                stream_from: self.stream_from,
            },
            downloads: self.downloads.into(),
            record_hashes: self.record_hashes,
            limits,
            shutdown_grace: Duration::from_secs(self.shutdown_grace),
            clock: Clock::system(),
        })
    }
}

fn read_key(
    file: Option<&Path>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<ApiKey, String> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read the API key file {}: {error}", file.display()))?;
        return ApiKey::new(&text).map_err(|error| format!("{}: {error}", file.display()));
    }
    match environment("PLUTON_FICHIER_API_KEY") {
        Some(text) => {
            ApiKey::new(&text).map_err(|error| format!("PLUTON_FICHIER_API_KEY: {error}"))
        }
        None => Err(
            "no API key: give --api-key-file FILE or PLUTON_FICHIER_API_KEY \
                     (make a key at https://1fichier.com/console/params.pl), or try --emulator"
                .to_owned(),
        ),
    }
}

fn default_state_dir(environment: impl Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    let set = |name: &str| {
        environment(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("pluton-fichier"))
        .ok_or_else(|| "no state directory: set --state-dir DIR".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn check(args: &[&str]) -> Result<Config, String> {
        let cli =
            Cli::try_parse_from([&["x"], args].concat()).map_err(|error| error.to_string())?;
        cli.serve
            .check(|name| (name == "PLUTON_FICHIER_API_KEY").then(|| "KEY".to_owned()))
    }

    #[test]
    fn safe_by_default() {
        let config = check(&["--state-dir", "/tmp/x"]).unwrap();
        assert_eq!(
            config.grpc_listen,
            [Listen::Tcp("127.0.0.1:50051".parse().unwrap())]
        );
        assert_eq!(config.limits.calls_per_second, Some(3.0));
        assert_eq!(config.record_hashes.to_string(), "sha256,md5");
    }

    #[test]
    fn what_is_refused() {
        for (args, word) in [
            (&["--grpc-listen", "0.0.0.0:1"][..], "--insecure"),
            (&["--calls-per-second", "4"], "at most 3"),
            (&["--calls-per-second", "0"], "emulators only"),
            (&["--api-url", "http://192.0.2.1/v1"], "unencrypted"),
            (&["--api-key-file", "/nonexistent"], "cannot read"),
            (&["--grpc-listen", "unix:"], "needs a path"),
            (&["--grpc-listen", "nonsense"], "not an ADDRESS"),
            (&["--encoding", "Nonsense"], "Nonsense"),
            (&["--record-hashes", "sha256,crc"], "none of whirlpool"),
            (
                &["--emulator", "--api-url", "http://127.0.0.1/v1"],
                "cannot be used with",
            ),
        ] {
            let error = check(args).unwrap_err();
            assert!(error.contains(word), "{args:?}: {error}");
        }
    }
}
