//! What 1Fichier holds at one moment, by links and ids.

use std::collections::BTreeMap;

use pluton_fichier::emulator::NodeKind;

use crate::model::run::{Runner, codec};

/// Where a file is, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) folder: u64,
    pub(super) name: String,
    pub(super) content: String,
}

/// Where a folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) parent: u64,
    pub(super) name: String,
}

/// An account. The root has the id 0 and is not among the folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) files: BTreeMap<String, File>,
    pub(super) folders: BTreeMap<u64, Folder>,
}

pub(super) fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}/{name}"),
    }
}

impl Account {
    pub(super) fn now(runner: &Runner) -> Self {
        let control = &runner.world.control;
        let mut account = Self::default();
        for node in control.tree() {
            let stored = node.path.rsplit('/').next().unwrap_or_default();
            let name = codec().to_segment(stored).to_string();
            match node.kind {
                NodeKind::File => {
                    let file = File {
                        folder: node.id,
                        name,
                        content: runner.content(&node.whirlpool),
                    };
                    account.files.insert(node.url, file);
                }
                NodeKind::Folder => {
                    let parent = control.parent_of(node.id).expect("a parent");
                    account.folders.insert(node.id, Folder { parent, name });
                }
            }
        }
        account
    }

    /// The path of a folder; `None` if it is not there.
    pub(super) fn path(&self, id: u64) -> Option<String> {
        if id == 0 {
            return Some(String::new());
        }
        let folder = self.folders.get(&id)?;
        Some(join(&self.path(folder.parent)?, &folder.name))
    }

    pub(super) fn path_of_file(&self, url: &str) -> Option<String> {
        let file = self.files.get(url)?;
        Some(join(&self.path(file.folder)?, &file.name))
    }

    /// The files of a path.
    pub(super) fn files_at<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a String> {
        let all = self.files.keys();
        all.filter(move |url| self.path_of_file(url).as_deref() == Some(path))
    }

    /// Whether something is in a folder.
    pub(super) fn is_full(&self, id: u64) -> bool {
        self.files.values().any(|file| file.folder == id)
            || self.folders.values().any(|folder| folder.parent == id)
    }

    /// All paths, directories with a slash behind them.
    pub(super) fn paths(&self) -> Vec<String> {
        let files = self.files.keys().filter_map(|url| self.path_of_file(url));
        let folders = self.folders.keys().filter_map(|id| self.path(*id));
        let mut all: Vec<String> = folders
            .map(|path| format!("{path}/"))
            .chain(files)
            .collect();
        all.sort();
        all
    }
}

/// What is different in an account.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) new_files: Vec<String>,
    pub(super) gone_files: Vec<String>,
    pub(super) moved_files: Vec<String>,
    pub(super) new_folders: Vec<u64>,
    pub(super) gone_folders: Vec<u64>,
    pub(super) moved_folders: Vec<u64>,
}

fn differ<K: Clone + Ord, T: PartialEq>(
    before: &BTreeMap<K, T>,
    after: &BTreeMap<K, T>,
) -> (Vec<K>, Vec<K>, Vec<K>) {
    let missing = |of: &BTreeMap<K, T>, from: &BTreeMap<K, T>| -> Vec<K> {
        let keys = of.keys().filter(|key| !from.contains_key(key));
        keys.cloned().collect()
    };
    let other = before
        .iter()
        .filter(|(key, value)| after.get(key).is_some_and(|now| now != *value));
    (
        missing(after, before),
        missing(before, after),
        other.map(|(key, _)| key.clone()).collect(),
    )
}

impl Changes {
    pub(super) fn between(before: &Account, after: &Account) -> Self {
        let (new_files, gone_files, moved_files) = differ(&before.files, &after.files);
        let (new_folders, gone_folders, moved_folders) = differ(&before.folders, &after.folders);
        Self {
            new_files,
            gone_files,
            moved_files,
            new_folders,
            gone_folders,
            moved_folders,
        }
    }
}

/// An account of these folders (id, parent, name) and files (link, folder, name), each with its
/// link as content.
#[cfg(test)]
pub(super) fn account(folders: &[(u64, u64, &str)], files: &[(&str, u64, &str)]) -> Account {
    let folder = |(id, parent, name): &(u64, u64, &str)| {
        let name = (*name).to_owned();
        (
            *id,
            Folder {
                parent: *parent,
                name,
            },
        )
    };
    let file = |(url, folder, name): &(&str, u64, &str)| {
        let file = File {
            folder: *folder,
            name: (*name).to_owned(),
            content: (*url).to_owned(),
        };
        ((*url).to_owned(), file)
    };
    Account {
        files: files.iter().map(file).collect(),
        folders: folders.iter().map(folder).collect(),
    }
}
