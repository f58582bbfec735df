//! Who needs a token where, and what happens when it is taken away.

use pluton_fichier::config::Listen;
use pluton_fichier::emulator;
use pluton_fichier::fichier::Limits;
use pluton_fichier::proto::put_request::Payload;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use super::*;

fn services() -> impl futures::Stream<Item = ServerReflectionRequest> {
    futures::stream::iter([ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    }])
}

#[tokio::test(start_paused = true)]
async fn reflection_needs_a_token_and_health_does_not() {
    let world = world().await;
    let channel = channel(&world).await;
    let mut reflection = ServerReflectionClient::new(channel.clone());
    reflection.server_reflection_info(services()).await.unwrap();
    let secret = make(&world, "one", "nothing", Mode::ReadOnly);
    a_while().await;
    let refused = reflection.server_reflection_info(services()).await;
    assert_reason(refused.map(drop), "TOKEN_INVALID");
    let bearer = Bearer(format!("Bearer {secret}").parse().unwrap());
    let mut allowed = ServerReflectionClient::with_interceptor(channel.clone(), bearer);
    let mut answer = allowed
        .server_reflection_info(services())
        .await
        .unwrap()
        .into_inner();
    assert!(answer.message().await.unwrap().is_some());
    let mut health = HealthClient::new(channel);
    health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_private_socket_needs_none_unless_it_is_told_to() {
    for required in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("run/s");
        let listen = Listen::Unix(socket.clone());
        let world = build(emulator::Options::default(), |config| {
            config.grpc_listen.push(listen);
            config.require_token = required;
        })
        .await;
        let secret = make(&world, "one", "nowhere", Mode::Full);
        a_while().await;
        let connect = async || {
            let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()));
            endpoint.unwrap().connect().await.unwrap()
        };
        let request = || GetActivityRequest::default();
        let mut client = StorageBackendClient::new(connect().await);
        let answer = client.get_activity(request()).await;
        match required {
            false => drop(answer.unwrap()),
            true => drop(assert_reason(answer, "TOKEN_INVALID")),
        }
        // A token that is shown counts.
        for (secret, reason) in [("pf_wrong", "TOKEN_INVALID"), (&secret, "PREFIX_FORBIDDEN")] {
            let bearer = Bearer(format!("Bearer {secret}").parse().unwrap());
            let mut holder = StorageBackendClient::with_interceptor(connect().await, bearer);
            assert_reason(holder.stat(StatRequest::default()).await, reason);
        }
        assert_reason(world.stat("").await, "TOKEN_INVALID");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_ends_what_it_began() {
    let world = unlimited().await;
    let secret = make(&world, "one", "", Mode::Full);
    let other = make(&world, "other", "", Mode::Full);
    a_while().await;
    let (mut holder, mut stays) = (
        holding(&world, &secret).await,
        holding(&world, &other).await,
    );
    holder.stat(StatRequest::default()).await.unwrap();

    // An upload, a download and a stream of reflection are under way.
    let big = content(8 << 20);
    let start = PutHeader {
        size: Some(big.len() as i64),
        ..header("big")
    };
    stays
        .put(futures::stream::iter(messages(start, &big)))
        .await
        .unwrap();
    let (sender, receiver) = mpsc::channel(4);
    let start = PutHeader {
        size: Some(9),
        ..header("f")
    };
    sender.send(message(Payload::Header(start))).await.unwrap();
    let mut uploading = holder.clone();
    let upload = tokio::spawn(async move { uploading.put(ReceiverStream::new(receiver)).await });
    let request = GetRequest {
        path: "big".into(),
        ..GetRequest::default()
    };
    let mut download = holder.get(request.clone()).await.unwrap().into_inner();
    let mut going_on = stays.get(request).await.unwrap().into_inner();
    assert!(download.message().await.unwrap().is_some());

    token_file(&world).remove("one").unwrap();
    a_while().await;
    assert_reason(upload.await.unwrap(), "TOKEN_INVALID");
    let end = loop {
        match download.message().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert_reason(end, "TOKEN_INVALID");
    // On the connection that is open already.
    let next = holder.stat(StatRequest::default()).await;
    assert_reason(next, "TOKEN_INVALID");
    while going_on.message().await.unwrap().is_some() {}
    assert_eq!(world.stored(), ["big"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_token_is_refused_without_a_word_of_it() {
    let world = build(emulator::Options::default(), |config| {
        config.require_token = true;
        config.limits = Limits::default();
    })
    .await;
    // There is none yet, and the door is closed all the same.
    assert_reason(world.stat("").await, "TOKEN_INVALID");
    let secret = make(&world, "one", "", Mode::Full);
    a_while().await;
    for value in [
        "",
        "Bearer",
        "Bearer x",
        "Basic eDp5",
        "Token SECRET",
        "bearer SECRET",
    ] {
        let mut request = Request::new(StatRequest::default());
        request
            .metadata_mut()
            .insert("authorization", value.parse().unwrap());
        let status = world.client.clone().stat(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(!format!("{status:?}").contains("SECRET"), "{status:?}");
    }
    let mut twice = Request::new(StatRequest::default());
    for _ in 0..2 {
        let value = format!("Bearer {secret}").parse().unwrap();
        twice.metadata_mut().append("authorization", value);
    }
    assert_reason(world.client.clone().stat(twice).await, "TOKEN_INVALID");
    // The refusal arrives, whatever the caller still sends.
    for _ in 0..5 {
        let messages = messages(header("f"), &content(4 << 20));
        assert_reason(send(&world.client, messages).await, "TOKEN_INVALID");
    }
    let mut right = Request::new(StatRequest::default());
    let value = format!("bearer {secret}").parse().unwrap();
    right.metadata_mut().insert("authorization", value);
    world.client.clone().stat(right).await.unwrap();
}

/// What a variable that is not set leaves of a prefix would reach everything.
#[test]
fn a_prefix_that_names_nothing_makes_no_token() {
    let state = tempfile::tempdir().unwrap();
    let create = |name: &str, more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pluton-fichier"));
        command.args(["token", "create", name, "--state-dir"]);
        command.arg(state.path()).args(more).output().unwrap()
    };
    for prefix in [
        "", "/", "//", "///", ".", "./", "/.", "./.", "..", "/../", " ", ":", ":/", ":.", "./..",
    ] {
        for given in [
            vec!["--prefix", prefix],
            vec![&*format!("--prefix={prefix}")],
        ] {
            let output = create("none", &given);
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success(), "{prefix:?}");
            assert!(output.stdout.is_empty(), "{prefix:?}");
            assert!(told.contains("names no path"), "{prefix:?}: {told}");
            assert!(told.contains("without --prefix"), "{prefix:?}: {told}");
        }
    }
    for (name, more) in [
        ("all", &[][..]),
        ("remote", &["--prefix", "work:"]),
        ("path", &["--prefix", "a/"]),
        ("colon", &["--prefix", ":a:b"]),
    ] {
        assert!(create(name, more).status.success(), "{name}");
    }
    let listed = TokenFile::within(state.path()).list().unwrap();
    let prefixes: Vec<_> = listed.into_iter().map(|token| token.prefix).collect();
    assert_eq!(prefixes, ["", "work:", "a", ":a:b"]);
}
