//! Callers that do not wait for ever: what they learn, and when.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::Remote;
use crate::error::{Error, Result};
use crate::fichier::Scope;

/// Why a caller gets no result.
#[derive(Debug)]
pub enum Ended {
    /// The operation failed.
    Failed(Error),
    /// The time of the caller is over.
    Expired,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// How long an operation may take that needs no call: what is known is told
/// while the account is locked, too.
const KNOWN: Duration = Duration::from_millis(500);

impl Remote {
    /// Runs an operation until the caller's deadline. A lock of the account
    /// that lasts longer is told soon.
    ///
    /// # Errors
    /// What the operation fails with, UPSTREAM_LOCKED, or the deadline.
    pub async fn within<T>(
        &self,
        scope: Scope,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T, Ended> {
        tokio::select! {
            biased;
            result = work => Ok(result?),
            error = self.long_locked_out(scope) => Err(error.into()),
            () = expired(scope) => Err(Ended::Expired),
        }
    }

    /// Ends when the account is locked for longer than the caller waits.
    async fn long_locked_out(&self, scope: Scope) -> Error {
        let left = scope
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()) / 2);
        tokio::time::sleep(left.unwrap_or(KNOWN).min(KNOWN)).await;
        self.locked_out(scope).await
    }
}

/// Runs work until the caller's deadline: work that does not stop when the
/// account is locked, because transfers go on.
///
/// # Errors
/// What the work fails with, or the deadline.
pub async fn until_deadline<T, E: Into<Ended>>(
    scope: Scope,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Ended> {
    tokio::select! {
        biased;
        result = work => result.map_err(Into::into),
        () = expired(scope) => Err(Ended::Expired),
    }
}

async fn expired(scope: Scope) {
    match scope.deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
