//! The running server: the account behind it, its listeners, its health, and
//! how it stops.

mod accept;
mod admission;
mod connection;
mod descriptors;
mod endless;
mod faces;
mod gate;
mod http;
mod http_gate;
mod listen;
mod observe;
mod observe_http;
mod seldom;
mod state_dir;
mod tls;
mod trace;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server as Tonic;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::access::{TokenFile, Tokens};
use crate::admin::{Admin, Counted, Facts, Requests, Rpcs};
use crate::backend::{Account, AccountSettings, Login, Remote, RemoteOptions, Remotes, Share};
use crate::catalog::{self, Shelf};
use crate::config::{Config, Upstream};
use crate::emulator::{self, Emulator};
use crate::fichier::{Access, ApiKey, Budget, Hosts, Password, ShareId};
use crate::grpc::{Guarded, MAX_CHUNK, StorageService};
use crate::http::{Body, Request, check_host, drain};
use crate::proto::storage_backend_server::StorageBackendServer;
use crate::proto::{DESCRIPTORS, PACKAGE};
use crate::spans::Tasks;
use crate::transfer::{Slots, SpoolDir};

use admission::{Admission, Admitted, MAX_CALLS};
use connection::Peer;
use endless::Endless;
use faces::Faces;
use gate::Gate;
use http::Door;
use http_gate::HttpGate;
use listen::{Bound, SocketFile};
use observe::Observe;
use observe_http::ObserveHttp;
pub use state_dir::StateDir;
use tls::{Protocol, Tls};
use wire::Wire;

/// The service name in health checks.
const SERVICE: &str = "pluton.storage.v1.StorageBackend";
/// Its health says whether what is remembered is written to disk. The server
/// works without.
const CATALOG_HEALTH: &str = "pluton-fichier.catalog";
const CATALOG_CHECK: Duration = Duration::from_secs(10);
// What an unread stream may hold. The connection takes that of all its streams
// together: uploads that wait for a lock or for another call are not read, and
// must not starve the one that they wait for.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS;
const MAX_FRAME: u32 = 256 << 10;
const MAX_STREAMS: u32 = 256;
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A chunk, and what goes with it. tonic refuses more before it takes memory.
const MAX_MESSAGE: usize = MAX_CHUNK + (64 << 10);
/// The name of a service, or of what reflection is asked for.
const MAX_HEALTH_MESSAGE: usize = 4 << 10;
/// Of a request; gRPC's own default is half of it.
const MAX_HEADERS: u32 = 16 << 10;
/// Programs that watch.
const ADMIN_CONNECTIONS: usize = 64;
/// How long connections may take to close when no call is in work any more.
const FAREWELL: Duration = Duration::from_secs(2);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<String>,
    http_addresses: Vec<String>,
    instance_id: String,
    admin_address: Option<String>,
    admission: Admission,
    serving: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
    health: HealthReporter,
    remotes: Remotes,
    tasks: Tasks,
    catalog_watch: AbortOnDropHandle<()>,
    reload: watch::Sender<u64>,
    identifying: Option<DropGuard>,
    _followers: Vec<AbortOnDropHandle<()>>,
    grace: Duration,
    // Dropped last: sockets, files and the emulated account go with them.
    _sockets: Vec<SocketFile>,
    _emulator: Option<Emulator>,
    _state: StateDir,
}

impl Drop for Server {
    /// What is still at work has nobody any more that it works for, and no
    /// state directory for itself.
    fn drop(&mut self) {
        self.remotes.close();
    }
}

