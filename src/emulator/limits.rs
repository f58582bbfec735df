//! The limits of the service and the locks it answers with when they are exceeded.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::refusal::Refusal;
use super::seconds;

/// The rules of [API §1.1]. `None` turns a rule off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Calls to `/v1` per second and address, with a burst of as many.
    pub requests_per_second: Option<u32>,
    /// The least time between two listings of the same folder (`file/ls`, and `folder/ls` with
    /// `files: 1`).
    #[serde(with = "seconds::optional")]
    pub listing_per_folder: Option<Duration>,
    /// The least time between any two listings of an account, sustained.
    #[serde(with = "seconds::optional")]
    pub listing_any: Option<Duration>,
    /// How many listings may come at once before `listing_any` counts.
    pub listing_burst: u32,
    /// The least time between two listings of the whole account (`folder_id: -1`).
    #[serde(with = "seconds::optional")]
    pub account_listing: Option<Duration>,
    /// The least time between two `user/info` calls of an address.
    #[serde(with = "seconds::optional")]
    pub user_info_ip: Option<Duration>,
    /// The least time between two `user/info` calls of an account.
    #[serde(with = "seconds::optional")]
    pub user_info_key: Option<Duration>,
    /// How long `/v1` stays locked after a limit was exceeded [API J18]. Nodes and downloads are
    /// not affected.
    #[serde(with = "seconds")]
    pub flood_lock: Duration,
    /// Whether each call during the lock starts it anew [API J18].
    pub lock_extends: bool,
    /// Whether the first repeated listing of a folder is refused already [API J17].
    pub strict_listing: bool,
    /// How many 401, 403 and 404 answers within a minute lead to a ban [API K7]. Flood answers do
    /// not count: rclone's test-suite provokes them constantly and is not banned [API §1.1].
    pub refusals_per_minute: Option<u32>,
    /// How long a ban lasts; the answer is `IP Locked #79`.
    #[serde(with = "seconds")]
    pub ban: Duration,
}

impl Limits {
    /// What the vendor documents, as it was observed to be enforced [API §1.1, K].
    pub fn documented() -> Limits {
        Limits {
            requests_per_second: Some(3),
            listing_per_folder: Some(Duration::from_secs(30)),
            listing_any: Some(Duration::from_secs(3)),
            listing_burst: 5,
            account_listing: Some(Duration::from_secs(3_600)),
            user_info_ip: Some(Duration::from_secs(60)),
            user_info_key: Some(Duration::from_secs(300)),
            flood_lock: Duration::from_secs(30),
            lock_extends: false,
            strict_listing: false,
            refusals_per_minute: Some(10),
            ban: Duration::from_secs(3_600),
        }
    }

    /// The documented limits without the tolerance for a repeated listing.
    pub fn strict() -> Limits {
        Limits {
            strict_listing: true,
            ..Limits::documented()
        }
    }

    /// No limits.
    pub fn none() -> Limits {
        Limits {
            requests_per_second: None,
            listing_per_folder: None,
            listing_any: None,
            listing_burst: 0,
            account_listing: None,
            user_info_ip: None,
            user_info_key: None,
            flood_lock: Duration::ZERO,
            lock_extends: false,
            strict_listing: false,
            refusals_per_minute: None,
            ban: Duration::ZERO,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::documented()
    }
}

/// A kind of call that has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// The files of a folder.
    Files(u64),
    /// Only the folders in a folder: not subject to the rule per folder.
    Folders,
    /// Every file of the account.
    Account,
}

/// What the service remembers about the calls so far.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    addresses: HashMap<IpAddr, Address>,
    accounts: HashMap<usize, Account>,
    floods: u64,
}

#[derive(Debug, Default)]
struct Address {
    calls: Bucket,
    locked_until: Option<Instant>,
    banned_until: Option<Instant>,
    refusals: VecDeque<Instant>,
    user_info: Option<Instant>,
}

#[derive(Debug, Default)]
struct Account {
    calls: Bucket,
    listings: Bucket,
    locked_until: Option<Instant>,
    folders: HashMap<u64, FolderClock>,
    account_listing: Option<Instant>,
    user_info: Option<Instant>,
}

#[derive(Debug)]
struct FolderClock {
    first: Instant,
    repeated: bool,
}

/// A token bucket that starts full.
#[derive(Debug, Default)]
struct Bucket {
    spent: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, now: Instant, per_second: f64, burst: f64) -> bool {
        if let Some(at) = self.at {
            let refill = now.saturating_duration_since(at).as_secs_f64() * per_second;
            self.spent = (self.spent - refill).max(0.0);
        }
        self.at = Some(now);
        // Rounding must not refuse a call that comes exactly in time.
        if self.spent + 1.0 <= burst + 1e-6 {
            self.spent += 1.0;
            true
        } else {
            false
        }
    }
}

fn in_future(until: Option<Instant>, now: Instant) -> bool {
    until.is_some_and(|until| until > now)
}

fn too_soon(last: Option<Instant>, now: Instant, least: Option<Duration>) -> bool {
    match (last, least) {
        (Some(last), Some(least)) => now.saturating_duration_since(last) < least,
        _ => false,
    }
}

