//! A command line as rclone splits it: one CSV record with a blank as the
//! separator [rclone-compat §1.7].

/// The words of a command line. A `"` at the begin of a word quotes it up to
/// the next one, `""` inside is a quote; other quotes mean nothing, and every
/// blank too many makes an empty word.
///
/// # Errors
/// What is wrong with the quotes.
pub(super) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let line = line.replace("\r\n", "\n");
    let line = line.strip_suffix('\r').unwrap_or(&line);
    let mut rest = line.trim_start_matches('\n');
    if rest.is_empty() {
        return Ok(words);
    }
    loop {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => take_quoted(quoted)?,
            None => take_plain(rest)?,
        };
        words.push(word);
        match after.strip_prefix(' ') {
            Some(more) => rest = more,
            // The record ends with the line.
            None => return Ok(words),
        }
    }
}

fn take_plain(text: &str) -> Result<(String, &str), &'static str> {
    let end = text.find([' ', '\n']).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    if word.contains('"') {
        return Err(
            "a \" stands inside a word; put the whole word into quotes and double the inner ones",
        );
    }
    Ok((word.to_owned(), after))
}

fn take_quoted(mut text: &str) -> Result<(String, &str), &'static str> {
    let mut word = String::new();
    loop {
        let end = text.find('"').ok_or("a \" is opened and not closed")?;
        word.push_str(&text[..end]);
        text = &text[end + 1..];
        match text.strip_prefix('"') {
            Some(more) => {
                word.push('"');
                text = more;
            }
            None if text.is_empty() || text.starts_with([' ', '\n']) => return Ok((word, text)),
            None => return Err("something follows a closing \" without a blank"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (line, words) in [
            ("", &[][..]),
            ("pass", &["pass"]),
            ("pass show rclone", &["pass", "show", "rclone"]),
            ("a \"b c\" d", &["a", "b c", "d"]),
            ("\"a \"\"b\"\"\"", &["a \"b\""]),
            ("a  b", &["a", "", "b"]),
            (" a ", &["", "a", ""]),
            ("echo 'x y'", &["echo", "'x", "y'"]),
            ("a \"\" b", &["a", "", "b"]),
            ("a\tb", &["a\tb"]),
            ("a \"b\nc\"", &["a", "b\nc"]),
            ("\na b\r\nc", &["a", "b"]),
            ("\"a\"\r\nb", &["a"]),
            ("\"a\"\r", &["a"]),
            ("\"a\r\nb\"", &["a\nb"]),
            ("a\r", &["a"]),
            ("\r", &[]),
            ("a \n", &["a", ""]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line:?}");
        }
    }

    #[test]
    fn wrong_quotes() {
        for line in ["a b\"c", "\"a", "\"a\"b", "a \"b\"\"", "\""] {
            assert!(split(line).is_err(), "{line:?}");
        }
    }
}
