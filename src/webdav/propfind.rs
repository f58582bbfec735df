//! PROPFIND: one entry, or a directory with what is directly in it.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, StatusCode, header};

use super::properties::{Described, Wanted};
use super::target::href;
use super::xml::{DAV, Element, add_name, elements};
use super::{Asked, body, scope};
use crate::access::Act;
use crate::backend::{Entry, EntryKind, ListOptions, Listing, Page, Quota, Remote};
use crate::fichier::Priority;
use crate::http::{Body, Failure, Response, drain};

/// What a multistatus begins and ends with.
pub(super) const BEGIN: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
     <D:multistatus xmlns:D=\"DAV:\" xmlns:oc=\"http://owncloud.org/ns\">";
pub(super) const END: &str = "</D:multistatus>";
/// Bytes of an answer that are collected.
const PIECE: usize = 64 << 10;

pub(super) async fn propfind(asked: &Asked, body: Body) -> Result<Response, Failure> {
    let (remote, path) = (asked.remote(), asked.path());
    let depth = asked.headers.get("depth").map(HeaderValue::as_bytes);
    let with_children = match depth {
        Some(b"0") => false,
        Some(b"1") => true,
        None | Some(_) => {
            drain(body);
            return Ok(too_deep());
        }
    };
    if let Err(error) = asked.call.check(Act::Read, &[path.as_str()]) {
        drain(body);
        return Err(error.into());
    }
    let wanted = parse(elements(&body::read(body).await?)?)?;
    let scope = scope(Priority::Read);
    let entry = asked.find(scope).await?;
    let quota = match wanted.wants_quota() {
        // Without the figures the rest is told all the same.
        true => remote.within(scope, remote.about(scope)).await.ok(),
        false => None,
    };
    let listing = match with_children && entry.kind == EntryKind::Directory {
        true => {
            let listing = remote.list(scope, path, ListOptions::default());
            Some(remote.within(scope, listing).await?)
        }
        false => None,
    };
    let teller = Teller {
        remote: remote.clone(),
        wanted,
        quota,
    };
    let mut first = BEGIN.to_owned();
    teller.push(&mut first, &entry);
    Ok(multistatus(match listing {
        None => Body::from(first + END),
        Some(listing) => Body::from_stream(pages(teller, first, listing)),
    }))
}

