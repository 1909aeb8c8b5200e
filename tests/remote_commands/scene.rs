//! The programs of a scene: a front, its workers, and callers that speak its protocol in words of their own.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use manyhands::{Broker, BrokerExt, QueueName};
use manyhands_test_support::{
    example,
    kill::{self, Signal, Watch},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long anything may take. Only what is broken takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The example, on its own.
pub(crate) fn program() -> Command {
    let mut command = Command::new(example("remote_commands"));
    command.stdin(Stdio::null()).env_remove("MANYHANDS_BROKER");
    command
}

/// One process of the example.
pub(crate) struct Role {
    child: Child,
    /// The first line that it printed.
    line: String,
}

impl Role {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, line: line.trim_end().to_owned() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill::send(self.pid(), signal).unwrap();
    }

    /// Waits for its end, and returns its exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        Watch::open(self.pid()).and_then(|watch| watch.end(PATIENCE)).unwrap();
        self.child.wait().unwrap().code()
    }

    /// What it has in memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    }

    /// How many files without names it has open.
    pub(crate) fn files_without_names(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let names = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        names.filter(|name| name.to_string_lossy().ends_with("(deleted)")).count()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A front over a broker, and a folder for what commands write.
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    url: String,
    pub(crate) front: Role,
    /// Where callers connect, and where workers bring answers.
    pub(crate) address: SocketAddr,
    pub(crate) answers: SocketAddr,
    pub(crate) broker: Arc<dyn Broker>,
}

/// The commands of tests, besides `seq` and `upper`. `$1` is the folder.
///
/// `gated` writes half of its output, says who it is, and goes on when it is let. `endless` has a child, says who both are, and does
/// not end while anybody waits. Both come to an end where a test fails.
const SCRIPTS: [(&str, &str); 2] = [
    (
        "gated",
        "seq 1 100000; echo $$ $PPID >> $1/begun; while [ -e $1/begun ] && [ ! -e $1/go ]; do sleep 0.02; done; seq 100001 200000",
    ),
    ("endless", "echo on and on; sleep 300 & echo $$ $! >> $1/begun; wait"),
];

impl Scene {
    /// Starts a front on free ports, with the list of the tests.
    pub(crate) async fn new(url: &str, args: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A list may have a shell in it; a request cannot.
        let of = |script: &str| json!({ "program": "sh", "first": ["-c", script, "sh", folder.path()] });
        let mut list: Value = SCRIPTS.iter().map(|(name, script)| (*name, of(script))).collect();
        list["seq"] = json!({ "program": "seq", "most": 2, "characters": "0123456789" });
        list["upper"] = json!({ "program": "tr", "first": ["a-z", "A-Z"], "input": true });
        list["missing"] = json!({ "program": "there-is-no-such-program" });
        std::fs::write(folder.path().join("list.json"), list.to_string()).unwrap();
        let list = folder.path().join("list.json");
        Self::with(url, folder, Some(&list), args).await
    }

    /// The same with another list, or with the example's own.
    pub(crate) async fn with(url: &str, folder: TempDir, list: Option<&Path>, args: &str) -> Self {
        let mut command = program();
        command.args(["--broker", url, "front", "--listen", "127.0.0.1:0"]).args(args.split_whitespace());
        if let Some(list) = list {
            command.arg("--commands").arg(list);
        }
        let front = Role::start(&mut command);
        let line = front.line.strip_prefix("listening on ").expect(&front.line);
        let (address, answers) = line.split_once(", for answers on ").expect(line);
        let (address, answers) = (address.parse().unwrap(), answers.parse().unwrap());
        let broker = manyhands::connect(&url.parse().unwrap()).await.unwrap();
        Self { folder, url: url.to_owned(), front, address, answers, broker }
    }

    /// Over a store in a folder of its own.
    pub(crate) async fn local(args: &str) -> (Self, TempDir) {
        let store = tempfile::tempdir().unwrap();
        (Self::new(&format!("local:{}", store.path().display()), args).await, store)
    }

    /// Starts a worker with the front's list.
    pub(crate) fn worker(&self, args: &str) -> Role {
        self.worker_with(Some(&self.folder.path().join("list.json")), args)
    }

    pub(crate) fn worker_with(&self, list: Option<&Path>, args: &str) -> Role {
        let mut command = program();
        command.args(["--broker", &self.url, "worker"]).args(args.split_whitespace());
        if let Some(list) = list {
            command.arg("--commands").arg(list);
        }
        let worker = Role::start(&mut command);
        assert!(worker.line.starts_with("working"), "{}", worker.line);
        worker
    }

