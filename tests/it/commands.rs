//! The program as people use it: its client commands against a server, as
//! processes, in real time.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use pluton_fichier::emulator::FaultKind;
use pluton_fichier::proto::GetActivityRequest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::harness::*;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pluton-fichier");

/// What a command printed, and how it ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// One document for each line.
    fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{self:?}"));
        self.out.lines().map(parse).collect()
    }

    fn summary(&self) -> Value {
        self.lines().pop().unwrap_or_else(|| panic!("{self:?}"))["summary"].take()
    }
}

fn start(world: &World, words: &[&str]) -> Child {
    let server = world.server.as_ref().unwrap().addresses()[0].to_string();
    Command::new(PROGRAM)
        .args(words)
        .args(["--server", &server])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn end(child: Child) -> Ran {
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.signal(), None, "it ends by itself");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn run(world: &World, words: &[&str]) -> Ran {
    end(start(world, words)).await
}

/// What Ctrl-C does.
fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
}

/// Waits for something that comes by itself.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..6_000 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come");
}

/// Relative paths with their contents; of directories there is none.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap();
            let content = path.is_file().then(|| fs::read(&path).unwrap());
            found.insert(name.to_owned(), content);
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

const NAMES: [&str; 20] = [
    "plain.txt",
    " leading",
    "trailing ",
    "trailing.",
    ".hidden",
    "-dash",
    "~",
    "...",
    "quo\"te'",
    "back\\slash",
    "new\nline",
    "tab\tand\u{7f}",
    "dollar$",
    "per%20cent+&",
    "*?<>|:",
    "ünï-中-😀",
    "u\u{308}",
    "／＄",
    "a.part",
    "ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé",
];

#[tokio::test]
async fn a_directory_comes_back_as_it_went() {
    let world = unlimited().await;
    let local = tempfile::tempdir().unwrap();
    let (from, to) = (local.path().join("from"), local.path().join("to"));
    fs::create_dir_all(from.join("deep/er")).unwrap();
    fs::create_dir_all(from.join("empty one/ inside ")).unwrap();
    for (size, name) in NAMES.iter().enumerate() {
        fs::write(from.join(name), content(size + 1)).unwrap();
        fs::write(from.join("deep/er").join(name), content(300_000 + size)).unwrap();
        fs::create_dir(from.join("deep").join(name)).unwrap();
    }
    fs::write(from.join(OsStr::from_bytes(b"\xfe\x80")), "no text").unwrap();
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let up = ["put", "-r", from, "backup", "--json", "--transfers", "8"];
    let stored = run(&world, &up).await;
    assert_eq!(stored.code, Some(0), "{stored:?}");
    assert_eq!(stored.summary()["transferred"], 41);
    assert_eq!(world.stored().len(), 41);
    let down = ["get", "-r", "backup", to, "--json", "--transfers", "8"];
    let saved = run(&world, &down).await;
    assert_eq!(saved.code, Some(0), "{saved:?}");
    assert_eq!(tree(Path::new(to)), tree(Path::new(from)));
    let modified = |path: &Path| path.metadata().unwrap().modified().unwrap();
    let uploaded = world.stat("backup/plain.txt").await.unwrap().modify_time;
    let uploaded = Duration::from_secs(uploaded.unwrap().seconds as u64);
    let time = modified(&Path::new(to).join("plain.txt"));
    assert_eq!(time, SystemTime::UNIX_EPOCH + uploaded);

    // What is there already costs nothing, neither way.
    world.control.reset_calls();
    for (words, at_all) in [(&up, "put"), (&down, "get")] {
        let again = run(&world, words).await;
        assert_eq!(again.code, Some(0), "{again:?}");
        let summary = again.summary();
        assert_eq!(
            (&summary["transferred"], &summary["unchanged"]),
            (&0.into(), &41.into()),
            "{at_all}"
        );
    }
    assert_eq!(world.control.calls().iter().count(), 0);
    let drawn = run(&world, &["tree", "backup/deep", "--max-depth", "1"]).await;
    assert!(
        drawn.out.ends_with("21 directories, 0 files, 0 B\n"),
        "{drawn:?}"
    );
}

