//! Streams without an end of their own, such as watching health or asking
//! about the service, end when the server stops. Else they would hold it up.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyStream, StreamBody};
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// A service whose streams end when the server stops.
#[derive(Clone, Debug)]
pub(super) struct Endless<S> {
    service: S,
    stopped: watch::Receiver<bool>,
}

impl<S> Endless<S> {
    pub(super) fn new(service: S, stopped: watch::Receiver<bool>) -> Self {
        Self { service, stopped }
    }
}

impl<S: NamedService> NamedService for Endless<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Endless<S>
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
        let answer = self.service.call(request);
        let stopped = self.stopped.clone();
        Box::pin(async move { Ok(answer.await?.map(|body| until(body, stopped))) })
    }
}

/// The body, ended with UNAVAILABLE when it has nothing more to say at the stop.
fn until(body: Body, stopped: watch::Receiver<bool>) -> Body {
    let frames = stream::unfold(Some((BodyStream::new(body), stopped)), |state| async move {
        let (mut frames, mut stopped) = state?;
        let frame = tokio::select! {
            biased;
            frame = frames.next() => Some(frame?),
            _ = stopped.wait_for(|stop| *stop) => None,
        };
        if let Some(frame) = frame {
            return Some((frame, Some((frames, stopped))));
        }
        let mut trailers = HeaderMap::new();
        let end = Status::unavailable("the server is stopping")
            .add_header(&mut trailers)
            .map(|()| Frame::trailers(trailers));
        Some((end, None))
    });
    Body::new(StreamBody::new(frames))
}
