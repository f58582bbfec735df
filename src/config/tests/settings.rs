//! The settings of the server, and what check-config says of them.

use std::collections::BTreeSet;

use clap::CommandFactory;
use serde_json::Value;

use super::*;
use crate::config::schema::SETTINGS;
use crate::transfer::SpoolPolicy;

fn keyed() -> Place {
    Place::new().set("PLUTON_FICHIER_API_KEY", "K")
}

#[tokio::test]
async fn safe_by_default() {
    let place = keyed();
    let config = place.config(&[]).await;
    assert_eq!(
        config.grpc_listen,
        [Listen::Tcp("127.0.0.1:50051".parse().unwrap())]
    );
    assert_eq!(config.limits.calls_per_second, Some(3.0));
    assert_eq!(
        config.state_dir,
        Some(place.path(".local/state/pluton-fichier"))
    );
    let Upstream::Api(hosts) = &config.upstream else {
        panic!("{config:?}")
    };
    assert!(!hosts.is_loopback());
    assert_eq!(
        config.uploads.connections,
        UploadLimits::default().connections
    );
    let place = place.set("XDG_STATE_HOME", "~/state");
    assert_eq!(
        place.config(&[]).await.state_dir,
        Some(place.path("state/pluton-fichier"))
    );
}

/// Values that differ from all defaults.
const VALUES: &[(&str, &str, &str)] = &[
    (
        "grpc_listen",
        "127.0.0.1:1,unix:/x",
        "[\"127.0.0.1:1\", \"unix:/x\"]",
    ),
    (
        "api_url",
        "http://127.0.0.1:9/v1",
        "\"http://127.0.0.1:9/v1\"",
    ),
    ("state_dir", "/state", "\"/state\""),
    ("freshness", "1", "1"),
    ("exclusive", "true", "true"),
    ("spool", "never", "\"never\""),
    ("spool_bytes", "2", "0x2"),
    ("uploads", "3", "3"),
    ("upload_group_bytes", "4", "4"),
    ("upload_group_files", "5", "5"),
    ("stream_from", "6", "6"),
    ("downloads", "7", "7"),
    ("download_segments", "9", "9"),
    ("download_segment_bytes", "2097152", "2_097_152"),
    ("max_transfers", "10", "10"),
    ("calls_per_second", "0.5", "0.5"),
    ("record_hashes", "sha1,md5", "[\"sha1\", \"md5\"]"),
    ("shutdown_grace", "8", "8"),
    ("log", "debug", "\"debug\""),
    ("log_format", "json", "\"json\""),
];

