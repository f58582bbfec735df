//! Moving content: buffering, hashing, uploads in groups, downloads that
//! resume.

mod download;
mod gather;
mod hasher;
mod reader;
mod report;
mod segments;
mod spool;
mod tracker;
mod upload;
mod wait;

pub use crate::checksum::{Algorithm, Algorithms, Checksum};
pub use download::{DownloadLimits, Downloads, Target};
pub(crate) use gather::{Fit, Gather};
pub use hasher::Hasher;
pub use reader::Reader;
pub use spool::{Spool, SpoolDir, SpoolPolicy, Spooled};
pub use tracker::{Direction, Progress, Slots, Totals, Tracker, TransferView};
pub use upload::{Expected, Streaming, UploadLimits, Uploaded, Uploads};
pub use wait::CONNECTION_WAIT;
