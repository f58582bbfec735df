//! The tokens as a running server knows them: read again when the file
//! changes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Caller, Digest, Token, TokenFile};

/// So late a new token is known and a revoked one refused.
const POLL: Duration = Duration::from_secs(2);

/// What is known of the tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokens {
    known: watch::Receiver<Arc<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Every call needs one, but those on a private socket.
    needed: bool,
    /// Those need one, too.
    always: bool,
    tokens: Vec<Arc<Token>>,
}

impl Tokens {
    /// Reads the tokens. With `always`, nobody is trusted without one. The
    /// future looks for changes, also when `hurry` tells it to; it never ends.
    ///
    /// # Errors
    /// One line, when the file is not usable.
    pub async fn open(
        file: TokenFile,
        always: bool,
        hurry: watch::Receiver<u64>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), String> {
        let bytes = read(&file).await?;
        let first = Known {
            needed: always || bytes.is_some(),
            always,
            tokens: parse(&file, bytes.as_deref())?,
        };
        let (sender, known) = watch::channel(Arc::new(first));
        Ok((Self { known }, follow(file, bytes, sender, hurry)))
    }

    /// Whether calls over TCP need a token.
    pub fn needed(&self) -> bool {
        self.known.borrow().needed
    }

    /// Whose call it is that came with this token, or without. `None`: nobody's.
    pub fn caller(&self, presented: Option<&[u8]>, private: bool) -> Option<Caller> {
        let known = Arc::clone(&self.known.borrow());
        match presented {
            Some(secret) => known.holder(secret).map(Caller::Holder),
            None if known.always || (known.needed && !private) => None,
            None => Some(Caller::Trusted),
        }
    }

    /// Ends when the token is not valid any more, or has other rights.
    pub async fn revoked(mut self, token: Arc<Token>) {
        let gone = |known: &Arc<Known>| !known.tokens.contains(&token);
        if self.known.wait_for(gone).await.is_err() {
            // The server is gone, and its calls end with it.
            std::future::pending().await
        }
    }
}

impl Known {
    /// All are compared, so that the time does not tell which one it was.
    fn holder(&self, secret: &[u8]) -> Option<Arc<Token>> {
        let digest = Digest::of(secret);
        let mut holder = None;
        for token in &self.tokens {
            if token.digest.matches(&digest) {
                holder = Some(Arc::clone(token));
            }
        }
        holder
    }
}

async fn read(file: &TokenFile) -> Result<Option<Vec<u8>>, String> {
    let file = file.clone();
    tokio::task::spawn_blocking(move || file.read())
        .await
        .unwrap_or_else(|error| Err(format!("reading the tokens failed: {error}")))
}

fn parse(file: &TokenFile, bytes: Option<&[u8]>) -> Result<Vec<Arc<Token>>, String> {
    let tokens = bytes.map(|bytes| file.parse(bytes)).transpose()?;
    Ok(tokens.into_iter().flatten().map(Arc::new).collect())
}

async fn follow(
    file: TokenFile,
    mut bytes: Option<Vec<u8>>,
    sender: watch::Sender<Arc<Known>>,
    mut hurry: watch::Receiver<u64>,
) {
    let mut complaint = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            Ok(()) = hurry.changed() => {}
        }
        let tokens = match read(&file).await {
            Ok(found) if found == bytes && complaint.is_none() => continue,
            Ok(found) => {
                let tokens = parse(&file, found.as_deref());
                bytes = found;
                tokens
            }
            Err(error) => Err(error),
        };
        match tokens {
            Ok(tokens) => {
                complaint = None;
                tracing::info!(tokens = tokens.len(), "the tokens have changed");
                sender.send_modify(|known| {
                    // Without the file nobody has a token; that opens no door.
                    *known = Arc::new(Known {
                        needed: known.needed || bytes.is_some(),
                        always: known.always,
                        tokens,
                    });
                });
            }
            Err(error) if complaint.as_ref() == Some(&error) => {}
            Err(error) => {
                tracing::error!("{error}; those known before stay valid");
                complaint = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Mode, Prefix, Secret};

    struct Following {
        _dir: tempfile::TempDir,
        file: TokenFile,
        tokens: Tokens,
        _task: tokio_util::task::AbortOnDropHandle<()>,
        _hurry: watch::Sender<u64>,
    }

    async fn following(always: bool) -> Following {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::within(dir.path());
        let (hurry, hurried) = watch::channel(0);
        let (tokens, task) = Tokens::open(file.clone(), always, hurried).await.unwrap();
        Following {
            _dir: dir,
            file,
            tokens,
            _task: tokio_util::task::AbortOnDropHandle::new(tokio::spawn(task)),
            _hurry: hurry,
        }
    }

    impl Following {
        fn add(&self, name: &str) -> String {
            let secret = Secret::generate().unwrap();
            let digest = secret.digest();
            self.file
                .add(name, &Prefix::everything(), Mode::Full, &digest)
                .unwrap();
            secret.reveal().to_owned()
        }

        fn name(&self, secret: &str) -> Option<String> {
            let caller = self.tokens.caller(Some(secret.as_bytes()), true)?;
            caller.name().map(str::to_owned)
        }
    }

    async fn a_while() {
        tokio::time::sleep(2 * POLL).await;
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_come_and_go_while_the_server_runs() {
        let following = following(false).await;
        assert!(!following.tokens.needed());
        assert!(following.tokens.caller(None, false).is_some());
        let (one, two) = (following.add("one"), following.add("two"));
        a_while().await;
        assert!(following.tokens.caller(None, false).is_none());
        assert!(following.tokens.caller(None, true).is_some());
        assert_eq!(following.name(&one).as_deref(), Some("one"));
        assert_eq!(following.name(&two).as_deref(), Some("two"));
        assert_eq!(following.name("pf_nonsense"), None);
        let Some(Caller::Holder(token)) = following.tokens.caller(Some(one.as_bytes()), true)
        else {
            panic!("the token is valid");
        };
        let revoked = tokio::spawn(following.tokens.clone().revoked(token));
        following.file.remove("one").unwrap();
        revoked.await.unwrap();
        assert_eq!(following.name(&one), None);
        assert_eq!(following.name(&two).as_deref(), Some("two"));
        // The last one gone does not open the door, nor does the whole file.
        following.file.remove("two").unwrap();
        a_while().await;
        assert!(following.tokens.caller(None, false).is_none());
        std::fs::remove_file(following.file.path()).unwrap();
        a_while().await;
        assert!(following.tokens.caller(None, false).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_file_changes_nothing() {
        let following = following(false).await;
        let one = following.add("one");
        a_while().await;
        let good = std::fs::read(following.file.path()).unwrap();
        std::fs::write(following.file.path(), "{").unwrap();
        a_while().await;
        assert_eq!(following.name(&one).as_deref(), Some("one"));
        std::fs::write(following.file.path(), good).unwrap();
        following.add("two");
        following.file.remove("one").unwrap();
        a_while().await;
        assert_eq!(following.name(&one), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_private_socket_can_need_one_too() {
        let following = following(true).await;
        assert!(following.tokens.needed());
        assert!(following.tokens.caller(None, true).is_none());
    }
}
