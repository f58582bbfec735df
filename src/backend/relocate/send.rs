//! The calls that bring a file to its destination, and back where that was
//! done half.

use tokio_util::sync::CancellationToken;

use super::{Action, Relocation};
use crate::backend::batch::{Change, Target};
use crate::backend::lost::Route;
use crate::catalog::FileRecord;
use crate::error::Error;
use crate::fichier::{self, Batch, Kind, Password, Priority, Scope, Turn, same_name};

impl Relocation {
    /// file/rename inside a folder, file/mv between folders: each refuses the
    /// other's work ([API §10, §11]).
    pub(super) async fn send(
        &mut self,
        scope: Scope,
        cancel: &CancellationToken,
    ) -> Result<String, fichier::Error> {
        let account = self.remote.account.clone();
        let Route {
            from,
            to,
            copy,
            ref name,
            ref file,
            ..
        } = self.route;
        let (url, name) = (file.url.to_string(), name.clone());
        let same_name = *file.name == *name;
        if !copy {
            account.landings.forget(from, &url);
        }
        if !copy && from == to {
            if same_name {
                return Ok(url);
            }
            let turn = self.turn(scope, "file/rename", cancel).await?;
            let renamed = account.client.rename_files(turn, &[(url, name)]).await?;
            return self.one("file/rename", renamed);
        }
        let password = self.remote.access.password.clone().filter(|_| copy);
        if let Some(password) = password.as_ref().filter(|_| file.password) {
            return self.copy_protected(scope, password, cancel).await;
        }
        let outcome = if same_name {
            let change = if copy {
                Change::Copy(to)
            } else {
                Change::Move(to)
            };
            self.send_batched(scope, change, cancel).await
        } else {
            self.send_renamed(scope, &url, &name, cancel).await
        };
        match (outcome, password) {
            // Protected since it was listed.
            (Err(error), Some(password)) if error.is_about_password() => {
                self.copy_protected(scope, &password, cancel).await
            }
            (outcome, _) => outcome,
        }
    }

    /// Copies a file that needs the remote's password.
    async fn copy_protected(
        &mut self,
        scope: Scope,
        password: &Password,
        cancel: &CancellationToken,
    ) -> Result<String, fichier::Error> {
        let turn = self.turn(scope, "file/cp", cancel).await?;
        let Route { to, name, file, .. } = &self.route;
        let rename = (*file.name != **name).then_some(name.as_str());
        let client = &self.remote.account.client;
        let copied = client
            .copy_protected(turn, &file.url, *to, rename, password)
            .await?;
        let renamed = rename.is_none() || copied.name.is_some();
        let url = self.one("file/cp", copied)?;
        if renamed {
            return Ok(url);
        }
        self.name_now(scope, url).await
    }

