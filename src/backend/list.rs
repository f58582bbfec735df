//! Listings, page by page.

use std::collections::{HashSet, VecDeque};
use std::time::SystemTime;

use super::entry::{Entry, EntryKind};
use super::path::RemotePath;
use super::{MAX_PAGE, Remote, Staleness};
use crate::catalog::{Snapshot, newest_first};
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
    /// How old it may be.
    pub staleness: Staleness,
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
    folders: Vec<(RemotePath, i64)>,
    visited: HashSet<i64>,
    ready: VecDeque<Entry>,
    failures: Vec<(RemotePath, Error)>,
    as_of: Option<SystemTime>,
}

const DEFAULT_PAGE: usize = 1_000;

impl Remote {
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
        let id = self.folder_id(scope, path, options.staleness).await?;
        let page_size = match options.page_size {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let mut listing = Listing {
            remote: self.clone(),
            scope,
            page_size,
            base_depth: path.segments().count(),
            folders: Vec::new(),
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
        let snapshot = self
            .snapshot(scope, id, listing.options.staleness)
            .await
            .map_err(|error| error.at(path.as_str()))?;
        listing.enter(path, id, &snapshot);
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

impl Listing {
    fn enter(&mut self, path: &RemotePath, id: i64, snapshot: &Snapshot) {
        // Two paths to one folder would walk for ever.
        if !self.visited.insert(id) {
            return;
        }
        self.as_of = Some(self.as_of.map_or(snapshot.as_of.time, |oldest| {
            oldest.min(snapshot.as_of.time)
        }));
        let codec = self.remote.codec;
        let mut folders: Vec<_> = snapshot
            .content
            .folders()
            .map(|folder| (path.join(&codec.to_segment(&folder.name)), folder))
            .collect();
        folders.sort_by(|left, right| (&left.0, left.1.id).cmp(&(&right.0, right.1.id)));

        let depth = path.segments().count() - self.base_depth + 1;
        let deeper = self.options.recursive
            && (self.options.max_depth == 0 || depth < self.options.max_depth);
        if deeper {
            // The next one to visit is the last of the stack.
            for (path, folder) in folders.iter().rev() {
                let skipped = self
                    .options
                    .after
                    .as_ref()
                    .is_some_and(|(after, _)| place(path, after) == Place::Before);
                if !skipped {
                    self.folders.push((path.clone(), folder.id));
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
        let mut entries: Vec<Entry> = Vec::with_capacity(snapshot.content.len());
        if self.options.only != Some(EntryKind::File) {
            entries.extend(
                folders
                    .into_iter()
                    .map(|(path, folder)| Entry::directory(path, folder)),
            );
        }
        if self.options.only != Some(EntryKind::Directory) {
            entries.extend(self.files(path, snapshot));
        }
        entries.sort_by(|left, right| (&left.path, &left.id).cmp(&(&right.path, &right.id)));
        if let Some((after, id)) = sent {
            entries.retain(|entry| {
                (entry.path.as_str(), entry.id.as_str()) > (after.as_str(), id.as_str())
            });
        }
        self.ready.extend(entries);
    }

    /// One entry for each path: the newest file, which tells how many there are.
    fn files(&self, path: &RemotePath, snapshot: &Snapshot) -> Vec<Entry> {
        let codec = self.remote.codec;
        let mut files: Vec<_> = snapshot
            .content
            .files()
            .map(|file| (path.join(&codec.to_segment(&file.name)), file))
            .collect();
        files.sort_by(|left, right| left.0.cmp(&right.0));
        let mut entries = Vec::with_capacity(files.len());
        for same in files.chunk_by(|left, right| left.0 == right.0) {
            let path = &same[0].0;
            if same.len() > 1 {
                tracing::warn!(%path, files = same.len(), "several files share a path; the newest counts");
            }
            let mut files: Vec<_> = same.iter().map(|(_, file)| *file).collect();
            newest_first(&mut files);
            entries.push(Entry::file(path.clone(), files[0], files.len()));
        }
        entries
    }

    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Option<Page> {
        while self.ready.len() <= self.page_size
            && let Some((path, id)) = self.folders.pop()
        {
            match self
                .remote
                .snapshot(self.scope, id, self.options.staleness)
                .await
            {
                Ok(snapshot) => self.enter(&path, id, &snapshot),
                Err(error) => {
                    let error = error.at(path.as_str());
                    self.failures.push((path, error));
                }
            }
        }
        let as_of = self.as_of.take()?;
        let mut entries: Vec<_> = self
            .ready
            .drain(..self.page_size.min(self.ready.len()))
            .collect();
        self.remote.add_recorded(&mut entries).await;
        let last = self.ready.is_empty() && self.folders.is_empty();
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