impl Server {
    /// Starts everything.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    pub async fn start(config: Config) -> Result<Self, String> {
        let state = StateDir::open(config.state_dir.as_deref())?;
        let mut emulator = None;
        let hosts = match &config.upstream {
            Upstream::Api(hosts) => hosts.clone(),
            Upstream::Emulator => {
                let started = Emulator::start(emulator::Options::default())
                    .await
                    .map_err(|error| format!("cannot start the emulator: {error}"))?;
                let hosts = Hosts::new(&started.api_url())?;
                emulator = Some(started);
                hosts
            }
        };
        let tasks = Tasks::new();
        let identifying = CancellationToken::new();
        let remotes = open_remotes(&config, &hosts, &state, &tasks, &identifying)?;
        let (reload, hurry) = watch::channel(0);
        let file = TokenFile::within(state.path());
        let (tokens, follow) = Tokens::open(file, config.require_token, hurry.clone()).await?;
        let mut followers = vec![AbortOnDropHandle::new(tokio::spawn(follow))];
        let mut tls = None;
        if let Some(files) = config.tls.clone() {
            let (loaded, content) = Tls::load(files).await?;
            let follow = Arc::clone(&loaded).follow(content, hurry);
            followers.push(AbortOnDropHandle::new(tokio::spawn(follow)));
            tls = Some(loaded);
        }

