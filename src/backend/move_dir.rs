//! Moving and renaming directories.

use super::carry::{Carried, Carrier, Load, Place, entry_exists, name_in_between, stages};
use super::directories::{ATTEMPTS, Made, Writable, unstable};
use super::entry::Entry;
use super::in_use::Writing;
use super::journal::{Carry, Task};
use super::locks::{Guard, Key, Operation, operation};
use super::path::RemotePath;
use super::put::Stored;
use super::resolve::Found;
use super::{AtPath, Remote, replay};
use crate::catalog::Touched;
use crate::error::{Error, Result};
use crate::fichier::{Priority, Scope};

/// All that a directory needs on its way. While this is held, nobody removes
/// the folders concerned, or makes others of their names.
#[derive(Debug)]
struct Route {
    load: Load,
    _into: Writable,
    _in_use: Vec<Writing>,
    _names: Vec<Guard>,
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
            tasks.spawn(operation(async move { remote.unmake(made).await }));
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
        operation(self.carry_directory(scope, source, destination, request_id)).await
    }

    async fn carry_directory(
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
            let lock = account.locks.hold(Key::request(&id)).await;
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
        let tree = account.locks.hold(Key::Tree).await;
        let mut parents = Parents {
            remote: self.clone(),
            made: Made::new(),
        };
        let route = self.route(scope, source, destination, &mut parents).await?;
        let turn = account
            .client
            .turn(scope.with_priority(Priority::Upload), "folder/mv")
            .await
            .at_path(source)?;

        // From here on the work goes on even if the caller goes away: a folder
        // that is half-way must not stay there.
        let (remote, source, destination) = (self.clone(), source.clone(), destination.clone());
        let work = async move {
            let _tree = tree;
            // Nobody writes to what was made when it is taken away again.
            let mut parents = parents;
            let mut route = route;
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
                let folders = vec![route.load.from.parent, route.load.to.parent];
                let touched = vec![Touched::Folder(route.load.folder.id)];
                let intent = account.intend(folders, touched, &task).await;
                let mut intent = Some(intent.at_path(&source)?);
                let carried = Carrier::new(&remote, &route.load, turn.take()).run();
                let carried = match carried.await {
                    Ok(carried) => carried,
                    Err(error) => {
                        // The caller is told where it is.
                        if let Some(intent) = intent.take() {
                            intent.done();
                        }
                        return Err(error);
                    }
                };
                match carried {
                    Carried::Unknown(error) => {
                        account.give_up_carries(route.load.folder.id);
                        if let Some(intent) = intent.take() {
                            account.leave(intent, task);
                        }
                        // That the outcome is not known is what the caller is told.
                        let _ = account.catalog.settle().await;
                        return Err(error);
                    }
                    Carried::Arrived(folder, is_shown) => {
                        account.give_up_carries(folder.id);
                        parents.made.clear();
                        account.landings.moved(&source, &destination);
                        account.writes_moved(&source, &destination);
                        if let Some((id, _lock)) = request {
                            let what = replay::Stored::Folder(folder.clone());
                            account.remember(id, arguments, &destination, what);
                        }
                        match intent.take() {
                            // What listings show later may be something else.
                            Some(intent) if !is_shown => account.leave(intent, task),
                            Some(intent) => intent.done(),
                            None => {}
                        }
                        account.catalog.settle().await.at_path(&destination)?;
                        return Ok(Stored {
                            entry: Entry::directory(destination, &folder, 1),
                            replayed: false,
                        });
                    }
                    Carried::ParentGone => {
                        if let Some(intent) = intent.take() {
                            intent.done();
                        }
                        drop(route);
                        parents.made.clear();
                        let scope = Scope::new(Priority::Upload);
                        if let Some((parent, _)) = destination.split() {
                            remote.doubt_way_to(&parent).await;
                        }
                        route = remote
                            .route(scope, &source, &destination, &mut parents)
                            .await?;
                    }
                }
            }
            Err(unstable(&destination))
        };
        let work = account.tasks.spawn(Operation::current().goes_on(work));
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
        self.directory_now(scope, source).await?.only(source)?;
        // What is in the way may be gone by now.
        match self.find_now(scope, destination).await? {
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
                .flat_map(|parent| [Key::mkdir(parent, old), Key::mkdir(parent, new)]);
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
