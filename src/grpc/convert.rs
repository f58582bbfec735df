//! Between the contract's messages and the backend's types.

use std::time::{Duration, SystemTime};

use crate::backend::{
    self, ByteRange, Check, CheckState, DedupeMode, Entry, EntryKind, MAX_DELETE_TARGETS,
    MAX_DEPTH, MAX_NAME_BYTES, MAX_PAGE, MAX_RANGES, RelocateOptions, Resolved, WriteMode,
};
use crate::error::{Error, Result};
use crate::fichier::MAX_FILE_BYTES;
use crate::proto;
use crate::transfer::{Algorithm, Checksum};

use super::status::failure;

/// Largest chunk that is accepted or sent.
pub const MAX_CHUNK: usize = 1 << 20;
/// Chunks are this large unless asked for otherwise.
pub(super) const DEFAULT_CHUNK: usize = 256 << 10;

pub(super) fn entry(entry: Entry) -> proto::Entry {
    proto::Entry {
        path: entry.path.to_string(),
        r#type: match entry.kind {
            EntryKind::File => proto::EntryType::File,
            EntryKind::Directory => proto::EntryType::Directory,
        }
        .into(),
        size: entry.size.map(to_i64),
        modify_time: entry
            .time
            .map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
        content_type: entry.content_type,
        checksums: entry.checksums.into_iter().map(checksum).collect(),
        etag: entry.etag,
        id: entry.id,
        attributes: entry
            .attributes
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}

/// Sizes are below 2^63: 1Fichier's largest file has 3·10^11 bytes.
pub(super) fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn to_u64(field: &'static str, value: i64) -> Result<u64> {
    u64::try_from(value)
        .map_err(|_| Error::invalid_field(field, format_args!("{value} is negative")))
}

pub(super) fn time(moment: SystemTime) -> prost_types::Timestamp {
    moment.into()
}

pub(super) fn staleness(given: Option<prost_types::Duration>) -> Result<Option<Duration>> {
    given
        .map(|given| {
            Duration::try_from(given)
                .map_err(|_| Error::invalid_field("max_staleness", "must not be negative"))
        })
        .transpose()
}

pub(super) fn checksum(sum: Checksum) -> proto::Checksum {
    proto::Checksum {
        algorithm: proto::HashAlgorithm::from(sum.algorithm).into(),
        hex: sum.hex,
    }
}

impl From<Algorithm> for proto::HashAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Whirlpool => Self::Whirlpool,
            Algorithm::Sha256 => Self::Sha256,
            Algorithm::Md5 => Self::Md5,
            Algorithm::Sha1 => Self::Sha1,
            Algorithm::Blake3 => Self::Blake3,
            Algorithm::Crc32c => Self::Crc32c,
        }
    }
}

pub(super) fn algorithm(field: &'static str, value: i32) -> Result<Algorithm> {
    use proto::HashAlgorithm as Wire;
    match Wire::try_from(value) {
        Ok(Wire::Unspecified | Wire::Whirlpool) => Ok(Algorithm::Whirlpool),
        Ok(Wire::Sha256) => Ok(Algorithm::Sha256),
        Ok(Wire::Md5) => Ok(Algorithm::Md5),
        Ok(Wire::Sha1) => Ok(Algorithm::Sha1),
        Ok(Wire::Blake3) => Ok(Algorithm::Blake3),
        Ok(Wire::Crc32c) => Ok(Algorithm::Crc32c),
        Err(_) => Err(Error::invalid_field(
            field,
            format_args!("{value} is no algorithm that this server knows"),
        )),
    }
}

pub(super) fn checksums(field: &'static str, given: Vec<proto::Checksum>) -> Result<Vec<Checksum>> {
    given
        .into_iter()
        .map(|sum| {
            let algorithm = algorithm(field, sum.algorithm)?;
            let digits = algorithm.hex_digits();
            if sum.hex.len() != digits || !sum.hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                let text = format!(
                    "a {algorithm} has {digits} hexadecimal digits, and this is {:?}",
                    sum.hex
                );
                return Err(Error::invalid_field(field, text));
            }
            Ok(Checksum {
                algorithm,
                hex: sum.hex.to_ascii_lowercase(),
            })
        })
        .collect()
}

pub(super) fn write_mode(value: i32) -> Result<WriteMode> {
    use proto::WriteMode as Wire;
    match Wire::try_from(value) {
        Ok(Wire::Unspecified | Wire::Replace) => Ok(WriteMode::Replace),
        Ok(Wire::CreateOnly) => Ok(WriteMode::CreateOnly),
        Ok(Wire::KeepBoth) => Ok(WriteMode::KeepBoth),
        Err(_) => Err(Error::invalid_field(
            "write_mode",
            format_args!("{value} is no mode that this server knows"),
        )),
    }
}

/// Of Copy and Move alike.
pub(super) fn relocate_options(
    write_mode: i32,
    if_match_etag: String,
    request_id: String,
) -> Result<RelocateOptions> {
    Ok(RelocateOptions {
        modified: None,
        mode: self::write_mode(write_mode)?,
        if_match: none_if_empty(if_match_etag),
        request_id: none_if_empty(request_id),
    })
}

