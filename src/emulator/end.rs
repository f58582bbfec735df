//! `end.pl` on the nodes: what became of an upload [API §5].

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::behaviour::LinkOrder;
use super::fault::FaultKind;
use super::http::{Answer, Outcome, answer, header, json, page, parameters};
use super::json::{Json, Style};
use super::server::{Peer, arrive, plain_fault};
use super::state::{Link, Shared, State};

/// How long the outcome of an upload is known.
const KEPT: Duration = Duration::from_secs(2 * 3_600);

const WAIT: &str =
    "Please wait until the file has been scanned by our anti-virus. Veuillez patienter";

/// Answers one poll.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Outcome {
    let fault = arrive(shared, "end.pl", &request);
    let fault = match plain_fault(shared, peer, fault).await {
        Ok(outcome) => return outcome,
        Err(Some(FaultKind::Hang)) => std::future::pending().await,
        Err(fault) => fault,
    };
    let xid = parameters(request.uri().query().unwrap_or(""))
        .into_iter()
        .find(|(name, _)| name == "xid")
        .map_or_else(String::new, |(_, xid)| xid);
    let outcome = told(shared, peer, &request, &xid, fault.as_ref());
    if fault == Some(FaultKind::HangAfterEffect) {
        std::future::pending::<()>().await;
    }
    outcome
}

fn told(
    shared: &Shared,
    peer: &Peer,
    request: &Request<Incoming>,
    xid: &str,
    fault: Option<&FaultKind>,
) -> Outcome {
    let json_form = header(request.headers(), "json");
    let export = header(request.headers(), "export").is_some();
    let mut state = shared.state();
    let state = &mut *state;
    if fault == Some(&FaultKind::WaitPage) {
        return Ok(page(200, WAIT));
    }
    if fault == Some(&FaultKind::EmptyLinks) {
        return Ok(links_answer(state, false, &[], false));
    }
    let result = match json_form {
        Some(form) => poll(state, xid, form.trim() == "2"),
        None if export => csv(state, xid),
        None => page(200, "Fichier envoyé"),
    };
    match fault {
        Some(FaultKind::ResetAfterEffect | FaultKind::ResetAtByte(_)) => peer.reset.abort(),
        Some(FaultKind::EmptyBody) => Ok(json(200, "")),
        Some(FaultKind::TruncatedJson) => Ok(json(200, r#"{"incoming":0,"links":[{"down"#)),
        _ => Ok(result),
    }
}

/// The links at once, as `upload.cgi` may answer them.
pub(super) fn json_answer(state: &mut State, xid: &str) -> Answer {
    poll(state, xid, false)
}

/// Forgets outcomes whose time is over.
pub(super) fn forget_old(state: &mut State) {
    let now = Instant::now();
    state
        .emissions
        .retain(|_, emission| now.saturating_duration_since(emission.finished) < KEPT);
}

/// One poll of a finished upload: waiting pages first, then empty links, then the links.
fn poll(state: &mut State, xid: &str, pretty: bool) -> Answer {
    forget_old(state);
    let Some(emission) = state.emissions.get_mut(xid) else {
        return page(200, "Fichier introuvable");
    };
    if emission.wait_pages > 0 {
        emission.wait_pages -= 1;
        return page(200, WAIT);
    }
    let incoming = emission.incoming;
    if emission.empty_links > 0 {
        emission.empty_links -= 1;
        return links_answer(state, incoming, &[], pretty);
    }
    let mut links = emission.links.clone();
    if let Some(first) = links.first().cloned() {
        let extra = state.behaviour.extra_links as usize;
        links.extend(std::iter::repeat_n(first, extra));
    }
    if state.behaviour.link_order == LinkOrder::Shuffled {
        state.random.shuffle(&mut links);
    }
    links_answer(state, incoming, &links, pretty)
}

fn links_answer(state: &mut State, incoming: bool, links: &[Link], pretty: bool) -> Answer {
    let links: Vec<Json> = links
        .iter()
        .map(|link| {
            Json::object([
                ("download", link.url.as_str().into()),
                ("filename", link.filename.as_str().into()),
                ("remove", link.remove.as_str().into()),
                // A string, unlike everywhere else.
                ("size", link.size.to_string().into()),
                ("whirlpool", (*link.whirlpool).into()),
            ])
        })
        .collect();
    // No status [API §1].
    let value = Json::object([("incoming", incoming.into()), ("links", links.into())]);
    let style = Style {
        pretty,
        stringify: false,
    };
    json(200, value.write(style, &mut state.random))
}

/// `EXPORT: 1`: file name, size, download id, removal id, domain.
fn csv(state: &mut State, xid: &str) -> Answer {
    forget_old(state);
    let Some(emission) = state.emissions.get(xid) else {
        return page(200, "Fichier introuvable");
    };
    let lines: String = emission
        .links
        .iter()
        .map(|link| {
            let id = link.url.rsplit_once("/?").map_or("", |(_, id)| id);
            let remove = if link.remove.is_empty() {
                "--"
            } else {
                &link.remove
            };
            format!(
                "{};{};{id};{remove};{}\n",
                link.filename, link.size, link.domain
            )
        })
        .collect();
    answer(200, "text/csv; charset=utf-8", lines)
}
