//! Which paths a token reaches.

use std::fmt;
use std::str::FromStr;

use crate::backend::RemotePath;

/// A path and all below it, of one remote or of all. Written `remote:path`,
/// `remote:`, or `path` for all remotes; `:path` for a path with a colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    remote: Option<String>,
    path: RemotePath,
}

impl Prefix {
    /// Every path of every remote.
    pub fn everything() -> Self {
        Self {
            remote: None,
            path: RemotePath::root(),
        }
    }

    /// The prefix of a new token. One that names nothing is refused: it is what
    /// a variable that is not set leaves, and would reach everything.
    ///
    /// # Errors
    /// One line.
    pub fn of_new_token(text: &str) -> Result<Self, String> {
        let (remote, path) = split(text);
        let is_nothing = |segment: &str| matches!(segment.trim(), "" | "." | "..");
        if remote.is_empty() && path.split('/').all(is_nothing) {
            return Err(
                "it names no path; write PATH, REMOTE: or REMOTE:PATH, or make the token without --prefix \
                 if it is to reach everything"
                    .to_owned(),
            );
        }
        text.parse()
    }

    /// Whether it is or holds this path.
    pub fn covers(&self, remote: &str, path: &RemotePath) -> bool {
        self.touches(remote) && path.is_within(&self.path)
    }

    /// Whether it holds anything of this remote.
    pub fn touches(&self, remote: &str) -> bool {
        self.remote.as_deref().is_none_or(|only| only == remote)
    }
}

/// The remote, which may be empty, and the path.
fn split(text: &str) -> (&str, &str) {
    match text.split_once(':') {
        Some((remote, path)) if !remote.contains('/') => (remote, path),
        _ => ("", text),
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (remote, path) = split(text);
        let path = path.strip_suffix('/').unwrap_or(path);
        Ok(Self {
            remote: (!remote.is_empty()).then(|| remote.to_owned()),
            path: RemotePath::parse(path).map_err(|error| error.message().to_owned())?,
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.remote {
            Some(remote) => write!(f, "{remote}:{}", self.path),
            None if self.path.as_str().contains(':') => write!(f, ":{}", self.path),
            None => self.path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(prefix: &str, remote: &str, path: &str) -> bool {
        let prefix: Prefix = prefix.parse().unwrap();
        prefix.covers(remote, &RemotePath::parse(path).unwrap())
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        assert!(covers("photos", "r", "photos"));
        assert!(covers("photos/", "r", "photos/a/b"));
        assert!(!covers("photos", "r", "photos2/a"));
        assert!(!covers("photos", "r", "photo"));
        assert!(!covers("photos/a", "r", "photos"));
        assert!(!covers("photos", "r", ""));
        assert!(covers("", "r", ""));
    }

    #[test]
    fn a_prefix_may_be_of_one_remote() {
        assert!(covers("work:a", "work", "a/b"));
        assert!(!covers("work:a", "home", "a/b"));
        assert!(covers("work:", "work", "x"));
        assert!(!covers("work:", "home", "x"));
        assert!(covers(":a:b", "home", "a:b/c"));
        assert!(covers("d/a:b", "home", "d/a:b"));
    }

    #[test]
    fn texts_come_back() {
        for text in ["", "a", "a/b", "work:", "work:a/b", ":a:b"] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(prefix.to_string(), text);
        }
        for text in ["/a", "a//b", "a/../b", "work:/a", "work:a//", "."] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
