//! The signals that ask the server to stop.
//!
//! The first one lets what is in work end. The second one ends the process
//! within a second, whatever its threads do: it is a thread of its own that
//! counts them, which waits for nothing but the pipe that the handler of the
//! signals writes to. A runtime would see none of them while its threads are
//! busy, or wait for a log that nobody reads.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level;
use tokio::sync::watch;

/// How long after the second signal the process may end by itself.
const LAST: Duration = Duration::from_millis(700);
/// What it ends with after that.
const FAILURE: i32 = 1;

/// SIGTERM and SIGINT, counted from here on.
#[derive(Clone, Debug)]
pub struct Signals {
    times: watch::Receiver<u32>,
}

impl Signals {
    /// Takes these signals over, for the life of the process. No runtime is
    /// needed yet: what comes before there is one is counted.
    ///
    /// # Errors
    /// When the system has no pipe, handler or thread for it.
    pub fn take_over() -> io::Result<Self> {
        let (signals, handler) = UnixStream::pair()?;
        let (count, times) = watch::channel(0);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || count_them(signals, &count))?;
        for signal in [SIGTERM, SIGINT] {
            // A byte for each: none is lost while the thread has not looked.
            low_level::pipe::register(signal, handler.try_clone()?)?;
        }
        Ok(Self { times })
    }

    /// Returns when so many have come.
    pub async fn came(&mut self, times: u32) {
        let enough = self.times.wait_for(|came| *came >= times);
        if enough.await.is_err() {
            // The thread is gone: nothing comes any more.
            std::future::pending::<()>().await;
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "this thread belongs to no runtime, and must not need one"
)]
fn count_them(mut signals: UnixStream, count: &watch::Sender<u32>) {
    let mut one = [0];
    while signals.read_exact(&mut one).is_ok() {
        count.send_modify(|times| *times = times.saturating_add(1));
        if *count.borrow() >= 2 {
            std::thread::sleep(LAST);
            // No destructor, and nothing that another thread may hold: the log
            // has a lock.
            low_level::exit(FAILURE);
        }
    }
}
