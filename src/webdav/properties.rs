//! The properties of entries.

use std::fmt::Write;

use super::xml::{DAV, Name, OWNCLOUD, push_element, push_escaped};
use crate::backend::{Entry, EntryKind, Quota};
use crate::checksum::Algorithm;
use crate::http::date;

/// A property that this server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Property {
    DisplayName,
    ResourceType,
    ContentLength,
    ContentType,
    LastModified,
    Etag,
    SupportedLock,
    QuotaAvailable,
    QuotaUsed,
    Checksums,
}

impl Property {
    const ALL: [Self; 10] = [
        Self::DisplayName,
        Self::ResourceType,
        Self::ContentLength,
        Self::ContentType,
        Self::LastModified,
        Self::Etag,
        Self::SupportedLock,
        Self::QuotaAvailable,
        Self::QuotaUsed,
        Self::Checksums,
    ];

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::DisplayName => (DAV, "displayname"),
            Self::ResourceType => (DAV, "resourcetype"),
            Self::ContentLength => (DAV, "getcontentlength"),
            Self::ContentType => (DAV, "getcontenttype"),
            Self::LastModified => (DAV, "getlastmodified"),
            Self::Etag => (DAV, "getetag"),
            Self::SupportedLock => (DAV, "supportedlock"),
            Self::QuotaAvailable => (DAV, "quota-available-bytes"),
            Self::QuotaUsed => (DAV, "quota-used-bytes"),
            Self::Checksums => (OWNCLOUD, "checksums"),
        }
    }

    fn name(self) -> Name {
        let (namespace, local) = self.names();
        Name {
            namespace: namespace.to_owned(),
            local: local.to_owned(),
        }
    }

    fn of(name: &Name) -> Option<Self> {
        let is = |property: &Self| {
            let (namespace, local) = property.names();
            name.is(namespace, local)
        };
        Self::ALL.into_iter().find(is)
    }

    /// Whether it is told when all are asked for. RFC 4331 keeps quotas out;
    /// checksums would double the length of a listing.
    fn is_in_all(self) -> bool {
        !matches!(
            self,
            Self::QuotaAvailable | Self::QuotaUsed | Self::Checksums
        )
    }

    /// Whether the account must be asked for it.
    pub(super) fn is_quota(name: &Name) -> bool {
        matches!(Self::of(name), Some(Self::QuotaAvailable | Self::QuotaUsed))
    }

    /// Its value of an entry, as XML; `None` when that has none.
    fn value(self, of: &Described<'_>) -> Option<String> {
        let Described { entry, .. } = of;
        let is_file = entry.kind == EntryKind::File;
        let text = |text: &str| {
            let mut out = String::new();
            push_escaped(&mut out, text);
            out
        };
        let figure = |figure: Option<i64>| figure.filter(|_| !is_file).map(|n| n.to_string());
        match self {
            Self::DisplayName => Some(text(match entry.path.split() {
                Some((_, name)) => name,
                None => of.remote,
            })),
            Self::ResourceType if is_file => Some(String::new()),
            Self::ResourceType => Some("<D:collection/>".to_owned()),
            Self::ContentLength => Some(entry.size?.to_string()),
            Self::ContentType if !is_file => None,
            Self::ContentType if entry.content_type.is_empty() => {
                Some("application/octet-stream".to_owned())
            }
            Self::ContentType => Some(text(&entry.content_type)),
            Self::LastModified => Some(date(entry.time?)),
            Self::Etag => Some(text(&format!("\"{}\"", entry.etag))),
            Self::SupportedLock => Some(String::new()),
            Self::QuotaAvailable => figure(of.quota?.free),
            Self::QuotaUsed => figure(of.quota?.used),
            Self::Checksums => checksums(entry),
        }
    }
}

/// All that is known, in ownCloud's form: rclone reads SHA-1 and MD5 of it.
fn checksums(entry: &Entry) -> Option<String> {
    let mut all = String::new();
    for sum in &entry.checksums {
        let label = match sum.algorithm {
            Algorithm::Sha1 => "SHA1",
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA256",
            Algorithm::Whirlpool => "WHIRLPOOL",
            Algorithm::Blake3 | Algorithm::Crc32c => continue,
        };
        let _ = write!(all, " {label}:{}", sum.hex);
    }
    let all = all.trim_start();
    (!all.is_empty()).then(|| format!("<oc:checksum>{all}</oc:checksum>"))
}

/// What a PROPFIND wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything, and these.
    All(Vec<Name>),
    /// Only which there are.
    Names,
    /// These.
    These(Vec<Name>),
}

/// An entry, and what else its properties tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Described<'a> {
    pub(super) remote: &'a str,
    pub(super) entry: &'a Entry,
    pub(super) quota: Option<&'a Quota>,
}

impl Wanted {
    /// Whether a quota is wanted.
    pub(super) fn wants_quota(&self) -> bool {
        match self {
            Self::All(names) | Self::These(names) => names.iter().any(Property::is_quota),
            Self::Names => false,
        }
    }

    /// Writes what is wanted of an entry: what it has, and the names of what it
    /// has not.
    pub(super) fn push(&self, out: &mut String, of: Described<'_>) {
        let (mut found, mut missing) = (String::new(), String::new());
        let mut push_these = |found: &mut String, names: &[Name]| {
            for name in names {
                match Property::of(name).and_then(|property| property.value(&of)) {
                    Some(value) => push_element(found, name, &value),
                    None => push_element(&mut missing, name, ""),
                }
            }
        };
        match self {
            Self::These(names) => push_these(&mut found, names),
            Self::All(more) => {
                let all = Property::ALL.into_iter().filter(|one| one.is_in_all());
                for property in all {
                    if let Some(value) = property.value(&of) {
                        push_element(&mut found, &property.name(), &value);
                    }
                }
                let not_yet = |name: &&Name| !Property::of(name).is_some_and(Property::is_in_all);
                let more: Vec<_> = more.iter().filter(not_yet).cloned().collect();
                push_these(&mut found, &more);
            }
            Self::Names => {
                for property in Property::ALL {
                    let is_quota = Property::is_quota(&property.name());
                    let has = match is_quota {
                        true => of.entry.kind == EntryKind::Directory,
                        false => property.value(&of).is_some(),
                    };
                    if has {
                        push_element(&mut found, &property.name(), "");
                    }
                }
            }
        }
        // What was found comes first: old clients look at the first status.
        if !found.is_empty() || missing.is_empty() {
            push_propstat(out, &found, "200 OK");
        }
        if !missing.is_empty() {
            push_propstat(out, &missing, "404 Not Found");
        }
    }
}

/// Writes properties with what became of them.
pub(super) fn push_propstat(out: &mut String, properties: &str, status: &str) {
    let _ = write!(
        out,
        "<D:propstat><D:prop>{properties}</D:prop><D:status>HTTP/1.1 {status}</D:status></D:propstat>"
    );
}
