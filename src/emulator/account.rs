//! Accounts of the emulated service.

use serde::{Deserialize, Serialize};

/// The key of the account that [`super::Options::default`] makes: 32 characters like a real one
/// [API B], and of no use anywhere else.
pub const DEMO_API_KEY: &str = "demo-key_for=the-local_emulator=";

/// A kind of account [API B].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offer {
    /// Registered, not paying: no download tokens, 50 GB per file.
    Free,
    /// Paying.
    #[default]
    Premium,
    /// Paying, without storage.
    Access,
    /// Paying, and never in need of CDN credits.
    Gold,
}

impl Offer {
    /// The digit in `user/info` [API §19].
    pub(super) fn code(self) -> &'static str {
        match self {
            Offer::Free => "0",
            Offer::Premium => "1",
            Offer::Access => "2",
            Offer::Gold => "3",
        }
    }

    /// The largest file such an account may upload, in bytes [API §4.4].
    pub(super) fn file_limit(self) -> u64 {
        match self {
            Offer::Free => 50_000_000_000,
            Offer::Premium | Offer::Access | Offer::Gold => 300_000_000_000,
        }
    }
}

/// An account to begin with. Everything in it is empty at first.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountOptions {
    /// The keys that open it.
    pub api_keys: Vec<String>,
    /// What kind of account it is.
    pub offer: Offer,
    /// How much it may store, in bytes.
    pub quota_bytes: u64,
    /// The address it is registered with.
    pub email: String,
    /// Its password, for uploads with `user` and `pass` [API §4.2].
    pub password: Option<String>,
    /// Whether uploads are refused (`upload_forbidden` in `user/info`).
    pub upload_forbidden: bool,
    /// CDN credits in GB.
    pub cdn_credits: f64,
    /// What `user/info` reports as cold storage, in bytes, beside the files really there.
    pub cold_storage: u64,
    /// Whether the account is locked, so that its files cannot be downloaded: `Owner locked #620`.
    pub locked: bool,
}

impl Default for AccountOptions {
    fn default() -> AccountOptions {
        AccountOptions {
            api_keys: vec![DEMO_API_KEY.to_owned()],
            offer: Offer::Premium,
            quota_bytes: 1_000_000_000_000,
            email: "demo@example.org".to_owned(),
            password: None,
            upload_forbidden: false,
            cdn_credits: 0.0,
            cold_storage: 0,
            locked: false,
        }
    }
}

/// Whether a key has the form of one: 32 characters of `[A-Za-z0-9-_=]` [API B].
pub(super) fn is_key(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_key_has_the_form_of_a_key() {
        assert!(is_key(DEMO_API_KEY));
        assert!(!is_key("short"));
        assert!(!is_key("demo key for the local emulator."));
    }
}
