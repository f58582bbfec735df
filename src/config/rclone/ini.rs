//! The dialect of `rclone.conf`: exactly what rclone's parser, goconfig 1.0.0,
//! makes of a file [rclone-compat §1.4].

use std::collections::{BTreeMap, HashMap};

/// Where the lines before any section belong.
pub(super) const DEFAULT: &str = "DEFAULT";
/// A key that goconfig gives to every section with a header. It is not listed,
/// but `%( )s` finds it.
const MARKER: &str = " ";
/// How often a value is searched for something to replace.
const ROUNDS: usize = 200;
/// goconfig has no bound for these two: it runs out of stack or memory.
const MAX_REPLACEMENTS: usize = 2_000;
const MAX_VALUE: usize = 64 << 10;

/// A file, read.
#[derive(Default)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Ini {
    sections: Vec<(String, BTreeMap<String, String>)>,
    index: HashMap<String, usize>,
}

/// Why a file cannot be read. It does not hold the line, which may hold a
/// secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParseError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// The references of a value do not end, or make it endless.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endless;

/// A value that was looked up.
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub(super) struct Found<'a> {
    /// The section that it stands in: the one asked for or one above it.
    pub section: &'a str,
    /// With its references replaced.
    pub value: String,
}

const EMPTY_SECTION: &str = "a key stands below [], a section without a name";
const NO_SEPARATOR: &str = "it is no [section], no comment and no key with = or : and a value";
const OPEN_QUOTE: &str = "a quote is opened and not closed";

impl Ini {
    /// Reads a file.
    pub(super) fn parse(text: &str) -> Result<Self, ParseError> {
        let mut ini = Self::default();
        let mut section = DEFAULT.to_owned();
        let mut dashes = 0;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in text.split('\n').enumerate() {
            let failed = |problem| ParseError {
                line: number + 1,
                problem,
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(header) = header(line) {
                section = header.to_owned();
                dashes = 0;
                ini.set(&section, MARKER, MARKER);
                continue;
            }
            if section.is_empty() {
                return Err(failed(EMPTY_SECTION));
            }
            let (key, value) = split(line).map_err(failed)?;
            let value = unquoted(value).map_err(failed)?;
            if key == "-" {
                dashes += 1;
                ini.set(&section, &format!("#{dashes}"), value);
            } else if !key.is_empty() {
                ini.set(&section, key, value);
            }
        }
        Ok(ini)
    }

    fn set(&mut self, section: &str, key: &str, value: &str) {
        let section = if section.is_empty() { DEFAULT } else { section };
        let at = match self.index.get(section) {
            Some(at) => *at,
            None => {
                self.sections.push((section.to_owned(), BTreeMap::new()));
                self.index
                    .insert(section.to_owned(), self.sections.len() - 1);
                self.sections.len() - 1
            }
        };
        self.sections[at].1.insert(key.to_owned(), value.to_owned());
    }

    fn section(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.index.get(name).map(|at| &self.sections[*at].1)
    }

    /// The names of the sections, in the file's order.
    pub(super) fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|(name, _)| name.as_str())
    }

    /// Whether one of these keys stands in any section.
    pub(super) fn holds_any(&self, keys: &[&str]) -> bool {
        let mut sections = self.sections.iter();
        sections.any(|(_, section)| keys.iter().any(|key| section.contains_key(*key)))
    }

    /// The keys that stand in a section itself.
    #[cfg(test)]
    pub(super) fn keys(&self, section: &str) -> impl Iterator<Item = &str> {
        let keys = self.section(section).into_iter().flat_map(BTreeMap::keys);
        keys.map(String::as_str).filter(|key| *key != MARKER)
    }

    /// A value as rclone sees it: from the section or, if it lacks the key,
    /// from the one above it (`a` for `a.b`), with its references replaced.
    pub(super) fn get<'a>(
        &'a self,
        section: &'a str,
        key: &str,
    ) -> Result<Option<Found<'a>>, Endless> {
        self.look_up(section, key, &mut 0)
    }

    fn look_up<'a>(
        &'a self,
        mut section: &'a str,
        key: &str,
        replaced: &mut usize,
    ) -> Result<Option<Found<'a>>, Endless> {
        let (keys, mut value) = loop {
            let Some(keys) = self.section(section) else {
                return Ok(None);
            };
            if let Some(value) = keys.get(key) {
                break (keys, value.clone());
            }
            match section.rfind('.') {
                Some(dot) => section = &section[..dot],
                None => return Ok(None),
            }
        };
        for _ in 0..ROUNDS {
            let Some(reference) = reference(&value) else {
                break;
            };
            *replaced += 1;
            if *replaced > MAX_REPLACEMENTS {
                return Err(Endless);
            }
            let name = name_of(reference);
            let text = match self.look_up(DEFAULT, name, replaced)? {
                Some(found) => found.value,
                None => keys.get(name).cloned().unwrap_or_default(),
            };
            value = value.replace(reference, &text);
            if value.len() > MAX_VALUE {
                return Err(Endless);
            }
        }
        Ok(Some(Found { section, value }))
    }
}

