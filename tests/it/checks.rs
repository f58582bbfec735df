//! What must hold whatever happened upstream.

#![allow(unreachable_pub, reason = "a toolbox, as the harness is")]

use std::collections::BTreeMap;
use std::time::Duration;

use pluton_fichier::emulator::{Behaviour, Fault, FaultKind, NodeKind, Options};
use pluton_fichier::proto::*;
use tonic::{Code, Status};

use crate::harness::*;

/// An account that plays the open questions like this, with every limit.
pub async fn played(change: impl FnOnce(&mut Behaviour)) -> World {
    let mut options = Options::default();
    change(&mut options.behaviour);
    build(options, |_| ()).await
}

/// The same for an account that nobody else writes to: what is remembered
/// counts.
pub async fn exclusive(change: impl FnOnce(&mut Behaviour)) -> World {
    let mut options = Options::default();
    change(&mut options.behaviour);
    build(options, |config| config.exclusive = true).await
}

pub async fn minutes(minutes: u64) {
    tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
}

pub async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

impl World {
    /// The next so many calls of an endpoint meet a fault.
    pub fn fail(&self, endpoint: &str, times: u32, kind: FaultKind) {
        self.control.inject(Fault {
            endpoint: endpoint.to_owned(),
            skip: 0,
            times,
            kind,
        });
    }

    /// The id of a folder, as 1Fichier holds it.
    pub fn folder(&self, path: &str) -> u64 {
        self.nodes(path)
            .into_iter()
            .find(|(kind, ..)| *kind == NodeKind::Folder)
            .expect("a folder")
            .1
    }

    /// The links of all files of a path, as 1Fichier holds them.
    pub fn urls(&self, path: &str) -> Vec<String> {
        let mut urls: Vec<_> = self
            .nodes(path)
            .into_iter()
            .filter(|(kind, ..)| *kind == NodeKind::File)
            .map(|(_, _, url)| url)
            .collect();
        urls.sort();
        urls
    }

    fn nodes(&self, path: &str) -> Vec<(NodeKind, u64, String)> {
        let tree = self.control.tree();
        tree.into_iter()
            .filter(|node| node.path == path)
            .map(|node| (node.kind, node.id, node.url))
            .collect()
    }

    pub async fn range(&self, path: &str, offset: i64, length: i64) -> Result<Vec<u8>, Status> {
        let range = ByteRange {
            offset,
            length: Some(length),
        };
        let request = GetRequest {
            path: path.to_owned(),
            ranges: vec![range],
            ..GetRequest::default()
        };
        Ok(get(&self.client, request).await?.content)
    }

    pub async fn hash(&self, path: &str) -> Result<String, Status> {
        let request = HashRequest {
            path: path.to_owned(),
            algorithm: HashAlgorithm::Whirlpool.into(),
            ..HashRequest::default()
        };
        let answer = self.client.clone().hash(request).await?.into_inner();
        Ok(answer.checksum.unwrap().hex)
    }

    /// A listing no older than so many seconds, and as of when it is.
    pub async fn listed_within(
        &self,
        path: &str,
        age: i64,
    ) -> (Vec<String>, prost_types::Timestamp) {
        let request = ListRequest {
            path: path.to_owned(),
            max_staleness: Some(prost_types::Duration {
                seconds: age,
                nanos: 0,
            }),
            ..ListRequest::default()
        };
        let pages = list(&self.client, request).await.unwrap();
        let as_of = pages[0].as_of_time.unwrap();
        let entries = pages.into_iter().flat_map(|page| page.entries);
        (entries.map(|entry| entry.path).collect(), as_of)
    }

    /// What was called when, for a failure's report.
    pub fn requests(&self) -> String {
        let requests = self.control.last_requests();
        let start = requests.first().map(|request| request.at);
        let lines = requests.iter().map(|request| {
            let at = start.map_or(0.0, |start| (request.at - start).as_secs_f64());
            let body: String = request.body.chars().take(160).collect();
            format!("\n{at:.2} {} {body}", request.endpoint)
        });
        lines.collect()
    }

    /// What the server shows is what 1Fichier holds: paths, sizes, checksums.
    pub async fn assert_agreement(&self, context: &str) {
        let mut held = BTreeMap::new();
        for node in self.control.tree() {
            let file = node.kind == NodeKind::File;
            let fact = (node.size, node.whirlpool);
            let twin = held.insert((node.path.clone(), file), fact);
            assert!(twin.is_none(), "{context}: {:?} twice", node.path);
        }
        let shown: BTreeMap<_, _> = self
            .list("", true)
            .await
            .unwrap_or_else(|error| panic!("{context}: {error:?}"))
            .into_iter()
            .map(|entry| {
                let file = entry.r#type() == EntryType::File;
                let sum = entry.checksums.first().map(|sum| sum.hex.clone());
                let fact = (entry.size.unwrap_or(0) as u64, sum.unwrap_or_default());
                ((entry.path, file), fact)
            })
            .collect();
        assert_eq!(shown, held, "{context}: shown and held");
    }
}

/// A failure that tells a client what to do: never a defect, always a reason.
#[track_caller]
pub fn assert_clear(status: &Status, context: &str) -> String {
    let reason = reason(status);
    assert_ne!(reason, "INTERNAL_ERROR", "{context}: {status:?}");
    assert!(
        !matches!(status.code(), Code::Unknown | Code::Cancelled),
        "{context}: {status:?}"
    );
    reason
}
