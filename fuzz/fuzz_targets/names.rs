//! Names under any mask, in both directions: a line with the mask, and the
//! name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::encoding::{Mask, NameCodec};

/// What 1Fichier refuses in names, beside spaces at the ends and control
/// characters ([API §D]).
const FORBIDDEN: [char; 10] = ['\\', '<', '>', '$', '`', '\'', '"', '/', '\0', '\u{7f}'];

fuzz_target!(|text: &str| {
    let (mask, name) = text.split_once('\n').unwrap_or(("", text));
    let codec = NameCodec::new(mask.parse().unwrap_or(Mask::FICHIER));
    // Any stored name has a segment, and one that a path can carry.
    let segment = codec.to_segment(name);
    assert!(!segment.contains('/') && !segment.contains('\0'));
    assert!(!matches!(&*segment, "" | "." | ".."));
    if let Ok(stored) = codec.to_stored(&segment) {
        // It may be another stored form of the name, but not of another name;
        // what rclone's own decoder mistakes is the exception (`Mask::decode`).
        let again = codec.to_segment(&stored);
        let mistaken = name.contains('\u{201b}') || matches!(&*segment, ".．" | "．.");
        assert!(again == segment || mistaken, "{segment:?} became {again:?}");
    }
    let fichier = NameCodec::new(Mask::FICHIER);
    if let Ok(stored) = fichier.to_stored(name) {
        assert!(!stored.contains(FORBIDDEN), "{stored:?}");
        assert!(!stored.chars().any(|character| character < ' '));
        assert!(!stored.starts_with(' ') && !stored.ends_with(' '));
        assert!(stored != "." && stored != "..");
    }
});
