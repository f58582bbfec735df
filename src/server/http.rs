//! The HTTP listeners: connections, HTTP/1.1 and HTTP/2, who may come in, and
//! which face is asked.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use http::{HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;

use super::admission::Admission;
use super::connection::{Connection, Peer};
use super::http_gate::HttpGate;
use super::observe_http::ObserveHttp;
use super::{CONNECTION_WINDOW, KEEPALIVE, MAX_FRAME, MAX_HEADERS, MAX_STREAMS, STREAM_WINDOW};
use crate::access::Caller;
use crate::admin::Face;
use crate::http::{Body, Failure, Request, Response, check_host, drain, refusal};

/// Longer than clients keep a connection that is idle (Go: 90 s): a request
/// must not meet the end of its connection.
const IDLE: Duration = Duration::from_secs(120);
/// Most headers of a request over HTTP/1.1…
const MAX_HEADER_LINES: usize = 100;
/// …which fit into this, as does what is read of a body at once.
const MAX_BUFFER: usize = 64 << 10;

/// What answers the requests that are let in.
pub(super) trait Handle: Clone + Send + Sync + 'static {
    /// For which face a path is, and of which remote, if there is one.
    fn concerned(&self, path: &str) -> (Face, Option<String>);

    /// Answers a request.
    fn handle(&self, caller: Caller, request: Request) -> impl Future<Output = Response> + Send;
}

/// Who may come in, and how many.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) gate: HttpGate,
    pub(super) admission: Admission,
    pub(super) observe: ObserveHttp,
}

/// Serves the connections until it stops; those in work may end.
pub(super) async fn serve<H: Handle>(
    incoming: impl futures::Stream<Item = std::io::Result<Connection>>,
    door: Door,
    handler: H,
    stopped: watch::Receiver<bool>,
) {
    let answer = move |peer: Peer, request: Request| {
        let (door, handler) = (door.clone(), handler.clone());
        async move {
            let concerned = handler.concerned(request.uri().path());
            let answer = |request| door.answer(&handler, &peer, request);
            door.observe.watch(concerned, request, answer).await
        }
    };
    serve_all(incoming, answer, stopped).await;
}

/// The same for what has no door.
pub(super) async fn serve_all<A, F>(
    incoming: impl futures::Stream<Item = std::io::Result<Connection>>,
    answer: A,
    mut stopped: watch::Receiver<bool>,
) where
    A: Fn(Peer, Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let connections = TaskTracker::new();
    {
        // No connection is taken in any more once this ends.
        let mut incoming = std::pin::pin!(incoming);
        loop {
            let connection = tokio::select! {
                // The sender is dropped with the server, which is a stop too.
                _ = stopped.wait_for(|stop| *stop) => break,
                connection = incoming.next() => match connection {
                    Some(Ok(connection)) => connection,
                    Some(Err(_)) => continue,
                    None => break,
                },
            };
            connections.spawn(serve_connection(
                connection,
                answer.clone(),
                stopped.clone(),
            ));
        }
    }
    connections.close();
    connections.wait().await;
}

async fn serve_connection<A, F>(
    connection: Connection,
    answer: A,
    mut stopped: watch::Receiver<bool>,
) where
    A: Fn(Peer, Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let peer = connection.connect_info();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let answered = answer(peer.clone(), request.map(Body::new));
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_headers(MAX_HEADER_LINES)
        .max_buf_size(MAX_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(connection), service));
    let stop = async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stop => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke off");
    }
}

impl Door {
    async fn answer<H: Handle>(&self, handler: &H, peer: &Peer, mut request: Request) -> Response {
        let origin = check_host(&request).and_then(|()| self.gate.check_origin(&request));
        if let Err(failure) = origin {
            drain(request.into_body());
            return failure.into();
        }
        let caller = match self.gate.caller(&mut request) {
            Ok(caller) => caller,
            Err(unauthorized) => {
                drain(request.into_body());
                return unauthorized.into();
            }
        };
        peer.serve();
        let call = match self.admission.enter() {
            Ok(call) => call,
            Err(error) => {
                drain(request.into_body());
                return closing(refusal(&error));
            }
        };
        // Ends the answer, and its body, when the server cuts it off or the
        // token is revoked.
        let gate = self.gate.clone();
        let mut cut = Box::pin({
            let caller = caller.clone();
            async move {
                tokio::select! {
                    error = call.is_cut() => closing(refusal(&error)),
                    response = gate.revoked(caller) => response,
                }
            }
        });
        let answered = tokio::select! {
            biased;
            answer = handler.handle(caller, request) => Ok(answer),
            response = &mut cut => Err(response),
        };
        match answered {
            Err(response) => response,
            // It is sent with its length, and at once.
            Ok(answer) if http_body::Body::size_hint(answer.body()).exact().is_some() => answer,
            Ok(answer) => answer.map(|body| {
                let end = async move {
                    cut.await;
                };
                // What is cut off ends with an error: its reader knows that
                // something is missing.
                let pieces = body.into_data_stream();
                Body::from_stream(until(pieces, end))
            }),
        }
    }
}

/// The stream, ended with an error when the future ends first.
fn until<T>(
    pieces: impl futures::Stream<Item = Result<T, axum::Error>> + Send + 'static,
    end: impl Future<Output = ()> + Send + 'static,
) -> impl futures::Stream<Item = Result<T, axum::Error>> + Send + 'static
where
    T: Send + 'static,
{
    let state = Some((Box::pin(pieces), Box::pin(end)));
    futures::stream::unfold(state, |state| async move {
        let (mut pieces, mut end) = state?;
        tokio::select! {
            biased;
            () = &mut end => {
                let error = axum::Error::new("the server ended the answer");
                Some((Err(error), None))
            }
            piece = pieces.next() => Some((piece?, Some((pieces, end)))),
        }
    })
}

/// The client is to use another connection. HTTP/2 knows no such header, and
/// hyper leaves it out there.
fn closing(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// There is nothing at this address.
pub(super) fn nothing_here(what: &str) -> Response {
    Failure::new(StatusCode::NOT_FOUND, what).into()
}
