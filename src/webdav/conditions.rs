//! `If-Match`, `If-None-Match`, `If-Modified-Since` and `If-Unmodified-Since`.

use http::{HeaderMap, StatusCode, header};

use crate::backend::Entry;
use crate::http::Failure;

/// What a request demands of what is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    matching: Option<Tags>,
    not_matching: Option<Tags>,
    since: Option<i64>,
    unmodified: Option<i64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// Anything.
    Any,
    These(Vec<String>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: header::HeaderName) -> Option<Self> {
        let mut tags = Vec::new();
        let mut is_there = false;
        for value in headers.get_all(name) {
            is_there = true;
            // No etag of this server has a comma.
            for tag in value.to_str().unwrap_or_default().split(',') {
                let tag = tag.trim();
                if tag == "*" {
                    return Some(Self::Any);
                }
                let tag = tag.strip_prefix("W/").unwrap_or(tag);
                tags.push(tag.trim_matches('"').to_owned());
            }
        }
        is_there.then_some(Self::These(tags))
    }

    fn holds(&self, entry: Option<&Entry>) -> bool {
        match (self, entry) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::These(tags), Some(entry)) => tags.contains(&entry.etag),
        }
    }
}

impl Conditions {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let date = |name| {
            let date = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
            let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
            i64::try_from(since.as_secs()).ok()
        };
        Self {
            matching: Tags::of(headers, header::IF_MATCH),
            not_matching: Tags::of(headers, header::IF_NONE_MATCH),
            since: date(header::IF_MODIFIED_SINCE),
            unmodified: date(header::IF_UNMODIFIED_SINCE),
        }
    }

    /// Whether a change may happen to what is there.
    ///
    /// # Errors
    /// 412.
    pub(super) fn check(&self, entry: Option<&Entry>) -> Result<(), Failure> {
        let failed = |text| Err(Failure::new(StatusCode::PRECONDITION_FAILED, text));
        if self
            .matching
            .as_ref()
            .is_some_and(|tags| !tags.holds(entry))
        {
            return failed("what is there is not what If-Match names; look again");
        }
        let time = entry.and_then(|entry| entry.time);
        let later = |since| time.is_some_and(|time| time > since);
        if self.matching.is_none() && self.unmodified.is_some_and(later) {
            return failed("what is there is newer than If-Unmodified-Since; look again");
        }
        if self
            .not_matching
            .as_ref()
            .is_some_and(|tags| tags.holds(entry))
        {
            return failed("what is there is what If-None-Match excludes");
        }
        Ok(())
    }

    /// Whether nothing may be there.
    pub(super) fn only_new(&self) -> bool {
        self.not_matching == Some(Tags::Any)
    }

    /// The etag that what is there must keep until it is changed.
    pub(super) fn etag_to_keep(&self, entry: Option<&Entry>) -> Option<String> {
        if self.matching.is_none() && self.unmodified.is_none() {
            return None;
        }
        entry.map(|entry| entry.etag.clone())
    }

    /// Whether the client has what is there already.
    ///
    /// # Errors
    /// 412.
    pub(super) fn is_known(&self, entry: &Entry) -> Result<bool, Failure> {
        match &self.not_matching {
            Some(tags) if tags.holds(Some(entry)) => Ok(true),
            // Times come from clients: a later content may have an earlier one.
            None if self.since.is_some() && self.since == entry.time => Ok(true),
            _ => self.check(Some(entry)).map(|()| false),
        }
    }
}
