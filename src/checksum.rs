//! Checksums of contents: algorithms, values, and how both are written.

use std::fmt;
use std::str::FromStr;

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
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Whirlpool,
        Self::Sha256,
        Self::Md5,
        Self::Sha1,
        Self::Blake3,
        Self::Crc32c,
    ];

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

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whirlpool => "whirlpool",
            Self::Sha256 => "sha256",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Blake3 => "blake3",
            Self::Crc32c => "crc32c",
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

/// Several algorithms, each once: `sha256,md5`, or `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Algorithms(Vec<Algorithm>);

impl Algorithms {
    /// These, each once.
    pub fn new(algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let mut algorithms: Vec<_> = algorithms.into_iter().collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        Self(algorithms)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Algorithm> {
        self.0.iter().copied()
    }
}

impl FromStr for Algorithms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        let named = |name: &str| {
            let known = Algorithm::ALL
                .into_iter()
                .find(|known| known.name() == name);
            known.ok_or_else(|| {
                let names = Algorithm::ALL.map(Algorithm::name).join(", ");
                format!("{name:?} is none of {names}, or `none` alone")
            })
        };
        let algorithms: Result<Vec<_>, _> = text
            .split(',')
            .map(|name| named(name.trim().to_ascii_lowercase().as_str()))
            .collect();
        Ok(Self::new(algorithms?))
    }
}

impl fmt::Display for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let names: Vec<_> = self.iter().map(Algorithm::name).collect();
        f.write_str(&names.join(","))
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

/// Lower-case hexadecimal digits of bytes.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// The bytes that hexadecimal digits stand for; `None` when they are none.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_algorithms_once_and_in_order() {
        let parsed = |text: &str| text.parse::<Algorithms>().map(|parsed| parsed.to_string());
        assert_eq!(parsed("md5, SHA256,md5").as_deref(), Ok("sha256,md5"));
        assert_eq!(parsed("none").as_deref(), Ok("none"));
        for bad in ["", "sha256,", "sha-256", "none,md5"] {
            assert!(parsed(bad).unwrap_err().contains("crc32c"), "{bad:?}");
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(parsed(algorithm.name()).as_deref(), Ok(algorithm.name()));
        }
    }

    #[test]
    fn digits_and_bytes() {
        assert_eq!(hex(&[0, 0x9a, 0xff]), "009aff");
        assert_eq!(unhex("009aFF"), Some(vec![0, 0x9a, 0xff]));
        for bad in ["1", "zz", "+1", "é"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
