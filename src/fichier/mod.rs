//! A typed client of the 1Fichier API: one method for each call, the request
//! budget, and errors that know what to do next.

mod body;
mod budget;
mod download;
mod error;
mod files;
mod folders;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hosts;
mod lenient;
mod links;
mod listing;
mod model;
mod passwords;
mod secret;
mod shared;
mod tally;
#[cfg(test)]
mod tests;
pub(crate) mod time;
mod token;
mod upload;
mod user;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{self, HeaderMap};
use serde_json::{Value, json};
use tokio::time::Instant;
use unicode_normalization::UnicodeNormalization;

pub use body::{Content, Part};
pub use budget::{Activity, Budget, Limits, MAX_WAIT, MAX_WAITING, Priority, Scope};
pub use download::Download;
pub use error::{Error, Kind};
pub use hosts::Hosts;
pub use model::{Batch, FileInfo, FileItem, FolderListing, StoredFile, SubFolder};
pub use secret::{ApiKey, Password};
pub use shared::{ShareId, SharedFolder};
pub use tally::{Requested, Requests};
pub use token::Access;
pub use upload::{Emission, Node, Report};
pub use user::UserInfo;

use budget::{Permit, Rule};
use model::{Envelope, RawInfo, RawUploadServer};
use passwords::Passwords;
use tally::Tally;

use crate::spans;

/// Folder id of the root ([API §C]).
pub const ROOT: i64 = 0;
/// Most files of one listing ([API §6]).
pub const LISTING_CAP: usize = 5_000;
/// Most files of one batch call ([API §H]).
pub const BATCH: usize = 100;
/// Most files of one upload ([API §4.2]).
pub const UPLOAD_BATCH: usize = 500;
/// Largest file in bytes ([API §E13]).
pub const MAX_FILE_BYTES: u64 = 300_000_000_000;

/// The call that names a node for an upload.
pub const UPLOAD_NODE: &str = "upload/get_upload_server";

/// The call that describes one file.
const INFO: &str = "file/info";
const API_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_ANSWER: usize = 64 << 20;
/// How long a refused key, or what the plan does not allow, is not tried again:
/// repeated refusals lead to a ban ([API §1.1]).
const REFUSAL_MEMORY: Duration = Duration::from_secs(300);
/// What a read-only client may call.
const READS: [&str; 5] = [
    "folder/ls",
    "file/ls",
    "file/info",
    "user/info",
    "download/get_token",
];
/// Stands for every endpoint among the refusals.
const EVERY_CALL: &str = "";

/// Whether a call may be repeated when nobody knows if it had its effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Safe,
    Unsafe,
}

/// A turn to make one call. Taken early, it lets a batch gather while it waits
/// for the budget.
#[derive(Debug)]
pub struct Turn {
    scope: Scope,
    permit: Option<Permit>,
}

impl From<Scope> for Turn {
    fn from(scope: Scope) -> Self {
        Self {
            scope,
            permit: None,
        }
    }
}

