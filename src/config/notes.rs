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
    kind: Kind,
    shown: String,
    /// For messages, where that is more precise than what is shown.
    place: Option<String>,
}

/// Highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    // These two say themselves what the value is for.
    Flag,
    Variable,
    Toml,
    Conf,
    Other,
}

impl Source {
    fn new(kind: Kind, shown: impl Into<String>) -> Self {
        Self {
            kind,
            shown: shown.into(),
            place: None,
        }
    }

    pub(super) fn flag(name: &str) -> Self {
        Self::new(Kind::Flag, format!("--{}", name.replace('_', "-")))
    }

    pub(super) fn variable(name: &str) -> Self {
        Self::new(Kind::Variable, name)
    }

    /// A section of `rclone.conf`.
    pub(super) fn section(path: &Path, section: &str) -> Self {
        Self::new(Kind::Conf, format!("{}:{section}", path.display()))
    }

    /// A key of a TOML file, perhaps below a table.
    pub(super) fn toml(path: &Path, table: Option<&str>, line: usize) -> Self {
        let path = path.display();
        let shown = match table {
            Some(table) => format!("{path}:{table}"),
            None => path.to_string(),
        };
        Self {
            place: Some(format!("{path}:{line}")),
            ..Self::new(Kind::Toml, shown)
        }
    }

    pub(super) fn default() -> Self {
        Self::new(Kind::Other, "default")
    }

    /// Where rclone looks for its configuration.
    pub(super) fn searched() -> Self {
        Self::new(Kind::Other, "found where rclone looks")
    }

    /// The value stands in a file that this one names.
    pub(super) fn naming(&self, path: &Path) -> Self {
        Self {
            shown: format!("{self} ({})", path.display()),
            ..self.clone()
        }
    }

    pub(super) fn is_toml(&self) -> bool {
        self.kind == Kind::Toml
    }

    /// Whether what stands here overrides what stands there.
    pub(super) fn is_above(&self, other: &Self) -> bool {
        self.kind < other.kind
    }

    /// For messages about the value.
    pub(super) fn place(&self) -> &str {
        self.place.as_deref().unwrap_or(&self.shown)
    }

    /// A message about the value of a setting or option.
    pub(super) fn complaint(&self, name: &str, error: &str) -> String {
        match self.kind {
            Kind::Flag | Kind::Variable | Kind::Other => format!("{}: {error}", self.place()),
            Kind::Toml | Kind::Conf => format!("{}: {name}: {error}", self.place()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
