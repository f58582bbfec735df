//! The parts of the website that clients use: shared folders, the link checker, file pages.

use std::sync::Arc;

use http::{Method, Request};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::fault::FaultKind;
use super::file::Acl;
use super::http::{Answer, Outcome, answer, escape, json, page, parameters};
use super::json::{Json, Style};
use super::server::{Peer, arrive, arrive_with, plain_fault, read_body};
use super::state::Shared;

/// The longest form that is read, in bytes. A limit of the emulator.
const LONGEST_FORM: usize = 1024 * 1024;
/// The most links that are checked in one request [API §24].
const MOST_LINKS: usize = 100;

/// `/dir/<id>` [API §23].
pub(super) async fn shared_folder(
    shared: &Arc<Shared>,
    peer: &Peer,
    share: &str,
    request: Request<Incoming>,
) -> Outcome {
    let (parts, body) = request.into_parts();
    let mut given = parameters(parts.uri.query().unwrap_or(""));
    let mut text = String::new();
    if parts.method == Method::POST {
        let form = read_body(body, LONGEST_FORM).await?;
        text = String::from_utf8_lossy(&form).into_owned();
        given.extend(parameters(&text));
    }
    let fault = arrive_with(shared, "dir", &Request::from_parts(parts, ()), text);
    match plain_fault(shared, peer, fault).await {
        Ok(outcome) => return outcome,
        Err(Some(FaultKind::Hang)) => std::future::pending().await,
        Err(Some(FaultKind::TruncatedJson)) => return Ok(json(200, r#"[{"filena"#)),
        Err(Some(FaultKind::EmptyBody)) => return Ok(json(200, "")),
        Err(_) => {}
    }
    let value = |name: &str| {
        given
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    };
    Ok(share_answer(
        shared,
        share,
        value("json") == Some("1"),
        value("pass"),
    ))
}

fn share_answer(shared: &Shared, share: &str, as_json: bool, pass: Option<&str>) -> Answer {
    let mut state = shared.state();
    let state = &mut *state;
    let Some((account, id)) = state.store.shared(share) else {
        return page(404, "The requested folder does not exist");
    };
    let needed = state
        .store
        .folder(account, id)
        .and_then(|folder| folder.pass.as_deref());
    if needed.is_some() && needed != pass {
        let form = "<html><body><form method=\"post\"><input type=\"password\" name=\"pass\">\
                    </form></body></html>";
        return answer(200, "text/html; charset=utf-8", form);
    }
    let files = state.store.listed(account, id, Instant::now());
    if !as_json {
        let names: Vec<&str> = files.iter().map(|(_, file)| file.name.as_str()).collect();
        return page(200, &names.join(" "));
    }
    let items: Vec<Json> = files
        .into_iter()
        .map(|(id, file)| {
            Json::object([
                ("filename", file.name.as_str().into()),
                ("link", file.url(id).into()),
                ("size", file.size.into()),
                ("password", file.pass.is_some().into()),
                ("acl", (file.acl != Acl::default()).into()),
            ])
        })
        .collect();
    let style = Style {
        pretty: false,
        stringify: state.behaviour.stringify_numbers,
    };
    let text = Json::from(items).write(style, &mut state.random);
    json(200, text)
}

/// `/check_links.pl` [API §24].
pub(super) async fn check_links(
    shared: &Arc<Shared>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Outcome {
    let fault = arrive(shared, "check_links.pl", &request);
    match plain_fault(shared, peer, fault).await {
        Ok(outcome) => return outcome,
        Err(Some(FaultKind::Hang)) => std::future::pending().await,
        Err(_) => {}
    }
    let form = read_body(request.into_body(), LONGEST_FORM).await?;
    let now = Instant::now();
    let state = shared.state();
    let lines: String = parameters(&String::from_utf8_lossy(&form))
        .into_iter()
        .filter(|(name, _)| name == "links[]")
        .take(MOST_LINKS)
        .map(|(_, url)| {
            if !url.contains("/?") {
                return format!("{url};;;BAD LINK\n");
            }
            let found = state.store.find_known(&url, now);
            match found.and_then(|id| state.store.file(&id)) {
                None => format!("{url};;;NOT FOUND\n"),
                Some(file) if file.acl != Acl::default() => format!("{url};;;PRIVATE\n"),
                Some(file) => format!("{url};{};{}\n", escape(&file.name), file.size),
            }
        })
        .collect();
    Ok(answer(200, "text/plain; charset=utf-8", lines))
}

/// `/?<id>`: the page people see.
pub(super) async fn file_page(
    shared: &Arc<Shared>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Outcome {
    let fault = arrive(shared, "page", &request);
    if let Ok(outcome) = plain_fault(shared, peer, fault).await {
        return outcome;
    }
    let query = request.uri().query().unwrap_or("");
    let id = query.split('&').next().unwrap_or("");
    let state = shared.state();
    let known = state.store.file(id);
    Ok(match known.filter(|file| file.known <= Instant::now()) {
        Some(file) => page(
            200,
            &format!("Download {} ({} bytes)", file.name, file.size),
        ),
        None if id.is_empty() => page(200, "1fichier.com: Cloud Storage"),
        None => page(404, "The requested file could not be found"),
    })
}
