//! Whether a local file is what the server holds.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use digest::Digest;
use tokio::sync::oneshot;

use super::exit::Problem;
use crate::checksum::hex;
use crate::proto::{Entry, HashAlgorithm};

/// Bytes read at a time.
const BLOCK: usize = 256 << 10;
/// The checksums that prove that two contents are the same, the fastest first.
const STRONG: [HashAlgorithm; 3] = [
    HashAlgorithm::Blake3,
    HashAlgorithm::Sha256,
    HashAlgorithm::Whirlpool,
];

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// The same content.
    Equal,
    /// Another content.
    Differs,
    /// Equal in size, and no checksum is known.
    Unknown,
}

/// Compares a local file of so many bytes with an entry.
pub(super) async fn compare(
    path: &Path,
    size: u64,
    entry: &Entry,
    size_only: bool,
) -> Result<Likeness, Problem> {
    if entry.size.and_then(|size| u64::try_from(size).ok()) != Some(size) {
        return Ok(Likeness::Differs);
    }
    if size_only {
        return Ok(Likeness::Equal);
    }
    has_checksum(path, entry).await
}

/// Compares the content of a file with the checksum of an entry.
pub(super) async fn has_checksum(path: &Path, entry: &Entry) -> Result<Likeness, Problem> {
    let known = STRONG.iter().find_map(|algorithm| {
        let sums = &mut entry.checksums.iter();
        sums.find(|sum| sum.algorithm() == *algorithm)
    });
    let Some(known) = known else {
        return Ok(Likeness::Unknown);
    };
    let computed = checksum(path, known.algorithm()).await.map_err(|error| {
        let path = path.display();
        Problem::local(format!("cannot read {path}: {error}"))
    })?;
    Ok(match computed.eq_ignore_ascii_case(&known.hex) {
        true => Likeness::Equal,
        false => Likeness::Differs,
    })
}

/// Computes it on a thread of its own, which ends when nobody waits any more.
async fn checksum(path: &Path, algorithm: HashAlgorithm) -> io::Result<String> {
    let (mut tx, rx) = oneshot::channel();
    let path = path.to_owned();
    let thread = std::thread::Builder::new().name("checksum".into());
    thread.spawn(move || {
        let computed = match algorithm {
            HashAlgorithm::Blake3 => {
                let mut state = blake3::Hasher::new();
                read(&path, &mut tx, |block| {
                    state.update(block);
                })
                .map(|()| state.finalize().to_hex().to_string())
            }
            HashAlgorithm::Sha256 => digest::<sha2::Sha256>(&path, &mut tx),
            _ => digest::<whirlpool::Whirlpool>(&path, &mut tx),
        };
        let _ = tx.send(computed);
    })?;
    rx.await
        .unwrap_or_else(|_| Err(io::Error::other("the thread for checksums has ended")))
}

type Waiter = oneshot::Sender<io::Result<String>>;

fn digest<D: Digest>(path: &Path, waiter: &mut Waiter) -> io::Result<String> {
    let mut state = D::new();
    read(path, waiter, |block| state.update(block))?;
    Ok(hex(&state.finalize()))
}

fn read(path: &Path, waiter: &mut Waiter, mut update: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut block = vec![0; BLOCK];
    while !waiter.is_closed() {
        match file.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(length) => update(&block[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Checksum;

    const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    const WHIRLPOOL: &str = "4c6d8f6a85a33a8b0dc0a8d1b3c1f3e0";

    fn entry(size: i64, sums: &[(HashAlgorithm, &str)]) -> Entry {
        let sum = |&(algorithm, hex): &(HashAlgorithm, &str)| Checksum {
            algorithm: algorithm.into(),
            hex: hex.into(),
        };
        Entry {
            size: Some(size),
            checksums: sums.iter().map(sum).collect(),
            ..Entry::default()
        }
    }

    #[tokio::test]
    async fn size_then_the_fastest_strong_checksum_decide() {
        use HashAlgorithm::{Md5, Sha256, Whirlpool};
        use Likeness::{Differs, Equal, Unknown};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "hello\n").unwrap();
        for (size, sums, size_only, expected) in [
            (6, &[(Sha256, SHA256)][..], false, Equal),
            (6, &[(Whirlpool, WHIRLPOOL), (Sha256, SHA256)], false, Equal),
            (6, &[(Whirlpool, WHIRLPOOL)], false, Differs),
            (
                6,
                &[(Md5, "b1946ac92492d2347c6235b4d2611184")],
                false,
                Unknown,
            ),
            (6, &[], true, Equal),
            (7, &[(Sha256, SHA256)], true, Differs),
        ] {
            let entry = entry(size, sums);
            let found = compare(&path, 6, &entry, size_only).await.unwrap();
            assert_eq!(found, expected, "{entry:?}");
        }
        let blake3 = blake3::hash(b"hello\n").to_hex().to_string();
        let known = entry(6, &[(HashAlgorithm::Blake3, &blake3)]);
        assert_eq!(has_checksum(&path, &known).await.unwrap(), Equal);
        let whirlpool = hex(&whirlpool::Whirlpool::digest(b"hello\n"));
        let known = entry(6, &[(Whirlpool, &whirlpool.to_uppercase())]);
        assert_eq!(has_checksum(&path, &known).await.unwrap(), Equal);
        let gone = directory.path().join("gone");
        let problem = has_checksum(&gone, &known).await.unwrap_err();
        assert!(problem.message.contains("cannot read"), "{problem:?}");
    }
}
