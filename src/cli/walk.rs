//! The local files of a directory.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::exit::Problem;
use super::names::to_segment;

/// What is told before somebody wants it.
const AHEAD: usize = 64;

/// What was found below a directory. The path behind it is `/`-separated, as
/// seen from there.
#[derive(Debug)]
pub(super) enum Found {
    File {
        local: PathBuf,
        path: String,
        size: u64,
    },
    /// Nothing in it is stored.
    EmptyDirectory {
        local: PathBuf,
        path: String,
    },
    Skipped {
        local: PathBuf,
        why: &'static str,
    },
    Failed {
        local: PathBuf,
        problem: Problem,
    },
}

struct Directory {
    local: PathBuf,
    path: String,
    /// Device and number of those that it is in, with itself: a link may lead
    /// back to one.
    line: Vec<(u64, u64)>,
}

/// Walks through a directory on a thread of its own, the files of each
/// directory before its subdirectories.
pub(super) fn walk(root: &Path, follow: bool) -> io::Result<mpsc::Receiver<Found>> {
    let line = vec![id(&root.metadata()?)];
    let root = Directory {
        local: root.to_owned(),
        path: String::new(),
        line,
    };
    let (tx, rx) = mpsc::channel(AHEAD);
    let walker = std::thread::Builder::new().name("walker".into());
    walker.spawn(move || {
        let mut open = vec![root];
        while let Some(directory) = open.pop() {
            let Some(deeper) = look_into(&directory, follow, &tx) else {
                // Nobody wants the rest.
                return;
            };
            open.extend(deeper);
        }
    })?;
    Ok(rx)
}

/// Tells the files of a directory; gives its subdirectories, the first last.
fn look_into(
    directory: &Directory,
    follow: bool,
    tx: &mpsc::Sender<Found>,
) -> Option<Vec<Directory>> {
    let failed = |local: &Path, error: &io::Error| Found::Failed {
        local: local.to_owned(),
        problem: Problem::local(format!("cannot read {}: {error}", local.display())),
    };
    let tell = |found| tx.blocking_send(found).ok();
    let mut names = Vec::new();
    match directory.local.read_dir() {
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok(entry) => names.push(entry.file_name()),
                    Err(error) => tell(failed(&directory.local, &error))?,
                }
            }
        }
        Err(error) => {
            tell(failed(&directory.local, &error))?;
            return Some(Vec::new());
        }
    }
    names.sort_unstable();
    let mut deeper = Vec::new();
    let mut empty = true;
    for name in names {
        let local = directory.local.join(&name);
        let kind = match local.symlink_metadata() {
            Ok(found) if found.is_symlink() && !follow => {
                let why = "a symbolic link (see --follow)";
                tell(Found::Skipped { local, why })?;
                continue;
            }
            Ok(found) if found.is_symlink() => local.metadata(),
            kind => kind,
        };
        let kind = match kind {
            Ok(kind) => kind,
            Err(error) => {
                tell(failed(&local, &error))?;
                continue;
            }
        };
        if !kind.is_file() && !kind.is_dir() {
            let why = "neither a file nor a directory";
            tell(Found::Skipped { local, why })?;
            continue;
        }
        let name = to_segment(&name);
        empty = false;
        let path = match directory.path.as_str() {
            "" => name,
            parent => format!("{parent}/{name}"),
        };
        if kind.is_file() {
            let size = kind.len();
            tell(Found::File { local, path, size })?;
        } else if directory.line.contains(&id(&kind)) {
            let why = "a link to a directory that it is in";
            tell(Found::Skipped { local, why })?;
        } else {
            let mut line = directory.line.clone();
            line.push(id(&kind));
            deeper.push(Directory { local, path, line });
        }
    }
    if empty {
        tell(Found::EmptyDirectory {
            local: directory.local.clone(),
            path: directory.path.clone(),
        })?;
    }
    deeper.reverse();
    Some(deeper)
}

#[cfg(unix)]
fn id(found: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (found.dev(), found.ino())
}

/// Without numbers links are told apart by nothing: each is a new one, until
/// its path is too long.
#[cfg(not(unix))]
fn id(_: &Metadata) -> (u64, u64) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    (0, NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    async fn all(root: &Path, follow: bool) -> Vec<String> {
        let mut found = walk(root, follow).unwrap();
        let mut lines = Vec::new();
        while let Some(found) = found.recv().await {
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            lines.push(match found {
                Found::File { path, size, .. } => format!("{path} {size}"),
                Found::EmptyDirectory { path, .. } => format!("{path}/"),
                Found::Skipped { local, why } => format!("{}: {why}", name(&local)),
                Found::Failed { local, problem } => {
                    format!("{}! {}", name(&local), problem.message)
                }
            });
        }
        lines
    }

    #[tokio::test]
    async fn files_come_before_deeper_ones_and_nothing_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("b/deep")).unwrap();
        fs::create_dir_all(root.join("a/empty")).unwrap();
        for (path, content) in [
            ("z", "1"),
            ("b/f", ""),
            ("b/deep/g\nh", "333"),
            ("a/x", "22"),
        ] {
            fs::write(root.join(path), content).unwrap();
        }
        symlink(root.join("z"), root.join("b/link")).unwrap();
        symlink(root, root.join("b/up")).unwrap();
        symlink("nowhere", root.join("a/dangling")).unwrap();
        fs::write(root.join(OsStr::from_bytes(b"a/\xff")), "x").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("a/pipe"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let link = "a symbolic link (see --follow)";
        let found = all(root, false).await;
        assert_eq!(
            found,
            [
                "z 1",
                &format!("dangling: {link}"),
                "pipe: neither a file nor a directory",
                "a/x 2",
                "a/‛FF 1",
                "a/empty/",
                "b/f 0",
                &format!("link: {link}"),
                &format!("up: {link}"),
                "b/deep/g␊h 3",
            ]
        );
        let followed = all(root, true).await;
        for line in ["b/link 1", "up: a link to a directory that it is in"] {
            assert!(followed.iter().any(|found| found == line), "{followed:?}");
        }
        let dangling = followed.iter().find(|line| line.starts_with("dangling! "));
        assert!(dangling.unwrap().contains("cannot read"), "{followed:?}");
        assert!(walk(&root.join("none"), false).is_err());
    }
}
