//! Behaviour through the public gRPC surface, against the emulator with its
//! limits on, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod budget;
mod checks;
mod faults;
mod harness;
mod operations;
mod upstream_matrix;
mod upstream_switches;
