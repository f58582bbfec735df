//! The rules of the budget: who may call when.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Grant, Limits, MAX_WAITING, Permit, Priority, Rule};
use crate::fichier::error::{Error, Kind};

/// Calls that may come at once.
pub(super) const BURST: usize = 3;
/// Arrival times at 1Fichier differ from departure times here.
const JITTER: f64 = 1.1;
const SLOWEST: f64 = 0.3;
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// More than any caller waits.
const MOST_QUEUE: Duration = Duration::from_secs(86_400);
pub(super) const BAN_PAUSE: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) rule: Rule,
    pub(super) endpoint: &'static str,
    pub(super) deadline: Instant,
    pub(super) grant: oneshot::Sender<Grant>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) rate: f64,
    pub(super) recent: VecDeque<Instant>,
    pub(super) listing_due: Option<Instant>,
    pub(super) folders: HashMap<i64, Instant>,
    /// Folders whose last listing failed and was repeated at once.
    pub(super) repeated: HashSet<i64>,
    /// Any folder may have been listed then.
    pub(super) unknown_listings: Option<Instant>,
    pub(super) user_info: Option<Instant>,
    pub(super) pause: Option<Pause>,
    pub(super) pauses_in_a_row: u32,
    pub(super) floods: u64,
    pub(super) calls: u64,
    pub(super) minute: VecDeque<(Instant, &'static str)>,
    pub(super) waiters: BTreeMap<(Priority, u64), Waiter>,
    pub(super) next_waiter: u64,
    /// No call is made any more.
    pub(super) is_closed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Pause {
    pub(super) since: Instant,
    pub(super) until: Instant,
    pub(super) kind: Kind,
    pub(super) text: String,
}

impl State {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            rate: limits.calls_per_second.unwrap_or(f64::INFINITY),
            limits,
            recent: VecDeque::new(),
            listing_due: None,
            folders: HashMap::new(),
            repeated: HashSet::new(),
            unknown_listings: None,
            user_info: None,
            pause: None,
            pauses_in_a_row: 0,
            floods: 0,
            calls: 0,
            minute: VecDeque::new(),
            waiters: BTreeMap::new(),
            next_waiter: 0,
            is_closed: false,
        }
    }

    pub(super) fn prune(&mut self, now: Instant) {
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

    /// When a folder may be listed again, as far as the rules for the folder
    /// itself and a lock tell.
    pub(super) fn folder_open_at(&self, rule: Rule, now: Instant) -> Instant {
        let mut at = now;
        if let Some(pause) = &self.pause {
            at = at.max(pause.until);
        }
        if self.limits.calls_per_second.is_some()
            && let Rule::Listing(folder) | Rule::Page(folder) = rule
        {
            let last = self.folders.get(&folder).copied();
            if let Some(last) = last.max(self.unknown_listings) {
                at = at.max(last + self.limits.folder_listing);
            }
        }
        at
    }

    /// When the rules allow the call, were it the only one.
    pub(super) fn allowed_at(&self, rule: Rule, now: Instant) -> Instant {
        let mut at = self.folder_open_at(rule, now);
        if self.limits.calls_per_second.is_none() {
            return at;
        }
        if self.recent.len() >= BURST {
            let window = Duration::from_secs_f64(BURST as f64 / self.rate * JITTER);
            at = at.max(self.recent[self.recent.len() - BURST] + window);
        }
        match rule {
            Rule::Call => {}
            Rule::Listing(_) | Rule::Page(_) | Rule::Folders => {
                at = at.max(self.any_listing_at(now));
            }
            Rule::UserInfo => {
                if let Some(last) = self.user_info {
                    at = at.max(last + self.limits.user_info);
                }
            }
        }
        at
    }

    /// How far calls are apart in the long run; zero without limits.
    pub(super) fn space(&self) -> Duration {
        match self.limits.calls_per_second {
            Some(_) => Duration::from_secs_f64(JITTER / self.rate),
            None => Duration::ZERO,
        }
    }

    /// Refuses at once what cannot be in time.
    pub(super) fn check(
        &self,
        endpoint: &'static str,
        rule: Rule,
        deadline: Instant,
        ahead: usize,
        now: Instant,
    ) -> Result<(), Error> {
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let queue = self.space().saturating_mul(ahead).min(MOST_QUEUE);
        let estimate = self.allowed_at(rule, now).max(now + queue);
        if estimate <= deadline {
            Ok(())
        } else {
            Err(self.too_late(endpoint, estimate - now))
        }
    }

    /// Refuses at once what would be one too many.
    pub(super) fn check_room(&self, endpoint: &'static str) -> Result<(), Error> {
        let waiting = self.waiters.len();
        if waiting < MAX_WAITING {
            return Ok(());
        }
        let text = format!("{waiting} calls wait for their turn already");
        let wait = Duration::from_secs_f64(waiting as f64 / self.rate);
        Err(Error::new(endpoint, Kind::Crowded, text).waiting(wait.max(Duration::from_secs(1))))
    }

    pub(super) fn too_late(&self, endpoint: &'static str, wait: Duration) -> Error {
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

    pub(super) fn take(&mut self, rule: Rule, endpoint: &'static str, now: Instant) {
        self.recent.push_back(now);
        if self.recent.len() > BURST {
            self.recent.pop_front();
        }
        self.minute.push_back((now, endpoint));
        self.calls += 1;
        match rule {
            Rule::Call => {}
            Rule::Listing(folder) | Rule::Page(folder) => {
                self.listed(folder, now);
            }
            Rule::Folders => self.listed_any(now),
            Rule::UserInfo => self.user_info = Some(now),
        }
    }

    pub(super) fn listed(&mut self, folder: i64, at: Instant) {
        self.folders.insert(folder, at);
        self.listed_any(at);
    }

    fn listed_any(&mut self, at: Instant) {
        let due = self.listing_due.unwrap_or(at).max(at);
        self.listing_due = Some(due + self.limits.any_listing);
    }

    fn any_listing_at(&self, now: Instant) -> Instant {
        let Some(due) = self.listing_due else {
            return now;
        };
        let tolerance = self.limits.any_listing * (self.limits.listing_burst.max(1) - 1);
        due.checked_sub(tolerance).unwrap_or(due)
    }

    /// Additive increase: back to full speed after a few dozen good calls.
    pub(super) fn succeeded(&mut self, permit: &Permit) {
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
    pub(super) fn locked(
        &mut self,
        permit: &Permit,
        error: &Error,
        pause: Option<Duration>,
        now: Instant,
    ) {
        self.floods += 1;
        if let Some(known) = &self.pause
            && permit.granted <= known.since
            && (pause.is_none() || known.kind == Kind::Banned)
        {
            // Another call of the same burst: one flood, not two. A ban is
            // more than a flood, though.
            return;
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
    pub(super) fn grant(&mut self, now: Instant) -> Option<Instant> {
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
