//! Files that landed elsewhere, or in a directory that another program has moved,
//! come to their path.

use tokio::time::Instant;

use super::{Home, Pending};
use crate::backend::batch::{Change, Target};
use crate::backend::locks::Key;
use crate::backend::path::RemotePath;
use crate::backend::resolve::Walk;
use crate::backend::twins::{Directory, FolderAt};
use crate::backend::{AtPath, Remote};
use crate::catalog::{FileRecord, Touched};
use crate::error::{Error, Reason, Result};
use crate::fichier::{BATCH, Kind, Priority, ROOT, Scope};

impl Remote {
    /// A folder is not where memory has it, as 1Fichier says. What was stored
    /// there by old memory belongs to the path that was asked for; what was
    /// stored just before the folder was moved goes with it.
    pub(super) async fn leave_moved(
        &self,
        scope: Scope,
        path: &RemotePath,
        folder: i64,
        pending: &[Pending],
    ) {
        let account = &self.account;
        let landings = &account.landings;
        // It may be moved from here just now: it is asked again later.
        let Some(_tree) = account.locks.try_hold(Key::Tree) else {
            return;
        };
        if landings.path_of(folder, path) != *path {
            return;
        }
        let asked = Instant::now();
        let way = self.known_way(path).await;
        let way: Vec<&FolderAt> = way.iter().flat_map(Directory::folders).collect();
        let catalog = &account.catalog;
        // What 1Fichier tells may be late, too.
        if way
            .iter()
            .any(|at| catalog.was_moved(at.parent, at.folder.id))
        {
            return;
        }
        for FolderAt { parent, folder } in way {
            match catalog.folder_since(scope, *parent, asked).await {
                // What was made from here, and is not shown, is not there.
                Ok(_) => catalog.forget_unshown(*parent, folder.id),
                Err(error) if error.reason() == Reason::DirectoryNotFound => {}
                Err(error) => {
                    tracing::warn!(%path, %error, "cannot see whether another program moved a directory");
                    return;
                }
            }
        }
        let is_there = match self.walk(scope, path, None).await {
            Ok(Walk::Folder(directory)) => directory.ids().any(|id| id == folder),
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(%path, %error, "cannot see whether another program moved a directory");
                return;
            }
        };
        account.questions.told_path(!is_there);
        if is_there {
            landings.seen(folder, asked);
        }
        let (unsure, sure): (Vec<Pending>, Vec<Pending>) = pending
            .iter()
            .cloned()
            .partition(|pending| pending.unsure && !is_there);
        landings.take(folder, |known| {
            sure.iter().any(|asked| asked.note == known.note)
        });
        if !unsure.is_empty() {
            self.bring_home(scope, path, folder, folder, &unsure).await;
        }
    }

    /// Moves files to their directory, which is made again. What is not moved
    /// stays pending.
    pub(super) async fn bring_home(
        &self,
        scope: Scope,
        path: &RemotePath,
        gone: i64,
        from: i64,
        pending: &[Pending],
    ) {
        let files = pending.len();
        tracing::warn!(%path, files, "another program removed a directory, or moved it away, while files were on their way; it is made again and they are moved there");
        if let Err(error) = self.move_home(scope, path, gone, from, pending).await {
            tracing::warn!(%path, %error, "uploaded files lie elsewhere, and cannot be moved to their directory now; this is tried again");
        }
    }

    async fn move_home(
        &self,
        scope: Scope,
        path: &RemotePath,
        gone: i64,
        from: i64,
        pending: &[Pending],
    ) -> Result<()> {
        let account = &self.account;
        let (unwanted, wanted): (Vec<&Pending>, Vec<_>) =
            pending.iter().partition(|pending| pending.landing.unwanted);
        self.remove_strays(gone, from, &unwanted).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        let wanted = match from {
            ROOT => self.strays_in_root(scope, gone, wanted).await?,
            _ => wanted,
        };
        if wanted.is_empty() {
            return Ok(());
        }
        let scope = scope.with_priority(Priority::Upload);
        let mut target = self.folder_to_write(scope, path, &mut Vec::new()).await;
        let is_blocked = |error: &Error| error.reason() == Reason::NotADirectory;
        if from == ROOT && target.as_ref().is_err_and(is_blocked) {
            // One of them may have the name of the directory.
            self.hide_strays(gone, &wanted);
            target = self.folder_to_write(scope, path, &mut Vec::new()).await;
        }
        let target = target?;
        let folder = target.id();
        for part in wanted.chunks(BATCH) {
            let urls: Vec<String> = part.iter().map(|it| it.file().url.to_string()).collect();
            let touched = urls.iter().cloned().map(Touched::File).collect();
            let intent = account.changing(&[from, folder], touched).await;
            let intent = intent.at_path(path)?;
            let moved = account.client.move_files(scope, &urls, folder, None).await;
            // Where the answer is lost, the next question tells.
            let done = moved.at_path(path)?.done;
            for (old, now) in done {
                let Some(it) = part.iter().find(|it| *it.file().url == *old) else {
                    continue;
                };
                let file = FileRecord {
                    url: now.as_str().into(),
                    ..it.file().clone()
                };
                account.catalog.file_removed(from, &old);
                account.catalog.file_added(folder, file.clone());
                if old != now {
                    account.catalog.pass_modified_on(&old, &now);
                }
                self.arrived(gone, it, (folder, file)).await?;
            }
            intent.done();
        }
        account.landings.seen(folder, Instant::now());
        account.catalog.settle().await.at_path(path)
    }

    /// The files that lie in the root: others were moved elsewhere on purpose,
    /// or removed.
    async fn strays_in_root<'a>(
        &self,
        scope: Scope,
        gone: i64,
        pending: Vec<&'a Pending>,
    ) -> Result<Vec<&'a Pending>> {
        if let [_] = &*pending {
            // That is the one that was asked about.
            return Ok(pending);
        }
        let account = &self.account;
        let root = account.catalog.folder_since(scope, ROOT, Instant::now());
        let root = root.await?;
        let (there, elsewhere): (Vec<_>, Vec<_>) = pending
            .into_iter()
            .partition(|it| it.hidden || root.content.has_file(&it.file().url));
        // A listing may be late with those that came a moment ago.
        let settled = |known: &Pending| {
            let mut elsewhere = elsewhere.iter();
            let is_young = account.catalog.is_young(gone, &known.file().url);
            !is_young && elsewhere.any(|it| it.note == known.note)
        };
        account.landings.take(gone, settled);
        Ok(there)
    }

    /// Keeps files from listings of the root until they are moved away.
    fn hide_strays(&self, gone: i64, strays: &[&Pending]) {
        for stray in strays {
            self.account.catalog.file_removed(ROOT, &stray.file().url);
        }
        self.account.landings.change(gone, |known| {
            for pending in &mut known.pending {
                pending.hidden |= strays.iter().any(|stray| stray.note == pending.note);
            }
        });
    }

    /// A file is in its directory. It goes all the same if something else became
    /// of its path meanwhile.
    async fn arrived(&self, gone: i64, pending: &Pending, home: Home) -> Result<()> {
        let account = &self.account;
        let taken = account
            .landings
            .take(gone, |known| known.note == pending.note);
        let Some(known) = taken.into_iter().next() else {
            return Ok(());
        };
        if known.landing.unwanted {
            let target = Target::new(home.0, &home.1.url);
            let removed = self
                .remove_all(Scope::new(Priority::Delete), &[target])
                .await;
            return removed.map_err(Into::into);
        }
        if known.awaited {
            let url = known.landing.file.url;
            account
                .landings
                .change(gone, |known| known.homes.insert(url, home));
        }
        Ok(())
    }

    /// Removes files from where they are that nobody wants any more.
    async fn remove_strays(&self, gone: i64, from: i64, strays: &[&Pending]) -> Result<()> {
        let account = &self.account;
        let targets: Vec<Target> = strays
            .iter()
            .map(|stray| Target {
                // 1Fichier told just now that it is there.
                is_certain: true,
                ..Target::new(from, &stray.file().url)
            })
            .collect();
        let scope = Scope::new(Priority::Delete);
        let outcomes = account.batches.run(scope, Change::Remove, &targets).await;
        for (stray, outcome) in strays.iter().zip(outcomes) {
            match outcome {
                Err(error) if error.kind() != Kind::NotFound => return Err(error.into()),
                _ => drop(
                    account
                        .landings
                        .take(gone, |known| known.note == stray.note),
                ),
            }
        }
        Ok(())
    }
}
