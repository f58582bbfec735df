//! Entries as clients see them.

use std::collections::BTreeMap;

use crate::catalog::{FileRecord, FolderRecord, Whirlpool};
use crate::fichier::ROOT;
use crate::transfer::{Algorithm, Checksum};

use super::path::RemotePath;

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
        Self::directory(
            RemotePath::root(),
            &FolderRecord {
                id: ROOT,
                name: "".into(),
                time: None,
                password: false,
            },
        )
    }

    pub(super) fn directory(path: RemotePath, folder: &FolderRecord) -> Self {
        let mut attributes = BTreeMap::new();
        flag(&mut attributes, "password", folder.password);
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
        if duplicates > 1 {
            attributes.insert("duplicates", duplicates.to_string());
        }
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
