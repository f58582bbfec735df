//! Listings, page by page.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, SystemTime};

use super::entry::{Entry, EntryKind};
use super::path::RemotePath;
use super::twins::{Contents, Directory, FolderAt};
use super::{AtPath, MAX_PAGE, Remote, Staleness};
use crate::catalog::newest_first;
use crate::error::{Error, Reason, Result};
use crate::fichier::Scope;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Also what is in sub-directories.
    pub recursive: bool,
    /// How deep; 0 means no limit.
    pub max_depth: usize,
    /// Only this kind.
    pub only: Option<EntryKind>,
    /// Entries of one page; 0 means 1,000.
    pub page_size: usize,
    /// Only what listings tell: no recorded checksums.
    pub bare: bool,
    /// How old it may be.
    pub staleness: Staleness,
    /// Each of several entries with one path, not one for all of them.
    pub every_duplicate: bool,
    /// Go on behind this entry: its path and id.
    pub after: Option<(String, String)>,
}

/// One page.
#[derive(Clone, Debug)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Directories that could not be read.
    pub failures: Vec<(RemotePath, Error)>,
    /// When 1Fichier was asked for the oldest part.
    pub as_of: Option<SystemTime>,
    /// There are no more pages.
    pub last: bool,
}

/// A walk through a directory. Parents come before what is in them; entries of
/// one directory come sorted by name, so that a walk can be taken up again.
#[derive(Debug)]
pub struct Listing {
    remote: Remote,
    scope: Scope,
    options: ListOptions,
    page_size: usize,
    base_depth: usize,
    directories: Vec<(RemotePath, Directory)>,
    visited: HashSet<i64>,
    ready: VecDeque<Entry>,
    failures: Vec<(RemotePath, Error)>,
    as_of: Option<SystemTime>,
}

const DEFAULT_PAGE: usize = 1_000;

impl Remote {
    /// How long ago another program last stored a file in a directory, as far
    /// as its own listing tells; `None` if none did.
    ///
    /// # Errors
    /// DIRECTORY_NOT_FOUND, NOT_A_DIRECTORY.
    pub async fn changed_by_others(
        &self,
        scope: Scope,
        path: &RemotePath,
    ) -> Result<Option<Duration>> {
        let directory = self.directory(scope, path, None).await?;
        let contents = self.contents(scope, &directory, None).await.at_path(path)?;
        let files = contents
            .parts
            .iter()
            .flat_map(|(_, part)| part.content.files());
        let newest = files
            .filter(|file| file.order == 0)
            .filter_map(|file| file.time)
            .max();
        let newest = newest.and_then(|time| u64::try_from(time).ok());
        Ok(newest.map(|time| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
            self.account
                .clock
                .now()
                .duration_since(at)
                .unwrap_or_default()
        }))
    }

    /// Begins a listing. The directory itself is read at once.
    ///
    /// # Errors
    /// DIRECTORY_NOT_FOUND, NOT_A_DIRECTORY.
    pub async fn list(
        &self,
        scope: Scope,
        path: &RemotePath,
        options: ListOptions,
    ) -> Result<Listing> {
        let directory = self.directory(scope, path, options.staleness).await?;
        let page_size = match options.page_size {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let mut listing = Listing {
            remote: self.clone(),
            scope,
            page_size,
            base_depth: path.segments().count(),
            directories: Vec::new(),
            visited: HashSet::new(),
            ready: VecDeque::new(),
            failures: Vec::new(),
            as_of: None,
            options,
        };
        if let Some((after, _)) = &listing.options.after
            && !is_below(after, path)
        {
            return Err(Error::new(
                Reason::PageTokenExpired,
                "the page token is of another listing",
            )
            .field("page_token"));
        }
        let contents = self
            .contents(scope, &directory, listing.options.staleness)
            .await
            .at_path(path)?;
        listing.visited.extend(directory.ids());
        listing.enter(path, &contents);
        Ok(listing)
    }
}

