//! The TOML file, to what the server would do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::config::fuzzing;

fuzz_target!(|text: &str| fuzzing::toml(text));
