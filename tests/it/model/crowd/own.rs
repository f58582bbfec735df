//! A client that has a directory of its own.

use std::sync::Arc;

use fastrand::Rng;
use futures::future::join_all;
use pluton_fichier::emulator::NodeKind;
use pluton_fichier::proto::*;
use tonic::Status;

use super::super::step::{Step, Write};
use super::super::tree::{Outcome, Tree};
use super::super::{CONTENTS, bytes_of};
use super::{clear, shown};
use crate::harness::*;

/// Where all of them are: they make it at the same time.
const ABOVE: &str = "own";

pub(super) struct Own {
    world: Arc<World>,
    home: String,
    tree: Tree,
    random: Rng,
}

/// A step below a directory. `None` for what others would notice, or what
/// makes the server tell files of one path apart.
fn below(home: &str, step: Step) -> Option<Step> {
    let at = |path: String| match path.is_empty() {
        true => home.to_owned(),
        false => format!("{home}/{path}"),
    };
    let all = |paths: Vec<String>| paths.into_iter().map(at).collect();
    let alone = |mode: Write| (mode != Write::KeepBoth).then_some(mode);
    Some(match step {
        Step::Put {
            path,
            content,
            mode,
            parents,
            sized,
            ..
        } => Step::Put {
            path: at(path),
            content,
            mode: alone(mode)?,
            parents,
            sized,
            twice: false,
        },
        Step::PutMany { paths, content } => Step::PutMany {
            paths: all(paths),
            content,
        },
        Step::Get { path } => Step::Get { path: at(path) },
        Step::Stat { path } => Step::Stat { path: at(path) },
        Step::List {
            path, recursive, ..
        } => Step::List {
            path: at(path),
            recursive,
            page_size: 0,
        },
        Step::Delete {
            paths,
            allow_missing,
        } => Step::Delete {
            paths: all(paths),
            allow_missing,
        },
        Step::Mkdir { path, parents } => Step::Mkdir {
            path: at(path),
            parents,
        },
        Step::Rmdir {
            path,
            allow_missing,
        } => Step::Rmdir {
            path: at(path),
            allow_missing,
        },
        Step::Copy { from, to, mode } => Step::Copy {
            from: at(from),
            to: at(to),
            mode: alone(mode)?,
        },
        Step::Move { from, to, mode } => Step::Move {
            from: at(from),
            to: at(to),
            mode: alone(mode)?,
        },
        Step::MoveDir { from, to } => Step::MoveDir {
            from: at(from),
            to: at(to),
        },
        Step::Purge { path, dry } => Step::Purge {
            path: at(path),
            dry,
        },
        Step::Refresh {
            path,
            recursive,
            reload,
        } => Step::Refresh {
            path: at(path),
            recursive,
            reload,
        },
        _ => return None,
    })
}

fn told(status: Status) -> String {
    clear(&status)
}

fn number(content: &str) -> String {
    let known = (0..CONTENTS.len()).find(|number| whirlpool(&bytes_of(*number)) == content);
    known.map_or_else(
        || format!("unknown content {content}"),
        |number| format!("content {number}"),
    )
}

fn entry(entry: Option<Entry>) -> String {
    let entry = entry.expect("an entry");
    match entry.r#type() {
        EntryType::Directory => "directory".to_owned(),
        _ => number(&entry.checksums[0].hex),
    }
}

fn wire(mode: Write) -> i32 {
    match mode {
        Write::Replace => WriteMode::Replace,
        Write::CreateOnly => WriteMode::CreateOnly,
        Write::KeepBoth => WriteMode::KeepBoth,
    }
    .into()
}

impl Own {
    pub(super) fn new(world: Arc<World>, number: u64, random: Rng) -> Self {
        Self {
            world,
            home: format!("{ABOVE}/{number}"),
            tree: Tree::default(),
            random,
        }
    }

    pub(super) async fn live(mut self, steps: usize) {
        self.world.mkdir(&self.home).await.unwrap();
        self.tree.directories.insert(ABOVE.to_owned());
        self.tree.directories.insert(self.home.clone());
        let mut done = 0;
        while done < steps {
            let Some(step) = below(&self.home, Step::random(&mut self.random)) else {
                continue;
            };
            done += 1;
            let before = self.tree.clone();
            let expected = self.tree.apply(&step);
            let got = self.act(&step).await;
            assert_eq!(got, expected, "{step:?}\nbefore it: {before:#?}");
            self.compare(&step).await;
        }
    }

    async fn put(&self, path: &str, content: usize, header: PutHeader) -> Outcome {
        let header = PutHeader {
            path: path.to_owned(),
            ..header
        };
        let stored = put(&self.world.client, header, &bytes_of(content)).await;
        Ok(entry(Some(stored.map_err(told)?)))
    }

