//! Dates of 1Fichier: `YYYY-MM-DD HH:MM:SS` in French local time ([API §1]).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

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

/// A moment as a listing will tell it, by its date: in the second pass of the
/// hour that is repeated in October it will be the first. What is stored from
/// here gets this time at once, so that it is the newest, or not, before and
/// after the first listing alike.
pub(crate) fn as_listed(seconds: i64) -> i64 {
    let text = format(local(seconds));
    text.as_deref().and_then(parse).unwrap_or(seconds)
}

/// What French clocks show at a moment, as seconds since 1970-01-01 00:00:00
/// of theirs. In this form listings by date windows reckon: it has one value
/// for each date that 1Fichier can write.
pub(crate) fn local(seconds: i64) -> i64 {
    let offset = Timestamp::from_second(seconds)
        .map_or(0, |moment| paris().to_offset(moment).seconds().into());
    seconds.saturating_add(offset)
}

fn civil(local: i64) -> Option<DateTime> {
    let shown = Timestamp::from_second(local).ok()?;
    Some(TimeZone::UTC.to_datetime(shown))
}

/// The text that 1Fichier uses for a local date; `None` beyond the year 9999.
pub(crate) fn format(local: i64) -> Option<String> {
    Some(civil(local)?.strftime(FORMAT).to_string())
}

/// An hour that French clocks show twice in October, or never in March.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OddHour {
    /// Its first second.
    pub(crate) begin: i64,
    /// The first second after it.
    pub(crate) end: i64,
    /// It is shown twice.
    pub(crate) twice: bool,
}

/// The odd hour that a local date lies in.
pub(crate) fn odd_hour(local: i64) -> Option<OddHour> {
    let twice = match paris().to_ambiguous_timestamp(civil(local)?).offset() {
        AmbiguousOffset::Unambiguous { .. } => return None,
        AmbiguousOffset::Gap { .. } => false,
        AmbiguousOffset::Fold { .. } => true,
    };
    let begin = local - local.rem_euclid(3_600);
    Some(OddHour {
        begin,
        end: begin + 3_600,
        twice,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn summer_and_winter() {
        // rclone issue 5421: server Date 12:58:17 GMT, file date 14:57:25.
        assert_eq!(parse("2021-06-22 14:57:25"), Some(1_624_366_645));
        assert_eq!(parse("2026-01-05 14:02:11"), Some(1_767_618_131));
        for text in ["2021-06-22 14:57:25", "2026-01-05 14:02:11"] {
            let seconds = parse(text).unwrap();
            assert_eq!(format(local(seconds)).as_deref(), Some(text));
        }
        assert_eq!(parse("soon"), None);
    }

    #[test]
    fn odd_hours() {
        let hour = |text: &str| odd_hour(local(parse(text).unwrap()));
        assert_eq!(hour("2025-10-26 01:59:59"), None);
        assert_eq!(hour("2025-10-26 03:00:00"), None);
        let repeated = hour("2025-10-26 02:30:00").unwrap();
        assert_eq!(
            format(repeated.begin).as_deref(),
            Some("2025-10-26 02:00:00")
        );
        assert_eq!(format(repeated.end).as_deref(), Some("2025-10-26 03:00:00"));
        assert!(repeated.twice);
        // The second pass is read as the first: both look the same.
        let second = 1_761_440_400 + 1_800;
        assert_eq!(local(second), local(second - 3_600));
        let before = local(parse("2026-03-29 01:59:59").unwrap());
        assert_eq!(odd_hour(before), None);
        assert!(!odd_hour(before + 1).unwrap().twice);
        assert_eq!(odd_hour(before + 1 + 3_600), None);
    }

    /// The last Sundays of March and October at 01:00 UTC, when French clocks
    /// change.
    fn change(year: i16, month: i8) -> i64 {
        let first = jiff::civil::date(year, month, 1);
        let sunday = first.nth_weekday_of_month(-1, jiff::civil::Weekday::Sunday);
        let moment = TimeZone::UTC.to_timestamp(sunday.unwrap().at(1, 0, 0, 0));
        moment.unwrap().as_second()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Around both changes of the year, what is stored from here sorts
        /// among what listings show as its date says, and stays there.
        #[test]
        fn times_are_stable_around_the_changes(
            year in 2000_i16..2037,
            autumn in any::<bool>(),
            offsets in proptest::array::uniform2(-10_000_i64..10_000),
        ) {
            let moment = change(year, if autumn { 10 } else { 3 });
            let [left, right] = offsets.map(|offset| moment + offset);
            for seconds in [left, right] {
                let own = as_listed(seconds);
                let text = format(local(seconds)).unwrap();
                prop_assert_eq!(parse(&text), Some(own), "the listing shows {}", text);
                prop_assert_eq!(as_listed(own), own);
                prop_assert_eq!(local(own), local(seconds));
                let second_pass = autumn && (moment..moment + 3_600).contains(&seconds);
                prop_assert_eq!(seconds - own, if second_pass { 3_600 } else { 0 });
            }
            prop_assert_eq!(
                as_listed(left).cmp(&as_listed(right)),
                format(local(left)).cmp(&format(local(right))),
                "newer is what has the later date"
            );
        }
    }
}
