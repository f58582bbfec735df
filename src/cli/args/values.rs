//! Values on the command line.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use crate::checksum::{Algorithm, unhex};
use crate::proto;

/// A checksum algorithm on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HashKind {
    /// What 1Fichier computes and stores
    Whirlpool,
    /// SHA-256
    Sha256,
    /// MD5
    Md5,
    /// SHA-1
    Sha1,
    /// BLAKE3
    Blake3,
    /// CRC-32C
    Crc32c,
}

/// A checksum on the command line: `ALGORITHM:HEX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How it was computed.
    pub algorithm: HashKind,
    /// Its value in hexadecimal digits.
    pub hex: String,
}

impl FromStr for Expected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, hex) = text
            .split_once(':')
            .ok_or("write ALGORITHM:HEX, for example sha256:9f86…")?;
        let algorithm = HashKind::from_str(name, true)?;
        let digits = algorithm.algorithm().hex_digits();
        if hex.len() != digits || unhex(hex).is_none() {
            return Err(format!("{name} has {digits} hexadecimal digits"));
        }
        let hex = hex.to_ascii_lowercase();
        Ok(Self { algorithm, hex })
    }
}

impl HashKind {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::Whirlpool => Algorithm::Whirlpool,
            Self::Sha256 => Algorithm::Sha256,
            Self::Md5 => Algorithm::Md5,
            Self::Sha1 => Algorithm::Sha1,
            Self::Blake3 => Algorithm::Blake3,
            Self::Crc32c => Algorithm::Crc32c,
        }
    }
}

impl From<HashKind> for proto::HashAlgorithm {
    fn from(kind: HashKind) -> Self {
        match kind {
            HashKind::Whirlpool => Self::Whirlpool,
            HashKind::Sha256 => Self::Sha256,
            HashKind::Md5 => Self::Md5,
            HashKind::Sha1 => Self::Sha1,
            HashKind::Blake3 => Self::Blake3,
            HashKind::Crc32c => Self::Crc32c,
        }
    }
}

/// A part of a file on the command line: `OFFSET` or `OFFSET:LENGTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte, from 0.
    pub offset: u64,
    /// How many bytes; absent means to the end.
    pub length: Option<u64>,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.parse::<u64>() {
            Ok(number) if number <= i64::MAX as u64 => Ok(number),
            _ => Err(format!("{text:?} is not a number of bytes")),
        };
        let (offset, length) = match text.split_once(':') {
            Some((offset, "")) => (number(offset)?, None),
            Some((offset, length)) => (number(offset)?, Some(number(length)?)),
            None => (number(text)?, None),
        };
        match length {
            Some(0) => Err("a length of 0 bytes".into()),
            _ => Ok(Self { offset, length }),
        }
    }
}

/// A duration: a number of seconds, or as in 1h30m.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "not a duration such as 30s, 5m or 1h30m".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "a duration cannot be negative".to_owned())
}

/// A duration that is not 0.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be more than 0".into()),
        timeout => Ok(timeout),
    }
}
