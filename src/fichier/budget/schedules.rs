//! The budget under many schedules, while time passes at any moment.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use shuttle::future::{block_on, spawn, yield_now};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::sync::check;

/// A runtime for its time, which stands still unless [`pass`] moves it.
fn still() -> Arc<Runtime> {
    let mut builder = Builder::new_current_thread();
    Arc::new(builder.enable_time().start_paused(true).build().unwrap())
}

/// Lets time pass until the others are done.
async fn pass(time: Arc<Runtime>, done: Arc<AtomicBool>) {
    while !done.load(Relaxed) {
        time.block_on(tokio::time::advance(Duration::from_millis(500)));
        yield_now().await;
    }
}

fn scope(priority: Priority, seconds: u64) -> Scope {
    Scope {
        priority,
        deadline: Some(Instant::now() + Duration::from_secs(seconds)),
    }
}

#[derive(Debug)]
struct Call {
    granted: Instant,
    /// Before and after it was told how it ended.
    told: [Instant; 2],
}

/// Makes a call, which a flood answers, or not. `None` when it was refused.
async fn call(budget: Arc<Budget>, scope: Scope, is_flood: bool) -> Option<Call> {
    let permit = match budget.wait(scope, Rule::Call, "test").await {
        Ok(permit) => permit,
        Err(refused) => {
            assert!(matches!(refused.kind(), Kind::Flood | Kind::Deadline));
            return None;
        }
    };
    yield_now().await;
    let flood = Error::refusal("test", 403, "Flood detected: IP Locked #412");
    let outcome = if is_flood { Err(&flood) } else { Ok(()) };
    let before = Instant::now();
    budget.report(&permit, Rule::Call, outcome);
    Some(Call {
        granted: permit.granted,
        told: [before, Instant::now()],
    })
}

#[test]
fn schedules_of_callers_that_come_and_leave() {
    check(|| {
        let time = still();
        let _context = time.enter();
        let budget = Arc::new(Budget::new(Limits::default()));
        let dispatcher = spawn(dispatch(Arc::clone(&budget.shared)));
        let call = |priority, seconds, is_flood| {
            let scope = scope(priority, seconds);
            spawn(call(Arc::clone(&budget), scope, is_flood))
        };
        let leaver = call(Priority::Read, 600, false);
        let flood = call(Priority::Upload, 600, true);
        let callers = [
            call(Priority::Urgent, 600, false),
            call(Priority::Delete, 600, false),
            call(Priority::Background, 600, false),
            call(Priority::Background, 600, false),
        ];
        // It cannot wait for the end of a lock.
        let hasty = call(Priority::Delete, 20, false);
        let done = Arc::new(AtomicBool::new(false));
        let clock = spawn(pass(Arc::clone(&time), Arc::clone(&done)));
        leaver.abort();

        let flood = block_on(flood).unwrap().unwrap();
        let [before, after] = flood.told;
        let mut granted = vec![flood.granted];
        for caller in callers {
            let call = block_on(caller).unwrap();
            granted.push(call.expect("whoever can wait is let go").granted);
        }
        granted.extend(block_on(hasty).unwrap().map(|call| call.granted));
        let _ = block_on(leaver);
        done.store(true, Relaxed);
        block_on(clock).unwrap();
        dispatcher.abort();
        assert!(budget.shared.lock().waiters.is_empty());
        granted.sort_unstable();
        for at in &granted {
            let is_locked = *at > after && *at < before + Duration::from_secs(30);
            assert!(!is_locked, "{granted:?} {flood:?}");
        }
        for window in granted.windows(4) {
            assert!(window[3] - window[0] >= Duration::from_secs(1));
        }
    });
}

#[test]
fn schedules_of_callers_that_a_lock_sends_away() {
    check(|| {
        let time = still();
        let _context = time.enter();
        let budget = Arc::new(Budget::new(Limits::default()));
        let dispatcher = spawn(dispatch(Arc::clone(&budget.shared)));
        let waiting = [1, 2].map(|_| {
            let budget = Arc::clone(&budget);
            let scope = scope(Priority::Read, 10);
            spawn(async move { budget.locked_out(scope).await.kind() })
        });
        let scope = scope(Priority::Read, 600);
        let flood = spawn(call(Arc::clone(&budget), scope, true));
        assert!(block_on(flood).unwrap().is_some());
        for waiting in waiting {
            assert_eq!(block_on(waiting).unwrap(), Kind::Flood);
        }
        dispatcher.abort();
    });
}
