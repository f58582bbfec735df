//! What an operator watches: metrics, health, and a page for people. Nothing
//! here changes anything, and nobody needs a token: whoever reaches the
//! listener may read it.

mod history;
mod metrics;
mod page;
mod requests;
mod rpcs;
mod status;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::Full;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub use requests::{End, Face, HttpRequest, Requests};
pub use rpcs::{Rpc, Rpcs};

use crate::backend::Remotes;
use crate::fichier::{Priority, Scope};
use crate::http::names_this_machine;
use history::History;
use page::Page;
use status::{Health, Status};

/// Between two questions about the accounts, while somebody watches.
const QUOTA_EVERY: Duration = Duration::from_secs(600);
/// How long such a question may wait for its turn.
const QUOTA_WAIT: Duration = Duration::from_secs(60);

/// What is known of the server itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Changes at every start.
    pub instance_id: String,
    /// When it started.
    pub started: SystemTime,
    /// Whether it takes new calls.
    pub serving: Arc<AtomicBool>,
}

impl Facts {
    fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    fn started_seconds(&self) -> f64 {
        let since = self.started.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().as_secs_f64()
    }
}

/// What callers have asked for since the start.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Over gRPC.
    pub rpcs: Arc<Rpcs>,
    /// Of the HTTP faces.
    pub requests: Arc<Requests>,
}

/// Answers what an operator asks.
#[derive(Clone, Debug)]
pub struct Admin {
    remotes: Remotes,
    counted: Counted,
    facts: Facts,
    page: Page,
    history: Arc<History>,
    asked: Arc<Mutex<Option<Instant>>>,
    /// Only requests for this machine by name are answered.
    local: bool,
    _recorder: Arc<AbortOnDropHandle<()>>,
}

impl Admin {
    /// Begins to take samples. `local` says that only programs on this machine
    /// can connect; then a web page elsewhere must not read the answers through
    /// a browser here, by a name that leads to this machine.
    pub fn new(remotes: Remotes, counted: Counted, facts: Facts, local: bool) -> Self {
        let history = Arc::new(History::default());
        let recorder = tokio::spawn(Arc::clone(&history).record(remotes.clone()));
        Self {
            remotes,
            counted,
            facts,
            page: Page::new(),
            history,
            asked: Arc::default(),
            local,
            _recorder: Arc::new(AbortOnDropHandle::new(recorder)),
        }
    }

    /// Answers a request. Its body does not matter.
    pub fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let mut answer = self.content(request);
        let headers = answer.headers_mut();
        for (name, value) in [
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if request.method() == Method::HEAD {
            let length = answer.body().size_hint().lower();
            answer
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length.into());
            *answer.body_mut() = Full::default();
        }
        answer
    }

    fn content<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if self.local && !names_this_machine(request) {
            let text = "this address is for programs on this machine; ask for it as localhost or by its number\n";
            return plain(StatusCode::MISDIRECTED_REQUEST, text);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD are possible\n",
            );
            answer
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/" => {
                let page = self.page.html.clone();
                let mut answer = typed(StatusCode::OK, "text/html; charset=utf-8", page);
                if let Ok(policy) = HeaderValue::from_str(&self.page.policy) {
                    let name = header::CONTENT_SECURITY_POLICY;
                    answer.headers_mut().insert(name, policy);
                }
                answer
            }
            "/status.json" => {
                self.ask_quotas();
                let (activity, now) = (self.remotes.activity(None), self.now());
                let status = Status::new(activity, &self.counted, &self.history, &self.facts, now);
                json(StatusCode::OK, &status)
            }
            "/healthz" => {
                let health = Health::new(&self.remotes.activity(None), &self.facts);
                let code = match self.facts.is_serving() {
                    true => StatusCode::OK,
                    false => StatusCode::SERVICE_UNAVAILABLE,
                };
                json(code, &health)
            }
            "/metrics" => {
                let activity = self.remotes.activity(None);
                let (counted, facts) = (self.counted.clone(), self.facts.clone());
                match metrics::text(activity, counted, facts) {
                    Ok(text) => typed(StatusCode::OK, metrics::CONTENT_TYPE, text.into()),
                    Err(_) => plain(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "the metrics cannot be written\n",
                    ),
                }
            }
            _ => plain(
                StatusCode::NOT_FOUND,
                "there are: / /status.json /healthz /metrics\n",
            ),
        }
    }

    fn now(&self) -> SystemTime {
        let first = self.remotes.all().first();
        first.map_or_else(SystemTime::now, |remote| remote.now())
    }

    /// Somebody watches: 1Fichier is asked about the accounts, but seldom, and
    /// behind everything else.
    fn ask_quotas(&self) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_some_and(|asked| asked.elapsed() < QUOTA_EVERY) {
            return;
        }
        *asked = Some(Instant::now());
        for login in self.remotes.activity(None).logins {
            let known = login.quota.map(|quota| quota.as_of.time);
            let age = known.and_then(|as_of| self.now().duration_since(as_of).ok());
            let name = login.remotes.first().cloned().unwrap_or_default();
            let Ok(remote) = self.remotes.get(&name) else {
                continue;
            };
            if age.is_some_and(|age| age < QUOTA_EVERY) {
                continue;
            }
            let remote = remote.clone();
            tokio::spawn(async move {
                let scope = Scope {
                    priority: Priority::Background,
                    deadline: Some(Instant::now() + QUOTA_WAIT),
                };
                if let Err(error) = remote.about(scope).await {
                    tracing::debug!(%error, "1Fichier does not tell about the account");
                }
            });
        }
    }
}

fn typed(code: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = code;
    let name: HeaderName = header::CONTENT_TYPE;
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(kind));
    answer
}

fn plain(code: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    typed(
        code,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

fn json(code: StatusCode, document: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(document) {
        Ok(body) => typed(code, "application/json", body.into()),
        Err(_) => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer cannot be written\n",
        ),
    }
}
