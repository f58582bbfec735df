//! Leads a life against the server, and against the model.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use pluton_fichier::emulator::{FaultKind, Node, NodeKind, Options, Request};
use pluton_fichier::encoding::{Mask, NameCodec};
use pluton_fichier::fichier::Limits;
use pluton_fichier::proto::*;
use pluton_fichier::server::Server;
use tonic::Status;

use super::step::{Step, Write};
use super::tree::{Outcome, Tree};
use super::{CONTENTS, STREAM_FROM, bytes_of};
use crate::harness::*;

/// An account and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) options: Options,
    pub(super) steps: Vec<Step>,
}

struct Runner {
    world: World,
    tree: Tree,
    /// Whirlpool checksums of the contents.
    sums: Vec<String>,
    requests: u64,
}

fn codec() -> NameCodec {
    NameCodec::new(Mask::FICHIER)
}

fn wire(mode: Write) -> i32 {
    match mode {
        Write::Replace => WriteMode::Replace,
        Write::CreateOnly => WriteMode::CreateOnly,
        Write::KeepBoth => WriteMode::KeepBoth,
    }
    .into()
}

/// The reason of a failure. Two names for what is wrong with a path are one here.
fn told(status: Status) -> String {
    let reason = reason(&status);
    if matches!(
        reason.as_str(),
        "UPSTREAM_UNAVAILABLE" | "UPSTREAM_PROTOCOL" | "INTERNAL_ERROR" | "UPSTREAM_LOCKED"
    ) {
        return format!("{reason}: {}", status.message());
    }
    reason
}

/// Does the steps; how many it did, or what went wrong.
pub(super) async fn run(life: &Life) -> Result<usize, String> {
    let limited = life.options.limits != pluton_fichier::emulator::Limits::none();
    let world = build(life.options.clone(), |config| {
        config.uploads.stream_from = STREAM_FROM;
        if !limited {
            config.limits = Limits::none();
        }
    })
    .await;
    let sums = (0..CONTENTS.len())
        .map(|content| whirlpool(&bytes_of(content)))
        .collect();
    let mut runner = Runner {
        world,
        tree: Tree::default(),
        sums,
        requests: 0,
    };
    for (number, step) in life.steps.iter().enumerate() {
        let at = |error: String| format!("step {number}, {step:?}: {error}");
        runner.learn_order().await.map_err(at)?;
        let before = runner.tree.clone();
        let expected = runner.tree.apply(step);
        let got = runner.act(step).await;
        if got != expected {
            return Err(at(format!(
                "{got:?} instead of {expected:?}\nbefore it: {before:#?}"
            )));
        }
        runner.compare_listing().await.map_err(at)?;
        runner
            .compare_upstream()
            .map_err(|error| at(format!("{error}\nbefore it: {before:#?}")))?;
    }
    // Whatever was only remembered is asked for anew now.
    tokio::time::sleep(Duration::from_secs(700)).await;
    runner.compare_listing().await?;
    runner.compare_upstream()?;
    match runner.world.control.calls().floods() {
        0 => Ok(life.steps.len()),
        floods => Err(format!("{floods} floods: {}", runner.calls())),
    }
}

impl Runner {
    fn content(&self, sum: &str) -> String {
        match self.sums.iter().position(|known| known == sum) {
            Some(content) => format!("content {content}"),
            None => format!("unknown content {sum}"),
        }
    }

