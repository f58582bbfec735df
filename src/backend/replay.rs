//! Outcomes of calls with a request id, to be told again when the call is
//! repeated, also after a restart.

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::path::RemotePath;
use super::{Account, Remote};
use crate::catalog::{FileRecord, FolderRecord};
use crate::error::{Error, Reason, Result};
use crate::fichier::{Priority, ROOT, Scope};

/// Longest request id.
const MAX_ID: usize = 256;

/// What a call left at a path.
#[derive(Serialize, Deserialize)]
struct Outcome {
    path: String,
    #[serde(flatten)]
    what: Stored,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stored {
    File(FileRecord),
    Folder(FolderRecord),
}

impl Remote {
    /// The outcome of an earlier call with this id and these arguments.
    ///
    /// # Errors
    /// REQUEST_ID_REUSED when the arguments were others, STATE_UNAVAILABLE when
    /// it is not known, or not on disk.
    pub(super) async fn replay(&self, id: &str, arguments: &str) -> Result<Option<Entry>> {
        if id.len() > MAX_ID {
            return Err(Error::invalid_field(
                "request_id",
                format_args!("longer than {MAX_ID} bytes"),
            ));
        }
        let catalog = &self.account.catalog;
        let mut found = catalog.outcome(id).await?;
        if found.is_none() && catalog.has_strays() {
            // It may have been made with an earlier key: the root shows whose
            // that was. The call needs it anyway.
            let scope = Scope::new(Priority::Upload);
            let _ = self.snapshot(scope, ROOT, None).await;
            catalog.taken_over().await;
            found = catalog.outcome(id).await?;
        }
        let Some((known, outcome)) = found else {
            return Ok(None);
        };
        if known != arguments {
            return Err(reused("other arguments"));
        }
        let Ok(outcome) = serde_json::from_str::<Outcome>(&outcome) else {
            return Ok(None);
        };
        // An earlier call may have failed for this alone.
        catalog.settle().await?;
        let path = RemotePath::parse(&outcome.path)?;
        Ok(Some(match &outcome.what {
            Stored::File(file) => self.file_entry(path, file, 1).await,
            Stored::Folder(folder) => Entry::directory(path, folder, 1),
        }))
    }
}

/// The refusal of a call whose request id was given to another one.
pub(super) fn reused(what: &str) -> Error {
    let text = format!(
        "the request_id belongs to an earlier call with {what}; choose a new one for each new call"
    );
    Error::new(Reason::RequestIdReused, text).field("request_id")
}

impl Account {
    pub(super) fn remember(&self, id: String, arguments: String, path: &RemotePath, what: Stored) {
        let outcome = Outcome {
            path: path.to_string(),
            what,
        };
        match serde_json::to_string(&outcome) {
            Ok(text) => self.catalog.remember_outcome(id, arguments, text),
            Err(error) => tracing::error!(%error, "an outcome cannot be remembered"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_of_earlier_versions_are_read() {
        let folder = FolderRecord {
            id: 7,
            name: "n".into(),
            time: Some(1),
            password: false,
        };
        let outcome = Outcome {
            path: "a".into(),
            what: Stored::Folder(folder.clone()),
        };
        let text = serde_json::to_string(&outcome).unwrap();
        let back: Outcome = serde_json::from_str(&text).unwrap();
        assert!(matches!(back.what, Stored::Folder(back) if back == folder));
        let file = r#"{"path":"a","file":{"url":"u","name":"n","size":1,"time":null,
            "whirlpool":null,"content_type":"","password":false,"acl":false,"cdn":false}}"#;
        let back: Outcome = serde_json::from_str(file).unwrap();
        assert!(matches!(back.what, Stored::File(file) if &*file.url == "u"));
    }
}
