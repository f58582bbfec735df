//! Hosts, redirects and links that answers name, and dates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::fichier::fuzzing;

fuzz_target!(|text: &str| {
    fuzzing::location(text);
    fuzzing::date(text);
});