        let mut bound = Vec::new();
        for address in &config.grpc_listen {
            bound.push(Bound::new(address, "--grpc-listen").await?);
        }
        let mut http_bound = Vec::new();
        for address in &config.http_listen {
            http_bound.push(Bound::new(address, "--http-listen").await?);
        }
        let mut admin_bound = None;
        if let Some(address) = &config.admin_listen {
            admin_bound = Some(Bound::new(address, "--admin-listen").await?);
        }
        let instance_id = uuid::Uuid::new_v4().to_string();
        let (health, health_service) = tonic_health::server::health_reporter();
        health
            .set_service_status(SERVICE, ServingStatus::Serving)
            .await;
        let unusable = |error| format!("the compiled descriptors are unusable: {error}");
        let served = [
            DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let unreadable = |error| format!("the compiled descriptors are unusable: {error}");
        let rpcs = Rpcs::new(&served).map_err(unreadable)?;
        let wire = Wire::new(&served).map_err(unreadable)?;
        let requests = Arc::new(Requests::default());
        let catalog_watch = tokio::spawn(watch_catalog(remotes.clone(), health.clone()));
        let (stop, stopped) = watch::channel(false);
        let mut server = Self {
            addresses: bound.iter().map(Bound::address).collect(),
            http_addresses: http_bound.iter().map(Bound::address).collect(),
            _sockets: bound
                .iter()
                .chain(&http_bound)
                .chain(&admin_bound)
                .filter_map(Bound::socket)
                .collect(),
            admin_address: admin_bound.as_ref().map(Bound::address),
            admission: Admission::new(MAX_CALLS),
            serving: Arc::new(AtomicBool::new(true)),
            stop,
            listeners: JoinSet::new(),
            health,
            remotes: remotes.clone(),
            tasks,
            catalog_watch: AbortOnDropHandle::new(catalog_watch),
            reload,
            identifying: Some(identifying.drop_guard()),
            _followers: followers,
            grace: config.shutdown_grace,
            instance_id: instance_id.clone(),
            _emulator: emulator,
            _state: state,
        };
        let places = descriptors::places(config.max_connections, bound.len() + http_bound.len());
        let secured = |bound: &Bound, protocol| {
            let tls = tls.clone().filter(|_| !bound.is_private());
            tls.map(|tls| (tls, protocol))
        };
        for bound in bound {
            let service = StorageService::new(remotes.clone(), instance_id.clone());
            let storage = StorageBackendServer::new(Guarded::new(service))
                .max_decoding_message_size(MAX_MESSAGE);
            let health_service = health_service
                .clone()
                .max_decoding_message_size(MAX_HEALTH_MESSAGE);
            let router = Tonic::builder()
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_frame_size(MAX_FRAME)
                .max_concurrent_streams(MAX_STREAMS)
                .http2_max_header_list_size(MAX_HEADERS)
                .http2_keepalive_interval(Some(KEEPALIVE))
                .http2_keepalive_timeout(Some(KEEPALIVE))
                .layer(Observe::new(Arc::clone(&rpcs)))
                .layer(wire.clone())
                .layer(Gate::new(tokens.clone(), bound.is_private()))
                .add_service(Admitted::new(storage, server.admission.clone()))
                .add_service(Endless::new(health_service, stopped.clone()))
                .add_service(Endless::new(
                    reflection().build_v1().map_err(unusable)?,
                    stopped.clone(),
                ))
                .add_service(Endless::new(
                    reflection().build_v1alpha().map_err(unusable)?,
                    stopped.clone(),
                ));
            let mut stopped = stopped.clone();
            let signal = async move {
                // The sender is dropped with the server, which is a stop too.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            let tls = secured(&bound, Protocol::Grpc);
            let incoming = accept::connections(bound, tls, places);
            server.listeners.spawn(async move {
                let served = router.serve_with_incoming_shutdown(incoming, signal).await;
                if let Err(error) = served {
                    tracing::error!(%error, "a listener ended");
                }
            });
        }
        for bound in http_bound {
            let door = Door {
                gate: HttpGate::new(tokens.clone(), bound.is_private(), bound.is_local()),
                admission: server.admission.clone(),
                observe: ObserveHttp::new(Arc::clone(&requests)),
            };
            let tls = secured(&bound, Protocol::Http);
            let incoming = accept::connections(bound, tls, places);
            let faces = Faces::new(remotes.clone());
            let serving = http::serve(incoming, door, faces, stopped.clone());
            server.listeners.spawn(serving);
        }
        if let Some(bound) = admin_bound {
            let facts = Facts {
                instance_id,
                started: config.clock.now(),
                serving: Arc::clone(&server.serving),
            };
            let counted = Counted { rpcs, requests };
            let admin = Admin::new(remotes, counted, facts, bound.is_local());
            let answer = move |peer: Peer, request: Request| {
                peer.serve();
                let answer = match check_host(&request) {
                    Ok(()) => admin.answer(&request).map(Body::new),
                    Err(failure) => failure.into(),
                };
                drain(request.into_body());
                std::future::ready(answer)
            };
            let incoming = accept::connections(bound, None, ADMIN_CONNECTIONS);
            let serving = http::serve_all(incoming, answer, stopped);
            server.listeners.spawn(serving);
        }
        Ok(server)
    }

    /// Where it listens, with the ports that were chosen.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Where the HTTP faces listen.
    pub fn http_addresses(&self) -> &[String] {
        &self.http_addresses
    }

    /// Where metrics, health and the status page are, if they are.
    pub fn admin_address(&self) -> Option<&str> {
        self.admin_address.as_deref()
    }

    /// The emulated account, where there is one.
    pub fn emulator(&self) -> Option<emulator::Control> {
        self._emulator.as_ref().map(Emulator::control)
    }

    /// Looks now whether tokens and certificates have changed.
    pub fn reload(&self) {
        self.reload.send_modify(|times| *times += 1);
    }

    /// One line for the program that started this one.
    pub fn ready_line(&self) -> String {
        serde_json::json!({
            "ready": true,
            "address": self.addresses.first(),
            "addresses": self.addresses,
            "http_addresses": self.http_addresses,
            "admin_address": self.admin_address,
            "version": env!("CARGO_PKG_VERSION"),
            "api_packages": [PACKAGE],
            "instance_id": self.instance_id,
            "pid": std::process::id(),
        })
        .to_string()
    }

    /// Refuses new work and waits for what is in work, but no longer than the
    /// grace time; then that is cut off. Until then callers are told so, and
    /// health can be asked for.
    pub async fn stop(mut self) {
        for service in [SERVICE, ""] {
            let status = ServingStatus::NotServing;
            self.health.set_service_status(service, status).await;
        }
        self.serving.store(false, Ordering::Relaxed);
        drop(self.identifying.take());
        self.admission.close();
        self.tasks.close();
        let drain = async {
            self.admission.idle().await;
            self.tasks.wait().await;
        };
        if tokio::time::timeout(self.grace, drain).await.is_err() {
            tracing::warn!(
                seconds = self.grace.as_secs(),
                "some calls did not end in the grace time and are cut off"
            );
        }
        self.admission.cut();
        self.stop.send_replace(true);
        // It holds the catalog, which must be closed when this returns.
        self.catalog_watch.abort();
        let farewell = async {
            while self.listeners.join_next().await.is_some() {}
            let _ = (&mut self.catalog_watch).await;
        };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::info!("some clients keep their connections open and are left alone");
        }
    }
}

