//! The calls of the gRPC service, counted by method and code.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;
use tonic::Code;

/// Calls wait for 1Fichier's limits, and large files take long.
pub(super) const BUCKETS: [f64; 12] = [
    0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
];

/// A method by its service and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method {
    /// For example `pluton.storage.v1.StorageBackend`.
    pub service: Arc<str>,
    /// For example `List`.
    pub name: Arc<str>,
}

impl Method {
    fn new(service: &str, name: &str) -> Self {
        Self {
            service: service.into(),
            name: name.into(),
        }
    }

    /// Labels of a metric.
    pub(super) fn labels(&self) -> [(&'static str, String); 2] {
        [
            ("service", self.service.to_string()),
            ("method", self.name.to_string()),
        ]
    }
}

/// How long calls took, by labels.
pub(super) type Seconds = Family<Vec<(&'static str, String)>, Histogram>;

/// The calls since the start.
#[derive(Debug)]
pub struct Rpcs {
    /// By the path of a request; all others count as one.
    methods: HashMap<String, Method>,
    unknown: Method,
    ended: Mutex<BTreeMap<(Method, i32), u64>>,
    in_work: AtomicU64,
    seconds: Seconds,
}

impl Rpcs {
    /// Counts the methods of these descriptors by their names.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn new(descriptors: &[&[u8]]) -> Result<Arc<Self>, prost::DecodeError> {
        let mut methods = HashMap::new();
        for set in descriptors {
            for file in FileDescriptorSet::decode(*set)?.file {
                for service in &file.service {
                    let full = format!("{}.{}", file.package(), service.name());
                    for method in &service.method {
                        let path = format!("/{full}/{}", method.name());
                        methods.insert(path, Method::new(&full, method.name()));
                    }
                }
            }
        }
        Ok(Arc::new(Self {
            methods,
            unknown: Method::new("", "other"),
            ended: Mutex::default(),
            in_work: AtomicU64::new(0),
            seconds: Seconds::new_with_constructor(|| Histogram::new(BUCKETS)),
        }))
    }

    /// A call of this path begins.
    pub fn begin(self: &Arc<Self>, path: &str) -> Rpc {
        self.in_work.fetch_add(1, Ordering::Relaxed);
        Rpc {
            method: self.methods.get(path).unwrap_or(&self.unknown).clone(),
            began: Instant::now(),
            rpcs: Arc::clone(self),
        }
    }

    /// Calls that ended, by method and code.
    pub(super) fn ended(&self) -> Vec<((Method, Code), u64)> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = ended.iter();
        ended
            .map(|((method, code), count)| ((method.clone(), Code::from(*code)), *count))
            .collect()
    }

    /// Calls that have not ended.
    pub(super) fn in_work(&self) -> u64 {
        self.in_work.load(Ordering::Relaxed)
    }

    /// How long those that ended took.
    pub(super) fn seconds(&self) -> Seconds {
        self.seconds.clone()
    }
}

/// A call, until it is dropped.
#[derive(Debug)]
pub struct Rpc {
    /// Which one.
    pub method: Method,
    /// When it began.
    pub began: Instant,
    rpcs: Arc<Rpcs>,
}

impl Rpc {
    /// It ends.
    pub fn end(self, code: Code) {
        let labels = self.method.labels().to_vec();
        let seconds = self.began.elapsed().as_secs_f64();
        self.rpcs.seconds.get_or_create(&labels).observe(seconds);
        let ended = &self.rpcs.ended;
        let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.method.clone(), code as i32);
        *ended.entry(key).or_insert(0) += 1;
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        self.rpcs.in_work.fetch_sub(1, Ordering::Relaxed);
    }
}
