//! What was found wrong, and what was done.

use std::collections::BTreeMap;
use std::path::Path;

use crate::expected::{Problem, Wrong};

/// So many problems are enough to look into.
const HOPELESS: usize = 12;

/// Everything that was found.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) kills: u64,
    problems: Vec<(u64, Problem)>,
}

impl Report {
    pub(crate) fn problem(&mut self, problem: Problem) {
        println!("after {} kills: {problem}", self.kills);
        self.problems.push((self.kills, problem));
    }

    pub(crate) fn is_hopeless(&self, most: Option<u64>) -> bool {
        self.problems.len() >= most.map_or(HOPELESS, |most| most as usize)
    }

    /// How much of each kind.
    pub(crate) fn found(&self) -> String {
        let wrong = |wrong: Wrong| {
            let found = self
                .problems
                .iter()
                .filter(|(_, problem)| problem.wrong == wrong);
            found.count()
        };
        format!(
            "lost {}, duplicated {}, resurrected {}, foreign touched {}, corrupt {}, stray {}, \
             untrue {}, wrongly refused {}",
            wrong(Wrong::Lost),
            wrong(Wrong::Duplicated),
            wrong(Wrong::Resurrected),
            wrong(Wrong::Foreign),
            wrong(Wrong::Corrupt),
            wrong(Wrong::Stray),
            wrong(Wrong::Untrue),
            wrong(Wrong::Refused),
        )
    }

    pub(crate) fn assert_nothing_wrong(&self, seed: u64, log: &Path) {
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
            tail(log)
        );
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Counts by name, with their sum.
pub(crate) fn counted(counts: &BTreeMap<&'static str, u64>) -> String {
    let all: u64 = counts.values().sum();
    let each: Vec<_> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    format!("{all} ({})", each.join(", "))
}
