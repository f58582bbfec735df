//! Every line that the servers of this suite log is searched for the secrets of
//! all of them, and must say whose work it is. `secrets.rs` looks at what a
//! process emits otherwise, `spans.rs` at whose name stands in which line.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

static SECRETS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
/// The lines that hold a request id, by the id.
static FOLLOWED: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());
/// Lines of work that is nobody's.
static NAMELESS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
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

/// Dropped at the end of a test, it fails for what was logged without a span.
pub(crate) struct EveryLineNamesItsCall;

impl Drop for EveryLineNamesItsCall {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // Whichever test ends next tells of it, once.
        let mut nameless = NAMELESS.lock().unwrap_or_else(PoisonError::into_inner);
        let nameless = std::mem::take(&mut *nameless);
        assert!(
            nameless.is_empty(),
            "work for a call takes its span along (src/spans.rs): {nameless:#?}"
        );
    }
}

/// Whether a line of the layers that work for calls is outside of every span.
/// When a server starts there are no calls.
fn is_nameless(line: &str) -> bool {
    const LAYERS: [&str; 7] = [
        "backend", "catalog", "transfer", "fichier", "grpc", "webdav", "restic",
    ];
    const AT_THE_START: [&str; 3] = [
        "pluton_fichier::catalog::store",
        "pluton_fichier::transfer::spool",
        "what an earlier version had begun is not understood",
    ];
    let Some(target) = line.split_whitespace().nth(2) else {
        return false;
    };
    let module = target.strip_prefix("pluton_fichier::");
    let layer = module.and_then(|module| module.trim_end_matches(':').split("::").next());
    layer.is_some_and(|layer| LAYERS.contains(&layer))
        && !AT_THE_START.iter().any(|text| line.contains(text))
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
        let text = String::from_utf8_lossy(line);
        if is_nameless(&text) {
            let mut nameless = NAMELESS.lock().unwrap_or_else(PoisonError::into_inner);
            nameless.insert(text.into_owned());
        }
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
fn lines_without_a_span_are_found() {
    let at = "2026-01-01T00:00:00.000000Z";
    for (line, nameless) in [
        ("  INFO pluton_fichier::backend::put: text", true),
        (" DEBUG pluton_fichier::fichier: repeating", true),
        (
            "  INFO rpc{request_id=\"x\"}: pluton_fichier::backend::put: text",
            false,
        ),
        (
            "  INFO background{work=\"recovery\"}: pluton_fichier::backend::put: text",
            false,
        ),
        ("  INFO pluton_fichier::server: text", false),
        ("  WARN pluton_fichier::catalog::store: text", false),
        (" TRACE hyper::proto: text", false),
        ("", false),
    ] {
        assert_eq!(is_nameless(&format!("{at}{line}")), nameless, "{line}");
    }
}

#[test]
fn secrets_are_found() {
    let secrets = BTreeSet::from(["hunter2".to_owned()]);
    assert_eq!(held(&secrets, b"password=hunter2\n"), secrets.first());
    assert_eq!(held(&secrets, b"password=******\n"), None);
}
