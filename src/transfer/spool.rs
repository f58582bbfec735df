//! A bounded buffer for content that must be complete before it can leave.
//!
//! Small content stays in memory; more goes to a temporary file without a
//! name, so that a crash leaves nothing behind.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::error::{Error, Reason, Result};
use crate::fichier::Content;

/// Content up to this size never touches the disk.
const IN_MEMORY: usize = 64 << 10;
/// Bytes of one write or read of the file.
const PIECE: usize = 256 << 10;

/// Which uploads are buffered before they leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SpoolPolicy {
    /// Small ones, which leave in groups, those of unknown size, and all while
    /// no connection is free.
    #[default]
    Auto,
    /// Every one: a failure of an upload node is repaired without the client.
    Always,
    /// None: no disk is needed, but the size must be known, each file is an
    /// upload of its own, and a failure is the client's to repeat.
    Never,
}

impl SpoolPolicy {
    const NAMES: [(&str, Self); 3] = [
        ("auto", Self::Auto),
        ("always", Self::Always),
        ("never", Self::Never),
    ];
}

impl FromStr for SpoolPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::NAMES.iter().find(|(name, _)| *name == text);
        known
            .map(|(_, policy)| *policy)
            .ok_or_else(|| format!("{text:?} is not one of auto, always, never"))
    }
}

impl fmt::Display for SpoolPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::NAMES.iter().find(|(_, policy)| policy == self);
        f.write_str(known.map_or("", |(name, _)| name))
    }
}

/// Where content is buffered, and how much fits.
#[derive(Debug)]
pub struct SpoolDir {
    path: PathBuf,
    limit: u64,
    used: AtomicU64,
}

impl SpoolDir {
    /// Buffers at most `limit` bytes below `path`, which must exist and be
    /// ours alone: what a run left there that was killed is removed.
    pub fn new(path: impl Into<PathBuf>, limit: u64) -> Arc<Self> {
        let path = path.into();
        remove_files(&path);
        Arc::new(Self {
            path,
            limit,
            used: AtomicU64::new(0),
        })
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes buffered now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that may be buffered.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reserved> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|used| {
                if bytes > self.limit {
                    return Error::new(
                        Reason::SpoolFull,
                        format!(
                            "the upload of {bytes} bytes is larger than the whole buffer of {}; \
                         raise --spool-bytes, or let files of known size stream through (--spool)",
                            self.limit
                        ),
                    )
                    .for_good();
                }
                Error::new(
                    Reason::SpoolFull,
                    format!(
                        "no room to buffer the upload: {bytes} more bytes, {used} of {} are taken; \
                     try again when other uploads are done, or raise --spool-bytes",
                        self.limit
                    ),
                )
            })?;
        Ok(Reserved {
            dir: Arc::clone(self),
            bytes,
        })
    }
}

/// Files of the buffer have no name where the file system can do that; where
/// it cannot, a crash may leave one.
fn remove_files(path: &Path) {
    let Ok(entries) = std::fs::read_dir(path) else {
        return; // the first upload will tell what is wrong
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match std::fs::remove_file(&path) {
            Ok(()) => {
                tracing::info!(path = %path.display(), "removed what a killed run had buffered")
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "something in the upload buffer cannot be removed");
            }
        }
    }
}

/// Room that was set aside; given back when dropped.
#[derive(Debug)]
struct Reserved {
    dir: Arc<SpoolDir>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.dir.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Content that is still arriving.
#[derive(Debug)]
pub struct Spool {
    dir: Arc<SpoolDir>,
    room: Vec<Reserved>,
    reserved: u64,
    buffer: BytesMut,
    file: Option<Arc<File>>,
    written: u64,
    size: u64,
}

impl Spool {
    /// Sets room aside for `size` bytes, or for none when the size is unknown.
    ///
    /// # Errors
    /// SPOOL_FULL when it does not fit.
    pub fn new(dir: &Arc<SpoolDir>, size: Option<u64>) -> Result<Self> {
        let reserved = size.unwrap_or(0);
        Ok(Self {
            room: vec![dir.reserve(reserved)?],
            dir: Arc::clone(dir),
            reserved,
            buffer: BytesMut::new(),
            file: None,
            written: 0,
            size: 0,
        })
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// SPOOL_FULL when they do not fit, or the disk is full.
    pub async fn write(&mut self, data: Bytes) -> Result<()> {
        self.size += data.len() as u64;
        if self.size > self.reserved {
            // In steps, so that a million small chunks are not a million steps.
            let step = (self.size - self.reserved).max(PIECE as u64);
            self.room.push(self.dir.reserve(step)?);
            self.reserved += step;
        }
        let length = self.buffer.len() + data.len();
        if length >= PIECE || (self.file.is_some() && length > IN_MEMORY) {
            return self.spill(data).await;
        }
        self.buffer.extend_from_slice(&data);
        Ok(())
    }

    /// Writes what is in memory, and what came now.
    async fn spill(&mut self, fresh: Bytes) -> Result<()> {
        let (dir, file, at) = (self.dir.path.clone(), self.file.take(), self.written);
        let data = std::mem::take(&mut self.buffer);
        self.written += (data.len() + fresh.len()) as u64;
        let (file, buffer) = blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile_in(dir)?),
            };
            file.write_all_at(&data, at)?;
            file.write_all_at(&fresh, at + data.len() as u64)?;
            Ok((file, data))
        })
        .await?;
        self.file = Some(file);
        // The memory is used again for the next piece.
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the content.
    ///
    /// # Errors
    /// SPOOL_FULL when the disk is full.
    pub async fn finish(mut self) -> Result<Spooled> {
        if self.file.is_none() && self.buffer.len() <= IN_MEMORY {
            let data = self.buffer.freeze();
            return Ok(Spooled(Arc::new(Inner {
                size: self.size,
                data: Data::Memory(data),
                _room: self.room,
            })));
        }
        self.spill(Bytes::new()).await?;
        let file = self
            .file
            .ok_or_else(|| Error::internal("a spilled buffer has no file"))?;
        Ok(Spooled(Arc::new(Inner {
            size: self.size,
            data: Data::File(file),
            _room: self.room,
        })))
    }
}

