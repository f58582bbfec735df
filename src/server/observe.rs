//! Every call is counted and logged: what was called, how it ended, how long
//! it took, and under which id its caller knows it. Never a path or a message.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic_types::StatusExt;
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use super::trace::{REQUEST_ID, TRACE_PARENT, Weight, request_id, trace_id, weight};
use crate::admin::{Rpc, Rpcs};
use crate::error::code_name;
use crate::grpc::Called;
use crate::spans;

/// Counts and logs calls.
#[derive(Clone, Debug)]
pub(super) struct Observe(Arc<Rpcs>);

impl Observe {
    pub(super) fn new(rpcs: Arc<Rpcs>) -> Self {
        Self(rpcs)
    }
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, service: S) -> Observed<S> {
        Observed {
            rpcs: Arc::clone(&self.0),
            service,
        }
    }
}

/// The services whose calls are counted and logged.
#[derive(Clone, Debug)]
pub(super) struct Observed<S> {
    rpcs: Arc<Rpcs>,
    service: S,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let rpc = self.rpcs.begin(request.uri().path());
        let id = request_id(request.headers());
        let parent = request.headers().get(TRACE_PARENT);
        let trace = parent.and_then(trace_id);
        // At this level no filter of the log leaves a line without it.
        let span = tracing::error_span!(
            "rpc",
            method = &*rpc.method.name,
            request_id = id.to_str().unwrap_or_default(),
            trace_id = trace,
        );
        spans::identify(&span, id.to_str().unwrap_or_default());
        #[cfg(feature = "otel")]
        if let Some(parent) = parent.filter(|_| trace.is_some()) {
            crate::telemetry::join(&span, parent);
        }
        let called = Called::default();
        request.extensions_mut().insert(called.clone());
        let record = Record {
            rpc: Some(rpc),
            called,
            span: span.clone(),
        };
        let answer = span.in_scope(|| self.service.call(request));
        let answer = async move {
            let mut answer = answer.await?;
            answer.headers_mut().insert(REQUEST_ID, id);
            Ok(watched(answer, record))
        };
        Box::pin(answer.instrument(span))
    }
}

/// What is known of a call that goes on. Dropped without an end, the caller
/// has left.
struct Record {
    rpc: Option<Rpc>,
    called: Called,
    span: Span,
}

impl Record {
    fn end(&mut self, status: Option<Status>) {
        let Some(rpc) = self.rpc.take() else { return };
        let status = status.unwrap_or_else(|| Status::unknown(""));
        let code = status.code();
        let took = rpc.began.elapsed();
        rpc.end(code);
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str());
        let remote = self.called.remote();
        let (name, ms) = (code_name(code), took.as_millis());
        #[cfg(feature = "otel")]
        crate::telemetry::ended(&self.span, code, reason, remote);
        let _entered = self.span.enter();
        match weight(code, reason) {
            Weight::Defect => {
                tracing::warn!(code = name, reason, remote, ms, "a call failed");
            }
            Weight::Operators => {
                tracing::info!(code = name, reason, remote, ms, "a call failed");
            }
            Weight::Callers => tracing::debug!(code = name, reason, remote, ms, "a call ended"),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end(Some(Status::cancelled("")));
    }
}

/// The answer; when it ends, so does the call.
fn watched(answer: Response<Body>, mut record: Record) -> Response<Body> {
    if answer.headers().contains_key(Status::GRPC_STATUS) {
        record.end(Status::from_header_map(answer.headers()));
        return answer;
    }
    answer.map(|body| Body::new(Watched { body, record }))
}

struct Watched {
    body: Body,
    record: Record,
}

impl http_body::Body for Watched {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        let span = self.record.span.clone();
        let polled = span.in_scope(|| Pin::new(&mut self.body).poll_frame(cx));
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let status = Status::from_header_map(trailers);
                    self.record.end(status);
                }
            }
            Poll::Ready(Some(Err(status))) => {
                let status = Status::new(status.code(), "");
                self.record.end(Some(status));
            }
            Poll::Ready(None) => self.record.end(None),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{EnvFilter, Layer as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            log.extend(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The span of a call is there for whatever is logged in it.
    #[tokio::test]
    async fn no_filter_of_the_log_takes_the_id_away() {
        for filter in ["error", "warn", "info", "pluton_fichier=warn"] {
            let log = Log::default();
            let writer = log.clone();
            let layer = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .with_filter(EnvFilter::new(filter));
            let subscriber = tracing_subscriber::registry().with(layer);
            let _default = tracing::subscriber::set_default(subscriber);
            let service = tower::service_fn(|_: Request<Body>| async {
                tracing::error!("something is wrong");
                Ok::<_, Infallible>(Status::internal("").into_http())
            });
            let mut service = Observe::new(Rpcs::new(&[]).unwrap()).layer(service);
            let request = Request::builder().header(REQUEST_ID, "mine");
            let request = request.body(Body::empty()).unwrap();
            service.call(request).await.unwrap();
            let text = log.0.lock().unwrap().clone();
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains("something is wrong"), "{filter}: {text}");
            for line in text.lines() {
                assert!(line.contains("request_id=\"mine\""), "{filter}: {line}");
            }
        }
    }
}

#[cfg(all(test, feature = "otel"))]
mod otel_tests {
    use super::*;

    #[tokio::test]
    async fn telemetry_of_calls_joins_the_traces_of_their_callers() {
        use opentelemetry::trace::{TraceContextExt, TracerProvider};
        use opentelemetry_sdk::trace::SdkTracerProvider;
        use tracing_opentelemetry::OpenTelemetrySpanExt;
        use tracing_subscriber::layer::SubscriberExt;

        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        let subscriber = tracing_subscriber::registry().with(layer);
        let _default = tracing::subscriber::set_default(subscriber);

        let traces = |_: Request<Body>| async {
            let context = Span::current().context();
            let trace = context.span().span_context().trace_id().to_string();
            Ok::<_, Infallible>(
                Response::builder()
                    .header("trace", trace)
                    .body(Body::empty()),
            )
        };
        let service = tower::service_fn(move |request| {
            let answer = traces(request);
            async { answer.await.map(Result::unwrap) }
        });
        let mut service = Observe::new(Rpcs::new(&[]).unwrap()).layer(service);
        let mut trace_of = async |parent: String| {
            let request = Request::builder().header(TRACE_PARENT, parent);
            let answer = service.call(request.body(Body::empty()).unwrap()).await;
            answer.unwrap().headers()["trace"].clone()
        };
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(trace_of(parent.clone()).await, TRACE);
        assert_ne!(trace_of(format!("{parent}-more")).await, TRACE);
    }
}