/// By endpoint, and whether it was asked with CDN credits: refusals that are of
/// the account and not of one file.
type Refusals = HashMap<(&'static str, bool), (Instant, Error)>;

/// A client for one account. Its clones share all that 1Fichier counts.
#[derive(Clone, Debug)]
pub struct Client {
    hosts: Hosts,
    key: ApiKey,
    api: reqwest::Client,
    nodes: reqwest::Client,
    budget: Arc<Budget>,
    /// `folder/ls` was seen to leave out the files.
    lists_in_two: Arc<AtomicBool>,
    refusals: Arc<Mutex<Refusals>>,
    passwords: Arc<Passwords>,
    /// What 1Fichier's clock showed in its last answer, and when that was.
    time: Arc<Mutex<Option<(Instant, i64)>>>,
    tally: Arc<Tally>,
    /// Only [`READS`] are called.
    read_only: bool,
}

impl Client {
    /// A client that has made no call yet.
    ///
    /// # Errors
    /// When the TLS library finds no certificates to trust.
    pub fn new(hosts: Hosts, key: ApiKey, limits: Limits) -> Result<Self, Error> {
        let is_loopback = hosts.is_loopback();
        let builder = || {
            let builder = if is_loopback {
                // An emulator on this machine is behind no proxy.
                reqwest::Client::builder().no_proxy()
            } else {
                reqwest::Client::builder()
            };
            builder
                .user_agent(concat!("pluton-fichier/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                // A redirect is followed by hand, to 1Fichier's own hosts only.
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true)
        };
        let failed = |error| Error::transport("start", error);
        Ok(Self {
            hosts,
            key,
            api: builder().timeout(API_TIMEOUT).build().map_err(failed)?,
            // Nodes: long bodies, so no total timeout; one upload for each
            // connection, so nothing is kept idle ([API §J43]).
            nodes: builder()
                .http1_only()
                .pool_max_idle_per_host(0)
                .build()
                .map_err(failed)?,
            budget: Arc::new(Budget::new(limits)),
            lists_in_two: Arc::default(),
            refusals: Arc::default(),
            passwords: Arc::default(),
            time: Arc::default(),
            tally: Arc::default(),
            read_only: false,
        })
    }

    /// The same account, for somebody who must not change it: every call that
    /// does more than read is refused before it is made, whoever forgot to ask.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self {
            read_only: true,
            ..self.clone()
        }
    }

    /// Tells one key from another without giving it away.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(&self.hosts)
    }

    /// The time of day by 1Fichier's clock, in seconds since the Unix epoch;
    /// `None` before its first answer.
    pub fn time(&self) -> Option<i64> {
        let time = *self.time.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, seconds) = time?;
        Some(seconds.saturating_add_unsigned(at.elapsed().as_secs()))
    }

    fn note_time(&self, headers: &HeaderMap) {
        let date = headers
            .get(header::DATE)
            .and_then(|date| date.to_str().ok());
        if let Some(seconds) = date.and_then(time::http_date) {
            let now = Some((Instant::now(), seconds));
            *self.time.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
    }

    /// The request budget.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The requests so far, also those that no budget counts.
    pub fn requested(&self) -> Requested {
        self.tally.requested()
    }

    /// Waits for the turn to make a call.
    pub async fn turn(&self, scope: Scope, endpoint: &'static str) -> Result<Turn, Error> {
        self.check_allowed(endpoint)?;
        let permit = self.budget.acquire(scope, Rule::Call, endpoint).await?;
        Ok(Turn {
            scope,
            permit: Some(permit),
        })
    }

    /// Whether a file exists. Costly: many such questions lead to a ban
    /// ([API §1.1]).
    pub async fn file_exists(&self, scope: Scope, url: &str) -> Result<bool, Error> {
        let outcome: Result<Envelope, _> = self
            .call(scope, Rule::Call, INFO, &json!({"url": url}), Repeat::Safe)
            .await;
        match outcome {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            // What is refused is there ([API §7]).
            Err(error) if error.is_about_password() || error.kind() == Kind::Access => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// What 1Fichier tells of the file with this link: its name and folder now,
    /// whatever listings show. Costly, as [`Client::file_exists`].
    ///
    /// # Errors
    /// [`Kind::NotFound`] when 1Fichier does not know the link.
    pub async fn file_info(&self, scope: Scope, url: &str) -> Result<FileInfo, Error> {
        let raw = self.info(scope, &json!({"url": url})).await?;
        raw.check(INFO, Some(url), None)
    }

    /// What 1Fichier tells of the file with exactly this stored name in a
    /// folder; of several any one. The 30 seconds between two listings of a
    /// folder do not count for this. Costly, as [`Client::file_exists`].
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is no such file, or no such folder.
    pub async fn file_at(&self, scope: Scope, folder: i64, name: &str) -> Result<FileInfo, Error> {
        let body = json!({"folder_id": folder, "filename": name});
        let raw = self.info(scope, &body).await?;
        raw.check(INFO, None, Some(name))
    }

    async fn info(&self, scope: Scope, body: &Value) -> Result<RawInfo, Error> {
        self.call(scope, Rule::Call, INFO, body, Repeat::Safe).await
    }

    /// A node for one upload.
    pub async fn upload_node(&self, turn: impl Into<Turn>) -> Result<Node, Error> {
        const ENDPOINT: &str = UPLOAD_NODE;
        let raw: RawUploadServer = self
            .call(turn, Rule::Call, ENDPOINT, &Value::Null, Repeat::Safe)
            .await?;
        let (Some(host), Some(id)) = (raw.url.0, raw.id.0) else {
            return Err(Error::new(
                ENDPOINT,
                Kind::Malformed,
                "1Fichier named no upload node",
            ));
        };
        if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Error::new(
                ENDPOINT,
                Kind::Malformed,
                "1Fichier gave an upload id that is none",
            ));
        }
        Ok(Node::new(self.hosts.node(ENDPOINT, &host)?, id))
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        turn: impl Into<Turn>,
        rule: Rule,
        endpoint: &'static str,
        body: &Value,
        repeat: Repeat,
    ) -> Result<T, Error> {
        let answer = self.call_at(turn, rule, endpoint, body, repeat).await?;
        Ok(answer.0)
    }

    /// Makes a call; also tells when it was sent.
    async fn call_at<T: serde::de::DeserializeOwned>(
        &self,
        turn: impl Into<Turn>,
        rule: Rule,
        endpoint: &'static str,
        body: &Value,
        repeat: Repeat,
    ) -> Result<(T, Instant), Error> {
        let Turn { scope, mut permit } = turn.into();
        self.check_allowed(endpoint)?;
        let with_cdn = body.get("cdn").is_some();
        let mut attempt = 0;
        loop {
            self.check_refusals(endpoint, with_cdn)?;
            let permit = match permit.take() {
                Some(permit) => permit,
                None => self.budget.acquire(scope, rule, endpoint).await?,
            };
            // While this waited, another call may have been refused for all.
            self.check_refusals(endpoint, with_cdn)?;
            let method = if body.is_null() { "GET" } else { "POST" };
            let span = spans::upstream(method, endpoint, Some(scope.priority.as_str()));
            let began = Instant::now();
            let request = async {
                let answer = self.exchange(endpoint, body).await?;
                lenient::parse(endpoint, &answer)
            };
            let outcome = self.tally.ask(endpoint, span, request).await;
            self.budget
                .report(&permit, rule, outcome.as_ref().map(|_| ()));
            let error = match outcome {
                Ok(value) => return Ok((value, began)),
                Err(error) => error,
            };
            let refused = match error.kind() {
                Kind::Credentials => Some((EVERY_CALL, false)),
                Kind::Plan | Kind::ProfessionalAddress => Some((endpoint, with_cdn)),
                _ => None,
            };
            if let Some(refused) = refused {
                self.refusals()
                    .insert(refused, (Instant::now(), error.clone()));
            }
            attempt += 1;
            let Some(pause) = pause_before_repeat(&error, attempt, repeat) else {
                return Err(error);
            };
            if scope
                .deadline
                .is_some_and(|deadline| Instant::now() + pause >= deadline)
            {
                return Err(error);
            }
            tracing::debug!(endpoint, attempt, %error, "repeating a 1Fichier call");
            tokio::time::sleep(pause).await;
        }
    }

    fn check_allowed(&self, endpoint: &'static str) -> Result<(), Error> {
        if self.read_only && !READS.contains(&endpoint) {
            let text = "nothing was sent to 1Fichier";
            return Err(Error::new(endpoint, Kind::ReadOnly, text));
        }
        Ok(())
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_refusals(&self, endpoint: &'static str, with_cdn: bool) -> Result<(), Error> {
        let mut refusals = self.refusals();
        refusals.retain(|_, (at, _)| at.elapsed() < REFUSAL_MEMORY);
        let of_all = refusals.get(&(EVERY_CALL, false));
        match of_all.or_else(|| refusals.get(&(endpoint, with_cdn))) {
            Some((_, error)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    async fn exchange(&self, endpoint: &'static str, body: &Value) -> Result<Vec<u8>, Error> {
        let url = self.hosts.api(endpoint);
        let request = match body {
            Value::Null => self.api.get(url),
            body => self.api.post(url).body(body.to_string()),
        };
        let response = request
            .bearer_auth(self.key.reveal())
            // Mandatory, without parameters, even where there is no body ([API §1]).
            .header(header::CONTENT_TYPE, "application/json")
            .send()
            .await
            .map_err(|error| Error::transport(endpoint, error))?;
        let status = response.status().as_u16();
        self.note_time(response.headers());
        let answer = read_limited(endpoint, response, MAX_ANSWER).await?;
        accept(endpoint, status, &answer)?;
        Ok(answer)
    }
}

/// Whether an answer is one, and no refusal: the status alone does not tell
/// ([API §1]).
fn accept(endpoint: &'static str, status: u16, answer: &[u8]) -> Result<(), Error> {
    let envelope: Result<Envelope, _> = serde_json::from_slice(answer);
    match envelope {
        Ok(envelope) if envelope.is_refusal() || !(200..300).contains(&status) => {
            Err(Error::refusal(
                endpoint,
                status,
                envelope.message.0.as_deref().unwrap_or_default(),
            ))
        }
        Ok(_) => Ok(()),
        // Perhaps JSON that can be mended, perhaps a page for people.
        Err(_) => match Error::refusal(endpoint, status, &page_text(answer)) {
            error if matches!(error.kind(), Kind::Flood | Kind::Banned | Kind::Server) => {
                Err(error)
            }
            error if status == 401 => Err(error),
            _ => Ok(()),
        },
    }
}

/// Whether a name that 1Fichier tells is the one that it was given; whether it
/// normalises Unicode is not known ([API §J39]).
pub fn same_name(left: &str, right: &str) -> bool {
    left == right || left.nfc().eq(right.nfc())
}

/// A file's URL as it may stand in a log: whoever has it can download the
/// file, so only its beginning is shown.
pub fn shown(url: &str) -> &str {
    let end = url.find('?').map_or(0, |at| at + 5).min(url.len());
    url.get(..end).unwrap_or_default()
}

/// What a person would read on an HTML page, cut to one line.
fn page_text(page: &[u8]) -> String {
    let page = String::from_utf8_lossy(&page[..page.len().min(4096)]);
    let mut text = String::new();
    let mut in_tag = false;
    for character in page.chars() {
        match character {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ if in_tag => {}
            character => text.push(character),
        }
    }
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(200) {
        line.truncate(cut);
    }
    line
}

async fn read_limited(
    endpoint: &'static str,
    mut response: reqwest::Response,
    limit: usize,
) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Error::transport(endpoint, error))?
    {
        if body.len() + chunk.len() > limit {
            return Err(Error::new(
                endpoint,
                Kind::Malformed,
                format!("an answer of more than {limit} bytes"),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Refusals are final: repeating them leads to a ban ([API §A.3]).
fn pause_before_repeat(error: &Error, attempt: u32, repeat: Repeat) -> Option<Duration> {
    const ATTEMPTS: u32 = 4;
    if attempt >= ATTEMPTS {
        return None;
    }
    match error.kind() {
        // The budget does the waiting.
        Kind::Flood => Some(Duration::ZERO),
        Kind::NotSent => Some(backoff(attempt)),
        Kind::Broken | Kind::Server | Kind::Malformed if repeat == Repeat::Safe => {
            Some(backoff(attempt))
        }
        _ => None,
    }
}

/// 0.5, 2, 8 s and a little more, so that clients do not return in step.
fn backoff(attempt: u32) -> Duration {
    let base = Duration::from_millis(500) * 4_u32.pow(attempt.saturating_sub(1).min(3));
    base.mul_f64(fastrand::f64().mul_add(0.25, 1.0))
}
