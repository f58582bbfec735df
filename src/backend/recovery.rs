//! What was begun and not seen to end: by an earlier run, or by a call whose
//! outcome could not be found out. It is looked after until it is as it should
//! be: a file is the old or the new one, whole and once, and a directory is not
//! half-way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::batch::Target;
use super::carry::{Carried, Carrier, Load, Place, name_in_between, stages};
use super::journal::{Carry, Source, Task, Write};
use super::lost::{Fate, Look, Route};
use super::move_dir::TREE;
use super::path::RemotePath;
use super::replace::claim_key;
use super::{Account, Remote, replay};
use crate::catalog::{Content, FileRecord, FolderRecord, Intent, Unfinished};
use crate::error::Reason;
use crate::fichier::{self, Priority, Scope};

/// How long until the first repeat; each next one waits twice as long.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3_600);
/// A file that was on its way may show as late as this; then it does not come
/// any more ([API §5, §I]).
const LINGER: Duration = Duration::from_secs(900);
/// A directory that was to be moved may be shown at its old place as long.
const LAG: Duration = Duration::from_secs(120);
/// Changes that are looked after; more than these stay as they are.
const MOST: usize = 10_000;

/// Something that is looked after.
#[derive(Clone, Debug)]
struct Open {
    task: Task,
    /// What 1Fichier told before that does not count.
    since: Instant,
    /// Until when it may still show.
    until: Instant,
    /// An earlier run began it.
    is_old: bool,
    /// It was looked for, and did not show.
    looked: bool,
}

#[derive(Debug, Default)]
struct Queue {
    /// By intent.
    open: BTreeMap<u64, Open>,
    /// Somebody will look after them.
    scheduled: bool,
}

/// What an account looks after.
#[derive(Debug, Default)]
pub(super) struct Recovery(Mutex<Queue>);

/// What a look has brought.
enum Seen {
    /// There is nothing more to do.
    End,
    /// It does not show yet.
    NotYet,
    /// Nothing is known, or something could not be done.
    Unknown,
}

impl Recovery {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: u64) -> Option<Open> {
        self.lock().open.get(&id).cloned()
    }

    /// Changes of which nobody knows yet how they ended.
    pub(super) fn unfinished(&self) -> u64 {
        let queue = self.lock();
        queue.open.values().filter(|open| !open.looked).count() as u64
    }
}

/// Files of one content that an interrupted write is told from.
const MOST_VOUCHED: usize = 1_000;

fn scope() -> Scope {
    Scope::new(Priority::Background)
}

impl Account {
    /// Takes up what an earlier run has left.
    pub(super) fn resume(self: &Arc<Self>) {
        let mut is_first = false;
        for Unfinished { id, what } in self.catalog.take_unfinished() {
            match serde_json::from_str::<Task>(&what) {
                Ok(Task::Landing(landing)) => {
                    let remote = self.remote_of(landing.encoding);
                    remote.confirm_later(id, landing);
                }
                Ok(task) => is_first |= self.enqueue(id, task, true),
                Err(error) => {
                    tracing::error!(%error, "what an earlier version had begun is not understood; look for duplicates with Dedupe");
                    self.catalog.end_intent(id);
                }
            }
        }
        // Not before all are there: the next look is a minute later.
        if is_first {
            tokio::spawn(recover(Arc::downgrade(self), Duration::ZERO));
        }
    }

    /// Looks after what could not be seen to end.
    pub(super) fn leave(self: &Arc<Self>, intent: Intent, task: Task) {
        let id = intent.leave(task.text());
        self.look_after(id, task);
    }

    /// A file is at its path. What it was to replace and could not be removed
    /// goes later.
    pub(super) fn written(
        self: &Arc<Self>,
        intent: Intent,
        write: Write,
        folder: i64,
        file: &FileRecord,
        left: Vec<Target>,
    ) {
        if left.is_empty() {
            intent.done();
            return;
        }
        let left = Write {
            folder,
            before: left,
            kept: Some(file.url.clone()),
            source: None,
            request: None,
            ..write
        };
        self.leave(intent, Task::Write(left));
    }

