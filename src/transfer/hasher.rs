//! Checksums, computed beside the transfer on blocking threads.

use std::fmt;

use bytes::Bytes;
use digest::Digest;
use tokio::task::JoinHandle;

/// A checksum algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// What 1Fichier stores ([API §C]).
    Whirlpool,
    /// SHA-256.
    Sha256,
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// BLAKE3, 32 bytes.
    Blake3,
    /// CRC-32C, big-endian.
    Crc32c,
}

impl Algorithm {
    /// Length of the value in hexadecimal digits.
    pub fn hex_digits(self) -> usize {
        match self {
            Self::Whirlpool => 128,
            Self::Sha256 | Self::Blake3 => 64,
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Crc32c => 8,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whirlpool => "Whirlpool",
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Blake3 => "BLAKE3",
            Self::Crc32c => "CRC-32C",
        })
    }
}

/// A checksum of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// How it was computed.
    pub algorithm: Algorithm,
    /// Lower-case hexadecimal digits.
    pub hex: String,
}

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

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Collect so much before a blocking thread is woken for it.
const BATCH: usize = 512 << 10;

/// Computes checksums of a content that arrives in pieces. Hashing runs beside
/// the transfer, at most one batch behind, so that memory stays bounded.
pub struct Hasher {
    states: Vec<State>,
    running: Option<JoinHandle<Vec<State>>>,
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
        let mut algorithms: Vec<_> = algorithms.into_iter().collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        Self {
            states: algorithms.into_iter().map(State::new).collect(),
            running: None,
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
        if let Some(running) = &mut self.running {
            // The closure cannot panic; and were the runtime to stop, the
            // future around this is gone too. An empty state then yields no
            // checksum, which never compares equal.
            self.states = running.await.unwrap_or_default();
            self.running = None;
        }
    }

    async fn flush(&mut self) {
        self.join().await;
        let (mut states, batch) = (
            std::mem::take(&mut self.states),
            std::mem::take(&mut self.waiting),
        );
        self.waiting_bytes = 0;
        self.running = Some(tokio::task::spawn_blocking(move || {
            for data in batch {
                for state in &mut states {
                    state.update(&data);
                }
            }
            states
        }));
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
        let all = [
            Algorithm::Whirlpool,
            Algorithm::Sha256,
            Algorithm::Md5,
            Algorithm::Sha1,
            Algorithm::Blake3,
            Algorithm::Crc32c,
        ];
        let mut hasher = Hasher::new(all);
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
        let mut whole = Hasher::new([Algorithm::Whirlpool]);
        whole.update(data.clone()).await;
        let mut pieces = Hasher::new([Algorithm::Whirlpool]);
        for piece in data.chunks(70_001) {
            pieces.update(data.slice_ref(piece)).await;
        }
        assert_eq!(whole.finish().await, pieces.finish().await);
    }
}
