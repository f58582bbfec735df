//! Uploads to a node: the multipart request, the redirect after it, and the
//! report of what was stored ([API §4, §5]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{StatusCode, Url, header};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::body::{MultipartBody, Part, content_type, new_boundary};
use super::error::{Error, Kind};
use super::model::{RawReport, StoredFile};
use super::{Client, lenient, page_text, read_limited};
use crate::spans;

const ENDPOINT: &str = "upload.cgi";
const REPORT: &str = "end.pl";
/// A node that takes nothing for so long is given up.
const STALL: Duration = Duration::from_secs(120);
/// How long the end of a body may be held back. How long nodes bear that is not
/// known.
const HELD: Duration = Duration::from_secs(900);
/// How long a node may work on a complete body before it answers.
const ANSWER: Duration = Duration::from_secs(600);
/// How long the page of an answer may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);
const REPORT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_PAGE: usize = 1 << 20;
const MAX_REPORT: usize = 4 << 20;

/// An upload node and the id of one upload there.
#[derive(Clone, Debug)]
pub struct Node {
    base: Url,
    id: String,
}

impl Node {
    pub(super) fn new(base: Url, id: String) -> Self {
        Self { base, id }
    }
}

/// An upload that the node took; its report can be asked for 2 hours.
#[derive(Clone, Debug)]
pub struct Emission {
    base: Url,
    xid: String,
}

/// What a node tells about an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The stored files; may be fewer or more than were sent.
    Stored(Vec<StoredFile>),
    /// A page for people: not ready yet, or not known.
    NotReady,
}

impl Client {
    /// Sends files to a folder in one request. The node answers when all is
    /// there. Dropping the future, an error of a part's stream, or a closed
    /// `gate` cuts the request off, and nothing is stored.
    ///
    /// # Errors
    /// With [`Error::outcome_unknown`] the files may be stored: ask
    /// [`Client::upload_report`] with [`Client::emission_of`] first.
    pub async fn send_files(
        &self,
        node: &Node,
        folder: i64,
        parts: Vec<Part>,
        gate: Option<oneshot::Receiver<()>>,
        sent: Arc<AtomicU64>,
    ) -> Result<Emission, Error> {
        let span = spans::upstream("POST", ENDPOINT, None);
        let request = self.send_body(node, folder, parts, gate, sent);
        self.tally.ask(ENDPOINT, span, request).await
    }

    async fn send_body(
        &self,
        node: &Node,
        folder: i64,
        parts: Vec<Part>,
        gate: Option<oneshot::Receiver<()>>,
        sent: Arc<AtomicU64>,
    ) -> Result<Emission, Error> {
        let boundary = new_boundary();
        let body = MultipartBody::new(&boundary, folder, parts, gate, Arc::clone(&sent));
        let (length, held) = (body.length(), body.held());
        let mut url = node.base.clone();
        url.set_path("/upload.cgi");
        url.set_query(Some(&format!("id={}", node.id)));
        let request = self
            .nodes
            .post(url)
            .bearer_auth(self.key.reveal())
            .header(header::CONTENT_TYPE, content_type(&boundary))
            .header(header::CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap(body))
            .send();
        let before = sent.load(Ordering::Relaxed);
        let response = tokio::select! {
            response = request => response.map_err(|error| sending_failed(error, length, &sent, before))?,
            error = stalled(&sent, before + length, held) => return Err(error),
        };
        self.outcome(node, response).await
    }

    async fn outcome(&self, node: &Node, response: reqwest::Response) -> Result<Emission, Error> {
        let status = response.status();
        if status.is_redirection() {
            let location = response
                .headers()
                .get(header::LOCATION)
                .and_then(|location| location.to_str().ok())
                .unwrap_or_default();
            // All was sent: it may be stored, and the node itself knows.
            let url = self.hosts.follow(ENDPOINT, &node.base, location);
            let url = url.map_err(|error| error.with_kind(Kind::Malformed))?;
            let xid = url
                .query_pairs()
                .find(|(key, _)| key == "xid")
                .map(|(_, xid)| xid.into_owned());
            let mut base = url;
            base.set_path("/");
            base.set_query(None);
            // The xid may differ from the id ([API §4.4]).
            return Ok(Emission {
                base,
                xid: xid.unwrap_or_else(|| node.id.clone()),
            });
        }
        // A page that does not come to its end tells nothing; the report does.
        let page = read_limited(ENDPOINT, response, MAX_PAGE);
        let page = tokio::time::timeout(PAGE_TIMEOUT, page).await;
        let page = page.ok().and_then(Result::ok).unwrap_or_default();
        read_outcome(status, &page).map(|()| self.emission_of(node))
    }

    /// Where to ask about an upload whose answer was lost.
    pub fn emission_of(&self, node: &Node) -> Emission {
        Emission {
            base: node.base.clone(),
            xid: node.id.clone(),
        }
    }

    /// Asks what an upload stored.
    pub async fn upload_report(&self, emission: &Emission) -> Result<Report, Error> {
        let span = spans::upstream("GET", REPORT, None);
        let request = self.ask_report(emission);
        self.tally.ask(REPORT, span, request).await
    }

