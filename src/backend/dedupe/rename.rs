//! Other names for entries that share a path, in the style of rclone's
//! `dedupe rename`: `name-1.ext`, `name-2.ext`, …

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use futures::future::join_all;

use super::files::Held;
use super::{Group, Walk};
use crate::backend::Remote;
use crate::backend::entry::Entry;
use crate::backend::lost::{Fate, Look, Route};
use crate::backend::path::RemotePath;
use crate::catalog::{Content, FileRecord, Touched};
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, BATCH, Batch, Kind};

/// Numbers that are tried for one name.
const NUMBERS: u32 = 10_000;
/// Calls at the most while refused renamings are cut into halves.
const SPLITS: usize = 30;

/// Gives out names that are free in one folder.
pub(super) struct Renaming<'a> {
    remote: &'a Remote,
    /// Decoded names.
    taken: HashSet<String>,
    /// By path: the last number that was given out.
    last: HashMap<RemotePath, u32>,
}

impl<'a> Renaming<'a> {
    pub(super) fn new(remote: &'a Remote, content: &Content) -> Self {
        let files = content.files().map(|file| &file.name);
        let folders = content.folders().map(|folder| &folder.name);
        Self {
            remote,
            taken: files
                .chain(folders)
                .map(|name| remote.codec.to_segment(name))
                .collect(),
            last: HashMap::new(),
        }
    }

    /// A free name for a file beside this path: the path, and what to store.
    pub(super) fn free_file_name(&mut self, path: &RemotePath) -> Result<(RemotePath, String)> {
        let segment = path.segments().last().unwrap_or_default();
        // A leading dot begins no extension.
        let (base, extension) = match segment.rfind('.') {
            Some(at) if at > 0 => segment.split_at(at),
            _ => (segment, ""),
        };
        self.free(path, base, extension)
    }

    /// The same for a directory.
    pub(super) fn free_folder_name(&mut self, path: &RemotePath) -> Result<(RemotePath, String)> {
        let segment = path.segments().last().unwrap_or_default();
        self.free(path, segment, "")
    }

    fn free(
        &mut self,
        path: &RemotePath,
        base: &str,
        extension: &str,
    ) -> Result<(RemotePath, String)> {
        let parent = path
            .split()
            .map_or_else(RemotePath::root, |(parent, _)| parent);
        let codec = self.remote.codec;
        let first = self.last.get(path).map_or(1, |last| last + 1);
        for number in first..first + NUMBERS {
            let stored = self.stored(path, base, extension, number)?;
            let segment = codec.to_segment(&stored);
            if self.taken.insert(segment.clone()) {
                self.last.insert(path.clone(), number);
                return Ok((parent.join(&segment), stored));
            }
        }
        Err(Error::new(
            Reason::EntryExists,
            format!("no number up to {NUMBERS} makes a free name out of {path:?}"),
        )
        .at(path.as_str()))
    }

    /// The name with its number, as it is stored; of a long one the end is cut.
    fn stored(
        &self,
        path: &RemotePath,
        base: &str,
        extension: &str,
        number: u32,
    ) -> Result<String> {
        let mut base = base;
        loop {
            let name = format!("{base}-{number}{extension}");
            match self.remote.stored_name(path, &name) {
                Ok(stored) => return Ok(stored),
                Err(error) => match base.char_indices().next_back() {
                    Some((at, _)) => base = &base[..at],
                    // Nothing is left but the extension.
                    None if !extension.is_empty() => {
                        return self.stored(path, extension, "", number);
                    }
                    None => return Err(error),
                },
            }
        }
    }
}

/// A file on its way to another name.
struct Job {
    /// Whose group it belongs to.
    group: usize,
    path: RemotePath,
    route: Route,
    /// Nobody else writes to the new path.
    _lock: Held,
}

