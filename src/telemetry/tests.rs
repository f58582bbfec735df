//! Against a collector that keeps what it is sent.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Ready, ready};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status as GrpcStatus};
use tonic_prost::ProstCodec;
use tower::Service;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::clock::Clock;
use crate::config::{Config, Listen, RemoteConfig, Upstream};
use crate::emulator::{self, DEMO_API_KEY, Emulator};
use crate::fichier::{ApiKey, Hosts, Limits};
use crate::proto;
use crate::proto::put_request::Payload;
use crate::proto::storage_backend_client::StorageBackendClient;
use crate::server::Server;
use crate::transfer::{DownloadLimits, UploadLimits};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Of opentelemetry/proto/collector/trace/v1 what the tests look at.
#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Described>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Described {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Exported>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exported {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Nothing>,
    #[prost(message, optional, tag = "15")]
    status: Option<Ended>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Text>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Ended {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone)]
struct Collector(mpsc::UnboundedSender<Export>);

impl NamedService for Collector {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl UnaryService<Export> for Collector {
    type Response = Nothing;
    type Future = Ready<Result<Response<Nothing>, GrpcStatus>>;

    fn call(&mut self, request: Request<Export>) -> Self::Future {
        let _ = self.0.send(request.into_inner());
        ready(Ok(Response::new(Nothing {})))
    }
}

impl Service<http::Request<Body>> for Collector {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let collector = self.clone();
        let mut grpc = Grpc::new(ProstCodec::<Nothing, Export>::default());
        Box::pin(async move { Ok(grpc.unary(collector, request).await) })
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

fn telemetry(variables: &[(&str, &str)]) -> Result<Option<Telemetry>, String> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Telemetry::start(|name| variables.get(name).map(|&value| value.to_owned()))
}

fn texts(attributes: &[Attribute]) -> HashMap<&str, &str> {
    attributes
        .iter()
        .map(|attribute| {
            let text = attribute.value.as_ref().map_or("", |value| &value.text);
            (attribute.key.as_str(), text)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_calls_join_the_traces_of_their_callers() {
    let (listener, address) = listen().await;
    let (sender, mut exports) = mpsc::unbounded_channel();
    let collector = tonic::transport::Server::builder().add_service(Collector(sender));
    tokio::spawn(collector.serve_with_incoming(TcpListenerStream::new(listener)));

    let telemetry = telemetry(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)]).unwrap();
    let telemetry = telemetry.unwrap();
    let subscriber = tracing_subscriber::registry().with(telemetry.layer());
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("rpc", method = "List", request_id = "abc-1");
        let parent = format!("00-{TRACE}-{CALLER}-01");
        join(&span, &HeaderValue::from_str(&parent).unwrap());
        span.in_scope(|| tracing::warn!("two files have the path /a/b"));
        ended(&span, Code::Unavailable, Some("UPSTREAM_LOCKED"), Some("r"));
        drop(span);

        // The caller's choice not to record counts.
        let span = tracing::info_span!("rpc", method = "Put");
        let parent = format!("00-{TRACE}-{CALLER}-00");
        join(&span, &HeaderValue::from_str(&parent).unwrap());
        drop(span);

        let span = tracing::info_span!("rpc", method = "Get");
        ended(&span, Code::NotFound, None, None);
        drop(span);
        let span = tracing::info_span!("http", face = "webdav", method = "PUT");
        ended_http(&span, "503", true, Some("SPOOL_FULL"), Some("r"));
        drop(span);
        tracing::info_span!(target: "other", "foreign");
        tracing::debug_span!("fine");
    });
    tokio::task::spawn_blocking(|| drop(telemetry))
        .await
        .unwrap();

