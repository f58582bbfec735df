//! Parsing, paths, sizes and codes.

use std::path::Path;
use std::time::Duration;

use clap::Parser;
use tonic::{Code, Status};

use super::Cli;
use crate::cli::args::{parse_duration, parse_timeout};
use crate::cli::connect::address;
use crate::cli::credentials::may_go_unencrypted;
use crate::cli::exit::{Exit, Problem};
use crate::cli::list::relative;
use crate::cli::part::{Target, There};
use crate::cli::put::destination;
use crate::cli::{ClientCommand, Range, output};
use crate::error::Reason;

fn parse(words: &[&str]) -> Result<ClientCommand, clap::Error> {
    let words = std::iter::once(&"pluton-fichier").chain(words);
    Cli::try_parse_from(words).map(|cli| cli.command)
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    let command = parse(&["ls", "--remote", "r", "--timeout", "90"]).unwrap();
    assert_eq!(command.connect().timeout, Some(Duration::from_secs(90)));
    assert_eq!(command.connect().remote, "r");
    for words in [
        &["ls", "--max-depth", "2"][..],
        &["ls", "-r", "--max-depth", "0"],
        &["ls", "--timeout", "0"],
        &["rm"],
        &["put", "x"],
        &["hash", "x", "--algorithm", "rot13"],
        &["cat", "x", "--range", "-1"],
        &["link"],
        &["link", "x", "--revoke", "--password-file", "y"],
        &["dedupe", "--mode", "largest"],
    ] {
        let error = parse(words).expect_err(&words.join(" "));
        assert_eq!(error.exit_code(), Exit::Usage as i32);
    }
}

#[test]
fn recursive_has_two_letters() {
    for word in ["-r", "-R", "--recursive"] {
        let ls = parse(&["ls", word]).unwrap();
        assert!(
            matches!(ls, ClientCommand::Ls(args) if args.recursive),
            "{word}"
        );
        let dedupe = parse(&["dedupe", word]).unwrap();
        assert!(
            matches!(dedupe, ClientCommand::Dedupe(args) if args.recursive),
            "{word}"
        );
    }
}

#[test]
fn failures_that_agree_have_their_own_code() {
    use Exit::{NotFound, Ok, Other, Permission};
    assert_eq!(Exit::of_all(&[]), Ok);
    assert_eq!(Exit::of_all(&[NotFound]), NotFound);
    assert_eq!(Exit::of_all(&[NotFound, NotFound]), NotFound);
    assert_eq!(Exit::of_all(&[NotFound, NotFound, Permission]), Other);
}

#[test]
fn ranges() {
    let range = |offset, length| Ok(Range { offset, length });
    assert_eq!("5".parse(), range(5, None));
    assert_eq!("5:".parse(), range(5, None));
    assert_eq!("5:7".parse(), range(5, Some(7)));
    for text in [
        "",
        ":",
        "a",
        "1:0",
        "1:x",
        "-1",
        "9223372036854775808",
        "1:2:3",
    ] {
        assert!(text.parse::<Range>().is_err(), "{text}");
    }
}

#[test]
fn durations() {
    assert_eq!(parse_duration("5"), Ok(Duration::from_secs(5)));
    assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
    assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    assert!(parse_duration("-5s").is_err());
    assert!(parse_duration("soon").is_err());
    assert!(parse_timeout("0s").is_err());
    assert_eq!(output::duration(Duration::from_secs(90)), "1m 30s");
}

#[test]
fn addresses() {
    for (given, expected) in [
        ("localhost:1", "http://localhost:1"),
        (":1", "http://127.0.0.1:1"),
        ("[::1]:50051", "http://[::1]:50051"),
        ("http://a:2", "http://a:2"),
        ("https://a:2", "https://a:2"),
        ("unix:/run/s", "unix:///run/s"),
        ("unix:///run/s", "unix:///run/s"),
    ] {
        assert_eq!(address(given).as_deref(), Ok(expected), "{given}");
    }
    for given in [
        "",
        "host",
        "host:",
        "host:99999",
        "https://",
        "ftp://a",
        "unix:",
        "http://",
    ] {
        assert!(address(given).is_err(), "{given}");
    }
}

