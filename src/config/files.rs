//! Reading what is configured in files: bounded, and with a word about who
//! else can read it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::notes::Notes;

/// Of a configuration file; rclone's largest are some kilobytes.
pub(super) const MAX_CONFIG: u64 = 4 << 20;
const MAX_SECRET: u64 = 64 << 10;
/// As the name of a file: standard input.
const STDIN: &str = "-";

fn read_from(source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    source.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        let problem = format!(
            "it is larger than {} KiB; is it the right file?",
            limit >> 10
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(content)
}

/// Reads a file of limited size.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_from(File::open(path)?, limit)
}

/// Reads a text of limited size.
pub(super) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    text(read(path, limit)?)
}

fn text(content: Vec<u8>) -> io::Result<String> {
    let problem = "it is not a text in UTF-8";
    String::from_utf8(content).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, problem))
}

/// Warns of a file with secrets that everybody can read.
pub(super) fn warn_if_readable(path: &Path, notes: &mut Notes) {
    // Container runtimes let everybody in the container read what they mount.
    if path.starts_with("/run/secrets") {
        return;
    }
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    if metadata.is_file() && metadata.mode() & 0o004 != 0 {
        notes.warning(format!(
            "everybody on this machine can read the secrets in {0}: chmod 600 {0}",
            path.display()
        ));
    }
}

/// Files with one secret each. Each is read once, also when several remotes
/// use it.
#[derive(Default)]
pub(super) struct SecretFiles {
    read: HashMap<PathBuf, Result<String, String>>,
    stdin_is: Option<&'static str>,
}

impl SecretFiles {
    /// The secret in a file, without the line break that editors add.
    pub(super) fn read(
        &mut self,
        path: &Path,
        what: &'static str,
        notes: &mut Notes,
    ) -> Result<String, String> {
        if path == Path::new(STDIN) && *self.stdin_is.get_or_insert(what) != what {
            return Err(format!(
                "standard input can hold one secret only; give {what} in a file"
            ));
        }
        if let Some(known) = self.read.get(path) {
            return known.clone();
        }
        let secret = load(path).map_err(|error| match error.kind() {
            _ if path == Path::new(STDIN) => {
                format!("cannot read {what} from standard input: {error}")
            }
            _ => format!("cannot read the {what} file {}: {error}", path.display()),
        });
        if secret.as_ref().is_ok_and(|secret| !secret.is_empty()) {
            warn_if_readable(path, notes);
        }
        self.read.insert(path.to_owned(), secret.clone());
        secret
    }
}

fn load(path: &Path) -> io::Result<String> {
    let content = match path == Path::new(STDIN) {
        true => read_from(io::stdin().lock(), MAX_SECRET)?,
        false => read(path, MAX_SECRET)?,
    };
    Ok(text(content)?.trim_end_matches(['\r', '\n']).to_owned())
}