    async fn ask_report(&self, emission: &Emission) -> Result<Report, Error> {
        let mut url = emission.base.clone();
        url.set_path("/end.pl");
        url.query_pairs_mut().append_pair("xid", &emission.xid);
        let request = self
            .nodes
            .get(url)
            // Without this header the answer is a page for people ([API §5]).
            .header("JSON", "1")
            .timeout(REPORT_TIMEOUT);
        let response = request
            .send()
            .await
            .map_err(|error| Error::transport(REPORT, error))?;
        let status = response.status();
        let body = read_limited(REPORT, response, MAX_REPORT).await?;
        read_report(status, &body)
    }
}

pub(super) fn read_report(status: StatusCode, body: &[u8]) -> Result<Report, Error> {
    if status.is_server_error() {
        return Err(Error::refusal(REPORT, status.as_u16(), &page_text(body)));
    }
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') if status.is_success() => {
            let raw: RawReport = lenient::parse(REPORT, body)?;
            Ok(Report::Stored(raw.stored()))
        }
        _ => Ok(Report::NotReady),
    }
}

fn sending_failed(error: reqwest::Error, length: u64, sent: &AtomicU64, before: u64) -> Error {
    // An error that our own body raised is no fault of the node's.
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && matches!(
                io.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::ConnectionAborted
            )
            && sent.load(Ordering::Relaxed) - before < length
            && io.raw_os_error().is_none()
        {
            return Error::new(ENDPOINT, Kind::Body, io.to_string());
        }
        source = cause.source();
    }
    let failed = Error::transport(ENDPOINT, error);
    if sent.load(Ordering::Relaxed) - before < length {
        // Not all was handed over: 1Fichier stores nothing of it ([API §E5]).
        return Error::new(ENDPOINT, Kind::Node, failed.text());
    }
    failed
}

/// `held` bytes of the whole wait for the gate: for another write to the same
/// path, for example, which is no fault of the node's.
async fn stalled(sent: &AtomicU64, complete: u64, held: u64) -> Error {
    let mut last = (sent.load(Ordering::Relaxed), Instant::now());
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = sent.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        let (limit, kind) = if now >= complete {
            (ANSWER, Kind::Broken)
        } else if now >= complete - held {
            (HELD, Kind::Node)
        } else {
            (STALL, Kind::Node)
        };
        if last.1.elapsed() >= limit {
            return Error::new(
                ENDPOINT,
                kind,
                format!("no progress for {} s", limit.as_secs()),
            );
        }
    }
}

/// What a node says that does not redirect.
pub(super) fn read_outcome(status: StatusCode, page: &[u8]) -> Result<(), Error> {
    if status != StatusCode::OK {
        let error = Error::refusal(ENDPOINT, status.as_u16(), &page_text(page));
        return Err(match error.kind() {
            // Its own path is what the node does not know, not one of our files.
            Kind::NotFound => error.with_kind(Kind::Server),
            _ => error,
        });
    }
    // Some nodes answer 200 instead of the redirect; a refusal is 200 too.
    match refusal_in(page) {
        Some(text) => Err(refused(&text)),
        None => Ok(()),
    }
}

/// The reason on a refusal page: the first `<div class="bloc2">` that is not
/// empty ([API §4.4]).
fn refusal_in(page: &[u8]) -> Option<String> {
    let page = String::from_utf8_lossy(page);
    let mut rest = &*page;
    while let Some(at) = rest.find("class=\"bloc2\"") {
        rest = &rest[at..];
        let start = rest.find('>')? + 1;
        let end = rest[start..]
            .find("</div>")
            .map_or(rest.len(), |end| start + end);
        let text = page_text(&rest.as_bytes()[start..end]);
        if !text.is_empty() {
            return Some(text);
        }
        rest = &rest[end..];
    }
    None
}

fn refused(text: &str) -> Error {
    let lower = text.to_lowercase();
    let kind = if lower.contains("ouvrir le fichier") {
        Kind::Node // a hiccup of the node's storage: another node takes it
    } else if lower.contains("caract")
        || lower.contains("nom de fichier")
        || lower.contains("filename")
    {
        Kind::Name
    } else if lower.contains("quota") || lower.contains("espace") {
        Kind::Quota
    } else {
        Kind::Refused
    };
    Error::new(ENDPOINT, kind, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_found_on_pages() {
        let page = "<html><div class=\"bloc2\"> </div><div class=\"bloc2\">Ne peut ouvrir le <b>fichier</b> destination</div>";
        let text = refusal_in(page.as_bytes()).unwrap();
        assert_eq!(text, "Ne peut ouvrir le fichier destination");
        assert_eq!(refused(&text).kind(), Kind::Node);
        assert_eq!(
            refused("Pas de fichier trouvé dans l'envoi").kind(),
            Kind::Refused
        );
        assert_eq!(refusal_in(b"<html>please wait</html>"), None);
        assert_eq!(refusal_in(b"<div class=\"bloc2\""), None);
    }
}
