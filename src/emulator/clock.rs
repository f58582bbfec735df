//! The service's clock: real dates that advance with the runtime's time, so that tests in paused
//! time see consistent dates.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::time::Instant;

/// How the service writes dates [API §1].
const FORMAT: &str = "%Y-%m-%d %H:%M:%S";

#[derive(Debug)]
pub(super) struct Clock {
    /// Seconds since 1970 when the clock was started.
    start_date: i64,
    start: Instant,
    zone: TimeZone,
}

impl Clock {
    pub(super) fn start(date: Option<i64>) -> io::Result<Clock> {
        let zone = TimeZone::get("Europe/Paris")
            .map_err(|error| io::Error::other(format!("no time zone Europe/Paris: {error}")))?;
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
        };
        let start_date = date.unwrap_or_else(now);
        Ok(Clock {
            start_date,
            start: Instant::now(),
            zone,
        })
    }

    /// Seconds since 1970, whole: the service's dates have no finer resolution [API K8].
    pub(super) fn date(&self) -> i64 {
        let elapsed = self.start.elapsed().as_secs();
        self.start_date + i64::try_from(elapsed).unwrap_or(0)
    }

    /// A date as French local time [API §1].
    pub(super) fn local(&self, date: i64) -> String {
        Timestamp::from_second(date).map_or_else(
            |_| String::new(),
            |time| {
                time.to_zoned_datetime(self.zone.clone())
                    .strftime(FORMAT)
                    .to_string()
            },
        )
    }

    /// The value of the `Date` header, now.
    pub(super) fn http(&self) -> String {
        Timestamp::from_second(self.date()).map_or_else(
            |_| String::new(),
            |time| time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        )
    }
}

/// Whether a text has the form of the service's dates. Windows given in another form are ignored,
/// as [API §G] fears.
pub(super) fn is_date(text: &str) -> bool {
    jiff::civil::DateTime::strptime(FORMAT, text).is_ok() && text.len() == 19
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_french_local_time() {
        let clock = Clock::start(None).unwrap();
        // 2021-06-22 12:57:25 UTC is the file date of [API §1], two hours later in summer.
        assert_eq!(clock.local(1_624_366_645), "2021-06-22 14:57:25");
        assert_eq!(clock.local(1_767_618_131), "2026-01-05 14:02:11");
    }

    #[test]
    fn dates_are_recognised() {
        assert!(is_date("2026-01-05 14:02:11"));
        assert!(!is_date("2026-01-05T14:02:11"));
        assert!(!is_date("2026-1-5 14:02:11"));
    }
}
