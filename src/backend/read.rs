//! Reading files, and their checksums.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::entry::Entry;
use super::path::RemotePath;
use super::twins::{FileAt, pick};
use super::{AtPath, MAX_RANGES, Remote};
use crate::catalog::{FileRecord, Whirlpool};
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, Kind, Scope};
use crate::transfer::{Algorithm, Checksum, Direction, Hasher, Progress, Reader, Target};

/// Files that are tried for one read: memory may name one that another program
/// has replaced.
const SOURCES: usize = 3;

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
    /// The file with this etag; without one, the newest of the path.
    pub if_match: Option<String>,
    /// Compare a whole file with its stored checksum, also where ranges that
    /// follow each other are the whole.
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
    /// Where the stretch ends that is read.
    stretch_end: u64,
    /// Other files that went on in the place of the first.
    sources: usize,
    /// What arrived and was not taken yet, and where it begins.
    left: Bytes,
    left_at: u64,
    /// The range that is being given, and how much of it was.
    current: usize,
    taken: u64,
    progress: Progress,
    hasher: Option<Hasher>,
    sent: u64,
}

/// Some bytes of one of the ranges.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Which range.
    pub range: usize,
    /// Where in the file they begin.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
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
    /// TOO_MANY_TRANSFERS, FILE_NOT_FOUND, IS_A_DIRECTORY, ETAG_MISMATCH,
    /// RANGE_NOT_SATISFIABLE,
    /// UPSTREAM_ACCESS_DENIED when a password is needed and none is configured.
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
        let mut progress = self.track(path, Direction::Download, None)?;
        let mut files = self.find_files(scope, path, None).await?;
        let mut last = None;
        for _ in 0..SOURCES {
            let at = pick(&files, options.if_match.as_deref(), path)?.clone();
            let opened = self.open(scope, path, &options, at.clone(), files.len(), progress);
            let mut read = opened.await?;
            // Before anybody is told of the file: memory may be old.
            let error = match read.fill().await {
                Ok(_) => {
                    let lengths = read.ranges.iter().map(|range| range.length);
                    read.progress.is_of(lengths.sum());
                    return Ok(read);
                }
                Err(error) if error.kind() == Kind::NotFound => error,
                Err(error) => return Err(error).at_path(path),
            };
            let found = self.found_again(scope, path, &at, &error).await?;
            files = found.unwrap_or(files);
            self.account.downloads.ask_again(&read.target());
            progress = read.progress;
            last = Some(error);
        }
        let error = last.map_or_else(|| Error::file_not_found(path.as_str()), Error::from);
        Err(error.at(path.as_str()))
    }

    /// A read of one file, of which nothing was asked for yet.
    async fn open(
        &self,
        scope: Scope,
        path: &RemotePath,
        options: &ReadOptions,
        at: FileAt,
        duplicates: usize,
        progress: Progress,
    ) -> Result<Read> {
        let FileAt { folder, file } = at;
        self.check_password(path, &file)?;
        let ranges = if options.ranges.is_empty() {
            vec![Resolved {
                offset: 0,
                length: file.size,
            }]
        } else {
            let ranges = options.ranges.iter();
            ranges
                .map(|range| resolve(path, range, file.size))
                .collect::<Result<_>>()?
        };
        let whole = are_whole(&ranges, file.size);
        let hasher = (whole && options.verify && file.whirlpool.is_some())
            .then(|| Hasher::new([Algorithm::Whirlpool]));
        Ok(Read {
            remote: self.clone(),
            scope,
            folder,
            entry: self.file_entry(path.clone(), &file, duplicates).await,
            file,
            ranges,
            next_range: 0,
            reader: None,
            stretch_end: 0,
            sources: 0,
            left: Bytes::new(),
            left_at: 0,
            current: 0,
            taken: 0,
            progress,
            hasher,
            sent: 0,
        })
    }

    /// Others' files cannot be read without their password; whether one's own
    /// can is not known ([API §F]).
    fn check_password(&self, path: &RemotePath, file: &FileRecord) -> Result<()> {
        if !(file.password && self.is_read_only() && self.access.password.is_none()) {
            return Ok(());
        }
        let text = format!(
            "{path:?} is protected with a password, and the remote {:?} has none; set its `file_password`",
            self.name
        );
        Err(Error::new(Reason::UpstreamAccessDenied, text).at(path.as_str()))
    }

    /// A checksum of a file: a stored or recorded one at no cost, others by
    /// reading the file, if that is allowed.
    ///
    /// # Errors
    /// CAPABILITY_MISSING when the algorithm is not known and a download is
    /// not allowed.
    pub async fn hash(
        &self,
        scope: Scope,
        path: &RemotePath,
        algorithm: Algorithm,
        allow_download: bool,
    ) -> Result<HashValue> {
        let files = self.find_files(scope, path, None).await?;
        let entry = self
            .file_entry(path.clone(), &files[0].file, files.len())
            .await;
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
            let why = if self.is_read_only() {
                "1Fichier tells no checksums of shared folders"
            } else {
                "1Fichier stores no such checksum"
            };
            return Err(Error::new(
                Reason::CapabilityMissing,
                format!(
                    "the {algorithm} of {path:?} is not known: {why}, and none was recorded; allow_download lets it be computed"
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
        // The bytes pass once: what is recorded of uploads is computed too.
        let mut hasher = Hasher::new(self.recorded_hashes().chain([algorithm]));
        while let Some(piece) = read.next().await? {
            hasher.update(piece.data).await;
        }
        let (file, mut entry) = (read.file.clone(), read.entry.clone());
        read.finish().await?;
        let sums = hasher.finish().await;
        let Some(checksum) = sums.iter().find(|sum| sum.algorithm == algorithm).cloned() else {
            return Err(Error::internal("the content was not hashed"));
        };
        self.record(&file, sums.clone());
        // The answer is true whether or not it can be told again.
        let _ = self.account.catalog.settle().await;
        let known = |sum: &Checksum| {
            entry
                .checksums
                .iter()
                .all(|old| old.algorithm != sum.algorithm)
        };
        let new: Vec<_> = sums.into_iter().filter(known).collect();
        entry.checksums.extend(new);
        Ok(HashValue {
            checksum,
            computed: true,
            entry,
        })
    }
}

/// Whether the ranges, one after the other, are the file from its first byte to
/// its last.
fn are_whole(ranges: &[Resolved], size: u64) -> bool {
    let mut end = 0;
    for range in ranges.iter().filter(|range| range.length > 0) {
        if range.offset != end {
            return false;
        }
        end += range.length;
    }
    end == size
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
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// FILE_NOT_FOUND when the file is gone, UNAVAILABLE when 1Fichier does
    /// not give the content.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            match self.fill().await {
                Ok(true) => return Ok(self.cut()),
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == Kind::NotFound => self.go_on(&error).await?,
                Err(error) => return Err(error).at_path(&self.entry.path),
            }
        }
    }

    /// Makes sure that bytes are there; false at the end.
    async fn fill(&mut self) -> Result<bool, fichier::Error> {
        loop {
            if !self.left.is_empty() {
                return Ok(true);
            }
            if let Some((reader, at)) = &mut self.reader {
                match reader.next().await? {
                    Some(data) => {
                        self.left_at = *at;
                        *at += data.len() as u64;
                        self.sent += data.len() as u64;
                        self.progress.add(data.len());
                        if let Some(hasher) = &mut self.hasher {
                            hasher.update(data.clone()).await;
                        }
                        self.left = data;
                        continue;
                    }
                    None => self.reader = None,
                }
            }
            let Some(range) = self.next_stretch() else {
                return Ok(false);
            };
            self.read_from(range);
        }
    }

    fn target(&self) -> Target {
        Target {
            file: self.file.url.to_string(),
            access: self.remote.access.clone(),
        }
    }

    fn read_from(&mut self, range: Resolved) {
        let downloads = &self.remote.account.downloads;
        let (offset, length) = (range.offset, range.length);
        let reader = downloads.read(self.scope, self.target(), offset, length, self.file.size);
        self.reader = Some((reader, range.offset));
        self.stretch_end = range.offset + range.length;
    }

    /// The file went in the middle of its read. Another one with its content
    /// goes on in its place.
    async fn go_on(&mut self, error: &fichier::Error) -> Result<()> {
        let path = self.entry.path.clone();
        let old = FileAt {
            folder: self.folder,
            file: self.file.clone(),
        };
        self.sources += 1;
        if self.sources > SOURCES {
            return Err(error.clone()).at_path(&path);
        }
        let found = self.remote.found_again(self.scope, &path, &old, error);
        let files = match found.await? {
            Some(files) => files,
            None => vec![old],
        };
        let same = |at: &&FileAt| {
            at.file.size == self.file.size
                && at.file.whirlpool == self.file.whirlpool
                && self.file.whirlpool.is_some()
        };
        let Some(at) = files.iter().find(same).cloned() else {
            return Err(Error::new(
                Reason::ContentChanged,
                format!("{path:?} was replaced while it was read; read it again"),
            )
            .at(path.as_str()));
        };
        (self.folder, self.file) = (at.folder, at.file);
        self.remote.account.downloads.ask_again(&self.target());
        if let Some((_, at)) = self.reader.take() {
            let range = Resolved {
                offset: at,
                length: self.stretch_end - at,
            };
            self.read_from(range);
        }
        Ok(())
    }

    /// Gives its connections to others. It goes on where it is with the next
    /// bytes.
    pub fn park(&mut self) {
        if let Some((reader, _)) = &mut self.reader {
            reader.park();
        }
    }

    /// Whether it has a connection that others wait for.
    pub fn is_in_the_way(&self) -> bool {
        let reader = self.reader.as_ref();
        reader.is_some_and(|(reader, _)| reader.is_in_the_way())
    }

    /// The part of what arrived that belongs to one range.
    fn cut(&mut self) -> Option<Piece> {
        loop {
            let range = self.ranges.get(self.current)?;
            let end = range.offset + range.length;
            let here = range.offset + self.taken;
            if here == end {
                self.current += 1;
                self.taken = 0;
                continue;
            }
            let length = usize::try_from(end - here)
                .unwrap_or(usize::MAX)
                .min(self.left.len());
            let piece = Piece {
                range: self.current,
                offset: self.left_at,
                data: self.left.split_to(length),
            };
            self.left_at += length as u64;
            self.taken += length as u64;
            return Some(piece);
        }
    }

    /// The next ranges that follow each other without a gap, as one: they cost
    /// one request to the download server.
    fn next_stretch(&mut self) -> Option<Resolved> {
        let mut stretch: Option<Resolved> = None;
        while let Some(range) = self.ranges.get(self.next_range).copied() {
            match &mut stretch {
                _ if range.length == 0 => {}
                None => stretch = Some(range),
                Some(stretch) if stretch.offset + stretch.length == range.offset => {
                    stretch.length += range.length;
                }
                Some(_) => break,
            }
            self.next_range += 1;
        }
        stretch
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
            let read_wrong = &self.remote.account.read_wrong;
            read_wrong.fetch_add(1, Ordering::Relaxed);
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
