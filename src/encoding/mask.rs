//! The set of name rules, and its text form [rclone-compat §2.3, §2.4].

use std::borrow::Cow;
use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;

use super::tables;

/// Set of name rules, rclone's `encoding` option.
///
/// NUL is replaced under every mask but [`Mask::RAW`], also under [`Mask::NONE`]. Bits without a
/// name are kept and have no effect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mask(u64);

/// Declares the flags in bit order, and the same list for parsing and printing.
macro_rules! flags {
    ($($(#[doc = $doc:literal])+ $konst:ident = $name:literal, $bit:literal;)+) => {
        impl Mask {
            $($(#[doc = $doc])+ pub const $konst: Mask = Mask(1 << $bit);)+
        }

        /// Every named bit, lowest first.
        const FLAGS: &[(&str, Mask)] = &[$(($name, Mask::$konst)),+];
    };
}

flags! {
    /// Names pass unchanged, if this is the only bit set; otherwise without effect.
    RAW = "Raw", 0;
    /// `/`
    SLASH = "Slash", 1;
    /// `<` and `>`
    LT_GT = "LtGt", 2;
    /// `"`
    DOUBLE_QUOTE = "DoubleQuote", 3;
    /// `'`
    SINGLE_QUOTE = "SingleQuote", 4;
    /// `` ` ``
    BACK_QUOTE = "BackQuote", 5;
    /// `$`
    DOLLAR = "Dollar", 6;
    /// `:`
    COLON = "Colon", 7;
    /// `?`
    QUESTION = "Question", 8;
    /// `*`
    ASTERISK = "Asterisk", 9;
    /// `|`
    PIPE = "Pipe", 10;
    /// `#`
    HASH = "Hash", 11;
    /// `%`
    PERCENT = "Percent", 12;
    /// `\`
    BACK_SLASH = "BackSlash", 13;
    /// Carriage return and line feed.
    CR_LF = "CrLf", 14;
    /// U+007F.
    DEL = "Del", 15;
    /// U+0001 to U+001F.
    CTL = "Ctl", 16;
    /// A space at the beginning.
    LEFT_SPACE = "LeftSpace", 17;
    /// A `.` at the beginning.
    LEFT_PERIOD = "LeftPeriod", 18;
    /// A `~` at the beginning.
    LEFT_TILDE = "LeftTilde", 19;
    /// A carriage return, line feed, or horizontal or vertical tab at the beginning.
    LEFT_CR_LF_HT_VT = "LeftCrLfHtVt", 20;
    /// A space at the end.
    RIGHT_SPACE = "RightSpace", 21;
    /// A `.` at the end.
    RIGHT_PERIOD = "RightPeriod", 22;
    /// A carriage return, line feed, or horizontal or vertical tab at the end.
    RIGHT_CR_LF_HT_VT = "RightCrLfHtVt", 23;
    /// Bytes that are not part of valid UTF-8.
    INVALID_UTF8 = "InvalidUtf8", 24;
    /// The whole names `.` and `..`.
    DOT = "Dot", 25;
    /// `[` and `]`
    SQUARE_BRACKET = "SquareBracket", 26;
    /// `;`
    SEMICOLON = "Semicolon", 27;
    /// `!`
    EXCLAMATION = "Exclamation", 28;
}

/// The name of the empty set.
const NONE_NAME: &str = "None";

impl Mask {
    /// No rule but the replacement of NUL and the quoting that goes with it.
    pub const NONE: Mask = Mask(0);

    /// rclone's default for 1Fichier, `0x323a07e` [rclone-compat §2.3].
    pub const FICHIER: Mask = Mask(
        Self::SLASH.0
            | Self::LT_GT.0
            | Self::DOUBLE_QUOTE.0
            | Self::SINGLE_QUOTE.0
            | Self::BACK_QUOTE.0
            | Self::DOLLAR.0
            | Self::BACK_SLASH.0
            | Self::DEL.0
            | Self::CTL.0
            | Self::LEFT_SPACE.0
            | Self::RIGHT_SPACE.0
            | Self::INVALID_UTF8.0
            | Self::DOT.0,
    );

    /// The form in which rclone hands names to its backends and prints them, `0x2018002`
    /// [rclone-compat §2.1].
    pub const STANDARD: Mask = Mask(Self::SLASH.0 | Self::CTL.0 | Self::DEL.0 | Self::DOT.0);

    /// The form of names in the gRPC contract: [`Mask::STANDARD`], and always valid UTF-8.
    pub const WIRE: Mask = Mask(Self::STANDARD.0 | Self::INVALID_UTF8.0);

    /// The mask with these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The numeric value, the same as in rclone.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Mask) -> bool {
        self.0 & other.0 == other.0
    }

    /// Raw name to the form of this mask [rclone-compat §2.2].
    ///
    /// Any byte string is accepted. With [`Mask::INVALID_UTF8`] the result is valid UTF-8.
    #[must_use]
    pub fn encode(self, raw: &[u8]) -> Vec<u8> {
        tables::encode(self, raw).into_owned()
    }

    /// A name in the form of this mask to the raw name [rclone-compat §2.2].
    ///
    /// Any byte string is accepted, also one that [`Mask::encode`] never produces. Two kinds of name
    /// do not survive encoding and decoding: a quote `‛` followed by a final character that a
    /// `Right…` flag replaces, such as `x‛` and a space; and, with [`Mask::DOT`], `.．` if a period
    /// is replaced at the beginning alone, or `．.` if it is at the end alone: they become `．．`,
    /// which is `..`. rclone is the same.
    #[must_use]
    pub fn decode(self, stored: &[u8]) -> Vec<u8> {
        tables::decode(self, stored).into_owned()
    }
}

impl BitOr for Mask {
    type Output = Mask;

    fn bitor(self, other: Mask) -> Mask {
        Mask(self.0 | other.0)
    }
}

/// Text that is not an `encoding` option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "bad encoding {item:?}: expected a comma-separated list of numbers or {}",
    all_names()
)]
pub struct MaskError {
    item: String,
}

impl MaskError {
    /// The item of the list that could not be read; empty if it was missing.
    #[must_use]
    pub fn item(&self) -> &str {
        &self.item
    }
}

fn all_names() -> String {
    let mut names = NONE_NAME.to_owned();
    for (name, _) in FLAGS {
        names.push_str(", ");
        names.push_str(name);
    }
    names
}

impl FromStr for Mask {
    type Err = MaskError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').try_fold(Mask::NONE, |mask, item| {
            let item = item.trim();
            parse_item(item)
                .map(|flag| mask | flag)
                .ok_or_else(|| MaskError {
                    item: item.to_owned(),
                })
        })
    }
}

