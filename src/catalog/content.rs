//! The content of one folder, with look-ups by decoded name.
//!
//! A million files must fit: records are compact, and the indexes hold
//! positions instead of copies of names.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use super::order::newest_first;
use crate::checksum;
use crate::encoding::NameCodec;
use crate::fichier::{FileItem, SubFolder};

/// A file that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Download URL: the identity.
    pub url: Box<str>,
    /// Stored name.
    pub name: Box<str>,
    /// Bytes.
    pub size: u64,
    /// Upload time, seconds since the Unix epoch.
    pub time: Option<i64>,
    /// Whirlpool as 64 bytes; `None` when not known.
    pub whirlpool: Option<Whirlpool>,
    /// Media type; empty when not known.
    pub content_type: Arc<str>,
    /// A password is needed.
    pub password: bool,
    /// Access is restricted.
    pub acl: bool,
    /// Served with CDN credits.
    pub cdn: bool,
    /// Counts the files that this server stored, over restarts; 0 for others.
    #[serde(default)]
    pub order: u64,
}

/// A Whirlpool checksum.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Whirlpool(Box<[u8]>);

impl Whirlpool {
    const BYTES: usize = 64;

    /// From 128 hexadecimal digits; `None` when it is no such checksum.
    pub fn from_hex(hex: &str) -> Option<Self> {
        Self::from_bytes(&checksum::unhex(hex)?)
    }

    /// From its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == Self::BYTES).then(|| Self(bytes.into()))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// 128 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        checksum::hex(&self.0)
    }
}

/// Media types are few: one copy of each is shared by all files.
pub(super) fn shared_type(content_type: &str) -> Arc<str> {
    use std::collections::HashSet;
    use std::sync::{Mutex, PoisonError};
    static TYPES: LazyLock<Mutex<HashSet<Arc<str>>>> = LazyLock::new(Mutex::default);
    let mut types = TYPES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = types.get(content_type) {
        return Arc::clone(known);
    }
    let new: Arc<str> = content_type.into();
    // What upstream sends does not fill the memory.
    if types.len() < 10_000 {
        types.insert(Arc::clone(&new));
    }
    new
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
            url: url.into(),
            name: name.into(),
            size,
            time,
            whirlpool: Whirlpool::from_hex(&whirlpool),
            content_type: shared_type(&content_type),
            password,
            acl,
            cdn,
            order: 0,
        }
    }
}

/// A folder that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderRecord {
    /// Folder id.
    pub id: i64,
    /// Stored name.
    pub name: Box<str>,
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
            name: name.into(),
            time,
            password,
        }
    }
}

/// Something with an identity and a name.
trait Record: Clone {
    type Id: ?Sized + std::hash::Hash + Eq;
    fn id(&self) -> &Self::Id;
    fn name(&self) -> &str;
}

impl Record for FileRecord {
    type Id = str;
    fn id(&self) -> &str {
        &self.url
    }
    fn name(&self) -> &str {
        &self.name
    }
}

impl Record for FolderRecord {
    type Id = i64;
    fn id(&self) -> &i64 {
        &self.id
    }
    fn name(&self) -> &str {
        &self.name
    }
}

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A form of names that is the same for a stored name and for whatever it
/// decodes to under any mask: quotes are dropped, and replacements become what
/// they replace. `None` for names with a byte written in digits (`‛FE`), whose
/// decoded form has nothing to do with the digits.
fn folded_hash(name: &str) -> Option<u64> {
    const QUOTE: char = '\u{201B}';
    let mut folded = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(character) = rest.next() {
        let plain = match character {
            QUOTE => {
                let mut ahead = rest.clone();
                let digit = |next: Option<char>| next.is_some_and(|next| next.is_ascii_hexdigit());
                if digit(ahead.next()) && digit(ahead.next()) {
                    return None;
                }
                continue;
            }
            '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(character) - 0xFEE0),
            '\u{2400}'..='\u{2420}' => char::from_u32(u32::from(character) - 0x2400),
            '\u{2421}' => Some('\x7f'),
            other => Some(other),
        };
        folded.extend(plain);
    }
    Some(HASHER.hash_one(folded))
}

