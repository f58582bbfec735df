//! The request budget of one account: every `/v1` call asks here first.
//!
//! 1Fichier allows 3 calls a second, one listing of a folder in 30 seconds,
//! about one listing of any folder in 3 seconds, and locks the account when
//! more come ([API §1.1]). All remotes and clients of an account share one
//! budget, so that their sum stays below.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::error::{Error, Kind};

/// What goes first when several calls wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
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
    /// The name in GetActivity.
    pub fn as_str(self) -> &'static str {
        match self {
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

    /// The same with another priority.
    #[must_use]
    pub fn with_priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }
}

/// Which of 1Fichier's rules a call falls under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Call,
    /// A listing of this folder.
    Listing(i64),
    /// A listing of sub-folders only: no rule for each folder, but one for all.
    Folders,
    UserInfo,
}

/// The longest that a call waits for the budget.
pub const MAX_WAIT: Duration = Duration::from_secs(600);

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
            listing_burst: 4,
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

/// Calls that may come at once.
const BURST: usize = 3;
/// Arrival times at 1Fichier differ from departure times here.
const JITTER: f64 = 1.1;
const SLOWEST: f64 = 0.3;
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const BAN_PAUSE: Duration = Duration::from_secs(3600);

/// A place in the budget: one call may be made now.
#[derive(Debug)]
pub(crate) struct Permit {
    granted: Instant,
}

type Grant = Result<Permit, Error>;

#[derive(Debug)]
struct Waiter {
    rule: Rule,
    endpoint: &'static str,
    deadline: Instant,
    grant: oneshot::Sender<Grant>,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    rate: f64,
    recent: VecDeque<Instant>,
    listing_due: Option<Instant>,
    folders: HashMap<i64, Instant>,
    /// Folders whose last listing failed and was repeated at once.
    repeated: HashSet<i64>,
    user_info: Option<Instant>,
    pause: Option<Pause>,
    pauses_in_a_row: u32,
    floods: u64,
    minute: VecDeque<(Instant, &'static str)>,
    waiters: BTreeMap<(Priority, u64), Waiter>,
    next_waiter: u64,
}

#[derive(Clone, Debug)]
struct Pause {
    since: Instant,
    until: Instant,
    kind: Kind,
    text: String,
}

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
}

/// The request budget of one account.
pub struct Budget {
    shared: Arc<Shared>,
    pauses: watch::Sender<()>,
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
        let state = State {
            rate: limits.calls_per_second.unwrap_or(f64::INFINITY),
            limits,
            recent: VecDeque::new(),
            listing_due: None,
            folders: HashMap::new(),
            repeated: HashSet::new(),
            user_info: None,
            pause: None,
            pauses_in_a_row: 0,
            floods: 0,
            minute: VecDeque::new(),
            waiters: BTreeMap::new(),
            next_waiter: 0,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Notify::new(),
            }),
            pauses: watch::Sender::new(()),
            dispatcher: OnceLock::new(),
        }
    }

    /// Waits until the call may be made. Dropping the future gives the place
    /// in the queue up.
    ///
    /// # Errors
    /// At once when the wait cannot fit the deadline, or [`MAX_WAIT`].
    pub(crate) async fn acquire(&self, scope: Scope, rule: Rule, endpoint: &'static str) -> Grant {
        let now = Instant::now();
        let deadline = scope.deadline.unwrap_or(now + MAX_WAIT).min(now + MAX_WAIT);
        let receiver = {
            let mut state = self.shared.lock();
            let ahead = state.waiters.range(..(scope.priority, u64::MAX)).count();
            state.check(endpoint, rule, deadline, ahead, now)?;
            let (grant, receiver) = oneshot::channel();
            let id = state.next_waiter;
            state.next_waiter += 1;
            state.waiters.insert(
                (scope.priority, id),
                Waiter {
                    rule,
                    endpoint,
                    deadline,
                    grant,
                },
            );
            receiver
        };
        self.dispatcher.get_or_init(|| {
            AbortOnDropHandle::new(tokio::spawn(dispatch(Arc::clone(&self.shared))))
        });
        self.shared.changed.notify_one();
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(
                endpoint,
                Kind::NotSent,
                "the server is stopping",
            ))
        })
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
                Kind::Broken | Kind::Server | Kind::Malformed | Kind::NotSent => {
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
        self.pauses.send_replace(());
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
        }
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
        let mut pauses = self.pauses.subscribe();
        loop {
            if let Err(error) = self.check(scope) {
                return error;
            }
            if pauses.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// How long until a listing of the folder is allowed.
    pub(crate) fn listing_allowed_in(&self, folder: i64) -> Duration {
        let state = self.shared.lock();
        let now = Instant::now();
        state
            .allowed_at(Rule::Listing(folder), now)
            .saturating_duration_since(now)
    }
}

