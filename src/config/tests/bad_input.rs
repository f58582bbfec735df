//! What cannot be used is refused with a word on what to do, all of it at
//! once, and without a secret.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::*;

const CONF: &str = "[a]\ntype = fichier\napi_key = A\n";

fn keyed() -> Place {
    Place::new().set("PLUTON_FICHIER_API_KEY", "K")
}

#[tokio::test]
async fn flags() {
    for (args, word) in [
        (&["--grpc-listen", "0.0.0.0:1"][..], "--insecure"),
        (
            &["--calls-per-second", "4"],
            "--calls-per-second: 4 is no rate from 0 to 3, the most that 1Fichier allows",
        ),
        (
            &["--calls-per-second", "NaN"],
            "--calls-per-second: NaN is no rate",
        ),
        (
            &["--calls-per-second", "0"],
            "--calls-per-second: 0 is for emulators only",
        ),
        (&["--api-url", "http://192.0.2.1/v1"], "unencrypted"),
        (
            &["--api-url", "nonsense"],
            "--api-url: \"nonsense\" is no URL",
        ),
        (
            &["--api-key-file", "/nonexistent"],
            "cannot read the API key file /nonexistent: No such file",
        ),
        (
            &["--file-password-file", "/"],
            "cannot read the file password file /: Is a directory",
        ),
        (
            &["--shared-folder", "https://example.com/dir/abc"],
            "is no shared folder: give what follows /dir/",
        ),
        (
            &["--config", "/nonexistent"],
            "cannot read /nonexistent: No such file",
        ),
        (&["--log", "a=b=c"], "--log: \"a=b=c\""),
    ] {
        let problem = keyed().problem(args).await;
        assert!(problem.contains(word), "{args:?}: {problem}");
    }
    let nowhere = Environment::from_iter([("PLUTON_FICHIER_API_KEY", "K")]);
    let loaded = ServeArgs::default()
        .load(LogArgs::default(), &nowhere)
        .await;
    assert_eq!(
        loaded.config.unwrap_err(),
        ["no state directory: set --state-dir DIR"]
    );
}

#[test]
fn flags_that_clap_refuses() {
    for (args, word) in [
        (&["--grpc-listen", "unix:"][..], "needs a path"),
        (&["--grpc-listen", "nonsense"], "not an ADDRESS"),
        (
            &["--encoding", "Slash,Nonsense"],
            "bad encoding \"Nonsense\"",
        ),
        (&["--encoding", "x"], "None, Raw, Slash, LtGt"),
        (&["--cdn=maybe"], "neither true nor false"),
        (&["--uploads", "31"], "from 1 to 30"),
        (&["--record-hashes", "sha256,crc"], "none of whirlpool"),
        (&["--password-format", "x"], "auto, plain, obscured"),
    ] {
        let parsed = Cli::try_parse_from([&["x"], args].concat());
        let error = parsed.err().unwrap().to_string();
        assert!(error.contains(word), "{args:?}: {error}");
    }
}

