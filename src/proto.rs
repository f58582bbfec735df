//! The contract, as generated from `proto/`.

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod generated {
    tonic::include_proto!("pluton.storage.v1");
    include!(concat!(env!("OUT_DIR"), "/client/pluton.storage.v1.rs"));
}

pub use generated::*;

impl std::fmt::Debug for PublicLinkRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicLinkRequest")
            .field("remote", &self.remote)
            .field("path", &self.path)
            .field("revoke", &self.revoke)
            .finish_non_exhaustive()
    }
}

/// The name of the package.
pub const PACKAGE: &str = "pluton.storage.v1";

/// The compiled descriptors, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
