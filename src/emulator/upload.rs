//! `upload.cgi` on the nodes [API §4].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::body;
use super::end;
use super::fault::FaultKind;
use super::file::{DOMAINS, File, file_url};
use super::http::{Abort, Answer, Outcome, header, node_refusal, page, parameters, redirect};
use super::multipart::boundary;
use super::names;
use super::parts::{Failed, NO_FILE, Reader};
use super::server::{Peer, arrive, plain_fault};
use super::state::{Emission, Link, Shared, State};
use super::v1::authenticate;

/// The most bytes in one upload [API §4.1].
const LARGEST_UPLOAD: u64 = 500_000_000_000;
/// The largest file of a guest [API §4.4].
const GUEST_FILE_LIMIT: u64 = 5_000_000_000;
/// Pieces between the connection and the writing thread. With hyper's buffer this bounds the
/// memory of an upload.
const PIECES: usize = 16;

/// The answer of a node with trouble.
const NODE_TROUBLE: &str = "Ne peut ouvrir le fichier destination";

/// Receives one upload.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Outcome {
    let fault = arrive(shared, "upload.cgi", &request);
    if fault == Some(FaultKind::Hang) {
        std::future::pending::<()>().await;
    }
    if fault == Some(FaultKind::ResetBeforeAnswer) {
        return peer.reset.abort();
    }
    let fault = match plain_fault(shared, peer, fault).await {
        Ok(outcome) => {
            // Answering a client that is still sending would look like a reset to it.
            drain(request.into_body()).await?;
            return outcome;
        }
        Err(fault) => fault,
    };
    if request.method() != Method::POST {
        return Ok(page(405, "Method Not Allowed"));
    }
    let headers = request.headers();
    let Some(length) = header(headers, "content-length").and_then(|text| text.parse::<u64>().ok())
    else {
        return Ok(page(411, "Length Required"));
    };
    let account = authenticate(&mut shared.state(), headers);
    let boundary = header(headers, "content-type")
        .and_then(boundary)
        .map(str::to_owned);
    let id = parameters(request.uri().query().unwrap_or(""))
        .into_iter()
        .find(|(name, _)| name == "id")
        .map(|(_, id)| id);
    let wants_json = header(headers, "json").is_some();
    let (Ok(account), Some(boundary), Some(id)) = (account, boundary, id) else {
        drain(request.into_body()).await?;
        return Ok(node_refusal(NO_FILE));
    };
    if length > LARGEST_UPLOAD {
        drain(request.into_body()).await?;
        return Ok(node_refusal("Envoi trop volumineux"));
    }
    let upload = Upload {
        id,
        account,
        wants_json,
        fault,
    };
    let received = upload
        .receive(shared, peer, &boundary, request.into_body())
        .await?;
    let outcome = upload.finish(shared, peer, received);
    if upload.fault == Some(FaultKind::HangAfterEffect) {
        std::future::pending::<()>().await;
    }
    outcome
}

async fn drain(mut body: Incoming) -> Result<(), Abort> {
    while let Some(frame) = body.frame().await {
        frame.map_err(|_| Abort)?;
    }
    Ok(())
}

#[derive(Debug)]
struct Upload {
    id: String,
    /// `None` for a guest.
    account: Option<usize>,
    wants_json: bool,
    fault: Option<FaultKind>,
}

/// A body that arrived completely.
#[derive(Debug)]
struct Received {
    fields: BTreeMap<String, String>,
    /// Names as sent, and contents.
    files: Vec<(String, Arc<body::Body>)>,
}