    let mut spans = Vec::new();
    while let Ok(export) = exports.try_recv() {
        for resource in export.resources {
            let described = resource.resource.unwrap();
            let described = texts(&described.attributes);
            assert_eq!(described["service.name"], SERVICE);
            assert_eq!(described["service.version"], env!("CARGO_PKG_VERSION"));
            spans.extend(resource.scopes.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let [list, get, put] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(hex(&list.trace), TRACE);
    assert_eq!(hex(&list.parent), CALLER);
    assert_eq!((list.name.as_str(), list.kind), ("List", 2));
    assert_eq!(list.status.as_ref().unwrap().code, 2);
    assert!(list.events.is_empty(), "{list:?}");
    let fields = [
        ("method", "List"),
        ("request_id", "abc-1"),
        ("code", "UNAVAILABLE"),
        ("reason", "UPSTREAM_LOCKED"),
        ("remote", "r"),
    ];
    assert_eq!(texts(&list.attributes), HashMap::from(fields));
    assert_ne!(hex(&get.trace), TRACE);
    assert!(get.parent.is_empty(), "{get:?}");
    assert_eq!((get.name.as_str(), get.kind), ("Get", 2));
    assert_eq!(get.status.as_ref().map_or(0, |status| status.code), 0);
    assert_eq!((put.name.as_str(), put.kind), ("PUT", 2));
    assert_eq!(put.status.as_ref().unwrap().code, 2);
    let fields = [
        ("face", "webdav"),
        ("method", "PUT"),
        ("status", "503"),
        ("reason", "SPOOL_FULL"),
        ("remote", "r"),
    ];
    assert_eq!(texts(&put.attributes), HashMap::from(fields));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_holds_nobody_up() {
    let (listener, address) = listen().await;
    let (sender, connected) = tokio::sync::oneshot::channel();
    let kept = tokio::spawn(async move {
        let connection = listener.accept().await.unwrap();
        let _ = sender.send(());
        std::future::pending::<()>().await;
        drop(connection);
    });
    let telemetry = telemetry(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &address)]).unwrap();
    let telemetry = telemetry.unwrap();
    let subscriber = tracing_subscriber::registry().with(telemetry.layer());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("rpc", method = "List");
    });
    let ended = tokio::task::spawn_blocking(move || telemetry.0.shutdown_with_timeout(FLUSH));
    connected.await.unwrap();
    // Its own bound ended it, not that of the export.
    let problem = ended.await.unwrap().unwrap_err().to_string();
    assert!(problem.contains("Timeout(2s)"), "{problem}");
    kept.abort();
}

#[tokio::test]
async fn what_the_variables_say() {
    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    for nothing in [
        &[][..],
        &[("OTEL_SERVICE_NAME", "files")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        &[ENDPOINT, ("OTEL_SDK_DISABLED", "true")],
        &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
    ] {
        assert!(telemetry(nothing).unwrap().is_none(), "{nothing:?}");
    }
    for (name, value) in [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://user:hunter2@a b",
        ),
    ] {
        let problem = telemetry(&[ENDPOINT, (name, value)]).unwrap_err();
        assert!(problem.contains(name), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
    let chosen = |variables: &[(&str, &str)]| {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        endpoint(|name| variables.get(name).map(|&value| value.to_owned()))
    };
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:10");
    assert_eq!(chosen(&[ENDPOINT]).unwrap().as_deref(), Some(ENDPOINT.1));
    assert_eq!(
        chosen(&[ENDPOINT, traces]).unwrap().as_deref(),
        Some(traces.1)
    );
}

/// What an exporter was given.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl trace::SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn config(api_url: &str, state: &std::path::Path) -> Config {
    let key = ApiKey::new(DEMO_API_KEY).unwrap();
    Config {
        grpc_listen: vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())],
        http_listen: Vec::new(),
        admin_listen: None,
        tls: None,
        require_token: false,
        max_connections: 10,
        upstream: Upstream::Api(Hosts::new(api_url).unwrap()),
        remotes: vec![RemoteConfig::new("fichier", Some(key))],
        state_dir: Some(state.to_owned()),
        freshness: Duration::from_secs(300),
        exclusive: true,
        state_required: true,
        identify: false,
        clock: Clock::system(),
        spool_bytes: 1 << 30,
        uploads: UploadLimits::default(),
        downloads: DownloadLimits::default(),
        max_transfers: 10,
        record_hashes: "sha256".parse().unwrap(),
        limits: Limits::none(),
        shutdown_grace: Duration::from_secs(5),
    }
}