pub(super) fn dedupe_mode(value: i32) -> Result<DedupeMode> {
    use proto::DedupeMode as Wire;
    match Wire::try_from(value) {
        Ok(Wire::Unspecified | Wire::Report) => Ok(DedupeMode::Report),
        Ok(Wire::Identical) => Ok(DedupeMode::Identical),
        Ok(Wire::Newest) => Ok(DedupeMode::Newest),
        Ok(Wire::Oldest) => Ok(DedupeMode::Oldest),
        Ok(Wire::Rename) => Ok(DedupeMode::Rename),
        Ok(Wire::Directories) => Ok(DedupeMode::Directories),
        Err(_) => Err(Error::invalid_field(
            "mode",
            format_args!("{value} is no mode that this server knows"),
        )),
    }
}

/// `None` when both kinds are wanted.
pub(super) fn only(types: &[i32]) -> Result<Option<EntryKind>> {
    let (mut files, mut directories) = (false, false);
    for value in types {
        match proto::EntryType::try_from(*value) {
            Ok(proto::EntryType::File) => files = true,
            Ok(proto::EntryType::Directory) => directories = true,
            _ => {
                return Err(Error::invalid_field(
                    "types",
                    format_args!("{value} is no type of entries"),
                ));
            }
        }
    }
    Ok(match (files, directories) {
        (true, false) => Some(EntryKind::File),
        (false, true) => Some(EntryKind::Directory),
        _ => None,
    })
}

pub(super) fn range(given: proto::ByteRange) -> Result<ByteRange> {
    Ok(ByteRange {
        offset: to_u64("ranges.offset", given.offset)?,
        length: given
            .length
            .map(|length| to_u64("ranges.length", length))
            .transpose()?,
    })
}

pub(super) fn resolved(range: Resolved) -> proto::ByteRange {
    proto::ByteRange {
        offset: to_i64(range.offset),
        length: Some(to_i64(range.length)),
    }
}

pub(super) fn none_if_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(super) fn path_failure((path, error): (backend::RemotePath, Error)) -> proto::PathFailure {
    proto::PathFailure {
        path: path.to_string(),
        failure: Some(failure(&error)),
    }
}

pub(super) fn connection_check(check: Check) -> proto::ConnectionCheck {
    let (state, failed) = match &check.state {
        CheckState::Passed => (proto::CheckState::Passed, None),
        CheckState::Failed(error) => (proto::CheckState::Failed, Some(failure(error))),
        // Why it was skipped, without the code of an error that never was.
        CheckState::Skipped(error) => (
            proto::CheckState::Skipped,
            Some(proto::Failure {
                message: error.message().to_owned(),
                ..proto::Failure::default()
            }),
        ),
    };
    proto::ConnectionCheck {
        name: check.name.to_owned(),
        state: state.into(),
        elapsed: check.elapsed.try_into().ok(),
        failure: failed,
    }
}

pub(super) fn remote_info(remote: &backend::Remote) -> proto::RemoteInfo {
    use proto::Capability as Can;
    let read_only = remote.is_read_only();
    let mut capabilities = vec![
        Can::About,
        Can::List,
        Can::ListRecursive,
        Can::Stat,
        Can::HashByDownload,
        Can::Get,
        Can::GetRanges,
        Can::Refresh,
        Can::Activity,
    ];
    if !read_only {
        capabilities.extend([
            Can::Hash,
            Can::Put,
            Can::KeepBoth,
            Can::RequestId,
            Can::Delete,
            Can::Directories,
            Can::Purge,
            Can::Copy,
            Can::Move,
            Can::PublicLink,
            Can::Dedupe,
            Can::MoveDir,
        ]);
    }
    if remote.takes_unknown_sizes() {
        capabilities.push(Can::PutUnknownSize);
    }
    capabilities.sort_unstable();
    // 1Fichier tells no checksums of shared folders.
    let (stored, recorded) = match read_only {
        true => (None, Vec::new()),
        false => (
            Some(Algorithm::Whirlpool),
            remote.recorded_hashes().collect(),
        ),
    };
    let hashes = |algorithms: &[Algorithm]| {
        let hashes = algorithms
            .iter()
            .map(|algorithm| proto::HashAlgorithm::from(*algorithm));
        hashes.map(i32::from).collect()
    };
    proto::RemoteInfo {
        name: remote.name().to_owned(),
        provider: "fichier".to_owned(),
        capabilities: capabilities.into_iter().map(i32::from).collect(),
        stored_hashes: hashes(stored.as_slice()),
        recorded_hashes: hashes(&recorded),
        limits: Some(proto::Limits {
            max_file_bytes: to_i64(MAX_FILE_BYTES),
            max_name_bytes: MAX_NAME_BYTES as i32,
            max_chunk_bytes: MAX_CHUNK as i32,
            max_delete_targets: MAX_DELETE_TARGETS as i32,
            max_get_ranges: MAX_RANGES as i32,
            max_page_size: MAX_PAGE as i32,
            max_path_depth: MAX_DEPTH as i32,
        }),
        traits: Some(proto::Traits {
            duplicate_entries: true,
            empty_directories: !read_only,
            empty_files: false,
            case_insensitive: false,
            modify_times: false,
            read_only,
        }),
    }
}
