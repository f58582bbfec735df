//! `activity`: what the server is doing, once or as a live view.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::ActivityArgs;
use super::connect::Session;
use super::exit::{Exit, Problem};
use super::io::Io;
use super::output;
use crate::proto::{
    Budget, BudgetScope, CatalogActivity, GetActivityRequest, GetActivityResponse, Transfer,
    TransferDirection,
};

/// Clears the screen and puts the cursor at its upper left.
const CLEAR: &str = "\x1b[2J\x1b[H";
/// What is watched is asked for no more often than this.
const SHORTEST: Duration = Duration::from_millis(200);
/// Characters of a progress bar.
const BAR: usize = 20;

#[derive(Serialize)]
struct TransferDocument {
    remote: String,
    path: String,
    direction: String,
    size: Option<i64>,
    done_bytes: i64,
    bytes_per_second: i64,
    start_time: Option<String>,
}

#[derive(Serialize)]
struct BudgetDocument {
    remotes: Vec<String>,
    scope: String,
    requests_per_second: f64,
    calls_last_minute: BTreeMap<String, i64>,
    queued_calls: BTreeMap<String, i64>,
    locked_until: Option<String>,
    lock_reason: String,
    floods: i64,
}

#[derive(Serialize)]
struct CatalogDocument {
    directories: i64,
    entries: i64,
    hits: i64,
    misses: i64,
    persistence_problem: String,
    unfinished_writes: i64,
}

#[derive(Serialize)]
struct ActivityDocument {
    budgets: Vec<BudgetDocument>,
    transfers: Vec<TransferDocument>,
    catalog: CatalogDocument,
}

/// Prints it, with `--watch` again and again until it is interrupted.
pub(super) async fn activity(
    args: &ActivityArgs,
    session: &Session,
    io: &Io,
) -> Result<Exit, Problem> {
    // Only that of one remote if one is named.
    let request = GetActivityRequest {
        remote: session.remote(),
    };
    let mut client = session.client();
    let Some(every) = args.watch else {
        let response = client.get_activity(session.request(request)).await?;
        io.write(&shown(response.into_inner(), io.json)?)?;
        return Ok(Exit::Ok);
    };
    let mut ticks = tokio::time::interval(every.max(SHORTEST));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let response = client
            .get_activity(session.request(request.clone()))
            .await?;
        let mut text = shown(response.into_inner(), io.json)?;
        if io.out_is_terminal && !io.json {
            text.insert_str(0, CLEAR);
        }
        io.write(&text)?;
        io.flush()?;
    }
}

fn shown(activity: GetActivityResponse, json: bool) -> Result<String, Problem> {
    let catalog = activity.catalog.unwrap_or_default();
    if json {
        let document = ActivityDocument {
            budgets: activity.budgets.into_iter().map(budget_document).collect(),
            transfers: activity
                .transfers
                .into_iter()
                .map(transfer_document)
                .collect(),
            catalog: CatalogDocument {
                directories: catalog.directories,
                entries: catalog.entries,
                hits: catalog.hits,
                misses: catalog.misses,
                persistence_problem: catalog.persistence_problem,
                unfinished_writes: catalog.unfinished_writes,
            },
        };
        return Ok(output::to_json(&document)? + "\n");
    }
    let mut text = String::new();
    for budget in &activity.budgets {
        text += &output::table(&budget_rows(budget));
        text.push('\n');
    }
    text += &output::table(&catalog_rows(&catalog));
    text.push('\n');
    match activity.transfers.len() {
        0 => text += "no transfers\n",
        number => {
            let _ = writeln!(text, "{number} in flight");
            let rows: Vec<_> = activity.transfers.iter().map(transfer_row).collect();
            text += &output::table(&rows);
        }
    }
    Ok(text)
}

fn direction(transfer: &Transfer) -> String {
    let name = TransferDirection::try_from(transfer.direction).unwrap_or_default();
    output::enum_name(name.as_str_name(), "TRANSFER_DIRECTION_")
}

fn scope(budget: &Budget) -> String {
    let name = BudgetScope::try_from(budget.scope).unwrap_or_default();
    output::enum_name(name.as_str_name(), "BUDGET_SCOPE_")
}

fn transfer_document(transfer: Transfer) -> TransferDocument {
    TransferDocument {
        direction: direction(&transfer),
        start_time: transfer.start_time.as_ref().and_then(output::rfc3339),
        remote: transfer.remote,
        path: transfer.path,
        size: transfer.size,
        done_bytes: transfer.done_bytes,
        bytes_per_second: transfer.bytes_per_second,
    }
}

fn budget_document(budget: Budget) -> BudgetDocument {
    BudgetDocument {
        scope: scope(&budget),
        locked_until: budget.locked_until.as_ref().and_then(output::rfc3339),
        remotes: budget.remotes,
        requests_per_second: budget.requests_per_second,
        calls_last_minute: budget.calls_last_minute.into_iter().collect(),
        queued_calls: budget.queued_calls.into_iter().collect(),
        lock_reason: budget.lock_reason,
        floods: budget.floods,
    }
}

