//! When to try again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::connect::Session;
use super::exit::Problem;
use super::io::Io;
use super::output;
use super::progress::Progress;

/// The longest wait where the server names none.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// How often and how long a command tries again.
pub(super) struct Policy {
    retries: u32,
    longest: Duration,
    /// One call has been tried often enough, and none has succeeded since: of
    /// thousands of files not each waits for a server that is away.
    given_up: AtomicBool,
}

impl Policy {
    pub(super) fn new(retries: u32, longest: Duration) -> Self {
        Self {
            retries,
            longest,
            given_up: AtomicBool::new(false),
        }
    }

    /// Something has succeeded: what fails now is worth its repeats.
    pub(super) fn succeeded(&self) {
        self.given_up.store(false, Ordering::Relaxed);
    }
}

/// Counts the attempts of a call.
pub(super) struct Retry<'a> {
    policy: &'a Policy,
    failed: u32,
    waited: Duration,
}

impl<'a> Retry<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        Self {
            policy: &session.retries,
            failed: 0,
            waited: Duration::ZERO,
        }
    }

    /// Waits for the next attempt, or gives the problem back when there is no
    /// point in one.
    pub(super) async fn wait(
        &mut self,
        problem: Problem,
        io: &Io,
        progress: &Progress,
    ) -> Result<(), Problem> {
        if !problem.retryable() {
            return Err(problem);
        }
        let policy = self.policy;
        let backoff = Duration::from_secs(1 << self.failed.min(5)).min(LONGEST_BACKOFF);
        let delay = problem.retry_after.unwrap_or(backoff);
        let waited = self.waited.saturating_add(delay);
        let given_up = policy.given_up.load(Ordering::Relaxed);
        if given_up || self.failed >= policy.retries || waited > policy.longest {
            policy.given_up.store(true, Ordering::Relaxed);
            return Err(problem);
        }
        self.failed += 1;
        self.waited = waited;
        progress.suspend(|| {
            io.note(&format!(
                "{}; trying again in {} (attempt {} of {})",
                problem.message,
                output::duration(delay),
                self.failed + 1,
                policy.retries.saturating_add(1),
            ));
        });
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// Makes a call, and makes it again while that is worth it.
pub(super) async fn repeated<T>(
    session: &Session,
    io: &Io,
    attempt: impl AsyncFn() -> Result<T, Problem>,
) -> Result<T, Problem> {
    let mut retry = Retry::new(session);
    loop {
        match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(problem) => retry.wait(problem, io, &Progress::none()).await?,
        }
    }
}