    /// A file was sent again although it may have been stored before: a second
    /// one that shows late goes.
    pub(super) fn watch_for_second(
        self: &Arc<Self>,
        write: &Write,
        folder: i64,
        file: &FileRecord,
    ) {
        let mut second = Write {
            folder,
            unwanted: true,
            request: None,
            ..write.clone()
        };
        second.before.push(Target {
            folder,
            url: file.url.to_string(),
        });
        let task = Task::Write(second);
        let id = self.catalog.note(task.text());
        self.look_after(id, task);
    }

    fn look_after(self: &Arc<Self>, id: u64, task: Task) {
        if self.enqueue(id, task, false) {
            // Not a task that shutdown waits for, and it keeps nothing alive:
            // what is left is on disk.
            tokio::spawn(recover(Arc::downgrade(self), FIRST));
        }
    }

    /// Whether nobody looks yet: the caller has to see to it.
    fn enqueue(&self, id: u64, task: Task, is_old: bool) -> bool {
        let now = Instant::now();
        let linger = match &task {
            Task::Carry(_) => LAG,
            _ => LINGER,
        };
        let mut queue = self.recovery.lock();
        if queue.open.len() >= MOST {
            tracing::error!("too many changes wait for their end; look for duplicates with Dedupe");
            self.catalog.end_intent(id);
            return false;
        }
        queue.open.insert(
            id,
            Open {
                task,
                since: now,
                until: now + linger,
                is_old,
                looked: false,
            },
        );
        !std::mem::replace(&mut queue.scheduled, true)
    }

    /// One look at each. Returns whether anything ended.
    async fn look(self: &Arc<Self>) -> bool {
        let ids: Vec<u64> = self.recovery.lock().open.keys().copied().collect();
        let looks = ids.iter().map(|id| self.look_at(*id));
        let ended = join_all(looks).await.into_iter().filter(|ended| *ended);
        let ended = ended.count() > 0;
        if let Err(error) = self.catalog.settle().await {
            tracing::debug!(%error, "what was found out of unfinished changes is not on disk yet");
        }
        ended
    }

    async fn look_at(self: &Arc<Self>, id: u64) -> bool {
        let Some(open) = self.recovery.get(id) else {
            return false;
        };
        let started = Instant::now();
        let seen = match &open.task {
            Task::Write(write) => write.remote(self).look_for_write(id, write).await,
            Task::Carry(carry) => {
                let remote = self.remote_of(carry.encoding);
                remote.look_for_folder(id, carry).await
            }
            // Has a place of its own.
            Task::Landing(_) => Seen::End,
        };
        let mut queue = self.recovery.lock();
        let Some(open) = queue.open.get_mut(&id) else {
            return true;
        };
        match seen {
            Seen::NotYet if started < open.until => {
                open.looked = true;
                open.since = started;
                false
            }
            Seen::Unknown => false,
            Seen::NotYet | Seen::End => {
                queue.open.remove(&id);
                self.catalog.end_intent(id);
                true
            }
        }
    }

    /// Something else becomes of a path: what was on its way there must not
    /// come back when it shows late.
    pub(super) fn give_up_writes(&self, path: &RemotePath) {
        for (id, open) in &mut self.recovery.lock().open {
            if let Task::Write(write) = &mut open.task
                && write.path == *path
                && write.kept.is_none()
                && write.source.as_ref().is_none_or(|source| source.copy)
            {
                write.unwanted = true;
                self.catalog.rewrite_intent(*id, open.task.text());
            }
        }
    }

    /// A call tells of this file, or moves it: wherever it is listed next,
    /// nothing that was interrupted before has stored it.
    pub(super) fn vouch_for(&self, file: &FileRecord) {
        for (id, open) in &mut self.recovery.lock().open {
            if let Task::Write(write) = &mut open.task
                && write.has_content_of(file)
                && write.kept.is_none()
                && write.vouched.len() < MOST_VOUCHED
                && !write.vouched.contains(&file.url)
            {
                write.vouched.push(file.url.clone());
                self.catalog.rewrite_intent(*id, open.task.text());
            }
        }
    }

