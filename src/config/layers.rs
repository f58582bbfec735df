//! One setting after the other: flag before variable before TOML file before
//! default.

use std::ffi::OsStr;
use std::path::PathBuf;

use serde_json::Value;

use super::environment::Environment;
use super::files::SecretFiles;
use super::notes::{Notes, Source};
use super::report::Report;
use super::schema::variable;
use super::toml_file::{Item, TomlFile};

/// All that settings and options are taken from, and what is noted meanwhile.
pub(super) struct Layers<'a> {
    pub(super) environment: &'a Environment,
    pub(super) toml: Option<TomlFile>,
    pub(super) secrets: SecretFiles,
    pub(super) notes: Notes,
    pub(super) report: Report,
}

/// A value and where it comes from.
pub(super) type Sourced<T> = (T, Source);

impl<'a> Layers<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            toml: None,
            secrets: SecretFiles::default(),
            notes: Notes::default(),
            report: Report::default(),
        }
    }

    /// A variable. One that is set but empty counts as not set.
    pub(super) fn variable(&mut self, name: &str) -> Option<Sourced<String>> {
        let value = self.environment.get(name)?;
        match value.to_str() {
            Some("") => {
                let warning = format!("{name} is set but empty, and counts as not set");
                self.notes.warning(warning);
                None
            }
            Some(value) => Some((value.to_owned(), Source::variable(name))),
            None => {
                self.notes.problem(format!("{name} is not a text in UTF-8"));
                None
            }
        }
    }

    /// What the TOML file says.
    pub(super) fn item(&self, name: &str) -> Option<(&Item, Source)> {
        let toml = self.toml.as_ref()?;
        let item = toml.setting(name)?;
        Some((item, Source::toml(toml.path(), None, item.line)))
    }

    /// What flag, variable or TOML file say. What cannot be read is noted, and
    /// counts as not said.
    pub(super) fn find<T>(
        &mut self,
        name: &str,
        flag: Option<T>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Sourced<T>> {
        let flag = flag.map(|value| vec![value]);
        // A list may be a value of its own kind.
        let whole = |texts: Vec<String>| vec![texts.join(",")];
        let (mut values, source) = self.find_all(name, flag, whole, parse)?;
        Some((values.pop()?, source))
    }

    /// The same for a list, which has one value at least; in a variable it is
    /// separated by commas.
    pub(super) fn find_list<T>(
        &mut self,
        name: &str,
        flag: Vec<T>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Sourced<Vec<T>>> {
        const EMPTY: &str = "the list is empty";
        let flag = Some(flag).filter(|flag| !flag.is_empty());
        let name_of_variable = variable(name);
        let value = self.environment.get(&name_of_variable);
        if flag.is_none() && value.is_some_and(OsStr::is_empty) {
            let source = Source::variable(&name_of_variable);
            self.notes.problem(source.complaint(name, EMPTY));
            return None;
        }
        let (values, source) = self.find_all(name, flag, |texts| texts, parse)?;
        if values.is_empty() {
            self.notes.problem(source.complaint(name, EMPTY));
            return None;
        }
        Some((values, source))
    }

    fn find_all<T>(
        &mut self,
        name: &str,
        flag: Option<Vec<T>>,
        arrange: impl Fn(Vec<String>) -> Vec<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Sourced<Vec<T>>> {
        if let Some(values) = flag {
            return Some((values, Source::flag(name)));
        }
        let (texts, source) = match self.variable(&variable(name)) {
            Some((text, source)) => (text.split(',').map(str::to_owned).collect(), source),
            None => {
                let (item, source) = self.item(name)?;
                (item.texts.clone(), source)
            }
        };
        match arrange(texts).iter().map(|text| parse(text)).collect() {
            Ok(values) => Some((values, source)),
            Err(error) => {
                self.notes.problem(source.complaint(name, &error));
                None
            }
        }
    }

    /// A setting with a default.
    pub(super) fn setting<T: Clone + Into<Value>>(
        &mut self,
        name: &str,
        flag: Option<T>,
        parse: impl Fn(&str) -> Result<T, String>,
        default: T,
    ) -> T {
        let found = self.find(name, flag, parse);
        let (value, source) = found.unwrap_or((default, Source::default()));
        self.report.setting(name, value.clone(), &source);
        value
    }

    /// A path; in the TOML file it is relative to that file.
    pub(super) fn find_path(
        &mut self,
        name: &str,
        flag: Option<PathBuf>,
    ) -> Option<Sourced<PathBuf>> {
        let path = |text: &str| Ok(PathBuf::from(text));
        if flag.is_none()
            && self.variable(&variable(name)).is_none()
            && let Some((item, source)) = self.item(name)
        {
            let text = item.texts.first()?;
            return Some((self.toml.as_ref()?.relative(text), source));
        }
        self.find(name, flag, path)
    }
}
