//! Removing, moving, copying and renaming files, many of them in one call
//! ([API §9 to §12]).

use serde_json::{Value, json};

use super::budget::Rule;
use super::error::Error;
use super::model::{Batch, RawBatch};
use super::{Client, Repeat, Turn};

impl Client {
    /// Removes files; at most [`BATCH`](super::BATCH) of them. A lost answer is the caller's to
    /// repeat: only then "not there" means removed.
    pub async fn remove_files(
        &self,
        turn: impl Into<Turn>,
        urls: &[String],
    ) -> Result<Batch, Error> {
        let files: Vec<_> = urls.iter().map(|url| json!({"url": url})).collect();
        let body = json!({"files": files});
        let raw: RawBatch = self
            .call(turn, Rule::Call, "file/rm", &body, Repeat::Unsafe)
            .await?;
        Ok(raw.check(urls))
    }

    /// Moves files to a folder; at most [`BATCH`](super::BATCH) of them. A new name is for
    /// one file, and only when its folder changes ([API §10]).
    pub async fn move_files(
        &self,
        turn: impl Into<Turn>,
        urls: &[String],
        destination: i64,
        rename: Option<&str>,
    ) -> Result<Batch, Error> {
        let body = json!({"urls": urls, "destination_folder_id": destination});
        let raw = self.relocate(turn.into(), "file/mv", body, rename).await?;
        Ok(raw.check_moved(urls))
    }

    /// Copies files to a folder; at most [`BATCH`](super::BATCH) of them. A new name is for
    /// one file.
    pub async fn copy_files(
        &self,
        turn: impl Into<Turn>,
        urls: &[String],
        destination: i64,
        rename: Option<&str>,
    ) -> Result<Batch, Error> {
        let body = json!({"urls": urls, "folder_id": destination});
        let raw = self.relocate(turn.into(), "file/cp", body, rename).await?;
        Ok(raw.check_copied(urls))
    }

    async fn relocate(
        &self,
        turn: Turn,
        endpoint: &'static str,
        mut body: Value,
        rename: Option<&str>,
    ) -> Result<RawBatch, Error> {
        if let Some(name) = rename {
            body["rename"] = name.into();
        }
        self.call(turn, Rule::Call, endpoint, &body, Repeat::Unsafe)
            .await
    }

    /// Gives files new names in their folders, as pairs of URL and name; at
    /// most [`BATCH`](super::BATCH) of them.
    pub async fn rename_files(
        &self,
        turn: impl Into<Turn>,
        files: &[(String, String)],
    ) -> Result<Batch, Error> {
        let pairs: Vec<_> = files
            .iter()
            .map(|(url, name)| json!({"url": url, "filename": name}))
            .collect();
        let body = json!({"urls": pairs});
        let raw: RawBatch = self
            .call(turn, Rule::Call, "file/rename", &body, Repeat::Unsafe)
            .await?;
        let urls: Vec<_> = files.iter().map(|(url, _)| url.clone()).collect();
        Ok(raw.check_moved(&urls))
    }
}
