//! Page tokens: a token, and a line each with the path and the id that another
//! one is made of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::grpc::fuzz_token;

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    fuzz_token(line(), line(), line());
});
