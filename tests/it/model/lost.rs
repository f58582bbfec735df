//! Requests without an answer, and what clients do that go on all the same.
//!
//! Such a request was done or not; what is acknowledged later counts, whatever
//! shows late of it. So the model has several trees, one of which the account
//! must hold in the end. What is only read meanwhile decides nothing.

use std::time::Duration;

use pluton_fichier::emulator::{Fault, FaultKind};

use super::run::Runner;
use super::step::{Step, Write};
use super::tree::{Outcome, Tree, parent};

/// Steps until it is waited for what became of a request.
const PATIENCE: u32 = 6;
/// A file that was on its way may show for 15 minutes, and what failed is tried
/// again twice as late each time.
const SETTLED: Duration = Duration::from_secs(45 * 60);

/// Whether a request, or one of its targets, has no outcome.
fn is_unavailable(outcome: &Outcome) -> bool {
    let (Ok(text) | Err(text)) = outcome;
    text.contains("UPSTREAM_UNAVAILABLE")
}

/// The directory that a step makes before anything else.
fn made(step: &Step) -> Option<&str> {
    match step {
        Step::Put {
            path,
            parents: true,
            ..
        } => Some(parent(path)),
        Step::Copy { to, .. } | Step::Move { to, .. } | Step::MoveDir { to, .. } => {
            Some(parent(to))
        }
        _ => None,
    }
}

/// Whether it only asks.
fn is_read(step: &Step) -> bool {
    matches!(
        step,
        Step::Get { .. } | Step::Stat { .. } | Step::Hash { .. } | Step::List { .. }
    )
}

impl Runner {
    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether others have gone on for long enough.
    pub(super) fn is_patient(&self) -> bool {
        self.unsettled < PATIENCE
    }

    /// A request whose answer is lost, and everything that could tell after it.
    pub(super) async fn lose(
        &mut self,
        step: &Step,
        effect: bool,
        restart: bool,
    ) -> Result<(), String> {
        let before = self.tree.clone();
        let mut after = before.clone();
        let expected = after.apply(step);
        let calls = step.changing_calls();
        let several = before.files.values().any(|files| files.len() > 1);
        if calls.is_empty() || expected.is_err() || several {
            return Ok(());
        }
        let kind = if effect {
            FaultKind::ResetAfterEffect
        } else {
            FaultKind::ResetBeforeAnswer
        };
        let control = self.world.control.clone();
        let count = move || {
            let all = control.calls();
            calls.iter().map(|call| all.get(call)).sum::<u64>()
        };
        let begun = count();
        for call in calls {
            self.world.fail(call, 1, kind.clone());
        }
        let control = self.world.control.clone();
        let nothing_more = async {
            while count() == begun {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for endpoint in ["v1", "end.pl", "upload.cgi"] {
                control.inject(Fault {
                    endpoint: endpoint.to_owned(),
                    skip: 0,
                    times: u32::MAX,
                    kind: FaultKind::Status(503),
                });
            }
            std::future::pending::<()>().await;
        };
        let got = tokio::select! {
            got = self.act(step) => got,
            () = nothing_more => unreachable!("it is never over"),
        };
        self.world.control.clear_faults();
        if restart {
            self.world.restart().await;
        }
        self.unsettled = 0;
        if got == expected {
            // An older version may still have to go.
            self.open = vec![after];
            return Ok(());
        }
        if !is_unavailable(&got) {
            return Err(format!(
                "{got:?} without an answer of 1Fichier; before it: {before:#?}"
            ));
        }
        let mut parents = before.clone();
        if let Some(directory) = made(step) {
            parents.make_directories(directory);
        }
        self.open = vec![before];
        self.may_hold([parents, after]);
        Ok(())
    }

    fn may_hold(&mut self, trees: impl IntoIterator<Item = Tree>) {
        for tree in trees {
            if !self.open.contains(&tree) {
                self.open.push(tree);
            }
        }
    }

    /// Does a step while it is not known what an earlier one has done.
    pub(super) async fn go_on(&mut self, step: &Step) -> Result<(), String> {
        self.unsettled += 1;
        // What shows late may be one of several that share a path.
        let keeps = |mode: &Write| *mode == Write::KeepBoth;
        let several = match step {
            Step::Put { mode, .. } | Step::Copy { mode, .. } | Step::Move { mode, .. } => {
                keeps(mode)
            }
            Step::OthersPut { .. }
            | Step::OthersRemove { .. }
            | Step::Lost { .. }
            | Step::Dedupe { .. } => true,
            _ => false,
        };
        if several {
            return Ok(());
        }
        // What an ended server had begun would go on in this process.
        let got = match step {
            Step::Crash => self.act(&Step::Restart).await,
            step => self.act(step).await,
        };
        let mut predicted = Vec::new();
        for tree in &self.open {
            let mut tree = tree.clone();
            let outcome = tree.apply(step);
            predicted.push((outcome, tree));
        }
        if is_unavailable(&got) {
            // The first one is in its way, or it has no outcome either.
            self.may_hold(predicted.into_iter().map(|(_, tree)| tree));
            return Ok(());
        }
        let counts = !matches!(step, Step::List { .. } | Step::Purge { .. });
        let fits = |outcome: &Outcome| match counts {
            true => *outcome == got,
            // Of what is half done it may show and remove more or less.
            false => outcome.is_ok() && got.is_ok() || *outcome == got,
        };
        if !predicted.iter().any(|(outcome, _)| fits(outcome)) {
            let outcomes: Vec<_> = predicted.iter().map(|(outcome, _)| outcome).collect();
            return Err(format!(
                "{got:?} instead of one of {outcomes:?}, as 1Fichier may hold {:#?}",
                self.open
            ));
        }
        if got.is_ok() && !is_read(step) {
            let fitting = predicted.into_iter().filter(|(outcome, _)| fits(outcome));
            let trees: Vec<Tree> = fitting.map(|(_, tree)| tree).collect();
            self.open.clear();
            self.may_hold(trees);
        }
        Ok(())
    }

    /// After a while the account holds one of what it may hold, and the server
    /// shows that.
    pub(super) async fn settle(&mut self) -> Result<(), String> {
        if self.is_settled() {
            return Ok(());
        }
        self.world.idle(SETTLED).await;
        let open = std::mem::take(&mut self.open);
        let mut wrong = Vec::new();
        for tree in open {
            self.tree = tree;
            match self.compare_upstream() {
                Ok(()) => return self.compare_listing().await,
                Err(error) => wrong.push(error),
            }
        }
        Err(format!("in the end none fits: {}", wrong.join("\nnor: ")))
    }
}