fn check(loaded: Loaded) {
    assert_eq!(
        (loaded.logging.filter.as_str(), loaded.logging.format),
        ("debug", LogFormat::Json)
    );
    let config = loaded.config.unwrap();
    let listen: Vec<_> = config.grpc_listen.iter().map(Listen::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:1", "unix:/x"]);
    assert!(matches!(config.upstream, Upstream::Api(hosts) if hosts.is_loopback()));
    assert_eq!(config.state_dir, Some("/state".into()));
    assert_eq!(config.freshness, Duration::from_secs(1));
    assert!(config.exclusive);
    assert_eq!(config.spool_bytes, 2);
    assert_eq!(config.uploads.connections, 3);
    assert_eq!(config.uploads.group_bytes, 4);
    assert_eq!(config.uploads.group_files, 5);
    assert_eq!(config.uploads.stream_from, 6);
    assert_eq!(config.uploads.spool, SpoolPolicy::Never);
    let downloads = &config.downloads;
    assert_eq!((downloads.connections, downloads.segments), (7, 9));
    assert_eq!(downloads.segment_bytes, 2 << 20);
    assert_eq!(config.max_transfers, 10);
    assert_eq!(config.record_hashes, "md5,sha1".parse().unwrap());
    assert_eq!(config.limits.calls_per_second, Some(0.5));
    assert_eq!(config.shutdown_grace, Duration::from_secs(8));
}

#[tokio::test]
async fn the_same_settings_from_flags_variables_and_a_file() {
    let flags: Vec<_> = VALUES
        .iter()
        .map(|(name, value, _)| format!("--{}={value}", name.replace('_', "-")))
        .collect();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    check(keyed().load(&flags).await);

    let mut place = keyed();
    for (name, value, _) in VALUES {
        place = place.set(&format!("PLUTON_FICHIER_{}", name.to_uppercase()), value);
    }
    check(place.load(&[]).await);

    let lines = VALUES
        .iter()
        .map(|(name, _, toml)| format!("{name} = {toml}\n"));
    let place = keyed().file("toml", lines.collect::<String>());
    check(place.load(&["--config", "~/toml"]).await);
    let place = place.set("PLUTON_FICHIER_CONFIG", "~/toml");
    check(place.load(&[]).await);

    // A flag is above a variable, and that above the file.
    let place = place.set("PLUTON_FICHIER_UPLOADS", "11");
    assert_eq!(place.config(&[]).await.uploads.connections, 11);
    assert_eq!(
        place.config(&["--uploads", "12"]).await.uploads.connections,
        12
    );
}

#[tokio::test]
async fn the_value_of_a_field_in_a_filter_is_a_text() {
    let filter = "off,a[b{c=(}]=trace";
    let loaded = keyed().load(&["--log", filter]).await;
    assert!(loaded.config.is_ok(), "{:?}", loaded.config);
    assert_eq!(loaded.logging.filter, filter);
    let used = loaded.logging.env_filter().to_string();
    assert!(used.contains("c=("), "{used}");
}

#[tokio::test]
async fn a_comma_in_an_element_of_a_list_is_part_of_it() {
    let place = keyed().file("toml", "grpc_listen = [\"unix:/a,b\"]");
    let config = place.config(&["--config", "~/toml"]).await;
    assert_eq!(config.grpc_listen, [Listen::Unix("/a,b".into())]);
}

#[tokio::test]
async fn paths_in_the_file_are_relative_to_it() {
    let place = Place::new()
        .file("etc/keys/a", "A")
        .file("etc/r.conf", "[r]\ntype = fichier\napi_key = R\n")
        .file(
            "etc/toml",
            "state_dir = \"state\"\nrclone_config = \"r.conf\"\n[remotes.a]\napi_key_file = \"keys/a\"\n",
        );
    let config = place.config(&["--config", "~/etc/toml"]).await;
    assert_eq!(config.state_dir, Some(place.path("etc/state")));
    assert_eq!(config.remotes[0].key, key("A"));
    assert_eq!(config.remotes[1].key, key("R"));
}

/// One list of names for flags, variables and TOML keys.
#[test]
fn every_flag_is_a_setting_and_every_setting_a_flag() {
    let command = Cli::command();
    let flags: BTreeSet<_> = command
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect();
    let mut expected: BTreeSet<_> = SETTINGS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    expected.remove("default");
    let only_flags = [
        "api_key_file",
        "shared_folder",
        "file_password_file",
        "folder_password_file",
        "cdn",
        "encoding",
        "description",
        "config",
    ];
    expected.extend(only_flags.map(str::to_owned));
    assert_eq!(flags, expected);
    for arg in with_variables(command).get_arguments() {
        let variable = format!(
            "[env: PLUTON_FICHIER_{}]",
            arg.get_id().to_string().to_uppercase()
        );
        let help = arg.get_help().unwrap().to_string();
        assert!(help.ends_with(&variable), "{help}");
    }
}

fn find<'a>(lines: &'a Value, name: &str) -> &'a Value {
    let mut lines = lines.as_array().unwrap().iter();
    lines
        .find(|line| line["name"] == name)
        .unwrap_or_else(|| panic!("no {name}"))
}

/// The defaults in the help are texts: compare them with what is done.
#[tokio::test]
async fn the_help_tells_the_defaults() {
    let report = keyed().load(&[]).await.report.to_json(&[], &[]);
    let mut told = 0;
    for arg in Cli::command().get_arguments() {
        let help = arg.get_help().unwrap().to_string().replace('\n', " ");
        let Some((_, rest)) = help.split_once("[default: ") else {
            continue;
        };
        let name = arg.get_id().as_str();
        // Words for what depends on other things.
        if [
            "rclone_config",
            "remote",
            "remote_name",
            "state_dir",
            "password_format",
            "cdn",
            "api_url",
        ]
        .contains(&name)
        {
            continue;
        }
        let line = find(&report["settings"], name);
        assert_eq!(line["source"], "default");
        let value = match &line["value"] {
            Value::String(text) => text.clone(),
            Value::Array(values) => values[0].as_str().unwrap().to_owned(),
            Value::Number(number) => number.as_f64().unwrap().to_string(),
            value => value.to_string(),
        };
        assert_eq!(rest.split(']').next().unwrap(), value, "{name}");
        told += 1;
    }
    assert_eq!(told, 19);
}

