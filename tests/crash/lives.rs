//! One life after the other: start, look at what is there, work, die.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use pluton_fichier::emulator::{self, Control, DEMO_API_KEY, Emulator, Fault, FaultKind, NodeKind};
use pluton_fichier::proto::*;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::client::Owner;
use crate::expected::{Node, Problem, Tree, Wrong};
use crate::history;
use crate::look::look_through;
use crate::operation::Client;
use crate::program::Program;

const CLIENTS: usize = 6;
/// Calls a second in the lives that keep limits.
const SLOW: u32 = 3;
/// How long the server's word is waited for that it has cleared up.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many problems are enough to look into.
const HOPELESS: usize = 12;

/// An account, and all that happens to it.
pub(crate) struct Lives {
    emulator: Emulator,
    control: Control,
    home: TempDir,
    random: Rng,
    recovery: Duration,
    owners: Vec<Owner>,
    kills: u64,
    deaths: Vec<Instant>,
    in_flight: BTreeMap<&'static str, u64>,
    repeated: u64,
    longest_recovery: Duration,
    /// Writes that were still looked after when all was as it should be.
    left: i64,
    problems: Vec<(u64, Problem)>,
}

impl Lives {
    pub(crate) async fn new(seed: u64, recovery: u64) -> Self {
        let options = emulator::Options {
            limits: emulator::Limits::none(),
            seed,
            ..emulator::Options::default()
        };
        let emulator = Emulator::start(options).await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("key");
        std::fs::write(&key, DEMO_API_KEY).unwrap();
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        Self {
            control: emulator.control(),
            emulator,
            home,
            random: Rng::with_seed(seed),
            recovery: Duration::from_secs(recovery),
            owners: (0..CLIENTS)
                .map(|number| Owner::new(number, seed))
                .collect(),
            kills: 0,
            deaths: Vec::new(),
            in_flight: BTreeMap::new(),
            repeated: 0,
            longest_recovery: Duration::ZERO,
            left: 0,
            problems: Vec::new(),
        }
    }

    /// From one start to the next kill.
    pub(crate) async fn lead(&mut self) {
        let slow = self.random.u8(..12) == 0;
        let mut program = self.start(if slow { SLOW } else { 0 }).await;
        let client = program.connect().await;
        // Some clients come back at once, while the server clears up.
        let impatient = self.random.bool();
        // Under the limits repeats take long.
        let cut_short = slow || self.random.u8(..5) == 0;
        if impatient || cut_short {
            let moment = self.random.u64(..150);
            let die = cut_short.then(|| Duration::from_millis(moment));
            let dead = self.repeat(&client, &mut program, die).await;
            if dead {
                self.count_kill();
                return;
            }
        }
        // Under the limits a look at everything takes minutes: the next life has
        // it. Clients that wait for an answer wait on.
        if !slow && !self.settled(&client).await {
            program.kill().await;
            self.count_kill();
            return;
        }
        self.trouble();
        let killed = Arc::new(AtomicBool::new(false));
        let working = self.owners.drain(..).map(|owner| {
            let (client, killed) = (client.clone(), Arc::clone(&killed));
            tokio::spawn(async move { owner.work(client, &killed).await })
        });
        let working: Vec<_> = working.collect();
        tokio::time::sleep(moment(&mut self.random)).await;
        killed.store(true, Ordering::Relaxed);
        let alive = program.is_alive();
        program.kill().await;
        for owner in join_all(working).await {
            self.owners.push(owner.unwrap());
        }
        self.count_kill();
        if !alive {
            self.problem(Wrong::Refused.at("the server ended by itself"));
        }
        for owner in &self.owners {
            if let Some(pending) = &owner.pending {
                *self.in_flight.entry(pending.name()).or_default() += 1;
            }
        }
        self.gather();
    }

    /// The last start: all must be right, and is not disturbed any more.
    pub(crate) async fn end(&mut self) {
        let program = self.start(0).await;
        let client = program.connect().await;
        self.settled(&client).await;
    }

