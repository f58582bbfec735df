//! Modification times that clients gave to files.
//!
//! 1Fichier knows only when a file was uploaded. A time belongs to the link of
//! a file: renames and moves keep it, copies take it along, and it goes with
//! the file.

use std::collections::HashMap;

use super::Catalog;
use super::store::Write;

impl Catalog {
    /// Sets the modification time of a file, in seconds since the Unix epoch.
    pub fn set_modified(&self, url: &str, time: i64) {
        self.store.write(Write::Modified {
            url: url.to_owned(),
            time,
        });
    }

    /// Gives a file the time of another, if that has one.
    pub fn pass_modified_on(&self, from: &str, to: &str) {
        if self.store.has_modified() {
            self.store.write(Write::ModifiedOf {
                from: from.to_owned(),
                to: to.to_owned(),
            });
        }
    }

    /// The file is gone.
    pub fn forget_modified(&self, url: &str) {
        if self.store.has_modified() {
            self.store.write(Write::ModifiedNoMore {
                url: url.to_owned(),
            });
        }
    }

    /// Whether any file has a time of its own.
    pub fn has_modified(&self) -> bool {
        self.store.has_modified()
    }

    /// The times of files, by link; of those only that have one.
    pub async fn modified(&self, urls: Vec<String>) -> HashMap<String, i64> {
        self.store.modified(urls).await
    }
}
