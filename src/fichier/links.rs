//! Public links and passwords of files and folders ([API §13, §16]).

use serde::Deserialize;
use serde_json::json;

use super::budget::{Rule, Scope};
use super::error::{Error, Kind};
use super::lenient::Text;
use super::model::RawBatch;
use super::{Client, Password, Repeat};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawShare {
    url: Text,
    /// In folder/ls.
    shared: Text,
}

impl Client {
    /// Gives a file a password. One that it has already is no error.
    pub async fn protect_file(
        &self,
        scope: Scope,
        url: &str,
        password: &Password,
    ) -> Result<(), Error> {
        const ENDPOINT: &str = "file/chattr";
        let secret = value(password);
        let body = json!({"urls": [url], "pass": secret});
        let outcome: Result<RawBatch, _> = self
            .call(scope, Rule::Call, ENDPOINT, &body, Repeat::Safe)
            .await;
        match outcome {
            Ok(raw) => match raw.check(&[url.to_owned()]).done.pop() {
                Some(_) => Ok(()),
                None => Err(Error::undone()),
            },
            // It has this password ([API §13]).
            Err(error) if error.kind() == Kind::NoChange => Ok(()),
            Err(error) => Err(error.without(secret)),
        }
    }

    /// Gives a folder a public link, which it keeps if it has one, and returns
    /// it. Whom else the folder is shared with stays as it is.
    pub async fn share_folder(
        &self,
        scope: Scope,
        folder: i64,
        password: Option<&Password>,
    ) -> Result<String, Error> {
        const ENDPOINT: &str = "folder/share";
        let mut body = json!({"folder_id": folder, "share": 1});
        let secret = password.map_or("", value);
        if password.is_some() {
            body["pass"] = secret.into();
        }
        let outcome: Result<RawShare, _> = self
            .call(scope, Rule::Call, ENDPOINT, &body, Repeat::Safe)
            .await;
        let told = match outcome {
            Ok(raw) => raw.url.0,
            Err(error) if error.kind() == Kind::NoChange => None,
            Err(error) => return Err(error.without(secret)),
        };
        let link = match told.filter(|url| !url.is_empty()) {
            Some(link) => link,
            None => self.folder_link(scope, folder).await?.ok_or_else(|| {
                Error::new(ENDPOINT, Kind::Malformed, "1Fichier gave no public link")
            })?,
        };
        self.hosts.folder_link(ENDPOINT, &link)
    }

    /// Takes the public link of a folder away. None is no error.
    pub async fn unshare_folder(&self, scope: Scope, folder: i64) -> Result<(), Error> {
        const ENDPOINT: &str = "folder/share";
        let body = json!({"folder_id": folder, "share": 0});
        let outcome: Result<RawShare, _> = self
            .call(scope, Rule::Call, ENDPOINT, &body, Repeat::Safe)
            .await;
        match outcome {
            Err(error) if error.kind() != Kind::NoChange => Err(error),
            _ => Ok(()),
        }
    }

    /// The public link that a folder has.
    async fn folder_link(&self, scope: Scope, folder: i64) -> Result<Option<String>, Error> {
        let body = json!({"folder_id": folder});
        let raw: RawShare = self
            .call(scope, Rule::Folders, "folder/ls", &body, Repeat::Safe)
            .await?;
        Ok(raw.shared.0.filter(|url| !url.is_empty()))
    }

    /// The public link of a file, which is the URL that listings show.
    ///
    /// # Errors
    /// When it leads elsewhere than to 1Fichier.
    pub fn file_link(&self, url: &str) -> Result<String, Error> {
        self.hosts.file_link("file/ls", url)
    }
}

/// What is meant to be set has one meaning.
fn value(password: &Password) -> &str {
    password.candidates().first().map_or("", String::as_str)
}
