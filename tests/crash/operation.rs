//! What clients ask for, and what the account holds then.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::StreamExt;
use futures::stream;
use pluton_fichier::proto::put_request::Payload;
use pluton_fichier::proto::storage_backend_client::StorageBackendClient;
use pluton_fichier::proto::*;
use tonic::Status;
use tonic::transport::Channel;

use crate::effect::is_within;
use crate::expected::{Node, Tree};

pub(crate) type Client = StorageBackendClient<Channel>;

/// Larger content of known size streams in these lives.
pub(crate) const STREAM_FROM: u64 = 64 << 10;

/// A content: all bytes follow from its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    number: u64,
    size: usize,
}

impl Content {
    pub(crate) fn random(random: &mut Rng) -> Self {
        let size = match random.u8(..10) {
            0..6 => random.usize(1..5_000),
            6..8 => random.usize(5_000..60_000),
            _ => random.usize(70_000..400_000),
        };
        Self {
            number: random.u64(..),
            size,
        }
    }

    pub(crate) fn bytes(self) -> Bytes {
        let mut bytes = vec![0; self.size];
        Rng::with_seed(self.number).fill(&mut bytes);
        bytes.into()
    }

    pub(crate) fn node(self) -> Node {
        Node::File {
            size: self.size as u64,
            whirlpool: whirlpool(&self.bytes()),
        }
    }
}

pub(crate) fn whirlpool(data: &[u8]) -> String {
    use whirlpool::Digest;
    let digest = whirlpool::Whirlpool::digest(data);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One request that changes something.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Put {
        path: String,
        content: Content,
        sized: bool,
        /// Between two pieces, so that a kill meets an open upload.
        pause: Duration,
        id: String,
    },
    Move {
        from: String,
        to: String,
        id: String,
    },
    Copy {
        from: String,
        to: String,
        id: String,
    },
    MoveDir {
        from: String,
        to: String,
        id: String,
    },
    Delete {
        paths: Vec<String>,
    },
    Mkdir {
        path: String,
    },
    Rmdir {
        path: String,
    },
    Purge {
        path: String,
    },
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// It was the outcome of an earlier one.
    pub(crate) replayed: bool,
    /// Whirlpool of the entry that it tells of.
    pub(crate) whirlpool: Option<String>,
}

