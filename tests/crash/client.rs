//! A client with paths of its own, one request after the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use futures::TryStreamExt;
use pluton_fichier::proto::get_response::Payload;
use pluton_fichier::proto::*;
use tonic::Status;
use tonic_types::StatusExt;

use crate::expected::{Expected, Problem, Tree, Wrong};
use crate::operation::{Client, Operation, whirlpool};

/// What one client knows: this and nothing else is what it was told.
pub(crate) struct Owner {
    number: usize,
    /// Begins anew, elsewhere, when something went wrong.
    generation: u32,
    pub(crate) random: Rng,
    pub(crate) expected: Expected,
    /// Sent, and not answered.
    pub(crate) pending: Option<Operation>,
    /// The last one that was acknowledged.
    last: Option<Operation>,
    pub(crate) acknowledged: BTreeMap<&'static str, u64>,
    pub(crate) problems: Vec<Problem>,
    /// How the last repeat ended, for people.
    pub(crate) repeated: String,
}

/// How a client's turn ended.
enum Turn {
    Done,
    /// No answer, or one that leaves the outcome open.
    Unanswered,
}

impl Owner {
    pub(crate) fn new(number: usize, seed: u64) -> Self {
        Self {
            number,
            generation: 0,
            random: Rng::with_seed(seed ^ number as u64),
            expected: Expected::certain(Tree::new()),
            pending: None,
            last: None,
            acknowledged: BTreeMap::new(),
            problems: Vec::new(),
            repeated: String::new(),
        }
    }

    /// The directory that is this client's alone.
    pub(crate) fn root(&self) -> String {
        format!("client{}-{}", self.number, self.generation)
    }

    /// Forgets all, and goes on elsewhere.
    pub(crate) fn begin_anew(&mut self) {
        self.generation += 1;
        self.expected = Expected::certain(Tree::new());
        self.pending = None;
        self.last = None;
    }

    /// What it knows for certain now.
    pub(crate) fn settle(&mut self, tree: Tree) {
        self.expected = Expected::certain(tree);
        self.pending = None;
    }

    /// Asks for one thing after the other until the server is gone.
    pub(crate) async fn work(mut self, client: Client, killed: &AtomicBool) -> Self {
        // What is not settled is not built upon.
        while self.pending.is_none() && !killed.load(Ordering::Relaxed) {
            let turn = if self.random.u8(..5) == 0 {
                self.read(&client, killed).await
            } else {
                let root = self.root();
                let tree = &self.expected.trees[0];
                let operation = Operation::random(&mut self.random, &root, tree);
                self.perform(&client, operation, killed).await
            };
            if matches!(turn, Turn::Unanswered) {
                break;
            }
        }
        self
    }

    /// Sends what had no answer once more, as clients do, with the same id.
    pub(crate) async fn repeat(mut self, client: Client, killed: &AtomicBool) -> Self {
        if let Some(operation) = self.pending.clone() {
            let answered = operation.send(&client).await;
            self.repeated = match &answered {
                Ok(answer) => format!("{answer:?}"),
                Err(status) => format!("{} {}", reason(status), status.message()),
            };
            match answered {
                Ok(_) => {
                    self.expected = Expected::certain(self.expected.trees[1].clone());
                    self.count(&operation);
                    self.pending = None;
                    self.last = Some(operation);
                }
                // What had been done is found done.
                Err(status) if is_open(&status) || reason(&status).ends_with("_NOT_FOUND") => {}
                // A directory that had been moved is in the way of a move.
                Err(status) if reason(&status) == "ENTRY_EXISTS" => {}
                Err(status) => self.refused(&operation, &status, killed),
            }
        } else if let Some(operation) = self.last.clone().filter(Operation::is_replayable) {
            match operation.send(&client).await {
                Ok(answer) if answer.replayed => {}
                Ok(_) => self
                    .problems
                    .push(Wrong::Refused.at(format!("{operation:?} was not replayed"))),
                Err(status) if is_open(&status) => {}
                Err(status) => self.refused(&operation, &status, killed),
            }
        }
        self
    }

    async fn perform(
        &mut self,
        client: &Client,
        operation: Operation,
        killed: &AtomicBool,
    ) -> Turn {
        let before = &self.expected.trees[0];
        let after = operation.after(before);
        self.expected = operation.in_flight(before);
        self.pending = Some(operation.clone());
        match operation.send(client).await {
            Ok(answer) => {
                let wanted = operation.whirlpool(&after);
                if answer.whirlpool != wanted || answer.replayed {
                    self.problems
                        .push(Wrong::Corrupt.at(format!("{operation:?}: {answer:?}")));
                }
                self.settle(after);
                self.count(&operation);
                self.last = Some(operation);
                Turn::Done
            }
            Err(status) if is_open(&status) => Turn::Unanswered,
            Err(status) => {
                self.refused(&operation, &status, killed);
                Turn::Unanswered
            }
        }
    }

    fn count(&mut self, operation: &Operation) {
        *self.acknowledged.entry(operation.name()).or_default() += 1;
    }

    fn refused(&mut self, operation: &Operation, status: &Status, killed: &AtomicBool) {
        if killed.load(Ordering::Relaxed) && reason(status).is_empty() {
            return;
        }
        self.problems.push(Wrong::Refused.at(format!(
            "{operation:?}: {:?} {}",
            reason(status),
            status.message()
        )));
    }

    /// Reads one file that was acknowledged.
    async fn read(&mut self, client: &Client, killed: &AtomicBool) -> Turn {
        let tree = &self.expected.trees[0];
        let files: Vec<_> = tree
            .iter()
            .filter_map(|(path, node)| match node {
                crate::expected::Node::File { whirlpool, .. } => Some((path, whirlpool)),
                crate::expected::Node::Directory => None,
            })
            .collect();
        if files.is_empty() {
            return Turn::Done;
        }
        let (path, wanted) = files[self.random.usize(..files.len())];
        match get(client, path).await {
            Ok(bytes) if whirlpool(&bytes) == *wanted => Turn::Done,
            Ok(bytes) => {
                let what = format!("{path:?} was read as other {} bytes", bytes.len());
                self.problems.push(Wrong::Corrupt.at(what));
                Turn::Done
            }
            Err(status) if is_open(&status) => Turn::Unanswered,
            Err(_) if killed.load(Ordering::Relaxed) => Turn::Unanswered,
            Err(status) => {
                let what = format!("read {path:?}: {:?} {}", reason(&status), status.message());
                self.problems.push(Wrong::Lost.at(what));
                Turn::Unanswered
            }
        }
    }
}

/// Reads a file to its trailer.
pub(crate) async fn get(client: &Client, path: &str) -> Result<Vec<u8>, Status> {
    let request = GetRequest {
        path: path.to_owned(),
        ..GetRequest::default()
    };
    let mut stream = client.clone().get(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(answer) = stream.try_next().await? {
        match answer.payload {
            Some(Payload::Chunk(chunk)) => bytes.extend_from_slice(&chunk.data),
            Some(Payload::Trailer(_)) => return Ok(bytes),
            _ => {}
        }
    }
    Err(Status::unknown("no trailer"))
}

/// The reason of the server's own answers; empty when there is none.
pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

/// Whether the outcome is not told: no answer of the server, or one that says
/// to try again.
fn is_open(status: &Status) -> bool {
    let reason = reason(status);
    reason.is_empty() || reason.starts_with("UPSTREAM_") || reason == "SHUTTING_DOWN"
}
