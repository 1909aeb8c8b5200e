//! A folder with a configuration file, scripts and a store in it, and the programs that run there.

#![allow(dead_code, reason = "each test that includes this uses its part of it")]

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use manyhands::{Broker, QueueName, QueueStatus};
use manyhands_test_support::kill::{self, Signal, Watch};
use tempfile::TempDir;

/// How long anything may take. Only what is broken takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where programs run.
pub(crate) struct Place(TempDir);

impl Place {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A folder with a configuration file.
    pub(crate) fn with(configuration: &str) -> Self {
        let place = Self::new();
        place.write("manyhands.toml", configuration);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A file that can be run.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub(crate) fn url(&self) -> String {
        format!("local:{}", self.path("store").display())
    }

    /// One of our programs, with neither the user's broker nor the user's folders.
    pub(crate) fn program(&self, name: &str) -> Command {
        let path = match name {
            "producer" => env!("CARGO_BIN_EXE_producer"),
            "worker" => env!("CARGO_BIN_EXE_worker"),
            "manyhands" => env!("CARGO_BIN_EXE_manyhands"),
            other => panic!("there is no program {other}"),
        };
        let mut command = Command::new(path);
        command.current_dir(self.0.path()).env("MANYHANDS_BROKER", self.url());
        command.env("XDG_CONFIG_HOME", self.path("nothing")).env("XDG_DATA_HOME", self.path("data"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a program to its end: its exit code, what it printed, and what it said.
    pub(crate) fn run(&self, name: &str, args: &[&str]) -> (Option<i32>, String, String) {
        told(self.program(name).args(args).output().unwrap())
    }

    pub(crate) fn worker(&self, args: &[&str]) -> Worker {
        Worker::start(self.program("worker").args(args))
    }

    /// Sends a task and waits for its result: the exit code, and the result or what is said instead.
    pub(crate) fn ask(&self, task: &str, payload: &str) -> (Option<i32>, String) {
        let (code, out, err) = self.run(
            "producer",
            &["send", task, payload, "--wait", "50s", "--max-attempts", "1", "--max-crashes", "1"],
        );
        (code, if code == Some(0) { out } else { err })
    }

    /// Looks at the store from here.
    pub(crate) fn look<F: Future>(&self, look: impl FnOnce(std::sync::Arc<dyn Broker>) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = self.url().parse().unwrap();
        runtime.block_on(async { look(manyhands::connect(&url).await.unwrap()).await })
    }

    pub(crate) fn status(&self, queue: &str) -> QueueStatus {
        let queue = QueueName::new(queue).unwrap();
        self.look(|broker| async move { broker.status(&queue).await.unwrap().unwrap() })
    }

    /// The workers that tell of themselves, as `manyhands workers` lists them.
    pub(crate) fn live_workers(&self) -> Vec<serde_json::Value> {
        let (code, out, said) = self.run("manyhands", &["workers", "--json"]);
        assert_eq!(code, Some(0), "{said}");
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn fsck(&self) {
        let (code, out, err) = self.run("manyhands", &["fsck"]);
        assert_eq!(code, Some(0), "{out}{err}");
    }

    /// Waits until a file is there and ends with a line's end, and returns what is in it.
    pub(crate) fn told(&self, name: &str) -> String {
        let path = self.path(name);
        let patience = std::time::Instant::now() + PATIENCE;
        loop {
            match std::fs::read_to_string(&path) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => assert!(std::time::Instant::now() < patience, "{} is not written", path.display()),
            }
            std::thread::yield_now();
        }
    }
}

pub(crate) fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A worker that runs, and what it says.
pub(crate) struct Worker {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: String,
}

impl Worker {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said: String::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says a line with this in it.
    pub(crate) fn says(&mut self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|e| panic!("it does not say {part:?}: {e}\n{}", self.said));
            self.said.push_str(&line);
            self.said.push('\n');
            if line.contains(part) {
                return line;
            }
        }
    }

    /// The processes that it started, those that they started, and so on, to be watched.
    pub(crate) fn family(&self) -> Vec<Watch> {
        kill::descendants(self.pid()).into_iter().filter_map(|pid| Watch::open(pid).ok()).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill::send(self.pid(), signal).unwrap();
    }

    /// Waits for its end; its exit code and all that it said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        Watch::open(self.pid()).and_then(|watch| watch.end(PATIENCE)).unwrap();
        let code = self.child.wait().unwrap().code();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        (code, std::mem::take(&mut self.said))
    }

    pub(crate) fn stop(self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        self.end()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until processes have ended that are not ours.
pub(crate) fn all_end(family: Vec<Watch>) {
    assert!(!family.is_empty());
    family.into_iter().for_each(|watch| watch.end(PATIENCE).unwrap());
}

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