impl Upload {
    /// Reads the body. Whatever keeps it from being complete leaves nothing behind. A body that
    /// is not understood is still read to its end, so that the client sees the answer.
    async fn receive(
        &self,
        shared: &Arc<Shared>,
        peer: &Peer,
        boundary: &str,
        mut body: Incoming,
    ) -> Result<Result<Received, Failed>, Abort> {
        let _open = Open::new(&shared.open_uploads);
        let reset_at = match self.fault {
            Some(FaultKind::ResetAtByte(bytes)) => bytes,
            _ => u64::MAX,
        };
        let (jobs, queue) = mpsc::channel(PIECES);
        let writing = {
            let shared = Arc::clone(shared);
            let flip = self.fault == Some(FaultKind::Corrupt);
            tokio::spawn(body::write_all(shared, queue, flip))
        };
        let mut reader = Reader::new(boundary, jobs);
        let mut total: u64 = 0;
        let mut failed = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Abort)?.into_data() else {
                continue;
            };
            total += data.len() as u64;
            if total >= reset_at {
                return peer.reset.abort();
            }
            if failed.is_none()
                && let Err(reason) = reader.read(data).await
            {
                failed = Some(reason);
            }
        }
        let complete = reader.parser.is_complete();
        let Reader {
            fields,
            names,
            jobs,
            ..
        } = reader;
        drop(jobs);
        let stored = match writing.await {
            Ok(Ok(stored)) => stored,
            Ok(Err(error)) => {
                tracing::warn!(%error, "emulator: cannot store an upload");
                return Ok(Err(Failed::Broken));
            }
            Err(_) => return Ok(Err(Failed::Broken)),
        };
        if let Some(reason) = failed {
            return Ok(Err(reason));
        }
        if !complete || names.is_empty() {
            return Ok(Err(Failed::Refused(NO_FILE.to_owned())));
        }
        let files = names.into_iter().zip(stored).collect();
        Ok(Ok(Received { fields, files }))
    }

    /// Stores what arrived and answers.
    fn finish(&self, shared: &Shared, peer: &Peer, received: Result<Received, Failed>) -> Outcome {
        let received = match received {
            Ok(received) => received,
            Err(Failed::Refused(reason)) => return Ok(node_refusal(&reason)),
            Err(Failed::Broken) => return Ok(page(500, "Internal Server Error")),
        };
        let mut state = shared.state();
        remember(&mut state, &received);
        let xid = match self.store(shared, &mut state, received) {
            Ok(xid) => xid,
            Err(reason) => return Ok(node_refusal(&reason)),
        };
        match self.fault {
            Some(FaultKind::ResetAfterEffect) => return peer.reset.abort(),
            Some(FaultKind::EmptyBody) => return Ok(page(200, "")),
            _ => {}
        }
        Ok(self.success(&mut state, &xid))
    }

    fn success(&self, state: &mut State, xid: &str) -> Answer {
        if self.wants_json && state.behaviour.json_on_upload {
            return end::json_answer(state, xid);
        }
        if state.behaviour.upload_answer_200 {
            return page(200, "Please wait...");
        }
        redirect(&format!("/end.pl?xid={xid}"))
    }

    /// Checks everything, then stores all files or none. Returns the id for `end.pl`, or the
    /// reason for the page.
    fn store(
        &self,
        shared: &Shared,
        state: &mut State,
        received: Received,
    ) -> Result<String, String> {
        if let Some(FaultKind::NodeRefusal(reason)) = &self.fault {
            return Err(reason.clone());
        }
        let percent = state.behaviour.node_failure_percent;
        if percent > 0 && state.random.u8(0..100) < percent {
            return Err(NODE_TROUBLE.to_owned());
        }
        if state.behaviour.upload_id_check
            && state.uploads.get(&self.id).is_none_or(|upload| upload.used)
        {
            return Err("Identifiant d'envoi invalide".to_owned());
        }
        let place = Place::find(shared, state, self.account, &received.fields);
        let mut files = check_files(state, &place, received.files)?;
        if let Some(FaultKind::PartialBatch(items)) = self.fault {
            files.truncate(items);
        }
        if let Some(upload) = state.uploads.get_mut(&self.id) {
            upload.used = true;
        }
        let when = shared.when();
        let domain = received
            .fields
            .get("domain")
            .and_then(|text| text.parse().ok())
            .filter(|domain| *domain < DOMAINS.len())
            .unwrap_or(0);
        let pass = received.fields.get("dpass").filter(|pass| !pass.is_empty());
        let mut links = Vec::new();
        let (mut wait_pages, empty_links) =
            (state.behaviour.wait_pages, state.behaviour.empty_links);
        for (name, body) in files {
            let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
            let waits = &state.behaviour.wait_pages_by_extension;
            let wait = waits.get(&extension.to_ascii_lowercase()).copied();
            wait_pages = wait_pages.max(wait.unwrap_or(0));
            let mut file = File::new(place.account, place.folder, name, body);
            file.domain = domain;
            file.pass = pass.cloned();
            if place.account.is_none() {
                file.code = state.random_text(5, b"abcdefghijklmnopqrstuvwxyz0123456789");
            }
            let mut link = Link {
                url: String::new(),
                remove: file.code.clone(),
                filename: file.name.clone(),
                size: file.size,
                whirlpool: Arc::clone(&file.whirlpool),
                domain,
            };
            let id = state.add_file(file, when);
            link.url = file_url(domain, &id);
            if place.account.is_none() {
                link.remove = format!("https://1fichier.com/remove/{id}/{}", link.remove);
            }
            links.push(link);
        }
        let xid = if state.behaviour.xid_differs {
            state.new_upload_id()
        } else {
            self.id.clone()
        };
        let emission = Emission {
            finished: Instant::now(),
            incoming: place.incoming,
            links,
            wait_pages,
            empty_links,
        };
        end::forget_old(state);
        state.emissions.insert(xid.clone(), emission);
        Ok(xid)
    }
}

