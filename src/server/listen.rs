//! Sockets to listen on.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::connection::Socket;
use crate::config::Listen;

/// A socket that is bound.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener, String),
    Unix(UnixListener, PathBuf),
}

impl Bound {
    pub(super) async fn new(address: &Listen) -> Result<Self, String> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "cannot listen on {address}: it is in use; stop the other program or choose another --grpc-listen"
                )
            }
            _ => format!("cannot listen on {address}: {error}"),
        };
        match address {
            Listen::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted).await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?.to_string();
                Ok(Self::Tcp(listener, address))
            }
            Listen::Unix(path) => {
                make_room(path).await.map_err(failed)?;
                let listener = bind_privately(path).map_err(failed)?;
                Ok(Self::Unix(listener, path.clone()))
            }
        }
    }

    /// The next connection, and where it comes from.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Socket>, String)> {
        match self {
            Self::Tcp(listener, _) => {
                let (socket, peer) = listener.accept().await?;
                socket.set_nodelay(true)?;
                Ok((Box::new(socket), peer.to_string()))
            }
            Self::Unix(listener, _) => {
                let (socket, _) = listener.accept().await?;
                Ok((Box::new(socket), self.address()))
            }
        }
    }

    /// Whether nobody but this user can connect.
    pub(super) fn is_private(&self) -> bool {
        matches!(self, Self::Unix(..))
    }

    pub(super) fn address(&self) -> String {
        match self {
            Self::Tcp(_, address) => address.clone(),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    pub(super) fn socket(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(..) => None,
            Self::Unix(_, path) => Some(path.clone()),
        }
    }
}

/// Binds the socket where nobody else can reach it, and puts it into its place
/// when its mode is right: there is no moment in which others can connect.
fn bind_privately(path: &Path) -> io::Result<UnixListener> {
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
    let private = tempfile::Builder::new()
        .prefix(".")
        .tempdir_in(directory.unwrap_or(Path::new(".")))?;
    let begun = private.path().join("s");
    let listener = UnixListener::bind(&begun)?;
    std::fs::set_permissions(&begun, Permissions::from_mode(0o600))?;
    std::fs::rename(&begun, path)?;
    Ok(listener)
}

/// Makes the directory, for this user only, and removes a socket that nobody
/// answers on any more.
async fn make_room(path: &Path) -> io::Result<()> {
    if let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
        && !directory.exists()
    {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    match std::fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            Err(io::Error::other("a file that is no socket is in the way"))
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => std::fs::remove_file(path),
    }
}