/// By endpoint: what was called since it was asked for last.
fn calls(world: &World) -> Vec<(String, u64)> {
    let calls = world.control.calls();
    world.control.reset_calls();
    calls
        .iter()
        .map(|(endpoint, count)| (endpoint.to_owned(), count))
        .collect()
}

#[tokio::test]
async fn commands_cost_no_more_than_their_calls() {
    let mut world = unlimited().await;
    let local = tempfile::tempdir().unwrap();
    let file = local.path().join("f");
    let file = file.to_str().unwrap();
    fs::write(file, content(1_000)).unwrap();
    // The looks before it find out nothing that the write does not need.
    world.control.reset_calls();
    world.put("plain/f", &content(1_000)).await.unwrap();
    let plain = calls(&world);
    assert_eq!(run(&world, &["put", file, "new/f"]).await.code, Some(0));
    let put = calls(&world);
    // The root was listed for the first one.
    let without = |endpoint: &str, calls: &[(String, u64)]| -> Vec<_> {
        let others = calls.iter().filter(|(name, _)| name != endpoint);
        others.cloned().collect()
    };
    assert_eq!(without("folder/ls", &put), without("folder/ls", &plain));
    assert!(
        put.iter().map(|(_, count)| count).sum::<u64>()
            <= plain.iter().map(|(_, count)| count).sum()
    );
    world.restart().await;
    calls(&world);
    world.get("new/f").await.unwrap();
    let plain = calls(&world);
    world.restart().await;
    calls(&world);
    fs::remove_file(file).unwrap();
    assert_eq!(run(&world, &["get", "new/f", file]).await.code, Some(0));
    assert_eq!(calls(&world), plain);
}

#[tokio::test]
async fn each_of_several_files_with_one_path_is_at_hand() {
    let world = unlimited().await;
    let local = tempfile::tempdir().unwrap();
    let file = local.path().join("f");
    let path = file.to_str().unwrap();
    for size in [100, 200] {
        fs::write(&file, content(size)).unwrap();
        let stored = run(&world, &["put", path, "f", "--keep-both"]).await;
        assert_eq!(stored.code, Some(0), "{stored:?}");
    }
    let listed = run(&world, &["ls", "--duplicates", "--json"]).await.lines();
    assert_eq!(
        (&listed[0]["size"], &listed[1]["size"]),
        (&200.into(), &100.into())
    );
    let older = listed[1]["etag"].as_str().unwrap();
    let words = ["get", "f", path, "--update", "--if-match", older, "--json"];
    let saved = run(&world, &words).await;
    assert_eq!(saved.code, Some(0), "{saved:?}");
    assert_eq!(saved.lines()[0]["entry"]["size"], 100);
    assert_eq!(fs::read(&file).unwrap(), content(100));
    let newest = run(&world, &["get", "f", path, "--update"]).await;
    assert_eq!(newest.code, Some(0), "{newest:?}");
    assert_eq!(fs::read(&file).unwrap(), content(200));
}

