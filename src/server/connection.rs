//! A connection: it has a place among a limited number, and little time until
//! its first request.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tonic::transport::server::Connected;

/// Whoever connects has something to ask.
const FIRST_REQUEST: Duration = Duration::from_secs(30);

/// A peer that takes nothing of what is sent for so long is given up.
const STUCK: Duration = Duration::from_secs(3_600);

/// A socket, perhaps below TLS.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// A connection that is open.
pub(super) struct Connection {
    socket: Box<dyn Socket>,
    peer: Peer,
    first: Option<Pin<Box<Sleep>>>,
    stuck: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

/// The other end; every request of the connection carries it.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    served: Arc<AtomicBool>,
}

impl Peer {
    /// It has made a request that it may make.
    pub(super) fn serve(&self) {
        self.served.store(true, Ordering::Relaxed);
    }
}

impl Connection {
    pub(super) fn new(socket: impl Socket + 'static, place: OwnedSemaphorePermit) -> Self {
        Self {
            socket: Box::new(socket),
            peer: Peer::default(),
            first: Some(Box::pin(tokio::time::sleep(FIRST_REQUEST))),
            stuck: None,
            _place: place,
        }
    }

    /// Fails when there was no request in time.
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(first) = &mut self.first else {
            return Ok(());
        };
        if self.peer.served.load(Ordering::Relaxed) {
            self.first = None;
        } else if first.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Fails when what is to be sent does not move. HTTP/2 asks for a sign of
    /// life; over HTTP/1.1 a peer that reads nothing is alive all the same.
    fn moving<T>(
        &mut self,
        cx: &mut Context<'_>,
        moved: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.stuck = None;
            return moved;
        }
        let stuck = self
            .stuck
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STUCK)));
        stuck
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.moving(cx, moved)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let moved = Pin::new(&mut self.socket).poll_flush(cx);
        self.moving(cx, moved)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.moving(cx, moved)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
