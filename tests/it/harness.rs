//! An emulated account, a server in front of it, and a client.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a toolbox: not every test module needs all of it"
)]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::emitted::{EveryLineNamesItsCall, no_line_may_hold};
use bytes::Bytes;
use futures::stream;
use pluton_fichier::clock::Clock;
use pluton_fichier::config::{Config, Listen, RemoteConfig, Upstream};
use pluton_fichier::emulator::{self, Control, DEMO_API_KEY, Emulator};
use pluton_fichier::fichier::{ApiKey, Hosts, Limits};
use pluton_fichier::proto::get_response::Payload as Got;
use pluton_fichier::proto::put_request::Payload;
use pluton_fichier::proto::storage_backend_client::StorageBackendClient;
use pluton_fichier::proto::*;
use pluton_fichier::server::Server;
use pluton_fichier::transfer::{DownloadLimits, UploadLimits};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub type Client = StorageBackendClient<Channel>;

/// Dropped in this order: the client, the server, the account.
pub struct World {
    pub client: Client,
    pub server: Option<Server>,
    pub emulator: Emulator,
    pub control: Control,
    pub config: Config,
    /// State directories as kills have left them.
    pub images: Vec<tempfile::TempDir>,
    _state: tempfile::TempDir,
    /// Milliseconds of a step of the clock.
    step: Arc<AtomicU64>,
    _ticker: AbortOnDropHandle<()>,
    _named: EveryLineNamesItsCall,
}

const STEP: u64 = 50;
/// While nothing is asked for.
const IDLE_STEP: u64 = 1_000;

/// The account as documented: with every limit.
pub async fn world() -> World {
    build(emulator::Options::default(), |_| ()).await
}

/// An account without limits, and a server that asks for none.
pub async fn unlimited() -> World {
    let options = emulator::Options {
        limits: emulator::Limits::none(),
        ..emulator::Options::default()
    };
    build(options, |config| config.limits = Limits::none()).await
}

pub async fn build(options: emulator::Options, adapt: impl FnOnce(&mut Config)) -> World {
    for key in options
        .accounts
        .iter()
        .flat_map(|account| &account.api_keys)
    {
        no_line_may_hold(key);
    }
    let emulator = Emulator::start(options).await.unwrap();
    let state = tempfile::tempdir().unwrap();
    let mut config = Config {
        grpc_listen: vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())],
        http_listen: Vec::new(),
        admin_listen: Some(Listen::Tcp("127.0.0.1:0".parse().unwrap())),
        tls: None,
        require_token: false,
        max_connections: 1_000,
        upstream: Upstream::Api(Hosts::new(&emulator.api_url()).unwrap()),
        remotes: vec![RemoteConfig::new(
            "fichier",
            Some(ApiKey::new(DEMO_API_KEY).unwrap()),
        )],
        state_dir: Some(state.path().to_owned()),
        freshness: Duration::from_secs(300),
        exclusive: false,
        state_required: true,
        // Its call would be counted.
        identify: false,
        clock: Clock::virtual_time(),
        spool_bytes: 1 << 30,
        uploads: UploadLimits::default(),
        downloads: DownloadLimits::default(),
        max_transfers: 1_000,
        record_hashes: "sha256,md5".parse().unwrap(),
        limits: Limits::default(),
        shutdown_grace: Duration::from_secs(5),
    };
    adapt(&mut config);
    let server = Server::start(config.clone()).await.unwrap();
    let client = connect(&server).await;
    let control = emulator.control();
    let step = Arc::new(AtomicU64::new(STEP));
    World {
        client,
        server: Some(server),
        emulator,
        control,
        config,
        images: Vec::new(),
        _state: state,
        _ticker: AbortOnDropHandle::new(tokio::spawn(tick(Arc::clone(&step)))),
        step,
        _named: EveryLineNamesItsCall,
    }
}

/// A paused clock jumps to the next timer whenever nothing is ready, also when
/// the kernel still has to deliver what was sent over loopback: on a busy
/// machine keepalives and time-outs of a minute would fire for that. Small
/// steps, and a byte of our own now and then, give it the time: it delivers in
/// order.
async fn tick(step: Arc<AtomicU64>) {
    let mut fence = Fence::new().unwrap();
    loop {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(step.load(Ordering::Relaxed))).await;
        }
        fence.pass().unwrap();
    }
}

