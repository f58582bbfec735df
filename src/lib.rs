//! A gRPC server that offers one storage-backend service over the 1Fichier HTTP API.

pub mod emulator;
pub mod encoding;
pub mod error;
pub mod fichier;
pub mod transfer;
pub mod backend;
pub mod catalog;
pub mod grpc;
pub mod proto;
