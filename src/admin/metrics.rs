//! What Prometheus reads, in the OpenMetrics text format. Every figure is read
//! from where it is kept when it is asked for; no label holds a path.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::requests::Face;
use super::rpcs::Seconds;
use super::{Counted, Facts};
use crate::backend::{Activity, TreeActivity};
use crate::error::code_name;
use crate::fichier::Priority;

/// The type of an answer.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a metric's figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Grows; its name ends with `_total` in the answer.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// Takes the values of the labels, and the figure.
type Sample<'a> = &'a mut dyn FnMut(&[&str], f64);

/// A metric: the same table is encoded and documented.
struct Metric {
    name: &'static str,
    form: Form,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Scrape, Sample<'_>),
}

/// The same for what is told apart by how long it took.
struct Durations {
    name: &'static str,
    /// As those who count name them.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation"))]
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Scrape) -> Seconds,
}

const DURATIONS: &[Durations] = &[
    Durations {
        name: "pluton_fichier_rpc_duration_seconds",
        labels: &["service", "method"],
        help: "How long calls of clients took, from the first byte to the last",
        read: |scrape| scrape.counted.rpcs.seconds(),
    },
    Durations {
        name: "pluton_fichier_http_request_duration_seconds",
        labels: &["face", "method"],
        help: "How long requests over HTTP took, from their headers to the last byte of the answer",
        read: |scrape| scrape.counted.requests.seconds(),
    },
];

/// What one answer tells.
struct Scrape {
    activity: Activity,
    counted: Counted,
    facts: Facts,
}

/// The remote that stands for all that share something.
fn first(remotes: &[Arc<str>]) -> &str {
    remotes.first().map_or("", |name| name)
}

fn figure(count: u64) -> f64 {
    count as f64
}

fn each_tree(scrape: &Scrape, sample: Sample<'_>, read: impl Fn(&TreeActivity) -> u64) {
    for tree in &scrape.activity.trees {
        sample(&[first(&tree.remotes)], figure(read(tree)));
    }
}

/// Both directions of each tree.
fn each_way(scrape: &Scrape, sample: Sample<'_>, read: impl Fn(&TreeActivity) -> [u64; 2]) {
    for tree in &scrape.activity.trees {
        let [up, down] = read(tree);
        sample(&[first(&tree.remotes), "upload"], figure(up));
        sample(&[first(&tree.remotes), "download"], figure(down));
    }
}

/// Each budget by its labels. The website's is one for all keys.
fn each_budget(scrape: &Scrape, mut read: impl FnMut([&str; 2], &crate::fichier::Activity)) {
    for budget in &scrape.activity.budgets {
        let labels = match budget.website {
            true => ["", "website"],
            false => [first(&budget.remotes), "api"],
        };
        read(labels, &budget.activity);
    }
}