impl Limiter {
    /// Counts a call from an address, before anything else is looked at.
    pub(super) fn admit_address(
        &mut self,
        limits: &Limits,
        ip: IpAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        let address = self.addresses.entry(ip).or_default();
        if in_future(address.banned_until, now) {
            return Err(Refusal::banned());
        }
        if in_future(address.locked_until, now) {
            if limits.lock_extends {
                address.locked_until = Some(now + limits.flood_lock);
            }
            return Err(self.flood());
        }
        let Some(rate) = limits.requests_per_second else {
            return Ok(());
        };
        if address.calls.take(now, f64::from(rate), f64::from(rate)) {
            return Ok(());
        }
        Err(self.lock(limits, ip, now))
    }

    /// Counts a call of an account: the same rate again, whatever addresses it comes from.
    pub(super) fn admit_account(
        &mut self,
        limits: &Limits,
        account: usize,
        now: Instant,
    ) -> Result<(), Refusal> {
        let entry = self.accounts.entry(account).or_default();
        if in_future(entry.locked_until, now) {
            if limits.lock_extends {
                entry.locked_until = Some(now + limits.flood_lock);
            }
            self.floods += 1;
            return Err(Refusal::user_flood());
        }
        let Some(rate) = limits.requests_per_second else {
            return Ok(());
        };
        if entry.calls.take(now, f64::from(rate), f64::from(rate)) {
            return Ok(());
        }
        entry.locked_until = Some(now + limits.flood_lock);
        self.floods += 1;
        Err(Refusal::user_flood())
    }

    /// Counts a listing.
    pub(super) fn admit_listing(
        &mut self,
        limits: &Limits,
        ip: IpAddr,
        account: usize,
        listing: Listing,
        now: Instant,
    ) -> Result<(), Refusal> {
        let entry = self.accounts.entry(account).or_default();
        let allowed = match listing {
            Listing::Files(folder) => match limits.listing_per_folder {
                Some(least) => entry.list_folder(folder, least, limits.strict_listing, now),
                None => true,
            },
            Listing::Folders => true,
            Listing::Account => {
                let allowed = !too_soon(entry.account_listing, now, limits.account_listing);
                if allowed {
                    entry.account_listing = Some(now);
                }
                allowed
            }
        };
        let paced = match limits.listing_any {
            Some(every) if allowed && !every.is_zero() => {
                let burst = f64::from(limits.listing_burst.max(1));
                entry.listings.take(now, 1.0 / every.as_secs_f64(), burst)
            }
            _ => allowed,
        };
        if paced {
            Ok(())
        } else {
            Err(self.lock(limits, ip, now))
        }
    }

    /// Counts a `user/info` call. Its refusal locks nothing else: downloads go on working
    /// meanwhile [API §1.1].
    pub(super) fn admit_user_info(
        &mut self,
        limits: &Limits,
        ip: IpAddr,
        account: usize,
        now: Instant,
    ) -> Result<(), Refusal> {
        let address = self.addresses.entry(ip).or_default();
        let entry = self.accounts.entry(account).or_default();
        if too_soon(address.user_info, now, limits.user_info_ip) {
            return Err(self.flood());
        }
        if too_soon(entry.user_info, now, limits.user_info_key) {
            self.floods += 1;
            return Err(Refusal::user_flood());
        }
        address.user_info = Some(now);
        entry.user_info = Some(now);
        Ok(())
    }

    /// Locks an address and says so.
    pub(super) fn lock(&mut self, limits: &Limits, ip: IpAddr, now: Instant) -> Refusal {
        self.addresses.entry(ip).or_default().locked_until = Some(now + limits.flood_lock);
        self.flood()
    }

    /// Remembers that an address got a 401, 403 or 404; too many lead to a ban.
    pub(super) fn refused(&mut self, limits: &Limits, ip: IpAddr, now: Instant) {
        let Some(most) = limits.refusals_per_minute else {
            return;
        };
        let address = self.addresses.entry(ip).or_default();
        address.refusals.push_back(now);
        while address
            .refusals
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) >= Duration::from_secs(60))
        {
            address.refusals.pop_front();
        }
        if address.refusals.len() >= most as usize {
            address.refusals.clear();
            address.banned_until = Some(now + limits.ban);
        }
    }

    /// How many calls were answered with a flood message.
    pub(super) fn floods(&self) -> u64 {
        self.floods
    }

    /// Starts counting floods anew.
    pub(super) fn reset_floods(&mut self) {
        self.floods = 0;
    }

    /// Forgets clocks, locks and bans.
    pub(super) fn forget(&mut self) {
        self.addresses.clear();
        self.accounts.clear();
    }

    fn flood(&mut self) -> Refusal {
        self.floods += 1;
        Refusal::flood(self.floods)
    }
}

impl Account {
    fn list_folder(&mut self, folder: u64, least: Duration, strict: bool, now: Instant) -> bool {
        match self.folders.get_mut(&folder) {
            Some(clock) if now.saturating_duration_since(clock.first) < least => {
                // One repeat was seen to be answered [API §1.1, J17].
                !strict && !std::mem::replace(&mut clock.repeated, true)
            }
            _ => {
                let repeated = false;
                self.folders.insert(
                    folder,
                    FolderClock {
                        first: now,
                        repeated,
                    },
                );
                true
            }
        }
    }
}
