//! Answers of the API and of the website: a line with the HTTP status, and the
//! body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::fichier::fuzzing;

fuzz_target!(|data: &[u8]| {
    let (status, body) = pluton_fichier_fuzz::status_and_body(data);
    fuzzing::answer(status, body);
    fuzzing::shared_folder(status, body);
});
