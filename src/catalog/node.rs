//! What is known of one folder.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::change::{Change, Own, Subject};
use super::content::Content;
use super::listing::InFlight;
use super::{GRACE, Snapshot};
use crate::error::Error;

/// One folder.
#[derive(Default)]
pub(super) struct Node {
    /// What is on disk was read.
    pub(super) loaded: bool,
    pub(super) known: Option<Snapshot>,
    /// Nobody should trust `known` any more, but it still counts while
    /// 1Fichier allows no new listing.
    pub(super) doubted: bool,
    /// Since when 1Fichier is known to hold something else than `known`: what
    /// that lacks may be there. A listing that began later ends this.
    pub(super) wrong: Option<Instant>,
    /// When it was made from here.
    pub(super) made: Option<Instant>,
    pub(super) changes: Vec<Own>,
    pub(super) flight: Option<InFlight>,
    /// Why it cannot be listed, and since when that is known.
    pub(super) failed: Option<(Instant, Error)>,
    pub(super) used: u64,
}

impl Node {
    pub(super) fn changed_lately(&self) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|own| !own.shown && own.at.elapsed() < GRACE)
    }

    /// The own change that put a file here, or gave it its name here, if it is
    /// not forgotten yet.
    pub(super) fn own_file(&self, url: &str) -> Option<&Own> {
        let own = |change: &Change| change.file().is_some_and(|file| *file.url == *url);
        self.own(own)
    }

    /// The same for a sub-folder.
    pub(super) fn own_folder(&self, id: i64) -> Option<&Own> {
        self.own(|change| change.folder() == Some(id))
    }

    /// Whether an own change of late put a sub-folder here that was elsewhere
    /// before, and no listing has shown it yet.
    pub(super) fn was_moved(&self, id: i64) -> bool {
        let own = self.own_folder(id);
        own.is_some_and(|own| {
            let is_late = !own.shown && own.at.elapsed() < GRACE;
            is_late && matches!(own.change, Change::FolderAdded(_))
        })
    }

    fn own(&self, is_it: impl Fn(&Change) -> bool) -> Option<&Own> {
        let mut latest = self.changes.iter().rev();
        latest.find(|own| is_it(&own.change))
    }

    /// How long ago 1Fichier showed what stands in the content: by an own change
    /// that put it there, or by the listing.
    pub(super) fn seen(own: Option<&Own>, listed: Duration) -> Duration {
        match own {
            Some(own) if own.shown => own.at.elapsed().min(listed),
            Some(own) => own.at.elapsed(),
            None => listed,
        }
    }

    /// What 1Fichier does not know is not here, whatever was done from here.
    pub(super) fn forget_file(&mut self, url: &str) {
        if let Some(known) = &mut self.known
            && known.content.has_file(url)
        {
            Arc::make_mut(&mut known.content).remove_file(url);
        }
        self.changes
            .retain(|own| own.change.subject() != Subject::File(url));
    }

    /// Whether it is being listed in parts.
    pub(super) fn is_walked(&self) -> bool {
        let flight = self.flight.as_ref();
        flight.is_some_and(|flight| flight.walking_since().is_some())
    }

    pub(super) fn is_listed_now(&self) -> bool {
        self.flight.as_ref().is_some_and(InFlight::is_alive)
    }

    /// Own changes of files and folders that no listing has shown yet.
    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        let changes = self.changes.iter().filter(|own| !own.shown);
        changes.map(|own| &own.change)
    }

    /// What a listing cannot fail to show any more. One in parts may have
    /// shown its first part long ago.
    pub(super) fn forget_old_changes(&mut self) {
        let since = self.flight.as_ref().and_then(InFlight::walking_since);
        let end = since.unwrap_or_else(Instant::now);
        self.changes.retain(|own| own.at + GRACE > end);
    }

    /// Listings do not tell in which order this server stored its files.
    pub(super) fn keep_order(&self, content: &mut Content) {
        let known = self.known.iter().flat_map(|known| known.content.files());
        let added = self.changes().filter_map(Change::file);
        for file in known.chain(added).filter(|file| file.order > 0) {
            content.set_order(&file.url, file.order);
        }
    }

    pub(super) fn entries(&self) -> usize {
        self.known.as_ref().map_or(0, |known| known.content.len())
    }
}
