//! What each call demands, for every call of the contract.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::*;

/// Messages as bytes.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// The service as reflection tells it.
struct Contract(FileDescriptorSet);

impl Contract {
    fn read() -> Self {
        Self(FileDescriptorSet::decode(pluton_fichier::proto::DESCRIPTORS).unwrap())
    }

    /// Names of calls, and the types of their requests.
    fn calls(&self) -> Vec<(String, String)> {
        let services = self.0.file.iter().flat_map(|file| &file.service);
        let service = services.into_iter().next().unwrap();
        let call = |method: &prost_types::MethodDescriptorProto| {
            (method.name().to_owned(), method.input_type().to_owned())
        };
        service.method.iter().map(call).collect()
    }

    fn message(&self, name: &str) -> &DescriptorProto {
        let name = name.rsplit('.').next().unwrap();
        let mut messages = self.0.file.iter().flat_map(|file| &file.message_type);
        messages.find(|message| message.name() == name).unwrap()
    }

    /// A request that changes something below `path`, wherever it can.
    fn request(&self, name: &str, path: &str) -> Bytes {
        let mut bytes = Vec::new();
        for field in &self.message(name).field {
            let number = field.number() as u64;
            let text = |bytes: &mut Vec<u8>, text: &[u8]| {
                prost::encoding::encode_varint(number << 3 | 2, bytes);
                prost::encoding::encode_varint(text.len() as u64, bytes);
                bytes.extend_from_slice(text);
            };
            let flag = |bytes: &mut Vec<u8>, value: u64| {
                prost::encoding::encode_varint(number << 3, bytes);
                prost::encoding::encode_varint(value, bytes);
            };
            match field.name() {
                "path" | "source_path" => text(&mut bytes, path.as_bytes()),
                "destination_path" => text(&mut bytes, format!("{path}-2").as_bytes()),
                "targets" | "header" => {
                    let inner = self.request(field.type_name(), path);
                    text(&mut bytes, &inner);
                }
                "check_write" => flag(&mut bytes, 1),
                "mode" => flag(&mut bytes, 3),
                _ => {}
            }
        }
        bytes.into()
    }

    /// By call: the reason why it failed, empty if it did not.
    async fn walk(
        &self,
        channel: Channel,
        bearer: Option<Bearer>,
        path: &str,
    ) -> Vec<(String, String)> {
        let mut outcomes = Vec::new();
        for (call, input) in self.calls() {
            let message = self.request(&input, path);
            let mut request = Request::new(futures::stream::iter([message]));
            if let Some(Bearer(value)) = &bearer {
                request
                    .metadata_mut()
                    .insert("authorization", value.clone());
            }
            let mut client = Grpc::new(channel.clone());
            client.ready().await.unwrap();
            let name = format!("/pluton.storage.v1.StorageBackend/{call}");
            let answer = client.streaming(request, name.parse().unwrap(), Raw).await;
            let failed = match answer {
                Err(status) => Some(status),
                Ok(answer) => {
                    let mut messages = answer.into_inner();
                    loop {
                        match messages.message().await {
                            Ok(Some(_)) => {}
                            Ok(None) => break None,
                            Err(status) => break Some(status),
                        }
                    }
                }
            };
            let reason = failed.map_or(String::new(), |status| reason(&status));
            outcomes.push((call, reason));
        }
        assert!(outcomes.len() >= 19, "{outcomes:?}");
        outcomes
    }
}

fn of_reason<'a>(outcomes: &'a [(String, String)], reason: &str) -> BTreeSet<&'a str> {
    let matching = outcomes.iter().filter(|(_, found)| found == reason);
    matching.map(|(call, _)| call.as_str()).collect()
}

async fn walk(world: &World, secret: Option<&str>, path: &str) -> Vec<(String, String)> {
    let bearer = secret.map(|secret| Bearer(format!("Bearer {secret}").parse().unwrap()));
    let channel = channel(world).await;
    Contract::read().walk(channel, bearer, path).await
}

