//! How programs find out what listens, and where.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use pluton_fichier::config::Listen;
use pluton_fichier::emulator::Options;
use pluton_fichier::proto::storage_backend_client::StorageBackendClient;
use pluton_fichier::proto::*;
use pluton_fichier::server::Server;
use prost::Message;
use tokio_stream::iter;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::*;

const SERVICE: &str = "pluton.storage.v1.StorageBackend";

async fn channel(world: &World) -> Channel {
    let address = &world.server.as_ref().unwrap().addresses()[0];
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn health_is_told_for_the_server_and_the_service() {
    let world = world().await;
    let mut health = HealthClient::new(channel(&world).await);
    for service in ["", SERVICE] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let request = HealthCheckRequest {
        service: "other".into(),
    };
    assert_eq!(
        health.check(request).await.unwrap_err().code(),
        tonic::Code::NotFound
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_says_so_and_refuses_new_work() {
    let mut world = world().await;
    let mut health = HealthClient::new(channel(&world).await);
    let request = HealthCheckRequest {
        service: SERVICE.into(),
    };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    let server = world.server.take().unwrap();
    let address = server.addresses()[0].clone();
    let stop = tokio::spawn(server.stop());
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    drop(watch);
    stop.await.unwrap();
    assert!(
        Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect()
            .await
            .is_err()
    );
}

/// Asks one reflection service for the list of services and for the file of
/// ours; returns the services and the descriptors.
macro_rules! reflect {
    ($world:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let ask = |message_request| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        };
        let requests = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol(SERVICE.into())),
            ask(MessageRequest::FileContainingSymbol(
                "google.rpc.ErrorInfo".into(),
            )),
        ];
        let mut client = ServerReflectionClient::new(channel($world).await);
        let mut answers = client
            .server_reflection_info(iter(requests))
            .await
            .unwrap()
            .into_inner();
        let mut services = Vec::new();
        let mut files = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            match answer.message_response.unwrap() {
                MessageResponse::ListServicesResponse(list) => {
                    services.extend(list.service.into_iter().map(|service| service.name));
                }
                MessageResponse::FileDescriptorResponse(found) => {
                    files.extend(found.file_descriptor_proto)
                }
                other => panic!("{other:?}"),
            }
        }
        (services, files)
    }};
}

fn describes_the_service((services, files): (Vec<String>, Vec<Vec<u8>>)) {
    for service in [SERVICE, "grpc.health.v1.Health"] {
        assert!(
            services.iter().any(|name| name == service),
            "{service} in {services:?}"
        );
    }
    let files: Vec<_> = files
        .iter()
        .map(|file| prost_types::FileDescriptorProto::decode(&file[..]).unwrap())
        .collect();
    let service = files
        .iter()
        .flat_map(|file| &file.service)
        .find(|service| service.name() == "StorageBackend")
        .unwrap();
    let methods: Vec<_> = service.method.iter().map(|method| method.name()).collect();
    assert_eq!(methods.len(), 19);
    for method in ["GetInfo", "List", "Get", "Put", "Delete", "GetActivity"] {
        assert!(methods.contains(&method), "{method} in {methods:?}");
    }
    assert!(
        files
            .iter()
            .flat_map(|file| &file.message_type)
            .any(|message| message.name() == "ErrorInfo")
    );
}

#[tokio::test(start_paused = true)]
async fn reflection_lists_and_describes_the_service() {
    let world = world().await;
    describes_the_service(reflect!(&world, v1));
    describes_the_service(reflect!(&world, v1alpha));
}

#[tokio::test(start_paused = true)]
async fn the_ready_line_says_where_and_what() {
    let world = world().await;
    let server = world.server.as_ref().unwrap();
    let line = server.ready_line();
    assert!(!line.contains('\n'));
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["address"], server.addresses()[0]);
    assert_eq!(ready["addresses"], serde_json::json!(server.addresses()));
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        ready["api_packages"],
        serde_json::json!(["pluton.storage.v1"])
    );
    assert_eq!(ready["pid"], std::process::id());
    let info = world
        .client
        .clone()
        .get_info(GetInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(ready["instance_id"], info.instance_id);
    let address: std::net::SocketAddr = server.addresses()[0].parse().unwrap();
    assert_ne!(address.port(), 0, "the port that was chosen");
}

#[tokio::test(start_paused = true)]
async fn a_unix_socket_serves_this_user_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/for it/pluton.sock");
    let listen = path.clone();
    let mut world = build(Options::default(), move |config| {
        config.grpc_listen.push(Listen::Unix(listen))
    })
    .await;
    let address = format!("unix:{}", path.display());
    assert_eq!(world.server.as_ref().unwrap().addresses()[1], address);
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);

    let tower = tower::service_fn({
        let path = path.clone();
        move |_: http::Uri| {
            let path = path.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(path).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        }
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(tower)
        .await
        .unwrap();
    let client: Client = StorageBackendClient::new(channel);
    put(&client, header("f"), b"hello").await.unwrap();
    assert_eq!(world.get("f").await.unwrap().content, b"hello");
    drop(client);

    world.server.take().unwrap().stop().await;
    assert!(!path.exists(), "it goes with the server");
}

#[tokio::test(start_paused = true)]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let world = world().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pluton.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left by a server that crashed");
    let config = |state: &str| {
        let mut config = world.config.clone();
        config.grpc_listen = vec![Listen::Unix(path.clone())];
        config.state_dir = Some(directory.path().join(state));
        config
    };
    let first = Server::start(config("one")).await.unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let error = Server::start(config("two")).await.unwrap_err();
    assert!(
        error.contains("in use") && error.contains("pluton.sock"),
        "{error}"
    );
    assert!(
        tokio::net::UnixStream::connect(&path).await.is_ok(),
        "the first one still serves"
    );
    first.stop().await;

    std::fs::write(&path, "precious").unwrap();
    let error = Server::start(config("one")).await.unwrap_err();
    assert!(error.contains("no socket"), "{error}");
    assert!(
        !std::fs::symlink_metadata(&path)
            .unwrap()
            .file_type()
            .is_socket()
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test(start_paused = true)]
async fn a_second_server_on_the_same_state_or_port_is_refused() {
    let mut world = world().await;
    let error = Server::start(world.config.clone()).await.unwrap_err();
    assert!(error.contains("in use by another server"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let mut config = world.config.clone();
    config.state_dir = Some(directory.path().to_owned());
    let address = world.server.as_ref().unwrap().addresses()[0]
        .parse()
        .unwrap();
    config.grpc_listen = vec![Listen::Tcp(address)];
    let error = Server::start(config).await.unwrap_err();
    assert!(
        error.contains("in use") && error.contains(&address.to_string()),
        "{error}"
    );
    world.stat("").await.unwrap();
    world.restart().await;
    world.stat("").await.unwrap();
}
