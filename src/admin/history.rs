//! What the request budgets did in the last hour, for the plot.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backend::Remotes;

/// Between two samples.
pub(super) const EVERY: Duration = Duration::from_secs(10);
/// An hour.
pub(super) const SAMPLES: usize = 360;

/// A budget at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Calls since the sample before.
    pub(super) calls: u64,
    /// Calls that wait.
    pub(super) waiting: u64,
    /// 1Fichier has locked the account.
    pub(super) locked: bool,
}

#[derive(Debug, Default)]
struct Line {
    /// Calls up to the last sample.
    calls: u64,
    samples: VecDeque<Sample>,
}

/// The last hour of each budget, in the order of the budgets.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Vec<Line>>);

impl History {
    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes samples; never ends.
    pub(super) async fn record(self: Arc<Self>, remotes: Remotes) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.take(&remotes);
        }
    }

    fn take(&self, remotes: &Remotes) {
        let budgets = remotes.activity(None).budgets;
        let mut lines = self.lock();
        lines.resize_with(budgets.len(), Line::default);
        for (line, budget) in lines.iter_mut().zip(budgets) {
            let activity = budget.activity;
            if line.samples.len() >= SAMPLES {
                line.samples.pop_front();
            }
            line.samples.push_back(Sample {
                calls: activity.calls.saturating_sub(line.calls),
                waiting: activity.queued.values().sum(),
                locked: activity.locked.is_some(),
            });
            line.calls = activity.calls;
        }
    }

    /// The samples of one budget, the oldest first.
    pub(super) fn of(&self, budget: usize) -> Vec<Sample> {
        let lines = self.lock();
        let line = lines.get(budget);
        line.map_or_else(Vec::new, |line| line.samples.iter().copied().collect())
    }
}