/// The answer with this body.
pub(super) fn multistatus(body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::MULTI_STATUS;
    let xml = HeaderValue::from_static("application/xml; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, xml);
    response
}

/// The precondition has a name, which clients know; people read the text.
fn too_deep() -> Response {
    let body = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:error xmlns:D=\"DAV:\"><D:propfind-finite-depth/>\
                <message>list one directory at a time: the header Depth must be 0 or 1</message></D:error>";
    let mut response = multistatus(Body::from(body));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

fn parse(elements: Vec<Element>) -> Result<Wanted, Failure> {
    let bad = |text| Err(Failure::new(StatusCode::BAD_REQUEST, text));
    let Some(first) = elements.first() else {
        // As RFC 4918 has it.
        return Ok(Wanted::All(Vec::new()));
    };
    if !first.name.is(DAV, "propfind") {
        return bad("the body of a PROPFIND must be a propfind element of the namespace DAV:");
    }
    let mut kind = None;
    let mut names = Vec::new();
    let mut takes_names = false;
    for element in elements.into_iter().skip(1) {
        match element.depth {
            1 if element.name.namespace != DAV => takes_names = false,
            1 => {
                let local = element.name.local.as_str();
                takes_names = matches!(local, "prop" | "include");
                let new = match local {
                    "prop" => Some(0),
                    "allprop" => Some(1),
                    "propname" => Some(2),
                    _ => None,
                };
                if new.is_some() && kind.is_some() {
                    return bad("a PROPFIND wants prop, allprop or propname, and only one of them");
                }
                kind = kind.or(new);
            }
            2 if takes_names => add_name(&mut names, &element.name)?,
            _ => {}
        }
    }
    match kind {
        Some(0) => Ok(Wanted::These(names)),
        Some(1) => Ok(Wanted::All(names)),
        Some(_) => Ok(Wanted::Names),
        None => bad("a PROPFIND must want prop, allprop or propname"),
    }
}

/// Writes entries.
struct Teller {
    remote: Remote,
    wanted: Wanted,
    quota: Option<Quota>,
}

impl Teller {
    fn push(&self, out: &mut String, entry: &Entry) {
        let directory = entry.kind == EntryKind::Directory;
        out.push_str("<D:response><D:href>");
        // It has no letter that means anything to XML.
        out.push_str(&href(self.remote.name(), &entry.path, directory));
        out.push_str("</D:href>");
        let described = Described {
            remote: self.remote.name(),
            entry,
            quota: self.quota.as_ref(),
        };
        self.wanted.push(out, described);
        out.push_str("</D:response>\n");
    }
}

/// The listing, page by page, and these in pieces: a directory of any size takes
/// the memory of a page.
fn pages(
    teller: Teller,
    first: String,
    listing: Listing,
) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    let state = Some((teller, first, VecDeque::new(), Some(listing)));
    stream::unfold(state, |state| async move {
        let (teller, mut text, mut entries, mut listing) = state?;
        loop {
            let Some(entry) = entries.pop_front() else {
                let Some(page) = listing_next(&mut listing).await else {
                    text.push_str(END);
                    return Some((Ok(Bytes::from(text)), None));
                };
                let mut found = page.entries;
                teller.remote.add_modified(&mut found).await;
                entries = found.into();
                continue;
            };
            teller.push(&mut text, &entry);
            if text.len() >= PIECE {
                let state = Some((teller, String::new(), entries, listing));
                return Some((Ok(Bytes::from(text)), state));
            }
        }
    })
}

/// The next page, until the last was told.
async fn listing_next(listing: &mut Option<Listing>) -> Option<Page> {
    let page = listing.as_mut()?.next().await?;
    if page.last {
        *listing = None;
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::super::xml::{Name, OWNCLOUD};
    use super::*;

    fn read(body: &str) -> Result<Wanted, u16> {
        let elements = elements(body.as_bytes()).map_err(|failure| failure.status.as_u16())?;
        parse(elements).map_err(|failure| failure.status.as_u16())
    }

    fn name(namespace: &str, local: &str) -> Name {
        Name {
            namespace: namespace.to_owned(),
            local: local.to_owned(),
        }
    }

    #[test]
    fn bodies() {
        assert_eq!(read(""), Ok(Wanted::All(Vec::new())));
        let all =
            "<propfind xmlns='DAV:'><allprop/><include><quota-used-bytes/></include></propfind>";
        let quota = vec![name(DAV, "quota-used-bytes")];
        assert_eq!(read(all), Ok(Wanted::All(quota)));
        assert!(read(all).unwrap().wants_quota());
        let names = "<D:propfind xmlns:D='DAV:'><D:propname/></D:propfind>";
        assert_eq!(read(names), Ok(Wanted::Names));
        // What is not known is passed over, with what is in it.
        let these = "<D:propfind xmlns:D='DAV:' xmlns:oc='http://owncloud.org/ns'><x><y/></x><D:prop><D:getetag><z/>\
                     </D:getetag><oc:checksums/><a xmlns='b'/></D:prop></D:propfind>";
        let expected = vec![
            name(DAV, "getetag"),
            name(OWNCLOUD, "checksums"),
            name("b", "a"),
        ];
        assert_eq!(read(these), Ok(Wanted::These(expected)));
        for bad in [
            "<propfind/>",
            "<D:propfind xmlns:D='DAV:'/>",
            "<D:propfind xmlns:D='DAV:'><D:prop/><D:allprop/></D:propfind>",
            "<D:prop xmlns:D='DAV:'/>",
        ] {
            assert_eq!(read(bad), Err(400), "{bad}");
        }
    }
}
