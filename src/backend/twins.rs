//! Folders that share a path. 1Fichier may make two folders of one name
//! ([API §J2]), and two stored names may decode to the same segment: one path
//! then names several folders, and means what all of them hold together.

use std::collections::HashMap;
use std::time::Duration;

use super::batch::Target;
use super::entry::{Entry, etag};
use super::path::RemotePath;
use super::put::etag_mismatch;
use super::{Remote, Staleness};
use crate::catalog::{FileRecord, FolderRecord, Snapshot, newest_first};
use crate::clock::Moment;
use crate::encoding::NameCodec;
use crate::error::{Error, Reason, Result};
use crate::fichier::{Kind, ROOT, Scope};

/// A file, and the folder that it is in.
#[derive(Clone, Debug)]
pub(super) struct FileAt {
    pub(super) folder: i64,
    pub(super) file: FileRecord,
}

impl FileAt {
    /// For calls that concern it.
    pub(super) fn target(&self) -> Target {
        Target::new(self.folder, &self.file.url)
    }
}

/// The file that a caller means: the newest of those with a path, or the one
/// with the etag that it names. The others are not touched with it.
///
/// # Errors
/// ETAG_MISMATCH.
pub(super) fn pick<'a>(
    files: &'a [FileAt],
    if_match: Option<&str>,
    path: &RemotePath,
) -> Result<&'a FileAt> {
    let found = match if_match {
        Some(wanted) => files.iter().find(|at| etag(&at.file) == wanted),
        None => files.first(),
    };
    found.ok_or_else(|| etag_mismatch(path))
}

/// A folder, and the folder that it is in.
#[derive(Clone, Debug)]
pub(super) struct FolderAt {
    pub(super) parent: i64,
    pub(super) folder: FolderRecord,
}

/// The folders that a path names: nearly always one. The one with the smallest
/// id comes first, so that all agree on it; new entries go there.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    first: FolderAt,
    others: Vec<FolderAt>,
}

impl Directory {
    /// The root.
    pub(super) fn root() -> Self {
        let folder = FolderRecord {
            id: ROOT,
            name: "".into(),
            time: None,
            password: false,
        };
        Self {
            first: FolderAt {
                parent: ROOT,
                folder,
            },
            others: Vec::new(),
        }
    }

    /// Of folders of one path; `None` if there are none.
    pub(super) fn of(mut folders: Vec<FolderAt>) -> Option<Self> {
        folders.sort_unstable_by_key(|at| at.folder.id);
        folders.dedup_by_key(|at| at.folder.id);
        let mut folders = folders.into_iter();
        Some(Self {
            first: folders.next()?,
            others: folders.collect(),
        })
    }

    /// The id of the one that new entries go to.
    pub(super) fn id(&self) -> i64 {
        self.first.folder.id
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        1 + self.others.len()
    }

    /// All of them.
    pub(super) fn folders(&self) -> impl Iterator<Item = &FolderAt> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The ids of all of them.
    pub(super) fn ids(&self) -> impl Iterator<Item = i64> {
        self.folders().map(|at| at.folder.id)
    }

    /// How clients see each of the folders.
    pub(super) fn entries(&self, path: &RemotePath) -> impl Iterator<Item = Entry> {
        let entry = |at: &FolderAt| Entry::directory(path.clone(), &at.folder, self.len());
        self.folders().map(entry)
    }

    /// How clients see it.
    pub(super) fn entry(&self, path: RemotePath) -> Entry {
        Entry::directory(path, &self.first.folder, self.len())
    }

    /// The only one.
    ///
    /// # Errors
    /// AMBIGUOUS_PATH when there are several.
    pub(super) fn only(&self, path: &RemotePath) -> Result<&FolderAt> {
        if self.others.is_empty() {
            return Ok(&self.first);
        }
        let ids: Vec<_> = self.ids().map(|id| id.to_string()).collect();
        Err(Error::new(
            Reason::AmbiguousPath,
            format!(
                "{} directories share the path {path:?}, and it cannot be known which is meant; make them one with Dedupe first",
                self.len()
            ),
        )
        .at(path.as_str())
        .with("ids", ids.join(" ")))
    }
}

/// What is looked for under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// A directory on the way.
    Directory,
    /// A file, most likely.
    File,
}

/// A listing that is allowed so soon is waited for.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// What the folders of one directory hold.
#[derive(Debug)]
pub(super) struct Contents {
    /// Folders by id, with what is in them.
    pub(super) parts: Vec<(i64, Snapshot)>,
}

impl Contents {
    /// When 1Fichier was asked for the oldest part.
    pub(super) fn as_of(&self, now: Moment) -> Moment {
        let moments = self.parts.iter().map(|(_, snapshot)| snapshot.as_of);
        moments.min_by_key(|moment| moment.time).unwrap_or(now)
    }

    /// The directory of this name.
    pub(super) fn find_directory(&self, codec: NameCodec, segment: &str) -> Option<Directory> {
        let mut found = Vec::new();
        for (parent, snapshot) in &self.parts {
            let folders = snapshot.content.find_folders(codec, segment);
            found.extend(folders.map(|folder| FolderAt {
                parent: *parent,
                folder: folder.clone(),
            }));
        }
        Directory::of(found)
    }

