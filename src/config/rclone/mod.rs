//! `rclone.conf`: where it is, how it is decrypted, what it says
//! [rclone-compat §1.3, §1.4, §1.7]. It is never written.

mod command_line;
mod ini;
mod password;
mod sealed;

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::files;
use super::notes::{Notes, Source};
use super::schema::SECRETS;
use ini::Ini;
pub(super) use password::PasswordSources;
use sealed::{SealError, Sealed};

/// A file that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) path: PathBuf,
    pub(super) source: Source,
    /// Whether its absence is an error.
    pub(super) required: bool,
}

/// Whether rclone takes this path for "no file".
pub(super) fn means_none(path: &Path) -> bool {
    path.as_os_str().is_empty()
        || path == Path::new("/dev/null")
        || path.file_name().is_some_and(|name| name == "notfound")
}

/// The file that rclone would use when none is named: the first that exists.
pub(super) fn search(environment: &Environment) -> Option<Location> {
    let home = environment.path("HOME");
    let places = [
        environment.program_dir().map(|dir| dir.join("rclone.conf")),
        environment
            .path("XDG_CONFIG_HOME")
            .map(|dir| dir.join("rclone/rclone.conf")),
        home.as_ref()
            .map(|home| home.join(".config/rclone/rclone.conf")),
        home.map(|home| home.join(".rclone.conf")),
    ];
    let path = places.into_iter().flatten().find(|path| path.exists())?;
    Some(Location {
        path,
        source: Source::searched(),
        required: true,
    })
}

/// A file that was read.
pub(super) struct RcloneConf {
    path: PathBuf,
    ini: Ini,
    /// Some bytes were not UTF-8, and stand as U+FFFD in the values.
    damaged: bool,
}

impl RcloneConf {
    /// Reads the file, with the password if it is encrypted.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    pub(super) async fn load(
        location: &Location,
        passwords: &PasswordSources,
        notes: &mut Notes,
    ) -> Result<Option<Self>, String> {
        let path = &location.path;
        let shown = path.display();
        let file = match files::read(path, files::MAX_CONFIG) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !location.required => {
                notes.warning(format!(
                    "{shown}, named by {}, does not exist",
                    location.source
                ));
                return Ok(None);
            }
            Err(error) => {
                return Err(format!(
                    "cannot read rclone's configuration {shown}: {error}"
                ));
            }
        };
        if file.starts_with(b"\xff\xfe") || file.starts_with(b"\xfe\xff") {
            return Err(format!("{shown} is a text in UTF-16; save it as UTF-8"));
        }
        let failed =
            |error: SealError| format!("cannot read rclone's configuration {shown}: {error}");
        let sealed = Sealed::detect(&file).map_err(failed)?;
        let plain = sealed.is_none();
        let file = match sealed {
            None => file,
            Some(sealed) => {
                let (password, source) = passwords.get(path).await?;
                sealed.open(&password).map_err(|error| {
                    format!("cannot decrypt {shown} with the password from {source}: {error}")
                })?
            }
        };
        let conf = Self::parse(path, &file)?;
        if plain && conf.ini.holds_any(SECRETS) {
            files::warn_if_readable(path, notes);
        }
        Ok(Some(conf))
    }

    /// A file that is not encrypted, or not any more.
    fn parse(path: &Path, file: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(file);
        let ini = Ini::parse(&text).map_err(|error| {
            format!(
                "{}:{}: rclone cannot read this line: {}",
                path.display(),
                error.line,
                error.problem
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            ini,
            damaged: matches!(text, std::borrow::Cow::Owned(_)),
        })
    }

    /// For the fuzz target: a file that stands nowhere.
    #[cfg(fuzzing)]
    pub(super) fn of_bytes(file: &[u8], password: &str) -> Option<Self> {
        let opened = match Sealed::detect(file).ok()? {
            Some(sealed) => sealed.open(password).ok()?,
            None => file.to_vec(),
        };
        Self::parse(Path::new("rclone.conf"), &opened).ok()
    }

    pub(super) fn sections(&self) -> impl Iterator<Item = &str> {
        self.ini.sections()
    }

    /// A value that is not empty: empty ones count as absent.
    ///
    /// # Errors
    /// One line, when the value cannot be told.
    pub(super) fn get(&self, section: &str, key: &str) -> Result<Option<(String, Source)>, String> {
        let at = || Source::section(&self.path, section);
        let found = self.ini.get(section, key);
        let found = found.map_err(|_| format!("{}: {key} refers to itself with %(…)s", at()))?;
        let Some(found) = found.filter(|found| !found.value.is_empty()) else {
            return Ok(None);
        };
        if self.damaged && found.value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(format!("{}: {key} is not a text in UTF-8", at()));
        }
        Ok(Some((
            found.value,
            Source::section(&self.path, found.section),
        )))
    }
}