    /// A file that a write has left gets its modification time; once, because
    /// that may be changed before all is done.
    fn date(&self, id: u64, write: &Write, found: &FileRecord) {
        let Some(time) = write.modified else { return };
        if write.dated || write.kept.is_some() {
            return;
        }
        self.catalog.set_modified(&found.url, time);
        if let Some(open) = self.recovery.lock().open.get_mut(&id)
            && let Task::Write(write) = &mut open.task
        {
            write.dated = true;
            self.catalog.rewrite_intent(id, open.task.text());
        }
    }

    /// A file is moved away: what an earlier move was to do with it does not
    /// count any more.
    pub(super) fn give_up_moves(&self, url: &str) {
        self.forget(|task| match task {
            Task::Write(write) => {
                let source = write.source.as_ref().filter(|source| !source.copy);
                source.is_some_and(|source| *source.file.url == *url)
            }
            _ => false,
        });
    }

    /// The same for a directory.
    pub(super) fn give_up_carries(&self, folder: i64) {
        self.forget(|task| matches!(task, Task::Carry(carry) if carry.folder.id == folder));
    }

    fn forget(&self, what: impl Fn(&Task) -> bool) {
        self.recovery.lock().open.retain(|id, open| {
            let goes = what(&open.task);
            if goes {
                self.catalog.end_intent(*id);
            }
            !goes
        });
    }

    /// A file that an earlier call has stored after all, with the content that
    /// is to be stored now: it need not be sent again.
    pub(super) fn adopt(&self, wanted: &Write, there: &[FileRecord]) -> Option<FileRecord> {
        let mut queue = self.recovery.lock();
        let (id, file) = queue.open.iter().find_map(|(id, open)| {
            let Task::Write(write) = &open.task else {
                return None;
            };
            let same = write.path == wanted.path
                && write.folder == wanted.folder
                && write.size == wanted.size
                && write.whirlpool == wanted.whirlpool
                && write.source.is_none()
                && write.kept.is_none();
            let is_it = |file: &&FileRecord| same && is_it(write, open.is_old, file);
            Some((*id, there.iter().find(is_it)?.clone()))
        })?;
        queue.open.remove(&id);
        self.catalog.end_intent(id);
        Some(file)
    }
}

/// Whether a file is what a write has stored: it was not there before, and no
/// other own write has stored it.
fn is_it(write: &Write, is_old: bool, file: &FileRecord) -> bool {
    // Numbers of one run share their upper half.
    let noted = is_old && file.order > write.order && file.order >> 32 == write.order >> 32;
    // An earlier look has found it, and could not remove what it replaces.
    let found = file.order == write.order;
    write.is_like(file)
        && !write.was_there(&file.url)
        && !write.is_another(&file.url)
        && (file.order == 0 || found || noted)
}

async fn recover(account: std::sync::Weak<Account>, first: Duration) {
    let mut pause = first;
    loop {
        tokio::time::sleep(pause).await;
        let Some(account) = account.upgrade() else {
            return;
        };
        pause = match account.look().await {
            true => FIRST,
            false => (pause * 2).clamp(FIRST, LONGEST),
        };
        let mut queue = account.recovery.lock();
        if queue.open.is_empty() {
            queue.scheduled = false;
            return;
        }
    }
}

