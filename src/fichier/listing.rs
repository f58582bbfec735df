//! Listings of folders ([API §6, §14]).

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::budget::{Rule, Scope};
use super::error::Error;
use super::model::{FileItem, FolderListing, RawListing, SubFolder};
use super::{Client, Repeat, time};

impl Client {
    /// How long until the folder may be listed again.
    pub fn listing_allowed_in(&self, folder: i64) -> Duration {
        self.budget.allowed_in(Rule::Listing(folder))
    }

    /// How long the folder must not be listed again, whatever else is listed.
    pub fn folder_closed_for(&self, folder: i64) -> Duration {
        self.budget.folder_closed_for(Rule::Listing(folder))
    }

    /// Folders and files of a folder, in one call where 1Fichier does that and
    /// in two where not.
    pub async fn list_folder(&self, scope: Scope, folder: i64) -> Result<FolderListing, Error> {
        const ENDPOINT: &str = "folder/ls";
        let in_two = self.lists_in_two.load(Ordering::Relaxed);
        let (rule, body) = if in_two {
            (Rule::Folders, json!({"folder_id": folder}))
        } else {
            let body = json!({"folder_id": folder, "files": 1});
            (Rule::Listing(folder), body)
        };
        let (raw, asked): (RawListing, _) = self
            .call_at(scope, rule, ENDPOINT, &body, Repeat::Safe)
            .await?;
        let mut listing = raw.check_folder(ENDPOINT, folder)?;
        listing.asked = Some(asked);
        if in_two || listing.files.is_none() {
            let body = json!({"folder_id": folder});
            let raw: RawListing = self
                .call(scope, Rule::Listing(folder), "file/ls", &body, Repeat::Safe)
                .await?;
            let files = raw.check_files("file/ls")?;
            // Files that the first call kept back: do not ask it for them
            // again, as that would start the folder's 30 seconds in vain.
            if !files.is_empty() {
                self.lists_in_two.store(true, Ordering::Relaxed);
            }
            listing.files = Some(files);
        }
        Ok(listing)
    }

    /// The sub-folders of a folder. The 30 seconds between two listings of one
    /// folder do not count for this.
    pub async fn list_sub_folders(
        &self,
        scope: Scope,
        folder: i64,
    ) -> Result<Vec<SubFolder>, Error> {
        const ENDPOINT: &str = "folder/ls";
        let body = json!({"folder_id": folder});
        let raw: RawListing = self
            .call(scope, Rule::Folders, ENDPOINT, &body, Repeat::Safe)
            .await?;
        Ok(raw.check_folder(ENDPOINT, folder)?.folders)
    }

    /// The files of a folder with dates between two local dates ([`time::local`]);
    /// whether those of exactly these seconds are among them is not known. At
    /// most [`super::LISTING_CAP`], without a sign that there are more.
    pub(crate) async fn list_files(
        &self,
        scope: Scope,
        folder: i64,
        after: Option<i64>,
        before: Option<i64>,
    ) -> Result<Vec<FileItem>, Error> {
        const ENDPOINT: &str = "file/ls";
        let mut body = json!({"folder_id": folder});
        for (name, bound) in [("sent_after", after), ("sent_before", before)] {
            if let Some(text) = bound.and_then(time::format) {
                body[name] = text.into();
            }
        }
        let raw: RawListing = self
            .call(scope, Rule::Listing(folder), ENDPOINT, &body, Repeat::Safe)
            .await?;
        raw.check_files(ENDPOINT)
    }

    /// The least time between two listings of one folder.
    pub(crate) fn listing_interval(&self) -> Duration {
        self.budget.listing_interval()
    }
}
