//! The status page: one document that needs nothing from elsewhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

const FRAME: &str = include_str!("page/status.html");
const STYLE: &str = include_str!("page/status.css");
const SCRIPT: &str = include_str!("page/status.js");

/// The page, and what it may load: itself.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) html: Bytes,
    pub(super) policy: String,
}

impl Page {
    pub(super) fn new() -> Self {
        let html = FRAME
            .replace("{{style}}", STYLE)
            .replace("{{script}}", SCRIPT);
        Self {
            html: html.into(),
            policy: format!(
                "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; \
                 connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                hash(STYLE),
                hash(SCRIPT)
            ),
        }
    }
}

/// As a policy names what it allows.
pub(super) fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}
