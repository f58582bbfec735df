//! Whether what comes is gRPC: its content type, its encoding, and the frames of
//! its messages.
//!
//! Bytes that are none are the error of whoever sent them. tonic answers most of
//! them with INTERNAL and no details, like a defect of this server, and its
//! reflection with nothing at all; so they are looked at before.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use prost::{DecodeError, Message};
use prost_types::FileDescriptorSet;
use tonic::Status;
use tonic::body::Body;
use tonic_health::pb::HealthCheckRequest;
use tonic_reflection::pb::{v1, v1alpha};
use tower::{Layer, Service};

use super::gate::discard;
use super::{MAX_HEALTH_MESSAGE, MAX_MESSAGE};
use crate::error::{Error, Reason};
use crate::grpc::{to_status, undecodable};
use crate::quote;

/// Bytes before each message: a flag, and its length.
const PREFIX: usize = 5;

type Decode = fn(&[u8]) -> Result<(), DecodeError>;

/// What the requests of a method must be.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Any number of messages, instead of one.
    streams: bool,
    /// Most bytes of a message.
    most: usize,
    /// Where the service has a codec of another crate. Its messages are small.
    decode: Option<Decode>,
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<(), DecodeError> {
    M::decode(bytes).map(drop)
}

impl Rule {
    fn new(service: &str, streams: bool) -> Self {
        let (most, decode): (_, Option<Decode>) = match service {
            "grpc.health.v1.Health" => (MAX_HEALTH_MESSAGE, Some(decode::<HealthCheckRequest>)),
            "grpc.reflection.v1.ServerReflection" => (
                MAX_HEALTH_MESSAGE,
                Some(decode::<v1::ServerReflectionRequest>),
            ),
            "grpc.reflection.v1alpha.ServerReflection" => (
                MAX_HEALTH_MESSAGE,
                Some(decode::<v1alpha::ServerReflectionRequest>),
            ),
            _ => (MAX_MESSAGE, None),
        };
        Self {
            streams,
            most,
            decode,
        }
    }
}

/// Lets through what is gRPC.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    /// By the path of a request; others are of no method.
    rules: Arc<HashMap<String, Rule>>,
}

impl Wire {
    /// For the methods of these descriptors.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn new(descriptors: &[&[u8]]) -> Result<Self, DecodeError> {
        let mut rules = HashMap::new();
        for set in descriptors {
            for file in FileDescriptorSet::decode(*set)?.file {
                for service in &file.service {
                    let name = format!("{}.{}", file.package(), service.name());
                    for method in &service.method {
                        let rule = Rule::new(&name, method.client_streaming());
                        rules.insert(format!("/{name}/{}", method.name()), rule);
                    }
                }
            }
        }
        Ok(Self {
            rules: Arc::new(rules),
        })
    }
}

impl<S> Layer<S> for Wire {
    type Service = Wired<S>;

    fn layer(&self, service: S) -> Wired<S> {
        Wired {
            wire: self.clone(),
            service,
        }
    }
}

/// Services that see gRPC only.
#[derive(Clone, Debug)]
pub(super) struct Wired<S> {
    wire: Wire,
    service: S,
}

impl<S> Service<Request<Body>> for Wired<S>
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
        let refusal = match request.headers() {
            headers if !is_grpc(headers) => Some(no_grpc()),
            headers if is_compressed(headers) => Some(compressed()),
            _ => None,
        };
        if let Some(answer) = refusal {
            discard(request.into_body());
            return Box::pin(std::future::ready(Ok(answer)));
        }
        let Some(rule) = self.wire.rules.get(request.uri().path()).copied() else {
            return Box::pin(self.service.call(request));
        };
        let fault = Arc::default();
        let request = request.map(|body| {
            Body::new(Messages {
                body,
                rule,
                place: Place::begin(),
                whole: 0,
                collected: Vec::new(),
                fault: Arc::clone(&fault),
                ended: false,
            })
        });
        let answer = self.service.call(request);
        // Of requests that are streams, tonic's reflection does not tell what is
        // wrong with them.
        if !(rule.streams && rule.decode.is_some()) {
            return Box::pin(answer);
        }
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Body::new(Telling { body, fault })))
        })
    }
}

/// `application/grpc`, with a codec or parameters behind it, and not what else
/// begins like this, such as gRPC-Web.
fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let split = value.as_bytes().split_at_checked(GRPC.len());
    split.is_some_and(|(begin, rest)| {
        begin.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}

fn is_compressed(headers: &HeaderMap) -> bool {
    let encoding = headers.get("grpc-encoding");
    encoding.is_some_and(|encoding| encoding != "identity")
}

/// What is no gRPC client must not take the answer for a success: its status is
/// not 200 ([gRPC over HTTP/2]).
///
/// [gRPC over HTTP/2]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
fn no_grpc() -> Response<Body> {
    let text = "this address speaks gRPC: the content type must be application/grpc";
    let mut answer = violation(text, "content-type").into_http();
    *answer.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    answer
}

fn compressed() -> Response<Body> {
    let text = "this server takes no compressed messages; send them as they are";
    let error = Error::new(Reason::CapabilityMissing, text).with("capability", "COMPRESSION");
    let mut answer = to_status(&error).into_http();
    let accepted = HeaderValue::from_static("identity");
    answer
        .headers_mut()
        .insert("grpc-accept-encoding", accepted);
    answer
}

fn violation(text: impl Into<String>, field: &'static str) -> Status {
    to_status(&Error::new(Reason::ProtocolViolation, text).field(field))
}

/// Where in a request its bytes are.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In what stands before a message, of which so much is there.
    Prefix([u8; PREFIX], usize),
    /// In a message, of which so much is to come.
    Message(usize),
}

