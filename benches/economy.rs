//! What everyday work costs in calls and time under 1Fichier's documented
//! limits, through this server and with rclone's own `fichier` backend.
//!
//! `cargo bench --bench economy [-- --only a,b] [--skip-rclone] [--rclone-timeout SECONDS]`
//!
//! The account is the emulator in this process; this server and rclone are
//! processes of their own. Each workload begins with limits that nothing was
//! taken from.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark fails by panicking"
)]

use std::time::Duration;

#[path = "economy/ours.rs"]
mod ours;
mod process;
#[path = "economy/rclone.rs"]
mod rclone;
#[path = "economy/table.rs"]
mod table;

use process::number;

/// Files of the uploads, and their size.
const FILES: usize = 200;
const SMALL: usize = 4 << 10;
/// The folders of (b).
const FOLDERS: usize = 20;
/// The file of (f), and what is read of it.
const LARGE: usize = 64 << 20;
const RANGE: usize = 64 << 10;
const RANGES: usize = 50;
/// Files of (g).
const MOVED: usize = 100;

/// Different bytes for each name.
fn content(name: &str, size: usize) -> Vec<u8> {
    let seed = name.bytes().fold(size as u64, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut random = fastrand::Rng::with_seed(seed);
    (0..size).map(|_| random.u8(..)).collect()
}

/// The paths of (a) and of (b), in the order of a walk through a directory.
fn flat() -> Vec<String> {
    (0..FILES)
        .map(|index| format!("flat/{index:03}.bin"))
        .collect()
}

fn tree() -> Vec<String> {
    (0..FILES)
        .map(|index| {
            let folder = index / (FILES / FOLDERS);
            format!("dir{folder:02}/{index:03}.bin")
        })
        .collect()
}

/// Where the ranges of (f) begin.
fn offsets() -> Vec<usize> {
    let step = LARGE / RANGES;
    (0..RANGES).map(|index| index * step).collect()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let only = args
        .iter()
        .position(|arg| arg == "--only")
        .map(|at| args[at + 1].clone());
    let selected = move |workload: &str| {
        only.as_ref()
            .is_none_or(|only| only.split(',').any(|one| one == workload))
    };
    let cap = Duration::from_secs(number(&args, "--rclone-timeout", 600) as u64);
    let skip = args.iter().any(|arg| arg == "--skip-rclone");
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let ours = ours::run(&selected).await;
            let theirs = if skip {
                Err("--skip-rclone".to_owned())
            } else {
                rclone::run(&selected, cap).await
            };
            if let Err(reason) = &theirs {
                println!("rclone is left out: {reason}");
            }
            table::print(&ours, &theirs.unwrap_or_default());
        });
}