impl State {
    fn prune(&mut self, now: Instant) {
        if self.pause.as_ref().is_some_and(|pause| pause.until <= now) {
            self.pause = None;
        }
        while self
            .minute
            .front()
            .is_some_and(|(at, _)| now - *at >= Duration::from_secs(60))
        {
            self.minute.pop_front();
        }
        let interval = self.limits.folder_listing;
        // Forgotten when it does not matter any more, and only now and then.
        if self.folders.len() > 10_000 {
            self.folders.retain(|_, at| now - *at < interval);
        }
    }

    /// When the rules allow the call, were it the only one.
    fn allowed_at(&self, rule: Rule, now: Instant) -> Instant {
        let mut at = now;
        if let Some(pause) = &self.pause {
            at = at.max(pause.until);
        }
        if self.limits.calls_per_second.is_none() {
            return at;
        }
        if self.recent.len() >= BURST {
            let window = Duration::from_secs_f64(BURST as f64 / self.rate * JITTER);
            at = at.max(self.recent[self.recent.len() - BURST] + window);
        }
        match rule {
            Rule::Call => {}
            Rule::Listing(folder) => {
                if let Some(last) = self.folders.get(&folder) {
                    at = at.max(*last + self.limits.folder_listing);
                }
                at = at.max(self.any_listing_at(now));
            }
            Rule::Folders => at = at.max(self.any_listing_at(now)),
            Rule::UserInfo => {
                if let Some(last) = self.user_info {
                    at = at.max(last + self.limits.user_info);
                }
            }
        }
        at
    }

    fn any_listing_at(&self, now: Instant) -> Instant {
        let Some(due) = self.listing_due else {
            return now;
        };
        let tolerance = self.limits.any_listing * (self.limits.listing_burst.max(1) - 1);
        due.checked_sub(tolerance).unwrap_or(due)
    }

    /// Refuses at once what cannot be in time.
    fn check(
        &self,
        endpoint: &'static str,
        rule: Rule,
        deadline: Instant,
        ahead: usize,
        now: Instant,
    ) -> Result<(), Error> {
        let queue = Duration::from_secs_f64((ahead as f64 / self.rate).min(86_400.0));
        let estimate = self.allowed_at(rule, now).max(now + queue);
        if estimate <= deadline {
            Ok(())
        } else {
            Err(self.too_late(endpoint, estimate - now))
        }
    }

    fn too_late(&self, endpoint: &'static str, wait: Duration) -> Error {
        match &self.pause {
            Some(pause) => Error::new(endpoint, pause.kind, pause.text.clone()),
            None => Error::new(
                endpoint,
                Kind::Deadline,
                format!(
                    "1Fichier's limits allow the next such call in {:.0} s",
                    wait.as_secs_f64().ceil()
                ),
            ),
        }
        .waiting(wait)
    }

    fn take(&mut self, rule: Rule, endpoint: &'static str, now: Instant) {
        self.recent.push_back(now);
        if self.recent.len() > BURST {
            self.recent.pop_front();
        }
        self.minute.push_back((now, endpoint));
        match rule {
            Rule::Call => {}
            Rule::Listing(_) | Rule::Folders => {
                if let Rule::Listing(folder) = rule {
                    self.folders.insert(folder, now);
                }
                let due = self.listing_due.unwrap_or(now).max(now);
                self.listing_due = Some(due + self.limits.any_listing);
            }
            Rule::UserInfo => self.user_info = Some(now),
        }
    }

    /// Additive increase: back to full speed after a few dozen good calls.
    fn succeeded(&mut self, permit: &Permit) {
        if self
            .pause
            .as_ref()
            .is_none_or(|pause| permit.granted > pause.since)
        {
            self.pauses_in_a_row = 0;
        }
        if let Some(most) = self.limits.calls_per_second {
            self.rate = (self.rate + 0.05).min(most);
        }
    }

