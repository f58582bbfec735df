//! `healthcheck`: whether the server serves, by exit code, for containers and
//! scripts.

use serde::Serialize;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connect::Session;
use super::exit::{Exit, Problem};
use super::io::Io;

#[derive(Serialize)]
struct HealthDocument {
    status: &'static str,
}

/// 0 when it serves, 6 when it does not.
pub(super) async fn healthcheck(session: &Session, io: &Io) -> Result<Exit, Problem> {
    let request = session.request(HealthCheckRequest::default());
    let mut client = HealthClient::new(session.channel());
    let status = client.check(request).await?.into_inner().status();
    let status_name = status.as_str_name();
    match io.json {
        true => io.document(&HealthDocument {
            status: status_name,
        })?,
        false => io.line(status_name)?,
    }
    Ok(match status {
        ServingStatus::Serving => Exit::Ok,
        _ => Exit::Unavailable,
    })
}
