//! The settings of the server itself.

use std::path::PathBuf;
use std::time::Duration;

use super::args::{RemoteArgs, ServerArgs};
use super::layers::{Layers, Sourced};
use super::network::Network;
use super::notes::Source;
use super::schema::variable;
use super::values::{
    connections, group_files, number, parsed, segment_bytes, switch, transfers, whole,
};
use super::{API_URL, Config, RemoteConfig, Upstream};
use crate::checksum::{Algorithm, Algorithms};
use crate::clock::Clock;
use crate::fichier::{Hosts, Limits};
use crate::transfer::{DownloadLimits, SpoolPolicy, UploadLimits};

/// 1Fichier locks accounts that call more often.
const MAX_RATE: f64 = 3.0;

/// The settings of the server, read.
#[derive(Debug)]
pub(super) struct Server {
    /// `None` when it is wrong, which is noted.
    pub(super) upstream: Option<Upstream>,
    network: Network,
    state_dir: Option<PathBuf>,
    freshness: u64,
    exclusive: bool,
    state_required: bool,
    spool_bytes: u64,
    uploads: UploadLimits,
    downloads: DownloadLimits,
    max_transfers: u32,
    record_hashes: Algorithms,
    rate: f64,
    shutdown_grace: u64,
}

impl Server {
    /// Reads the settings. What is wrong is noted.
    pub(super) fn read(args: ServerArgs, remotes: &RemoteArgs, layers: &mut Layers<'_>) -> Self {
        let network = Network::read(&args, layers);
        let real = (args.api_url.clone(), remotes.api_key_file.clone());
        let emulator = emulator(args.emulator, real, layers);
        let rate = rate(args.calls_per_second, layers);
        let upstream = match emulator {
            true => Some(Upstream::Emulator),
            false => api(args.api_url, &rate, layers).map(Upstream::Api),
        };
        let (rate, _) = rate;
        let state_dir = state_dir(args.state_dir, emulator, layers);
        network.check(state_dir.as_deref(), layers);
        let group_bytes = args.upload_group_bytes;
        let group_files_flag = args.upload_group_files;
        let segments = args.download_segments;
        Self {
            upstream,
            network,
            state_dir,
            freshness: layers.setting("freshness", args.freshness, whole, 300),
            exclusive: layers.setting("exclusive", args.exclusive, switch, false),
            state_required: layers.setting("state_required", args.state_required, switch, true),
            spool_bytes: layers.setting("spool_bytes", args.spool_bytes, whole, 10 << 30),
            uploads: UploadLimits {
                spool: layers.setting("spool", args.spool, parsed, SpoolPolicy::Auto),
                connections: layers
                    .setting("uploads", args.uploads, connections, 4)
                    .into(),
                group_bytes: layers.setting("upload_group_bytes", group_bytes, whole, 256 << 20),
                group_files: layers
                    .setting("upload_group_files", group_files_flag, group_files, 500)
                    .into(),
                stream_from: layers.setting("stream_from", args.stream_from, whole, 16 << 20),
            },
            downloads: DownloadLimits {
                connections: layers
                    .setting("downloads", args.downloads, connections, 16)
                    .into(),
                segments: layers
                    .setting("download_segments", segments, connections, 1)
                    .into(),
                segment_bytes: layers.setting(
                    "download_segment_bytes",
                    args.download_segment_bytes,
                    segment_bytes,
                    16 << 20,
                ),
            },
            max_transfers: layers.setting("max_transfers", args.max_transfers, transfers, 1_000),
            record_hashes: layers.setting(
                "record_hashes",
                args.record_hashes,
                parsed,
                record_hashes(),
            ),
            rate,
            shutdown_grace: layers.setting("shutdown_grace", args.shutdown_grace, whole, 30),
        }
    }

    /// All that a server needs.
    pub(super) fn config(self, remotes: Vec<RemoteConfig>) -> Option<Config> {
        let limits = if self.rate == 0.0 {
            Limits::none()
        } else {
            Limits {
                calls_per_second: Some(self.rate),
                ..Limits::default()
            }
        };
        Some(Config {
            grpc_listen: self.network.grpc_listen,
            http_listen: self.network.http_listen,
            admin_listen: self.network.admin_listen,
            tls: self.network.tls,
            require_token: self.network.require_token,
            max_connections: self.network.max_connections,
            upstream: self.upstream?,
            remotes,
            state_dir: self.state_dir,
            freshness: Duration::from_secs(self.freshness),
            exclusive: self.exclusive,
            state_required: self.state_required,
            identify: true,
            spool_bytes: self.spool_bytes,
            uploads: self.uploads,
            downloads: self.downloads,
            max_transfers: self.max_transfers as usize,
            record_hashes: self.record_hashes,
            limits,
            shutdown_grace: Duration::from_secs(self.shutdown_grace),
            clock: Clock::system(),
        })
    }
}

