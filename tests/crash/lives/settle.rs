//! After a start: does the account hold what it should, and does the server say
//! so?

use std::time::Duration;

use futures::future::join_all;
use pluton_fichier::proto::*;
use tokio::time::Instant;

use super::{Lives, tell};
use crate::expected::{Node, Problem, Tree, Wrong};
use crate::history;
use crate::look::look_through;
use crate::operation::Client;
use crate::others::{self, Others};
use crate::shared::with;

/// How long the server's word is waited for that it has cleared up.
const PATIENCE: Duration = Duration::from_secs(2);

impl Lives {
    /// Waits until the account and the server agree with what is known. False
    /// if that does not happen in time: what was wrong is noted, and those whom
    /// it concerns begin anew.
    pub(super) async fn settled(&mut self, client: &Client) -> bool {
        let begin = Instant::now();
        let mut patience = self.kinds.recovery;
        if !self.weather.lag().is_zero() {
            patience += self.kinds.late;
        }
        // What it cannot find out now it looks for again minutes later: that
        // must not show.
        while self.unfinished(client).await > 0 && begin.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.left += self.unfinished(client).await;
        loop {
            if let Some(others) = &self.others {
                with(others, Others::work);
            }
            let looked = Instant::now();
            let problems = match self.look(client).await {
                Ok(trees) => {
                    let took = begin.elapsed();
                    self.late += u64::from(took > self.kinds.recovery);
                    self.longest_recovery = self.longest_recovery.max(took);
                    for (owner, tree) in self.clients_mut().zip(trees) {
                        owner.settle(tree);
                    }
                    for shared in &mut self.shared {
                        shared.was_right(looked);
                    }
                    return true;
                }
                Err(problems) => problems,
            };
            if begin.elapsed() < patience {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            for (at, problem) in problems {
                self.give_up(at, problem);
            }
            return false;
        }
    }

    /// Notes what is wrong with a client's files; it begins anew.
    fn give_up(&mut self, at: Option<usize>, problem: Problem) {
        let Some(at) = at else {
            self.report.problem(problem);
            return;
        };
        let log = self.log();
        let path = problem.what.split('"').nth(1).unwrap_or_default();
        println!("{}", history::of(path, &self.control, &self.deaths, &log));
        let clients = self.owners.len();
        let owner = match at.checked_sub(clients) {
            None => &mut self.owners[at],
            Some(at) => &mut self.shared[at].owner,
        };
        tell(owner);
        let what = match owner.pending.take() {
            Some(sent) => format!("{} (in flight: {:?})", problem.what, sent.operation),
            None => problem.what,
        };
        match at.checked_sub(clients) {
            None => self.owners[at].begin_anew(),
            Some(at) => self.shared[at].begin_anew(),
        }
        self.report.problem(Problem { what, ..problem });
    }

    /// One look at everything: what each client has, or what is wrong with
    /// whose.
    async fn look(&self, client: &Client) -> Result<Vec<Tree>, Vec<(Option<usize>, Problem)>> {
        let held = self.held();
        let mut wrong = Vec::new();
        let mut trees = Vec::new();
        for (at, owner) in self.clients().enumerate() {
            let below = below(&held, &owner.root());
            match owner.expected.compare(below, &owner.past) {
                Ok(tree) => trees.push(tree),
                Err(problems) => {
                    wrong.extend(problems.into_iter().map(|problem| (Some(at), problem)))
                }
            }
        }
        for (path, _) in &held {
            let known = ["client", "shared", others::FOLDER];
            if !known.iter().any(|known| path.starts_with(known)) {
                wrong.push((
                    None,
                    Wrong::Stray.at(format!("{path:?} is where nobody put it")),
                ));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let memory = self.owners.iter().map(|_| (true, false)).chain(
            self.shared
                .iter()
                .map(|shared| (shared.is_listed(), shared.is_stale())),
        );
        // A listing that lagged after a kill is remembered, too.
        let lags = !self.weather.lag().is_zero();
        let memory = memory.map(|(may_list, is_old)| (may_list, is_old || lags));
        let looks = self.clients().zip(&trees).zip(memory).map(
            async |((owner, tree), (may_list, is_old))| {
                if may_list {
                    look_through(client, owner.root(), tree, is_old).await
                } else {
                    Ok(())
                }
            },
        );
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
        self.control.tree().into_iter().map(others::known).collect()
    }
}

fn below(held: &[(String, Node)], root: &str) -> Vec<(String, Node)> {
    let prefix = format!("{root}/");
    let is_below = |path: &str| path == root || path.starts_with(&prefix);
    held.iter()
        .filter(|(path, _)| is_below(path))
        .cloned()
        .collect()
}
