//! Which remotes there are, which of them are served, and in which order.

use super::RemoteConfig;
use super::args::RemoteArgs;
use super::layers::Layers;
use super::notes::Source;
use super::options::{Remote, section_type, upper};
use super::rclone::RcloneConf;
use super::schema::{TYPE, check_name, variable};
use super::values::parsed;

/// The name of the remote that flags and variables define.
const NAME: &str = "fichier";

/// What defines remotes.
pub(super) struct Sources<'a> {
    pub(super) flags: &'a RemoteArgs,
    pub(super) conf: Option<&'a RcloneConf>,
    /// Some file could not be read, so that remotes may be missing.
    pub(super) incomplete: bool,
}

/// A remote that can be served.
struct Known {
    name: String,
    /// Defined by variables alone; their case is lost.
    any_case: bool,
}

/// Whether something else than an `rclone.conf` defines a remote.
pub(super) fn defined_without_conf(flags: &RemoteArgs, layers: &mut Layers<'_>) -> bool {
    has_key_for_all(flags, layers)
        || layers
            .toml
            .as_ref()
            .is_some_and(|toml| toml.remotes().next().is_some())
        || !in_environment(layers).is_empty()
}

/// Whether flags or variables of this program give a key.
fn has_key_for_all(flags: &RemoteArgs, layers: &Layers<'_>) -> bool {
    let set = |name: &str| layers.environment.path(&variable(name)).is_some();
    flags.api_key_file.is_some() || set("api_key") || set("api_key_file")
}

/// The same for rclone's variable for all remotes of our type.
fn has_backend_key(layers: &Layers<'_>) -> bool {
    let mut names = ["RCLONE_FICHIER_API_KEY", "RCLONE_FICHIER_API_KEY_FILE"].into_iter();
    names.any(|name| layers.environment.path(name).is_some())
}

/// The remotes that variables define, as those spell them.
fn in_environment(layers: &Layers<'_>) -> Vec<String> {
    let environment = layers.environment;
    let names = environment.names().filter_map(|variable| {
        let name = variable
            .strip_prefix("RCLONE_CONFIG_")?
            .strip_suffix("_TYPE")?;
        let is_ours = environment.get(variable)?.to_str()? == TYPE;
        (is_ours && !name.is_empty()).then(|| name.to_owned())
    });
    names.collect()
}

/// The remotes to serve, the default first. Problems are noted.
pub(super) fn resolve(sources: &Sources<'_>, layers: &mut Layers<'_>) -> Vec<RemoteConfig> {
    let known = known(sources, layers);
    let names = selected(sources, known, layers);
    let remotes = names.into_iter().filter_map(|name| {
        let remote = Remote {
            name,
            flags: sources.flags,
            in_files: true,
            conf: sources.conf,
        };
        remote.resolve(false, layers)
    });
    remotes.collect()
}

/// The one remote of `--emulator`; of the others nothing is read.
pub(super) fn emulated(flags: &RemoteArgs, layers: &mut Layers<'_>) -> Option<RemoteConfig> {
    let name = own_name(flags, layers).unwrap_or(NAME.to_owned());
    let chosen = layers.find_list("remote", flags.remote.clone(), |name| Ok(name.to_owned()));
    // The TOML file may choose among remotes that are not read now.
    let chosen = chosen.filter(|(_, source)| !source.is_toml());
    if let Some(other) =
        chosen.and_then(|(names, _)| names.into_iter().find(|other| *other != name))
    {
        layers.notes.problem(format!(
            "no remote is called {other:?}: with --emulator there is {name} alone"
        ));
        return None;
    }
    let remote = Remote {
        name,
        flags,
        in_files: false,
        conf: None,
    };
    remote.resolve(true, layers)
}

/// The name that flags and variables give to their remote.
fn own_name(flags: &RemoteArgs, layers: &mut Layers<'_>) -> Option<String> {
    let flag = flags.remote_name.clone();
    let (name, source) = layers.find("remote_name", flag, parsed::<String>)?;
    if let Err(problem) = check_name(&name) {
        layers.notes.problem(format!("{source}: {problem}"));
        return None;
    }
    layers.report.setting("remote_name", name.clone(), &source);
    Some(name)
}

