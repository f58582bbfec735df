//! File contents: on disk while somebody refers to them, or zeros that take no room.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use digest::Digest;
use tokio::sync::mpsc;
use whirlpool::Whirlpool;

use super::state::Shared;

/// The content of one or more files (copies share it) with its size and checksum.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) size: u64,
    /// Whirlpool, 128 lower-case hex digits [API C].
    pub(super) whirlpool: Arc<str>,
    pub(super) place: Place,
}

/// Where a content is.
#[derive(Debug)]
pub(super) enum Place {
    Disk(OnDisk),
    /// Nothing but zeros, made when read.
    Zeros,
}

/// A file on disk that goes away with this value.
#[derive(Debug)]
pub(super) struct OnDisk(PathBuf);

impl OnDisk {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        // It may be gone already with the directory around it; either way nothing is left.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The directory of the contents.
#[derive(Debug)]
pub(super) struct Bodies {
    dir: tempfile::TempDir,
    next: AtomicU64,
}

impl Bodies {
    /// Makes a private directory, in `parent` or with the system's temporary files.
    pub(super) fn create(parent: Option<&Path>) -> io::Result<Bodies> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("fichier-emulator-");
        let dir = match parent {
            Some(parent) => {
                std::fs::create_dir_all(parent)?;
                builder.tempdir_in(parent)?
            }
            None => builder.tempdir()?,
        };
        Ok(Bodies {
            dir,
            next: AtomicU64::new(0),
        })
    }

    pub(super) fn writer(&self) -> io::Result<Writer> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let place = OnDisk(self.dir.path().join(format!("{number}.body")));
        let file = std::fs::File::create_new(place.path())?;
        Ok(Writer {
            file,
            place,
            hash: Whirlpool::new(),
            size: 0,
        })
    }

    /// A content that is at hand.
    pub(super) fn store(&self, content: &[u8]) -> io::Result<Arc<Body>> {
        let mut writer = self.writer()?;
        writer.write(content)?;
        writer.finish()
    }
}

/// A content that is being written and hashed.
#[derive(Debug)]
pub(super) struct Writer {
    file: std::fs::File,
    place: OnDisk,
    hash: Whirlpool,
    size: u64,
}

impl Writer {
    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.hash.update(data);
        self.size += data.len() as u64;
        self.file.write_all(data)
    }

    pub(super) fn finish(self) -> io::Result<Arc<Body>> {
        Ok(Arc::new(Body {
            size: self.size,
            whirlpool: hex(&self.hash.finalize()).into(),
            place: Place::Disk(self.place),
        }))
    }
}

/// So many zeros. Hashing them takes time, storing them does not.
pub(super) fn zeros(size: u64) -> Arc<Body> {
    let piece = [0_u8; 8 * 1024];
    let mut hash = Whirlpool::new();
    let mut left = size;
    while left > 0 {
        let part = left.min(piece.len() as u64) as usize;
        hash.update(piece.get(..part).unwrap_or_default());
        left -= part as u64;
    }
    Arc::new(Body {
        size,
        whirlpool: hex(&hash.finalize()).into(),
        place: Place::Zeros,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the receiving task asks of the writing thread.
#[derive(Debug)]
pub(super) enum Job {
    Begin,
    Data(Bytes),
    End,
}

/// Contents on their way to the disk.
#[derive(Debug)]
struct Writing {
    done: Vec<Arc<Body>>,
    open: Option<Writer>,
    flip: bool,
}

impl Writing {
    fn take(&mut self, bodies: &Bodies, job: Job) -> io::Result<()> {
        match job {
            Job::Begin => self.open = Some(bodies.writer()?),
            Job::Data(data) => {
                if let Some(writer) = &mut self.open {
                    if std::mem::take(&mut self.flip) {
                        let mut wrong = data.to_vec();
                        if let Some(first) = wrong.first_mut() {
                            *first ^= 1;
                        }
                        writer.write(&wrong)?;
                    } else {
                        writer.write(&data)?;
                    }
                }
            }
            Job::End => {
                if let Some(writer) = self.open.take() {
                    self.done.push(writer.finish()?);
                }
            }
        }
        Ok(())
    }
}

/// Writes and hashes contents until the channel closes. A content whose end never came is
/// dropped. Only what is at hand goes to a blocking thread: one that waited for the client would
/// stop a paused clock, and with it the client.
pub(super) async fn write_all(
    shared: Arc<Shared>,
    mut jobs: mpsc::Receiver<Job>,
    flip_first_byte: bool,
) -> io::Result<Vec<Arc<Body>>> {
    let mut writing = Writing {
        done: Vec::new(),
        open: None,
        flip: flip_first_byte,
    };
    let mut batch = Vec::new();
    while jobs.recv_many(&mut batch, jobs.max_capacity()).await > 0 {
        let (shared, batch) = (Arc::clone(&shared), std::mem::take(&mut batch));
        let written = tokio::task::spawn_blocking(move || {
            for job in batch {
                writing.take(&shared.bodies, job)?;
            }
            io::Result::Ok(writing)
        });
        writing = written.await.map_err(io::Error::other)??;
    }
    Ok(writing.done)
}

/// Opens a content for reading from an offset.
pub(super) fn open_at(path: &Path, offset: u64) -> io::Result<std::fs::File> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whirlpool_is_the_final_version() {
        let bodies = Bodies::create(None).unwrap();
        let body = bodies.store(b"Hello world\n").unwrap();
        assert_eq!(
            &*body.whirlpool,
            "0a894ff039da399d5a72116b3665cd952abc8a9ffe37bfae4eae4d5381c5102b\
             237c27e88b03f71c516e08ffa1cc9de9eac55d7d3abd38ea56220018f006a2c5"
        );
        assert_eq!(
            &*zeros(0).whirlpool,
            "19fa61d75522a4669b44e39c1d2e1726c530232130d407f89afee0964997f7a7\
             3e83be698b288febcf88e3e03c4f0757ea8964e59b63d93708b138cc42a66eb3"
        );
        assert_eq!(
            zeros(10_000).whirlpool,
            bodies.store(&[0; 10_000]).unwrap().whirlpool
        );
    }

    #[test]
    fn a_content_goes_away_with_its_last_reference() {
        let bodies = Bodies::create(None).unwrap();
        let body = bodies.store(b"x").unwrap();
        let copy = Arc::clone(&body);
        let Place::Disk(place) = &body.place else {
            panic!("not on disk");
        };
        let path = place.path().to_owned();
        drop(body);
        assert!(path.exists());
        drop(copy);
        assert!(!path.exists());
    }
}
