//! What happens to files and folders, whoever does it, and when that is seen.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::behaviour::{DatesOnMove, ListingLag, UrlStability};
use super::file::{Acl, File, FileId, content_type};
use super::state::State;

/// When something happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    pub(super) now: Instant,
    /// Seconds since 1970.
    pub(super) date: i64,
    /// Whether listings, and calls by new links, see it only later.
    pub(super) lags: bool,
}

impl State {
    fn index_delay(&self, when: When) -> Duration {
        if when.lags {
            self.behaviour.index_delay
        } else {
            Duration::ZERO
        }
    }

    /// When listings show that a file was added or removed.
    pub(super) fn shows_file(&self, when: When) -> Instant {
        when.now + self.index_delay(when)
    }

    /// When listings show any other change, of something that they show as it is from `visible`
    /// on [API I].
    pub(super) fn shows_change(&self, when: When, visible: Instant) -> Instant {
        match self.behaviour.listing_lag {
            ListingLag::Everything => when.now + self.index_delay(when),
            ListingLag::UploadsAndRemovals if when.lags => when.now.max(visible),
            ListingLag::UploadsAndRemovals => when.now,
        }
    }

    /// When calls begin to know a link that is given now.
    pub(super) fn knows_link(&self, when: When) -> Instant {
        if when.lags {
            when.now + self.behaviour.url_delay
        } else {
            when.now
        }
    }

    /// Stores a new file and returns its id.
    pub(super) fn add_file(&mut self, mut file: File, when: When) -> FileId {
        file.date = when.date;
        file.visible = self.shows_file(when);
        file.known = self.knows_link(when);
        let id = self.new_file_id();
        self.store.add_file(Arc::clone(&id), file);
        id
    }

    /// Removes a file.
    pub(super) fn remove_file(&mut self, id: &str, when: When) -> Option<File> {
        let shows = self.shows_file(when);
        self.store.remove_file(id, shows)
    }

    /// Changes a file under its link: what listings tell of it, but not its place.
    pub(super) fn change_file(
        &mut self,
        id: &FileId,
        when: When,
        change: impl FnOnce(&mut File),
    ) -> bool {
        let Some(file) = self.store.file(id) else {
            return false;
        };
        let shows = self.shows_change(when, file.visible);
        let Some(mut file) = self.store.remove_file(id, shows) else {
            return false;
        };
        file.visible = shows;
        change(&mut file);
        self.store.add_file(Arc::clone(id), file);
        true
    }

    /// Moves or renames a file, under its link or a new one [API J13], with its date or a new one
    /// [API J8]. Returns the id that it has then.
    pub(super) fn carry_file(
        &mut self,
        id: FileId,
        folder: Option<u64>,
        name: Option<&str>,
        when: When,
    ) -> Option<FileId> {
        let shows = self.shows_change(when, self.store.file(&id)?.visible);
        let mut file = self.store.remove_file(&id, shows)?;
        file.visible = shows;
        if let Some(folder) = folder {
            file.folder = folder;
        }
        if let Some(name) = name {
            file.content_type = content_type(name);
            name.clone_into(&mut file.name);
        }
        if self.behaviour.dates_on_move == DatesOnMove::AlwaysNew {
            file.date = when.date;
        }
        let id = match self.behaviour.url_stability {
            UrlStability::Stable => id,
            UrlStability::Changes => {
                file.known = self.knows_link(when);
                self.new_file_id()
            }
        };
        self.store.add_file(Arc::clone(&id), file);
        Some(id)
    }

    /// Copies a file of anybody and returns the id of the copy.
    pub(super) fn copy_file(
        &mut self,
        id: &FileId,
        account: usize,
        folder: u64,
        name: Option<&str>,
        when: When,
    ) -> Option<FileId> {
        let source = self.store.file(id)?;
        let date = match self.behaviour.dates_on_move {
            DatesOnMove::AlwaysKept => source.date,
            _ => when.date,
        };
        let name = name.unwrap_or(&source.name).to_owned();
        let copy = File {
            account: Some(account),
            folder,
            content_type: content_type(&name),
            name,
            pass: None,
            acl: Acl::default(),
            domain: 0,
            ..source.clone()
        };
        Some(self.add_file(copy, When { date, ..when }))
    }

    /// Makes a folder in a parent that exists.
    pub(super) fn add_folder(
        &mut self,
        account: usize,
        parent: u64,
        name: String,
        when: When,
    ) -> u64 {
        let shows = self.shows_change(when, when.now);
        self.store
            .add_folder(account, parent, name, when.date, shows)
    }

    /// Removes a folder that is empty.
    pub(super) fn remove_folder(&mut self, account: usize, id: u64, when: When) {
        let shows = self.shows_change(when, when.now);
        self.store.remove_folder(account, id, shows);
    }

    /// Moves or renames a folder, or shares it with others.
    pub(super) fn change_folder(
        &mut self,
        account: usize,
        id: u64,
        when: When,
        change: impl FnOnce(&mut super::store::Folder),
    ) {
        let shows = self.shows_change(when, when.now);
        self.store.change_folder(account, id, shows, change);
    }

    /// Gives a folder a public link, or takes it away.
    pub(super) fn set_share(&mut self, account: usize, id: u64, share: Option<String>, when: When) {
        let shows = self.shows_change(when, when.now);
        self.store.set_share(account, id, share, shows);
    }
}
