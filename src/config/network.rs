//! Where the server listens, and how that is protected.

use std::path::{Path, PathBuf};

use super::Listen;
use super::args::ServerArgs;
use super::files::warn_if_readable;
use super::layers::Layers;
use super::notes::Source;
use super::values::{parsed, places, switch};
use crate::access::TokenFile;
use crate::tls::TlsFiles;

/// The listeners.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) grpc_listen: Vec<Listen>,
    pub(super) http_listen: Vec<Listen>,
    pub(super) admin_listen: Option<Listen>,
    pub(super) tls: Option<TlsFiles>,
    pub(super) require_token: bool,
    pub(super) max_connections: usize,
    insecure: bool,
}

impl Network {
    /// Reads the settings. What is wrong is noted.
    pub(super) fn read(args: &ServerArgs, layers: &mut Layers<'_>) -> Self {
        let insecure = layers.setting("insecure", args.insecure, switch, false);
        let standard = vec![Listen::Tcp(([127, 0, 0, 1], 50051).into())];
        let grpc_listen = listen("grpc_listen", args.grpc_listen.clone(), standard, layers);
        let http_listen = listen("http_listen", args.http_listen.clone(), Vec::new(), layers);
        let admin_listen = admin(args.admin_listen.clone(), layers);
        let tls = tls(args, layers);
        let over_tcp = |listen: &Listen| matches!(listen, Listen::Tcp(_));
        if tls.is_some() && !grpc_listen.iter().chain(&http_listen).any(over_tcp) {
            let warning = "the TLS certificate is not used: Unix sockets need none, and there is no other address";
            layers.notes.warning(warning);
        }
        let require_token = layers.setting("require_token", args.require_token, switch, false);
        let max_connections = args.max_connections;
        let max_connections = layers.setting("max_connections", max_connections, places, 2_000);
        Self {
            grpc_listen,
            http_listen,
            admin_listen,
            tls,
            require_token,
            max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
            insecure,
        }
    }

    /// Notes which addresses are open to strangers. The tokens are in the state
    /// directory.
    pub(super) fn check(&self, state_dir: Option<&Path>, layers: &mut Layers<'_>) {
        if let Some(Listen::Tcp(address)) = &self.admin_listen
            && !address.ip().is_loopback()
            && !self.insecure
        {
            layers.notes.problem(format!(
                "{address} can be reached by others, and the status page, which names files in transfer, needs no token; \
                 let --admin-listen be an address on 127.0.0.1 or a Unix socket, or add --insecure"
            ));
        }
        // What is wrong with the directory itself, whoever opens it tells.
        let file = state_dir.map(TokenFile::within);
        let file = file.filter(|file| file.path().exists());
        let tokens = match file.map(|file| file.count()).transpose() {
            Ok(count) => count.flatten(),
            Err(problem) => {
                layers.notes.problem(problem);
                return;
            }
        };
        let client_ca = self.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
        // Once there were tokens, everybody needs one.
        let closed = self.require_token || tokens.is_some() || client_ca.is_some();
        for listen in self.grpc_listen.iter().chain(&self.http_listen) {
            let Listen::Tcp(address) = listen else {
                continue;
            };
            if address.ip().is_loopback() || self.insecure {
                continue;
            }
            let lacking = match (self.tls.is_some(), closed) {
                (true, true) => continue,
                (false, true) => "there is no encryption: set --tls-cert and --tls-key",
                (true, false) => {
                    "whoever connects may do everything: make a token (pluton-fichier token create NAME) or set --tls-client-ca"
                }
                (false, false) => {
                    "there is no encryption and no authentication: set --tls-cert and --tls-key, and make a token \
                     (pluton-fichier token create NAME)"
                }
            };
            layers.notes.problem(format!(
                "{address} can be reached by others, and {lacking}; or listen on 127.0.0.1 or a Unix socket, or add --insecure"
            ));
        }
    }
}

fn listen(
    name: &'static str,
    flag: Vec<Listen>,
    standard: Vec<Listen>,
    layers: &mut Layers<'_>,
) -> Vec<Listen> {
    let found = layers.find_list(name, flag, parsed::<Listen>);
    let (listen, source) = found.unwrap_or_else(|| (standard, Source::default()));
    let shown: Vec<_> = listen.iter().map(Listen::to_string).collect();
    let shown = (!shown.is_empty()).then_some(shown);
    layers.report.setting(name, shown, &source);
    listen
}

fn admin(flag: Option<Listen>, layers: &mut Layers<'_>) -> Option<Listen> {
    const NAME: &str = "admin_listen";
    let Some((listen, source)) = layers.find(NAME, flag, parsed::<Listen>) else {
        layers.report.setting(NAME, (), &Source::default());
        return None;
    };
    layers.report.setting(NAME, listen.to_string(), &source);
    Some(listen)
}

fn file(name: &str, flag: Option<&PathBuf>, layers: &mut Layers<'_>) -> Option<PathBuf> {
    let (path, source) = layers.find_path(name, flag.cloned())?;
    let shown = path.display().to_string();
    layers.report.setting(name, shown, &source);
    Some(path)
}

fn tls(args: &ServerArgs, layers: &mut Layers<'_>) -> Option<TlsFiles> {
    let cert = file("tls_cert", args.tls_cert.as_ref(), layers);
    let key = file("tls_key", args.tls_key.as_ref(), layers);
    let client_ca = file("tls_client_ca", args.tls_client_ca.as_ref(), layers);
    let (cert, key) = match (cert, key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) if client_ca.is_none() => return None,
        _ => {
            let problem = "TLS needs --tls-cert and --tls-key, with --tls-client-ca or without";
            layers.notes.problem(problem);
            return None;
        }
    };
    let files = TlsFiles {
        cert,
        key,
        client_ca,
    };
    match files
        .read()
        .and_then(|content| files.server_config(&content))
    {
        Ok(_) => warn_if_readable(&files.key, &mut layers.notes),
        Err(problem) => layers.notes.problem(problem),
    }
    // What is wrong with the files is noted; that there are some counts.
    Some(files)
}
