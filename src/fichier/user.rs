//! What 1Fichier tells about the account ([API §19]).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::budget::{Rule, Scope};
use super::error::Error;
use super::lenient::{Flag, Int, Text};
use super::secret::account_fingerprint;
use super::{Client, Repeat, time};

/// What user/info tells about the account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
// What an earlier version remembered lacks some.
#[serde(default)]
pub struct UserInfo {
    /// Plan: 0 free, 1 Premium, 2 Access, 3 Premium GOLD ([API §19]).
    pub offer: Option<i64>,
    /// End of the subscription, seconds since the Unix epoch.
    pub subscription_end: Option<i64>,
    /// Bytes used and recently accessed.
    pub hot_storage: Option<i64>,
    /// Bytes used and not accessed for 60 days.
    pub cold_storage: Option<i64>,
    /// When these were counted, seconds since the Unix epoch.
    pub stats_time: Option<i64>,
    /// Bytes that the account may hold.
    pub default_quota: Option<i64>,
    /// Bytes beside these that were bought for a while.
    pub extended_quota: Option<i64>,
    /// Until when, seconds since the Unix epoch.
    pub extended_quota_end: Option<i64>,
    /// Bytes of cold storage that it may hold.
    pub allowed_cold_storage: Option<i64>,
    /// Bytes left; negative when exceeded.
    pub available_storage: Option<i64>,
    /// Bytes of cold storage left; negative when exceeded.
    pub available_cold_storage: Option<i64>,
    /// Over quota.
    pub over_quota: bool,
    /// Uploads are refused.
    pub upload_forbidden: bool,
    /// CDN credits in GB, as told.
    pub cdn: Option<String>,
    /// Tells one account from another, whatever keys open it: a hash of its
    /// address.
    pub account: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawUser {
    email: Text,
    offer: Int,
    subscription_end: Text,
    hot_storage: Int,
    cold_storage: Int,
    default_quota: Int,
    extended_quota: Text,
    extended_quota_end: Text,
    stats_date: Text,
    allowed_cold_storage: Int,
    available_storage: Int,
    available_cold_storage: Int,
    overquota: Flag,
    upload_forbidden: Flag,
    cdn: Text,
}

impl From<RawUser> for UserInfo {
    fn from(raw: RawUser) -> Self {
        let date = |text: Text| text.0.as_deref().and_then(time::parse);
        // The extension is told in TB, all else in bytes ([API §19]).
        let terabytes = |text: Text| text.0?.trim().parse::<f64>().ok();
        Self {
            offer: raw.offer.0,
            subscription_end: date(raw.subscription_end),
            stats_time: date(raw.stats_date),
            extended_quota: terabytes(raw.extended_quota)
                .filter(|terabytes| *terabytes > 0.0)
                .map(|terabytes| (terabytes * 1e12) as i64),
            extended_quota_end: date(raw.extended_quota_end),
            hot_storage: raw.hot_storage.0,
            cold_storage: raw.cold_storage.0,
            default_quota: raw.default_quota.0,
            allowed_cold_storage: raw.allowed_cold_storage.0,
            available_storage: raw.available_storage.0,
            available_cold_storage: raw.available_cold_storage.0,
            over_quota: raw.overquota.0,
            upload_forbidden: raw.upload_forbidden.0,
            cdn: raw.cdn.0,
            account: None,
        }
    }
}

impl Client {
    /// How long until 1Fichier may be asked about the account.
    pub fn user_info_allowed_in(&self) -> Duration {
        self.budget.allowed_in(Rule::UserInfo)
    }

    /// Facts about the account. Allowed once in 5 minutes.
    pub async fn user_info(&self, scope: Scope) -> Result<UserInfo, Error> {
        let mut raw: RawUser = self
            .call(scope, Rule::UserInfo, "user/info", &json!({}), Repeat::Safe)
            .await?;
        let email = raw.email.0.take();
        let account = email.and_then(|email| account_fingerprint(&self.hosts, &email));
        Ok(UserInfo {
            account,
            ..raw.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fichier::lenient;

    #[test]
    fn figures_of_the_account_come_in_any_type() {
        let user = |text: &str| -> UserInfo {
            lenient::parse::<RawUser>("test", text.as_bytes())
                .unwrap()
                .into()
        };
        let plain = user(
            r#"{"offer":"1","hot_storage":5,"available_storage":-7,"overquota":1,"upload_forbidden":"0",
                "extended_quota":0.5,"extended_quota_end":"2026-01-05 14:02:11","stats_date":"2021-06-22 14:57:25","cdn":2.5}"#,
        );
        let strings = user(
            r#"{"offer":1,"hot_storage":"5","available_storage":"-7","overquota":"1","cold_storage":null,
                "extended_quota":"0.5","extended_quota_end":"2026-01-05 14:02:11","stats_date":"2021-06-22 14:57:25","cdn":"2.5"}"#,
        );
        assert_eq!(plain, strings);
        assert_eq!(plain.available_storage, Some(-7));
        assert_eq!(plain.extended_quota, Some(500_000_000_000));
        assert_eq!(plain.stats_time, Some(1_624_366_645));
        assert!(plain.over_quota && !plain.upload_forbidden);
        assert_eq!(user("{}"), UserInfo::default());
    }
}
