//! Folders and files of all accounts, in memory. No rule of the API is here, only what there is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::account::AccountOptions;
use super::file::{DOMAINS, File, FileId};
use super::past::Past;

/// Ids of folders begin here [API K9].
const FIRST_FOLDER: u64 = 4_000_000;

#[derive(Debug)]
pub(super) struct Account {
    pub(super) options: AccountOptions,
    /// Bytes stored.
    pub(super) used: u64,
    /// Where uploads from others go; made when first needed [API §4.2].
    pub(super) incoming: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) parent: u64,
    pub(super) name: String,
    /// Seconds since 1970.
    pub(super) created: i64,
    pub(super) pass: Option<String>,
    /// What follows `/dir/` in its public link.
    pub(super) share: Option<String>,
    /// Other users it is shared with, as given.
    pub(super) shares: Vec<Share>,
    pub(super) folders: BTreeSet<u64>,
    /// Ordered by id, and ids are random: an arbitrary order [API J6].
    pub(super) files: BTreeSet<FileId>,
    /// When listings begin to show it as it is.
    pub(super) visible: Instant,
}

/// A user a folder is shared with [API §16].
#[derive(Debug, Clone)]
pub(super) struct Share {
    pub(super) email: String,
    pub(super) rw: bool,
    pub(super) hide_links: bool,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) accounts: Vec<Account>,
    /// By account and id; the root of each account has the id 0 [API C].
    folders: HashMap<(usize, u64), Folder>,
    files: HashMap<FileId, File>,
    shares: HashMap<String, (usize, u64)>,
    next_folder: u64,
    past_files: Past<FileId, File>,
    past_folders: Past<u64, Folder>,
    /// Folders that listings of another folder show although they are not in it, by that folder.
    false_entries: HashMap<(usize, u64), BTreeSet<u64>>,
}

impl Store {
    pub(super) fn new(accounts: Vec<AccountOptions>, date: i64) -> Store {
        let folders = (0..accounts.len())
            .map(|account| ((account, 0), Folder::new(0, "Root".to_owned(), date)))
            .collect();
        let accounts = accounts
            .into_iter()
            .map(|options| Account {
                options,
                used: 0,
                incoming: None,
            })
            .collect();
        Store {
            accounts,
            folders,
            files: HashMap::new(),
            shares: HashMap::new(),
            next_folder: FIRST_FOLDER,
            past_files: Past::default(),
            past_folders: Past::default(),
            false_entries: HashMap::new(),
        }
    }

    pub(super) fn account_of_key(&self, key: &str) -> Option<usize> {
        self.accounts
            .iter()
            .position(|account| account.options.api_keys.iter().any(|known| known == key))
    }

    pub(super) fn account_of_email(&self, email: &str) -> Option<usize> {
        self.accounts
            .iter()
            .position(|account| account.options.email == email)
    }

    pub(super) fn folder(&self, account: usize, id: u64) -> Option<&Folder> {
        self.folders.get(&(account, id))
    }

    pub(super) fn folder_mut(&mut self, account: usize, id: u64) -> Option<&mut Folder> {
        self.folders.get_mut(&(account, id))
    }

    /// The folder of this name; the one with the smallest id if there are several.
    pub(super) fn child(&self, account: usize, parent: u64, name: &str) -> Option<u64> {
        let parent = self.folder(account, parent)?;
        parent.folders.iter().copied().find(|id| {
            self.folder(account, *id)
                .is_some_and(|folder| folder.name == name)
        })
    }

    /// Makes a folder in a parent that exists. Listings show it from `visible` on.
    pub(super) fn add_folder(
        &mut self,
        account: usize,
        parent: u64,
        name: String,
        date: i64,
        visible: Instant,
    ) -> u64 {
        let id = self.next_folder;
        self.next_folder += 1;
        let mut folder = Folder::new(parent, name, date);
        folder.visible = visible;
        self.folders.insert((account, id), folder);
        if let Some(parent) = self.folder_mut(account, parent) {
            parent.folders.insert(id);
        }
        id
    }

