//! The connection to the server.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use super::ConnectArgs;
use super::credentials;
use super::exit::{Problem, root_cause};
use super::retry::Policy;
use crate::proto::storage_backend_client::StorageBackendClient;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A connection, with what every request needs.
pub(super) struct Session {
    channel: Channel,
    remote: String,
    authorization: Option<MetadataValue<Ascii>>,
    deadline: Option<Instant>,
    pub(super) retries: Policy,
}

impl Session {
    /// Connects.
    pub(super) async fn open(
        args: &ConnectArgs,
        deadline: Option<Instant>,
    ) -> Result<Self, Problem> {
        let authorization = credentials::authorization(args)?;
        let endpoint = endpoint(args, authorization.is_some())?;
        let channel = endpoint.connect().await.map_err(|error| {
            let cause = root_cause(&error);
            Problem::new(
                Code::Unavailable,
                format!(
                    "cannot connect to {}: {cause}; is the server running? start it with: \
                     pluton-fichier serve",
                    args.server
                ),
            )
        })?;
        Ok(Self {
            channel,
            remote: args.remote.clone(),
            authorization,
            deadline,
            retries: Policy::new(args.retries, args.retry_wait),
        })
    }

    /// A client that shares the connection.
    pub(super) fn client(&self) -> StorageBackendClient<Channel> {
        StorageBackendClient::new(self.channel())
    }

    /// The connection, for other services.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The remote that requests name.
    pub(super) fn remote(&self) -> String {
        self.remote.clone()
    }

    /// A request that tells the server who asks and how much time is left.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", authorization.clone());
        }
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        request
    }
}

fn endpoint(args: &ConnectArgs, has_token: bool) -> Result<Endpoint, Problem> {
    let server = &args.server;
    let unusable = |why: &str| {
        Problem::usage(format!(
            "--server {server:?} is not usable: {why}; write host:port, http://host:port, \
             https://host:port or unix:/path"
        ))
    };
    let mut uri = address(server).map_err(|why| unusable(&why))?;
    if credentials::wants_tls(args) && !server.contains("://") {
        uri = uri.replacen("http://", "https://", 1);
    }
    let encrypted = uri.starts_with("https://");
    let is_chosen = server.contains("://") || server.starts_with("unix:");
    if has_token && !encrypted && !is_chosen {
        credentials::may_go_unencrypted(server).map_err(Problem::usage)?;
    }
    let mut endpoint = Endpoint::from_shared(uri).map_err(|error| unusable(&root_cause(&error)))?;
    if encrypted {
        let unusable =
            |error| Problem::usage(format!("TLS cannot be set up: {}", root_cause(&error)));
        endpoint = endpoint
            .tls_config(credentials::tls(args)?)
            .map_err(unusable)?;
    }
    let agent = concat!("pluton-fichier-cli/", env!("CARGO_PKG_VERSION"));
    Ok(endpoint
        .user_agent(agent)
        .map_err(|error| Problem::local(root_cause(&error)))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .tcp_nodelay(true))
}

/// The URI of a server, from any of the forms that people may write.
pub(super) fn address(server: &str) -> Result<String, String> {
    if let Some(path) = server.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return match path {
            "" => Err("no path of a socket".into()),
            path => Ok(format!("unix://{path}")),
        };
    }
    if let Some((scheme, rest)) = server.split_once("://") {
        return match scheme {
            "http" | "https" if !rest.is_empty() => Ok(server.to_owned()),
            "http" | "https" => Err("no host".into()),
            _ => Err(format!("unknown scheme {scheme:?}")),
        };
    }
    match server.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => {
            let host = if host.is_empty() { "127.0.0.1" } else { host };
            Ok(format!("http://{host}:{port}"))
        }
        _ => Err("no port".into()),
    }
}
