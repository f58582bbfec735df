//! Dates of 1Fichier: `YYYY-MM-DD HH:MM:SS` in French local time ([API §1]).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const FORMAT: &str = "%Y-%m-%d %H:%M:%S";

fn paris() -> TimeZone {
    // The time zone database is compiled in; UTC would be the fallback of
    // rclone, at most two hours off.
    TimeZone::get("Europe/Paris").unwrap_or(TimeZone::UTC)
}

/// Seconds since the Unix epoch. The hour that is repeated in October is read
/// as its first pass. `None` when the text is no date: one bad date must not
/// spoil a listing.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let date = DateTime::strptime(FORMAT, text.trim()).ok()?;
    Some(
        date.to_zoned_datetime(paris())
            .ok()?
            .timestamp()
            .as_second(),
    )
}

/// The text that 1Fichier uses for a moment.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "listings by date windows need it")
)]
pub(crate) fn format(seconds: i64) -> Option<String> {
    let moment = Timestamp::from_second(seconds).ok()?;
    Some(
        moment
            .to_zoned_datetime(paris())
            .strftime(FORMAT)
            .to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summer_and_winter() {
        // rclone issue 5421: server Date 12:58:17 GMT, file date 14:57:25.
        assert_eq!(parse("2021-06-22 14:57:25"), Some(1_624_366_645));
        assert_eq!(parse("2026-01-05 14:02:11"), Some(1_767_618_131));
        assert_eq!(
            format(1_624_366_645).as_deref(),
            Some("2021-06-22 14:57:25")
        );
        assert_eq!(parse("soon"), None);
    }
}
