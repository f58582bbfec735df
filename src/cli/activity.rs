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
use super::retry::repeated;
use crate::proto::{
    Budget, BudgetScope, CatalogActivity, GetActivityRequest, GetActivityResponse, Transfer,
    TransferDirection,
};

/// Hides the cursor, clears the screen and puts the cursor at its upper left.
const BEGIN: &str = "\x1b[?25l\x1b[2J\x1b[H";
/// Puts the cursor there; what is shown is drawn over.
const HOME: &str = "\x1b[H";
/// Clears what is left of a line that was longer before.
const END_OF_LINE: &str = "\x1b[K";
/// Clears what is left of a screen that had more lines before.
const END_OF_SCREEN: &str = "\x1b[J";
/// Shows the cursor again.
const CURSOR: &str = "\x1b[?25h";
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
    let ask = async || {
        let request = session.request(request.clone());
        let answer = session.client().get_activity(request).await?;
        Ok::<_, Problem>(answer.into_inner())
    };
    let first = repeated(session, io, &ask).await?;
    let Some(every) = args.watch else {
        io.write(&shown(first, io.json)?)?;
        return Ok(Exit::Ok);
    };
    let screen = Screen::begin(io)?;
    screen.draw(&shown(first, io.json)?)?;
    let mut ticks = tokio::time::interval(every.max(SHORTEST));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick is at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        match ask().await {
            Ok(activity) => screen.draw(&shown(activity, io.json)?)?,
            // A server that is started again comes back.
            Err(problem) if problem.retryable() && !io.json => {
                let problem = output::error_text(&problem, None);
                screen.draw(&format!("{problem}\ntrying again\n"))?;
            }
            Err(problem) if problem.retryable() => io.report(&problem, None),
            Err(problem) => return Err(problem),
        }
    }
}

/// What is drawn over and over again on a terminal, or else written one after
/// the other.
struct Screen<'a> {
    io: &'a Io,
    live: bool,
}

impl<'a> Screen<'a> {
    fn begin(io: &'a Io) -> Result<Self, Problem> {
        let live = io.out_is_terminal && !io.json;
        if live {
            io.write(BEGIN)?;
        }
        Ok(Self { io, live })
    }

    fn draw(&self, text: &str) -> Result<(), Problem> {
        match self.live {
            true => self.io.write(&frame(text, terminal_size()))?,
            false => self.io.write(text)?,
        }
        self.io.flush()
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        if self.live {
            // Nobody is left to be told that this failed.
            let _ = self.io.write(CURSOR).and_then(|()| self.io.flush());
        }
    }
}

/// Columns and rows.
fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    let known = size.ws_col > 0 && size.ws_row > 1;
    known.then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// A text that is drawn over the last one: no line is wrapped, and none is lost
/// by scrolling but the last ones.
fn frame(text: &str, size: Option<(usize, usize)>) -> String {
    let (columns, rows) = size.unwrap_or((usize::MAX, usize::MAX));
    let mut frame = HOME.to_owned();
    for line in text.lines().take(rows - 1) {
        frame.extend(line.chars().take(columns));
        frame.push_str(END_OF_LINE);
        frame.push('\n');
    }
    frame + END_OF_SCREEN
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

/// The calls of the last minute, of those that a minute has.
fn used(budget: &Budget) -> String {
    let used: i64 = budget.calls_last_minute.values().sum();
    let most = (budget.requests_per_second * 60.0).round();
    if most < 1.0 {
        return used.to_string();
    }
    format!("{} {used} of {most}", bar(used as f64 / most))
}

fn bar(share: f64) -> String {
    let full = ((share * BAR as f64) as usize).min(BAR);
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR - full))
}

fn budget_rows(budget: &Budget) -> Vec<Vec<String>> {
    let rate = budget.requests_per_second;
    let mut rows = vec![
        row(
            "budget",
            format!("{} ({})", budget.remotes.join(", "), scope(budget)),
        ),
        row("  calls a second", format!("{rate:.1}")),
        row("  last minute", used(budget)),
        row("  of these", counts(&budget.calls_last_minute)),
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
        format!("{} {:3.0} %", bar(share), share * 100.0)
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
            "last minute     [....................] 4 of 150",
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
    fn a_frame_leaves_nothing_of_the_last_one_and_does_not_scroll() {
        let frame = frame("ab\nécd\nx\ny\n", Some((2, 3)));
        assert_eq!(frame, "\x1b[Hab\x1b[K\néc\x1b[K\n\x1b[J");
        assert_eq!(bar(0.5).matches('#').count(), BAR / 2);
        assert_eq!(bar(7.0).matches('#').count(), BAR);
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