#[tokio::test]
async fn variables() {
    for (name, value, problem) in [
        (
            "PLUTON_FICHIER_UPLOADS",
            "0",
            "PLUTON_FICHIER_UPLOADS: \"0\" is not a whole number from 1 to 30",
        ),
        (
            "PLUTON_FICHIER_FRESHNESS",
            "5m",
            "PLUTON_FICHIER_FRESHNESS: \"5m\" is not a whole number",
        ),
        (
            "PLUTON_FICHIER_EXCLUSIVE",
            "yes",
            "PLUTON_FICHIER_EXCLUSIVE: \"yes\" is neither true nor false",
        ),
        (
            "PLUTON_FICHIER_LOG_FORMAT",
            "xml",
            "PLUTON_FICHIER_LOG_FORMAT: \"xml\" is not one of text, json",
        ),
        (
            "PLUTON_FICHIER_CALLS_PER_SECOND",
            "x",
            "PLUTON_FICHIER_CALLS_PER_SECOND: \"x\" is not a number",
        ),
        (
            "PLUTON_FICHIER_CALLS_PER_SECOND",
            "3.5",
            "PLUTON_FICHIER_CALLS_PER_SECOND: 3.5 is no rate from 0 to 3, the most that 1Fichier allows",
        ),
        (
            "PLUTON_FICHIER_CALLS_PER_SECOND",
            "0",
            "PLUTON_FICHIER_CALLS_PER_SECOND: 0 is for emulators only: 1Fichier would lock the account",
        ),
        (
            "PLUTON_FICHIER_GRPC_LISTEN",
            "",
            "PLUTON_FICHIER_GRPC_LISTEN: the list is empty",
        ),
        (
            "PLUTON_FICHIER_REMOTE",
            "",
            "PLUTON_FICHIER_REMOTE: the list is empty",
        ),
        (
            "RCLONE_FICHIER_CDN",
            "on",
            "RCLONE_FICHIER_CDN: \"on\" is neither true nor false",
        ),
        (
            "PLUTON_FICHIER_API_KEY_FILE",
            "x",
            "the API key is given twice, by PLUTON_FICHIER_API_KEY and by PLUTON_FICHIER_API_KEY_FILE; keep one",
        ),
    ] {
        assert_eq!(keyed().set(name, value).problem(&[]).await, problem);
    }
    let problem = keyed()
        .set("RCLONE_CONFIG_FICHIER_ENCODING", "Slash,,Dot")
        .problem(&[])
        .await;
    assert!(
        problem.starts_with("RCLONE_CONFIG_FICHIER_ENCODING: bad encoding \"\": "),
        "{problem}"
    );
    assert!(problem.ends_with("Semicolon, Exclamation"), "{problem}");
    let problem = Place::new()
        .set("PLUTON_FICHIER_API_KEY", "two words")
        .problem(&[])
        .await;
    assert!(
        problem.starts_with("PLUTON_FICHIER_API_KEY: the API key has characters"),
        "{problem}"
    );
    assert!(!problem.contains("two"), "{problem}");

    let name = OsStr::new("PLUTON_FICHIER_DESCRIPTION");
    let variables = [
        (OsStr::new("PLUTON_FICHIER_API_KEY"), OsStr::new("K")),
        (OsStr::new("HOME"), OsStr::new("/h")),
        (name, OsStr::from_bytes(b"a\xffb")),
    ];
    let environment = Environment::from_iter(variables);
    let loaded = ServeArgs::default()
        .load(LogArgs::default(), &environment)
        .await;
    assert_eq!(
        loaded.config.unwrap_err(),
        ["PLUTON_FICHIER_DESCRIPTION is not a text in UTF-8"]
    );
}

