//! Strangers, and callers with less than all rights.

mod crowd;
mod http_listener;
mod limits;
mod rights;
mod tls;
mod tokens;

use std::time::Duration;

use pluton_fichier::access::{Mode, Secret, TokenFile};
use pluton_fichier::proto::storage_backend_client::StorageBackendClient;
use pluton_fichier::proto::*;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::emitted::no_line_may_hold;
use crate::harness::*;

/// Tokens and certificates are looked at every few seconds.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(12)).await;
}

#[derive(Clone)]
struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Holder = StorageBackendClient<InterceptedService<Channel, Bearer>>;

fn token_file(world: &World) -> TokenFile {
    TokenFile::within(world.config.state_dir.as_ref().unwrap())
}

/// Makes a token, and gives its secret.
fn make(world: &World, name: &str, prefix: &str, mode: Mode) -> String {
    let secret = Secret::generate().unwrap();
    no_line_may_hold(secret.reveal());
    let prefix = prefix.parse().unwrap();
    token_file(world)
        .add(name, &prefix, mode, &secret.digest())
        .unwrap();
    secret.reveal().to_owned()
}

async fn channel(world: &World) -> Channel {
    let address = &world.server.as_ref().unwrap().addresses()[0];
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
    endpoint.unwrap().connect().await.unwrap()
}

async fn holding(world: &World, secret: &str) -> Holder {
    let bearer = Bearer(format!("Bearer {secret}").parse().unwrap());
    StorageBackendClient::with_interceptor(channel(world).await, bearer)
}

/// A client with a new token.
async fn holder(world: &World, prefix: &str, mode: Mode) -> Holder {
    let name = format!("{}-{}", mode.as_str(), fastrand::u32(..));
    let secret = make(world, &name, prefix, mode);
    a_while().await;
    holding(world, &secret).await
}
