//! Which remotes there are, and in which order.

use super::*;

const CONF: &str = "[drive]\ntype = drive\n[b]\ntype = fichier\napi_key = B\n[a]\ntype = fichier\napi_key = A\n[none]\napi_key = N\n";
const TOML: &str =
    "[remotes.z]\napi_key = \"Z\"\n[remotes.y]\ntype = \"fichier\"\napi_key = \"Y\"\n";

#[tokio::test]
async fn a_key_alone_defines_one() {
    for name in ["PLUTON_FICHIER_API_KEY", "RCLONE_FICHIER_API_KEY"] {
        let place = Place::new().set(name, "K");
        assert_eq!(place.names(&[]).await, ["fichier"]);
        assert_eq!(place.names(&["--remote-name", "mine"]).await, ["mine"]);
        let place = place.set("PLUTON_FICHIER_REMOTE_NAME", "theirs");
        assert_eq!(place.names(&[]).await, ["theirs"]);
    }
}

#[tokio::test]
async fn all_of_a_file_in_its_order() {
    let place = Place::new().file("conf", CONF).file("toml", TOML);
    assert_eq!(
        place.names(&["--rclone-config", "~/conf"]).await,
        ["b", "a"]
    );
    assert_eq!(place.names(&["--config", "~/toml"]).await, ["z", "y"]);
    let both = ["--rclone-config", "~/conf", "--config", "~/toml"];
    assert_eq!(place.names(&both).await, ["z", "y", "b", "a"]);
}

#[tokio::test]
async fn variables_alone_define_one() {
    let place = Place::new()
        .set("RCLONE_CONFIG_ENVR_TYPE", "fichier")
        .set("RCLONE_CONFIG_ENVR_API_KEY", "E")
        .set("RCLONE_CONFIG_OTHER_TYPE", "drive")
        .set("RCLONE_CONFIG_MY-R_TYPE", "fichier")
        .set("RCLONE_CONFIG_MY-R_API_KEY", "D");
    assert_eq!(place.names(&[]).await, ["envr", "my-r"]);
    assert_eq!(place.names(&["--remote", "EnvR"]).await, ["EnvR"]);
    // Their case does not matter.
    let place = Place::new()
        .set("RCLONE_CONFIG_A_TYPE", "fichier")
        .set("RCLONE_CONFIG_a_TYPE", "fichier")
        .set("RCLONE_CONFIG_A_API_KEY", "A")
        .file("conf", CONF);
    assert_eq!(place.names(&["--rclone-config", ""]).await, ["a"]);
    assert_eq!(
        place.names(&["--rclone-config", "~/conf"]).await,
        ["b", "a"]
    );
    // They may also change the type of one that a file defines.
    let place = Place::new()
        .file("conf", CONF)
        .set("RCLONE_CONFIG_DRIVE_TYPE", "fichier")
        .set("RCLONE_CONFIG_DRIVE_API_KEY", "D")
        .set("RCLONE_CONFIG_A_TYPE", "drive");
    let conf = ["--rclone-config", "~/conf"];
    assert_eq!(place.names(&conf).await, ["drive", "b"]);
}

#[tokio::test]
async fn one_name_in_several_places_is_one_remote() {
    let place = Place::new()
        .file("conf", CONF)
        .file(
            "toml",
            "[remotes.b]\ncdn = true\n[remotes.drive]\napi_key = \"D\"\n",
        )
        .set("RCLONE_CONFIG_B_TYPE", "fichier")
        .set("RCLONE_CONFIG_B_DESCRIPTION", "words");
    let args = [
        "--rclone-config",
        "~/conf",
        "--config",
        "~/toml",
        "--remote-name",
        "b",
    ];
    let config = place.config(&args).await;
    let names: Vec<_> = config.remotes.iter().map(|remote| &remote.name).collect();
    assert_eq!(names, ["b", "drive", "a"]);
    let b = &config.remotes[0];
    assert_eq!(
        (&b.key, b.cdn, b.description.as_str()),
        (&key("B"), true, "words")
    );
    // A section of another type has nothing to say about it.
    assert_eq!(config.remotes[1].key, key("D"));
}

