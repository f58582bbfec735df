//! Outcomes of calls with a request id, to be told again when the call is
//! repeated.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::entry::Entry;
use crate::error::{Error, Reason, Result};

/// How long an outcome is remembered.
const MEMORY: Duration = Duration::from_secs(1_800);
/// Outcomes remembered at the most.
const OUTCOMES: usize = 50_000;
/// Longest request id.
const MAX_ID: usize = 256;

#[derive(Debug)]
struct Outcome {
    arguments: String,
    entry: Entry,
    at: Instant,
}

/// The outcomes of one account.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<HashMap<String, Outcome>>);

impl Replays {
    /// The outcome of an earlier call with this id and these arguments.
    ///
    /// # Errors
    /// REQUEST_ID_REUSED when the arguments were others.
    pub(super) fn find(&self, id: &str, arguments: &str) -> Result<Option<Entry>> {
        if id.len() > MAX_ID {
            return Err(Error::invalid_field(
                "request_id",
                format_args!("longer than {MAX_ID} bytes"),
            ));
        }
        let outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outcomes.get(id).filter(|outcome| outcome.at.elapsed() < MEMORY) {
            None => Ok(None),
            Some(outcome) if outcome.arguments == arguments => Ok(Some(outcome.entry.clone())),
            Some(_) => Err(Error::new(
                Reason::RequestIdReused,
                "the request_id belongs to an earlier call with other arguments; choose a new one for each new call",
            )
            .field("request_id")),
        }
    }

    pub(super) fn remember(&self, id: String, arguments: String, entry: Entry) {
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if outcomes.len() >= OUTCOMES {
            outcomes.retain(|_, outcome| outcome.at.elapsed() < MEMORY);
            if outcomes.len() >= OUTCOMES {
                outcomes.clear();
            }
        }
        outcomes.insert(
            id,
            Outcome {
                arguments,
                entry,
                at: Instant::now(),
            },
        );
    }
}
