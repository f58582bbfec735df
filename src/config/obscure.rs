//! rclone's obscured passwords: masked with a published key, which protects
//! from a glance and nothing else [rclone-compat §1.5].

use aes::Aes256;
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ctr::Ctr128BE;
use ctr::cipher::{Array, KeyIvInit, StreamCipher};

const KEY: [u8; 32] = [
    0x9c, 0x93, 0x5b, 0x48, 0x73, 0x0a, 0x55, 0x4d, 0x6b, 0xfd, 0x7c, 0x63, 0xc8, 0x86, 0xa9, 0x2b,
    0xd3, 0x90, 0x19, 0x8e, 0xb8, 0x12, 0x8a, 0xfb, 0xf4, 0xde, 0x16, 0x2b, 0x8b, 0x95, 0xf6, 0x38,
];
const IV: usize = 16;

/// As lenient as Go's decoder: what the last character holds too much is
/// ignored.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// What an obscured text stands for. There is no check in it: a text that was
/// never obscured may be revealed to anything.
///
/// `None` means that the text cannot have been obscured.
pub(super) fn reveal(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let mut bytes = BASE64.decode(text).ok()?;
    let iv = bytes.first_chunk::<IV>()?;
    let mut cipher = Ctr128BE::<Aes256>::new(&Array(KEY), &Array(*iv));
    let mut plain = bytes.split_off(IV);
    cipher.apply_keystream(&mut plain);
    Some(plain)
}

/// Obscures as rclone does, which chooses the `iv` at random.
#[cfg(test)]
pub(super) fn obscure(plain: &[u8], iv: [u8; IV]) -> String {
    let mut bytes = [&iv, plain].concat();
    Ctr128BE::<Aes256>::new(&Array(KEY), &Array(iv)).apply_keystream(&mut bytes[IV..]);
    BASE64.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{hex, vectors};

    #[test]
    fn what_rclone_obscured() {
        let file = vectors!("obscure.json");
        assert_eq!(hex(file["key_hex"].as_str().unwrap()), KEY);
        let mut cases = 0;
        for group in ["obscure_output", "reveal_fixed_iv"] {
            for case in file[group].as_array().unwrap() {
                let plain = case["plain"].as_str().unwrap();
                let obscured = case["obscured"].as_str().unwrap();
                assert_eq!(reveal(obscured).as_deref(), Some(plain.as_bytes()));
                let iv = hex(case["iv_hex"].as_str().unwrap());
                assert_eq!(obscure(plain.as_bytes(), iv.try_into().unwrap()), obscured);
                cases += 1;
            }
        }
        assert_eq!(cases, 26);
    }

    #[test]
    fn what_rclone_reveals_all_the_same() {
        let file = vectors!("obscure.json");
        let cases = file["reveal_lenient"].as_array().unwrap();
        assert_eq!(cases.len(), 3);
        for case in cases {
            let plain = reveal(case["input"].as_str().unwrap());
            let expected = case["plain"].as_str().unwrap().as_bytes();
            assert_eq!(plain.as_deref(), Some(expected), "{}", case["what"]);
        }
    }

    #[test]
    fn what_rclone_cannot_reveal() {
        let file = vectors!("obscure.json");
        let cases = file["reveal_errors"].as_array().unwrap();
        assert_eq!(cases.len(), 10);
        for case in cases {
            let input = case["input"].as_str().unwrap();
            assert_eq!(reveal(input), None, "{input}");
        }
    }
}
