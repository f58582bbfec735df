//! What became of a file when the answer to its move or copy was lost.
//!
//! Its link tells, unless it has another one now or too many were lost at once;
//! and listings tell, which lag behind ([API §I]): they are asked several times
//! before a change counts as not made. Files that were lost together share
//! them.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::Remote;
use super::twins::SOON;
use crate::catalog::{Content, FileRecord};
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, Priority, Scope};

/// How often the folders are listed.
const LOOKS: u32 = 3;
/// 1Fichier wants 30 s between listings of one folder.
const BETWEEN: Duration = Duration::from_secs(31);

/// A file on its way: where it is, and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) from: i64,
    pub(super) file: FileRecord,
    pub(super) to: i64,
    /// Stored name at the destination.
    pub(super) name: String,
    /// The file stays where it is, too.
    pub(super) copy: bool,
    /// Files that have the name at the destination already, by URL.
    pub(super) before: HashSet<Box<str>>,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is where it should go, under this URL.
    Arrived(String),
    /// It is in the right folder, under another name.
    Unnamed(FileRecord),
    /// It is where it was.
    Stayed,
    /// It is in neither place.
    Gone,
}

impl Route {
    /// What the listing of the destination tells.
    fn told_by(&self, content: &Content) -> Option<Fate> {
        // Under a URL of its own ([API §J13]).
        if let Some(new) = content.files().find(|file| self.is_new(file)) {
            return Some(Fate::Arrived(new.url.to_string()));
        }
        let file = content.file(&self.file.url).filter(|_| !self.copy)?;
        Some(if *file.name == *self.name {
            Fate::Arrived(file.url.to_string())
        } else if self.from == self.to {
            Fate::Stayed
        } else {
            Fate::Unnamed(file.clone())
        })
    }

    /// Whether a file at the destination is what arrived there, under a URL of
    /// its own.
    pub(super) fn is_new(&self, file: &FileRecord) -> bool {
        *file.name == *self.name
            && file.size == self.file.size
            && file.whirlpool == self.file.whirlpool
            && file.url != self.file.url
            && !self.before.contains(&file.url)
    }
}

/// How to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Listings of after this moment count.
    since: Instant,
    /// How often a file that is nowhere is looked for.
    times: u32,
}

impl Look {
    /// After an answer that was lost.
    pub(super) fn patient(error: &fichier::Error) -> Self {
        Self {
            since: error.when(),
            times: LOOKS,
        }
    }

    /// Once, by listings of after a moment.
    pub(super) fn once(since: Instant) -> Self {
        Self { since, times: 1 }
    }

    /// After a refusal that may be for the sake of another file.
    pub(super) fn short(error: &fichier::Error) -> Self {
        Self {
            times: 1,
            ..Self::patient(error)
        }
    }
}

impl Remote {
    /// Looks where a file is: by its link, which 1Fichier knows at once, and by
    /// listings, which lag.
    ///
    /// # Errors
    /// When nothing is known: the folders cannot be listed, or a file that was
    /// stored a moment ago does not show anywhere.
    pub(super) async fn fate(&self, route: &Route, look: Look) -> Result<Fate> {
        let catalog = &self.account.catalog;
        let scope = Scope::new(Priority::Upload);
        let Look { mut since, times } = look;
        let mut is_young = false;
        for look in 0..times {
            if look > 0 {
                since += BETWEEN;
                tokio::time::sleep_until(since).await;
            }
            // Sooner than a listing is allowed.
            let wait = catalog.listing_after(route.to, since).unwrap_or_default();
            let mut asked = wait > SOON;
            if asked && let Some(fate) = self.ask_for_fate(scope, route).await {
                return Ok(fate);
            }
            let mut stayed = false;
            match catalog.folder_since(scope, route.to, since).await {
                Ok(listed) => match route.told_by(&listed.content) {
                    // By an own change, which tells nothing of what came after.
                    Some(Fate::Stayed) if catalog.is_unlisted(route.to, &route.file.url) => {
                        is_young = true;
                    }
                    Some(Fate::Stayed) => stayed = true,
                    Some(fate) => return Ok(fate),
                    None => {}
                },
                Err(error) if error.reason() == Reason::DirectoryNotFound => {
                    return Ok(Fate::Stayed);
                }
                Err(error) => return Err(error),
            }
            // A copy may show late; that the original is there tells nothing.
            if !route.copy && route.from != route.to {
                match catalog.folder_since(scope, route.from, since).await {
                    Ok(source) if !source.content.has_file(&route.file.url) => {}
                    Ok(_) if catalog.is_unlisted(route.from, &route.file.url) => is_young = true,
                    Ok(_) => stayed = true,
                    Err(error) if error.reason() == Reason::DirectoryNotFound => {}
                    Err(error) => return Err(error),
                }
            }
            // It is not where it should be; the listing may lag.
            if !std::mem::replace(&mut asked, true)
                && let Some(fate) = self.ask_for_fate(scope, route).await
            {
                return Ok(fate);
            }
            if stayed {
                return Ok(Fate::Stayed);
            }
        }
        match route.copy {
            true => Ok(Fate::Stayed),
            false if is_young => Err(not_shown()),
            false => Ok(Fate::Gone),
        }
    }

    /// What 1Fichier says of the file, or of what has the name at the
    /// destination; `None` when that tells nothing.
    async fn ask_for_fate(&self, scope: Scope, route: &Route) -> Option<Fate> {
        let account = &self.account;
        if !account.questions.may_ask() {
            return None;
        }
        let told = match route.copy {
            true => account.client.file_at(scope, route.to, &route.name).await,
            false => account.client.file_info(scope, &route.file.url).await,
        };
        let info = match told {
            Ok(info) => info,
            // Under another link, too early, protected, or not to be asked now:
            // listings tell.
            Err(error) => {
                tracing::debug!(%error, "1Fichier does not tell where a file is");
                return None;
            }
        };
        let named = info.file.name == route.name;
        let file = FileRecord::from(info.file);
        if route.copy {
            let is_new = route.is_new(&file);
            return is_new.then(|| Fate::Arrived(file.url.to_string()));
        }
        match info.folder {
            Some(folder) if folder == route.to && named => {
                Some(Fate::Arrived(file.url.to_string()))
            }
            Some(folder) if folder == route.from => Some(Fate::Stayed),
            Some(folder) if folder == route.to => Some(Fate::Unnamed(FileRecord {
                name: file.name,
                ..route.file.clone()
            })),
            // Another program has put it elsewhere.
            Some(_) => Some(Fate::Gone),
            None => None,
        }
    }
}

fn not_shown() -> Error {
    let text = "1Fichier does not show yet where the file is; ask again";
    Error::new(Reason::UpstreamUnavailable, text).retry_after(BETWEEN)
}
