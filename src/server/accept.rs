//! Taking in connections: not more than there is place for, and without waiting
//! for a slow one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use super::connection::{Connection, Socket};
use super::listen::Bound;
use super::seldom::Seldom;
use super::tls::{Protocol, Tls};

/// A handshake takes two round trips.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// When there are no descriptors left, and other troubles that pass.
const TROUBLE: Duration = Duration::from_millis(100);
/// The service takes them at once.
const AHEAD: usize = 64;

/// The connections of a listener, ready for HTTP. The socket is closed when
/// this is dropped.
pub(super) fn connections(
    bound: Bound,
    tls: Option<(Arc<Tls>, Protocol)>,
    places: usize,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let accepting = Accepting {
        bound,
        tls,
        most: places,
        places: Arc::new(Semaphore::new(places)),
        sender,
        full: Seldom::default(),
        trouble: Seldom::default(),
        refused: Arc::new(Seldom::default()),
    };
    tokio::spawn(accepting.run());
    ReceiverStream::new(receiver)
}

struct Accepting {
    bound: Bound,
    tls: Option<(Arc<Tls>, Protocol)>,
    most: usize,
    places: Arc<Semaphore>,
    sender: mpsc::Sender<io::Result<Connection>>,
    full: Seldom,
    trouble: Seldom,
    refused: Arc<Seldom>,
}

impl Accepting {
    async fn run(self) {
        // Those that shake hands; they end with the listener.
        let mut handshakes = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.sender.closed() => return,
                Some(_) = handshakes.join_next() => continue,
                accepted = self.bound.accept() => accepted,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                // Whoever leaves early must not hold up the others.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    if let Some(times) = self.trouble.happened() {
                        tracing::warn!(%error, times, "cannot take in a connection");
                    }
                    tokio::time::sleep(TROUBLE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                if let Some(times) = self.full.happened() {
                    tracing::warn!(
                        times,
                        address = self.bound.address(),
                        "refused connections: all {} are in use; --max-connections allows more",
                        self.most
                    );
                }
                continue;
            };
            let Some(tls) = &self.tls else {
                let connection = Connection::new(socket, place);
                let _ = self.sender.send(Ok(connection)).await;
                continue;
            };
            let (handshake, sender) = (shake_hands(tls.clone(), socket), self.sender.clone());
            let refused = Arc::clone(&self.refused);
            handshakes.spawn(async move {
                match handshake.await {
                    Ok(socket) => {
                        let _ = sender.send(Ok(Connection::new(socket, place))).await;
                    }
                    Err(error) => {
                        if let Some(times) = refused.happened() {
                            tracing::info!(%error, times, %peer, "a TLS handshake failed");
                        }
                    }
                }
            });
        }
    }
}

async fn shake_hands(
    (tls, protocol): (Arc<Tls>, Protocol),
    socket: Box<dyn Socket>,
) -> io::Result<tokio_rustls::server::TlsStream<Box<dyn Socket>>> {
    tokio::time::timeout(HANDSHAKE, tls.acceptor(protocol).accept(socket))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
