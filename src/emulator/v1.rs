//! Calls to `/v1`: the way of every call through limits, faults, headers and authentication to
//! the operation and back.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::account::is_key;
use super::changes::When;
use super::clock::Clock;
use super::fault::FaultKind;
use super::file::{File, FileId};
use super::http::{Answer, Cut, Outcome, cut_after, header, json, streamed};
use super::json::{Json, Style};
use super::names;
use super::refusal::Refusal;
use super::server::{Peer, bearer, describe, plain_fault, read_body};
use super::state::{Hosts, Shared, State};
use super::{files, folders, listing, misc};

/// The largest request body that is read. A limit of the emulator.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// The only operation that is also a GET and also for guests [API §3].
const UPLOAD_SERVER: &str = "upload/get_upload_server";

/// Answers one call.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    peer: &Peer,
    operation: &str,
    request: Request<Incoming>,
) -> Outcome {
    let endpoint = operation.strip_suffix(".cgi").unwrap_or(operation);
    let (parts, body) = request.into_parts();
    let body = read_body(body, LARGEST_BODY).await?;
    let request = Request::from_parts(parts, body);
    let fault = {
        let mut state = shared.state();
        state.calls.count(endpoint);
        let text = String::from_utf8_lossy(request.body()).into_owned();
        state.log.add(describe(endpoint, &request, text));
        let limits = state.limits.clone();
        if let Err(refusal) = state
            .limiter
            .admit_address(&limits, peer.ip, Instant::now())
        {
            return Ok(refuse(&mut state, &refusal));
        }
        state.faults.take(endpoint)
    };
    let fault = match plain_fault(shared, peer, fault).await {
        Ok(outcome) => return outcome,
        Err(Some(FaultKind::Hang)) => std::future::pending().await,
        Err(fault) => fault,
    };
    let items = match fault {
        Some(FaultKind::PartialBatch(items)) => items,
        _ => usize::MAX,
    };
    let (status, text) = perform(shared, peer, endpoint, &request, items);
    match fault {
        Some(FaultKind::ResetAfterEffect) => peer.reset.abort(),
        Some(FaultKind::HangAfterEffect) => std::future::pending().await,
        Some(FaultKind::EmptyBody) => Ok(json(status, Bytes::new())),
        Some(FaultKind::TruncatedJson) => {
            let half = text.len() / 2;
            Ok(json(status, Bytes::from(text).slice(..half)))
        }
        Some(FaultKind::ResetAtByte(bytes)) => Ok(cut(peer, text, bytes, Cut::Reset)),
        Some(FaultKind::Truncate(bytes)) => Ok(cut(peer, text, bytes, Cut::Close)),
        _ => Ok(json(status, text)),
    }
}

/// An answer that says how long it is and does not keep to it.
fn cut(peer: &Peer, text: String, bytes: u64, cut: Cut) -> Answer {
    let length = HeaderValue::from(text.len());
    let pieces = stream::iter([Ok(Bytes::from(text))]);
    let mut answer = Response::new(streamed(cut_after(pieces, bytes, cut, peer.reset.clone())));
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    answer
}

/// Performs an operation, or says why not.
fn perform(
    shared: &Shared,
    peer: &Peer,
    endpoint: &str,
    request: &Request<Bytes>,
    items: usize,
) -> (u16, String) {
    let mut state = shared.state();
    let state = &mut *state;
    let mut pretty = false;
    let outcome = authorise(state, peer, endpoint, request).and_then(|account| {
        let raw = std::str::from_utf8(request.body()).map_err(|_| bad_json())?;
        let members = parse(raw)?;
        pretty = members.get("pretty").is_some_and(is_set);
        let mut call = Call {
            state,
            clock: &shared.clock,
            hosts: &shared.hosts,
            now: Instant::now(),
            ip: peer.ip,
            account,
            members,
            escapes: raw.contains("\\u"),
            items,
        };
        dispatch(&mut call, endpoint)
    });
    match outcome {
        Ok(value) => {
            let style = Style {
                pretty,
                stringify: state.behaviour.stringify_numbers,
            };
            (200, value.write(style, &mut state.random))
        }
        Err(refusal) => {
            if matches!(refusal.status, 401 | 403 | 404) && !refusal.is_flood() {
                let limits = state.limits.clone();
                state.limiter.refused(&limits, peer.ip, Instant::now());
            }
            write_refusal(state, &refusal)
        }
    }
}

fn write_refusal(state: &mut State, refusal: &Refusal) -> (u16, String) {
    let value = Json::object([
        ("status", "KO".into()),
        ("message", refusal.message.clone().into()),
    ]);
    let status = if state.behaviour.all_ko_200 {
        200
    } else {
        refusal.status
    };
    (status, value.write(Style::default(), &mut state.random))
}

