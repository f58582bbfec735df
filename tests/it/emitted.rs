//! Every line that the servers of this suite log is searched for the secrets of
//! all of them. `secrets.rs` looks at what a process emits otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

static SECRETS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
/// The lines that hold a request id, by the id.
static FOLLOWED: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());
static BEGIN: Once = Once::new();

/// From now on no line may hold this. Too short a text stands in other words.
pub(crate) fn no_line_may_hold(secret: &str) {
    if secret.len() >= 6 {
        let mut secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.insert(secret.to_owned());
    }
    BEGIN.call_once(|| {
        // `secrets.rs` looks at what the libraries have to say at this level.
        let targets = Targets::new()
            .with_default(LevelFilter::INFO)
            .with_target("pluton_fichier", LevelFilter::TRACE);
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(|| Searched);
        tracing_subscriber::registry()
            .with(lines)
            .with(targets)
            .init();
    });
}

/// From now on the lines that hold this request id are kept.
pub(crate) fn follow(id: &str) {
    let mut followed = FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner);
    followed.entry(id.to_owned()).or_default();
}

/// The lines that were logged with a request id that is followed.
pub(crate) fn lines_of(id: &str) -> Vec<String> {
    let followed = FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner);
    followed[id].clone()
}

/// What is logged goes nowhere but here.
struct Searched;

impl io::Write for Searched {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = held(&secrets, line) {
            // A panic in a task of the server would be lost.
            eprintln!(
                "the log holds the secret {secret:?}: {}",
                String::from_utf8_lossy(line)
            );
            std::process::abort();
        }
        drop(secrets);
        let mut followed = FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, lines) in &mut *followed {
            if memchr::memmem::find(line, id.as_bytes()).is_some() {
                lines.push(String::from_utf8_lossy(line).into_owned());
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn held<'a>(secrets: &'a BTreeSet<String>, line: &[u8]) -> Option<&'a String> {
    let holds = |secret: &&String| memchr::memmem::find(line, secret.as_bytes()).is_some();
    secrets.iter().find(holds)
}

#[test]
fn secrets_are_found() {
    let secrets = BTreeSet::from(["hunter2".to_owned()]);
    assert_eq!(held(&secrets, b"password=hunter2\n"), secrets.first());
    assert_eq!(held(&secrets, b"password=******\n"), None);
}
