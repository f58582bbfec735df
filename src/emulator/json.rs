//! JSON as the service writes it: the members of an object come in another order every time
//! [API §1], and empty arrays and numbers take the forms that [`super::Behaviour`] asks for.

use std::borrow::Cow;

/// A value that is still to be written.
#[derive(Debug, Clone)]
pub(super) enum Json {
    Null,
    Int(i64),
    Text(Cow<'static, str>),
    List(Vec<Json>),
    Object(Vec<(Cow<'static, str>, Json)>),
}

impl Json {
    /// An object with these members.
    pub(super) fn object<const N: usize>(members: [(&'static str, Json); N]) -> Json {
        Json::Object(
            members
                .into_iter()
                .map(|(name, value)| (Cow::Borrowed(name), value))
                .collect(),
        )
    }

    /// Adds a member; values that are not objects stay as they are.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Json>) -> Json {
        if let Json::Object(members) = &mut self {
            members.push((Cow::Borrowed(name), value.into()));
        }
        self
    }

    /// A whole number from an unsigned one. Sizes stay far below the limit of `i64`.
    pub(super) fn size(value: u64) -> Json {
        Json::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// The text of this value.
    pub(super) fn write(&self, style: Style, random: &mut fastrand::Rng) -> String {
        let mut out = String::new();
        self.write_to(&mut out, style, random, 0);
        out
    }

    fn write_to(&self, out: &mut String, style: Style, random: &mut fastrand::Rng, depth: usize) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Int(value) if style.stringify => quote(out, &value.to_string()),
            Json::Int(value) => out.push_str(&value.to_string()),
            Json::Text(value) => quote(out, value),
            Json::List(values) => {
                out.push('[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    line(out, style, depth + 1);
                    value.write_to(out, style, random, depth + 1);
                }
                if !values.is_empty() {
                    line(out, style, depth);
                }
                out.push(']');
            }
            Json::Object(members) => {
                let mut order: Vec<usize> = (0..members.len()).collect();
                random.shuffle(&mut order);
                out.push('{');
                for (index, member) in order.iter().filter_map(|at| members.get(*at)).enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    line(out, style, depth + 1);
                    quote(out, &member.0);
                    out.push_str(if style.pretty { " : " } else { ":" });
                    member.1.write_to(out, style, random, depth + 1);
                }
                if !members.is_empty() {
                    line(out, style, depth);
                }
                out.push('}');
            }
        }
    }
}

/// How a value is written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style {
    /// Indented, as `"pretty": 1` asks for [API §1].
    pub(super) pretty: bool,
    /// Numbers as strings [API J22].
    pub(super) stringify: bool,
}

fn line(out: &mut String, style: Style, depth: usize) {
    if style.pretty {
        out.push('\n');
        for _ in 0..depth {
            out.push_str("   ");
        }
    }
}

/// Writes a string with the escapes that JSON demands and raw UTF-8 otherwise.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

impl From<&str> for Json {
    fn from(value: &str) -> Json {
        Json::Text(Cow::Owned(value.to_owned()))
    }
}

impl From<String> for Json {
    fn from(value: String) -> Json {
        Json::Text(Cow::Owned(value))
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Json {
        Json::Int(value)
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Json {
        Json::size(value)
    }
}

impl From<usize> for Json {
    fn from(value: usize) -> Json {
        Json::size(value as u64)
    }
}

/// Flags are 0 or 1 on the wire [API §1].
impl From<bool> for Json {
    fn from(value: bool) -> Json {
        Json::Int(i64::from(value))
    }
}

impl From<Vec<Json>> for Json {
    fn from(value: Vec<Json>) -> Json {
        Json::List(value)
    }
}
