//! The gRPC face: converts messages, keeps the rules of streams, and maps
//! errors. What the operations mean is the backend's business.

mod activity;
mod called;
mod codec;
mod convert;
mod deadline;
mod dedupe_stream;
mod demand;
mod get_stream;
mod guard;
mod list_stream;
mod purge_stream;
mod put_stream;
mod rights;
mod service;
mod status;

pub use called::Called;
pub use codec::Codec;
pub(crate) use codec::undecodable;
pub use convert::MAX_CHUNK;
pub use guard::Guarded;
#[cfg(fuzzing)]
pub use list_stream::fuzz_token;
pub use rights::no_token;
pub use service::StorageService;
pub(crate) use status::status as to_status;