/// A connection with ourselves.
struct Fence(TcpStream, TcpStream);

impl Fence {
    fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let from = TcpStream::connect(listener.local_addr()?)?;
        from.set_nodelay(true)?;
        Ok(Self(from, listener.accept()?.0))
    }

    /// Returns when what was sent before has arrived.
    fn pass(&mut self) -> io::Result<()> {
        self.0.write_all(&[0])?;
        self.1.read_exact(&mut [0])
    }
}

pub async fn connect(server: &Server) -> Client {
    let address = format!("http://{}", server.addresses()[0]);
    // It connects when it is used: some servers speak TLS only.
    let endpoint = Endpoint::from_shared(address).unwrap();
    StorageBackendClient::new(endpoint.connect_lazy())
}

impl World {
    /// Lets time pass in which nobody asks for anything, in longer steps.
    pub async fn idle(&self, time: Duration) {
        self.step.store(IDLE_STEP, Ordering::Relaxed);
        tokio::time::sleep(time).await;
        self.step.store(STEP, Ordering::Relaxed);
    }

    pub async fn restart(&mut self) {
        self.server.take().unwrap().stop().await;
        let server = Server::start(self.config.clone()).await.unwrap();
        self.client = connect(&server).await;
        self.server = Some(server);
    }

    pub async fn put(&self, path: &str, content: &[u8]) -> Result<Entry, Status> {
        put(
            &self.client,
            PutHeader {
                size: Some(content.len() as i64),
                ..header(path)
            },
            content,
        )
        .await
    }

    pub async fn get(&self, path: &str) -> Result<Download, Status> {
        get(
            &self.client,
            GetRequest {
                path: path.to_owned(),
                ..GetRequest::default()
            },
        )
        .await
    }

    pub async fn list(&self, path: &str, recursive: bool) -> Result<Vec<Entry>, Status> {
        let request = ListRequest {
            path: path.to_owned(),
            recursive,
            ..ListRequest::default()
        };
        Ok(list(&self.client, request)
            .await?
            .into_iter()
            .flat_map(|page| page.entries)
            .collect())
    }

    pub async fn names(&self, path: &str, recursive: bool) -> Vec<String> {
        let slash = |entry: &Entry| {
            if entry.r#type() == EntryType::Directory {
                "/"
            } else {
                ""
            }
        };
        self.list(path, recursive)
            .await
            .unwrap()
            .iter()
            .map(|entry| format!("{}{}", entry.path, slash(entry)))
            .collect()
    }

    pub async fn stat(&self, path: &str) -> Result<Entry, Status> {
        let request = StatRequest {
            path: path.to_owned(),
            ..StatRequest::default()
        };
        Ok(self
            .client
            .clone()
            .stat(request)
            .await?
            .into_inner()
            .entry
            .unwrap())
    }

    pub async fn mkdir(&self, path: &str) -> Result<MkdirResponse, Status> {
        let request = MkdirRequest {
            path: path.to_owned(),
            ..MkdirRequest::default()
        };
        Ok(self.client.clone().mkdir(request).await?.into_inner())
    }

    pub async fn rmdir(&self, path: &str) -> Result<(), Status> {
        let request = RmdirRequest {
            path: path.to_owned(),
            ..RmdirRequest::default()
        };
        self.client.clone().rmdir(request).await.map(drop)
    }

    /// The reason of each target's failure; empty where it was removed.
    pub async fn delete(&self, paths: &[&str]) -> Vec<String> {
        let targets = paths
            .iter()
            .map(|path| DeleteTarget {
                path: (*path).to_owned(),
                ..DeleteTarget::default()
            })
            .collect();
        let request = DeleteRequest {
            targets,
            ..DeleteRequest::default()
        };
        let results = self
            .client
            .clone()
            .delete(request)
            .await
            .unwrap()
            .into_inner()
            .results;
        assert_eq!(
            results
                .iter()
                .map(|result| &result.path)
                .collect::<Vec<_>>(),
            paths.iter().collect::<Vec<_>>()
        );
        results
            .into_iter()
            .map(|result| {
                result
                    .failure
                    .map_or(String::new(), |failure| failure.reason)
            })
            .collect()
    }

    /// Paths of all files as 1Fichier holds them.
    pub fn stored(&self) -> Vec<String> {
        let tree = self.control.tree();
        tree.into_iter()
            .filter(|node| node.kind == emulator::NodeKind::File)
            .map(|node| node.path)
            .collect()
    }

    /// Everything that 1Fichier holds.
    pub fn stored_all(&self) -> Vec<String> {
        self.control
            .tree()
            .into_iter()
            .map(|node| node.path)
            .collect()
    }
}

