//! Threads, and work that blocks one.

use std::io;

#[cfg(test)]
use super::in_check;

#[cfg(not(test))]
pub(crate) use std::thread::JoinHandle;

/// A thread, to be waited for.
#[cfg(test)]
#[derive(Debug)]
pub(crate) enum JoinHandle<T> {
    Plain(std::thread::JoinHandle<T>),
    Checked(shuttle::thread::JoinHandle<T>),
}

#[cfg(test)]
impl<T> JoinHandle<T> {
    pub(crate) fn join(self) -> std::thread::Result<T> {
        match self {
            Self::Plain(thread) => thread.join(),
            Self::Checked(thread) => thread.join(),
        }
    }
}

/// Starts a thread of this name.
pub(crate) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let name = name.to_owned();
    #[cfg(test)]
    {
        if in_check() {
            let thread = shuttle::thread::Builder::new().name(name).spawn(work);
            return thread.map(JoinHandle::Checked);
        }
        let thread = std::thread::Builder::new().name(name).spawn(work);
        thread.map(JoinHandle::Plain)
    }
    #[cfg(not(test))]
    std::thread::Builder::new().name(name).spawn(work)
}

/// Does work that blocks the thread, on one of those that are for that. `None`
/// when it panics, or the runtime ends.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    #[cfg(test)]
    if in_check() {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}