/// A KO answer.
pub(super) fn refuse(state: &mut State, refusal: &Refusal) -> Answer {
    let (status, text) = write_refusal(state, refusal);
    json(status, text)
}

/// Checks method, type and key; the type comes before the key [API K4].
fn authorise(
    state: &mut State,
    peer: &Peer,
    endpoint: &str,
    request: &Request<Bytes>,
) -> Result<Option<usize>, Refusal> {
    let known_method = request.method() == Method::POST
        || (request.method() == Method::GET && endpoint == UPLOAD_SERVER);
    if !known_method {
        return Err(Refusal::new(405, "Method not allowed"));
    }
    check_type(state, request.headers())?;
    let account = authenticate(state, request.headers())?;
    match account {
        Some(account) => {
            let limits = state.limits.clone();
            let now = Instant::now();
            state.limiter.admit_account(&limits, account, now)?;
        }
        None if endpoint == UPLOAD_SERVER => {}
        None => return Err(Refusal::not_authenticated()),
    }
    tracing::trace!(endpoint, ip = %peer.ip, "emulator: call");
    Ok(account)
}

fn check_type(state: &State, headers: &HeaderMap) -> Result<(), Refusal> {
    let given = header(headers, "content-type").unwrap_or("");
    let (kind, parameters) = match given.split_once(';') {
        Some((kind, _)) => (kind.trim(), true),
        None => (given, false),
    };
    if kind != "application/json" || (parameters && state.behaviour.reject_charset) {
        return Err(Refusal::new(400, "Content-Type not JSON #24"));
    }
    Ok(())
}

/// The account of the key; `None` without a key. Unknown keys get one of the two answers that
/// were observed, in turn [API K3].
pub(super) fn authenticate(
    state: &mut State,
    headers: &HeaderMap,
) -> Result<Option<usize>, Refusal> {
    if !headers.contains_key(http::header::AUTHORIZATION) {
        return Ok(None);
    }
    let Some(key) = bearer(headers).filter(|key| is_key(key)) else {
        return Err(Refusal::new(403, "Bad token"));
    };
    match state.store.account_of_key(key) {
        Some(account) => Ok(Some(account)),
        None if state.turn().is_multiple_of(2) => Err(Refusal::not_authenticated()),
        None => Err(Refusal::new(403, "No such user #142")),
    }
}

fn bad_json() -> Refusal {
    Refusal::new(400, "JSON not valid #31")
}

fn parse(raw: &str) -> Result<Map<String, Value>, Refusal> {
    if raw.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(raw) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(bad_json()),
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !matches!(text.as_str(), "" | "0"),
        _ => false,
    }
}

fn dispatch(call: &mut Call<'_>, endpoint: &str) -> Result<Json, Refusal> {
    match endpoint {
        "download/get_token" => misc::get_token(call),
        UPLOAD_SERVER => Ok(misc::get_upload_server(call)),
        "file/ls" => listing::file_ls(call),
        "file/info" => files::info(call),
        "file/rm" => files::rm(call),
        "file/mv" => files::mv(call),
        "file/rename" => files::rename(call),
        "file/cp" => files::cp(call),
        "file/chattr" => files::chattr(call),
        "file/scan" => files::scan(call),
        "folder/ls" => listing::folder_ls(call),
        "folder/mkdir" => folders::mkdir(call),
        "folder/share" => folders::share(call),
        "folder/mv" => folders::mv(call),
        "folder/rm" => folders::rm(call),
        "user/info" => misc::user_info(call),
        "remote/ls" => Ok(Json::object([
            ("status", "OK".into()),
            ("data", Json::List(Vec::new())),
        ])),
        _ => Err(Refusal::new(404, "Unknown operation")),
    }
}

/// One call with everything an operation needs.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) state: &'a mut State,
    pub(super) clock: &'a Clock,
    pub(super) hosts: &'a Hosts,
    pub(super) now: Instant,
    pub(super) ip: IpAddr,
    account: Option<usize>,
    members: Map<String, Value>,
    /// Whether the body contains `\u` escapes.
    escapes: bool,
    /// How many items of a batch to act upon.
    pub(super) items: usize,
}