impl Operation {
    /// Something that must succeed on this tree; everything stays below `root`.
    pub(crate) fn random(random: &mut Rng, root: &str, tree: &Tree) -> Self {
        let files: Vec<&String> = nodes(tree, |node| *node != Node::Directory);
        let below = |path: &&String| path.as_str() != root;
        let directories: Vec<&String> = nodes(tree, |node| *node == Node::Directory)
            .into_iter()
            .filter(below)
            .collect();
        let mut one = |of: &[&String]| of[random.usize(..of.len())].clone();
        let (file, directory) = (
            (!files.is_empty()).then(|| one(&files)),
            (!directories.is_empty()).then(|| one(&directories)),
        );
        let id = format!("{:016x}", random.u64(..));
        let put = |random: &mut Rng| Self::Put {
            path: place_for(random, root, &directories),
            content: Content::random(random),
            sized: random.u8(..4) > 0,
            pause: Duration::from_millis([0, 0, 5, 20][random.usize(..4)]),
            id: id.clone(),
        };
        let (Some(file), Some(directory)) = (file, directory) else {
            return put(random);
        };
        if files.len() > 14 && random.bool() {
            return Self::Purge { path: directory };
        }
        match random.u8(..100) {
            0..42 => put(random),
            // Onto one that is there, as often as not.
            42..56 => {
                let onto = files[random.usize(..files.len())].clone();
                let to = if random.bool() {
                    onto
                } else {
                    place_for(random, root, &directories)
                };
                match to == file {
                    true => put(random),
                    false => Self::Move { from: file, to, id },
                }
            }
            56..67 => {
                let onto = files[random.usize(..files.len())].clone();
                let to = if random.bool() {
                    onto
                } else {
                    place_for(random, root, &directories)
                };
                match to == file {
                    true => put(random),
                    false => Self::Copy { from: file, to, id },
                }
            }
            67..76 => {
                let mut paths: BTreeSet<String> = [file].into();
                for _ in 0..random.usize(..3) {
                    paths.insert(files[random.usize(..files.len())].clone());
                }
                let paths = paths.into_iter().collect();
                Self::Delete { paths }
            }
            76..82 => Self::Mkdir {
                path: format!(
                    "{}/k{}",
                    directory_for(random, root, &directories),
                    random.u8(..4)
                ),
            },
            82..86 => {
                let empty = directories.iter().find(|path| {
                    !tree
                        .keys()
                        .any(|other| other != **path && is_within(other, path))
                });
                match empty {
                    Some(path) => Self::Rmdir {
                        path: (*path).clone(),
                    },
                    None => put(random),
                }
            }
            86..96 => {
                let to = format!(
                    "{}/m{}",
                    directory_for(random, root, &directories),
                    random.u8(..6)
                );
                // Into itself, onto what is there, or too deep.
                if is_within(&to, &directory)
                    || tree.contains_key(&to)
                    || to.matches('/').count() > 4
                {
                    return put(random);
                }
                Self::MoveDir {
                    from: directory,
                    to,
                    id,
                }
            }
            _ => Self::Purge { path: directory },
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Put {
                content,
                sized: true,
                ..
            } if content.size as u64 > STREAM_FROM => "put streamed",
            Self::Put { .. } => "put",
            Self::Move { .. } => "move",
            Self::Copy { .. } => "copy",
            Self::MoveDir { .. } => "move dir",
            Self::Delete { .. } => "delete",
            Self::Mkdir { .. } => "mkdir",
            Self::Rmdir { .. } => "rmdir",
            Self::Purge { .. } => "purge",
        }
    }

    /// Whether it moves nothing, and removes nothing but what it replaces.
    pub(crate) fn only_adds(&self) -> bool {
        matches!(
            self,
            Self::Put { .. } | Self::Copy { .. } | Self::Mkdir { .. }
        )
    }

    /// Whether a repeat after its success is answered from memory.
    pub(crate) fn is_replayable(&self) -> bool {
        matches!(
            self,
            Self::Put { .. } | Self::Move { .. } | Self::Copy { .. } | Self::MoveDir { .. }
        )
    }