#[tokio::test(start_paused = true)]
async fn no_call_is_open_to_strangers() {
    let world = world().await;
    let secret = make(&world, "one", "", Mode::Full);
    a_while().await;
    let calls = world.control.calls().total_v1();
    for stranger in [None, Some("pf_wrong"), Some(""), Some(&secret[..45])] {
        for (call, reason) in walk(&world, stranger, "a").await {
            assert_eq!(reason, "TOKEN_INVALID", "{call} with {stranger:?}");
        }
    }
    assert_eq!(world.control.calls().total_v1(), calls);
}

#[tokio::test(start_paused = true)]
async fn no_call_leads_out_of_a_prefix() {
    let world = world().await;
    world.put("out/f", b"x").await.unwrap();
    let inside = make(&world, "inside", "in", Mode::Full);
    let elsewhere = make(&world, "elsewhere", "other:", Mode::Full);
    a_while().await;
    let (before, calls) = (world.stored_all(), world.control.calls().total_v1());
    // What the answer is cut to is tested below.
    let open = BTreeSet::from(["GetActivity", "GetInfo"]);
    for path in ["out", "out/f", "inn", "in2/f", ""] {
        let outcomes = walk(&world, Some(&inside), path).await;
        // The account as a whole is told to everybody who has a part of it.
        let mut told = open.clone();
        told.insert("About");
        assert_eq!(of_reason(&outcomes, ""), told, "{path:?}: {outcomes:?}");
        let forbidden = of_reason(&outcomes, "PREFIX_FORBIDDEN");
        assert_eq!(
            forbidden.len() + told.len(),
            outcomes.len(),
            "{path:?}: {outcomes:?}"
        );
    }
    let outcomes = walk(&world, Some(&elsewhere), "out/f").await;
    assert_eq!(of_reason(&outcomes, ""), open);
    let forbidden = of_reason(&outcomes, "PREFIX_FORBIDDEN");
    assert_eq!(forbidden.len() + open.len(), outcomes.len(), "{outcomes:?}");
    assert_eq!(world.stored_all(), before);
    let about = 1;
    assert_eq!(world.control.calls().total_v1(), calls + about);
}

