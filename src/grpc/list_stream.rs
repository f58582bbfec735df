//! The response stream of List, and its page tokens.

use futures::{Stream, stream};
use tonic::Status;

use super::convert;
use super::deadline::within;
use crate::backend::{Listing, Remote};
use crate::error::{Error, Reason, Result};
use crate::fichier::Scope;
use crate::proto::{ListRequest, ListResponse};

/// What a token must have in common with its request.
fn fingerprint(request: &ListRequest) -> u32 {
    let text = format!(
        "{}\n{}\n{}\n{}\n{:?}\n{}",
        request.remote,
        request.path,
        request.recursive,
        request.max_depth,
        request.types,
        request.every_duplicate
    );
    crc32c::crc32c(text.as_bytes())
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<String> {
    let digits = text.as_bytes();
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    String::from_utf8(bytes?).ok()
}

/// Where a walk goes on: behind this entry. It holds no state of the server,
/// so it lives as long as the entry's place is known.
fn token(fingerprint: u32, path: &str, id: &str) -> String {
    format!("1-{fingerprint:08x}-{}-{}", hex(path), hex(id))
}

pub(super) fn parse_token(request: &ListRequest) -> Result<Option<(String, String)>> {
    if request.page_token.is_empty() {
        return Ok(None);
    }
    let malformed = || Error::invalid_field("page_token", "not a token of this server");
    let parts: Vec<_> = request.page_token.split('-').collect();
    let [version, print, path, id] = parts[..] else {
        return Err(malformed());
    };
    let (Some(path), Some(id)) = (unhex(path), unhex(id)) else {
        return Err(malformed());
    };
    if version != "1" || u32::from_str_radix(print, 16).ok() != Some(fingerprint(request)) {
        return Err(Error::new(
            Reason::PageTokenExpired,
            "the page token belongs to another listing; list from the start",
        )
        .field("page_token"));
    }
    Ok(Some((path, id)))
}

/// The pages of a listing.
pub(super) fn messages(
    scope: Scope,
    remote: Remote,
    listing: Listing,
    request: &ListRequest,
) -> impl Stream<Item = std::result::Result<ListResponse, Status>> + use<> {
    let print = fingerprint(request);
    stream::try_unfold(Some((remote, listing)), move |state| async move {
        let Some((remote, mut listing)) = state else {
            return Ok(None);
        };
        let page = within(scope, &remote, async { Ok(listing.next().await) }).await?;
        let Some(page) = page else { return Ok(None) };
        let next_page_token = match page.entries.last() {
            Some(entry) if !page.last => token(print, entry.path.as_str(), &entry.id),
            _ => String::new(),
        };
        let response = ListResponse {
            entries: page.entries.into_iter().map(convert::entry).collect(),
            next_page_token,
            failures: page
                .failures
                .into_iter()
                .map(convert::path_failure)
                .collect(),
            as_of_time: page.as_of.map(convert::time),
        };
        let rest = (!page.last).then_some((remote, listing));
        Ok(Some((response, rest)))
    })
}

/// For the fuzz target: a token comes back as it was made, and no text that
/// is none does harm.
#[cfg(fuzzing)]
pub fn fuzz_token(text: &str, path: &str, id: &str) {
    let given = ListRequest {
        page_token: text.to_owned(),
        ..ListRequest::default()
    };
    let _ = parse_token(&given);
    let made = ListRequest {
        page_token: token(fingerprint(&given), path, id),
        ..ListRequest::default()
    };
    let parsed = parse_token(&made).ok().flatten();
    assert_eq!(parsed, Some((path.to_owned(), id.to_owned())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_belong_to_their_listing() {
        let mut request = ListRequest {
            path: "a".into(),
            recursive: true,
            ..ListRequest::default()
        };
        request.page_token = token(fingerprint(&request), "a/é-1", "https://x/?id");
        assert_eq!(
            parse_token(&request).unwrap(),
            Some(("a/é-1".into(), "https://x/?id".into()))
        );
        request.path = "b".into();
        assert_eq!(
            parse_token(&request).unwrap_err().reason(),
            Reason::PageTokenExpired
        );
        for bad in ["x", "1-2-3", "1-00000000-zz-00", "1-00000000-a-b-c"] {
            request.page_token = bad.into();
            assert_eq!(
                parse_token(&request).unwrap_err().reason(),
                Reason::InvalidField,
                "{bad}"
            );
        }
    }
}
