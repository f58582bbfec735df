//! A gRPC server that offers one storage-backend service over the 1Fichier HTTP API.

pub mod cli;
pub mod emulator;
pub mod encoding;
pub mod error;
pub mod fichier;
pub mod transfer;
pub mod catalog;
pub mod proto;
