//! Faults that are made to happen: what a network and a service do on bad days.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;

/// A fault to be injected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where: the name as in [`super::Calls`], `file/*` for a group, `v1` for every call to `/v1`,
    /// `*` for every request.
    pub endpoint: String,
    /// How many matching requests go through first.
    #[serde(default)]
    pub skip: u32,
    /// How many matching requests then meet the fault.
    #[serde(default = "once")]
    pub times: u32,
    /// What happens to them.
    pub kind: FaultKind,
}

fn once() -> u32 {
    1
}

/// What a fault does. A kind that makes no sense for the endpoint it meets has no effect there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// This HTTP status with an HTML page, without effect.
    Status(u16),
    /// This KO answer, without effect.
    Ko {
        /// The HTTP status.
        http: u16,
        /// The message, number included.
        message: String,
    },
    /// The connection is reset without an answer and without effect.
    ResetBeforeAnswer,
    /// The request takes effect, then the connection is reset without an answer.
    ResetAfterEffect,
    /// The request takes effect, and no answer ever comes. Tests stop the caller meanwhile.
    HangAfterEffect,
    /// Uploads: reset after so many bytes of the request's body, nothing is stored. Everywhere
    /// else: reset after so many bytes of the answer's body.
    ResetAtByte(u64),
    /// The answer's body ends after so many bytes and the connection is closed in good order.
    Truncate(u64),
    /// One byte of the downloaded data is wrong, or one byte of the uploaded data arrives wrong
    /// (and is hashed as it arrived).
    Corrupt,
    /// 200 with an HTML page, without effect.
    HtmlPage,
    /// An HTML page with this text, without effect: what the website says to people [API A.2].
    Page {
        /// The HTTP status.
        http: u16,
        /// What the page says.
        text: String,
    },
    /// A redirect to this place, without effect: `/?c=DB` stands for a database error [API A.2].
    Redirect(String),
    /// The request takes effect, half of the answer is sent as if it were all.
    TruncatedJson,
    /// The request takes effect, the answer is 200 with an empty body.
    EmptyBody,
    /// `end.pl` answers `"links": []`.
    EmptyLinks,
    /// `end.pl` answers the anti-virus page.
    WaitPage,
    /// A flood answer with the lock that comes with it, without effect.
    Flood,
    /// The request is handled after this time, in seconds.
    Delay(#[serde(with = "seconds")] Duration),
    /// A token URL behaves as after its time.
    TokenExpired,
    /// `upload.cgi` reads everything, stores nothing and shows a page with this reason.
    NodeRefusal(String),
    /// Only so many items of a batch (or files of an upload) are acted upon.
    PartialBatch(usize),
    /// No answer ever comes; a download stalls after half of the data.
    Hang,
    /// A download answers 200 with the whole file although a part was asked for.
    IgnoreRange,
    /// A download answers with a part that begins one byte later than asked, and says so.
    WrongRange,
}

/// The faults still to come.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that this request meets. Faults wait behind each other: the first that matches
    /// counts the request, others do not see it.
    pub(super) fn take(&mut self, endpoint: &str) -> Option<FaultKind> {
        let at = self.0.iter().position(|fault| fault.matches(endpoint))?;
        let fault = self.0.get_mut(at)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times = fault.times.saturating_sub(1);
        let kind = fault.kind.clone();
        if fault.times == 0 {
            self.0.remove(at);
        }
        Some(kind)
    }
}

impl Fault {
    fn matches(&self, endpoint: &str) -> bool {
        match self.endpoint.as_str() {
            "*" => true,
            "v1" => endpoint.contains('/'),
            pattern => match pattern.strip_suffix('*') {
                Some(prefix) => endpoint.starts_with(prefix),
                None => endpoint == pattern,
            },
        }
    }
}
