//! Paths.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pluton_fichier::backend::RemotePath;

fuzz_target!(|text: &str| {
    let Ok(parsed) = RemotePath::parse(text) else {
        return;
    };
    assert_eq!(parsed.as_str(), text);
    let segments: Vec<_> = parsed.segments().collect();
    assert_eq!(segments.join("/"), text);
    assert!(
        !segments
            .iter()
            .any(|segment| matches!(*segment, "" | "." | ".."))
    );
    if let Some((parent, name)) = parsed.split() {
        assert_eq!(parent.join(name), parsed);
    }
});
