//! Moving and renaming directories.

use tokio::sync::OwnedMutexGuard;

use super::carry::{Carried, Carrier, Load, Place, entry_exists, name_in_between, stages};
use super::directories::{ATTEMPTS, Made, Writable, unstable};
use super::entry::Entry;
use super::in_use::Writing;
use super::journal::{Carry, Task};
use super::path::RemotePath;
use super::put::Stored;
use super::resolve::Found;
use super::{AtPath, Remote, mkdir_key, replay};
use crate::catalog::Touched;
use crate::error::{Error, Result};
use crate::fichier::{Priority, Scope};

/// What changes where folders are, and what must not go on while they change
/// their places, happens one after the other under this lock.
pub(super) const TREE: &str = "tree";

/// All that a directory needs on its way. While this is held, nobody removes
/// the folders concerned, or makes others of their names.
#[derive(Debug)]
struct Route {
    load: Load,
    _into: Writable,
    _in_use: Vec<Writing>,
    _names: Vec<OwnedMutexGuard<()>>,
}

/// Folders made for a destination go again when nothing comes there.
#[derive(Debug)]
struct Parents {
    remote: Remote,
    made: Made,
}

impl Drop for Parents {
    fn drop(&mut self) {
        let made = std::mem::take(&mut self.made);
        if !made.is_empty() {
            let remote = self.remote.clone();
            let tasks = self.remote.account.tasks.clone();
            tasks.spawn(async move { remote.unmake(made).await });
        }
    }
}

impl Remote {
    /// Moves or renames a directory with all that is in it. Parents of the
    /// destination are made. What is written to it meanwhile goes with it.
    ///
    /// # Errors
    /// DIRECTORY_NOT_FOUND, NOT_A_DIRECTORY, AMBIGUOUS_PATH when several
    /// directories have the path, ENTRY_EXISTS when there is anything at the
    /// destination, INVALID_PATH when that is below the directory itself.
    pub async fn move_directory(
        &self,
        scope: Scope,
        source: &RemotePath,
        destination: &RemotePath,
        request_id: Option<String>,
    ) -> Result<Stored> {
        self.check_writable()?;
        let account = &self.account;
        self.check_names(destination)
            .map_err(|error| error.field("destination_path"))?;
        let arguments = format!("move directory {source:?} {destination:?}");
        let mut request = None;
        if let Some(id) = request_id {
            let lock = account.locks.hold(format!("request {id}")).await;
            if let Some(entry) = self.replay(&id, &arguments).await? {
                return Ok(Stored {
                    entry,
                    replayed: true,
                });
            }
            request = Some((id, lock));
        }
        // What must be listed for it is listed before others wait for it.
        self.check_move(scope, source, destination).await?;
        let tree = account.locks.hold(TREE.to_owned()).await;
        let mut parents = Parents {
            remote: self.clone(),
            made: Made::new(),
        };
        let mut route = self.route(scope, source, destination, &mut parents).await?;
        let turn = account
            .client
            .turn(scope.with_priority(Priority::Upload), "folder/mv")
            .await
            .at_path(source)?;

        // From here on the work goes on even if the caller goes away: a folder
        // that is half-way must not stay there.
        let (remote, source, destination) = (self.clone(), source.clone(), destination.clone());
        let work = account.tasks.spawn(async move {
            let _tree = tree;
            let account = &remote.account;
            let mut turn = Some(turn);
            for _ in 0..ATTEMPTS {
                let task = Task::Carry(Carry {
                    encoding: remote.codec.mask().bits(),
                    folder: route.load.folder.clone(),
                    from: route.load.from.clone(),
                    to: route.load.to.clone(),
                    source: source.clone(),
                    destination: destination.clone(),
                    request: request
                        .as_ref()
                        .map(|(id, _)| (id.clone(), arguments.clone())),
                });
                account.give_up_carries(route.load.folder.id);
                let folders = vec![route.load.from.parent, route.load.to.parent];
                let touched = vec![Touched::Folder(route.load.folder.id)];
                let intent = account.intend(folders, touched, &task).await;
                let intent = intent.at_path(&source)?;
                let carried = Carrier::new(&remote, &route.load, turn.take()).run();
                let carried = match carried.await {
                    Ok(carried) => carried,
                    Err(error) => {
                        // The caller is told where it is.
                        intent.done();
                        return Err(error);
                    }
                };
                match carried {
                    Carried::Arrived(folder) => {
                        parents.made.clear();
                        account.landings.moved(&source, &destination);
                        if let Some((id, _lock)) = request {
                            let what = replay::Stored::Folder(folder.clone());
                            account.remember(id, arguments, &destination, what);
                        }
                        intent.done();
                        account.catalog.settle().await.at_path(&destination)?;
                        return Ok(Stored {
                            entry: Entry::directory(destination, &folder, 1),
                            replayed: false,
                        });
                    }
                    Carried::ParentGone => {
                        intent.done();
                        drop(route);
                        parents.made.clear();
                        let scope = Scope::new(Priority::Upload);
                        if let Some((parent, _)) = destination.split() {
                            remote.doubt_way_to(scope, &parent).await;
                        }
                        route = remote
                            .route(scope, &source, &destination, &mut parents)
                            .await?;
                    }
                }
            }
            Err(unstable(&destination))
        });
        work.await
            .map_err(|error| Error::internal(format!("a move stopped: {error}")))?
    }

