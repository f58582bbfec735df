//! What a call turns out to concern, for whoever logs it.

use std::sync::{Arc, OnceLock};

use tonic::Extensions;

/// The remote of a call, which only its message tells. Whoever logs puts one
/// into the request.
#[derive(Clone, Debug, Default)]
pub struct Called(Arc<OnceLock<String>>);

impl Called {
    /// The remote, if the call named one that there is.
    pub fn remote(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    pub(super) fn concerns(&self, remote: &str) {
        let _ = self.0.set(remote.to_owned());
    }
}

/// That of a request, or one that nobody reads.
pub(super) fn called(extensions: &Extensions) -> Called {
    extensions.get::<Called>().cloned().unwrap_or_default()
}
