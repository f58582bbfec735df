//! Where a file is written to, and the partial file that becomes it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempPath;
use tonic::Code;

use super::base_name;
use super::exit::Problem;
use super::io::Io;
use super::names::to_local;
use crate::proto::Entry;

/// Characters of a file's name that its partial file has, too: a name may be as
/// long as names can be, and more is added to it.
const NAME: usize = 50;

/// Where a file is written to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) there: There,
}

/// What is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    /// A file of so many bytes.
    File(u64),
    /// Not a regular file: written to as it is.
    Special,
}

impl Target {
    /// Where one file goes: to a path, or into a directory under its own name.
    pub(super) fn find(remote: &str, local: Option<&Path>) -> Result<Self, Problem> {
        let name = base_name(remote);
        let in_directory = |directory: &Path| match name {
            "" | "." | ".." => Err(Problem::usage(format!("{remote:?} is not a file's path"))),
            name => Ok(directory.join(to_local(name))),
        };
        let path = match local {
            None => in_directory(Path::new(""))?,
            Some(local) if local.is_dir() => in_directory(local)?,
            Some(local) => local.to_owned(),
        };
        let mut target = Self::at(path)?;
        // A link stays a link.
        if let (There::File(_), Ok(path)) = (target.there, target.path.canonicalize()) {
            target.path = path;
        }
        Ok(target)
    }

    /// The file at a path.
    pub(super) fn at(path: PathBuf) -> Result<Self, Problem> {
        let there = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                let path = path.display();
                return Err(Problem::local(format!("{path} is a directory")));
            }
            Ok(metadata) if metadata.is_file() => There::File(metadata.len()),
            Ok(_) => There::Special,
            Err(_) => There::Nothing,
        };
        Ok(Self { path, there })
    }

    pub(super) fn failed(&self, error: &io::Error) -> Problem {
        Problem::local(format!("cannot write {}: {error}", self.path.display()))
    }

    /// Something is there that may not be replaced.
    pub(super) fn exists(&self, why: &str) -> Problem {
        let path = self.path.display();
        Problem::new(
            Code::AlreadyExists,
            format!("{path} exists{why}; replace it with --update or --force"),
        )
    }
}

/// What becomes of a partial file that is not finished.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It stays, if there is anything in it, and is told of.
    Keep,
    Discard,
    Finished,
}

/// A file that is being written, beside the one that it becomes. Another
/// command goes on with it if this one is stopped.
pub(super) struct Part<'a> {
    path: PathBuf,
    file: File,
    io: &'a Io,
    fate: Fate,
}

