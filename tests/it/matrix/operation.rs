//! Every operation of the service, each in a directory of its own.

use std::sync::LazyLock;
use std::time::Duration;

use futures::future::join_all;
use pluton_fichier::emulator::Control;
use pluton_fichier::proto::*;
use tonic::{Code, Status};

use crate::harness::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    List,
    ListDeep,
    Stat,
    Hash,
    HashByDownload,
    Get,
    GetRange,
    About,
    TestConnection,
    Refresh,
    Put,
    PutUnknownSize,
    PutReplacing,
    PutKeepBoth,
    PutIntoNew,
    PutStreamed,
    PutStreamedReplacing,
    PutThree,
    Delete,
    DeleteMany,
    Mkdir,
    Rmdir,
    Purge,
    Copy,
    CopyReplacing,
    MoveRename,
    MoveFolder,
    MoveBoth,
    MoveReplacing,
    MoveDirRename,
    MoveDirFolder,
    MoveDirBoth,
    LinkPassword,
    LinkDirectory,
    LinkRevoke,
    DedupeNewest,
    DedupeRename,
    DedupeDirectories,
}

use Operation::*;

impl Operation {
    pub(super) const ALL: [Self; 38] = [
        List,
        ListDeep,
        Stat,
        Hash,
        HashByDownload,
        Get,
        GetRange,
        About,
        TestConnection,
        Refresh,
        Put,
        PutUnknownSize,
        PutReplacing,
        PutKeepBoth,
        PutIntoNew,
        PutStreamed,
        PutStreamedReplacing,
        PutThree,
        Delete,
        DeleteMany,
        Mkdir,
        Rmdir,
        Purge,
        Copy,
        CopyReplacing,
        MoveRename,
        MoveFolder,
        MoveBoth,
        MoveReplacing,
        MoveDirRename,
        MoveDirFolder,
        MoveDirBoth,
        LinkPassword,
        LinkDirectory,
        LinkRevoke,
        DedupeNewest,
        DedupeRename,
        DedupeDirectories,
    ];

    /// Whether it may stop half-way through several entries.
    pub(super) fn is_many(self) -> bool {
        matches!(
            self,
            PutThree | DeleteMany | Purge | DedupeNewest | DedupeRename | DedupeDirectories
        )
    }

    /// How long what an earlier one was told is told again.
    pub(super) fn memory(self) -> Duration {
        match self {
            About | TestConnection => Duration::from_secs(310),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn is_read(self) -> bool {
        self <= Refresh
    }
}

/// Content of at least this size streams in these tests.
pub(super) const STREAM_FROM: u64 = 128 << 10;

/// Two contents that differ everywhere, and one that streams.
fn small() -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| content(3_000));
    &BYTES
}

fn other() -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| content(3_001));
    &BYTES
}

fn large() -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| content(150_000));
    &BYTES
}

/// A content that no other directory has.
fn of_its_own(root: &str) -> Vec<u8> {
    [root.as_bytes(), large()].concat()
}

impl Operation {
    /// What the account holds beforehand, put there by somebody else.
    pub(super) fn prepare(self, control: &Control, root: u64, name: &str) {
        match self {
            Get | GetRange => {
                control.add_file(root, "large", large());
            }
            // What was computed once is remembered by content.
            HashByDownload => {
                control.add_file(root, "large", &of_its_own(name));
            }
            DedupeNewest | DedupeRename => {
                for (age, bytes) in [small(), other(), small()].into_iter().enumerate() {
                    let url = control.add_file(root, "twin", bytes);
                    control.set_file_date(&url, 1_767_618_131 + 3_600 * age as i64);
                }
            }
            DedupeDirectories => {
                for (name, bytes) in [("one", small()), ("two", other())] {
                    let twin = control.add_folder(root, "twin");
                    control.add_file(twin, name, bytes);
                }
            }
            _ => {
                control.add_file(root, "old", small());
                control.add_file(root, "second", other());
                let sub = control.add_folder(root, "sub");
                control.add_file(sub, "in", other());
                control.add_folder(root, "empty");
                if self == LinkRevoke {
                    control.share_folder(sub, None);
                }
            }
        }
    }

