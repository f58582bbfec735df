//! TLS of the listeners, with certificates that may be replaced while the
//! server runs.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::tls::{TlsContent, TlsFiles};

/// Certificates are replaced days before the old one ends.
const POLL: Duration = Duration::from_secs(5);

/// The certificate in use.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    current: RwLock<Configs>,
}

/// What a listener speaks below TLS.
#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    /// HTTP/2.
    Grpc,
    /// HTTP/2 and HTTP/1.1.
    Http,
}

#[derive(Debug)]
struct Configs {
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

impl Configs {
    fn new(config: ServerConfig) -> Self {
        let speaking = |protocols: &[&str]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .collect();
            Arc::new(config)
        };
        Self {
            grpc: speaking(&["h2"]),
            http: speaking(&["h2", "http/1.1"]),
        }
    }
}

impl Tls {
    /// Reads the files.
    pub(super) async fn load(files: TlsFiles) -> Result<(Arc<Self>, TlsContent), String> {
        let content = read(&files).await?;
        let current = RwLock::new(Configs::new(files.server_config(&content)?));
        Ok((Arc::new(Self { files, current }), content))
    }

    /// For the next handshake.
    pub(super) fn acceptor(&self, protocol: Protocol) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(match protocol {
            Protocol::Grpc => &current.grpc,
            Protocol::Http => &current.http,
        }))
    }

    /// Looks for other certificates, also when `hurry` tells it to; never ends.
    /// Those that are not usable change nothing.
    pub(super) async fn follow(
        self: Arc<Self>,
        mut content: TlsContent,
        mut hurry: watch::Receiver<u64>,
    ) {
        let mut complaint = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                Ok(()) = hurry.changed() => {}
            }
            let fresh = match read(&self.files).await {
                Ok(found) if found == content && complaint.is_none() => continue,
                Ok(found) => {
                    let fresh = self.files.server_config(&found);
                    content = found;
                    fresh
                }
                Err(error) => Err(error),
            };
            match fresh {
                Ok(fresh) => {
                    complaint = None;
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) =
                        Configs::new(fresh);
                    tracing::info!("new connections get the new certificate");
                }
                Err(error) if complaint.as_ref() == Some(&error) => {}
                Err(error) => {
                    tracing::error!("{error}; the old certificate stays in use");
                    complaint = Some(error);
                }
            }
        }
    }
}

async fn read(files: &TlsFiles) -> Result<TlsContent, String> {
    let files = files.clone();
    tokio::task::spawn_blocking(move || files.read())
        .await
        .unwrap_or_else(|error| Err(format!("reading the certificates failed: {error}")))
}
