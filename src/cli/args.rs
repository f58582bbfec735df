//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

/// How to reach the server.
#[derive(Args, Clone, Debug)]
pub struct ConnectArgs {
    /// Address of the server: host:port, http://host:port, https://host:port or unix:/path
    #[arg(
        long,
        help_heading = "Connection",
        value_name = "ADDR",
        env = "PLUTON_FICHIER_SERVER",
        default_value = "127.0.0.1:50051"
    )]
    pub server: String,
    /// The remote to work on [default: the first one of the server]
    #[arg(
        long,
        help_heading = "Connection",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub remote: String,
    /// File that holds the token for the server. The token itself may stand in PLUTON_FICHIER_TOKEN
    #[arg(
        long,
        help_heading = "Connection",
        value_name = "FILE",
        env = "PLUTON_FICHIER_TOKEN_FILE"
    )]
    pub token_file: Option<PathBuf>,
    /// Authorities that the server's certificate may be of, in PEM; host:port then means https
    /// [default: those of the system]
    #[arg(
        long,
        help_heading = "Connection",
        value_name = "FILE",
        env = "PLUTON_FICHIER_TLS_CA"
    )]
    pub tls_ca: Option<PathBuf>,
    /// Certificate to show to the server, in PEM
    #[arg(
        long,
        help_heading = "Connection",
        value_name = "FILE",
        env = "PLUTON_FICHIER_CLIENT_CERT",
        requires = "client_key"
    )]
    pub client_cert: Option<PathBuf>,
    /// Private key of that certificate, in PEM
    #[arg(
        long,
        help_heading = "Connection",
        value_name = "FILE",
        env = "PLUTON_FICHIER_CLIENT_KEY",
        requires = "client_cert"
    )]
    pub client_key: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, help_heading = "Connection")]
    pub json: bool,
    /// Give up after this time, for example 30s, 5m or 1h30m
    #[arg(long, help_heading = "Connection", value_name = "DURATION", value_parser = parse_timeout)]
    pub timeout: Option<Duration>,
}

/// The commands that talk to a server.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// List a directory
    Ls(LsArgs),
    /// Store a file
    Put(PutArgs),
    /// Fetch a file
    Get(GetArgs),
    /// Write a file to standard output
    Cat(CatArgs),
    /// Remove files
    Rm(RmArgs),
    /// Describe a file or directory
    Stat(StatArgs),
    /// Print a checksum of a file
    Hash(HashArgs),
    /// Tell how much is stored and how much fits
    About(AboutArgs),
    /// Make a directory
    Mkdir(MkdirArgs),
    /// Remove an empty directory
    Rmdir(RmdirArgs),
    /// Print the public URL of a file or directory, or take that of a directory away
    Link(LinkArgs),
    /// Find files and directories that share a path, and resolve them
    Dedupe(DedupeArgs),
    /// Remove a directory with all that is in it
    Purge(PurgeArgs),
    /// Move or rename a file or directory
    Mv(MvArgs),
    /// Copy a file inside 1Fichier
    Cp(CpArgs),
    /// Check step by step that a remote works
    Test(TestArgs),
    /// Tell what the server is and what its remotes can do
    Info(InfoArgs),
    /// Forget or reload what the server remembers of a directory
    Refresh(RefreshArgs),
    /// Tell what the server is doing: request budgets, transfers, what it remembers
    Activity(ActivityArgs),
    /// Exit with 0 if the server serves, for containers and scripts
    Healthcheck(HealthcheckArgs),
}

/// Arguments of `ls`.
#[derive(Args, Clone, Debug)]
pub struct LsArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The directory [default: the root]
    #[arg(default_value = "", hide_default_value = true)]
    pub path: String,
    /// Also list what is in subdirectories
    #[arg(short, long, visible_short_alias = 'R')]
    pub recursive: bool,
    /// How deep to go; 1 is the directory itself
    #[arg(long, value_name = "N", requires = "recursive", value_parser = clap::value_parser!(i32).range(1..))]
    pub max_depth: Option<i32>,
    /// Also print sizes and times
    #[arg(short, long)]
    pub long: bool,
    /// How old the answer may be, for example 0s or 10m [default: as the server is configured]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_staleness: Option<Duration>,
}

