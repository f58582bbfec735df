//! Whose work it is: each line of the log that a call causes carries the id of
//! the call, also where the work is a task of its own, is shared with other
//! calls, or goes on when the call is over.
//!
//! - What is spawned for a call takes the call's span along ([`spawn`],
//!   [`Tasks`]).
//! - What is done for several calls is a part of the first one, and says whom
//!   else it serves ([`together`], [`Joinable`]).
//! - What is done later and for nobody has a span of its own, which names the
//!   call that caused it, where that is known ([`background`]).
//!
//! These spans are at the level of errors, so that no filter of the log leaves a
//! line without them. Those for a collector of traces alone are made with the
//! feature `otel` only, and are not in the log.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, error_span};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

/// Other calls that shared work names; of more it tells how many.
const MOST_NAMED: usize = 20;

/// Kept beside the span of a call.
struct RequestId(Arc<str>);

/// Keeps the id by which its caller knows the call of this span.
pub fn identify(span: &Span, id: &str) {
    span.with_subscriber(|(span, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        let found = registry.span(span)?;
        found.extensions_mut().replace(RequestId(id.into()));
        Some(())
    });
}

/// The id of the call that this work is done for, or that caused it.
pub fn request_id() -> Option<Arc<str>> {
    id_of(&Span::current())
}

fn id_of(span: &Span) -> Option<Arc<str>> {
    span.with_subscriber(|(span, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        registry.span(span)?.scope().find_map(|span| {
            let extensions = span.extensions();
            extensions.get().map(|RequestId(id)| Arc::clone(id))
        })
    })?
}

/// [`tokio::spawn`] of work for the current call.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(work.in_current_span())
}

/// Tasks that the end of the server waits for. Each is work for the call that
/// spawns it.
#[derive(Clone, Debug, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// [`TaskTracker::spawn`].
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.0.spawn(work.in_current_span())
    }

    /// [`TaskTracker::close`].
    pub fn close(&self) {
        self.0.close();
    }

    /// [`TaskTracker::wait`].
    pub async fn wait(&self) {
        self.0.wait().await;
    }
}

/// The span of work on behalf of nobody, which these calls have caused.
pub fn background(work: &'static str, causes: impl IntoIterator<Item = Arc<str>>) -> Span {
    let causes: BTreeSet<_> = causes.into_iter().collect();
    if causes.is_empty() {
        return error_span!(parent: None, "background", work);
    }
    let caused_by = names(&causes);
    let span = error_span!(parent: None, "background", work, caused_by);
    // What it causes itself has the same cause.
    identify(&span, &caused_by);
    span
}

/// The ids in one text, not too many.
fn names(ids: &BTreeSet<Arc<str>>) -> String {
    let named: Vec<&str> = ids.iter().take(MOST_NAMED).map(|id| &**id).collect();
    let named = named.join(" ");
    match ids.len().checked_sub(MOST_NAMED) {
        None | Some(0) => named,
        Some(more) => format!("{named} and {more} more"),
    }
}

/// The span of work for several calls.
pub fn together<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Span {
    let mut spans = spans.into_iter();
    let Some(first) = spans.next() else {
        return Span::none();
    };
    let own = id_of(first);
    let (mut ids, mut others) = (BTreeSet::new(), Vec::new());
    for span in spans {
        if let Some(id) = id_of(span).filter(|id| own.as_ref() != Some(id))
            && ids.insert(id)
        {
            others.push(span);
        }
    }
    if others.is_empty() {
        return first.clone();
    }
    let span = error_span!(parent: first, "together", also = names(&ids));
    for other in others {
        span.follows_from(other);
    }
    span
}

/// Work that others can come to wait for, too.
#[derive(Clone, Debug, Default)]
pub struct Joinable {
    span: Weak<Span>,
    begun_by: Option<Arc<str>>,
}

impl Joinable {
    /// Lets the work be a part of this span, and others join it.
    pub fn new<F: Future>(span: Span, work: F) -> (Self, impl Future<Output = F::Output>) {
        let kept = Arc::new(span);
        let joinable = Self {
            span: Arc::downgrade(&kept),
            begun_by: request_id(),
        };
        let span = Span::clone(&kept);
        let work = async move {
            let outcome = work.await;
            drop(kept);
            outcome
        };
        (joinable, work.instrument(span))
    }

    /// The current call waits for it, too.
    pub fn join(&self) {
        let own = request_id();
        if own == self.begun_by {
            return;
        }
        if let Some(span) = self.span.upgrade() {
            span.follows_from(Span::current());
        }
        let begun_by = self.begun_by.as_deref();
        tracing::debug!(begun_by, "waiting for what another request asks for");
    }
}

pub use exported::{TARGET, budget_wait, ended, listing, upload_group, upstream};

/// Spans for a collector of traces. They name no path.
#[cfg(feature = "otel")]
mod exported {
    use tracing::field::Empty;
    use tracing::{Span, info_span};

    /// What the log leaves out.
    pub const TARGET: &str = "pluton_fichier::exported";

    /// A call waits for the request budget.
    pub fn budget_wait(endpoint: &'static str, priority: &'static str) -> Span {
        info_span!(
            target: TARGET,
            "wait for budget",
            endpoint,
            priority,
            outcome = Empty,
            otel.status_code = Empty,
        )
    }

