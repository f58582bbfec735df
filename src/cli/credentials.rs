//! What the client shows to the server, and what it wants to see of it.

use std::net::IpAddr;
use std::path::Path;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::ConnectArgs;
use super::exit::Problem;

/// Holds the token itself. There is no such flag: everybody on the machine sees
/// the flags of a process.
const TOKEN: &str = "PLUTON_FICHIER_TOKEN";

pub(super) fn read(what: &str, path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path).map_err(|error| {
        Problem::usage(format!(
            "cannot read the {what} {}: {error}",
            path.display()
        ))
    })
}

/// The `authorization` of every request, if there is a token: of the file, else
/// of the variable.
pub(super) fn authorization(args: &ConnectArgs) -> Result<Option<MetadataValue<Ascii>>, Problem> {
    let Some(token) = token(args.token_file.as_deref())? else {
        return Ok(None);
    };
    let value = format!("Bearer {token}").parse::<MetadataValue<Ascii>>();
    let mut value = value
        .map_err(|_| Problem::usage("the token has characters that no token has; copy it again"))?;
    // Kept out of logs and of the compression of headers.
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The token of the file, else of the variable.
pub(super) fn token(file: Option<&Path>) -> Result<Option<String>, Problem> {
    let token = match file {
        Some(path) => read("token file", path)?,
        None => std::env::var(TOKEN).unwrap_or_default(),
    };
    let token = token.trim();
    if token.is_empty() {
        return match file {
            Some(path) => {
                let text = format!("there is no token in {}", path.display());
                Err(Problem::usage(text))
            }
            None => Ok(None),
        };
    }
    Ok(Some(token.to_owned()))
}

/// Whether a token may go to an address for which nobody chose between http and
/// https: without encryption it goes to this machine alone.
///
/// # Errors
/// Why it may not, and what to write instead.
pub(super) fn may_go_unencrypted(address: &str) -> Result<(), String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => host.is_empty() || host.eq_ignore_ascii_case("localhost"),
    };
    if is_here {
        return Ok(());
    }
    Err(format!(
        "the token would go to {address} unencrypted; write https://{address} for TLS, or \
         http://{address} where the network is protected otherwise"
    ))
}

/// Whether anything is said about TLS.
pub(super) fn wants_tls(args: &ConnectArgs) -> bool {
    args.tls_ca.is_some() || args.client_cert.is_some()
}

/// TLS as it is asked for; without an authority, those of the system.
pub(super) fn tls(args: &ConnectArgs) -> Result<ClientTlsConfig, Problem> {
    let mut config = ClientTlsConfig::new();
    config = match &args.tls_ca {
        Some(path) => config.ca_certificate(Certificate::from_pem(read("CA", path)?)),
        None => config.with_native_roots(),
    };
    if let (Some(cert), Some(key)) = (&args.client_cert, &args.client_key) {
        let cert = read("client certificate", cert)?;
        config = config.identity(Identity::from_pem(cert, read("client key", key)?));
    }
    Ok(config)
}