#[tokio::test]
async fn toml_files() {
    for (toml, problem) in [
        (
            "uplods = 3",
            "1: unknown key \"uplods\"; did you mean \"uploads\"?",
        ),
        (
            "\nupload-group-files = 3",
            "2: unknown key \"upload-group-files\"; did you mean \"upload_group_files\"?",
        ),
        (
            "api_key = \"SECRET\"",
            "1: unknown key \"api_key\"; it is an option of a remote and belongs below [remotes.NAME]",
        ),
        (
            "[remotes.a]\napi_key=\"SECRET\"\nencodng = \"Slash\"",
            "3: unknown key \"encodng\"; did you mean \"encoding\"?",
        ),
        (
            "uploads = \"3\"",
            "1: uploads must be a number, not a string",
        ),
        (
            "# x\n\nexclusive = 1",
            "3: exclusive must be true or false, not a whole number",
        ),
        (
            "grpc_listen = [1]",
            "1: grpc_listen must be a list of strings, not a list with something else than strings in it",
        ),
        (
            "state_dir = 2026-01-01",
            "1: state_dir must be a string, not a date",
        ),
        (
            "uploads = 1.5",
            "1: uploads: \"1.5\" is not a whole number from 1 to 30",
        ),
        (
            "uploads = 99999999999999999999",
            "1: uploads: \"99999999999999999999\" is not a whole number from 1 to 30",
        ),
        (
            "spool_bytes = -1",
            "1: spool_bytes: \"-1\" is not a whole number",
        ),
        (
            "grpc_listen = \"x\"",
            "1: grpc_listen: not an ADDRESS:PORT like 127.0.0.1:50051, and not unix:/path",
        ),
        ("\ngrpc_listen = []", "2: grpc_listen: the list is empty"),
        (
            "remote = []\n[remotes.a]\napi_key = \"SECRET\"",
            "1: remote: the list is empty",
        ),
        (
            "\ncalls_per_second = -1",
            "2: calls_per_second: -1 is no rate from 0 to 3",
        ),
        (
            "calls_per_second = 0.0\n[remotes.a]\napi_key = \"SECRET\"",
            "1: calls_per_second: 0 is for emulators only",
        ),
        (
            "remotes = 3",
            "1: remotes must be tables: write [remotes.NAME] and its options below it",
        ),
        (
            "[remotes]\na = 3",
            "2: write [remotes.a] and the options of a below it",
        ),
        (
            "[remotes.a]\ncdn = \"true\"\napi_key = \"SECRET\"",
            "2: cdn must be true or false, not a string",
        ),
        (
            "[remotes.a]\nencoding = \"Dollars\"",
            "2: encoding: bad encoding \"Dollars\": expected",
        ),
        (
            "[remotes.a]\napi_key = \"SECRET key\"",
            "2: api_key: the API key has characters",
        ),
        (
            "[remotes.a]\napi_key = \"\"",
            "2: api_key: the API key is empty",
        ),
        (
            "[remotes.a]\nfile_password = \"\"\napi_key = \"SECRET\"",
            "2: file_password: the password is empty",
        ),
        (
            "[remotes.a]\napi_key_file = \"none\"",
            "2: api_key_file: cannot read the API key file ~/none: No such file",
        ),
        (
            "[remotes.a]\ntype = \"drive\"\napi_key = \"SECRET\"",
            "2: type: \"drive\" is not served here; only \"fichier\" is",
        ),
        (
            "[remotes.\"a/b\"]\napi_key = \"SECRET\"",
            "1: \"a/b\" cannot be the name of a remote",
        ),
        ("[remotes.a]\napi_key = \"SECRET\"\n[remotes.a]\n", "3: "),
        ("[remotes.a]\napi_key = SECRET\n", "2: "),
        ("[remotes.a\napi_key = \"SECRET\"\n", "1: "),
        ("[remotes.a]\napi_key = \"SECRET", "2: "),
    ] {
        let place = Place::new().file("toml", toml);
        let problems = place.problems(&["--config", "~/toml"]).await;
        let problems: Vec<_> = problems
            .iter()
            .map(|problem| place.relative(problem))
            .collect();
        let expected = format!("~/toml:{problem}");
        assert!(
            problems
                .iter()
                .any(|problem| problem.starts_with(&expected)),
            "{toml}: {problems:?} instead of {expected}"
        );
        assert!(!problems.concat().contains("SECRET"), "{problems:?}");
    }
    let twice = "[remotes.a]\napi_key = \"A\"\napi_key_file = \"x\"\n";
    assert_eq!(
        Place::new()
            .file("toml", twice)
            .problem(&["--config", "~/toml"])
            .await,
        "the API key is given twice, by ~/toml:2 and by ~/toml:3; keep one"
    );
}

#[tokio::test]
async fn files_that_are_no_toml_files() {
    for (content, word) in [
        (b"a = \"\xff\"".to_vec(), "it is not a text in UTF-8"),
        (
            vec![b'#'; 5 << 20],
            "it is larger than 4096 KiB; is it the right file?",
        ),
    ] {
        let problem = keyed()
            .file("toml", content)
            .problem(&["--config", "~/toml"])
            .await;
        assert_eq!(problem, format!("cannot read ~/toml: {word}"));
    }
    let problem = keyed().problem(&["--config", "~/"]).await;
    assert!(
        problem.starts_with("cannot read ~/: Is a directory"),
        "{problem}"
    );
}