    /// Removes a folder, whatever is in it stays behind unreachable; callers see to it that it is
    /// empty. Listings of its parent show it until `shows`.
    pub(super) fn remove_folder(&mut self, account: usize, id: u64, shows: Instant) {
        self.keep_folder(account, id, shows);
        if let Some(folder) = self.folders.remove(&(account, id)) {
            if let Some(parent) = self.folder_mut(account, folder.parent) {
                parent.folders.remove(&id);
            }
            if let Some(share) = folder.share {
                self.shares.remove(&share);
            }
        }
    }

    /// Changes a folder: its name, its parent, its password, its users. Listings show it as it
    /// was until `shows`.
    pub(super) fn change_folder(
        &mut self,
        account: usize,
        id: u64,
        shows: Instant,
        change: impl FnOnce(&mut Folder),
    ) {
        self.keep_folder(account, id, shows);
        let Some(folder) = self.folder_mut(account, id) else {
            return;
        };
        let old = folder.parent;
        change(folder);
        folder.visible = shows;
        let new = folder.parent;
        if new != old {
            if let Some(old) = self.folder_mut(account, old) {
                old.folders.remove(&id);
            }
            if let Some(new) = self.folder_mut(account, new) {
                new.folders.insert(id);
            }
        }
    }

    /// Remembers what listings show of a folder until its change shows.
    fn keep_folder(&mut self, account: usize, id: u64, shows: Instant) {
        if let Some(folder) = self.folders.get(&(account, id)) {
            let place = (account, folder.parent);
            self.past_folders
                .change(&id, place, folder.visible, shows, || Folder {
                    folders: BTreeSet::new(),
                    files: BTreeSet::new(),
                    ..folder.clone()
                });
        }
    }

    /// Whether a folder is another one or inside it.
    pub(super) fn is_within(&self, account: usize, mut id: u64, ancestor: u64) -> bool {
        while id != ancestor {
            match self.folder(account, id) {
                Some(folder) if id != 0 => id = folder.parent,
                _ => return false,
            }
        }
        true
    }

    /// The names from the root to a folder, joined by `/`; the root's is empty.
    pub(super) fn path(&self, account: usize, mut id: u64) -> String {
        let mut names = Vec::new();
        while let Some(folder) = self.folder(account, id).filter(|_| id != 0) {
            names.push(folder.name.as_str());
            id = folder.parent;
        }
        names.reverse();
        names.join("/")
    }

    pub(super) fn file(&self, id: &str) -> Option<&File> {
        self.files.get(id)
    }

    /// A file, to change what listings do not tell.
    pub(super) fn file_mut(&mut self, id: &str) -> Option<&mut File> {
        self.files.get_mut(id)
    }

    /// The file that a link names: the domain belongs to it, whatever follows the id does not
    /// [API C].
    pub(super) fn find(&self, url: &str) -> Option<FileId> {
        let rest = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"))?;
        let (domain, query) = rest.split_once("/?")?;
        let end = query.find(['&', '#']).unwrap_or(query.len());
        let (id, file) = self.files.get_key_value(query.get(..end)?)?;
        (DOMAINS.get(file.domain) == Some(&domain)).then(|| Arc::clone(id))
    }

    /// The same if calls know the link already.
    pub(super) fn find_known(&self, url: &str, now: Instant) -> Option<FileId> {
        self.find(url)
            .filter(|id| self.file(id).is_some_and(|file| file.known <= now))
    }

    pub(super) fn add_file(&mut self, id: FileId, file: File) {
        if let Some(account) = file.account {
            if let Some(entry) = self.accounts.get_mut(account) {
                entry.used += file.size;
            }
            if let Some(folder) = self.folder_mut(account, file.folder) {
                folder.files.insert(Arc::clone(&id));
            }
        }
        self.files.insert(id, file);
    }

    /// Removes a file. Listings show it, without its content, until `shows`.
    pub(super) fn remove_file(&mut self, id: &str, shows: Instant) -> Option<File> {
        let (id, file) = self.files.remove_entry(id)?;
        if let Some(account) = file.account {
            if let Some(entry) = self.accounts.get_mut(account) {
                entry.used = entry.used.saturating_sub(file.size);
            }
            if let Some(folder) = self.folder_mut(account, file.folder) {
                folder.files.remove(&id);
            }
            let place = (account, file.folder);
            self.past_files
                .change(&id, place, file.visible, shows, || File {
                    body: None,
                    ..file.clone()
                });
        }
        Some(file)
    }

