//! The request budget of one account: every `/v1` call asks here first.
//!
//! 1Fichier allows 3 calls a second, one listing of a folder in 30 seconds,
//! about one listing of any folder in 3 seconds, and locks the account when
//! more come ([API §1.1]). All remotes and clients of an account share one
//! budget, so that their sum stays below.

#[cfg(test)]
mod schedules;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::error::{Error, Kind};
use crate::spans;
use crate::sync::{Mutex, MutexGuard};
use state::{BAN_PAUSE, BURST, Pause, State, Waiter};

/// What goes first when several calls wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Small things that other programs stop for, such as the locks of a backup
    /// repository: it keeps its place whatever the call does.
    Urgent,
    /// Reads, and what others wait for.
    Read,
    /// Uploads and other changes.
    Upload,
    /// Deletions.
    Delete,
    /// What nobody waits for.
    Background,
}

impl Priority {
    /// The most urgent first.
    pub const ALL: [Self; 4] = [Self::Read, Self::Upload, Self::Delete, Self::Background];

    /// The name in GetActivity.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Read => "read",
            Self::Upload => "upload",
            Self::Delete => "delete",
            Self::Background => "background",
        }
    }
}

/// On whose behalf a call is made: how urgent, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// What goes first.
    pub priority: Priority,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

impl Scope {
    /// A call without a deadline of its own; it still waits no longer than
    /// [`MAX_WAIT`].
    pub fn new(priority: Priority) -> Self {
        Self {
            priority,
            deadline: None,
        }
    }

    /// The same with another priority, unless it is urgent.
    #[must_use]
    pub fn with_priority(self, priority: Priority) -> Self {
        match self.priority {
            Priority::Urgent => self,
            _ => Self { priority, ..self },
        }
    }

    /// Whether it goes before all others.
    pub fn is_urgent(self) -> bool {
        self.priority == Priority::Urgent
    }
}

/// Which of 1Fichier's rules a call falls under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Call,
    /// A listing of this folder.
    Listing(i64),
    /// A listing of sub-folders only, which the 30 seconds do not count for.
    Folders,
    /// The page of this shared folder: as a listing, but no repeat is known to
    /// be tolerated.
    Page(i64),
    UserInfo,
}

/// The longest that a call waits for the budget.
pub const MAX_WAIT: Duration = Duration::from_secs(600);

/// The most calls that wait for one budget.
pub const MAX_WAITING: usize = 10_000;

/// What the budget allows. The defaults are the documented limits with a
/// margin for clocks and network jitter.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Calls a second at the most; `None` removes every rule (tests of
    /// throughput, emulators without limits).
    pub calls_per_second: Option<f64>,
    /// Between two listings of one folder.
    pub folder_listing: Duration,
    /// Between two listings of any folders, in the long run.
    pub any_listing: Duration,
    /// Listings that may come at once after a pause.
    pub listing_burst: u32,
    /// Between two questions about the account.
    pub user_info: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_second: Some(3.0),
            folder_listing: Duration::from_millis(30_500),
            any_listing: Duration::from_millis(3_100),
            listing_burst: 3,
            user_info: Duration::from_secs(301),
        }
    }
}

impl Limits {
    /// No limit at all.
    pub fn none() -> Self {
        Self {
            calls_per_second: None,
            ..Self::default()
        }
    }
}

/// A place in the budget: one call may be made now.
#[derive(Debug)]
pub(crate) struct Permit {
    granted: Instant,
}

type Grant = Result<Permit, Error>;

/// What the budget is doing, for people.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// Calls a second that are allowed now.
    pub calls_per_second: f64,
    /// Calls of the last minute, by endpoint.
    pub calls_last_minute: BTreeMap<&'static str, u64>,
    /// How long the account stays locked, and what 1Fichier said.
    pub locked: Option<(Duration, String)>,
    /// Calls that wait, by priority.
    pub queued: BTreeMap<&'static str, u64>,
    /// Flood answers so far.
    pub floods: u64,
    /// Calls that were let through so far.
    pub calls: u64,
}

/// The request budget of one account.
pub struct Budget {
    shared: Arc<Shared>,
    /// Wakes after each call.
    reports: watch::Sender<()>,
    dispatcher: OnceLock<AbortOnDropHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").finish_non_exhaustive()
    }
}

