//! What was asked of the emulator: counts and the last requests.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// How many requests are remembered.
const REMEMBERED: usize = 1_000;
/// How much of a request's body is remembered, in bytes.
const REMEMBERED_BODY: usize = 64 * 1024;

/// How often each endpoint was called, refused calls included.
///
/// Calls to `/v1` are named like `folder/ls`; the others are `upload.cgi`, `end.pl`, `download`
/// (token URLs), `dir` (shared folders), `check_links.pl` and `page` (anything else).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    counts: BTreeMap<String, u64>,
    floods: u64,
}

impl Calls {
    pub(super) fn count(&mut self, endpoint: &str) {
        match self.counts.get_mut(endpoint) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(endpoint.to_owned(), 1);
            }
        }
    }

    pub(super) fn with_floods(mut self, floods: u64) -> Calls {
        self.floods = floods;
        self
    }

    /// How often this endpoint was called.
    pub fn get(&self, endpoint: &str) -> u64 {
        self.counts.get(endpoint).copied().unwrap_or(0)
    }

    /// How many calls to `/v1` there were: those that the limits are about.
    pub fn total_v1(&self) -> u64 {
        self.iter()
            .filter(|(endpoint, _)| endpoint.contains('/'))
            .map(|(_, count)| count)
            .sum()
    }

    /// How many calls were answered with a flood message.
    pub fn floods(&self) -> u64 {
        self.floods
    }

    /// Endpoints and counts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts
            .iter()
            .map(|(endpoint, count)| (endpoint.as_str(), *count))
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (endpoint, count) in self.iter() {
            writeln!(to, "{endpoint:<28} {count:>8}")?;
        }
        writeln!(to, "{:<28} {:>8}", "calls to /v1", self.total_v1())?;
        write!(to, "{:<28} {:>8}", "floods", self.floods)
    }
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// When it arrived.
    pub at: tokio::time::Instant,
    /// The HTTP method.
    pub method: String,
    /// The name as in [`Calls`].
    pub endpoint: String,
    /// Path and query.
    pub target: String,
    /// Whether an `Authorization` header was present.
    pub authorized: bool,
    /// The headers except `Authorization`; names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body: as sent for `/v1`, for `upload.cgi` a JSON summary of fields and files, empty
    /// elsewhere. Long bodies are cut at 64 KiB.
    pub body: String,
}

/// The last requests, the newest last.
#[derive(Debug, Default)]
pub(super) struct Log(VecDeque<Request>);

impl Log {
    pub(super) fn add(&mut self, mut request: Request) {
        if request.body.len() > REMEMBERED_BODY {
            let end = (0..=REMEMBERED_BODY)
                .rev()
                .find(|at| request.body.is_char_boundary(*at))
                .unwrap_or(0);
            request.body.truncate(end);
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(request);
    }

    /// Sets the body of the last request to an endpoint that has none yet.
    pub(super) fn complete(&mut self, endpoint: &str, body: String) {
        let last = self
            .0
            .iter_mut()
            .rev()
            .find(|request| request.endpoint == endpoint && request.body.is_empty());
        if let Some(last) = last {
            last.body = body;
        }
    }

    pub(super) fn all(&self) -> Vec<Request> {
        self.0.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
