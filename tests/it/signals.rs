//! The second signal ends the process, whatever its threads do. In real time,
//! with real processes: the program itself, and this one as its own child.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use pluton_fichier::signals::Signals;
use rustix::process::{Pid, Signal, kill_process};

const PAIRS: [(Signal, Signal); 4] = [
    (Signal::TERM, Signal::TERM),
    (Signal::TERM, Signal::INT),
    (Signal::INT, Signal::TERM),
    (Signal::INT, Signal::INT),
];

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Killed {
    fn send(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).unwrap();
    }

    /// How it ended, if it has within this time.
    async fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let since = std::time::SystemTime::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return Some(status);
            }
            if since.elapsed().unwrap() > within {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A moment after a signal it is still there.
    async fn stays(&mut self) {
        let ended = self.ended(Duration::from_millis(1_500)).await;
        assert_eq!(ended, None, "the first signal waits");
    }

    /// The promise is a second; a machine that is busy may need longer to tell.
    async fn ends_at_once(&mut self) {
        let ended = self.ended(Duration::from_secs(10)).await;
        let ended = ended.expect("a second signal ends it");
        assert_eq!((ended.code(), ended.signal()), (Some(1), None));
    }
}

fn start(words: &[&str]) -> (Killed, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_pluton-fichier"))
        .args(["serve", "--grpc-listen", "127.0.0.1:0"])
        .args(["--shutdown-grace", "60", "--state-dir"])
        .arg(state.path())
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (Killed(child), state)
}

fn server(words: &[&str]) -> (Killed, tempfile::TempDir) {
    start(&[&["--emulator"], words].concat())
}

/// The address in its ready line.
fn ready(child: &mut Killed) -> String {
    let mut line = String::new();
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    ready["address"].as_str().unwrap().to_owned()
}

/// Nobody reads its log, so that each thread that has something to say waits for
/// ever. That is what a busy thread looks like from outside.
#[tokio::test]
async fn a_second_signal_ends_a_server_whose_threads_are_all_held_up() {
    for (first, second) in PAIRS {
        let (mut child, _state) = server(&["--log", "trace"]);
        let address = ready(&mut child);
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let client = crate::harness::Client::new(endpoint.unwrap().connect_lazy());
        // Until no call is answered any more.
        let mut held_up = false;
        for _ in 0..10_000 {
            let asked = pluton_fichier::proto::GetInfoRequest {};
            let mut client = client.clone();
            let call = client.get_info(asked);
            if tokio::time::timeout(Duration::from_secs(3), call)
                .await
                .is_err()
            {
                held_up = true;
                break;
            }
        }
        assert!(held_up, "the pipe of the log holds it up");
        child.send(first);
        child.stays().await;
        child.send(second);
        child.ends_at_once().await;
    }
}

/// The same for one that is well, which then says so.
#[tokio::test]
async fn a_second_signal_ends_a_server_that_waits_for_an_upload() {
    for (first, second) in PAIRS {
        let (mut child, _state) = server(&[]);
        let address = ready(&mut child);
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let mut client = crate::harness::Client::new(endpoint.unwrap().connect().await.unwrap());
        let begin = crate::harness::header("f");
        let begin =
            crate::harness::message(pluton_fichier::proto::put_request::Payload::Header(begin));
        let (sender, messages) = tokio::sync::mpsc::channel(1);
        sender.send(begin).await.unwrap();
        let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
        let upload = tokio::spawn(async move { client.put(messages).await.map(drop) });
        tokio::time::sleep(Duration::from_millis(500)).await;
        child.send(first);
        child.stays().await;
        child.send(second);
        child.ends_at_once().await;
        let mut log = String::new();
        child
            .0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        assert!(log.contains("stopped at once"), "{log}");
        drop(sender);
        upload.await.unwrap().unwrap_err();
    }
}

/// A server that has nothing to wait for ends with the first one.
#[tokio::test]
async fn the_first_signal_ends_a_server_that_is_idle() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut child, _state) = server(&[]);
        ready(&mut child);
        child.send(signal);
        let ended = child.ended(Duration::from_secs(10)).await;
        assert_eq!(ended.unwrap().code(), Some(0));
    }
}

/// Also one that comes before it is ready, while it waits for a command.
#[tokio::test]
async fn a_signal_before_the_server_is_ready_ends_it() {
    let sealed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/rclone-encrypted.conf"
    );
    for signal in [Signal::TERM, Signal::INT] {
        let home = tempfile::tempdir().unwrap();
        let (begun, slow) = (home.path().join("begun"), home.path().join("slow.sh"));
        let script = format!("touch {}\nexec sleep 20\n", begun.display());
        std::fs::write(&slow, script).unwrap();
        let (mut child, _state) = start(&[
            "--rclone-config",
            sealed,
            "--remote",
            "fich",
            "--password-command",
            &format!("sh {}", slow.display()),
        ]);
        for _ in 0..3_000 {
            if begun.exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(begun.exists(), "it asks for the password");
        child.send(signal);
        let ended = child.ended(Duration::from_secs(10)).await;
        assert_eq!(ended.expect("it ends").code(), Some(0));
    }
}

/// What `child` does, by the variable.
const AS: &str = "PLUTON_FICHIER_TEST_SIGNALS";

/// Not a test of its own: what the process does that the tests below start.
#[test]
#[ignore = "the child of another test"]
fn child() {
    let Ok(kind) = std::env::var(AS) else { return };
    let mut signals = Signals::take_over().unwrap();
    println!("child ready");
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    match kind.as_str() {
        // The only thread of the runtime is busy.
        "busy" => runtime().block_on(async {
            loop {
                std::hint::spin_loop();
            }
        }),
        // There is no runtime yet.
        "early" => loop {
            std::hint::spin_loop();
        },
        // What came before there was one is known.
        "late" => {
            let until = std::time::SystemTime::now() + Duration::from_secs(2);
            while std::time::SystemTime::now() < until {
                std::hint::spin_loop();
            }
            runtime().block_on(signals.came(1));
            println!("child has seen it");
            std::process::exit(0);
        }
        kind => panic!("{kind}"),
    }
}

fn start_child(kind: &str) -> Killed {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "signals::child", "--ignored", "--nocapture"])
        .env(AS, kind)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Killed(child.unwrap());
    let stdout = BufReader::new(child.0.stdout.as_mut().unwrap());
    let mut lines = stdout.lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("child ready")));
    child
}

#[tokio::test]
async fn a_second_signal_ends_a_process_with_a_busy_runtime_or_without_one() {
    for kind in ["busy", "early"] {
        for (first, second) in PAIRS {
            let mut child = start_child(kind);
            child.send(first);
            child.stays().await;
            child.send(second);
            child.ends_at_once().await;
        }
    }
}

#[tokio::test]
async fn a_signal_before_the_runtime_is_not_lost() {
    let mut child = start_child("late");
    child.send(Signal::TERM);
    let ended = child.ended(Duration::from_secs(10)).await;
    assert_eq!(ended.expect("it ends").code(), Some(0));
}
