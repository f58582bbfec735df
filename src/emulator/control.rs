//! The handle of tests: what the service does not show, and what another program would do.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::behaviour::Behaviour;
use super::body;
use super::calls::{Calls, Request};
use super::changes::When;
use super::fault::Fault;
use super::file::{Acl, File, file_url};
use super::limits::Limits;
use super::listing::share_url;
use super::state::Shared;
use super::store::Share;

/// A handle to a running emulator. Clones are cheap and lead to the same one.
///
/// What it does is not counted, not limited, and visible at once, if the handle is not a
/// [lagging](Control::lagging) one. Where an account is meant, it is the first.
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) shared: Arc<Shared>,
    lags: bool,
}

/// Whether a [`Node`] is a file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A folder.
    Folder,
    /// A file.
    File,
}

/// A file or folder of the first account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Node {
    /// The names as stored, from the root on, joined by `/`.
    pub path: String,
    /// What it is.
    pub kind: NodeKind,
    /// The size in bytes; 0 for folders.
    pub size: u64,
    /// Whirlpool of the content as recorded, 128 hex digits; empty for folders.
    pub whirlpool: String,
    /// The link; empty for folders.
    pub url: String,
    /// The folder's id, or the id of the folder a file is in.
    pub id: u64,
    /// When it was made, as the service writes dates.
    pub date: String,
}

/// How a folder is shared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FolderShare {
    /// Its public link.
    pub url: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// The users that it is shared with.
    pub users: Vec<String>,
}

impl Control {
    pub(super) fn new(shared: Arc<Shared>) -> Control {
        Control {
            shared,
            lags: false,
        }
    }

    /// A handle whose changes are seen as late as those of calls: listings show them after
    /// [`Behaviour::index_delay`], and new links are known after [`Behaviour::url_delay`].
    pub fn lagging(&self) -> Control {
        Control {
            lags: true,
            ..self.clone()
        }
    }

    /// This moment, for what is changed.
    pub(super) fn when(&self) -> When {
        When {
            lags: self.lags,
            ..self.shared.when()
        }
    }

    /// What was called so far.
    pub fn calls(&self) -> Calls {
        let state = self.shared.state();
        state.calls.clone().with_floods(state.limiter.floods())
    }

    /// Starts counting anew, and forgets the last requests. Limits remember.
    pub fn reset_calls(&self) {
        let mut state = self.shared.state();
        state.calls = Calls::default();
        state.log.clear();
        state.limiter.reset_floods();
    }

    /// The last thousand requests, the newest last.
    pub fn last_requests(&self) -> Vec<Request> {
        self.shared.state().log.all()
    }

    /// The switches as they are.
    pub fn behaviour(&self) -> Behaviour {
        self.shared.state().behaviour.clone()
    }

