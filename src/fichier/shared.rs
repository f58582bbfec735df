//! The public page of a shared folder ([API §23]): a flat list of files, the
//! only thing that is asked of 1Fichier's website. No key is sent there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{StatusCode, header};
use serde::Deserialize;

use super::budget::{Budget, Rule, Scope};
use super::error::{Error, Kind};
use super::hosts::{DOMAIN, is_file_host};
use super::lenient::{Flag, Int, Text};
use super::model::{Envelope, FileItem, canonical_url};
use super::secret::{Password, share_fingerprint};
use super::{Client, MAX_ANSWER, backoff, lenient, read_limited};
use crate::spans;

/// The page in errors.
pub(super) const ENDPOINT: &str = "dir";
const ATTEMPTS: u32 = 3;
/// "Database error" is over after 5 minutes ([API §A.2]).
const DATABASE_ERROR: Duration = Duration::from_secs(300);

/// What follows `/dir/` in the URL of a public folder.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ShareId(Box<str>);

impl ShareId {
    /// Reads an id, or the whole URL of a public folder.
    ///
    /// # Errors
    /// A text for the user when it is neither.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || {
            format!(
                "{text:?} is no shared folder: give what follows /dir/ in its URL, or the URL \
                 https://1fichier.com/dir/… itself"
            )
        };
        let mut id = text;
        if let Some((_, rest)) = text.split_once("://") {
            let (host, path) = rest.split_once('/').ok_or_else(wrong)?;
            let host = host.strip_prefix("www.").unwrap_or(host);
            if host != DOMAIN {
                return Err(wrong());
            }
            id = path.strip_prefix("dir/").ok_or_else(wrong)?;
        }
        let id = id.split(['?', '#', '&']).next().unwrap_or_default();
        let id = id.strip_suffix('/').unwrap_or(id);
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if id.is_empty() || id.len() > 64 || !id.bytes().all(usable) {
            return Err(wrong());
        }
        Ok(Self(id.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Stands for the folder in the budget of pages.
    fn number(&self) -> i64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish() as i64
    }
}

// Whoever has the id can see the folder.
impl fmt::Debug for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareId(…)")
    }
}

/// A public folder.
#[derive(Debug)]
pub struct SharedFolder {
    client: Arc<Client>,
    pages: Arc<Budget>,
    id: ShareId,
    password: Option<Password>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawEntry {
    filename: Text,
    link: Text,
    size: Int,
    password: Flag,
    acl: Flag,
}

impl SharedFolder {
    /// A folder whose page was not asked for yet. `pages` is the budget of
    /// 1Fichier's website, one for all.
    pub fn new(
        client: Arc<Client>,
        pages: Arc<Budget>,
        id: ShareId,
        password: Option<Password>,
    ) -> Self {
        Self {
            client,
            pages,
            id,
            password,
        }
    }

    /// What tells one folder from another without giving anything away; then
    /// how earlier versions did so.
    pub fn fingerprints(&self) -> Vec<String> {
        let Client { hosts, key, .. } = &*self.client;
        let password = self.password.as_ref();
        vec![
            share_fingerprint(hosts, &self.id, password),
            key.former_share_fingerprint(hosts, &self.id, password),
        ]
    }

    /// The budget of 1Fichier's website.
    pub fn pages(&self) -> &Arc<Budget> {
        &self.pages
    }

    /// How long until the page may be asked for again.
    pub fn listing_allowed_in(&self) -> Duration {
        self.pages.allowed_in(Rule::Page(self.id.number()))
    }

    /// How long the page must not be asked for again, whatever else is.
    pub fn closed_for(&self) -> Duration {
        self.pages.folder_closed_for(Rule::Page(self.id.number()))
    }

    /// An earlier run asked for the page.
    pub fn restore_listing(&self, age: Duration) {
        self.pages.restore_listing(self.id.number(), age);
    }

    /// An earlier run asked for a page or a file a moment ago.
    pub fn restore_calls(&self) {
        self.pages.restore_calls();
        self.client.budget().restore_calls();
    }

    /// All files of the folder. No dates, checksums or types are told.
    ///
    /// # Errors
    /// NotFound when there is no such folder; Password and WrongPassword.
    pub async fn list(&self, scope: Scope) -> Result<Vec<FileItem>, Error> {
        let mut guess = self.client.passwords.guess(self.password.as_ref());
        let mut rule = Rule::Page(self.id.number());
        loop {
            let outcome = self.ask(scope, rule, guess.text()).await;
            if let Some(outcome) = guess.settle(outcome) {
                return outcome;
            }
            // A password that is not taken listed nothing.
            rule = Rule::Call;
        }
    }

