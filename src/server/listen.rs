//! Sockets to listen on.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
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
    /// Binds; `flag` is how another address is chosen.
    pub(super) async fn new(address: &Listen, flag: &str) -> Result<Self, String> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "cannot listen on {address}: it is in use; stop the other program or choose another {flag}"
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
                // Of a connection that is gone already: its first read tells.
                let _ = socket.set_nodelay(true);
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

    /// Whether nobody but programs on this machine can connect over TCP.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(listener, _) => {
                let address = listener.local_addr();
                address.is_ok_and(|address| address.ip().is_loopback())
            }
            Self::Unix(..) => false,
        }
    }

    pub(super) fn address(&self) -> String {
        match self {
            Self::Tcp(_, address) => address.clone(),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    /// The file of a Unix socket, removed when that is dropped.
    pub(super) fn socket(&self) -> Option<SocketFile> {
        match self {
            Self::Tcp(..) => None,
            Self::Unix(_, path) => Some(SocketFile {
                identity: identity(path)?,
                path: path.clone(),
            }),
        }
    }
}

/// The file of a socket of this server.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Device, inode and time: numbers of inodes are used again.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> Option<Identity> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another server may have put its own there meanwhile.
        if identity(&self.path) == Some(self.identity) {
            let _ = std::fs::remove_file(&self.path);
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
        Ok(_) => match UnixStream::connect(path).await {
            // Nobody has it open any more.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)
            }
            // Also one that is too busy to answer.
            _ => Err(io::ErrorKind::AddrInUse.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_file_goes_with_its_server_and_with_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/s");
        let listen = Listen::Unix(path.clone());
        let first = Bound::new(&listen, "--x-listen").await.unwrap();
        let in_use = Bound::new(&listen, "--x-listen").await.unwrap_err();
        assert!(in_use.contains("choose another --x-listen"), "{in_use}");
        let file = first.socket().unwrap();
        drop(first);
        // The clock of a file system is coarse.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        // Left from a crash: nobody answers there.
        let second = Bound::new(&listen, "--x-listen").await.unwrap();
        drop(file);
        assert!(path.exists());
        drop(second.socket());
        assert!(!path.exists());
    }
}
