//! Answers of the API, of upload nodes and of the website: the first two bytes
//! are the HTTP status.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::fichier::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((status, body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let status = u16::from_le_bytes(*status) % 600;
    fuzzing::answer(status, body);
    fuzzing::shared_folder(status, body);
    fuzzing::page(body);
});
