//! The content of one folder, with look-ups by decoded name.

use std::collections::HashMap;

use crate::encoding::NameCodec;
use crate::fichier::{FileItem, SubFolder};

/// A file that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Download URL: the identity.
    pub url: String,
    /// Stored name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Upload time, seconds since the Unix epoch.
    pub time: Option<i64>,
    /// Whirlpool, lower-case; empty when not known.
    pub whirlpool: String,
    /// Media type; empty when not known.
    pub content_type: String,
    /// A password is needed.
    pub password: bool,
    /// Access is restricted.
    pub acl: bool,
    /// Served with CDN credits.
    pub cdn: bool,
}

impl From<FileItem> for FileRecord {
    fn from(item: FileItem) -> Self {
        let FileItem {
            url,
            name,
            size,
            time,
            whirlpool,
            content_type,
            password,
            acl,
            cdn,
        } = item;
        Self {
            url,
            name,
            size,
            time,
            whirlpool,
            content_type,
            password,
            acl,
            cdn,
        }
    }
}

/// A folder that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderRecord {
    /// Folder id.
    pub id: i64,
    /// Stored name.
    pub name: String,
    /// When it was made, seconds since the Unix epoch.
    pub time: Option<i64>,
    /// A password is needed.
    pub password: bool,
}

impl From<SubFolder> for FolderRecord {
    fn from(folder: SubFolder) -> Self {
        let SubFolder {
            id,
            name,
            time,
            password,
        } = folder;
        Self {
            id,
            name,
            time,
            password,
        }
    }
}

/// The files and sub-folders of a folder.
#[derive(Clone, Debug, Default)]
pub struct Content {
    files: HashMap<String, FileRecord>,
    folders: HashMap<i64, FolderRecord>,
    /// Where a name is the same stored and decoded: from name to identity.
    plain_files: HashMap<String, Vec<String>>,
    plain_folders: HashMap<String, Vec<i64>>,
    /// All others: their names are decoded at every look-up, because what they
    /// decode to depends on the remote.
    odd_files: Vec<String>,
    odd_folders: Vec<i64>,
}

/// Whether a stored name decodes to itself under every mask: no character
/// that any mask replaces, or replaces something with.
fn is_plain(name: &str) -> bool {
    let special = |character: char| {
        matches!(character,
            '\0'..='\x1f' | '\x7f' | '/' | '\u{201B}' | '\u{2205}' | '\u{2400}'..='\u{2426}' | '\u{FF00}'..='\u{FF5F}')
    };
    !name.is_empty() && name != "." && name != ".." && !name.contains(special)
}

impl Content {
    /// From a listing.
    pub fn new(folders: Vec<FolderRecord>, files: Vec<FileRecord>) -> Self {
        let mut content = Self::default();
        for folder in folders {
            content.add_folder(folder);
        }
        for file in files {
            content.add_file(file);
        }
        content
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.files.len() + self.folders.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All files, in no order.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        self.files.values()
    }

    /// Whether there is a file with this URL.
    pub fn has_file(&self, url: &str) -> bool {
        self.files.contains_key(url)
    }

    /// All sub-folders, in no order.
    pub fn folders(&self) -> impl Iterator<Item = &FolderRecord> {
        self.folders.values()
    }

    /// The files with this decoded name, the newest first.
    pub fn find_files(&self, codec: NameCodec, segment: &str) -> Vec<&FileRecord> {
        let plain = self.plain_files.get(segment).into_iter().flatten();
        let odd = self.odd_files.iter();
        let mut found: Vec<_> = plain
            .chain(odd)
            .filter_map(|url| self.files.get(url))
            .filter(|file| codec.to_segment(&file.name) == segment)
            .collect();
        sort_newest_first(&mut found);
        found
    }

    /// The folder with this decoded name; the one with the smallest id if
    /// there are several, so that all agree on it ([API §J2]).
    pub fn find_folder(&self, codec: NameCodec, segment: &str) -> Option<&FolderRecord> {
        let plain = self.plain_folders.get(segment).into_iter().flatten();
        plain
            .chain(&self.odd_folders)
            .filter_map(|id| self.folders.get(id))
            .filter(|folder| codec.to_segment(&folder.name) == segment)
            .min_by_key(|folder| folder.id)
    }

    pub(super) fn add_file(&mut self, file: FileRecord) {
        self.remove_file(&file.url);
        if is_plain(&file.name) {
            self.plain_files
                .entry(file.name.clone())
                .or_default()
                .push(file.url.clone());
        } else {
            self.odd_files.push(file.url.clone());
        }
        self.files.insert(file.url.clone(), file);
    }

    pub(super) fn remove_file(&mut self, url: &str) {
        let Some(file) = self.files.remove(url) else {
            return;
        };
        match self.plain_files.get_mut(&file.name) {
            Some(urls) => {
                urls.retain(|other| other != url);
                if urls.is_empty() {
                    self.plain_files.remove(&file.name);
                }
            }
            None => self.odd_files.retain(|other| other != url),
        }
    }

    pub(super) fn add_folder(&mut self, folder: FolderRecord) {
        self.remove_folder(folder.id);
        if is_plain(&folder.name) {
            self.plain_folders
                .entry(folder.name.clone())
                .or_default()
                .push(folder.id);
        } else {
            self.odd_folders.push(folder.id);
        }
        self.folders.insert(folder.id, folder);
    }

    pub(super) fn remove_folder(&mut self, id: i64) {
        let Some(folder) = self.folders.remove(&id) else {
            return;
        };
        match self.plain_folders.get_mut(&folder.name) {
            Some(ids) => {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.plain_folders.remove(&folder.name);
                }
            }
            None => self.odd_folders.retain(|other| *other != id),
        }
    }
}

/// The newest first; among those of one second the order is fixed all the
/// same, because everybody must mean the same file.
pub(crate) fn sort_newest_first(files: &mut [&FileRecord]) {
    files.sort_by(|left, right| (right.time, &right.url).cmp(&(left.time, &left.url)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Mask;

    fn file(url: &str, name: &str, time: i64) -> FileRecord {
        FileRecord {
            url: url.into(),
            name: name.into(),
            size: 1,
            time: Some(time),
            whirlpool: String::new(),
            content_type: String::new(),
            password: false,
            acl: false,
            cdn: false,
        }
    }

    #[test]
    fn look_ups_compare_decoded_names() {
        let codec = NameCodec::new(Mask::FICHIER);
        let mut content = Content::default();
        content.add_file(file("u1", "a$b", 1));
        content.add_file(file("u2", "a＄b", 2));
        let urls = |content: &Content| -> Vec<String> {
            content
                .find_files(codec, "a$b")
                .iter()
                .map(|file| file.url.clone())
                .collect()
        };
        assert_eq!(
            urls(&content),
            ["u2", "u1"],
            "both stored forms, the newest first"
        );
        content.remove_file("u2");
        assert_eq!(urls(&content), ["u1"]);
        assert!(content.find_files(codec, "a＄b").is_empty());
    }

    #[test]
    fn the_smallest_id_of_twin_folders_counts() {
        let codec = NameCodec::new(Mask::FICHIER);
        let folder = |id| FolderRecord {
            id,
            name: "x".into(),
            time: None,
            password: false,
        };
        let content = Content::new(vec![folder(9), folder(7), folder(8)], Vec::new());
        assert_eq!(content.find_folder(codec, "x").unwrap().id, 7);
        assert_eq!(content.len(), 3);
    }
}
