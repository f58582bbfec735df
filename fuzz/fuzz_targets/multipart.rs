//! Uploads, written by the client and read by the emulator, which share no
//! code: a line with the mask of the remote, then names and contents in turn,
//! separated by NUL.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::emulator::fuzzing::read_upload;
use pluton_fichier::encoding::{Mask, NameCodec};
use pluton_fichier::fichier::fuzzing::multipart;
use pluton_fichier_fuzz::first_line;

const BOUNDARY: &str = "pluton5d1e7a90c3b24f68a9d0e1f2b3c4d5e6";
const FOLDER: i64 = 7;

fuzz_target!(|data: &[u8]| {
    let (mask, rest) = first_line(data);
    let mask = std::str::from_utf8(mask)
        .ok()
        .and_then(|text| text.parse().ok());
    let codec = NameCodec::new(mask.unwrap_or(Mask::FICHIER));
    let fields: Vec<_> = rest.split(|byte| *byte == 0).collect();
    let mut files = Vec::new();
    for file in fields.chunks(2) {
        let name = String::from_utf8_lossy(file[0]);
        let content = file.get(1).copied().unwrap_or_default();
        let has_boundary = content
            .windows(BOUNDARY.len())
            .any(|part| part == BOUNDARY.as_bytes());
        if let Ok(name) = codec.to_stored(&name)
            && name.len() <= 1_000
            && !has_boundary
        {
            files.push((name, content.to_vec()));
        }
    }
    let (content_type, body) = multipart(BOUNDARY, FOLDER, &files);
    // A name that only another mask lets through, and 1Fichier would refuse.
    let is_odd = |(name, _): &(String, Vec<u8>)| name.contains(['"', '\\', '\r', '\n']);
    let odd = files.iter().any(is_odd);
    assert!(!odd || mask.is_some_and(|mask| !mask.contains(Mask::FICHIER)));

    let piece = data.len() % 61 + 1;
    let Some(parts) = read_upload(&content_type, &body, piece) else {
        assert!(odd, "{}", String::from_utf8_lossy(&body));
        return;
    };
    // Whatever a name is, it writes no part, no header and no content.
    assert_eq!(parts.len(), files.len() + 1);
    assert_eq!(
        parts[0],
        ("did".to_owned(), None, FOLDER.to_string().into_bytes())
    );
    for (file, (field, name, content)) in files.iter().zip(&parts[1..]) {
        assert_eq!((field.as_str(), content), ("file[]", &file.1));
        assert!(name.as_ref() == Some(&file.0) || is_odd(file), "{name:?}");
    }
});
