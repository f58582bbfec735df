//! What is found on the way: problems, warnings, and where values come from.

use std::fmt;
use std::path::Path;

/// Problems and warnings, each once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Notes {
    pub(super) fn problem(&mut self, text: impl Into<String>) {
        push_once(&mut self.problems, text.into());
    }

    pub(super) fn warning(&mut self, text: impl Into<String>) {
        push_once(&mut self.warnings, text.into());
    }
}

/// What all remotes share is looked at once for each.
fn push_once(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}

/// Where a value comes from: a flag, a variable, a file and the section in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    shown: String,
    /// More precise than what is shown.
    place: Option<String>,
}

impl Source {
    fn new(shown: impl Into<String>) -> Self {
        Self {
            shown: shown.into(),
            place: None,
        }
    }

    pub(super) fn flag(name: &str) -> Self {
        Self::new(format!("--{}", name.replace('_', "-")))
    }

    pub(super) fn variable(name: &str) -> Self {
        Self::new(name)
    }

    /// A section of a file.
    pub(super) fn section(path: &Path, section: &str) -> Self {
        Self::new(format!("{}:{section}", path.display()))
    }

    /// A key of a TOML file, perhaps below a table.
    pub(super) fn toml(path: &Path, table: Option<&str>, line: usize) -> Self {
        let path_shown = path.display();
        Self {
            shown: match table {
                Some(table) => format!("{path_shown}:{table}"),
                None => path_shown.to_string(),
            },
            place: Some(format!("{path_shown}:{line}")),
        }
    }

    pub(super) fn default() -> Self {
        Self::new("default")
    }

    /// Where rclone looks for its configuration.
    pub(super) fn searched() -> Self {
        Self::new("found where rclone looks")
    }

    /// The value stands in a file that this one names.
    pub(super) fn naming(&self, path: &Path) -> Self {
        Self {
            shown: format!("{self} ({})", path.display()),
            place: self.place.clone(),
        }
    }

    /// Whether it is a key of the TOML file.
    pub(super) fn is_toml(&self) -> bool {
        self.place.is_some()
    }

    /// For messages about the value.
    pub(super) fn place(&self) -> &str {
        self.place.as_deref().unwrap_or(&self.shown)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