const METRICS: &[Metric] = &[
    Metric {
        name: "pluton_fichier_build_info",
        form: Form::Gauge,
        labels: &["version"],
        help: "Always 1; the label is the version of the server",
        read: |_, sample| sample(&[env!("CARGO_PKG_VERSION")], 1.0),
    },
    Metric {
        name: "pluton_fichier_start_time_seconds",
        form: Form::Gauge,
        labels: &[],
        help: "When the server started, in seconds since 1970",
        read: |scrape, sample| sample(&[], scrape.facts.started_seconds()),
    },
    Metric {
        name: "pluton_fichier_serving",
        form: Form::Gauge,
        labels: &[],
        help: "1 while new calls are taken, 0 while the server stops",
        read: |scrape, sample| sample(&[], f64::from(u8::from(scrape.facts.is_serving()))),
    },
    Metric {
        name: "pluton_fichier_rpcs",
        form: Form::Counter,
        labels: &["service", "method", "code"],
        help: "Calls of clients that ended, by their gRPC code",
        read: |scrape, sample| {
            for ((method, code), count) in scrape.counted.rpcs.ended() {
                let labels = [&*method.service, &*method.name, code_name(code)];
                sample(&labels, figure(count));
            }
        },
    },
    Metric {
        name: "pluton_fichier_rpcs_in_flight",
        form: Form::Gauge,
        labels: &[],
        help: "Calls of clients that have not ended",
        read: |scrape, sample| sample(&[], figure(scrape.counted.rpcs.in_work())),
    },
    Metric {
        name: "pluton_fichier_http_requests",
        form: Form::Counter,
        labels: &["face", "method", "status"],
        help: "Requests over HTTP that ended, by face (webdav, restic, other) and class of status (2xx to 5xx); broken: the answer broke off; left: the client did not wait for its end",
        read: |scrape, sample| {
            for ((face, method, end), count) in scrape.counted.requests.ended() {
                sample(&[face.as_str(), method, end], figure(count));
            }
        },
    },
    Metric {
        name: "pluton_fichier_http_requests_in_flight",
        form: Form::Gauge,
        labels: &["face"],
        help: "Requests over HTTP that have not ended",
        read: |scrape, sample| {
            for face in Face::ALL {
                let in_work = scrape.counted.requests.in_work(face);
                sample(&[face.as_str()], figure(in_work));
            }
        },
    },
    Metric {
        name: "pluton_fichier_http_bytes",
        form: Form::Counter,
        labels: &["face", "direction"],
        help: "Bodies of requests over HTTP (in) and of their answers (out), in bytes",
        read: |scrape, sample| {
            for face in Face::ALL {
                let [received, sent] = scrape.counted.requests.bytes(face);
                sample(&[face.as_str(), "in"], figure(received));
                sample(&[face.as_str(), "out"], figure(sent));
            }
        },
    },
    Metric {
        name: "pluton_fichier_upstream_requests",
        form: Form::Counter,
        labels: &["remote", "endpoint", "outcome"],
        help: "Requests to 1Fichier that ended, by what came of them (ok, flood, not_found, broken and so on)",
        read: |scrape, sample| {
            for login in &scrape.activity.logins {
                for ((endpoint, outcome), requests) in &login.requested {
                    let labels = [first(&login.remotes), endpoint, outcome];
                    sample(&labels, figure(requests.count));
                }
            }
        },
    },
    Metric {
        name: "pluton_fichier_upstream_request_seconds",
        form: Form::Counter,
        labels: &["remote", "endpoint", "outcome"],
        help: "How long these requests took together, until the answer",
        read: |scrape, sample| {
            for login in &scrape.activity.logins {
                for ((endpoint, outcome), requests) in &login.requested {
                    let labels = [first(&login.remotes), endpoint, outcome];
                    sample(&labels, requests.time.as_secs_f64());
                }
            }
        },
    },
    Metric {
        name: "pluton_fichier_budget_calls",
        form: Form::Counter,
        labels: &["remote", "scope"],
        help: "Calls that the request budget let through; scope is api or website",
        read: |scrape, sample| {
            each_budget(scrape, |labels, budget| {
                sample(&labels, figure(budget.calls))
            })
        },
    },
    Metric {
        name: "pluton_fichier_budget_rate_per_second",
        form: Form::Gauge,
        labels: &["remote", "scope"],
        help: "Calls a second that the request budget allows now; absent where there is no limit",
        read: |scrape, sample| {
            each_budget(scrape, |labels, budget| {
                if budget.calls_per_second.is_finite() {
                    sample(&labels, budget.calls_per_second);
                }
            });
        },
    },
    Metric {
        name: "pluton_fichier_budget_waiting",
        form: Form::Gauge,
        labels: &["remote", "scope", "priority"],
        help: "Calls that wait for the request budget",
        read: |scrape, sample| {
            each_budget(scrape, |[remote, scope], budget| {
                for priority in Priority::ALL.map(Priority::as_str) {
                    let waiting = budget.queued.get(priority).copied().unwrap_or(0);
                    sample(&[remote, scope, priority], figure(waiting));
                }
            });
        },
    },
    Metric {
        name: "pluton_fichier_budget_locked_seconds",
        form: Form::Gauge,
        labels: &["remote", "scope"],
        help: "How long nothing is asked because 1Fichier has locked the account; 0 if it has not",
        read: |scrape, sample| {
            each_budget(scrape, |labels, budget| {
                let left = budget.locked.as_ref().map(|(left, _)| left.as_secs_f64());
                sample(&labels, left.unwrap_or(0.0));
            });
        },
    },
    Metric {
        name: "pluton_fichier_budget_floods",
        form: Form::Counter,
        labels: &["remote", "scope"],
        help: "Times that 1Fichier has locked the account for too many calls",
        read: |scrape, sample| {
            each_budget(scrape, |labels, budget| {
                sample(&labels, figure(budget.floods))
            })
        },
    },
    Metric {
        name: "pluton_fichier_cache_hits",
        form: Form::Counter,
        labels: &["remote"],
        help: "Directories answered from what is remembered",
        read: |scrape, sample| each_tree(scrape, sample, |tree| tree.catalog.hits),
    },
    Metric {
        name: "pluton_fichier_cache_misses",
        form: Form::Counter,
        labels: &["remote"],
        help: "Directories that had to be listed",
        read: |scrape, sample| each_tree(scrape, sample, |tree| tree.catalog.misses),
    },
    Metric {
        name: "pluton_fichier_cache_directories",
        form: Form::Gauge,
        labels: &["remote"],
        help: "Directories in memory",
        read: |scrape, sample| each_tree(scrape, sample, |tree| tree.catalog.folders),
    },
    Metric {
        name: "pluton_fichier_cache_entries",
        form: Form::Gauge,
        labels: &["remote"],
        help: "Entries of directories in memory",
        read: |scrape, sample| each_tree(scrape, sample, |tree| tree.catalog.entries),
    },
    Metric {
        name: "pluton_fichier_catalog_problem",
        form: Form::Gauge,
        labels: &["remote"],
        help: "1 while what is remembered is not written to disk, else 0",
        read: |scrape, sample| {
            each_tree(scrape, sample, |tree| tree.catalog.problem.is_some().into());
        },
    },
    Metric {
        name: "pluton_fichier_unfinished_writes",
        form: Form::Gauge,
        labels: &["remote"],
        help: "Changes of which nobody knows yet how they ended",
        read: |scrape, sample| each_tree(scrape, sample, |tree| tree.unfinished),
    },
    Metric {
        name: "pluton_fichier_transfers",
        form: Form::Counter,
        labels: &["remote", "direction"],
        help: "Uploads and downloads that began",
        read: |scrape, sample| {
            each_way(scrape, sample, |tree| {
                [tree.uploads.begun, tree.downloads.begun]
            });
        },
    },
    Metric {
        name: "pluton_fichier_transfers_in_flight",
        form: Form::Gauge,
        labels: &["remote", "direction"],
        help: "Uploads and downloads that have not ended",
        read: |scrape, sample| each_way(scrape, sample, super::status::in_flight),
    },
    Metric {
        name: "pluton_fichier_transfer_bytes",
        form: Form::Counter,
        labels: &["remote", "direction"],
        help: "Content that clients sent (upload) or 1Fichier gave (download), in bytes",
        read: |scrape, sample| {
            each_way(scrape, sample, |tree| {
                [tree.uploads.bytes, tree.downloads.bytes]
            });
        },
    },
    Metric {
        name: "pluton_fichier_verification_failures",
        form: Form::Counter,
        labels: &["remote", "direction"],
        help: "Files that 1Fichier stored wrong (upload; sent again or failed) or gave with another checksum than the stored one (download; DATA_LOSS)",
        read: |scrape, sample| {
            each_way(scrape, sample, |tree| [tree.stored_wrong, tree.read_wrong]);
        },
    },
    Metric {
        name: "pluton_fichier_spool_used_bytes",
        form: Form::Gauge,
        labels: &[],
        help: "Room that buffered uploads take",
        read: |scrape, sample| sample(&[], figure(scrape.activity.spool.used)),
    },
    Metric {
        name: "pluton_fichier_spool_limit_bytes",
        form: Form::Gauge,
        labels: &[],
        help: "Room for buffered uploads (--spool-bytes)",
        read: |scrape, sample| sample(&[], figure(scrape.activity.spool.limit)),
    },
    Metric {
        name: "pluton_fichier_quota_bytes",
        form: Form::Gauge,
        labels: &["remote", "state"],
        help: "Room of the account by state (total, used, free), as 1Fichier told last; absent before, or where it does not tell",
        read: |scrape, sample| {
            for login in &scrape.activity.logins {
                let Some(quota) = &login.quota else { continue };
                for (state, bytes) in [
                    ("total", quota.total),
                    ("used", quota.used),
                    ("free", quota.free),
                ] {
                    if let Some(bytes) = bytes {
                        sample(&[first(&login.remotes), state], bytes as f64);
                    }
                }
            }
        },
    },
];

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in METRICS {
            let kind = match metric.form {
                Form::Counter => MetricType::Counter,
                Form::Gauge => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            let encode = |figure, one: MetricEncoder<'_>| match metric.form {
                Form::Counter => ConstCounter::new(figure).encode(one),
                Form::Gauge => ConstGauge::new(figure).encode(one),
            };
            if metric.labels.is_empty() {
                let mut read = None;
                (metric.read)(self, &mut |_, figure| read = Some(figure));
                read.map_or(Ok(()), |figure| encode(figure, family))?;
                continue;
            }
            let mut outcome = Ok(());
            (metric.read)(self, &mut |values, figure| {
                let names = metric.labels.iter().copied();
                let labels: Vec<_> = names.zip(values.iter().copied()).collect();
                outcome = outcome.and_then(|()| encode(figure, family.encode_family(&labels)?));
            });
            outcome?;
        }
        for Durations {
            name, help, read, ..
        } in DURATIONS
        {
            let histogram = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            read(self).encode(histogram)?;
        }
        Ok(())
    }
}

/// The metrics as a table for people.
#[cfg(test)]
pub(super) fn table() -> String {
    let row = |name: &str, kind: &str, labels: &[&str], help: &str| {
        format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "))
    };
    let rows = METRICS.iter().map(|metric| match metric.form {
        Form::Counter => {
            let name = format!("{}_total", metric.name);
            row(&name, "counter", metric.labels, metric.help)
        }
        Form::Gauge => row(metric.name, "gauge", metric.labels, metric.help),
    });
    let durations = DURATIONS.iter();
    let rows = rows.chain(durations.map(|one| row(one.name, "histogram", one.labels, one.help)));
    let head = "| metric | kind | labels | what it tells |\n|---|---|---|---|\n";
    rows.fold(head.to_owned(), |table, row| table + &row)
}

/// All figures as text.
///
/// # Errors
/// Never, for text in memory.
pub(super) fn text(
    activity: Activity,
    counted: Counted,
    facts: Facts,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape {
        activity,
        counted,
        facts,
    }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