/// EMFILE of the process or ENFILE of the machine, which are the same numbers
/// on every Unix.
fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.kind() == io::ErrorKind::StorageFull => Err(Error::new(
            Reason::SpoolFull,
            format!("the disk of the state directory is full: {error}"),
        )),
        Ok(Err(error)) if is_out_of_files(&error) => Err(Error::new(
            Reason::TooManyTransfers,
            format!(
                "this server may open no more files: {error}; try again later, raise its limit of open files, or lower --max-transfers"
            ),
        )),
        Ok(Err(error)) => Err(Error::internal(format!(
            "the upload buffer failed: {error}"
        ))),
        Err(error) => Err(Error::internal(format!(
            "the upload buffer failed: {error}"
        ))),
    }
}

enum Data {
    Memory(Bytes),
    File(Arc<File>),
}

struct Inner {
    size: u64,
    data: Data,
    _room: Vec<Reserved>,
}

/// Content that is complete and can be read any number of times.
#[derive(Clone)]
pub struct Spooled(Arc<Inner>);

impl fmt::Debug for Spooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spooled")
            .field("size", &self.0.size)
            .finish_non_exhaustive()
    }
}

impl Spooled {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// The bytes from the start.
    pub fn read(&self) -> BoxStream<'static, io::Result<Bytes>> {
        match &self.0.data {
            Data::Memory(data) => stream::iter([Ok(data.clone())]).boxed(),
            Data::File(file) => {
                let (file, size) = (Arc::clone(file), self.0.size);
                // Holds the room until the last reader is done.
                let spooled = self.clone();
                stream::try_unfold(0_u64, move |at| {
                    let (file, spooled) = (Arc::clone(&file), spooled.clone());
                    async move {
                        let length = (size - at).min(PIECE as u64) as usize;
                        if length == 0 {
                            return Ok(None);
                        }
                        let read = tokio::task::spawn_blocking(move || {
                            let mut piece = BytesMut::zeroed(length);
                            file.read_exact_at(&mut piece, at)?;
                            drop(spooled);
                            io::Result::Ok(piece.freeze())
                        });
                        let piece = read.await.map_err(io::Error::other)??;
                        let next = at + piece.len() as u64;
                        Ok(Some((piece, next)))
                    }
                })
                .boxed()
            }
        }
    }

    /// The content of one part of an upload.
    pub fn content(&self) -> Content {
        let spooled = self.clone();
        Content {
            size: self.size(),
            open: Box::new(move || spooled.read()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn what_goes_in_comes_out_and_room_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let spool = SpoolDir::new(dir.path(), 10 << 20);
        for size in [1, IN_MEMORY, IN_MEMORY + 1, PIECE, PIECE + 1, 3 * PIECE + 7] {
            let data: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let mut writer = Spool::new(&spool, None).unwrap();
            for piece in data.chunks(60_000) {
                writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            assert!(writer.buffer.capacity() <= PIECE, "of {size}");
            let spooled = writer.finish().await.unwrap();
            assert!(spool.used() >= size as u64);
            for _ in 0..2 {
                let back: Vec<Bytes> = spooled.read().try_collect().await.unwrap();
                assert_eq!(back.concat(), data);
            }
        }
        assert_eq!(spool.used(), 0);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "the files have no names"
        );
    }

    #[tokio::test]
    async fn a_full_spool_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let spool = SpoolDir::new(dir.path(), 1 << 20);
        let too_large = Spool::new(&spool, Some(2 << 20)).unwrap_err();
        assert_eq!(too_large.reason(), Reason::SpoolFull);
        assert_eq!(too_large.retry_delay(), None, "it will never fit");
        let mut writer = Spool::new(&spool, None).unwrap();
        writer.write(vec![0; 1 << 20].into()).await.unwrap();
        let full = Spool::new(&spool, Some(1)).unwrap_err();
        assert_eq!(full.reason(), Reason::SpoolFull);
        assert!(full.retry_delay().is_some());
        assert_eq!(
            writer
                .write(Bytes::from_static(&[0]))
                .await
                .unwrap_err()
                .reason(),
            Reason::SpoolFull
        );
        drop(writer);
        assert_eq!(spool.used(), 0);
    }

    #[test]
    fn what_a_killed_run_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".tmpAbCdEf"), b"buffered").unwrap();
        SpoolDir::new(dir.path(), 1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn policies_have_names() {
        for (name, policy) in SpoolPolicy::NAMES {
            assert_eq!(name.parse(), Ok(policy));
            assert_eq!(policy.to_string(), name);
        }
        assert!("Auto".parse::<SpoolPolicy>().is_err());
    }
}
