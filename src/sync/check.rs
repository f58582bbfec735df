//! Runs a scenario under many schedules.

use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// Schedules of each kind.
const SCHEDULES: usize = 1_000;
/// A scenario that takes more steps than this does not end.
const STEPS: usize = 20_000;
/// How often a schedule of the second kind switches to another task where it
/// need not.
const SWITCHES: usize = 3;
const STACK: usize = 512 << 10;

/// Runs a scenario under schedules of two kinds: any task at each step, and the
/// same task as long as it can go on but for a few switches. It fails where one
/// of them panics, hangs, or does not end; shuttle prints the seed then. The
/// seeds are the same each time.
///
/// `MODEL_CHECKS` sets how many schedules of each kind there are (1,000 by
/// default), and `SHUTTLE_RANDOM_SEED` where they begin.
#[track_caller]
pub(crate) fn check(scenario: impl Fn() + Send + Sync + 'static) {
    check_some(1, scenario);
}

/// The same under only one of so many schedules, where each takes long.
#[track_caller]
pub(crate) fn check_some(one_of: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("MODEL_CHECKS");
    let schedules = schedules.map_or(SCHEDULES, |text| text.parse().unwrap()) / one_of;
    let scenario = Arc::new(scenario);
    let again = Arc::clone(&scenario);
    run(RandomScheduler::new_from_seed(0, schedules), move || {
        again();
    });
    run(
        PctScheduler::new_from_seed(0, SWITCHES, schedules),
        move || scenario(),
    );
}

fn run(scheduler: impl Scheduler + 'static, scenario: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    Runner::new(scheduler, config).run(scenario);
}
