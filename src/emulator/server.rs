//! The listener, its connections, and who answers which path.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{DATE, SERVER};
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::calls;
use super::fault::FaultKind;
use super::http::{Abort, Answer, Outcome, ResetFlag, header, page, redirect};
use super::refusal::Refusal;
use super::state::Shared;
use super::{control_http, download, end, upload, v1, web};

/// What a handler knows about the connection its request came on.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) ip: IpAddr,
    pub(super) reset: ResetFlag,
}

/// Accepts connections until told to stop.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, address)) = accepted else {
            // Out of file descriptors, most likely: give connections time to end.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let (shared, tls, stop) = (Arc::clone(&shared), tls.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = connection(stream, address.ip(), tls, shared) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn connection(stream: TcpStream, ip: IpAddr, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let reset = ResetFlag::default();
    let socket = Socket {
        stream,
        reset: reset.clone(),
    };
    let peer = Peer { ip, reset };
    match tls {
        None => requests(socket, peer, shared).await,
        Some(acceptor) => match acceptor.accept(socket).await {
            Ok(socket) => requests(socket, peer, shared).await,
            Err(error) => tracing::debug!(%error, "emulator: TLS handshake failed"),
        },
    }
}

async fn requests<S>(socket: S, peer: Peer, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (shared, peer) = (Arc::clone(&shared), peer.clone());
        async move {
            let outcome = route(&shared, &peer, request).await;
            outcome.map(|answer| finish(&shared, answer))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .max_buf_size(512 * 1024)
        .serve_connection(TokioIo::new(socket), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "emulator: connection ended");
    }
}

/// Headers that every answer has [API §1].
fn finish(shared: &Shared, mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("nginx"));
    if let Ok(date) = HeaderValue::from_str(&shared.clock.http()) {
        headers.insert(DATE, date);
    }
    answer
}

async fn route(shared: &Arc<Shared>, peer: &Peer, request: Request<Incoming>) -> Outcome {
    let path = request.uri().path().to_owned();
    if let Some(operation) = path.strip_prefix("/v1/") {
        return v1::handle(shared, peer, operation, request).await;
    }
    if shared.control_endpoints
        && let Some(operation) = path.strip_prefix("/_control/")
    {
        return Ok(control_http::handle(shared, operation, request).await);
    }
    match path.as_str() {
        "/upload.cgi" => upload::handle(shared, peer, request).await,
        "/end.pl" => end::handle(shared, peer, request).await,
        "/check_links.pl" => web::check_links(shared, peer, request).await,
        "/" => web::file_page(shared, peer, request).await,
        _ => match path.strip_prefix("/dir/") {
            Some(share) => web::shared_folder(shared, peer, share, request).await,
            None => download::handle(shared, peer, &path, request).await,
        },
    }
}

/// Counts and remembers a request that is not part of `/v1`, and says which fault it meets.
pub(super) fn arrive(
    shared: &Shared,
    endpoint: &str,
    request: &Request<Incoming>,
) -> Option<FaultKind> {
    arrive_with(shared, endpoint, request, String::new())
}

/// The same for a request whose body was read.
pub(super) fn arrive_with<B>(
    shared: &Shared,
    endpoint: &str,
    request: &Request<B>,
    body: String,
) -> Option<FaultKind> {
    let mut state = shared.state();
    state.calls.count(endpoint);
    state.log.add(describe(endpoint, request, body));
    state.faults.take(endpoint)
}

/// A request as it is remembered.
pub(super) fn describe<B>(endpoint: &str, request: &Request<B>, body: String) -> calls::Request {
    let headers = request
        .headers()
        .iter()
        .filter(|(name, _)| *name != http::header::AUTHORIZATION)
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    calls::Request {
        at: tokio::time::Instant::now(),
        method: request.method().to_string(),
        endpoint: endpoint.to_owned(),
        target: request
            .uri()
            .path_and_query()
            .map_or_else(String::new, ToString::to_string),
        authorized: request.headers().contains_key(http::header::AUTHORIZATION),
        headers,
        body,
    }
}

/// Plays the faults that answer instead of a handler, outside `/v1`. `Err` hands back what the
/// handler has to deal with itself.
pub(super) async fn plain_fault(
    shared: &Shared,
    peer: &Peer,
    fault: Option<FaultKind>,
) -> Result<Outcome, Option<FaultKind>> {
    let Some(kind) = fault else {
        return Err(None);
    };
    match kind {
        FaultKind::Status(status) => Ok(Ok(page(status, "Service unavailable"))),
        FaultKind::Ko { http, message } => {
            let mut state = shared.state();
            Ok(Ok(v1::refuse(&mut state, &Refusal::new(http, message))))
        }
        FaultKind::ResetBeforeAnswer => Ok(peer.reset.abort()),
        FaultKind::HtmlPage => Ok(Ok(page(200, "1fichier.com: Cloud Storage"))),
        FaultKind::Page { http, text } => Ok(Ok(page(http, &text))),
        FaultKind::Redirect(target) => Ok(Ok(redirect(&target))),
        FaultKind::Flood => {
            let mut state = shared.state();
            let limits = state.limits.clone();
            let now = tokio::time::Instant::now();
            let refusal = state.limiter.lock(&limits, peer.ip, now);
            Ok(Ok(v1::refuse(&mut state, &refusal)))
        }
        FaultKind::Delay(time) => {
            tokio::time::sleep(time).await;
            Err(None)
        }
        other => Err(Some(other)),
    }
}

/// The key of an `Authorization: Bearer` header.
pub(super) fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    header(headers, "authorization")?
        .strip_prefix("Bearer ")
        .map(str::trim)
}

/// Reads a request's body up to a limit; a client that breaks off or sends more gets no answer.
pub(super) async fn read_body(body: Incoming, most: usize) -> Result<bytes::Bytes, Abort> {
    use http_body_util::BodyExt;
    http_body_util::Limited::new(body, most)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|_| Abort)
}

/// A TCP stream that can be closed with a reset.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    reset: ResetFlag,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.is_set() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
