//! Which names the service takes [API D].

use super::behaviour::ForbiddenChars;

/// The most characters in a name: documented for folders, assumed for files [API J29].
const LONGEST: usize = 250;

fn is_forbidden(character: char) -> bool {
    matches!(character, '\\' | '<' | '>' | '$' | '`' | '\'' | '"' | '/')
        || u32::from(character) < 0x20
        || character == '\x7f'
}

/// Whether a name can be stored as it is. `.` and `..` were never seen to be taken, so they are
/// refused here.
pub(super) fn is_good(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name.chars().count() <= LONGEST
        && !name.starts_with(' ')
        && !name.ends_with(' ')
        && !name.chars().any(is_forbidden)
}

/// The name that is stored, if any.
pub(super) fn accept(name: &str, rule: ForbiddenChars) -> Option<String> {
    if is_good(name) {
        return Some(name.to_owned());
    }
    match rule {
        ForbiddenChars::Refuse => None,
        ForbiddenChars::Replace => {
            let replaced: String = name
                .trim_matches(' ')
                .chars()
                .map(|character| {
                    if is_forbidden(character) {
                        '_'
                    } else {
                        character
                    }
                })
                .collect();
            is_good(&replaced).then_some(replaced)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_and_forbidden_characters() {
        assert!(is_good("!#%&()*+,-.:;=?@[]^_{}~|´ é 漢.x"));
        assert!(is_good("..."));
        for bad in [
            "", " a", "a ", "a/b", "a\\b", "<", ">", "$", "`", "'", "\"", "a\nb", ".", "..",
        ] {
            assert!(!is_good(bad), "{bad:?}");
        }
        assert!(is_good(&"é".repeat(250)));
        assert!(!is_good(&"a".repeat(251)));
    }

    #[test]
    fn replacing() {
        assert_eq!(accept("a$b ", ForbiddenChars::Refuse), None);
        assert_eq!(
            accept("a$b ", ForbiddenChars::Replace),
            Some("a_b".to_owned())
        );
    }
}
