//! The vectors recorded from rclone, and properties over arbitrary names.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

macro_rules! vectors {
    ($file:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/",
            $file
        )))
        .expect("vector file is JSON")
    };
}

fn records(file: &Value, at_least: usize) -> &[Value] {
    let records = file.as_array().expect("vector file is a list");
    assert!(records.len() >= at_least, "vector file is incomplete");
    records
}

/// The bytes of a field; `<field>_hex` holds what is not UTF-8.
fn bytes(record: &Value, field: &str) -> Vec<u8> {
    match record[field].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => {
            let hex = record[format!("{field}_hex")]
                .as_str()
                .expect("a hex field");
            (0..hex.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex digits"))
                .collect()
        }
    }
}

fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("valid UTF-8")
}

/// rclone's composition at the byte level, from its standard form.
fn standard_to_stored(mask: Mask, standard: &[u8]) -> Vec<u8> {
    if mask == Mask::STANDARD {
        return standard.to_vec();
    }
    mask.encode(&Mask::STANDARD.decode(standard))
}

fn stored_to_standard(mask: Mask, stored: &[u8]) -> Vec<u8> {
    if mask == Mask::STANDARD {
        return stored.to_vec();
    }
    Mask::STANDARD.encode(&mask.decode(stored))
}

/// The path segment of a name in rclone's standard form.
fn segment_of(standard: &[u8]) -> String {
    utf8(Mask::WIRE.encode(&Mask::STANDARD.decode(standard)))
}

/// The names that rclone's algorithm does not return after encoding and decoding: the last
/// character is one that a `Right…` flag replaces, and a literal quote precedes it
/// [rclone-compat §2.2]. For [`Mask::FICHIER`] that last character is the space. And the names
/// that become the encoded `..`.
fn misread(mask: Mask, raw: &[u8]) -> bool {
    let ends = [Mask::LEFT_PERIOD, Mask::RIGHT_PERIOD].map(|flag| mask.contains(flag));
    let dots = match ends {
        [true, false] => ".．",
        [false, true] => "．.",
        _ => "",
    };
    if mask.contains(Mask::DOT) && !raw.is_empty() && raw == dots.as_bytes() {
        return true;
    }
    let mut last = Vec::new();
    if mask.contains(Mask::RIGHT_SPACE) {
        last.push(b' ');
    }
    if mask.contains(Mask::RIGHT_PERIOD) {
        last.push(b'.');
    }
    if mask.contains(Mask::RIGHT_CR_LF_HT_VT) {
        last.extend(b"\r\n\t\x0B");
    }
    matches!(raw, [name @ .., c] if last.contains(c) && name.ends_with("‛".as_bytes()))
}

#[test]
fn a_period_beside_an_encoded_one_is_misread() {
    let left = Mask::LEFT_PERIOD | Mask::DOT;
    let right = Mask::RIGHT_PERIOD | Mask::DOT;
    for (mask, raw) in [(left, ".．"), (right, "．.")] {
        assert!(misread(mask, raw.as_bytes()));
        let encoded = mask.encode(raw.as_bytes());
        assert_eq!(encoded, "．．".as_bytes());
        assert_eq!(mask.decode(&encoded), b"..");
    }
    // With both flags, or the other one, they survive.
    for mask in [left | right, left, right] {
        for raw in [".．", "．.", ".", "..", "．", "．．"] {
            let decoded = mask.decode(&mask.encode(raw.as_bytes()));
            let survives = !misread(mask, raw.as_bytes());
            assert_eq!(decoded == raw.as_bytes(), survives, "{raw} {mask}");
        }
    }
}

#[test]
fn default_mask_encodes_as_recorded() {
    let file = vectors!("encoding.json");
    let codec = NameCodec::new(Mask::FICHIER);
    for record in records(&file, 1600) {
        let (standard, raw) = (bytes(record, "standard"), bytes(record, "raw"));
        let (encoded, decoded) = (bytes(record, "encoded"), bytes(record, "decoded"));
        assert_eq!(Mask::STANDARD.decode(&standard), raw, "{record}");
        assert_eq!(Mask::FICHIER.encode(&raw), encoded, "{record}");
        assert_eq!(
            standard_to_stored(Mask::FICHIER, &standard),
            encoded,
            "{record}"
        );
        assert_eq!(
            stored_to_standard(Mask::FICHIER, &encoded),
            decoded,
            "{record}"
        );
        assert_eq!(decoded == standard, record["roundtrip"] == true, "{record}");

        let (segment, stored) = (segment_of(&standard), utf8(encoded));
        if record["canonical"] == true && !segment.is_empty() {
            assert_eq!(codec.standard_form(&segment), None, "{record}");
        }
        if record["canonical"] == true && record["standard"].is_string() {
            assert_eq!(
                segment.as_bytes(),
                standard,
                "one text for segment and standard form"
            );
        }
        if let Some(form) = codec.standard_form(&segment) {
            assert_eq!(codec.to_stored(&form), codec.to_stored(&segment));
            assert_eq!(codec.standard_form(&form), None, "{record}");
        }
        assert!(codec.matches(&stored, &segment) || stored.is_empty());
        if !stored.is_empty() {
            assert_eq!(codec.to_stored(&segment).as_ref(), Ok(&stored), "{record}");
            assert_eq!(codec.to_segment(&stored), segment_of(&decoded), "{record}");
        }
    }
}

