//! Secrets: what is sent to 1Fichier and shown nowhere.

use std::fmt;
use std::sync::Arc;

use super::{Hosts, ShareId};

/// The secret that names the account. Never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ApiKey(Arc<str>);

impl ApiKey {
    /// Takes the text of a key; blanks around it are cut.
    ///
    /// # Errors
    /// When it is empty or cannot stand in an HTTP header.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the API key is empty");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "the API key has characters that no key has; copy it again from 1Fichier's console",
            );
        }
        Ok(Self(text.into()))
    }
}

impl ApiKey {
    /// The text, for the Authorization header.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Tells one key from another without giving it away.
    pub(super) fn fingerprint(&self, hosts: &Hosts) -> String {
        fingerprint(&format!("pluton-fichier {} {}", hosts.api(""), self.0))
    }

    /// How earlier versions told one public folder from another: with the key.
    pub(super) fn former_share_fingerprint(
        &self,
        hosts: &Hosts,
        id: &ShareId,
        password: Option<&Password>,
    ) -> String {
        fingerprint(&format!(
            "pluton-fichier {} {} {:?}",
            hosts.shared_folder(id.as_str()),
            self.0,
            password.map(Password::candidates)
        ))
    }
}

/// Tells one public folder from another, as it is seen with a password: what
/// was listed with the right one is not for a remote with a wrong one. The key
/// that it is read with does not matter.
pub(super) fn share_fingerprint(
    hosts: &Hosts,
    id: &ShareId,
    password: Option<&Password>,
) -> String {
    fingerprint(&format!(
        "pluton-fichier shared folder {} {:?}",
        hosts.shared_folder(id.as_str()),
        password.map(Password::candidates)
    ))
}

/// Tells one account from another without telling its address, which may be
/// written in any case.
pub(super) fn account_fingerprint(hosts: &Hosts, email: &str) -> Option<String> {
    let email = email.trim().to_lowercase();
    let text = format!("pluton-fichier account {} {email}", hosts.api(""));
    (!email.is_empty()).then(|| fingerprint(&text))
}

fn fingerprint(text: &str) -> String {
    use sha2::Digest;
    crate::checksum::hex(&sha2::Sha256::digest(text)[..12])
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// A password of files or folders at 1Fichier. Never shown.
///
/// `rclone config` stores passwords obscured, and rclone's `fichier` backend
/// sends them as they stand, so a value may be meant either way: all that it
/// may mean are tried, the likeliest first.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Password(Arc<[String]>);

impl Password {
    /// A password, as the values that it may mean; the likeliest first.
    pub fn new(candidates: impl IntoIterator<Item = String>) -> Self {
        Self(candidates.into_iter().collect())
    }

    /// What to try, in this order.
    pub fn candidates(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}
