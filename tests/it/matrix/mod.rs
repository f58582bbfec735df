//! The fault matrix: every operation, with every fault of the emulator that
//! makes sense, at every call that the operation makes.
//!
//! Nothing is listed by hand but operations and faults: which calls there are, a
//! run without a fault tells. Each case has a directory of its own that the
//! server has not seen yet, so that the calls which look are among them.
//!
//! `MATRIX` chooses the operations whose names begin with it.

mod case;
pub(crate) mod kinds;
mod operation;

use std::collections::BTreeMap;
use std::time::Duration;

use pluton_fichier::emulator::{FaultKind, Options};

use crate::harness::*;
use case::{At, Case, Held, Seen};
use kinds::{Trouble, kinds, troubles};
use operation::{Operation, STREAM_FROM};

/// What no fault can be told from: a part of a file has no checksum.
fn is_told_by_nothing(operation: Operation, kind: &FaultKind) -> bool {
    operation == Operation::GetRange && *kind == FaultKind::Corrupt
}

/// Enough to see what is wrong.
const MOST_FAILURES: usize = 12;

/// A server in front of an account with so many directories, each prepared for
/// the operation. The server knows that they are there.
async fn prepared(operation: Operation, cases: usize) -> World {
    let world = build(Options::default(), |config| {
        config.uploads.stream_from = STREAM_FROM;
        // The root is listed once.
        config.freshness = Duration::from_secs(86_400);
    })
    .await;
    for case in 0..cases {
        let name = root(case);
        let root = world.control.add_folder(0, &name);
        operation.prepare(&world.control, root, &name);
    }
    world.list("", false).await.unwrap();
    world
}

fn root(case: usize) -> String {
    format!("case{case:04}")
}

fn case(world: &World, operation: Operation, number: usize) -> Case<'_> {
    Case {
        world,
        operation,
        root: root(number),
    }
}

/// The calls of an operation that meets no fault, and what is there then.
async fn clean(operation: Operation) -> (Vec<String>, Held) {
    let world = prepared(operation, 1).await;
    world.idle(operation.memory()).await;
    world.control.reset_calls();
    let case = case(&world, operation, 0);
    operation.perform(&world, &case.root).await.unwrap();
    let requests = world.control.last_requests();
    let calls = requests
        .into_iter()
        .map(|request| request.endpoint)
        .collect();
    (calls, case.held())
}

