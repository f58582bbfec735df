//! The time of day. What must survive a restart is measured by it; all else
//! by tokio's clock.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Tells the time of day.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock(Option<(SystemTime, Instant)>);

impl Clock {
    /// The machine's clock, which may jump.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that starts now and goes with tokio's, for tests in virtual
    /// time.
    pub fn virtual_time() -> Self {
        Self(Some((SystemTime::now(), Instant::now())))
    }

    /// The same, as if the time of day were another by so many seconds.
    #[must_use]
    pub fn shifted(self, seconds: i64) -> Self {
        let (time, start) = self
            .0
            .unwrap_or_else(|| (SystemTime::now(), Instant::now()));
        let by = Duration::from_secs(seconds.unsigned_abs());
        Self(Some((
            if seconds < 0 { time - by } else { time + by },
            start,
        )))
    }

    /// The time of day now.
    pub fn now(&self) -> SystemTime {
        match self.0 {
            None => SystemTime::now(),
            Some((time, start)) => time + start.elapsed(),
        }
    }

    /// Now, as something that ages.
    pub fn moment(&self) -> Moment {
        Moment {
            at: Some(Instant::now()),
            time: self.now(),
        }
    }

    /// A moment of this run.
    pub fn at(&self, at: Instant) -> Moment {
        Moment {
            at: Some(at),
            time: self.now() - at.elapsed(),
        }
    }

    /// How long ago a moment was. When the time of day jumped back since a
    /// moment of an earlier run, nothing is known: it is as old as can be.
    pub fn age(&self, moment: Moment) -> Duration {
        let by_day = self.now().duration_since(moment.time);
        match moment.at {
            // The steady clock does not see that the machine slept.
            Some(at) => at.elapsed().max(by_day.unwrap_or_default()),
            None => by_day.unwrap_or(Duration::MAX),
        }
    }
}

/// A moment that something was true.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the steady clock; unknown for moments of an earlier run.
    at: Option<Instant>,
    /// By the time of day.
    pub time: SystemTime,
}

impl Moment {
    /// By the steady clock; `None` for a moment of an earlier run.
    pub fn instant(&self) -> Option<Instant> {
        self.at
    }

    /// A moment of an earlier run.
    pub fn remembered(time: SystemTime) -> Self {
        Self { at: None, time }
    }
}

/// Milliseconds since the Unix epoch.
pub fn to_millis(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// From milliseconds since the Unix epoch.
pub fn from_millis(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn moments_age_and_jumps_back_are_noticed() {
        let clock = Clock::virtual_time();
        let moment = clock.moment();
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.age(moment), Duration::from_secs(90));
        let future = clock.now() + Duration::from_secs(10);
        assert_eq!(clock.age(Moment::remembered(future)), Duration::MAX);
        assert_eq!(
            clock
                .age(Moment::remembered(from_millis(to_millis(moment.time))))
                .as_secs(),
            90
        );
    }
}
