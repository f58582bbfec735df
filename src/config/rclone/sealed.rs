//! The encryption of `rclone.conf`: NaCl's secretbox under a key that is one
//! hash of the password [rclone-compat §1.7].

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use poly1305::Poly1305;
use poly1305::universal_hash::{Key, KeyInit};
use salsa20::XSalsa20;
use salsa20::cipher::{Array, KeyIvInit, StreamCipher};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

const MARKER: &str = "RCLONE_ENCRYPT_V0:";
const ANY_MARKER: &str = "RCLONE_ENCRYPT_V";
const NONCE: usize = 24;
const TAG: usize = 16;

/// As lenient as Go's decoder: what the last character holds too much is
/// ignored.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// An encrypted file.
#[derive(Debug)]
pub(super) struct Sealed {
    nonce: [u8; NONCE],
    tag: [u8; TAG],
    text: Vec<u8>,
}

/// Why an encrypted file cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    #[error("its encryption is of a kind that only a newer rclone knows")]
    Unsupported,
    #[error("it is encrypted, and damaged: what follows {MARKER} is not base64")]
    NotBase64,
    #[error("it is encrypted, and cut off")]
    TooShort,
    #[error("the password is wrong, or the file is damaged")]
    WrongPassword,
    #[error("a password of nothing but blanks is none")]
    NoPassword,
}

impl Sealed {
    /// Tells an encrypted file from a plain one, which is `None`.
    pub(super) fn detect(file: &[u8]) -> Result<Option<Self>, SealError> {
        let mut rest = file;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = String::from_utf8_lossy(&rest[..end]);
            let line = line.trim();
            rest = rest.get(end + 1..).unwrap_or_default();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line == MARKER {
                return Self::decode(rest).map(Some);
            }
            if line.starts_with(ANY_MARKER) {
                return Err(SealError::Unsupported);
            }
            return Ok(None);
        }
        Ok(None)
    }

    fn decode(text: &[u8]) -> Result<Self, SealError> {
        let text: Vec<u8> = text
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b'\r' | b'\n'))
            .collect();
        let mut bytes = BASE64.decode(text).map_err(|_| SealError::NotBase64)?;
        let (&nonce, rest) = bytes.split_first_chunk().ok_or(SealError::TooShort)?;
        let &tag = rest.first_chunk().ok_or(SealError::TooShort)?;
        Ok(Self {
            nonce,
            tag,
            text: bytes.split_off(NONCE + TAG),
        })
    }

    /// Decrypts the file.
    pub(super) fn open(&self, password: &str) -> Result<Vec<u8>, SealError> {
        if password.trim().is_empty() {
            return Err(SealError::NoPassword);
        }
        let mut cipher = XSalsa20::new(&Array(key(password)), &Array(self.nonce));
        // Secretbox: the first half block of the key stream is the key of the
        // authenticator, the rest encrypts the text.
        let mut authenticator = Key::<Poly1305>::default();
        cipher.apply_keystream(&mut authenticator);
        let tag = Poly1305::new(&authenticator).compute_unpadded(&self.text);
        // Nobody measures this: both sides are the user's own.
        if tag.as_slice() != self.tag {
            return Err(SealError::WrongPassword);
        }
        let mut text = self.text.clone();
        cipher.apply_keystream(&mut text);
        Ok(text)
    }
}

fn key(password: &str) -> [u8; 32] {
    let password: String = password.nfkc().collect();
    Sha256::digest(format!("[{password}][rclone-config]")).into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::rclone::ini::Ini;
    use crate::config::tests::{hex, vectors};

    fn text<'a>(case: &'a Value, field: &str) -> &'a str {
        case[field].as_str().unwrap()
    }

    fn file(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    }

    #[test]
    fn files_that_rclone_encrypted() {
        let vectors = vectors!("config-encryption.json");
        let cases = vectors["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 3);
        let mut passwords = 0;
        for case in cases {
            let name = text(case, "file");
            let password = text(case, "password");
            assert_eq!(key(password).to_vec(), hex(text(case, "key_hex")), "{name}");
            let sealed = Sealed::detect(&file(name)).unwrap().unwrap();
            assert_eq!(sealed.nonce.to_vec(), hex(text(case, "nonce_hex")));
            let plain = sealed.open(password).unwrap();
            assert_eq!(plain, text(case, "plaintext_utf8").as_bytes());
            let hash = Sha256::digest(&plain).to_vec();
            assert_eq!(hash, hex(text(case, "plaintext_sha256")));
            assert_eq!(plain, file("rclone-plain.conf"));

            let ini = Ini::parse(std::str::from_utf8(&plain).unwrap()).unwrap();
            let expected = case["config_dump"].as_object().unwrap();
            assert_eq!(ini.sections().count(), expected.len());
            for (section, keys) in expected {
                for (key, value) in keys.as_object().unwrap() {
                    let found = ini.get(section, key).unwrap().unwrap();
                    assert_eq!(found.value, *value);
                }
            }
            for other in case["other_passwords"].as_array().unwrap() {
                let opened = sealed.open(text(other, "password"));
                let wanted = match other["decrypts"].as_bool().unwrap() {
                    true => Ok(plain.clone()),
                    false => Err(SealError::WrongPassword),
                };
                assert_eq!(opened, wanted, "{other}");
                passwords += 1;
            }
        }
        assert_eq!(passwords, 9);
    }

    /// What becomes of the file with the right password.
    fn read(file: &[u8]) -> Result<(), SealError> {
        let vectors = vectors!("config-encryption.json");
        match Sealed::detect(file)? {
            Some(sealed) => sealed
                .open(text(&vectors["cases"][0], "password"))
                .map(|_| ()),
            None => Ok(()),
        }
    }

    #[test]
    fn files_derived_from_one_that_rclone_encrypted() {
        let vectors = vectors!("config-encryption.json");
        let cases = vectors["derived"].as_array().unwrap();
        let problems: Vec<_> = cases
            .iter()
            .map(|case| {
                let content = text(case, "text");
                let problem = read(content.as_bytes()).err();
                // One of them is a plain file, and a bad one.
                let bad =
                    problem.is_some() || Ini::parse(content).is_err() && content.starts_with('[');
                assert_eq!(case["ok"], !bad, "{}", case["what"]);
                problem
            })
            .collect();
        use SealError::*;
        assert_eq!(
            problems,
            [
                None,
                None,
                None,
                Some(Unsupported),
                Some(Unsupported),
                None,
                Some(NotBase64),
                Some(NotBase64),
                Some(TooShort),
                Some(WrongPassword),
            ]
        );
    }

    #[test]
    fn a_file_cut_off_anywhere() {
        let whole = file("rclone-encrypted.conf");
        let marker = whole.len() - 640;
        for length in 0..whole.len() {
            match read(&whole[..length]) {
                Err(SealError::NotBase64 | SealError::TooShort | SealError::WrongPassword) => {}
                // Not encrypted any more, as the marker is cut off too.
                other => assert!(length < marker, "{length}: {other:?}"),
            }
        }
    }

    #[test]
    fn blanks_are_no_password() {
        let sealed = Sealed::detect(&file("rclone-encrypted.conf"));
        let sealed = sealed.unwrap().unwrap();
        assert_eq!(sealed.open(" \t"), Err(SealError::NoPassword));
    }
}
