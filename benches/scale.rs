//! What an account costs the server as it grows from 10,000 to 1,000,000
//! files: start-up time, Stat latency, recursive List throughput, peak memory.
//!
//! `cargo bench --bench scale [-- --folders N,N,…]`
//!
//! Folders of 500 files; the account is the emulator in this process, without
//! limits. Each size begins with an empty state directory, which one recursive
//! List fills; what is measured is the next server on it, which lists nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark fails by panicking"
)]

use std::path::Path;
use std::time::Duration;

use pluton_fichier::catalog::Settings;
use pluton_fichier::emulator::{Control, DEMO_API_KEY, Emulator, Limits, Options};
use pluton_fichier::proto::*;
use tokio::time::Instant;

mod process;

use process::{Client, Process, connect};

const PER_FOLDER: usize = 500;
const STATS: usize = 2_000;
/// Folders whose files are asked for when they must be in memory.
const HOT: usize = 20;

fn folder_name(index: usize) -> String {
    format!("folder-{index:04}")
}

fn path(folder: usize, file: usize) -> String {
    format!("{}/file-{file:05}", folder_name(folder))
}

fn grow(control: &Control, from: usize, to: usize) {
    for index in from..to {
        let id = control.add_folder(0, &folder_name(index));
        control.add_many_files(id, "file-", PER_FOLDER, 1_000);
    }
}

async fn list(client: &mut Client) -> (usize, Duration) {
    let start = Instant::now();
    let request = ListRequest {
        recursive: true,
        page_size: 5_000,
        ..ListRequest::default()
    };
    let mut pages = client.list(request).await.unwrap().into_inner();
    let mut entries = 0;
    while let Some(page) = pages.message().await.unwrap() {
        assert!(page.failures.is_empty(), "{:?}", page.failures);
        entries += page.entries.len();
    }
    (entries, start.elapsed())
}

async fn stat(client: &mut Client, path: String) -> Duration {
    let start = Instant::now();
    let request = StatRequest {
        path,
        ..StatRequest::default()
    };
    client.stat(request).await.unwrap();
    start.elapsed()
}

/// Median and 99th percentile over random files of so many folders, in ms.
async fn stats(client: &mut Client, folders: usize) -> [f64; 2] {
    let mut times = Vec::with_capacity(STATS);
    for _ in 0..STATS {
        let path = path(fastrand::usize(..folders), fastrand::usize(..PER_FOLDER));
        times.push(stat(client, path).await);
    }
    times.sort();
    [STATS / 2, STATS * 99 / 100].map(|at| times[at].as_secs_f64() * 1e3)
}

/// One figure of a size: its name, its value, and whether it should stay flat.
struct Figure(&'static str, f64);

async fn measure(api: &str, keyfile: &Path, folders: usize, control: &Control) -> Vec<Figure> {
    let state = tempfile::tempdir().unwrap();
    let options = ["--calls-per-second", "0", "--freshness", "1000000"];
    let files = folders * PER_FOLDER;

    let (server, address) = Process::serve(api, keyfile, state.path(), &options);
    let (entries, filling) = list(&mut connect(&address).await).await;
    assert_eq!(entries, files + folders);
    let (filling_peak, _) = server.memory();
    server.end();
    let disk = tree_bytes(state.path());

    control.reset_calls();
    let start = Instant::now();
    let (server, address) = Process::serve(api, keyfile, state.path(), &options);
    let startup = start.elapsed();
    let (_, idle) = server.memory();
    let mut client = connect(&address).await;
    let first = stat(&mut client, path(folders / 2, 7)).await;
    let random = stats(&mut client, folders).await;
    let warm_up = HOT.min(folders);
    for folder in 0..warm_up {
        stat(&mut client, path(folder, 0)).await;
    }
    let hot = stats(&mut client, warm_up).await;
    let (_, cold_list) = list(&mut client).await;
    let (_, warm_list) = list(&mut client).await;
    let (peak, _) = server.memory();
    let calls = control.calls().total_v1();
    server.end();
    assert_eq!(calls, 0, "a warm start lists nothing");

    let each = |time: Duration| time.as_secs_f64() * 1e6 / entries as f64;
    vec![
        Figure("entries", entries as f64),
        Figure("filling it: one List, s", filling.as_secs_f64()),
        Figure("  µs for each entry", each(filling)),
        Figure("  peak memory, MiB", filling_peak),
        Figure(
            "state on disk, bytes an entry",
            disk as f64 / entries as f64,
        ),
        Figure("start-up, ms", startup.as_secs_f64() * 1e3),
        Figure("  µs for each entry", each(startup)),
        Figure("memory after start-up, MiB", idle),
        Figure("first Stat, ms", first.as_secs_f64() * 1e3),
        Figure("Stat, any file, p50, ms", random[0]),
        Figure("Stat, any file, p99, ms", random[1]),
        Figure("Stat, 20 folders, p50, ms", hot[0]),
        Figure("Stat, 20 folders, p99, ms", hot[1]),
        Figure(
            "List, first, entries/s",
            entries as f64 / cold_list.as_secs_f64(),
        ),
        Figure("  µs for each entry", each(cold_list)),
        Figure(
            "List, again, entries/s",
            entries as f64 / warm_list.as_secs_f64(),
        ),
        Figure("  µs for each entry", each(warm_list)),
        Figure("peak memory, MiB", peak),
        Figure(
            "  bytes for each entry",
            peak * 1_048_576.0 / entries as f64,
        ),
        Figure("calls to 1Fichier", calls as f64),
    ]
}

fn tree_bytes(directory: &Path) -> u64 {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let data = entry.metadata().unwrap();
            if data.is_dir() {
                tree_bytes(&entry.path())
            } else {
                data.len()
            }
        })
        .sum()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let sizes: Vec<usize> = args
        .iter()
        .position(|arg| arg == "--folders")
        .map_or("20,200,2000", |at| &args[at + 1])
        .split(',')
        .map(|size| size.parse().unwrap())
        .collect();
    assert!(sizes.is_sorted(), "the account only grows");
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(run(&sizes));
}

async fn run(sizes: &[usize]) {
    let options = Options {
        limits: Limits::none(),
        ..Options::default()
    };
    let emulator = Emulator::start(options).await.unwrap();
    let control = emulator.control();
    let keyfile = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keyfile.path(), DEMO_API_KEY).unwrap();
    let mut columns = Vec::new();
    let mut present = 0;
    for folders in sizes {
        grow(&control, present, *folders);
        present = *folders;
        columns.push(measure(&emulator.api_url(), keyfile.path(), present, &control).await);
        eprintln!("measured {} files", present * PER_FOLDER);
    }
    print!("{:<34}", "");
    for folders in sizes {
        print!("{:>14}", format!("{} files", folders * PER_FOLDER));
    }
    println!("{:>16}", "last / first");
    for (row, Figure(name, first)) in columns[0].iter().enumerate() {
        print!("{name:<34}");
        for column in &columns {
            print!("{:>14.*}", digits(column[row].1), column[row].1);
        }
        let last = columns[columns.len() - 1][row].1;
        let growth = if *first > 0.0 {
            format!("{:.2}", last / first)
        } else {
            String::new()
        };
        println!("{growth:>16}");
    }
    println!(
        "entries held in memory at the most: {} (the rest is on disk)",
        Settings::default().max_entries
    );
}

fn digits(value: f64) -> usize {
    if value >= 1_000.0 || value == 0.0 {
        0
    } else {
        2
    }
}
