//! Making, moving and removing folders ([API §15, §17, §18]).

use serde_json::json;

use super::budget::Rule;
use super::error::{Error, Kind};
use super::model::{Envelope, RawMkdir};
use super::{Client, Repeat, Turn};

impl Client {
    /// Makes a folder; returns its id and stored name.
    pub async fn make_folder(
        &self,
        turn: impl Into<Turn>,
        parent: i64,
        name: &str,
    ) -> Result<(i64, String), Error> {
        const ENDPOINT: &str = "folder/mkdir";
        let body = json!({"name": name, "folder_id": parent});
        let raw: RawMkdir = self
            .call(turn, Rule::Call, ENDPOINT, &body, Repeat::Unsafe)
            .await?;
        // Without an id the next upload would land in the root ([API §15]).
        let id = raw.folder_id.0.filter(|id| *id > 0).ok_or_else(|| {
            Error::new(
                ENDPOINT,
                Kind::Malformed,
                "1Fichier says that the folder was made, but gives no id",
            )
        })?;
        Ok((id, raw.name.0.unwrap_or_else(|| name.to_owned())))
    }

    /// Gives a folder another parent, or a new name where it is: with both,
    /// 1Fichier may ignore the parent. `parent` is the one that it has
    /// afterwards in either case, because without one it may end in the root
    /// ([API §17]).
    pub async fn move_folder(
        &self,
        turn: impl Into<Turn>,
        folder: i64,
        parent: i64,
        rename: Option<&str>,
    ) -> Result<(), Error> {
        let mut body = json!({"folder_id": folder, "destination_folder_id": parent});
        if let Some(name) = rename {
            body["rename"] = name.into();
        }
        let _: Envelope = self
            .call(turn, Rule::Call, "folder/mv", &body, Repeat::Unsafe)
            .await?;
        Ok(())
    }

    /// Removes an empty folder.
    pub async fn remove_folder(&self, turn: impl Into<Turn>, folder: i64) -> Result<(), Error> {
        let body = json!({"folder_id": folder});
        let _: Envelope = self
            .call(turn, Rule::Call, "folder/rm", &body, Repeat::Unsafe)
            .await?;
        Ok(())
    }
}
