//! The requests of the HTTP faces, counted by face, method and end. No label
//! is a client's own text.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::rpcs::{BUCKETS, Seconds};

/// The methods that are told apart; all others count as one.
const METHODS: [&str; 11] = [
    "OPTIONS",
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "MKCOL",
    "MOVE",
    "COPY",
    "PROPFIND",
    "PROPPATCH",
];
const OTHER: &str = "other";

/// Which face a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Face {
    /// `/dav`
    WebDav,
    /// `/restic`
    Restic,
    /// None.
    Other,
}

impl Face {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Self; 3] = [Self::WebDav, Self::Restic, Self::Other];

    /// Its name in figures and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebDav => "webdav",
            Self::Restic => "restic",
            Self::Other => OTHER,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All of the answer was given.
    Answered(StatusCode),
    /// The answer broke off: what it was made of failed, or it was cut off.
    Broken,
    /// Its client did not wait for the end.
    Left,
}

impl End {
    /// Its name in figures and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered(status) => match status.as_u16() / 100 {
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                5 => "5xx",
                _ => OTHER,
            },
            Self::Broken => "broken",
            Self::Left => "left",
        }
    }
}

/// Which requests: face, method and end.
pub(super) type Kind = (Face, &'static str, &'static str);

/// What was counted of a face.
#[derive(Debug, Default)]
struct OfFace {
    in_work: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// The requests since the start.
#[derive(Debug)]
pub struct Requests {
    ended: Mutex<BTreeMap<Kind, u64>>,
    faces: [OfFace; 3],
    seconds: Seconds,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            ended: Mutex::default(),
            faces: Default::default(),
            seconds: Seconds::new_with_constructor(|| Histogram::new(BUCKETS)),
        }
    }
}

impl Requests {
    /// A request begins.
    pub fn begin(self: &Arc<Self>, face: Face, method: &http::Method) -> HttpRequest {
        let named = METHODS.iter().find(|known| **known == method.as_str());
        let request = HttpRequest {
            face,
            method: named.copied().unwrap_or(OTHER),
            began: Instant::now(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            requests: Arc::clone(self),
        };
        request.of_face().in_work.fetch_add(1, Ordering::Relaxed);
        request
    }

    fn of(&self, face: Face) -> &OfFace {
        &self.faces[face as usize]
    }

    /// Requests that ended.
    pub(super) fn ended(&self) -> Vec<(Kind, u64)> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.iter().map(|(kind, count)| (*kind, *count)).collect()
    }

    /// Requests that have not ended.
    pub(super) fn in_work(&self, face: Face) -> u64 {
        self.of(face).in_work.load(Ordering::Relaxed)
    }

    /// Bytes of bodies, of requests and of answers.
    pub(super) fn bytes(&self, face: Face) -> [u64; 2] {
        let of_face = self.of(face);
        [&of_face.received, &of_face.sent].map(|bytes| bytes.load(Ordering::Relaxed))
    }

    /// How long those that ended took.
    pub(super) fn seconds(&self) -> Seconds {
        self.seconds.clone()
    }
}

/// A request, until it is dropped.
#[derive(Debug)]
pub struct HttpRequest {
    /// Which face it is for.
    pub face: Face,
    /// Its method, if it is one that is known.
    pub method: &'static str,
    /// When it began.
    pub began: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    requests: Arc<Requests>,
}

impl HttpRequest {
    fn of_face(&self) -> &OfFace {
        self.requests.of(self.face)
    }

    /// Bytes of its body came.
    pub fn receive(&self, bytes: usize) {
        for count in [&self.received, &self.of_face().received] {
            count.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Bytes of its answer were given.
    pub fn send(&self, bytes: usize) {
        for count in [&self.sent, &self.of_face().sent] {
            count.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Bytes of its body that came, and of its answer that were given.
    pub fn bytes(&self) -> [u64; 2] {
        [&self.received, &self.sent].map(|bytes| bytes.load(Ordering::Relaxed))
    }

    /// It ended like this; told once.
    pub fn end(&self, end: End) {
        let labels = vec![
            ("face", self.face.as_str().to_owned()),
            ("method", self.method.to_owned()),
        ];
        let seconds = self.began.elapsed().as_secs_f64();
        let all = &self.requests;
        all.seconds.get_or_create(&labels).observe(seconds);
        let mut ended = all.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = (self.face, self.method, end.as_str());
        *ended.entry(kind).or_insert(0) += 1;
        self.of_face().in_work.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_label_is_a_clients_own() {
        let requests = Arc::new(Requests::default());
        for (number, method) in ["GET", "get", "BREW", "A-B"].into_iter().enumerate() {
            let method = http::Method::from_bytes(method.as_bytes()).unwrap();
            let request = requests.begin(Face::ALL[number % 3], &method);
            let status = StatusCode::from_u16(100 * (number as u16 + 3)).unwrap();
            request.end(End::Answered(status));
        }
        let kinds: Vec<_> = requests.ended().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(
            kinds,
            [
                (Face::WebDav, "GET", "3xx"),
                (Face::WebDav, OTHER, OTHER),
                (Face::Restic, OTHER, "4xx"),
                (Face::Other, OTHER, "5xx"),
            ]
        );
    }

    #[test]
    fn faces_are_numbered_in_order() {
        for (number, face) in Face::ALL.into_iter().enumerate() {
            assert_eq!(face as usize, number);
        }
    }
}