/// Arguments of `put`.
#[derive(Args, Clone, Debug)]
pub struct PutArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The file to store; - for standard input
    pub local: PathBuf,
    /// Where to store it; a path that ends with / gets the local name appended
    pub remote_path: String,
    /// Fail if there is a file of that path already
    #[arg(long)]
    pub create_only: bool,
    /// Fail if the directory does not exist instead of making it
    #[arg(long)]
    pub no_parents: bool,
}

/// Arguments of `get`.
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The file to fetch
    pub remote_path: String,
    /// Where to write it: a file, a directory, or - for standard output [default: its name, here]
    pub local: Option<PathBuf>,
    /// Replace a local file
    #[arg(short, long)]
    pub force: bool,
    /// Only this part, in bytes
    #[arg(long, value_name = "OFFSET[:LENGTH]")]
    pub range: Option<Range>,
}

/// Arguments of `cat`.
#[derive(Args, Clone, Debug)]
pub struct CatArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The file to write
    pub remote_path: String,
    /// Only this part, in bytes
    #[arg(long, value_name = "OFFSET[:LENGTH]")]
    pub range: Option<Range>,
}

/// Arguments of `rm`.
#[derive(Args, Clone, Debug)]
pub struct RmArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The files to remove
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<String>,
    /// A file that does not exist is not an error
    #[arg(long)]
    pub ignore_missing: bool,
}

/// Arguments of `stat`.
#[derive(Args, Clone, Debug)]
pub struct StatArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The file or directory [default: the root]
    #[arg(default_value = "", hide_default_value = true)]
    pub path: String,
}

/// Arguments of `hash`.
#[derive(Args, Clone, Debug)]
pub struct HashArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The file
    pub path: String,
    /// Which checksum
    #[arg(long, value_enum, default_value_t = HashKind::Whirlpool)]
    pub algorithm: HashKind,
    /// Read the whole file if the checksum is not known otherwise
    #[arg(long)]
    pub download: bool,
}

/// Arguments of `about`.
#[derive(Args, Clone, Debug)]
pub struct AboutArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Arguments of `mkdir`.
#[derive(Args, Clone, Debug)]
pub struct MkdirArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The directory
    pub path: String,
    /// Fail if the parent does not exist instead of making it
    #[arg(long)]
    pub no_parents: bool,
}

/// Arguments of `rmdir`.
#[derive(Args, Clone, Debug)]
pub struct RmdirArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The directory
    pub path: String,
    /// A directory that does not exist is not an error
    #[arg(long)]
    pub ignore_missing: bool,
}

/// Arguments of `link`.
#[derive(Args, Clone, Debug)]
pub struct LinkArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The file or directory
    pub path: String,
    /// Whoever follows the link needs the password in the first line of this file; - for standard
    /// input
    #[arg(long, value_name = "FILE", conflicts_with = "revoke")]
    pub password_file: Option<PathBuf>,
    /// Take the link of a directory away
    #[arg(long)]
    pub revoke: bool,
}

/// Arguments of `dedupe`.
#[derive(Args, Clone, Debug)]
pub struct DedupeArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The directory to look in [default: the root]
    #[arg(default_value = "", hide_default_value = true)]
    pub path: String,
    /// Also look in its subdirectories
    #[arg(short, long, visible_short_alias = 'R')]
    pub recursive: bool,
    /// What to do with what shares a path
    #[arg(long, value_enum, default_value_t = DedupeChoice::Report)]
    pub mode: DedupeChoice,
    /// Only tell what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// What `dedupe` does. Directories are merged by all modes but report and
/// rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DedupeChoice {
    /// Nothing but to tell
    Report,
    /// Remove all but the newest of those with the same content
    Identical,
    /// Remove all but the newest
    Newest,
    /// Remove all but the oldest
    Oldest,
    /// Give all but the newest other names
    Rename,
}

/// Arguments of `purge`.
#[derive(Args, Clone, Debug)]
pub struct PurgeArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The directory
    pub path: String,
    /// Only tell how much would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// A directory that does not exist is not an error
    #[arg(long)]
    pub ignore_missing: bool,
    /// Let the directory be the root, and remove everything in the account
    #[arg(long)]
    pub allow_root: bool,
}

