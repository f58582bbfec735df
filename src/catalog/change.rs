//! Own changes, which listings may not show yet.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::content::{Content, FileRecord, FolderRecord};

/// An own change of a folder's content. Applying it twice is the same as once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Change {
    FileAdded(FileRecord),
    /// Added again after it was removed, perhaps under another name.
    FileReturned(FileRecord),
    /// With the name that it had.
    FileRenamed(FileRecord, Box<str>),
    FileRemoved(Box<str>),
    FileProtected(Box<str>, bool),
    /// From another folder, or from another name in this one.
    FolderAdded(FolderRecord),
    /// New: it had no other name.
    FolderMade(FolderRecord),
    FolderRemoved(i64),
    FolderProtected(i64, bool),
}

/// What a change is about.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Subject<'a> {
    File(&'a str),
    FilePassword(&'a str),
    Folder(i64),
    FolderPassword(i64),
}

impl Change {
    /// What it is about.
    pub(super) fn subject(&self) -> Subject<'_> {
        match self {
            Self::FileAdded(file) | Self::FileReturned(file) | Self::FileRenamed(file, _) => {
                Subject::File(&file.url)
            }
            Self::FileRemoved(url) => Subject::File(url),
            Self::FileProtected(url, _) => Subject::FilePassword(url),
            Self::FolderAdded(folder) | Self::FolderMade(folder) => Subject::Folder(folder.id),
            Self::FolderRemoved(id) => Subject::Folder(*id),
            Self::FolderProtected(id, _) => Subject::FolderPassword(*id),
        }
    }

    /// The same in a text.
    pub(super) fn subject_text(&self) -> String {
        match self.subject() {
            Subject::File(url) => format!("file {url}"),
            Subject::FilePassword(url) => format!("file password {url}"),
            Subject::Folder(id) => format!("folder {id}"),
            Subject::FolderPassword(id) => format!("folder password {id}"),
        }
    }

    /// Whether a listing shows it; one that does not know a rename yet shows
    /// the old name. Then the change needs no help any more; a removal stands
    /// for its whole time, because another listing may be older.
    pub(super) fn is_shown(&self, content: &Content) -> bool {
        let file = |url: &str| content.file(url);
        let folder = |id: &i64| content.folder(*id);
        match self {
            Self::FileAdded(added) => content.has_file(&added.url),
            Self::FileReturned(returned) => {
                file(&returned.url).is_some_and(|shown| shown.name == returned.name)
            }
            Self::FileRenamed(renamed, old) => {
                file(&renamed.url).is_some_and(|shown| shown.name != *old)
            }
            Self::FileProtected(url, password) => {
                file(url).is_some_and(|shown| shown.password == *password)
            }
            Self::FolderMade(made) => content.has_folder(made.id),
            Self::FolderAdded(added) => {
                folder(&added.id).is_some_and(|shown| shown.name == added.name)
            }
            Self::FolderProtected(id, password) => {
                folder(id).is_some_and(|shown| shown.password == *password)
            }
            Self::FileRemoved(_) | Self::FolderRemoved(_) => false,
        }
    }

    pub(super) fn apply(&self, content: &mut Content) {
        match self {
            Self::FileAdded(file) | Self::FileReturned(file) | Self::FileRenamed(file, _) => {
                content.add_file(file.clone());
            }
            Self::FileRemoved(url) => content.remove_file(url),
            Self::FileProtected(url, password) => content.set_file_password(url, *password),
            Self::FolderAdded(folder) | Self::FolderMade(folder) => {
                content.add_folder(folder.clone());
            }
            Self::FolderRemoved(id) => content.remove_folder(*id),
            Self::FolderProtected(id, password) => content.set_folder_password(*id, *password),
        }
    }

    /// The file that it put into the folder.
    pub(super) fn file(&self) -> Option<&FileRecord> {
        match self {
            Self::FileAdded(file) | Self::FileReturned(file) | Self::FileRenamed(file, _) => {
                Some(file)
            }
            _ => None,
        }
    }

    /// The folder that it put into the folder.
    pub(super) fn folder(&self) -> Option<i64> {
        match self {
            Self::FolderAdded(folder) | Self::FolderMade(folder) => Some(folder.id),
            _ => None,
        }
    }
}

/// An own change, and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) at: Instant,
    pub(super) change: Change,
    /// A listing has shown it: from then on listings count. It is remembered a
    /// little longer, because calls by link may not know it yet ([`YOUNG`](super::YOUNG)).
    pub(super) shown: bool,
}

impl Own {
    pub(super) fn new(change: Change, at: Instant) -> Self {
        Self {
            at,
            change,
            shown: false,
        }
    }
}

/// Of several changes of one file or folder the last counts: what was removed
/// and came back is not gone, and of several names that it had only the last
/// one shows that a listing knows them all.
pub(super) fn keep_latest(changes: &mut Vec<Own>) {
    let mut latest = HashMap::with_capacity(changes.len());
    let mut returned = HashSet::new();
    for (at, own) in changes.iter().enumerate() {
        if let Some(before) = latest.insert(own.change.subject(), at) {
            let has_history = match &changes[before].change {
                Change::FileRemoved(_) | Change::FileRenamed(..) | Change::FileReturned(_) => {
                    !changes[before].shown
                }
                _ => returned.contains(&before),
            };
            if has_history {
                returned.insert(at);
            }
        }
    }
    let latest: HashSet<usize> = latest.into_values().collect();
    for at in returned {
        if let Change::FileAdded(file) | Change::FileRenamed(file, _) = &changes[at].change {
            changes[at].change = Change::FileReturned(file.clone());
        }
    }
    let mut at = 0..;
    changes.retain(|_| at.next().is_some_and(|at| latest.contains(&at)));
}
