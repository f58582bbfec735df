//! A client with paths of its own, one request after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use futures::TryStreamExt;
use pluton_fichier::proto::get_response::Payload;
use pluton_fichier::proto::*;
use tokio::time::Instant;
use tonic::Status;
use tonic_types::StatusExt;

use crate::bold::bold;
use crate::expected::{Expected, Node, Past, Problem, Tree, Wrong};
use crate::operation::{Answer, Client, Operation, whirlpool};

/// What one client knows: this and nothing else is what it was told.
pub(crate) struct Owner {
    prefix: &'static str,
    number: usize,
    /// Begins anew, elsewhere, when something went wrong.
    generation: u32,
    pub(crate) random: Rng,
    pub(crate) expected: Expected,
    /// All that its paths have held.
    pub(crate) past: Past,
    /// Sent, and not answered.
    pub(crate) pending: Option<Sent>,
    /// The last one that was acknowledged.
    last: Option<Operation>,
    pub(crate) acknowledged: BTreeMap<&'static str, u64>,
    /// How often it went on without knowing.
    pub(crate) bold: u64,
    /// No fault is made at present: the server cannot blame 1Fichier.
    pub(crate) is_calm: bool,
    pub(crate) problems: Vec<Problem>,
    /// The last things that happened to its files, for people.
    diary: VecDeque<(Instant, String)>,
}

/// So much of the diary is enough.
const PAGES: usize = 40;

/// A request on its way, and what is there once it was done.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) operation: Operation,
    done: Expected,
}

/// How a client's turn ended.
pub(crate) enum Turn {
    Done,
    /// No answer, or one that leaves the outcome open.
    Unanswered,
}

impl Owner {
    pub(crate) fn new(prefix: &'static str, number: usize, seed: u64) -> Self {
        let seed = prefix.bytes().fold(seed ^ number as u64, |seed, byte| {
            seed.rotate_left(8) ^ u64::from(byte)
        });
        Self {
            prefix,
            number,
            generation: 0,
            random: Rng::with_seed(seed),
            expected: Expected::certain(Tree::new()),
            past: Past::default(),
            pending: None,
            last: None,
            acknowledged: BTreeMap::new(),
            bold: 0,
            is_calm: true,
            problems: Vec::new(),
            diary: VecDeque::new(),
        }
    }

    /// The directory that is this client's alone.
    pub(crate) fn root(&self) -> String {
        format!("{}{}-{}", self.prefix, self.number, self.generation)
    }

    /// Forgets all, and goes on elsewhere.
    pub(crate) fn begin_anew(&mut self) {
        self.generation += 1;
        self.expected = Expected::certain(Tree::new());
        self.past = Past::default();
        self.pending = None;
        self.last = None;
    }

