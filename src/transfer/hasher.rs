//! Checksums, computed beside the transfer on blocking threads.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use digest::Digest;
use tokio::task::JoinHandle;

use crate::checksum::{Algorithm, Algorithms, Checksum, hex};

enum State {
    Whirlpool(Box<whirlpool::Whirlpool>),
    Sha256(sha2::Sha256),
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Blake3(Box<blake3::Hasher>),
    Crc32c(u32),
}

impl State {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Whirlpool => Self::Whirlpool(Box::new(whirlpool::Whirlpool::new())),
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Md5 => Self::Md5(md5::Md5::new()),
            Algorithm::Sha1 => Self::Sha1(sha1::Sha1::new()),
            Algorithm::Blake3 => Self::Blake3(Box::default()),
            Algorithm::Crc32c => Self::Crc32c(0),
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Whirlpool(state) => Digest::update(&mut **state, data),
            Self::Sha256(state) => Digest::update(state, data),
            Self::Md5(state) => Digest::update(state, data),
            Self::Sha1(state) => Digest::update(state, data),
            Self::Blake3(state) => {
                state.update(data);
            }
            Self::Crc32c(state) => *state = crc32c::crc32c_append(*state, data),
        }
    }

    fn finish(self) -> Checksum {
        let (algorithm, hex) = match self {
            Self::Whirlpool(state) => (Algorithm::Whirlpool, hex(&state.finalize())),
            Self::Sha256(state) => (Algorithm::Sha256, hex(&state.finalize())),
            Self::Md5(state) => (Algorithm::Md5, hex(&state.finalize())),
            Self::Sha1(state) => (Algorithm::Sha1, hex(&state.finalize())),
            Self::Blake3(state) => (Algorithm::Blake3, hex(state.finalize().as_bytes())),
            Self::Crc32c(state) => (Algorithm::Crc32c, hex(&state.to_be_bytes())),
        };
        Checksum { algorithm, hex }
    }
}

/// Collect so much before blocking threads are woken for it.
const BATCH: usize = 512 << 10;
/// Less than this is not worth a second thread.
const SMALL: usize = 64 << 10;

/// Computes checksums of a content that arrives in pieces. Hashing runs beside
/// the transfer, at most one batch behind, so that memory stays bounded.
pub struct Hasher {
    /// Whirlpool first.
    states: Vec<State>,
    running: VecDeque<JoinHandle<Vec<State>>>,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

impl Hasher {
    /// For these algorithms; each once.
    pub fn new(algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        Self {
            states: Algorithms::new(algorithms).iter().map(State::new).collect(),
            running: VecDeque::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
        }
    }

    /// Takes the next bytes. Waits when hashing is a whole batch behind.
    pub async fn update(&mut self, data: Bytes) {
        self.waiting_bytes += data.len();
        self.waiting.push(data);
        if self.waiting_bytes >= BATCH {
            self.flush().await;
        }
    }

    async fn join(&mut self) {
        while let Some(running) = self.running.front_mut() {
            // The closure cannot panic; and were the runtime to stop, the
            // future around this is gone too. A state that is missing then
            // yields no checksum, which never compares equal.
            self.states.extend(running.await.unwrap_or_default());
            self.running.pop_front();
        }
    }

    async fn flush(&mut self) {
        self.join().await;
        let batch: Arc<[Bytes]> = std::mem::take(&mut self.waiting).into();
        let bytes = std::mem::take(&mut self.waiting_bytes);
        let mut states = std::mem::take(&mut self.states);
        // Whirlpool takes longer than all others together: these run beside it.
        let others = if bytes < SMALL {
            Vec::new()
        } else {
            states.split_off(states.len().min(1))
        };
        for mut states in [states, others] {
            if states.is_empty() {
                continue;
            }
            let batch = Arc::clone(&batch);
            self.running.push_back(tokio::task::spawn_blocking(move || {
                for data in &*batch {
                    for state in &mut states {
                        state.update(data);
                    }
                }
                states
            }));
        }
    }

    /// The checksums of all that was taken.
    pub async fn finish(mut self) -> Vec<Checksum> {
        if self.waiting_bytes > 0 {
            self.flush().await;
        }
        self.join().await;
        self.states.into_iter().map(State::finish).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn known_answers() {
        let mut hasher = Hasher::new(Algorithm::ALL);
        hasher.update(Bytes::from_static(b"Hello ")).await;
        hasher.update(Bytes::from_static(b"world\n")).await;
        let sums = hasher.finish().await;
        let value = |algorithm| {
            &sums
                .iter()
                .find(|sum| sum.algorithm == algorithm)
                .unwrap()
                .hex
        };
        // The value that the real service gave for these 12 bytes ([API §C]).
        assert_eq!(
            value(Algorithm::Whirlpool),
            "0a894ff039da399d5a72116b3665cd952abc8a9ffe37bfae4eae4d5381c5102b\
             237c27e88b03f71c516e08ffa1cc9de9eac55d7d3abd38ea56220018f006a2c5"
        );
        assert_eq!(
            value(Algorithm::Sha256),
            "1894a19c85ba153acbf743ac4e43fc004c891604b26f8c69e1e83ea2afc7c48f"
        );
        assert_eq!(value(Algorithm::Md5), "f0ef7081e1539ac00ef5b761b4fb01b3");
        assert_eq!(
            value(Algorithm::Sha1),
            "33ab5639bfd8e7b95eb1d8d0b87781d4ffea4d5d"
        );
        for sum in &sums {
            assert_eq!(sum.hex.len(), sum.algorithm.hex_digits());
        }
    }

    #[tokio::test]
    async fn pieces_do_not_matter() {
        let data = Bytes::from(
            (0..3_000_000_u32)
                .map(|n| (n * 31) as u8)
                .collect::<Vec<_>>(),
        );
        let mut whole = Hasher::new(Algorithm::ALL);
        whole.update(data.clone()).await;
        let mut pieces = Hasher::new(Algorithm::ALL);
        for piece in data.chunks(70_001) {
            pieces.update(data.slice_ref(piece)).await;
        }
        let sums = whole.finish().await;
        assert_eq!(sums, pieces.finish().await);
        let order: Vec<_> = sums.iter().map(|sum| sum.algorithm).collect();
        assert_eq!(order, Algorithm::ALL);
    }
}
