//! Parts of the tree in which a second program changes what a client wrote,
//! while the server remembers it as it was.
//!
//! The server may remove by memory what it saw less than 30 seconds ago. So a
//! part is written to, left alone for longer than that, changed by the second
//! program, and only then does its client remove, replace and move what it
//! wrote there: by the paths that it knows. Afterwards it goes on elsewhere.
//!
//! What the server itself removed or moved away it takes for gone for minutes,
//! as listings may lag so long; so nothing is removed or moved before the second
//! program comes, which might put it back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use crate::client::{Owner, Turn};
use crate::expected::{Node, Tree};
use crate::operation::{Client, Content, Operation};
use crate::others::Others;

/// Nothing is as fresh that it may be removed on memory alone. Where files
/// landed is asked for after 30 s, and trusted for 30 s more.
const AGE: Duration = Duration::from_secs(62);

/// So a part begins.
const FIRST: Phase = Phase::Filling { left: 12 };

/// What happens to a part now.
enum Phase {
    /// Its client writes so many times more.
    Filling { left: u8 },
    /// It was written to, and is listed so many times more after this time: the
    /// server holds what it wrote itself against listings for minutes, until one
    /// has shown it.
    Written { shown: Instant, looks: u32 },
    /// It is left alone.
    Aging { since: Instant },
    /// The second program has changed it, which shows at this time.
    Changed { shows: Instant },
    /// The client has come back.
    Stale,
}

/// What the server has of a part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// Listings have shown all of it.
    Listed,
    /// What was only just written was changed by the second program: for
    /// minutes the server cannot tell that from listings that lag.
    Unlisted,
}

/// A part of the tree, and its client.
pub(crate) struct Shared {
    pub(crate) owner: Owner,
    phase: Phase,
    memory: Memory,
    /// What its client wrote, as it was before the second program came.
    known: Tree,
    /// How often its client worked on what the second program had changed.
    pub(crate) rounds: u64,
}

/// What the second program is reached by.
pub(crate) type Hand = Arc<Mutex<Others>>;