#[tokio::test]
async fn rclone_conf_is_looked_for_when_nothing_else_defines_a_remote() {
    let home = || Place::new().file(".config/rclone/rclone.conf", CONF);
    assert_eq!(home().names(&[]).await, ["b", "a"]);
    // For these it is not.
    let key = home().set("PLUTON_FICHIER_API_KEY", "K");
    assert_eq!(key.names(&[]).await, ["fichier"]);
    let toml = home().file("toml", TOML);
    assert_eq!(toml.names(&["--config", "~/toml"]).await, ["z", "y"]);
    let variables = home()
        .set("RCLONE_CONFIG_E_TYPE", "fichier")
        .set("RCLONE_CONFIG_E_API_KEY", "E");
    assert_eq!(variables.names(&[]).await, ["e"]);
    // For rclone's own variable it is: that one defines no remote in rclone.
    let backend = home().set("RCLONE_FICHIER_API_KEY", "K");
    assert_eq!(backend.names(&[]).await, ["b", "a"]);
}

#[tokio::test]
async fn where_rclone_looks() {
    let conf = |name: &str| format!("[{name}]\ntype = fichier\napi_key = K\n");
    let place = Place::new()
        .file(".rclone.conf", conf("third"))
        .file("xdg/rclone/rclone.conf", conf("first"));
    assert_eq!(place.names(&[]).await, ["third"]);
    let place = place.file(".config/rclone/rclone.conf", conf("second"));
    assert_eq!(place.names(&[]).await, ["second"]);
    let place = place.set("XDG_CONFIG_HOME", "~/xdg");
    assert_eq!(place.names(&[]).await, ["first"]);
    let place = place.set("RCLONE_CONFIG", "~/.rclone.conf");
    assert_eq!(place.names(&[]).await, ["third"]);
    let place = place
        .file("named", conf("named"))
        .file("toml", "rclone_config = \"named\"");
    // rclone's variable is above the file, and below our own and the flag.
    assert_eq!(place.names(&["--config", "~/toml"]).await, ["third"]);
    assert_eq!(
        place.names(&["--rclone-config", "~/named"]).await,
        ["named"]
    );
    let place = place.set("PLUTON_FICHIER_RCLONE_CONFIG", "~/named");
    assert_eq!(place.names(&[]).await, ["named"]);
    assert_eq!(
        place.names(&["--rclone-config", "~/.rclone.conf"]).await,
        ["third"]
    );
}

#[tokio::test]
async fn names_that_mean_no_file() {
    let place = || {
        Place::new()
            .file(".config/rclone/rclone.conf", CONF)
            .set("RCLONE_FICHIER_API_KEY", "K")
    };
    for none in ["", "/dev/null", "notfound", "/some/where/notfound"] {
        let args = ["--rclone-config", none];
        assert_eq!(place().names(&args).await, ["fichier"], "{none:?}");
        let place = place().set("RCLONE_CONFIG", none);
        assert_eq!(place.names(&[]).await, ["fichier"], "{none:?}");
    }
    let place = place().file("toml", "rclone_config = \"/dev/null\"");
    assert_eq!(place.names(&["--config", "~/toml"]).await, ["fichier"]);
}

#[tokio::test]
async fn chosen_ones() {
    let place = Place::new().file("conf", CONF).file("toml", TOML);
    let files = ["--rclone-config", "~/conf", "--config", "~/toml"];
    let chosen = async |more: &[&str]| place.names(&[&files[..], more].concat()).await;
    assert_eq!(chosen(&["--remote", "a"]).await, ["a"]);
    assert_eq!(chosen(&["--remote", "a,z"]).await, ["a", "z"]);
    assert_eq!(
        chosen(&["--remote", "y", "--remote", "b"]).await,
        ["y", "b"]
    );

    let place = Place::new()
        .file("conf", CONF)
        .set("PLUTON_FICHIER_REMOTE", "a, b");
    assert_eq!(
        place.names(&["--rclone-config", "~/conf"]).await,
        ["a", "b"]
    );
}

