//! Who may do what: tokens, their rights, and the file that they are kept in.
//!
//! A token is 256 random bits, and only its SHA-256 is kept. A slow hash would
//! gain nothing: it makes guessing dearer, and nobody guesses 256 bits.

mod command;
mod file;
mod live;
mod prefix;
mod rights;
mod secret;

use std::sync::Arc;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use command::{TokenCommand, run};
pub use file::{Listed, TokenFile};
pub use live::Tokens;
pub use prefix::Prefix;
pub use rights::Act;
pub use secret::{Digest, Secret};

use crate::backend::RemotePath;

/// What a token may do with the paths that it reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Everything.
    #[default]
    Full,
    /// Look and read.
    ReadOnly,
    /// Look, read, and add what is not there yet.
    AppendOnly,
}

impl Mode {
    /// Its name, as in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::AppendOnly => "append-only",
        }
    }
}

/// A token: all but its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name, for people.
    pub name: String,
    /// Which paths it reaches.
    pub prefix: Prefix,
    /// What it may do there.
    pub mode: Mode,
    digest: Digest,
}

/// Who makes a call.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Somebody who needs no token, and may do everything.
    Trusted,
    /// The holder of a token.
    Holder(Arc<Token>),
}

impl Caller {
    /// The name of the token.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Trusted => None,
            Self::Holder(token) => Some(&token.name),
        }
    }

    /// What it may do.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Trusted => Mode::Full,
            Self::Holder(token) => token.mode,
        }
    }

    /// Whether it reaches this path of this remote.
    pub fn reaches(&self, remote: &str, path: &RemotePath) -> bool {
        match self {
            Self::Trusted => true,
            Self::Holder(token) => token.prefix.covers(remote, path),
        }
    }

    /// Whether it reaches anything of this remote.
    pub fn knows(&self, remote: &str) -> bool {
        match self {
            Self::Trusted => true,
            Self::Holder(token) => token.prefix.touches(remote),
        }
    }
}
