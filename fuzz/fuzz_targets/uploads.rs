//! Answers of upload nodes: to an upload, and what became of it. A line with
//! the HTTP status, and the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::fichier::fuzzing;

fuzz_target!(|data: &[u8]| {
    let (status, body) = pluton_fichier_fuzz::status_and_body(data);
    fuzzing::upload(status, body);
});
