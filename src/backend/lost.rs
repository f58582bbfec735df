//! What became of a file when the answer to its move or copy was lost.
//!
//! Only listings tell, and those lag behind ([API §I]): they are asked several
//! times before a change counts as not made. Files that were lost together
//! share them.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::Remote;
use crate::catalog::{Content, FileRecord};
use crate::error::{Reason, Result};
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
        if !self.copy
            && let Some(file) = content.file(&self.file.url)
        {
            return Some(if *file.name == *self.name {
                Fate::Arrived(file.url.to_string())
            } else if self.from == self.to {
                Fate::Stayed
            } else {
                Fate::Unnamed(file.clone())
            });
        }
        // Under a URL of its own ([API §J13]).
        let same = |file: &&FileRecord| {
            *file.name == *self.name
                && file.size == self.file.size
                && file.whirlpool == self.file.whirlpool
                && file.url != self.file.url
                && !self.before.contains(&file.url)
        };
        let new = content.files().find(same)?;
        Some(Fate::Arrived(new.url.to_string()))
    }
}

/// How to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Listings of after this moment count.
    since: Instant,
    /// A file that seems to be where it was is asked about: own changes of
    /// late hide what listings show.
    doubt: bool,
    /// How often a file that is nowhere is looked for.
    times: u32,
}

impl Look {
    /// After an answer that was lost.
    pub(super) fn patient(error: &fichier::Error) -> Self {
        Self {
            since: error.when(),
            doubt: false,
            times: LOOKS,
        }
    }

    /// Once, by listings of after a moment.
    pub(super) fn once(since: Instant) -> Self {
        Self {
            since,
            doubt: false,
            times: 1,
        }
    }

    /// After the refusal of what may have been done before.
    pub(super) fn doubtful(error: &fichier::Error) -> Self {
        Self {
            doubt: true,
            ..Self::patient(error)
        }
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
    /// Looks where a file is.
    ///
    /// # Errors
    /// When the folders cannot be listed: nothing is known then.
    pub(super) async fn fate(&self, route: &Route, look: Look) -> Result<Fate> {
        let catalog = &self.account.catalog;
        let scope = Scope::new(Priority::Upload);
        let Look {
            mut since,
            mut doubt,
            times,
        } = look;
        for look in 0..times {
            if look > 0 {
                since += BETWEEN;
                tokio::time::sleep_until(since).await;
            }
            let mut seems_there = false;
            match catalog.folder_since(scope, route.to, since).await {
                Ok(listed) => match route.told_by(&listed.content) {
                    Some(Fate::Stayed) => seems_there = true,
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
                    Ok(source) => seems_there = source.content.has_file(&route.file.url),
                    Err(error) if error.reason() == Reason::DirectoryNotFound => {}
                    Err(error) => return Err(error),
                }
            }
            if seems_there && doubt {
                doubt = false;
                seems_there = self
                    .account
                    .client
                    .file_exists(scope, &route.file.url)
                    .await?;
                if !seems_there {
                    catalog.file_removed(route.from, &route.file.url);
                }
            }
            if seems_there {
                return Ok(Fate::Stayed);
            }
        }
        Ok(if route.copy { Fate::Stayed } else { Fate::Gone })
    }
}