    async fn ask(
        &self,
        scope: Scope,
        rule: Rule,
        pass: Option<&str>,
    ) -> Result<Vec<FileItem>, Error> {
        let mut attempt = 0;
        loop {
            let permit = self.pages.acquire(scope, rule, ENDPOINT).await?;
            let method = if pass.is_some() { "POST" } else { "GET" };
            let span = spans::upstream(method, ENDPOINT, Some(scope.priority.as_str()));
            let request = self.exchange(pass);
            let outcome = self.client.tally.ask(ENDPOINT, span, request).await;
            self.pages
                .report(&permit, rule, outcome.as_ref().map(|_| ()));
            let error = match outcome {
                Ok(files) => return Ok(files),
                Err(error) => error,
            };
            attempt += 1;
            let pause = match error.kind() {
                // The budget does the waiting.
                Kind::Flood => Duration::ZERO,
                Kind::NotSent => backoff(attempt),
                // Anything else may have counted as a listing.
                _ => return Err(error),
            };
            if attempt >= ATTEMPTS {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One request, with a body of its own: one that was sent is used up.
    async fn exchange(&self, pass: Option<&str>) -> Result<Vec<FileItem>, Error> {
        let url = self.client.hosts.shared_folder(self.id.as_str());
        let request = match pass {
            None => self.client.api.get(url),
            Some(pass) => self
                .client
                .api
                .post(url)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form(pass)),
        };
        let response = request
            .send()
            .await
            .map_err(|error| Error::transport(ENDPOINT, error))?;
        let status = response.status();
        if status.is_redirection() {
            let target = response.headers().get(header::LOCATION);
            let target = target.and_then(|target| target.to_str().ok());
            return Err(redirected(target.unwrap_or_default()));
        }
        let body = read_limited(ENDPOINT, response, MAX_ANSWER).await?;
        parse(status, &body, pass.is_some())
    }
}

/// `json` stands in the URL too: either place was seen to work ([API §23]).
fn form(pass: &str) -> String {
    // Only for its escaping; the URL is used for nothing.
    let mut url = reqwest::Url::parse("https://1fichier.com/").ok();
    if let Some(url) = &mut url {
        url.query_pairs_mut()
            .append_pair("json", "1")
            .append_pair("pass", pass);
    }
    let query = url.as_ref().and_then(reqwest::Url::query);
    query.unwrap_or_default().to_owned()
}

fn redirected(target: &str) -> Error {
    let database = target.contains("c=DB");
    if database || target.contains("/maintenance") {
        let text = "1Fichier's website is under maintenance, or its database has an error";
        return Error::new(ENDPOINT, Kind::Server, text).waiting(DATABASE_ERROR);
    }
    Error::new(
        ENDPOINT,
        Kind::Malformed,
        "1Fichier's website redirects the shared folder's page elsewhere",
    )
}

pub(super) fn parse(
    status: StatusCode,
    body: &[u8],
    with_password: bool,
) -> Result<Vec<FileItem>, Error> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'[') if status.is_success() => {
            let entries: Vec<RawEntry> = lenient::parse(ENDPOINT, body)?;
            entries.into_iter().map(RawEntry::check).collect()
        }
        // Not seen, but what the API would say.
        Some(b'{') => {
            let envelope: Envelope = lenient::parse(ENDPOINT, body)?;
            let text = envelope.message.0.unwrap_or_default();
            Err(Error::refusal(ENDPOINT, status.as_u16(), &text))
        }
        _ => Err(page(status, body, with_password)),
    }
}

/// What a page for people says ([API §A.2, §23]).
fn page(status: StatusCode, body: &[u8], with_password: bool) -> Error {
    let page = String::from_utf8_lossy(body).to_lowercase();
    let has = |part: &str| page.contains(part);
    // Attributes may be quoted in either way, or not at all.
    let form = page.replace(['"', '\''], "");
    let asks = form.contains("name=pass ") || form.contains("name=pass>");
    let (kind, text) = if has("requests are too fast") || has("flood detected") {
        (Kind::Flood, "Your requests are too fast")
    } else if has("ip locked") || has("will be unlocked within") {
        (Kind::Banned, "IP Locked")
    } else if matches!(status.as_u16(), 404 | 410) {
        (Kind::NotFound, "there is no such shared folder")
    } else if status.as_u16() == 429 {
        (Kind::Flood, "HTTP 429")
    } else if status.is_server_error() {
        (Kind::Server, "1Fichier's website has a problem of its own")
    } else if asks || form.contains("name=pass/") {
        match with_password {
            true => (Kind::WrongPassword, "the folder wants another password"),
            false => (Kind::Password, "the folder wants a password"),
        }
    } else {
        let text = "a page for people instead of the list of files; open the shared folder's URL \
                    in a browser to see what it says";
        (Kind::Malformed, text)
    };
    Error::new(ENDPOINT, kind, text)
}

impl RawEntry {
    fn check(self) -> Result<FileItem, Error> {
        let wrong = |what: &str| {
            Error::new(
                ENDPOINT,
                Kind::Malformed,
                format!("1Fichier listed a file without {what}"),
            )
        };
        let link = self.link.0.as_deref().and_then(file_link);
        let size = self.size.0.and_then(|size| u64::try_from(size).ok());
        Ok(FileItem {
            url: link.ok_or_else(|| wrong("a link of its own"))?,
            name: self.filename.0.ok_or_else(|| wrong("a name"))?,
            size: size.ok_or_else(|| wrong("a size"))?,
            time: None,
            whirlpool: String::new(),
            content_type: String::new(),
            password: self.password.0,
            acl: self.acl.0,
            cdn: false,
        })
    }
}

