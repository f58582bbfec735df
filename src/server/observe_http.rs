//! Every request of the HTTP faces is counted and logged, as calls over gRPC
//! are (`observe.rs`): which face and method, how it ended, how long it took,
//! how much it moved, and under which id its client knows it. Never a path.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use tonic::Code;
use tracing::{Instrument, Span};

use super::trace::{REQUEST_ID, TRACE_PARENT, Weight, request_id, trace_id, weight};
use crate::admin::{End, Face, HttpRequest, Requests};
use crate::error::Reason;
use crate::http::{Body, Request, Response};
use crate::spans;

/// Counts and logs requests.
#[derive(Clone, Debug)]
pub(super) struct ObserveHttp(Arc<Requests>);

impl ObserveHttp {
    pub(super) fn new(requests: Arc<Requests>) -> Self {
        Self(requests)
    }

    /// Has a request answered, which is for this face and remote.
    pub(super) async fn watch<F>(
        &self,
        (face, remote): (Face, Option<String>),
        request: Request,
        answer: impl FnOnce(Request) -> F,
    ) -> Response
    where
        F: Future<Output = Response>,
    {
        let counted = Arc::new(self.0.begin(face, request.method()));
        let id = request_id(request.headers());
        let parent = request.headers().get(TRACE_PARENT);
        let trace = parent.and_then(trace_id);
        // At this level no filter of the log leaves a line without it.
        let span = tracing::error_span!(
            "http",
            face = face.as_str(),
            method = counted.method,
            request_id = id.to_str().unwrap_or_default(),
            trace_id = trace,
        );
        spans::identify(&span, id.to_str().unwrap_or_default());
        #[cfg(feature = "otel")]
        if let Some(parent) = parent.filter(|_| trace.is_some()) {
            crate::telemetry::join(&span, parent);
        }
        let record = Record {
            counted: Arc::clone(&counted),
            remote,
            reason: None,
            ended: false,
            span: span.clone(),
        };
        let is_head = request.method() == Method::HEAD;
        let request = request.map(|body| match body.is_end_stream() {
            true => body,
            false => Body::new(Received { body, counted }),
        });
        let answer = span.in_scope(|| answer(request)).instrument(span);
        let mut answer = answer.await;
        answer.headers_mut().insert(REQUEST_ID, id);
        watched(answer, is_head, record)
    }
}

/// What is known of a request that goes on. Dropped without an end, its client
/// has left.
struct Record {
    counted: Arc<HttpRequest>,
    remote: Option<String>,
    reason: Option<Reason>,
    ended: bool,
    span: Span,
}

impl Record {
    fn end(&mut self, end: End) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let counted = &self.counted;
        let ms = counted.began.elapsed().as_millis();
        let [received, sent] = counted.bytes();
        counted.end(end);
        let reason = self.reason.map(Reason::as_str);
        let remote = self.remote.as_deref();
        let status = match end {
            End::Answered(status) => Some(status.as_u16()),
            End::Broken | End::Left => None,
        };
        let status = status.map_or_else(|| end.as_str().to_owned(), |status| status.to_string());
        #[cfg(feature = "otel")]
        {
            let failed = match end {
                End::Answered(status) => status.is_server_error(),
                End::Broken => true,
                End::Left => false,
            };
            crate::telemetry::ended_http(&self.span, &status, failed, reason, remote);
        }
        let _entered = self.span.enter();
        match self.weight(end) {
            Weight::Defect => {
                tracing::warn!(
                    status,
                    reason,
                    remote,
                    ms,
                    received,
                    sent,
                    "a request failed"
                );
            }
            Weight::Operators => {
                tracing::info!(
                    status,
                    reason,
                    remote,
                    ms,
                    received,
                    sent,
                    "a request failed"
                );
            }
            Weight::Callers => {
                tracing::debug!(
                    status,
                    reason,
                    remote,
                    ms,
                    received,
                    sent,
                    "a request ended"
                );
            }
        }
    }

    fn weight(&self, end: End) -> Weight {
        match (end, self.reason) {
            // Why it broke off was told when it did.
            (End::Broken, _) => Weight::Operators,
            (End::Left, _) => Weight::Callers,
            (End::Answered(_), Some(reason)) => weight(reason.code(), Some(reason.as_str())),
            (End::Answered(StatusCode::INTERNAL_SERVER_ERROR), None) => {
                weight(Code::Internal, None)
            }
            (End::Answered(_), None) => Weight::Callers,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end(End::Left);
    }
}

/// The body of a request, counted as it is read.
struct Received {
    body: Body,
    counted: Arc<HttpRequest>,
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.counted.receive(data.len());
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

/// The answer; when it ends, so does the request.
fn watched(answer: Response, is_head: bool, mut record: Record) -> Response {
    record.reason = answer.extensions().get().copied();
    let status = answer.status();
    // What the length says may be all that is asked for.
    let announced = answer.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    let length = answer.body().size_hint().exact().or(announced);
    let is_bare = is_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_bare || length == Some(0) || answer.body().is_end_stream() {
        record.end(End::Answered(status));
        return answer;
    }
    answer.map(|body| {
        Body::new(Watched {
            body,
            status,
            left: length,
            record,
        })
    })
}

struct Watched {
    body: Body,
    status: StatusCode,
    /// Bytes that are still to come, where that is known.
    left: Option<u64>,
    record: Record,
}

impl Watched {
    fn given(&mut self, bytes: usize) {
        self.record.counted.send(bytes);
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
        if self.left == Some(0) || self.body.is_end_stream() {
            self.record.end(End::Answered(self.status));
        }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let span = self.record.span.clone();
        let polled = span.in_scope(|| Pin::new(&mut self.body).poll_frame(cx));
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.given(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(Some(Err(_))) => self.record.end(End::Broken),
            Poll::Ready(None) => {
                let end = End::Answered(self.status);
                self.record.end(end);
            }
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
