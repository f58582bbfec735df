//! A server that keeps its files in memory and fails when it is told to.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tonic::{Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{DOMAIN, Reason};
use crate::proto::storage_backend_server::{StorageBackend, StorageBackendServer};
use crate::proto::*;

/// What the server holds and did, and what it is to do.
#[derive(Default)]
pub(super) struct State {
    pub(super) files: BTreeMap<String, Bytes>,
    pub(super) gets: Vec<GetRequest>,
    pub(super) headers: Vec<PutHeader>,
    pub(super) lists: Vec<ListRequest>,
    pub(super) deletes: Vec<usize>,
    /// Put streams that ended without their commit.
    pub(super) uncommitted: usize,
    /// Failures of the next Puts.
    pub(super) put_failures: Vec<Status>,
    /// Called once a Put has begun.
    pub(super) on_put: Option<Box<dyn Fn() + Send>>,
    /// The next Gets break after so many chunks.
    pub(super) get_breaks: Vec<usize>,
    pub(super) damage_chunks: bool,
    pub(super) leave_out_trailer: bool,
    pub(super) list_failures: Vec<PathFailure>,
    pub(super) links: Vec<PublicLinkRequest>,
    pub(super) dedupes: Vec<DedupeRequest>,
    pub(super) groups: Vec<DedupeResponse>,
    pub(super) purges: Vec<PurgeRequest>,
    /// What the next purges answer.
    pub(super) purge_answers: Vec<Vec<Result<PurgeResponse, Status>>>,
    pub(super) moves: Vec<MoveRequest>,
    pub(super) directory_moves: Vec<MoveDirRequest>,
    pub(super) copies: Vec<CopyRequest>,
    /// Failures of the next moves and copies.
    pub(super) move_failures: Vec<Status>,
    /// Failures of the next calls that are neither of the above, but of List.
    pub(super) failures: Vec<Status>,
    /// The next List breaks behind its first page.
    pub(super) break_list: bool,
    /// Puts and Gets wait until so many are there.
    pub(super) meeting: Option<Arc<tokio::sync::Barrier>>,
    /// Puts and Gets in work, and the most that ever were.
    pub(super) running: (usize, usize),
    /// List does not answer, and Get stops after its first chunk.
    pub(super) stall: bool,
}

/// The size of the chunks of Get.
pub(super) const CHUNK: usize = 1000;

#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// Serves on a loopback port.
    pub(super) async fn start() -> (Self, SocketAddr) {
        let fake = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = StorageBackendServer::new(fake.clone());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        (fake, address)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn hold(&self, path: &str, content: impl Into<Bytes>) {
        self.state().files.insert(path.into(), content.into());
    }

    async fn meet(&self) {
        let meeting = {
            let mut state = self.state();
            state.running.0 += 1;
            state.running.1 = state.running.1.max(state.running.0);
            state.meeting.clone()
        };
        if let Some(meeting) = meeting {
            meeting.wait().await;
        }
    }

    fn fail(&self) -> Result<(), Status> {
        let mut state = self.state();
        match state.failures.is_empty() {
            true => Ok(()),
            false => Err(state.failures.remove(0)),
        }
    }

    fn fail_once(&self) -> Result<(), Status> {
        let mut state = self.state();
        match state.move_failures.is_empty() {
            true => Ok(()),
            false => Err(state.move_failures.remove(0)),
        }
    }

    fn find(&self, path: &str) -> Result<Bytes, Status> {
        let found = self.state().files.get(path).cloned();
        found.ok_or_else(|| status(Reason::FileNotFound, &format!("there is no file {path:?}")))
    }
}

pub(super) fn status(reason: Reason, message: &str) -> Status {
    let metadata = HashMap::from([("path".to_owned(), "p".to_owned())]);
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, metadata);
    if reason.code() == tonic::Code::Unavailable {
        details.set_retry_info(Some(Duration::from_millis(10)));
    }
    Status::with_error_details(reason.code(), message, details)
}

/// One that passes, although its code is not UNAVAILABLE.
pub(super) fn later(reason: Reason, message: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, HashMap::new());
    details.set_retry_info(Some(Duration::from_millis(10)));
    Status::with_error_details(reason.code(), message, details)
}

pub(super) fn failure(reason: Reason, message: &str) -> Failure {
    Failure {
        code: reason.code() as i32,
        reason: reason.as_str().into(),
        message: message.into(),
        ..Failure::default()
    }
}

