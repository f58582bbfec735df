//! Files that were to be at a path: stored, moved or copied there.

use super::{Open, Seen, is_it, scope};
use crate::backend::batch::Target;
use crate::backend::journal::{Source, Task, Write, is_place};
use crate::backend::locks::Key;
use crate::backend::lost::{Fate, Look, Route};
use crate::backend::path::RemotePath;
use crate::backend::twins::Directory;
use crate::backend::{Remote, replay};
use crate::catalog::{Content, FileRecord};
use crate::error::Reason;
use crate::fichier::{self, same_name};

impl Write {
    /// The way of the file that is moved or copied.
    fn route(&self, source: &Source) -> Route {
        let before = self.before.iter().map(|target| target.url.as_str().into());
        Route {
            from: source.folder,
            file: source.file.clone(),
            to: self.folder,
            name: self.name.clone(),
            copy: source.copy,
            before: before.collect(),
        }
    }

    /// What it has stored, or brought to its place, if that shows there.
    fn shown(&self, is_old: bool, content: &Content) -> Option<FileRecord> {
        let found = match (&self.kept, &self.source) {
            (Some(url), _) => content.file(url).filter(|_| self.stands(content, url)),
            (None, None) => content.files().find(|file| is_it(self, is_old, file)),
            (None, Some(source)) => {
                let route = self.route(source);
                let moved = content.file(&source.file.url).filter(|file| {
                    !source.copy && *file.name == *self.name && source.folder != self.folder
                });
                let renamed = content.file(&source.file.url).filter(|file| {
                    !source.copy && *file.name == *self.name && *source.file.name != *self.name
                });
                moved.or(renamed).or_else(|| {
                    let mut files = content.files();
                    files.find(|file| route.is_new(file) && !self.is_another(&file.url))
                })
            }
        };
        found.cloned()
    }

    /// A copy in its folder that has yet to get its name.
    fn unnamed<'a>(&self, source: &Source, content: &'a Content) -> Option<&'a FileRecord> {
        let mut files = content.files().filter(|_| source.copy);
        files.find(|file| {
            same_name(&file.name, &source.file.name)
                && self.has_content_of(file)
                && file.order == 0
                && !self.is_another(&file.url)
                && !source.alike.contains(&file.url)
        })
    }

    /// Whether something else became of its path meanwhile.
    fn is_outdated(&self, content: &Content, found: &FileRecord) -> bool {
        let mut others = content.files().filter(|file| file.url != found.url);
        self.kept.is_none()
            && (self.unwanted
                || others.any(|file| {
                    file.order > self.order.max(found.order) && self.stands(content, &file.url)
                }))
    }
}

impl Remote {
    /// A call is about to change a path: what earlier ones have brought there
    /// and shows by now counts, and what that was to replace goes.
    pub(in crate::backend) async fn settle_shown(&self, path: &RemotePath) {
        let Some((parent, _)) = path.split() else {
            return;
        };
        let account = &self.account;
        let directory = self.known_directory(&parent).await;
        let folders: Vec<i64> = directory.iter().flat_map(Directory::ids).collect();
        for (id, open) in account.recovery.all() {
            let Task::Write(write) = &open.task else {
                continue;
            };
            if write.kept.is_some() || !is_place(path, &folders, &write.path, write.folder) {
                continue;
            }
            let Some(known) = account.catalog.peek(write.folder).await else {
                continue;
            };
            if let Some(found) = write.shown(open.is_old, &known.content)
                && self
                    .put_in_order(id, write, &known.content, found)
                    .await
                    .is_ok()
            {
                account.recovery.end(id, &account.catalog);
            }
        }
    }

    pub(super) async fn look_for_write(&self, id: u64, write: &Write) -> Seen {
        let account = &self.account;
        let Some((_, segment)) = write.path.split() else {
            return Seen::End;
        };
        let Some(open) = account.recovery.get(id) else {
            return Seen::End;
        };
        // Nobody is held up while 1Fichier is asked.
        let fate = match self.ask_for_write(&open, write).await {
            Ok(fate) => fate,
            Err(seen) => return seen,
        };
        let _paths = account.locks.hold_all(write.keys()).await;
        let _place = account.locks.hold(Key::place(write.folder, segment)).await;
        // A later call to the same path may have dealt with it.
        let Some(open) = account.recovery.get(id) else {
            return Seen::End;
        };
        let Task::Write(write) = &open.task else {
            return Seen::End;
        };
        if let (Some(source), Some(fate)) = (&write.source, fate)
            && let Err(seen) = self.enter(write, source, fate).await
        {
            return seen;
        }
        let Some(known) = account.catalog.peek(write.folder).await else {
            return Seen::Unknown;
        };
        let content = known.content;
        let found = match write.shown(open.is_old, &content) {
            Some(found) => found,
            None if write.kept.is_some() => return Seen::End,
            None => {
                let unnamed = write
                    .source
                    .as_ref()
                    .and_then(|source| write.unnamed(source, &content));
                match unnamed {
                    Some(unnamed) => match self.name_now(write, unnamed).await {
                        Ok(named) => named,
                        Err(seen) => return seen,
                    },
                    None => return Seen::NotYet,
                }
            }
        };
        match self.put_in_order(id, write, &content, found).await {
            Ok(()) => Seen::End,
            Err(error) => {
                tracing::warn!(path = %write.path, %error, "what an interrupted write has left cannot be put in order now");
                Seen::Unknown
            }
        }
    }