    /// Moves or copies a file and gives it its new name in one call, or in two
    /// where 1Fichier wants that.
    async fn send_renamed(
        &mut self,
        scope: Scope,
        url: &str,
        name: &str,
        cancel: &CancellationToken,
    ) -> Result<String, fichier::Error> {
        let account = self.remote.account.clone();
        let Route { to, copy, .. } = self.route;
        let endpoint = if copy { "file/cp" } else { "file/mv" };
        let turn = self.turn(scope, endpoint, cancel).await?;
        let urls = [url.to_owned()];
        let sent = if copy {
            let copied = account.client.copy_files(turn, &urls, to, Some(name));
            copied.await
        } else {
            let moved = account.client.move_files(turn, &urls, to, Some(name));
            moved.await
        };
        let renamed = sent.as_ref().is_ok_and(|batch| batch.name.is_some());
        match sent.and_then(|batch| self.one(endpoint, batch)) {
            Ok(url) if renamed => Ok(url),
            // 1Fichier tells the new name of what it has renamed ([API §10]).
            Ok(url) => self.name_now(scope, url).await,
            Err(error) if error.kind() == Kind::NotFound => {
                // The file or its destination.
                match account.client.file_exists(scope, &urls[0]).await? {
                    true => Err(fichier::Error::no_destination(endpoint)),
                    false => Err(error),
                }
            }
            // In two steps, then.
            Err(error) if !copy && matches!(error.kind(), Kind::Refused | Kind::NoChange) => {
                tracing::debug!(%error, "moving and renaming a file one after the other");
                let url = self.send_batched(scope, Change::Move(to), cancel).await?;
                self.name_now(scope, url).await
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a file in its new folder its new name.
    async fn name_now(&mut self, scope: Scope, url: String) -> Result<String, fichier::Error> {
        self.passed(FileRecord {
            url: url.as_str().into(),
            ..self.route.file.clone()
        });
        let pair = (url.clone(), self.route.name.clone());
        let client = &self.remote.account.client;
        match client.rename_files(scope, &[pair]).await {
            Ok(renamed) => self.one("file/rename", renamed),
            // It has that name ([API §11]).
            Err(error) if error.kind() == Kind::NoChange => Ok(url),
            Err(error) => Err(error),
        }
    }

    /// The turn to make a call, unless the caller goes away before.
    async fn turn(
        &self,
        scope: Scope,
        endpoint: &'static str,
        cancel: &CancellationToken,
    ) -> Result<Turn, fichier::Error> {
        tokio::select! {
            biased;
            turn = self.remote.account.client.turn(scope, endpoint) => turn,
            () = cancel.cancelled() => Err(fichier::Error::given_up(endpoint)),
        }
    }

    async fn send_batched(
        &self,
        scope: Scope,
        change: Change,
        cancel: &CancellationToken,
    ) -> Result<String, fichier::Error> {
        let target = Target {
            is_certain: self.remote.is_certain(&self.source),
            ..Target::new(self.route.from, &self.route.file.url)
        };
        let batches = &self.remote.account.batches;
        let outcomes = batches.run_until(scope, change, &[target], cancel).await;
        let outcome = outcomes.into_iter().next();
        outcome.unwrap_or_else(|| Err(fichier::Error::undone()))
    }

    /// The answer for the only file of a call.
    fn one(&mut self, endpoint: &'static str, batch: Batch) -> Result<String, fichier::Error> {
        let Some((_, url)) = batch.done.into_iter().next() else {
            return Err(if batch.untold {
                fichier::Error::untold(endpoint)
            } else {
                fichier::Error::undone()
            });
        };
        match batch.name {
            Some(told) if !same_name(&told, &self.route.name) => {
                let error = fichier::Error::misnamed(endpoint, &self.route.name, &told);
                // It is there, under a name that nobody wants.
                self.passed(FileRecord {
                    url: url.into(),
                    name: told.into(),
                    ..self.route.file.clone()
                });
                Err(error)
            }
            _ => Ok(url),
        }
    }

    /// The file (or its copy) is in its folder, but not under its name yet.
    pub(super) fn passed(&mut self, file: FileRecord) {
        let catalog = &self.remote.account.catalog;
        if !self.route.copy {
            catalog.file_removed(self.route.from, &self.route.file.url);
        }
        catalog.file_added(self.route.to, file.clone());
        // What is left to do is to rename it there.
        self.route.copy = false;
        self.route.from = self.route.to;
        self.route.file = file;
    }

    /// Undoes what was done half.
    pub(super) async fn take_back(&mut self, error: Error) -> Error {
        let account = self.remote.account.clone();
        let (from, original) = self.original.clone();
        let file = self.route.file.clone();
        // What is not known is not undone.
        if self.is_lost || file == original && self.route.from == from {
            return error;
        }
        let url = file.url.to_string();
        let scope = Scope::new(Priority::Upload);
        let taken_back = if self.action == Action::Copy {
            let copy = Target::new(self.route.to, &url);
            self.remote.remove_all(scope, &[copy]).await
        } else {
            self.send_back(scope, from, &original, file).await
        };
        match taken_back {
            Ok(()) => error,
            Err(undo) => {
                tracing::error!(source = %self.source, destination = %self.destination, %error, %undo, "a move was done half, and could not be undone");
                account.catalog.doubt(self.route.to);
                account.catalog.doubt(from);
                let shown = self.remote.codec.to_segment(&self.route.file.name);
                let place = self.parent().join(&shown);
                let text = format!("{}; the file is {place:?} now", error.message());
                Error::new(error.reason(), text).at(self.source.as_str())
            }
        }
    }

    /// Brings a file to where it was, under the name that it had.
    async fn send_back(
        &mut self,
        scope: Scope,
        from: i64,
        original: &FileRecord,
        mut file: FileRecord,
    ) -> Result<(), fichier::Error> {
        let account = self.remote.account.clone();
        let now = |batch: Batch| batch.done.into_iter().next().map(|(_, url)| url);
        if file.name != original.name {
            let pair = (file.url.to_string(), original.name.to_string());
            let renamed = account.client.rename_files(scope, &[pair]).await?;
            let url = now(renamed).ok_or_else(fichier::Error::undone)?;
            account.catalog.file_removed(self.route.to, &file.url);
            file.url = url.into();
            file.name = original.name.clone();
            account.catalog.file_added(self.route.to, file.clone());
        }
        if self.route.to != from {
            let urls = [file.url.to_string()];
            let moved = account.client.move_files(scope, &urls, from, None).await?;
            let url = now(moved).ok_or_else(fichier::Error::undone)?;
            account.catalog.file_removed(self.route.to, &file.url);
            file.url = url.into();
            account.catalog.file_added(from, file);
        }
        Ok(())
    }
}
