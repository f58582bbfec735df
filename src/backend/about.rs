//! How much is stored, and facts about the account.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Account, Login, Remote};
use crate::catalog::Catalog;
use crate::clock::{Moment, to_millis};
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
    pub(super) as_of: Moment,
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

    /// Whether the other one was told later.
    pub(super) fn is_older(&self, other: &Self) -> bool {
        self.as_of.time < other.as_of.time
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

impl Login {
    /// What 1Fichier told last, if anybody asked; it is not asked now.
    pub(super) fn quota(&self) -> Option<Quota> {
        self.user().clone().map(quota)
    }
}

impl Account {
    /// 1Fichier has told whose account it is: perhaps to a shared folder that
    /// is read with the same key, or to an earlier run.
    fn is_known_as(&self, known: &Known) {
        if let Some(account) = &known.info.account
            && !self.is_shared()
        {
            self.catalog.identify(account);
        }
    }
}

impl Remote {
    /// What user/info tells, remembered for 5 minutes.
    pub(super) async fn user(&self, scope: Scope) -> Result<Known> {
        // Held while asking: all who come meanwhile get the same answer.
        let login = &self.account.login;
        let _turn = login.asking.lock().await;
        let known = login.user().clone();
        if let Some(known) = &known
            && self.account.clock.age(known.as_of) < MEMORY
        {
            self.account.is_known_as(known);
            return Ok(known.clone());
        }
        let as_of = self.account.clock.moment();
        match self.account.client.user_info(scope).await {
            Ok(info) => {
                if let Ok(text) = serde_json::to_string(&info) {
                    self.account.catalog.remember_fact(FACT, text, as_of.time);
                }
                let known = Known { info, as_of };
                self.account.is_known_as(&known);
                *login.user() = Some(known.clone());
                Ok(known)
            }
            Err(error) => match known {
                // Old figures with their date are better than none.
                Some(known) if error.is_transient() => Ok(known),
                _ => Err(error.into()),
            },
        }
    }

    /// The account's storage figures.
    pub async fn about(&self, scope: Scope) -> Result<Quota> {
        Ok(quota(self.user(scope).await?))
    }
}

/// What the figures mean. Any may be missing; `available_*` is what is left,
/// negative when more is stored than allowed ([API §19]).
fn quota(Known { info, as_of }: Known) -> Quota {
    let used = match (info.hot_storage, info.cold_storage) {
        (None, None) => None,
        (hot, cold) => Some(hot.unwrap_or(0).saturating_add(cold.unwrap_or(0)).max(0)),
    };
    let asked = to_millis(as_of.time).div_euclid(1_000);
    let extended = info
        .extended_quota
        .filter(|_| info.extended_quota_end.is_none_or(|end| end > asked))
        .unwrap_or(0);
    // No quota is told as 0.
    let allowed = |quota: Option<i64>| quota.filter(|quota| *quota > 0);
    let mut total = allowed(info.default_quota).map(|quota| quota.saturating_add(extended));
    let mut left = info.available_storage;
    if total.is_none() && left.is_none() {
        // Cold storage is where files end, and better than nothing.
        total = allowed(info.allowed_cold_storage);
        left = info.available_cold_storage;
    }
    let free = match (left, total, used) {
        (Some(left), ..) if left > 0 => Some(left),
        (Some(_), Some(_), _) => Some(0),
        (Some(_), None, _) if info.over_quota => Some(0),
        // Nothing left of no quota tells nothing.
        (Some(_), None, _) => None,
        (None, Some(total), Some(used)) => Some(total.saturating_sub(used).max(0)),
        (None, ..) => None,
    };
    let total = total.or_else(|| Some(used?.saturating_add(free?)));
    let mut account = BTreeMap::new();
    let mut tell = |name: &'static str, value: Option<String>| {
        if let Some(value) = value {
            account.insert(name, value);
        }
    };
    let moment = |seconds: Option<i64>| {
        let moment = jiff::Timestamp::from_second(seconds?).ok()?;
        Some(moment.to_string())
    };
    let bytes = |bytes: Option<i64>| bytes.map(|bytes| bytes.to_string());
    tell("plan", info.offer.map(plan));
    tell("subscription_end", moment(info.subscription_end));
    tell("statistics_time", moment(info.stats_time));
    tell("hot_storage_bytes", bytes(info.hot_storage));
    tell("cold_storage_bytes", bytes(info.cold_storage));
    tell("cdn_credits_gb", info.cdn);
    tell("over_quota", info.over_quota.then(|| "1".to_owned()));
    tell(
        "over_quota_bytes",
        bytes(left.filter(|left| *left < 0).map(i64::saturating_abs)),
    );
    tell(
        "upload_forbidden",
        info.upload_forbidden.then(|| "1".to_owned()),
    );
    Quota {
        total,
        used,
        free,
        account,
        as_of,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::from_millis;

    fn told(change: impl FnOnce(&mut UserInfo)) -> (Option<i64>, Option<i64>, Option<i64>) {
        let mut info = UserInfo::default();
        change(&mut info);
        let as_of = Moment::remembered(from_millis(1_700_000_000_000));
        let quota = quota(Known { info, as_of });
        (quota.total, quota.used, quota.free)
    }

    #[test]
    fn figures_of_every_completeness() {
        let full = |info: &mut UserInfo| {
            info.hot_storage = Some(30);
            info.cold_storage = Some(20);
            info.default_quota = Some(100);
            info.available_storage = Some(50);
            // What rclone takes for total and free.
            info.allowed_cold_storage = Some(1_000);
            info.available_cold_storage = Some(980);
        };
        type Case = (fn(&mut UserInfo), [Option<i64>; 3]);
        let cases: [Case; 10] = [
            (|_| (), [Some(100), Some(50), Some(50)]),
            (
                |info| info.hot_storage = None,
                [Some(100), Some(20), Some(50)],
            ),
            (
                |info| info.available_storage = None,
                [Some(100), Some(50), Some(50)],
            ),
            (
                |info| info.available_storage = Some(-7),
                [Some(100), Some(50), Some(0)],
            ),
            (
                |info| info.default_quota = None,
                [Some(100), Some(50), Some(50)],
            ),
            (
                |info| (info.default_quota, info.available_storage) = (Some(0), Some(-50)),
                [None, Some(50), None],
            ),
            (
                |info| {
                    (info.default_quota, info.available_storage) = (None, Some(-50));
                    info.over_quota = true;
                },
                [Some(50), Some(50), Some(0)],
            ),
            (
                |info| (info.default_quota, info.available_storage) = (None, None),
                [Some(1_000), Some(50), Some(980)],
            ),
            (
                |info| {
                    info.extended_quota = Some(40);
                    info.extended_quota_end = Some(1_700_000_001);
                },
                [Some(140), Some(50), Some(50)],
            ),
            (
                |info| {
                    info.extended_quota = Some(40);
                    info.extended_quota_end = Some(1_699_999_999);
                },
                [Some(100), Some(50), Some(50)],
            ),
        ];
        for (number, (change, [total, used, free])) in cases.into_iter().enumerate() {
            let seen = told(|info| {
                full(info);
                change(info);
            });
            assert_eq!(seen, (total, used, free), "{number}");
        }
        assert_eq!(told(|_| ()), (None, None, None));
        let huge = told(|info| {
            (info.hot_storage, info.cold_storage) = (Some(i64::MAX), Some(i64::MAX));
            info.available_storage = Some(i64::MAX);
        });
        assert_eq!(huge, (Some(i64::MAX), Some(i64::MAX), Some(i64::MAX)));
    }

    #[test]
    fn what_is_exceeded_is_told() {
        let info = UserInfo {
            default_quota: Some(10),
            available_storage: Some(-5),
            subscription_end: Some(1_767_618_131),
            ..UserInfo::default()
        };
        let as_of = Moment::remembered(from_millis(0));
        let quota = quota(Known { info, as_of });
        assert_eq!(quota.account["over_quota_bytes"], "5");
        assert_eq!(quota.account["subscription_end"], "2026-01-05T13:02:11Z");
    }

    #[test]
    fn what_an_earlier_version_remembered_is_read() {
        let text = r#"{"offer":1,"subscription_end":null,"hot_storage":5,"cold_storage":0,"default_quota":9,
            "allowed_cold_storage":null,"available_storage":4,"available_cold_storage":null,
            "over_quota":false,"upload_forbidden":false,"cdn":"0"}"#;
        let info: UserInfo = serde_json::from_str(text).unwrap();
        assert_eq!((info.hot_storage, info.extended_quota), (Some(5), None));
    }
}
