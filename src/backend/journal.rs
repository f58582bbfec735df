//! What a change was to do, kept on disk until it is known how it ended.

use serde::{Deserialize, Serialize};

use super::batch::Target;
use super::carry::{IN_BETWEEN, Place};
use super::locks::Key;
use super::path::RemotePath;
use super::{Account, Remote};
use crate::catalog::{Content, FileRecord, FolderRecord, Intent, Touched, Whirlpool};
use crate::encoding::{Mask, NameCodec};
use crate::fichier::{self, Access, same_name};

/// What is left to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// A file was to be at a path.
    Write(Write),
    /// A directory was to have another path.
    Carry(Carry),
    /// A file is stored; whether in its folder was not asked yet.
    Landing(Landing),
}

/// A file that was to be at a path, in the place of others or beside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Write {
    pub(super) path: RemotePath,
    pub(super) encoding: u64,
    pub(super) folder: i64,
    /// Stored name.
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) whirlpool: Option<Whirlpool>,
    /// Files that had its path before.
    pub(super) before: Vec<Target>,
    /// Those are to go.
    pub(super) replaces: bool,
    /// Larger than the numbers of all own files that were there before.
    pub(super) order: u64,
    /// Where it comes from, if it is not new.
    pub(super) source: Option<Source>,
    /// The id of the request, and its arguments.
    pub(super) request: Option<(String, String)>,
    /// The link that it has, once that is known: then only others must go.
    pub(super) kept: Option<Box<str>>,
    /// Something else became of its path: if it shows, it goes, or back to where
    /// it was moved from.
    pub(super) unwanted: bool,
    /// Files of the same content that calls have told of since: none of them is
    /// what was stored.
    #[serde(default)]
    pub(super) vouched: Vec<Box<str>>,
    /// Its modification time, if a client gave it one.
    #[serde(default)]
    pub(super) modified: Option<i64>,
    /// It was found, and has that time.
    #[serde(default)]
    pub(super) dated: bool,
}

/// The file that is moved or copied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) path: RemotePath,
    pub(super) folder: i64,
    pub(super) file: FileRecord,
    pub(super) copy: bool,
    /// Files that look like a copy of it that has no name of its own yet.
    pub(super) alike: Vec<Box<str>>,
    /// Something else became of the path that it is moved from: it cannot go
    /// back.
    #[serde(default)]
    pub(super) is_taken: bool,
}

/// A directory that was to have another path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Carry {
    pub(super) encoding: u64,
    pub(super) folder: FolderRecord,
    pub(super) from: Place,
    pub(super) to: Place,
    pub(super) source: RemotePath,
    pub(super) destination: RemotePath,
    /// The id of the request, and its arguments.
    pub(super) request: Option<(String, String)>,
}

/// A file whose folder may have been removed by another program before it came
/// there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Landing {
    pub(super) path: RemotePath,
    pub(super) encoding: u64,
    pub(super) folder: i64,
    pub(super) file: FileRecord,
    /// Something else became of its path: it is not brought home, but goes.
    #[serde(default)]
    pub(super) unwanted: bool,
}

