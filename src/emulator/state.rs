//! What the parts of the emulator share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::behaviour::Behaviour;
use super::body::Bodies;
use super::calls::{Calls, Log};
use super::changes::When;
use super::clock::Clock;
use super::fault::Faults;
use super::file::{Acl, File, FileId};
use super::limits::{Limiter, Limits};
use super::store::Store;

/// Everything behind the listener.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) clock: Clock,
    pub(super) bodies: Bodies,
    pub(super) hosts: Hosts,
    /// Upload bodies being received.
    pub(super) open_uploads: AtomicUsize,
    /// Download bodies that are being sent.
    pub(super) open_downloads: AtomicUsize,
    /// Whether `/_control` is served.
    pub(super) control_endpoints: bool,
}

impl Shared {
    /// The state. A panic elsewhere does not make it unusable: changes are small and complete.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, for what listings see later.
    pub(super) fn when(&self) -> When {
        When {
            now: Instant::now(),
            date: self.clock.date(),
            lags: true,
        }
    }
}

/// What changes while the emulator runs.
#[derive(Debug)]
pub(super) struct State {
    pub(super) behaviour: Behaviour,
    pub(super) limits: Limits,
    pub(super) limiter: Limiter,
    pub(super) faults: Faults,
    pub(super) calls: Calls,
    pub(super) log: Log,
    pub(super) store: Store,
    pub(super) random: fastrand::Rng,
    pub(super) uploads: HashMap<String, UploadId>,
    pub(super) emissions: HashMap<String, Emission>,
    pub(super) tokens: HashMap<String, Token>,
    /// Counts answers that come in several forms in turn.
    pub(super) turn: usize,
}

/// An id given by `get_upload_server`.
#[derive(Debug)]
pub(super) struct UploadId {
    pub(super) issued: Instant,
    pub(super) used: bool,
}

/// A finished upload, as `end.pl` tells it [API §5].
#[derive(Debug)]
pub(super) struct Emission {
    pub(super) finished: Instant,
    pub(super) incoming: bool,
    pub(super) links: Vec<Link>,
    /// Polls that still see the waiting page.
    pub(super) wait_pages: u32,
    /// Polls that then still see no links.
    pub(super) empty_links: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) url: String,
    pub(super) remove: String,
    pub(super) filename: String,
    pub(super) size: u64,
    pub(super) whirlpool: Arc<str>,
    pub(super) domain: usize,
}

/// A download token [API §2].
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) file: FileId,
    pub(super) single: bool,
    pub(super) inline: bool,
    pub(super) issued: Instant,
    /// Whether it was used in time.
    pub(super) used: bool,
}

impl State {
    /// The next number of a rotation.
    pub(super) fn turn(&mut self) -> usize {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    /// Random characters out of an alphabet.
    pub(super) fn random_text(&mut self, length: usize, alphabet: &[u8]) -> String {
        (0..length)
            .filter_map(|_| self.random.choice(alphabet))
            .map(|byte| char::from(*byte))
            .collect()
    }

    /// An id for a new file: 20 lower-case alphanumerics [API C].
    pub(super) fn new_file_id(&mut self) -> FileId {
        loop {
            let id = self.random_text(20, b"abcdefghijklmnopqrstuvwxyz0123456789");
            if self.store.file(&id).is_none() {
                return id.into();
            }
        }
    }

    /// An id for an upload: 10 alphanumerics [API §3].
    pub(super) fn new_upload_id(&mut self) -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        self.random_text(10, alphabet)
    }

    /// Whether a file's restrictions let this caller read it. The owner is not exempt: whether
    /// the service exempts him is unknown.
    pub(super) fn may_read(&self, file: &File, account: Option<usize>, ip: IpAddr) -> bool {
        let acl = &file.acl;
        if *acl == Acl::default() {
            return true;
        }
        let options = account
            .and_then(|account| self.store.accounts.get(account))
            .map(|account| &account.options);
        let address = ip.to_string();
        acl.ip
            .iter()
            .any(|range| range.split('/').next() == Some(address.as_str()))
            || options.is_some_and(|options| {
                acl.email.contains(&options.email)
                    || (acl.premium && options.offer != super::account::Offer::Free)
            })
    }
}

/// The names this server goes by.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    pub(super) tls: bool,
    pub(super) address: std::net::SocketAddr,
}

impl Hosts {
    fn port(&self) -> String {
        match self.address.port() {
            443 => String::new(),
            port => format!(":{port}"),
        }
    }

    /// The base of `/v1`.
    pub(super) fn api_url(&self) -> String {
        if self.tls {
            format!("https://api.1fichier.com{}/v1", self.port())
        } else {
            format!("http://{}/v1", self.address)
        }
    }

    /// An upload node: a bare host name [API §3].
    pub(super) fn node(&self, turn: usize) -> String {
        if self.tls {
            let number = if turn.is_multiple_of(2) { 2 } else { 3 };
            format!("up{number}.1fichier.com{}", self.port())
        } else {
            self.address.to_string()
        }
    }

    /// The URL of a download token.
    pub(super) fn token_url(&self, token: &str) -> String {
        if self.tls {
            format!("https://a-4.1fichier.com{}/{token}", self.port())
        } else {
            format!("http://{}/{token}", self.address)
        }
    }
}