/// What was found out about one operation.
#[derive(Default)]
struct Found {
    cases: usize,
    /// Of several requests at once, how many leave together is up to chance.
    unmet: usize,
    unseen: usize,
    reasons: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl Found {
    fn add(&mut self, what: String, seen: Result<Seen, String>, may_be_seen: bool) {
        self.cases += 1;
        match seen {
            Ok(Seen::Nothing) => self.unseen += 1,
            Ok(Seen::Unmet) if what.starts_with("PutThree") => self.unmet += 1,
            Ok(Seen::Unmet) => self.wrong.push(format!("{what}: the fault was not met")),
            Ok(Seen::Failure(reason)) => {
                if !may_be_seen {
                    self.wrong
                        .push(format!("{what}: {reason} is told, and need not be"));
                }
                *self.reasons.entry(reason).or_default() += 1;
            }
            Err(wrong) => self.wrong.push(format!("{what}: {wrong}")),
        }
    }
}

/// Whether a client may see a fault that is met once.
fn may_be_seen(operation: Operation, endpoint: &str, kind: &FaultKind) -> bool {
    use FaultKind::*;
    use Operation::*;
    let streams = matches!(operation, PutStreamed | PutStreamedReplacing);
    match (endpoint, kind) {
        // Refusals are final; the end of a flood is waited for.
        (_, Ko { message, .. }) => !message.starts_with("Flood"),
        // The bytes are with the client by then.
        ("download", Corrupt) => true,
        // What was not kept cannot be sent again.
        ("upload.cgi", _) => streams,
        // That they did not happen is seen, and told.
        ("folder/mkdir" | "folder/rm", Status(_) | ResetBeforeAnswer | HtmlPage | Hang) => {
            operation != Purge
        }
        ("file/mv", Status(_) | ResetBeforeAnswer | HtmlPage | Hang) => {
            operation == DedupeDirectories
        }
        // 1Fichier says that it did not do it all.
        ("file/cp" | "file/mv" | "file/rename" | "file/rm", PartialBatch(_)) => true,
        _ => false,
    }
}

/// One fault, at each call.
async fn once(operation: Operation, calls: &[String], goal: &Held) -> Found {
    let cases: Vec<(usize, Trouble)> = calls
        .iter()
        .enumerate()
        .flat_map(|(at, endpoint)| {
            troubles(endpoint)
                .into_iter()
                .map(move |trouble| (at, trouble))
        })
        .filter(|(_, trouble)| !is_told_by_nothing(operation, &trouble.kind))
        .collect();
    let world = prepared(operation, cases.len()).await;
    let mut found = Found::default();
    for (number, (at, trouble)) in cases.into_iter().enumerate() {
        let case = case(&world, operation, number);
        let endpoint = &calls[at];
        let earlier = calls[..at]
            .iter()
            .filter(|other| *other == endpoint)
            .count();
        let seen = case
            .run(goal, At::Call(earlier as u32, endpoint), &trouble)
            .await;
        let what = format!("{operation:?}, call {at} ({endpoint}), {trouble:?}");
        let may_be_seen = may_be_seen(operation, endpoint, &trouble.kind);
        found.add(what, seen, may_be_seen);
        if found.wrong.len() >= MOST_FAILURES {
            break;
        }
    }
    found
}

/// A fault that stays while the operation lasts, at each endpoint.
async fn lasting(operation: Operation, calls: &[String], goal: &Held) -> Found {
    let mut endpoints: Vec<&String> = calls.iter().collect();
    endpoints.sort();
    endpoints.dedup();
    let cases: Vec<(&String, FaultKind)> = endpoints
        .into_iter()
        .flat_map(|endpoint| {
            kinds(endpoint)
                .into_iter()
                .map(move |kind| (endpoint, kind))
        })
        .filter(|(_, kind)| !is_told_by_nothing(operation, kind))
        .collect();
    let world = prepared(operation, cases.len()).await;
    let mut found = Found::default();
    for (number, (endpoint, kind)) in cases.into_iter().enumerate() {
        let case = case(&world, operation, number);
        let trouble = Trouble {
            kind,
            lag: Duration::ZERO,
        };
        let seen = case.run(goal, At::Each(endpoint), &trouble).await;
        found.add(
            format!("{operation:?}, each {endpoint}, {:?}", trouble.kind),
            seen,
            true,
        );
        if found.wrong.len() >= MOST_FAILURES {
            break;
        }
    }
    found
}

async fn matrix(part: usize, parts: usize) {
    let mut total = 0;
    let mut wrong = Vec::new();
    let chosen = std::env::var("MATRIX").unwrap_or_default();
    for operation in Operation::ALL.into_iter().skip(part).step_by(parts) {
        if !format!("{operation:?}").starts_with(&chosen) {
            continue;
        }
        let (calls, goal) = clean(operation).await;
        for (how, found) in [
            ("once", once(operation, &calls, &goal).await),
            ("lasting", lasting(operation, &calls, &goal).await),
        ] {
            println!(
                "{operation:?} ({}), {how}: {} cases, {} not seen by the client, {:?}",
                calls.join(" "),
                found.cases,
                found.unseen,
                found.reasons,
            );
            total += found.cases - found.unmet;
            wrong.extend(found.wrong);
        }
    }
    println!("part {part} of {parts}: {total} cases");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test(start_paused = true)]
async fn every_operation_survives_every_fault_or_tells_it_one() {
    matrix(0, 4).await;
}

#[tokio::test(start_paused = true)]
async fn every_operation_survives_every_fault_or_tells_it_two() {
    matrix(1, 4).await;
}

#[tokio::test(start_paused = true)]
async fn every_operation_survives_every_fault_or_tells_it_three() {
    matrix(2, 4).await;
}

#[tokio::test(start_paused = true)]
async fn every_operation_survives_every_fault_or_tells_it_four() {
    matrix(3, 4).await;
}
