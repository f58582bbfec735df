//! Names exactly as rclone stores them [rclone-compat §2].
//!
//! A name has three forms:
//!
//! * *raw*: what the user means, any byte string;
//! * *stored*: what 1Fichier holds, the raw name encoded with the remote's [`Mask`];
//! * *segment*: one component of a path in the gRPC contract, the raw name encoded with
//!   [`Mask::WIRE`].
//!
//! [`Mask::encode`] and [`Mask::decode`] are rclone's transformation for every mask, byte for byte;
//! [`NameCodec`] joins the two so that the rest of the server handles segments and stored names only.
//!
//! rclone itself passes names around in the form of [`Mask::STANDARD`]. For every raw name that is
//! valid UTF-8 that is the same text as the segment. They differ in bytes that are not UTF-8, which
//! rclone passes through and a protobuf `string` cannot carry: a segment shows byte `FE` as `‛FE`.
//!
//! # Many to one
//!
//! Several stored names can decode to one raw name: a web upload called `a＄b` and another called
//! `a$b` are both `a$b` to rclone. So a stored name must never be computed for an entry that
//! already exists: list, compare [`NameCodec::to_segment`] with the wanted segment, and keep the
//! stored name or the id of what was found [rclone-compat §2.5].
//!
//! Names are compared byte for byte: nothing here folds case or normalises Unicode
//! [rclone-compat §2.1].

mod mask;
mod tables;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use mask::{Mask, MaskError};

/// The segment that shows an entry whose stored name is empty.
///
/// rclone cannot reach such an entry [rclone-compat §5, names 6]; here it must have a path of its
/// own. A quote before a character that is never quoted is not the encoding of any raw name, so no
/// other entry can have this segment.
pub const EMPTY_NAME_SEGMENT: &str = "‛∅";

/// What a name that reads like [`EMPTY_NAME_SEGMENT`] is encoded to.
const EMPTY_NAME_LOOKALIKE: &str = "‛‛∅";

/// Why a path segment has no stored name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NameError {
    /// The name holds bytes that are not UTF-8 and the mask does not replace them, while 1Fichier
    /// takes names as JSON text.
    #[error("the name is not valid UTF-8 and the remote's encoding lacks InvalidUtf8")]
    InvalidUtf8,
    /// The segment is empty or is [`EMPTY_NAME_SEGMENT`]: such an entry can be found and removed,
    /// but not created.
    #[error("the name is empty")]
    Empty,
}

/// Translates between path segments on the wire and names stored at 1Fichier.
///
/// A remote whose mask is exactly [`Mask::STANDARD`] is special in rclone: names pass unchanged in
/// both directions, not even brought into canonical form [rclone-compat §2.1]. Here too, except for
/// the few stored names that are no path segment (see [`NameCodec::to_segment`]).
#[derive(Clone, Copy, Debug)]
pub struct NameCodec {
    mask: Mask,
}

impl NameCodec {
    /// A codec for a remote with this `encoding` option.
    #[must_use]
    pub fn new(mask: Mask) -> Self {
        Self { mask }
    }

    /// The remote's mask.
    #[must_use]
    pub fn mask(&self) -> Mask {
        self.mask
    }

    /// The name under which a *new* entry with this path segment is stored.
    ///
    /// The segment need not be canonical: `a$b` and `a＄b` have different stored names, but `‛41`
    /// and `A` share one.
    ///
    /// # Errors
    ///
    /// [`NameError`] if the segment stands for a name that cannot be sent to 1Fichier.
    pub fn to_stored(&self, segment: &str) -> Result<String, NameError> {
        if segment.is_empty() || segment == EMPTY_NAME_SEGMENT {
            return Err(NameError::Empty);
        }
        if self.mask == Mask::STANDARD {
            return Ok(segment.to_owned());
        }
        match convert(segment, Mask::WIRE, self.mask) {
            None => Ok(segment.to_owned()),
            Some(stored) => String::from_utf8(stored).map_err(|_| NameError::InvalidUtf8),
        }
    }

    /// The segment that means what this one means, if that is another text: one in which control
    /// characters are replaced, quotes are quoted, and nothing else is. No stored name is ever shown
    /// as a segment that is not in this form, whatever the mask.
    #[must_use]
    pub fn standard_form(&self, segment: &str) -> Option<String> {
        if self.mask == Mask::STANDARD {
            return Some(self.to_segment(segment)).filter(|form| form != segment);
        }
        if segment == EMPTY_NAME_SEGMENT {
            return None;
        }
        let form = convert(segment, Mask::WIRE, Mask::WIRE)?;
        // WIRE replaces what is not UTF-8.
        String::from_utf8(form).ok().filter(|form| form != segment)
    }

    /// Whether an entry of this stored name is meant by this segment: it is shown as that, or is what
    /// would be made of it. The two differ for a quote before a space at the end, which rclone does not
    /// read back as it wrote it [rclone-compat §2.3].
    #[must_use]
    pub fn matches(&self, stored: &str, segment: &str) -> bool {
        self.to_segment(stored) == segment
            || self.to_stored(segment).is_ok_and(|name| name == stored)
    }

    /// The path segment that shows a stored name.
    ///
    /// Always exactly one segment: not empty, not `.` or `..`, without `/` and NUL. Stored names
    /// that are none of these, which 1Fichier itself may hold, appear as follows for every mask:
    ///
    /// | stored | segment |
    /// | --- | --- |
    /// | `.`, `..` | `．`, `．．` (U+FF0E), as [`Mask::WIRE`] encodes them |
    /// | `a/b` | `a／b` (U+FF0F), likewise |
    /// | `a`, NUL, `b` | `a␀b` (U+2400), likewise |
    /// | empty | [`EMPTY_NAME_SEGMENT`] |
    ///
    /// These apply to the decoded name as well: with the default mask stored `a‛2Fb` means `a/b`.
    #[must_use]
    pub fn to_segment(&self, stored: &str) -> String {
        if stored.is_empty() {
            return EMPTY_NAME_SEGMENT.to_owned();
        }
        if self.mask == Mask::STANDARD {
            return match stored {
                "." => "．".to_owned(),
                ".." => "．．".to_owned(),
                EMPTY_NAME_SEGMENT => EMPTY_NAME_LOOKALIKE.to_owned(),
                _ => stored.replace('/', "／").replace('\0', "␀"),
            };
        }
        match convert(stored, self.mask, Mask::WIRE) {
            None => stored.to_owned(),
            // WIRE replaces what is not UTF-8, so the lossy branch is never taken.
            Some(segment) => String::from_utf8(segment)
                .unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()),
        }
    }
}

/// `Encode(to, Decode(from, name))`, or `None` when that is the name itself.
///
/// Telling the two apart saves listings of ordinary names a copy and a UTF-8 check per entry.
fn convert(name: &str, from: Mask, to: Mask) -> Option<Vec<u8>> {
    let raw = tables::decode(from, name.as_bytes());
    match (tables::encode(to, &raw), &raw) {
        (Cow::Owned(bytes), _) => Some(bytes),
        (Cow::Borrowed(_), Cow::Borrowed(_)) => None,
        (Cow::Borrowed(same), Cow::Owned(_)) => Some(same.to_vec()),
    }
}
