//! What came of the requests to 1Fichier, counted for who watches.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::error::Error;
use crate::spans;

/// The outcome of a request that was answered as wished.
const OK: &str = "ok";

/// Requests of one kind with one outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// How many.
    pub count: u64,
    /// How long all of them took together, until the answer.
    pub time: Duration,
}

/// By endpoint and outcome. Both are few: they stand in this program.
pub type Requested = BTreeMap<(&'static str, &'static str), Requests>;

/// The requests made with one key.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Requested>);

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Requested> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a request, which is a part of this span, and counts it.
    pub(super) async fn ask<T>(
        &self,
        endpoint: &'static str,
        span: Span,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let outcome = request.instrument(span.clone()).await;
        let name = outcome.as_ref().err().map_or(OK, |e| e.kind().as_str());
        spans::ended(&span, name);
        self.count(endpoint, began, name);
        outcome
    }

    /// A request ended that began at that time.
    fn count(&self, endpoint: &'static str, began: Instant, name: &'static str) {
        let mut requested = self.lock();
        let requests = requested.entry((endpoint, name)).or_default();
        requests.count += 1;
        requests.time += began.elapsed();
    }

    /// All so far.
    pub(super) fn requested(&self) -> Requested {
        self.lock().clone()
    }
}
