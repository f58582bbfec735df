//! Reading the bytes of one range, in order: reads resume where they broke
//! ([API §F]).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;

use super::download::{Downloads, Target};
use super::segments::Segments;
use super::wait::{Connection, Connections};
use crate::fichier::{Download, Error, Kind, Scope};

/// Failures in a row, without a byte in between, before a read fails.
const FAILURES: u32 = 5;
/// New tokens in a row ([API §J26]).
const NEW_TOKENS: u32 = 2;

/// The bytes of one range, over one connection or several.
#[derive(Debug)]
pub struct Reader(Way);

#[derive(Debug)]
enum Way {
    One {
        stretch: Box<Stretch>,
        connections: Arc<Connections>,
        /// Its own, while it reads.
        connection: Option<Connection>,
    },
    Many(Box<Segments<Stretch>>),
}

impl Reader {
    pub(super) fn one(stretch: Stretch, connections: Arc<Connections>) -> Self {
        Self(Way::One {
            stretch: Box::new(stretch),
            connections,
            connection: None,
        })
    }

    pub(super) fn many(segments: Segments<Stretch>) -> Self {
        Self(Way::Many(Box::new(segments)))
    }

    /// The next bytes; `None` at the end of the range. Waits for a connection
    /// before the first.
    ///
    /// # Errors
    /// When 1Fichier refuses, five attempts in a row brought nothing, or no
    /// connection was free for half an hour.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match &mut self.0 {
            Way::One {
                stretch,
                connections,
                connection,
            } => {
                if connection.is_none() {
                    *connection = Some(connections.wait().await?);
                }
                stretch.next().await
            }
            Way::Many(segments) => segments.next().await,
        }
    }

    /// Gives its connections to others; the next bytes need new ones.
    pub fn park(&mut self) {
        match &mut self.0 {
            Way::One {
                stretch,
                connection,
                ..
            } => {
                stretch.open = None;
                *connection = None;
            }
            Way::Many(segments) => segments.park(),
        }
    }

    /// Whether others wait for a connection.
    pub fn is_in_the_way(&self) -> bool {
        match &self.0 {
            Way::One {
                connections,
                connection,
                ..
            } => connection.is_some() && connections.are_wanted(),
            Way::Many(segments) => segments.is_in_the_way(),
        }
    }
}

/// A range that is read over one connection. It resumes by itself.
#[derive(Debug)]
pub(super) struct Stretch {
    downloads: Arc<Downloads>,
    scope: Scope,
    target: Target,
    /// What was not read yet.
    range: Range<u64>,
    size: u64,
    open: Option<Download>,
    token: Option<Url>,
    failures: u32,
    new_tokens: u32,
}

impl Stretch {
    pub(super) fn new(
        downloads: Arc<Downloads>,
        scope: Scope,
        target: Target,
        range: Range<u64>,
        size: u64,
    ) -> Self {
        Self {
            downloads,
            scope,
            target,
            range,
            size,
            open: None,
            token: None,
            failures: 0,
            new_tokens: 0,
        }
    }

    /// The next bytes; `None` at the end of the range.
    ///
    /// # Errors
    /// When 1Fichier refuses, or five attempts in a row brought nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.range.start < self.range.end {
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
                        self.range.start += bytes.len() as u64;
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
        let Range { start, end } = self.range;
        self.downloads
            .client
            .download(&token, start, end - start, self.size)
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
        tracing::info!(%error, at = self.range.start, "a download broke; resuming");
        Ok(())
    }
}