/// The link of a file: on one of 1Fichier's domains, without suffixes.
fn file_link(link: &str) -> Option<String> {
    let link = canonical_url(link.trim());
    let rest = link
        .strip_prefix("https://")
        .or_else(|| link.strip_prefix("http://"))?;
    let (host, id) = rest.split_once("/?")?;
    let host = host.strip_prefix("www.").unwrap_or(host);
    let is_id = (5..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_file_host(host) && is_id).then(|| format!("https://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_urls_of_folders() {
        for good in [
            "AbC12345",
            " AbC12345 ",
            "https://1fichier.com/dir/AbC12345",
            "http://www.1fichier.com/dir/AbC12345/",
            "https://1fichier.com/dir/AbC12345?json=1",
        ] {
            assert_eq!(ShareId::new(good).unwrap().as_str(), "AbC12345", "{good}");
        }
        for bad in [
            "",
            "a/b",
            "../v1",
            "a b",
            "https://evil.example/dir/AbC12345",
            "https://1fichier.com/?AbC12345",
            "https://1fichier.com.evil.example/dir/AbC12345",
            "https://u@1fichier.com/dir/AbC12345",
            "https://1fichier.com/dir/",
        ] {
            assert!(ShareId::new(bad).is_err(), "{bad}");
        }
        assert!(!format!("{:?}", ShareId::new("AbC12345")).contains("AbC"));
    }

    fn parsed(body: &str) -> Result<Vec<FileItem>, Error> {
        parse(StatusCode::OK, body.as_bytes(), false)
    }

    #[test]
    fn entries_are_read_leniently() {
        let files = parsed(
            r#" [{"filename":"a\.bin","link":"http://1fichier.com/?abcde12345&af=1","size":"12","password":"1","acl":{"ip":["192.0.2.1"]}},
                {"link":"https://desfichiers.com/?x1y2z3","filename":"b","size":7,"extra":null}]"#,
        )
        .unwrap();
        let seen: Vec<_> = files
            .iter()
            .map(|file| (file.url.as_str(), file.name.as_str(), file.size))
            .collect();
        assert_eq!(
            seen,
            [
                ("https://1fichier.com/?abcde12345", "a\\.bin", 12),
                ("https://desfichiers.com/?x1y2z3", "b", 7)
            ]
        );
        assert!(files[0].password && files[0].acl && !files[1].password && !files[1].acl);
        assert_eq!(parsed("[]").unwrap(), []);
    }

    #[test]
    fn what_is_no_file_of_1fichier_is_refused() {
        for (entry, word) in [
            (r#"{"filename":"a","size":1}"#, "link"),
            (
                r#"{"filename":"a","size":1,"link":"https://evil.example/?abcde"}"#,
                "link",
            ),
            (
                r#"{"filename":"a","size":1,"link":"https://1fichier.com/?../etc"}"#,
                "link",
            ),
            (
                r#"{"filename":"a","link":"https://1fichier.com/?abcde"}"#,
                "size",
            ),
            (r#"{"size":1,"link":"https://1fichier.com/?abcde"}"#, "name"),
        ] {
            let error = parsed(&format!("[{entry}]")).unwrap_err();
            assert_eq!(error.kind(), Kind::Malformed);
            assert!(error.text().contains(word), "{entry}: {error}");
        }
    }

    #[test]
    fn pages_for_people_are_understood() {
        let form = "<form><input type=\"password\" name=\"pass\"></form>";
        for (status, body, with_password, kind) in [
            (200, form, false, Kind::Password),
            (200, form, true, Kind::WrongPassword),
            (200, "<INPUT NAME='pass' type=text>", false, Kind::Password),
            (200, "<input name=passage>", false, Kind::Malformed),
            (200, "<html>", false, Kind::Malformed),
            (200, "", false, Kind::Malformed),
            (404, "<html>", true, Kind::NotFound),
            (200, "<p>Your requests are too fast</p>", false, Kind::Flood),
            (
                403,
                "IP Locked<br>Will be unlocked within 1h",
                false,
                Kind::Banned,
            ),
            (503, "maintenance", false, Kind::Server),
            (
                200,
                r#"{"status":"KO","message":"IP Locked #79"}"#,
                false,
                Kind::Banned,
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = parse(status, body.as_bytes(), with_password).unwrap_err();
            assert_eq!(error.kind(), kind, "{status} {body}");
        }
        assert_eq!(redirected("/?c=DB").kind(), Kind::Server);
        assert_eq!(redirected("/login.pl").kind(), Kind::Malformed);
    }

    #[test]
    fn passwords_are_escaped() {
        assert_eq!(form("a b&c=é+"), "json=1&pass=a+b%26c%3D%C3%A9%2B");
    }
}
