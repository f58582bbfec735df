//! The baseline: the same messages over gRPC with nothing behind them.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use pluton_fichier::proto::get_response::Payload as Got;
use pluton_fichier::proto::storage_backend_server::{StorageBackend, StorageBackendServer};
use pluton_fichier::proto::*;
use tonic::{Request, Response, Status, Streaming};

use super::{CHUNK, content};

struct Bare;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

macro_rules! nothing {
    ($($name:ident $request:ty => $response:ty),+ $(,)?) => {
        #[tonic::async_trait]
        impl StorageBackend for Bare {
            type ListStream = Messages<ListResponse>;
            type GetStream = Messages<GetResponse>;
            type PurgeStream = Messages<PurgeResponse>;
            type DedupeStream = Messages<DedupeResponse>;

            async fn put(&self, request: Request<Streaming<PutRequest>>) -> Result<Response<PutResponse>, Status> {
                let mut stream = request.into_inner();
                while let Some(message) = stream.message().await? {
                    std::hint::black_box(message);
                }
                Ok(Response::new(PutResponse::default()))
            }

            /// The path is the number of bytes.
            async fn get(&self, request: Request<GetRequest>) -> Result<Response<Self::GetStream>, Status> {
                let size: usize = request.into_inner().path.parse().unwrap();
                let data = content();
                let message = |payload| Ok(GetResponse { payload: Some(payload) });
                let chunks = (0..size / CHUNK).map(move |index| {
                    let offset = (index * CHUNK) as i64;
                    message(Got::Chunk(Chunk { offset, data: data.clone(), crc32c: None }))
                });
                let all = stream::iter(chunks).chain(stream::iter([message(Got::Trailer(GetTrailer::default()))]));
                Ok(Response::new(all.boxed()))
            }

            $(async fn $name(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Err(Status::unimplemented("a baseline"))
            })+
        }
    };
}

nothing! {
    get_info GetInfoRequest => GetInfoResponse,
    test_connection TestConnectionRequest => TestConnectionResponse,
    about AboutRequest => AboutResponse,
    list ListRequest => Self::ListStream,
    stat StatRequest => StatResponse,
    hash HashRequest => HashResponse,
    delete DeleteRequest => DeleteResponse,
    mkdir MkdirRequest => MkdirResponse,
    rmdir RmdirRequest => RmdirResponse,
    purge PurgeRequest => Self::PurgeStream,
    copy CopyRequest => CopyResponse,
    r#move MoveRequest => MoveResponse,
    move_dir MoveDirRequest => MoveDirResponse,
    public_link PublicLinkRequest => PublicLinkResponse,
    dedupe DedupeRequest => Self::DedupeStream,
    refresh RefreshRequest => RefreshResponse,
    get_activity GetActivityRequest => GetActivityResponse,
}

/// Serves until killed.
pub(super) fn serve() {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            println!(
                "{}",
                serde_json::json!({"address": listener.local_addr().unwrap().to_string()})
            );
            tonic::transport::Server::builder()
                .initial_stream_window_size(2 << 20)
                .initial_connection_window_size(32 << 20)
                .max_frame_size(256 << 10)
                .add_service(StorageBackendServer::new(Bare))
                .serve_with_incoming(
                    tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true)),
                )
                .await
                .unwrap();
        });
}
