//! Reading files, and their checksums.

use bytes::Bytes;

use super::entry::{Entry, etag};
use super::path::RemotePath;
use super::put::etag_mismatch;
use super::{AtPath, MAX_RANGES, Remote};
use crate::catalog::{FileRecord, Whirlpool};
use crate::error::{Error, Reason, Result};
use crate::fichier::{Kind, Scope};
use crate::transfer::{Algorithm, Checksum, Direction, Hasher, Progress, Reader};

/// A part of a file, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// How many bytes; `None` means to the end.
    pub length: Option<u64>,
}

/// A part of a file, cut at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// First byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The parts, in this order; empty means the whole file.
    pub ranges: Vec<ByteRange>,
    /// The file must have this etag.
    pub if_match: Option<String>,
    /// Compare a whole file with its stored checksum.
    pub verify: bool,
}

/// A read on its way.
#[derive(Debug)]
pub struct Read {
    remote: Remote,
    scope: Scope,
    folder: i64,
    file: FileRecord,
    /// The file.
    pub entry: Entry,
    /// The parts that are read.
    pub ranges: Vec<Resolved>,
    next_range: usize,
    reader: Option<(Reader, u64)>,
    progress: Progress,
    hasher: Option<Hasher>,
    sent: u64,
}

/// The end of a read.
#[derive(Clone, Debug)]
pub struct ReadEnd {
    /// Bytes in all.
    pub bytes: u64,
    /// Checksums of a whole file, as it was read.
    pub checksums: Vec<Checksum>,
    /// It was compared with the stored checksum.
    pub verified: bool,
}

/// A checksum, and where it comes from.
#[derive(Clone, Debug)]
pub struct HashValue {
    /// The checksum.
    pub checksum: Checksum,
    /// It was computed now.
    pub computed: bool,
    /// The file.
    pub entry: Entry,
}

impl Remote {
    /// Begins to read a file.
    ///
    /// # Errors
    /// FILE_NOT_FOUND, IS_A_DIRECTORY, ETAG_MISMATCH, RANGE_NOT_SATISFIABLE.
    pub async fn read(
        &self,
        scope: Scope,
        path: &RemotePath,
        options: ReadOptions,
    ) -> Result<Read> {
        if options.ranges.len() > MAX_RANGES {
            return Err(Error::invalid_field(
                "ranges",
                format_args!("at most {MAX_RANGES} are allowed"),
            ));
        }
        let (folder, files) = self.find_files(scope, path, None).await?;
        let file = files[0].clone();
        if options
            .if_match
            .as_ref()
            .is_some_and(|wanted| *wanted != etag(&file))
        {
            return Err(etag_mismatch(path));
        }
        let whole = options.ranges.is_empty();
        let ranges = if whole {
            vec![Resolved {
                offset: 0,
                length: file.size,
            }]
        } else {
            options
                .ranges
                .iter()
                .map(|range| resolve(path, range, file.size))
                .collect::<Result<_>>()?
        };
        let ranges_bytes = ranges.iter().map(|range: &Resolved| range.length).sum();
        let hasher = (whole && options.verify && file.whirlpool.is_some())
            .then(|| Hasher::new([Algorithm::Whirlpool]));
        Ok(Read {
            remote: self.clone(),
            scope,
            folder,
            entry: Entry::file(path.clone(), &file, files.len()),
            file,
            ranges,
            next_range: 0,
            reader: None,
            progress: self.track(path, Direction::Download, Some(ranges_bytes)),
            hasher,
            sent: 0,
        })
    }

