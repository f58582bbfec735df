//! Uploads: buffered files leave in groups, large ones stream straight
//! through; both are verified before they count.
//!
//! An upload costs one budgeted call, `get_upload_server`, whatever the number
//! of files in it ([API §E1]). While one group waits for that call, all files
//! for the same folder gather in it; an idle system sends at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, Span};

use super::gather::{Fit, Gather};
use super::report::{self, Outcome};
use super::spool::{SpoolPolicy, Spooled};
use super::wait::{Connection, Connections};
use crate::fichier::{
    BATCH, Client, Content, Emission, Error, Kind, Node, Part, Priority, Scope, StoredFile, Turn,
    UPLOAD_BATCH, UPLOAD_NODE,
};
use crate::spans::{self, Tasks};

/// Times that a buffered file is sent before its upload fails.
const ATTEMPTS: u32 = 3;
/// Times more when a node only had trouble with its storage: one upload in 14
/// meets that ([API §4.4]), and nothing was stored.
const HICCUPS: u32 = 5;
/// Connections to upload nodes for what is urgent alone: it does not wait behind
/// large files. Two, so that a node that hangs does not hold the next one up.
const URGENT_CONNECTIONS: usize = 2;
/// Chunks between a caller and its connection to the node.
const PIPE: usize = 4;

/// How much is sent at a time.
#[derive(Clone, Debug)]
pub struct UploadLimits {
    /// Which files are buffered.
    pub spool: SpoolPolicy,
    /// Connections to upload nodes at once.
    pub connections: usize,
    /// Bytes of one group; a larger file goes alone.
    pub group_bytes: u64,
    /// Files of one group.
    pub group_files: usize,
    /// Files larger than this stream straight through instead of being
    /// buffered, so no member of a group is larger.
    pub stream_from: u64,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self {
            spool: SpoolPolicy::Auto,
            connections: 4,
            group_bytes: 256 << 20,
            group_files: UPLOAD_BATCH,
            stream_from: 16 << 20,
        }
    }
}

/// What must be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Stored name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Whirlpool, lower-case.
    pub whirlpool: String,
    /// Links of files that were there before under that name, perhaps with the
    /// same content: none of them is what is stored now.
    pub older: Vec<String>,
}

/// A buffered file that is stored.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// Where.
    pub file: StoredFile,
    /// It was sent before, too, and was not to be seen then: it may show yet.
    pub perhaps_twice: bool,
}

#[derive(Debug)]
struct Item {
    expected: Expected,
    content: Spooled,
    cancel: CancellationToken,
    /// An answer to it was lost, and it was not to be seen.
    lost: bool,
    outcome: oneshot::Sender<Result<Uploaded, Error>>,
    /// Of the call that it is sent for.
    span: Span,
}

/// The uploads of one account.
#[derive(Debug)]
pub struct Uploads {
    client: Arc<Client>,
    limits: UploadLimits,
    connections: Arc<Connections>,
    urgent: Arc<Connections>,
    lanes: Gather<Lane, Item>,
    tasks: Tasks,
    stored_wrong: AtomicU64,
}

/// What leaves in one group: files of one folder, equally urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lane {
    folder: i64,
    urgent: bool,
}

impl Lane {
    fn of(scope: Scope, folder: i64) -> Self {
        Self {
            folder,
            urgent: scope.is_urgent(),
        }
    }

    fn scope(self) -> Scope {
        Scope::new(match self.urgent {
            true => Priority::Urgent,
            false => Priority::Upload,
        })
    }
}

impl Uploads {
    /// Uploads through this client. A group that left is one of the tasks until
    /// it is cleaned up after.
    pub fn new(client: Arc<Client>, limits: UploadLimits, tasks: Tasks) -> Arc<Self> {
        let connections = |most| Connections::new("upload.cgi", most);
        Arc::new(Self {
            client,
            connections: connections(limits.connections),
            urgent: connections(URGENT_CONNECTIONS),
            limits,
            lanes: Gather::default(),
            tasks,
            stored_wrong: AtomicU64::new(0),
        })
    }

    fn connections(&self, lane: Lane) -> &Arc<Connections> {
        match lane.urgent {
            true => &self.urgent,
            false => &self.connections,
        }
    }

