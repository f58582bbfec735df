//! A call of an HTTP face: who makes it, to which remote, and how long it may
//! take.

use std::time::Duration;

use tokio::time::Instant;

use crate::access::{Act, Caller};
use crate::backend::{Remote, Remotes};
use crate::error::Error;
use crate::fichier::{Priority, Scope};

/// HTTP callers do not tell how long they wait. rclone and restic give up after
/// five minutes without a byte.
pub const ANSWER: Duration = Duration::from_secs(280);

/// The scope of a call that begins now.
pub fn scope(priority: Priority) -> Scope {
    Scope {
        priority,
        deadline: Instant::now().checked_add(ANSWER),
    }
}

/// Who calls, and which remote.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who.
    pub caller: Caller,
    /// Which remote.
    pub remote: Remote,
}

impl Call {
    /// A call to the remote of this name.
    ///
    /// # Errors
    /// PREFIX_FORBIDDEN, REMOTE_NOT_FOUND.
    pub fn new(caller: Caller, remotes: &Remotes, name: &str) -> Result<Self, Error> {
        // A name that no remote has is refused like one of another remote.
        if !name.is_empty() {
            caller.check(Act::Read, name, &[])?;
        }
        let remote = remotes.get(name)?.clone();
        caller.check(Act::Read, remote.name(), &[])?;
        Ok(Self { caller, remote })
    }

    /// Whether the caller may do this to these paths.
    ///
    /// # Errors
    /// PREFIX_FORBIDDEN, READ_ONLY.
    pub fn check(&self, act: Act, paths: &[&str]) -> Result<(), Error> {
        self.caller.check(act, self.remote.name(), paths)
    }
}
