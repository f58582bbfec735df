//! The password of an encrypted `rclone.conf` [rclone-compat §1.7].

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::command_line;
use crate::config::files;
use crate::config::notes::Source;

/// How long the password command may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much it may print.
const MAX_OUTPUT: u64 = 64 << 10;

/// Where a password may be had. Nothing is looked at before it is needed.
#[derive(Default)]
pub(in crate::config) struct PasswordSources {
    /// A command line. It excludes the others, also when its password turns
    /// out wrong.
    pub(in crate::config) command: Option<(String, Source)>,
    /// The password.
    pub(in crate::config) verbatim: Option<(String, Source)>,
    /// A file that holds it.
    pub(in crate::config) file: Option<(PathBuf, Source)>,
}

impl PasswordSources {
    /// The password for a file.
    ///
    /// # Errors
    /// One line that says why there is none and what to do.
    pub(super) async fn get(&self, encrypted: &Path) -> Result<(String, Source), String> {
        if let Some((line, source)) = &self.command {
            let password = run(line)
                .await
                .map_err(|error| format!("the password command ({source}) {error}"))?;
            return Ok((password, source.clone()));
        }
        match (&self.verbatim, &self.file) {
            (Some((_, one)), Some((_, other))) => {
                Err(format!("{one} and {other} are both set; unset one"))
            }
            (Some(known), None) => Ok(known.clone()),
            (None, Some((path, source))) => {
                let text = files::read_text(path, MAX_OUTPUT);
                let text = text.map_err(|error| {
                    format!("cannot read the password file {}: {error}", path.display())
                })?;
                let password = text.trim_end_matches(['\r', '\n']);
                Ok((password.to_owned(), source.naming(path)))
            }
            (None, None) => Err(format!(
                "{} is encrypted, and a server cannot ask for the password: \
                 set RCLONE_CONFIG_PASS, RCLONE_CONFIG_PASS_FILE or --password-command",
                encrypted.display()
            )),
        }
    }
}

/// Runs a command without a shell, and takes what it prints.
async fn run(line: &str) -> Result<String, String> {
    let words =
        command_line::split(line).map_err(|problem| format!("cannot be read: {problem}"))?;
    let (program, arguments) = words
        .split_first()
        .filter(|(program, _)| !program.is_empty())
        .ok_or("begins with no program")?;
    let cannot = |error: std::io::Error| format!("cannot run {program:?}: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        // Standard input and error stay those of the server, as in rclone.
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let output = child.stdout.take();
    let work = async {
        let mut printed = Vec::new();
        if let Some(output) = output {
            output
                .take(MAX_OUTPUT + 1)
                .read_to_end(&mut printed)
                .await?;
        }
        // One that prints on and on waits for a reader until it is killed.
        if printed.len() as u64 > MAX_OUTPUT {
            return Ok((None, printed));
        }
        std::io::Result::Ok((Some(child.wait().await?), printed))
    };
    let (status, printed) = tokio::time::timeout(PATIENCE, work)
        .await
        .map_err(|_| format!("did not end in {} s", PATIENCE.as_secs()))?
        .map_err(cannot)?;
    let status = status.ok_or_else(|| format!("printed more than {} KiB", MAX_OUTPUT >> 10))?;
    if !status.success() {
        return Err(format!("failed: {program:?} ended with {status}"));
    }
    let printed = String::from_utf8(printed).map_err(|_| "printed what is no text in UTF-8")?;
    match printed.trim_matches(['\r', '\n']) {
        "" => Err("printed nothing".to_owned()),
        password => Ok(password.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_command_prints_is_the_password() {
        for (line, password) in [
            ("echo pass word", "pass word"),
            ("printf \"\\n %s \\r\\n\\n\" x", " x "),
            ("sh -c \"echo \"\"a b\"\"\"", "a b"),
            ("sh -c \"echo told >&2; echo é\"", "é"),
        ] {
            assert_eq!(run(line).await.as_deref(), Ok(password), "{line}");
        }
    }

    #[tokio::test]
    async fn commands_that_give_none() {
        for (line, problem) in [
            (
                "/nonexistent/program x",
                "cannot run \"/nonexistent/program\"",
            ),
            (
                "sh -c \"echo secret; exit 3\"",
                "failed: \"sh\" ended with exit status: 3",
            ),
            ("true", "printed nothing"),
            ("echo", "printed nothing"),
            ("printf \\377", "printed what is no text"),
            ("cat /dev/zero", "printed more than 64 KiB"),
            ("sh -c 'a b", "failed"),
            ("echo a\"b", "cannot be read"),
            (" echo", "begins with no program"),
            ("", "begins with no program"),
        ] {
            let error = run(line).await.unwrap_err();
            assert!(error.starts_with(problem), "{line}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    /// In virtual time: the half minute passes at once.
    #[tokio::test(start_paused = true)]
    async fn a_command_that_hangs_is_stopped() {
        let error = run("sleep 1000").await.unwrap_err();
        assert_eq!(error, "did not end in 30 s");
    }

    #[tokio::test]
    async fn a_command_excludes_the_variable() {
        let source = |name| Source::variable(name);
        let both = PasswordSources {
            command: Some(("true".to_owned(), source("C"))),
            verbatim: Some(("right".to_owned(), source("V"))),
            file: None,
        };
        let error = both.get(Path::new("x")).await.unwrap_err();
        assert_eq!(error, "the password command (C) printed nothing");
    }

    #[tokio::test]
    async fn files_and_variables() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " from file \r\n").unwrap();
        let sources = |verbatim: bool, file: Option<&Path>| PasswordSources {
            command: None,
            verbatim: verbatim.then(|| (" value ".to_owned(), Source::variable("V"))),
            file: file.map(|path| (path.to_owned(), Source::variable("F"))),
        };
        let get = async |verbatim, file| sources(verbatim, file).get(Path::new("x.conf")).await;
        assert_eq!(get(true, None).await.unwrap().0, " value ");
        assert_eq!(
            get(false, Some(file.path())).await.unwrap().0,
            " from file "
        );
        for (verbatim, file, problem) in [
            (true, Some(file.path()), "V and F are both set"),
            (
                false,
                Some(Path::new("/nonexistent")),
                "cannot read the password file",
            ),
            (false, None, "x.conf is encrypted, and a server cannot ask"),
        ] {
            let error = get(verbatim, file).await.unwrap_err();
            assert!(error.starts_with(problem), "{error}");
        }
    }
}