    /// Does it. A repeat bears the same request id.
    pub(super) async fn perform(self, world: &World, root: &str) -> Result<(), Status> {
        let at = |name: &str| format!("{root}/{name}");
        let put_as = |name: &str, bytes: &'static [u8], mode: WriteMode| {
            let header = PutHeader {
                size: Some(bytes.len() as i64),
                write_mode: mode.into(),
                request_id: format!("{self:?} {root} {name}"),
                ..header(&at(name))
            };
            async move {
                let entry = put(&world.client, header, bytes).await?;
                assert_eq!(entry.checksums[0].hex, whirlpool(bytes));
                Ok::<(), Status>(())
            }
        };
        let relocate = async |from: &str, to: &str, copy: bool| {
            let (from, to, id) = (at(from), at(to), format!("{self:?} {root}"));
            let entry = relocated(world, from, to.clone(), id, copy).await?;
            assert_eq!((entry.path, entry.size), (to, Some(3_000)));
            Ok::<(), Status>(())
        };
        let move_dir = async |to: &str| {
            let request = MoveDirRequest {
                source_path: at("sub"),
                destination_path: at(to),
                request_id: format!("{self:?} {root}"),
                ..MoveDirRequest::default()
            };
            let answer = world.client.clone().move_dir(request).await?.into_inner();
            assert_eq!(answer.entry.unwrap().path, at(to));
            Ok::<(), Status>(())
        };
        let link = async |path: &str, password: &str, revoke: bool| {
            let request = PublicLinkRequest {
                path: at(path),
                password: password.to_owned(),
                revoke,
                ..PublicLinkRequest::default()
            };
            let answer = world.client.clone().public_link(request).await?;
            assert_eq!(answer.into_inner().url.is_empty(), revoke);
            Ok::<(), Status>(())
        };
        match self {
            List => assert_eq!(world.list(root, false).await?.len(), 4),
            ListDeep => assert_eq!(deep(world, root).await?, 5),
            Stat => assert_eq!(world.stat(&at("old")).await?.size, Some(3_000)),
            Hash => assert_eq!(world.hash(&at("old")).await?, whirlpool(small())),
            HashByDownload => {
                let request = HashRequest {
                    path: at("large"),
                    algorithm: HashAlgorithm::Blake3.into(),
                    allow_download: true,
                    ..HashRequest::default()
                };
                let answer = world.client.clone().hash(request).await?.into_inner();
                let wanted = sum(HashAlgorithm::Blake3, &of_its_own(root)).1;
                assert_eq!(answer.checksum.unwrap().hex, wanted);
            }
            Get => assert!(world.get(&at("large")).await?.content == large(), "bytes"),
            GetRange => {
                let got = world.range(&at("large"), 1_000, 140_000).await?;
                assert!(got == large()[1_000..141_000], "bytes");
            }
            About => {
                let answer = world.client.clone().about(AboutRequest::default()).await?;
                assert!(answer.into_inner().total_bytes.is_some());
            }
            TestConnection => test_connection(world).await?,
            Refresh => {
                let request = RefreshRequest {
                    path: root.to_owned(),
                    recursive: true,
                    reload: true,
                    ..RefreshRequest::default()
                };
                world.client.clone().refresh(request).await?;
            }
            Put => put_as("new", small(), WriteMode::Replace).await?,
            PutUnknownSize => {
                let header = PutHeader {
                    request_id: format!("{self:?} {root}"),
                    ..header(&at("new"))
                };
                put(&world.client, header, small()).await?;
            }
            PutReplacing => put_as("old", other(), WriteMode::Replace).await?,
            PutKeepBoth => put_as("old", other(), WriteMode::KeepBoth).await?,
            PutIntoNew => put_as("n/o/new", small(), WriteMode::Replace).await?,
            PutStreamed => put_as("new", large(), WriteMode::Replace).await?,
            PutStreamedReplacing => put_as("old", large(), WriteMode::Replace).await?,
            PutThree => {
                let names = [("one", small()), ("two", other()), ("three", small())];
                let puts = names.map(|(name, bytes)| put_as(name, bytes, WriteMode::Replace));
                join_all(puts)
                    .await
                    .into_iter()
                    .collect::<Result<(), Status>>()?;
            }
            Delete => delete(world, vec![at("old")]).await?,
            DeleteMany => {
                delete(world, vec![at("old"), at("second"), at("sub/in")]).await?;
            }
            Mkdir => assert!(world.mkdir(&at("m/n")).await?.entry.is_some()),
            Rmdir => world.rmdir(&at("empty")).await?,
            Purge => purge(world, root).await?,
            Copy => relocate("old", "sub/copy", true).await?,
            CopyReplacing => relocate("old", "sub/in", true).await?,
            MoveRename => relocate("old", "renamed", false).await?,
            MoveFolder => relocate("old", "sub/old", false).await?,
            MoveBoth => relocate("old", "sub/renamed", false).await?,
            MoveReplacing => relocate("old", "sub/in", false).await?,
            MoveDirRename => move_dir("renamed").await?,
            MoveDirFolder => move_dir("empty/sub").await?,
            MoveDirBoth => move_dir("new/renamed").await?,
            LinkPassword => link("old", "secret word", false).await?,
            LinkDirectory => link("sub", "", false).await?,
            LinkRevoke => link("sub", "", true).await?,
            DedupeNewest | DedupeDirectories => dedupe(world, root, DedupeMode::Newest).await?,
            DedupeRename => dedupe(world, root, DedupeMode::Rename).await?,
        }
        Ok(())
    }
}

