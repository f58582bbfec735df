//! Paths and page tokens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::backend::RemotePath;
use pluton_fichier::grpc::fuzz_token;

fuzz_target!(|input: (&str, &str, &str)| {
    let (text, path, id) = input;
    fuzz_token(text, path, id);
    let Ok(parsed) = RemotePath::parse(text) else {
        return;
    };
    assert_eq!(parsed.as_str(), text);
    let segments: Vec<_> = parsed.segments().collect();
    assert_eq!(segments.join("/"), text);
    assert!(!segments.iter().any(|segment| matches!(*segment, "" | "." | "..")));
    if let Some((parent, name)) = parsed.split() {
        assert_eq!(parent.join(name), parsed);
    }
});
