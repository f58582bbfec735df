//! A gRPC server that offers one storage-backend service over the 1Fichier
//! HTTP API.
//!
//! A module uses only what stands below it:
//!
//! ```text
//! cli (client commands)        server (listeners, health, shutdown) ── config
//!      │                            │
//!      └──────────────────────── grpc (the face: rights, convert, stream, map errors)
//!                                   │
//!                                access (tokens and their rights)
//!                                   │
//!                                backend (rclone's operations on paths)
//!                                   │
//!                         catalog ── transfer (tree in memory; moving content)
//!                                   │
//!                                fichier (typed client, request budget)
//!
//! checksum, clock, encoding, error, proto, tls: leaves that all may use
//! emulator: stands alone; used by `serve --emulator` and tests
//! ```

pub mod access;
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
pub mod proto;
pub mod server;
pub mod tls;
pub mod transfer;
