//! Where the options of a remote are taken from.

use super::*;

const CONF: &str = "[fich]\ntype = fichier\napi_key = CONF\n";

fn place() -> Place {
    Place::new().file("rclone.conf", CONF)
}

/// From the highest to the lowest place of a key: each wins over all below.
#[tokio::test]
async fn precedence_of_a_secret() {
    let files = || {
        place()
            .file("flag", "FLAG\n")
            .file("variable", "VARIABLE-FILE")
            .file("rclone", "REMOTE-FILE")
            .file("toml-key", "TOML-FILE")
            .file("toml", "[remotes.fich]\napi_key = \"TOML\"\n")
            .file("toml-file", "[remotes.fich]\napi_key_file = \"toml-key\"\n")
    };
    let flag = &["--api-key-file", "~/flag"][..];
    let toml = &["--config", "~/toml"][..];
    let toml_file = &["--config", "~/toml-file"][..];
    let levels = [
        (flag, None, "FLAG"),
        (
            &[],
            Some(("PLUTON_FICHIER_API_KEY", "VARIABLE")),
            "VARIABLE",
        ),
        (
            &[],
            Some(("RCLONE_CONFIG_FICH_API_KEY", "REMOTE")),
            "REMOTE",
        ),
        (&[], Some(("RCLONE_FICHIER_API_KEY", "BACKEND")), "BACKEND"),
        (toml, None, "TOML"),
        (&[], None, "CONF"),
    ];
    for highest in 0..levels.len() {
        let mut place = files();
        let mut args = vec!["--rclone-config", "~/rclone.conf"];
        for (flags, variable, _) in &levels[highest..] {
            args.extend_from_slice(flags);
            if let Some((name, value)) = variable {
                place = place.set(name, value);
            }
        }
        let config = place.config(&args).await;
        assert_eq!(config.remotes.len(), 1, "{args:?}");
        assert_eq!(config.remotes[0].key, key(levels[highest].2));
    }
    // The value may stand in a file of its own.
    for (args, variable, expected) in [
        (
            &[][..],
            Some(("PLUTON_FICHIER_API_KEY_FILE", "~/variable")),
            "VARIABLE-FILE",
        ),
        (
            &[],
            Some(("RCLONE_CONFIG_FICH_API_KEY_FILE", "~/rclone")),
            "REMOTE-FILE",
        ),
        (
            &[],
            Some(("RCLONE_FICHIER_API_KEY_FILE", "~/rclone")),
            "REMOTE-FILE",
        ),
        (toml_file, None, "TOML-FILE"),
    ] {
        let mut place = files();
        if let Some((name, value)) = variable {
            place = place.set(name, value);
        }
        let args = [args, &["--rclone-config", "~/rclone.conf"]].concat();
        assert_eq!(place.config(&args).await.remotes[0].key, key(expected));
    }
}

#[tokio::test]
async fn precedence_of_an_option() {
    let levels = [
        (&["--description", "flag"][..], None, "flag"),
        (
            &[],
            Some("PLUTON_FICHIER_DESCRIPTION"),
            "PLUTON_FICHIER_DESCRIPTION",
        ),
        (
            &[],
            Some("RCLONE_CONFIG_FICH_DESCRIPTION"),
            "RCLONE_CONFIG_FICH_DESCRIPTION",
        ),
        (
            &[],
            Some("RCLONE_FICHIER_DESCRIPTION"),
            "RCLONE_FICHIER_DESCRIPTION",
        ),
        (&["--config", "~/toml"], None, "toml"),
        (&["--rclone-config", "~/conf"], None, "conf"),
        (&[], None, ""),
    ];
    for highest in 0..levels.len() {
        let mut place = Place::new()
            .file("conf", format!("{CONF}description = conf\n"))
            .file(
                "toml",
                "[remotes.fich]\ndescription = \"toml\"\napi_key = \"K\"",
            )
            .set("RCLONE_CONFIG_FICH_TYPE", "fichier")
            .set("RCLONE_CONFIG_FICH_API_KEY", "K");
        let mut args = Vec::new();
        for (flags, variable, _) in &levels[highest..] {
            args.extend_from_slice(flags);
            if let Some(name) = variable {
                place = place.set(name, name);
            }
        }
        let config = place.config(&args).await;
        assert_eq!(config.remotes[0].description, levels[highest].2);
    }
}

