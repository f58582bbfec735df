//! Clients that meet at the same paths.
//!
//! In one directory no step destroys what it is not asked to destroy, so that
//! files can be counted: what was stored or copied is there, but for what was
//! removed. In another one all write to the same few paths: one file of each
//! is left, with what somebody has written.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use pluton_fichier::emulator::NodeKind;
use pluton_fichier::proto::*;
use tonic::Status;

use super::super::STREAM_FROM;
use super::clear;
use crate::harness::*;

/// Where files are counted.
const COUNTED: &str = "counted";
/// Where files replace each other.
const REPLACED: &str = "replaced";

const BELOW: [&str; 7] = ["", "/a", "/a/b", "/c", "/c/b", "/d", "/a/d"];

/// What all of them have done.
#[derive(Default)]
pub(super) struct Tally(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// How often a content was stored or copied.
    stored: HashMap<String, usize>,
    /// How many files were removed.
    removed: usize,
    /// By path: contents that were acknowledged there.
    written: HashMap<String, HashSet<String>>,
    answers: HashMap<String, usize>,
}

impl Tally {
    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn stored(&self, entry: &Entry) {
        let content = entry.checksums[0].hex.clone();
        self.change(|known| *known.stored.entry(content).or_default() += 1);
    }

    fn removed(&self, count: usize) {
        self.change(|known| known.removed += count);
    }

    fn written(&self, entry: &Entry) {
        let content = entry.checksums[0].hex.clone();
        let path = entry.path.clone();
        self.change(|known| known.written.entry(path).or_default().insert(content));
    }

    /// Nothing is lost, and nothing is there twice.
    pub(super) fn check(&self, world: &World) {
        let known = self.0.lock().unwrap();
        let mut counted: HashMap<String, usize> = HashMap::new();
        let mut replaced: HashMap<String, Vec<String>> = HashMap::new();
        for node in world.control.tree() {
            if node.kind != NodeKind::File {
                continue;
            }
            if node.path.starts_with(REPLACED) {
                replaced.entry(node.path).or_default().push(node.whirlpool);
            } else if node.path.starts_with(COUNTED) {
                *counted.entry(node.whirlpool).or_default() += 1;
            }
        }
        for (content, count) in &counted {
            let stored = known.stored.get(content).copied().unwrap_or(0);
            assert!(*count <= stored, "{content}: {count} of {stored}");
        }
        let stored: usize = known.stored.values().sum();
        let left: usize = counted.values().sum();
        assert_eq!(
            left + known.removed,
            stored,
            "left and removed, and stored; {:?}",
            known.answers
        );
        assert_eq!(replaced.len(), known.written.len(), "{replaced:?}");
        for (path, files) in replaced {
            let [content] = &files[..] else {
                panic!("{path} has {files:?}");
            };
            assert!(known.written[&path].contains(content), "{path}");
        }
        println!("stored {stored}, left {left}; {:?}", known.answers);
    }
}

pub(super) struct Client {
    world: Arc<World>,
    tally: Arc<Tally>,
    number: u64,
    done: usize,
    random: Rng,
}

impl Client {
    pub(super) fn new(world: Arc<World>, tally: Arc<Tally>, number: u64, random: Rng) -> Self {
        Self {
            world,
            tally,
            number,
            done: 0,
            random,
        }
    }

    pub(super) async fn live(mut self, steps: usize) {
        while self.done < steps {
            self.done += 1;
            let answer = match self.step().await {
                Ok(what) => what.to_owned(),
                Err(status) => clear(&status),
            };
            self.tally
                .change(|known| *known.answers.entry(answer).or_default() += 1);
        }
    }

    fn directory(&mut self) -> String {
        format!("{COUNTED}{}", BELOW[self.random.usize(..BELOW.len())])
    }

    /// Most are in few directories; the others are for those that move.
    fn path(&mut self) -> String {
        let directory = match self.random.u8(..4) {
            0 => self.directory(),
            _ => format!("{COUNTED}{}", BELOW[self.random.usize(..3)]),
        };
        format!("{directory}/f{}", self.random.u8(..3))
    }

