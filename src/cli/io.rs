//! The local side: standard streams, and files read and written on threads of
//! their own, so that a pipe that blocks never keeps the process from ending.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::exit::Problem;
use super::output::{self, ErrorDocument};

/// Bytes of a chunk.
pub(super) const CHUNK: usize = 256 << 10;
/// Chunks that a thread may be ahead.
const AHEAD: usize = 4;

/// A place to write to that can be shared with a thread.
#[derive(Clone)]
pub(super) struct SharedWriter(Arc<Mutex<Box<dyn Write + Send>>>);

impl SharedWriter {
    pub(super) fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(writer))))
    }
}

impl Write for SharedWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.flush()
    }
}

/// The standard streams of a command.
pub(super) struct Io {
    pub(super) out: SharedWriter,
    pub(super) err: SharedWriter,
    pub(super) input: Mutex<Option<Box<dyn Read + Send>>>,
    pub(super) json: bool,
    /// Nothing but errors is to be told.
    pub(super) quiet: bool,
    /// Partial files that stay, to go on with another time.
    pub(super) kept: Mutex<Vec<PathBuf>>,
    /// Progress bars are welcome.
    pub(super) interactive: bool,
    /// Content on standard output would be mixed with them.
    pub(super) out_is_terminal: bool,
}

impl Io {
    /// Those of the process.
    pub(super) fn standard(json: bool, quiet: bool) -> Self {
        Self {
            out: SharedWriter::new(io::stdout()),
            err: SharedWriter::new(io::stderr()),
            input: Mutex::new(Some(Box::new(io::stdin()))),
            json,
            quiet,
            kept: Mutex::default(),
            interactive: !json && !quiet && io::stderr().is_terminal(),
            out_is_terminal: io::stdout().is_terminal(),
        }
    }

    /// Writes lines; each ends with its newline already.
    pub(super) fn write(&self, lines: &str) -> Result<(), Problem> {
        let written = self.out.clone().write_all(lines.as_bytes());
        written.map_err(|error| Problem::output(&error))
    }

    /// Writes a line.
    pub(super) fn line(&self, text: &str) -> Result<(), Problem> {
        self.write(&format!("{text}\n"))
    }

    /// Tells people of a result on standard output.
    pub(super) fn result(&self, text: &str) -> Result<(), Problem> {
        if self.quiet { Ok(()) } else { self.line(text) }
    }

    /// Writes a JSON document.
    pub(super) fn document(&self, document: &impl Serialize) -> Result<(), Problem> {
        self.line(&output::to_json(document)?)
    }

    pub(super) fn flush(&self) -> Result<(), Problem> {
        let flushed = self.out.clone().flush();
        flushed.map_err(|error| Problem::output(&error))
    }

    /// Tells people something on standard error.
    pub(super) fn note(&self, text: &str) {
        if !self.json && !self.quiet {
            // Nobody is left to be told that this failed.
            let _ = writeln!(self.err.clone(), "{}", output::printable(text));
        }
    }

    /// Tells of a failure, of one path if only that failed.
    pub(super) fn report(&self, problem: &Problem, path: Option<&str>) {
        if problem.silent {
            return;
        }
        let text = if self.json {
            let document = ErrorDocument::new(problem, path);
            output::to_json(&document).unwrap_or_default()
        } else {
            output::error_text(problem, path)
        };
        let _ = writeln!(self.err.clone(), "{text}");
    }

    /// Remembers a partial file that stays.
    pub(super) fn keep(&self, partial: PathBuf) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(partial);
    }

    /// The partial files that stay; each is told once.
    pub(super) fn take_kept(&self) -> Vec<PathBuf> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut kept)
    }

    /// Standard input; it can be had once.
    pub(super) fn take_input(&self) -> Option<Box<dyn Read + Send>> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.take()
    }
}

/// What to read.
pub(super) enum Input {
    /// A regular file that is open.
    File(File),
    /// Something else that may block when it is opened, such as a pipe.
    Path(PathBuf),
    /// A stream.
    Stream(Box<dyn Read + Send>),
}