    async fn start(&mut self, calls_per_second: u32) -> Program {
        self.control.clear_faults();
        // What shows later than at the start is looked for minutes later.
        tokio::time::sleep(self.control.behaviour().index_delay).await;
        self.control
            .set_behaviour(|play| play.index_delay = Duration::ZERO);
        let program =
            Program::start(self.home.path(), &self.emulator.api_url(), calls_per_second).await;
        // What was buffered is of no use any more.
        let left = std::fs::read_dir(self.home.path().join("state/spool")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        if !left.is_empty() {
            self.problem(Wrong::Stray.at(format!("buffers are left: {left:?}")));
        }
        program
    }

    /// What had no answer is asked for again. Whether the server is to die
    /// now, because its time came meanwhile.
    async fn repeat(
        &mut self,
        client: &Client,
        program: &mut Program,
        die: Option<Duration>,
    ) -> bool {
        let killed = Arc::new(AtomicBool::new(false));
        self.repeated += self
            .owners
            .iter()
            .filter(|owner| owner.pending.is_some())
            .count() as u64;
        let repeats: Vec<_> = self
            .owners
            .drain(..)
            .map(|owner| {
                let (client, killed) = (client.clone(), Arc::clone(&killed));
                tokio::spawn(async move { owner.repeat(client, &killed).await })
            })
            .collect();
        if let Some(moment) = die {
            tokio::time::sleep(moment).await;
            killed.store(true, Ordering::Relaxed);
            program.kill().await;
        }
        for owner in join_all(repeats).await {
            self.owners.push(owner.unwrap());
        }
        self.gather();
        die.is_some()
    }

    fn count_kill(&mut self) {
        self.kills += 1;
        self.deaths.push(Instant::now());
    }

    /// Index delays, resets, refusals of nodes: for the load only.
    fn trouble(&mut self) {
        match self.random.u8(..6) {
            0 => {
                let delay = Duration::from_millis(self.random.u64(50..600));
                self.control.set_behaviour(|play| play.index_delay = delay);
            }
            1 | 2 => {
                let kinds = [
                    FaultKind::ResetAfterEffect,
                    FaultKind::ResetBeforeAnswer,
                    FaultKind::Status(503),
                    FaultKind::EmptyBody,
                    FaultKind::Delay(Duration::from_millis(100)),
                ];
                for endpoint in ["file/*", "folder/*", "upload.cgi", "end.pl", "download"] {
                    let kind = kinds[self.random.usize(..kinds.len())].clone();
                    self.control.inject(Fault {
                        endpoint: endpoint.to_owned(),
                        skip: self.random.u32(..6),
                        times: 1,
                        kind,
                    });
                }
            }
            _ => {}
        }
    }

    /// Waits until the account and the server agree with what is known. False
    /// if that does not happen in time: what was wrong is noted, and those whom
    /// it concerns begin anew.
    async fn settled(&mut self, client: &Client) -> bool {
        let begin = Instant::now();
        // What it cannot find out now it looks for again minutes later: that
        // must not show.
        while self.unfinished(client).await > 0 && begin.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.left += self.unfinished(client).await;
        loop {
            let wrong = self.look(client).await;
            let problems = match wrong {
                Ok(trees) => {
                    self.longest_recovery = self.longest_recovery.max(begin.elapsed());
                    for (owner, tree) in self.owners.iter_mut().zip(trees) {
                        owner.settle(tree);
                    }
                    return true;
                }
                Err(problems) => problems,
            };
            if begin.elapsed() < self.recovery {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            for (owner, problem) in problems {
                match owner {
                    Some(at) => {
                        let log = self.home.path().join("log");
                        let path = problem.what.split('"').nth(1).unwrap_or_default();
                        println!("{}", history::of(path, &self.control, &self.deaths, &log));
                        let owner = &mut self.owners[at];
                        let what = match owner.pending.take() {
                            Some(pending) => format!(
                                "{} (in flight: {pending:?}, last repeat: {})",
                                problem.what, owner.repeated
                            ),
                            None => problem.what,
                        };
                        owner.begin_anew();
                        self.problem(Problem { what, ..problem });
                    }
                    None => self.problem(problem),
                }
            }
            return false;
        }
    }

    /// One look at everything: what each client has, or what is wrong with
    /// whose.
    async fn look(&self, client: &Client) -> Result<Vec<Tree>, Vec<(Option<usize>, Problem)>> {
        let held = self.held();
        let mut wrong = Vec::new();
        let mut trees = Vec::new();
        for (at, owner) in self.owners.iter().enumerate() {
            match owner.expected.compare(below(&held, &owner.root())) {
                Ok(tree) => trees.push(tree),
                Err(problems) => {
                    wrong.extend(problems.into_iter().map(|problem| (Some(at), problem)))
                }
            }
        }
        for (path, _) in &held {
            if !path.starts_with("client") {
                wrong.push((
                    None,
                    Wrong::Stray.at(format!("{path:?} is where nobody put it")),
                ));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let looks = self
            .owners
            .iter()
            .zip(&trees)
            .map(|(owner, tree)| look_through(client, owner.root(), tree));
        for (at, outcome) in join_all(looks).await.into_iter().enumerate() {
            if let Err(problem) = outcome {
                wrong.push((Some(at), problem));
            }
        }
        if wrong.is_empty() {
            Ok(trees)
        } else {
            Err(wrong)
        }
    }

    /// Writes of earlier lives that the server still looks after.
    async fn unfinished(&self, client: &Client) -> i64 {
        let request = GetActivityRequest::default();
        match client.clone().get_activity(request).await {
            Ok(answer) => {
                answer
                    .into_inner()
                    .catalog
                    .unwrap_or_default()
                    .unfinished_writes
            }
            // It cannot be asked.
            Err(_) => 1,
        }
    }

    /// All that the account holds.
    fn held(&self) -> Vec<(String, Node)> {
        let nodes = self.control.tree().into_iter().map(|node| {
            let what = match node.kind {
                NodeKind::Folder => Node::Directory,
                NodeKind::File => Node::File {
                    size: node.size,
                    whirlpool: node.whirlpool,
                },
            };
            (node.path, what)
        });
        nodes.collect()
    }

    fn gather(&mut self) {
        let mut anew = Vec::new();
        for owner in &mut self.owners {
            if !owner.problems.is_empty() {
                anew.append(&mut owner.problems);
                owner.begin_anew();
            }
        }
        for problem in anew {
            self.problem(problem);
        }
    }

    fn problem(&mut self, problem: Problem) {
        println!("after {} kills: {problem}", self.kills);
        self.problems.push((self.kills, problem));
    }

    pub(crate) fn is_hopeless(&self) -> bool {
        self.problems.len() >= HOPELESS
    }

    fn acknowledged(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (name, count) in self.owners.iter().flat_map(|owner| &owner.acknowledged) {
            *all.entry(*name).or_default() += count;
        }
        all
    }

    pub(crate) fn did_something(&self) -> bool {
        let acknowledged: u64 = self.acknowledged().values().sum();
        let in_flight: u64 = self.in_flight.values().sum();
        acknowledged > 10 * self.kills && in_flight > self.kills
    }

    pub(crate) fn summary(&self) -> String {
        let counted = |counts: &BTreeMap<&'static str, u64>| {
            let all: u64 = counts.values().sum();
            let each: Vec<_> = counts
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            format!("{all} ({})", each.join(", "))
        };
        let wrong = |wrong: Wrong| {
            let found = self
                .problems
                .iter()
                .filter(|(_, problem)| problem.wrong == wrong);
            found.count()
        };
        format!(
            "{} kills; acknowledged {}; in flight when killed {}; repeated {}; \
             longest recovery {:.1} s, {} looked after for longer\n\
             lost {}, duplicated {}, corrupt {}, stray {}, untrue {}, wrongly refused {}",
            self.kills,
            counted(&self.acknowledged()),
            counted(&self.in_flight),
            self.repeated,
            self.longest_recovery.as_secs_f64(),
            self.left,
            wrong(Wrong::Lost),
            wrong(Wrong::Duplicated),
            wrong(Wrong::Corrupt),
            wrong(Wrong::Stray),
            wrong(Wrong::Untrue),
            wrong(Wrong::Refused),
        )
    }

    pub(crate) fn assert_nothing_wrong(&self, seed: u64) {
        if self.problems.is_empty() {
            return;
        }
        let told: Vec<_> = self
            .problems
            .iter()
            .map(|(kills, problem)| format!("after {kills} kills: {problem}"))
            .collect();
        panic!(
            "CRASH_SEED={seed}: {} problems\n{}\nlog of the server:\n{}",
            told.len(),
            told.join("\n"),
            tail(&self.home.path().join("log"))
        );
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// When it dies: soon after the start as often as late.
fn moment(random: &mut Rng) -> Duration {
    let most = [30, 200, 1_000][random.usize(..3)];
    Duration::from_millis(random.u64(3..most))
}

fn below(held: &[(String, Node)], root: &str) -> Vec<(String, Node)> {
    let prefix = format!("{root}/");
    let is_below = |path: &str| path == root || path.starts_with(&prefix);
    held.iter()
        .filter(|(path, _)| is_below(path))
        .cloned()
        .collect()
}
