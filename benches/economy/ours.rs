//! The workloads through this server, by 64 clients at once.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use pluton_fichier::emulator::{Control, DEMO_API_KEY, Emulator, NodeKind, Options};
use pluton_fichier::proto::get_response::Payload as Got;
use pluton_fichier::proto::put_request::Payload;
use pluton_fichier::proto::*;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::process::{Client, Process, connect};
use crate::table::{Outcome, groups};
use crate::{LARGE, MOVED, RANGE, RANGES, SMALL, content, flat, offsets, tree};

const CLIENTS: usize = 64;
const CONNECTIONS: usize = 8;

struct World {
    emulator: Emulator,
    control: Control,
    keyfile: tempfile::NamedTempFile,
    server: Option<(Process, tempfile::TempDir)>,
    clients: Vec<Client>,
    outcomes: Vec<Outcome>,
}

impl World {
    async fn new(fill: impl FnOnce(&Control)) -> Self {
        let emulator = Emulator::start(Options::default()).await.unwrap();
        let control = emulator.control();
        fill(&control);
        let keyfile = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(keyfile.path(), DEMO_API_KEY).unwrap();
        let mut world = Self {
            emulator,
            control,
            keyfile,
            server: None,
            clients: Vec::new(),
            outcomes: Vec::new(),
        };
        world.serve().await;
        world
    }

    /// A server that remembers nothing.
    async fn serve(&mut self) {
        self.server = None;
        self.clients.clear();
        let state = tempfile::tempdir().unwrap();
        let api = self.emulator.api_url();
        let (process, address) = Process::serve(&api, self.keyfile.path(), state.path(), &[]);
        self.server = Some((process, state));
        for _ in 0..CONNECTIONS {
            self.clients.push(connect(&address).await);
        }
    }

    async fn measure<T>(
        &mut self,
        workload: &'static str,
        work: impl Future<Output = Result<T, String>>,
    ) -> Option<T> {
        // The budget's own memory of the last second would count otherwise.
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.control.reset_calls();
        self.control.reset_limits();
        let start = Instant::now();
        let result = work.await;
        let wall = start.elapsed();
        eprintln!("server: ({workload}) took {:.2} s", wall.as_secs_f64());
        let (value, problem) = match result {
            Ok(value) => (Some(value), None),
            Err(problem) => (None, Some(problem)),
        };
        self.outcomes.push(Outcome {
            workload,
            calls: self.control.calls(),
            wall,
            groups: groups(&self.control),
            problem,
        });
        value
    }

    /// Does something for each item, by all clients at once.
    fn each<I, T, F, W>(
        &self,
        items: Vec<I>,
        work: W,
    ) -> impl Future<Output = Result<Vec<T>, String>> + use<I, T, F, W>
    where
        W: Fn(Client, I) -> F,
        F: Future<Output = Result<T, Status>>,
    {
        let futures: Vec<F> = items
            .into_iter()
            .enumerate()
            .map(|(index, item)| work(self.clients[index % CONNECTIONS].clone(), item))
            .collect();
        async move {
            let results: Vec<Result<T, Status>> = stream::iter(futures)
                .buffer_unordered(CLIENTS)
                .collect()
                .await;
            results
                .into_iter()
                .collect::<Result<_, _>>()
                .map_err(|status| match status.code() {
                    Code::Unimplemented => {
                        format!("left out, not in this version: {}", status.message())
                    }
                    _ => panic!("{status:?}"),
                })
        }
    }

    fn upload(&self, paths: Vec<String>) -> impl Future<Output = Result<Vec<()>, String>> + use<> {
        self.each(paths, |mut client, path| async move {
            let data = content(&path, SMALL);
            let messages = [
                Payload::Header(PutHeader {
                    path,
                    size: Some(SMALL as i64),
                    ..PutHeader::default()
                }),
                Payload::Chunk(Chunk {
                    data: Bytes::from(data),
                    ..Chunk::default()
                }),
                Payload::Commit(PutCommit {
                    size: SMALL as i64,
                    checksums: Vec::new(),
                }),
            ];
            let messages = messages.map(|payload| PutRequest {
                payload: Some(payload),
            });
            client.put(stream::iter(messages)).await.map(drop)
        })
    }

    /// All of these files are in the account, and no other ones in their folders.
    fn assert_stored(&self, paths: &[String]) {
        let mut wanted = paths.to_vec();
        wanted.sort();
        let folder = |path: &str| path.split('/').next().unwrap().to_owned();
        let stored: Vec<String> = self
            .control
            .tree()
            .into_iter()
            .filter(|node| node.kind == NodeKind::File && node.size == SMALL as u64)
            .map(|node| node.path)
            .filter(|path| wanted.iter().any(|one| folder(one) == folder(path)))
            .collect();
        assert_eq!(stored, wanted);
    }
}

async fn list(mut client: Client) -> Result<Vec<Entry>, Status> {
    let request = ListRequest {
        recursive: true,
        ..ListRequest::default()
    };
    let mut pages = client.list(request).await?.into_inner();
    let mut entries = Vec::new();
    while let Some(page) = pages.message().await? {
        assert!(page.failures.is_empty(), "{:?}", page.failures);
        entries.extend(page.entries);
    }
    Ok(entries)
}

