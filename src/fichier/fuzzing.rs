//! What the fuzz targets reach: how answers of 1Fichier are read and uploads
//! are written, with what must hold whatever they are.

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use http_body_util::BodyExt;

use super::body::{Content, MultipartBody, Part, content_type};
use super::lenient::parse;
use super::model::canonical_url;
use super::model::{RawBatch, RawInfo, RawListing, RawMkdir, RawToken, RawUploadServer};
use super::upload::{Report, read_outcome, read_report};
use super::user::RawUser;
use super::{Error, Hosts, ROOT, ShareId, UserInfo, accept, page_text, shared, shown, time};

const ENDPOINT: &str = "fuzz";

/// An answer of `/v1`.
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
        let _ = raw.check_moved(&sent);
    }
    if let Ok(raw) = parse::<RawBatch>(ENDPOINT, body) {
        let _ = raw.check_copied(&sent);
    }
    if let Ok(raw) = parse::<RawUser>(ENDPOINT, body) {
        let _ = UserInfo::from(raw);
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

/// The answer of an upload node: to an upload, or to the question what became
/// of it.
pub fn upload(status: u16, body: &[u8]) {
    assert!(page_text(body).chars().count() <= 200);
    let Ok(status) = reqwest::StatusCode::from_u16(status) else {
        return;
    };
    if let Err(error) = read_outcome(status, body) {
        assert!(!crate::error::Error::from(error).message().is_empty());
    }
    match read_report(status, body) {
        Ok(Report::Stored(files)) => {
            assert!(status.is_success());
            for file in files {
                assert!(!file.url.contains(['&', '#']), "{}", shown(&file.url));
                assert_eq!(file.whirlpool, file.whirlpool.to_ascii_lowercase());
            }
        }
        Ok(Report::NotReady) => {}
        Err(error) => assert!(!crate::error::Error::from(error).message().is_empty()),
    }
}

/// What is sent to a node for files of these names and contents: the
/// `Content-Type` and the body, of the length that was announced.
pub fn multipart(boundary: &str, folder: i64, files: &[(String, Vec<u8>)]) -> (String, Vec<u8>) {
    let part = |(name, content): &(String, Vec<u8>)| {
        let content = Bytes::from(content.clone());
        let size = content.len() as u64;
        let open = move || stream::iter([Ok(content)]).boxed();
        Part {
            name: name.clone(),
            content: Content {
                size,
                open: Box::new(open),
            },
        }
    };
    let parts = files.iter().map(part).collect();
    let body = MultipartBody::new(boundary, folder, parts, None, Arc::default());
    let length = body.length();
    let sent = match body.collect().now_or_never() {
        Some(Ok(sent)) => sent.to_bytes().to_vec(),
        _ => unreachable!("a body of what is in memory waits for nothing"),
    };
    assert_eq!(sent.len() as u64, length);
    (content_type(boundary), sent)
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
