//! Directories that share a path: one takes in what is in the others, or the
//! others get names of their own.

use std::collections::HashSet;

use futures::future::join_all;

use super::rename::Renaming;
use super::{DedupeMode, Group, Left, Walk};
use crate::backend::batch::{Change, Target};
use crate::backend::entry::Entry;
use crate::backend::locks::Key;
use crate::backend::lost::{Fate, Look, Route};
use crate::backend::path::{MAX_DEPTH, RemotePath};
use crate::catalog::{Content, FileRecord, FolderRecord, Touched};
use crate::error::{Error, Reason};
use crate::fichier::{self, Kind};

/// Two folders of which one takes in what is in the other.
struct Merge {
    path: RemotePath,
    parent: i64,
    into: i64,
    from: i64,
}

impl Walk {
    /// Resolves folders that share a path, the one that counts first.
    pub(super) async fn resolve_twins(
        &self,
        path: RemotePath,
        parent: i64,
        folders: Vec<FolderRecord>,
        content: &Content,
    ) -> Result<Group, Left> {
        let entry =
            |path: &RemotePath, folder: &FolderRecord| Entry::directory(path.clone(), folder, 1);
        let first = &folders[0];
        let mut group = Group {
            entries: folders.iter().map(|folder| entry(&path, folder)).collect(),
            kept: first.id.to_string(),
            remaining: vec![entry(&path, first)],
            failures: Vec::new(),
            path: path.clone(),
        };
        let mut renaming = Renaming::new(&self.remote, content);
        for folder in &folders[1..] {
            match self.options.mode {
                DedupeMode::Report => group.remaining.push(entry(&path, folder)),
                DedupeMode::Rename => {
                    let free = renaming.free_folder_name(&path);
                    let renamed = match free {
                        Ok((new, stored)) if self.options.changes() => self
                            .rename_folder(parent, folder, &new, stored)
                            .await?
                            .map(|folder| entry(&new, &folder)),
                        Ok((new, _)) => Ok(entry(&new, folder)),
                        Err(error) => Err(error),
                    };
                    match renamed {
                        Ok(entry) => group.remaining.push(entry),
                        Err(error) => {
                            group.remaining.push(entry(&path, folder));
                            group.failures.push((path.clone(), error));
                        }
                    }
                }
                _ if self.options.changes() => {
                    let merge = Merge {
                        path: path.clone(),
                        parent,
                        into: first.id,
                        from: folder.id,
                    };
                    let failures = self.merge(merge).await?;
                    if !failures.is_empty() {
                        group.remaining.push(entry(&path, folder));
                        group.failures.extend(failures);
                    }
                }
                _ => {}
            }
        }
        if let Err(error) = self.remote.account.catalog.settle().await {
            let error = Error::from(error).at(group.path.as_str());
            group.failures.push((group.path.clone(), error));
        }
        Ok(group)
    }

    /// Gives a folder another name in its parent.
    async fn rename_folder(
        &self,
        parent: i64,
        folder: &FolderRecord,
        path: &RemotePath,
        stored: String,
    ) -> Result<Result<FolderRecord, Error>, Left> {
        let renamed = FolderRecord {
            name: stored.as_str().into(),
            ..folder.clone()
        };
        let account = &self.remote.account;
        let segment = path.segments().last().unwrap_or_default();
        // Nobody moves it, or makes a directory of that name, meanwhile.
        let tree = account.locks.hold(Key::Tree);
        let _tree = self.unless_left(tree).await?;
        let making = account.locks.hold(Key::mkdir(parent, segment));
        let _making = self.unless_left(making).await?;
        if !account.catalog.may_hold(parent, folder) {
            return Ok(Err(moved_away(path)));
        }
        account.give_up_carries(folder.id);
        let moved = self.move_folder(renamed.clone(), parent, parent, Some(&stored));
        Ok(match moved.await? {
            Ok(()) => Ok(renamed),
            Err(error) => Err(Error::from(error).at(path.as_str())),
        })
    }