fn header(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.strip_suffix(']').map(str::trim)
}

/// Key and value of a line. The key may be quoted, then it may hold
/// separators.
fn split(line: &str) -> Result<(&str, &str), &'static str> {
    let quote = match line {
        _ if line.len() >= 6 && line.starts_with("\"\"\"") => "\"\"\"",
        _ if line.starts_with('"') => "\"",
        _ if line.starts_with('`') => "`",
        _ => {
            return match line.find(['=', ':']) {
                None | Some(0) => Err(NO_SEPARATOR),
                Some(at) => Ok((line[..at].trim(), line[at + 1..].trim())),
            };
        }
    };
    let rest = &line[quote.len()..];
    let end = rest.find(quote).ok_or(OPEN_QUOTE)?;
    let after = &rest[end..];
    let at = after.find(['=', ':']).ok_or(NO_SEPARATOR)?;
    Ok((&rest[..end], after[at + 1..].trim()))
}

/// What stands between backticks or triple quotes; other quotes are part of
/// the value.
fn unquoted(value: &str) -> Result<&str, &'static str> {
    let quote = match value {
        _ if value.len() >= 2 && value.starts_with('`') => "`",
        _ if value.len() >= 6 && value.starts_with("\"\"\"") => "\"\"\"",
        _ => return Ok(value),
    };
    let rest = &value[quote.len()..];
    rest.rfind(quote).map(|end| &rest[..end]).ok_or(OPEN_QUOTE)
}

/// The first `%(…)s` of a value; there is no `)` inside.
fn reference(value: &str) -> Option<&str> {
    let mut from = 0;
    value.match_indices(')').find_map(|(close, _)| {
        let start = value[from..close].find("%(").map(|at| from + at);
        from = close + 1;
        let start = start.filter(|start| start + 2 < close)?;
        value[close..]
            .starts_with(")s")
            .then(|| &value[start..close + 2])
    })
}

