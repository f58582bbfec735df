//! What the fuzz targets reach: how answers of 1Fichier are read, with what
//! must hold whatever they are.

use super::lenient::parse;
use super::model::canonical_url;
use super::model::{RawBatch, RawInfo, RawListing, RawMkdir, RawReport, RawToken, RawUploadServer};
use super::upload::refusal_in;
use super::user::RawUser;
use super::{Error, Hosts, ROOT, ShareId, UserInfo, accept, page_text, shared, shown, time};

const ENDPOINT: &str = "fuzz";

/// An answer of `/v1` or `end.pl`.
pub fn answer(status: u16, body: &[u8]) {
    if let Err(error) = accept(ENDPOINT, status, body) {
        // Whatever 1Fichier says, a client gets a reason and a text.
        assert!(!crate::error::Error::from(error).message().is_empty());
    }
    if let Ok(raw) = parse::<RawListing>(ENDPOINT, body) {
        if let Ok(listing) = raw.check_folder(ENDPOINT, ROOT) {
            assert!(listing.folders.iter().all(|folder| folder.id > 0));
            let files = listing.files.unwrap_or_default();
            assert!(files.iter().all(|file| !file.url.is_empty()));
        }
    }
    if let Ok(raw) = parse::<RawListing>(ENDPOINT, body) {
        let _ = raw.check_files(ENDPOINT);
    }
    let sent = ["https://1fichier.com/?a", "https://1fichier.com/?b"].map(str::to_owned);
    if let Ok(raw) = parse::<RawBatch>(ENDPOINT, body) {
        let done = raw.check(&sent).done;
        assert!(done.iter().all(|(url, _)| {
            let id = url.rsplit('?').next();
            sent.iter().any(|sent| sent.rsplit('?').next() == id)
        }));
    }
    if let Ok(raw) = parse::<RawBatch>(ENDPOINT, body) {
        let _ = raw.renamed(&sent[0]);
    }
    if let Ok(raw) = parse::<RawUser>(ENDPOINT, body) {
        let _ = UserInfo::from(raw);
    }
    if let Ok(raw) = parse::<RawReport>(ENDPOINT, body) {
        let _ = raw.stored();
    }
    let _: Result<RawInfo, Error> = parse(ENDPOINT, body);
    let _: Result<RawMkdir, Error> = parse(ENDPOINT, body);
    let _: Result<RawToken, Error> = parse(ENDPOINT, body);
    let _: Result<RawUploadServer, Error> = parse(ENDPOINT, body);
}

/// The page of a shared folder: a list, or whatever else the website says.
pub fn shared_folder(status: u16, body: &[u8]) {
    let Ok(status) = reqwest::StatusCode::from_u16(status) else {
        return;
    };
    for with_password in [false, true] {
        match shared::parse(status, body, with_password) {
            Ok(files) => assert!(files.iter().all(|file| file.url.starts_with("https://"))),
            Err(error) => assert!(!crate::error::Error::from(error).message().is_empty()),
        }
    }
}

/// A page for people, as upload nodes and the website answer.
pub fn page(body: &[u8]) {
    assert!(page_text(body).chars().count() <= 200);
    let _ = refusal_in(body);
}

/// What an answer names as host, redirect or link: nothing but 1Fichier's own
/// hosts over TLS is ever spoken to.
pub fn location(text: &str) {
    let Ok(hosts) = Hosts::new("https://api.1fichier.com/v1") else {
        return;
    };
    let Ok(base) = hosts.node(ENDPOINT, "up2.1fichier.com") else {
        unreachable!("a host of the domain")
    };
    let named = [
        hosts.node(ENDPOINT, text),
        hosts.follow(ENDPOINT, &base, text),
        hosts.absolute(ENDPOINT, text),
    ];
    for url in named.into_iter().flatten() {
        let host = url.host_str().unwrap_or_default();
        assert!(
            host == "1fichier.com" || host.ends_with(".1fichier.com"),
            "{url}"
        );
        assert_eq!(url.scheme(), "https");
    }
    if let Ok(id) = ShareId::new(text) {
        let page = hosts.shared_folder(id.as_str());
        assert_eq!(page.host_str(), Some("1fichier.com"));
        assert_eq!(page.path(), format!("/dir/{}", id.as_str()));
    }
    assert!(shown(text).len() <= text.len());
    assert!(canonical_url(text).len() <= text.len());
}

/// A date.
pub fn date(text: &str) {
    let _ = time::parse(text);
}
