//! Older versions of replaced files. The new one is safe before they go, so a
//! removal that fails fails nothing: they stay as duplicates and are removed a
//! little later, as long as the process lives.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;

use super::batch::Target;
use super::path::RemotePath;
use super::{Account, Remote};
use crate::catalog::{Content, FileRecord};
use crate::encoding::NameCodec;
use crate::error::Reason;
use crate::fichier::{Access, Priority, Scope};

/// How long until the first repeat; each next one waits twice as long.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3_600);
/// Replaced files that are remembered; more than these stay as duplicates.
const MOST: usize = 10_000;

/// What stays of one replaced file.
#[derive(Clone, Debug)]
struct Leftover {
    codec: NameCodec,
    path: RemotePath,
    folder: i64,
    segment: String,
    /// The file that took the place. While it is there, the others may go.
    kept: Box<str>,
    older: Vec<Target>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Leftover>,
    /// Somebody will look after them.
    scheduled: bool,
}

/// What waits for its removal in one account.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Mutex<Queue>);

impl Leftovers {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leftover {
    /// Whether a file has this name in a folder.
    fn stands(&self, content: &Content, url: &str) -> bool {
        let file = content.file(url);
        file.is_some_and(|file| self.codec.to_segment(&file.name) == self.segment)
    }
}

impl Remote {
    /// Removes all other files of a path from the folders of its directory,
    /// now or later. The new one is safe already; the caller holds the path.
    pub(super) async fn remove_older(
        &self,
        path: &RemotePath,
        folders: &[i64],
        segment: &str,
        new: &FileRecord,
    ) {
        let scope = Scope::new(Priority::Delete);
        let mut kept_in = None;
        let mut older = Vec::new();
        for folder in folders {
            let known = match self.snapshot(scope, *folder, None).await {
                Ok(known) => Some(known),
                Err(_) => self.account.catalog.peek(*folder).await,
            };
            let Some(known) = known else { continue };
            for file in known.content.find_files(self.codec, segment) {
                if file.url == new.url {
                    kept_in = Some(*folder);
                } else {
                    older.push(Target {
                        folder: *folder,
                        url: file.url.to_string(),
                    });
                }
            }
        }
        if older.is_empty() {
            return;
        }
        if let Err(error) = self.remove_all(scope, &older).await {
            tracing::warn!(%path, %error, "an older version of a replaced file stays for now, as a duplicate");
            let Some(folder) = kept_in.or_else(|| folders.first().copied()) else {
                return;
            };
            self.account.remove_later(Leftover {
                codec: self.codec,
                path: path.clone(),
                folder,
                segment: segment.to_owned(),
                kept: new.url.clone(),
                older,
            });
        }
    }
}

impl Account {
    fn remove_later(self: &Arc<Self>, leftover: Leftover) {
        let mut queue = self.leftovers.lock();
        if queue.waiting.len() >= MOST {
            tracing::error!(path = %leftover.path, "too many older versions wait for their removal; Dedupe removes them");
            return;
        }
        queue.waiting.push(leftover);
        if std::mem::replace(&mut queue.scheduled, true) {
            return;
        }
        drop(queue);
        // Not a task that shutdown waits for, and it keeps nothing alive.
        let account = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut pause = FIRST;
            loop {
                tokio::time::sleep(pause).await;
                let Some(account) = account.upgrade() else {
                    return;
                };
                let waiting = std::mem::take(&mut account.leftovers.lock().waiting);
                let before = waiting.len();
                let tried = waiting.into_iter().map(|leftover| account.retry(leftover));
                let left: Vec<_> = join_all(tried).await.into_iter().flatten().collect();
                pause = if left.len() < before {
                    FIRST
                } else {
                    (pause * 2).min(LONGEST)
                };
                let mut queue = account.leftovers.lock();
                queue.waiting.extend(left);
                if queue.waiting.is_empty() {
                    queue.scheduled = false;
                    return;
                }
            }
        });
    }

    /// Tries again; returns what stays all the same.
    async fn retry(self: &Arc<Self>, leftover: Leftover) -> Option<Leftover> {
        let remote = Remote {
            name: "".into(),
            account: Arc::clone(self),
            codec: leftover.codec,
            access: Access::default(),
        };
        let path = &leftover.path;
        let _lock = self.locks.hold(super::path_key(path)).await;
        let scope = Scope::new(Priority::Background);
        let Ok(known) = remote.snapshot(scope, leftover.folder, None).await else {
            return Some(leftover);
        };
        // What may go now: still in place, and another file keeps the path.
        if !leftover.stands(&known.content, &leftover.kept) {
            return None;
        }
        let mut older = Vec::new();
        for target in &leftover.older {
            let known = match remote.snapshot(scope, target.folder, None).await {
                Ok(known) => known,
                // It went with its folder.
                Err(error) if error.reason() == Reason::DirectoryNotFound => continue,
                Err(_) => return Some(leftover),
            };
            if leftover.stands(&known.content, &target.url) {
                older.push(target.clone());
            }
        }
        if older.is_empty() {
            return None;
        }
        match remote.remove_all(scope, &older).await {
            Ok(()) => {
                tracing::info!(%path, "the older version of a replaced file is removed now");
                None
            }
            Err(error) => {
                tracing::warn!(%path, %error, "an older version of a replaced file stays still");
                Some(leftover)
            }
        }
    }
}
