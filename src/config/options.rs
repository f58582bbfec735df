//! The options of one remote: where each stands, and what it means
//! [rclone-compat §1.1, §1.2].

use std::path::Path;

use serde_json::Value;

use super::args::{PasswordFormat, RemoteArgs};
use super::layers::{Layers, Sourced};
use super::notes::Source;
use super::rclone::RcloneConf;
use super::report::RemoteReport;
use super::schema::{TYPE, variable};
use super::values::{choice, parsed, switch, word};
use super::{RemoteConfig, obscure};
use crate::encoding::Mask;
use crate::fichier::{ApiKey, Password, ShareId};

/// Where the options of a remote may stand.
pub(super) struct Remote<'a> {
    pub(super) name: String,
    pub(super) flags: &'a RemoteArgs,
    /// Whether files say anything of it; not if it is the emulated one.
    pub(super) in_files: bool,
    pub(super) conf: Option<&'a RcloneConf>,
}

/// An option cannot be read, which is noted.
#[derive(Clone, Copy, Debug)]
struct Noted;

/// The part of a variable that stands for a remote or an option. As in rclone
/// one character stays one.
pub(super) fn upper(text: &str) -> String {
    let one = |c: char| {
        let mut upper = c.to_uppercase();
        match upper.len() {
            1 => upper.next().unwrap_or(c),
            _ => c,
        }
    };
    text.chars().map(one).collect()
}

/// rclone's variable of one option of one remote. Dashes of the name stay.
pub(super) fn remote_variable(remote: &str, option: &str) -> String {
    format!("RCLONE_CONFIG_{}_{}", upper(remote), upper(option))
}

fn backend_variable(option: &str) -> String {
    format!("RCLONE_FICHIER_{}", upper(option))
}

impl Remote<'_> {
    /// Whether rclone would take the section of this name for one of ours.
    pub(super) fn is_in_conf(&self, layers: &mut Layers<'_>) -> bool {
        self.conf
            .is_some_and(|conf| section_type(conf, &self.name, layers).as_deref() == Some(TYPE))
    }

    /// Reads the options. `None` when one of them is wrong, which is noted.
    pub(super) fn resolve(&self, emulated: bool, layers: &mut Layers<'_>) -> Option<RemoteConfig> {
        let mut report = RemoteReport::new(&self.name);
        let options = Options {
            remote: self,
            in_conf: self.is_in_conf(layers),
            layers,
            report: &mut report,
        };
        let config = options.read(emulated);
        layers.report.remote(report);
        config.ok()
    }
}

/// The type of a section, which a variable may say as well.
pub(super) fn section_type(
    conf: &RcloneConf,
    section: &str,
    layers: &mut Layers<'_>,
) -> Option<String> {
    if let Some((kind, _)) = layers.variable(&remote_variable(section, "type")) {
        return Some(kind);
    }
    match conf.get(section, "type") {
        Ok(kind) => kind.map(|(kind, _)| kind),
        Err(problem) => {
            layers.notes.problem(problem);
            None
        }
    }
}

/// A place where an option may stand.
#[derive(Clone, Debug)]
enum Place {
    Flag,
    /// A variable, and whether it names the remote.
    Variable(String, bool),
    Toml,
    Conf,
}

struct Options<'a, 'b> {
    remote: &'a Remote<'a>,
    in_conf: bool,
    layers: &'a mut Layers<'b>,
    report: &'a mut RemoteReport,
}

impl Options<'_, '_> {
    fn read(mut self, emulated: bool) -> Result<RemoteConfig, Noted> {
        let flags = self.remote.flags;
        // All are read before the first that is wrong ends it.
        let key = match emulated {
            true => self.emulated_key(),
            false => self.key(flags.api_key_file.as_deref()),
        };
        let shared_folder = self.text("shared_folder", flags.shared_folder.as_deref(), folder_id);
        let format = self.password_format();
        let file = flags.file_password_file.as_deref();
        let file_password = self.password("file_password", "file password", file, format);
        let file = flags.folder_password_file.as_deref();
        let folder_password = self.password("folder_password", "folder password", file, format);
        let cdn = self.text("cdn", flags.cdn.as_deref(), switch);
        let encoding = self.text("encoding", flags.encoding.as_deref(), parsed::<Mask>);
        let description = self.text(
            "description",
            flags.description.as_deref(),
            parsed::<String>,
        );

        let standard = RemoteConfig::new(&self.remote.name, key?);
        let config = RemoteConfig {
            shared_folder: shared_folder?.flatten(),
            file_password: file_password?,
            folder_password: folder_password?,
            cdn: cdn?.unwrap_or(standard.cdn),
            encoding: encoding?.unwrap_or(standard.encoding),
            description: description?.unwrap_or_default(),
            ..standard
        };
        Ok(config)
    }

