//! What `check-config` prints: every setting and option, and where it comes
//! from.

use std::fmt;

use serde_json::{Value, json};

use super::notes::Source;
use crate::checksum::Algorithms;
use crate::encoding::Mask;
use crate::fichier::ShareId;
use crate::transfer::SpoolPolicy;

/// Every setting and option.
#[derive(Clone, Debug, Default)]
pub struct Report {
    settings: Vec<Line>,
    remotes: Vec<RemoteReport>,
}

/// The options of one remote.
#[derive(Clone, Debug)]
pub(super) struct RemoteReport {
    name: String,
    options: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    name: String,
    value: Shown,
    source: String,
}

/// A value as it may be seen.
#[derive(Clone, Debug)]
enum Shown {
    Value(Value),
    /// Of a secret only the length is told.
    Secret {
        characters: usize,
    },
}

impl Report {
    pub(super) fn setting(&mut self, name: &str, value: impl Into<Value>, source: &Source) {
        self.settings.push(Line {
            name: name.to_owned(),
            value: Shown::Value(value.into()),
            source: source.to_string(),
        });
    }

    pub(super) fn remote(&mut self, remote: RemoteReport) {
        self.remotes.push(remote);
    }

    /// All of it as one JSON document, with the problems and warnings.
    pub fn to_json(&self, problems: &[String], warnings: &[String]) -> Value {
        let lines = |lines: &[Line]| lines.iter().map(Line::to_json).collect::<Vec<_>>();
        let remotes: Vec<_> = self
            .remotes
            .iter()
            .map(|remote| json!({"name": remote.name, "options": lines(&remote.options)}))
            .collect();
        json!({
            "ok": problems.is_empty(),
            "settings": lines(&self.settings),
            "remotes": remotes,
            "problems": problems,
            "warnings": warnings,
        })
    }
}

impl RemoteReport {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            options: Vec::new(),
        }
    }

    pub(super) fn option(&mut self, name: &str, value: impl Into<Value>, source: &Source) {
        self.push(name, Shown::Value(value.into()), source);
    }

    pub(super) fn secret(&mut self, name: &str, secret: &str, source: &Source) {
        let characters = secret.chars().count();
        self.push(name, Shown::Secret { characters }, source);
    }

    fn push(&mut self, name: &str, value: Shown, source: &Source) {
        self.options.push(Line {
            name: name.to_owned(),
            value,
            source: source.to_string(),
        });
    }
}

impl Line {
    fn to_json(&self) -> Value {
        let Self { name, source, .. } = self;
        match &self.value {
            Shown::Value(value) => json!({"name": name, "value": value, "source": source}),
            Shown::Secret { characters } => {
                json!({"name": name, "secret": true, "characters": characters, "source": source})
            }
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { characters } => write!(f, "set, {characters} characters"),
            Self::Value(Value::Null) => f.write_str("not set"),
            Self::Value(Value::String(text)) => f.write_str(text),
            Self::Value(Value::Array(values)) => {
                let texts = values
                    .iter()
                    .map(|value| value.as_str().unwrap_or_default());
                f.write_str(&texts.collect::<Vec<_>>().join(", "))
            }
            Self::Value(value) => value.fmt(f),
        }
    }
}

impl From<Mask> for Value {
    fn from(mask: Mask) -> Self {
        mask.to_string().into()
    }
}

impl From<SpoolPolicy> for Value {
    fn from(policy: SpoolPolicy) -> Self {
        policy.to_string().into()
    }
}

impl From<ShareId> for Value {
    fn from(id: ShareId) -> Self {
        id.as_str().into()
    }
}

impl From<Algorithms> for Value {
    fn from(algorithms: Algorithms) -> Self {
        algorithms.to_string().into()
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, lines: &[Line]) -> fmt::Result {
    for Line {
        name,
        value,
        source,
    } in lines
    {
        // A value of several lines would pass for other settings.
        write!(f, "  {name} = ")?;
        for c in value.to_string().chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => write!(f, "{c}")?,
            }
        }
        writeln!(f, "  ({source})")?;
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "settings")?;
        write_lines(f, &self.settings)?;
        for (place, remote) in self.remotes.iter().enumerate() {
            let default = if place == 0 { ", the default" } else { "" };
            writeln!(f, "remote {}{default}", remote.name)?;
            write_lines(f, &remote.options)?;
        }
        Ok(())
    }
}