#[test]
fn a_token_goes_unencrypted_to_this_machine_alone() {
    for address in [
        ":1",
        "localhost:1",
        "LOCALHOST:1",
        "127.8.0.1:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert_eq!(may_go_unencrypted(address), Ok(()), "{address}");
    }
    for address in [
        "storage:1",
        "storage",
        "10.0.0.1:1",
        "0.0.0.0:1",
        "[2001:db8::1]:1",
        "localhost.example.org:1",
        "127.0.0.1.example.org:1",
    ] {
        let problem = may_go_unencrypted(address).unwrap_err();
        assert!(problem.contains(&format!("https://{address}")), "{problem}");
    }
}

#[test]
fn destinations() {
    let to = |remote: &str, local: &str| destination(remote, Path::new(local)).ok();
    assert_eq!(to("/a/b", "x/y").as_deref(), Some("a/b"));
    assert_eq!(to("a/", "x/y").as_deref(), Some("a/y"));
    assert_eq!(to("/", "y").as_deref(), Some("y"));
    assert_eq!(to("a/", "-"), None);
    assert_eq!(to("a/", ".."), None);
    assert_eq!(relative("a/b/c", "a/b"), "c");
    assert_eq!(relative("a/b", ""), "a/b");
    assert_eq!(relative("ab/c", "a"), "ab/c");
}

#[test]
fn targets() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("n");
    let find = |remote, local: &Path| {
        Target::find(remote, Some(local))
            .map(|target| (target.path, target.there))
            .map_err(|problem| problem.exit)
    };
    let missing = Ok((inside.clone(), There::Nothing));
    assert_eq!(find("d/n", directory.path()), missing);
    assert_eq!(find("d/..", directory.path()), Err(Exit::Usage));
    std::fs::write(&inside, "123").unwrap();
    let inside = inside.canonicalize().unwrap();
    assert_eq!(find("x", &inside), Ok((inside.clone(), There::File(3))));
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&inside, &link).unwrap();
    assert_eq!(
        find("x", &link),
        Ok((inside, There::File(3))),
        "a link stays"
    );
    let null = Path::new("/dev/null");
    assert_eq!(find("x", null), Ok((null.to_owned(), There::Special)));
    let here = Target::find("d/some-name-that-is-not-here", None).unwrap();
    assert_eq!(here.path, Path::new("some-name-that-is-not-here"));
}

#[test]
fn sizes() {
    for (bytes, expected) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        ((1 << 20) - 1, "1.00 MiB"),
        (i64::MAX, "8.00 EiB"),
        (-2048, "-2.00 KiB"),
    ] {
        assert_eq!(output::size(bytes), expected);
    }
}

#[test]
fn what_steers_a_terminal_is_escaped() {
    assert_eq!(output::printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\n");
    assert_eq!(output::printable_name("a\nb é"), "a\\nb é");
}

#[test]
fn exit_codes() {
    for (reason, expected) in [
        (Reason::FileNotFound, Exit::NotFound),
        (Reason::EntryExists, Exit::AlreadyExists),
        (Reason::EtagMismatch, Exit::Precondition),
        (Reason::InvalidPath, Exit::Precondition),
        (Reason::RangeNotSatisfiable, Exit::Precondition),
        (Reason::StorageQuotaExceeded, Exit::Precondition),
        (Reason::SpoolFull, Exit::Unavailable),
        (Reason::UpstreamLocked, Exit::Unavailable),
        (Reason::TokenInvalid, Exit::Permission),
        (Reason::ReadOnly, Exit::Permission),
        (Reason::StoredContentCorrupt, Exit::Corrupt),
        (Reason::CapabilityMissing, Exit::Other),
        (Reason::InternalError, Exit::Other),
    ] {
        let problem = Problem::from(super::fake::status(reason, "x"));
        assert_eq!(problem.exit, expected, "{reason:?}");
        assert_eq!(problem.reason.as_deref(), Some(reason.as_str()));
        let problem = Problem::from(super::fake::failure(reason, "x"));
        assert_eq!(problem.exit, expected, "{reason:?}");
    }
    let plain = Problem::from(Status::unimplemented(""));
    assert_eq!((plain.exit, plain.reason), (Exit::Other, None));
    assert_eq!(plain.message, "the server answered UNIMPLEMENTED");
    assert_eq!(Exit::from_code(Code::DeadlineExceeded), Exit::Unavailable);
}
