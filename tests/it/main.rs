//! Behaviour through the public gRPC surface, against the emulator with its
//! limits on, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod account;
mod admin;
mod bad_input;
mod batches;
mod behind_our_back;
mod budget;
mod checks;
mod commands;
mod damaged;
mod dedupe;
mod discovery;
mod documents;
mod emitted;
mod faults;
mod garbage;
mod harness;
mod journal;
mod kill;
mod lag;
mod large_folders;
mod links;
mod locks;
mod long_input;
mod matrix;
mod model;
mod move_dir;
mod names;
mod newest;
mod operations;
mod others;
mod overload;
mod passwords;
mod persistence;
mod purge;
mod recorded;
mod reference;
mod relocations;
mod repairs;
mod restic;
mod secrets;
mod security;
mod segments;
mod shared_folders;
mod shutdown;
mod signals;
mod soak;
mod spans;
mod streams;
mod tokens;
mod twins;
mod upstream_matrix;
mod upstream_switches;
mod user_data;
mod webdav;
