//! Against a collector that keeps what it is sent.

use std::collections::HashMap;
use std::convert::Infallible;
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
