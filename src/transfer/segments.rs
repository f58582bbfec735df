//! A large range that is read in segments, several of them at a time, and given
//! in order.
//!
//! The first segment begins alone, so that the first bytes come as soon as
//! without. Each further one needs a connection that nobody else waits for; if
//! none is free, the reading goes on with fewer.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::reader::Stretch;
use super::wait::{Connection, Connections};
use crate::fichier::{Error, Kind};
use crate::spans;

/// What gives the bytes of one segment.
pub(super) trait Source: Send + 'static {
    /// The next bytes; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send;
}

impl Source for Stretch {
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send {
        Self::next(self)
    }
}

/// How a range is cut, and how far segments may be ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Segments at a time.
    width: usize,
    /// Bytes of one.
    bytes: u64,
    /// Bytes of one that may have arrived before their turn.
    ahead: u32,
}

impl Plan {
    /// While a segment is given at the speed of all connections, the next ones
    /// arrive at that of one: when its turn comes, all of it but `1/width` must
    /// be there. More would not make it faster.
    pub(super) fn new(width: usize, bytes: u64) -> Self {
        let parts = width.max(1) as u64;
        let ahead = bytes.div_ceil(parts) * (parts - 1);
        Self {
            width,
            bytes,
            ahead: u32::try_from(ahead.max(1)).unwrap_or(u32::MAX),
        }
    }
}

/// Bytes, and the room that they take in the buffer of their segment.
type Piece = Result<(Bytes, OwnedSemaphorePermit), Error>;

/// A segment on its way.
struct Segment {
    /// Bytes that were not given yet.
    left: u64,
    pieces: mpsc::UnboundedReceiver<Piece>,
    connection: Connection,
    _task: AbortOnDropHandle<()>,
}

/// A range on its way.
pub(super) struct Segments<S> {
    open: Box<dyn Fn(Range<u64>) -> S + Send + Sync>,
    connections: Arc<Connections>,
    plan: Plan,
    /// What was not given yet.
    range: Range<u64>,
    /// The first byte that belongs to no segment yet.
    next: u64,
    /// In order; the first is the one whose turn it is.
    running: VecDeque<Segment>,
    /// The connection of a segment that is done, while no other runs.
    spare: Option<Connection>,
    /// The first bytes have come: there may be several segments now.
    begun: bool,
}

impl<S> fmt::Debug for Segments<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments")
            .field("plan", &self.plan)
            .field("range", &self.range)
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

impl<S: Source> Segments<S> {
    pub(super) fn new(
        open: impl Fn(Range<u64>) -> S + Send + Sync + 'static,
        connections: Arc<Connections>,
        plan: Plan,
        range: Range<u64>,
    ) -> Self {
        Self {
            open: Box::new(open),
            connections,
            plan,
            next: range.start,
            range,
            running: VecDeque::new(),
            spare: None,
            begun: false,
        }
    }

    /// The next bytes; `None` at the end of the range.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.range.start < self.range.end {
            if self.running.is_empty() {
                let connection = match self.spare.take() {
                    Some(connection) => connection,
                    None => self.connections.wait().await?,
                };
                self.begin(connection);
            }
            while self.begun
                && self.running.len() < self.plan.width
                && self.next < self.range.end
                && let Some(connection) = self.connections.take()
            {
                self.begin(connection);
            }
            let Some(first) = self.running.front_mut() else {
                continue;
            };
            match first.pieces.recv().await {
                Some(Ok((bytes, _room))) => {
                    let length = bytes.len() as u64;
                    self.range.start += length;
                    first.left = first.left.saturating_sub(length);
                    self.begun = true;
                    if first.left == 0 {
                        self.end_first();
                    }
                    return Ok(Some(bytes));
                }
                Some(Err(error)) => self.narrow(error)?,
                None => {
                    let text = "a segment ended early";
                    return Err(Error::new("download", Kind::Broken, text));
                }
            }
        }
        Ok(None)
    }

    fn begin(&mut self, connection: Connection) {
        let end = (self.next + self.plan.bytes).min(self.range.end);
        let range = self.next..end;
        self.next = end;
        let left = range.end - range.start;
        let source = (self.open)(range);
        let (sender, pieces) = mpsc::unbounded_channel();
        let task = spans::spawn(fetch(source, left, self.plan.ahead, sender));
        self.running.push_back(Segment {
            left,
            pieces,
            connection,
            _task: AbortOnDropHandle::new(task),
        });
    }

    fn end_first(&mut self) {
        let Some(Segment { connection, .. }) = self.running.pop_front() else {
            return;
        };
        // The last one is kept: what began is not made to wait for others.
        if self.running.is_empty() {
            self.spare = Some(connection);
        }
    }

    /// What several connections cannot do, perhaps one can: 1Fichier may allow
    /// fewer than are configured.
    fn narrow(&mut self, error: Error) -> Result<(), Error> {
        let perhaps = matches!(error.kind(), Kind::Broken | Kind::NotSent | Kind::Server);
        if self.plan.width == 1 || !perhaps {
            return Err(error);
        }
        tracing::info!(%error, at = self.range.start, "reading on over one connection");
        self.plan.width = 1;
        self.spare = self.running.pop_front().map(|first| first.connection);
        self.running.clear();
        self.next = self.range.start;
        Ok(())
    }

    /// Gives all connections to others, and what has arrived before its turn
    /// up.
    pub(super) fn park(&mut self) {
        self.running.clear();
        self.spare = None;
        self.next = self.range.start;
        self.begun = false;
    }

    pub(super) fn is_in_the_way(&self) -> bool {
        !(self.running.is_empty() && self.spare.is_none()) && self.connections.are_wanted()
    }
}

/// Fetches the bytes of a segment, no further ahead than allowed.
async fn fetch<S: Source>(
    mut source: S,
    mut left: u64,
    ahead: u32,
    pieces: mpsc::UnboundedSender<Piece>,
) {
    let room = Arc::new(Semaphore::new(ahead as usize));
    while left > 0 {
        let piece = match source.next().await {
            Ok(None) => return,
            Ok(Some(bytes)) => {
                left = left.saturating_sub(bytes.len() as u64);
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(ahead);
                match Arc::clone(&room).acquire_many_owned(length).await {
                    Ok(room) => Ok((bytes, room)),
                    // It is never closed.
                    Err(_) => Err(Error::stopping("download")),
                }
            }
            Err(error) => Err(error),
        };
        if left == 0 {
            // Whoever has the last piece may have the connection.
            drop(source);
            let _ = pieces.send(piece);
            return;
        }
        let failed = piece.is_err();
        if pieces.send(piece).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
#[path = "segments_tests.rs"]
mod tests;
