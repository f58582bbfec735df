//! What an account should hold: a map of paths, and rclone's rules on it.

use std::collections::{BTreeMap, BTreeSet};

use super::step::{Step, Write};

/// Contents are known by their number.
pub(super) type Content = usize;

/// What a step answers: a text to compare, or the reason of its failure.
pub(super) type Outcome = Result<String, String>;

/// A path has several files when KEEP_BOTH made them; the first is the one
/// that the server means by the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) directories: BTreeSet<String>,
    pub(super) files: BTreeMap<String, Vec<Content>>,
}

pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn fail<T>(reason: &str) -> Result<T, String> {
    Err(reason.to_owned())
}

impl Tree {
    fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.directories.contains(path)
    }

    /// A file stands where a directory is needed.
    fn is_blocked(&self, directory: &str) -> bool {
        let mut here = directory;
        while !here.is_empty() {
            if self.files.contains_key(here) {
                return true;
            }
            here = parent(here);
        }
        false
    }

    fn children(&self, directory: &str) -> usize {
        let inside = |path: &&String| parent(path) == directory;
        self.directories.iter().filter(inside).count() + self.files.keys().filter(inside).count()
    }

    pub(super) fn make_directories(&mut self, path: &str) {
        let mut here = path;
        while !here.is_empty() {
            self.directories.insert(here.to_owned());
            here = parent(here);
        }
    }

    /// The path of an existing file, or why there is none.
    fn file(&self, path: &str) -> Result<&Vec<Content>, String> {
        match self.files.get(path) {
            Some(files) => Ok(files),
            None if self.is_directory(path) => fail("IS_A_DIRECTORY"),
            None if self.is_blocked(parent(path)) => fail("NOT_A_DIRECTORY"),
            None => fail("FILE_NOT_FOUND"),
        }
    }

    fn directory(&self, path: &str) -> Result<(), String> {
        if self.is_directory(path) {
            Ok(())
        } else if self.is_blocked(path) {
            fail("NOT_A_DIRECTORY")
        } else {
            fail("DIRECTORY_NOT_FOUND")
        }
    }

    /// Whether a file may be written here.
    fn target(&self, path: &str, mode: Write) -> Result<(), String> {
        if self.is_blocked(parent(path)) {
            return fail("NOT_A_DIRECTORY");
        }
        if self.is_directory(path) {
            return fail("IS_A_DIRECTORY");
        }
        if mode == Write::CreateOnly && self.files.contains_key(path) {
            return fail("ENTRY_EXISTS");
        }
        Ok(())
    }

    fn store(&mut self, path: &str, content: Content, mode: Write) {
        self.make_directories(parent(path));
        let files = self.files.entry(path.to_owned()).or_default();
        if mode != Write::KeepBoth {
            files.clear();
        }
        files.insert(0, content);
    }

    /// Takes the first file away.
    fn take(&mut self, path: &str) -> Option<Content> {
        let files = self.files.get_mut(path)?;
        let content = files.remove(0);
        if files.is_empty() {
            self.files.remove(path);
        }
        Some(content)
    }

    fn remove_below(&mut self, path: &str) {
        let inside = |other: &String| other == path || is_below(other, path);
        self.directories.retain(|path| !inside(path));
        self.files.retain(|path, _| !inside(path));
    }

    /// Every path below a directory, directories with a slash behind them.
    fn below(&self, directory: &str, recursive: bool) -> Vec<String> {
        let wanted = |path: &&String| {
            if recursive {
                directory.is_empty() || is_below(path, directory)
            } else {
                parent(path) == directory
            }
        };
        let directories = self.directories.iter().filter(wanted);
        let mut all: Vec<String> = directories.map(|path| format!("{path}/")).collect();
        all.extend(self.files.keys().filter(wanted).cloned());
        all.sort();
        all
    }

    /// Does what the server should do, and tells what it should answer.
    pub(super) fn apply(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Put {
                path,
                content,
                mode,
                parents,
                ..
            } => {
                if !parents {
                    self.directory(parent(path))?;
                }
                self.target(path, *mode)?;
                self.store(path, *content, *mode);
                Ok(format!("content {content}"))
            }
            Step::PutMany { paths, content } => {
                let mut outcomes = Vec::new();
                for path in paths {
                    outcomes.push(match self.target(path, Write::Replace) {
                        Ok(()) => {
                            self.store(path, *content, Write::Replace);
                            format!("content {content}")
                        }
                        Err(reason) => reason,
                    });
                }
                Ok(format!("{outcomes:?}"))
            }
            Step::Get { path } | Step::Hash { path } => {
                Ok(format!("content {}", self.file(path)?[0]))
            }
            Step::Stat { path } => match self.files.get(path) {
                Some(files) => Ok(format!("content {}", files[0])),
                None if self.is_directory(path) => Ok("directory".to_owned()),
                None if self.is_blocked(parent(path)) => fail("NOT_A_DIRECTORY"),
                None => fail("FILE_NOT_FOUND"),
            },
            Step::List {
                path, recursive, ..
            } => {
                self.directory(path)?;
                Ok(format!("{:?}", self.below(path, *recursive)))
            }
            Step::Delete {
                paths,
                allow_missing,
            } => {
                let outcomes: Vec<String> = paths
                    .iter()
                    .map(|path| match self.file(path) {
                        Ok(_) => String::new(),
                        Err(reason) if reason == "FILE_NOT_FOUND" && *allow_missing => {
                            String::new()
                        }
                        Err(reason) => reason,
                    })
                    .collect();
                // One path named twice is still one file.
                for path in paths.iter().collect::<BTreeSet<_>>() {
                    self.take(path);
                }
                Ok(format!("{outcomes:?}"))
            }
            Step::Mkdir { path, parents } => {
                if self.is_blocked(path) {
                    return fail("NOT_A_DIRECTORY");
                }
                if !parents && !path.is_empty() {
                    self.directory(parent(path))?;
                }
                let created = !self.is_directory(path);
                self.make_directories(path);
                Ok(format!("created {created}"))
            }
            Step::Rmdir {
                path,
                allow_missing,
            } => {
                if path.is_empty() {
                    return fail("INVALID_PATH");
                }
                match self.directory(path) {
                    Err(reason) if reason == "DIRECTORY_NOT_FOUND" && *allow_missing => {
                        return Ok(String::new());
                    }
                    other => other?,
                }
                if self.children(path) > 0 {
                    return fail("DIRECTORY_NOT_EMPTY");
                }
                self.directories.remove(path);
                Ok(String::new())
            }
            Step::Copy { from, to, mode } => {
                let content = self.file(from)?[0];
                if from == to && *mode != Write::KeepBoth {
                    return fail("INVALID_FIELD");
                }
                self.target(to, *mode)?;
                self.store(to, content, *mode);
                Ok(format!("content {content}"))
            }
            Step::Move { from, to, mode } => {
                let content = self.file(from)?[0];
                if from != to {
                    self.target(to, *mode)?;
                    self.take(from);
                    self.store(to, content, *mode);
                }
                Ok(format!("content {content}"))
            }
            Step::MoveDir { from, to } => self.move_directory(from, to),
            Step::Purge { path, dry } => {
                if path.is_empty() {
                    return fail("INVALID_PATH");
                }
                self.directory(path)?;
                let inside = |other: &String| other == path || is_below(other, path);
                let directories = self.directories.iter().filter(|path| inside(path)).count();
                let files = self.files.iter().filter(|(path, _)| inside(path));
                let files: usize = files.map(|(_, files)| files.len()).sum();
                if !dry {
                    self.remove_below(path);
                }
                Ok(format!("{files} files, {directories} directories"))
            }
            Step::Dedupe { path, identical } => {
                self.directory(path)?;
                for (file, contents) in &mut self.files {
                    if contents.len() < 2 || !(path.is_empty() || is_below(file, path)) {
                        continue;
                    }
                    if *identical {
                        let mut seen = BTreeSet::new();
                        contents.retain(|content| seen.insert(*content));
                    } else {
                        contents.truncate(1);
                    }
                }
                Ok(String::new())
            }
            Step::Refresh { path, .. } => {
                self.directory(path)?;
                Ok(String::new())
            }
            Step::OthersPut { path, content } => {
                // It puts nothing where it would need a directory, or where one is.
                if self.directory(parent(path)).is_ok() && !self.is_directory(path) {
                    self.store(path, *content, Write::KeepBoth);
                }
                Ok(String::new())
            }
            Step::OthersRemove { path } => {
                if self.take(path).is_none() {
                    self.remove_below(path);
                }
                Ok(String::new())
            }
            Step::Restart | Step::Crash | Step::Wait { .. } | Step::Trouble { .. } => {
                Ok(String::new())
            }
            Step::Lost { step, .. } => self.apply(step),
        }
    }

    fn move_directory(&mut self, from: &str, to: &str) -> Outcome {
        if from.is_empty() || to.is_empty() {
            return fail("INVALID_PATH");
        }
        self.directory(from)?;
        if self.is_directory(to) || self.files.contains_key(to) {
            return fail("ENTRY_EXISTS");
        }
        if self.is_blocked(parent(to)) {
            return fail("NOT_A_DIRECTORY");
        }
        if is_below(to, from) {
            return fail("INVALID_PATH");
        }
        self.make_directories(parent(to));
        let moved = |path: &String| {
            if path == from {
                Some(to.to_owned())
            } else if is_below(path, from) {
                Some(format!("{to}{}", &path[from.len()..]))
            } else {
                None
            }
        };
        self.directories = std::mem::take(&mut self.directories)
            .into_iter()
            .map(|path| moved(&path).unwrap_or(path))
            .collect();
        self.files = std::mem::take(&mut self.files)
            .into_iter()
            .map(|(path, files)| (moved(&path).unwrap_or(path), files))
            .collect();
        Ok(String::new())
    }
}
