//! Decoding of what 1Fichier really sends: numbers as strings, strings as
//! numbers, absent or null members ([API §1, §19, M3]).

use std::marker::PhantomData;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Visitor};

use super::error::{Error, Kind};

/// An integer sent as a number, as digits in a string, or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Int(pub(crate) Option<i64>);

/// A text sent as a string, as a scalar, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Option<String>);

/// A flag sent as 0 or 1, a string of it, a boolean, an object (set when it
/// has members), or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

/// An array, or null, or absent. `None` tells that no array was sent.
#[derive(Clone, Debug)]
pub(crate) struct List<T>(pub(crate) Option<Vec<T>>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> List<T> {
    pub(crate) fn into_vec(self) -> Vec<T> {
        self.0.unwrap_or_default()
    }
}

struct IntVisitor;

impl<'de> Visitor<'de> for IntVisitor {
    type Value = Int;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number or a string of digits")
    }
    fn visit_i64<E>(self, value: i64) -> Result<Int, E> {
        Ok(Int(Some(value)))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Int, E> {
        Ok(Int(i64::try_from(value).ok()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Int, E> {
        Ok(Int(Some(value as i64)))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Int, E> {
        Ok(Int(Some(value.into())))
    }
    fn visit_str<E>(self, value: &str) -> Result<Int, E> {
        let value = value.trim();
        let exact = value.parse().ok();
        Ok(Int(exact.or_else(|| {
            value.parse::<f64>().ok().map(|number| number as i64)
        })))
    }
    fn visit_unit<E>(self) -> Result<Int, E> {
        Ok(Int(None))
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }
    fn visit_str<E>(self, value: &str) -> Result<Text, E> {
        Ok(Text(Some(value.to_owned())))
    }
    fn visit_string<E>(self, value: String) -> Result<Text, E> {
        Ok(Text(Some(value)))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }
    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct FlagVisitor;

impl<'de> Visitor<'de> for FlagVisitor {
    type Value = Flag;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("0 or 1")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Flag, E> {
        Ok(Flag(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Flag, E> {
        Ok(Flag(value != 0))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Flag, E> {
        Ok(Flag(value != 0))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Flag, E> {
        Ok(Flag(value != 0.0))
    }
    fn visit_str<E>(self, value: &str) -> Result<Flag, E> {
        Ok(Flag(!matches!(value.trim(), "" | "0" | "false")))
    }
    fn visit_unit<E>(self) -> Result<Flag, E> {
        Ok(Flag(false))
    }
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Flag, A::Error> {
        let mut set = false;
        while seq.next_element::<de::IgnoredAny>()?.is_some() {
            set = true;
        }
        Ok(Flag(set))
    }
    // `acl` is a number in file/ls and an object in file/info [API §6, §7].
    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Flag, A::Error> {
        let mut set = false;
        while let Some((_, value)) = map.next_entry::<de::IgnoredAny, Flag>()? {
            set |= value.0;
        }
        Ok(Flag(set))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FlagVisitor)
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array or null")
    }
    fn visit_unit<E>(self) -> Result<List<T>, E> {
        Ok(List(None))
    }
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(5_000));
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(List(Some(items)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

/// Parses an answer. A name with a raw backslash, stored through the web site,
/// makes 1Fichier send invalid JSON [API §D]: that is mended, once.
pub(crate) fn parse<T: DeserializeOwned>(endpoint: &'static str, body: &[u8]) -> Result<T, Error> {
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        Err(first) => match escape_lone_backslashes(body) {
            Some(mended) => serde_json::from_slice(&mended)
                .map_err(|_| malformed(endpoint, body, &first.to_string())),
            None => Err(malformed(endpoint, body, &first.to_string())),
        },
    }
}

fn malformed(endpoint: &'static str, body: &[u8], why: &str) -> Error {
    let text = String::from_utf8_lossy(body);
    let kind = if body.is_empty() {
        "nothing".to_owned()
    } else if text.trim_start().starts_with('<') {
        "an HTML page instead of JSON".to_owned()
    } else {
        format!("JSON that cannot be read ({why})")
    };
    Error::new(
        endpoint,
        Kind::Malformed,
        format!("1Fichier answered {kind}"),
    )
}

fn escape_lone_backslashes(body: &[u8]) -> Option<Vec<u8>> {
    let mut mended = Vec::with_capacity(body.len() + 16);
    let mut changed = false;
    let mut bytes = body.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        mended.push(byte);
        if byte != b'\\' {
            continue;
        }
        match bytes.peek().copied() {
            Some(next @ (b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u')) => {
                mended.push(next);
                bytes.next();
            }
            _ => {
                mended.push(b'\\');
                changed = true;
            }
        }
    }
    changed.then_some(mended)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Sample {
        size: Int,
        name: Text,
        acl: Flag,
    }

    #[test]
    fn scalars_come_in_any_type_or_not_at_all() {
        for (text, size, name, acl) in [
            (
                r#"{"size":12,"name":"a","acl":1}"#,
                Some(12),
                Some("a"),
                true,
            ),
            (
                r#"{"size":"12","name":7,"acl":"1"}"#,
                Some(12),
                Some("7"),
                true,
            ),
            (r#"{"size":"1.9","acl":"0"}"#, Some(1), None, false),
            (r#"{"size":null,"name":null,"acl":null}"#, None, None, false),
            (r#"{"size":"","acl":{}}"#, None, None, false),
            (r#"{"acl":{"ip":[],"premium":0}}"#, None, None, false),
            (
                r#"{"acl":{"ip":["192.0.2.0/24"]},"unknown":{"x":1}}"#,
                None,
                None,
                true,
            ),
        ] {
            let sample: Sample = parse("test", text.as_bytes()).unwrap();
            assert_eq!(
                (sample.size.0, sample.name.0.as_deref(), sample.acl.0),
                (size, name, acl),
                "{text}"
            );
        }
    }

    #[test]
    fn a_raw_backslash_in_a_name_is_mended() {
        let sample: Sample = parse("test", br#"{"name":"a\.txt \"q\""}"#).unwrap();
        assert_eq!(sample.name.0.as_deref(), Some(r#"a\.txt "q""#));
    }

    #[test]
    fn what_is_no_json_is_an_error_that_says_so() {
        for (body, word) in [
            (&b""[..], "nothing"),
            (b"<html>", "HTML"),
            (b"{\"size\":", "cannot be read"),
        ] {
            let error = parse::<Sample>("test", body).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
