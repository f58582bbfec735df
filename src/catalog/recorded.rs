//! Checksums that were computed when the bytes of a content passed through.
//!
//! They belong to the content and not to a file: renames, moves and copies
//! keep them, and so does a second upload of the same bytes.

use std::fmt;

use sha2::Digest;

use super::Catalog;
use super::content::Whirlpool;
use super::store::Write;
use crate::checksum::Checksum;

/// A content: its Whirlpool and size, or the link of a file whose Whirlpool
/// 1Fichier does not tell. Content never changes under one link ([API §C]).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ContentKey {
    identity: Box<[u8]>,
    size: u64,
}

impl ContentKey {
    /// By its Whirlpool.
    pub fn of_whirlpool(whirlpool: &Whirlpool, size: u64) -> Self {
        Self {
            identity: whirlpool.bytes().into(),
            size,
        }
    }

    /// By the link of a file. It is shorter than a Whirlpool, so that none can
    /// be taken for the other.
    pub fn of_link(url: &str, size: u64) -> Self {
        Self {
            identity: sha2::Sha256::digest(url.as_bytes()).as_slice().into(),
            size,
        }
    }

    /// As it stands in a database.
    pub(super) fn new(identity: &[u8], size: u64) -> Self {
        Self {
            identity: identity.into(),
            size,
        }
    }

    pub(super) fn identity(&self) -> &[u8] {
        &self.identity
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The beginning of the identity: enough to find it by.
    pub(super) fn lead(&self) -> i64 {
        self.identity
            .first_chunk()
            .map_or(0, |lead| i64::from_be_bytes(*lead))
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentKey({:016x}, {})", self.lead(), self.size)
    }
}

impl Catalog {
    /// Whether it is that of a public folder.
    pub fn is_shared(&self) -> bool {
        self.source.is_shared()
    }

    /// What the checksums of a file are recorded under; `None` when nothing is
    /// known to tell its content by.
    pub fn content_key(
        &self,
        whirlpool: Option<&Whirlpool>,
        url: &str,
        size: u64,
    ) -> Option<ContentKey> {
        match whirlpool {
            Some(whirlpool) => Some(ContentKey::of_whirlpool(whirlpool, size)),
            None if self.is_shared() => Some(ContentKey::of_link(url, size)),
            None => None,
        }
    }

    /// Remembers checksums of a content.
    pub fn record(&self, key: ContentKey, sums: Vec<Checksum>) {
        if !sums.is_empty() {
            self.store.write(Write::Checksums { key, sums });
        }
    }

    /// Whether any are remembered at all.
    pub fn has_recorded(&self) -> bool {
        self.store.has_checksums()
    }

    /// The remembered checksums of contents, in order.
    pub async fn recorded(&self, keys: Vec<ContentKey>) -> Vec<Vec<Checksum>> {
        let count = keys.len();
        match self.store.checksums(keys).await {
            Some(sums) => sums,
            None => vec![Vec::new(); count],
        }
    }
}