    fn entry(&self, entry: Option<Entry>) -> String {
        let entry = entry.expect("an entry");
        if entry.r#type() == EntryType::Directory {
            return "directory".to_owned();
        }
        let whirlpool = |sum: &&Checksum| sum.algorithm() == HashAlgorithm::Whirlpool;
        let sum = entry
            .checksums
            .iter()
            .find(whirlpool)
            .map(|sum| sum.hex.as_str());
        self.content(sum.unwrap_or_default())
    }

    /// Which of several files the server means by a path.
    async fn learn_order(&mut self) -> Result<(), String> {
        let several: Vec<String> = self
            .tree
            .files
            .iter()
            .filter(|(_, files)| files.len() > 1)
            .map(|(path, _)| path.clone())
            .collect();
        for path in several {
            let seen = self.world.stat(&path).await.map_err(told)?;
            let seen = self.entry(Some(seen));
            let files = self.tree.files.get_mut(&path).expect("it was there");
            let at = files
                .iter()
                .position(|content| seen == format!("content {content}"))
                .ok_or_else(|| format!("{path:?} has {seen} and not one of {files:?}"))?;
            files[..=at].rotate_right(1);
        }
        Ok(())
    }

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

    async fn act(&mut self, step: &Step) -> Outcome {
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
        }
    }

    /// What was called when, for a failure's report.
    fn calls(&self) -> String {
        let requests = self.world.control.last_requests();
        let start = requests.first().map(|request| request.at);
        let line = |request: &Request| {
            let at = start.map_or(0.0, |start| (request.at - start).as_secs_f64());
            format!("\n{at:.3} {} {}", request.endpoint, request.body)
        };
        requests.iter().map(line).collect()
    }

    /// What 1Fichier holds, by path; those of directories end with a slash.
    fn held(&self) -> BTreeMap<String, Vec<Node>> {
        let mut held: BTreeMap<String, Vec<Node>> = BTreeMap::new();
        for node in self.world.control.tree() {
            let segments: Vec<_> = node
                .path
                .split('/')
                .map(|name| codec().to_segment(name))
                .collect();
            let mut path = segments.join("/");
            if node.kind == NodeKind::Folder {
                path.push('/');
            }
            held.entry(path).or_default().push(node);
        }
        held
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

    /// The whole tree as the server shows it.
    async fn compare_listing(&self) -> Result<(), String> {
        let shown = self.world.list("", true).await.map_err(told)?;
        let mut paths: Vec<String> = shown.iter().map(shown_path).collect();
        paths.sort();
        let mut expected: Vec<String> = self
            .tree
            .directories
            .iter()
            .map(|path| format!("{path}/"))
            .chain(self.tree.files.keys().cloned())
            .collect();
        expected.sort();
        if paths != expected {
            return Err(format!(
                "the server shows {paths:?} instead of {expected:?}"
            ));
        }
        for entry in shown {
            let Some(files) = self.tree.files.get(&entry.path) else {
                continue;
            };
            if entry.r#type() != EntryType::File {
                return Err(format!("{:?} is shown as a directory", entry.path));
            }
            let seen = self.entry(Some(entry.clone()));
            let known = files
                .iter()
                .find(|content| seen == format!("content {content}"))
                .ok_or_else(|| format!("{:?} shows {seen} and not {files:?}", entry.path))?;
            let count = entry
                .attributes
                .get("duplicates")
                .map_or("1", String::as_str);
            let size = CONTENTS[*known] as i64;
            if count != files.len().to_string() || entry.size != Some(size) {
                return Err(format!("{entry:?} for {files:?}"));
            }
        }
        Ok(())
    }

    /// What 1Fichier holds, file by file.
    fn compare_upstream(&self) -> Result<(), String> {
        let fact = |node: Node| match node.kind {
            NodeKind::File => self.content(&node.whirlpool),
            NodeKind::Folder => "directory".to_owned(),
        };
        let mut held: BTreeMap<String, Vec<String>> = self
            .held()
            .into_iter()
            .map(|(path, nodes)| (path, nodes.into_iter().map(fact).collect()))
            .collect();
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for path in &self.tree.directories {
            expected.insert(format!("{path}/"), vec!["directory".to_owned()]);
        }
        for (path, files) in &self.tree.files {
            let contents = files.iter().map(|content| format!("content {content}"));
            expected.insert(path.clone(), contents.collect());
        }
        for contents in held.values_mut().chain(expected.values_mut()) {
            contents.sort();
        }
        if held == expected {
            Ok(())
        } else {
            Err(format!("1Fichier holds {held:#?} instead of {expected:#?}"))
        }
    }
}

fn shown_path(entry: &Entry) -> String {
    match entry.r#type() {
        EntryType::Directory => format!("{}/", entry.path),
        _ => entry.path.clone(),
    }
}