impl Remote {
    async fn look_for_write(&self, id: u64, write: &Write) -> Seen {
        let account = &self.account;
        let Some((_, segment)) = write.path.split() else {
            return Seen::End;
        };
        let _paths = account.locks.hold_all(write.keys()).await;
        let _place = account.locks.hold(claim_key(write.folder, segment)).await;
        // A later call to the same path may have dealt with it.
        let Some(open) = account.recovery.get(id) else {
            return Seen::End;
        };
        let Task::Write(write) = &open.task else {
            return Seen::End;
        };
        let listed = match &write.kept {
            Some(_) => self.snapshot(scope(), write.folder, None).await,
            None => {
                let catalog = &account.catalog;
                catalog
                    .folder_since(scope(), write.folder, open.since)
                    .await
            }
        };
        let content = match listed {
            Ok(listed) => listed.content,
            Err(error) if error.reason() == Reason::DirectoryNotFound => return Seen::End,
            Err(_) => return Seen::Unknown,
        };
        let found = match (&write.kept, &write.source) {
            (Some(url), _) if write.stands(&content, url) => content.file(url).cloned(),
            (Some(_), _) => return Seen::End,
            (None, None) => content
                .files()
                .find(|file| is_it(write, open.is_old, file))
                .cloned(),
            (None, Some(source)) => {
                match self.look_for_source(&open, write, source, &content).await {
                    Ok(found) => found,
                    Err(seen) => return seen,
                }
            }
        };
        let Some(found) = found else {
            return Seen::NotYet;
        };
        let finished = match write.kept.is_none() && self.is_outdated(write, &content, &found) {
            true => self.take_away(write, &found).await,
            false => {
                account.date(id, write, &found);
                self.finish(write, &content, found).await
            }
        };
        match finished {
            Ok(()) => Seen::End,
            Err(error) => {
                tracing::warn!(path = %write.path, %error, "what an interrupted write has left cannot be put in order now");
                Seen::Unknown
            }
        }
    }

    /// Whether something else became of its path meanwhile.
    fn is_outdated(&self, write: &Write, content: &Content, found: &FileRecord) -> bool {
        // A file that is moved is the only one of its content.
        let may_go = write.source.as_ref().is_none_or(|source| source.copy);
        let mut others = content.files().filter(|file| file.url != found.url);
        may_go
            && (write.unwanted
                || others.any(|file| {
                    file.order > write.order.max(found.order) && write.stands(content, &file.url)
                }))
    }

    /// Removes what nobody was told of and nobody wants any more.
    async fn take_away(&self, write: &Write, found: &FileRecord) -> Result<(), fichier::Error> {
        tracing::info!(path = %write.path, "a file that an interrupted write has left goes: there is a later one");
        let target = Target {
            folder: write.folder,
            url: found.url.to_string(),
        };
        self.remove_all(scope(), &[target]).await
    }

