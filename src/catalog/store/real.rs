//! Real time: the disk, and the thread that waits for it, know no other.

use std::time::Duration;

/// A moment of real time.
#[allow(
    clippy::disallowed_types,
    reason = "the thread that writes is in no runtime, whose time may be virtual"
)]
pub(super) type Instant = std::time::Instant;

/// Blocks a thread that may be blocked.
#[allow(
    clippy::disallowed_methods,
    reason = "the thread is there to wait for the disk"
)]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}
