//! The crash test: the real program under a mixed load is killed at random
//! moments, started again on the same state directory, and compared with what
//! it had acknowledged.
//!
//! The account is an emulator in this process, which outlives every kill. Each
//! client has paths of its own, so that what must be there is known exactly:
//! the last acknowledged content of each path, and of what was in flight all or
//! nothing. `CRASH_KILLS` sets how often it is killed, `CRASH_SEED` what happens
//! (when it happens is up to the machine), `CRASH_RECOVERY` how many seconds a
//! start may take to clear up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod client;
mod expected;
mod history;
mod lives;
mod look;
mod operation;
mod program;

use lives::Lives;

fn number_of(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_kill() {
    let kills = number_of("CRASH_KILLS", 25);
    let seed = number_of("CRASH_SEED", fastrand::u64(..1_000_000));
    let recovery = number_of("CRASH_RECOVERY", 20);
    println!("CRASH_SEED={seed} CRASH_KILLS={kills}");
    let mut lives = Lives::new(seed, recovery).await;
    for kill in 0..kills {
        lives.lead().await;
        if (kill + 1) % 50 == 0 {
            println!("{}", lives.summary());
        }
        if lives.is_hopeless() {
            break;
        }
    }
    lives.end().await;
    println!("{}", lives.summary());
    assert!(
        lives.did_something(),
        "hardly anything was in flight: the test tests nothing"
    );
    lives.assert_nothing_wrong(seed);
}
