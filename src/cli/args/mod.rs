//! The command line.

mod commands;
mod transfers;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

pub use commands::*;
pub use transfers::*;
pub use values::{Expected, HashKind, Range};
pub(super) use values::{parse_duration, parse_timeout};

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
    /// How often to try again what is unavailable now; what the server says of the delay holds
    #[arg(
        long,
        help_heading = "Connection",
        value_name = "N",
        default_value_t = 5
    )]
    pub retries: u32,
    /// Do not try again what would then have waited longer than this in all
    #[arg(
        long,
        help_heading = "Connection",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = parse_duration
    )]
    pub retry_wait: Duration,
}

/// The commands that talk to a server.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// List a directory
    Ls(LsArgs),
    /// Draw a directory with all that is in it
    Tree(TreeArgs),
    /// Store a file, or with -r a directory with all that is in it
    Put(PutArgs),
    /// Fetch a file, or with -r a directory with all that is in it
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

impl ClientCommand {
    /// Nothing but errors is to be told.
    pub(super) fn quiet(&self) -> bool {
        match self {
            Self::Put(args) => args.transfer.quiet,
            Self::Get(args) => args.transfer.quiet,
            _ => false,
        }
    }

    pub(super) fn connect(&self) -> &ConnectArgs {
        match self {
            Self::Ls(args) => &args.connect,
            Self::Tree(args) => &args.connect,
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