/// Adds a summary of the body to the remembered request.
fn remember(state: &mut State, received: &Received) {
    let files: Vec<serde_json::Value> = received
        .files
        .iter()
        .map(|(name, body)| json!({"name": name, "size": body.size}))
        .collect();
    let summary = json!({"fields": received.fields, "files": files});
    state.log.complete("upload.cgi", summary.to_string());
}

/// Checks names, sizes and room. The names are returned as they are stored.
fn check_files(
    state: &State,
    place: &Place,
    files: Vec<(String, Arc<body::Body>)>,
) -> Result<Vec<(String, Arc<body::Body>)>, String> {
    let account = place
        .account
        .and_then(|account| state.store.accounts.get(account));
    let limit = account.map_or(GUEST_FILE_LIMIT, |account| {
        account.options.offer.file_limit()
    });
    let total: u64 = files.iter().map(|(_, body)| body.size).sum();
    if let Some(account) = account {
        if account.options.upload_forbidden {
            return Err("Envoi interdit pour ce compte".to_owned());
        }
        if account.used.saturating_add(total) > account.options.quota_bytes {
            return Err("Espace de stockage insuffisant".to_owned());
        }
    }
    files
        .into_iter()
        .map(|(name, body)| {
            if body.size == 0 {
                return Err("Fichier vide".to_owned());
            }
            if body.size > limit {
                return Err("Fichier trop volumineux".to_owned());
            }
            // Directories in the name are dropped [API §4.3].
            let leaf = name.rsplit(['/', '\\']).next().unwrap_or("");
            names::accept(leaf, state.behaviour.forbidden_chars)
                .map(|name| (name, body))
                .ok_or_else(|| "Nom de fichier incorrect".to_owned())
        })
        .collect()
}

/// Where an upload goes.
#[derive(Debug)]
struct Place {
    account: Option<usize>,
    folder: u64,
    incoming: bool,
}

impl Place {
    /// The folder `did` of the sender, or the root when there is none such [API §4.2]; the
    /// incoming folder of `user` when a guest sends.
    fn find(
        shared: &Shared,
        state: &mut State,
        account: Option<usize>,
        fields: &BTreeMap<String, String>,
    ) -> Place {
        let mut account = account;
        let user = fields.get("user").filter(|_| account.is_none());
        let owner = user.and_then(|user| state.store.account_of_email(user));
        if let Some(owner) = owner {
            let password = state
                .store
                .accounts
                .get(owner)
                .and_then(|account| account.options.password.as_ref());
            if password.is_some() && password == fields.get("pass") {
                account = Some(owner);
            } else {
                return Place {
                    account: Some(owner),
                    folder: incoming_folder(shared, state, owner),
                    incoming: true,
                };
            }
        }
        let did = fields.get("did").and_then(|text| text.trim().parse().ok());
        let folder = match (account, did) {
            (Some(account), Some(did)) if state.store.folder(account, did).is_some() => did,
            _ => 0,
        };
        Place {
            account,
            folder,
            incoming: false,
        }
    }
}

fn incoming_folder(shared: &Shared, state: &mut State, owner: usize) -> u64 {
    let known = state
        .store
        .accounts
        .get(owner)
        .and_then(|account| account.incoming);
    if let Some(id) = known.filter(|id| state.store.folder(owner, *id).is_some()) {
        return id;
    }
    let id = state.add_folder(owner, 0, "incoming".to_owned(), shared.when());
    if let Some(account) = state.store.accounts.get_mut(owner) {
        account.incoming = Some(id);
    }
    id
}

/// Counts an upload while its body is being received.
#[derive(Debug)]
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Open<'a> {
        count.fetch_add(1, Ordering::Relaxed);
        Open(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