/// What was read.
pub(super) enum Piece {
    Data {
        data: Bytes,
        crc32c: u32,
    },
    /// The end, and what a file was like then. Without it the content is not
    /// complete.
    End(Option<Metadata>),
}

/// Reads on a thread of its own.
pub(super) fn read(input: Input) -> io::Result<mpsc::Receiver<io::Result<Piece>>> {
    let (tx, rx) = mpsc::channel(AHEAD);
    let reader = std::thread::Builder::new().name("reader".into());
    reader.spawn(move || {
        if let Err(error) = read_all(input, &tx) {
            let _ = tx.blocking_send(Err(error));
        }
    })?;
    Ok(rx)
}

fn read_all(input: Input, tx: &mpsc::Sender<io::Result<Piece>>) -> io::Result<()> {
    let (mut source, file): (Box<dyn Read + Send>, Option<File>) = match input {
        Input::File(file) => (Box::new(file.try_clone()?), Some(file)),
        Input::Path(path) => (Box::new(File::open(path)?), None),
        Input::Stream(stream) => (stream, None),
    };
    loop {
        let mut data = Vec::with_capacity(CHUNK);
        source.by_ref().take(CHUNK as u64).read_to_end(&mut data)?;
        let piece = if data.is_empty() {
            Piece::End(file.as_ref().map(File::metadata).transpose()?)
        } else {
            let crc32c = crc32c::crc32c(&data);
            let data = Bytes::from(data);
            Piece::Data { data, crc32c }
        };
        let end = matches!(piece, Piece::End(_));
        // Nobody wants the rest when the receiver is gone.
        if tx.blocking_send(Ok(piece)).is_err() || end {
            return Ok(());
        }
    }
}

/// Writes on a thread of its own.
pub(super) struct Writer {
    tx: Option<mpsc::Sender<Bytes>>,
    done: oneshot::Receiver<io::Result<()>>,
}

impl Writer {
    pub(super) fn new(mut target: impl Write + Send + 'static) -> io::Result<Self> {
        let (tx, mut rx) = mpsc::channel::<Bytes>(AHEAD);
        let (ended, done) = oneshot::channel();
        let writer = std::thread::Builder::new().name("writer".into());
        writer.spawn(move || {
            let mut write_all = || {
                while let Some(data) = rx.blocking_recv() {
                    target.write_all(&data)?;
                }
                target.flush()
            };
            let written = write_all();
            // Who waits for the end may open the file again, and finds its lock
            // as long as it is open here.
            drop(target);
            // The receiver goes last: a sender that fails finds the reason.
            let _ = ended.send(written);
        })?;
        let tx = Some(tx);
        Ok(Self { tx, done })
    }

    /// Hands bytes over. An error may belong to earlier ones.
    pub(super) async fn write(&mut self, data: Bytes) -> io::Result<()> {
        let sent = match &self.tx {
            Some(tx) => tx.send(data).await.is_ok(),
            None => false,
        };
        if sent { Ok(()) } else { self.finish().await }
    }

    /// Waits until all is written.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        let open = self.tx.take().is_some();
        match (&mut self.done).await {
            Ok(Ok(())) if open => Ok(()),
            Ok(Err(error)) => Err(error),
            _ => Err(io::Error::other("the writing thread has ended")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    /// Is not closed before it is told to.
    struct Slow(Receiver<()>);

    impl Write for Slow {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.recv();
        }
    }

    #[tokio::test]
    async fn what_is_finished_is_closed() {
        let (close, told) = channel();
        let mut writer = Writer::new(Slow(told)).unwrap();
        writer.write(Bytes::from_static(b"a")).await.unwrap();
        let mut finish = Box::pin(writer.finish());
        let early = tokio::time::timeout(Duration::from_millis(50), &mut finish);
        assert!(early.await.is_err(), "it is still open");
        close.send(()).unwrap();
        finish.await.unwrap();
    }
}
