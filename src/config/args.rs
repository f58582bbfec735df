//! The flags of `serve`. What each may also be is in [`super::schema`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Command, ValueEnum};

use super::Listen;
use super::schema::variable;
use super::values::{
    checked, connections, group_files, number, places, segment_bytes, switch, transfers, whole,
};
use crate::checksum::Algorithms;
use crate::encoding::Mask;
use crate::transfer::SpoolPolicy;

/// What is logged, by every command.
#[derive(Args, Clone, Debug, Default)]
pub struct LogArgs {
    /// What to log, for example info or debug,h2=info [default: info].
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,

    /// How to log [default: text].
    #[arg(long, global = true, value_enum)]
    pub log_format: Option<LogFormat>,
}

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Options of `serve` and `check-config`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Files with settings and remotes.
    #[command(flatten)]
    pub files: FileArgs,
    /// Which remotes, and what holds for all of them.
    #[command(flatten)]
    pub remotes: RemoteArgs,
    /// The server itself.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Files with settings and remotes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Configuration files")]
pub struct FileArgs {
    /// TOML file with settings, named as the flags, and remotes.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// rclone's configuration; its remotes of type fichier are served [default: where rclone looks,
    /// if no remote is defined otherwise].
    #[arg(long, value_name = "FILE", value_parser = clap::value_parser!(OsString))]
    pub rclone_config: Option<OsString>,

    /// Command that prints the password of an encrypted rclone.conf, split as rclone does. The
    /// password itself may stand in RCLONE_CONFIG_PASS.
    #[arg(long, value_name = "COMMAND")]
    pub password_command: Option<String>,
}

/// Which remotes are served, and what holds for all of them.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Remotes")]
pub struct RemoteArgs {
    /// Remote to serve; may be given several times, the first is the default [default: all that
    /// are defined].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub remote: Vec<String>,

    /// Name of the remote that flags and variables define [default: fichier].
    #[arg(long, value_name = "NAME")]
    pub remote_name: Option<String>,

    /// File that holds the 1Fichier API key, - for standard input. The key itself may stand in
    /// PLUTON_FICHIER_API_KEY.
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Show a public folder only: what follows /dir/ in its URL.
    #[arg(long, value_name = "ID")]
    pub shared_folder: Option<String>,

    /// File that holds the password of the files, - for standard input. The password itself may
    /// stand in PLUTON_FICHIER_FILE_PASSWORD.
    #[arg(long, value_name = "FILE")]
    pub file_password_file: Option<PathBuf>,

    /// File that holds the password of the shared folder, - for standard input. The password itself
    /// may stand in PLUTON_FICHIER_FOLDER_PASSWORD.
    #[arg(long, value_name = "FILE")]
    pub folder_password_file: Option<PathBuf>,

    /// Whether passwords stand as they are or as `rclone obscure` writes them [default: auto].
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub password_format: Option<PasswordFormat>,

    /// Download with CDN credits [default: false].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = checked_switch)]
    pub cdn: Option<String>,

    /// Name encoding, as rclone's option of that name.
    #[arg(long, value_name = "MASK", value_parser = checked::<Mask>)]
    pub encoding: Option<String>,

    /// A word on the remote, for people.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// How passwords of files and folders are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PasswordFormat {
    /// Revealed if that makes sense, else as it stands; if 1Fichier refuses one, the other is tried.
    #[default]
    Auto,
    /// As it stands.
    Plain,
    /// As `rclone obscure` writes it.
    Obscured,
}

