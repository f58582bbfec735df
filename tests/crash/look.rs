//! What the server says of a client's files.

use std::collections::BTreeSet;

use pluton_fichier::proto::*;

use crate::client::{get, reason};
use crate::expected::{Expected, Node, Past, Problem, Tree, Wrong};
use crate::operation::{Client, whirlpool};

/// Whether it tells what is there: as it remembers it, and as it lists it anew.
/// What it remembers may be old where a second program was at work.
pub(crate) async fn look_through(
    client: &Client,
    root: String,
    tree: &Tree,
    is_old: bool,
) -> Result<(), Problem> {
    let expected = Expected::certain(tree.clone());
    let mut ways = [
        ("remembered", None),
        ("listed", Some(prost_types::Duration::default())),
    ];
    if is_old {
        ways.reverse();
    }
    for (how, age) in ways {
        let listed = list(client, &root, age).await?;
        let listed = expected.compare(listed, &Past::default());
        listed.map_err(|mut problems| {
            let first = problems.remove(0);
            Wrong::Untrue.at(format!("as {how}: {first}"))
        })?;
    }
    let mut read = BTreeSet::new();
    for (path, node) in tree {
        let Node::File {
            size,
            whirlpool: sum,
        } = node
        else {
            continue;
        };
        let request = StatRequest {
            path: path.clone(),
            ..StatRequest::default()
        };
        let entry = client.clone().stat(request).await;
        let entry = entry
            .map_err(|status| Wrong::Untrue.at(format!("stat {path:?}: {}", reason(&status))))?;
        let told = entry.into_inner().entry.unwrap_or_default();
        if told.size != Some(*size as i64) {
            return Err(Wrong::Untrue.at(format!("stat {path:?}: {told:?}")));
        }
        let request = HashRequest {
            path: path.clone(),
            ..HashRequest::default()
        };
        let hash = client.clone().hash(request).await;
        let hash =
            hash.map_err(|status| Wrong::Untrue.at(format!("hash {path:?}: {}", reason(&status))))?;
        let told = hash.into_inner().checksum.unwrap_or_default().hex;
        if told != *sum {
            return Err(Wrong::Untrue.at(format!("hash {path:?}: {told}")));
        }
        // Others are read by the load.
        if read.len() < 2 && read.insert(path) {
            let bytes = get(client, path).await;
            let bytes = bytes
                .map_err(|status| Wrong::Lost.at(format!("read {path:?}: {}", reason(&status))))?;
            if whirlpool(&bytes) != *sum {
                return Err(
                    Wrong::Corrupt.at(format!("{path:?} was read as other {} bytes", bytes.len()))
                );
            }
        }
    }
    Ok(())
}

async fn list(
    client: &Client,
    root: &str,
    age: Option<prost_types::Duration>,
) -> Result<Vec<(String, Node)>, Problem> {
    let request = ListRequest {
        path: root.to_owned(),
        recursive: true,
        max_staleness: age,
        ..ListRequest::default()
    };
    let failed = |status: tonic::Status| {
        Wrong::Untrue.at(format!(
            "list {root:?}: {} {}",
            reason(&status),
            status.message()
        ))
    };
    let mut nodes = vec![(root.to_owned(), Node::Directory)];
    let mut stream = match client.clone().list(request).await {
        Ok(stream) => stream.into_inner(),
        Err(status) if reason(&status) == "DIRECTORY_NOT_FOUND" => return Ok(Vec::new()),
        Err(status) => return Err(failed(status)),
    };
    loop {
        let page = match stream.message().await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(nodes),
            Err(status) if reason(&status) == "DIRECTORY_NOT_FOUND" => return Ok(Vec::new()),
            Err(status) => return Err(failed(status)),
        };
        if let Some(failure) = page.failures.first() {
            return Err(Wrong::Untrue.at(format!("list {:?}: {failure:?}", failure.path)));
        }
        for entry in page.entries {
            if entry.attributes.contains_key("duplicates") {
                return Err(Wrong::Untrue.at(format!("{:?} has duplicates", entry.path)));
            }
            let node = match entry.r#type() {
                EntryType::Directory => Node::Directory,
                _ => Node::File {
                    size: entry.size.unwrap_or(0) as u64,
                    whirlpool: entry
                        .checksums
                        .first()
                        .map(|sum| sum.hex.clone())
                        .unwrap_or_default(),
                },
            };
            nodes.push((entry.path, node));
        }
    }
}