    /// Moves or renames a folder, and makes sure that it is done. `folder` is
    /// told as it is afterwards.
    async fn move_folder(
        &self,
        folder: FolderRecord,
        from: i64,
        to: i64,
        rename: Option<&str>,
    ) -> Result<Result<(), fichier::Error>, Left> {
        let account = &self.remote.account;
        let turn = account.client.turn(self.upload_scope(), "folder/mv");
        let turn = match self.unless_left(turn).await? {
            Ok(turn) => turn,
            Err(error) => return Ok(Err(error)),
        };
        let intent = account
            .changing(&[from, to], vec![Touched::Folder(folder.id)])
            .await;
        let intent = match intent {
            Ok(intent) => intent,
            Err(error) => return Ok(Err(error)),
        };
        let id = folder.id;
        let arrived = || account.catalog.folder_moved(from, to, folder.clone());
        let moved = account.client.move_folder(turn, id, to, rename).await;
        let error = match moved {
            Ok(()) => {
                arrived();
                intent.done();
                return Ok(Ok(()));
            }
            Err(error) => error,
        };
        if error.kind() == Kind::NotFound {
            account.catalog.doubt(from);
            account.catalog.doubt(to);
        }
        if error.outcome_unknown() {
            let listed = account
                .catalog
                .folder_since(self.upload_scope(), to, error.when())
                .await;
            let done = listed.is_ok_and(|listed| {
                let there = listed.content.folder(id);
                there.is_some_and(|there| rename.is_none_or(|name| *there.name == *name))
            });
            if done {
                arrived();
                intent.done();
                return Ok(Ok(()));
            }
            drop(intent);
        } else {
            intent.done();
        }
        Ok(Err(error))
    }

    /// Moves all that is in one folder to another one and removes it. Returns
    /// what could not be done; then it stays with what is left in it.
    async fn merge(&self, merge: Merge) -> Result<Vec<(RemotePath, Error)>, Left> {
        let mut failures = Vec::new();
        let account = &self.remote.account;
        let Merge {
            ref path,
            parent,
            into,
            from,
        } = merge;
        if path.segments().count() > MAX_DEPTH {
            let error = Error::invalid_path(path.as_str(), "it is too deep");
            return Ok(vec![(path.clone(), error)]);
        }
        let _writing = self.unless_left(account.in_use.write(into)).await?;
        let mut listed = Vec::new();
        for folder in [into, from] {
            let fresh = account.catalog.folder_since(self.scope, folder, self.since);
            match self.unless_left(fresh).await? {
                Ok(fresh) => listed.push(fresh.content),
                Err(error) => {
                    let error = error.at(path.as_str());
                    return Ok(vec![(path.clone(), error)]);
                }
            }
        }
        let [target, source] = &listed[..] else {
            return Ok(failures);
        };
        self.move_content(&merge, source, &mut failures).await?;
        let codec = self.remote.codec;
        let mut folders: Vec<_> = source.folders().cloned().collect();
        folders.sort_by_key(|folder| folder.id);
        // Of twins in the source the second meets the first at the target.
        let mut arrived: Vec<(String, i64)> = Vec::new();
        for folder in folders {
            let segment = codec.to_segment(&folder.name);
            let below = path.join(&segment);
            let clash = target
                .find_folder(codec, &segment)
                .map(|there| there.id)
                .or_else(|| {
                    let there = arrived.iter().find(|(name, _)| *name == segment);
                    there.map(|(_, id)| *id)
                });
            if let Some(there) = clash {
                let merge = Merge {
                    path: below,
                    parent: from,
                    into: there,
                    from: folder.id,
                };
                failures.extend(Box::pin(self.merge(merge)).await?);
                continue;
            }
            let tree = account.locks.hold(Key::Tree);
            let _tree = self.unless_left(tree).await?;
            let making = account.locks.hold(Key::mkdir(into, &segment));
            let _making = self.unless_left(making).await?;
            if !account.catalog.may_hold(from, &folder) {
                // Not here any more, so it keeps nothing from going.
                continue;
            }
            let id = folder.id;
            account.give_up_carries(id);
            match self.move_folder(folder, from, into, None).await? {
                Ok(()) => arrived.push((segment, id)),
                Err(error) => failures.push((below, Error::from(error))),
            }
        }
        if failures.is_empty() {
            // 1Fichier itself removes only what is empty ([API §18]).
            let removed = match account.in_use.remove(from) {
                Some(_removing) => {
                    let removal = self
                        .remote
                        .remove_empty(self.upload_scope(), path, parent, from);
                    removal.await.map(drop)
                }
                None => Err(Error::new(
                    Reason::DirectoryNotEmpty,
                    format!("something is being written to a second directory {path:?}; ask again"),
                )),
            };
            failures.extend(removed.err().map(|error| (path.clone(), error)));
        }
        Ok(failures)
    }