impl Walk {
    /// Gives files of these groups other names in their folder.
    pub(super) async fn rename_files(
        &self,
        folder: i64,
        groups: &mut [Group],
        files: Vec<(usize, FileRecord)>,
    ) {
        let account = &self.remote.account;
        let content = match account.catalog.peek(folder).await {
            Some(known) => known.content,
            None => return,
        };
        let mut renaming = Renaming::new(&self.remote, &content);
        let mut jobs = Vec::new();
        for (group, file) in files {
            let free = loop {
                match renaming.free_file_name(&groups[group].path) {
                    Err(error) => break Err(error),
                    Ok((path, stored)) => {
                        // One that somebody writes to just now is not free.
                        if let Some(lock) = self.try_hold(folder, &path) {
                            break Ok((path, stored, lock));
                        }
                    }
                }
            };
            match free {
                Ok((path, name, lock)) => jobs.push(Job {
                    group,
                    path,
                    route: Route {
                        from: folder,
                        file,
                        to: folder,
                        name,
                        copy: false,
                        before: HashSet::new(),
                    },
                    _lock: lock,
                }),
                Err(error) => {
                    let path = groups[group].path.clone();
                    groups[group]
                        .remaining
                        .push(Entry::file(path.clone(), &file, 1));
                    groups[group].failures.push((path, error));
                }
            }
        }

        let mut parts = VecDeque::new();
        while !jobs.is_empty() {
            let rest = jobs.split_off(jobs.len().min(BATCH));
            parts.push_back(std::mem::replace(&mut jobs, rest));
        }
        let mut splits = 0;
        while let Some(part) = parts.pop_front() {
            let (mut left, error) = self.rename_part(groups, part).await;
            if left.is_empty() {
                continue;
            }
            let refused = !matches!(error.kind(), Kind::Flood | Kind::NotSent | Kind::Deadline);
            if refused && left.len() > 1 && splits < SPLITS {
                // One of them may have made 1Fichier refuse all ([API §J11]).
                splits += 1;
                let right = left.split_off(left.len() / 2);
                parts.push_back(left);
                parts.push_back(right);
                continue;
            }
            for job in left {
                let group = &mut groups[job.group];
                let path = group.path.clone();
                let entry = Entry::file(path.clone(), &job.route.file, 1);
                let error = Error::from(error.clone()).at(path.as_str());
                group.remaining.push(entry);
                group.failures.push((path, error));
            }
        }
    }

    /// One call. Returns what is not renamed, and why.
    async fn rename_part(
        &self,
        groups: &mut [Group],
        part: Vec<Job>,
    ) -> (Vec<Job>, fichier::Error) {
        let account = &self.remote.account;
        let pairs: Vec<_> = part
            .iter()
            .map(|job| (job.route.file.url.to_string(), job.route.name.clone()))
            .collect();
        let turn = tokio::select! {
            biased;
            turn = account.client.turn(self.upload_scope(), "file/rename") => turn,
            () = self.cancel.cancelled() => Err(fichier::Error::given_up("file/rename")),
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(error) => return (part, error),
        };
        let folders: BTreeSet<i64> = part.iter().map(|job| job.route.from).collect();
        let folders: Vec<i64> = folders.into_iter().collect();
        let touched = pairs.iter().map(|(url, _)| Touched::File(url.clone()));
        let intent = match account.changing(&folders, touched.collect()).await {
            Ok(intent) => intent,
            Err(error) => return (part, error),
        };
        let sent = account.client.rename_files(turn, &pairs).await;
        let left = self.renamed_part(groups, part, sent).await;
        intent.done();
        left
    }

    /// Enters what a call has renamed.
    async fn renamed_part(
        &self,
        groups: &mut [Group],
        part: Vec<Job>,
        sent: Result<Batch, fichier::Error>,
    ) -> (Vec<Job>, fichier::Error) {
        let account = &self.remote.account;
        let (done, error) = match sent {
            Ok(batch) if batch.untold => (batch.done, fichier::Error::untold("file/rename")),
            Ok(batch) => (batch.done, fichier::Error::undone()),
            Err(error) => (Vec::new(), error),
        };
        let done: HashMap<_, _> = done.into_iter().collect();
        let mut unknown = Vec::new();
        for job in part {
            match done.get(&*job.route.file.url) {
                Some(url) => self.renamed(groups, &job, url),
                None => unknown.push(job),
            }
        }
        let look = match error.kind() {
            _ if error.outcome_unknown() => Look::patient(&error),
            Kind::NoChange | Kind::NotFound | Kind::Refused if unknown.len() == 1 => {
                Look::patient(&error)
            }
            Kind::NoChange | Kind::NotFound | Kind::Refused => Look::short(&error),
            // Certainly nothing was done.
            _ => return (unknown, error),
        };
        // Listings tell what became of the others.
        let fates = unknown.iter().map(|job| self.remote.fate(&job.route, look));
        let fates = join_all(fates).await;
        let mut left = Vec::new();
        for (job, fate) in unknown.into_iter().zip(fates) {
            match fate {
                Ok(Fate::Arrived(url)) => self.renamed(groups, &job, &url),
                Ok(Fate::Gone) => {
                    let file = &job.route.file;
                    account.catalog.file_removed(job.route.from, &file.url);
                }
                Ok(Fate::Stayed | Fate::Unnamed(_)) | Err(_) => left.push(job),
            }
        }
        (left, error)
    }

    /// Enters what was done.
    fn renamed(&self, groups: &mut [Group], job: &Job, url: &str) {
        let catalog = &self.remote.account.catalog;
        let Route {
            from, file, name, ..
        } = &job.route;
        let renamed = FileRecord {
            url: url.into(),
            name: name.as_str().into(),
            ..file.clone()
        };
        let entry = Entry::file(job.path.clone(), &renamed, 1);
        groups[job.group].remaining.push(entry);
        if *url == *file.url {
            catalog.file_renamed(*from, renamed, &file.name);
        } else {
            catalog.file_removed(*from, &file.url);
            catalog.file_added(*from, renamed);
        }
    }
}
