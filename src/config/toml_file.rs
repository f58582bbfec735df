//! The TOML file: settings by the names of the flags, and a table of options
//! for each remote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::files;
use super::notes::Notes;
use super::schema::{self, Form, REMOTE_OPTIONS, SECRETS, SETTINGS, TYPE};
use super::values::nearest;

/// More syntax errors than these are not worth telling.
const MAX_ERRORS: usize = 20;

/// A TOML file that was read. It may hold secrets, as all below it.
pub(super) struct TomlFile {
    path: PathBuf,
    settings: BTreeMap<&'static str, Item>,
    remotes: Vec<TomlRemote>,
}

/// What stands below `[remotes.NAME]`.
struct TomlRemote {
    name: String,
    options: BTreeMap<&'static str, Item>,
}

/// The value of a key: its texts, more than one only for a list.
pub(super) struct Item {
    pub(super) texts: Vec<String>,
    pub(super) line: usize,
}

impl TomlFile {
    /// Reads the file. What is wrong with it is noted; `None` when nothing in
    /// it can be relied on.
    pub(super) fn load(path: &Path, notes: &mut Notes) -> Option<Self> {
        let text = match files::read_text(path, files::MAX_CONFIG) {
            Ok(text) => text,
            Err(error) => {
                notes.problem(format!("cannot read {}: {error}", path.display()));
                return None;
            }
        };
        let file = Self::parse(path, &text, notes)?;
        if file.holds_secrets() {
            files::warn_if_readable(path, notes);
        }
        Some(file)
    }

    pub(super) fn parse(path: &Path, text: &str, notes: &mut Notes) -> Option<Self> {
        let reader = Reader { path, text };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors.iter().take(MAX_ERRORS) {
            let at = error.span().map_or(0, |span| span.start);
            // The message alone: error's own display quotes the line, and with
            // it perhaps a secret.
            notes.problem(reader.at(at, error.message()));
        }
        if !errors.is_empty() {
            return None;
        }
        let mut file = Self {
            path: path.to_owned(),
            settings: BTreeMap::new(),
            remotes: Vec::new(),
        };
        for (key, value) in table.get_ref() {
            if *key.get_ref() == "remotes" {
                file.remotes = reader.remotes(value, notes);
            } else {
                let known = reader.known(key.get_ref(), key.span().start, SETTINGS, notes);
                if let Some((name, item)) = known.and_then(|known| reader.item(known, value, notes))
                {
                    file.settings.insert(name, item);
                }
            }
        }
        Some(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn setting(&self, name: &str) -> Option<&Item> {
        self.settings.get(name)
    }

    /// The names of the remotes, in the file's order.
    pub(super) fn remotes(&self) -> impl Iterator<Item = &str> {
        self.remotes.iter().map(|remote| remote.name.as_str())
    }

    pub(super) fn option(&self, remote: &str, name: &str) -> Option<&Item> {
        let remote = self.remotes.iter().find(|known| known.name == remote)?;
        remote.options.get(name)
    }

    /// A file that the TOML file names: relative to itself.
    pub(super) fn relative(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn holds_secrets(&self) -> bool {
        let mut options = self.remotes.iter().flat_map(|remote| remote.options.keys());
        options.any(|name| SECRETS.contains(name))
    }
}

/// Turns the parts of a document into items.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

type Known = (&'static str, Form);

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        memchr::memchr_iter(b'\n', before).count() + 1
    }

    fn at(&self, at: usize, problem: &str) -> String {
        format!("{}:{}: {problem}", self.path.display(), self.line(at))
    }

    fn known(&self, key: &str, at: usize, known: &[Known], notes: &mut Notes) -> Option<Known> {
        if let Some(known) = known.iter().find(|(name, _)| *name == key) {
            return Some(*known);
        }
        let names = || known.iter().map(|(name, _)| *name);
        let elsewhere = REMOTE_OPTIONS.iter().any(|(name, _)| *name == key);
        let advice = match nearest(key, names()) {
            _ if elsewhere => {
                "it is an option of a remote and belongs below [remotes.NAME]".to_owned()
            }
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("known are {}", names().collect::<Vec<_>>().join(", ")),
        };
        notes.problem(self.at(at, &format!("unknown key {key:?}; {advice}")));
        None
    }

    fn remotes(&self, value: &Spanned<DeValue<'_>>, notes: &mut Notes) -> Vec<TomlRemote> {
        let DeValue::Table(table) = value.get_ref() else {
            let problem = "remotes must be tables: write [remotes.NAME] and its options below it";
            notes.problem(self.at(value.span().start, problem));
            return Vec::new();
        };
        let mut tables: Vec<_> = table.iter().collect();
        tables.sort_by_key(|(name, _)| name.span().start);
        let remotes = tables.into_iter().filter_map(|(name, value)| {
            let at = name.span().start;
            let DeValue::Table(table) = value.get_ref() else {
                let problem = format!(
                    "write [remotes.{0}] and the options of {0} below it",
                    name.get_ref()
                );
                notes.problem(self.at(at, &problem));
                return None;
            };
            if let Err(problem) = schema::check_name(name.get_ref()) {
                notes.problem(self.at(at, &problem));
                return None;
            }
            let mut options = BTreeMap::new();
            for (key, value) in table {
                let known = self.known(key.get_ref(), key.span().start, REMOTE_OPTIONS, notes);
                options.extend(known.and_then(|known| self.item(known, value, notes)));
            }
            if let Some(other) = other_type(&options) {
                let problem = format!(
                    "{}:{}: type: {:?} is not served here; only {TYPE:?} is",
                    self.path.display(),
                    other.line,
                    other.texts.concat()
                );
                notes.problem(problem);
                return None;
            }
            Some(TomlRemote {
                name: name.get_ref().to_string(),
                options,
            })
        });
        remotes.collect()
    }

    fn item(
        &self,
        (name, form): Known,
        value: &Spanned<DeValue<'_>>,
        notes: &mut Notes,
    ) -> Option<(&'static str, Item)> {
        let at = value.span().start;
        let texts = match (form, value.get_ref()) {
            (Form::List, DeValue::Array(values)) => values
                .iter()
                .map(|value| scalar(Form::Text, value.get_ref()))
                .collect(),
            (Form::List, value) => {
                scalar(Form::Text, value).map(|text| text.split(',').map(str::to_owned).collect())
            }
            (form, value) => scalar(form, value).map(|text| vec![text]),
        };
        if texts.is_none() {
            let is = kind(value.get_ref());
            notes.problem(self.at(at, &format!("{name} must be {form}, not {is}")));
        }
        let line = self.line(at);
        texts.map(|texts| (name, Item { texts, line }))
    }
}

/// A remote may say of which of rclone's types it is.
fn other_type<'a>(options: &'a BTreeMap<&'static str, Item>) -> Option<&'a Item> {
    let item = options.get("type")?;
    (item.texts != [TYPE]).then_some(item)
}

fn scalar(form: Form, value: &DeValue<'_>) -> Option<String> {
    match (form, value) {
        (Form::Text, DeValue::String(text)) => Some(text.to_string()),
        (Form::Switch, DeValue::Boolean(on)) => Some(on.to_string()),
        (Form::Number, DeValue::Float(number)) => Some(number.as_str().to_owned()),
        (Form::Number, DeValue::Integer(number)) => {
            // What is too large for this is too large for every setting.
            let value = i128::from_str_radix(number.as_str(), number.radix());
            Some(value.map_or_else(|_| number.to_string(), |value| value.to_string()))
        }
        _ => None,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list with something else than strings in it",
        DeValue::Table(_) => "a table",
    }
}
