//! An `rclone.conf`, as it is or encrypted, to the remotes that it defines; and
//! texts that may have been obscured.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::config::fuzzing;

/// Of the encrypted files in the corpus.
const PASSWORD: &str = "correct horse 🐎 battery";

fuzz_target!(|data: &[u8]| {
    fuzzing::rclone_conf(data, PASSWORD);
    if let Ok(text) = std::str::from_utf8(data) {
        fuzzing::obscured(text);
    }
});
