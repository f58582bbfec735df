//! Is what the server did and answered right, by what it may have remembered?
//!
//! It may only remove what it may have seen at its path within the last 30
//! seconds, and must remove what was there all that time. What it acknowledges
//! must be there. What it refuses, or only tells, it may take from memory.

use tokio::time::Instant;

use super::account::{Account, Changes};
use super::memory::{Age, Entry, Found, Memory};
use crate::model::step::Step;
use crate::model::tree::{Outcome, parent};

/// What is wrong.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: String,
    /// It may come right, as where files landed is asked for later.
    pub(super) may_come_right: bool,
}

/// One request, with what was there before and after it.
pub(super) struct Case<'a> {
    pub(super) memory: &'a Memory,
    pub(super) before: &'a Account,
    pub(super) after: &'a Account,
    /// When it was asked for.
    pub(super) asked: Instant,
    /// 1Fichier may not tell now: its limits keep the server from looking, or
    /// something shows late.
    pub(super) untold: bool,
    /// New links are known late: an older version may go later.
    pub(super) late_links: bool,
}

pub(super) type Check = Result<(), String>;

pub(super) fn fail(what: impl Into<String>) -> Check {
    Err(what.into())
}

/// A path and those above it, itself first.
pub(super) fn upwards(path: &str) -> impl Iterator<Item = &str> {
    let path = Some(path).filter(|path| !path.is_empty());
    std::iter::successors(path, |path| {
        Some(parent(path)).filter(|path| !path.is_empty())
    })
}