    /// Notes what happened.
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        if self.diary.len() == PAGES {
            self.diary.pop_front();
        }
        self.diary.push_back((Instant::now(), what.into()));
    }

    /// What happened lately.
    pub(crate) fn diary(&self) -> &VecDeque<(Instant, String)> {
        &self.diary
    }

    /// What it knows for certain now.
    pub(crate) fn settle(&mut self, tree: Tree) {
        self.past.add(&tree);
        self.expected = Expected::certain(tree);
        self.pending = None;
    }

    /// Whether it knows what it has: what is not settled is not built upon.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_none() && self.expected.only().is_some()
    }

    /// Asks for one thing after the other until the server is gone.
    pub(crate) async fn work(mut self, client: Client, killed: &AtomicBool) -> Self {
        while self.is_settled() && !killed.load(Ordering::Relaxed) {
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

    /// Sends what had no answer once more, as clients do, with the same id; or
    /// goes on as if it had never been sent, `bold`ly, after this time.
    pub(crate) async fn come_back(
        mut self,
        client: Client,
        killed: &AtomicBool,
        bold: Option<Duration>,
    ) -> Self {
        let open = self.pending.clone();
        if let (Some(wait), Some(sent)) = (bold, open) {
            tokio::time::sleep(wait).await;
            if self.go_on(&client, killed, &sent.operation).await {
                return self;
            }
        }
        self.repeat(&client, killed).await;
        self
    }

    /// Whether there was something to do that builds on what is not known.
    async fn go_on(&mut self, client: &Client, killed: &AtomicBool, open: &Operation) -> bool {
        let root = self.root();
        let Some(next) = bold(&mut self.random, open, &self.expected, &root) else {
            return false;
        };
        self.bold += 1;
        self.note("goes on without an answer");
        self.perform(client, next, killed).await;
        true
    }

    async fn repeat(&mut self, client: &Client, killed: &AtomicBool) {
        if let Some(sent) = self.pending.clone() {
            let answered = sent.operation.send(client).await;
            self.note(format!("repeat: {}", outcome(&sent.operation, &answered)));
            match answered {
                Ok(_) => self.acknowledge(sent),
                // What had been done is found done.
                Err(status) if self.is_open(&status) => {}
                Err(status) if reason(&status).ends_with("_NOT_FOUND") => {}
                // A directory that had been moved is in the way of a move.
                Err(status) if reason(&status) == "ENTRY_EXISTS" => {}
                Err(status) if self.may_refuse(&sent.operation, &status) => {}
                Err(status) => self.refused(&sent.operation, &status, killed),
            }
        } else if let Some(operation) = self.last.clone().filter(Operation::is_replayable) {
            match operation.send(client).await {
                Ok(answer) if answer.replayed => {}
                Ok(_) => self
                    .problems
                    .push(Wrong::Refused.at(format!("{operation:?} was not replayed"))),
                Err(status) if self.is_open(&status) => {}
                Err(status) => self.refused(&operation, &status, killed),
            }
        }
    }

    pub(crate) async fn perform(
        &mut self,
        client: &Client,
        operation: Operation,
        killed: &AtomicBool,
    ) -> Turn {
        let before = self.expected.clone();
        let sent = Sent {
            done: before.done(&operation),
            operation,
        };
        self.expected = before.in_flight(&sent.operation);
        for tree in &self.expected.trees {
            self.past.add(tree);
        }
        // What was open before it is never asked for again.
        self.pending = Some(sent.clone());
        self.note(format!("asks for {:?}", sent.operation));
        let answered = sent.operation.send(client).await;
        self.note(outcome(&sent.operation, &answered));
        match answered {
            Ok(answer) => {
                let mut trees = sent.done.trees.iter();
                let told = trees.any(|tree| sent.operation.whirlpool(tree) == answer.whirlpool);
                if !told || answer.replayed {
                    let operation = &sent.operation;
                    self.problems
                        .push(Wrong::Corrupt.at(format!("{operation:?}: {answer:?}")));
                }
                self.acknowledge(sent);
                Turn::Done
            }
            Err(status) if self.is_open(&status) => Turn::Unanswered,
            Err(status) if self.may_refuse(&sent.operation, &status) => {
                // It did nothing.
                self.expected = before;
                self.pending = None;
                Turn::Done
            }
            Err(status) => {
                self.refused(&sent.operation, &status, killed);
                Turn::Unanswered
            }
        }
    }

    fn acknowledge(&mut self, sent: Sent) {
        *self.acknowledged.entry(sent.operation.name()).or_default() += 1;
        self.expected = sent.done;
        self.pending = None;
        self.last = Some(sent.operation);
    }

    /// Whether a refusal is right, by what may be there.
    fn may_refuse(&self, operation: &Operation, status: &Status) -> bool {
        let reason = reason(status);
        let mut trees = self.expected.trees.iter();
        trees.any(|tree| operation.may_be_refused(tree, &reason))
    }

    /// Whether the outcome is not told: no answer of the server, or one that
    /// says to try again. That 1Fichier is not understood is said only if there
    /// is a cause.
    fn is_open(&self, status: &Status) -> bool {
        match reason(status).as_str() {
            "" | "SHUTTING_DOWN" => true,
            "UPSTREAM_PROTOCOL" => !self.is_calm,
            reason => reason.starts_with("UPSTREAM_"),
        }
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
                Node::File { whirlpool, .. } => Some((path, whirlpool)),
                Node::Directory => None,
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
            Err(status) if self.is_open(&status) => Turn::Unanswered,
            Err(_) if killed.load(Ordering::Relaxed) => Turn::Unanswered,
            Err(status) => {
                let what = format!("read {path:?}: {:?} {}", reason(&status), status.message());
                self.problems.push(Wrong::Lost.at(what));
                Turn::Unanswered
            }
        }
    }
}

/// How a request ended, for people.
fn outcome(operation: &Operation, answered: &Result<Answer, Status>) -> String {
    match answered {
        Ok(answer) if answer.replayed => format!("{} done, replayed", operation.name()),
        Ok(_) => format!("{} done", operation.name()),
        Err(status) => format!(
            "{} {:?} {}",
            operation.name(),
            reason(status),
            status.message()
        ),
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