    pub(crate) async fn send(&self, client: &Client) -> Result<Answer, Status> {
        let mut client = client.clone();
        let (entry, replayed) = match self {
            Self::Put { .. } => {
                let answer = client.put(self.messages()).await?.into_inner();
                (answer.entry, answer.replayed)
            }
            Self::Move { from, to, id } => {
                let request = MoveRequest {
                    source_path: from.clone(),
                    destination_path: to.clone(),
                    request_id: id.clone(),
                    ..MoveRequest::default()
                };
                let answer = client.r#move(request).await?.into_inner();
                (answer.entry, answer.replayed)
            }
            Self::Copy { from, to, id } => {
                let request = CopyRequest {
                    source_path: from.clone(),
                    destination_path: to.clone(),
                    request_id: id.clone(),
                    ..CopyRequest::default()
                };
                let answer = client.copy(request).await?.into_inner();
                (answer.entry, answer.replayed)
            }
            Self::MoveDir { from, to, id } => {
                let request = MoveDirRequest {
                    source_path: from.clone(),
                    destination_path: to.clone(),
                    request_id: id.clone(),
                    ..MoveDirRequest::default()
                };
                let answer = client.move_dir(request).await?.into_inner();
                (None, answer.replayed)
            }
            Self::Delete { paths } => {
                let target = |path: &String| DeleteTarget {
                    path: path.clone(),
                    ..DeleteTarget::default()
                };
                let request = DeleteRequest {
                    targets: paths.iter().map(target).collect(),
                    allow_missing: true,
                    ..DeleteRequest::default()
                };
                let answer = client.delete(request).await?.into_inner();
                if let Some(failure) = answer.results.into_iter().find_map(|result| result.failure)
                {
                    return Err(failed(&failure));
                }
                (None, false)
            }
            Self::Mkdir { path } => {
                let request = MkdirRequest {
                    path: path.clone(),
                    ..MkdirRequest::default()
                };
                client.mkdir(request).await?;
                (None, false)
            }
            Self::Rmdir { path } => {
                let request = RmdirRequest {
                    path: path.clone(),
                    allow_missing: true,
                    ..RmdirRequest::default()
                };
                client.rmdir(request).await?;
                (None, false)
            }
            Self::Purge { path } => {
                let request = PurgeRequest {
                    path: path.clone(),
                    allow_missing: true,
                    ..PurgeRequest::default()
                };
                let mut stream = client.purge(request).await?.into_inner();
                let mut done = false;
                while let Some(answer) = stream.message().await? {
                    if let Some(failure) = answer.failures.into_iter().find_map(|at| at.failure) {
                        return Err(failed(&failure));
                    }
                    done = answer.done;
                }
                if !done {
                    return Err(Status::internal("a purge ended without its last answer"));
                }
                (None, false)
            }
        };
        let sums = entry.map(|entry| entry.checksums).unwrap_or_default();
        let whirlpool = sums
            .into_iter()
            .find(|sum| sum.algorithm() == HashAlgorithm::Whirlpool);
        Ok(Answer {
            replayed,
            whirlpool: whirlpool.map(|sum| sum.hex),
        })
    }

    fn messages(&self) -> impl futures::Stream<Item = PutRequest> + Send + 'static {
        let mut messages = Vec::new();
        let mut wait = Duration::ZERO;
        if let Self::Put {
            path,
            content,
            sized,
            pause,
            id,
        } = self
        {
            wait = *pause;
            messages.push(Payload::Header(PutHeader {
                path: path.clone(),
                size: sized.then_some(content.size as i64),
                request_id: id.clone(),
                ..PutHeader::default()
            }));
            let bytes = content.bytes();
            for offset in (0..content.size).step_by(64 << 10) {
                let end = content.size.min(offset + (64 << 10));
                messages.push(Payload::Chunk(Chunk {
                    offset: offset as i64,
                    data: bytes.slice(offset..end),
                    crc32c: None,
                }));
            }
            messages.push(Payload::Commit(PutCommit {
                size: content.size as i64,
                checksums: Vec::new(),
            }));
        }
        stream::iter(messages).then(move |payload| async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            PutRequest {
                payload: Some(payload),
            }
        })
    }
}

/// The failure of one target as that of a call.
fn failed(failure: &Failure) -> Status {
    use tonic_types::{ErrorDetails, StatusExt};
    let details = ErrorDetails::with_error_info(&failure.reason, "storage.pluton", []);
    Status::with_error_details(tonic::Code::Unknown, &failure.message, details)
}

fn nodes(tree: &Tree, which: impl Fn(&Node) -> bool) -> Vec<&String> {
    tree.iter()
        .filter(|(_, node)| which(node))
        .map(|(path, _)| path)
        .collect()
}

fn directory_for(random: &mut Rng, root: &str, directories: &[&String]) -> String {
    if !directories.is_empty() && random.bool() {
        return directories[random.usize(..directories.len())].clone();
    }
    format!("{root}{}", ["", "/x", "/y", "/x/z"][random.usize(..4)])
}

fn place_for(random: &mut Rng, root: &str, directories: &[&String]) -> String {
    let directory = directory_for(random, root, directories);
    format!("{directory}/f{}.bin", random.u8(..5))
}