    /// Whether the move is allowed, as far as is known.
    async fn check_move(
        &self,
        scope: Scope,
        source: &RemotePath,
        destination: &RemotePath,
    ) -> Result<()> {
        self.directory(scope, source, None).await?.only(source)?;
        match self.find(scope, destination, None).await?.0 {
            Found::Nothing => {}
            _ => return Err(entry_exists(destination)),
        }
        if destination.is_within(source) {
            let shown = if source.is_root() {
                "the root"
            } else {
                source.as_str()
            };
            return Err(Error::invalid_path(
                destination.as_str(),
                format_args!("it is inside {shown:?}, which would be moved into itself"),
            )
            .field("destination_path"));
        }
        Ok(())
    }

    /// Makes missing parents, and keeps all in place that the move needs.
    async fn route(
        &self,
        scope: Scope,
        source: &RemotePath,
        destination: &RemotePath,
        parents: &mut Parents,
    ) -> Result<Route> {
        let account = &self.account;
        for _ in 0..ATTEMPTS {
            self.check_move(scope, source, destination).await?;
            let (Some((_, old)), Some((parent, new))) = (source.split(), destination.split())
            else {
                return Err(Error::internal("the root was moved"));
            };
            let into = self
                .folder_to_write(scope, &parent, &mut parents.made)
                .await?;
            let directory = self.directory(scope, source, None).await?;
            let at = directory.only(source)?;
            let from = Place::new(at.parent, &at.folder.name);
            // Of several folders with one path, the one that it is in already.
            let target = into.directory.ids().find(|id| *id == from.parent);
            let target = target.unwrap_or_else(|| into.id());
            let to = match old == new {
                true => Place::new(target, &from.name),
                false => Place::new(target, &self.stored_name(destination, new)?),
            };
            let mut in_use = Vec::new();
            for folder in [at.folder.id, from.parent, to.parent] {
                in_use.push(account.in_use.write(folder).await);
            }
            // Whoever makes a folder of such a name waits.
            let keys = [from.parent, to.parent]
                .into_iter()
                .flat_map(|parent| [mkdir_key(parent, old), mkdir_key(parent, new)]);
            let names = account.locks.hold_all(keys.collect()).await;
            // Unless any of it changed while this waited.
            let catalog = &account.catalog;
            let is_free = |place: &Place| catalog.lacks(place.parent, self.codec, &place.name);
            if !catalog.may_hold(from.parent, &at.folder) || is_free(&to) == Some(false) {
                continue;
            }
            let third = name_in_between();
            let stages = stages(&from, &to, |place| is_free(place) == Some(true), &third);
            return Ok(Route {
                load: Load {
                    folder: at.folder.clone(),
                    from,
                    to,
                    stages,
                    source: source.clone(),
                    destination: destination.clone(),
                },
                _into: into,
                _in_use: in_use,
                _names: names,
            });
        }
        Err(unstable(destination))
    }
}
