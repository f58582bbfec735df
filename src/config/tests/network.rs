//! What is open to strangers is not started.

use super::*;
use crate::access::{Digest, Mode, Prefix, TokenFile};

/// With a certificate, and the state directory `~/state`.
fn place() -> Place {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    Place::new()
        .file("cert.pem", cert)
        .file("key.pem", key.serialize_pem())
        .set("PLUTON_FICHIER_API_KEY", "K")
        .set("PLUTON_FICHIER_STATE_DIR", "~/state")
}

const TLS: [&str; 4] = ["--tls-cert", "~/cert.pem", "--tls-key", "~/key.pem"];
const OPEN: [&str; 2] = ["--grpc-listen", "0.0.0.0:1"];

fn with<'a>(sets: &[&[&'a str]]) -> Vec<&'a str> {
    sets.concat()
}

#[tokio::test]
async fn strangers_meet_encryption_and_authentication() {
    let place = place();
    for (args, word) in [
        (with(&[&OPEN]), Some("no encryption and no authentication")),
        (
            with(&[&OPEN, &TLS]),
            Some("whoever connects may do everything"),
        ),
        (
            with(&[&OPEN, &["--require-token"]]),
            Some("there is no encryption:"),
        ),
        (with(&[&["--grpc-listen", "[::]:1"], &TLS]), Some("[::]:1")),
        (
            with(&[&["--http-listen", "0.0.0.0:2"]]),
            Some("0.0.0.0:2 can be reached by others"),
        ),
        (
            with(&[&["--admin-listen", "0.0.0.0:3"], &TLS, &["--require-token"]]),
            Some("let --admin-listen be an address on 127.0.0.1"),
        ),
        (
            with(&[&["--admin-listen", "0.0.0.0:3", "--insecure"]]),
            None,
        ),
        (with(&[&["--admin-listen", "127.0.0.1:3"]]), None),
        (with(&[&["--admin-listen", "unix:~/admin.sock"]]), None),
        (with(&[&OPEN, &TLS, &["--require-token"]]), None),
        (
            with(&[&OPEN, &TLS, &["--tls-client-ca", "~/cert.pem"]]),
            None,
        ),
        (with(&[&OPEN, &["--insecure"]]), None),
        (
            with(&[&["--grpc-listen", "127.9.9.9:1,[::1]:1,unix:/x"]]),
            None,
        ),
    ] {
        match word {
            None => drop(place.config(&args).await),
            Some(word) => {
                let problem = place.problem(&args).await;
                assert!(problem.contains(word), "{args:?}: {problem}");
                assert!(problem.contains("--insecure"), "{problem}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_closes_the_door() {
    let place = place();
    let file = TokenFile::within(&place.path("state"));
    let args = with(&[&OPEN, &TLS]);
    assert!(place.problem(&args).await.contains("token create"));
    let digest = Digest::of(b"secret");
    file.add("one", &Prefix::everything(), Mode::Full, &digest)
        .unwrap();
    place.config(&args).await;
    assert!(
        place
            .problem(&OPEN)
            .await
            .contains("there is no encryption:")
    );
    // Nobody has one now; the door stays closed.
    file.remove("one").unwrap();
    place.config(&args).await;
    std::fs::write(file.path(), "{").unwrap();
    assert!(place.problem(&args).await.contains("tokens.json"));
}

#[tokio::test]
async fn certificates_are_looked_at() {
    let place = place().file("other.pem", "nonsense");
    for (args, word) in [
        (&["--tls-cert", "~/cert.pem"][..], "--tls-key"),
        (&["--tls-client-ca", "~/cert.pem"], "--tls-cert"),
        (
            &["--tls-cert", "~/other.pem", "--tls-key", "~/key.pem"],
            "no certificate in PEM",
        ),
        (
            &["--tls-cert", "~/cert.pem", "--tls-key", "~/none.pem"],
            "cannot read the private key ~/none.pem",
        ),
    ] {
        let problem = place.problem(args).await;
        assert!(problem.contains(word), "{args:?}: {problem}");
    }
    let config = place.config(&TLS).await;
    assert_eq!(config.tls.unwrap().cert, place.path("cert.pem"));
    let loaded = place
        .load(&with(&[&TLS, &["--grpc-listen", "unix:/x"]]))
        .await;
    assert!(
        loaded.warnings[0].contains("not used"),
        "{:?}",
        loaded.warnings
    );
    let report = loaded.report.to_string();
    assert!(report.contains("tls_key = ") && !report.contains("PRIVATE"));
}

#[tokio::test]
async fn what_a_toml_file_says_of_listeners() {
    let place = place().file(
        "toml",
        "tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\nrequire_token = true\nmax_connections = 9\n",
    );
    let config = place.config(&["--config", "~/toml"]).await;
    assert_eq!(config.tls.unwrap().key, place.path("key.pem"));
    assert_eq!((config.require_token, config.max_connections), (true, 9));
    let zero = place.set("PLUTON_FICHIER_MAX_CONNECTIONS", "0");
    let problem = zero.problem(&[]).await;
    assert!(problem.contains("from 1 to 1000000"), "{problem}");
}

#[tokio::test]
async fn token_commands_find_the_state_of_the_server() {
    let place = Place::new().file("toml", "state_dir = \"there\"\n");
    let resolve = |config: Option<PathBuf>, state_dir: Option<PathBuf>| {
        let environment = place.variables.iter().cloned().collect();
        StateArgs { config, state_dir }.resolve(&environment)
    };
    let toml = Some(place.path("toml"));
    assert_eq!(resolve(toml.clone(), None).unwrap(), place.path("there"));
    assert_eq!(
        resolve(toml, Some("/else".into())).unwrap(),
        Path::new("/else")
    );
    let standard = place.path(".local/state/pluton-fichier");
    assert_eq!(resolve(None, None).unwrap(), standard);
    assert!(resolve(Some("/nonexistent".into()), None).is_err());
}
