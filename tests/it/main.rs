//! Behaviour through the public gRPC surface, against the emulator with its
//! limits on, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bad_input;
mod batches;
mod discovery;
mod harness;
mod operations;
mod persistence;
mod streams;