#[test]
fn default_mask_decodes_as_recorded() {
    let file = vectors!("encoding-decode.json");
    let codec = NameCodec::new(Mask::FICHIER);
    for record in records(&file, 1600) {
        let (stored, standard) = (bytes(record, "stored"), bytes(record, "standard"));
        let reencoded = bytes(record, "reencoded");
        assert_eq!(
            stored_to_standard(Mask::FICHIER, &stored),
            standard,
            "{record}"
        );
        assert_eq!(
            standard_to_stored(Mask::FICHIER, &standard),
            reencoded,
            "{record}"
        );
        assert_eq!(reencoded == stored, record["stable"] == true, "{record}");

        let (stored, reencoded) = (utf8(stored), utf8(reencoded));
        let segment = codec.to_segment(&stored);
        assert_eq!(segment, segment_of(&standard), "{record}");
        assert_eq!(codec.to_stored(&segment), Ok(reencoded), "{record}");
        assert_eq!(codec.standard_form(&segment), None, "{record}");
    }
}

#[test]
fn names_that_are_not_in_standard_form() {
    let codec = NameCodec::new(Mask::FICHIER);
    for (segment, standard) in [
        ("a\u{1}b", "a␁b"),
        ("a\nb", "a␊b"),
        ("\u{7f}", "␡"),
        ("‛41", "A"),
        ("a‛", "a‛‛"),
        ("a‛b", "a‛‛b"),
    ] {
        let form = codec.standard_form(segment);
        assert_eq!(form.as_deref(), Some(standard), "{segment:?}");
        assert_eq!(codec.standard_form(standard), None, "{standard:?}");
        assert_eq!(codec.to_stored(segment), codec.to_stored(standard));
        // There it is stored, and told, as it is.
        let same = NameCodec::new(Mask::STANDARD).standard_form(segment);
        assert_eq!(same, None, "{segment:?}");
    }
    for segment in ["a", "a$b", "a␁b", "‛␁", "é 漢", EMPTY_NAME_SEGMENT] {
        assert_eq!(codec.standard_form(segment), None, "{segment:?}");
    }
}

#[test]
fn every_mask_works_as_recorded() {
    let file = vectors!("encoding-masks.json");
    for record in records(&file, 2000) {
        let mask: Mask = record["mask"].as_str().unwrap().parse().unwrap();
        assert_eq!(Some(mask.bits()), record["mask_value"].as_u64(), "{record}");
        let (standard, encoded) = (bytes(record, "standard"), bytes(record, "encoded"));
        assert_eq!(standard_to_stored(mask, &standard), encoded, "{record}");
        assert_eq!(
            stored_to_standard(mask, &encoded),
            bytes(record, "decoded"),
            "{record}"
        );
        assert_eq!(
            stored_to_standard(mask, &standard),
            bytes(record, "input_as_stored_decodes_to"),
            "{record}"
        );
    }
}

#[test]
fn names_of_rclones_own_tests() {
    let file = vectors!("fstests-encoding-names.json");
    for record in records(&file, 19) {
        let mut record = record.clone();
        record["raw"] = Value::Null;
        let raw = bytes(&record, "raw");
        assert_eq!(
            Mask::STANDARD.encode(&raw),
            bytes(&record, "standard"),
            "{record}"
        );
        assert_eq!(
            Mask::FICHIER.encode(&raw),
            bytes(&record, "stored"),
            "{record}"
        );
        assert_eq!(
            Mask::FICHIER.decode(&bytes(&record, "stored")),
            raw,
            "{record}"
        );
    }
}

