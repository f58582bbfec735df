//! "Test connection": does a remote work, and if not, which step fails?

use std::time::Duration;

use tokio::time::Instant;

use super::about::plan;
use super::path::RemotePath;
use super::{Begun, PutOptions, ReadOptions, Remote};
use crate::error::{Error, Reason, Result};
use crate::fichier::{ROOT, Scope, UserInfo};

/// How a check ended.
#[derive(Clone, Debug)]
pub enum CheckState {
    /// It works.
    Passed,
    /// It does not.
    Failed(Error),
    /// It was not tried.
    Skipped(Error),
}

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// How it ended.
    pub state: CheckState,
    /// How long it took.
    pub elapsed: Duration,
}

fn skipped(why: &str) -> CheckState {
    CheckState::Skipped(Error::new(Reason::InternalError, why))
}

impl Remote {
    /// Checks step by step: reachable, credentials, plan, list, write. What
    /// cannot work after a failure is skipped. The list of a shared folder needs
    /// no key, but its files do.
    pub async fn test_connection(&self, scope: Scope, check_write: bool) -> Vec<Check> {
        let start = Instant::now();
        let user = self.user(scope).await;
        let elapsed = start.elapsed();
        let check = |name, state, elapsed| Check {
            name,
            state,
            elapsed,
        };
        let failure = user.as_ref().err();
        let reason = failure.map(Error::reason);
        let mut checks = Vec::new();

        let unreachable = matches!(
            reason,
            Some(Reason::UpstreamUnavailable | Reason::UpstreamProtocol)
        );
        checks.push(match failure {
            Some(error) if unreachable => {
                check("reachable", CheckState::Failed(error.clone()), elapsed)
            }
            _ => check("reachable", CheckState::Passed, elapsed),
        });
        let refused = reason == Some(Reason::UpstreamCredentialsRejected);
        let locked = reason == Some(Reason::UpstreamLocked);
        checks.push(match failure {
            Some(error) if refused => {
                check("credentials", CheckState::Failed(error.clone()), elapsed)
            }
            _ if unreachable => check(
                "credentials",
                skipped("1Fichier cannot be reached"),
                Duration::ZERO,
            ),
            Some(_) if locked => check(
                "credentials",
                skipped("1Fichier tells nothing about the account now"),
                Duration::ZERO,
            ),
            _ => check("credentials", CheckState::Passed, Duration::ZERO),
        });
        checks.push(match &user {
            Ok(known) => check(
                "plan",
                plan_state(&known.info, self.is_read_only()),
                Duration::ZERO,
            ),
            Err(_) if unreachable || refused || locked => check(
                "plan",
                skipped("1Fichier tells nothing about the account now"),
                Duration::ZERO,
            ),
            Err(error) => check("plan", CheckState::Failed(error.clone()), Duration::ZERO),
        });

        let start = Instant::now();
        let list = if (unreachable || refused) && !self.is_read_only() {
            skipped("the account cannot be used")
        } else {
            // A listing is allowed once in 30 s; one from before is as good.
            match self
                .snapshot(scope, ROOT, Some(Duration::from_secs(60)))
                .await
            {
                Ok(_) => CheckState::Passed,
                Err(error) => CheckState::Failed(error),
            }
        };
        let can_list = matches!(list, CheckState::Passed);
        checks.push(check("list", list, start.elapsed()));

        let start = Instant::now();
        let write = match (check_write, can_list) {
            (false, _) => skipped("not asked for"),
            (true, _) if self.is_read_only() => {
                skipped("the remote shows a shared folder, which cannot be changed")
            }
            (true, false) => skipped("the account cannot be used"),
            (true, true) => match self.probe(scope).await {
                Ok(()) => CheckState::Passed,
                Err(error) => CheckState::Failed(error),
            },
        };
        checks.push(check("write", write, start.elapsed()));
        checks
    }

    /// Stores, reads back and removes a small file.
    async fn probe(&self, scope: Scope) -> Result<()> {
        let name = format!(".pluton-fichier-test-{}", uuid::Uuid::new_v4().simple());
        let path = RemotePath::parse(&name)?;
        let content = bytes::Bytes::from(name.clone().into_bytes());
        let size = content.len() as u64;
        let options = PutOptions {
            size: Some(size),
            ..PutOptions::default()
        };
        let Begun::Session(mut session) = self.put(scope, &path, options).await? else {
            return Err(Error::internal("a write without a request id was replayed"));
        };
        session.write(content.clone()).await?;
        session.commit(scope, size, &[]).await?;
        let outcome = self.read_back(scope, &path, &content).await;
        let removed = self
            .delete(
                scope,
                &[super::DeleteTarget {
                    path,
                    if_match: None,
                    every: false,
                }],
                true,
            )
            .await
            .and_then(|results| results.into_iter().collect::<Result<Vec<_>>>());
        outcome.and(removed.map(drop))
    }

    async fn read_back(&self, scope: Scope, path: &RemotePath, content: &[u8]) -> Result<()> {
        let mut read = self
            .read(
                scope,
                path,
                ReadOptions {
                    verify: true,
                    ..ReadOptions::default()
                },
            )
            .await?;
        let mut back = Vec::new();
        while let Some(piece) = read.next().await? {
            back.extend_from_slice(&piece.data);
        }
        read.finish().await?;
        if back == content {
            return Ok(());
        }
        Err(Error::new(
            Reason::StoredContentCorrupt,
            "a test file came back with another content",
        )
        .at(path.as_str()))
    }
}

fn plan_state(info: &UserInfo, read_only: bool) -> CheckState {
    let credits = info.cdn.as_deref().and_then(|credits| credits.parse().ok());
    match info.offer {
        // Downloads are all that a shared folder needs, and credits are enough
        // for them ([API §B]).
        Some(0) if read_only && credits.is_some_and(|credits: f64| credits > 0.0) => {
            CheckState::Passed
        }
        Some(0) => CheckState::Failed(Error::new(
            Reason::UpstreamPlanRequired,
            format!(
                "the account's plan is {}; 1Fichier's API needs Premium or Access",
                plan(0)
            ),
        )),
        _ if info.upload_forbidden && !read_only => CheckState::Failed(Error::new(
            Reason::UpstreamAccessDenied,
            "1Fichier forbids uploads to this account; look at its console",
        )),
        _ => CheckState::Passed,
    }
}
