//! What the server is doing, as messages.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::convert;
use crate::backend::{Activity, BudgetActivity};
use crate::proto;
use crate::transfer::{Direction, TransferView};

pub(super) fn response(activity: Activity, now: SystemTime) -> proto::GetActivityResponse {
    let mut catalog = proto::CatalogActivity::default();
    let mut transfers = Vec::new();
    for tree in activity.trees {
        transfers.extend(tree.transfers.into_iter().map(transfer));
        catalog.unfinished_writes += convert::to_i64(tree.unfinished);
        let known = tree.catalog;
        catalog.directories += convert::to_i64(known.folders);
        catalog.entries += convert::to_i64(known.entries);
        catalog.hits += convert::to_i64(known.hits);
        catalog.misses += convert::to_i64(known.misses);
        if let Some(problem) = known.problem {
            catalog.persistence_problem = problem;
        }
    }
    proto::GetActivityResponse {
        budgets: activity
            .budgets
            .into_iter()
            .map(|known| budget(known, now))
            .collect(),
        transfers,
        catalog: Some(catalog),
    }
}

fn budget(known: BudgetActivity, now: SystemTime) -> proto::Budget {
    let BudgetActivity {
        remotes,
        website,
        activity,
    } = known;
    let counts = |counts: BTreeMap<&'static str, u64>| {
        counts
            .into_iter()
            .map(|(name, count)| (name.to_owned(), convert::to_i64(count)))
            .collect()
    };
    let (locked_until, lock_reason) = match activity.locked {
        Some((remaining, reason)) => (Some(convert::time(now + remaining)), reason),
        None => (None, String::new()),
    };
    proto::Budget {
        remotes: remotes.iter().map(ToString::to_string).collect(),
        requests_per_second: activity.calls_per_second,
        calls_last_minute: counts(activity.calls_last_minute),
        locked_until,
        lock_reason,
        queued_calls: counts(activity.queued),
        floods: convert::to_i64(activity.floods),
        scope: match website {
            true => proto::BudgetScope::Website,
            false => proto::BudgetScope::Api,
        }
        .into(),
    }
}

fn transfer(view: TransferView) -> proto::Transfer {
    let seconds = view.elapsed.as_secs_f64();
    let speed = if seconds > 0.0 {
        view.done as f64 / seconds
    } else {
        0.0
    };
    proto::Transfer {
        remote: view.remote.to_string(),
        path: view.path,
        direction: match view.direction {
            Direction::Upload => proto::TransferDirection::Upload,
            Direction::Download => proto::TransferDirection::Download,
        }
        .into(),
        size: view.size.map(convert::to_i64),
        done_bytes: convert::to_i64(view.done),
        bytes_per_second: speed as i64,
        start_time: Some(convert::time(view.start)),
    }
}
