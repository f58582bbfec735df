//! `token create`, `list` and `revoke`: they change the file, and a running
//! server sees it.

use std::fmt::Write;
use std::path::Path;

use clap::{ArgGroup, Subcommand};

use super::{Mode, Prefix, Secret, TokenFile};
use crate::quote;

/// What to do with the tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print it this once.
    #[command(group(ArgGroup::new("mode")))]
    Create {
        /// Its name, to know it by later.
        name: String,
        /// What it reaches: PATH, REMOTE: or REMOTE:PATH, with all below it [default: everything].
        #[arg(long, value_name = "PREFIX", value_parser = Prefix::of_new_token)]
        prefix: Option<Prefix>,
        /// It may look and read.
        #[arg(long, group = "mode")]
        read_only: bool,
        /// It may look, read, and add what is not there yet.
        #[arg(long, group = "mode")]
        append_only: bool,
    },
    /// List the tokens.
    List {
        /// Print one JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Make a token invalid.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// Does it to the tokens of a state directory. Returns what to print.
///
/// # Errors
/// One line.
pub fn run(command: &TokenCommand, state_dir: &Path) -> Result<String, String> {
    execute(command, state_dir).map_err(quote::message)
}

fn execute(command: &TokenCommand, state_dir: &Path) -> Result<String, String> {
    let file = TokenFile::within(state_dir);
    match command {
        TokenCommand::Create {
            name,
            prefix,
            read_only,
            append_only,
        } => {
            let mode = match (read_only, append_only) {
                (true, _) => Mode::ReadOnly,
                (_, true) => Mode::AppendOnly,
                _ => Mode::Full,
            };
            let secret = Secret::generate()?;
            let everything = Prefix::everything();
            let prefix = prefix.as_ref().unwrap_or(&everything);
            file.add(name, prefix, mode, &secret.digest())?;
            Ok(format!("{}\n", secret.reveal()))
        }
        TokenCommand::List { json } => {
            let tokens = file.list()?;
            if *json {
                return Ok(format!("{}\n", serde_json::json!({ "tokens": tokens })));
            }
            let width = tokens.iter().map(|token| token.name.len()).max();
            let mut text = String::new();
            for token in &tokens {
                let reach = match token.prefix.as_str() {
                    "" => "everything",
                    prefix => prefix,
                };
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "{:width$}  {:11}  {:.0}  {reach}",
                    token.name,
                    token.mode.as_str(),
                    token.created,
                    width = width.unwrap_or_default(),
                );
            }
            Ok(text)
        }
        TokenCommand::Revoke { name } => file.remove(name).map(|()| String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_printed_once() {
        let dir = tempfile::tempdir().unwrap();
        let create = |name: &str, prefix: Option<&str>, read_only| TokenCommand::Create {
            name: name.to_owned(),
            prefix: prefix.map(|prefix| prefix.parse().unwrap()),
            read_only,
            append_only: false,
        };
        let one = run(&create("one", None, false), dir.path()).unwrap();
        let two = run(&create("twice", Some("work:a"), true), dir.path()).unwrap();
        assert!(one.starts_with("pf_") && one.ends_with('\n') && one != two);
        let text = run(&TokenCommand::List { json: false }, dir.path()).unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            (lines[0][0], lines[0][1], lines[0][3]),
            ("one", "full", "everything")
        );
        assert_eq!(
            (lines[1][0], lines[1][1], lines[1][3]),
            ("twice", "read-only", "work:a")
        );
        let json = run(&TokenCommand::List { json: true }, dir.path()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["tokens"][1]["mode"], "read-only");
        for printed in [&text, &json.to_string()] {
            assert!(!printed.contains(one.trim()) && !printed.contains("sha256"));
        }
        let revoke = TokenCommand::Revoke {
            name: "one".to_owned(),
        };
        assert_eq!(run(&revoke, dir.path()).unwrap(), "");
        assert!(run(&revoke, dir.path()).is_err());
        let long = "x".repeat(5_000);
        let refused = run(&create(&long, None, false), dir.path()).unwrap_err();
        assert!(
            refused.len() < 400 && refused.contains("xxx…xxx"),
            "{refused}"
        );
    }
}