pub(crate) fn with<T>(others: &Hand, act: impl FnOnce(&mut Others) -> T) -> T {
    act(&mut others.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Shared {
    pub(crate) fn new(number: usize, seed: u64) -> Self {
        Self {
            owner: Owner::new("shared", number, seed),
            phase: FIRST,
            memory: Memory::Listed,
            known: Tree::new(),
            rounds: 0,
        }
    }

    /// Whether the server is to list it now: what is to be remembered as it was
    /// must not be listed meanwhile.
    pub(crate) fn is_listed(&self) -> bool {
        let phase = matches!(
            self.phase,
            Phase::Filling { .. } | Phase::Written { .. } | Phase::Stale
        );
        phase && self.memory == Memory::Listed
    }

    /// The account holds what it should, and if the server has listed the part,
    /// it does not know it otherwise. That began at this time.
    pub(crate) fn was_right(&mut self, begun: Instant) {
        match self.phase {
            Phase::Stale => self.begin_anew(),
            Phase::Written { shown, looks } if begun > shown => {
                let since = Instant::now();
                self.phase = match looks {
                    0 => Phase::Aging { since },
                    _ => Phase::Written {
                        shown,
                        looks: looks - 1,
                    },
                };
            }
            _ => {}
        }
    }

    /// Whether its client works on what a second program has changed.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self.phase, Phase::Stale)
    }

    /// Something went wrong: it begins anew elsewhere.
    pub(crate) fn begin_anew(&mut self) {
        self.owner.begin_anew();
        self.phase = FIRST;
        self.memory = Memory::Listed;
    }

    /// Works until the server is gone.
    pub(crate) async fn work(
        mut self,
        client: Client,
        killed: &AtomicBool,
        others: Hand,
        lag: Duration,
    ) -> Self {
        match self.phase {
            Phase::Filling { .. } if self.owner.is_settled() => {
                self.fill(&client, killed, &others, lag).await
            }
            Phase::Aging { since } if since.elapsed() >= AGE => self.change(&others, lag),
            _ => {}
        }
        if let Phase::Changed { shows } = self.phase
            && shows <= Instant::now()
        {
            self.phase = Phase::Stale;
            self.rounds += 1;
            self.act(&client, killed).await;
        }
        self
    }

    async fn fill(&mut self, client: &Client, killed: &AtomicBool, others: &Hand, lag: Duration) {
        while let Phase::Filling { left } = self.phase
            && left > 0
        {
            let Some(tree) = self.owner.expected.only() else {
                return;
            };
            if killed.load(Ordering::Relaxed) || !self.owner.is_settled() {
                return;
            }
            let root = self.owner.root();
            let operation = loop {
                let operation = Operation::random(&mut self.owner.random, &root, tree);
                if operation.only_adds() {
                    break operation;
                }
            };
            if let Turn::Unanswered = self.owner.perform(client, operation, killed).await {
                return;
            }
            self.phase = Phase::Filling { left: left - 1 };
        }
        let shown = Instant::now() + lag;
        let Some(tree) = self.owner.expected.only() else {
            return;
        };
        self.known = tree.clone();
        // What was only just written may be changed, too, if nobody touches it
        // afterwards.
        self.phase = if self.owner.random.u8(..3) == 0 {
            self.memory = Memory::Unlisted;
            self.disturb(others, lag);
            Phase::Aging { since: shown }
        } else {
            // Twice, as the first look may be lost with the server.
            Phase::Written { shown, looks: 1 }
        };
    }

    /// The second program changes some things. What the server remembers stays.
    fn change(&mut self, others: &Hand, lag: Duration) {
        let late = self.disturb(others, lag);
        let now = Instant::now();
        self.phase = Phase::Changed {
            shows: if late { now + lag } else { now },
        };
    }

    /// Whether what was done shows late.
    fn disturb(&mut self, others: &Hand, lag: Duration) -> bool {
        let Some(tree) = self.owner.expected.only() else {
            return false;
        };
        let mut tree = tree.clone();
        let root = self.owner.root();
        let late = !lag.is_zero() && self.owner.random.bool();
        let count = self.owner.random.u8(1..6);
        let done: Vec<_> = with(others, |others| {
            let mut one = |_| others.disturb(&root, &mut tree, late);
            (0..count).filter_map(&mut one).collect()
        });
        for what in done {
            let how = if late { "late" } else { "at once" };
            self.owner
                .note(format!("another program, seen {how}: {what}"));
        }
        self.owner.settle(tree);
        late
    }

    /// The client asks for what it would have asked for had nothing changed.
    async fn act(&mut self, client: &Client, killed: &AtomicBool) {
        for _ in 0..self.owner.random.u8(1..5) {
            let Some(tree) = self.owner.expected.only().cloned() else {
                return;
            };
            if killed.load(Ordering::Relaxed) || !self.owner.is_settled() {
                return;
            }
            let root = self.owner.root();
            let Some(operation) = stale(&mut self.owner.random, &root, &self.known, &tree) else {
                return;
            };
            // The server may take it for full, as what it put there does not
            // show yet.
            if self.memory == Memory::Unlisted && matches!(operation, Operation::Rmdir { .. }) {
                continue;
            }
            if let Turn::Unanswered = self.owner.perform(client, operation, killed).await {
                return;
            }
        }
    }
}

/// Something that removes, replaces or moves, by paths that were known. What
/// the account holds only says what cannot be asked for without a guess.
fn stale(random: &mut Rng, root: &str, known: &Tree, held: &Tree) -> Option<Operation> {
    let paths = |directories: bool| -> Vec<&String> {
        known
            .iter()
            .filter(|(path, node)| (**node == Node::Directory) == directories && *path != root)
            .map(|(path, _)| path)
            .collect()
    };
    let (files, directories) = (paths(false), paths(true));
    let pick = |random: &mut Rng, of: &[&String]| {
        (!of.is_empty()).then(|| of[random.usize(..of.len())].clone())
    };
    let file = pick(random, &files)?;
    let id = format!("{:016x}", random.u64(..));
    let directory = pick(random, &directories);
    Some(match (random.u8(..12), directory) {
        (0..3, _) => {
            let mut paths = vec![file];
            paths.extend(pick(random, &files));
            paths.sort();
            paths.dedup();
            Operation::Delete { paths }
        }
        (3..5, _) => Operation::Put {
            path: file,
            content: Content::random(random),
            sized: random.bool(),
            pause: Duration::ZERO,
            id,
        },
        (5 | 6, _) => {
            let to = match pick(random, &files)? {
                to if to == file || random.bool() => format!("{root}/n{}.bin", random.u8(..4)),
                to => to,
            };
            Operation::Move { from: file, to, id }
        }
        // A copy may be read from memory: only of what is there still.
        (7, _) if known.get(&file) == held.get(&file) => {
            let to = pick(random, &files).filter(|to| *to != file)?;
            Operation::Copy { from: file, to, id }
        }
        (8 | 9, Some(path)) => Operation::Purge { path },
        (10, Some(from)) => {
            let to = format!("{root}/n{}", random.u16(..));
            (!held.contains_key(&to)).then_some(Operation::MoveDir { from, to, id })?
        }
        (11, Some(path)) => Operation::Rmdir { path },
        _ => Operation::Delete { paths: vec![file] },
    })
}
