//! A folder with more files than one listing shows, listed in parts.
//!
//! The parts are listings of one folder, so there is one in 30 seconds. The
//! walk therefore goes on when those who asked have left, and says when it
//! will be done.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Catalog;
use super::content::{Content, FileRecord, FolderRecord};
use super::windows::{Obstacle, Sweep};
use crate::error::{Error, Reason, Result};
use crate::fichier::{Client, FileItem, FolderListing, LISTING_CAP, Scope, time};

/// A walk that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(1_800);
/// Caps are round numbers: a listing of any other length was not cut.
const ROUND: usize = 50;
/// How far back files may have been added that a listing did not show yet.
const LATE: i64 = 3_600;

/// What a listing is, judged by its length and the folder's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    /// The folder says that it has more files. Perhaps the count runs ahead of
    /// the listings, which show changes late; perhaps the cap is lower than
    /// the documented one. A second listing tells.
    Doubtful,
    Cut,
}

/// Judges a listing. With 5,000 files or more it is cut, unless it has more
/// than that and the count confirms them. A count of 5,000 or more tells of a
/// cut, too. Below that a count that is higher means a cut only where the
/// length could be a cap: otherwise each upload of somebody else would cost
/// another listing for as long as it is on its way into the index.
pub(super) fn judge(listing: &FolderListing) -> Verdict {
    let listed = listing.files.as_ref().map_or(0, Vec::len);
    let count = listing
        .file_count
        .map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    match count {
        Some(count) if listed > LISTING_CAP && listed >= count => Verdict::Whole,
        _ if listed >= LISTING_CAP => Verdict::Cut,
        Some(count) if count > listed => {
            let capped = listed > 0 && listed.is_multiple_of(ROUND);
            if count >= LISTING_CAP || capped {
                Verdict::Doubtful
            } else {
                tracing::debug!(count, listed, "a folder's count differs from its listing");
                Verdict::Whole
            }
        }
        _ => Verdict::Whole,
    }
}

/// The content that a whole listing shows.
pub(super) fn whole(listing: FolderListing) -> Content {
    Content::new(
        listing
            .folders
            .into_iter()
            .map(FolderRecord::from)
            .collect(),
        listing
            .files
            .into_iter()
            .flatten()
            .map(FileRecord::from)
            .collect(),
    )
}

/// Listing one folder in parts.
pub(super) struct Walk {
    pub(super) client: Arc<Client>,
    pub(super) catalog: Weak<Catalog>,
    pub(super) scope: Scope,
    pub(super) folder: i64,
    /// When it will be done.
    pub(super) end: watch::Sender<Option<Instant>>,
    pub(super) found: HashMap<Box<str>, FileRecord>,
}

impl Walk {
    /// Lists the folder completely. `listing` is one that is cut, or may be.
    pub(super) async fn run(mut self, listing: FolderListing, now: i64) -> Result<Content> {
        let given_up = Error::new(
            Reason::UpstreamUnavailable,
            format!(
                "a folder with more files than 1Fichier lists at once could not be listed in {} minutes; \
                 try again when 1Fichier locks the account less often",
                LONGEST.as_secs() / 60
            ),
        )
        .retry_after(Duration::from_secs(600));
        timeout(LONGEST, self.complete(listing, now))
            .await
            .unwrap_or(Err(given_up))
    }

    async fn complete(&mut self, mut listing: FolderListing, now: i64) -> Result<Content> {
        if judge(&listing) == Verdict::Doubtful {
            self.expect(1);
            listing = self.client.list_folder(self.scope, self.folder).await?;
            if judge(&listing) == Verdict::Whole {
                return Ok(whole(listing));
            }
        }
        let listed = listing.files.as_ref().map_or(0, Vec::len);
        let cap = match listed {
            0 => LISTING_CAP,
            listed => listed.min(LISTING_CAP),
        };
        let dates = listing
            .files
            .iter()
            .flatten()
            .filter_map(|file| file.time.map(time::local))
            .collect();
        // Without a count it is a guess, which costs some calls when wrong.
        let count = listing.file_count.unwrap_or(2 * listed as u64);
        drop(listing);
        let sweep = Sweep::plan(dates, count, cap).map_err(|obstacle| refused(&obstacle))?;
        self.check_length(sweep.len(), count, cap)?;
        tracing::info!(
            folder = self.folder,
            files = count,
            windows = sweep.len(),
            "a folder is listed in parts"
        );
        self.sweep(sweep).await?;
        let fresh = self.check().await?;
        if self.missing(&fresh) == 0 {
            return Ok(self.content(fresh));
        }
        // Added meanwhile, or late in the index.
        self.sweep(Sweep::from(time::local(now) - LATE, cap))
            .await?;
        let listed = fresh.files.as_ref().map_or(0, Vec::len);
        let fresh = self.check().await?;
        let missing = self.missing(&fresh);
        if missing == 0 {
            return Ok(self.content(fresh));
        }
        if listed < LISTING_CAP && self.found.len() <= listed {
            // Nothing came to light that the plain listing does not show: it
            // was whole, and the count counts something else.
            tracing::warn!(
                folder = self.folder,
                count = fresh.file_count,
                listed,
                "a folder's count is higher than the number of its files"
            );
            return Ok(self.content(fresh));
        }
        Err(Error::new(
            Reason::UpstreamProtocol,
            format!(
                "1Fichier says that the folder has {} files, and listed in parts it shows {missing} fewer; \
                 try again later, or spread its files over folders of fewer than {LISTING_CAP} each",
                fresh.file_count.unwrap_or_default()
            ),
        ))
    }

