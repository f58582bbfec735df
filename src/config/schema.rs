//! The names of all settings and options, and what their values look like.

use std::fmt;

/// What a value is in a TOML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Number,
    Switch,
    List,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Switch => "true or false",
            Self::List => "a list of strings",
        })
    }
}

/// What can stand at the top of a TOML file. All but `default` are flags and,
/// below [`PREFIX`], variables too.
pub(super) const SETTINGS: &[(&str, Form)] = &[
    ("grpc_listen", Form::List),
    ("http_listen", Form::List),
    ("admin_listen", Form::Text),
    ("emulator", Form::Switch),
    ("api_url", Form::Text),
    ("state_dir", Form::Text),
    ("freshness", Form::Number),
    ("exclusive", Form::Switch),
    ("state_required", Form::Switch),
    ("spool", Form::Text),
    ("spool_bytes", Form::Number),
    ("uploads", Form::Number),
    ("upload_group_bytes", Form::Number),
    ("upload_group_files", Form::Number),
    ("stream_from", Form::Number),
    ("downloads", Form::Number),
    ("download_segments", Form::Number),
    ("download_segment_bytes", Form::Number),
    ("max_transfers", Form::Number),
    ("record_hashes", Form::List),
    ("calls_per_second", Form::Number),
    ("shutdown_grace", Form::Number),
    ("insecure", Form::Switch),
    ("tls_cert", Form::Text),
    ("tls_key", Form::Text),
    ("tls_client_ca", Form::Text),
    ("require_token", Form::Switch),
    ("max_connections", Form::Number),
    ("rclone_config", Form::Text),
    ("password_command", Form::Text),
    ("password_format", Form::Text),
    ("remote", Form::List),
    ("remote_name", Form::Text),
    ("default", Form::Text),
    ("log", Form::Text),
    ("log_format", Form::Text),
];

/// What can stand below `[remotes.NAME]`.
pub(super) const REMOTE_OPTIONS: &[(&str, Form)] = &[
    ("type", Form::Text),
    ("api_key", Form::Text),
    ("api_key_file", Form::Text),
    ("shared_folder", Form::Text),
    ("file_password", Form::Text),
    ("file_password_file", Form::Text),
    ("folder_password", Form::Text),
    ("folder_password_file", Form::Text),
    ("password_format", Form::Text),
    ("cdn", Form::Switch),
    ("encoding", Form::Text),
    ("description", Form::Text),
];

/// Of rclone's type of remote that this program serves.
pub(super) const TYPE: &str = "fichier";

/// Of the variables of this program.
pub(super) const PREFIX: &str = "PLUTON_FICHIER_";

/// The variable of a setting or option.
pub(super) fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_uppercase())
}

/// The options that nobody may see.
pub(super) const SECRETS: &[&str] = &["api_key", "file_password", "folder_password"];

/// Whether rclone takes this for the name of a remote [rclone-compat §1.2].
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_alphanumeric() || "_.+@ -".contains(c);
    let wrong = name.is_empty()
        || !name.chars().all(allowed)
        || name.starts_with(['-', ' '])
        || name.ends_with(' ');
    if wrong {
        return Err(format!(
            "{name:?} cannot be the name of a remote: letters, digits, _ . + @ and, inside, - and blanks are possible"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_remotes() {
        for name in [
            "fich",
            "Other Remote.2",
            "my-r",
            "café",
            "日本",
            "a_b+c@d",
            "a-",
        ] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "-a", " a", "a ", "[fich]", "a:b", "a/b", "a,b", "a\tb"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
