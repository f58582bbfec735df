//! However 1Fichier plays an open question, clients see the same.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::LazyLock;
use std::time::Duration;

use pluton_fichier::emulator::{
    Batch, Behaviour, EmptyArrays, ForbiddenChars, InfoContentType, InfoPath, LinkOrder,
    MkdirExisting, MvRename, NodeKind, RmMissing, TokenRefusal, UnknownFolder, UnknownParent,
};
use pluton_fichier::proto::{Entry, MoveDirRequest, PurgeRequest, PurgeResponse, PutHeader};

use crate::checks::*;
use crate::harness::*;

pub(crate) type Switch = (String, Box<dyn Fn(&mut Behaviour)>);

/// Every switch in each position that must not show.
pub(crate) fn switches() -> Vec<Switch> {
    let mut all: Vec<Switch> = Vec::new();
    macro_rules! switch {
        ($member:ident: $($value:expr),+) => {$(
            let change = |behaviour: &mut Behaviour| behaviour.$member = $value;
            let name = format!("{} = {}", stringify!($member), stringify!($value));
            all.push((name, Box::new(change)));
        )+};
    }
    switch!(mv_rename: MvRename::IgnoresDestination);
    switch!(mkdir_existing: MkdirExisting::ReturnExisting, MkdirExisting::Duplicate);
    switch!(link_order: LinkOrder::Shuffled);
    switch!(xid_differs: true);
    switch!(upload_answer_200: true);
    switch!(unknown_folder: UnknownFolder::Ko, UnknownFolder::EmptyList);
    switch!(unknown_parent: UnknownParent::Root);
    switch!(batch: Batch::AllOrNothing);
    switch!(rm_missing: RmMissing::Ko, RmMissing::NotFound, RmMissing::KoNothingRemoved, RmMissing::KoOtherText);
    switch!(empty_arrays: EmptyArrays::Absent, EmptyArrays::Null, EmptyArrays::Empty);
    switch!(all_ko_200: true);
    switch!(info_content_type: InfoContentType::Hyphen);
    switch!(info_status: true);
    switch!(info_path: InfoPath::Slash, InfoPath::WithName, InfoPath::Absent);
    switch!(stringify_numbers: true);
    switch!(wait_pages: 1, 4, 12);
    switch!(wait_pages_by_extension: BTreeMap::from([("bin".to_owned(), 3)]));
    switch!(empty_links: 1, 4, 20);
    switch!(extra_links: 1, 3);
    switch!(token_refusal: TokenRefusal::NotFound, TokenRefusal::Gone, TokenRefusal::Redirect, TokenRefusal::Html);
    switch!(token_start: Duration::from_secs(1));
    switch!(token_resume: Duration::ZERO);
    switch!(single_enforced: false);
    switch!(token_redirect: true);
    switch!(index_delay: Duration::from_secs(3), Duration::from_secs(15));
    switch!(forbidden_chars: ForbiddenChars::Replace);
    switch!(reject_unicode_escapes: true);
    switch!(reject_charset: false);
    switch!(upload_id_check: false);
    switch!(json_on_upload: true);
    switch!(folder_ls_ignores_files: true);
    switch!(own_password_needed: false);
    switch!(cdn_forced: false);
    all
}

/// What a client sees of an entry that does not depend on chance.
fn seen(entry: &Entry) -> String {
    let sums: Vec<_> = entry.checksums.iter().map(|sum| &sum.hex[..8]).collect();
    let (path, size, attributes) = (&entry.path, entry.size, &entry.attributes);
    format!(
        "{path} {:?} {size:?} {sums:?} {attributes:?}",
        entry.r#type()
    )
}

/// The end of a purge.
async fn last(world: &World, request: PurgeRequest) -> Result<PurgeResponse, String> {
    let purge = world.client.clone().purge(request).await;
    let mut stream = purge.map_err(|error| reason(&error))?.into_inner();
    let mut last = PurgeResponse::default();
    while let Some(answer) = stream.message().await.map_err(|error| reason(&error))? {
        assert!(answer.failures.is_empty(), "{answer:?}");
        last = answer;
    }
    Ok(last)
}

