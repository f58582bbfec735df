//! How much is stored, and facts about the account.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Remote;
use crate::catalog::Catalog;
use crate::clock::Moment;
use crate::error::Result;
use crate::fichier::{Scope, UserInfo};

/// 1Fichier answers once in 5 minutes ([API §19]).
const MEMORY: Duration = Duration::from_secs(301);

/// The name of what is remembered across restarts.
const FACT: &str = "user_info";

/// What was told, and when.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) info: UserInfo,
    as_of: Moment,
}

impl Known {
    /// What an earlier run was told.
    pub(super) fn remembered(catalog: &Catalog) -> Option<Self> {
        let (as_of, text) = catalog.fact(FACT)?;
        Some(Self {
            info: serde_json::from_str(&text).ok()?,
            as_of,
        })
    }
}

/// An account's storage figures.
#[derive(Clone, Debug)]
pub struct Quota {
    /// Bytes that it may hold.
    pub total: Option<i64>,
    /// Bytes that it holds.
    pub used: Option<i64>,
    /// Bytes that it may still take.
    pub free: Option<i64>,
    /// Facts for display.
    pub account: BTreeMap<&'static str, String>,
    /// When 1Fichier was asked.
    pub as_of: Moment,
}

/// The name of a plan ([API §B]).
pub(super) fn plan(offer: i64) -> String {
    match offer {
        0 => "Free".to_owned(),
        1 => "Premium".to_owned(),
        2 => "Access".to_owned(),
        3 => "Premium GOLD".to_owned(),
        other => format!("plan {other}"),
    }
}

impl Remote {
    /// What user/info tells, remembered for 5 minutes.
    pub(super) async fn user(&self, scope: Scope) -> Result<Known> {
        // Held while asking: all who come meanwhile get the same answer.
        let mut known = self.account.user.lock().await;
        if let Some(known) = &*known
            && self.account.clock.age(known.as_of) < MEMORY
        {
            return Ok(known.clone());
        }
        let as_of = self.account.clock.moment();
        match self.account.client.user_info(scope).await {
            Ok(info) => {
                if let Ok(text) = serde_json::to_string(&info) {
                    self.account.catalog.remember_fact(FACT, text, as_of.time);
                }
                Ok(known.insert(Known { info, as_of }).clone())
            }
            Err(error) => match &*known {
                // Old figures with their date are better than none.
                Some(known) if error.is_transient() => Ok(known.clone()),
                _ => Err(error.into()),
            },
        }
    }

    /// The account's storage figures.
    pub async fn about(&self, scope: Scope) -> Result<Quota> {
        let Known { info, as_of, .. } = self.user(scope).await?;
        let used = match (info.hot_storage, info.cold_storage) {
            (None, None) => None,
            (hot, cold) => Some(hot.unwrap_or(0) + cold.unwrap_or(0)),
        };
        // `available_*` is what is left, negative when over quota ([API §19]).
        let free = info
            .available_storage
            .or(info.available_cold_storage)
            .map(|left| left.max(0));
        let total = info
            .default_quota
            .filter(|quota| *quota > 0)
            .or(info.allowed_cold_storage.filter(|quota| *quota > 0))
            .or_else(|| Some(used? + free?));
        let mut account = BTreeMap::new();
        let mut tell = |name: &'static str, value: Option<String>| {
            if let Some(value) = value {
                account.insert(name, value);
            }
        };
        tell("plan", info.offer.map(plan));
        tell(
            "subscription_end",
            info.subscription_end.and_then(|at| {
                jiff::Timestamp::from_second(at)
                    .ok()
                    .map(|at| at.to_string())
            }),
        );
        tell(
            "hot_storage_bytes",
            info.hot_storage.map(|bytes| bytes.to_string()),
        );
        tell(
            "cold_storage_bytes",
            info.cold_storage.map(|bytes| bytes.to_string()),
        );
        tell("cdn_credits_gb", info.cdn);
        tell("over_quota", info.over_quota.then(|| "1".to_owned()));
        tell(
            "upload_forbidden",
            info.upload_forbidden.then(|| "1".to_owned()),
        );
        Ok(Quota {
            total,
            used,
            free,
            account,
            as_of,
        })
    }
}
