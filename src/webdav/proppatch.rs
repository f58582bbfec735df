//! PROPPATCH: the modification time of a file is all that can be set.

use http::StatusCode;

use super::headers::{parse_checksums, seconds};
use super::properties::push_propstat;
use super::propfind::{BEGIN, END, multistatus};
use super::target::href;
use super::xml::{DAV, Element, Name, OWNCLOUD, add_name, elements, push_element};
use super::{Asked, body, scope};
use crate::access::Act;
use crate::backend::{Entry, EntryKind};
use crate::fichier::Priority;
use crate::http::{Body, Failure, Response, drain};

pub(super) async fn proppatch(asked: &Asked, body: Body) -> Result<Response, Failure> {
    let (remote, path) = (asked.remote(), asked.path());
    if let Err(error) = asked.call.check(Act::Change, &[path.as_str()]) {
        drain(body);
        return Err(error.into());
    }
    let changes = parse(elements(&body::read(body).await?)?)?;
    let scope = scope(Priority::Upload);
    let entry = asked.find(scope).await?;
    let allowed: Vec<bool> = changes.iter().map(|one| one.is_allowed(&entry)).collect();
    // All of them, or none.
    let all = allowed.iter().all(|allowed| *allowed);
    let time = changes.iter().rev().find_map(Change::time);
    if let Some(time) = time.filter(|_| all) {
        let set = remote.set_modified(scope, path, time);
        remote.within(scope, set).await?;
    }
    let mut text = BEGIN.to_owned();
    text.push_str("<D:response><D:href>");
    let directory = entry.kind == EntryKind::Directory;
    text.push_str(&href(remote.name(), path, directory));
    text.push_str("</D:href>");
    // Each property once, though it be changed several times.
    let mut told: Vec<(&Name, bool)> = Vec::new();
    for (change, allowed) in changes.iter().zip(&allowed) {
        match told.iter_mut().find(|(name, _)| **name == change.name) {
            Some((_, all)) => *all &= allowed,
            None => told.push((&change.name, *allowed)),
        }
    }
    let of = |wanted: bool| {
        let mut names = String::new();
        for (name, _) in told.iter().filter(|(_, allowed)| *allowed == wanted) {
            push_element(&mut names, name, "");
        }
        names
    };
    let (good, bad) = (of(true), of(false));
    match all {
        true => push_propstat(&mut text, &good, "200 OK"),
        false => {
            push_propstat(&mut text, &bad, "403 Forbidden");
            if !good.is_empty() {
                push_propstat(&mut text, &good, "424 Failed Dependency");
            }
        }
    }
    text.push_str("</D:response>");
    text.push_str(END);
    Ok(multistatus(Body::from(text)))
}

#[derive(Debug, PartialEq, Eq)]
struct Change {
    set: bool,
    name: Name,
    /// The text in it, and in what is in it.
    text: String,
}

impl Change {
    fn time(&self) -> Option<i64> {
        // rclone and ownCloud call it so; what others set is the date that is
        // told.
        if self.set && self.name.is(DAV, "lastmodified") {
            return seconds(&self.text);
        }
        if self.set && self.name.is(DAV, "getlastmodified") {
            let date = httpdate::parse_http_date(self.text.trim()).ok()?;
            let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
            return i64::try_from(since.as_secs()).ok();
        }
        None
    }

    fn is_allowed(&self, entry: &Entry) -> bool {
        if entry.kind != EntryKind::File {
            return false;
        }
        if self.set && self.name.is(OWNCLOUD, "checksums") {
            // rclone tells again what it has read here.
            let sums = parse_checksums(&self.text);
            return sums.is_some_and(|sums| sums.iter().all(|sum| entry.checksums.contains(sum)));
        }
        self.time().is_some()
    }
}

fn parse(elements: Vec<Element>) -> Result<Vec<Change>, Failure> {
    let bad = |text| Err(Failure::new(StatusCode::BAD_REQUEST, text));
    if !elements
        .first()
        .is_some_and(|first| first.name.is(DAV, "propertyupdate"))
    {
        return bad(
            "the body of a PROPPATCH must be a propertyupdate element of the namespace DAV:",
        );
    }
    let (mut set, mut in_prop) = (None, false);
    let mut changes: Vec<Change> = Vec::new();
    let mut names = Vec::new();
    for element in elements.into_iter().skip(1) {
        let Element { depth, name, text } = element;
        match depth {
            1 => {
                in_prop = false;
                set = match name.is(DAV, "set") || name.is(DAV, "remove") {
                    true => Some(name.local == "set"),
                    false => None,
                };
            }
            2 => in_prop = name.is(DAV, "prop"),
            3 => {
                if let Some(set) = set.filter(|_| in_prop) {
                    add_name(&mut names, &name)?;
                    changes.push(Change { set, name, text });
                }
            }
            _ => {
                if let Some(change) = changes.last_mut().filter(|_| in_prop) {
                    change.text.push(' ');
                    change.text.push_str(&text);
                }
            }
        }
    }
    match changes.is_empty() {
        true => bad("the PROPPATCH changes no property"),
        false => Ok(changes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<Vec<Change>> {
        parse(elements(body.as_bytes()).ok()?).ok()
    }

    #[test]
    fn bodies() {
        // As rclone sends it.
        let body = "<?xml version=\"1.0\"?>\n<D:propertyupdate xmlns:D=\"DAV:\" xmlns:oc=\"http://owncloud.org/ns\">\
                    <D:set><D:prop><lastmodified xmlns=\"DAV:\">1700000000</lastmodified><oc:checksums>\n<oc:checksum>\
                    SHA1:da39a3ee5e6b4b0d3255bfef95601890afd80709</oc:checksum></oc:checksums></D:prop></D:set>\
                    <D:remove><D:prop><D:x/></D:prop></D:remove></D:propertyupdate>";
        let changes = read(body).unwrap();
        assert_eq!(changes.len(), 3);
        assert_eq!(changes[0].time(), Some(1_700_000_000));
        assert_eq!(parse_checksums(&changes[1].text).unwrap().len(), 1);
        assert!(!changes[2].set);
        let date = Change {
            set: true,
            name: Name {
                namespace: DAV.to_owned(),
                local: "getlastmodified".to_owned(),
            },
            text: " Sun, 06 Nov 1994 08:49:37 GMT".to_owned(),
        };
        assert_eq!(date.time(), Some(784_111_777));
        assert_eq!(read(""), None);
        assert_eq!(
            read("<D:propertyupdate xmlns:D='DAV:'><D:set/></D:propertyupdate>"),
            None
        );
    }
}
