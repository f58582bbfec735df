//! The service behind its rights: no request reaches it that the caller may
//! not make.

use std::pin::Pin;

use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::called::called;
use super::rights::{admit, caller};
use super::service::StorageService;
use crate::access::{Caller, Mode, Prefix, Token};
use crate::backend::RemotePath;
use crate::proto::storage_backend_server::StorageBackend;
use crate::proto::*;

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service for callers with rights. Every call of the contract stands in
/// the table below, and every request says what it demands.
#[derive(Clone, Debug)]
pub struct Guarded(StorageService);

impl Guarded {
    /// Guards this service.
    pub fn new(service: StorageService) -> Self {
        Self(service)
    }
}

/// An answer that may tell more than the caller may know.
trait Telling {
    fn cut(&mut self, _: &Caller) {}
}

impl Telling for GetInfoResponse {
    fn cut(&mut self, caller: &Caller) {
        self.remotes.retain(|remote| caller.knows(&remote.name));
        for remote in &mut self.remotes {
            if let (Mode::ReadOnly, Some(traits)) = (caller.mode(), &mut remote.traits) {
                traits.read_only = true;
            }
        }
    }
}

impl Telling for GetActivityResponse {
    fn cut(&mut self, caller: &Caller) {
        for budget in &mut self.budgets {
            budget.remotes.retain(|remote| caller.knows(remote));
        }
        self.budgets.retain(|budget| !budget.remotes.is_empty());
        // It is of all accounts together.
        let everything = |token: &Token| token.prefix == Prefix::everything();
        if matches!(caller, Caller::Holder(token) if !everything(token)) {
            self.catalog = None;
        }
        self.transfers.retain(|transfer| {
            RemotePath::parse(&transfer.path)
                .is_ok_and(|path| caller.reaches(&transfer.remote, &path))
        });
    }
}

/// Answers about what the request named, and nothing else.
macro_rules! telling_what_was_asked {
    ($($answer:ty),+ $(,)?) => { $(impl Telling for $answer {})+ };
}

telling_what_was_asked!(
    TestConnectionResponse,
    AboutResponse,
    StatResponse,
    HashResponse,
    DeleteResponse,
    MkdirResponse,
    RmdirResponse,
    CopyResponse,
    MoveResponse,
    MoveDirResponse,
    PublicLinkResponse,
    RefreshResponse,
    Messages<ListResponse>,
    Messages<GetResponse>,
    Messages<PurgeResponse>,
    Messages<DedupeResponse>,
);

macro_rules! guarded {
    ($(type $stream:ident = $message:ty;)+ $(fn $method:ident($request:ty) -> $answer:ty;)+) => {
        #[tonic::async_trait]
        impl StorageBackend for Guarded {
            $(type $stream = Messages<$message>;)+

            $(async fn $method(&self, mut request: Request<$request>) -> Answer<$answer> {
                let caller = caller(request.extensions())?;
                let called = called(request.extensions());
                let admitted = admit(&caller, self.0.remotes(), &called, request.get_mut())?;
                let answer = self.0.$method(request).await;
                let mut answer = answer.map_err(|failure| admitted.failure(failure))?;
                answer.get_mut().cut(&caller);
                Ok(answer)
            })+

            /// Its request is a stream: where the header is read, it is checked.
            async fn put(&self, request: Request<Streaming<PutRequest>>) -> Answer<PutResponse> {
                self.0.put(request).await
            }
        }
    };
}

guarded! {
    type ListStream = ListResponse;
    type GetStream = GetResponse;
    type PurgeStream = PurgeResponse;
    type DedupeStream = DedupeResponse;
    fn get_info(GetInfoRequest) -> GetInfoResponse;
    fn test_connection(TestConnectionRequest) -> TestConnectionResponse;
    fn about(AboutRequest) -> AboutResponse;
    fn list(ListRequest) -> Self::ListStream;
    fn stat(StatRequest) -> StatResponse;
    fn hash(HashRequest) -> HashResponse;
    fn get(GetRequest) -> Self::GetStream;
    fn delete(DeleteRequest) -> DeleteResponse;
    fn mkdir(MkdirRequest) -> MkdirResponse;
    fn rmdir(RmdirRequest) -> RmdirResponse;
    fn purge(PurgeRequest) -> Self::PurgeStream;
    fn copy(CopyRequest) -> CopyResponse;
    fn r#move(MoveRequest) -> MoveResponse;
    fn move_dir(MoveDirRequest) -> MoveDirResponse;
    fn public_link(PublicLinkRequest) -> PublicLinkResponse;
    fn dedupe(DedupeRequest) -> Self::DedupeStream;
    fn refresh(RefreshRequest) -> RefreshResponse;
    fn get_activity(GetActivityRequest) -> GetActivityResponse;
}
