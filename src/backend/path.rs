//! Paths on the wire: relative, `/`-separated, in rclone's standard form.

use serde::{Deserialize, Serialize};

use std::fmt;

use crate::encoding::NameCodec;
use crate::error::{Error, Result};

/// Most segments of a path.
pub const MAX_DEPTH: usize = 128;
/// Longest name in bytes, as stored ([API §D]).
pub const MAX_NAME_BYTES: usize = 250;

/// A path that was checked. The root has no segments.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RemotePath(String);

impl TryFrom<String> for RemotePath {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<RemotePath> for String {
    fn from(path: RemotePath) -> Self {
        path.0
    }
}

impl RemotePath {
    /// The root.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// Checks a path.
    ///
    /// # Errors
    /// INVALID_PATH for a leading or trailing slash, an empty, `.` or `..`
    /// segment, NUL, or more than [`MAX_DEPTH`] segments.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        if text.contains('\0') {
            return Err(Error::invalid_path(text, "it has a NUL character"));
        }
        if text.starts_with('/') || text.ends_with('/') {
            return Err(Error::invalid_path(
                text,
                "paths are relative and have no slash at either end",
            ));
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(Error::invalid_path(text, "it has an empty segment (`//`)")),
                "." | ".." => {
                    return Err(Error::invalid_path(text, "`.` and `..` are not resolved"));
                }
                _ => {}
            }
        }
        if text.split('/').count() > MAX_DEPTH {
            return Err(Error::invalid_path(
                text,
                format_args!("it has more than {MAX_DEPTH} segments"),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The same path in rclone's standard form.
    pub(super) fn standard(self, codec: NameCodec) -> Self {
        let form = |segment: &str| codec.standard_form(segment);
        if self.segments().all(|segment| form(segment).is_none()) {
            return self;
        }
        let standard = |segment: &str| form(segment).unwrap_or_else(|| segment.to_owned());
        let segments: Vec<_> = self.segments().map(standard).collect();
        Self(segments.join("/"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// From the root down.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// The directory and the name in it; `None` for the root.
    pub fn split(&self) -> Option<(Self, &str)> {
        match self.0.rsplit_once('/') {
            Some((parent, name)) => Some((Self(parent.to_owned()), name)),
            None if self.is_root() => None,
            None => Some((Self::root(), &self.0)),
        }
    }

    /// Whether it is another path or below it.
    pub fn is_within(&self, other: &Self) -> bool {
        other.is_root()
            || self
                .0
                .strip_prefix(&other.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path after a directory was moved; `None` if that does not concern
    /// it.
    pub(super) fn moved(&self, from: &Self, to: &Self) -> Option<Self> {
        if from.is_root() || !self.is_within(from) {
            return None;
        }
        let rest = &self.0[from.0.len()..];
        Some(Self(format!("{}{rest}", to.0)))
    }

    /// The path of an entry of this directory.
    #[must_use]
    pub fn join(&self, segment: &str) -> Self {
        if self.is_root() {
            Self(segment.to_owned())
        } else {
            Self(format!("{}/{segment}", self.0))
        }
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    #[test]
    fn what_is_refused() {
        for bad in [
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/./b",
            "a/..",
            "a\0b",
            &"x/".repeat(200),
        ] {
            assert_eq!(
                RemotePath::parse(bad).unwrap_err().reason(),
                Reason::InvalidPath,
                "{bad:?}"
            );
        }
        for good in ["", "a", "a/b c/é", "...", ".hidden", "a\\b"] {
            assert_eq!(RemotePath::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn parts() {
        let path = RemotePath::parse("a/b/c").unwrap();
        let (parent, name) = path.split().unwrap();
        assert_eq!((parent.as_str(), name), ("a/b", "c"));
        assert_eq!(parent.join("c"), path);
        assert_eq!(path.segments().count(), 3);
        assert!(RemotePath::root().split().is_none());
        assert!(path.is_within(&path) && path.is_within(&parent));
        assert!(path.is_within(&RemotePath::root()));
        assert!(!parent.is_within(&path));
        assert!(!RemotePath::parse("a/bc").unwrap().is_within(&parent));
        let to = RemotePath::parse("x").unwrap();
        assert_eq!(path.moved(&parent, &to).unwrap().as_str(), "x/c");
        assert_eq!(path.moved(&path, &to).unwrap(), to);
        assert_eq!(parent.moved(&path, &to), None);
        assert_eq!(RemotePath::root().segments().count(), 0);
    }
}