fn parse_item(item: &str) -> Option<Mask> {
    if item == NONE_NAME {
        return Some(Mask::NONE);
    }
    match FLAGS.iter().find(|(name, _)| *name == item) {
        Some((_, flag)) => Some(*flag),
        None => parse_integer(item).map(Mask),
    }
}

/// An unsigned integer as Go reads it in base 0: prefixes `0x`, `0o`, `0b` in either case, a leading
/// `0` means octal, one `_` may follow the prefix or a digit if a digit comes next.
fn parse_integer(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let (radix, digits, mut separable) = match bytes {
        [b'0', b'x' | b'X', ..] => (16, &text[2..], true),
        [b'0', b'o' | b'O', ..] => (8, &text[2..], true),
        [b'0', b'b' | b'B', ..] => (2, &text[2..], true),
        [b'0', _, ..] => (8, text, false),
        _ => (10, text, false),
    };
    let mut value = None;
    for c in digits.chars() {
        if c == '_' && separable {
            separable = false;
            continue;
        }
        let digit = u64::from(c.to_digit(radix)?);
        value = Some(
            value
                .unwrap_or(0_u64)
                .checked_mul(u64::from(radix))?
                .checked_add(digit)?,
        );
        separable = true;
    }
    // `separable` is false after a final `_`; no digit at all leaves no value.
    value.filter(|_| separable)
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Mask::NONE {
            return f.write_str(NONE_NAME);
        }
        let mut separator = "";
        for bit in (0..u64::BITS).map(|shift| 1_u64 << shift) {
            if self.0 & bit == 0 {
                continue;
            }
            let name = match FLAGS.iter().find(|(_, flag)| flag.0 == bit) {
                Some((name, _)) => Cow::Borrowed(*name),
                None => Cow::Owned(format!("{bit:#X}")),
            };
            write!(f, "{separator}{name}")?;
            separator = ",";
        }
        Ok(())
    }
}