/// Arguments of `mv`.
#[derive(Args, Clone, Debug)]
pub struct MvArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The file or directory; a path that ends with / is a directory
    pub source: String,
    /// Its new path; a path that ends with / is the directory to move it into
    pub destination: String,
    /// Fail if there is a file of that path already
    #[arg(long)]
    pub create_only: bool,
}

/// Arguments of `cp`.
#[derive(Args, Clone, Debug)]
pub struct CpArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The file to copy
    pub source: String,
    /// The path of the copy; a path that ends with / is the directory to copy it into
    pub destination: String,
    /// Fail if there is a file of that path already
    #[arg(long)]
    pub create_only: bool,
}

/// Arguments of `test`.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Also store, read back and remove a small file in the root
    #[arg(long)]
    pub write: bool,
}

/// Arguments of `info`.
#[derive(Args, Clone, Debug)]
pub struct InfoArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Arguments of `refresh`.
#[derive(Args, Clone, Debug)]
pub struct RefreshArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The directory [default: the root]
    #[arg(default_value = "", hide_default_value = true)]
    pub path: String,
    /// Also its subdirectories
    #[arg(short, long, visible_short_alias = 'R')]
    pub recursive: bool,
    /// List again now instead of at the next use
    #[arg(long)]
    pub reload: bool,
}

/// Arguments of `activity`.
#[derive(Args, Clone, Debug)]
pub struct ActivityArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Show it again and again, by default every second; --json prints one document a line
    #[arg(short, long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "1s", value_parser = parse_timeout)]
    pub watch: Option<Duration>,
}

/// Arguments of `healthcheck`.
#[derive(Args, Clone, Debug)]
pub struct HealthcheckArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// A checksum algorithm on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HashKind {
    /// What 1Fichier computes and stores
    Whirlpool,
    /// SHA-256
    Sha256,
    /// MD5
    Md5,
    /// SHA-1
    Sha1,
    /// BLAKE3
    Blake3,
    /// CRC-32C
    Crc32c,
}

/// A part of a file on the command line: `OFFSET` or `OFFSET:LENGTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte, from 0.
    pub offset: u64,
    /// How many bytes; absent means to the end.
    pub length: Option<u64>,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.parse::<u64>() {
            Ok(number) if number <= i64::MAX as u64 => Ok(number),
            _ => Err(format!("{text:?} is not a number of bytes")),
        };
        let (offset, length) = match text.split_once(':') {
            Some((offset, "")) => (number(offset)?, None),
            Some((offset, length)) => (number(offset)?, Some(number(length)?)),
            None => (number(text)?, None),
        };
        match length {
            Some(0) => Err("a length of 0 bytes".into()),
            _ => Ok(Self { offset, length }),
        }
    }
}

impl ClientCommand {
    pub(super) fn connect(&self) -> &ConnectArgs {
        match self {
            Self::Ls(args) => &args.connect,
            Self::Put(args) => &args.connect,
            Self::Get(args) => &args.connect,
            Self::Cat(args) => &args.connect,
            Self::Rm(args) => &args.connect,
            Self::Stat(args) => &args.connect,
            Self::Hash(args) => &args.connect,
            Self::About(args) => &args.connect,
            Self::Mkdir(args) => &args.connect,
            Self::Rmdir(args) => &args.connect,
            Self::Link(args) => &args.connect,
            Self::Dedupe(args) => &args.connect,
            Self::Purge(args) => &args.connect,
            Self::Mv(args) => &args.connect,
            Self::Cp(args) => &args.connect,
            Self::Test(args) => &args.connect,
            Self::Info(args) => &args.connect,
            Self::Refresh(args) => &args.connect,
            Self::Activity(args) => &args.connect,
            Self::Healthcheck(args) => &args.connect,
        }
    }
}

/// A duration: a number of seconds, or as in 1h30m.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "not a duration such as 30s, 5m or 1h30m".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "a duration cannot be negative".to_owned())
}

/// A duration that is not 0.
pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be more than 0".into()),
        timeout => Ok(timeout),
    }
}