async fn deep(world: &World, root: &str) -> Result<usize, Status> {
    let request = ListRequest {
        path: root.to_owned(),
        recursive: true,
        ..ListRequest::default()
    };
    let mut entries = 0;
    for page in list(&world.client, request).await? {
        match page.failures.into_iter().find_map(|failed| failed.failure) {
            Some(failure) => return Err(failed(&failure)),
            None => entries += page.entries.len(),
        }
    }
    Ok(entries)
}

async fn test_connection(world: &World) -> Result<(), Status> {
    let request = TestConnectionRequest {
        check_write: true,
        ..TestConnectionRequest::default()
    };
    let answer = world.client.clone().test_connection(request).await?;
    let answer = answer.into_inner();
    let failure = answer
        .checks
        .into_iter()
        .find_map(|check| match check.state() {
            CheckState::Failed => check.failure,
            _ => None,
        });
    assert_eq!(answer.healthy, failure.is_none());
    failure.map_or(Ok(()), |failure| Err(failed(&failure)))
}

async fn delete(world: &World, paths: Vec<String>) -> Result<(), Status> {
    let target = |path: String| DeleteTarget {
        path,
        ..DeleteTarget::default()
    };
    let request = DeleteRequest {
        targets: paths.into_iter().map(target).collect(),
        // A repeat finds done what was done.
        allow_missing: true,
        ..DeleteRequest::default()
    };
    let answer = world.client.clone().delete(request).await?.into_inner();
    let failure = answer.results.into_iter().find_map(|result| result.failure);
    failure.map_or(Ok(()), |failure| Err(failed(&failure)))
}

async fn purge(world: &World, root: &str) -> Result<(), Status> {
    let request = PurgeRequest {
        path: root.to_owned(),
        allow_missing: true,
        ..PurgeRequest::default()
    };
    let mut stream = world.client.clone().purge(request).await?.into_inner();
    let (mut failure, mut done) = (None, false);
    while let Some(answer) = stream.message().await? {
        failure = failure.or(answer
            .failures
            .into_iter()
            .find_map(|failed| failed.failure));
        done = answer.done;
    }
    assert!(done, "the last answer says so");
    failure.map_or(Ok(()), |failure| Err(failed(&failure)))
}

async fn dedupe(world: &World, root: &str, mode: DedupeMode) -> Result<(), Status> {
    let request = DedupeRequest {
        path: root.to_owned(),
        recursive: true,
        mode: mode.into(),
        ..DedupeRequest::default()
    };
    let mut stream = world.client.clone().dedupe(request).await?.into_inner();
    let mut failure = None;
    while let Some(answer) = stream.message().await? {
        failure = failure.or(answer
            .failures
            .into_iter()
            .find_map(|failed| failed.failure));
    }
    failure.map_or(Ok(()), |failure| Err(failed(&failure)))
}

async fn relocated(
    world: &World,
    source_path: String,
    destination_path: String,
    request_id: String,
    copy: bool,
) -> Result<Entry, Status> {
    let mut client = world.client.clone();
    let entry = if copy {
        let request = CopyRequest {
            source_path,
            destination_path,
            request_id,
            ..CopyRequest::default()
        };
        client.copy(request).await?.into_inner().entry
    } else {
        let request = MoveRequest {
            source_path,
            destination_path,
            request_id,
            ..MoveRequest::default()
        };
        client.r#move(request).await?.into_inner().entry
    };
    Ok(entry.unwrap())
}

/// The failure of one item as the failure of a call.
fn failed(failure: &Failure) -> Status {
    use tonic_types::{ErrorDetails, StatusExt};
    let mut details = ErrorDetails::with_error_info(&failure.reason, "storage.pluton", []);
    if let Some(delay) = failure.retry_delay {
        details.set_retry_info(delay.try_into().ok());
    }
    let code = Code::from_i32(failure.code);
    Status::with_error_details(code, &failure.message, details)
}
