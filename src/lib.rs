//! A gRPC server that offers one storage-backend service over the 1Fichier HTTP API.

pub mod backend;
pub mod emulator;
