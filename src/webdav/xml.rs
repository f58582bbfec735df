//! XML of requests as a list of elements, and text for XML of answers.

use std::fmt::Write;

use http::StatusCode;
use quick_xml::NsReader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

use crate::http::Failure;
use crate::quote;

/// The namespace of WebDAV itself.
pub(super) const DAV: &str = "DAV:";
/// That of ownCloud's additions, which other programs speak too.
pub(super) const OWNCLOUD: &str = "http://owncloud.org/ns";

/// Most elements of a body.
const MAX_ELEMENTS: usize = 1_000;
/// Most bytes of a name, and of its namespace: answers repeat them.
const MAX_NAME: usize = 256;
/// Most properties that a request names: answers name those, too, that are not
/// there.
const MAX_NAMES: usize = 64;

/// The name of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Empty when it has none.
    pub(super) namespace: String,
    pub(super) local: String,
}

impl Name {
    pub(super) fn is(&self, namespace: &str, local: &str) -> bool {
        self.namespace == namespace && self.local == local
    }
}

/// An element of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// 0 for the outermost.
    pub(super) depth: usize,
    pub(super) name: Name,
    /// The text directly in it.
    pub(super) text: String,
}

/// The elements of a body, in their order; none of an empty one.
///
/// # Errors
/// 400 for what is no XML, or has a document type: entities are of no use here.
pub(super) fn elements(body: &[u8]) -> Result<Vec<Element>, Failure> {
    let text = std::str::from_utf8(body).map_err(|_| bad("it is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = NsReader::from_str(text);
    let mut elements: Vec<Element> = Vec::new();
    // Those that are open, by their places in the list.
    let mut open: Vec<usize> = Vec::new();
    loop {
        let event = reader.read_event().map_err(bad)?;
        let (start, stays_open) = match event {
            Event::Start(start) => (start, true),
            Event::Empty(start) => (start, false),
            Event::End(_) => {
                open.pop();
                continue;
            }
            Event::Text(text) => {
                push_text(&mut elements, &open, &text.xml10_content())?;
                continue;
            }
            Event::CData(text) => {
                push_text(&mut elements, &open, &text.xml10_content())?;
                continue;
            }
            Event::GeneralRef(reference) => {
                let escaped = format!("&{};", reference.xml10_content());
                let text = unescape(&escaped).map_err(bad)?;
                push_text(&mut elements, &open, &text)?;
                continue;
            }
            Event::DocType(_) => return Err(bad("it has a document type")),
            Event::Eof if open.is_empty() => return Ok(elements),
            Event::Eof => return Err(bad("it ends too early")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
        };
        if open.is_empty() && !elements.is_empty() {
            return Err(bad("it has two outermost elements"));
        }
        if elements.len() >= MAX_ELEMENTS {
            return Err(bad(format_args!(
                "it has more than {MAX_ELEMENTS} elements"
            )));
        }
        let name = name(&reader, &start)?;
        let (depth, place) = (open.len(), elements.len());
        elements.push(Element {
            depth,
            name,
            text: String::new(),
        });
        if stays_open {
            open.push(place);
        }
    }
}

fn push_text(elements: &mut [Element], open: &[usize], text: &str) -> Result<(), Failure> {
    match open.last().and_then(|place| elements.get_mut(*place)) {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(bad("there is text around its elements")),
    }
    Ok(())
}

fn name(reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<Name, Failure> {
    let (namespace, local) = reader.resolver().resolve_element(start.name());
    let namespace = match namespace {
        ResolveResult::Bound(namespace) => {
            // Not one of 64 KiB for each element that is in it.
            if namespace.into_inner().len() > 6 * MAX_NAME {
                return Err(bad("a namespace is too long"));
            }
            unescape(namespace.into_inner()).map_err(bad)?.into_owned()
        }
        ResolveResult::Unbound => String::new(),
        ResolveResult::Unknown(prefix) => {
            return Err(bad(format_args!("it does not say what {prefix:?} means")));
        }
    };
    let local = local.into_inner();
    // It is written into the answer: the reader takes more for a name.
    let mut letters = local.chars();
    let first = letters
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_');
    if !first || !letters.all(|c| c.is_alphanumeric() || "-._".contains(c)) {
        return Err(bad("an element has no proper name"));
    }
    if namespace.len().max(local.len()) > MAX_NAME {
        return Err(bad(format_args!(
            "a name or a namespace has more than {MAX_NAME} bytes"
        )));
    }
    Ok(Name {
        namespace,
        local: local.to_owned(),
    })
}

/// Puts the name of a property to the others, if it is not there yet.
///
/// # Errors
/// 400 when there are too many.
pub(super) fn add_name(names: &mut Vec<Name>, name: &Name) -> Result<(), Failure> {
    if names.contains(name) {
        return Ok(());
    }
    if names.len() >= MAX_NAMES {
        let text = format!("a request names at most {MAX_NAMES} properties; make several requests");
        return Err(Failure::new(StatusCode::BAD_REQUEST, text));
    }
    names.push(name.clone());
    Ok(())
}

fn bad(why: impl std::fmt::Display) -> Failure {
    let why = why.to_string();
    // The parser's own words repeat names.
    let why = why.to_string();
    let why = quote::shortened(&why);
    let text = format!("the body is not the XML that WebDAV has here: {why}");
    Failure::new(StatusCode::BAD_REQUEST, text.replace(['\r', '\n'], " "))
}

/// Writes text, also such as XML cannot hold: that becomes U+FFFD.
pub(super) fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Else they would become spaces or line ends.
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// Writes an element with what is in it, which is XML already.
pub(super) fn push_element(out: &mut String, name: &Name, inner: &str) {
    let (prefix, declared) = match name.namespace.as_str() {
        DAV => ("D:", None),
        OWNCLOUD => ("oc:", None),
        "" => ("", None),
        other => ("x:", Some(other)),
    };
    let _ = write!(out, "<{prefix}{}", name.local);
    if let Some(namespace) = declared {
        out.push_str(" xmlns:x=\"");
        push_escaped(out, namespace);
        out.push('"');
    }
    if inner.is_empty() {
        out.push_str("/>");
    } else {
        let _ = write!(out, ">{inner}</{prefix}{}>", name.local);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Vec<(usize, String, String, String)> {
        let elements = elements(body.as_bytes()).unwrap();
        let parts = elements.into_iter().map(|element| {
            let Name { namespace, local } = element.name;
            (element.depth, namespace, local, element.text)
        });
        parts.collect()
    }

    fn element(
        depth: usize,
        namespace: &str,
        local: &str,
        text: &str,
    ) -> (usize, String, String, String) {
        (
            depth,
            namespace.to_owned(),
            local.to_owned(),
            text.to_owned(),
        )
    }

    #[test]
    fn elements_have_their_namespaces_and_texts() {
        let body = "\u{feff}<?xml version=\"1.0\"?>\n<!-- x --><a xmlns=\"DAV:\" xmlns:o='u&amp;v'><o:b>1&amp;&#50;<![CDATA[<3>]]></o:b>\
                    <c xmlns=\"\"/><D:\u{e9} xmlns:D=\"z\"/></a> ";
        let expected = [
            element(0, "DAV:", "a", ""),
            element(1, "u&v", "b", "1&2<3>"),
            element(1, "", "c", ""),
            element(1, "z", "\u{e9}", ""),
        ];
        assert_eq!(read(body), expected);
        assert!(read("").is_empty() && read(" \n").is_empty());
    }

    #[test]
    fn what_is_refused() {
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS));
        for bad in [
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "text",
            "<x:a/>",
            "<1/>",
            "<a\"/>",
            "<a>&b;</a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<a",
            "<",
            many.as_str(),
        ] {
            let failure = elements(bad.as_bytes()).expect_err(bad);
            assert_eq!(failure.status, StatusCode::BAD_REQUEST, "{bad}");
            assert_eq!(failure.message.lines().count(), 1);
        }
        assert!(elements(b"<a>\xff</a>").is_err());
    }

    fn written(text: &str) -> String {
        let mut out = String::new();
        push_escaped(&mut out, text);
        out
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_reader(body in "[<>/a:=\"'& \\[\\]!?xmlns;#-]{0,80}") {
            if let Ok(elements) = elements(body.as_bytes()) {
                prop_assert!(elements.iter().all(|element| !element.name.local.is_empty()));
            }
        }

        #[test]
        fn texts_are_read_as_they_were_written(text: String, namespace in "[a-z&<>\"' ]{1,9}") {
            let name = Name { namespace, local: "p".to_owned() };
            let mut out = String::new();
            push_element(&mut out, &name, &format!("x{}", written(&text)));
            let read = elements(out.as_bytes()).unwrap();
            prop_assert_eq!(&read[0].name, &name);
            let expected: String = text
                .chars()
                .map(|c| match c {
                    '\t' | '\n' | '\r' => c,
                    '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
                    c => c,
                })
                .collect();
            prop_assert_eq!(&read[0].text[1..], expected);
        }
    }
}