    /// Bytes that nobody else stores.
    fn content(&mut self) -> Vec<u8> {
        let mut bytes = format!("{} {}", self.number, self.done).into_bytes();
        if self.random.u8(..3) == 0 {
            bytes.resize(STREAM_FROM as usize + 1, b'.');
        }
        bytes
    }

    fn beside(&mut self) -> i32 {
        let modes = [WriteMode::CreateOnly, WriteMode::KeepBoth];
        modes[self.random.usize(..modes.len())].into()
    }

    async fn put(&mut self, path: &str, write_mode: i32) -> Result<Entry, Status> {
        let content = self.content();
        let header = PutHeader {
            size: self.random.bool().then_some(content.len() as i64),
            write_mode,
            ..header(path)
        };
        put(&self.world.client, header, &content).await
    }

    async fn step(&mut self) -> Result<&'static str, Status> {
        let mut client = self.world.client.clone();
        Ok(match self.random.u8(..34) {
            0..8 => {
                let (path, mode) = (self.path(), self.beside());
                let entry = self.put(&path, mode).await?;
                self.tally.stored(&entry);
                "put"
            }
            8..11 => {
                let request = CopyRequest {
                    source_path: self.path(),
                    destination_path: self.path(),
                    write_mode: self.beside(),
                    ..CopyRequest::default()
                };
                let copied = client.copy(request).await?.into_inner();
                self.tally.stored(&copied.entry.unwrap());
                "copy"
            }
            11..14 => {
                let request = MoveRequest {
                    source_path: self.path(),
                    destination_path: self.path(),
                    write_mode: self.beside(),
                    ..MoveRequest::default()
                };
                client.r#move(request).await?;
                "move"
            }
            14..18 => {
                let request = MoveDirRequest {
                    source_path: self.directory(),
                    destination_path: self.directory(),
                    ..MoveDirRequest::default()
                };
                client.move_dir(request).await?;
                "move directory"
            }
            18..20 => {
                let target = DeleteTarget {
                    path: self.path(),
                    ..DeleteTarget::default()
                };
                let request = DeleteRequest {
                    targets: vec![target],
                    ..DeleteRequest::default()
                };
                let answer = client.delete(request).await?.into_inner();
                if answer.results[0].failure.is_some() {
                    return Ok("nothing to delete");
                }
                self.tally.removed(1);
                "delete"
            }
            20 => {
                let request = PurgeRequest {
                    path: format!("{COUNTED}{}", BELOW[self.random.usize(1..BELOW.len())]),
                    ..PurgeRequest::default()
                };
                let mut answers = client.purge(request).await?.into_inner();
                let mut removed = 0;
                while let Some(answer) = answers.message().await? {
                    removed = answer.removed_files as usize;
                }
                self.tally.removed(removed);
                "purge"
            }
            21 | 32 | 33 => {
                let path = self.directory();
                self.world.rmdir(&path).await?;
                "remove directory"
            }
            22 => {
                let modes = [DedupeMode::Rename, DedupeMode::Directories];
                let request = DedupeRequest {
                    path: COUNTED.to_owned(),
                    recursive: true,
                    mode: modes[self.random.usize(..2)].into(),
                    ..DedupeRequest::default()
                };
                let mut groups = client.dedupe(request).await?.into_inner();
                while groups.message().await?.is_some() {}
                "dedupe"
            }
            23..25 => {
                let path = self.path();
                let got = self.world.get(&path).await?;
                let content = whirlpool(&got.content);
                // It may not have been told yet that this is stored.
                assert_eq!(content, got.header.entry.unwrap().checksums[0].hex);
                "get"
            }
            25 => {
                let request = RefreshRequest {
                    path: COUNTED.to_owned(),
                    recursive: true,
                    reload: true,
                    ..RefreshRequest::default()
                };
                client.refresh(request).await?;
                "refresh"
            }
            26 => {
                self.world.list(COUNTED, true).await?;
                "list"
            }
            _ => {
                let path = format!("{REPLACED}/f{}", self.random.u8(..3));
                let entry = self.put(&path, WriteMode::Replace.into()).await?;
                self.tally.written(&entry);
                "replace"
            }
        })
    }
}
