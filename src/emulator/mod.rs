//! The 1Fichier API on loopback, for demonstration and tests.
//!
//! One server plays `api.1fichier.com`, the upload nodes, the download hosts and the website. It
//! is written from the project's facts about the API alone, cited as `[API §n]` (sections) or
//! `[API X]`, `[API Xn]` (chapters and their rows), and shares no code with the client, so that a
//! misreading on one side cannot cancel out on the other. It enforces the service's limits for
//! real, plays every open question by a switch ([`Behaviour`]), and makes faults happen on demand
//! ([`Fault`]). Time is the runtime's: tests may pause it.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use pluton_fichier::emulator::{Emulator, Options};
//!
//! let emulator = Emulator::start(Options::default()).await?;
//! println!("{}", emulator.api_url());
//! emulator.stop().await;
//! # Ok(())
//! # }
//! ```

mod account;
mod behaviour;
mod body;
mod calls;
mod changes;
mod clock;
mod command;
mod control;
mod control_http;
mod download;
mod end;
mod fault;
mod file;
mod files;
mod folders;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod json;
mod limits;
mod listing;
mod misc;
mod multipart;
mod names;
mod others;
mod parts;
mod past;
mod refusal;
mod seconds;
mod server;
mod state;
mod store;
mod tls;
mod upload;
mod v1;
mod web;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use account::{AccountOptions, DEMO_API_KEY, Offer};
pub use behaviour::{
    Batch, Behaviour, DateWindow, DatesOnMove, EmptyArrays, ForbiddenChars, InfoContentType,
    InfoPath, LinkOrder, ListingLag, MkdirExisting, MvRename, MvSameFolder, MvWithRename,
    RenameSameName, RmMissing, TokenRefusal, UnknownFolder, UnknownParent, UrlStability,
};
pub use calls::{Calls, Request};
pub use command::{EmulatorArgs, LimitsChoice, run};
pub use control::{Control, FolderShare, Node, NodeKind};
pub use fault::{Fault, FaultKind};
pub use file::Acl;
pub use limits::Limits;

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; only loopback addresses are accepted. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Serves TLS under the service's real names instead of plain HTTP under its address.
    pub tls: bool,
    /// Where to keep file contents: in a private directory below this one, removed at the end.
    /// `None` takes the system's directory for temporary files.
    pub data_dir: Option<PathBuf>,
    /// The accounts there are.
    pub accounts: Vec<AccountOptions>,
    /// The limits to enforce.
    pub limits: Limits,
    /// How to play what is not documented.
    pub behaviour: Behaviour,
    /// Determines everything random: ids, orders, node failures.
    pub seed: u64,
    /// Serves `/_control`, by which other processes count calls and make faults.
    pub control_endpoints: bool,
    /// What the service's clock shows at the start, in seconds since 1970; `None` takes this
    /// machine's.
    pub start_date: Option<i64>,
}

impl Default for Options {
    /// One account with [`DEMO_API_KEY`] and the documented limits, on a free port.
    fn default() -> Options {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: false,
            data_dir: None,
            accounts: vec![AccountOptions::default()],
            limits: Limits::documented(),
            behaviour: Behaviour::default(),
            seed: 1,
            control_endpoints: false,
            start_date: None,
        }
    }
}

/// A running emulator. Dropping it ends it.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<state::Shared>,
    ca_pem: Option<String>,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Starts listening.
    ///
    /// # Errors
    ///
    /// When the address is not a loopback one (`InvalidInput`), cannot be listened on, or the
    /// directory for contents cannot be made.
    pub async fn start(options: Options) -> io::Result<Emulator> {
        if !options.listen.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the emulator listens on loopback addresses only, {} is not one",
                    options.listen.ip()
                ),
            ));
        }
        let clock = clock::Clock::start(options.start_date)?;
        let bodies = body::Bodies::create(options.data_dir.as_deref())?;
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let (acceptor, ca_pem) = if options.tls {
            let (acceptor, pem) = tls::create(address.ip())?;
            (Some(acceptor), Some(pem))
        } else {
            (None, None)
        };
        let state = state::State {
            behaviour: options.behaviour,
            limits: options.limits,
            limiter: limits::Limiter::default(),
            faults: fault::Faults::default(),
            calls: Calls::default(),
            log: calls::Log::default(),
            store: store::Store::new(options.accounts, clock.date()),
            random: fastrand::Rng::with_seed(options.seed),
            uploads: HashMap::new(),
            emissions: HashMap::new(),
            tokens: HashMap::new(),
            turn: 0,
        };
        let shared = Arc::new(state::Shared {
            state: Mutex::new(state),
            clock,
            bodies,
            hosts: state::Hosts {
                tls: options.tls,
                address,
            },
            open_uploads: AtomicUsize::new(0),
            open_downloads: AtomicUsize::new(0),
            control_endpoints: options.control_endpoints,
        });
        let stop = CancellationToken::new();
        let serving = server::serve(listener, acceptor, Arc::clone(&shared), stop.clone());
        Ok(Emulator {
            shared,
            ca_pem,
            stop,
            server: Some(tokio::spawn(serving)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.hosts.address
    }

    /// The base of the API: `http://127.0.0.1:PORT/v1`, or with TLS
    /// `https://api.1fichier.com:PORT/v1` (without the port if it is 443), a name that the client
    /// must resolve to [`Emulator::address`].
    pub fn api_url(&self) -> String {
        self.shared.hosts.api_url()
    }

    /// The certificate authority to trust, with TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// A handle to look behind the service and to make trouble.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.shared))
    }

    /// Stops listening and closes all connections.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            // Only a panic in the accept loop could be reported, and it has been logged.
            let _ = server.await;
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
