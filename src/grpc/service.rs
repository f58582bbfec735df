//! The service: decode, call the backend, encode.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::called::called;
use super::deadline::{scope, within};
use super::status::{failure, status};
use super::{
    activity, convert, dedupe_stream, get_stream, list_stream, purge_stream, put_stream, rights,
};
use crate::backend::{
    self, DedupeOptions, LinkOptions, ListOptions, MAX_DELETE_TARGETS, PurgeOptions, ReadOptions,
    Remote, RemotePath, Remotes,
};
use crate::error::Error;
use crate::fichier::{Password, Priority};
use crate::proto::storage_backend_server::StorageBackend;
use crate::proto::*;

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service over the configured remotes. It trusts every caller but that of
/// Put; [`super::Guarded`] stands before it.
#[derive(Clone, Debug)]
pub struct StorageService {
    remotes: Remotes,
    instance_id: String,
}

impl StorageService {
    /// Serves these remotes. `instance_id` changes at every start.
    pub fn new(remotes: Remotes, instance_id: String) -> Self {
        Self {
            remotes,
            instance_id,
        }
    }

    pub(super) fn remotes(&self) -> &Remotes {
        &self.remotes
    }

    fn remote(&self, name: &str) -> Result<&Remote, Status> {
        self.remotes.get(name).map_err(|error| status(&error))
    }
}

fn path(remote: &Remote, text: &str) -> Result<RemotePath, Status> {
    remote.path(text).map_err(|error| status(&error))
}

fn invalid(error: Error) -> Status {
    status(&error)
}