fn row(name: &str, value: impl Into<String>) -> Vec<String> {
    vec![name.to_owned(), value.into()]
}

/// "12: file/info 4, folder/ls 8", or "none".
fn counts(counts: &std::collections::HashMap<String, i64>) -> String {
    let total: i64 = counts.values().sum();
    if total == 0 {
        return "none".to_owned();
    }
    let sorted: BTreeMap<_, _> = counts.iter().filter(|(_, count)| **count > 0).collect();
    let each: Vec<_> = sorted
        .into_iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    format!("{total}: {}", each.join(", "))
}

fn budget_rows(budget: &Budget) -> Vec<Vec<String>> {
    let rate = budget.requests_per_second;
    let mut rows = vec![
        row(
            "budget",
            format!("{} ({})", budget.remotes.join(", "), scope(budget)),
        ),
        row("  calls a second", format!("{rate:.1}")),
        row("  last minute", counts(&budget.calls_last_minute)),
        row("  waiting", counts(&budget.queued_calls)),
        row("  floods", budget.floods.to_string()),
    ];
    if let Some(until) = budget.locked_until.as_ref().and_then(output::local_time) {
        let reason = output::printable(&budget.lock_reason).into_owned();
        rows.push(row("  locked until", format!("{until}: {reason}")));
    }
    rows
}

fn catalog_rows(catalog: &CatalogActivity) -> Vec<Vec<String>> {
    let CatalogActivity {
        directories,
        entries,
        hits,
        misses,
        ..
    } = catalog;
    let mut rows = vec![
        row(
            "remembered",
            format!("entries: {entries}, directories: {directories}"),
        ),
        row("  reads", format!("{hits} from memory, {misses} listed")),
    ];
    if catalog.unfinished_writes > 0 {
        rows.push(row("  unfinished", catalog.unfinished_writes.to_string()));
    }
    if !catalog.persistence_problem.is_empty() {
        let problem = output::printable(&catalog.persistence_problem).into_owned();
        rows.push(row("  problem", problem));
    }
    rows
}

fn transfer_row(transfer: &Transfer) -> Vec<String> {
    let done = transfer.done_bytes;
    let of = transfer.size.filter(|size| *size > 0);
    let share = of.map(|size| done as f64 / size as f64);
    let progress = share.map_or_else(String::new, |share| {
        let full = ((share * BAR as f64) as usize).min(BAR);
        let bar = "#".repeat(full) + &".".repeat(BAR - full);
        format!("[{bar}] {:3.0} %", share * 100.0)
    });
    let left = of.filter(|_| transfer.bytes_per_second > 0).map(|size| {
        let seconds = (size - done).max(0) / transfer.bytes_per_second;
        output::duration(Duration::from_secs(seconds.unsigned_abs()))
    });
    vec![
        direction(transfer),
        progress,
        output::size(done),
        format!("{}/s", output::size(transfer.bytes_per_second)),
        left.map_or_else(String::new, |left| format!("{left} left")),
        output::printable(&transfer.path).into_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity() -> GetActivityResponse {
        let transfer = Transfer {
            remote: "fichier".to_owned(),
            path: "a/b\u{1b}[2J".to_owned(),
            direction: TransferDirection::Upload.into(),
            size: Some(4 << 20),
            done_bytes: 1 << 20,
            bytes_per_second: 1 << 20,
            start_time: None,
        };
        let budget = Budget {
            remotes: vec!["fichier".to_owned()],
            requests_per_second: 2.5,
            calls_last_minute: [("folder/ls".to_owned(), 3), ("file/rm".to_owned(), 1)].into(),
            queued_calls: [("upload".to_owned(), 0)].into(),
            locked_until: Some(prost_types::Timestamp::default()),
            lock_reason: "Flood detected".to_owned(),
            floods: 1,
            scope: BudgetScope::Api.into(),
        };
        let catalog = CatalogActivity {
            entries: 12,
            directories: 3,
            unfinished_writes: 2,
            ..CatalogActivity::default()
        };
        GetActivityResponse {
            budgets: vec![budget],
            transfers: vec![transfer],
            catalog: Some(catalog),
        }
    }

    #[test]
    fn people_see_budgets_memory_and_transfers() {
        let text = shown(activity(), false).unwrap();
        for part in [
            "fichier (api)",
            "4: file/rm 1, folder/ls 3",
            "waiting         none",
            ": Flood detected",
            "entries: 12, directories: 3",
            "unfinished  2",
            "1 in flight",
            "upload  [#####...............]  25 %",
            "3s left",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(!text.contains('\u{1b}'), "names cannot steer the terminal");
        let nothing = shown(GetActivityResponse::default(), false).unwrap();
        assert!(nothing.ends_with("no transfers\n"));
    }

    #[test]
    fn programs_get_one_document_a_line() {
        let text = shown(activity(), true).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["transfers"][0]["direction"], "upload");
        assert_eq!(document["budgets"][0]["calls_last_minute"]["folder/ls"], 3);
        assert_eq!(document["catalog"]["unfinished_writes"], 2);
    }
}
