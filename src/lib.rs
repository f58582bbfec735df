//! A gRPC server that offers one storage-backend service over the 1Fichier
//! HTTP API.
//!
//! A module uses only what stands below it:
//!
//! ```text
//! cli (client commands)        server (listeners, health, shutdown) ── config
//!      │                            │
//!      └──────────── grpc · webdav · restic (the faces: convert, stream, map errors)
//!                                   │
//!                                 http (what the HTTP faces share)
//!                                   │
//!                                access (tokens and their rights)
//!                                   │
//!                                backend (rclone's operations on paths)
//!                                   │
//!                         catalog ── transfer (tree in memory; moving content)
//!                                   │
//!                                fichier (typed client, request budget)
//!
//! checksum, clock, encoding, error, proto, quote, signals, spans, sync,
//! telemetry, tls: leaves that all may use
//! emulator: stands alone; used by `serve --emulator` and tests
//! ```

pub mod access;
pub mod admin;
pub mod backend;
pub mod catalog;
pub mod checksum;
pub mod cli;
pub mod clock;
pub mod config;
pub mod emulator;
pub mod encoding;
pub mod error;
pub mod fichier;
pub mod grpc;
pub mod http;
pub mod proto;
pub mod quote;
pub mod restic;
pub mod server;
pub mod signals;
pub mod spans;
mod sync;
#[cfg(feature = "otel")]
pub mod telemetry;
pub mod tls;
pub mod transfer;
pub mod webdav;