    /// Highest first.
    fn places(&self, option: &str) -> [Place; 6] {
        [
            Place::Flag,
            Place::Variable(variable(option), false),
            Place::Variable(remote_variable(&self.remote.name, option), true),
            Place::Variable(backend_variable(option), false),
            Place::Toml,
            Place::Conf,
        ]
    }

    fn toml(&self, option: &str) -> Option<Sourced<String>> {
        let toml = self.layers.toml.as_ref().filter(|_| self.remote.in_files)?;
        let item = toml.option(&self.remote.name, option)?;
        let table = format!("remotes.{}", self.remote.name);
        let source = Source::toml(toml.path(), Some(&table), item.line);
        Some((item.texts.first()?.clone(), source))
    }

    fn conf(&self, option: &str) -> Result<Option<Sourced<String>>, String> {
        match self.remote.conf.filter(|_| self.in_conf) {
            Some(conf) => conf.get(&self.remote.name, option),
            None => Ok(None),
        }
    }

    fn noted(&mut self, problem: String) -> Noted {
        self.layers.notes.problem(problem);
        Noted
    }

    /// An option that everybody may see.
    fn text<T: Clone + Into<Value>>(
        &mut self,
        option: &'static str,
        flag: Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Noted> {
        let stated = self
            .places(option)
            .into_iter()
            .find_map(|place| match place {
                Place::Flag => flag.map(|text| Ok((text.to_owned(), Source::flag(option)))),
                Place::Variable(name, _) => self.layers.variable(&name).map(Ok),
                Place::Toml => self.toml(option).map(Ok),
                Place::Conf => self.conf(option).transpose(),
            });
        let stated = stated.transpose();
        let Some((text, source)) = stated.map_err(|problem| self.noted(problem))? else {
            let standard = standard(option);
            self.report.option(option, standard, &Source::default());
            return Ok(None);
        };
        let value = parse(&text).map_err(|error| self.noted(source.complaint(option, &error)))?;
        self.report.option(option, value.clone(), &source);
        Ok(Some(value))
    }

    /// An option that nobody may see, perhaps in a file of its own.
    fn secret(
        &mut self,
        option: &'static str,
        what: &'static str,
        flag: Option<&Path>,
    ) -> Result<Option<Sourced<String>>, Noted> {
        let in_file = format!("{option}_file");
        for place in self.places(option) {
            let (verbatim, file) = match &place {
                Place::Flag => {
                    let path = flag.map(|path| (path.to_owned(), Source::flag(&in_file)));
                    (None, path)
                }
                Place::Variable(name, _) => {
                    let file = self.layers.variable(&format!("{name}_FILE"));
                    let file = file.map(|(path, source)| (path.into(), source));
                    (self.layers.variable(name), file)
                }
                Place::Toml => {
                    let toml = self.layers.toml.as_ref();
                    let file = self.toml(&in_file).zip(toml);
                    let file = file.map(|((path, source), toml)| (toml.relative(&path), source));
                    (self.toml(option), file)
                }
                Place::Conf => (
                    self.conf(option).map_err(|problem| self.noted(problem))?,
                    None,
                ),
            };
            let found = match (verbatim, file) {
                (None, None) => continue,
                (Some((_, one)), Some((_, other))) => {
                    let (one, other) = (one.place(), other.place());
                    let problem =
                        format!("the {what} is given twice, by {one} and by {other}; keep one");
                    return Err(self.noted(problem));
                }
                (Some(found), None) => found,
                (None, Some((path, source))) => {
                    let layers = &mut *self.layers;
                    let secret = layers.secrets.read(&path, what, &mut layers.notes);
                    let secret =
                        secret.map_err(|error| self.noted(source.complaint(&in_file, &error)))?;
                    (secret, source.naming(&path))
                }
            };
            let general = matches!(place, Place::Flag | Place::Variable(_, false));
            if general && let Some(own) = self.own(option) {
                self.layers.notes.warning(format!(
                    "the remote {} has an {what} of its own in {own}, but {} overrides it",
                    self.remote.name, found.1
                ));
            }
            self.report.secret(option, &found.0, &found.1);
            return Ok(Some(found));
        }
        Ok(None)
    }

    /// Where this remote alone has the option.
    fn own(&self, option: &str) -> Option<Source> {
        let name = remote_variable(&self.remote.name, option);
        let environment = self.layers.environment;
        let mut variables = [name.clone(), format!("{name}_FILE")].into_iter();
        let variable = variables.find(|name| environment.path(name).is_some());
        variable
            .map(|name| Source::variable(&name))
            .or_else(|| Some(self.toml(option)?.1))
            .or_else(|| Some(self.toml(&format!("{option}_file"))?.1))
            .or_else(|| Some(self.conf(option).ok()??.1))
    }

    fn emulated_key(&mut self) -> Result<Option<ApiKey>, Noted> {
        let value = "that of the emulated account";
        self.report.option("api_key", value, &Source::default());
        Ok(None)
    }

    fn key(&mut self, flag: Option<&Path>) -> Result<Option<ApiKey>, Noted> {
        let Some((text, source)) = self.secret("api_key", "API key", flag)? else {
            self.report.option("api_key", (), &Source::default());
            let name = &self.remote.name;
            let problem = format!(
                "the remote {name} has no API key: give it one where it is defined, or with \
                 --api-key-file FILE, PLUTON_FICHIER_API_KEY or {}, or leave it out with --remote",
                remote_variable(name, "api_key")
            );
            return Err(self.noted(problem));
        };
        let key = ApiKey::new(&text);
        let key = key.map_err(|error| self.noted(source.complaint("api_key", error)))?;
        Ok(Some(key))
    }

    /// That of the remote, else of all; unless a flag or variable says another.
    fn password_format(&mut self) -> Result<PasswordFormat, Noted> {
        const NAME: &str = "password_format";
        let flag = self.remote.flags.password_format;
        let general = flag.is_some() || self.layers.environment.path(&variable(NAME)).is_some();
        let own = self.toml(NAME).filter(|_| !general);
        let found = match own {
            Some((text, source)) => match choice(&text) {
                Ok(format) => Some((format, source)),
                Err(error) => return Err(self.noted(source.complaint(NAME, &error))),
            },
            None => self.layers.find(NAME, flag, choice),
        };
        let (format, source) = found.unwrap_or((PasswordFormat::Auto, Source::default()));
        self.report.option(NAME, word(format), &source);
        Ok(format)
    }

    fn password(
        &mut self,
        option: &'static str,
        what: &'static str,
        flag: Option<&Path>,
        format: Result<PasswordFormat, Noted>,
    ) -> Result<Option<Password>, Noted> {
        let Some((text, source)) = self.secret(option, what, flag)? else {
            self.report.option(option, (), &Source::default());
            return Ok(None);
        };
        let candidates = candidates(text, format?)
            .map_err(|error| self.noted(source.complaint(option, error)))?;
        Ok(Some(Password::new(candidates)))
    }
}

/// What an option is that nobody states, for people.
fn standard(option: &str) -> Value {
    match option {
        "cdn" => false.into(),
        "encoding" => Mask::FICHIER.into(),
        _ => Value::Null,
    }
}

/// An empty text stands for no folder.
fn folder_id(text: &str) -> Result<Option<ShareId>, String> {
    match text.trim() {
        "" => Ok(None),
        text => ShareId::new(text).map(Some),
    }
}

/// What a password may mean, the likeliest first [rclone-compat §1.6].
fn candidates(text: String, format: PasswordFormat) -> Result<Vec<String>, &'static str> {
    if text.is_empty() {
        return Err("the password is empty");
    }
    let revealed = obscure::reveal(&text)
        .and_then(|plain| String::from_utf8(plain).ok())
        .filter(|plain| !plain.is_empty());
    match format {
        PasswordFormat::Plain => Ok(vec![text]),
        PasswordFormat::Obscured => match revealed {
            Some(plain) => Ok(vec![plain]),
            None => Err(
                "the password is not obscured as `rclone obscure` does it; give it so, or set password_format",
            ),
        },
        PasswordFormat::Auto => {
            let sensible = revealed.filter(|plain| !plain.contains(char::is_control));
            Ok(sensible.into_iter().chain([text]).collect())
        }
    }
}
