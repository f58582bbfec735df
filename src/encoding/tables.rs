//! The replaced characters and the two transformations [rclone-compat §2.2, §2.3].
//!
//! Everything works on bytes. The replaced characters are ASCII, and the replacements and the quote
//! take three bytes whose first is never part of another character: wherever those bytes stand, in
//! valid UTF-8 or not, they are that character.

use std::borrow::Cow;
use std::ops::Range;

use super::mask::Mask;

/// U+201B, which marks a replacement character that is meant literally.
const QUOTE: &[u8; 3] = b"\xE2\x80\x9B";

/// Whole names with [`Mask::DOT`]: raw and encoded.
const DOT_NAMES: [(&[u8], &[u8]); 4] = [
    (b".", "．".as_bytes()),
    (b"..", "．．".as_bytes()),
    ("．".as_bytes(), "‛．".as_bytes()),
    ("．．".as_bytes(), "‛．‛．".as_bytes()),
];

/// A set of ASCII characters, the raw ones that a mask replaces in some position.
#[derive(Clone, Copy)]
struct AsciiSet(u128);

impl AsciiSet {
    const CTL: u128 = (1 << 0x20) - 2;
    const CR_LF_HT_VT: u128 = ascii(b"\r\n\t\x0B");

    /// Characters replaced anywhere. NUL is one for every mask.
    fn inner(mask: Mask) -> Self {
        Self::collect(
            mask,
            ascii(b"\0"),
            &[
                (Mask::SLASH, ascii(b"/")),
                (Mask::LT_GT, ascii(b"<>")),
                (Mask::DOUBLE_QUOTE, ascii(b"\"")),
                (Mask::SINGLE_QUOTE, ascii(b"'")),
                (Mask::BACK_QUOTE, ascii(b"`")),
                (Mask::DOLLAR, ascii(b"$")),
                (Mask::COLON, ascii(b":")),
                (Mask::QUESTION, ascii(b"?")),
                (Mask::ASTERISK, ascii(b"*")),
                (Mask::PIPE, ascii(b"|")),
                (Mask::HASH, ascii(b"#")),
                (Mask::PERCENT, ascii(b"%")),
                (Mask::BACK_SLASH, ascii(b"\\")),
                (Mask::CR_LF, ascii(b"\r\n")),
                (Mask::DEL, ascii(b"\x7F")),
                (Mask::CTL, Self::CTL),
                (Mask::SQUARE_BRACKET, ascii(b"[]")),
                (Mask::SEMICOLON, ascii(b";")),
                (Mask::EXCLAMATION, ascii(b"!")),
            ],
        )
    }

    /// Characters replaced at the beginning of a name.
    fn left(mask: Mask) -> Self {
        Self::collect(
            mask,
            0,
            &[
                (Mask::LEFT_SPACE, ascii(b" ")),
                (Mask::LEFT_PERIOD, ascii(b".")),
                (Mask::LEFT_TILDE, ascii(b"~")),
                (Mask::LEFT_CR_LF_HT_VT, Self::CR_LF_HT_VT),
            ],
        )
    }

    /// Characters replaced at the end of a name.
    fn right(mask: Mask) -> Self {
        Self::collect(
            mask,
            0,
            &[
                (Mask::RIGHT_SPACE, ascii(b" ")),
                (Mask::RIGHT_PERIOD, ascii(b".")),
                (Mask::RIGHT_CR_LF_HT_VT, Self::CR_LF_HT_VT),
            ],
        )
    }

    fn collect(mask: Mask, always: u128, rules: &[(Mask, u128)]) -> Self {
        Self(rules.iter().fold(always, |set, (flag, characters)| {
            if mask.contains(*flag) {
                set | characters
            } else {
                set
            }
        }))
    }

    fn contains(self, raw: u8) -> bool {
        raw.is_ascii() && self.0 >> raw & 1 == 1
    }

    /// Whether the bytes begin with the replacement of a character in this set.
    fn replaced_at(self, bytes: &[u8]) -> Option<u8> {
        unreplaced(bytes).filter(|raw| self.contains(*raw))
    }
}

