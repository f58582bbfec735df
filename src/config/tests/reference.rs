//! `docs/configuration.md` is written from the flags and the schema.

use std::fmt::Write;

use clap::{Arg, CommandFactory};
use serde_json::Value;

use super::super::schema::{REMOTE_OPTIONS, SETTINGS, variable};
use super::*;

const HEAD: &str = "\
# Configuration reference

Written from the code by a test; `UPDATE_DOCS=1 cargo test --lib reference` writes it anew. How flags, variables, the TOML file and
`rclone.conf` stand to each other is told in the [README](../README.md#configure-it). `check-config` prints what holds, and
where it comes from.
";

const REMOTE_HEAD: &str = "
## Options of a remote in the TOML file

They stand below `[remotes.NAME]`. What they mean is told in the [README](../README.md#options-of-a-remote), or above, for those
that are flags, too. Each is also rclone's variable `RCLONE_CONFIG_<REMOTE>_<OPTION>`, for one remote, and
`RCLONE_FICHIER_<OPTION>`, for all; the flag and the variable of this server hold for every remote. Secrets have no flag, and each
variable of theirs also exists with `_FILE`.

| TOML key | value | flag | variable |
|---|---|---|---|
";

/// A flag as it is told of.
struct Flag {
    name: String,
    heading: String,
    help: String,
    default: Option<String>,
}

fn flag(arg: &Arg) -> Flag {
    let help = arg.get_help().unwrap().to_string();
    let (mut help, default) = match help.rsplit_once(" [default: ") {
        Some((help, default)) => (
            help.to_owned(),
            default.strip_suffix(']').map(str::to_owned),
        ),
        None => (help, None),
    };
    let values = arg.get_possible_values();
    let values: Vec<_> = values
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        write!(help, ": {}", values.join(", ")).unwrap();
    }
    Flag {
        name: arg.get_id().to_string(),
        heading: arg.get_help_heading().unwrap_or("Logging").to_owned(),
        help,
        default,
    }
}

fn flags() -> Vec<Flag> {
    let command = Cli::command();
    let flags = command.get_arguments().filter(|arg| arg.get_id() != "help");
    flags.map(flag).collect()
}

fn dashes(name: &str) -> String {
    format!("`--{}`", name.replace('_', "-"))
}

fn known(names: &[(&str, impl Copy)], name: &str) -> bool {
    names.iter().any(|(known, _)| *known == name)
}

fn page(flags: &[Flag]) -> String {
    let mut page = HEAD.to_owned();
    let mut heading = "";
    for flag in flags {
        if heading != flag.heading {
            heading = &flag.heading;
            page += &format!(
                "\n## {heading}\n\n| flag | variable | TOML key | default | meaning |\n|---|---|---|---|---|\n"
            );
        }
        let toml = match flag.name.as_str() {
            name if known(SETTINGS, name) => format!("`{name}`"),
            name if known(REMOTE_OPTIONS, name) => format!("`{name}` of a remote"),
            _ => String::new(),
        };
        let default = flag.default.clone().unwrap_or_default();
        let (name, meaning) = (dashes(&flag.name), flag.help.replace('|', "\\|"));
        let variable = variable(&flag.name);
        page += &format!("| {name} | `{variable}` | {toml} | {default} | {meaning}. |\n");
    }
    let only = SETTINGS
        .iter()
        .filter(|(name, _)| !flags.iter().any(|flag| flag.name == *name));
    for (name, form) in only {
        page +=
            &format!("\nOnly in the TOML file: `{name}`, {form}: the remote that is the first.\n");
    }
    page += REMOTE_HEAD;
    for (name, form) in REMOTE_OPTIONS {
        let own = flags.iter().find(|flag| flag.name == *name);
        let own = own.map(|flag| dashes(&flag.name)).unwrap_or_default();
        let variable = match *name {
            "type" => String::new(),
            name => format!("`{}`", variable(name)),
        };
        page += &format!("| `{name}` | {form} | {own} | {variable} |\n");
    }
    page
}

#[test]
fn the_reference_of_the_configuration_is_what_the_code_says() {
    let page = page(&flags());
    for (name, _) in SETTINGS.iter().chain(REMOTE_OPTIONS) {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file, &page).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is not what the code says; run: UPDATE_DOCS=1 cargo test --lib reference"
    );
}

/// What the help says is what counts when nothing is said.
#[tokio::test]
async fn the_defaults_that_flags_tell_of_are_those_that_hold() {
    let report = Place::new()
        .load(&["--emulator"])
        .await
        .report
        .to_json(&[], &[]);
    let mut compared = 0;
    for flag in flags() {
        let Some(told) = &flag.default else { continue };
        let line = report["settings"].as_array().unwrap().iter();
        let Some(line) = line.clone().find(|line| line["name"] == flag.name.as_str()) else {
            continue;
        };
        let holds = match &line["value"] {
            Value::Array(values) => {
                let texts = values.iter().map(|value| value.as_str().unwrap());
                texts.collect::<Vec<_>>().join(",")
            }
            Value::Number(number) => number.to_string().trim_end_matches(".0").to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // Of this the help tells where it is, and not what.
        if flag.name != "state_dir" {
            assert_eq!((flag.name.as_str(), &holds), (flag.name.as_str(), told));
            compared += 1;
        }
    }
    assert!(compared >= 10, "only {compared} defaults were compared");
}
