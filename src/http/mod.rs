//! What the HTTP faces have in common: bodies in and out, ranges, and errors as
//! statuses. What they speak is theirs (`webdav`, `restic`).

mod call;
mod failure;
mod origin;
mod range;
mod receive;
mod send;

pub use axum::body::Body;
pub use call::{ANSWER, Call, scope};
pub use failure::{Failure, answer, refusal, status};
pub use origin::{check_host, is_of_another_site, names_this_machine};
pub use range::{Wanted, wanted};
pub use receive::{drain, next_piece, receive, receive_as};
pub use send::{date, file, file_as, head};

/// A request to a face.
pub type Request = http::Request<Body>;
/// Its answer.
pub type Response = http::Response<Body>;