    /// Multiplicative decrease, and silence until the lock is over.
    fn locked(&mut self, permit: &Permit, error: &Error, pause: Option<Duration>, now: Instant) {
        self.floods += 1;
        if let Some(pause) = &self.pause
            && permit.granted <= pause.since
        {
            return; // another call of the same burst: one flood, not two
        }
        let doubled = FIRST_PAUSE * 2_u32.pow(self.pauses_in_a_row.min(8));
        let length = pause.unwrap_or_else(|| doubled.min(LONGEST_PAUSE)) + Duration::from_secs(1);
        self.pauses_in_a_row += 1;
        if self.limits.calls_per_second.is_some() {
            self.rate = (self.rate / 2.0).max(SLOWEST);
        }
        let until = now + length;
        tracing::warn!(
            seconds = length.as_secs(),
            answer = error.text(),
            "1Fichier locked the account; all calls pause"
        );
        self.pause = Some(Pause {
            since: now,
            until,
            kind: error.kind(),
            text: error.text().to_owned(),
        });
        let late: Vec<_> = self
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.deadline < until)
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            if let Some(waiter) = self.waiters.remove(&key) {
                let refusal = self.too_late(waiter.endpoint, length);
                let _ = waiter.grant.send(Err(refusal));
            }
        }
    }

    /// Lets every waiting call go that may, in order of priority; says when
    /// the next one may.
    fn grant(&mut self, now: Instant) -> Option<Instant> {
        self.prune(now);
        self.waiters.retain(|_, waiter| !waiter.grant.is_closed());
        let mut next: Option<Instant> = None;
        let keys: Vec<_> = self.waiters.keys().copied().collect();
        for key in keys {
            let Some(waiter) = self.waiters.get(&key) else {
                continue;
            };
            let at = self.allowed_at(waiter.rule, now);
            let wake = if at <= now {
                if let Some(waiter) = self.waiters.remove(&key)
                    && waiter.grant.send(Ok(Permit { granted: now })).is_ok()
                {
                    self.take(waiter.rule, waiter.endpoint, now);
                }
                continue;
            } else if waiter.deadline <= now {
                if let Some(waiter) = self.waiters.remove(&key) {
                    let refusal = self.too_late(waiter.endpoint, at - now);
                    let _ = waiter.grant.send(Err(refusal));
                }
                continue;
            } else {
                at.min(waiter.deadline)
            };
            next = Some(next.map_or(wake, |next| next.min(wake)));
        }
        next
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

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Scope = Scope {
        priority: Priority::Read,
        deadline: None,
    };

    async fn call(budget: &Budget, rule: Rule) -> Duration {
        let start = Instant::now();
        let permit = budget.acquire(READ, rule, "test").await.unwrap();
        budget.report(&permit, rule, Ok(()));
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn never_more_than_three_calls_in_any_second() {
        let budget = Budget::new(Limits::default());
        let mut times = Vec::new();
        for _ in 0..20 {
            call(&budget, Rule::Call).await;
            times.push(Instant::now());
        }
        for window in times.windows(4) {
            assert!(window[3] - window[0] >= Duration::from_secs(1));
        }
        assert!(
            times[19] - times[0] < Duration::from_secs(8),
            "no slower than the limit asks"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_folder_is_listed_once_in_thirty_seconds_and_others_meanwhile() {
        let budget = Budget::new(Limits::default());
        assert_eq!(call(&budget, Rule::Listing(1)).await, Duration::ZERO);
        assert_eq!(call(&budget, Rule::Listing(2)).await, Duration::ZERO);
        assert!(call(&budget, Rule::Listing(1)).await >= Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_silences_everybody_and_doubles() {
        let budget = Budget::new(Limits::default());
        for (floods, seconds) in [(1, 30), (2, 60), (3, 120), (4, 240), (5, 300), (6, 300)] {
            let permit = budget.acquire(READ, Rule::Call, "test").await.unwrap();
            let flood = Error::refusal("test", 403, "Flood detected: IP Locked #412");
            budget.report(&permit, Rule::Call, Err(&flood));
            let soon = Scope {
                deadline: Some(Instant::now() + Duration::from_secs(10)),
                ..READ
            };
            let refused = budget.acquire(soon, Rule::Call, "test").await.unwrap_err();
            assert_eq!(refused.kind(), Kind::Flood);
            assert!(
                refused.wait() >= Duration::from_secs(seconds),
                "{floods} {:?}",
                refused.wait()
            );
            assert_eq!(budget.activity().floods, floods);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reads_overtake_deletes_and_a_cancelled_call_costs_nothing() {
        let budget = Arc::new(Budget::new(Limits::default()));
        for _ in 0..3 {
            call(&budget, Rule::Call).await;
        }
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (name, priority) in [
            ("delete", Priority::Delete),
            ("gone", Priority::Read),
            ("read", Priority::Read),
        ] {
            let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let permit = budget
                    .acquire(Scope::new(priority), Rule::Call, "test")
                    .await
                    .unwrap();
                order.lock().unwrap().push(name);
                let _ = permit;
            }));
            tokio::task::yield_now().await;
        }
        tasks.remove(1).abort();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["read", "delete"]);
        assert_eq!(budget.activity().calls_last_minute["test"], 5);
    }
}
