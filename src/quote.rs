//! How much of a text is repeated to whoever gave it.
//!
//! A path may have 30 KiB, and what a client takes besides messages is often 8:
//! an error that repeats more is no error that can be read.

use std::borrow::Cow;

/// Characters of one text, such as a path, in what is told of it.
pub const MAX_QUOTE: usize = 200;
/// Bytes of it: over gRPC each one that is not ASCII takes three, and more in
/// the details.
const MAX_QUOTE_BYTES: usize = 400;
/// Bytes of the text of an error, with all that it repeats.
pub const MAX_MESSAGE: usize = 1_200;

/// The text, or its begin and its end if it is long.
pub fn shortened(text: &str) -> Cow<'_, str> {
    cut(text, MAX_QUOTE, MAX_QUOTE_BYTES)
}

/// A message in which each quotation, as `{:?}` writes them, is short, and which
/// is not long as a whole.
pub fn message(text: String) -> String {
    if text.len() <= MAX_QUOTE {
        return text;
    }
    let mut short = String::with_capacity(MAX_MESSAGE);
    let mut rest = text.as_str();
    while let Some(open) = rest.find('"') {
        let (before, after) = rest.split_at(open + 1);
        let Some(close) = end_of_quotation(after) else {
            break;
        };
        short.push_str(before);
        short.push_str(&shortened(&after[..close]));
        short.push('"');
        rest = &after[close + 1..];
    }
    short.push_str(rest);
    within(&short, MAX_MESSAGE).into_owned()
}

/// The text, or its begin and its end, in so many bytes.
pub fn within(text: &str, bytes: usize) -> Cow<'_, str> {
    cut(text, usize::MAX, bytes)
}

/// Where the quotation mark stands that ends one which has begun.
fn end_of_quotation(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    None
}

/// Stands for what is left out.
const GAP: &str = "…";

fn cut(text: &str, characters: usize, bytes: usize) -> Cow<'_, str> {
    let fits = |text: &str| {
        text.len() <= bytes && (text.len() <= characters || text.chars().count() <= characters)
    };
    if fits(text) {
        return Cow::Borrowed(text);
    }
    // The begin says most; at the end stands the name of a file.
    let (characters, bytes) = (characters - 1, bytes.saturating_sub(GAP.len()));
    let head = text
        .char_indices()
        .take(characters / 3 * 2)
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= bytes / 3 * 2)
        .last()
        .unwrap_or_default();
    let tail = text
        .char_indices()
        .rev()
        .take(characters / 3)
        .map(|(at, _)| at)
        .take_while(|at| text.len() - at <= bytes / 3)
        .last()
        .unwrap_or(text.len());
    Cow::Owned(format!("{}{GAP}{}", &text[..head], &text[tail..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_short_stays_and_of_what_is_long_begin_and_end_are_seen() {
        let most = "x".repeat(MAX_QUOTE);
        assert_eq!(shortened(&most), most);
        let long = format!("begin{}end", "é".repeat(5_000));
        let short = shortened(&long);
        assert!(short.starts_with("beginé") && short.ends_with("éend"));
        assert!(short.chars().count() <= MAX_QUOTE && short.len() <= MAX_QUOTE_BYTES);
        assert_eq!(within("abcdefghijkl", 9), "abcd…kl");
    }

    #[test]
    fn a_message_keeps_its_words() {
        let path = "a\"b\\".repeat(5_000);
        let text = format!("{path:?} is not {:?}, and {path:?} is not either", "b");
        let short = message(text);
        assert!(short.starts_with("\"a\\\"b\\\\a"), "{short}");
        assert!(short.contains("\" is not \"b\", and \"a\\\"b"), "{short}");
        assert!(short.ends_with("\" is not either"), "{short}");
        assert!(short.len() < 500, "{short}");
        // What is not quoted is cut as well.
        let long = message(format!("1Fichier says {}, and no more", "x".repeat(50_000)));
        assert!(long.len() <= MAX_MESSAGE, "{}", long.len());
        assert!(long.ends_with(", and no more"), "{long}");
    }

    proptest! {
        #[test]
        fn nothing_is_long_whatever_is_given(text in "(?s).{0,2000}", bytes in 0_usize..2_000) {
            prop_assert!(shortened(&text).chars().count() <= MAX_QUOTE);
            prop_assert!(shortened(&text).len() <= MAX_QUOTE_BYTES);
            prop_assert!(within(&text, bytes).len() <= bytes.max(GAP.len()));
            prop_assert!(message(text.clone()).len() <= MAX_MESSAGE);
            let quoted = message(format!("there is no {text:?}"));
            prop_assert!(quoted.chars().count() <= MAX_QUOTE + 20, "{}", quoted);
        }
    }
}
