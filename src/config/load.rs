//! From flags, environment and files to a [`Config`], with every problem on
//! the way.

use std::path::PathBuf;

use tracing_subscriber::filter::{Builder, EnvFilter, LevelFilter};

use super::args::{FileArgs, LogArgs, LogFormat, RemoteArgs, ServeArgs, StateArgs};
use super::environment::Environment;
use super::layers::Layers;
use super::notes::Source;
use super::rclone::{self, Location, PasswordSources, RcloneConf};
use super::remotes;
use super::report::Report;
use super::server::{self, Server};
use super::toml_file::TomlFile;
use super::values::{choice, parsed, word};
use super::{Config, RemoteConfig, Upstream};

/// Everything that was found out.
#[derive(Debug)]
pub struct Loaded {
    /// What the server does, or every problem, one line each.
    pub config: Result<Config, Vec<String>>,
    /// What is odd, but no error.
    pub warnings: Vec<String>,
    /// What is logged and how; usable in any case.
    pub logging: Logging,
    /// Every setting, and where it comes from.
    pub report: Report,
}

/// What is logged and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// Which events.
    pub filter: String,
    /// In which form.
    pub format: LogFormat,
}

impl Logging {
    /// The filter of events.
    pub fn env_filter(&self) -> EnvFilter {
        let default = LevelFilter::ERROR.into();
        let filters = filters().with_default_directive(default);
        filters.parse_lossy(&self.filter)
    }
}

/// The value of a field in a filter is a text: some regular expressions take
/// all memory.
fn filters() -> Builder {
    EnvFilter::builder().with_regex(false)
}

impl LogArgs {
    /// For commands without a configuration file.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn resolve(self, environment: &Environment) -> Result<Logging, String> {
        let mut layers = Layers::new(environment);
        let logging = self.read(&mut layers);
        match layers.notes.problems.pop() {
            Some(problem) => Err(problem),
            None => Ok(logging),
        }
    }

    pub(super) fn read(self, layers: &mut Layers<'_>) -> Logging {
        let found = layers.find("log", self.log, parsed::<String>);
        let (filter, source) = found.unwrap_or(("info".to_owned(), Source::default()));
        let filter = match filters().parse(&filter) {
            Ok(_) => filter,
            Err(error) => {
                let problem = format!("{}: {filter:?}: {error}", source.place());
                layers.notes.problem(problem);
                "info".to_owned()
            }
        };
        layers.report.setting("log", filter.clone(), &source);
        let found = layers.find("log_format", self.log_format, choice);
        let (format, source) = found.unwrap_or((LogFormat::Text, Source::default()));
        layers.report.setting("log_format", word(format), &source);
        Logging { filter, format }
    }
}

impl ServeArgs {
    /// Finds out what is configured.
    pub async fn load(self, log: LogArgs, environment: &Environment) -> Loaded {
        let mut layers = Layers::new(environment);
        let incomplete = read_toml(self.files.config.clone(), &mut layers);
        let logging = log.read(&mut layers);
        let server = Server::read(self.server, &self.remotes, &mut layers);
        let remotes = match &server.upstream {
            Some(Upstream::Emulator) => {
                let remote = remotes::emulated(&self.remotes, &mut layers);
                remote.into_iter().collect()
            }
            _ => read_remotes(&self.files, &self.remotes, incomplete, &mut layers).await,
        };
        let problems = layers.notes.problems;
        let config = server.config(remotes).filter(|_| problems.is_empty());
        Loaded {
            config: config.ok_or(problems),
            warnings: layers.notes.warnings,
            logging,
            report: layers.report,
        }
    }
}

impl StateArgs {
    /// The state directory of the server that is configured so.
    ///
    /// # Errors
    /// Every problem, one line each.
    pub fn resolve(self, environment: &Environment) -> Result<PathBuf, Vec<String>> {
        let mut layers = Layers::new(environment);
        read_toml(self.config, &mut layers);
        let found = server::state_dir(self.state_dir, false, &mut layers);
        found
            .filter(|_| layers.notes.problems.is_empty())
            .ok_or(layers.notes.problems)
    }
}