impl Budget {
    /// A budget that nothing was taken from yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new(limits)),
                changed: Notify::new(),
            }),
            reports: watch::Sender::new(()),
            dispatcher: OnceLock::new(),
        }
    }

    /// Waits until the call may be made. Dropping the future gives the place
    /// in the queue up.
    ///
    /// # Errors
    /// At once when the wait cannot fit the deadline, or [`MAX_WAIT`], and when
    /// [`MAX_WAITING`] wait already.
    pub(crate) async fn acquire(&self, scope: Scope, rule: Rule, endpoint: &'static str) -> Grant {
        self.dispatcher.get_or_init(|| {
            AbortOnDropHandle::new(tokio::spawn(dispatch(Arc::clone(&self.shared))))
        });
        self.wait(scope, rule, endpoint).await
    }

    /// The same where somebody dispatches already.
    async fn wait(&self, scope: Scope, rule: Rule, endpoint: &'static str) -> Grant {
        let now = Instant::now();
        let deadline = scope.deadline.unwrap_or(now + MAX_WAIT).min(now + MAX_WAIT);
        let (receiver, _place) = {
            let mut state = self.shared.lock();
            if state.is_closed {
                return Err(stopping(endpoint));
            }
            state.check_room(endpoint)?;
            let ahead = state.waiters.range(..(scope.priority, u64::MAX)).count();
            state.check(endpoint, rule, deadline, ahead, now)?;
            let (grant, receiver) = oneshot::channel();
            let id = state.next_waiter;
            state.next_waiter += 1;
            let key = (scope.priority, id);
            state.waiters.insert(
                key,
                Waiter {
                    rule,
                    endpoint,
                    deadline,
                    grant,
                },
            );
            let shared = Arc::clone(&self.shared);
            (receiver, Place { shared, key })
        };
        self.shared.changed.notify_one();
        let span = spans::budget_wait(endpoint, scope.priority.as_str());
        let granted = receiver.instrument(span.clone()).await;
        let granted = granted.unwrap_or_else(|_| Err(stopping(endpoint)));
        let outcome = granted.as_ref().err().map_or("ok", |e| e.kind().as_str());
        spans::ended(&span, outcome);
        granted
    }

    /// The server is gone: no call is made any more, whatever is still at work.
    pub fn close(&self) {
        let waiters = {
            let mut state = self.shared.lock();
            state.is_closed = true;
            std::mem::take(&mut state.waiters)
        };
        // Those who wait are told by the end of their channel.
        drop(waiters);
    }

    /// Tells how the call ended. A failed listing may be repeated before its
    /// 30 seconds are over: a first repeat is tolerated ([API §1.1]).
    pub(crate) fn report(&self, permit: &Permit, rule: Rule, outcome: Result<(), &Error>) {
        let mut state = self.shared.lock();
        let now = Instant::now();
        match outcome {
            Ok(()) => {
                if let Rule::Listing(folder) = rule {
                    state.repeated.remove(&folder);
                }
                state.succeeded(permit);
            }
            Err(error) => match error.kind() {
                Kind::Flood => state.locked(permit, error, None, now),
                Kind::Banned => state.locked(permit, error, Some(BAN_PAUSE), now),
                Kind::NotSent => {
                    if let Rule::Listing(folder) | Rule::Page(folder) = rule {
                        state.folders.remove(&folder);
                    }
                }
                Kind::Broken | Kind::Server | Kind::Malformed => {
                    // One repeat is tolerated, a second one is a flood.
                    if let Rule::Listing(folder) = rule
                        && state.repeated.insert(folder)
                    {
                        state.folders.remove(&folder);
                    }
                }
                // A refusal is an answer: the limits were respected.
                _ => state.succeeded(permit),
            },
        }
        drop(state);
        self.shared.changed.notify_one();
        self.reports.send_replace(());
    }

    /// Waits as long as calls are apart in the long run.
    pub(crate) async fn space(&self) {
        let space = self.shared.lock().space();
        if !space.is_zero() {
            tokio::time::sleep(space).await;
        }
    }

    /// What it is doing now.
    pub fn activity(&self) -> Activity {
        let mut state = self.shared.lock();
        let now = Instant::now();
        state.prune(now);
        let mut calls_last_minute = BTreeMap::new();
        for (_, endpoint) in &state.minute {
            *calls_last_minute.entry(*endpoint).or_insert(0) += 1;
        }
        let mut queued = BTreeMap::new();
        for ((priority, _), waiter) in &state.waiters {
            if !waiter.grant.is_closed() {
                *queued.entry(priority.as_str()).or_insert(0) += 1;
            }
        }
        Activity {
            calls_per_second: state.rate,
            calls_last_minute,
            locked: state
                .pause
                .as_ref()
                .map(|pause| (pause.until - now, pause.text.clone())),
            queued,
            floods: state.floods,
            calls: state.calls,
        }
    }

    /// Says when an earlier run listed a folder; the oldest first.
    pub fn restore_listing(&self, folder: i64, age: Duration) {
        let now = Instant::now();
        let at = now.checked_sub(age).unwrap_or(now);
        self.shared.lock().listed(folder, at);
    }

    /// Says when 1Fichier was asked about the account.
    pub fn restore_user_info(&self, age: Duration) {
        let now = Instant::now();
        let at = now.checked_sub(age);
        let mut state = self.shared.lock();
        state.user_info = state.user_info.max(at);
    }

    /// An earlier run called a moment ago.
    pub fn restore_calls(&self) {
        self.shared.lock().recent = [Instant::now(); BURST].into();
    }

    /// An earlier run may have listed any folder, and nobody knows which.
    pub fn restore_unknown(&self) {
        self.restore_calls();
        let mut state = self.shared.lock();
        let now = Instant::now();
        state.unknown_listings = Some(now);
        state.listing_due = Some(now + state.limits.any_listing * state.limits.listing_burst);
    }

    /// Goes on with a lock that an earlier run met.
    pub fn restore_lock(&self, remaining: Duration, text: &str) {
        let now = Instant::now();
        let until = now + remaining.min(BAN_PAUSE);
        let mut state = self.shared.lock();
        // Several catalogs may remember it; the latest word counts.
        if state.pause.as_ref().is_none_or(|pause| pause.until < until) {
            state.pause = Some(Pause {
                since: now,
                until,
                kind: Kind::Flood,
                text: text.to_owned(),
            });
        }
    }

    /// Wakes after each call.
    pub fn calls(&self) -> watch::Receiver<()> {
        self.reports.subscribe()
    }

    /// Refuses at once what could not be in time, were it asked for now.
    ///
    /// # Errors
    /// When a lock lasts longer than the caller waits.
    pub fn check(&self, scope: Scope) -> Result<(), Error> {
        let now = Instant::now();
        let deadline = scope.deadline.unwrap_or(now + MAX_WAIT).min(now + MAX_WAIT);
        let mut state = self.shared.lock();
        state.prune(now);
        match &state.pause {
            Some(pause) if pause.until > deadline => {
                Err(state.too_late("queue", pause.until - now))
            }
            _ => Ok(()),
        }
    }

    /// Ends when a lock begins that lasts longer than the caller waits: the
    /// caller can be told at once instead of at its deadline.
    pub async fn locked_out(&self, scope: Scope) -> Error {
        let mut reports = self.reports.subscribe();
        loop {
            if let Err(error) = self.check(scope) {
                return error;
            }
            if reports.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The least time between two listings of one folder.
    pub(crate) fn listing_interval(&self) -> Duration {
        let limits = &self.shared.lock().limits;
        match limits.calls_per_second {
            Some(_) => limits.folder_listing,
            None => Duration::ZERO,
        }
    }

    /// How long 1Fichier wants the folder not to be listed again, whatever else
    /// is asked for: its 30 seconds, or a lock.
    pub(crate) fn folder_closed_for(&self, rule: Rule) -> Duration {
        let state = self.shared.lock();
        let now = Instant::now();
        state
            .folder_open_at(rule, now)
            .saturating_duration_since(now)
    }

    /// How long until such a call is allowed, were it the only one.
    pub(crate) fn allowed_in(&self, rule: Rule) -> Duration {
        let state = self.shared.lock();
        let now = Instant::now();
        state.allowed_at(rule, now).saturating_duration_since(now)
    }
}

fn stopping(endpoint: &'static str) -> Error {
    Error::new(endpoint, Kind::NotSent, "the server is stopping")
}

/// A place in the queue. It is free again as soon as the caller leaves.
struct Place {
    shared: Arc<Shared>,
    key: (Priority, u64),
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.lock().waiters.remove(&self.key);
    }
}

async fn dispatch(shared: Arc<Shared>) {
    loop {
        let next = shared.lock().grant(Instant::now());
        match next {
            Some(at) => tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = shared.changed.notified() => {}
            },
            None => shared.changed.notified().await,
        }
    }
}
