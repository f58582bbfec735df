//! Where a tree comes from: the folders of an account, or one public folder.

use std::sync::Arc;
use std::time::Duration;

use crate::fichier::{
    Budget, Client, Error, FolderListing, LISTING_CAP, ROOT, Scope, SharedFolder,
};

/// Where a tree comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The account's own folders.
    Account(Arc<Client>),
    /// One public folder: a flat list of files, which is the root.
    Shared(Arc<SharedFolder>),
}

impl Source {
    /// Whether it is a public folder.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// What listings are counted against.
    fn budget(&self) -> &Arc<Budget> {
        match self {
            Self::Account(client) => client.budget(),
            Self::Shared(shared) => shared.pages(),
        }
    }

    /// How long until the folder may be listed again.
    pub(super) fn listing_allowed_in(&self, folder: i64) -> Duration {
        match self {
            Self::Account(client) => client.listing_allowed_in(folder),
            Self::Shared(shared) => shared.listing_allowed_in(),
        }
    }

    /// How long the folder must not be listed again, whatever else is listed.
    pub(super) fn closed_for(&self, folder: i64) -> Duration {
        match self {
            Self::Account(client) => client.folder_closed_for(folder),
            Self::Shared(shared) => shared.closed_for(),
        }
    }

    /// An earlier run may have listed any folder.
    pub(super) fn restore_unknown(&self) {
        self.budget().restore_unknown();
    }

    /// An earlier run called a moment ago.
    pub(super) fn restore_calls(&self) {
        match self {
            Self::Account(client) => client.budget().restore_calls(),
            Self::Shared(shared) => shared.restore_calls(),
        }
    }

    /// An earlier run listed the folder.
    pub(super) fn restore_listing(&self, folder: i64, age: Duration) {
        match self {
            Self::Account(client) => client.budget().restore_listing(folder, age),
            Self::Shared(shared) => shared.restore_listing(age),
        }
    }

    pub(super) async fn list(&self, scope: Scope, folder: i64) -> Result<FolderListing, Error> {
        match self {
            Self::Account(client) => client.list_folder(scope, folder).await,
            Self::Shared(_) if folder != ROOT => Ok(FolderListing::default()),
            Self::Shared(shared) => Ok(FolderListing {
                folders: Vec::new(),
                files: Some(shared.list(scope).await?),
                file_count: None,
                asked: None,
            }),
        }
    }
}

/// Whether the page of a public folder may have been cut: it tells no count,
/// and that it has a cap is not known. A list of just as many files as the
/// API's listings hold is too likely to be one of them.
pub(super) fn may_be_cut(listing: &FolderListing) -> bool {
    listing.files.as_ref().map_or(0, Vec::len) == LISTING_CAP
}