/// A small life of an account, as a client sees it.
async fn life(world: &World) -> Vec<String> {
    let mut seen_all = Vec::new();
    let mut see = |what: &str, value: &dyn Debug| seen_all.push(format!("{what}: {value:?}"));
    let small = content(1_000);
    static STREAMED: LazyLock<Vec<u8>> = LazyLock::new(|| content((17 << 20) - 1));
    let streamed = &*STREAMED;
    let made = world.mkdir("dir/été & sub").await.unwrap();
    see("mkdir", &(made.created, seen(&made.entry.unwrap())));
    let again = world.mkdir("dir/été & sub").await.unwrap();
    see("mkdir again", &again.created);
    see(
        "put small",
        &seen(&world.put("dir/small é.txt", &small).await.unwrap()),
    );
    see(
        "put large",
        &seen(&world.put("dir/large.bin", streamed).await.unwrap()),
    );
    let unknown = PutHeader {
        size: None,
        ..header("new/unknown.bin")
    };
    see(
        "put unknown",
        &seen(&put(&world.client, unknown, &small).await.unwrap()),
    );
    let listed = world.list("", true).await.unwrap();
    see("list", &listed.iter().map(seen).collect::<Vec<_>>());
    see("stat", &seen(&world.stat("dir/large.bin").await.unwrap()));
    see(
        "stat nothing",
        &reason(&world.stat("dir/none").await.unwrap_err()),
    );
    see("hash", &world.hash("dir/large.bin").await.unwrap());
    assert!(world.get("dir/small é.txt").await.unwrap().content == small);
    assert!(
        world.range("dir/large.bin", 9 << 20, 1_000).await.unwrap() == streamed[9 << 20..][..1_000]
    );
    // Tokens are over, listings are old.
    minutes(6).await;
    assert!(world.range("dir/large.bin", 5, 1_000).await.unwrap() == streamed[5..1_005]);
    let other = content(2_000);
    see(
        "replace",
        &seen(&world.put("dir/small é.txt", &other).await.unwrap()),
    );
    assert!(world.get("dir/small é.txt").await.unwrap().content == other);
    see("names", &world.names("", true).await);
    let paths = [
        "dir/small é.txt",
        "dir/large.bin",
        "new/unknown.bin",
        "new/none",
    ];
    see("delete", &world.delete(&paths).await);
    see("names", &world.names("", true).await);
    see(
        "rmdir full",
        &reason(&world.rmdir("dir").await.unwrap_err()),
    );
    see(
        "rmdir",
        &world
            .rmdir("dir/été & sub")
            .await
            .map_err(|error| reason(&error)),
    );
    see(
        "rmdir",
        &world.rmdir("new").await.map_err(|error| reason(&error)),
    );
    for path in ["tree/a", "tree/b/c", "tree/b/d", "tree/é/e"] {
        world.put(path, path.as_bytes()).await.unwrap();
    }
    let mut see_moved = async |from: &str, to: &str| {
        let request = MoveDirRequest {
            source_path: from.to_owned(),
            destination_path: to.to_owned(),
            ..MoveDirRequest::default()
        };
        let moved = world.client.clone().move_dir(request).await;
        let moved = moved.map(|moved| moved.into_inner().entry.unwrap());
        let moved = moved.map(|entry| seen(&entry));
        see("move", &(from, to, moved.map_err(|error| reason(&error))));
    };
    see_moved("tree/b", "tree/ü").await;
    see_moved("tree/é", "new/parent/é").await;
    see_moved("tree/ü", "dir/'b'").await;
    see_moved("tree", "dir").await;
    see_moved("dir", "dir/'b'/dir").await;
    see_moved("none", "other").await;
    see("names", &world.names("", true).await);
    for path in ["dir/'b'", "new", "none", ""] {
        let request = PurgeRequest {
            path: path.to_owned(),
            ..PurgeRequest::default()
        };
        see("purge", &(path, last(world, request).await));
    }
    see("names", &world.names("", true).await);
    see(
        "put last",
        &seen(&world.put("dir/last", &small).await.unwrap()),
    );
    minutes(6).await;
    see("names", &world.names("", true).await);
    world.assert_agreement("at the end").await;
    see(
        "held",
        &world
            .control
            .tree()
            .iter()
            .map(|node| (&node.path, node.kind == NodeKind::File))
            .collect::<Vec<_>>(),
    );
    see("floods", &world.control.calls().floods());
    seen_all
}

async fn no_switch_shows(part: usize) {
    let plain = life(&world().await).await;
    let mut played_out = 0;
    for (name, change) in switches().iter().skip(part).step_by(2) {
        let seen = life(&played(change).await).await;
        assert_eq!(seen, plain, "{name}");
        played_out += 1;
    }
    println!("{played_out} switches played, half of {}", switches().len());
}

#[tokio::test(start_paused = true)]
async fn no_switch_shows_in_a_small_life_one() {
    no_switch_shows(0).await;
}

#[tokio::test(start_paused = true)]
async fn no_switch_shows_in_a_small_life_two() {
    no_switch_shows(1).await;
}
