//! Names under any mask, in both directions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::encoding::{Mask, NameCodec};

/// What 1Fichier refuses in names, beside spaces at the ends and control
/// characters ([API §D]).
const FORBIDDEN: [char; 10] = ['\\', '<', '>', '$', '`', '\'', '"', '/', '\0', '\u{7f}'];

fuzz_target!(|input: (u32, &str)| {
    let (bits, name) = input;
    let codec = NameCodec::new(Mask::from_bits(u64::from(bits)));
    // Any stored name has a segment, and one that a path can carry.
    let segment = codec.to_segment(name);
    assert!(!segment.contains('/') && !segment.contains('\0'));
    if let Ok(stored) = codec.to_stored(&segment) {
        // It may be another stored form of the name, but not of another name;
        // what rclone's own decoder makes of a quoted character at the end is
        // the one exception, and as it is there.
        let again = codec.to_segment(&stored);
        assert!(again == segment || name.contains('\u{201b}'), "{segment:?} became {again:?}");
    }
    let fichier = NameCodec::new(Mask::FICHIER);
    if let Ok(stored) = fichier.to_stored(name) {
        assert!(!stored.contains(FORBIDDEN), "{stored:?}");
        assert!(!stored.chars().any(|character| character < ' '));
        assert!(!stored.starts_with(' ') && !stored.ends_with(' '));
        assert!(stored != "." && stored != "..");
    }
    let _ = name.parse::<Mask>();
});