#[tokio::test]
async fn the_toml_file_chooses_too() {
    let toml = |top: &str| {
        Place::new().file(
            "toml",
            format!("{top}\n{TOML}[remotes.x]\napi_key = \"X\"\n"),
        )
    };
    let args = ["--config", "~/toml"];
    assert_eq!(toml("").names(&args).await, ["z", "y", "x"]);
    assert_eq!(toml("default = \"x\"").names(&args).await, ["x", "z", "y"]);
    assert_eq!(
        toml("remote = [\"y\", \"z\"]").names(&args).await,
        ["y", "z"]
    );
    assert_eq!(toml("remote = \"y,z\"").names(&args).await, ["y", "z"]);
    let both = toml("remote = [\"y\", \"z\"]\ndefault = \"z\"");
    assert_eq!(both.names(&args).await, ["z", "y"]);
    // The order of a flag is meant as it stands.
    assert_eq!(
        both.names(&["--config", "~/toml", "--remote", "x,z"]).await,
        ["x", "z"]
    );
    assert_eq!(
        toml("default = \"w\"").problem(&args).await,
        "~/toml:1: no remote is called \"w\"; there are: z, y, x"
    );
}

#[tokio::test]
async fn a_remote_that_is_not_there() {
    let place = Place::new().file("conf", CONF);
    assert_eq!(
        place
            .problem(&["--rclone-config", "~/conf", "--remote", "c"])
            .await,
        "--remote: no remote is called \"c\"; there are: b, a"
    );
    assert_eq!(
        place
            .problem(&["--rclone-config", "~/conf", "--remote", "a,a"])
            .await,
        "--remote: the remote \"a\" is named twice"
    );
    assert!(
        Place::new()
            .problem(&[])
            .await
            .starts_with("no API key: give --api-key-file")
    );
}

#[tokio::test]
async fn a_remote_without_a_key_is_an_error_unless_it_is_left_out() {
    let place = Place::new().file("conf", format!("{CONF}[keyless]\ntype = fichier\n"));
    let problem = place.problem(&["--rclone-config", "~/conf"]).await;
    assert!(
        problem.starts_with("the remote keyless has no API key"),
        "{problem}"
    );
    assert!(
        problem.contains("RCLONE_CONFIG_KEYLESS_API_KEY"),
        "{problem}"
    );
    let chosen = ["--rclone-config", "~/conf", "--remote", "a"];
    assert_eq!(place.names(&chosen).await, ["a"]);
}

#[tokio::test]
async fn names_that_rclone_does_not_take() {
    let place = Place::new().file(
        "conf",
        "[[a]]\ntype = fichier\n[b]\ntype = fichier\napi_key = B\n",
    );
    let loaded = place.load(&["--rclone-config", "~/conf"]).await;
    assert!(loaded.warnings[0].starts_with("a remote is left out: \"[a]\" cannot be"));
    assert_eq!(loaded.config.unwrap().remotes.len(), 1);
    let place = Place::new().set("PLUTON_FICHIER_API_KEY", "K");
    let problem = place.problem(&["--remote-name", "a:b"]).await;
    assert!(
        problem.starts_with("--remote-name: \"a:b\" cannot be"),
        "{problem}"
    );
}

#[tokio::test]
async fn what_flags_say_holds_for_every_remote() {
    let place = Place::new()
        .file("conf", CONF)
        .set("RCLONE_FICHIER_CDN", "true");
    let args = [
        "--rclone-config",
        "~/conf",
        "--encoding",
        "Slash",
        "--description",
        "d",
    ];
    let config = place.config(&args).await;
    assert_eq!(config.remotes.len(), 2);
    for remote in config.remotes {
        assert!(remote.cdn);
        assert_eq!(remote.encoding, Mask::SLASH);
        assert_eq!(remote.description, "d");
    }
}