#[test]
fn option_text_is_read_and_printed_as_recorded() {
    let file = vectors!("encoding-option.json");
    let value = |field: &str| Mask::from_bits(file[field].as_u64().unwrap());
    assert_eq!(Mask::STANDARD, value("standard_mask"));
    assert_eq!(Mask::FICHIER, value("default_fichier_mask"));
    for (name, bits) in file["flags"].as_object().unwrap() {
        let mask: Mask = name.parse().unwrap();
        assert_eq!(Some(mask.bits()), bits.as_u64(), "{name}");
        assert_eq!(mask.to_string(), *name);
    }
    for case in records(&file["cases"], 50) {
        match case["text"].as_str().unwrap().parse::<Mask>() {
            Ok(mask) => {
                assert_eq!(Some(mask.bits()), case["value"].as_u64(), "{case}");
                assert_eq!(
                    Some(mask.to_string().as_str()),
                    case["prints_as"].as_str(),
                    "{case}"
                );
            }
            Err(err) => {
                assert_eq!(case["ok"], false, "{case}");
                for name in file["flags"].as_object().unwrap().keys() {
                    assert!(err.to_string().contains(name.as_str()), "{err}");
                }
            }
        }
    }
}

#[test]
fn option_integers_follow_go() {
    for (text, bits) in [
        ("0", Some(0)),
        ("00", Some(0)),
        ("0_7", Some(7)),
        ("0x_1", Some(1)),
        ("0XfF", Some(255)),
        ("0B11", Some(3)),
        ("0O17", Some(15)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("0x", None),
        ("0x_", None),
        ("0x1_", None),
        ("_1", None),
        ("0x+1", None),
        ("0b2", None),
        ("1 0", None),
        ("\u{661}", None),
        ("None,\u{a0}0x8\u{3000}", Some(8)),
    ] {
        assert_eq!(text.parse::<Mask>().ok().map(Mask::bits), bits, "{text}");
    }
    assert_eq!("Slash, ,Dot".parse::<Mask>().unwrap_err().item(), "");
    assert_eq!("Slash,dot".parse::<Mask>().unwrap_err().item(), "dot");
}

#[test]
fn bytes_that_are_not_utf8_need_the_flag() {
    let with = NameCodec::new(Mask::FICHIER);
    assert_eq!(with.to_stored("a‛FEb").as_deref(), Ok("a‛FEb"));
    assert_eq!(with.to_segment("a‛feb"), "a‛FEb");
    let without = NameCodec::new(Mask::SLASH | Mask::DOT);
    assert_eq!(without.to_stored("a‛FEb"), Err(NameError::InvalidUtf8));
    // Without the flag the stored text means itself, so its segment is quoted.
    assert_eq!(without.to_segment("a‛FEb"), "a‛‛FEb");
    assert_eq!(without.to_stored("a‛‛FEb").as_deref(), Ok("a‛‛FEb"));
}

#[test]
fn standard_mask_changes_nothing_that_is_a_segment() {
    let codec = NameCodec::new(Mask::STANDARD);
    for name in [
        "plain", "‛", "‛41", "／", "‛／", "．", "a\tb", "␉", " a ", "...",
    ] {
        assert_eq!(codec.to_stored(name).as_deref(), Ok(name));
        assert_eq!(codec.to_segment(name), name);
    }
}

#[test]
fn every_stored_name_is_one_segment() {
    let masks = [
        Mask::FICHIER,
        Mask::STANDARD,
        Mask::WIRE,
        Mask::RAW,
        Mask::NONE,
    ];
    for codec in masks.map(NameCodec::new) {
        assert_eq!(codec.to_segment(""), EMPTY_NAME_SEGMENT);
        assert_eq!(codec.to_stored(EMPTY_NAME_SEGMENT), Err(NameError::Empty));
        assert_eq!(codec.to_stored(""), Err(NameError::Empty));
        assert_eq!(codec.to_segment("."), "．");
        assert_eq!(codec.to_segment(".."), "．．");
        assert_eq!(codec.to_segment("a/b"), "a／b");
        assert_eq!(codec.to_segment("/"), "／");
        assert_eq!(codec.to_segment("a\0b"), "a␀b");
        // A name that only reads like the empty one.
        let quoted = codec.to_segment(EMPTY_NAME_SEGMENT);
        assert_eq!(quoted, "‛‛∅");
        assert_eq!(codec.to_segment(&codec.to_stored(&quoted).unwrap()), quoted);
    }
}

#[test]
fn names_without_work_are_not_copied() {
    let names = [
        "a.txt",
        "été – 日本語 “x”.mkv",
        "：",
        "a b",
        "...",
        "🐎",
        "␠a␠b",
    ];
    for name in names {
        let reads_as_itself = !name.starts_with('␠');
        assert_eq!(
            convert(name, Mask::FICHIER, Mask::WIRE).is_none(),
            reads_as_itself
        );
        assert_eq!(
            convert(name, Mask::WIRE, Mask::FICHIER).is_none(),
            reads_as_itself
        );
    }
    assert_eq!(convert(".", Mask::FICHIER, Mask::WIRE), Some("．".into()));
    assert_eq!(convert("．", Mask::WIRE, Mask::NONE), Some(".".into()));
}

/// Names dense in what the rules are about.
fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "‛", "␠", " ", ".", "．", "/", "／", "\0", "␀", "\t", "␉", "\r", "␍", "\x7F", "␡", "~",
            "～", "$", "＄", "41", "fe", "FE", "2F", "∅", "é", "–", "日", "🐎", "\u{FFFD}", "C3‛A9",
        ]).prop_map(str::to_owned),
        2 => (0x21_u8..0x7F).prop_map(|b| char::from(b).to_string()),
        1 => (0_u32..0x60).prop_map(|i| char::from_u32(0xFF00 + i).unwrap_or('x').to_string()),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// The same cut and glued at arbitrary bytes.
