//! Moving content: buffering, hashing, uploads in groups, downloads that
//! resume.

mod batch;
mod download;
mod gather;
mod hasher;
mod report;
mod spool;
mod tracker;
mod upload;

pub use batch::{Batches, Change};
pub use download::{Downloads, Reader};
pub use hasher::{Algorithm, Checksum, Hasher};
pub use spool::{Spool, SpoolDir, Spooled};
pub use tracker::{Direction, Progress, Tracker, TransferView};
pub use upload::{Expected, Streaming, UploadLimits, Uploads};
