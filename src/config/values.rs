//! Values as text: of flags and variables, and as rclone writes them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::ValueEnum;

/// A boolean in rclone's words, and in no others.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// A whole number.
pub(super) fn whole(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a whole number"))
}

fn whole_in<T: FromStr + PartialOrd + Display>(
    text: &str,
    range: RangeInclusive<T>,
) -> Result<T, String> {
    let (least, most) = (range.start(), range.end());
    let wrong = || format!("{text:?} is not a whole number from {least} to {most}");
    let number = text.parse().map_err(|_| wrong())?;
    range.contains(&number).then_some(number).ok_or_else(wrong)
}

/// 1Fichier allows 30 connections to an account.
pub(super) fn connections(text: &str) -> Result<u16, String> {
    whole_in(text, 1..=30)
}

/// 1Fichier allows 500 files in an upload.
pub(super) fn group_files(text: &str) -> Result<u16, String> {
    whole_in(text, 1..=500)
}

/// Each holds some memory, and perhaps a file.
pub(super) fn transfers(text: &str) -> Result<u32, String> {
    whole_in(text, 1..=100_000)
}

/// A smaller segment would cost more in connections than it gains; a larger
/// one too much memory.
pub(super) fn segment_bytes(text: &str) -> Result<u64, String> {
    whole_in(text, 1 << 20..=1 << 28)
}

/// How many connections.
pub(super) fn places(text: &str) -> Result<u64, String> {
    const MOST: u64 = 1_000_000;
    let number = whole(text)
        .ok()
        .filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("{text:?} is not a whole number from 1 to {MOST}"))
}

/// A number.
pub(super) fn number(text: &str) -> Result<f64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number"))
}

/// One of the words of a choice.
pub(super) fn choice<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let values = T::value_variants().iter().filter_map(T::to_possible_value);
        let names: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
        format!("{text:?} is not one of {}", names.join(", "))
    })
}

/// The word of a choice.
pub(super) fn word<T: ValueEnum>(choice: T) -> String {
    let value = choice.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Any type that reads itself.
pub(super) fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// Checks a text by reading it as a `T`, and keeps the text.
pub(super) fn checked<T: FromStr<Err: Display>>(text: &str) -> Result<String, String> {
    parsed::<T>(text).map(|_| text.to_owned())
}

/// The known name that an unknown one was perhaps meant to be.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let unknown = unknown.to_lowercase().replace('-', "_");
    let far = unknown.len().max(3) / 2;
    known
        .map(|name| (strsim::damerau_levenshtein(&unknown, name), name))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rclones_booleans() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(switch(text), Ok(true));
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(switch(text), Ok(false));
        }
        for text in ["", "yes", "on", "tRUE", " true", "2", "no"] {
            assert!(switch(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(connections("30"), Ok(30));
        for text in ["0", "31", "-1", "1.5", "", "many", "65537"] {
            assert!(connections(text).is_err(), "{text}");
        }
        assert!(number("3x").is_err() && number("").is_err());
        assert_eq!(number("0.5"), Ok(0.5));
    }

    #[test]
    fn names_that_were_meant() {
        let known = ["uploads", "downloads", "upload_group_files", "cdn"];
        let of = |unknown| nearest(unknown, known.into_iter());
        assert_eq!(of("upload"), Some("uploads"));
        assert_eq!(of("Downloads"), Some("downloads"));
        assert_eq!(of("upload-group-file"), Some("upload_group_files"));
        assert_eq!(of("nonsense_of_another_kind"), None);
    }
}
