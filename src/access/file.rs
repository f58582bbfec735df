//! The file of tokens: private, replaced as a whole, and changed by one
//! program at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Digest, Mode, Prefix, Token};

const VERSION: u32 = 1;
/// Several thousand tokens.
const MAX_BYTES: u64 = 1 << 20;
const MAX_NAME: usize = 64;
/// Another program that changes the file needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the tokens of a server are kept.
#[derive(Clone, Debug)]
pub struct TokenFile {
    path: PathBuf,
}

/// A right that this version does not know must not be passed over: it may be
/// one that forbids something.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    tokens: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    name: String,
    prefix: String,
    mode: Mode,
    created: jiff::Timestamp,
    sha256: String,
}

/// A token as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Which paths it reaches; empty for all.
    pub prefix: String,
    /// What it may do.
    pub mode: Mode,
    /// When it was made.
    pub created: jiff::Timestamp,
}

impl TokenFile {
    /// That of a state directory. It need not exist.
    pub fn within(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join("tokens.json"),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes; `None` when there is none.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, String> {
        let failed = |error: io::Error| self.complaint(error);
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if file.metadata().map_err(failed)?.mode() & 0o022 != 0 {
            return Err(self.complaint("others may write to it: chmod 600 it"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(self.complaint("it is too large"));
        }
        Ok(Some(bytes))
    }

    fn complaint(&self, what: impl std::fmt::Display) -> String {
        format!("cannot use the tokens in {}: {what}", self.path.display())
    }

    fn document(&self, bytes: &[u8]) -> Result<Document, String> {
        // The parser's own words may quote what stands there.
        let document: Document = serde_json::from_slice(bytes).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            self.complaint(format!(
                "it is damaged or of another version ({place}); restore it, or remove it and make new tokens"
            ))
        })?;
        match document.version {
            VERSION => Ok(document),
            version => Err(self.complaint(format!("it has version {version}"))),
        }
    }

    /// The tokens in these bytes.
    pub(super) fn parse(&self, bytes: &[u8]) -> Result<Vec<Token>, String> {
        let document = self.document(bytes)?;
        let tokens = document.tokens.into_iter().map(|record| {
            let bad = |what| self.complaint(format!("the {what} of a token is not usable"));
            Ok(Token {
                prefix: record.prefix.parse().map_err(|_| bad("prefix"))?,
                digest: Digest::from_hex(&record.sha256).ok_or_else(|| bad("sha256"))?,
                mode: record.mode,
                name: record.name,
            })
        });
        tokens.collect()
    }

    /// How many tokens there are; `None` if there never was one.
    ///
    /// # Errors
    /// One line, when the file is not usable.
    pub fn count(&self) -> Result<Option<usize>, String> {
        let bytes = self.read()?;
        bytes
            .map(|bytes| self.parse(&bytes).map(|tokens| tokens.len()))
            .transpose()
    }

    /// The tokens, without what they are checked by.
    ///
    /// # Errors
    /// One line, when the file is not usable.
    pub fn list(&self) -> Result<Vec<Listed>, String> {
        let listed = |record: Record| Listed {
            name: record.name,
            prefix: record.prefix,
            mode: record.mode,
            created: record.created,
        };
        let records = self.records()?.into_iter();
        Ok(records.map(listed).collect())
    }

    fn records(&self) -> Result<Vec<Record>, String> {
        match self.read()? {
            None => Ok(Vec::new()),
            Some(bytes) => Ok(self.document(&bytes)?.tokens),
        }
    }

    /// Adds a token.
    ///
    /// # Errors
    /// One line: the name is not usable or taken, or the file is not usable.
    pub fn add(
        &self,
        name: &str,
        prefix: &Prefix,
        mode: Mode,
        digest: &Digest,
    ) -> Result<(), String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
            return Err(format!(
                "{name:?} cannot be the name of a token: up to {MAX_NAME} letters, digits, . _ @ + and - are possible"
            ));
        }
        self.change(|records| {
            if records.iter().any(|record| record.name == name) {
                return Err(format!(
                    "there is a token {name:?} already; revoke it first, or choose another name"
                ));
            }
            records.push(Record {
                name: name.to_owned(),
                prefix: prefix.to_string(),
                mode,
                created: jiff::Timestamp::now(),
                sha256: digest.hex(),
            });
            Ok(())
        })
    }

    /// Removes a token. The file stays, also without tokens: then nobody has
    /// one, and not everybody is let in.
    ///
    /// # Errors
    /// One line: there is none of that name, or the file is not usable.
    pub fn remove(&self, name: &str) -> Result<(), String> {
        self.change(|records| {
            let before = records.len();
            records.retain(|record| record.name != name);
            match records.len() < before {
                true => Ok(()),
                false => Err(format!("there is no token {name:?}")),
            }
        })
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a server only reads; commands that change the file have no other work to hold up"
    )]
    fn change(
        &self,
        edit: impl FnOnce(&mut Vec<Record>) -> Result<(), String>,
    ) -> Result<(), String> {
        let failed = |error: io::Error| self.complaint(error);
        let directory = self.path.parent().unwrap_or(Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path.with_extension("lock"))
            .map_err(failed)?;
        let mut waited = Duration::ZERO;
        while let Err(error) = lock.try_lock() {
            let step = Duration::from_millis(20);
            match error {
                TryLockError::WouldBlock if waited < PATIENCE => std::thread::sleep(step),
                TryLockError::WouldBlock => {
                    return Err(self.complaint("another program is changing them"));
                }
                TryLockError::Error(error) => return Err(failed(error)),
            }
            waited += step;
        }
        let mut tokens = self.records()?;
        edit(&mut tokens)?;
        let document = Document {
            version: VERSION,
            tokens,
        };
        let mut text =
            serde_json::to_vec_pretty(&document).map_err(|error| self.complaint(error))?;
        text.push(b'\n');
        if text.len() as u64 > MAX_BYTES {
            return Err(self.complaint("there are too many; revoke some"));
        }
        // Such a file is for its owner only.
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.path)
            .map_err(|error| failed(error.error))?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::access::Secret;

    fn add(file: &TokenFile, name: &str) -> Result<(), String> {
        let digest = Secret::generate().unwrap().digest();
        file.add(name, &Prefix::everything(), Mode::Full, &digest)
    }

    #[test]
    fn tokens_are_added_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::within(&dir.path().join("state"));
        assert_eq!(file.count().unwrap(), None);
        let secret = Secret::generate().unwrap();
        let prefix: Prefix = "work:a/b".parse().unwrap();
        file.add("one", &prefix, Mode::AppendOnly, &secret.digest())
            .unwrap();
        add(&file, "two").unwrap();
        let listed = file.list().unwrap();
        let of = |listed: &Listed| format!("{} {:?} {:?}", listed.name, listed.prefix, listed.mode);
        assert_eq!(
            listed.iter().map(of).collect::<Vec<_>>(),
            [r#"one "work:a/b" AppendOnly"#, r#"two "" Full"#]
        );
        let tokens = file.parse(&file.read().unwrap().unwrap()).unwrap();
        assert!(tokens[0].digest.matches(&secret.digest()));
        assert_eq!(
            (&tokens[0].prefix, tokens[0].mode),
            (&prefix, Mode::AppendOnly)
        );
        let mode = file.path().metadata().unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        let directory = file.path().parent().unwrap();
        assert_eq!(directory.metadata().unwrap().mode() & 0o7777, 0o700);
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(!text.contains(secret.reveal()));
        file.remove("one").unwrap();
        file.remove("two").unwrap();
        // It is known that there were some.
        assert_eq!(file.count().unwrap(), Some(0));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::within(dir.path());
        add(&file, "a").unwrap();
        assert!(add(&file, "a").unwrap_err().contains("already"));
        for name in ["", "a b", "é", "a\nb", &"x".repeat(65)] {
            assert!(add(&file, name).unwrap_err().contains("name"), "{name:?}");
        }
        assert!(file.remove("b").unwrap_err().contains("no token \"b\""));
        assert_eq!(file.count().unwrap(), Some(1));
    }

    #[test]
    fn a_file_that_is_not_understood_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::within(dir.path());
        let sha = "0".repeat(64);
        let record = |rest: &str| {
            format!(
                r#"{{"version":1,"tokens":[{{"name":"n","prefix":"","created":"2026-01-01T00:00:00Z",{rest}}}]}}"#
            )
        };
        let good = record(&format!(r#""mode":"full","sha256":"{sha}""#));
        assert_eq!(file.parse(good.as_bytes()).unwrap().len(), 1);
        for bad in [
            "",
            "{}",
            r#"{"version":2,"tokens":[]}"#,
            &good[..good.len() - 1],
            &record(&format!(r#""mode":"none","sha256":"{sha}""#)),
            &record(&format!(r#""mode":"full","sha256":"{sha}","until":1"#)),
            &record(r#""mode":"full","sha256":"00""#),
            &good.replace(r#""prefix":"""#, r#""prefix":"/a""#),
        ] {
            let error = file.parse(bad.as_bytes()).unwrap_err();
            assert!(error.contains("tokens.json"), "{bad}: {error}");
            assert!(!error.contains(&sha), "{error}");
        }
        std::fs::write(file.path(), good).unwrap();
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), mode(0o620)).unwrap();
        assert!(file.count().unwrap_err().contains("others may write"));
        std::fs::set_permissions(file.path(), mode(0o600)).unwrap();
        assert_eq!(file.count().unwrap(), Some(1));
    }

    #[test]
    fn several_programs_add_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::within(dir.path());
        std::thread::scope(|scope| {
            for number in 0..8 {
                let file = &file;
                scope.spawn(move || add(file, &format!("t{number}")).unwrap());
            }
        });
        assert_eq!(file.count().unwrap(), Some(8));
    }
}
