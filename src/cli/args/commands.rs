//! What each command takes that moves no content between here and the server.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{ConnectArgs, HashKind, parse_duration, parse_timeout};

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
    /// Only entries of this type
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub kind: Option<EntryKind>,
    /// List each of several entries with one path, files the newest first
    #[arg(long)]
    pub duplicates: bool,
    /// Also print sizes and times
    #[arg(short, long)]
    pub long: bool,
    /// How old the answer may be, for example 0s or 10m [default: as the server is configured]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_staleness: Option<Duration>,
}

/// A type of entries on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EntryKind {
    /// Files
    File,
    /// Directories
    Directory,
}

/// Arguments of `tree`.
#[derive(Args, Clone, Debug)]
pub struct TreeArgs {
    /// How to reach the server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The directory [default: the root]
    #[arg(default_value = "", hide_default_value = true)]
    pub path: String,
    /// How deep to go; 1 is the directory itself
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_depth: Option<u32>,
    /// Only directories
    #[arg(short, long)]
    pub directories: bool,
    /// Also print sizes
    #[arg(short, long)]
    pub long: bool,
    /// How old the answer may be, for example 0s or 10m [default: as the server is configured]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_staleness: Option<Duration>,
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
    /// Remove the file with this etag (see ls --duplicates --json), or fail; for one path
    #[arg(long, value_name = "ETAG")]
    pub if_match: Option<String>,
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
    /// How old the answer may be, for example 0s or 10m [default: as the server is configured]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_staleness: Option<Duration>,
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
    /// Let a file of that path stay beside this one
    #[arg(long, conflicts_with = "create_only")]
    pub keep_both: bool,
    /// Take the file with this etag (see ls --duplicates --json), or fail
    #[arg(long, value_name = "ETAG")]
    pub if_match: Option<String>,
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
    /// Let a file of that path stay beside this one
    #[arg(long, conflicts_with = "create_only")]
    pub keep_both: bool,
    /// Take the file with this etag (see ls --duplicates --json), or fail
    #[arg(long, value_name = "ETAG")]
    pub if_match: Option<String>,
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
