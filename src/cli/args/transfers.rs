//! What `put`, `get` and `cat` take.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{ConnectArgs, Expected, Range, parse_duration};

/// What `put` and `get` have in common.
#[derive(Args, Clone, Debug)]
pub struct TransferArgs {
    /// A directory with all that is in it: what is in SOURCE goes into DESTINATION
    #[arg(short, long, visible_short_alias = 'R')]
    pub recursive: bool,
    /// How many files at a time with --recursive; many small files go faster with more
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub transfers: u16,
    /// What is equal in size is not transferred again [default: equal in size and checksum]
    #[arg(long)]
    pub size_only: bool,
    /// Transfer also what is there already, and replace local files
    #[arg(short, long, conflicts_with = "size_only")]
    pub force: bool,
    /// Follow symbolic links below the directory
    #[arg(long, requires = "recursive")]
    pub follow: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    /// How old may be what the server knows of what is there, for example 0s or 10m [default: as
    /// the server is configured]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_staleness: Option<Duration>,
}

/// Arguments of `put`.
#[derive(Args, Clone, Debug)]
pub struct PutArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// How to transfer.
    #[command(flatten)]
    pub transfer: TransferArgs,
    /// The file to store; - for standard input
    #[arg(value_name = "SOURCE")]
    pub local: PathBuf,
    /// Where to store it; a path that ends with / gets the local name appended
    #[arg(value_name = "DESTINATION")]
    pub remote_path: String,
    /// Fail if there is a file of that path already
    #[arg(long, conflicts_with = "force")]
    pub create_only: bool,
    /// Let a file of that path stay beside this one
    #[arg(long, conflicts_with = "create_only")]
    pub keep_both: bool,
    /// Fail if the directory does not exist instead of making it
    #[arg(long)]
    pub no_parents: bool,
    /// Fail unless the file to be replaced has this etag (see stat)
    #[arg(long, value_name = "ETAG", conflicts_with = "recursive")]
    pub if_match: Option<String>,
    /// Fail unless the content has this checksum, for example sha256:9f86…
    #[arg(long, value_name = "ALGORITHM:HEX", conflicts_with = "recursive")]
    pub expect: Vec<Expected>,
}

/// Arguments of `get`.
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// How to transfer.
    #[command(flatten)]
    pub transfer: TransferArgs,
    /// The file to fetch
    #[arg(value_name = "SOURCE")]
    pub remote_path: String,
    /// Where to write it: a file, a directory, or - for standard output [default: its name, here].
    /// With --recursive the directory; a path that ends with / gets the remote name appended
    #[arg(value_name = "DESTINATION")]
    pub local: Option<PathBuf>,
    /// Replace a local file that differs
    #[arg(short, long)]
    pub update: bool,
    /// Only this part, in bytes
    #[arg(long, value_name = "OFFSET[:LENGTH]", conflicts_with = "recursive")]
    pub range: Option<Range>,
    /// Fetch the file with this etag (see ls --duplicates --json), or fail
    #[arg(long, value_name = "ETAG", conflicts_with = "recursive")]
    pub if_match: Option<String>,
    /// Do not compare the content with its stored checksum
    #[arg(long)]
    pub no_verify: bool,
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