    /// The files of this name, the newest first.
    pub(super) fn find_files(&self, codec: NameCodec, segment: &str) -> Vec<FileAt> {
        let mut found = Vec::new();
        for (folder, snapshot) in &self.parts {
            let files = snapshot.content.find_files(codec, segment);
            found.extend(files.into_iter().map(|file| FileAt {
                folder: *folder,
                file: file.clone(),
            }));
        }
        if self.parts.len() > 1 {
            let mut files: Vec<_> = found.iter().map(|at| &at.file).collect();
            newest_first(&mut files);
            let order: HashMap<Box<str>, usize> = files
                .iter()
                .enumerate()
                .map(|(place, file)| (file.url.clone(), place))
                .collect();
            found.sort_by_key(|at| order.get(&at.file.url).copied());
        }
        found
    }
}

impl Remote {
    /// What the folders of a directory hold. One of several that is gone holds
    /// nothing.
    ///
    /// # Errors
    /// DIRECTORY_NOT_FOUND when all of them are gone.
    pub(super) async fn contents(
        &self,
        scope: Scope,
        directory: &Directory,
        staleness: Staleness,
    ) -> Result<Contents> {
        let mut parts = Vec::with_capacity(directory.len());
        let mut gone = None;
        for id in directory.ids() {
            match self.snapshot(scope, id, staleness).await {
                Ok(snapshot) => parts.push((id, snapshot)),
                Err(error) if error.reason() == Reason::DirectoryNotFound => gone = Some(error),
                Err(error) => return Err(error),
            }
        }
        match gone {
            Some(gone) if parts.is_empty() => Err(gone),
            _ => Ok(Contents { parts }),
        }
    }
}

impl Remote {
    /// The same, for whoever looks for a name in it. What is known to be wrong
    /// ([`Catalog::mistrust`](crate::catalog::Catalog::mistrust)) tells that the
    /// name is there, but not that it is not: then 1Fichier is asked anew.
    pub(super) async fn contents_with(
        &self,
        scope: Scope,
        directory: &Directory,
        staleness: Staleness,
        segment: &str,
        wants: Wants,
    ) -> Result<Contents> {
        let contents = self.contents(scope, directory, staleness).await?;
        let catalog = &self.account.catalog;
        let is_told = !contents.find_files(self.codec, segment).is_empty()
            || contents.find_directory(self.codec, segment).is_some();
        if is_told || directory.ids().all(|id| catalog.wrong_since(id).is_none()) {
            return Ok(contents);
        }
        for id in directory.ids() {
            let Some(since) = catalog.wrong_since(id) else {
                continue;
            };
            let wait = catalog.listing_after(id, since).unwrap_or_default();
            if wants == Wants::File && wait > SOON && self.ask_by_name(scope, id, segment).await? {
                continue;
            }
            match catalog.folder_since(scope, id, since).await {
                Err(error) if error.reason() == Reason::DirectoryNotFound => {}
                listed => drop(listed?),
            }
        }
        self.contents(scope, directory, staleness).await
    }

    /// Asks for the file of a name in a folder that 1Fichier does not let be
    /// listed now. False when it tells nothing.
    async fn ask_by_name(&self, scope: Scope, folder: i64, segment: &str) -> Result<bool> {
        let account = &self.account;
        let Ok(name) = self.codec.to_stored(segment) else {
            return Ok(false);
        };
        if !account.questions.may_ask() {
            return Ok(false);
        }
        match account.client.file_at(scope, folder, &name).await {
            Ok(info) if info.folder.is_none_or(|told| told == folder) => {
                account.catalog.file_shown(folder, info.file.into());
                Ok(true)
            }
            Ok(_) => Ok(false),
            // The file, or the folder: only a listing tells.
            Err(error)
                if error.is_about_password()
                    || matches!(error.kind(), Kind::NotFound | Kind::Access) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(parent: i64, id: i64) -> FolderAt {
        let folder = FolderRecord {
            id,
            name: "x".into(),
            time: None,
            password: false,
        };
        FolderAt { parent, folder }
    }

    #[test]
    fn the_smallest_id_comes_first_and_each_folder_once() {
        assert!(Directory::of(Vec::new()).is_none());
        let directory = Directory::of(vec![at(2, 9), at(1, 8), at(2, 9)]).unwrap();
        assert_eq!(directory.ids().collect::<Vec<_>>(), [8, 9]);
        assert_eq!((directory.id(), directory.first.parent), (8, 1));
        assert_eq!(directory.len(), 2);
    }

    #[test]
    fn which_of_several_is_meant_is_not_guessed() {
        let path = RemotePath::parse("a/b").unwrap();
        let one = Directory::of(vec![at(1, 8)]).unwrap();
        assert_eq!(one.only(&path).unwrap().folder.id, 8);
        let two = Directory::of(vec![at(1, 8), at(1, 9)]).unwrap();
        let error = two.only(&path).unwrap_err();
        assert_eq!(error.reason(), Reason::AmbiguousPath);
        assert!(error.message().contains("Dedupe"), "{error}");
    }
}