#[tokio::test]
async fn the_emulated_account_is_one_remote_with_the_options_of_flags() {
    let place = Place::new()
        .file(".config/rclone/rclone.conf", CONF)
        .file(
            "toml",
            format!("default = \"z\"\nremote = [\"z\"]\nuploads = 7\n{TOML}"),
        )
        .file("pw", "file pw")
        .set("RCLONE_CONFIG", "~/nothing")
        .set("PLUTON_FICHIER_API_KEY", "K")
        .set("RCLONE_FICHIER_CDN", "true");
    let args = [
        "--emulator",
        "--config",
        "~/toml",
        "--encoding",
        "Slash",
        "--file-password-file",
        "~/pw",
    ];
    let config = place.config(&args).await;
    assert!(matches!(config.upstream, Upstream::Emulator));
    assert_eq!(config.uploads.connections, 7);
    assert_eq!(config.state_dir, None);
    let [remote] = &config.remotes[..] else {
        panic!("{config:?}")
    };
    assert_eq!((remote.name.as_str(), &remote.key), ("fichier", &None));
    assert!(remote.cdn && remote.file_password.is_some());
    assert_eq!(remote.encoding, Mask::SLASH);
    assert_eq!(
        place.names(&["--emulator", "--remote-name", "demo"]).await,
        ["demo"]
    );
    assert_eq!(
        place.problem(&["--emulator", "--remote", "a"]).await,
        "no remote is called \"a\": with --emulator there is fichier alone"
    );
}

#[tokio::test]
async fn an_emulated_and_a_real_account_contradict_each_other() {
    const URL: &str = "http://127.0.0.1:9/v1";
    let both = |one: &str, other: &str| {
        format!(
            "the account is the emulated one by {one} and a real one by {other}; keep one of them"
        )
    };
    let file = || Place::new().file("k", "K");
    let by_flag = ["--emulator", "--api-url", URL];
    assert_eq!(
        file().problem(&by_flag).await,
        both("--emulator", "--api-url")
    );
    let by_flag = ["--emulator", "--api-key-file", "~/k"];
    assert_eq!(
        file().problem(&by_flag).await,
        both("--emulator", "--api-key-file")
    );

    let variable = || file().set("PLUTON_FICHIER_EMULATOR", "1");
    let flags = ["--api-url", URL, "--api-key-file", "~/k"];
    assert_eq!(
        variable().problems(&flags).await,
        ["--api-url", "--api-key-file"].map(|flag| both("PLUTON_FICHIER_EMULATOR", flag))
    );
    for name in [
        "PLUTON_FICHIER_API_URL",
        "PLUTON_FICHIER_API_KEY",
        "PLUTON_FICHIER_API_KEY_FILE",
    ] {
        let place = variable().set(name, URL);
        assert_eq!(
            place.problem(&[]).await,
            both("PLUTON_FICHIER_EMULATOR", name)
        );
        // A flag is above them.
        let config = place.config(&["--emulator"]).await;
        assert!(matches!(config.upstream, Upstream::Emulator));
    }

    let toml = file().file("toml", format!("emulator = true\napi_url = {URL:?}"));
    let args = ["--config", "~/toml"];
    assert_eq!(toml.problem(&args).await, both("~/toml:1", "~/toml:2"));
    let config = toml.config(&["--config", "~/toml", "--emulator"]).await;
    assert!(matches!(config.upstream, Upstream::Emulator));

    for place in [variable(), toml] {
        let args = [
            "--emulator=false",
            "--api-url",
            URL,
            "--api-key-file",
            "~/k",
        ];
        let config = place.config(&args).await;
        assert!(matches!(config.upstream, Upstream::Api(hosts) if hosts.is_loopback()));
        assert_eq!(config.remotes[0].key, key("K"));
    }
}