const fn ascii(characters: &[u8]) -> u128 {
    let mut set = 0;
    let mut i = 0;
    while i < characters.len() {
        set |= 1 << characters[i];
        i += 1;
    }
    set
}

/// The replacement of an ASCII character: a control picture, or the full-width form.
fn replacement(raw: u8) -> [u8; 3] {
    let point: u16 = match raw {
        0..=b' ' => 0x2400 + u16::from(raw),
        0x7F => 0x2421,
        _ => 0xFEE0 + u16::from(raw),
    };
    let [high, low] = point.to_be_bytes();
    [
        0xE0 | high >> 4,
        0x80 | (high & 0x0F) << 2 | low >> 6,
        0x80 | low & 0x3F,
    ]
}

/// The ASCII character whose replacement the bytes begin with, under whatever mask.
fn unreplaced(bytes: &[u8]) -> Option<u8> {
    match *bytes.first_chunk()? {
        [0xE2, 0x90, low @ 0x80..=0xA0] => Some(low - 0x80),
        [0xE2, 0x90, 0xA1] => Some(0x7F),
        [0xEF, 0xBC, low @ 0x81..=0xBF] => Some(low - 0x80 + 0x20),
        [0xEF, 0xBD, low @ 0x80..=0x9E] => Some(low - 0x80 + 0x60),
        _ => None,
    }
}

/// A name being changed from left to right; copies nothing until the first change.
struct Rewrite<'a> {
    name: &'a [u8],
    copied: usize,
    out: Vec<u8>,
}

impl<'a> Rewrite<'a> {
    fn new(name: &'a [u8]) -> Self {
        Self {
            name,
            copied: 0,
            out: Vec::new(),
        }
    }

    fn replace(&mut self, at: Range<usize>, with: &[u8]) {
        if self.out.capacity() == 0 {
            // Replacements are longer than what they replace, but rarely many.
            self.out.reserve(self.name.len() + 8);
        }
        self.out
            .extend_from_slice(&self.name[self.copied..at.start]);
        self.out.extend_from_slice(with);
        self.copied = at.end;
    }

    fn insert_quote(&mut self, at: usize) {
        self.replace(at..at, QUOTE);
    }

    fn finish(mut self) -> Cow<'a, [u8]> {
        if self.out.capacity() == 0 {
            return Cow::Borrowed(self.name);
        }
        self.out.extend_from_slice(&self.name[self.copied..]);
        Cow::Owned(self.out)
    }
}

/// Raw to encoded; borrowed if and only if nothing had to change.
pub(super) fn encode(mask: Mask, name: &[u8]) -> Cow<'_, [u8]> {
    if mask == Mask::RAW {
        return Cow::Borrowed(name);
    }
    if mask.contains(Mask::DOT)
        && let Some((_, encoded)) = DOT_NAMES.iter().find(|(raw, _)| *raw == name)
    {
        return Cow::Owned(encoded.to_vec());
    }
    let mut rewrite = Rewrite::new(name);

    // One character only at each end, and it is done with afterwards.
    let left = AsciiSet::left(mask);
    let start = match name.first() {
        Some(&first) if left.contains(first) => {
            rewrite.replace(0..1, &replacement(first));
            1
        }
        _ if left.replaced_at(name).is_some() => {
            rewrite.insert_quote(0);
            QUOTE.len()
        }
        _ => 0,
    };
    let right = AsciiSet::right(mask);
    let (end, last) = match &name[start..] {
        [.., last] if right.contains(*last) => (name.len() - 1, Some(*last)),
        [.., a, b, c] if right.replaced_at(&[*a, *b, *c]).is_some() => (name.len() - 3, None),
        _ => (name.len(), None),
    };

    let inner = AsciiSet::inner(mask);
    if mask.contains(Mask::INVALID_UTF8) {
        let mut at = start;
        for chunk in name[start..end].utf8_chunks() {
            let invalid = at + chunk.valid().len();
            encode_inner(inner, at..invalid, &mut rewrite);
            at = invalid;
            // Each byte is a character of its own, as in Go's decoding.
            for &byte in chunk.invalid() {
                rewrite.replace(at..at + 1, &escape(byte));
                at += 1;
            }
        }
    } else {
        encode_inner(inner, start..end, &mut rewrite);
    }

    if let Some(last) = last {
        rewrite.replace(end..end + 1, &replacement(last));
    } else if end < name.len() {
        rewrite.insert_quote(end);
    }
    rewrite.finish()
}

