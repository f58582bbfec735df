//! Downloads: tokens that are used again, and a limited number of connections
//! ([API §F]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};
use reqwest::Url;
use tokio::time::Instant;
use tracing::Span;

use super::reader::{Reader, Stretch};
use super::segments::{Plan, Segments};
use super::wait::Connections;
use crate::fichier::{Access, Client, Error, Kind, Scope};
use crate::spans::Joinable;

/// A token may be used for 5 minutes; the margin is for clocks.
const TOKEN_LIFE: Duration = Duration::from_secs(280);
/// Tokens remembered at the most.
const TOKENS: usize = 10_000;
/// How long a file that was refused is not asked for again: repeated refusals
/// lead to a ban ([API §1.1]).
const REFUSAL_MEMORY: Duration = Duration::from_secs(300);

type Flight = BoxFuture<'static, Result<Url, Error>>;

/// A file, and how it is read: what one remote may read, another with another
/// password may not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its link.
    pub file: String,
    /// Password and credits.
    pub access: Access,
}

/// Download URLs by file.
#[derive(Debug, Default)]
struct Tokens {
    /// With when they were issued.
    known: HashMap<Target, (Url, Instant)>,
    /// Those that were refused, and when.
    refused: HashMap<Target, (Error, Instant)>,
    /// Those that are being asked for.
    asked: HashMap<Target, (WeakShared<Flight>, Joinable)>,
}

impl Tokens {
    /// Makes room for one more of each.
    fn trim(&mut self) {
        trim(&mut self.known, TOKEN_LIFE);
        trim(&mut self.refused, REFUSAL_MEMORY);
        if self.asked.len() >= TOKENS {
            self.asked.retain(|_, (asked, _)| asked.upgrade().is_some());
        }
    }
}

fn trim<T>(known: &mut HashMap<Target, (T, Instant)>, life: Duration) {
    if known.len() >= TOKENS {
        known.retain(|_, (_, since)| since.elapsed() < life);
    }
    if known.len() >= TOKENS {
        known.clear();
    }
}

/// How much is read at a time.
#[derive(Clone, Debug)]
pub struct DownloadLimits {
    /// Connections to download servers at once.
    pub connections: usize,
    /// Segments of one file that are read at the same time.
    pub segments: usize,
    /// Bytes of one segment. A shorter range is read over one connection.
    pub segment_bytes: u64,
}

impl Default for DownloadLimits {
    fn default() -> Self {
        Self {
            connections: 16,
            segments: 1,
            segment_bytes: 16 << 20,
        }
    }
}

/// The downloads of one account.
#[derive(Debug)]
pub struct Downloads {
    pub(super) client: Arc<Client>,
    tokens: Mutex<Tokens>,
    limits: DownloadLimits,
    connections: Arc<Connections>,
}

impl Downloads {
    /// Downloads through this client.
    pub fn new(client: Arc<Client>, limits: DownloadLimits) -> Arc<Self> {
        Arc::new(Self {
            client,
            tokens: Mutex::default(),
            connections: Connections::new("download", limits.connections),
            limits,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token of the file. All that need one at the same time wait for one
    /// call and share its outcome: ten questions for a file that is gone would
    /// lead to a ban ([API §1.1]).
    pub(super) async fn token(
        self: &Arc<Self>,
        scope: Scope,
        target: &Target,
    ) -> Result<Url, Error> {
        let (flight, joined) = {
            let mut tokens = self.lock();
            if let Some((token, issued)) = tokens.known.get(target)
                && issued.elapsed() < TOKEN_LIFE
            {
                return Ok(token.clone());
            }
            if let Some((error, since)) = tokens.refused.get(target)
                && since.elapsed() < REFUSAL_MEMORY
            {
                return Err(error.clone());
            }
            let asked = tokens.asked.get(target);
            let asked = asked.and_then(|(asked, joinable)| Some((asked.upgrade()?, joinable)));
            match asked {
                Some((flight, joinable)) => (flight, Some(joinable.clone())),
                None => {
                    let ask = Arc::clone(self).ask(scope, target.clone());
                    let (joinable, ask) = Joinable::new(Span::current(), ask);
                    let flight = ask.boxed().shared();
                    if let Some(weak) = flight.downgrade() {
                        tokens.asked.insert(target.clone(), (weak, joinable));
                    }
                    (flight, None)
                }
            }
        };
        if let Some(joined) = joined {
            joined.join();
        }
        tokio::select! {
            biased;
            token = flight => token,
            error = self.client.budget().locked_out(scope) => Err(error),
        }
    }

    /// Asks on behalf of all that wait. It has no deadline of its own: each
    /// caller stops waiting at its own.
    async fn ask(self: Arc<Self>, scope: Scope, target: Target) -> Result<Url, Error> {
        let scope = Scope {
            deadline: None,
            ..scope
        };
        let issued = Instant::now();
        let token = self
            .client
            .download_token(scope, &target.file, &target.access)
            .await;
        let mut tokens = self.lock();
        tokens.asked.remove(&target);
        tokens.trim();
        match &token {
            Ok(token) => {
                tokens.refused.remove(&target);
                tokens.known.insert(target, (token.clone(), issued));
            }
            Err(error)
                if error.is_about_password()
                    || matches!(error.kind(), Kind::Access | Kind::NotFound) =>
            {
                let refused = (error.clone(), Instant::now());
                tokens.refused.insert(target, refused);
            }
            Err(_) => {}
        }
        token
    }

    /// A refusal of late does not count any more: the file may be known by now.
    pub fn ask_again(&self, target: &Target) {
        self.lock().refused.remove(target);
    }

    /// Forgets a token, unless another reader has a new one already.
    pub(super) fn forget(&self, target: &Target, used: Option<&Url>) {
        let known = &mut self.lock().known;
        if known.get(target).map(|(token, _)| token) == used {
            known.remove(target);
        }
    }

    /// Reads `length` bytes from `offset` of a file of `size` bytes. Nothing is
    /// asked for before the first bytes are.
    pub fn read(
        self: &Arc<Self>,
        scope: Scope,
        target: Target,
        offset: u64,
        length: u64,
        size: u64,
    ) -> Reader {
        let connections = Arc::clone(&self.connections);
        let DownloadLimits {
            segments,
            segment_bytes,
            ..
        } = self.limits;
        let range = offset..offset + length;
        let downloads = Arc::clone(self);
        let open =
            move |range| Stretch::new(Arc::clone(&downloads), scope, target.clone(), range, size);
        if segments > 1 && length > segment_bytes {
            let plan = Plan::new(segments, segment_bytes);
            Reader::many(Segments::new(open, connections, plan, range))
        } else {
            Reader::one(open(range), connections)
        }
    }
}
