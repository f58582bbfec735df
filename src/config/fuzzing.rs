//! What the fuzz targets reach: configuration files, from their text to what
//! would be served. Nothing is read from disk.

use std::path::Path;

use super::args::{LogArgs, RemoteArgs, ServerArgs};
use super::environment::Environment;
use super::layers::Layers;
use super::rclone::RcloneConf;
use super::remotes::{self, Sources};
use super::server::Server;
use super::toml_file::TomlFile;
use super::{Upstream, obscure};

/// An `rclone.conf`, which this password opens if it is encrypted.
pub fn rclone_conf(file: &[u8], password: &str) {
    if let Some(conf) = RcloneConf::of_bytes(file, password) {
        resolve(Some(&conf), &mut Layers::new(&environment()));
    }
}

/// A TOML file.
pub fn toml(text: &str) {
    let environment = environment();
    let mut layers = Layers::new(&environment);
    layers.toml = TomlFile::parse(Path::new("/etc/fuzz.toml"), text, &mut layers.notes);
    assert!(layers.toml.is_some() || !layers.notes.problems.is_empty());
    // Files with secrets would be opened.
    if layers.toml.is_some() && !text.contains("_file") {
        resolve(None, &mut layers);
    }
}

/// A text that may have been obscured.
pub fn obscured(text: &str) {
    if let Some(plain) = obscure::reveal(text) {
        assert!(plain.len() <= text.len());
    }
}

fn environment() -> Environment {
    Environment::from_iter([("HOME", "/home/fuzz")])
}

/// What [`super::ServeArgs::load`] does once the files are read.
fn resolve(conf: Option<&RcloneConf>, layers: &mut Layers<'_>) {
    let flags = RemoteArgs::default();
    let _ = LogArgs::default().read(layers);
    let server = Server::read(ServerArgs::default(), &flags, layers);
    let remotes = match &server.upstream {
        Some(Upstream::Emulator) => remotes::emulated(&flags, layers).into_iter().collect(),
        _ => {
            let sources = Sources {
                flags: &flags,
                conf,
                incomplete: false,
            };
            remotes::resolve(&sources, layers)
        }
    };
    let problems = std::mem::take(&mut layers.notes.problems);
    let config = server.config(remotes);
    // Nobody is left without a word.
    assert!(config.is_some() || !problems.is_empty());
    if let Some(config) = config.filter(|_| problems.is_empty()) {
        assert!(!config.remotes.is_empty() && !config.grpc_listen.is_empty());
        for (place, remote) in config.remotes.iter().enumerate() {
            let others = &config.remotes[..place];
            assert!(!others.iter().any(|other| other.name == remote.name));
        }
    }
    // Every setting is one line.
    let shown = layers.report.to_string();
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'));
    assert!(shown.lines().all(|line| !line.is_empty()));
    let _ = layers.report.to_json(&problems, &layers.notes.warnings);
}