/// One of several remotes.
pub struct On<'a> {
    pub client: &'a Client,
    pub remote: &'a str,
}

impl World {
    pub fn on<'a>(&'a self, remote: &'a str) -> On<'a> {
        On {
            client: &self.client,
            remote,
        }
    }
}

impl On<'_> {
    pub async fn list_within(&self, path: &str, age: Option<u64>) -> Result<Vec<Entry>, Status> {
        let request = ListRequest {
            remote: self.remote.to_owned(),
            path: path.to_owned(),
            recursive: true,
            max_staleness: age.map(|age| Duration::from_secs(age).try_into().unwrap()),
            ..ListRequest::default()
        };
        let pages = list(self.client, request).await?;
        Ok(pages.into_iter().flat_map(|page| page.entries).collect())
    }

    pub async fn list(&self, path: &str) -> Result<Vec<Entry>, Status> {
        self.list_within(path, None).await
    }

    pub async fn names(&self) -> Vec<String> {
        let entries = self.list("").await.unwrap();
        entries.into_iter().map(|entry| entry.path).collect()
    }

    pub async fn stat(&self, path: &str) -> Result<Entry, Status> {
        let request = StatRequest {
            remote: self.remote.to_owned(),
            path: path.to_owned(),
            ..StatRequest::default()
        };
        let answer = self.client.clone().stat(request).await?;
        Ok(answer.into_inner().entry.unwrap())
    }

    pub async fn get(&self, path: &str) -> Result<Download, Status> {
        let request = GetRequest {
            remote: self.remote.to_owned(),
            path: path.to_owned(),
            ..GetRequest::default()
        };
        get(self.client, request).await
    }

    pub async fn put(&self, path: &str, content: &[u8]) -> Result<Entry, Status> {
        let header = PutHeader {
            remote: self.remote.to_owned(),
            size: Some(content.len() as i64),
            ..header(path)
        };
        put(self.client, header, content).await
    }

    pub async fn copy(&self, source: &str, destination: &str) -> Result<Entry, Status> {
        let request = CopyRequest {
            remote: self.remote.to_owned(),
            source_path: source.to_owned(),
            destination_path: destination.to_owned(),
            ..CopyRequest::default()
        };
        let answer = self.client.clone().copy(request).await?;
        Ok(answer.into_inner().entry.unwrap())
    }

    pub async fn hash(
        &self,
        path: &str,
        algorithm: HashAlgorithm,
        allow_download: bool,
    ) -> Result<HashResponse, Status> {
        let request = HashRequest {
            remote: self.remote.to_owned(),
            path: path.to_owned(),
            algorithm: algorithm.into(),
            allow_download,
        };
        Ok(self.client.clone().hash(request).await?.into_inner())
    }

    pub async fn about(&self) -> Result<AboutResponse, Status> {
        let request = AboutRequest {
            remote: self.remote.to_owned(),
        };
        Ok(self.client.clone().about(request).await?.into_inner())
    }
}

pub fn header(path: &str) -> PutHeader {
    PutHeader {
        path: path.to_owned(),
        ..PutHeader::default()
    }
}

pub fn message(payload: Payload) -> PutRequest {
    PutRequest {
        payload: Some(payload),
    }
}

pub fn chunk(offset: usize, data: &[u8]) -> PutRequest {
    message(Payload::Chunk(Chunk {
        offset: offset as i64,
        data: Bytes::copy_from_slice(data),
        crc32c: None,
    }))
}

pub fn commit(size: usize) -> PutRequest {
    message(Payload::Commit(PutCommit {
        size: size as i64,
        checksums: Vec::new(),
    }))
}

/// Header, chunks and commit of a content.
pub fn messages(header: PutHeader, content: &[u8]) -> Vec<PutRequest> {
    let mut messages = vec![message(Payload::Header(header))];
    for (index, piece) in content.chunks(256 << 10).enumerate() {
        messages.push(chunk(index * (256 << 10), piece));
    }
    messages.push(commit(content.len()));
    messages
}

pub async fn put(client: &Client, header: PutHeader, content: &[u8]) -> Result<Entry, Status> {
    send(client, messages(header, content)).await
}

