//! Public links of files and directories.

use super::directories::{ATTEMPTS, unstable};
use super::entry::EntryKind;
use super::path::RemotePath;
use super::resolve::Found;
use super::twins::{FileAt, FolderAt};
use super::{AtPath, Remote};
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, Kind, Password, Priority, Scope};

/// The shortest password that 1Fichier takes, in characters ([API §13, §16]).
const SHORTEST: usize = 6;

/// What is asked of a link.
#[derive(Clone, Debug, Default)]
pub struct LinkOptions {
    /// Take it away.
    pub revoke: bool,
    /// Whoever follows it needs this password.
    pub password: Option<Password>,
}

/// Why there is no link.
enum Refusal {
    /// 1Fichier does not know what the path named.
    Gone(EntryKind),
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl LinkOptions {
    fn check(&self) -> Result<()> {
        let Some(password) = &self.password else {
            return Ok(());
        };
        let why = |text: &str| {
            if self.revoke {
                Some("a link that is taken away needs none")
            } else if text.chars().count() < SHORTEST {
                Some("1Fichier wants at least 6 characters")
            } else if text.chars().any(char::is_control) {
                Some("it has control characters, which nobody can type; was a line break left in?")
            } else {
                None
            }
        };
        match password.candidates().iter().find_map(|text| why(text)) {
            Some(why) => Err(Error::invalid_field("password", why)),
            None => Ok(()),
        }
    }
}

impl Remote {
    /// The public URL of a file or directory; an empty one after a revocation.
    ///
    /// # Errors
    /// READ_ONLY, INVALID_PATH for the root, FILE_NOT_FOUND, INVALID_FIELD for a password
    /// that cannot be one. CAPABILITY_MISSING when the link of a file is to be
    /// taken away.
    pub async fn public_link(
        &self,
        scope: Scope,
        path: &RemotePath,
        options: LinkOptions,
    ) -> Result<String> {
        options.check()?;
        if options.revoke || options.password.is_some() {
            self.check_writable()?;
        }
        let scope = scope.with_priority(Priority::Upload);
        let mut was_directory = false;
        for _ in 0..ATTEMPTS {
            match self.link_once(scope, path, &options).await {
                Ok(link) => return Ok(link),
                // What memory named is gone: another one may have its path.
                Err(Refusal::Gone(kind)) => was_directory = kind == EntryKind::Directory,
                Err(Refusal::Failed(error))
                    if was_directory && error.reason() == Reason::FileNotFound =>
                {
                    return Err(Error::directory_not_found(path.as_str()));
                }
                Err(Refusal::Failed(error)) => return Err(error),
            }
        }
        Err(unstable(path))
    }

    async fn link_once(
        &self,
        scope: Scope,
        path: &RemotePath,
        options: &LinkOptions,
    ) -> std::result::Result<String, Refusal> {
        // A link is for others, who keep it: it is not told from old memory.
        match self.find_now(scope, path).await? {
            Found::Root => Err(Error::invalid_path(
                "",
                "the root has no public link; give one to the directories in it",
            )
            .into()),
            Found::Nothing => Err(Error::new(
                Reason::FileNotFound,
                format!("there is nothing at {path:?}"),
            )
            .at(path.as_str())
            .into()),
            Found::Files { files, .. } => {
                self.file_link(scope, path, &files[0], options.clone())
                    .await
            }
            Found::Folder(directory) => {
                let at = directory.only(path)?.clone();
                self.folder_link(scope, path, at, options.clone()).await
            }
        }
    }

    /// A file has one URL for its whole life.
    async fn file_link(
        &self,
        scope: Scope,
        path: &RemotePath,
        at: &FileAt,
        options: LinkOptions,
    ) -> std::result::Result<String, Refusal> {
        let account = &self.account;
        let FileAt { folder, ref file } = *at;
        if options.revoke {
            let protected = if file.password {
                "; its password stays as it is"
            } else {
                ""
            };
            return Err(Error::new(
                Reason::CapabilityMissing,
                format!(
                    "the link of the file {path:?} cannot be taken away, as 1Fichier gives each file one URL \
                     for its whole life: protect it with a password, or delete the file{protected}"
                ),
            )
            .at(path.as_str())
            .with("capability", "REVOKE_FILE_LINK")
            .into());
        }
        let link = account.client.file_link(&file.url).at_path(path)?;
        let Some(password) = options.password else {
            return Ok(link);
        };
        // It is entered even if the caller goes away.
        let (account, url) = (account.clone(), file.url.clone());
        let task = self.account.tasks.spawn(async move {
            let client = &account.client;
            let intent = account.changing(&[folder], Vec::new()).await?;
            let outcome = client.protect_file(scope, &url, &password).await;
            match &outcome {
                Ok(()) => {
                    account.catalog.file_protected(folder, &url, true);
                    intent.done();
                    account.catalog.settle().await?;
                }
                Err(error) if error.outcome_unknown() => {}
                Err(_) => intent.done(),
            }
            outcome
        });
        match task.await.map_err(stopped)? {
            Ok(()) => Ok(link),
            Err(error) if error.kind() == Kind::NotFound => {
                self.found_again(scope, path, at, &error).await?;
                Err(Refusal::Gone(EntryKind::File))
            }
            Err(error) => Err(refused(error).at(path.as_str()).into()),
        }
    }

    async fn folder_link(
        &self,
        scope: Scope,
        path: &RemotePath,
        at: FolderAt,
        options: LinkOptions,
    ) -> std::result::Result<String, Refusal> {
        self.check_writable()?;
        let FolderAt { parent, folder } = at;
        let id = folder.id;
        let (account, revoke) = (self.account.clone(), options.revoke);
        let task = self.account.tasks.spawn(async move {
            let client = &account.client;
            if revoke {
                client.unshare_folder(scope, folder.id).await?;
                return Ok(String::new());
            }
            let password = options.password.as_ref();
            let intent = account.changing(&[parent], Vec::new()).await?;
            let shared = client.share_folder(scope, folder.id, password).await;
            match &shared {
                Ok(_) if password.is_some() => {
                    account.catalog.folder_protected(parent, folder.id, true);
                }
                _ => {}
            }
            intent.done();
            let kept = account.catalog.settle().await;
            let link: String = shared?;
            kept?;
            Ok::<_, fichier::Error>(link)
        });
        match task.await.map_err(stopped)? {
            Ok(link) => Ok(link),
            Err(error) if error.kind() == Kind::NotFound => {
                self.account.catalog.folder_gone(id);
                Err(Refusal::Gone(EntryKind::Directory))
            }
            Err(error) => {
                let perhaps_public =
                    !revoke && (error.outcome_unknown() || error.kind() == Kind::ForeignHost);
                let error = refused(error).at(path.as_str());
                Err(if perhaps_public {
                    error.also(
                        "the directory may be public now; revoke its link if that is not wanted",
                    )
                } else {
                    error
                }
                .into())
            }
        }
    }
}

fn stopped(error: tokio::task::JoinError) -> Error {
    Error::internal(format!("a change of a link stopped: {error}"))
}

/// The password that is meant is the one that should be set.
fn refused(error: fichier::Error) -> Error {
    if error.is_about_password() {
        let why = format!("1Fichier refuses it: {}", error.text());
        return Error::invalid_field("password", why);
    }
    error.into()
}
