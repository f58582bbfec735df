//! Moving content: buffering, hashing, uploads in groups, downloads that
//! resume.

mod download;
mod hasher;
mod report;
mod spool;
mod upload;

pub use download::{Downloads, Reader};
pub use hasher::{Algorithm, Checksum, Hasher};
pub use spool::{Spool, SpoolDir, Spooled};
pub use upload::{Expected, Streaming, UploadLimits, Uploads};