/// Records by identity and by name.
#[derive(Clone, Debug)]
struct Index<R> {
    records: Vec<R>,
    /// Positions by hash of the identity.
    ids: HashTable<u32>,
    /// Positions by hash of the folded name.
    names: HashTable<u32>,
    /// Identities whose names cannot be folded.
    odd: Vec<u32>,
}

impl<R> Default for Index<R> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            ids: HashTable::new(),
            names: HashTable::new(),
            odd: Vec::new(),
        }
    }
}

impl<R: Record> Index<R> {
    fn hash_of(records: &[R], at: u32) -> u64 {
        HASHER.hash_one(records[at as usize].id())
    }

    fn name_hash_of(records: &[R], at: u32) -> u64 {
        folded_hash(records[at as usize].name()).unwrap_or_default()
    }

    fn position(&self, id: &R::Id) -> Option<u32> {
        self.ids
            .find(HASHER.hash_one(id), |at| {
                self.records[*at as usize].id() == id
            })
            .copied()
    }

    fn add(&mut self, record: R) {
        self.remove(record.id());
        // A folder never holds 2^32 entries.
        let at = self.records.len() as u32;
        self.records.push(record);
        self.link(at);
    }

    fn unlink(&mut self, at: u32) {
        let records = &self.records;
        if let Ok(entry) = self
            .ids
            .find_entry(Self::hash_of(records, at), |other| *other == at)
        {
            entry.remove();
        }
        match folded_hash(records[at as usize].name()) {
            Some(hash) => {
                if let Ok(entry) = self.names.find_entry(hash, |other| *other == at) {
                    entry.remove();
                }
            }
            None => self.odd.retain(|other| *other != at),
        }
    }

    fn link(&mut self, at: u32) {
        let records = &self.records;
        self.ids
            .insert_unique(Self::hash_of(records, at), at, |at| {
                Self::hash_of(records, *at)
            });
        match folded_hash(records[at as usize].name()) {
            Some(hash) => {
                self.names
                    .insert_unique(hash, at, |at| Self::name_hash_of(records, *at));
            }
            None => self.odd.push(at),
        }
    }

    fn remove(&mut self, id: &R::Id) {
        let Some(at) = self.position(id) else { return };
        let last = self.records.len() as u32 - 1;
        self.unlink(at);
        if at != last {
            self.unlink(last);
        }
        self.records.swap_remove(at as usize);
        if at != last {
            self.link(at);
        }
    }

    fn find<'a, 'b>(
        &'a self,
        codec: NameCodec,
        segment: &'b str,
    ) -> impl Iterator<Item = &'a R> + use<'a, 'b, R> {
        let hash = folded_hash(segment);
        let indexed = hash.into_iter().flat_map(|hash| self.names.iter_hash(hash));
        // A segment in digits may stand for any name.
        let all = if hash.is_none() {
            0..self.records.len() as u32
        } else {
            0..0
        };
        indexed
            .copied()
            .chain(self.odd.iter().copied().filter(move |_| hash.is_some()))
            .chain(all)
            .map(|at| &self.records[at as usize])
            .filter(move |record| codec.matches(record.name(), segment))
    }
}

/// The files and sub-folders of a folder.
#[derive(Clone, Debug, Default)]
pub struct Content {
    files: Index<FileRecord>,
    folders: Index<FolderRecord>,
}

impl Content {
    /// From a listing.
    pub fn new(folders: Vec<FolderRecord>, files: Vec<FileRecord>) -> Self {
        let mut content = Self::default();
        for folder in folders {
            content.add_folder(folder);
        }
        content.files.records.reserve_exact(files.len());
        for file in files {
            content.add_file(file);
        }
        content
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.files.records.len() + self.folders.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All files, in no order.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        self.files.records.iter()
    }

    /// The file with this URL.
    pub fn file(&self, url: &str) -> Option<&FileRecord> {
        let at = self.files.position(url)?;
        self.files.records.get(at as usize)
    }

    /// The sub-folder with this id.
    pub fn folder(&self, id: i64) -> Option<&FolderRecord> {
        let at = self.folders.position(&id)?;
        self.folders.records.get(at as usize)
    }

