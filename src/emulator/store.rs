//! Folders and files of all accounts, in memory. No rule of the API is here, only what there is.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::account::AccountOptions;
use super::body::Body;

/// What follows `/?` in a link.
pub(super) type FileId = Arc<str>;

/// Domains by their number [API §4.2].
pub(super) const DOMAINS: [&str; 11] = [
    "1fichier.com",
    "alterupload.com",
    "cjoint.net",
    "desfichiers.com",
    "dfichiers.com",
    "megadl.fr",
    "mesfichiers.org",
    "piecejointe.net",
    "pjointe.com",
    "tenvoi.com",
    "dl4free.com",
];

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

#[derive(Debug)]
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
    /// Removed files that listings still show.
    ghosts: Vec<Ghost>,
}

/// A user a folder is shared with [API §16].
#[derive(Debug, Clone)]
pub(super) struct Share {
    pub(super) email: String,
    pub(super) rw: bool,
    pub(super) hide_links: bool,
}

#[derive(Debug)]
struct Ghost {
    id: FileId,
    file: File,
    until: Instant,
}

/// Who may download a file [API §7]. An empty one restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl {
    /// Addresses in CIDR notation; only whole addresses are matched here.
    pub ip: Vec<String>,
    /// Countries; loopback has none, so that any entry keeps everyone out.
    pub country: Vec<String>,
    /// Accounts.
    pub email: Vec<String>,
    /// Paying customers only.
    pub premium: bool,
}

#[derive(Debug, Clone)]
pub(super) struct File {
    /// `None` for the upload of a guest.
    pub(super) account: Option<usize>,
    pub(super) folder: u64,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) whirlpool: Arc<str>,
    /// `None` only for what a listing shows of a removed file.
    pub(super) body: Option<Arc<Body>>,
    /// Seconds since 1970.
    pub(super) date: i64,
    pub(super) domain: usize,
    pub(super) content_type: &'static str,
    pub(super) pass: Option<String>,
    pub(super) acl: Acl,
    pub(super) cdn: bool,
    pub(super) no_ssl: bool,
    pub(super) inline: bool,
    pub(super) description: String,
    /// When listings begin to show it.
    pub(super) visible: Instant,
    /// The removal code of guests' files.
    pub(super) code: String,
    /// One byte of downloads is wrong.
    pub(super) corrupt: bool,
}

impl File {
    pub(super) fn new(account: Option<usize>, folder: u64, name: String, body: Arc<Body>) -> File {
        File {
            account,
            folder,
            content_type: content_type(&name),
            name,
            size: body.size,
            whirlpool: Arc::clone(&body.whirlpool),
            body: Some(body),
            date: 0,
            domain: 0,
            pass: None,
            acl: Acl::default(),
            cdn: false,
            no_ssl: false,
            inline: false,
            description: String::new(),
            visible: Instant::now(),
            code: String::new(),
            corrupt: false,
        }
    }

    /// The link of a file with this id.
    pub(super) fn url(&self, id: &str) -> String {
        let domain = DOMAINS.get(self.domain).copied().unwrap_or("1fichier.com");
        format!("https://{domain}/?{id}")
    }
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) accounts: Vec<Account>,
    /// By account and id; the root of each account has the id 0 [API C].
    folders: HashMap<(usize, u64), Folder>,
    files: HashMap<FileId, File>,
    shares: HashMap<String, (usize, u64)>,
    next_folder: u64,
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

    /// Makes a folder in a parent that exists.
    pub(super) fn add_folder(
        &mut self,
        account: usize,
        parent: u64,
        name: String,
        date: i64,
    ) -> u64 {
        let id = self.next_folder;
        self.next_folder += 1;
        self.folders
            .insert((account, id), Folder::new(parent, name, date));
        if let Some(parent) = self.folder_mut(account, parent) {
            parent.folders.insert(id);
        }
        id
    }

    /// Removes a folder, whatever is in it stays behind unreachable; callers see to it that it is
    /// empty.
    pub(super) fn remove_folder(&mut self, account: usize, id: u64) {
        if let Some(folder) = self.folders.remove(&(account, id)) {
            if let Some(parent) = self.folder_mut(account, folder.parent) {
                parent.folders.remove(&id);
            }
            if let Some(share) = folder.share {
                self.shares.remove(&share);
            }
        }
    }

    pub(super) fn move_folder(&mut self, account: usize, id: u64, parent: u64) {
        let Some(folder) = self.folder_mut(account, id) else {
            return;
        };
        let old = std::mem::replace(&mut folder.parent, parent);
        if let Some(old) = self.folder_mut(account, old) {
            old.folders.remove(&id);
        }
        if let Some(new) = self.folder_mut(account, parent) {
            new.folders.insert(id);
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

    /// Removes a file. Listings show it until `until`, without its content.
    pub(super) fn remove_file(&mut self, id: &str, until: Option<Instant>) -> Option<File> {
        let (id, file) = self.files.remove_entry(id)?;
        if let Some(account) = file.account {
            if let Some(entry) = self.accounts.get_mut(account) {
                entry.used = entry.used.saturating_sub(file.size);
            }
            if let Some(folder) = self.folder_mut(account, file.folder) {
                folder.files.remove(&id);
                if let Some(until) = until {
                    let mut file = file.clone();
                    file.body = None;
                    folder.ghosts.push(Ghost { id, file, until });
                }
            }
        }
        Some(file)
    }

    /// What a listing of a folder shows now.
    pub(super) fn listed(&self, account: usize, id: u64, now: Instant) -> Vec<(&FileId, &File)> {
        let Some(folder) = self.folder(account, id) else {
            return Vec::new();
        };
        let ghosts = folder
            .ghosts
            .iter()
            .filter(|ghost| ghost.until > now)
            .map(|ghost| (&ghost.id, &ghost.file));
        folder
            .files
            .iter()
            .filter_map(|id| self.files.get_key_value(id))
            .filter(|(_, file)| file.visible <= now)
            .chain(ghosts)
            .collect()
    }

    /// Whether a folder has nothing in it that exists or is still shown.
    pub(super) fn is_empty(&mut self, account: usize, id: u64, now: Instant) -> bool {
        self.folder_mut(account, id).is_none_or(|folder| {
            folder.ghosts.retain(|ghost| ghost.until > now);
            folder.files.is_empty() && folder.folders.is_empty() && folder.ghosts.is_empty()
        })
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

    /// Gives a folder a public link, or takes it away.
    pub(super) fn set_share(&mut self, account: usize, id: u64, share: Option<String>) {
        let Some(folder) = self.folders.get_mut(&(account, id)) else {
            return;
        };
        if let Some(old) = folder.share.take() {
            self.shares.remove(&old);
        }
        if let Some(share) = share {
            self.shares.insert(share.clone(), (account, id));
            folder.share = Some(share);
        }
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
            ghosts: Vec::new(),
        }
    }
}

/// The type the service derives from a name: the sender's is not kept [API §4.3].
pub(super) fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "txt" | "log" | "md" => "text/plain",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "js" => "application/javascript",
        "json" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "tar" => "application/x-tar",
        "7z" => "application/x-7z-compressed",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "flac" => "audio/flac",
        "mp4" => "video/mp4",
        "mkv" => "video/x-matroska",
        "avi" => "video/x-msvideo",
        _ => "application/octet-stream",
    }
}