    /// A checksum of a file: the stored one at no cost, others by reading the
    /// file, if that is allowed.
    ///
    /// # Errors
    /// CAPABILITY_MISSING when the algorithm is not stored and a download is
    /// not allowed.
    pub async fn hash(
        &self,
        scope: Scope,
        path: &RemotePath,
        algorithm: Algorithm,
        allow_download: bool,
    ) -> Result<HashValue> {
        let (_, files) = self.find_files(scope, path, None).await?;
        let entry = Entry::file(path.clone(), &files[0], files.len());
        if let Some(checksum) = entry
            .checksums
            .iter()
            .find(|sum| sum.algorithm == algorithm)
        {
            return Ok(HashValue {
                checksum: checksum.clone(),
                computed: false,
                entry,
            });
        }
        if !allow_download {
            return Err(Error::new(
                Reason::CapabilityMissing,
                format!(
                    "1Fichier stores no {algorithm} of {path:?}; allow_download lets it be computed"
                ),
            )
            .at(path.as_str())
            .with("capability", "HASH_BY_DOWNLOAD"));
        }
        let mut read = self
            .read(
                scope,
                path,
                ReadOptions {
                    verify: true,
                    ..ReadOptions::default()
                },
            )
            .await?;
        let mut hasher = Hasher::new([algorithm]);
        while let Some((_, data)) = read.next().await? {
            hasher.update(data).await;
        }
        read.finish().await?;
        match hasher.finish().await.pop() {
            Some(checksum) => Ok(HashValue {
                checksum,
                computed: true,
                entry,
            }),
            None => Err(Error::internal("the content was not hashed")),
        }
    }
}

fn resolve(path: &RemotePath, range: &ByteRange, size: u64) -> Result<Resolved> {
    if range.offset > size {
        return Err(Error::new(
            Reason::RangeNotSatisfiable,
            format!(
                "a range of {path:?} begins at {}, and the file has {size} bytes",
                range.offset
            ),
        )
        .at(path.as_str())
        .with("size", size.to_string()));
    }
    let rest = size - range.offset;
    Ok(Resolved {
        offset: range.offset,
        length: range.length.map_or(rest, |length| length.min(rest)),
    })
}

impl Read {
    /// The next bytes and where they begin in the file; `None` at the end.
    ///
    /// # Errors
    /// FILE_NOT_FOUND when the file is gone, UNAVAILABLE when 1Fichier does
    /// not give the content.
    pub async fn next(&mut self) -> Result<Option<(u64, Bytes)>> {
        loop {
            if let Some((reader, at)) = &mut self.reader {
                match reader.next().await {
                    Ok(Some(data)) => {
                        let offset = *at;
                        *at += data.len() as u64;
                        self.sent += data.len() as u64;
                        self.progress.add(data.len());
                        if let Some(hasher) = &mut self.hasher {
                            hasher.update(data.clone()).await;
                        }
                        return Ok(Some((offset, data)));
                    }
                    Ok(None) => self.reader = None,
                    Err(error) => {
                        if error.kind() == Kind::NotFound {
                            // Gone behind our back: the catalog was wrong.
                            self.remote
                                .account
                                .catalog
                                .file_removed(self.folder, &self.file.url);
                            self.remote.account.catalog.doubt(self.folder);
                            return Err(Error::file_not_found(self.entry.path.as_str()));
                        }
                        return Err(error).at_path(&self.entry.path);
                    }
                }
            }
            let Some(range) = self.ranges.get(self.next_range) else {
                return Ok(None);
            };
            self.next_range += 1;
            if range.length == 0 {
                continue;
            }
            let reader = self
                .remote
                .account
                .downloads
                .read(
                    self.scope,
                    &self.file.url,
                    range.offset,
                    range.length,
                    self.file.size,
                )
                .await;
            self.reader = Some((reader, range.offset));
        }
    }

    /// Ends the read: compares a whole file with its stored checksum.
    ///
    /// # Errors
    /// STORED_CONTENT_CORRUPT when it differs.
    pub async fn finish(self) -> Result<ReadEnd> {
        let Some(hasher) = self.hasher else {
            return Ok(ReadEnd {
                bytes: self.sent,
                checksums: Vec::new(),
                verified: false,
            });
        };
        let checksums = hasher.finish().await;
        let stored = self
            .file
            .whirlpool
            .as_ref()
            .map(Whirlpool::to_hex)
            .unwrap_or_default();
        let matches = checksums.iter().any(|sum| sum.hex == stored);
        if !matches {
            return Err(Error::new(
                Reason::StoredContentCorrupt,
                format!(
                    "what 1Fichier sent of {:?} does not have the stored Whirlpool checksum; read it again, and restore it from another copy if it stays so",
                    self.entry.path
                ),
            )
            .at(self.entry.path.as_str())
            .with("expected", stored));
        }
        Ok(ReadEnd {
            bytes: self.sent,
            checksums,
            verified: true,
        })
    }
}