#[tokio::test]
async fn an_interrupted_get_goes_on() {
    let world = unlimited().await;
    let data = content(4 << 20);
    world.put("d/large", &data).await.unwrap();
    let local = tempfile::tempdir().unwrap();
    let to = local.path().to_str().unwrap();
    world.fail("download", 1, FaultKind::Hang);
    let getting = start(&world, &["get", "-r", "d", to]);
    let part = || {
        let files = tree(local.path());
        files.into_iter().find_map(|(name, content)| {
            let name = name.to_str().unwrap().to_owned();
            let is_part = name.starts_with(".large.") && name.ends_with(".part");
            is_part.then_some((name, content))
        })
    };
    until("the first half", async || {
        part().is_some_and(|(_, content)| content.unwrap().len() >= 1 << 20)
    })
    .await;
    interrupt(&getting);
    let stopped = end(getting).await;
    assert_eq!(stopped.code, Some(130), "{stopped:?}");
    let (name, kept) = part().unwrap();
    let kept = kept.unwrap();
    assert_eq!(kept, data[..kept.len()]);
    let told = format!("interrupted; what has come is kept in {to}/{name}");
    assert!(stopped.err.contains(&told), "{stopped:?}");

    let done = run(&world, &["get", "d/large", to, "--json"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let document = done.lines().remove(0);
    assert_eq!(document["bytes"], data.len() - kept.len(), "only the rest");
    assert_eq!(document["verified"], true);
    let expected = BTreeMap::from([(PathBuf::from("large"), Some(data))]);
    assert_eq!(tree(local.path()), expected);
}

#[tokio::test]
async fn an_interrupted_put_stores_nothing() {
    let world = unlimited().await;
    let mut putting = start(&world, &["put", "-", "x"]);
    let mut input = putting.stdin.take().unwrap();
    input.write_all(&content(1 << 20)).await.unwrap();
    until("the upload", async || {
        let request = GetActivityRequest::default();
        let activity = world.client.clone().get_activity(request).await.unwrap();
        !activity.into_inner().transfers.is_empty()
    })
    .await;
    interrupt(&putting);
    let stopped = end(putting).await;
    assert_eq!(stopped.code, Some(130), "{stopped:?}");
    assert_eq!(stopped.err, "error: interrupted\n");
    drop(input);
    assert!(world.stored().is_empty());
}

#[tokio::test]
async fn one_that_fails_leaves_the_others() {
    let world = unlimited().await;
    let local = tempfile::tempdir().unwrap();
    let from = local.path().join("from");
    fs::create_dir(&from).unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        fs::write(from.join(name), content(1_000)).unwrap();
    }
    fs::write(from.join("none"), "").unwrap();
    let from = from.to_str().unwrap();
    let stored = run(&world, &["put", "-r", from, "d"]).await;
    assert_eq!(stored.code, Some(5), "{stored:?}");
    assert!(
        stored.err.contains("d/none") && stored.err.contains("[EMPTY_FILE]"),
        "{stored:?}"
    );
    assert!(stored.out.contains("stored 5 files"), "{stored:?}");
    for url in world.urls("d/c") {
        world.control.corrupt_file(&url);
    }
    let to = local.path().join("to");
    let words = ["get", "-r", "d", to.to_str().unwrap(), "--json"];
    let saved = run(&world, &words).await;
    assert_eq!(saved.code, Some(8), "{saved:?}");
    assert_eq!(saved.summary()["transferred"], 4, "{saved:?}");
    let failed: Vec<_> = saved
        .lines()
        .into_iter()
        .filter(|line| line["status"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["path"], "d/c");
    let names: Vec<_> = tree(&to).into_keys().collect();
    assert_eq!(
        names,
        ["a", "b", "d", "e"].map(PathBuf::from),
        "nothing is left of the bad one"
    );
}

#[tokio::test]
async fn activity_is_shown_until_it_is_interrupted() {
    let world = unlimited().await;
    let watch = ["activity", "--watch=200ms", "--json"];
    let mut watching = start(&world, &watch);
    let out = watching.stdout.take().unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(out));
    for _ in 0..3 {
        let line = lines.next_line().await.unwrap().unwrap();
        let document: Value = serde_json::from_str(&line).unwrap();
        assert!(document["budgets"].is_array(), "{line}");
    }
    interrupt(&watching);
    assert_eq!(end(watching).await.code, Some(130));
}

#[tokio::test]
async fn completions_manual_and_help_tell_every_command() {
    let print = async |words: &[&str]| {
        let output = Command::new(PROGRAM).args(words).output().await.unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let help = print(&["--help"]).await;
    assert!(help.contains("130  stopped by Ctrl-C"), "{help}");
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = print(&["completions", shell]).await;
        for part in ["healthcheck", "purge", "transfers", "retry-wait"] {
            assert!(script.contains(part), "{part} for {shell}");
        }
    }
    let page = print(&["man"]).await;
    assert!(
        page.contains(".TH") && page.contains("healthcheck"),
        "{page}"
    );
    let page = print(&["man", "put"]).await;
    assert!(
        page.contains("transfers") && page.contains("Exit codes"),
        "{page}"
    );
    let unknown = Command::new(PROGRAM).args(["man", "none"]).output().await;
    assert_eq!(unknown.unwrap().status.code(), Some(1));
}