    async fn act(&self, step: &Step) -> Outcome {
        let mut client = self.world.client.clone();
        match step {
            Step::Put {
                path,
                content,
                mode,
                parents,
                sized,
                ..
            } => {
                let header = PutHeader {
                    size: sized.then_some(CONTENTS[*content] as i64),
                    write_mode: wire(*mode),
                    create_parents: Some(*parents),
                    ..PutHeader::default()
                };
                self.put(path, *content, header).await
            }
            Step::PutMany { paths, content } => {
                let header = PutHeader::default();
                let puts = paths
                    .iter()
                    .map(|path| self.put(path, *content, header.clone()));
                let outcomes = join_all(puts).await.into_iter();
                let outcomes: Vec<String> = outcomes
                    .map(|outcome| outcome.unwrap_or_else(|reason| reason))
                    .collect();
                Ok(format!("{outcomes:?}"))
            }
            Step::Get { path } => {
                let got = self.world.get(path).await.map_err(told)?;
                Ok(number(&whirlpool(&got.content)))
            }
            Step::Stat { path } => Ok(entry(Some(self.world.stat(path).await.map_err(told)?))),
            Step::List {
                path, recursive, ..
            } => Ok(format!("{:?}", self.list(path, *recursive).await?)),
            Step::Delete {
                paths,
                allow_missing,
            } => {
                let target = |path: &String| DeleteTarget {
                    path: path.clone(),
                    ..DeleteTarget::default()
                };
                let request = DeleteRequest {
                    targets: paths.iter().map(target).collect(),
                    allow_missing: *allow_missing,
                    ..DeleteRequest::default()
                };
                let answer = client.delete(request).await.map_err(told)?.into_inner();
                let reasons = answer.results.into_iter().map(|result| {
                    let failure = result.failure;
                    failure.map_or(String::new(), |failure| failure.reason)
                });
                Ok(format!("{:?}", reasons.collect::<Vec<_>>()))
            }
            Step::Mkdir { path, parents } => {
                let request = MkdirRequest {
                    path: path.clone(),
                    create_parents: Some(*parents),
                    ..MkdirRequest::default()
                };
                let made = client.mkdir(request).await.map_err(told)?.into_inner();
                Ok(format!("created {}", made.created))
            }
            Step::Rmdir {
                path,
                allow_missing,
            } => {
                let request = RmdirRequest {
                    path: path.clone(),
                    allow_missing: *allow_missing,
                    ..RmdirRequest::default()
                };
                client.rmdir(request).await.map_err(told)?;
                Ok(String::new())
            }
            Step::Copy { from, to, mode } => {
                let request = CopyRequest {
                    source_path: from.clone(),
                    destination_path: to.clone(),
                    write_mode: wire(*mode),
                    ..CopyRequest::default()
                };
                let copied = client.copy(request).await.map_err(told)?;
                Ok(entry(copied.into_inner().entry))
            }
            Step::Move { from, to, mode } => {
                let request = MoveRequest {
                    source_path: from.clone(),
                    destination_path: to.clone(),
                    write_mode: wire(*mode),
                    ..MoveRequest::default()
                };
                let moved = client.r#move(request).await.map_err(told)?;
                Ok(entry(moved.into_inner().entry))
            }
            Step::MoveDir { from, to } => {
                let request = MoveDirRequest {
                    source_path: from.clone(),
                    destination_path: to.clone(),
                    ..MoveDirRequest::default()
                };
                client.move_dir(request).await.map_err(told)?;
                Ok(String::new())
            }
            Step::Purge { path, dry } => {
                let request = PurgeRequest {
                    path: path.clone(),
                    validate_only: *dry,
                    ..PurgeRequest::default()
                };
                let mut answers = client.purge(request).await.map_err(told)?.into_inner();
                let mut last = PurgeResponse::default();
                while let Some(answer) = answers.message().await.map_err(told)? {
                    assert!(answer.failures.is_empty(), "{answer:?}");
                    last = answer;
                }
                assert!(last.done, "{last:?}");
                Ok(format!(
                    "{} files, {} directories",
                    last.removed_files, last.removed_directories
                ))
            }
            Step::Refresh {
                path,
                recursive,
                reload,
            } => {
                let request = RefreshRequest {
                    path: path.clone(),
                    recursive: *recursive,
                    reload: *reload,
                    ..RefreshRequest::default()
                };
                client.refresh(request).await.map_err(told)?;
                Ok(String::new())
            }
            _ => unreachable!("{step:?} is not made here"),
        }
    }

    async fn list(&self, path: &str, recursive: bool) -> Result<Vec<String>, String> {
        let listed = self.world.list(path, recursive).await.map_err(told)?;
        let mut paths: Vec<String> = listed
            .into_iter()
            .map(|entry| match entry.r#type() {
                EntryType::Directory => format!("{}/", entry.path),
                _ => entry.path,
            })
            .collect();
        paths.sort();
        Ok(paths)
    }

    /// What the server shows of the directory, and what 1Fichier holds of it.
    async fn compare(&self, step: &Step) {
        let mut tree = self.tree.clone();
        let all = tree.apply(&Step::List {
            path: self.home.clone(),
            recursive: true,
            page_size: 0,
        });
        let listed = self.list(&self.home, true).await;
        let listed = listed.map(|paths| format!("{paths:?}"));
        assert_eq!(listed, all, "listed after {step:?}");
        let below = format!("{}/", self.home);
        let mut held = Vec::new();
        for node in self.world.control.tree() {
            let path = shown(&node.path);
            if path.starts_with(&below) && node.kind == NodeKind::File {
                held.push((path, number(&node.whirlpool)));
            }
        }
        held.sort();
        let expected: Vec<_> = self
            .tree
            .files
            .iter()
            .map(|(path, files)| (path.clone(), format!("content {}", files[0])))
            .collect();
        assert_eq!(held, expected, "held after {step:?}");
    }
}