fn is_below(path: &str, directory: &RemotePath) -> bool {
    directory.is_root()
        || path
            .strip_prefix(directory.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
}

/// How a directory relates to the place where a walk is taken up again.
#[derive(PartialEq, Eq)]
enum Place {
    /// All of it was sent.
    Before,
    /// The last entry sent lies in it, directly or deeper.
    Around,
    /// Nothing of it was sent.
    After,
}

fn place(directory: &RemotePath, after: &str) -> Place {
    let parent = after.rsplit_once('/').map_or("", |(parent, _)| parent);
    let (mut mine, mut theirs) = (
        directory.segments(),
        parent.split('/').filter(|part| !part.is_empty()),
    );
    loop {
        match (mine.next(), theirs.next()) {
            (None, _) => return Place::Around,
            // Below the directory of the last entry: its siblings came first,
            // then this.
            (Some(_), None) => return Place::After,
            (Some(left), Some(right)) if left == right => {}
            (Some(left), Some(right)) => {
                return if left < right {
                    Place::Before
                } else {
                    Place::After
                };
            }
        }
    }
}

/// Where an entry stands among those of its directory. Its id is not part of
/// it: another of several with one path may be the one that counts by now.
fn rank<'a>(path: &'a str, id: &str) -> (&'a str, bool) {
    // Ids of folders are numbers, those of files are URLs.
    (path, !id.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Listing {
    fn enter(&mut self, path: &RemotePath, contents: &Contents) {
        for (_, snapshot) in &contents.parts {
            let time = snapshot.as_of.time;
            self.as_of = Some(self.as_of.map_or(time, |oldest| oldest.min(time)));
        }
        let directories = self.directories_of(path, contents);
        let depth = path.segments().count() - self.base_depth + 1;
        let deeper = self.options.recursive
            && (self.options.max_depth == 0 || depth < self.options.max_depth);
        if deeper {
            // The next one to visit is the last of the stack.
            for (path, directory) in directories.iter().rev() {
                let skipped = self
                    .options
                    .after
                    .as_ref()
                    .is_some_and(|(after, _)| place(path, after) == Place::Before);
                if !skipped {
                    self.directories.push((path.clone(), directory.clone()));
                }
            }
        }

        let sent = match &self.options.after {
            Some((after, id)) if place(path, after) == Place::Around => {
                // A directory above the one where the walk stopped was sent as a whole.
                let here = after.rsplit_once('/').map_or("", |(parent, _)| parent) == path.as_str();
                if !here {
                    return;
                }
                Some((after.clone(), id.clone()))
            }
            _ => None,
        };
        let mut entries: Vec<Entry> = Vec::new();
        if self.options.only != Some(EntryKind::Directory) {
            entries.extend(self.files_of(path, contents, &directories));
        }
        if self.options.only != Some(EntryKind::File) {
            for (path, directory) in directories {
                if self.options.every_duplicate {
                    entries.extend(directory.entries(&path));
                } else {
                    entries.push(directory.entry(path));
                }
            }
        }
        entries.sort_by(|left, right| {
            rank(left.path.as_str(), &left.id).cmp(&rank(right.path.as_str(), &right.id))
        });
        if let Some((after, id)) = sent {
            entries.retain(|entry| rank(entry.path.as_str(), &entry.id) > rank(&after, &id));
        }
        self.ready.extend(entries);
    }

    /// One directory for each path, sorted.
    fn directories_of(
        &self,
        path: &RemotePath,
        contents: &Contents,
    ) -> Vec<(RemotePath, Directory)> {
        let codec = self.remote.codec;
        let mut folders = Vec::new();
        for (parent, snapshot) in &contents.parts {
            folders.extend(snapshot.content.folders().map(|folder| {
                let at = FolderAt {
                    parent: *parent,
                    folder: folder.clone(),
                };
                (path.join(&codec.to_segment(&folder.name)), at)
            }));
        }
        folders.sort_by(|left, right| left.0.cmp(&right.0));
        let mut directories = Vec::with_capacity(folders.len());
        for same in folders.chunk_by(|left, right| left.0 == right.0) {
            let twins = same.iter().map(|(_, at)| at.clone()).collect();
            if let Some(directory) = Directory::of(twins) {
                let path = &same[0].0;
                self.remote
                    .warn_of_duplicates(EntryKind::Directory, path, directory.len());
                directories.push((path.clone(), directory));
            }
        }
        directories
    }

    /// One entry for each path, which tells how many there are: the newest file.
    /// All of them if so wanted, the newest first.
    fn files_of(
        &self,
        path: &RemotePath,
        contents: &Contents,
        directories: &[(RemotePath, Directory)],
    ) -> Vec<Entry> {
        let codec = self.remote.codec;
        let mut files: Vec<_> = contents
            .parts
            .iter()
            .flat_map(|(_, snapshot)| snapshot.content.files())
            .map(|file| (path.join(&codec.to_segment(&file.name)), file))
            .collect();
        files.sort_by(|left, right| left.0.cmp(&right.0));
        let mut entries = Vec::with_capacity(files.len());
        for same in files.chunk_by(|left, right| left.0 == right.0) {
            let path = &same[0].0;
            self.remote
                .warn_of_duplicates(EntryKind::File, path, same.len());
            let mut files: Vec<_> = same.iter().map(|(_, file)| *file).collect();
            newest_first(&mut files);
            let beside = directories
                .binary_search_by(|(directory, _)| directory.cmp(path))
                .is_ok();
            let several = files.len();
            if !self.options.every_duplicate {
                files.truncate(1);
            }
            entries.extend(
                files
                    .into_iter()
                    .map(|file| Entry::file(path.clone(), file, several).beside_directory(beside)),
            );
        }
        entries
    }

    /// Reads the next directory. Of several folders with its path, one that
    /// cannot be read does not hide the others.
    async fn visit(&mut self, path: &RemotePath, directory: &Directory) {
        let mut contents = Contents { parts: Vec::new() };
        let mut failures = Vec::new();
        let mut gone = 0;
        for id in directory.ids() {
            // Two paths to one folder would walk for ever.
            if !self.visited.insert(id) {
                continue;
            }
            let staleness = self.options.staleness;
            match self.remote.snapshot(self.scope, id, staleness).await {
                Ok(snapshot) => contents.parts.push((id, snapshot)),
                // Another program removed it after its parent was listed.
                Err(error) if error.reason() == Reason::DirectoryNotFound => gone += 1,
                Err(error) => failures.push(error),
            }
        }
        if gone == directory.len() {
            self.ready
                .retain(|entry| entry.path != *path || entry.kind != EntryKind::Directory);
        }
        // All of them for one reason are one failure.
        failures.dedup_by_key(|error| error.reason());
        let at = |error: Error| (path.clone(), error.at(path.as_str()));
        self.failures.extend(failures.into_iter().map(at));
        self.enter(path, &contents);
    }

    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Option<Page> {
        while self.ready.len() <= self.page_size
            && let Some((path, directory)) = self.directories.pop()
        {
            // What is remembered is walked through without a wait.
            tokio::task::coop::consume_budget().await;
            self.visit(&path, &directory).await;
        }
        let as_of = self.as_of.take()?;
        let mut end = self.page_size.min(self.ready.len());
        // A walk is taken up again behind a path: all that share it come in one page.
        let place = |entry: &Entry| (entry.path.clone(), entry.kind);
        while end > 0
            && end < self.ready.len()
            && place(&self.ready[end - 1]) == place(&self.ready[end])
        {
            end += 1;
        }
        let mut entries: Vec<_> = self.ready.drain(..end).collect();
        if !self.options.bare {
            self.remote.add_recorded(&mut entries).await;
        }
        let last = self.ready.is_empty() && self.directories.is_empty();
        if !last {
            self.as_of = Some(as_of);
        }
        Some(Page {
            entries,
            failures: std::mem::take(&mut self.failures),
            as_of: Some(as_of),
            last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_knows_what_it_passed() {
        let at =
            |directory: &str, after: &str| place(&RemotePath::parse(directory).unwrap(), after);
        assert!(at("", "b/x") == Place::Around);
        assert!(at("a", "b/x") == Place::Before);
        assert!(at("b", "b/x") == Place::Around);
        assert!(
            at("b/c", "b/x") == Place::After,
            "entries of b come before the content of b/c"
        );
        assert!(at("c", "b/x") == Place::After);
        assert!(
            at("a", "z") == Place::After,
            "the walk stopped in the root: nothing below was visited"
        );
    }
}
