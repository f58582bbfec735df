//! Moving and copying files inside 1Fichier.

use super::batch::{Change, Target};
use super::entry::etag;
use super::path::RemotePath;
use super::put::{PutOptions, Stored, WriteMode, etag_mismatch};
use super::twins::FileAt;
use super::{AtPath, Remote, replay};
use crate::catalog::FileRecord;
use crate::error::{Error, Result};
use crate::fichier::{self, Kind, Priority, Scope};

/// How a file is moved or copied.
#[derive(Clone, Debug, Default)]
pub struct RelocateOptions {
    /// What happens to a file that is already there.
    pub mode: WriteMode,
    /// The source must have this etag.
    pub if_match: Option<String>,
    /// Chosen by the client: a repeat with the same id replays the outcome.
    pub request_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Move,
    Copy,
}

/// A file on its way: where it is, and where it goes.
struct Route<'a> {
    from: i64,
    file: &'a FileRecord,
    to: i64,
    name: &'a str,
}

impl Remote {
    /// Moves or renames a file. One that is already at the destination is
    /// removed once the file has arrived.
    ///
    /// # Errors
    /// FILE_NOT_FOUND, IS_A_DIRECTORY, ENTRY_EXISTS, ETAG_MISMATCH.
    pub async fn move_file(
        &self,
        scope: Scope,
        source: &RemotePath,
        destination: &RemotePath,
        options: RelocateOptions,
    ) -> Result<Stored> {
        self.relocate(scope, Action::Move, source, destination, options)
            .await
    }

    /// Copies a file.
    ///
    /// # Errors
    /// FILE_NOT_FOUND, IS_A_DIRECTORY, ENTRY_EXISTS, ETAG_MISMATCH.
    pub async fn copy_file(
        &self,
        scope: Scope,
        source: &RemotePath,
        destination: &RemotePath,
        options: RelocateOptions,
    ) -> Result<Stored> {
        self.relocate(scope, Action::Copy, source, destination, options)
            .await
    }

    async fn relocate(
        &self,
        scope: Scope,
        action: Action,
        source: &RemotePath,
        destination: &RemotePath,
        options: RelocateOptions,
    ) -> Result<Stored> {
        self.check_writable()?;
        let account = &self.account;
        let Some((parent, segment)) = destination.split() else {
            return Err(Error::is_a_directory(""));
        };
        self.check_names(destination)?;
        let arguments = format!(
            "{action:?} {source} {destination} {:?} {:?}",
            options.mode, options.if_match
        );
        let mut request = None;
        if let Some(id) = options.request_id {
            let lock = account.locks.hold(format!("request {id}")).await;
            if let Some(entry) = self.replay(&id, &arguments).await? {
                return Ok(Stored {
                    entry,
                    replayed: true,
                });
            }
            request = Some((id, lock));
        }

        let files = self.find_files(scope, source, None).await?;
        let FileAt { folder: from, file } = &files[0];
        let from = *from;
        if options.if_match.is_some_and(|wanted| wanted != etag(file)) {
            return Err(etag_mismatch(source));
        }
        if source == destination && (action == Action::Move || options.mode != WriteMode::KeepBoth)
        {
            if action == Action::Copy {
                return Err(Error::invalid_field(
                    "destination_path",
                    "it is the same as source_path",
                ));
            }
            let entry = self.file_entry(source.clone(), file, files.len()).await;
            return Ok(Stored {
                entry,
                replayed: false,
            });
        }
        let _lock = account.locks.hold(format!("put {destination}")).await;
        let target = PutOptions {
            mode: options.mode,
            create_parents: true,
            ..PutOptions::default()
        };
        self.check_target(scope, destination, &target).await?;
        let into = self
            .folder_to_write(scope, &parent, &mut Vec::new())
            .await?;
        let _claim = self
            .claim(scope, &into, destination, segment, &target)
            .await?;
        let to = into.id();
        let name = self.stored_name(destination, segment)?;

        let route = Route {
            from,
            file,
            to,
            name: &name,
        };
        if action == Action::Move {
            account.landings.forget(from, &file.url);
        }
        let url = match action {
            Action::Move => self.send_move(scope, &route).await,
            Action::Copy => self.send_copy(scope, &route).await,
        };
        let url = match url {
            Ok(url) => url,
            Err(error) => return Err(self.failed(&route, error, source)),
        };
        let mut moved = FileRecord {
            url: url.into(),
            name: name.as_str().into(),
            ..file.clone()
        };
        if action == Action::Move {
            account.catalog.file_removed(from, &file.url);
        } else {
            moved.time = Some(account.upload_time());
        }
        account.catalog.file_added(to, moved.clone());
        if options.mode != WriteMode::KeepBoth {
            let folders: Vec<_> = into.directory.ids().collect();
            self.remove_others(Scope::new(Priority::Delete), &folders, segment, &moved)
                .await
                .at_path(destination)?;
        }
        if let Some((id, _lock)) = request {
            let what = replay::Stored::File(moved.clone());
            account.remember(id, arguments, destination, what);
        }
        account.catalog.settle().await;
        Ok(Stored {
            entry: self.file_entry(destination.clone(), &moved, 1).await,
            replayed: false,
        })
    }