    /// Which files are buffered.
    pub fn policy(&self) -> SpoolPolicy {
        self.limits.spool
    }

    /// Files so far that 1Fichier stored with another content than was sent.
    pub fn stored_wrong(&self) -> u64 {
        self.stored_wrong.load(Ordering::Relaxed)
    }

    /// Whether a file streams straight through, if a connection is free.
    pub fn streams(&self, size: Option<u64>) -> bool {
        match self.limits.spool {
            SpoolPolicy::Auto => size.is_some_and(|size| size > self.limits.stream_from),
            SpoolPolicy::Always => false,
            SpoolPolicy::Never => size.is_some(),
        }
    }

    /// Stores a buffered file in a folder, in one group with others that wait
    /// for the same folder. Cancelling takes it back as long as its group has
    /// not left.
    ///
    /// # Errors
    /// When 1Fichier did not store exactly this content after three attempts;
    /// at once when the account is locked for longer than the caller waits.
    pub async fn store(
        self: &Arc<Self>,
        scope: Scope,
        folder: i64,
        expected: Expected,
        content: Spooled,
        cancel: CancellationToken,
    ) -> Result<Uploaded, Error> {
        self.client.budget().check(scope)?;
        let lane = Lane::of(scope, folder);
        let (outcome, mut receiver) = oneshot::channel();
        let cancelled = cancel.clone();
        let (id, start) = self.lanes.push(
            lane,
            Item {
                expected,
                content,
                cancel,
                lost: false,
                outcome,
                span: Span::current(),
            },
        );
        if start {
            spans::spawn(Arc::clone(self).collect(lane));
        }
        let error = tokio::select! {
            biased;
            outcome = &mut receiver => return outcome.unwrap_or_else(|_| Err(stopped())),
            error = self.client.budget().locked_out(scope) => error,
            () = cancelled.cancelled() => Error::given_up("upload.cgi"),
        };
        if self.lanes.withdraw(&lane, id) {
            return Err(error);
        }
        // It has left: transfers go on while the account is locked.
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Takes groups until nothing waits for the folder.
    async fn collect(self: Arc<Self>, lane: Lane) {
        loop {
            // This may go on for others when the call that began it is over.
            let first = self.lanes.first(&lane, |item| item.span.clone());
            let first = first.unwrap_or_else(Span::current);
            // While this waits, the group grows, or all of it leaves.
            let turn = tokio::select! {
                biased;
                turn = self.turn(lane).instrument(first.clone()) => Some(turn),
                () = self.lanes.deserted(&lane) => None,
            };
            let connected = match turn {
                None if self.lanes.is_done(&lane) => return,
                None => continue,
                Some(Ok((connection, turn))) => {
                    let node = self.client.upload_node(turn).instrument(first).await;
                    node.map(|node| (connection, node))
                }
                Some(Err(error)) => Err(error),
            };
            let group = self.take_group(lane);
            match connected {
                _ if group.is_empty() => {}
                Ok((connection, node)) => {
                    let bytes = group.iter().map(|item| item.expected.size).sum();
                    let span = spans::together(group.iter().map(|item| &item.span))
                        .in_scope(|| spans::upload_group(group.len(), bytes));
                    let sending = Arc::clone(&self).send_group(lane, group, node, connection);
                    self.tasks.spawn(sending.instrument(span));
                }
                Err(error) => {
                    for item in group {
                        let _ = item.outcome.send(Err(error.clone()));
                    }
                }
            }
            // A few files each would spend the budget's burst on little.
            if !lane.urgent && self.lanes.waiting(&lane) < self.limits.group_files {
                self.client.budget().space().await;
            }
            if self.lanes.is_done(&lane) {
                return;
            }
        }
    }

    /// A connection, and then the turn to ask for a node.
    async fn turn(&self, lane: Lane) -> Result<(Connection, Turn), Error> {
        let connection = self.connections(lane).wait().await?;
        let turn = self.client.turn(lane.scope(), UPLOAD_NODE).await?;
        Ok((connection, turn))
    }

    fn take_group(&self, lane: Lane) -> Vec<Item> {
        let mut bytes = 0;
        self.lanes.take(&lane, |group, item| {
            if item.cancel.is_cancelled() || item.outcome.is_closed() {
                return Fit::Drop;
            }
            let size = item.expected.size;
            // Two files of one name in one report could not be told apart.
            let clashes = group
                .iter()
                .any(|other| other.expected.name == item.expected.name);
            let too_large = !group.is_empty() && bytes + size > self.limits.group_bytes;
            if clashes || too_large || group.len() >= self.limits.group_files {
                return Fit::Stop;
            }
            bytes += size;
            Fit::Take
        })
    }

    /// Sends a group, again on other nodes as long as that helps. Each member
    /// succeeds or fails by itself.
    async fn send_group(
        self: Arc<Self>,
        lane: Lane,
        group: Vec<Item>,
        node: Node,
        connection: Connection,
    ) {
        // Groups still to send; a refused one is cut in halves, so that one
        // bad member does not fail the others.
        let mut rounds = VecDeque::from([(group, ATTEMPTS)]);
        let mut hiccups = HICCUPS;
        let mut node = Some(node);
        let mut ended = "ok";
        while let Some((items, attempts)) = rounds.pop_front() {
            let taken = match node.take() {
                Some(node) => Ok(node),
                None => self.client.upload_node(lane.scope()).await,
            };
            let outcome = match taken {
                Ok(node) => self.send_once(lane, &items, &node).await,
                Err(error) => Err(error),
            };
            let was_wrong = matches!(&outcome, Ok(outcome) if !outcome.wrong.is_empty());
            let (again, error) = match outcome {
                Ok(outcome) => (self.settle(items, outcome, attempts).await, None),
                Err(error) => (items, Some(error)),
            };
            if again.is_empty() {
                continue;
            }
            // What may be stored is not sent twice.
            let may_repeat = error
                .as_ref()
                .is_none_or(|error| !error.is_unresolved() && worth_a_repeat(error.kind()));
            if error.as_ref().is_some_and(|error| is_refusal(error.kind())) && again.len() > 1 {
                let mut left = again;
                let right = left.split_off(left.len() / 2);
                rounds.push_back((left, attempts));
                rounds.push_back((right, attempts));
            } else if hiccups > 0 && error.as_ref().is_some_and(|e| e.kind() == Kind::Node) {
                tracing::info!(files = again.len(), ?error, "another node is tried");
                hiccups -= 1;
                rounds.push_back((again, attempts));
            } else if may_repeat && attempts > 1 {
                tracing::info!(
                    files = again.len(),
                    ?error,
                    "sending an upload again on another node"
                );
                rounds.push_back((again, attempts - 1));
            } else {
                let error = error.unwrap_or_else(|| match was_wrong {
                    true => corrupt("1Fichier did not store what was sent"),
                    false => not_shown(),
                });
                ended = error.kind().as_str();
                for item in again {
                    let error = error.clone();
                    let error = if item.lost { error.unresolved() } else { error };
                    let _ = item.outcome.send(Err(error));
                }
            }
        }
        drop(connection);
        spans::ended(&Span::current(), ended);
    }

    async fn send_once(&self, lane: Lane, items: &[Item], node: &Node) -> Result<Outcome, Error> {
        let parts = items
            .iter()
            .map(|item| Part {
                name: item.expected.name.clone(),
                content: item.content.content(),
            })
            .collect();
        let expected: Vec<_> = items.iter().map(|item| item.expected.clone()).collect();
        let sent = self
            .client
            .send_files(node, lane.folder, parts, None, Arc::default())
            .await;
        self.resolve(lane, node, sent, &expected).await
    }

    /// From the answer of the node to the stored files.
    async fn resolve(
        &self,
        lane: Lane,
        node: &Node,
        sent: Result<Emission, Error>,
        expected: &[Expected],
    ) -> Result<Outcome, Error> {
        let (emission, lost) = match sent {
            Ok(emission) => (emission, false),
            // Perhaps stored: ask before anything is sent twice ([API §E5]).
            Err(error) if error.outcome_unknown() => {
                tracing::info!(%error, "the answer to an upload was lost; asking for its report");
                (self.client.emission_of(node), true)
            }
            Err(error) => return Err(error),
        };
        report::find(
            &self.client,
            lane.scope(),
            &emission,
            lane.folder,
            expected,
            lost,
        )
        .await
        .inspect(|outcome| {
            let wrong = outcome.wrong.len() as u64;
            self.stored_wrong.fetch_add(wrong, Ordering::Relaxed);
        })
        .map_err(Error::unresolved)
    }

    /// Tells the members that are stored, removes what is not as it should be,
    /// and returns the members to send again.
    async fn settle(&self, items: Vec<Item>, outcome: Outcome, attempts: u32) -> Vec<Item> {
        let Outcome {
            matched,
            wrong,
            surplus,
            lost,
        } = outcome;
        let mut again = Vec::new();
        let renamed: Vec<_> = surplus
            .iter()
            .map(|stored| stored.whirlpool.clone())
            .collect();
        for (mut item, found) in items.into_iter().zip(matched) {
            match found {
                Some(file) => {
                    let _ = item.outcome.send(Ok(Uploaded {
                        file,
                        perhaps_twice: item.lost,
                    }));
                }
                None if renamed.contains(&item.expected.whirlpool) => {
                    let text = format!(
                        "1Fichier stored {:?} under another name",
                        item.expected.name
                    );
                    let _ = item
                        .outcome
                        .send(Err(Error::new("end.pl", Kind::Name, text)));
                }
                None => {
                    item.lost |= lost;
                    again.push(item);
                }
            }
        }
        if !wrong.is_empty() {
            tracing::warn!(
                files = wrong.len(),
                attempts,
                "1Fichier stored another content than was sent"
            );
        }
        self.discard(wrong.into_iter().map(|(_, stored)| stored).chain(surplus))
            .await;
        again
    }

    /// Removes what an upload should not have left. A failure is only logged:
    /// the upload itself is decided.
    async fn discard(&self, files: impl Iterator<Item = StoredFile>) {
        let mut urls: Vec<_> = files.map(|stored| stored.url).collect();
        urls.sort_unstable();
        urls.dedup();
        for batch in urls.chunks(BATCH) {
            let scope = Scope::new(Priority::Delete);
            let mut outcome = self.client.remove_files(scope, batch).await;
            for seconds in [1, 2, 4] {
                match &outcome {
                    Err(error) if error.outcome_unknown() => {}
                    _ => break,
                }
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                outcome = match self.client.remove_files(scope, batch).await {
                    // The call whose answer was lost did it.
                    Err(error) if error.kind() == Kind::NotFound => return,
                    outcome => outcome,
                };
            }
            if let Err(error) = outcome {
                tracing::error!(%error, files = batch.len(), "a bad copy could not be removed");
            }
        }
    }

    /// Begins an upload that streams straight to a node. `None` when all
    /// connections are busy: then the content has to be buffered. Where nothing
    /// is buffered it waits for a connection.
    ///
    /// # Errors
    /// When no node or, for half an hour, no connection can be had.
    pub async fn stream(
        self: &Arc<Self>,
        scope: Scope,
        folder: i64,
        name: &str,
        size: u64,
    ) -> Result<Option<Streaming>, Error> {
        let lane = Lane::of(scope, folder);
        let connections = self.connections(lane);
        let connection = match connections.take() {
            Some(connection) => connection,
            None if self.limits.spool == SpoolPolicy::Never => connections.wait().await?,
            None => return Ok(None),
        };
        let node = self
            .client
            .upload_node(scope.with_priority(Priority::Upload))
            .await?;
        let (chunks, receiver) = mpsc::channel::<Bytes>(PIPE);
        let (gate, gated) = oneshot::channel();
        let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver)
            .map(Ok)
            .boxed();
        let part = Part {
            name: name.to_owned(),
            content: Content {
                size,
                open: Box::new(move || receiver),
            },
        };
        let span = spans::upload_group(1, size);
        let sending = {
            let (client, node) = (Arc::clone(&self.client), node.clone());
            async move {
                client
                    .send_files(
                        &node,
                        folder,
                        vec![part],
                        Some(gated),
                        Arc::new(AtomicU64::new(0)),
                    )
                    .await
            }
        };
        let task = tokio::spawn(sending.instrument(span.clone()));
        Ok(Some(Streaming {
            uploads: Arc::clone(self),
            lane,
            node,
            chunks: Some(chunks),
            gate,
            task: AbortOnDropHandle::new(task),
            connection: Some(connection),
            span,
        }))
    }
}