#[tokio::test]
async fn every_option_from_every_place() {
    let expected = |remote: &RemoteConfig| {
        assert_eq!(remote.key, key("K"));
        assert_eq!(remote.shared_folder, share("abc"));
        assert_eq!(
            remote.file_password,
            Some(Password::new(["file pw".to_owned()]))
        );
        assert_eq!(
            remote.folder_password,
            Some(Password::new(["folder pw".to_owned()]))
        );
        assert!(remote.cdn);
        assert_eq!(remote.encoding, Mask::SLASH | Mask::DOT);
        assert_eq!(remote.description, "words");
    };
    let values = [
        ("api_key", "K"),
        ("shared_folder", "abc"),
        ("file_password", "file pw"),
        ("folder_password", "folder pw"),
        ("cdn", "true"),
        ("encoding", "Slash,Dot"),
        ("description", "words"),
    ];
    let conf: String = values
        .map(|(key, value)| format!("{key} = {value}\n"))
        .concat();
    let conf = Place::new().file(
        ".config/rclone/rclone.conf",
        format!("[a]\ntype = fichier\n{conf}"),
    );
    expected(&conf.config(&[]).await.remotes[0]);

    let toml = values.map(|(key, value)| match key {
        "cdn" => "cdn = true\n".to_owned(),
        _ => format!("{key} = \"{value}\"\n"),
    });
    let toml = Place::new().file("toml", format!("[remotes.a]\n{}", toml.concat()));
    expected(&toml.config(&["--config", "~/toml"]).await.remotes[0]);

    for prefix in [
        "PLUTON_FICHIER_",
        "RCLONE_CONFIG_FICHIER_",
        "RCLONE_FICHIER_",
    ] {
        let mut place = Place::new().set("RCLONE_CONFIG_FICHIER_TYPE", "fichier");
        for (key, value) in values {
            place = place.set(&format!("{prefix}{}", key.to_uppercase()), value);
        }
        expected(&place.config(&[]).await.remotes[0]);
    }

    let flags = Place::new()
        .file("k", "K\n")
        .file("file", "file pw\r\n")
        .file("folder", "folder pw");
    let flags = flags
        .config(&[
            "--api-key-file",
            "~/k",
            "--shared-folder",
            "abc",
            "--file-password-file",
            "~/file",
            "--folder-password-file",
            "~/folder",
            "--cdn",
            "--encoding",
            "Slash,Dot",
            "--description",
            "words",
        ])
        .await;
    expected(&flags.remotes[0]);
}

#[tokio::test]
async fn a_shared_folder_may_be_given_by_its_url() {
    for text in [" abc ", "https://1fichier.com/dir/abc"] {
        let place = place().set("RCLONE_FICHIER_SHARED_FOLDER", text);
        let config = place.config(&["--rclone-config", "~/rclone.conf"]).await;
        assert_eq!(config.remotes[0].shared_folder, share("abc"), "{text}");
    }
}

#[tokio::test]
async fn a_flag_turns_off_what_a_file_turned_on() {
    let place = Place::new().file(
        "toml",
        "exclusive = true\n[remotes.a]\napi_key = \"K\"\ncdn = true\nshared_folder = \"x\"",
    );
    let on = place.config(&["--config", "~/toml"]).await;
    assert!(on.exclusive && on.remotes[0].cdn);
    let off = [
        "--config",
        "~/toml",
        "--cdn=false",
        "--exclusive=false",
        "--shared-folder",
        "",
    ];
    let off = place.config(&off).await;
    assert!(!off.exclusive && !off.remotes[0].cdn);
    assert_eq!(off.remotes[0].shared_folder, None);
}

#[tokio::test]
async fn what_is_empty_counts_as_absent_and_is_told() {
    let place = place()
        .set("PLUTON_FICHIER_API_KEY", "")
        .set("RCLONE_FICHIER_ENCODING", "")
        .set("PLUTON_FICHIER_UPLOADS", "")
        .set("PLUTON_FICHIER_EMULATOR", "");
    let loaded = place.load(&["--rclone-config", "~/rclone.conf"]).await;
    let config = loaded.config.unwrap();
    assert_eq!(config.remotes[0].key, key("CONF"));
    assert_eq!(config.remotes[0].encoding, Mask::FICHIER);
    assert_eq!(config.uploads.connections, 4);
    let mut warnings = loaded.warnings;
    warnings.sort();
    let empty =
        |name: &str| format!("PLUTON_FICHIER_{name} is set but empty, and counts as not set");
    assert_eq!(
        warnings[..3],
        [empty("API_KEY"), empty("EMULATOR"), empty("UPLOADS")]
    );
    assert_eq!(warnings.len(), 4);
    assert!(warnings[3].starts_with("RCLONE_FICHIER_ENCODING"));
}

