//! Checksums that were computed when a content passed through, told with its
//! files.

use super::Remote;
use super::entry::{Entry, EntryKind};
use super::path::RemotePath;
use crate::catalog::{ContentKey, FileRecord, Whirlpool};
use crate::transfer::{Algorithm, Checksum};

impl Remote {
    /// A file with every checksum that is known of it. `duplicates` files share
    /// the path.
    pub(super) async fn file_entry(
        &self,
        path: RemotePath,
        file: &FileRecord,
        duplicates: usize,
    ) -> Entry {
        let mut entry = Entry::file(path, file, duplicates);
        self.add_recorded(std::slice::from_mut(&mut entry)).await;
        entry
    }

    /// Adds the recorded checksums to entries; one look-up for all of them.
    pub(super) async fn add_recorded(&self, entries: &mut [Entry]) {
        let catalog = &self.account.catalog;
        if !catalog.has_recorded() {
            return;
        }
        let (mut known, mut keys) = (Vec::new(), Vec::new());
        for entry in entries {
            if let Some(key) = self.content_of(entry) {
                known.push(&mut entry.checksums);
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return;
        }
        for (known, sums) in known.into_iter().zip(catalog.recorded(keys).await) {
            known.extend(sums);
        }
    }

    fn content_of(&self, entry: &Entry) -> Option<ContentKey> {
        if entry.kind != EntryKind::File {
            return None;
        }
        let stored = entry
            .checksums
            .iter()
            .find(|sum| sum.algorithm == Algorithm::Whirlpool)
            .and_then(|sum| Whirlpool::from_hex(&sum.hex));
        let catalog = &self.account.catalog;
        catalog.content_key(stored.as_ref(), &entry.id, entry.size?)
    }

    /// Remembers checksums of a file whose content is known to be what 1Fichier
    /// holds.
    pub(super) fn record(&self, file: &FileRecord, mut sums: Vec<Checksum>) {
        let catalog = &self.account.catalog;
        let key = catalog.content_key(file.whirlpool.as_ref(), &file.url, file.size);
        if let Some(key) = key {
            // What 1Fichier tells is not to be remembered.
            sums.retain(|sum| file.whirlpool.is_none() || sum.algorithm != Algorithm::Whirlpool);
            catalog.record(key, sums);
        }
    }

    /// The algorithms that are computed and recorded beside Whirlpool.
    pub fn recorded_hashes(&self) -> impl Iterator<Item = Algorithm> {
        self.account
            .record_hashes
            .iter()
            .filter(|algorithm| *algorithm != Algorithm::Whirlpool)
    }
}