/// An upload on its way. Dropping it cuts the request off: nothing is stored.
#[derive(Debug)]
pub struct Streaming {
    uploads: Arc<Uploads>,
    lane: Lane,
    node: Node,
    chunks: Option<mpsc::Sender<Bytes>>,
    gate: oneshot::Sender<()>,
    task: AbortOnDropHandle<Result<Emission, Error>>,
    connection: Option<Connection>,
    span: Span,
}

impl Streaming {
    /// Sends the next bytes; waits while the node is slow.
    ///
    /// # Errors
    /// When the node does not take them any more. Nothing is stored then.
    pub async fn send(&mut self, data: Bytes) -> Result<(), Error> {
        if let Some(chunks) = &self.chunks
            && chunks.send(data).await.is_ok()
        {
            return Ok(());
        }
        match (&mut self.task).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Err(Error::new(
                "upload.cgi",
                Kind::Node,
                "the node answered before all was sent",
            )),
            Err(_) => Err(stopped()),
        }
    }

    /// Only the end of the request is left, and another write is waited for
    /// before it may go. That one may need a connection itself: this one does
    /// not count any more.
    pub fn lend_connection(&mut self) {
        self.connection = None;
    }

    /// Lets the end of the request go, and waits until the file is stored and
    /// verified. From here on the upload cannot be taken back.
    ///
    /// # Errors
    /// When 1Fichier did not store exactly this content.
    pub async fn commit(self, expected: Expected) -> Result<StoredFile, Error> {
        let span = self.span.clone();
        let stored = self.finish(expected).instrument(span.clone()).await;
        let ended = stored.as_ref().err().map_or("ok", |e| e.kind().as_str());
        spans::ended(&span, ended);
        stored
    }

    async fn finish(mut self, expected: Expected) -> Result<StoredFile, Error> {
        self.chunks = None;
        let _ = self.gate.send(());
        let sent = self.task.await.map_err(|_| stopped())?;
        let outcome = self
            .uploads
            .resolve(self.lane, &self.node, sent, std::slice::from_ref(&expected))
            .await?;
        let Outcome {
            mut matched,
            wrong,
            surplus,
            lost,
        } = outcome;
        let was_wrong = !wrong.is_empty();
        let was_renamed = surplus
            .iter()
            .any(|stored| stored.whirlpool == expected.whirlpool);
        self.uploads
            .discard(wrong.into_iter().map(|(_, stored)| stored).chain(surplus))
            .await;
        match matched.pop().flatten() {
            Some(stored) => Ok(stored),
            None if was_wrong => Err(corrupt(
                "1Fichier stored another content than was sent; it was removed",
            )),
            None if was_renamed => Err(Error::new(
                "end.pl",
                Kind::Name,
                format!("1Fichier stored {:?} under another name", expected.name),
            )),
            None if lost => Err(not_shown().unresolved()),
            None => Err(not_shown()),
        }
    }
}

fn stopped() -> Error {
    Error::new("upload.cgi", Kind::NotSent, "the server is stopping")
}

/// Neither the report nor the listing shows it: a repeat may help.
fn not_shown() -> Error {
    Error::new(
        "end.pl",
        Kind::Node,
        "1Fichier does not show the uploaded file",
    )
}

fn corrupt(text: &str) -> Error {
    Error::new("end.pl", Kind::Corrupt, text)
}

/// A refusal that only one member of a group may have caused.
fn is_refusal(kind: Kind) -> bool {
    matches!(kind, Kind::Refused | Kind::Name)
}

/// What another node may take. An unknown refusal is tried on three nodes
/// before it counts ([API §J33]).
fn worth_a_repeat(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Node | Kind::NotSent | Kind::Server | Kind::Broken | Kind::Malformed | Kind::Refused
    )
}
