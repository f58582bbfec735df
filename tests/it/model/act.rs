//! What clients and others do.

use std::time::Duration;

use futures::future::join_all;
use pluton_fichier::emulator::FaultKind;
use pluton_fichier::proto::*;
use pluton_fichier::server::Server;

use super::compare::shown_path;
use super::run::{Runner, codec, told, wire};
use super::step::Step;
use super::tree::Outcome;
use super::{CONTENTS, bytes_of};
use crate::harness::*;

impl Runner {
    async fn put(
        &self,
        path: &str,
        content: usize,
        header: PutHeader,
    ) -> Result<PutResponse, String> {
        let header = PutHeader {
            path: path.to_owned(),
            ..header
        };
        let messages = messages(header, &bytes_of(content));
        let sent = self
            .world
            .client
            .clone()
            .put(futures::stream::iter(messages))
            .await;
        Ok(sent.map_err(told)?.into_inner())
    }

    pub(super) async fn act(&mut self, step: &Step) -> Outcome {
        let client = || self.world.client.clone();
        match step {
            Step::Put {
                path,
                content,
                mode,
                parents,
                sized,
                twice,
            } => {
                self.requests += 1;
                let request_id = if *twice {
                    format!("request {}", self.requests)
                } else {
                    String::new()
                };
                let header = PutHeader {
                    size: sized.then_some(CONTENTS[*content] as i64),
                    write_mode: wire(*mode),
                    create_parents: Some(*parents),
                    request_id,
                    ..PutHeader::default()
                };
                let stored = self.put(path, *content, header.clone()).await?;
                if *twice {
                    let again = self.put(path, *content, header).await?;
                    if !again.replayed
                        || again.entry.as_ref().map(|entry| &entry.id)
                            != stored.entry.as_ref().map(|entry| &entry.id)
                    {
                        return Err(format!("no replay: {again:?}"));
                    }
                }
                Ok(self.entry(stored.entry))
            }
            Step::PutMany { paths, content } => {
                let header = PutHeader {
                    size: Some(CONTENTS[*content] as i64),
                    ..PutHeader::default()
                };
                let puts = paths
                    .iter()
                    .map(|path| self.put(path, *content, header.clone()));
                let outcomes = join_all(puts).await;
                let outcomes: Vec<String> = outcomes
                    .into_iter()
                    .map(|outcome| match outcome {
                        Ok(stored) => self.entry(stored.entry),
                        Err(reason) => reason,
                    })
                    .collect();
                Ok(format!("{outcomes:?}"))
            }
            Step::Get { path } => {
                let got = self.world.get(path).await.map_err(told)?;
                Ok(self.content(&whirlpool(&got.content)))
            }
            Step::Hash { path } => {
                let request = HashRequest {
                    path: path.clone(),
                    algorithm: HashAlgorithm::Whirlpool.into(),
                    ..HashRequest::default()
                };
                let answer = client().hash(request).await.map_err(told)?.into_inner();
                Ok(self.content(&answer.checksum.expect("a checksum").hex))
            }
            Step::Stat { path } => {
                let entry = self.world.stat(path).await.map_err(told)?;
                Ok(self.entry(Some(entry)))
            }
            Step::List {
                path,
                recursive,
                page_size,
            } => {
                let mut paths = self.pages(path, *recursive, *page_size).await?;
                paths.sort();
                Ok(format!("{paths:?}"))
            }
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
                let results = client().delete(request).await.map_err(told)?;
                let results: Vec<String> = results
                    .into_inner()
                    .results
                    .into_iter()
                    .map(|result| {
                        result
                            .failure
                            .map_or(String::new(), |failure| failure.reason)
                    })
                    .collect();
                Ok(format!("{results:?}"))
            }
            Step::Mkdir { path, parents } => {
                let request = MkdirRequest {
                    path: path.clone(),
                    create_parents: Some(*parents),
                    ..MkdirRequest::default()
                };
                let made = client().mkdir(request).await.map_err(told)?.into_inner();
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
                client().rmdir(request).await.map_err(told)?;
                Ok(String::new())
            }
            Step::Copy { from, to, mode } => {
                let request = CopyRequest {
                    source_path: from.clone(),
                    destination_path: to.clone(),
                    write_mode: wire(*mode),
                    ..CopyRequest::default()
                };
                let copied = client().copy(request).await.map_err(told)?;
                Ok(self.entry(copied.into_inner().entry))
            }
            Step::Move { from, to, mode } => {
                let request = MoveRequest {
                    source_path: from.clone(),
                    destination_path: to.clone(),
                    write_mode: wire(*mode),
                    ..MoveRequest::default()
                };
                let moved = client().r#move(request).await.map_err(told)?;
                Ok(self.entry(moved.into_inner().entry))
            }
            Step::MoveDir { from, to } => {
                let request = MoveDirRequest {
                    source_path: from.clone(),
                    destination_path: to.clone(),
                    ..MoveDirRequest::default()
                };
                client().move_dir(request).await.map_err(told)?;
                Ok(String::new())
            }
            Step::Purge { path, dry } => {
                let request = PurgeRequest {
                    path: path.clone(),
                    validate_only: *dry,
                    ..PurgeRequest::default()
                };
                let mut answers = client().purge(request).await.map_err(told)?.into_inner();
                let mut last = None;
                while let Some(answer) = answers.message().await.map_err(told)? {
                    if let Some(failed) = answer.failures.first() {
                        return Err(format!("{failed:?}"));
                    }
                    last = Some(answer);
                }
                let last = last.filter(|answer| answer.done).ok_or("no end")?;
                Ok(format!(
                    "{} files, {} directories",
                    last.removed_files, last.removed_directories
                ))
            }
            Step::Dedupe { path, identical } => {
                let mode = if *identical {
                    DedupeMode::Identical
                } else {
                    DedupeMode::Newest
                };
                let request = DedupeRequest {
                    path: path.clone(),
                    recursive: true,
                    mode: mode.into(),
                    ..DedupeRequest::default()
                };
                let mut groups = client().dedupe(request).await.map_err(told)?.into_inner();
                while let Some(group) = groups.message().await.map_err(told)? {
                    if let Some(failed) = group.failures.first() {
                        return Err(format!("{failed:?}"));
                    }
                }
                Ok(String::new())
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
                client().refresh(request).await.map_err(told)?;
                Ok(String::new())
            }
            Step::Restart => {
                self.world.restart().await;
                Ok(String::new())
            }
            Step::Crash => {
                drop(self.world.server.take());
                let server = Server::start(self.world.config.clone())
                    .await
                    .expect("a start");
                self.world.client = connect(&server).await;
                self.world.server = Some(server);
                Ok(String::new())
            }
            Step::OthersPut { path, content } => {
                let held = self.held();
                let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
                let stored = codec().to_stored(name).expect("a name");
                let parent = held.get(&format!("{directory}/"));
                let parent = match parent.and_then(|nodes| nodes.first()) {
                    _ if directory.is_empty() => Some(0),
                    parent => parent.map(|node| node.id),
                };
                if let Some(parent) = parent
                    && !held.contains_key(&format!("{path}/"))
                {
                    self.world
                        .control
                        .add_file(parent, &stored, &bytes_of(*content));
                }
                self.notice().await
            }
            Step::OthersRemove { path } => {
                let held = self.held();
                if let Some(files) = held.get(path) {
                    // The one that counts, as the model has it.
                    let url = self.world.stat(path).await.map_err(told)?.id;
                    assert!(files.iter().any(|node| node.url == url));
                    self.world.control.remove_file(&url);
                } else if let Some(folders) = held.get(&format!("{path}/")) {
                    self.world.control.remove_folder(folders[0].id);
                }
                self.notice().await
            }
            Step::Wait { seconds } => {
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
                Ok(String::new())
            }
            Step::Trouble { endpoint } => {
                self.world.fail(endpoint, 1, FaultKind::Status(503));
                Ok(String::new())
            }
            Step::Lost { .. } => Err("it is not for this".to_owned()),
        }
    }

    /// What another program did is seen when own changes of before are over.
    async fn notice(&self) -> Outcome {
        tokio::time::sleep(Duration::from_secs(310)).await;
        let request = RefreshRequest {
            recursive: true,
            ..RefreshRequest::default()
        };
        self.world
            .client
            .clone()
            .refresh(request)
            .await
            .map_err(told)?;
        Ok(String::new())
    }

    /// Paths page by page, as a client that comes back with the token does.
    async fn pages(
        &self,
        path: &str,
        recursive: bool,
        page_size: i32,
    ) -> Result<Vec<String>, String> {
        let mut paths = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListRequest {
                path: path.to_owned(),
                recursive,
                page_size,
                page_token: page_token.clone(),
                ..ListRequest::default()
            };
            let mut answers = self
                .world
                .client
                .clone()
                .list(request)
                .await
                .map_err(told)?
                .into_inner();
            // Only the first page: the rest is for the token.
            let Some(page) = answers.message().await.map_err(told)? else {
                return Ok(paths);
            };
            if let Some(failed) = page.failures.first() {
                return Err(format!("{failed:?}"));
            }
            paths.extend(page.entries.iter().map(shown_path));
            if page.next_page_token.is_empty() {
                return Ok(paths);
            }
            page_token = page.next_page_token;
        }
    }
}