    /// Lists the folder of a write, and asks for its file: its link or its name
    /// may be known before listings show it. Returns what became of a file that
    /// was to be moved there, if the listing does not show it.
    async fn ask_for_write(&self, open: &Open, write: &Write) -> Result<Option<Fate>, Seen> {
        let account = &self.account;
        let catalog = &account.catalog;
        let listed = match &write.kept {
            Some(_) => {
                let staleness = self.staleness_of_changes(&write.path);
                self.snapshot(scope(), write.folder, staleness).await
            }
            None => {
                catalog
                    .folder_since(scope(), write.folder, open.since)
                    .await
            }
        };
        let content = match listed {
            Ok(listed) => listed.content,
            Err(error) if error.reason() == Reason::DirectoryNotFound => return Err(Seen::End),
            Err(_) => return Err(Seen::Unknown),
        };
        if write.kept.is_some() || write.shown(open.is_old, &content).is_some() {
            return Ok(None);
        }
        match &write.source {
            Some(source) if !source.copy => {
                let fate = self
                    .fate(&write.route(source), Look::once(open.since))
                    .await;
                fate.map(Some).map_err(|_| Seen::Unknown)
            }
            _ if !open.looked && account.questions.may_ask() => {
                let named = account
                    .client
                    .file_at(scope(), write.folder, &write.name)
                    .await;
                if let Ok(info) = named {
                    let file = FileRecord::from(info.file);
                    let is_new = !write.was_there(&file.url) && !content.has_file(&file.url);
                    if info.folder == Some(write.folder) && is_new {
                        catalog.file_shown(write.folder, file);
                    }
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Enters where a file is that was to be moved.
    async fn enter(&self, write: &Write, source: &Source, fate: Fate) -> Result<(), Seen> {
        let catalog = &self.account.catalog;
        let arrived = match fate {
            Fate::Arrived(url) => FileRecord {
                url: url.into(),
                name: write.name.as_str().into(),
                ..source.file.clone()
            },
            // It is in its folder, and has yet to get its name.
            Fate::Unnamed(file) => self.name_now(write, &file).await?,
            Fate::Stayed | Fate::Gone => return Ok(()),
        };
        if source.folder != write.folder || arrived.url != source.file.url {
            catalog.file_removed(source.folder, &source.file.url);
            catalog.file_added(write.folder, arrived);
        } else {
            catalog.file_renamed(write.folder, arrived, &source.file.name);
        }
        Ok(())
    }

    /// Gives a file that is half-way its name.
    async fn name_now(&self, write: &Write, unnamed: &FileRecord) -> Result<FileRecord, Seen> {
        let catalog = &self.account.catalog;
        let pair = (unnamed.url.to_string(), write.name.clone());
        let renamed = self.account.client.rename_files(scope(), &[pair]).await;
        let renamed = renamed.map_err(|_| Seen::Unknown)?;
        let Some((_, url)) = renamed.done.into_iter().next() else {
            return Err(Seen::Unknown);
        };
        let named = FileRecord {
            url: url.into(),
            name: write.name.as_str().into(),
            ..unnamed.clone()
        };
        catalog.file_removed(write.folder, &unnamed.url);
        catalog.file_added(write.folder, named.clone());
        Ok(named)
    }

    /// What a write has brought to its place is there: it is finished, or, if
    /// something else became of its path, taken back.
    async fn put_in_order(
        &self,
        id: u64,
        write: &Write,
        content: &Content,
        found: FileRecord,
    ) -> Result<(), fichier::Error> {
        if write.is_outdated(content, &found) {
            return self.take_away(write, content, &found).await;
        }
        self.account.date(id, write, &found);
        self.finish(write, content, found).await
    }

    /// Nobody wants the file any more, nor what it has replaced. One that was
    /// moved goes back, if its path is still free: it is the only one of its
    /// content.
    async fn take_away(
        &self,
        write: &Write,
        content: &Content,
        found: &FileRecord,
    ) -> Result<(), fichier::Error> {
        let mut goes: Vec<Target> = self.older(write, content, found);
        let source = write.source.as_ref().filter(|source| !source.copy);
        let goes_back = match source {
            Some(source) => self.may_go_back(source).await?,
            None => false,
        };
        if let (Some(source), true) = (source, goes_back) {
            tracing::info!(path = %write.path, source = %source.path, "a file that an interrupted move has taken away goes back: there is a later one at its destination");
            self.go_back(write, source, found).await?;
        } else {
            tracing::info!(path = %write.path, "a file that an interrupted write has left goes: there is a later one");
            goes.push(Target::new(write.folder, &found.url));
        }
        self.remove_all(scope(), &goes).await
    }

    /// Whether nothing else became of the path that a file was moved from.
    async fn may_go_back(&self, source: &Source) -> Result<bool, fichier::Error> {
        if source.is_taken {
            return Ok(false);
        }
        let staleness = self.staleness_of_changes(&source.path);
        match self.snapshot(scope(), source.folder, staleness).await {
            Ok(known) => {
                let mut files = known.content.files();
                let is_free = !files.any(|file| {
                    same_name(&file.name, &source.file.name) && file.url != source.file.url
                });
                Ok(is_free)
            }
            Err(error) if error.reason() == Reason::DirectoryNotFound => Ok(false),
            Err(error) => Err(fichier::Error::not_seen("file/mv", &error)),
        }
    }

    async fn go_back(
        &self,
        write: &Write,
        source: &Source,
        found: &FileRecord,
    ) -> Result<(), fichier::Error> {
        let account = &self.account;
        let (client, catalog) = (&account.client, &account.catalog);
        let folders = [write.folder, source.folder];
        let intent = account.changing(&folders, Vec::new()).await?;
        let mut file = found.clone();
        if file.name != source.file.name {
            let pair = (file.url.to_string(), source.file.name.to_string());
            let renamed = client.rename_files(scope(), &[pair]).await?;
            let (_, url) = renamed
                .done
                .into_iter()
                .next()
                .ok_or_else(fichier::Error::undone)?;
            catalog.file_removed(write.folder, &file.url);
            file.url = url.into();
            file.name = source.file.name.clone();
            catalog.file_added(write.folder, file.clone());
        }
        if write.folder != source.folder {
            let urls = [file.url.to_string()];
            let moved = client
                .move_files(scope(), &urls, source.folder, None)
                .await?;
            let (_, url) = moved
                .done
                .into_iter()
                .next()
                .ok_or_else(fichier::Error::undone)?;
            catalog.file_removed(write.folder, &file.url);
            file.url = url.into();
            catalog.file_added(source.folder, file);
        }
        intent.done();
        Ok(())
    }

    /// The file is there: what it replaces goes.
    async fn finish(
        &self,
        write: &Write,
        content: &Content,
        mut found: FileRecord,
    ) -> Result<(), fichier::Error> {
        let account = &self.account;
        if found.order < write.order {
            found.order = write.order;
            account.catalog.file_added(write.folder, found.clone());
        }
        if let Some((id, arguments)) = &write.request {
            let what = replay::Stored::File(found.clone());
            account.remember(id.clone(), arguments.clone(), &write.path, what);
        }
        let mut older = self.older(write, content, &found);
        if write.replaces {
            older.extend(self.older_of_twins(write, &found).await?);
        }
        if older.is_empty() {
            return Ok(());
        }
        self.remove_all(scope(), &older).await?;
        tracing::info!(path = %write.path, "the older version of a replaced file is removed now");
        Ok(())
    }

    /// What a write replaces, in its folder.
    fn older(&self, write: &Write, content: &Content, found: &FileRecord) -> Vec<Target> {
        let is_older = |file: &&FileRecord| {
            write.replaces
                && file.url != found.url
                && write.stands(content, &file.url)
                && (write.was_there(&file.url) || (1..write.order).contains(&file.order))
        };
        let is_certain = self.is_certain(&write.path);
        let targets = content.files().filter(is_older).map(|file| Target {
            is_certain,
            ..Target::new(write.folder, &file.url)
        });
        targets.collect()
    }

    /// The same in other folders with its path.
    async fn older_of_twins(
        &self,
        write: &Write,
        found: &FileRecord,
    ) -> Result<Vec<Target>, fichier::Error> {
        let mut older = Vec::new();
        for target in &write.before {
            if target.folder == write.folder || target.url == *found.url {
                continue;
            }
            match self.snapshot(scope(), target.folder, None).await {
                Ok(known) if write.stands(&known.content, &target.url) => {
                    older.push(target.clone());
                }
                Ok(_) => {}
                // It went with its folder.
                Err(error) if error.reason() == Reason::DirectoryNotFound => {}
                Err(error) => {
                    tracing::debug!(%error, "a folder with an older version cannot be listed");
                    return Err(fichier::Error::not_seen("file/rm", &error));
                }
            }
        }
        Ok(older)
    }
}