    async fn sweep(&mut self, mut sweep: Sweep) -> Result<()> {
        while let Some(window) = sweep.next() {
            // This one, the others, and the check at the end.
            self.expect(sweep.len() + 2);
            let (after, before) = window.bounds();
            let files = self
                .client
                .list_files(self.scope, self.folder, after, before)
                .await?;
            let dates: Vec<_> = files
                .iter()
                .map(|file| file.time.map(time::local))
                .collect();
            if sweep
                .answer(window, &dates)
                .map_err(|obstacle| refused(&obstacle))?
            {
                self.add(files);
            }
        }
        Ok(())
    }

    /// The folder once more: how many files it has now, and its sub-folders.
    async fn check(&mut self) -> Result<FolderListing> {
        self.expect(1);
        let fresh = self.client.list_folder(self.scope, self.folder).await?;
        self.add(fresh.files.iter().flatten().cloned());
        Ok(fresh)
    }

    fn add(&mut self, files: impl IntoIterator<Item = FileItem>) {
        for file in files {
            let file = FileRecord::from(file);
            self.found.insert(file.url.clone(), file);
        }
    }

    /// How many files were not found. Own changes of late may be counted
    /// before they are listed, or still be counted; they are known anyway.
    fn missing(&self, fresh: &FolderListing) -> u64 {
        let own = self.catalog.upgrade().map_or(0, |catalog| {
            let urls = catalog.own_changes(self.folder);
            urls.iter()
                .filter(|url| !self.found.contains_key(*url))
                .count()
        });
        let known = (self.found.len() + own) as u64;
        fresh.file_count.unwrap_or_default().saturating_sub(known)
    }

    fn content(&mut self, fresh: FolderListing) -> Content {
        let folders = fresh.folders.into_iter().map(FolderRecord::from);
        let files = std::mem::take(&mut self.found).into_values();
        Content::new(folders.collect(), files.collect())
    }

    /// Says how many listings are still to come, the next one included.
    fn expect(&self, listings: usize) {
        let more = u32::try_from(listings.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.client.listing_allowed_in(self.folder)
            + self.client.listing_interval().saturating_mul(more);
        self.end.send_replace(Instant::now().checked_add(wait));
    }

    fn check_length(&self, windows: usize, count: u64, cap: usize) -> Result<()> {
        let listings = count.div_ceil(cap as u64).max(windows as u64) + 1;
        let listings = u32::try_from(listings).unwrap_or(u32::MAX);
        let length = self.client.listing_interval().saturating_mul(listings);
        if length <= LONGEST {
            return Ok(());
        }
        Err(Error::new(
            Reason::UpstreamProtocol,
            format!(
                "the folder has {count} files, and 1Fichier's limits make listing them take {} minutes; \
                 spread them over several folders, best fewer than {LISTING_CAP} in each",
                length.as_secs().div_ceil(60)
            ),
        ))
    }
}

fn refused(obstacle: &Obstacle) -> Error {
    Error::new(
        Reason::UpstreamProtocol,
        format!(
            "the folder has more files than 1Fichier lists at once, and listing it in parts fails: {obstacle}; \
             spread its files over folders of fewer than {LISTING_CAP} each"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_judged_by_length_and_count() {
        let judged = |listed: usize, count: Option<u64>| {
            let file = FileItem {
                url: String::new(),
                name: String::new(),
                size: 1,
                time: None,
                whirlpool: String::new(),
                content_type: String::new(),
                password: false,
                acl: false,
                cdn: false,
            };
            judge(&FolderListing {
                folders: Vec::new(),
                files: Some(vec![file; listed]),
                file_count: count,
                asked: None,
            })
        };
        for (listed, count, verdict) in [
            (0, None, Verdict::Whole),
            (0, Some(3), Verdict::Whole),
            (7, Some(7), Verdict::Whole),
            (7, Some(5), Verdict::Whole),
            (7, Some(9), Verdict::Whole),
            (1_000, Some(1_000), Verdict::Whole),
            (1_000, Some(1_001), Verdict::Doubtful),
            (4_999, Some(4_999), Verdict::Whole),
            (4_998, Some(5_001), Verdict::Doubtful),
            (5_000, None, Verdict::Cut),
            (5_000, Some(5_000), Verdict::Cut),
            (5_000, Some(5_001), Verdict::Cut),
            (6_000, None, Verdict::Cut),
            (6_000, Some(6_000), Verdict::Whole),
        ] {
            assert_eq!(judged(listed, count), verdict, "{listed} of {count:?}");
        }
    }
}
