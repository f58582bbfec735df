//! What is printed: JSON documents, and the same things for people.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::exit::Problem;
use crate::error::code_name;
use crate::proto::{Checksum, Entry, EntryType, HashAlgorithm};

/// A file or directory in JSON.
#[derive(Debug, Serialize)]
pub(super) struct EntryDocument {
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) modify_time: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) content_type: String,
    /// By algorithm, for example `whirlpool`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) checksums: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) etag: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) id: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) attributes: BTreeMap<String, String>,
}

impl From<Entry> for EntryDocument {
    fn from(entry: Entry) -> Self {
        Self {
            kind: match entry.r#type() {
                EntryType::File => "file",
                EntryType::Directory => "directory",
                EntryType::Unspecified => "unknown",
            },
            path: entry.path,
            size: entry.size,
            modify_time: entry.modify_time.as_ref().and_then(rfc3339),
            content_type: entry.content_type,
            checksums: checksums(entry.checksums),
            etag: entry.etag,
            id: entry.id,
            attributes: entry.attributes.into_iter().collect(),
        }
    }
}

/// Checksums by algorithm; those of unknown algorithms are left out.
pub(super) fn checksums(list: Vec<Checksum>) -> BTreeMap<String, String> {
    let named = list.into_iter().filter_map(|checksum| {
        let algorithm = HashAlgorithm::try_from(checksum.algorithm).ok()?;
        Some((algorithm_name(algorithm), checksum.hex))
    });
    named.collect()
}

/// For example `sha256`.
pub(super) fn algorithm_name(algorithm: HashAlgorithm) -> String {
    enum_name(algorithm.as_str_name(), "HASH_ALGORITHM_")
}

/// The name of a value in the contract without the prefix, in lower case.
pub(super) fn enum_name(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// An error in JSON.
#[derive(Debug, Serialize)]
pub(super) struct ErrorDocument {
    pub(super) error: ErrorBody,
}

/// What an error says.
#[derive(Debug, Serialize)]
pub(super) struct ErrorBody {
    code: &'static str,
    reason: Option<String>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<f64>,
}

impl ErrorDocument {
    pub(super) fn new(problem: &Problem, path: Option<&str>) -> Self {
        let error = ErrorBody::new(problem, path);
        Self { error }
    }
}

impl ErrorBody {
    pub(super) fn new(problem: &Problem, path: Option<&str>) -> Self {
        Self {
            code: code_name(problem.code),
            reason: problem.reason.clone(),
            message: problem.message.clone(),
            path: path.map(str::to_owned),
            metadata: problem.metadata.clone(),
            retry_after_seconds: problem.retry_after.map(|delay| delay.as_secs_f64()),
        }
    }
}

/// An error for people.
pub(super) fn error_text(problem: &Problem, path: Option<&str>) -> String {
    let mut text = "error: ".to_owned();
    if let Some(path) = path.filter(|path| !problem.message.contains(path)) {
        let _ = write!(text, "{}: ", printable(path));
    }
    text.push_str(&printable(&problem.message));
    if let Some(reason) = &problem.reason {
        let _ = write!(text, " [{}]", printable(reason));
    }
    if let Some(delay) = problem.retry_after {
        let _ = write!(text, "\nhint: try again in {}", duration(delay));
    }
    text
}

/// Any document as one line of JSON.
pub(super) fn to_json(document: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(document)
        .map_err(|error| Problem::local(format!("cannot write JSON: {error}")))
}

/// Text from elsewhere without what could steer a terminal.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n';
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// A name on a line of its own.
pub(super) fn printable_name(name: &str) -> Cow<'_, str> {
    match printable(name) {
        name if name.contains('\n') => Cow::Owned(name.replace('\n', "\\n")),
        name => name,
    }
}

/// For example `1.50 GiB`.
pub(super) fn size(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes.unsigned_abs() < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        // What would be shown as 1024.00 is 1.00 of the next unit.
        if value.abs() < 1023.995 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.2} {unit}")
}

/// For example `1m 30s`.
pub(super) fn duration(duration: Duration) -> String {
    match SignedDuration::try_from(duration) {
        Ok(duration) => format!("{duration:#}"),
        Err(_) => format!("{} s", duration.as_secs()),
    }
}

fn instant(time: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// A time for programs.
pub(super) fn rfc3339(time: &prost_types::Timestamp) -> Option<String> {
    instant(time).map(|time| time.to_string())
}

/// A time for people, where they are.
pub(super) fn local_time(time: &prost_types::Timestamp) -> Option<String> {
    let time = instant(time)?.to_zoned_datetime(TimeZone::system());
    Some(time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// Rows with their columns aligned; nothing is added after the last one.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{:<width$}  ", printable_name(cell));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