#[tokio::test(start_paused = true)]
async fn each_mode_allows_its_calls() {
    let world = world().await;
    world.put("d/f", b"x").await.unwrap();
    let mut changing = BTreeSet::from([
        "Delete",
        "Rmdir",
        "Purge",
        "Move",
        "MoveDir",
        "PublicLink",
        "Dedupe",
        "TestConnection",
    ]);
    let mut writing = changing.clone();
    writing.extend(["Put", "Mkdir", "Copy"]);
    let before = world.stored_all();
    let read_only = make(&world, "r", "", Mode::ReadOnly);
    let append_only = make(&world, "a", "", Mode::AppendOnly);
    a_while().await;
    let outcomes = walk(&world, Some(&read_only), "d/f").await;
    assert_eq!(of_reason(&outcomes, "READ_ONLY"), writing, "{outcomes:?}");
    assert_eq!(world.stored_all(), before);
    let outcomes = walk(&world, Some(&append_only), "d/f").await;
    // It would replace a file.
    changing.insert("Put");
    assert_eq!(of_reason(&outcomes, "READ_ONLY"), changing, "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn only_what_is_new_can_be_appended() {
    let world = world().await;
    world.put("d/old", b"old").await.unwrap();
    let etag = world.stat("d/old").await.unwrap().etag;
    let mut adding = holder(&world, "d", Mode::AppendOnly).await;
    let mut sending = adding.clone();
    let put = |path: &str, mode: WriteMode, etag: &str| PutHeader {
        size: Some(3),
        write_mode: mode.into(),
        if_match_etag: etag.to_owned(),
        ..header(path)
    };
    let mut send = async |header: PutHeader| {
        let messages = futures::stream::iter(messages(header, b"new"));
        sending.put(messages).await
    };
    for mode in [
        WriteMode::Unspecified,
        WriteMode::Replace,
        WriteMode::KeepBoth,
    ] {
        assert_reason(send(put("d/old", mode, "")).await, "READ_ONLY");
        send(put(&format!("d/{mode:?}"), mode, "")).await.unwrap();
    }
    assert_reason(
        send(put("d/old", WriteMode::CreateOnly, "")).await,
        "ENTRY_EXISTS",
    );
    assert_reason(
        send(put("d/old", WriteMode::Replace, &etag)).await,
        "READ_ONLY",
    );
    assert_reason(
        send(put("e", WriteMode::Replace, "")).await,
        "PREFIX_FORBIDDEN",
    );
    let copy = |destination: &str| CopyRequest {
        source_path: "d/Replace".into(),
        destination_path: destination.into(),
        ..CopyRequest::default()
    };
    assert_reason(adding.copy(copy("d/old")).await, "READ_ONLY");
    adding.copy(copy("d/sub/copy")).await.unwrap();
    let listing = ListRequest {
        path: "d".into(),
        recursive: true,
        ..ListRequest::default()
    };
    let page = adding
        .list(listing)
        .await
        .unwrap()
        .into_inner()
        .message()
        .await;
    let entries = page.unwrap().unwrap().entries.into_iter();
    let found: BTreeSet<_> = entries.map(|entry| entry.path).collect();
    let wanted = [
        "d/KeepBoth",
        "d/Replace",
        "d/Unspecified",
        "d/old",
        "d/sub",
        "d/sub/copy",
    ];
    assert_eq!(found, BTreeSet::from(wanted.map(str::to_owned)));
    let old = StatRequest {
        path: "d/old".into(),
        ..StatRequest::default()
    };
    let old = adding.stat(old).await.unwrap().into_inner().entry.unwrap();
    assert_eq!(old.etag, etag);
}

#[tokio::test(start_paused = true)]
async fn both_paths_of_a_move_must_be_within_the_prefix() {
    let world = world().await;
    world.put("in/f", b"x").await.unwrap();
    world.put("out/g", b"y").await.unwrap();
    let mut holder = holder(&world, "in", Mode::Full).await;
    let before = world.stored_all();
    for (from, to) in [
        ("in/f", "out/f"),
        ("out/g", "in/g"),
        ("in", "out/in"),
        ("out", "in/out"),
    ] {
        let (source_path, destination_path) = (from.to_owned(), to.to_owned());
        let request = MoveRequest {
            source_path: source_path.clone(),
            destination_path: destination_path.clone(),
            ..MoveRequest::default()
        };
        let status = assert_reason(holder.r#move(request).await, "PREFIX_FORBIDDEN");
        let outside = if from.starts_with("out") { from } else { to };
        assert_eq!(fact(&status, "path"), outside);
        let request = CopyRequest {
            source_path: source_path.clone(),
            destination_path: destination_path.clone(),
            ..CopyRequest::default()
        };
        assert_reason(holder.copy(request).await, "PREFIX_FORBIDDEN");
        let request = MoveDirRequest {
            source_path,
            destination_path,
            ..MoveDirRequest::default()
        };
        assert_reason(holder.move_dir(request).await, "PREFIX_FORBIDDEN");
    }
    // One target outside, and none is removed.
    let targets = ["in/f", "out/g"].map(|path| DeleteTarget {
        path: path.to_owned(),
        ..DeleteTarget::default()
    });
    let request = DeleteRequest {
        targets: targets.into(),
        ..DeleteRequest::default()
    };
    assert_reason(holder.delete(request).await, "PREFIX_FORBIDDEN");
    assert_eq!(world.stored_all(), before);
    let request = MoveRequest {
        source_path: "in/f".into(),
        destination_path: "in/g".into(),
        ..MoveRequest::default()
    };
    holder.r#move(request).await.unwrap();
    assert_eq!(world.stored(), ["in/g", "out/g"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_token_leads_nobody_out() {
    let world = unlimited().await;
    for path in ["in/a", "in/b", "out/c", "out/d"] {
        world.put(path, b"x").await.unwrap();
    }
    let page = |path: &str, token: &str| ListRequest {
        path: path.into(),
        recursive: true,
        page_size: 1,
        page_token: token.into(),
        ..ListRequest::default()
    };
    let mut tokens = Vec::new();
    for path in ["", "out", "in"] {
        let pages = list(&world.client, page(path, "")).await.unwrap();
        tokens.extend(pages.into_iter().map(|page| page.next_page_token));
    }
    tokens.retain(|token| !token.is_empty());
    assert!(tokens.len() > 4, "{tokens:?}");
    let mut holder = holder(&world, "in", Mode::ReadOnly).await;
    let mut seen = BTreeSet::new();
    for token in &tokens {
        for path in ["", "out"] {
            let answer = holder.list(page(path, token)).await;
            assert_reason(answer.map(drop), "PREFIX_FORBIDDEN");
        }
        let Ok(answer) = holder.list(page("in", token)).await else {
            continue;
        };
        let mut pages = answer.into_inner();
        while let Ok(Some(page)) = pages.message().await {
            seen.extend(page.entries.into_iter().map(|entry| entry.path));
        }
    }
    assert_eq!(seen, BTreeSet::from(["in/b".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_replay_needs_the_same_rights() {
    let world = world().await;
    let put = PutHeader {
        size: Some(1),
        request_id: "again".into(),
        ..header("out/f")
    };
    send(&world.client, messages(put.clone(), b"x"))
        .await
        .unwrap();
    let mut inside = holder(&world, "in", Mode::Full).await;
    let mut reading = holder(&world, "", Mode::ReadOnly).await;
    let again = || futures::stream::iter(messages(put.clone(), b"x"));
    assert_reason(inside.put(again()).await, "PREFIX_FORBIDDEN");
    assert_reason(reading.put(again()).await, "READ_ONLY");
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_cut_to_the_prefix() {
    let world = world().await;
    let mut inside = holder(&world, "fichier:in", Mode::ReadOnly).await;
    let mut elsewhere = holder(&world, "other:", Mode::Full).await;
    let mut full = holder(&world, "", Mode::Full).await;
    // Two uploads that wait for their content.
    let mut waiting = Vec::new();
    for path in ["in/f", "out/f"] {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let start = PutHeader {
            size: Some(9),
            ..header(path)
        };
        let first = message(put_request::Payload::Header(start));
        sender.send(first).await.unwrap();
        sender.send(chunk(0, b"abc")).await.unwrap();
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut full = full.clone();
        waiting.push((sender, tokio::spawn(async move { full.put(stream).await })));
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let transfers = |answer: GetActivityResponse| {
        let transfers = answer.transfers.into_iter();
        transfers
            .map(|transfer| transfer.path)
            .collect::<BTreeSet<_>>()
    };
    let ask = GetActivityRequest::default;
    let all = full.get_activity(ask()).await.unwrap().into_inner();
    assert!(all.catalog.is_some());
    assert_eq!(transfers(all).len(), 2);
    let own = inside.get_activity(ask()).await.unwrap().into_inner();
    assert_eq!(own.budgets.len(), 1);
    assert_eq!(own.catalog, None, "it is of all accounts together");
    assert_eq!(transfers(own), BTreeSet::from(["in/f".to_owned()]));
    let none = elsewhere.get_activity(ask()).await.unwrap().into_inner();
    assert_eq!((none.budgets.len(), transfers(none).len()), (0, 0));

    let info = |answer: tonic::Response<GetInfoResponse>| {
        let remotes = answer.into_inner().remotes.into_iter();
        let remotes = remotes.map(|remote| (remote.name, remote.traits.unwrap().read_only));
        remotes.collect::<Vec<_>>()
    };
    let ask = || GetInfoRequest {};
    let fichier = "fichier".to_owned();
    assert_eq!(
        info(full.get_info(ask()).await.unwrap()),
        [(fichier.clone(), false)]
    );
    assert_eq!(
        info(inside.get_info(ask()).await.unwrap()),
        [(fichier, true)]
    );
    assert_eq!(info(elsewhere.get_info(ask()).await.unwrap()), []);
}
