//! Properties over arbitrary input: nothing of it may end the program.

use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;

/// Texts that come close to configuration files.
fn files() -> impl Strategy<Value = String> {
    let pieces = [
        "[",
        "]",
        "[a]",
        "[a.b]",
        "type = fichier",
        "api_key = K",
        "=",
        ":",
        "\"",
        "\"\"\"",
        "`",
        "%(",
        ")s",
        "%(a)s",
        "a = ",
        "#",
        ";",
        "\n",
        "\r\n",
        " ",
        "é",
        "\u{feff}",
        "-",
        "RCLONE_ENCRYPT_V0:",
        "AAAA",
        "remotes",
        "[remotes.a]",
        "uploads = 3",
        "{",
        "}",
        "'''",
        "1",
        "true",
        "1979-05-27",
        "\\",
    ];
    let piece = prop_oneof![
        4 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

proptest! {
    #[test]
    fn rclone_conf(text in files()) {
        let place = Place::new().file("conf", text);
        run(place.load(&["--rclone-config", "~/conf"]));
    }

    #[test]
    fn rclone_conf_of_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let place = Place::new().file("conf", bytes).set("RCLONE_CONFIG_PASS", "x");
        run(place.load(&["--rclone-config", "~/conf"]));
    }

    #[test]
    fn toml(text in files()) {
        let place = Place::new().file("toml", text);
        run(place.load(&["--config", "~/toml"]));
    }

    #[test]
    fn what_a_toml_file_says_is_done(uploads in 1_u16..=30, description in r#"[^"\\\p{Cc}]*"#) {
        let remote = format!("[remotes.a]\napi_key = \"K\"\ndescription = \"{description}\"\n");
        let place = Place::new().file("toml", format!("uploads = {uploads}\n{remote}"));
        let config = run(place.config(&["--config", "~/toml"]));
        prop_assert_eq!(config.uploads.connections, usize::from(uploads));
        prop_assert_eq!(&config.remotes[0].description, &description);
    }

    #[test]
    fn variables(name in "[A-Z_]{1,12}", value in prop::collection::vec(1_u8.., 0..20)) {
        let value = std::ffi::OsString::from_vec(value);
        let variables = [
            (format!("RCLONE_CONFIG_{name}_TYPE"), "fichier".into()),
            (format!("RCLONE_CONFIG_{name}_API_KEY"), value.clone()),
            (format!("PLUTON_FICHIER_{name}"), value),
        ];
        let environment = Environment::from_iter(variables);
        run(ServeArgs::default().load(LogArgs::default(), &environment));
    }

    #[test]
    fn what_is_obscured_is_revealed(plain in prop::collection::vec(any::<u8>(), 0..100), iv: [u8; 16]) {
        prop_assert_eq!(obscure::reveal(&obscure::obscure(&plain, iv)), Some(plain));
    }

    #[test]
    fn any_text_is_revealed_or_not(text in any::<String>()) {
        obscure::reveal(&text);
    }
}
