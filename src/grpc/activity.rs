//! What the server is doing, as messages.

use std::time::SystemTime;

use super::convert;
use crate::backend::AccountActivity;
use crate::proto;
use crate::transfer::{Direction, TransferView};

pub(super) fn response(
    accounts: Vec<AccountActivity>,
    now: SystemTime,
) -> proto::GetActivityResponse {
    let mut response = proto::GetActivityResponse::default();
    let mut catalog = proto::CatalogActivity::default();
    for account in accounts {
        catalog.directories += convert::to_i64(account.catalog.folders);
        catalog.entries += convert::to_i64(account.catalog.entries);
        catalog.hits += convert::to_i64(account.catalog.hits);
        catalog.misses += convert::to_i64(account.catalog.misses);
        if let Some(problem) = account.catalog.problem {
            catalog.persistence_problem = problem;
        }
        response
            .transfers
            .extend(account.transfers.into_iter().map(transfer));
        let counts = |counts: std::collections::BTreeMap<&'static str, u64>| {
            counts
                .into_iter()
                .map(|(name, count)| (name.to_owned(), convert::to_i64(count)))
                .collect()
        };
        let (locked_until, lock_reason) = match account.budget.locked {
            Some((remaining, reason)) => (Some(convert::time(now + remaining)), reason),
            None => (None, String::new()),
        };
        response.budgets.push(proto::Budget {
            remotes: account.remotes.iter().map(ToString::to_string).collect(),
            requests_per_second: account.budget.calls_per_second,
            calls_last_minute: counts(account.budget.calls_last_minute),
            locked_until,
            lock_reason,
            queued_calls: counts(account.budget.queued),
            floods: convert::to_i64(account.budget.floods),
        });
    }
    response.catalog = Some(catalog);
    response
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
