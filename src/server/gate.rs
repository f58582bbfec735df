//! The gate before every service: who calls, and until when they may.
//!
//! Health is for everybody; it tells nothing but that the server is there.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use tonic::body::Body;
use tower::{Layer, Service};

use super::connection::Peer;
use super::endless::cut_by;
use super::seldom::Seldom;
use crate::access::{Caller, Tokens};
use crate::grpc::{no_token, to_status};

const HEALTH: &str = "/grpc.health.v1.Health/";
/// How long a caller may go on sending after it was refused.
const LEFTOVER: Duration = Duration::from_secs(5);

/// Lets in who may come in.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    tokens: Tokens,
    /// Nobody but the user of the server can connect.
    private: bool,
    refused: Arc<Seldom>,
}

impl Gate {
    pub(super) fn new(tokens: Tokens, private: bool) -> Self {
        Self {
            tokens,
            private,
            refused: Arc::default(),
        }
    }

    fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let presented = values.next().and_then(|value| bearer(value.as_bytes()));
        // Of several, which one is meant?
        match values.next() {
            None => self.tokens.caller(presented, self.private),
            Some(_) => None,
        }
    }
}

/// The token in a header; another scheme is not for this server.
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, service: S) -> Gated<S> {
        Gated {
            gate: self.clone(),
            service,
        }
    }
}

/// The services behind the gate.
#[derive(Clone, Debug)]
pub(super) struct Gated<S> {
    gate: Gate,
    service: S,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let caller = match request.uri().path().starts_with(HEALTH) {
            true => Some(Caller::Trusted),
            false => self.gate.caller(request.headers()),
        };
        // No service needs it, and what logs requests must not see it.
        request.headers_mut().remove(header::AUTHORIZATION);
        let Some(caller) = caller else {
            if let Some(times) = self.gate.refused.happened() {
                tracing::info!(times, "refused calls without a valid token");
            }
            discard(request.into_body());
            return Box::pin(async { Ok(to_status(&no_token()).into_http()) });
        };
        if let Some(peer) = request.extensions().get::<Peer>() {
            peer.serve();
        }
        request.extensions_mut().insert(caller.clone());
        let answer = self.service.call(request);
        let Caller::Holder(token) = caller else {
            return Box::pin(answer);
        };
        let mut revoked = Box::pin(self.gate.tokens.clone().revoked(token));
        Box::pin(async move {
            tokio::select! {
                biased;
                () = &mut revoked => Ok(to_status(&no_token()).into_http()),
                answer = answer => Ok(answer?.map(|body| {
                    cut_by(body, async move {
                        revoked.await;
                        to_status(&no_token())
                    })
                })),
            }
        })
    }
}

/// A stream that is dropped unread is reset, and the reset may overtake the
/// answer: the caller would not learn why.
pub(super) fn discard(mut body: Body) {
    if !body.is_end_stream() {
        tokio::spawn(tokio::time::timeout(LEFTOVER, async move {
            while let Some(Ok(_)) = body.frame().await {}
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_headers() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer ", Some("")),
            ("Bearer", None),
            ("Basic abc", None),
            ("", None),
        ] {
            assert_eq!(
                bearer(value.as_bytes()),
                token.map(str::as_bytes),
                "{value}"
            );
        }
    }
}