#[tonic::async_trait]
impl StorageBackend for StorageService {
    async fn get_info(&self, _: Request<GetInfoRequest>) -> Answer<GetInfoResponse> {
        Ok(Response::new(GetInfoResponse {
            server_name: env!("CARGO_PKG_NAME").to_owned(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            api_packages: vec![PACKAGE.to_owned()],
            api_revision: 2,
            remotes: self
                .remotes
                .all()
                .iter()
                .map(convert::remote_info)
                .collect(),
            instance_id: self.instance_id.clone(),
        }))
    }

    async fn test_connection(
        &self,
        request: Request<TestConnectionRequest>,
    ) -> Answer<TestConnectionResponse> {
        let scope = scope(request.metadata(), Priority::Read);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let checks = within(scope, remote, async {
            Ok(remote.test_connection(scope, request.check_write).await)
        })
        .await?;
        Ok(Response::new(TestConnectionResponse {
            healthy: !checks
                .iter()
                .any(|check| matches!(check.state, backend::CheckState::Failed(_))),
            checks: checks.into_iter().map(convert::connection_check).collect(),
        }))
    }

    async fn about(&self, request: Request<AboutRequest>) -> Answer<AboutResponse> {
        let scope = scope(request.metadata(), Priority::Read);
        let remote = self.remote(&request.get_ref().remote)?;
        let quota = within(scope, remote, remote.about(scope)).await?;
        Ok(Response::new(AboutResponse {
            total_bytes: quota.total,
            used_bytes: quota.used,
            free_bytes: quota.free,
            account: quota
                .account
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            as_of_time: Some(convert::time(quota.as_of.time)),
        }))
    }

    type ListStream = Messages<ListResponse>;

    async fn list(&self, request: Request<ListRequest>) -> Answer<Self::ListStream> {
        let scope = scope(request.metadata(), Priority::Read);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let path = path(remote, &request.path)?;
        let negative =
            |field| move |_| invalid(Error::invalid_field(field, "must not be negative"));
        let options = ListOptions {
            bare: false,
            recursive: request.recursive,
            max_depth: usize::try_from(request.max_depth).map_err(negative("max_depth"))?,
            only: convert::only(&request.types).map_err(invalid)?,
            page_size: usize::try_from(request.page_size).map_err(negative("page_size"))?,
            every_duplicate: request.every_duplicate,
            staleness: convert::staleness(request.max_staleness).map_err(invalid)?,
            after: list_stream::parse_token(&request).map_err(invalid)?,
        };
        let listing = within(scope, remote, remote.list(scope, &path, options)).await?;
        Ok(Response::new(
            list_stream::messages(scope, remote.clone(), listing, &request).boxed(),
        ))
    }

    async fn stat(&self, request: Request<StatRequest>) -> Answer<StatResponse> {
        let scope = scope(request.metadata(), Priority::Read);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let path = path(remote, &request.path)?;
        let staleness = convert::staleness(request.max_staleness).map_err(invalid)?;
        let (entry, as_of) = within(scope, remote, remote.stat(scope, &path, staleness)).await?;
        Ok(Response::new(StatResponse {
            entry: Some(convert::entry(entry)),
            as_of_time: Some(convert::time(as_of.time)),
        }))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Answer<HashResponse> {
        let scope = scope(request.metadata(), Priority::Read);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let path = path(remote, &request.path)?;
        let algorithm = convert::algorithm("algorithm", request.algorithm).map_err(invalid)?;
        let value = within(
            scope,
            remote,
            remote.hash(scope, &path, algorithm, request.allow_download),
        )
        .await?;
        Ok(Response::new(HashResponse {
            checksum: Some(convert::checksum(value.checksum)),
            computed: value.computed,
            entry: Some(convert::entry(value.entry)),
        }))
    }

    type GetStream = Messages<GetResponse>;

    async fn get(&self, request: Request<GetRequest>) -> Answer<Self::GetStream> {
        let scope = scope(request.metadata(), Priority::Read);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let path = path(remote, &request.path)?;
        let chunk_size = match usize::try_from(request.chunk_size) {
            Ok(0) => convert::DEFAULT_CHUNK,
            // A tiny chunk would cost more in headers than in content.
            Ok(size) => size.clamp(4 << 10, convert::MAX_CHUNK),
            Err(_) => {
                return Err(invalid(Error::invalid_field(
                    "chunk_size",
                    "must not be negative",
                )));
            }
        };
        let ranges = request
            .ranges
            .into_iter()
            .map(convert::range)
            .collect::<Result<_, _>>()
            .map_err(invalid)?;
        let options = ReadOptions {
            ranges,
            if_match: convert::none_if_empty(request.if_match_etag),
            verify: request.verify.unwrap_or(true),
        };
        let read = within(scope, remote, remote.read(scope, &path, options)).await?;
        Ok(Response::new(
            get_stream::messages(scope, read, chunk_size).boxed(),
        ))
    }

    async fn put(&self, request: Request<Streaming<PutRequest>>) -> Answer<PutResponse> {
        let scope = scope(request.metadata(), Priority::Upload);
        let caller = rights::caller(request.extensions())?;
        let called = called(request.extensions());
        let stream = request.into_inner();
        let stored = put_stream::receive(&self.remotes, scope, &caller, &called, stream).await?;
        Ok(Response::new(PutResponse {
            entry: Some(convert::entry(stored.entry)),
            replayed: stored.replayed,
        }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Answer<DeleteResponse> {
        let scope = scope(request.metadata(), Priority::Delete);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        if request.targets.len() > MAX_DELETE_TARGETS {
            let text = format!("at most {MAX_DELETE_TARGETS} are allowed in one call");
            return Err(invalid(Error::invalid_field("targets", text)));
        }
        // A path that is not allowed fails alone.
        let mut results: Vec<DeleteResult> = Vec::with_capacity(request.targets.len());
        let (mut targets, mut places) = (Vec::new(), Vec::new());
        for (place, target) in request.targets.into_iter().enumerate() {
            let mut result = DeleteResult {
                path: target.path,
                failure: None,
            };
            match remote.path(&result.path) {
                Ok(path) => {
                    let if_match = convert::none_if_empty(target.if_match_etag);
                    targets.push(backend::DeleteTarget {
                        path,
                        if_match,
                        every: false,
                    });
                    places.push(place);
                }
                Err(error) => result.failure = Some(failure(&error)),
            }
            results.push(result);
        }
        let work = remote.delete(scope, &targets, request.allow_missing);
        let outcomes = within(scope, remote, work).await?;
        for (place, outcome) in places.into_iter().zip(outcomes) {
            results[place].failure = outcome.err().as_ref().map(failure);
        }
        Ok(Response::new(DeleteResponse { results }))
    }

    async fn mkdir(&self, request: Request<MkdirRequest>) -> Answer<MkdirResponse> {
        let scope = scope(request.metadata(), Priority::Upload);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let path = path(remote, &request.path)?;
        let parents = request.create_parents.unwrap_or(true);
        let (entry, created) = within(scope, remote, remote.mkdir(scope, &path, parents)).await?;
        Ok(Response::new(MkdirResponse {
            entry: Some(convert::entry(entry)),
            created,
        }))
    }

    async fn rmdir(&self, request: Request<RmdirRequest>) -> Answer<RmdirResponse> {
        let scope = scope(request.metadata(), Priority::Delete);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let path = path(remote, &request.path)?;
        within(
            scope,
            remote,
            remote.rmdir(scope, &path, request.allow_missing),
        )
        .await?;
        Ok(Response::new(RmdirResponse {}))
    }

    type PurgeStream = Messages<PurgeResponse>;

    async fn purge(&self, request: Request<PurgeRequest>) -> Answer<Self::PurgeStream> {
        let scope = scope(request.metadata(), Priority::Delete);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let path = path(remote, &request.path)?;
        let options = PurgeOptions {
            allow_missing: request.allow_missing,
            validate_only: request.validate_only,
            allow_root: request.allow_root,
        };
        let purge = within(scope, remote, remote.purge(scope, &path, options)).await?;
        Ok(Response::new(
            purge_stream::messages(scope, remote.clone(), purge).boxed(),
        ))
    }

    async fn copy(&self, request: Request<CopyRequest>) -> Answer<CopyResponse> {
        let scope = scope(request.metadata(), Priority::Upload);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let (source, destination) = (
            path(remote, &request.source_path)?,
            path(remote, &request.destination_path)?,
        );
        let (etag, id) = (request.if_match_etag, request.request_id);
        let options = convert::relocate_options(request.write_mode, etag, id).map_err(invalid)?;
        let copied = within(
            scope,
            remote,
            remote.copy_file(scope, &source, &destination, options),
        )
        .await?;
        Ok(Response::new(CopyResponse {
            entry: Some(convert::entry(copied.entry)),
            replayed: copied.replayed,
        }))
    }

    async fn r#move(&self, request: Request<MoveRequest>) -> Answer<MoveResponse> {
        let scope = scope(request.metadata(), Priority::Upload);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let (source, destination) = (
            path(remote, &request.source_path)?,
            path(remote, &request.destination_path)?,
        );
        let (etag, id) = (request.if_match_etag, request.request_id);
        let options = convert::relocate_options(request.write_mode, etag, id).map_err(invalid)?;
        let moved = within(
            scope,
            remote,
            remote.move_file(scope, &source, &destination, options),
        )
        .await?;
        Ok(Response::new(MoveResponse {
            entry: Some(convert::entry(moved.entry)),
            replayed: moved.replayed,
        }))
    }

    async fn move_dir(&self, request: Request<MoveDirRequest>) -> Answer<MoveDirResponse> {
        let scope = scope(request.metadata(), Priority::Upload);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let (source, destination) = (
            path(remote, &request.source_path)?,
            path(remote, &request.destination_path)?,
        );
        let request_id = convert::none_if_empty(request.request_id);
        let work = remote.move_directory(scope, &source, &destination, request_id);
        let moved = within(scope, remote, work).await?;
        Ok(Response::new(MoveDirResponse {
            entry: Some(convert::entry(moved.entry)),
            replayed: moved.replayed,
        }))
    }

    async fn public_link(&self, request: Request<PublicLinkRequest>) -> Answer<PublicLinkResponse> {
        let scope = scope(request.metadata(), Priority::Upload);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let path = path(remote, &request.path)?;
        let password = convert::none_if_empty(request.password);
        let options = LinkOptions {
            revoke: request.revoke,
            password: password.map(|password| Password::new([password])),
        };
        let url = within(scope, remote, remote.public_link(scope, &path, options)).await?;
        Ok(Response::new(PublicLinkResponse { url }))
    }

    type DedupeStream = Messages<DedupeResponse>;

    async fn dedupe(&self, request: Request<DedupeRequest>) -> Answer<Self::DedupeStream> {
        let scope = scope(request.metadata(), Priority::Read);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let path = path(remote, &request.path)?;
        let options = DedupeOptions {
            recursive: request.recursive,
            mode: convert::dedupe_mode(request.mode).map_err(invalid)?,
            validate_only: request.validate_only,
        };
        let dedupe = within(scope, remote, remote.dedupe(scope, &path, options)).await?;
        Ok(Response::new(
            dedupe_stream::messages(scope, remote.clone(), dedupe).boxed(),
        ))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Answer<RefreshResponse> {
        let scope = scope(request.metadata(), Priority::Read);
        let request = request.into_inner();
        let remote = self.remote(&request.remote)?;
        let path = path(remote, &request.path)?;
        let work = remote.refresh(scope, &path, request.recursive, request.reload);
        let refreshed = within(scope, remote, work).await?;
        Ok(Response::new(RefreshResponse {
            dropped_directories: convert::to_i64(refreshed.dropped),
            loaded_directories: convert::to_i64(refreshed.loaded),
        }))
    }

    async fn get_activity(
        &self,
        request: Request<GetActivityRequest>,
    ) -> Answer<GetActivityResponse> {
        let name = &request.get_ref().remote;
        let only = if name.is_empty() {
            None
        } else {
            Some(self.remote(name)?)
        };
        Ok(Response::new(activity::response(
            self.remotes.activity(only),
            self.remote("")?.now(),
        )))
    }
}
