//! The environment of the process, as a value that tests can make up.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// Environment variables, and where the program is.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    program_dir: Option<PathBuf>,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let program = std::env::current_exe().ok();
        Self {
            variables: std::env::vars_os().collect(),
            program_dir: program.and_then(|program| Some(program.parent()?.to_owned())),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
    }

    /// A variable that is set to something.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.get(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().filter_map(|name| name.to_str())
    }

    pub(super) fn program_dir(&self) -> Option<PathBuf> {
        self.program_dir.clone()
    }
}

/// The values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment(…)")
    }
}

/// An environment of nothing but these variables.
impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(variables: T) -> Self {
        let variables = variables.into_iter();
        Self {
            variables: variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            program_dir: None,
        }
    }
}
