//! Addresses to listen on.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => {
                Err("unix: needs a path, for example unix:/run/pluton-fichier/grpc.sock".to_owned())
            }
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .replace("localhost:", "127.0.0.1:")
                .parse()
                .map(Self::Tcp)
                .map_err(|_| {
                    "not an ADDRESS:PORT like 127.0.0.1:50051, and not unix:/path".to_owned()
                }),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