    /// A request to 1Fichier, until its answer.
    pub fn upstream(
        method: &'static str,
        endpoint: &'static str,
        priority: Option<&'static str>,
    ) -> Span {
        info_span!(
            target: TARGET,
            "request",
            otel.name = format!("{method} {endpoint}"),
            otel.kind = "client",
            http.request.method = method,
            endpoint,
            priority,
            outcome = Empty,
            otel.status_code = Empty,
        )
    }

    /// Files that leave in one upload, until they are known to be stored.
    pub fn upload_group(files: usize, bytes: u64) -> Span {
        info_span!(
            target: TARGET,
            "upload group",
            files,
            bytes,
            outcome = Empty,
            otel.status_code = Empty,
        )
    }

    /// A folder is listed, with all the calls that this takes.
    pub fn listing() -> Span {
        info_span!(
            target: TARGET,
            "list folder",
            outcome = Empty,
            otel.status_code = Empty,
        )
    }

    /// How it ended: `ok`, or the name of what went wrong.
    pub fn ended(span: &Span, outcome: &'static str) {
        span.record("outcome", outcome);
        if outcome != "ok" {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// Without a collector the work is a part of its call's span.
#[cfg(not(feature = "otel"))]
mod exported {
    use tracing::Span;

    /// What the log leaves out.
    pub const TARGET: &str = "pluton_fichier::exported";

    /// A call waits for the request budget.
    pub fn budget_wait(_: &'static str, _: &'static str) -> Span {
        Span::current()
    }

    /// A request to 1Fichier, until its answer.
    pub fn upstream(_: &'static str, _: &'static str, _: Option<&'static str>) -> Span {
        Span::current()
    }

    /// Files that leave in one upload, until they are known to be stored.
    pub fn upload_group(_: usize, _: u64) -> Span {
        Span::current()
    }

    /// A folder is listed, with all the calls that this takes.
    pub fn listing() -> Span {
        Span::current()
    }

    /// How it ended: `ok`, or the name of what went wrong.
    pub fn ended(_: &Span, _: &'static str) {}
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn text(&self) -> String {
            let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8(text.clone()).unwrap()
        }
    }

    impl io::Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone());
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        (log, guard)
    }

    fn call(id: &str) -> Span {
        let span = error_span!(parent: None, "rpc", request_id = id);
        identify(&span, id);
        span
    }

    #[test]
    fn work_for_several_calls_names_them_all() {
        let (log, _guard) = logged();
        let (one, two) = (call("one"), call("two"));
        assert_eq!(two.in_scope(request_id).as_deref(), Some("two"));
        let inner = two.in_scope(|| tracing::info_span!("inner"));
        assert_eq!(inner.in_scope(request_id).as_deref(), Some("two"));
        assert_eq!(request_id(), None);
        together([&one, &one]).in_scope(|| tracing::info!("alone"));
        together([&one, &inner, &two]).in_scope(|| tracing::info!("both"));
        let many: Vec<_> = (0..50)
            .map(|number| call(&format!("n{number:02}")))
            .collect();
        together(&many).in_scope(|| tracing::info!("many"));
        assert!(together([]).is_none());
        let text = log.text();
        let line = |word: &str| text.lines().find(|line| line.ends_with(word)).unwrap();
        assert!(line("alone").contains("rpc{request_id=\"one\"}"), "{text}");
        assert!(!line("alone").contains("together"), "{text}");
        assert!(line("both").contains("\"one\"") && line("both").contains("also=\"two\""));
        assert!(line("many").contains("n20 and 29 more"), "{text}");
    }

    #[test]
    fn work_of_later_names_what_caused_it() {
        let (log, _guard) = logged();
        let one = call("one").in_scope(request_id);
        background("tidying", one).in_scope(|| {
            assert_eq!(request_id().as_deref(), Some("one"));
            tracing::info!("later");
        });
        let both = ["one", "two", "one"].map(Arc::from);
        background("tidying", both).in_scope(|| tracing::info!("for both"));
        background("tidying", None).in_scope(|| tracing::info!("from before"));
        let text = log.text();
        assert!(
            text.contains("background{work=\"tidying\" caused_by=\"one\"}"),
            "{text}"
        );
        assert!(text.contains("background{work=\"tidying\"}"), "{text}");
        assert!(text.contains("caused_by=\"one two\""), "{text}");
        assert!(!text.contains("rpc"), "{text}");
    }

    #[tokio::test]
    async fn who_waits_for_the_work_of_another_call_says_so() {
        let (log, _guard) = logged();
        let (one, two) = (call("one"), call("two"));
        let work = async { tracing::info!("working") };
        let (joinable, work) = one.in_scope(|| Joinable::new(Span::current(), work));
        one.in_scope(|| joinable.join());
        two.in_scope(|| joinable.join());
        work.instrument(two.clone()).await;
        two.in_scope(|| joinable.join());
        let text = log.text();
        assert_eq!(text.matches("begun_by=\"one\"").count(), 2, "{text}");
        assert!(text.contains("request_id=\"two\"}:"), "{text}");
        let line = text.lines().find(|line| line.ends_with("working")).unwrap();
        assert!(line.contains("\"one\""), "{line}");
    }
}
