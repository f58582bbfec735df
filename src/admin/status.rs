//! What the status page shows, as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::history::{EVERY, History, SAMPLES, Sample};
use super::requests::Face;
use super::{Counted, Facts};
use crate::backend::{Activity, TreeActivity};
use crate::error::code_name;
use crate::transfer::{Direction, TransferView};

/// Transfers that are shown; there may be thousands.
const SHOWN: usize = 200;

/// Uploads and downloads in work.
pub(super) fn in_flight(tree: &TreeActivity) -> [u64; 2] {
    [Direction::Upload, Direction::Download].map(|direction| {
        let going = |view: &&TransferView| view.direction == direction;
        tree.transfers.iter().filter(going).count() as u64
    })
}

/// Why the server does not do all that it should.
#[derive(Debug, Serialize)]
pub(super) struct Trouble {
    /// A name for programs.
    pub(super) what: &'static str,
    /// The remotes concerned.
    pub(super) remotes: Vec<Arc<str>>,
    /// For people.
    pub(super) text: String,
}

/// What is wrong now.
pub(super) fn troubles(activity: &Activity, facts: &Facts) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    if !facts.is_serving() {
        troubles.push(Trouble {
            what: "stopping",
            remotes: Vec::new(),
            text: "the server is stopping and takes no new calls".to_owned(),
        });
    }
    for budget in &activity.budgets {
        if let Some((left, reason)) = &budget.activity.locked {
            let text = format!(
                "1Fichier has locked the account for {} s more: {reason}",
                left.as_secs()
            );
            troubles.push(Trouble {
                what: "locked",
                remotes: budget.remotes.clone(),
                text,
            });
        }
    }
    for tree in &activity.trees {
        if let Some(problem) = &tree.catalog.problem {
            troubles.push(Trouble {
                what: "catalog",
                remotes: tree.remotes.clone(),
                text: problem.clone(),
            });
        }
    }
    troubles
}

/// Whether the server serves, and what is wrong.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    serving: bool,
    problems: Vec<Trouble>,
}

impl Health {
    pub(super) fn new(activity: &Activity, facts: &Facts) -> Self {
        Self {
            serving: facts.is_serving(),
            problems: troubles(activity, facts),
        }
    }
}

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    instance_id: String,
    now: String,
    started: String,
    uptime_seconds: u64,
    #[serde(flatten)]
    health: Health,
    accounts: Vec<Account>,
    budgets: Vec<Budget>,
    transfers: Vec<Transfer>,
    transfers_total: usize,
    caches: Vec<Cache>,
    spool: Spool,
    calls: Calls,
    http: HttpRequests,
    upstream: Vec<Upstream>,
}

#[derive(Debug, Serialize)]
struct Account {
    remotes: Vec<Arc<str>>,
    plan: Option<String>,
    total_bytes: Option<i64>,
    used_bytes: Option<i64>,
    free_bytes: Option<i64>,
    as_of: Option<String>,
}

#[derive(Debug, Serialize)]
struct Budget {
    remotes: Vec<Arc<str>>,
    scope: &'static str,
    /// `None` where there is no limit.
    calls_per_second: Option<f64>,
    calls: u64,
    calls_last_minute: BTreeMap<&'static str, u64>,
    waiting: BTreeMap<&'static str, u64>,
    locked_seconds: Option<u64>,
    lock_reason: Option<String>,
    floods: u64,
    history: Plot,
}

/// The last hour, the oldest sample first.
#[derive(Debug, Serialize)]
struct Plot {
    every_seconds: u64,
    samples: usize,
    calls: Vec<u64>,
    waiting: Vec<u64>,
    locked: Vec<u8>,
}