pub async fn send(client: &Client, messages: Vec<PutRequest>) -> Result<Entry, Status> {
    Ok(client
        .clone()
        .put(stream::iter(messages))
        .await?
        .into_inner()
        .entry
        .unwrap())
}

#[derive(Debug)]
pub struct Download {
    pub header: GetHeader,
    pub content: Vec<u8>,
    /// Offset and length of each chunk.
    pub chunks: Vec<(i64, usize)>,
    pub trailer: GetTrailer,
}

pub async fn get(client: &Client, request: GetRequest) -> Result<Download, Status> {
    let mut stream = client.clone().get(request).await?.into_inner();
    let Some(Got::Header(header)) = stream.message().await?.unwrap().payload else {
        panic!("no header")
    };
    let (mut content, mut chunks) = (Vec::new(), Vec::new());
    loop {
        match stream.message().await?.expect("a trailer").payload.unwrap() {
            Got::Chunk(chunk) => {
                assert_eq!(chunk.crc32c, Some(crc32c::crc32c(&chunk.data)));
                chunks.push((chunk.offset, chunk.data.len()));
                content.extend_from_slice(&chunk.data);
            }
            Got::Trailer(trailer) => {
                assert!(
                    stream.message().await?.is_none(),
                    "nothing comes behind the trailer"
                );
                assert_eq!(trailer.sent_bytes, content.len() as i64);
                return Ok(Download {
                    header,
                    content,
                    chunks,
                    trailer,
                });
            }
            Got::Header(_) => panic!("a second header"),
        }
    }
}

pub async fn list(client: &Client, request: ListRequest) -> Result<Vec<ListResponse>, Status> {
    let mut stream = client.clone().list(request).await?.into_inner();
    let mut pages = Vec::new();
    while let Some(page) = stream.message().await? {
        pages.push(page);
    }
    Ok(pages)
}

/// The reason that a status carries; its code must be the reason's.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "storage.pluton");
    // What is full may have room later, or never for something so large.
    if !["SPOOL_FULL", "TOO_MANY_TRANSFERS"].contains(&&*info.reason) {
        assert_eq!(
            details.retry_info().is_some(),
            status.code() == Code::Unavailable,
            "{status:?}"
        );
    }
    info.reason.clone()
}

#[track_caller]
pub fn assert_reason<T: std::fmt::Debug>(result: Result<T, Status>, expected: &str) -> Status {
    let status = result.expect_err(expected);
    assert_eq!(reason(&status), expected, "{status:?}");
    status
}

/// A fact of a status's ErrorInfo.
#[track_caller]
pub fn fact(status: &Status, name: &str) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    info.metadata
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {info:?}"))
        .clone()
}

/// The request field that a status complains about.
#[track_caller]
pub fn field(status: &Status) -> String {
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations[0]
        .field
        .clone()
}

/// How long to wait before a repeat.
#[track_caller]
pub fn retry_delay(status: &Status) -> Duration {
    let details = status.get_error_details();
    details.retry_info().unwrap().retry_delay.unwrap()
}

/// Bytes that differ everywhere.
pub fn content(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32 ^ size as u32;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

/// By algorithm: the checksums of an entry.
pub fn sums(entry: &Entry) -> Vec<(HashAlgorithm, String)> {
    entry
        .checksums
        .iter()
        .map(|sum| (sum.algorithm(), sum.hex.clone()))
        .collect()
}

/// A checksum of a content, by another implementation than the server's path
/// to it.
pub fn sum(algorithm: HashAlgorithm, data: &[u8]) -> (HashAlgorithm, String) {
    use sha2::Digest;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let value = match algorithm {
        HashAlgorithm::Sha256 => hex(&sha2::Sha256::digest(data)),
        HashAlgorithm::Md5 => hex(&md5::Md5::digest(data)),
        HashAlgorithm::Sha1 => hex(&sha1::Sha1::digest(data)),
        HashAlgorithm::Blake3 => blake3::hash(data).to_hex().to_string(),
        HashAlgorithm::Crc32c => format!("{:08x}", crc32c::crc32c(data)),
        HashAlgorithm::Whirlpool | HashAlgorithm::Unspecified => whirlpool(data),
    };
    (algorithm, value)
}

pub fn whirlpool(data: &[u8]) -> String {
    use whirlpool::Digest;
    whirlpool::Whirlpool::digest(data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
