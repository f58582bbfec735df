//! Keeps request budgets across restarts: 1Fichier remembers the calls and its
//! locks too.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::fichier::Budget;

/// A call this long ago does not count any more.
const CALL: Duration = Duration::from_secs(3);

/// Under which names a budget is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// A lock: when it was met, how long it was to last, and what 1Fichier said.
    lock: &'static str,
    /// The same as earlier versions noted it: until when.
    locked_until: &'static str,
    /// The last call.
    call: &'static str,
}

/// The budget of an account.
pub(super) const API: Facts = Facts {
    lock: "lock",
    locked_until: "locked_until",
    call: "last_call",
};

/// The budget of 1Fichier's website.
pub(super) const PAGES: Facts = Facts {
    lock: "pages_lock",
    locked_until: "pages_locked_until",
    call: "last_page",
};

/// A lock as it is remembered. That it lasts so long from a moment on says more
/// than when it ends: a clock that is wrong changes the moment only.
#[derive(Serialize, Deserialize)]
struct Lock {
    milliseconds: u64,
    text: String,
}

/// Gives a budget what is remembered of it.
fn restore(budget: &Budget, facts: Facts, catalog: &Catalog, clock: Clock) {
    if let Some((at, value)) = catalog.fact(facts.lock)
        && let Ok(lock) = serde_json::from_str::<Lock>(&value)
    {
        let lasts = Duration::from_millis(lock.milliseconds);
        if let Some(left) = lasts.checked_sub(clock.age(at)) {
            budget.restore_lock(left, &lock.text);
        }
    }
    if let Some((until, text)) = catalog.fact_ahead(facts.locked_until)
        && let Ok(left) = until.duration_since(clock.now())
    {
        budget.restore_lock(left, &text);
    }
    if catalog
        .fact(facts.call)
        .is_some_and(|(at, _)| clock.age(at) < CALL)
    {
        budget.restore_calls();
    }
    if let Some(age) = catalog.asked_with_another_key() {
        budget.restore_user_info(age);
    }
}

/// Keeps a budget from now on.
pub(super) fn keep(
    budget: Arc<Budget>,
    facts: Facts,
    catalog: &Arc<Catalog>,
    clock: Clock,
) -> AbortOnDropHandle<()> {
    restore(&budget, facts, catalog, clock);
    let mut calls = budget.calls();
    let mut news = catalog.news();
    // It is closed when its account is, not when this task ends.
    let catalog = Arc::downgrade(catalog);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut known_lock = None;
        let mut known_call = None;
        loop {
            tokio::select! {
                // Every call wakes this.
                called = calls.changed() => if called.is_err() { return },
                // What could not be read before.
                learnt = news.changed() => {
                    let Some(catalog) = catalog.upgrade().filter(|_| learnt.is_ok()) else { return };
                    restore(&budget, facts, &catalog, clock);
                    continue;
                }
            }
            let Some(catalog) = catalog.upgrade() else {
                return;
            };
            let now = clock.now();
            let is_new =
                |known: std::time::SystemTime| now > known + Duration::from_secs(1) || now < known;
            if known_call.is_none_or(is_new) {
                catalog.remember_fact(facts.call, String::new(), now);
                known_call = Some(now);
            }
            let Some((left, text)) = budget.activity().locked else {
                continue;
            };
            let until = tokio::time::Instant::now() + left;
            if known_lock.is_none_or(|known| until > known + Duration::from_secs(1)) {
                let lock = Lock {
                    milliseconds: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                    text,
                };
                // A number and a string: this cannot fail.
                let value = serde_json::to_string(&lock).unwrap_or_default();
                catalog.remember_fact(facts.lock, value, now);
                known_lock = Some(until);
            }
        }
    }))
}
