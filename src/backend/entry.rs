//! Entries as clients see them.

use std::collections::BTreeMap;

use crate::catalog::{FileRecord, FolderRecord, Whirlpool};
use crate::transfer::{Algorithm, Checksum};

use super::path::RemotePath;
use super::twins::Directory;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// A file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: RemotePath,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file.
    pub size: Option<u64>,
    /// Upload or creation time, seconds since the Unix epoch.
    pub time: Option<i64>,
    /// Media type; empty when not known.
    pub content_type: String,
    /// Every checksum that is known.
    pub checksums: Vec<Checksum>,
    /// Changes when the entry is replaced.
    pub etag: String,
    /// Download URL or folder id.
    pub id: String,
    /// Facts for display.
    pub attributes: BTreeMap<&'static str, String>,
}

impl Entry {
    pub(super) fn root() -> Self {
        Directory::root().entry(RemotePath::root())
    }

    /// `duplicates` folders share the path.
    pub(super) fn directory(path: RemotePath, folder: &FolderRecord, duplicates: usize) -> Self {
        let mut attributes = BTreeMap::new();
        flag(&mut attributes, "password", folder.password);
        several(&mut attributes, duplicates);
        Self {
            path,
            kind: EntryKind::Directory,
            size: None,
            time: folder.time,
            content_type: String::new(),
            checksums: Vec::new(),
            etag: format!("d{}", folder.id),
            id: folder.id.to_string(),
            attributes,
        }
    }

    /// `duplicates` files share the path.
    pub(super) fn file(path: RemotePath, file: &FileRecord, duplicates: usize) -> Self {
        let mut attributes = BTreeMap::new();
        flag(&mut attributes, "password", file.password);
        flag(&mut attributes, "acl", file.acl);
        flag(&mut attributes, "cdn", file.cdn);
        several(&mut attributes, duplicates);
        let checksums = file
            .whirlpool
            .iter()
            .map(|sum| Checksum {
                algorithm: Algorithm::Whirlpool,
                hex: sum.to_hex(),
            })
            .collect();
        Self {
            path,
            kind: EntryKind::File,
            size: Some(file.size),
            time: file.time,
            content_type: file.content_type.to_string(),
            checksums,
            etag: etag(file),
            id: file.url.to_string(),
            attributes,
        }
    }

    /// Tells that a directory has the same path, if one has.
    #[must_use]
    pub(super) fn beside_directory(mut self, beside: bool) -> Self {
        flag(&mut self.attributes, "directory", beside);
        self
    }
}

fn several(attributes: &mut BTreeMap<&'static str, String>, duplicates: usize) {
    if duplicates > 1 {
        attributes.insert("duplicates", duplicates.to_string());
    }
}

fn flag(attributes: &mut BTreeMap<&'static str, String>, name: &'static str, set: bool) {
    if set {
        attributes.insert(name, "1".to_owned());
    }
}

/// The file's id and the beginning of its checksum: content never changes
/// under one id ([API §C]).
pub(super) fn etag(file: &FileRecord) -> String {
    let id = file.url.rsplit('?').next().unwrap_or(&file.url);
    let sum = file
        .whirlpool
        .as_ref()
        .map(Whirlpool::to_hex)
        .unwrap_or_default();
    format!("f{id}-{}", sum.get(..16).unwrap_or_default())
}
