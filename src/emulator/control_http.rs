//! `/_control`: the control handle for other processes, when it is turned on.

use std::sync::Arc;

use http::{Method, Request};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::control::Control;
use super::fault::Fault;
use super::http::{Answer, json as json_answer};
use super::limits::Limits;
use super::server::read_body;
use super::state::Shared;

/// The largest request body that is read.
const LARGEST_BODY: usize = 1024 * 1024;

/// A fault, or an order to take all faults back.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FaultOrder {
    Clear { clear: bool },
    Add(Fault),
}

pub(super) async fn handle(
    shared: &Arc<Shared>,
    operation: &str,
    request: Request<Incoming>,
) -> Answer {
    let control = Control::new(Arc::clone(shared));
    let method = request.method().clone();
    let Ok(body) = read_body(request.into_body(), LARGEST_BODY).await else {
        return error(400, "the body could not be read");
    };
    let result = match (method, operation) {
        (Method::GET, "calls") => Ok(calls(&control)),
        (Method::GET, "tree") => Ok(json!(control.tree())),
        (Method::GET, "requests") => Ok(requests(&control)),
        (Method::GET, "behaviour") => Ok(json!(control.behaviour())),
        (Method::GET, "limits") => Ok(json!(control.limits())),
        (Method::POST, "reset") => {
            control.reset_calls();
            control.reset_limits();
            Ok(json!({"ok": true}))
        }
        (Method::POST, "fault") => serde_json::from_slice(&body)
            .map(|order| {
                match order {
                    FaultOrder::Add(fault) => control.inject(fault),
                    FaultOrder::Clear { clear: true } => control.clear_faults(),
                    FaultOrder::Clear { clear: false } => {}
                }
                json!({"ok": true})
            })
            .map_err(|error| error.to_string()),
        (Method::POST, "behaviour") => merged(&control.behaviour(), &body).map(|merged| {
            control.set_behaviour(|behaviour| *behaviour = merged);
            json!(control.behaviour())
        }),
        (Method::POST, "limits") => limits(&control, &body),
        _ => return error(404, "unknown control operation"),
    };
    match result {
        Ok(value) => json_answer(200, value.to_string()),
        Err(text) => error(400, &text),
    }
}

fn error(status: u16, text: &str) -> Answer {
    json_answer(status, json!({"error": text}).to_string())
}

fn calls(control: &Control) -> Value {
    let calls = control.calls();
    let counts: Map<String, Value> = calls
        .iter()
        .map(|(endpoint, count)| (endpoint.to_owned(), json!(count)))
        .collect();
    json!({
        "calls": counts,
        "total_v1": calls.total_v1(),
        "floods": calls.floods(),
        "open_uploads": control.open_uploads(),
        "open_downloads": control.open_downloads(),
    })
}

fn requests(control: &Control) -> Value {
    let requests: Vec<Value> = control
        .last_requests()
        .into_iter()
        .map(|request| {
            json!({
                "method": request.method,
                "endpoint": request.endpoint,
                "target": request.target,
                "authorized": request.authorized,
                "headers": request.headers,
                "body": request.body,
            })
        })
        .collect();
    json!(requests)
}

/// Takes `"documented"`, `"strict"`, `"none"`, or an object with the members to change.
fn limits(control: &Control, body: &[u8]) -> Result<Value, String> {
    let limits = match serde_json::from_slice::<String>(body).as_deref() {
        Ok("documented") => Limits::documented(),
        Ok("strict") => Limits::strict(),
        Ok("none") => Limits::none(),
        Ok(other) => return Err(format!("unknown limits {other:?}")),
        Err(_) => merged(&control.limits(), body)?,
    };
    control.set_limits(limits);
    Ok(json!(control.limits()))
}

/// A value with the members that a JSON object names changed.
pub(super) fn merged<T: Serialize + DeserializeOwned>(value: &T, body: &[u8]) -> Result<T, String> {
    let changes: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut value = serde_json::to_value(value).map_err(|error| error.to_string())?;
    if let Value::Object(members) = &mut value {
        members.extend(changes);
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}
