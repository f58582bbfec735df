//! Both sides beside each other, and the aims.

use std::collections::BTreeSet;
use std::time::Duration;

use pluton_fichier::emulator::{Calls, Control};

/// A workload by one of the two.
pub(crate) struct Outcome {
    pub(crate) workload: &'static str,
    pub(crate) calls: Calls,
    pub(crate) wall: Duration,
    /// How many files each upload carried.
    pub(crate) groups: Vec<usize>,
    /// What kept it from its end.
    pub(crate) problem: Option<String>,
}

/// How many files each upload carried.
pub(crate) fn groups(control: &Control) -> Vec<usize> {
    let requests = control.last_requests();
    let bodies = requests
        .iter()
        .filter(|request| request.endpoint == "upload.cgi")
        .filter_map(|request| serde_json::from_str::<serde_json::Value>(&request.body).ok());
    bodies
        .map(|body| body["files"].as_array().map_or(0, Vec::len))
        .collect()
}

type Aim = (&'static str, fn(&Outcome) -> bool);

/// What is done, and what it may cost at most.
const WORKLOADS: [(&str, &str, Aim); 9] = [
    (
        "a",
        "upload of 200 files of 4 KiB into one new folder",
        ("at most 6 calls and 5 s", |of| {
            of.calls.total_v1() <= 6 && of.wall <= Duration::from_secs(5)
        }),
    ),
    (
        "b",
        "the same as 20 folders of 10",
        (
            "at most 21 folder creations, 20 groups, 4 other calls",
            |of| {
                let (made, groups) = (
                    of.calls.get("folder/mkdir"),
                    of.calls.get("upload/get_upload_server"),
                );
                made <= 21 && groups <= 20 && of.calls.total_v1() - made - groups <= 4
            },
        ),
    ),
    (
        "c",
        "the same again, nothing changed (warm)",
        ("0 calls", |of| of.calls.total_v1() == 0),
    ),
    (
        "d-warm",
        "recursive listing of (b), warm",
        ("0 calls", |of| of.calls.total_v1() == 0),
    ),
    (
        "d-cold",
        "recursive listing of (b), cold",
        ("21 calls", |of| of.calls.total_v1() <= 21),
    ),
    (
        "e",
        "deletion of the 200 files of (a)",
        ("2 calls", |of| of.calls.total_v1() <= 2),
    ),
    (
        "e-single",
        "deletion of 200 files, one in each request",
        ("2 calls and one for each 64 clients", |of| {
            of.calls.total_v1() <= 2 + 4
        }),
    ),
    (
        "f",
        "50 ranges of 64 KiB from one file of 64 MiB",
        ("1 token and no other call", |of| {
            of.calls.total_v1() <= 1 && of.calls.get("download/get_token") <= 1
        }),
    ),
    (
        "g",
        "moving 100 files to another folder, one in each request (64 clients: 2 calls at the least)",
        ("1 call", |of| of.calls.total_v1() <= 1),
    ),
];

pub(crate) fn print(ours: &[Outcome], theirs: &[Outcome]) {
    for (workload, title, aim) in WORKLOADS {
        let ours = ours.iter().find(|of| of.workload == workload);
        let theirs = theirs.iter().find(|of| of.workload == workload);
        if ours.is_none() && theirs.is_none() {
            continue;
        }
        println!("\n({workload}) {title}");
        println!(
            "  {:<30}{:>10}{:>10}{:>12}",
            "", "server", "rclone", "ratio"
        );
        let names: BTreeSet<String> = [ours, theirs]
            .into_iter()
            .flatten()
            .flat_map(|side| side.calls.iter())
            .map(|(name, _)| name.to_owned())
            .collect();
        // What was stopped would have cost more.
        let row = |name: &str, value: &dyn Fn(&Outcome) -> f64, digits: usize, ratio: bool| {
            let sign = |side: &Outcome| {
                if ratio && side.problem.is_some() {
                    "> "
                } else {
                    ""
                }
            };
            let cell = |side: Option<&Outcome>| {
                side.map_or("-".to_owned(), |side| {
                    format!("{}{:.digits$}", sign(side), value(side))
                })
            };
            let quotient = match (ours, theirs) {
                (Some(ours), Some(theirs))
                    if ratio && ours.problem.is_none() && value(ours) > 0.0 =>
                {
                    format!("{}{:.1}", sign(theirs), value(theirs) / value(ours))
                }
                _ => String::new(),
            };
            println!(
                "  {name:<30}{:>10}{:>10}{quotient:>12}",
                cell(ours),
                cell(theirs)
            );
        };
        for name in &names {
            row(name, &|of| of.calls.get(name) as f64, 0, false);
        }
        row("calls to /v1", &|of| of.calls.total_v1() as f64, 0, true);
        row("flood answers", &|of| of.calls.floods() as f64, 0, false);
        row("wall time, s", &|of| of.wall.as_secs_f64(), 2, true);
        if let Some(groups) = ours
            .map(|of| &of.groups)
            .filter(|groups| !groups.is_empty())
        {
            println!("  files in each upload of the server: {groups:?}");
        }
        for (side, of) in [("server", ours), ("rclone", theirs)] {
            if let Some(problem) = of.and_then(|of| of.problem.as_ref()) {
                println!("  {side}: {problem}");
            }
        }
        if let Some(ours) = ours {
            let (text, met) = aim;
            let verdict = match &ours.problem {
                Some(_) => "not measured",
                None if met(ours) && ours.calls.floods() == 0 => "met",
                None => "NOT MET",
            };
            println!("  aim: {text}, no flood: {verdict}");
        }
    }
    let floods: u64 = ours.iter().map(|of| of.calls.floods()).sum();
    let verdict = if floods == 0 { "met" } else { "NOT MET" };
    println!("\nfloods caused by the server in all: {floods}; aim: none: {verdict}");
}