impl Call<'_> {
    /// The caller's account.
    pub(super) fn account(&self) -> Result<usize, Refusal> {
        self.account.ok_or_else(Refusal::not_authenticated)
    }

    /// A member that is there and not null.
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A whole number; a string of digits is not one [API §1].
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.member(name)
            .map(|value| value.as_i64().ok_or_else(|| Refusal::bad_member(name)))
            .transpose()
    }

    /// The id of a folder; absent is the root.
    pub(super) fn folder_id(&self, name: &str) -> Result<u64, Refusal> {
        let id = self.int(name)?.unwrap_or(0);
        u64::try_from(id).map_err(|_| Refusal::bad_member(name))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        self.member(name)
            .map(|value| value.as_str().ok_or_else(|| Refusal::bad_member(name)))
            .transpose()
    }

    /// A flag: 0 or 1.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.member(name).is_some_and(is_set)
    }

    pub(super) fn list(&self, name: &str) -> Result<Vec<Value>, Refusal> {
        match self.member(name) {
            Some(Value::Array(values)) => Ok(values.clone()),
            Some(_) => Err(Refusal::bad_member(name)),
            None => Ok(Vec::new()),
        }
    }

    /// An array of strings that must be there and not empty.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Refusal> {
        let texts: Option<Vec<String>> = self
            .list(name)?
            .iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect();
        texts
            .filter(|texts| !texts.is_empty())
            .ok_or_else(|| Refusal::bad_member(name))
    }

    /// The form in which a name is stored.
    pub(super) fn name(&self, name: &str) -> Result<String, Refusal> {
        if self.escapes && self.state.behaviour.reject_unicode_escapes {
            return Err(Refusal::bad_name());
        }
        names::accept(name, self.state.behaviour.forbidden_chars).ok_or_else(Refusal::bad_name)
    }

    /// Groupware shares are not emulated: the only user whose folders can be named is the caller.
    pub(super) fn only_own(&self, member: &str) -> Result<(), Refusal> {
        let account = self.account()?;
        let own = self.state.store.accounts.get(account);
        match self.text(member)? {
            None | Some("") => Ok(()),
            Some(email) if own.is_some_and(|own| own.options.email == email) => Ok(()),
            Some(_) => Err(Refusal::not_allowed()),
        }
    }

    /// A folder that something is to be put into [API J10].
    pub(super) fn target(&self, id: u64) -> Result<u64, Refusal> {
        use super::behaviour::UnknownParent;
        let account = self.account()?;
        if self.state.store.folder(account, id).is_some() {
            return Ok(id);
        }
        match self.state.behaviour.unknown_parent {
            UnknownParent::Root => Ok(0),
            UnknownParent::Refuse => Err(Refusal::ko("Destination folder not found")),
        }
    }

    /// This moment, for what the call changes.
    pub(super) fn when(&self) -> When {
        When {
            now: self.now,
            date: self.clock.date(),
            lags: true,
        }
    }

    /// The file that a link names, if the link is known already.
    pub(super) fn find(&self, url: &str) -> Option<FileId> {
        self.state.store.find_known(url, self.now)
    }

    /// The caller's file that a link names.
    pub(super) fn own_file(&self, url: &str) -> Option<FileId> {
        let id = self.find(url)?;
        let file = self.state.store.file(&id)?;
        (self.account.is_some() && file.account == self.account).then_some(id)
    }

    /// The file that `url`, or `folder_id` and `filename`, name, if the caller may read it
    /// [API §2, §7].
    pub(super) fn readable_file(&self) -> Result<FileId, Refusal> {
        let id = match self.text("url")? {
            Some(url) => self.find(url),
            None => self.named_file()?,
        }
        .ok_or_else(Refusal::not_found)?;
        let file = self.state.store.file(&id).ok_or_else(Refusal::not_found)?;
        self.check_readable(file)?;
        Ok(id)
    }

    /// Restrictions and password of a file.
    pub(super) fn check_readable(&self, file: &File) -> Result<(), Refusal> {
        if !self.state.may_read(file, self.account, self.ip) {
            return Err(Refusal::not_allowed());
        }
        let own = self.account.is_some() && file.account == self.account;
        let needed = !own || self.state.behaviour.own_password_needed;
        match (&file.pass, self.text("pass")?) {
            (Some(pass), Some(given)) if pass == given => Ok(()),
            (Some(_), None | Some("")) if needed => Err(Refusal::new(
                403,
                "Password not provided. Resource not allowed #601",
            )),
            (Some(_), Some(_)) if needed => Err(Refusal::new(
                403,
                "Invalid password. Resource not allowed #607",
            )),
            _ => Ok(()),
        }
    }

    fn named_file(&self) -> Result<Option<FileId>, Refusal> {
        self.only_own("sharing_user")?;
        let account = self.account()?;
        let name = self
            .text("filename")?
            .ok_or_else(|| Refusal::bad_member("url"))?;
        let folder = self.folder_id("folder_id")?;
        let store = &self.state.store;
        Ok(store.folder(account, folder).and_then(|folder| {
            folder
                .files
                .iter()
                .find(|id| {
                    store
                        .file(id)
                        .is_some_and(|file| file.name == name && file.known <= self.now)
                })
                .map(Arc::clone)
        }))
    }
}
