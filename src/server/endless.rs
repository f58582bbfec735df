//! Streams without an end of their own, such as watching health or asking
//! about the service, end when the server stops. Else they would hold it up.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
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
        let mut stopped = self.stopped.clone();
        let stop = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
            Status::unavailable("the server is stopping")
        };
        Box::pin(async move { Ok(answer.await?.map(|body| until(body, stop))) })
    }
}

/// The body, ended with a status if that comes when it has nothing more to say.
pub(super) fn until(body: Body, status: impl Future<Output = Status> + Send + 'static) -> Body {
    ending(body, status, false)
}

/// The body, ended with a status as soon as that comes.
pub(super) fn cut_by(body: Body, status: impl Future<Output = Status> + Send + 'static) -> Body {
    ending(body, status, true)
}

fn ending(
    body: Body,
    status: impl Future<Output = Status> + Send + 'static,
    at_once: bool,
) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let begin = Some((BodyStream::new(body), Box::pin(status)));
    let frames = stream::unfold(begin, move |state| async move {
        let (mut frames, mut status) = state?;
        let next = async {
            match at_once {
                true => tokio::select! {
                    biased;
                    status = &mut status => Err(status),
                    frame = frames.next() => Ok(frame),
                },
                false => tokio::select! {
                    biased;
                    frame = frames.next() => Ok(frame),
                    status = &mut status => Err(status),
                },
            }
        };
        let status = match next.await {
            Ok(frame) => return Some((frame?, Some((frames, status)))),
            Err(status) => status,
        };
        let mut trailers = HeaderMap::new();
        let end = status
            .add_header(&mut trailers)
            .map(|()| Frame::trailers(trailers));
        Some((end, None))
    });
    Body::new(StreamBody::new(frames))
}