    /// file/rename inside a folder, file/mv between folders: each refuses the
    /// other's work ([API §10, §11]).
    async fn send_move(&self, scope: Scope, route: &Route<'_>) -> Result<String, fichier::Error> {
        let account = &self.account;
        let url = route.file.url.to_string();
        let scope = scope.with_priority(Priority::Upload);
        if route.from == route.to {
            if *route.file.name == *route.name {
                return Ok(url);
            }
            return account.client.rename_file(scope, &url, route.name).await;
        }
        if *route.file.name == *route.name {
            let target = Target {
                folder: route.from,
                url,
            };
            let change = Change::Move(route.to);
            return first(account.batches.run(scope, change, &[target]).await);
        }
        let batch = account
            .client
            .move_files(scope, &[url], route.to, Some(route.name))
            .await?;
        one(batch)
    }

    async fn send_copy(&self, scope: Scope, route: &Route<'_>) -> Result<String, fichier::Error> {
        let account = &self.account;
        let url = route.file.url.to_string();
        let scope = scope.with_priority(Priority::Upload);
        let rename = (*route.file.name != *route.name).then_some(route.name);
        let password = self.access.password.as_ref();
        if let Some(password) = password.filter(|_| route.file.password) {
            let copied = account
                .client
                .copy_protected(scope, &url, route.to, rename, password)
                .await?;
            return one(copied);
        }
        let outcome = match rename {
            Some(_) => {
                let urls = [url.clone()];
                let copied = account
                    .client
                    .copy_files(scope, &urls, route.to, rename)
                    .await;
                copied.and_then(one)
            }
            // Files that keep their names share a call, whoever asks.
            None => {
                let target = Target {
                    folder: route.from,
                    url: url.clone(),
                };
                let change = Change::Copy(route.to);
                first(account.batches.run(scope, change, &[target]).await)
            }
        };
        match (outcome, password) {
            // Protected since it was listed.
            (Err(error), Some(password)) if error.is_about_password() => one(account
                .client
                .copy_protected(scope, &url, route.to, rename, password)
                .await?),
            (outcome, _) => outcome,
        }
    }

    /// What a failure tells about the catalog.
    fn failed(&self, route: &Route<'_>, error: fichier::Error, source: &RemotePath) -> Error {
        if error.kind() == Kind::NotFound {
            self.account
                .catalog
                .file_removed(route.from, &route.file.url);
            self.account.catalog.doubt(route.from);
            return Error::file_not_found(source.as_str());
        }
        if error.outcome_unknown() {
            self.account.catalog.doubt(route.from);
            self.account.catalog.doubt(route.to);
        }
        Error::from(error).at(source.as_str())
    }
}

fn nothing() -> fichier::Error {
    fichier::Error::undone()
}

fn first(outcomes: Vec<Result<String, fichier::Error>>) -> Result<String, fichier::Error> {
    outcomes
        .into_iter()
        .next()
        .unwrap_or_else(|| Err(nothing()))
}

fn one(batch: fichier::Batch) -> Result<String, fichier::Error> {
    batch
        .done
        .into_iter()
        .next()
        .map(|(_, url)| url)
        .ok_or_else(nothing)
}