    /// The files that a listing of a folder shows now.
    pub(super) fn listed(&self, account: usize, id: u64, now: Instant) -> Vec<(&FileId, &File)> {
        let files = self
            .folder(account, id)
            .map(|folder| &folder.files)
            .into_iter()
            .flatten();
        files
            .filter_map(|id| self.files.get_key_value(id))
            .filter(|(_, file)| file.visible <= now)
            .chain(self.past_files.shown((account, id), now))
            .collect()
    }

    /// The folders that a listing of a folder shows now.
    pub(super) fn listed_folders(
        &self,
        account: usize,
        id: u64,
        now: Instant,
    ) -> BTreeMap<u64, &Folder> {
        let present = |id: &u64| Some((*id, self.folder(account, *id)?));
        let folders = self
            .folder(account, id)
            .map(|folder| &folder.folders)
            .into_iter()
            .flatten();
        let false_entries = self.false_entries.get(&(account, id)).into_iter().flatten();
        let past = self.past_folders.shown((account, id), now);
        false_entries
            .filter_map(present)
            .chain(
                folders
                    .filter_map(present)
                    .filter(|(_, folder)| folder.visible <= now),
            )
            .chain(past.map(|(id, folder)| (*id, folder)))
            .collect()
    }

    /// A folder as listings show it now. A new one that its parent does not show yet can be
    /// listed, too.
    pub(super) fn shown_folder(&self, account: usize, id: u64, now: Instant) -> Option<&Folder> {
        let folder = self.folder(account, id)?;
        if folder.visible <= now {
            return Some(folder);
        }
        self.past_folders.of(&id, now).or(Some(folder))
    }

    /// The folders whose listings show something, in the order of their ids, the root first. A
    /// folder that was removed with all its files may be among them.
    pub(super) fn listed_folder_ids(&self, account: usize) -> BTreeSet<u64> {
        let past = self.past_files.places();
        self.folders
            .keys()
            .copied()
            .chain(past)
            .filter(|(owner, _)| *owner == account)
            .map(|(_, id)| id)
            .collect()
    }

    /// Whether a folder has nothing in it that exists or that listings show.
    pub(super) fn is_empty(&self, account: usize, id: u64, now: Instant) -> bool {
        let place = (account, id);
        self.folder(account, id)
            .is_none_or(|folder| folder.files.is_empty() && folder.folders.is_empty())
            && !self.past_files.remains(place, now)
            && !self.past_folders.remains(place, now)
    }

    /// Makes listings of a folder show another one that is not in it: itself, or one above it.
    pub(super) fn add_false_entry(&mut self, account: usize, shown_in: u64, folder: u64) {
        let entries = self.false_entries.entry((account, shown_in)).or_default();
        entries.insert(folder);
    }

    /// Takes all false entries back.
    pub(super) fn clear_false_entries(&mut self) {
        self.false_entries.clear();
    }

    /// The folders of an account in the order of their ids, the root first.
    pub(super) fn folder_ids(&self, account: usize) -> Vec<u64> {
        let mut ids: Vec<u64> = self
            .folders
            .keys()
            .filter(|(owner, _)| *owner == account)
            .map(|(_, id)| *id)
            .collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn shared(&self, share: &str) -> Option<(usize, u64)> {
        self.shares.get(share).copied()
    }

    /// Gives a folder a public link, or takes it away. Listings show it as it was until `shows`.
    pub(super) fn set_share(
        &mut self,
        account: usize,
        id: u64,
        share: Option<String>,
        shows: Instant,
    ) {
        let Some(folder) = self.folder(account, id) else {
            return;
        };
        if let Some(old) = folder.share.clone() {
            self.shares.remove(&old);
        }
        if let Some(share) = &share {
            self.shares.insert(share.clone(), (account, id));
        }
        self.change_folder(account, id, shows, |folder| folder.share = share);
    }
}

impl Folder {
    fn new(parent: u64, name: String, created: i64) -> Folder {
        Folder {
            parent,
            name,
            created,
            pass: None,
            share: None,
            shares: Vec::new(),
            folders: BTreeSet::new(),
            files: BTreeSet::new(),
            visible: Instant::now(),
        }
    }
}