#[tokio::test]
async fn a_key_for_all_is_told_when_it_hides_one() {
    let place = place().set("PLUTON_FICHIER_API_KEY", "ALL");
    let loaded = place.load(&["--rclone-config", "~/rclone.conf"]).await;
    assert_eq!(
        loaded
            .warnings
            .iter()
            .map(|text| place.relative(text))
            .collect::<Vec<_>>(),
        [
            "the remote fich has an API key of its own in ~/rclone.conf:fich, but PLUTON_FICHIER_API_KEY overrides it"
        ]
    );
    assert_eq!(loaded.config.unwrap().remotes[0].key, key("ALL"));
}

#[tokio::test]
async fn what_a_password_may_mean() {
    let obscured = obscure::obscure(b"secretpw", *b"0123456789abcdef");
    let garbage = "a-plain-password-of-letters";
    let control = obscure::obscure(b"tab\t", [7; 16]);
    let empty = "AAAAAAAAAAAAAAAAAAAAAA";
    for (format, value, candidates) in [
        ("auto", obscured.as_str(), &["secretpw", &obscured][..]),
        ("auto", "plain password", &["plain password"]),
        ("auto", garbage, &[garbage]),
        ("auto", &control, &[&control]),
        ("auto", empty, &[empty]),
        ("plain", &obscured, &[&obscured]),
        ("obscured", &obscured, &["secretpw"]),
        ("obscured", &control, &["tab\t"]),
    ] {
        let place = Place::new()
            .set("PLUTON_FICHIER_API_KEY", "K")
            .set("PLUTON_FICHIER_FILE_PASSWORD", value);
        let config = place.config(&["--password-format", format]).await;
        let password = config.remotes[0].file_password.clone().unwrap();
        assert_eq!(password.candidates(), candidates, "{format} {value}");
    }
    for value in ["plain password", garbage, empty] {
        let place = Place::new()
            .set("PLUTON_FICHIER_API_KEY", "K")
            .set("PLUTON_FICHIER_FOLDER_PASSWORD", value);
        let problem = place.problem(&["--password-format", "obscured"]).await;
        assert!(problem.contains("is not obscured"), "{problem}");
        assert!(!problem.contains(value), "{problem}");
    }
}

#[tokio::test]
async fn the_format_of_passwords() {
    let obscured = obscure::obscure(b"secretpw", [0; 16]);
    let place = |extra: &str| {
        let remote = format!("api_key = \"K\"\nfile_password = \"{obscured}\"\n");
        let toml = format!(
            "password_format = \"plain\"\n[remotes.a]\n{remote}password_format = \"obscured\"\n[remotes.b]\n{remote}"
        );
        let place = Place::new().file("toml", toml);
        match extra {
            "" => place,
            _ => place.set("PLUTON_FICHIER_PASSWORD_FORMAT", extra),
        }
    };
    let first = async |place: Place, flag: &[&str]| {
        let config = place
            .config(&[&["--config", "~/toml"], flag].concat())
            .await;
        let first = |remote: &RemoteConfig| {
            let password = remote.file_password.as_ref().unwrap();
            let revealed = password.candidates()[0] == "secretpw";
            (revealed, password.candidates().len())
        };
        [first(&config.remotes[0]), first(&config.remotes[1])]
    };
    // The remote's own, else that of all; variables and flags are above both.
    assert_eq!(first(place(""), &[]).await, [(true, 1), (false, 1)]);
    assert_eq!(first(place("auto"), &[]).await, [(true, 2), (true, 2)]);
    let flag = ["--password-format", "plain"];
    assert_eq!(first(place("auto"), &flag).await, [(false, 1), (false, 1)]);
    let problem = place("base64").problem(&["--config", "~/toml"]).await;
    assert_eq!(
        problem,
        "PLUTON_FICHIER_PASSWORD_FORMAT: \"base64\" is not one of auto, plain, obscured"
    );
}

#[tokio::test]
async fn sections_inherit_and_refer() {
    let place = Place::new().file(
        "conf",
        "host = H\n[my]\ntype = fichier\napi_key = PARENT\n[my.sub]\ndescription = %(host)s-%(note)s\nnote = N\n",
    );
    let config = place.config(&["--rclone-config", "~/conf"]).await;
    assert_eq!(config.remotes[1].name, "my.sub");
    assert_eq!(config.remotes[1].key, key("PARENT"));
    assert_eq!(config.remotes[1].description, "H-N");
    assert_eq!(config.remotes[0].description, "");
}

#[tokio::test]
async fn unknown_keys_of_rclone_conf_are_ignored() {
    let more = "foo = bar\noverride.low_level_retries = 3\nglobal.transfers = 8\npassword_format = nonsense\n";
    let place = Place::new().file("conf", format!("{CONF}{more}"));
    let loaded = place.load(&["--rclone-config", "~/conf"]).await;
    assert!(loaded.config.is_ok());
    assert_eq!(loaded.warnings, [""; 0]);
}
