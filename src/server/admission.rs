//! Which calls are let in: not too many, and none while the server stops. What
//! was let in may end, until the grace time is over.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::endless::until;
use super::gate::discard;
use crate::error::{Error, Reason};
use crate::grpc::to_status;

/// Calls in work at the most, whatever they wait for.
pub(super) const MAX_CALLS: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Nothing new is let in.
    Closed,
    /// What is in work ends now.
    Cut,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    calls: usize,
}

/// Who is in.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    most: usize,
    state: watch::Sender<State>,
}

impl Admission {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            state: watch::Sender::new(State {
                phase: Phase::Open,
                calls: 0,
            }),
        }
    }

    /// Lets a call in.
    pub(super) fn enter(&self) -> Result<Call, Error> {
        let mut refusal = None;
        self.state.send_if_modified(|state| {
            if state.phase > Phase::Open {
                refusal = Some(stopping());
            } else if state.calls >= self.most {
                refusal = Some(Error::new(
                    Reason::UpstreamUnavailable,
                    format!("{} calls are in work already; try again later", self.most),
                ));
            } else {
                state.calls += 1;
            }
            // All calls in work listen, and for this none has to be woken.
            false
        });
        match refusal {
            Some(error) => Err(error),
            None => Ok(Call(self.clone())),
        }
    }

    /// From now on nothing new is let in.
    pub(super) fn close(&self) {
        self.state.send_modify(|state| state.phase = Phase::Closed);
    }

    /// What is still in work is answered with SHUTTING_DOWN.
    pub(super) fn cut(&self) {
        self.state.send_modify(|state| state.phase = Phase::Cut);
    }

    /// Ends when nothing is in work.
    pub(super) async fn idle(&self) {
        let mut state = self.state.subscribe();
        // The sender lives as long as this.
        let _ = state.wait_for(|state| state.calls == 0).await;
    }

    /// Ends when what is in work must end.
    async fn is_cut(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| state.phase == Phase::Cut).await;
    }
}

fn stopping() -> Error {
    Error::new(
        Reason::ShuttingDown,
        "the server is stopping; try again when it has started anew",
    )
}

/// A call that was let in, until it is dropped.
#[derive(Debug)]
pub(super) struct Call(Admission);

impl Call {
    /// Ends when it must end, and tells why.
    pub(super) async fn is_cut(&self) -> Error {
        self.0.is_cut().await;
        stopping()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.state.send_if_modified(|state| {
            state.calls -= 1;
            state.calls == 0
        });
    }
}

/// A service behind an admission.
#[derive(Clone, Debug)]
pub(super) struct Admitted<S> {
    service: S,
    admission: Admission,
}

impl<S> Admitted<S> {
    pub(super) fn new(service: S, admission: Admission) -> Self {
        Self { service, admission }
    }
}

impl<S: NamedService> NamedService for Admitted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Admitted<S>
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = match self.admission.enter() {
            Ok(call) => call,
            Err(error) => {
                discard(request.into_body());
                return Box::pin(async move { Ok(to_status(&error).into_http()) });
            }
        };
        let answer = self.service.call(request);
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = answer => Ok(answer?.map(|body| {
                    let is_cut = async move {
                        to_status(&call.is_cut().await)
                    };
                    until(body, is_cut)
                })),
                error = call.is_cut() => Ok(to_status(&error).into_http()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_calls_and_none_when_it_is_closed() {
        let admission = Admission::new(2);
        let first = admission.enter().unwrap();
        let second = admission.enter().unwrap();
        let refused = admission.enter().unwrap_err();
        assert_eq!(refused.reason(), Reason::UpstreamUnavailable);
        assert!(refused.retry_delay().is_some());
        drop(first);
        let third = admission.enter().unwrap();
        admission.close();
        drop(second);
        let refused = admission.enter().unwrap_err();
        assert_eq!(refused.reason(), Reason::ShuttingDown);
        let mut idle = std::pin::pin!(admission.idle());
        assert!(futures::poll!(&mut idle).is_pending());
        let mut cut = std::pin::pin!(admission.is_cut());
        assert!(futures::poll!(&mut cut).is_pending());
        admission.cut();
        cut.await;
        drop(third);
        idle.await;
    }
}
