//! Lives of many clients at once, in real time and on several threads.
//!
//! Some clients have a directory of their own, and lead a life in it that is
//! compared with the model step by step (`own.rs`). The others meet at the same
//! paths: nobody can tell what each step answers, but at the end nothing is
//! lost and nothing is there twice (`shared.rs`).
//!
//! `MODEL_CROWDS` sets how many such lives are led (4 by default, 200 in the
//! nightly run), `MODEL_SEED` where they begin. The seed settles what the
//! clients do, and not what meets what.

mod own;
mod shared;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use pluton_fichier::emulator::{
    Limits, MkdirExisting, MvRename, NodeKind, Options, RmMissing, UrlStability,
};
use pluton_fichier::encoding::{Mask, NameCodec};
use pluton_fichier::proto::*;
use tokio::time::timeout;
use tonic::Status;

use super::number_of;
use crate::harness::*;

/// Clients of each kind.
const OWN: u64 = 4;
const SHARED: u64 = 4;
const OWN_STEPS: usize = 15;
const SHARED_STEPS: usize = 40;
/// Longer than a life takes on a busy machine, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// A path as clients see it.
fn shown(stored: &str) -> String {
    let codec = NameCodec::new(Mask::FICHIER);
    let names = stored.split('/').map(|name| codec.to_segment(name));
    names.collect::<Vec<_>>().join("/")
}

/// The reason of a failure, which must be one that concurrency explains.
fn clear(status: &Status) -> String {
    let reason = reason(status);
    let is_defect = ["INTERNAL_ERROR", "UPSTREAM_PROTOCOL", "UPSTREAM_LOCKED"];
    assert!(!is_defect.contains(&&*reason), "{status:?}");
    reason
}

fn upstream(random: &mut Rng) -> Options {
    let mut options = Options {
        limits: Limits::none(),
        ..Options::default()
    };
    let behaviour = &mut options.behaviour;
    // Two of one name are made where two ask for it at once.
    behaviour.mkdir_existing = MkdirExisting::Duplicate;
    if random.bool() {
        behaviour.url_stability = UrlStability::Changes;
    }
    if random.bool() {
        behaviour.mv_rename = MvRename::IgnoresDestination;
    }
    if random.bool() {
        behaviour.rm_missing = RmMissing::Ko;
    }
    options
}

async fn life(seed: u64) {
    let options = upstream(&mut Rng::with_seed(seed));
    let world = build(options, |config| {
        config.limits = pluton_fichier::fichier::Limits::none();
        config.uploads.stream_from = super::STREAM_FROM;
    });
    let world = Arc::new(world.await);
    let tally = Arc::new(shared::Tally::default());
    let own = (0..OWN).map(|number| {
        let random = Rng::with_seed(seed * 100 + number);
        let life = own::Own::new(Arc::clone(&world), number, random);
        tokio::spawn(life.live(OWN_STEPS))
    });
    let shared = (0..SHARED).map(|number| {
        let random = Rng::with_seed(seed * 100 + 50 + number);
        let client = shared::Client::new(Arc::clone(&world), Arc::clone(&tally), number, random);
        tokio::spawn(client.live(SHARED_STEPS))
    });
    let clients: Vec<_> = own.chain(shared).collect();
    for ended in join_all(clients).await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    compare(&world).await;
    tally.check(&world);
}

/// What the server shows is what 1Fichier holds: files by path and content,
/// and each directory once.
async fn compare(world: &World) {
    let refresh = RefreshRequest {
        recursive: true,
        reload: true,
        ..RefreshRequest::default()
    };
    world.client.clone().refresh(refresh).await.unwrap();
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in world.control.tree() {
        let path = match node.kind {
            NodeKind::File => shown(&node.path),
            NodeKind::Folder => shown(&node.path) + "/",
        };
        held.entry(path).or_default().push(node.whirlpool);
    }
    let shown = world.list("", true).await.unwrap();
    for entry in &shown {
        let is_file = entry.r#type() == EntryType::File;
        let path = entry.path.clone() + if is_file { "" } else { "/" };
        let there = held.remove(&path);
        let there = there.unwrap_or_else(|| panic!("{path:?} is shown and not there"));
        if is_file {
            assert!(there.contains(&entry.checksums[0].hex), "{path:?}");
        }
        let count = entry.attributes.get("duplicates");
        let count = count.map_or(1, |count| count.parse().unwrap());
        assert_eq!(there.len(), count, "how often {path:?} is there");
        assert!(is_file || count == 1, "{path:?} is there twice");
    }
    assert!(held.is_empty(), "{held:?} is not shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lives_of_many_clients_at_once_lose_nothing() {
    let (first, count) = (number_of("MODEL_SEED", 0), number_of("MODEL_CROWDS", 4));
    for seed in first..first + count {
        // In a task of its own, so that the test's thread does not wait in it.
        let life = timeout(PATIENCE, tokio::spawn(life(seed))).await;
        match life.unwrap_or_else(|_| panic!("seed {seed}: a life does not end")) {
            Ok(()) => {}
            Err(error) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
    println!("{count} lives of {} clients", OWN + SHARED);
}
