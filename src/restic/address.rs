//! What a URL of the protocol names.

use http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::backend::{Remote, RemotePath};
use crate::checksum;
use crate::error::Error;
use crate::fichier::Priority;
use crate::http::Failure;

/// The kinds of objects; each has a directory of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Keys,
    Locks,
    Snapshots,
    Index,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Data,
        Self::Keys,
        Self::Locks,
        Self::Snapshots,
        Self::Index,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Keys => "keys",
            Self::Locks => "locks",
            Self::Snapshots => "snapshots",
            Self::Index => "index",
        }
    }

    fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// How urgent what is read of it is. Every command stops for locks and keys,
    /// and a lock that is refreshed too late counts as left behind.
    pub(super) fn priority(self) -> Priority {
        match self {
            Self::Keys | Self::Locks => Priority::Urgent,
            Self::Data | Self::Snapshots | Self::Index => Priority::Read,
        }
    }
}

/// The name of an object: the SHA-256 of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) [u8; 32]);

impl Name {
    /// From 64 lower-case hexadecimal digits, as restic writes them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let bytes = checksum::unhex(text).filter(|_| lower)?;
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn to_hex(self) -> String {
        checksum::hex(&self.0)
    }
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) path: RemotePath,
    /// `None` for the configuration, the only one whose name is not that of its
    /// content.
    pub(super) name: Option<Name>,
    pub(super) kind: Option<Kind>,
}

impl Object {
    /// Whether it is a lock.
    pub(super) fn is_lock(&self) -> bool {
        self.kind == Some(Kind::Locks)
    }

    /// How urgent a call for it is that otherwise has that priority.
    pub(super) fn priority(&self, otherwise: Priority) -> Priority {
        match self.kind.map(Kind::priority) {
            // Nothing goes on before the configuration is there.
            None | Some(Priority::Urgent) => Priority::Urgent,
            Some(_) => otherwise,
        }
    }
}

/// What a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A repository, or any other directory.
    Repository(RemotePath),
    /// All objects of a kind.
    Objects { kind: Kind, path: RemotePath },
    /// One file.
    Object(Object),
    /// Nothing that a repository has.
    Nothing,
}

impl Named {
    /// With its path as this remote tells it.
    pub(super) fn standard(mut self, remote: &Remote) -> Self {
        if let Self::Repository(path)
        | Self::Objects { path, .. }
        | Self::Object(Object { path, .. }) = &mut self
        {
            *path = remote.standard(path.clone());
        }
        self
    }
}

/// A URL behind `/restic/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) remote: String,
    pub(super) named: Named,
}

impl Address {
    /// `creating` tells that the URL is that of a repository, whatever its name.
    pub(super) fn parse(text: &str, creating: bool) -> Result<Self, Failure> {
        let mut segments = Vec::new();
        for segment in text.split('/') {
            segments.push(decode(segment)?);
        }
        let is_directory = segments.len() > 1 && segments.last().is_some_and(String::is_empty);
        if is_directory {
            segments.pop();
        }
        let remote = segments.remove(0);
        if segments.iter().any(String::is_empty) {
            return Err(Error::invalid_path(text, "it has an empty segment (`//`)").into());
        }
        let path = |parts: &[&str]| RemotePath::parse(&parts.join("/"));
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let named = match (is_directory, parts.as_slice()) {
            (true, all) => match all.last().and_then(|last| Kind::named(last)) {
                Some(kind) if !creating => Named::Objects {
                    kind,
                    path: path(all)?,
                },
                _ => Named::Repository(path(all)?),
            },
            (false, all @ [.., "config"]) => Named::Object(Object {
                path: path(all)?,
                name: None,
                kind: None,
            }),
            (false, [repository @ .., kind, name]) => {
                match (Kind::named(kind), Name::parse(name)) {
                    (Some(kind), Some(known)) => {
                        let mut parts = repository.to_vec();
                        parts.push(kind.as_str());
                        if kind == Kind::Data {
                            parts.push(&name[..2]);
                        }
                        parts.push(name);
                        Named::Object(Object {
                            path: path(&parts)?,
                            name: Some(known),
                            kind: Some(kind),
                        })
                    }
                    _ => Named::Nothing,
                }
            }
            (false, _) => Named::Nothing,
        };
        Ok(Self { remote, named })
    }
}

fn decode(segment: &str) -> Result<String, Failure> {
    let decoded = percent_decode_str(segment).decode_utf8();
    match decoded {
        Ok(text) if text.contains('/') => {
            Err(Error::invalid_path(segment, "a name cannot have a slash").into())
        }
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "the URL is not UTF-8; escape its path as UTF-8",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "00ff34567890abcdef1234567890abcdef1234567890abcdef1234567890abcd";

    fn named(text: &str) -> String {
        match Address::parse(text, false).unwrap().named {
            Named::Repository(path) => format!("repository {path}"),
            Named::Objects { kind, path } => format!("{kind:?} {path}"),
            Named::Object(object) => format!("{:?} {}", object.kind, object.path),
            Named::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn urls_name_what_a_repository_has() {
        for (text, expected) in [
            ("f/", "repository "),
            ("f/a/b/", "repository a/b"),
            ("f/a%20b/", "repository a b"),
            ("f/a/data/", "Data a/data"),
            ("f/data/", "Data data"),
            ("f/a/locks/", "Locks a/locks"),
            ("f/a/config", "None a/config"),
            ("f/config", "None config"),
            ("f", "nothing"),
            ("", "nothing"),
            ("f/a/file-123", "nothing"),
            ("f/a/data", "nothing"),
            ("f/a/data/xyz", "nothing"),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
        assert_eq!(
            named(&format!("f/a/data/{NAME}")),
            format!("Some(Data) a/data/00/{NAME}")
        );
        assert_eq!(
            named(&format!("f/keys/{NAME}")),
            format!("Some(Keys) keys/{NAME}")
        );
        let upper = NAME.to_ascii_uppercase();
        assert_eq!(named(&format!("f/a/keys/{upper}")), "nothing");
        assert_eq!(named(&format!("f/a/other/{NAME}")), "nothing");
        // A repository may have any name.
        let created = Address::parse("f/a/data/", true).unwrap().named;
        let path = RemotePath::parse("a/data").unwrap();
        assert_eq!(created, Named::Repository(path));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "f/a//b/",
            "f/../b/",
            "f/a%2fb/config",
            "f/%ff/",
            "f/a%00/",
            "f//",
        ] {
            let failure = Address::parse(text, false).unwrap_err();
            assert_eq!(failure.status, StatusCode::BAD_REQUEST, "{text}");
        }
    }
}
