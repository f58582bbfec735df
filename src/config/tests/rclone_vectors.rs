//! What rclone was seen to do with options, configuration files and
//! variables.

use serde_json::Value;

use super::*;
use crate::encoding::NameCodec;

/// How many cases there are of each kind, so that none is left out unseen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    same: usize,
    /// Connection strings and remotes on the fly: there are none here.
    connection_strings: usize,
    /// Here a variable that is set but empty counts as not set.
    empty_variables: usize,
    /// The observed rclone 1.60.1 stops reading an encoding at a blank; newer
    /// ones do not.
    blanks_in_encodings: usize,
}

/// What became of one case, in the words of the file.
async fn outcome(case: &Value) -> Result<RemoteConfig, Vec<String>> {
    let mut place = Place::new().file("rclone.conf", case["conf"].as_str().unwrap());
    for (name, value) in case["env"].as_object().unwrap() {
        place = place.set(name, value.as_str().unwrap());
    }
    let args: Vec<_> = case["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| arg.as_str().unwrap())
        .collect();
    let name = args[1].split(':').next().unwrap();
    let mut ours = vec!["--rclone-config", "~/rclone.conf", "--remote", name];
    if let [_, _, flag, value] = args[..] {
        // Here a flag names a file.
        assert_eq!(flag, "--fichier-api-key");
        place = place.file("key", value);
        ours.extend(["--api-key-file", "~/key"]);
    }
    let config = place.load(&ours).await.config?;
    assert_eq!(config.remotes.len(), 1);
    assert_eq!(config.remotes[0].name, name);
    Ok(config.remotes[0].clone())
}

fn check_key(case: &Value, expected: &Value, got: Result<RemoteConfig, Vec<String>>) {
    let what = &case["what"];
    let wanted = expected["authorization_header"].as_str();
    let wanted = wanted.and_then(|header| header.strip_prefix("Bearer "));
    match got {
        Ok(remote) => assert_eq!(remote.key, key(wanted.unwrap()), "{what}"),
        Err(problems) => {
            assert_eq!(wanted, None, "{what}: {problems:?}");
            assert_eq!(problems.len(), 1, "{what}: {problems:?}");
            // Of cdn there is only one way to be wrong; else the remote is unknown.
            let word = match expected["error"].as_str().unwrap().contains("cdn") {
                true => "rclone.conf:fich: cdn: \"",
                false => "no ",
            };
            assert!(problems[0].contains(word), "{what}: {problems:?}");
        }
    }
}

fn check_encoding(case: &Value, expected: &Value, got: Result<RemoteConfig, Vec<String>>) {
    let what = &case["what"];
    let argument = case["args"][1].as_str().unwrap();
    // The second program was asked for this name.
    let name = argument.split_once(':').unwrap().1.replace("$<:", "!$<:");
    match (got, expected["stored_name"].as_str()) {
        (Ok(remote), Some(stored)) => {
            let codec = NameCodec::new(remote.encoding);
            assert_eq!(codec.to_stored(&name).unwrap(), stored, "{what}");
        }
        (Err(problems), None) => {
            assert!(problems[0].contains("bad encoding"), "{what}: {problems:?}");
        }
        (got, stored) => panic!("{what}: {got:?} instead of {stored:?}"),
    }
}

#[tokio::test]
async fn options() {
    let file = vectors!("options.json");
    let mut count = Count::default();
    for case in &file.as_array().unwrap()[1..] {
        let what = case["what"].as_str().unwrap();
        let remote = case["args"][1].as_str().unwrap();
        let expected = &case["v1.76-fichier-on-1.60.1-core"];
        if remote.starts_with(':') || remote.split(':').next().unwrap().contains(',') {
            count.connection_strings += 1;
            continue;
        }
        let variables = case["env"].as_object().unwrap();
        if variables.values().any(|value| value == "") {
            count.empty_variables += 1;
            let got = outcome(case).await.unwrap();
            assert_eq!(got.key, key("CONF"), "{what}");
            assert_eq!(got.encoding, Mask::FICHIER, "{what}");
            continue;
        }
        if case["conf"].as_str().unwrap().contains("Slash, Dollar") {
            count.blanks_in_encodings += 1;
            let got = outcome(case).await.unwrap();
            assert_eq!(got.encoding, Mask::SLASH | Mask::DOLLAR);
            continue;
        }
        count.same += 1;
        match case["args"][0].as_str().unwrap() {
            "lsf" => check_key(case, expected, outcome(case).await),
            _ => check_encoding(case, expected, outcome(case).await),
        }
    }
    let expected = Count {
        same: 39,
        connection_strings: 4,
        empty_variables: 3,
        blanks_in_encodings: 1,
    };
    assert_eq!(count, expected);
}

#[tokio::test]
async fn cdn_in_all_its_spellings() {
    let file = vectors!("options.json");
    let mut on = 0;
    for case in &file.as_array().unwrap()[1..] {
        if !case["what"].as_str().unwrap().starts_with("cdn = ") {
            continue;
        }
        if let Ok(remote) = outcome(case).await {
            let conf = case["conf"].as_str().unwrap();
            let value = conf.split("cdn = ").nth(1).unwrap().trim();
            assert_eq!(remote.cdn, value.starts_with(['t', 'T', '1']), "{value}");
            on += usize::from(remote.cdn);
        }
    }
    assert_eq!(on, 7);
}

#[tokio::test]
async fn an_encrypted_file() {
    let conf = vector("rclone-encrypted.conf");
    let args = ["--rclone-config", conf.to_str().unwrap()];
    let place = Place::new().set("RCLONE_CONFIG_PASS", "correct horse 🐎 battery");
    let config = place.config(&args).await;
    let [main, other] = &config.remotes[..] else {
        panic!("{config:?}")
    };
    assert_eq!(main.name, "fich");
    assert_eq!(main.key, key("KEY-ABCdef_123"));
    assert!(main.cdn);
    assert_eq!(main.description, "main account");
    let encoding = "Slash,LtGt,DoubleQuote,Dollar,BackSlash,Del,Ctl,InvalidUtf8,Dot";
    assert_eq!(main.encoding, encoding.parse().unwrap());
    // As rclone obscured them; perhaps meant as they stand.
    let candidates = |password: &Option<Password>| password.clone().unwrap().candidates().to_vec();
    assert_eq!(
        candidates(&main.file_password),
        [
            "sécret file pw",
            "0jG4ME17MASTH4d8c8J4ohz-MoxUNdBZ_ZZKJQxDgw"
        ]
    );
    assert_eq!(
        candidates(&main.folder_password),
        ["folder-pw", "qVYJ0w74MkNQngl7XaHwG1M3i9uYHH0t_g"]
    );
    assert_eq!(other.name, "Other Remote.2");
    assert_eq!(other.key, key("another=key:with;chars#x"));
    assert_eq!(other.shared_folder, share("abcDEF12"));
    assert_eq!(other.file_password, None);

    // The plain file says the same.
    let plain = vector("rclone-plain.conf");
    let same = Place::new()
        .config(&["--rclone-config", plain.to_str().unwrap()])
        .await;
    assert_eq!(same.remotes.len(), 2);
    assert_eq!(same.remotes[0].file_password, main.file_password);
    assert_eq!(same.remotes[1].key, other.key);
}