impl Plot {
    fn new(samples: &[Sample]) -> Self {
        Self {
            every_seconds: EVERY.as_secs(),
            samples: SAMPLES,
            calls: samples.iter().map(|sample| sample.calls).collect(),
            waiting: samples.iter().map(|sample| sample.waiting).collect(),
            locked: samples.iter().map(|sample| sample.locked.into()).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Transfer {
    remote: Arc<str>,
    path: String,
    direction: &'static str,
    size: Option<u64>,
    done: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Cache {
    remotes: Vec<Arc<str>>,
    directories: u64,
    entries: u64,
    hits: u64,
    misses: u64,
    uploads: u64,
    uploaded_bytes: u64,
    downloads: u64,
    downloaded_bytes: u64,
    stored_wrong: u64,
    read_wrong: u64,
    unfinished: u64,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Spool {
    used_bytes: u64,
    limit_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Calls {
    in_work: u64,
    by_code: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct HttpRequests {
    in_work: u64,
    by_status: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct Upstream {
    remotes: Vec<Arc<str>>,
    endpoint: &'static str,
    outcome: &'static str,
    count: u64,
    seconds: f64,
}

fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.0}"))
}

impl Status {
    pub(super) fn new(
        activity: Activity,
        Counted { rpcs, requests }: &Counted,
        history: &History,
        facts: &Facts,
        now: SystemTime,
    ) -> Self {
        let health = Health::new(&activity, facts);
        let mut by_code = BTreeMap::new();
        for ((_, code), count) in rpcs.ended() {
            *by_code.entry(code_name(code)).or_insert(0) += count;
        }
        let mut by_status = BTreeMap::new();
        for ((_, _, end), count) in requests.ended() {
            *by_status.entry(end).or_insert(0) += count;
        }
        let mut upstream = Vec::new();
        let mut accounts = Vec::new();
        for login in activity.logins {
            for ((endpoint, outcome), requests) in login.requested {
                upstream.push(Upstream {
                    remotes: login.remotes.clone(),
                    endpoint,
                    outcome,
                    count: requests.count,
                    seconds: requests.time.as_secs_f64(),
                });
            }
            let quota = login.quota.as_ref();
            accounts.push(Account {
                plan: quota.and_then(|quota| quota.account.get("plan").cloned()),
                total_bytes: quota.and_then(|quota| quota.total),
                used_bytes: quota.and_then(|quota| quota.used),
                free_bytes: quota.and_then(|quota| quota.free),
                as_of: quota.map(|quota| time(quota.as_of.time)),
                remotes: login.remotes,
            });
        }
        let budgets = activity.budgets.into_iter().enumerate();
        let budgets = budgets.map(|(number, known)| {
            let (locked, reason) = known.activity.locked.unzip();
            Budget {
                remotes: known.remotes,
                scope: if known.website { "website" } else { "api" },
                calls_per_second: Some(known.activity.calls_per_second)
                    .filter(|rate| rate.is_finite()),
                calls: known.activity.calls,
                calls_last_minute: known.activity.calls_last_minute,
                waiting: known.activity.queued,
                locked_seconds: locked.map(|left| left.as_secs()),
                lock_reason: reason,
                floods: known.activity.floods,
                history: Plot::new(&history.of(number)),
            }
        });
        let budgets = budgets.collect();
        let (mut transfers, mut caches) = (Vec::new(), Vec::new());
        for tree in activity.trees {
            caches.push(Cache {
                remotes: tree.remotes,
                directories: tree.catalog.folders,
                entries: tree.catalog.entries,
                hits: tree.catalog.hits,
                misses: tree.catalog.misses,
                uploads: tree.uploads.begun,
                uploaded_bytes: tree.uploads.bytes,
                downloads: tree.downloads.begun,
                downloaded_bytes: tree.downloads.bytes,
                stored_wrong: tree.stored_wrong,
                read_wrong: tree.read_wrong,
                unfinished: tree.unfinished,
                problem: tree.catalog.problem,
            });
            transfers.extend(tree.transfers);
        }
        let transfers_total = transfers.len();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            instance_id: facts.instance_id.clone(),
            now: time(now),
            started: time(facts.started),
            uptime_seconds: now
                .duration_since(facts.started)
                .unwrap_or_default()
                .as_secs(),
            health,
            accounts,
            budgets,
            transfers: transfers.into_iter().take(SHOWN).map(transfer).collect(),
            transfers_total,
            caches,
            spool: Spool {
                used_bytes: activity.spool.used,
                limit_bytes: activity.spool.limit,
            },
            calls: Calls {
                in_work: rpcs.in_work(),
                by_code,
            },
            http: HttpRequests {
                in_work: Face::ALL.map(|face| requests.in_work(face)).iter().sum(),
                by_status,
            },
            upstream,
        }
    }
}

fn transfer(view: TransferView) -> Transfer {
    Transfer {
        remote: view.remote,
        path: view.path,
        direction: match view.direction {
            Direction::Upload => "upload",
            Direction::Download => "download",
        },
        size: view.size,
        done: view.done,
        seconds: view.elapsed.as_secs_f64(),
    }
}
