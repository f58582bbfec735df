//! Downloads: tokens that are used again, and reads that resume where they
//! broke ([API §F]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};
use reqwest::Url;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::fichier::{Access, Client, Download, Error, Kind, Scope};

/// A token may be used for 5 minutes; the margin is for clocks.
const TOKEN_LIFE: Duration = Duration::from_secs(280);
/// Tokens remembered at the most.
const TOKENS: usize = 10_000;
/// How long a file that was refused is not asked for again: repeated refusals
/// lead to a ban ([API §1.1]).
const REFUSAL_MEMORY: Duration = Duration::from_secs(300);
/// Failures in a row, without a byte in between, before a read fails.
const FAILURES: u32 = 5;
/// New tokens in a row ([API §J26]).
const NEW_TOKENS: u32 = 2;

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
    asked: HashMap<Target, WeakShared<Flight>>,
}

impl Tokens {
    /// Makes room for one more of each.
    fn trim(&mut self) {
        trim(&mut self.known, TOKEN_LIFE);
        trim(&mut self.refused, REFUSAL_MEMORY);
        if self.asked.len() >= TOKENS {
            self.asked.retain(|_, asked| asked.upgrade().is_some());
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

/// The downloads of one account.
#[derive(Debug)]
pub struct Downloads {
    client: Arc<Client>,
    tokens: Mutex<Tokens>,
    connections: Arc<Semaphore>,
}

impl Downloads {
    /// Downloads through this client, over so many connections at once.
    pub fn new(client: Arc<Client>, connections: usize) -> Arc<Self> {
        Arc::new(Self {
            client,
            tokens: Mutex::default(),
            connections: Arc::new(Semaphore::new(connections)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token of the file. All that need one at the same time wait for one
    /// call and share its outcome: ten questions for a file that is gone would
    /// lead to a ban ([API §1.1]).
    async fn token(self: &Arc<Self>, scope: Scope, target: &Target) -> Result<Url, Error> {
        let flight = {
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
            let asked = tokens.asked.get(target).and_then(WeakShared::upgrade);
            asked.unwrap_or_else(|| {
                let ask = Arc::clone(self).ask(scope, target.clone());
                let flight = ask.boxed().shared();
                if let Some(weak) = flight.downgrade() {
                    tokens.asked.insert(target.clone(), weak);
                }
                flight
            })
        };
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

    /// Forgets a token, unless another reader has a new one already.
    fn forget(&self, target: &Target, used: Option<&Url>) {
        let known = &mut self.lock().known;
        if known.get(target).map(|(token, _)| token) == used {
            known.remove(target);
        }
    }

    /// Reads `length` bytes from `offset` of a file of `size` bytes. Waits for
    /// a connection.
    pub async fn read(
        self: &Arc<Self>,
        scope: Scope,
        target: Target,
        offset: u64,
        length: u64,
        size: u64,
    ) -> Reader {
        // The semaphore is never closed; a reader without a permit would only
        // be one connection more.
        let connection = Arc::clone(&self.connections).acquire_owned().await.ok();
        Reader {
            downloads: Arc::clone(self),
            scope,
            target,
            at: offset,
            end: offset + length,
            size,
            open: None,
            token: None,
            failures: 0,
            new_tokens: 0,
            _connection: connection,
        }
    }
}

/// The bytes of one range. It resumes by itself.
#[derive(Debug)]
pub struct Reader {
    downloads: Arc<Downloads>,
    scope: Scope,
    target: Target,
    at: u64,
    end: u64,
    size: u64,
    open: Option<Download>,
    token: Option<Url>,
    failures: u32,
    new_tokens: u32,
    _connection: Option<OwnedSemaphorePermit>,
}

impl Reader {
    /// The next bytes; `None` at the end of the range.
    ///
    /// # Errors
    /// When 1Fichier refuses, or five attempts in a row brought nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.at < self.end {
            let failed = match &mut self.open {
                None => match self.connect().await {
                    Ok(download) => {
                        self.open = Some(download);
                        continue;
                    }
                    Err(error) => error,
                },
                Some(download) => match download.next().await {
                    Ok(Some(bytes)) => {
                        self.at += bytes.len() as u64;
                        self.failures = 0;
                        self.new_tokens = 0;
                        return Ok(Some(bytes));
                    }
                    Ok(None) => Error::new("download", Kind::Broken, "the content ended early"),
                    Err(error) => error,
                },
            };
            self.open = None;
            self.recover(failed).await?;
        }
        Ok(None)
    }

    async fn connect(&mut self) -> Result<Download, Error> {
        let token = self.downloads.token(self.scope, &self.target).await?;
        self.token = Some(token.clone());
        self.downloads
            .client
            .download(&token, self.at, self.end - self.at, self.size)
            .await
    }

    async fn recover(&mut self, error: Error) -> Result<(), Error> {
        match error.kind() {
            Kind::Token => {
                self.downloads.forget(&self.target, self.token.as_ref());
                self.new_tokens += 1;
                if self.new_tokens > NEW_TOKENS {
                    return Err(error);
                }
            }
            Kind::Broken | Kind::NotSent | Kind::Server => {
                self.failures += 1;
                if self.failures >= FAILURES {
                    return Err(error);
                }
                // The same URL first; it may have died with the connection.
                if self.failures > 1 {
                    self.downloads.forget(&self.target, self.token.as_ref());
                }
                tokio::time::sleep(Duration::from_millis(200) * 3_u32.pow(self.failures - 1)).await;
            }
            _ => return Err(error),
        }
        tracing::info!(%error, at = self.at, "a download broke; resuming");
        Ok(())
    }
}