pub(super) fn whirlpool(content: &[u8]) -> String {
    use digest::Digest;
    crate::checksum::hex(&whirlpool::Whirlpool::digest(content))
}

fn entry(path: &str, content: &Bytes) -> Entry {
    Entry {
        path: path.into(),
        r#type: EntryType::File.into(),
        size: Some(content.len() as i64),
        modify_time: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 0,
        }),
        checksums: vec![Checksum {
            algorithm: HashAlgorithm::Whirlpool.into(),
            hex: whirlpool(content),
        }],
        etag: format!("etag-{}", content.len()),
        ..Entry::default()
    }
}

fn directory(path: &str) -> Entry {
    Entry {
        path: path.into(),
        r#type: EntryType::Directory.into(),
        ..Entry::default()
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl StorageBackend for Fake {
    type ListStream = BoxStream<'static, Result<ListResponse, Status>>;
    type GetStream = BoxStream<'static, Result<GetResponse, Status>>;
    type PurgeStream = BoxStream<'static, Result<PurgeResponse, Status>>;
    type DedupeStream = BoxStream<'static, Result<DedupeResponse, Status>>;

    async fn list(&self, request: Request<ListRequest>) -> Answer<Self::ListStream> {
        self.fail()?;
        let request = request.into_inner();
        if self.state().stall {
            std::future::pending::<()>().await;
        }
        let prefix = match request.path.as_str() {
            "" => String::new(),
            path => format!("{path}/"),
        };
        let mut state = self.state();
        let mut entries = Vec::new();
        for (path, content) in &state.files {
            let Some(rest) = path.strip_prefix(&prefix) else {
                continue;
            };
            match rest.split_once('/') {
                Some((directory, _)) if !request.recursive => {
                    let directory = Entry {
                        path: format!("{prefix}{directory}"),
                        r#type: EntryType::Directory.into(),
                        ..Entry::default()
                    };
                    if entries.last() != Some(&directory) {
                        entries.push(directory);
                    }
                }
                _ => entries.push(entry(path, content)),
            }
        }
        if !request.types.is_empty() {
            entries.retain(|entry| request.types.contains(&entry.r#type));
        }
        let mut entries = entries.split_off(request.page_token.parse().unwrap_or(0));
        // Two pages, to see that both are read.
        let second = entries.split_off(entries.len().min(1));
        let failures = state.list_failures.clone();
        state.lists.push(request);
        let page = |entries| ListResponse {
            entries,
            ..ListResponse::default()
        };
        if std::mem::take(&mut state.break_list) {
            let first = ListResponse {
                next_page_token: "1".into(),
                ..page(entries)
            };
            let away = status(Reason::UpstreamUnavailable, "away");
            return Ok(Response::new(stream::iter([Ok(first), Err(away)]).boxed()));
        }
        let last = ListResponse {
            failures,
            ..page(second)
        };
        Ok(Response::new(
            stream::iter([Ok(page(entries)), Ok(last)]).boxed(),
        ))
    }

    async fn get(&self, request: Request<GetRequest>) -> Answer<Self::GetStream> {
        let request = request.into_inner();
        self.state().gets.push(request.clone());
        self.meet().await;
        self.state().running.0 -= 1;
        let content = self.find(&request.path)?;
        let entry = entry(&request.path, &content);
        if !request.if_match_etag.is_empty() && request.if_match_etag != entry.etag {
            return Err(status(Reason::EtagMismatch, "another file"));
        }
        let (start, end) = match request.ranges.first() {
            None => (0, content.len()),
            Some(range) => {
                let start = range.offset as usize;
                let length = range.length.map_or(content.len(), |length| length as usize);
                (start, content.len().min(start + length))
            }
        };
        if start >= content.len() {
            return Err(status(Reason::RangeNotSatisfiable, "beyond the end"));
        }
        let mut state = self.state();
        let header = GetHeader {
            entry: Some(entry),
            resolved_ranges: vec![ByteRange {
                offset: start as i64,
                length: Some((end - start) as i64),
            }],
        };
        let mut payloads = vec![get_response::Payload::Header(header)];
        for offset in (start..end).step_by(CHUNK) {
            let data = content.slice(offset..end.min(offset + CHUNK));
            payloads.push(get_response::Payload::Chunk(Chunk {
                offset: offset as i64,
                crc32c: Some(crc32c::crc32c(&data) ^ u32::from(state.damage_chunks)),
                data,
            }));
        }
        let broken = (!state.get_breaks.is_empty()).then(|| state.get_breaks.remove(0));
        match broken {
            Some(chunks) => payloads.truncate(1 + chunks),
            None if state.leave_out_trailer => {}
            None => payloads.push(get_response::Payload::Trailer(GetTrailer {
                sent_bytes: (end - start) as i64,
                verified: start == 0,
                ..GetTrailer::default()
            })),
        }
        let mut messages: Vec<_> = payloads
            .into_iter()
            .map(|payload| {
                let payload = Some(payload);
                Ok(GetResponse { payload })
            })
            .collect();
        if broken.is_some() {
            messages.push(Err(status(Reason::UpstreamUnavailable, "1Fichier is away")));
        }
        let messages = stream::iter(messages);
        Ok(Response::new(match state.stall {
            true => messages.take(2).chain(stream::pending()).boxed(),
            false => messages.boxed(),
        }))
    }

    async fn put(&self, request: Request<Streaming<PutRequest>>) -> Answer<PutResponse> {
        let mut messages = request.into_inner();
        let first = messages
            .try_next()
            .await?
            .and_then(|message| message.payload);
        let Some(put_request::Payload::Header(header)) = first else {
            return Err(status(Reason::ProtocolViolation, "no header"));
        };
        {
            let mut state = self.state();
            state.headers.push(header.clone());
            if let Some(on_put) = &state.on_put {
                on_put();
            }
            if !state.put_failures.is_empty() {
                return Err(state.put_failures.remove(0));
            }
            let create_only = header.write_mode() == WriteMode::CreateOnly;
            if create_only && state.files.contains_key(&header.path) {
                return Err(status(Reason::EntryExists, "it exists"));
            }
        }
        self.meet().await;
        self.state().running.0 -= 1;
        let mut content = Vec::new();
        while let Some(message) = messages.try_next().await? {
            match message.payload {
                Some(put_request::Payload::Chunk(chunk)) => {
                    assert_eq!(chunk.offset, content.len() as i64);
                    assert_eq!(chunk.crc32c, Some(crc32c::crc32c(&chunk.data)));
                    content.extend_from_slice(&chunk.data);
                }
                Some(put_request::Payload::Commit(commit)) => {
                    assert_eq!(commit.size, content.len() as i64);
                    let content = Bytes::from(content);
                    self.hold(&header.path, content.clone());
                    let entry = Some(entry(&header.path, &content));
                    let replayed = false;
                    return Ok(Response::new(PutResponse { entry, replayed }));
                }
                _ => return Err(status(Reason::ProtocolViolation, "out of order")),
            }
        }
        self.state().uncommitted += 1;
        Err(status(Reason::UploadNotCommitted, "no commit"))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Answer<DeleteResponse> {
        self.fail()?;
        let request = request.into_inner();
        let mut state = self.state();
        state.deletes.push(request.targets.len());
        let mut results = Vec::new();
        for DeleteTarget { path, .. } in request.targets {
            let missing = state.files.remove(&path).is_none() && !request.allow_missing;
            let failure = missing.then(|| failure(Reason::FileNotFound, "there is no such file"));
            results.push(DeleteResult { path, failure });
        }
        Ok(Response::new(DeleteResponse { results }))
    }

    async fn stat(&self, request: Request<StatRequest>) -> Answer<StatResponse> {
        self.fail()?;
        let path = request.into_inner().path;
        let below = format!("{path}/");
        let is_directory = self
            .state()
            .files
            .keys()
            .any(|file| file.starts_with(&below));
        let entry = Some(match is_directory {
            true => directory(&path),
            false => entry(&path, &self.find(&path)?),
        });
        Ok(Response::new(StatResponse {
            entry,
            as_of_time: None,
        }))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Answer<HashResponse> {
        self.fail()?;
        let request = request.into_inner();
        self.find(&request.path)?;
        let checksum = Checksum {
            algorithm: request.algorithm,
            hex: "00ff".into(),
        };
        Ok(Response::new(HashResponse {
            checksum: Some(checksum),
            ..HashResponse::default()
        }))
    }

    async fn about(&self, _: Request<AboutRequest>) -> Answer<AboutResponse> {
        self.fail()?;
        Ok(Response::new(AboutResponse {
            total_bytes: Some(1 << 40),
            used_bytes: Some(3 << 29),
            free_bytes: None,
            account: HashMap::from([("plan".into(), "premium".into())]),
            as_of_time: None,
        }))
    }

    async fn test_connection(
        &self,
        request: Request<TestConnectionRequest>,
    ) -> Answer<TestConnectionResponse> {
        let write = request.into_inner().check_write;
        let check = |name: &str, state: CheckState, failure| ConnectionCheck {
            name: name.into(),
            state: state.into(),
            elapsed: None,
            failure,
        };
        let rejected = failure(Reason::ReadOnly, "may not write");
        let mut checks = vec![check("reachable", CheckState::Passed, None)];
        if write {
            checks.push(check("write", CheckState::Failed, Some(rejected)));
        }
        Ok(Response::new(TestConnectionResponse {
            healthy: !write,
            checks,
        }))
    }

    async fn get_info(&self, _: Request<GetInfoRequest>) -> Answer<GetInfoResponse> {
        Ok(Response::new(GetInfoResponse {
            server_name: "pluton-fichier".into(),
            remotes: vec![RemoteInfo {
                name: "main".into(),
                provider: "fichier".into(),
                // One that this version does not know is left out.
                capabilities: vec![Capability::PutUnknownSize.into(), 9999],
                ..RemoteInfo::default()
            }],
            ..GetInfoResponse::default()
        }))
    }

    async fn mkdir(&self, request: Request<MkdirRequest>) -> Answer<MkdirResponse> {
        self.fail()?;
        let request = request.into_inner();
        if request.create_parents == Some(false) {
            return Err(status(Reason::DirectoryNotFound, "no parent"));
        }
        let entry = Some(Entry {
            path: request.path,
            r#type: EntryType::Directory.into(),
            ..Entry::default()
        });
        let created = true;
        Ok(Response::new(MkdirResponse { entry, created }))
    }

    async fn rmdir(&self, _: Request<RmdirRequest>) -> Answer<RmdirResponse> {
        Err(status(Reason::DirectoryNotEmpty, "not empty"))
    }

    async fn purge(&self, request: Request<PurgeRequest>) -> Answer<Self::PurgeStream> {
        let mut state = self.state();
        state.purges.push(request.into_inner());
        let answers = state.purge_answers.remove(0);
        Ok(Response::new(stream::iter(answers).boxed()))
    }

    async fn copy(&self, request: Request<CopyRequest>) -> Answer<CopyResponse> {
        let request = request.into_inner();
        self.state().copies.push(request.clone());
        self.fail_once()?;
        let content = self.find(&request.source_path)?;
        self.hold(&request.destination_path, content.clone());
        let entry = Some(entry(&request.destination_path, &content));
        let replayed = false;
        Ok(Response::new(CopyResponse { entry, replayed }))
    }

    async fn r#move(&self, request: Request<MoveRequest>) -> Answer<MoveResponse> {
        let request = request.into_inner();
        self.state().moves.push(request.clone());
        self.fail_once()?;
        let content = self.find(&request.source_path)?;
        self.state().files.remove(&request.source_path);
        self.hold(&request.destination_path, content.clone());
        let entry = Some(entry(&request.destination_path, &content));
        let replayed = false;
        Ok(Response::new(MoveResponse { entry, replayed }))
    }

    async fn move_dir(&self, request: Request<MoveDirRequest>) -> Answer<MoveDirResponse> {
        let request = request.into_inner();
        self.state().directory_moves.push(request.clone());
        self.fail_once()?;
        let entry = Some(directory(&request.destination_path));
        let replayed = false;
        Ok(Response::new(MoveDirResponse { entry, replayed }))
    }
    async fn public_link(&self, request: Request<PublicLinkRequest>) -> Answer<PublicLinkResponse> {
        self.fail()?;
        let request = request.into_inner();
        let url = if request.revoke {
            String::new()
        } else {
            format!("https://example.org/{}", request.path)
        };
        self.state().links.push(request);
        Ok(Response::new(PublicLinkResponse { url }))
    }
    async fn dedupe(&self, request: Request<DedupeRequest>) -> Answer<Self::DedupeStream> {
        self.fail()?;
        let mut state = self.state();
        state.dedupes.push(request.into_inner());
        let groups: Vec<_> = state.groups.clone().into_iter().map(Ok).collect();
        Ok(Response::new(stream::iter(groups).boxed()))
    }
    async fn refresh(&self, _: Request<RefreshRequest>) -> Answer<RefreshResponse> {
        self.fail()?;
        Ok(Response::new(RefreshResponse::default()))
    }
    async fn get_activity(&self, _: Request<GetActivityRequest>) -> Answer<GetActivityResponse> {
        self.fail()?;
        Ok(Response::new(GetActivityResponse::default()))
    }
}