fn encode_inner(inner: AsciiSet, range: Range<usize>, rewrite: &mut Rewrite<'_>) {
    let name = &rewrite.name[..range.end];
    for at in range {
        let byte = name[at];
        if byte.is_ascii() {
            if inner.contains(byte) {
                rewrite.replace(at..at + 1, &replacement(byte));
            }
        } else if matches!(byte, 0xE2 | 0xEF) {
            let rest = &name[at..];
            if rest.starts_with(QUOTE) || inner.replaced_at(rest).is_some() {
                rewrite.insert_quote(at);
            }
        }
    }
}

/// The quote and two upper-case hexadecimal digits.
fn escape(byte: u8) -> [u8; 5] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let [a, b, c] = *QUOTE;
    let (high, low) = (usize::from(byte >> 4), usize::from(byte & 0x0F));
    [a, b, c, DIGITS[high], DIGITS[low]]
}

/// Encoded to raw; borrowed if and only if nothing had to change.
pub(super) fn decode(mask: Mask, name: &[u8]) -> Cow<'_, [u8]> {
    if mask == Mask::RAW {
        return Cow::Borrowed(name);
    }
    if mask.contains(Mask::DOT)
        && let Some((raw, _)) = DOT_NAMES.iter().find(|(_, encoded)| *encoded == name)
    {
        return Cow::Owned(raw.to_vec());
    }
    let mut rewrite = Rewrite::new(name);

    let left = AsciiSet::left(mask);
    let mut start = 0;
    if let Some(raw) = left.replaced_at(name) {
        start = QUOTE.len();
        rewrite.replace(0..start, &[raw]);
    } else if let Some(quoted) = name.strip_prefix(QUOTE)
        && left.replaced_at(quoted).is_some()
    {
        start = 2 * QUOTE.len();
        rewrite.replace(0..QUOTE.len(), &[]);
    }

    // Looks back one character only, so that a name ending in a literal quote and a space is
    // misread. rclone does the same, and the two must agree on every name [rclone-compat §2.2].
    let right = AsciiSet::right(mask);
    let mut end = name.len();
    let mut last = None;
    if let Some((rest, replaced)) = name[start..].split_last_chunk::<3>()
        && let Some(raw) = right.replaced_at(replaced)
    {
        let from = name.len() - replaced.len();
        if rest.ends_with(QUOTE) {
            end = from - QUOTE.len();
            last = Some((end..from, None));
        } else {
            end = from;
            last = Some((end..name.len(), Some(raw)));
        }
    }

    decode_inner(mask, start..end, &mut rewrite);
    if let Some((range, raw)) = last {
        rewrite.replace(range, raw.as_slice());
    }
    rewrite.finish()
}

fn decode_inner(mask: Mask, range: Range<usize>, rewrite: &mut Rewrite<'_>) {
    let inner = AsciiSet::inner(mask);
    let escapes = mask.contains(Mask::INVALID_UTF8);
    let name = &rewrite.name[..range.end];
    let mut at = range.start;
    while let Some(found) = name[at..].iter().position(|b| matches!(b, 0xE2 | 0xEF)) {
        at += found;
        let rest = &name[at..];
        if let Some(raw) = inner.replaced_at(rest) {
            rewrite.replace(at..at + 3, &[raw]);
            at += 3;
        } else if let Some(quoted) = rest.strip_prefix(QUOTE) {
            if quoted.starts_with(QUOTE) || inner.replaced_at(quoted).is_some() {
                rewrite.replace(at..at + 3, &[]);
                at += 6;
            } else if escapes && let Some(byte) = unescape(quoted) {
                rewrite.replace(at..at + 5, &[byte]);
                at += 5;
            } else {
                at += 3;
            }
        } else {
            at += 1;
        }
    }
}

/// The byte that two hexadecimal digits in either case stand for.
fn unescape(digits: &[u8]) -> Option<u8> {
    let [high, low] = *digits.first_chunk()?;
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(high << 4 | low).ok()
}