    /// The file is there: what it replaces goes.
    async fn finish(
        &self,
        write: &Write,
        content: &Content,
        mut found: FileRecord,
    ) -> Result<(), fichier::Error> {
        let account = &self.account;
        if found.order == 0 {
            found.order = write.order;
            account.catalog.file_added(write.folder, found.clone());
        }
        if let Some((id, arguments)) = &write.request {
            let what = replay::Stored::File(found.clone());
            account.remember(id.clone(), arguments.clone(), &write.path, what);
        }
        if !write.replaces {
            return Ok(());
        }
        let is_older = |file: &&FileRecord| {
            file.url != found.url
                && write.stands(content, &file.url)
                && (write.was_there(&file.url) || (1..write.order).contains(&file.order))
        };
        let mut older: Vec<Target> = content
            .files()
            .filter(is_older)
            .map(|file| Target {
                folder: write.folder,
                url: file.url.to_string(),
            })
            .collect();
        // Of several folders with one path, the others.
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
                    return Err(fichier::Error::undone());
                }
            }
        }
        if older.is_empty() {
            return Ok(());
        }
        self.remove_all(scope(), &older).await?;
        tracing::info!(path = %write.path, "the older version of a replaced file is removed now");
        Ok(())
    }

    /// What became of a move or copy.
    async fn look_for_source(
        &self,
        open: &Open,
        write: &Write,
        source: &Source,
        content: &Content,
    ) -> Result<Option<FileRecord>, Seen> {
        let before = write.before.iter().map(|target| target.url.as_str().into());
        let route = Route {
            from: source.folder,
            file: source.file.clone(),
            to: write.folder,
            name: write.name.clone(),
            copy: source.copy,
            before: before.collect(),
        };
        let fate = self.fate(&route, Look::once(open.since)).await;
        let unnamed = match fate.map_err(|_| Seen::Unknown)? {
            // What callers were told of, or moved there themselves.
            Fate::Arrived(url) if source.copy && write.is_another(&url) => return Ok(None),
            Fate::Arrived(url) => return Ok(content.file(&url).cloned()),
            Fate::Unnamed(file) if source.copy && write.is_another(&file.url) => return Ok(None),
            Fate::Unnamed(file) => file,
            Fate::Stayed | Fate::Gone if !source.copy => return Ok(None),
            Fate::Stayed | Fate::Gone => {
                let copy = content.files().find(|file| {
                    fichier::same_name(&file.name, &source.file.name)
                        && write.has_content_of(file)
                        && file.order == 0
                        && !write.is_another(&file.url)
                        && !source.alike.contains(&file.url)
                });
                match copy {
                    Some(copy) => copy.clone(),
                    None => return Ok(None),
                }
            }
        };
        // Half-way: it has yet to get its name.
        let catalog = &self.account.catalog;
        let pair = (unnamed.url.to_string(), write.name.clone());
        let renamed = self.account.client.rename_files(scope(), &[pair]).await;
        let Some((_, url)) = renamed.map_err(|_| Seen::Unknown)?.done.into_iter().next() else {
            return Err(Seen::Unknown);
        };
        let named = FileRecord {
            url: url.into(),
            name: write.name.as_str().into(),
            ..unnamed.clone()
        };
        catalog.file_removed(write.folder, &unnamed.url);
        catalog.file_added(write.folder, named.clone());
        Ok(Some(named))
    }

    /// Brings a directory that is half-way to where it should be, or back.
    async fn look_for_folder(&self, id: u64, carry: &Carry) -> Seen {
        let account = &self.account;
        let _tree = account.locks.hold(TREE.to_owned()).await;
        // A later call may have moved it on while this waited.
        if account.recovery.get(id).is_none() {
            return Seen::End;
        }
        let load = |from: &Place, to: &Place, stages: Vec<Place>| Load {
            folder: FolderRecord {
                name: from.name.clone(),
                ..carry.folder.clone()
            },
            from: from.clone(),
            to: to.clone(),
            stages,
            source: carry.source.clone(),
            destination: carry.destination.clone(),
        };
        let asked = load(&carry.from, &carry.to, Vec::new());
        let parents = [carry.to.parent, carry.from.parent];
        let here = match Carrier::new(self, &asked, None).look(parents).await {
            Ok(Some(here)) => here,
            // Another program removed it, or put it elsewhere.
            Ok(None) => return Seen::End,
            Err(_) => return Seen::Unknown,
        };
        account.catalog.doubt(carry.from.parent);
        account.catalog.doubt(carry.to.parent);
        if here == carry.from {
            return Seen::NotYet;
        }
        if here == carry.to {
            self.carried(carry, &here);
            return Seen::End;
        }
        if !carry.passes(&here) {
            return Seen::End;
        }
        for goal in [&carry.to, &carry.from] {
            let is_free = |place: &Place| {
                account.catalog.lacks(place.parent, self.codec, &place.name) == Some(true)
            };
            for parent in parents {
                // Known anew, to see which names are free.
                let _ = self.snapshot(scope(), parent, None).await;
            }
            if !is_free(goal) {
                continue;
            }
            let third = name_in_between();
            let way = stages(&here, goal, is_free, &third);
            let load = load(&here, goal, way);
            if let Ok(Carried::Arrived(_)) = Carrier::new(self, &load, None).run().await {
                tracing::info!(destination = %carry.destination, "a directory that was half-way is in its place now");
                if goal == &carry.to {
                    self.carried(carry, goal);
                }
                return Seen::End;
            }
        }
        tracing::error!(source = %carry.source, destination = %carry.destination, "a directory is half-way, and other entries are in its way");
        Seen::Unknown
    }

    fn carried(&self, carry: &Carry, place: &Place) {
        let folder = FolderRecord {
            name: place.name.clone(),
            ..carry.folder.clone()
        };
        if let Some((id, arguments)) = &carry.request {
            let what = replay::Stored::Folder(folder);
            let account = &self.account;
            account.remember(id.clone(), arguments.clone(), &carry.destination, what);
        }
    }
}