impl Case<'_> {
    /// Whether a request was answered rightly.
    pub(super) fn judge(&self, step: &Step, got: &Outcome) -> Result<(), Wrong> {
        let checked = match got {
            Ok(text) => self.done(step, text),
            Err(reason) => self.refused(step, reason),
        };
        checked.map_err(|what| Wrong {
            what,
            // What was made for nothing goes when the caller has its answer.
            may_come_right: got.is_err() || self.late_links || self.is_landing_open(step),
        })
    }

    /// Whether a directory on the way to a path may be gone: where it is now, no
    /// call tells.
    pub(super) fn is_way_open(&self, path: &str) -> bool {
        upwards(path).any(|path| {
            let found = self.folders(path, Age::Read);
            !found.may.is_empty() && found.always.is_empty()
        })
    }

    /// The same for directories below a path.
    fn is_open_below(&self, path: &str) -> bool {
        let below = self.memory.below(path, Age::Read, self.asked);
        let mut below = below.into_iter();
        below.any(|(entry, always)| matches!(entry, Entry::Folder(_)) && !always)
    }

    pub(super) fn changes(&self) -> Changes {
        Changes::between(self.before, self.after)
    }

    /// Whether the folder that is written to may be another one than the server
    /// knows: what is stored may be elsewhere until it has asked where.
    fn is_landing_open(&self, step: &Step) -> bool {
        let target = match step {
            Step::Put { path, .. } => path,
            Step::Copy { to, .. } | Step::Move { to, .. } | Step::MoveDir { to, .. } => to,
            _ => return false,
        };
        let folder = parent(target);
        let found = self.memory.folders(folder, Age::Seen, self.asked);
        found.always.is_empty() || found.may.len() > 1
    }

    pub(super) fn files(&self, path: &str, age: Age) -> Found<String> {
        self.memory.files(path, age, self.asked)
    }

    pub(super) fn folders(&self, path: &str, age: Age) -> Found<u64> {
        self.memory.folders(path, age, self.asked)
    }

    /// Whether a file may be known in the place of a directory.
    pub(super) fn may_be_blocked(&self, path: &str) -> bool {
        upwards(path).any(|path| !self.files(path, Age::Read).may.is_empty())
    }

    fn refused(&self, step: &Step, reason: &str) -> Check {
        let (from, to) = match step {
            Step::Put { path, .. } => (None, path),
            Step::Copy { from, to, .. } | Step::Move { from, to, .. } => (Some(from), to),
            Step::MoveDir { from, to } => (Some(from), to),
            Step::Get { path }
            | Step::Hash { path }
            | Step::Stat { path }
            | Step::List { path, .. }
            | Step::Mkdir { path, .. }
            | Step::Rmdir { path, .. }
            | Step::Purge { path, .. }
            | Step::Dedupe { path, .. }
            | Step::Refresh { path, .. } => (Some(path), path),
            _ => return fail(format!("it failed: {reason}")),
        };
        let of_directory = matches!(
            step,
            Step::MoveDir { .. }
                | Step::List { .. }
                | Step::Rmdir { .. }
                | Step::Purge { .. }
                | Step::Dedupe { .. }
                | Step::Refresh { .. }
        );
        let source = from.unwrap_or(to);
        let right = match reason {
            "FILE_NOT_FOUND" => !of_directory && self.files(source, Age::Read).may_miss,
            "DIRECTORY_NOT_FOUND" if of_directory => self.folders(source, Age::Read).may_miss,
            // The parent, where it is not to be made.
            "DIRECTORY_NOT_FOUND" => {
                matches!(
                    step,
                    Step::Put { parents: false, .. } | Step::Mkdir { parents: false, .. }
                ) && self.folders(parent(to), Age::Read).may_miss
            }
            "IS_A_DIRECTORY" => [source, to]
                .iter()
                .any(|path| !self.folders(path, Age::Read).may.is_empty()),
            "NOT_A_DIRECTORY" => [source, to].iter().any(|path| self.may_be_blocked(path)),
            "ENTRY_EXISTS" => {
                !self.files(to, Age::Read).may.is_empty()
                    || !self.folders(to, Age::Read).may.is_empty()
            }
            "DIRECTORY_NOT_EMPTY" => {
                matches!(step, Step::Rmdir { .. } | Step::Purge { .. })
                    && self.may_be_full(source, matches!(step, Step::Purge { .. }))
            }
            "INVALID_PATH" => {
                source.is_empty()
                    || to.is_empty()
                    || matches!(step, Step::MoveDir { from, to }
                    if to.strip_prefix(from.as_str()).is_some_and(|rest| {
                        rest.is_empty() || rest.starts_with('/')
                    }))
            }
            "INVALID_FIELD" => from == Some(to),
            _ => {
                let is_listing = matches!(step, Step::List { .. } | Step::Refresh { .. });
                let untold = self.untold
                    || [source, to].iter().any(|path| self.is_way_open(path))
                    || is_listing && self.is_open_below(source);
                untold && reason.starts_with("UPSTREAM_UNAVAILABLE")
            }
        };
        if !right {
            return fail(format!("it was refused: {reason}"));
        }
        let changes = self.changes();
        if let Step::Purge { path, .. } = step {
            // What was removed before it failed is removed.
            return self.only_removed_below(path, &changes);
        }
        // What was made for nothing stays where 1Fichier does not show yet that it
        // is empty.
        if reason.starts_with("UPSTREAM_UNAVAILABLE") || self.untold {
            return self.nothing_but_directories(to, &changes);
        }
        self.nothing(&changes)
    }

    /// Whether a directory may be known to have something in it; for a removal
    /// with all that is in it, something that came too late to be seen.
    fn may_be_full(&self, path: &str, with_all: bool) -> bool {
        let age = if with_all { Age::Seen } else { Age::Read };
        let below = self.memory.below(path, age, self.asked);
        let top = self.folders(path, age).may;
        let mut inside = below
            .iter()
            .filter(|(entry, _)| !matches!(entry, Entry::Folder(id) if top.contains(id)));
        inside.any(|(_, always)| !with_all || !always)
    }

    fn done(&self, step: &Step, text: &str) -> Check {
        let changes = self.changes();
        match step {
            Step::Put {
                path,
                content,
                mode,
                ..
            } => {
                if text != format!("content {content}") {
                    return fail(format!("it tells of {text}"));
                }
                self.stored(path, text, *mode, &changes)
            }
            Step::Copy { from, to, mode } => {
                self.content_of(from, text)?;
                match self.copied_under_its_name(from, to, &changes) {
                    true => self.replaced(to, *mode, None, &changes),
                    false => self.stored(to, text, *mode, &changes),
                }
            }
            Step::Move { from, to, .. } if from == to => {
                self.content_of(from, text)?;
                self.nothing(&changes)
            }
            Step::Move { from, to, mode } => self.moved(from, to, text, *mode, &changes),
            Step::MoveDir { from, to } => self.moved_directory(from, to, &changes),
            Step::Delete {
                paths,
                allow_missing,
            } => self.deleted(paths, *allow_missing, text, &changes),
            Step::Mkdir { path, .. } => {
                let mut all = self.after.folders.keys();
                let there = path.is_empty() || all.any(|id| self.is_folder_at(*id, path));
                if !there && self.folders(path, Age::Read).may.is_empty() {
                    return fail("the directory is not there");
                }
                self.nothing_but_directories(path, &changes)
            }
            Step::Rmdir {
                path,
                allow_missing,
            } => self.removed_directory(path, *allow_missing, &changes),
            Step::Purge { path, dry: true } => {
                if self.folders(path, Age::Read).may.is_empty() {
                    return fail("there is no such directory");
                }
                self.nothing(&changes)
            }
            Step::Purge { path, dry: false } => self.purged(path, &changes),
            Step::Dedupe { path, identical } => self.deduped(path, *identical, &changes),
            Step::Get { path } | Step::Hash { path } => {
                self.content_of(path, text)?;
                self.nothing(&changes)
            }
            Step::Stat { path } if text == "directory" => {
                if self.folders(path, Age::Read).may.is_empty() {
                    return fail("there is no such directory");
                }
                self.nothing(&changes)
            }
            Step::Stat { path } => {
                self.content_of(path, text)?;
                self.nothing(&changes)
            }
            _ => self.nothing(&changes),
        }
    }

    pub(super) fn content_of(&self, path: &str, text: &str) -> Check {
        let known = self.memory.contents(path, Age::Read, self.asked);
        if known.contains(text) {
            return Ok(());
        }
        fail(format!("it tells of {text}, which may be one of {known:?}"))
    }

    pub(super) fn nothing(&self, changes: &Changes) -> Check {
        if self.before == self.after {
            return Ok(());
        }
        fail(format!("it changed something: {}", self.told(changes)))
    }

    /// Nothing but directories that lead to a path, or are that path.
    pub(super) fn nothing_but_directories(&self, path: &str, changes: &Changes) -> Check {
        let others = Changes {
            new_folders: Vec::new(),
            ..changes.clone()
        };
        let rest = [&others.new_files, &others.gone_files, &others.moved_files];
        if rest.iter().any(|list| !list.is_empty())
            || !others.gone_folders.is_empty()
            || !others.moved_folders.is_empty()
        {
            return fail(format!("it changed something: {}", self.told(changes)));
        }
        self.made_towards(path, changes)
    }

    /// Whether a listing shows what it may show, and what it must.
    pub(super) fn listed(&self, path: &str, recursive: bool, shown: &[String], age: Age) -> Check {
        self.nothing(&self.changes())?;
        for one in shown {
            let known = match one.strip_suffix('/') {
                Some(directory) => !self.folders(directory, age).may.is_empty(),
                None => !self.files(one, age).may.is_empty(),
            };
            if !known {
                return fail(format!("it shows {one:?}"));
            }
        }
        let inside = |one: &str| {
            let above = parent(one);
            if recursive {
                path.is_empty() || above == path || above.starts_with(&format!("{path}/"))
            } else {
                above == path
            }
        };
        for one in self.before.paths() {
            let plain = one.strip_suffix('/').unwrap_or(&one);
            if !inside(plain) || shown.contains(&one) {
                continue;
            }
            let certain = match one.strip_suffix('/') {
                Some(directory) => !self.folders(directory, age).may_miss,
                None => !self.files(&one, age).may_miss,
            };
            if certain {
                return fail(format!("it does not show {one:?}"));
            }
        }
        Ok(())
    }

    /// What is different, for people.
    pub(super) fn told(&self, changes: &Changes) -> String {
        let file = |of: &Account, url: &String| {
            let content = of.files.get(url).map(|file| file.content.clone());
            format!(
                "{:?} ({})",
                of.path_of_file(url),
                content.unwrap_or_default()
            )
        };
        let mut text = Vec::new();
        for url in &changes.new_files {
            text.push(format!("new {url} {}", file(self.after, url)));
        }
        for url in &changes.gone_files {
            text.push(format!("gone {url} {}", file(self.before, url)));
        }
        for url in &changes.moved_files {
            let (from, to) = (file(self.before, url), file(self.after, url));
            text.push(format!("moved {url} {from} -> {to}"));
        }
        for id in &changes.new_folders {
            text.push(format!("new {id} {:?}/", self.after.path(*id)));
        }
        for id in &changes.gone_folders {
            text.push(format!("gone {id} {:?}/", self.before.path(*id)));
        }
        for id in &changes.moved_folders {
            let (from, to) = (self.before.path(*id), self.after.path(*id));
            text.push(format!("moved {id} {from:?}/ -> {to:?}/"));
        }
        text.join(", ")
    }
}
