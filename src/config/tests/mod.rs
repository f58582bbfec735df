//! The whole of it: from flags, variables and files to what the server does.

macro_rules! vectors {
    ($file:literal) => {
        serde_json::from_str::<serde_json::Value>(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/",
            $file
        )))
        .expect("vector file is JSON")
    };
}
pub(super) use vectors;

pub(super) fn hex(digits: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(digit).collect()
}

mod any_input;
mod bad_input;
mod network;
mod options;
mod rclone_vectors;
mod reference;
mod remotes;
mod settings;

use std::path::{Path, PathBuf};

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

/// A made-up surrounding: files in a directory of their own, which is also
/// where the state directory would be, and variables.
struct Place {
    dir: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        Self {
            dir,
            variables: vec![("HOME".to_owned(), home)],
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that only its owner can read.
    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    /// `~` at the begin of a value is the directory of the files.
    fn set(mut self, name: &str, value: &str) -> Self {
        let value = self.expand(value);
        self.variables.push((name.to_owned(), value));
        self
    }

    fn expand(&self, text: &str) -> String {
        match text.strip_prefix("~/") {
            Some(rest) => self.path(rest).to_str().unwrap().to_owned(),
            None => text.to_owned(),
        }
    }

    async fn load(&self, args: &[&str]) -> Loaded {
        let args = args.iter().map(|arg| self.expand(arg));
        let cli = Cli::try_parse_from(["x".to_owned()].into_iter().chain(args));
        let cli = cli.unwrap_or_else(|error| panic!("{error}"));
        let environment = self.variables.iter().cloned().collect();
        cli.serve.load(cli.log, &environment).await
    }

    async fn config(&self, args: &[&str]) -> Config {
        let loaded = self.load(args).await;
        loaded
            .config
            .unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    async fn problems(&self, args: &[&str]) -> Vec<String> {
        self.load(args).await.config.unwrap_err()
    }

    /// The names of the remotes, the default first.
    async fn names(&self, args: &[&str]) -> Vec<String> {
        let config = self.config(args).await;
        config
            .remotes
            .into_iter()
            .map(|remote| remote.name)
            .collect()
    }

    /// The only problem, without the directory.
    async fn problem(&self, args: &[&str]) -> String {
        let problems = self.problems(args).await;
        assert_eq!(problems.len(), 1, "{problems:?}");
        self.relative(&problems[0])
    }

    fn relative(&self, text: &str) -> String {
        text.replace(self.dir.path().to_str().unwrap(), "~")
    }
}

fn key(text: &str) -> Option<ApiKey> {
    Some(ApiKey::new(text).unwrap())
}

fn share(id: &str) -> Option<ShareId> {
    Some(ShareId::new(id).unwrap())
}

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name)
}