/// The name in a reference. goconfig cuts all `%` and `(` at its begin and all
/// `)` and `s` at its end: `%(keys)s` refers to `key`.
fn name_of(reference: &str) -> &str {
    reference
        .trim_start_matches(['%', '('])
        .trim_end_matches([')', 's'])
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;
    use crate::config::tests::{hex, vectors};

    fn dump(ini: &Ini) -> Value {
        let section = |name| {
            let key = |key: &str| {
                let value = ini.get(name, key).unwrap().unwrap().value;
                (key.to_owned(), Value::String(value))
            };
            let keys: Map<_, _> = ini.keys(name).map(key).collect();
            (name.to_owned(), Value::Object(keys))
        };
        Value::Object(ini.sections().map(section).collect())
    }

    /// What rclone says of such a line.
    fn message(error: &ParseError, text: &str) -> String {
        if error.problem == EMPTY_SECTION {
            return "empty section name not allowed".to_owned();
        }
        let line = text.split('\n').nth(error.line - 1).unwrap().trim();
        format!("could not parse line: {line}")
    }

    #[test]
    fn the_files_that_rclone_was_given() {
        let file = vectors!("ini.json");
        let cases = file["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 52);
        for case in cases {
            let bytes = match case["conf_hex"].as_str() {
                Some(digits) => hex(digits),
                None => case["conf"].as_str().unwrap().as_bytes().to_vec(),
            };
            let text = String::from_utf8_lossy(&bytes);
            match Ini::parse(&text) {
                Ok(ini) => {
                    assert_eq!(case["ok"], true, "{}", case["what"]);
                    assert_eq!(dump(&ini), case["dump"], "{}", case["what"]);
                    let mut remotes: Vec<_> = ini.sections().collect();
                    remotes.sort_unstable();
                    let remotes: Vec<_> = remotes.iter().map(|name| format!("{name}:")).collect();
                    assert_eq!(
                        serde_json::json!(remotes),
                        case["listremotes"],
                        "{}",
                        case["what"]
                    );
                }
                Err(error) => {
                    assert_eq!(message(&error, &text), case["error"], "{}", case["what"]);
                }
            }
        }
    }

    fn get(text: &str, section: &str, key: &str) -> Option<(String, String)> {
        let ini = Ini::parse(text).unwrap();
        let found = ini.get(section, key).unwrap()?;
        Some((found.section.to_owned(), found.value))
    }

    #[test]
    fn a_missing_key_is_looked_up_in_the_sections_above() {
        let text = "[a]\nk = A\n[a.b]\nx = B\n[a.b.c]\ny = %(k)s%(x)s%(y2)s\ny2 = C\n[z.b]\n";
        let found = |section: &str, value: &str| Some((section.to_owned(), value.to_owned()));
        assert_eq!(get(text, "a.b.c", "k"), found("a", "A"));
        assert_eq!(get(text, "a.b.c", "x"), found("a.b", "B"));
        // References are not.
        assert_eq!(get(text, "a.b.c", "y"), found("a.b.c", "C"));
        assert_eq!(get(text, "a.b.c", "nothing"), None);
        assert_eq!(get(text, "z.b", "k"), None);
        // Nor is anything above a section that does not exist.
        assert_eq!(get(text, "a.nothing", "k"), None);
        assert_eq!(get(text, "nothing", "k"), None);
    }

    /// Observed with goconfig 1.0.0.
    #[test]
    fn oddities_of_goconfig() {
        for (value, meant) in [
            ("%(keys)s", "B"),
            ("%(pass)s", ""),
            ("%((key)s)s %( )s", "B)s  "),
            ("%()s%(key)s", "%()sB"),
            ("%(x)%(key)s", "%(x)B"),
            ("%(%(key)s", "B"),
            ("%(chain)s", "BB"),
        ] {
            let text = format!(
                "[a]\nkeys = A\nkey = B\npass = P\npas = Q\nchain = %(key)s%(key)s\nv = {value}\n"
            );
            let found = get(&text, "a", "v").unwrap().1;
            assert_eq!(found, meant, "{value}");
        }
        let ini = Ini::parse("[a]\n\"\" = dropped\n\"\\\"q\" = 3\n").unwrap();
        assert_eq!(dump(&ini), serde_json::json!({"a": {"\\": "3"}}));
    }

    /// goconfig does not survive these.
    #[test]
    fn endless_values_are_refused() {
        for text in [
            "a = %(a)s\n",
            "a = %(b)s\nb = %(a)s\n",
            "[s]\na = %(a)s%(a)s\n",
            "a = %(b)s%(%(b)s%((b)s\nb = %(c)s%(%(c)s%((c)s\nc = %(a)s\n",
        ] {
            let ini = Ini::parse(text).unwrap();
            let section = ini.sections().next().unwrap();
            assert_eq!(ini.get(section, "a"), Err(Endless), "{text}");
        }
        // Deep and long, but finite.
        let text = format!(
            "[{}a]\nk = {}x)\n",
            ".".repeat(100_000),
            "%(".repeat(100_000)
        );
        let ini = Ini::parse(&text).unwrap();
        let section = ini.sections().next().unwrap();
        assert_eq!(ini.get(section, "nothing"), Ok(None));
        assert_eq!(ini.get(section, "k").unwrap().unwrap().value.len(), 200_002);
    }

    #[test]
    fn an_error_names_the_line() {
        let error = Ini::parse("[a]\nk = v\n\nsecret\n").unwrap_err();
        assert_eq!((error.line, error.problem), (4, NO_SEPARATOR));
        let error = Ini::parse("k = `secret\n").unwrap_err();
        assert_eq!((error.line, error.problem), (1, OPEN_QUOTE));
        let error = Ini::parse("\"k = secret\n").unwrap_err();
        assert_eq!((error.line, error.problem), (1, OPEN_QUOTE));
    }
}