impl Task {
    pub(super) fn text(&self) -> String {
        // Strings, numbers and lists of them: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Write {
    /// A file of this content at a path.
    pub(super) fn new(
        remote: &Remote,
        path: &RemotePath,
        folder: i64,
        name: &str,
        size: u64,
        whirlpool: Option<Whirlpool>,
    ) -> Self {
        Self {
            path: path.clone(),
            encoding: remote.codec.mask().bits(),
            folder,
            name: name.to_owned(),
            size,
            whirlpool,
            before: Vec::new(),
            replaces: false,
            order: remote.account.catalog.next_order(),
            source: None,
            request: None,
            kept: None,
            unwanted: false,
            vouched: Vec::new(),
            modified: None,
            dated: false,
        }
    }

    pub(super) fn codec(&self) -> NameCodec {
        codec(self.encoding)
    }

    /// The paths that nobody else may write to while it is looked after.
    pub(super) fn keys(&self) -> Vec<Key> {
        let mut keys = vec![Key::path(&self.path)];
        if let Some(source) = &self.source {
            keys.extend(way(&source.path, &self.path).map(Key::Path));
        }
        keys
    }

    /// Whether a file may be what was to be stored, by name and content.
    pub(super) fn is_like(&self, file: &FileRecord) -> bool {
        same_name(&self.name, &file.name) && self.has_content_of(file)
    }

    pub(super) fn has_content_of(&self, file: &FileRecord) -> bool {
        file.size == self.size && file.whirlpool == self.whirlpool
    }

    pub(super) fn was_there(&self, url: &str) -> bool {
        self.before.iter().any(|target| target.url == url)
    }

    /// Whether a file is known to be another one: callers rely on it, or it is
    /// the one that was copied.
    pub(super) fn is_another(&self, url: &str) -> bool {
        let copied = |source: &Source| source.copy && *source.file.url == *url;
        self.vouched.iter().any(|known| **known == *url) || self.source.as_ref().is_some_and(copied)
    }

    /// Something else became of a path. Returns whether that concerns it.
    pub(super) fn supersede(&mut self, path: &RemotePath, folders: &[i64]) -> bool {
        let mut concerned = false;
        if self.kept.is_none() && is_place(path, folders, &self.path, self.folder) {
            concerned |= !std::mem::replace(&mut self.unwanted, true);
        }
        if let Some(source) = self.source.as_mut().filter(|source| !source.copy)
            && is_place(path, folders, &source.path, source.folder)
        {
            concerned |= !std::mem::replace(&mut source.is_taken, true);
        }
        concerned
    }

    /// A directory has another path. Returns whether that concerns it.
    pub(super) fn moved(&mut self, from: &RemotePath, to: &RemotePath) -> bool {
        let source = self.source.as_mut().map(|source| &mut source.path);
        let mut concerned = false;
        for path in [&mut self.path].into_iter().chain(source) {
            if let Some(moved) = path.moved(from, to) {
                *path = moved;
                concerned = true;
            }
        }
        concerned
    }

    /// Whether a file still has the path in a folder.
    pub(super) fn stands(&self, content: &Content, url: &str) -> bool {
        let segment = self.path.segments().last().unwrap_or_default();
        let file = content.file(url);
        file.is_some_and(|file| self.codec().matches(&file.name, segment))
    }
}

/// Where a file may be that is moved or copied from one path to another, beside
/// the destination.
pub(super) fn way(
    source: &RemotePath,
    destination: &RemotePath,
) -> impl Iterator<Item = RemotePath> {
    let (name, parent) = (source.split(), destination.split());
    let middle = name
        .zip(parent)
        .map(|((_, name), (parent, _))| parent.join(name));
    middle.into_iter().chain([source.clone()])
}

/// Whether a path is that of a write, or names the same place: a directory that
/// was moved has another path than when the write began.
pub(super) fn is_place(
    path: &RemotePath,
    folders: &[i64],
    other: &RemotePath,
    folder: i64,
) -> bool {
    let name = |path: &RemotePath| path.segments().next_back().map(ToOwned::to_owned);
    path == other || folders.contains(&folder) && name(path) == name(other)
}

impl Carry {
    /// Whether a directory passes a place on its way.
    pub(super) fn passes(&self, place: &Place) -> bool {
        let is_name = |name: &str| *name == *self.from.name || *name == *self.to.name;
        let is_parent = |parent: i64| parent == self.from.parent || parent == self.to.parent;
        is_parent(place.parent) && (is_name(&place.name) || place.name.starts_with(IN_BETWEEN))
    }
}

fn codec(encoding: u64) -> NameCodec {
    NameCodec::new(Mask::from_bits(encoding))
}

impl Account {
    /// The view of the account that something was begun by.
    pub(super) fn remote_of(self: &std::sync::Arc<Self>, encoding: u64) -> Remote {
        Remote {
            name: "".into(),
            account: std::sync::Arc::clone(self),
            codec: codec(encoding),
            access: Access::default(),
        }
    }

    /// Notes that something will be done.
    ///
    /// # Errors
    /// When that cannot be noted: then it may not be done.
    pub(super) async fn intend(
        &self,
        folders: Vec<i64>,
        touched: Vec<Touched>,
        task: &Task,
    ) -> Result<Intent, fichier::Error> {
        self.catalog.intend(folders, touched, task.text()).await
    }

    /// Notes that one call will change what is in these folders. If nobody
    /// sees it end, they are listed anew.
    ///
    /// # Errors
    /// When that cannot be noted: then the call may not be made.
    pub(super) async fn changing(
        &self,
        folders: &[i64],
        touched: Vec<Touched>,
    ) -> Result<Intent, fichier::Error> {
        let intent = self
            .catalog
            .intend(folders.to_vec(), touched, String::new());
        intent.await
    }
}

impl Write {
    pub(super) fn remote(&self, account: &std::sync::Arc<Account>) -> Remote {
        account.remote_of(self.encoding)
    }
}