impl Place {
    const fn begin() -> Self {
        Self::Prefix([0; PREFIX], 0)
    }
}

/// The body of a request, which ends with a status where it is no gRPC.
struct Messages {
    body: Body,
    rule: Rule,
    place: Place,
    /// Messages that are there.
    whole: u64,
    /// Of the message that is to be decoded.
    collected: Vec<u8>,
    fault: Arc<OnceLock<Status>>,
    ended: bool,
}

impl Messages {
    fn look(&mut self, mut data: &[u8]) -> Result<(), Status> {
        loop {
            match &mut self.place {
                Place::Prefix(prefix, there) => {
                    let taken = data.len().min(PREFIX - *there);
                    prefix[*there..][..taken].copy_from_slice(&data[..taken]);
                    *there += taken;
                    data.advance(taken);
                    if *there < PREFIX {
                        return Ok(());
                    }
                    let prefix = *prefix;
                    self.place = Place::Message(self.begin(prefix)?);
                }
                Place::Message(left) => {
                    let taken = data.len().min(*left);
                    if self.rule.decode.is_some() {
                        self.collected.extend_from_slice(&data[..taken]);
                    }
                    *left -= taken;
                    data.advance(taken);
                    if *left > 0 {
                        return Ok(());
                    }
                    self.place = Place::begin();
                    self.end_message()?;
                }
            }
        }
    }

    /// The length of the message that begins.
    fn begin(&self, prefix: [u8; PREFIX]) -> Result<usize, Status> {
        let [flag, length @ ..] = prefix;
        if flag != 0 {
            let text = match flag {
                1 => "a message is marked as compressed, and no encoding is named".to_owned(),
                flag => format!("a message begins with the flag {flag}, and not with 0 or 1"),
            };
            return Err(violation(text, "request"));
        }
        let (length, most) = (u32::from_be_bytes(length) as usize, self.rule.most);
        if length > most {
            // Such are chunks alone.
            let field = match self.rule.streams && self.rule.decode.is_none() {
                true => "chunk.data",
                false => "request",
            };
            let text = format!("a message has {length} bytes; at most {most} are allowed");
            return Err(to_status(&Error::invalid_field(field, text)));
        }
        Ok(length)
    }

    fn end_message(&mut self) -> Result<(), Status> {
        self.whole += 1;
        let message = std::mem::take(&mut self.collected);
        match self.rule.decode.map(|decode| decode(&message)) {
            Some(Err(error)) => Err(to_status(&undecodable(&error))),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// A client that breaks off in the middle of a message is no other than one
    /// that ends there.
    fn end(&self) -> Result<(), Status> {
        match self.place {
            Place::Prefix(_, 0) if self.whole == 0 && !self.rule.streams => {
                Err(violation("the request has no message", "request"))
            }
            Place::Prefix(_, 0) => Ok(()),
            Place::Prefix(..) | Place::Message(_) => {
                let text = "the request ends in the middle of a message";
                Err(violation(text, "request"))
            }
        }
    }

    fn fail(&mut self, status: Status) -> Option<Result<Frame<Bytes>, Status>> {
        self.ended = true;
        let _ = self.fault.set(status.clone());
        // Whoever goes on sending is to learn why it is refused.
        discard(std::mem::take(&mut self.body));
        Some(Err(status))
    }
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let (frame, looked) = match polled {
            Some(Ok(frame)) => {
                let looked = match frame.data_ref() {
                    Some(data) => self.look(data),
                    None => self.end(),
                };
                (Some(frame), looked)
            }
            Some(Err(_)) | None => {
                let end = self.end();
                self.ended = true;
                (None, end)
            }
        };
        Poll::Ready(match looked {
            Ok(()) => frame.map(Ok),
            Err(status) => self.fail(status),
        })
    }

    fn is_end_stream(&self) -> bool {
        // A body without a byte is to be looked at, too.
        self.ended
    }
}

/// The answer to a request, which tells what was wrong with it, and repeats little
/// of it.
struct Telling {
    body: Body,
    fault: Arc<OnceLock<Status>>,
}

impl http_body::Body for Telling {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let end = match &polled {
            Some(Ok(frame)) => frame.trailers_ref().and_then(Status::from_header_map),
            Some(Err(_)) | None => None,
        };
        let Some(end) = end else {
            return Poll::Ready(polled);
        };
        let end = match self.fault.get() {
            Some(fault) => fault.clone(),
            None => Status::new(end.code(), quote::shortened(end.message())),
        };
        let mut trailers = HeaderMap::new();
        let told = end.add_header(&mut trailers);
        Poll::Ready(Some(told.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_of_grpc() {
        let is = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(text));
            is_grpc(&headers)
        };
        assert!(is("application/grpc"));
        assert!(is("application/grpc+proto"));
        assert!(is("APPLICATION/GRPC;charset=utf-8"));
        for bad in ["", "application/grp", "application/grpc-web", "text/plain"] {
            assert!(!is(bad), "{bad}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