    pub(crate) async fn connect(&self) -> Caller {
        Caller(TcpStream::connect(self.address).await.unwrap())
    }

    /// Waits until so many commands said that they have begun, and returns the two pids of each.
    pub(crate) async fn begun(&self, commands: usize) -> Vec<[u32; 2]> {
        let path = self.folder.path().join("begun");
        until(&format!("{commands} commands begin"), async || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let pids = |line: &str| {
                let (one, other) = line.split_once(' ')?;
                Some([one.parse().ok()?, other.parse().ok()?])
            };
            let begun: Vec<_> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
            (begun.len() >= commands).then(|| begun.iter().filter_map(|line| pids(line.trim())).collect())
        })
        .await
    }

    pub(crate) fn nothing_has_begun(&self) {
        assert!(!self.folder.path().join("begun").exists(), "something was run");
    }

    /// Lets the gated commands go on.
    pub(crate) fn open_the_gate(&self) {
        std::fs::write(self.folder.path().join("go"), "").unwrap();
    }

    /// Waits until nothing is unsettled.
    pub(crate) async fn ends_clean(&self) {
        self.broker.join(&queue(), Some(PATIENCE)).await.unwrap();
    }
}

/// Asks again and again, where nobody tells: of files that commands write, or that a process has open.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// Watches the processes of these pids, while they are there.
pub(crate) fn watch(pids: impl IntoIterator<Item = u32>) -> Vec<Watch> {
    pids.into_iter().map(|pid| Watch::open(pid).unwrap()).collect()
}

pub(crate) fn all_end(watches: &[Watch]) {
    watches.iter().for_each(|watch| watch.end(PATIENCE).unwrap());
}

pub(crate) fn queue() -> QueueName {
    QueueName::new("commands").unwrap()
}

/// A connection to a front, of a caller or of a worker.
pub(crate) struct Caller(pub(crate) TcpStream);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) head: Value,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Reply {
    /// Why something was not run: under `refused`, `late` or `failed`.
    pub(crate) fn why(&self, what: &str) -> &str {
        assert!(self.stdout.is_empty() && self.stderr.is_empty());
        self.head[what].as_str().unwrap_or_else(|| panic!("not {what}: {}", self.head))
    }

    /// Fails unless it is all numbers up to this one, and returns how often they were begun.
    pub(crate) fn counts_to(&self, last: usize) -> u64 {
        let ran = &self.head["ran"];
        assert!(ran["exit_code"] == 0 && self.stderr.is_empty(), "{}", self.head);
        let expected: String = (1..=last).map(|n| format!("{n}\n")).collect();
        assert!(self.stdout == expected.as_bytes(), "other bytes than those up to {last}: {}", self.head);
        ran["runs"].as_u64().unwrap()
    }
}

impl Caller {
    pub(crate) async fn say(&mut self, frame: impl AsRef<[u8]>) {
        let bytes = u32::try_from(frame.as_ref().len()).unwrap().to_be_bytes();
        self.0.write_all(&[&bytes, frame.as_ref()].concat()).await.unwrap();
    }

    pub(crate) async fn head(&mut self) -> Value {
        let read = async {
            let bytes = self.0.read_u32().await.expect("there is an answer");
            serde_json::from_slice(&self.bytes(u64::from(bytes)).await).unwrap()
        };
        timeout(PATIENCE, read).await.expect("it is answered in time")
    }

    async fn bytes(&mut self, bytes: u64) -> Vec<u8> {
        let mut read = Vec::new();
        (&mut self.0).take(bytes).read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len() as u64, bytes, "it is cut off");
        read
    }

    /// Reads all of an answer.
    pub(crate) async fn reply(&mut self) -> Reply {
        let head = self.head().await;
        let size = |what: &str| head["ran"][what].as_u64().unwrap_or_default();
        let stdout = self.bytes(size("stdout")).await;
        Reply { stderr: self.bytes(size("stderr")).await, stdout, head }
    }

    pub(crate) async fn ask(&mut self, request: Value) -> Reply {
        self.say(request.to_string()).await;
        self.reply().await
    }

    /// Fails unless the other side has closed it, after what was read.
    pub(crate) async fn is_closed(&mut self) {
        let read = timeout(PATIENCE, self.0.read(&mut [0])).await.expect("it is closed");
        assert_eq!(read.unwrap(), 0, "there is more");
    }
}
