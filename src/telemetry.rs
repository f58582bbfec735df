//! Export of the spans of calls to an OpenTelemetry collector, by OTLP over
//! gRPC. The standard variables `OTEL_*` configure it; most of them the
//! libraries read from the process. Only spans of this crate leave, and of
//! log lines nothing does: they may name paths.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderValue, Uri};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{self, SdkTracerProvider, SpanData};
use tonic::Code;
use tonic::transport::ClientTlsConfig;
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;

use crate::error::code_name;

/// How long the end waits for the collector to take the last spans.
const FLUSH: Duration = Duration::from_secs(2);
/// What the collector knows the server as if `OTEL_SERVICE_NAME` is not set.
const SERVICE: &str = "pluton-fichier";
/// W3C Trace Context.
const TRACE_PARENT: &str = "traceparent";

/// The export of spans. Dropped, it gives the collector a moment to take the
/// last ones.
#[derive(Debug)]
pub struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Starts the export if the variables name a collector. It connects when
    /// there is something to export, by a task of the tokio runtime, which
    /// must have other threads than the one that drops this.
    ///
    /// # Errors
    /// One line that says what is wrong with a variable, without its value.
    pub fn start(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let Some(endpoint) = endpoint(variable)? else {
            return Ok(None);
        };
        let mut exporter = SpanExporter::builder().with_tonic();
        // Without need they are not loaded: there may be none.
        if !endpoint.starts_with("http://") {
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
        }
        let exporter = exporter
            .with_endpoint(endpoint)
            .build()
            .map_err(|error| format!("nothing is exported; check OTEL_EXPORTER_OTLP_*: {error}"))?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_batch_exporter(Exporter::new(exporter))
            .build();
        Ok(Some(Self(provider)))
    }

    /// Takes the spans of this crate, and nothing of what is logged in them.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let own = FilterFn::new(|metadata| {
            metadata.is_span()
                && *metadata.level() <= LevelFilter::INFO
                && metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
        });
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(own.with_max_level_hint(LevelFilter::INFO))
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // What the collector does not take by then is lost, and no reason to stay.
        let _ = self.0.shutdown_with_timeout(FLUSH);
    }
}

/// Where to export to, if at all.
fn endpoint(variable: impl Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
    // One for traces counts before one for all signals.
    let either = |name: &'static str, general: &'static str| {
        let found = variable(name).map(|value| (name, value));
        found.or_else(|| variable(general).map(|value| (general, value)))
    };
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let found = either(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    );
    let Some((name, endpoint)) = found else {
        return Ok(None);
    };
    match variable(EXPORTER).as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(_) => {
            return Err(format!(
                "nothing is exported: {EXPORTER} must be otlp or none"
            ));
        }
    }
    let protocol = either(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    );
    if let Some((name, _)) = protocol.filter(|(_, protocol)| protocol != "grpc") {
        return Err(format!("nothing is exported: {name} must be grpc"));
    }
    // The value may hold a password.
    if endpoint.parse::<Uri>().is_err() {
        return Err(format!(
            "nothing is exported: {name} is no address; one is http://localhost:4317"
        ));
    }
    Ok(Some(endpoint))
}

/// What is told of the server.
fn resource() -> Resource {
    let found = Resource::builder().build();
    let named = found.get_ref(&Key::from_static_str("service.name"));
    let named = named.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    if named {
        resource.build()
    } else {
        resource.with_service_name(SERVICE).build()
    }
}

/// Makes the span of a call a part of its caller's trace.
pub fn join(span: &Span, traceparent: &HeaderValue) {
    let Ok(parent) = traceparent.to_str() else {
        return;
    };
    let context = TraceContextPropagator::new().extract(&Parent(parent));
    // Fails if nothing is exported.
    let _ = span.set_parent(context);
}

/// All that is taken from a caller: a `tracestate` may be long.
struct Parent<'a>(&'a str);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACE_PARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACE_PARENT]
    }
}

/// Tells in the span of a call how it ended, as the log does.
pub fn ended(span: &Span, code: Code, reason: Option<&str>, remote: Option<&str>) {
    span.set_attribute("code", code_name(code));
    for (name, value) in [("reason", reason), ("remote", remote)] {
        if let Some(value) = value {
            span.set_attribute(name, value.to_owned());
        }
    }
    // For a server the others are its caller's errors.
    if matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    ) {
        span.set_status(Status::error(code_name(code)));
    }
}

/// The same for a request over HTTP, with a status as a text; whether it failed
/// for a server's reason.
pub fn ended_http(
    span: &Span,
    status: &str,
    failed: bool,
    reason: Option<&str>,
    remote: Option<&str>,
) {
    let fields = [
        ("status", Some(status)),
        ("reason", reason),
        ("remote", remote),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            span.set_attribute(name, value.to_owned());
        }
    }
    if failed {
        span.set_status(Status::error(status.to_owned()));
    }
}

/// Exports, and warns once when that fails, until it works again.
struct Exporter {
    exporter: SpanExporter,
    failing: AtomicBool,
}

impl Exporter {
    fn new(exporter: SpanExporter) -> Self {
        Self {
            exporter,
            failing: AtomicBool::new(false),
        }
    }

    fn tell(&self, outcome: &OTelSdkResult) {
        let failed = outcome.is_err();
        if self.failing.swap(failed, Ordering::Relaxed) == failed {
            return;
        }
        match outcome {
            Ok(()) => tracing::info!("spans are exported again"),
            Err(error) => tracing::warn!(
                "spans are not exported and are lost; see that the collector of \
                 OTEL_EXPORTER_OTLP_ENDPOINT runs and speaks gRPC: {error}"
            ),
        }
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter(…)")
    }
}

impl trace::SpanExporter for Exporter {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(name);
        let outcome = self.exporter.export(batch).await;
        self.tell(&outcome);
        outcome
    }

    fn shutdown(&self) -> Result<(), OTelSdkError> {
        self.exporter.shutdown()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Spans of calls are known by their method, and as those of a server. Fields
/// that would say so would stand in every line of the log.
fn name(span: &mut SpanData) {
    if span.name != "rpc" && span.name != "http" {
        return;
    }
    span.span_kind = SpanKind::Server;
    let mut fields = span.attributes.iter();
    if let Some(method) = fields.find(|field| field.key.as_str() == "method") {
        span.name = method.value.as_str().into_owned().into();
    }
}

#[cfg(test)]
mod tests;