fn known(sources: &Sources<'_>, layers: &mut Layers<'_>) -> Vec<Known> {
    let mut known: Vec<Known> = Vec::new();
    let mut add = |name: String, any_case| {
        if !known.iter().any(|known| known.name == name) {
            known.push(Known { name, any_case });
        }
    };
    let own = own_name(sources.flags, layers);
    if let Some(name) = &own {
        add(name.clone(), false);
    }
    if let Some(toml) = &layers.toml {
        toml.remotes().for_each(|name| add(name.to_owned(), false));
    }
    for section in sources.conf.into_iter().flat_map(RcloneConf::sections) {
        if sources
            .conf
            .and_then(|conf| section_type(conf, section, layers))
            .as_deref()
            != Some(TYPE)
        {
            continue;
        }
        match check_name(section) {
            Ok(()) => add(section.to_owned(), false),
            Err(problem) => layers
                .notes
                .warning(format!("a remote is left out: {problem}")),
        }
    }
    for name in in_environment(layers) {
        // A remote has its variables in capitals, whatever its own case.
        let is_known = |known: &Known| upper(&known.name) == upper(&name);
        let is_known = known.iter().any(is_known);
        let name = name.to_lowercase();
        match check_name(&name) {
            _ if is_known => {}
            Ok(()) => known.push(Known {
                name,
                any_case: true,
            }),
            Err(problem) => layers
                .notes
                .warning(format!("a remote is left out: {problem}")),
        }
    }
    let for_all = has_key_for_all(sources.flags, layers) || has_backend_key(layers);
    if known.is_empty() && for_all {
        let name = NAME.to_owned();
        known.push(Known {
            name,
            any_case: false,
        });
    }
    known
}

/// The names of the remotes to serve, the default first.
fn selected(sources: &Sources<'_>, known: Vec<Known>, layers: &mut Layers<'_>) -> Vec<String> {
    let flag = sources.flags.remote.clone();
    let wanted = layers.find_list("remote", flag, |name| Ok(name.trim().to_owned()));
    if let Some((names, source)) = &wanted {
        layers.report.setting("remote", names.clone(), source);
    }
    if known.is_empty() {
        if !sources.incomplete {
            layers.notes.problem(
                "no API key: give --api-key-file FILE or PLUTON_FICHIER_API_KEY \
                 (make a key at https://1fichier.com/console/params.pl), \
                 an rclone.conf with --rclone-config FILE, or try --emulator",
            );
        }
        return Vec::new();
    }
    let names = match &wanted {
        None => known.iter().map(|known| known.name.clone()).collect(),
        Some((wanted, source)) => choose(wanted, source, &known, sources.incomplete, layers),
    };
    match wanted {
        // Who gives an order for this run means it.
        Some((_, source)) if !source.is_toml() => names,
        _ => default_first(names, sources.incomplete, layers),
    }
}

fn choose(
    wanted: &[String],
    source: &Source,
    known: &[Known],
    incomplete: bool,
    layers: &mut Layers<'_>,
) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in wanted {
        let is_known = known.iter().any(|known| {
            known.name == *name || known.any_case && upper(&known.name) == upper(name)
        });
        if names.contains(name) {
            let problem = format!("{source}: the remote {name:?} is named twice");
            layers.notes.problem(problem);
        } else if is_known {
            names.push(name.clone());
        } else if !incomplete {
            let known: Vec<_> = known.iter().map(|known| known.name.as_str()).collect();
            let problem = unknown(name, source, &known);
            layers.notes.problem(problem);
        }
    }
    names
}

fn unknown(name: &str, source: &Source, known: &[&str]) -> String {
    let known = known.join(", ");
    format!(
        "{}: no remote is called {name:?}; there are: {known}",
        source.place()
    )
}

/// The TOML file may name the default.
fn default_first(mut names: Vec<String>, incomplete: bool, layers: &mut Layers<'_>) -> Vec<String> {
    let Some((item, source)) = layers.item("default") else {
        return names;
    };
    let name = item.texts.concat();
    layers.report.setting("default", name.clone(), &source);
    match names.iter().position(|known| *known == name) {
        Some(place) => names[..=place].rotate_right(1),
        // What is wrong with the others was told.
        None if incomplete || names.is_empty() => {}
        None => {
            let known: Vec<_> = names.iter().map(String::as_str).collect();
            let problem = unknown(&name, &source, &known);
            layers.notes.problem(problem);
        }
    }
    names
}
