//! Download URLs, and copies of what may need a password ([API §2, §12]).

use serde_json::json;

use super::budget::{Rule, Scope};
use super::error::{Error, Kind};
use super::model::{Batch, RawBatch, RawToken};
use super::secret::Password;
use super::{Client, Repeat};

/// How files are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// Password of the files.
    pub password: Option<Password>,
    /// Read with CDN credits.
    pub cdn: bool,
}

impl Client {
    /// A download URL, good for several reads within 5 minutes.
    pub async fn download_token(
        &self,
        scope: Scope,
        url: &str,
        access: &Access,
    ) -> Result<reqwest::Url, Error> {
        const ENDPOINT: &str = "download/get_token";
        let mut guess = self.passwords.guess(access.password.as_ref());
        let raw: RawToken = loop {
            let mut body = json!({"url": url, "single": 0});
            if let Some(pass) = guess.text() {
                body["pass"] = pass.into();
            }
            if access.cdn {
                body["cdn"] = 1.into();
            }
            let outcome = self
                .call(scope, Rule::Call, ENDPOINT, &body, Repeat::Safe)
                .await;
            if let Some(outcome) = guess.settle(outcome) {
                break outcome?;
            }
        };
        let token = raw.url.0.filter(|url| !url.is_empty()).ok_or_else(|| {
            Error::new(ENDPOINT, Kind::Malformed, "1Fichier gave no download URL")
        })?;
        self.hosts.absolute(ENDPOINT, &token)
    }

    /// Copies a protected file to a folder, under its name or a new one.
    pub async fn copy_protected(
        &self,
        scope: Scope,
        url: &str,
        destination: i64,
        rename: Option<&str>,
        password: &Password,
    ) -> Result<Batch, Error> {
        let mut guess = self.passwords.guess(Some(password));
        let raw: RawBatch = loop {
            let mut body = json!({"urls": [url], "folder_id": destination});
            if let Some(pass) = guess.text() {
                body["pass"] = pass.into();
            }
            if let Some(name) = rename {
                body["rename"] = name.into();
            }
            let outcome = self
                .call(scope, Rule::Call, "file/cp", &body, Repeat::Unsafe)
                .await;
            if let Some(outcome) = guess.settle(outcome) {
                break outcome?;
            }
        };
        Ok(raw.check(&[url.to_owned()]))
    }
}
