//! The state directory: private, writable, and of one server at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A state directory that is ours until this is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
    _temporary: Option<tempfile::TempDir>,
}

impl StateDir {
    /// Opens or makes the directory; without a path, a temporary one.
    ///
    /// # Errors
    /// One line, when it cannot be written to or another server uses it.
    pub fn open(path: Option<&Path>) -> Result<Self, String> {
        let mut temporary = None;
        let path = match path {
            Some(path) => path.to_owned(),
            None => {
                let made = tempfile::Builder::new().prefix("pluton-fichier-").tempdir();
                let made =
                    made.map_err(|error| format!("cannot make a temporary directory: {error}"))?;
                temporary.insert(made).path().to_owned()
            }
        };
        let failed = |error: io::Error| {
            format!("cannot use the state directory {}: {error}", path.display())
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path.join("spool"))
            .map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        // Writing is what it is for: find out now. A full disk passes, and
        // reads go on meanwhile.
        match tempfile::tempfile_in(path.join("spool")) {
            Err(error) if is_full(&error) => {
                tracing::error!(%error, path = %path.display(), "the disk of the state directory is full");
            }
            other => drop(other.map_err(failed)?),
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path.join("catalog"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path,
                _lock: lock,
                _temporary: temporary,
            }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "the state directory {} is in use by another server; stop it, or choose another --state-dir",
                path.display()
            )),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the catalogs are kept.
    pub fn catalog(&self) -> PathBuf {
        self.path.join("catalog")
    }

    /// Where uploads are buffered.
    pub fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(Some(dir.path())).unwrap();
        assert!(
            StateDir::open(Some(dir.path()))
                .unwrap_err()
                .contains("in use by another server")
        );
        drop(first);
        StateDir::open(Some(dir.path())).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        assert!(
            StateDir::open(Some(Path::new("/proc/nothing")))
                .unwrap_err()
                .contains("/proc/nothing")
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(StateDir::open(Some(file.path())).is_err());
    }
}
