//! Moving content: buffering, hashing, uploads in groups, downloads that
//! resume.

mod download;
mod gather;
mod hasher;
mod report;
mod spool;
mod tracker;
mod upload;

pub use crate::checksum::{Algorithm, Algorithms, Checksum};
pub use download::{Downloads, Reader, Target};
pub(crate) use gather::{Fit, Gather};
pub use hasher::Hasher;
pub use spool::{Spool, SpoolDir, Spooled};
pub use tracker::{Direction, Progress, Tracker, TransferView};
pub use upload::{Expected, Streaming, UploadLimits, Uploaded, Uploads};