#[tokio::test]
async fn check_config_tells_every_source_and_no_secret() {
    let place = Place::new()
        .file(
            "conf",
            "[base]\napi_key = SECRET-conf\n[base.a]\ntype = fichier\nfile_password = SECRET-obscured\nencoding = Slash\n",
        )
        .file(
            "toml",
            "uploads = 9\ndownloads = 8\nrclone_config = \"conf\"\npassword_command = \"echo SECRET-command\"\n\
             [remotes.t]\napi_key_file = \"key\"\nfolder_password = \"SECRET-folder\"\ndescription = \"two\\nlines\"\n",
        )
        .file("key", "SECRET-file")
        .set("PLUTON_FICHIER_DOWNLOADS", "7")
        .set("RCLONE_FICHIER_CDN", "1");
    let loaded = place
        .load(&["--config", "~/toml", "--freshness", "5"])
        .await;
    assert!(loaded.config.is_ok());
    assert_eq!(loaded.warnings, [""; 0]);
    let text = place.relative(&loaded.report.to_string());
    let expected = "\
settings
  config = ~/toml  (--config)
  log = info  (default)
  log_format = text  (default)
  insecure = false  (default)
  grpc_listen = 127.0.0.1:50051  (default)
  http_listen = not set  (default)
  admin_listen = not set  (default)
  require_token = false  (default)
  max_connections = 2000  (default)
  emulator = false  (default)
  calls_per_second = 3.0  (default)
  api_url = https://api.1fichier.com/v1  (default)
  state_dir = ~/.local/state/pluton-fichier  (default)
  freshness = 5  (--freshness)
  exclusive = false  (default)
  state_required = true  (default)
  spool_bytes = 10737418240  (default)
  spool = auto  (default)
  uploads = 9  (~/toml)
  upload_group_bytes = 268435456  (default)
  upload_group_files = 500  (default)
  stream_from = 16777216  (default)
  downloads = 7  (PLUTON_FICHIER_DOWNLOADS)
  download_segments = 1  (default)
  download_segment_bytes = 16777216  (default)
  max_transfers = 1000  (default)
  record_hashes = sha256,md5  (default)
  shutdown_grace = 30  (default)
  rclone_config = ~/conf  (~/toml)
  password_command = echo …  (~/toml)
remote t, the default
  api_key = set, 11 characters  (~/toml:remotes.t (~/key))
  shared_folder = not set  (default)
  password_format = auto  (default)
  file_password = not set  (default)
  folder_password = set, 13 characters  (~/toml:remotes.t)
  cdn = true  (RCLONE_FICHIER_CDN)
  encoding = Slash,LtGt,DoubleQuote,SingleQuote,BackQuote,Dollar,BackSlash,Del,Ctl,LeftSpace,RightSpace,InvalidUtf8,Dot  (default)
  description = two\\nlines  (~/toml:remotes.t)
remote base.a
  api_key = set, 11 characters  (~/conf:base)
  shared_folder = not set  (default)
  password_format = auto  (default)
  file_password = set, 15 characters  (~/conf:base.a)
  folder_password = not set  (default)
  cdn = true  (RCLONE_FICHIER_CDN)
  encoding = Slash  (~/conf:base.a)
  description = not set  (default)
";
    assert_eq!(text, expected);

    let json = loaded.report.to_json(&[], &[]);
    assert_eq!(json["ok"], true);
    assert_eq!(find(&json["settings"], "uploads")["value"], 9);
    assert_eq!(find(&json["settings"], "exclusive")["value"], false);
    let remote = &json["remotes"][0];
    assert_eq!(remote["name"], "t");
    let secret = find(&remote["options"], "folder_password");
    assert_eq!(
        (&secret["secret"], &secret["characters"]),
        (&true.into(), &13.into())
    );
    assert_eq!(find(&remote["options"], "cdn")["value"], true);
    for shown in [text, json.to_string(), format!("{:?}", loaded.report)] {
        assert!(!shown.contains("SECRET"), "{shown}");
    }
}

#[tokio::test]
async fn files_with_secrets_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new()
        .file("conf", "[c]\ntype = fichier\napi_key = C\n")
        .file("toml", "rclone_config = \"conf\"\n[remotes.a]\napi_key = \"A\"\n[remotes.b]\napi_key_file = \"key\"\n")
        .file("key", "B");
    let args = ["--config", "~/toml"];
    assert_eq!(place.load(&args).await.warnings, [""; 0]);
    let open = |name: &str, mode| {
        std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    // A group may be meant to read them.
    for (mode, warnings) in [(0o640, 0), (0o644, 3)] {
        for name in ["conf", "toml", "key"] {
            open(name, mode);
        }
        let loaded = place.load(&args).await;
        assert!(loaded.config.is_ok());
        assert_eq!(loaded.warnings.len(), warnings, "{:?}", loaded.warnings);
        for warning in loaded.warnings {
            assert!(warning.contains("chmod 600"), "{warning}");
        }
    }
    // Without secrets in it a file is nobody's business.
    let place = Place::new().file("toml", "uploads = 3\n[remotes.a]\ncdn = true\n");
    std::fs::set_permissions(place.path("toml"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let place = place.set("PLUTON_FICHIER_API_KEY", "K");
    assert_eq!(place.load(&args).await.warnings, [""; 0]);
}
