//! Outcomes of calls with a request id, to be told again when the call is
//! repeated, also after a restart.

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::path::RemotePath;
use super::{Account, Remote};
use crate::catalog::FileRecord;
use crate::error::{Error, Reason, Result};

/// Longest request id.
const MAX_ID: usize = 256;

#[derive(Serialize, Deserialize)]
struct Outcome {
    path: String,
    file: FileRecord,
}

impl Remote {
    /// The outcome of an earlier call with this id and these arguments.
    ///
    /// # Errors
    /// REQUEST_ID_REUSED when the arguments were others.
    pub(super) async fn replay(&self, id: &str, arguments: &str) -> Result<Option<Entry>> {
        if id.len() > MAX_ID {
            return Err(Error::invalid_field(
                "request_id",
                format_args!("longer than {MAX_ID} bytes"),
            ));
        }
        let Some((known, outcome)) = self.account.catalog.outcome(id).await else {
            return Ok(None);
        };
        if known != arguments {
            return Err(Error::new(
                Reason::RequestIdReused,
                "the request_id belongs to an earlier call with other arguments; choose a new one for each new call",
            )
            .field("request_id"));
        }
        let Ok(outcome) = serde_json::from_str::<Outcome>(&outcome) else {
            return Ok(None);
        };
        let path = RemotePath::parse(&outcome.path)?;
        Ok(Some(self.file_entry(path, &outcome.file, 1).await))
    }
}

impl Account {
    pub(super) fn remember(
        &self,
        id: String,
        arguments: String,
        path: &RemotePath,
        file: &FileRecord,
    ) {
        let outcome = Outcome {
            path: path.to_string(),
            file: file.clone(),
        };
        match serde_json::to_string(&outcome) {
            Ok(text) => self.catalog.remember_outcome(id, arguments, text),
            Err(error) => tracing::error!(%error, "an outcome cannot be remembered"),
        }
    }
}