#[tokio::test]
async fn rclone_files() {
    let utf16: Vec<u8> = "\u{feff}[a]"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (content, word) in [
        (
            b"[a]\ntype = fichier\nSECRET\n".to_vec(),
            "~/conf:3: rclone cannot read this line: it is no [section]",
        ),
        (
            b"[a]\napi_key = `SECRET\n".to_vec(),
            "~/conf:2: rclone cannot read this line: a quote is opened and not closed",
        ),
        (
            b"[]\na = SECRET\n".to_vec(),
            "~/conf:2: rclone cannot read this line: a key stands below []",
        ),
        (
            b"[a]\ntype = fichier\napi_key = SECRET\xff\n".to_vec(),
            "~/conf:a: api_key is not a text in UTF-8",
        ),
        (
            b"[a]\ntype = fichier\napi_key = %(api_key)s%(api_key)s\n".to_vec(),
            "~/conf:a: api_key refers to itself with %(…)s",
        ),
        (
            b"type = %(type)s\n[a]\ntype = %(type)s\napi_key = A\n".to_vec(),
            "~/conf:DEFAULT: type refers to itself",
        ),
        (
            b"[a]\ntype = fichier\napi_key = A\ncdn = maybe\n".to_vec(),
            "~/conf:a: cdn: \"maybe\" is neither true nor false",
        ),
        (
            b"[a]\ntype = fichier\napi_key = A\nencoding = dollar\n".to_vec(),
            "~/conf:a: encoding: bad encoding \"dollar\": expected a comma-separated list of numbers or None, Raw, Slash",
        ),
        (utf16, "~/conf is a text in UTF-16; save it as UTF-8"),
        (
            vec![b'#'; 5 << 20],
            "cannot read rclone's configuration ~/conf: it is larger than 4096 KiB",
        ),
        (
            b"RCLONE_ENCRYPT_V1:\nAAAA".to_vec(),
            "cannot read rclone's configuration ~/conf: its encryption is of a kind",
        ),
    ] {
        let place = Place::new().file("conf", content);
        let problems = place.problems(&["--rclone-config", "~/conf"]).await;
        let problem = place.relative(&problems[0]);
        assert!(problem.starts_with(word), "{problem} instead of {word}");
        assert!(!problem.contains("SECRET"), "{problem}");
    }
    // What is not used may be anything.
    let place = Place::new().file(
        "conf",
        [CONF.as_bytes(), b"[caf\xe9]\nnote = \xff\n"].concat(),
    );
    assert_eq!(place.names(&["--rclone-config", "~/conf"]).await, ["a"]);
    let problem = Place::new().problem(&["--rclone-config", "~/"]).await;
    assert!(
        problem.starts_with("cannot read rclone's configuration ~/: Is a directory"),
        "{problem}"
    );
}

#[tokio::test]
async fn an_rclone_file_that_does_not_exist() {
    let problem = Place::new().problem(&["--rclone-config", "~/none"]).await;
    assert!(
        problem.starts_with("cannot read rclone's configuration ~/none: No such file"),
        "{problem}"
    );
    // rclone's own variable may name one that is yet to be written.
    let place = keyed().set("RCLONE_CONFIG", "~/none");
    let loaded = place.load(&[]).await;
    assert!(loaded.config.is_ok());
    assert_eq!(
        place.relative(&loaded.warnings[0]),
        "~/none, named by RCLONE_CONFIG, does not exist"
    );
}