/// A tree: an account's own, or a public folder as it is seen with a password.
type Tree = (ApiKey, Option<(ShareId, Option<Password>)>);

/// The remotes; those with the same key share one login, and those of one tree
/// share its account.
fn open_remotes(
    config: &Config,
    hosts: &Hosts,
    state: &StateDir,
    tasks: &Tasks,
    identifying: &CancellationToken,
) -> Result<Remotes, String> {
    // The website counts by address, whatever the key.
    let pages = Arc::new(Budget::new(config.limits.clone()));
    let mut logins: HashMap<ApiKey, Arc<Login>> = HashMap::new();
    let mut trees: Vec<(Tree, Arc<Login>)> = Vec::new();
    for remote in &config.remotes {
        let key = match &remote.key {
            Some(key) => key.clone(),
            None => ApiKey::new(emulator::DEMO_API_KEY)?,
        };
        let login = match logins.get(&key) {
            Some(login) => Arc::clone(login),
            None => {
                let limits = config.limits.clone();
                let login =
                    Login::new(hosts.clone(), key.clone(), limits, config.downloads.clone())?;
                logins.insert(key.clone(), Arc::clone(&login));
                login
            }
        };
        let share = remote.shared_folder.clone();
        let tree = (key, share.map(|id| (id, remote.folder_password.clone())));
        trees.push((tree, login));
    }
    let share = |tree: &Tree| {
        tree.1.clone().map(|(id, password)| Share {
            id,
            password,
            pages: Arc::clone(&pages),
        })
    };
    // All of them first: what is remembered under one of these names is not
    // what an earlier key has left.
    let names = trees
        .iter()
        .flat_map(|(tree, login)| Account::names(login, share(tree)));
    // Each start of the emulator has a new account.
    let is_emulated = matches!(config.upstream, Upstream::Emulator);
    let shelf = match is_emulated {
        true => Shelf::for_new_accounts(state.catalog(), names),
        false => Shelf::new(state.catalog(), names),
    };
    let spool = SpoolDir::new(state.spool(), config.spool_bytes);
    let settings = AccountSettings {
        catalog: catalog::Settings {
            freshness: config.freshness,
            exclusive: config.exclusive,
            state_required: config.state_required,
            ..catalog::Settings::default()
        },
        uploads: config.uploads.clone(),
        slots: Slots::new(config.max_transfers),
        record_hashes: config.record_hashes.clone(),
        shelf,
        identify: (config.identify && !is_emulated).then(|| identifying.clone()),
        clock: config.clock,
    };
    let mut accounts: HashMap<Tree, Arc<Account>> = HashMap::new();
    let mut remotes = Vec::new();
    for (remote, (tree, login)) in config.remotes.iter().zip(&trees) {
        let account = match accounts.get(tree) {
            Some(account) => Arc::clone(account),
            None => {
                let (spool, tasks) = (Arc::clone(&spool), tasks.clone());
                let account = Account::open(login, share(tree), settings.clone(), spool, tasks)?;
                accounts.insert(tree.clone(), Arc::clone(&account));
                account
            }
        };
        let options = RemoteOptions {
            encoding: remote.encoding,
            access: Access {
                password: remote.file_password.clone(),
                cdn: remote.cdn,
            },
        };
        remotes.push(Remote::new(&remote.name, account, options));
    }
    Ok(Remotes::new(remotes))
}

async fn watch_catalog(remotes: Remotes, health: HealthReporter) {
    let mut known = None;
    loop {
        let activity = remotes.activity(None);
        let healthy = activity
            .trees
            .iter()
            .all(|tree| tree.catalog.problem.is_none());
        if known != Some(healthy) {
            let status = if healthy {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            health.set_service_status(CATALOG_HEALTH, status).await;
            known = Some(healthy);
        }
        tokio::time::sleep(CATALOG_CHECK).await;
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that grpcurl can show the details of an error.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