fn raw_name() -> impl Strategy<Value = Vec<u8>> {
    (
        name(),
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<u8>(), 0..4),
        name(),
    )
        .prop_map(|(before, cut, middle, after)| {
            let mut raw = before.into_bytes();
            raw.truncate(cut.index(raw.len() + 1));
            raw.extend(middle);
            raw.extend(after.bytes());
            raw
        })
}

fn any_mask() -> impl Strategy<Value = Mask> {
    prop_oneof![
        any::<u64>(),
        (0..29).prop_map(|bit| 1_u64 << bit),
        (0..29, 0..29, 0..29)
            .prop_map(|(a, b, c)| [a, b, c].iter().fold(0, |bits, bit| bits | 1_u64 << bit)),
    ]
    .prop_map(Mask::from_bits)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn names_survive_the_default_mask(raw in name()) {
        prop_assume!(!misread(Mask::FICHIER, raw.as_bytes()));
        let stored = Mask::FICHIER.encode(raw.as_bytes());
        prop_assert_eq!(Mask::FICHIER.decode(&stored), raw.as_bytes());
    }

    #[test]
    fn byte_strings_survive_every_mask(mask in any_mask(), raw in raw_name()) {
        prop_assume!(!misread(mask, &raw));
        prop_assert_eq!(mask.decode(&mask.encode(&raw)), raw);
    }

    #[test]
    fn the_exception_stays(raw in name()) {
        let raw = raw + "‛ ";
        let decoded = Mask::FICHIER.decode(&Mask::FICHIER.encode(raw.as_bytes()));
        prop_assert_ne!(decoded, raw.as_bytes());
    }

    #[test]
    fn default_mask_avoids_what_is_forbidden(raw in raw_name()) {
        let stored = utf8(Mask::FICHIER.encode(&raw));
        prop_assert!(!stored.contains(|c: char| c.is_ascii_control() || "\\<>$`'\"/".contains(c)));
        prop_assert!(!stored.starts_with(' ') && !stored.ends_with(' '), "{:?}", stored);
        prop_assert!(stored != "." && stored != "..");
    }

    #[test]
    fn segments_are_stable(mask in prop_oneof![Just(Mask::FICHIER), Just(Mask::STANDARD), any_mask()], stored in name()) {
        let codec = NameCodec::new(mask);
        let segment = codec.to_segment(&stored);
        prop_assert!(!segment.is_empty() && segment != "." && segment != ".." && !segment.contains('/'));
        if stored.is_empty() {
            prop_assert_eq!(codec.to_stored(&segment), Err(NameError::Empty));
        } else if !misread(mask, &mask.decode(stored.as_bytes())) || mask == Mask::STANDARD {
            let again = codec.to_stored(&segment).expect("listed names can be stored");
            prop_assert_eq!(codec.to_segment(&again), segment);
        }
    }

    #[test]
    fn shown_bytes_are_the_name(raw in raw_name()) {
        let segment = utf8(Mask::WIRE.encode(&raw));
        prop_assert_eq!(Mask::WIRE.decode(segment.as_bytes()), raw.as_slice());
        if std::str::from_utf8(&raw).is_ok() {
            prop_assert_eq!(segment.into_bytes(), Mask::STANDARD.encode(&raw));
        }
    }

    #[test]
    fn printed_masks_read_back(mask in any_mask()) {
        prop_assert_eq!(mask.to_string().parse(), Ok(mask));
    }
}