    /// Whether there is a file with this URL.
    pub fn has_file(&self, url: &str) -> bool {
        self.files.position(url).is_some()
    }

    /// All sub-folders, in no order.
    pub fn folders(&self) -> impl Iterator<Item = &FolderRecord> {
        self.folders.records.iter()
    }

    /// Whether there is a sub-folder with this id.
    pub fn has_folder(&self, id: i64) -> bool {
        self.folders.position(&id).is_some()
    }

    /// The files with this decoded name, [the newest first](newest_first).
    pub fn find_files(&self, codec: NameCodec, segment: &str) -> Vec<&FileRecord> {
        let mut found: Vec<_> = self.files.find(codec, segment).collect();
        newest_first(&mut found);
        found
    }

    /// The folders with this decoded name, in no order: there may be several
    /// ([API §J2]).
    pub fn find_folders<'a, 'b>(
        &'a self,
        codec: NameCodec,
        segment: &'b str,
    ) -> impl Iterator<Item = &'a FolderRecord> + use<'a, 'b> {
        self.folders.find(codec, segment)
    }

    /// The one with the smallest id, so that all agree on it.
    pub fn find_folder(&self, codec: NameCodec, segment: &str) -> Option<&FolderRecord> {
        self.find_folders(codec, segment)
            .min_by_key(|folder| folder.id)
    }

    /// What only this server knows of a file.
    pub(super) fn set_order(&mut self, url: &str, order: u64) {
        if let Some(at) = self.files.position(url) {
            self.files.records[at as usize].order = order;
        }
    }

    pub(super) fn set_file_password(&mut self, url: &str, password: bool) {
        if let Some(at) = self.files.position(url) {
            self.files.records[at as usize].password = password;
        }
    }

    pub(super) fn set_folder_password(&mut self, id: i64, password: bool) {
        if let Some(at) = self.folders.position(&id) {
            self.folders.records[at as usize].password = password;
        }
    }

    pub(super) fn add_file(&mut self, file: FileRecord) {
        self.files.add(file);
    }

    pub(super) fn remove_file(&mut self, url: &str) {
        self.files.remove(url);
    }

    pub(super) fn add_folder(&mut self, folder: FolderRecord) {
        self.folders.add(folder);
    }

    pub(super) fn remove_folder(&mut self, id: i64) {
        self.folders.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::Mask;

    fn file(url: &str, name: &str, time: i64) -> FileRecord {
        FileRecord {
            url: url.into(),
            name: name.into(),
            size: 1,
            time: Some(time),
            whirlpool: None,
            content_type: shared_type(""),
            password: false,
            acl: false,
            cdn: false,
            order: 0,
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
                .map(|file| file.url.to_string())
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
        assert_eq!(content.find_folders(codec, "x").count(), 3);
        assert_eq!(content.folder(8).unwrap().id, 8);
        assert_eq!(content.len(), 3);
    }

    #[test]
    fn checksums_keep_their_digits() {
        let hex = "0123456789abcdef".repeat(8);
        assert_eq!(Whirlpool::from_hex(&hex).unwrap().to_hex(), hex);
        assert_eq!(Whirlpool::from_hex("12"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// The index finds exactly what a walk over all names finds, under
        /// any mask, also after removals.
        #[test]
        fn the_index_agrees_with_a_walk(
            names in proptest::collection::vec("[a$＄‛/／ ␠.．4F1\u{1}␁é:：]{1,4}", 1..12),
            removed in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
            bits in any::<u32>(),
        ) {
            let codec = NameCodec::new(Mask::from_bits(u64::from(bits)));
            let mut content = Content::default();
            for (number, name) in names.iter().enumerate() {
                content.add_file(file(&format!("u{number}"), name, number as i64));
            }
            for index in &removed {
                content.remove_file(&format!("u{}", index.index(names.len())));
            }
            for name in &names {
                let segment = codec.to_segment(name);
                let mut walked: Vec<_> = content.files().filter(|file| codec.to_segment(&file.name) == segment).collect();
                walked.sort_by_key(|file| std::cmp::Reverse(file.time));
                prop_assert_eq!(content.find_files(codec, &segment), walked);
            }
        }
    }
}