fn record_hashes() -> Algorithms {
    Algorithms::new([Algorithm::Sha256, Algorithm::Md5])
}

/// Whether the account is the emulated one. What names a real one must stand
/// lower, or one of the two would be overlooked.
fn emulator(
    flag: Option<bool>,
    (url, key_file): (Option<String>, Option<PathBuf>),
    layers: &mut Layers<'_>,
) -> bool {
    const NAME: &str = "emulator";
    let found = layers.find(NAME, flag, switch);
    let (emulator, source) = found.unwrap_or((false, Source::default()));
    layers.report.setting(NAME, emulator, &source);
    if emulator {
        let url = layers.find("api_url", url, parsed::<String>);
        let file = layers.find_path("api_key_file", key_file);
        let places = [
            url.map(|(_, place)| place),
            file.map(|(_, place)| place),
            layers
                .variable(&variable("api_key"))
                .map(|(_, place)| place),
        ];
        for real in places.into_iter().flatten() {
            if !source.is_above(&real) {
                layers.notes.problem(format!(
                    "the account is the emulated one by {} and a real one by {}; keep one of them",
                    source.place(),
                    real.place()
                ));
            }
        }
    }
    emulator
}

/// Calls a second.
fn rate(flag: Option<f64>, layers: &mut Layers<'_>) -> Sourced<f64> {
    const NAME: &str = "calls_per_second";
    let found = layers.find(NAME, flag, number);
    let (rate, source) = found.unwrap_or((MAX_RATE, Source::default()));
    layers.report.setting(NAME, rate, &source);
    if !rate.is_finite() || !(0.0..=MAX_RATE).contains(&rate) {
        let problem =
            format!("{rate} is no rate from 0 to {MAX_RATE}, the most that 1Fichier allows");
        layers.notes.problem(source.complaint(NAME, &problem));
    }
    (rate, source)
}

fn api(
    flag: Option<String>,
    (rate, stated): &Sourced<f64>,
    layers: &mut Layers<'_>,
) -> Option<Hosts> {
    const NAME: &str = "api_url";
    let found = layers.find(NAME, flag, parsed::<String>);
    let (url, source) = found.unwrap_or_else(|| (API_URL.to_owned(), Source::default()));
    layers.report.setting(NAME, url.clone(), &source);
    match Hosts::new(&url) {
        Ok(hosts) => {
            if *rate == 0.0 && !hosts.is_loopback() {
                let problem = "0 is for emulators only: 1Fichier would lock the account";
                let problem = stated.complaint("calls_per_second", problem);
                layers.notes.problem(problem);
            }
            Some(hosts)
        }
        Err(error) => {
            layers.notes.problem(format!("{}: {error}", source.place()));
            None
        }
    }
}

/// The emulated account is gone with the process, and so may be what is
/// remembered of it.
pub(super) fn state_dir(
    flag: Option<PathBuf>,
    emulator: bool,
    layers: &mut Layers<'_>,
) -> Option<PathBuf> {
    const NAME: &str = "state_dir";
    if let Some((path, source)) = layers.find_path(NAME, flag) {
        let shown = path.display().to_string();
        layers.report.setting(NAME, shown, &source);
        return Some(path);
    }
    if emulator {
        let shown = "a temporary one";
        layers.report.setting(NAME, shown, &Source::default());
        return None;
    }
    let environment = layers.environment;
    let home = || Some(environment.path("HOME")?.join(".local/state"));
    let base = environment.path("XDG_STATE_HOME").or_else(home);
    let Some(base) = base else {
        layers
            .notes
            .problem("no state directory: set --state-dir DIR");
        return None;
    };
    let path = base.join("pluton-fichier");
    let shown = path.display().to_string();
    layers.report.setting(NAME, shown, &Source::default());
    Some(path)
}