/// Waits, requests, uploads and listings are parts of the calls that need them.
#[tokio::test]
async fn spans_of_what_calls_wait_for_are_parts_of_them() {
    const NAME: &str = "a-name-for-nobody";
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone());
    let telemetry = Telemetry(provider.build());
    let subscriber = tracing_subscriber::registry().with(telemetry.layer());
    let guard = tracing::subscriber::set_default(subscriber);

    let options = emulator::Options {
        limits: emulator::Limits::none(),
        ..emulator::Options::default()
    };
    let emulator = Emulator::start(options).await.unwrap();
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(config(&emulator.api_url(), state.path()));
    let server = server.await.unwrap();
    let address = format!("http://{}", server.addresses()[0]);
    let endpoint = tonic::transport::Endpoint::from_shared(address).unwrap();
    let mut client = StorageBackendClient::new(endpoint.connect().await.unwrap());
    let part = |payload| proto::PutRequest {
        payload: Some(payload),
    };
    let put = [
        part(Payload::Header(proto::PutHeader {
            path: format!("d/{NAME}"),
            ..proto::PutHeader::default()
        })),
        part(Payload::Chunk(proto::Chunk {
            data: bytes::Bytes::from_static(b"content"),
            ..proto::Chunk::default()
        })),
        part(Payload::Commit(proto::PutCommit {
            size: 7,
            ..proto::PutCommit::default()
        })),
    ];
    client.put(futures::stream::iter(put)).await.unwrap();
    emulator.control().inject(emulator::Fault {
        endpoint: "download/get_token".to_owned(),
        skip: 0,
        times: 1,
        kind: emulator::FaultKind::Status(503),
    });
    let get = proto::GetRequest {
        path: format!("d/{NAME}"),
        ..proto::GetRequest::default()
    };
    let mut messages = client.get(get).await.unwrap().into_inner();
    while messages.message().await.unwrap().is_some() {}
    drop((client, messages));
    server.stop().await;
    drop(guard);
    drop(telemetry);

    let spans = kept.0.lock().unwrap();
    let by_id: HashMap<_, _> = spans
        .iter()
        .map(|span| (span.span_context.span_id(), span))
        .collect();
    // The call that a span is a part of.
    let call = |span: &SpanData| {
        let mut span = span;
        while let Some(parent) = by_id.get(&span.parent_span_id) {
            span = parent;
        }
        let mut named = span.clone();
        name(&mut named);
        named.name.into_owned()
    };
    let value = |span: &SpanData, key: &str| {
        let mut found = span.attributes.iter();
        let found = found.find(|attribute| attribute.key.as_str() == key);
        found.map(|attribute| attribute.value.to_string())
    };
    let find = |of: &str, name: &str| -> Vec<&SpanData> {
        let named = |span: &&SpanData| span.name == name && call(span) == of;
        spans.iter().filter(named).collect()
    };
    for (of, name, endpoint) in [
        ("Put", "POST folder/ls", "folder/ls"),
        ("Put", "POST folder/mkdir", "folder/mkdir"),
        (
            "Put",
            "GET upload/get_upload_server",
            "upload/get_upload_server",
        ),
        ("Put", "POST upload.cgi", "upload.cgi"),
        ("Put", "GET end.pl", "end.pl"),
        ("Get", "POST download/get_token", "download/get_token"),
        ("Get", "GET download", "download"),
    ] {
        let found = find(of, name);
        assert!(!found.is_empty(), "{name} of {of}: {spans:#?}");
        assert!(matches!(found[0].span_kind, SpanKind::Client), "{name}");
        assert_eq!(value(found[0], "endpoint").as_deref(), Some(endpoint));
        let last = found[found.len() - 1];
        assert_eq!(value(last, "outcome").as_deref(), Some("ok"), "{name}");
    }
    let token = find("Get", "POST download/get_token");
    assert_eq!(value(token[0], "outcome").as_deref(), Some("server"));
    assert!(matches!(token[0].status, Status::Error { .. }));
    assert_eq!(value(token[0], "priority").as_deref(), Some("read"));
    let waits = find("Put", "wait for budget");
    assert!(waits.len() >= 3, "{spans:#?}");
    assert_eq!(value(waits[0], "outcome").as_deref(), Some("ok"));
    assert!(waits.iter().all(|wait| value(wait, "priority").is_some()));
    let group = find("Put", "upload group");
    assert_eq!(group.len(), 1);
    for (key, expected) in [("files", "1"), ("bytes", "7"), ("outcome", "ok")] {
        assert_eq!(value(group[0], key).as_deref(), Some(expected), "{key}");
    }
    assert!(!find("Put", "list folder").is_empty());
    let told = format!("{spans:?}");
    for secret in [NAME, DEMO_API_KEY] {
        assert!(!told.contains(secret), "{secret}");
    }
}
