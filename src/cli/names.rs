//! Names on their way between the local file system and the service, as rclone
//! carries them: `new␊line` on the server is a name with a newline here, and a
//! name that would be `..` here is `．．`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::exit::Problem;
use crate::encoding::Mask;
use crate::error::Reason;

/// What local names cannot be: as of rclone's local backend.
const LOCAL: Mask = Mask::from_bits(Mask::SLASH.bits() | Mask::DOT.bits());

/// A local name as the segment of a path of the service, whatever its bytes.
pub(super) fn to_segment(name: &OsStr) -> String {
    let segment = Mask::WIRE.encode(&LOCAL.decode(name.as_bytes()));
    // It is UTF-8 already: other bytes are encoded.
    String::from_utf8_lossy(&segment).into_owned()
}

/// The local name of a segment.
pub(super) fn to_local(segment: &str) -> OsString {
    OsString::from_vec(LOCAL.encode(&Mask::WIRE.decode(segment.as_bytes())))
}

/// Where a remote path, as seen from a directory, is below a local directory.
/// It is never elsewhere: a name that could lead out is refused.
pub(super) fn below(root: &Path, relative: &str) -> Result<PathBuf, Problem> {
    let mut path = root.to_owned();
    for segment in relative.split('/') {
        let name = to_local(segment);
        if !is_name(&name) {
            let text = format!("{relative:?} cannot be a local name; rename it with mv");
            let mut problem = Problem::new(Reason::InvalidPath.code(), text);
            problem.reason = Some(Reason::InvalidPath.as_str().to_owned());
            return Err(problem);
        }
        path.push(name);
    }
    Ok(path)
}

/// However the platform reads it: one name, and neither `.` nor `..`.
fn is_name(name: &OsStr) -> bool {
    let mut components = Path::new(name).components();
    let first = components.next();
    first == Some(Component::Normal(name)) && components.next().is_none()
}

/// Refuses what would be written through a symbolic link below a directory.
pub(super) fn check_links(root: &Path, path: &Path) -> Result<(), Problem> {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let mut at = root.to_owned();
    for component in inside.components() {
        at.push(component);
        match at.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                let at = at.display();
                return Err(Problem::new(
                    Reason::NotADirectory.code(),
                    format!("{at} is a symbolic link; use --follow to write through it"),
                ));
            }
            Ok(_) => {}
            // What is not there is no link.
            Err(_) => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_directory() {
        let root = Path::new("/r");
        for (path, expected) in [
            ("a b/ c ", "a b/ c "),
            ("..a/...", "..a/..."),
            ("C:", "C:"),
            ("new␊line", "new\nline"),
            ("a␀b", "a␀b"),
            ("..", "．．"),
            ("．．/x", "．．/x"),
            ("a/../b", "a/．．/b"),
            ("a/./b", "a/．/b"),
            ("a\0b", "a␀b"),
            ("a／b", "a／b"),
        ] {
            assert_eq!(below(root, path).unwrap(), root.join(expected), "{path:?}");
        }
        for bad in ["", "/etc", "a//b", "a/"] {
            let problem = below(root, bad).expect_err(bad);
            assert_eq!(problem.reason.as_deref(), Some("INVALID_PATH"), "{bad:?}");
        }
        for name in ["/", "a/b", "a/", ".", "..", ""] {
            assert!(!is_name(OsStr::new(name)), "{name:?}");
        }
    }

    #[test]
    fn every_local_name_comes_back() {
        let bytes = (1..=255_u8).filter(|byte| *byte != b'/');
        let odd = ["．", "．．", "／", "␊", "␡", "é"];
        let names = bytes
            .map(|byte| vec![b'x', byte])
            .chain(odd.iter().map(|name| name.as_bytes().to_vec()));
        for name in names {
            let name = OsString::from_vec(name);
            assert_eq!(to_local(&to_segment(&name)), name, "{name:?}");
        }
        // What looks encoded already may come back written otherwise, as with
        // rclone; it stays the same file.
        for name in ["‛", "‛‛␀", "‛FE", "x‛／"] {
            let segment = to_segment(OsStr::new(name));
            assert_eq!(to_segment(&to_local(&segment)), segment, "{name:?}");
        }
        assert_eq!(to_segment(OsStr::new("a\nb")), "a␊b");
        assert_eq!(to_segment(OsStr::from_bytes(b"a\xfe")), "a‛FE");
    }

    #[test]
    fn links_are_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("real/deep")).unwrap();
        std::os::unix::fs::symlink("/tmp", root.join("link")).unwrap();
        assert!(check_links(root, &root.join("real/deep/new/x")).is_ok());
        let problem = check_links(root, &root.join("link/x")).unwrap_err();
        assert!(problem.message.contains("--follow"), "{problem:?}");
    }
}