impl<'a> Part<'a> {
    /// Opens it, with what is in it. The same content has the same key; without
    /// one nobody goes on with it.
    pub(super) fn open(target: &Target, key: Option<&str>, io: &'a Io) -> Result<Self, Problem> {
        let failed = |error| target.failed(&error);
        let name = target.path.file_name().unwrap_or_default();
        let short: String = name.to_string_lossy().chars().take(NAME).collect();
        let own = key.is_none().then(|| uuid::Uuid::new_v4().to_string());
        let key = blake3::hash(key.or(own.as_deref()).unwrap_or_default().as_bytes());
        let key = &key.to_hex()[..16];
        let path = target.path.with_file_name(format!(".{short}.{key}.part"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(failed)?;
        let busy = || {
            let path = path.display();
            let text = format!("another command is writing {path}; wait for its end");
            Problem::new(Code::Aborted, text)
        };
        // A file system without locks has to do without.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(busy());
        }
        if !is_same(&file, &path) {
            return Err(busy());
        }
        let fate = if own.is_some() {
            Fate::Discard
        } else {
            Fate::Keep
        };
        Ok(Self {
            path,
            file,
            io,
            fate,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How much of a content of this size is here.
    pub(super) fn length(&self, size: u64) -> io::Result<u64> {
        let length = self.file.metadata()?.len();
        Ok(if length > size { 0 } else { length })
    }

    /// The file, to write what comes after so many bytes.
    pub(super) fn after(&self, length: u64) -> io::Result<File> {
        self.file.set_len(length)?;
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(length))?;
        Ok(file)
    }

    /// What is in it is no good.
    pub(super) fn discard(&mut self) {
        self.fate = Fate::Discard;
    }

    /// Gives the finished file its name, and the time of the upload.
    pub(super) fn finish(
        mut self,
        target: &Target,
        entry: &Entry,
        replace: bool,
    ) -> Result<(), Problem> {
        if let Some(time) = modify_time(entry) {
            // Not every file system has such times.
            let _ = self.file.set_modified(time);
        }
        if replace {
            std::fs::rename(&self.path, &target.path).map_err(|error| target.failed(&error))?;
        } else {
            let part = TempPath::try_from_path(&self.path).map_err(|e| target.failed(&e))?;
            if let Err(failure) = part.persist_noclobber(&target.path) {
                // Whether it stays is decided here.
                let _ = failure.path.keep();
                return Err(match failure.error.kind() {
                    io::ErrorKind::AlreadyExists => target.exists(" now"),
                    _ => target.failed(&failure.error),
                });
            }
        }
        self.fate = Fate::Finished;
        Ok(())
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let empty = self.file.metadata().is_ok_and(|found| found.len() == 0);
        match self.fate {
            Fate::Finished => {}
            Fate::Keep if !empty => self.io.keep(self.path.clone()),
            Fate::Keep | Fate::Discard => {
                // If it cannot be removed it is in nobody's way.
                let _ = std::fs::remove_file(&self.path);
            }
        }
        // A process that is just being started has it open, too, for a moment.
        let _ = self.file.unlock();
    }
}

/// The path still means this file: whoever had it open before may have given it
/// its final name.
fn is_same(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |found: std::fs::Metadata| (found.dev(), found.ino());
        let (Ok(open), Ok(there)) = (file.metadata(), path.metadata()) else {
            return false;
        };
        id(open) == id(there)
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}

fn modify_time(entry: &Entry) -> Option<SystemTime> {
    let time = entry.modify_time.as_ref()?;
    let seconds = Duration::from_secs(u64::try_from(time.seconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli::tests::quiet_io;

    #[test]
    fn a_partial_file_belongs_to_one_content_and_one_command() {
        let io = quiet_io();
        let directory = tempfile::tempdir().unwrap();
        let long = "é".repeat(120);
        let target = Target::at(directory.path().join(long)).unwrap();
        let part = Part::open(&target, Some("a"), &io).unwrap();
        part.after(0).unwrap().write_all(b"12345").unwrap();
        let busy = Part::open(&target, Some("a"), &io).err().unwrap();
        assert!(busy.message.contains("another command"), "{busy:?}");
        let other = Part::open(&target, Some("b"), &io).unwrap();
        assert_ne!(other.path(), part.path());
        let path = part.path().to_owned();
        drop((part, other));
        assert_eq!(io.take_kept(), [path], "the empty one is gone");

        let again = Part::open(&target, Some("a"), &io).unwrap();
        assert_eq!(again.length(5).unwrap(), 5);
        assert_eq!(again.length(4).unwrap(), 0, "longer than the content");
        again.after(3).unwrap().write_all(b"x").unwrap();
        let entry = Entry {
            modify_time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            ..Entry::default()
        };
        again.finish(&target, &entry, false).unwrap();
        assert_eq!(std::fs::read(&target.path).unwrap(), b"123x");
        let modified = target.path.metadata().unwrap().modified().unwrap();
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(modified, expected);

        let late = Part::open(&target, Some("c"), &io).unwrap();
        late.after(0).unwrap().write_all(b"other").unwrap();
        let path = late.path().to_owned();
        let exists = late.finish(&target, &entry, false).unwrap_err();
        assert_eq!(exists.code, Code::AlreadyExists);
        assert_eq!(io.take_kept().pop().as_ref(), Some(&path));
        assert!(path.exists(), "what has come is not lost");
        drop(Part::open(&target, None, &io).unwrap());
        assert_eq!(directory.path().read_dir().unwrap().count(), 2);
    }
}