#[tokio::test]
async fn encrypted_rclone_files() {
    let whole = std::fs::read(vector("rclone-encrypted.conf")).unwrap();
    let place = || Place::new().file("conf", &whole);
    let args = ["--rclone-config", "~/conf"];
    assert_eq!(
        place().problem(&args).await,
        "~/conf is encrypted, and a server cannot ask for the password: \
         set RCLONE_CONFIG_PASS, RCLONE_CONFIG_PASS_FILE or --password-command"
    );
    let wrong = place().set("RCLONE_CONFIG_PASS", "SECRET wrong");
    assert_eq!(
        wrong.problem(&args).await,
        "cannot decrypt ~/conf with the password from RCLONE_CONFIG_PASS: the password is wrong, or the file is damaged"
    );
    let right = "correct horse 🐎 battery";
    let good = place()
        .file("pw", format!("{right}\n"))
        .set("RCLONE_CONFIG_PASS_FILE", "~/pw");
    assert_eq!(good.names(&args).await, ["fich", "Other Remote.2"]);
    for (command, problem) in [
        (
            "true",
            "the password command (--password-command) printed nothing",
        ),
        (
            "false",
            "the password command (--password-command) failed: \"false\" ended with exit status: 1",
        ),
        (
            "no-such-program-anywhere SECRET",
            "the password command (--password-command) cannot run \"no-such-program-anywhere\": No such file",
        ),
        (
            "echo wrong",
            "cannot decrypt ~/conf with the password from --password-command: the password is wrong",
        ),
    ] {
        // The right password elsewhere does not help.
        let place = place().set("RCLONE_CONFIG_PASS", right);
        let found = place
            .problem(&[&args[..], &["--password-command", command]].concat())
            .await;
        assert!(found.starts_with(problem), "{found}");
        assert!(!found.contains("SECRET"), "{found}");
    }
    let command = format!("echo \"{right}\"");
    for variable in ["RCLONE_PASSWORD_COMMAND", "PLUTON_FICHIER_PASSWORD_COMMAND"] {
        let place = place()
            .set(variable, &command)
            .set("RCLONE_CONFIG_PASS", "wrong");
        assert_eq!(place.names(&args).await, ["fich", "Other Remote.2"]);
    }
    for length in [60, 100, 101, whole.len() - 4, whole.len() - 1] {
        let place = Place::new()
            .file("conf", &whole[..length])
            .set("RCLONE_CONFIG_PASS", right);
        let problem = place.problem(&args).await;
        assert!(
            problem.contains("~/conf") && problem.contains("damaged")
                || problem.contains("cut off"),
            "{problem}"
        );
    }
}

/// In virtual time: the half minute passes at once.
#[tokio::test(start_paused = true)]
async fn a_password_command_that_hangs() {
    let conf = std::fs::read(vector("rclone-encrypted.conf")).unwrap();
    let place = Place::new().file("conf", conf);
    let problem = place
        .problem(&[
            "--rclone-config",
            "~/conf",
            "--password-command",
            "sleep 1000",
        ])
        .await;
    assert_eq!(
        problem,
        "the password command (--password-command) did not end in 30 s"
    );
}

#[tokio::test]
async fn all_problems_at_once() {
    let place = Place::new()
        .file(
            "conf",
            "[a]\ntype = fichier\ncdn = x\nencoding = y\n[b]\ntype = fichier\n",
        )
        .file("toml", "uploads = 0\nnonsense = 1\nlog_format = \"xml\"\n")
        .set("PLUTON_FICHIER_DOWNLOADS", "many")
        .set("RCLONE_CONFIG_B_FILE_PASSWORD_FILE", "/nonexistent");
    let args = [
        "--rclone-config",
        "~/conf",
        "--config",
        "~/toml",
        "--grpc-listen",
        "0.0.0.0:1",
    ];
    let problems = place.problems(&args).await;
    for word in [
        "unknown key \"nonsense\"",
        "log_format: \"xml\"",
        "0.0.0.0:1 can be reached",
        "uploads: \"0\"",
        "PLUTON_FICHIER_DOWNLOADS",
        "the remote a has no API key",
        "\"x\" is neither",
        "bad encoding \"y\"",
        "the remote b has no API key",
        "cannot read the file password file /nonexistent",
    ] {
        let found = problems
            .iter()
            .filter(|problem| problem.contains(word))
            .count();
        assert_eq!(found, 1, "{word}: {problems:#?}");
    }
    assert_eq!(problems.len(), 10, "{problems:#?}");
}

#[tokio::test]
async fn a_file_that_several_remotes_lack_is_told_once() {
    let place = Place::new().file("conf", format!("{CONF}[b]\ntype = fichier\napi_key = B\n"));
    let args = [
        "--rclone-config",
        "~/conf",
        "--file-password-file",
        "/nonexistent",
    ];
    place.problem(&args).await;
}