async fn delete(mut client: Client, paths: Vec<String>) -> Result<(), Status> {
    let targets = paths
        .into_iter()
        .map(|path| DeleteTarget {
            path,
            ..DeleteTarget::default()
        })
        .collect();
    let request = DeleteRequest {
        targets,
        ..DeleteRequest::default()
    };
    let results = client.delete(request).await?.into_inner().results;
    assert!(results.iter().all(|result| result.failure.is_none()));
    Ok(())
}

async fn read(mut client: Client, offset: usize) -> Result<(usize, Vec<u8>), Status> {
    let request = GetRequest {
        path: "large.bin".to_owned(),
        ranges: vec![ByteRange {
            offset: offset as i64,
            length: Some(RANGE as i64),
        }],
        ..GetRequest::default()
    };
    let mut messages = client.get(request).await?.into_inner();
    let mut data = Vec::with_capacity(RANGE);
    while let Some(message) = messages.message().await? {
        if let Some(Got::Chunk(chunk)) = message.payload {
            data.extend_from_slice(&chunk.data);
        }
    }
    Ok((offset, data))
}

async fn rename(mut client: Client, name: String) -> Result<(), Status> {
    let request = MoveRequest {
        source_path: format!("from/{name}"),
        destination_path: format!("to/{name}"),
        ..MoveRequest::default()
    };
    client.r#move(request).await.map(drop)
}

/// What the account holds before (e-single), (f) and (g).
pub(crate) fn fill(control: &Control, large: &[u8]) {
    control.add_file(0, "large.bin", large);
    let from = control.add_folder(0, "from");
    control.add_folder(0, "to");
    control.add_many_files(from, "file-", MOVED, SMALL as u64);
}

pub(crate) async fn run(selected: &dyn Fn(&str) -> bool) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    if ["a", "e", "f", "g"].into_iter().any(selected) {
        outcomes.extend(one_folder(selected).await);
    }
    if ["b", "c", "d"].into_iter().any(selected) {
        outcomes.extend(many_folders(selected).await);
    }
    outcomes
}

async fn one_folder(selected: &dyn Fn(&str) -> bool) -> Vec<Outcome> {
    let large = Arc::new(content("large.bin", LARGE));
    let mut world = World::new(|control| {
        fill(control, &large);
        let singles = control.add_folder(0, "singles");
        control.add_many_files(singles, "file-", 200, SMALL as u64);
    })
    .await;
    if ["a", "e"].into_iter().any(selected) {
        let work = world.upload(flat());
        world.measure("a", work).await;
        world.assert_stored(&flat());
    }
    // The others begin with a catalog that knows the folders.
    list(world.clients[0].clone()).await.unwrap();
    if selected("e") {
        let client = world.clients[0].clone();
        let work = async {
            delete(client, flat())
                .await
                .map_err(|error| error.to_string())
        };
        world.measure("e", work).await;
        let singles = (0..200).map(|index| format!("singles/file-{index:05}"));
        let work = world.each(singles.collect(), |client, path| delete(client, vec![path]));
        world.measure("e-single", work).await;
        assert_eq!(world.control.tree().len(), 1 + 4 + MOVED);
    }
    if selected("f") {
        let work = world.each(offsets(), read);
        let ranges = world.measure("f", work).await.unwrap();
        assert_eq!(ranges.len(), RANGES);
        for (offset, data) in ranges {
            assert!(data == large[offset..offset + RANGE]);
        }
    }
    if selected("g") {
        let names = (0..MOVED).map(|index| format!("file-{index:05}"));
        let work = world.each(names.collect(), rename);
        if world.measure("g", work).await.is_some() {
            let tree = world.control.tree();
            let moved = tree.iter().filter(|node| node.path.starts_with("to/"));
            assert_eq!(moved.count(), MOVED);
        }
    }
    world.outcomes
}

async fn many_folders(selected: &dyn Fn(&str) -> bool) -> Vec<Outcome> {
    let mut world = World::new(|_| ()).await;
    let work = world.upload(tree());
    world.measure("b", work).await;
    world.assert_stored(&tree());
    if selected("c") {
        let source: HashMap<String, String> = tree()
            .into_iter()
            .map(|path| (path.clone(), whirlpool(&content(&path, SMALL))))
            .collect();
        let client = world.clients[0].clone();
        let work = async {
            let entries = list(client).await.map_err(|error| error.to_string())?;
            let same = entries.iter().filter(|entry| {
                entry.size == Some(SMALL as i64)
                    && source.get(&entry.path) == entry.checksums.first().map(|sum| &sum.hex)
            });
            assert_eq!(same.count(), source.len());
            Ok(())
        };
        world.measure("c", work).await;
    }
    if selected("d") {
        for workload in ["d-warm", "d-cold"] {
            if workload == "d-cold" {
                world.serve().await;
            }
            let client = world.clients[0].clone();
            let work = async { list(client).await.map_err(|error| error.to_string()) };
            let entries = world.measure(workload, work).await.unwrap();
            assert_eq!(entries.len(), 220);
        }
    }
    world.outcomes
}

fn whirlpool(data: &[u8]) -> String {
    use whirlpool::Digest;
    let digest = whirlpool::Whirlpool::digest(data);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files of a workload on disk.
pub(crate) fn write(directory: &Path, paths: &[String]) {
    for path in paths {
        let file = directory.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content(path, SMALL)).unwrap();
    }
}