    /// Changes switches.
    pub fn set_behaviour(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.state().behaviour);
    }

    /// The limits as they are.
    pub fn limits(&self) -> Limits {
        self.shared.state().limits.clone()
    }

    /// Sets the limits. Clocks and locks stay as they are.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.state().limits = limits;
    }

    /// Forgets all that limits are measured by: clocks, locks and bans.
    pub fn reset_limits(&self) {
        self.shared.state().limiter.forget();
    }

    /// Adds a fault behind those that are still to come.
    pub fn inject(&self, fault: Fault) {
        self.shared.state().faults.add(fault);
    }

    /// Takes back all faults.
    pub fn clear_faults(&self) {
        self.shared.state().faults.clear();
    }

    /// Upload bodies that are being received now.
    pub fn open_uploads(&self) -> usize {
        self.shared.open_uploads.load(Ordering::Relaxed)
    }

    /// Download bodies that are being sent now.
    pub fn open_downloads(&self) -> usize {
        self.shared.open_downloads.load(Ordering::Relaxed)
    }

    /// Everything in the account, ordered by path. The root itself is left out.
    pub fn tree(&self) -> Vec<Node> {
        let state = self.shared.state();
        let mut nodes = Vec::new();
        for id in state.store.folder_ids(0) {
            nodes.extend(self.files_in(&state, id));
            nodes.extend(self.folder_node(&state, id).filter(|_| id != 0));
        }
        nodes.sort();
        nodes
    }

    /// Makes a folder, whatever its name, and returns its id. An unknown parent stands for the
    /// root.
    pub fn add_folder(&self, parent_id: u64, name: &str) -> u64 {
        let mut state = self.shared.state();
        let parent = state.store.folder(0, parent_id).map_or(0, |_| parent_id);
        state.add_folder(0, parent, name.to_owned(), self.when())
    }

    /// Adds a file and returns its link; empty if the content cannot be stored.
    pub fn add_file(&self, folder_id: u64, name: &str, content: &[u8]) -> String {
        match self.shared.bodies.store(content) {
            Ok(body) => self.add_body(folder_id, name.to_owned(), body),
            Err(error) => {
                tracing::warn!(%error, "emulator: cannot store a content");
                String::new()
            }
        }
    }

    /// Adds files of zeros named `<prefix>00000` and so on. They take no room on disk, and their
    /// checksum is computed once.
    pub fn add_many_files(&self, folder_id: u64, prefix: &str, count: usize, size: u64) {
        let body = body::zeros(size);
        for number in 0..count {
            self.add_body(folder_id, format!("{prefix}{number:05}"), Arc::clone(&body));
        }
    }

    fn add_body(&self, folder_id: u64, name: String, body: Arc<body::Body>) -> String {
        let mut state = self.shared.state();
        let folder = state.store.folder(0, folder_id).map_or(0, |_| folder_id);
        let file = File::new(Some(0), folder, name, body);
        let domain = file.domain;
        let id = state.add_file(file, self.when());
        file_url(domain, &id)
    }

    /// Removes a file of any account; false if there is none.
    pub fn remove_file(&self, url: &str) -> bool {
        let mut state = self.shared.state();
        let id = state.store.find(url);
        id.is_some_and(|id| state.remove_file(&id, self.when()).is_some())
    }

    /// Removes a folder with everything in it; false if there is none. The root stays.
    pub fn remove_folder(&self, id: u64) -> bool {
        let mut state = self.shared.state();
        if id == 0 || state.store.folder(0, id).is_none() {
            return false;
        }
        let when = self.when();
        let mut pending = vec![id];
        let mut all = Vec::new();
        while let Some(id) = pending.pop() {
            let (folders, files) =
                state
                    .store
                    .folder(0, id)
                    .map_or_else(Default::default, |folder| {
                        let folders: Vec<u64> = folder.folders.iter().copied().collect();
                        (folders, folder.files.clone())
                    });
            for file in files {
                state.remove_file(&file, when);
            }
            pending.extend(folders);
            all.push(id);
        }
        for id in all.into_iter().rev() {
            state.remove_folder(0, id, when);
        }
        true
    }

    /// Makes downloads of a file come with a wrong byte. Size and checksum stay as recorded.
    pub fn corrupt_file(&self, url: &str) {
        let mut state = self.shared.state();
        let id = state.store.find(url);
        if let Some(file) = id.and_then(|id| state.store.file_mut(&id)) {
            file.corrupt = true;
        }
    }

    /// Sets or removes the password of a file.
    pub fn set_file_password(&self, url: &str, pass: Option<&str>) {
        self.change(url, |file| file.pass = pass.map(str::to_owned));
    }

    /// The password of a file.
    pub fn file_password(&self, url: &str) -> Option<String> {
        let state = self.shared.state();
        let id = state.store.find(url)?;
        state.store.file(&id)?.pass.clone()
    }

    /// Restricts who may read a file.
    pub fn set_file_acl(&self, url: &str, acl: Acl) {
        self.change(url, |file| file.acl = acl);
    }

    /// Sets the date of a file, in seconds since 1970.
    pub fn set_file_date(&self, url: &str, date: i64) {
        self.change(url, |file| file.date = date);
    }

    fn change(&self, url: &str, change: impl FnOnce(&mut File)) {
        let mut state = self.shared.state();
        if let Some(id) = state.store.find(url) {
            state.change_file(&id, self.when(), change);
        }
    }

    /// Gives a folder a public link and returns what follows `/dir/` in it; empty if there is no
    /// such folder.
    pub fn share_folder(&self, id: u64, password: Option<&str>) -> String {
        let mut state = self.shared.state();
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let share = state.random_text(8, alphabet);
        if state.store.folder(0, id).is_none() {
            return String::new();
        }
        let when = self.when();
        state.change_folder(0, id, when, |folder| {
            folder.pass = password.map(str::to_owned);
        });
        state.set_share(0, id, Some(share.clone()), when);
        share
    }

    /// Shares a folder with a user.
    pub fn share_with(&self, id: u64, email: &str) {
        let share = Share {
            email: email.to_owned(),
            rw: true,
            hide_links: false,
        };
        let mut state = self.shared.state();
        state.change_folder(0, id, self.when(), |folder| folder.shares.push(share));
    }

    /// How a folder is shared.
    pub fn folder_share(&self, id: u64) -> FolderShare {
        let state = self.shared.state();
        let Some(folder) = state.store.folder(0, id) else {
            return FolderShare::default();
        };
        FolderShare {
            url: folder.share.as_deref().map(share_url),
            password: folder.pass.clone(),
            users: folder
                .shares
                .iter()
                .map(|share| share.email.clone())
                .collect(),
        }
    }

    /// Changes an account: its kind, quota, credits, locks. `None` if there is no such account.
    pub fn set_account<T>(
        &self,
        index: usize,
        change: impl FnOnce(&mut super::AccountOptions) -> T,
    ) -> Option<T> {
        let mut state = self.shared.state();
        let account = state.store.accounts.get_mut(index)?;
        Some(change(&mut account.options))
    }

    /// Bytes stored in the account.
    pub fn used(&self) -> u64 {
        self.shared
            .state()
            .store
            .accounts
            .first()
            .map_or(0, |account| account.used)
    }

    /// Locks `/v1` for an address as after a flood.
    pub fn lock(&self, ip: IpAddr) {
        let mut state = self.shared.state();
        let limits = state.limits.clone();
        state.limiter.lock(&limits, ip, tokio::time::Instant::now());
    }
}
