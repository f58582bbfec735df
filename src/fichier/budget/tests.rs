use std::sync::Mutex;

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
async fn a_ban_counts_though_a_flood_of_the_same_burst_was_told_first() {
    let budget = Budget::new(Limits::default());
    let mut burst = Vec::new();
    for _ in 0..3 {
        burst.push(budget.acquire(READ, Rule::Call, "test").await.unwrap());
    }
    for (permit, text) in burst
        .iter()
        .zip(["Flood detected", "IP Locked #79", "Flood detected"])
    {
        let refusal = Error::refusal("test", 403, text);
        budget.report(permit, Rule::Call, Err(&refusal));
    }
    let (left, text) = budget.activity().locked.unwrap();
    assert!(left > Duration::from_secs(3_500), "{left:?}");
    assert!(text.contains("IP Locked"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn reads_overtake_deletes_and_a_cancelled_call_costs_nothing() {
    let budget = Arc::new(Budget::new(Limits::default()));
    for _ in 0..3 {
        call(&budget, Rule::Call).await;
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for (name, scope) in [
        ("delete", Scope::new(Priority::Delete)),
        ("gone", Scope::new(Priority::Read)),
        ("read", Scope::new(Priority::Read)),
        // It stays urgent, though it deletes.
        (
            "urgent",
            Scope::new(Priority::Urgent).with_priority(Priority::Delete),
        ),
    ] {
        let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let permit = budget.acquire(scope, Rule::Call, "test").await.unwrap();
            order.lock().unwrap().push(name);
            let _ = permit;
        }));
        tokio::task::yield_now().await;
    }
    tasks.remove(1).abort();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["urgent", "read", "delete"]);
    assert_eq!(budget.activity().calls_last_minute["test"], 6);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_and_a_caller_that_leaves_is_gone_at_once() {
    // A lock that everybody can wait out, and no rate that would refuse them.
    let budget = Arc::new(Budget::new(Limits::none()));
    budget.restore_lock(Duration::from_secs(300), "Flood detected");
    let mut waiting: Vec<_> = (0..MAX_WAITING)
        .map(|_| Box::pin(budget.acquire(READ, Rule::Call, "test")))
        .collect();
    for call in &mut waiting {
        assert!(futures::poll!(call).is_pending());
    }
    assert_eq!(budget.activity().queued["read"], MAX_WAITING as u64);
    let refused = budget.acquire(READ, Rule::Call, "test").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Crowded);
    waiting.truncate(MAX_WAITING / 2);
    assert_eq!(budget.activity().queued["read"], MAX_WAITING as u64 / 2);
    waiting.clear();
    assert!(budget.activity().queued.is_empty());
    assert!(budget.shared.lock().waiters.is_empty(), "not even a trace");
}