    /// Moves the files of one folder to the other.
    async fn move_content(
        &self,
        merge: &Merge,
        source: &Content,
        failures: &mut Vec<(RemotePath, Error)>,
    ) -> Result<(), Left> {
        let account = &self.remote.account;
        let codec = self.remote.codec;
        let names: Vec<_> = source
            .files()
            .map(|file| codec.to_segment(&file.name))
            .collect();
        // In the order in which those who write take them: paths, then places.
        let paths = names.iter().map(|name| Key::Path(merge.path.join(name)));
        let paths = account.locks.hold_all(paths.collect());
        let _paths = self.unless_left(paths).await?;
        let places = names.iter().map(|name| Key::place(merge.into, name));
        let places = account.locks.hold_all(places.collect());
        let _places = self.unless_left(places).await?;
        // As it is now that nobody else writes to them.
        let known = account.catalog.peek(merge.from).await;
        let files: Vec<FileRecord> = known
            .iter()
            .flat_map(|known| known.content.files())
            .filter(|file| source.has_file(&file.url))
            .cloned()
            .collect();
        let targets: Vec<_> = files
            .iter()
            .map(|file| Target::new(merge.from, &file.url))
            .collect();
        for file in &files {
            account.landings.forget(merge.from, &file.url);
        }
        let change = Change::Move(merge.into);
        let outcomes = account
            .batches
            .run_until(self.upload_scope(), change, &targets, &self.cancel)
            .await;
        let settled = files
            .into_iter()
            .zip(outcomes)
            .map(async |(file, outcome)| {
                let outcome = self.settle(merge, &file, outcome).await;
                (file, outcome)
            });
        for (file, outcome) in join_all(settled).await {
            if let Err(error) = outcome {
                let path = merge.path.join(&codec.to_segment(&file.name));
                failures.push((path, error));
            }
        }
        Ok(())
    }

    /// What became of one file.
    async fn settle(
        &self,
        merge: &Merge,
        file: &FileRecord,
        outcome: Result<String, fichier::Error>,
    ) -> Result<(), Error> {
        let catalog = &self.remote.account.catalog;
        let arrived = |url: String| {
            catalog.file_removed(merge.from, &file.url);
            let file = FileRecord {
                url: url.into(),
                ..file.clone()
            };
            catalog.file_added(merge.into, file);
        };
        let error = match outcome {
            Ok(url) => {
                arrived(url);
                return Ok(());
            }
            Err(error) => error,
        };
        let route = Route {
            from: merge.from,
            file: file.clone(),
            to: merge.into,
            name: file.name.to_string(),
            copy: false,
            before: HashSet::new(),
        };
        let gone = match error.kind() {
            Kind::NotFound => true,
            _ if error.outcome_unknown() => {
                match self.remote.fate(&route, Look::patient(&error)).await {
                    Ok(Fate::Arrived(url)) => {
                        arrived(url);
                        return Ok(());
                    }
                    Ok(fate) => fate == Fate::Gone,
                    Err(_) => false,
                }
            }
            _ => false,
        };
        if gone {
            // Another program removed it: it is in nobody's way.
            catalog.file_removed(merge.from, &file.url);
            return Ok(());
        }
        Err(error.into())
    }
}

fn moved_away(path: &RemotePath) -> Error {
    Error::new(
        Reason::UpstreamUnavailable,
        "the directory was moved or removed meanwhile; ask again",
    )
    .at(path.as_str())
}