/// Reads the TOML file, if one is named. Returns whether it should have been
/// read and was not.
fn read_toml(flag: Option<PathBuf>, layers: &mut Layers<'_>) -> bool {
    let path = |text: &str| Ok(PathBuf::from(text));
    let Some((path, source)) = layers.find("config", flag, path) else {
        return false;
    };
    let shown = path.display().to_string();
    layers.report.setting("config", shown, &source);
    layers.toml = TomlFile::load(&path, &mut layers.notes);
    layers.toml.is_none()
}

/// The remotes of a real account.
async fn read_remotes(
    files: &FileArgs,
    flags: &RemoteArgs,
    mut incomplete: bool,
    layers: &mut Layers<'_>,
) -> Vec<RemoteConfig> {
    let mut conf = None;
    if let Some(location) = locate(files, flags, incomplete, layers) {
        let shown = location.path.display().to_string();
        layers
            .report
            .setting("rclone_config", shown, &location.source);
        let passwords = passwords(files, layers);
        match RcloneConf::load(&location, &passwords, &mut layers.notes).await {
            Ok(read) => conf = read,
            Err(problem) => {
                layers.notes.problem(problem);
                incomplete = true;
            }
        }
    }
    let sources = remotes::Sources {
        flags,
        conf: conf.as_ref(),
        incomplete,
    };
    remotes::resolve(&sources, layers)
}

/// The `rclone.conf` to read: the one that is named or, if nothing else
/// defines a remote, the one that rclone would find.
fn locate(
    files: &FileArgs,
    flags: &RemoteArgs,
    incomplete: bool,
    layers: &mut Layers<'_>,
) -> Option<Location> {
    const NAME: &str = "rclone_config";
    const VARIABLE: &str = "RCLONE_CONFIG";
    let flag = files.rclone_config.as_ref().map(PathBuf::from);
    let named = layers.find_path(NAME, flag);
    // rclone's own variable stands between ours and the TOML file, and means
    // something when it is empty.
    let rclones = layers.environment.get(VARIABLE).map(PathBuf::from);
    let location = match (named, rclones) {
        (Some((path, source)), Some(_)) if !source.is_toml() => (path, source, true),
        (_, Some(path)) => (path, Source::variable(VARIABLE), false),
        (Some((path, source)), None) => (path, source, true),
        (None, None) => {
            let wanted = !incomplete && !remotes::defined_without_conf(flags, layers);
            let found = wanted.then(|| rclone::search(layers.environment)).flatten();
            if found.is_none() {
                layers.report.setting(NAME, "none", &Source::default());
            }
            return found;
        }
    };
    let (path, source, required) = location;
    if rclone::means_none(&path) {
        layers.report.setting(NAME, "none", &source);
        return None;
    }
    Some(Location {
        path,
        source,
        required,
    })
}

fn passwords(files: &FileArgs, layers: &mut Layers<'_>) -> PasswordSources {
    const NAME: &str = "password_command";
    let named = layers.find(NAME, files.password_command.clone(), parsed::<String>);
    let rclones = layers.variable("RCLONE_PASSWORD_COMMAND");
    let command = match (named, rclones) {
        (Some(named), Some(_)) if !named.1.is_toml() => Some(named),
        (_, Some(rclones)) => Some(rclones),
        (named, None) => named,
    };
    if let Some((line, source)) = &command {
        // The rest may hold a secret.
        let program = line.split(' ').next().unwrap_or_default();
        layers.report.setting(NAME, format!("{program} …"), source);
    }
    let file = layers.variable("RCLONE_CONFIG_PASS_FILE");
    PasswordSources {
        command,
        verbatim: layers.variable("RCLONE_CONFIG_PASS"),
        file: file.map(|(path, source)| (path.into(), source)),
    }
}