/// The server itself.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address of the gRPC service: ADDRESS:PORT or unix:/path; may be given several times
    /// [default: 127.0.0.1:50051].
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub grpc_listen: Vec<Listen>,

    /// Address of WebDAV and of restic's REST protocol, which are off without one: ADDRESS:PORT or
    /// unix:/path; may be given several times.
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub http_listen: Vec<Listen>,

    /// Address of metrics, health and the status page, which are off without one: ADDRESS:PORT or
    /// unix:/path. Whoever reaches it needs no token.
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<Listen>,

    /// Start an emulated 1Fichier account in this process; no real account is needed or touched.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub emulator: Option<bool>,

    /// URL of the 1Fichier API [default: the real one].
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,

    /// Directory for buffered uploads and what is remembered [default: below $XDG_STATE_HOME].
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// How long a listed directory counts as known, in seconds [default: 300].
    #[arg(long, value_name = "SECONDS", value_parser = whole)]
    pub freshness: Option<u64>,

    /// Nobody else writes to the account: what is known stays true until told otherwise.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub exclusive: Option<bool>,

    /// Refuse changes while the state directory cannot be written, because its disk is full for
    /// example. Without this they go on, and a crash may leave duplicates or forget modification
    /// times, checksums and the answers to repeated requests [default: true].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub state_required: Option<bool>,

    /// Which uploads are buffered before they leave: auto (small ones, of unknown size, or while no
    /// connection is free), always, or never (then the size must be known) [default: auto].
    #[arg(long, value_name = "POLICY")]
    pub spool: Option<SpoolPolicy>,

    /// Most bytes of uploads that wait in the state directory [default: 10737418240].
    #[arg(long, value_name = "BYTES", value_parser = whole)]
    pub spool_bytes: Option<u64>,

    /// Connections to upload nodes at once [default: 4].
    #[arg(long, value_name = "N", value_parser = connections)]
    pub uploads: Option<u16>,

    /// Most bytes of files that leave together in one upload [default: 268435456].
    #[arg(long, value_name = "BYTES", value_parser = whole)]
    pub upload_group_bytes: Option<u64>,

    /// Most files that leave together in one upload [default: 500].
    #[arg(long, value_name = "N", value_parser = group_files)]
    pub upload_group_files: Option<u16>,

    /// Larger files of known size stream straight through; smaller ones are buffered and leave in
    /// groups [default: 16777216].
    #[arg(long, value_name = "BYTES", value_parser = whole)]
    pub stream_from: Option<u64>,

    /// Connections to download servers at once [default: 16].
    #[arg(long, value_name = "N", value_parser = connections)]
    pub downloads: Option<u16>,

    /// Segments of one large file that are read at the same time [default: 1].
    #[arg(long, value_name = "N", value_parser = connections)]
    pub download_segments: Option<u16>,

    /// Bytes of one segment [default: 16777216].
    #[arg(long, value_name = "BYTES", value_parser = segment_bytes)]
    pub download_segment_bytes: Option<u64>,

    /// Most Put and Get calls in work together [default: 1000].
    #[arg(long, value_name = "N", value_parser = transfers)]
    pub max_transfers: Option<u32>,

    /// Checksums that are computed of every upload beside Whirlpool, and remembered: sha256, md5,
    /// sha1, blake3, crc32c, or none [default: sha256,md5].
    #[arg(long, value_name = "LIST")]
    pub record_hashes: Option<Algorithms>,

    /// Calls a second to the API; 0 removes every limit and is for emulators only [default: 3].
    #[arg(long, value_name = "N", value_parser = number)]
    pub calls_per_second: Option<f64>,

    /// How long transfers may go on after SIGTERM, in seconds [default: 30].
    #[arg(long, value_name = "SECONDS", value_parser = whole)]
    pub shutdown_grace: Option<u64>,

    /// Certificate for the TCP addresses, in PEM, with those between it and its authority. It is
    /// read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Authorities of clients, in PEM; every client on TCP needs a certificate of one.
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// Every call needs a token, also on a Unix socket, and also while there is none.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub require_token: Option<bool>,

    /// Most connections to each address [default: 2000].
    #[arg(long, value_name = "N", value_parser = places)]
    pub max_connections: Option<u64>,

    /// Listen on other addresses than loopback although there is no encryption or no authentication.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    pub insecure: Option<bool>,
}

/// Where the state of a server is, for commands that change it.
#[derive(Args, Clone, Debug, Default)]
pub struct StateArgs {
    /// TOML file with the settings of the server.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Directory of the server's state [default: below $XDG_STATE_HOME].
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
}

fn checked_switch(text: &str) -> Result<String, String> {
    switch(text).map(|on| on.to_string())
}

/// Adds to the help of each flag which variable may stand for it.
#[must_use]
pub fn with_variables(command: Command) -> Command {
    command.mut_args(|arg| {
        let name = arg.get_id().to_string();
        match arg.get_help() {
            Some(help) if name != "json" => {
                let help = format!("{help} [env: {}]", variable(&name));
                arg.help(help)
            }
            _ => arg,
        }
    })
}
