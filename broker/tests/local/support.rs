//! What the tests share.

use super::*;

/// Another process of a test: this program again, running that test, which sees in [`child`] what it is.
pub(crate) struct Child {
    process: std::process::Child,
    lines: mpsc::Receiver<(String, String)>,
}

impl Child {
    pub(crate) fn start(test: &str, folder: &Path, number: u64) -> Self {
        Self::begin(Command::new(std::env::current_exe().unwrap()), test, folder, number)
    }

    /// One that the kernel gives no inotify instance, as when its user has as many as a user may: in a user namespace of its
    /// own, so that nobody else goes without.
    pub(crate) fn without_inotify(test: &str, folder: &Path) -> Self {
        let mut command = Command::new("unshare");
        let limit = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
        command.args(["--user", "--map-root-user", "sh", "-c", limit, "sh"]);
        command.arg(std::env::current_exe().unwrap());
        Self::begin(command, test, folder, 0)
    }

    fn begin(mut command: Command, test: &str, folder: &Path, number: u64) -> Self {
        let mut process = command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env("MANYHANDS_TEST_CHILD", folder)
            .env("MANYHANDS_TEST_NUMBER", number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The rest is what the test harness prints.
                let said = line.strip_prefix("@ ").and_then(|line| line.split_once(' '));
                let Some((word, rest)) = said else { continue };
                if sender.send((word.to_owned(), rest.to_owned())).is_err() {
                    break;
                }
            }
        });
        Self { process, lines }
    }

    /// The next thing it says; `None` after the last one.
    pub(crate) fn line(&self) -> Option<(String, String)> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => unreachable!("the child says nothing for {PATIENCE:?}"),
        }
    }

    /// The next thing it says, which must begin with this word.
    pub(crate) fn hear(&self, word: &str) -> Option<String> {
        self.line().filter(|(found, _)| found == word).map(|(_, rest)| rest)
    }

    /// SIGKILL, and returns when it is dead.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In a child: the directory that it works on, and its number. `None` in the test that starts it.
pub(crate) fn child() -> Option<(PathBuf, u64)> {
    let folder = std::env::var_os("MANYHANDS_TEST_CHILD")?;
    let number = std::env::var("MANYHANDS_TEST_NUMBER").unwrap();
    Some((folder.into(), number.parse().unwrap()))
}

/// In a child: tells the parent. One write, begun on a line of its own, and out before this returns.
pub(crate) fn say(word: &str, what: impl std::fmt::Display) {
    let line = format!("\n@ {word} {what}\n");
    let mut output = std::io::stdout().lock();
    output.write_all(line.as_bytes()).unwrap();
    output.flush().unwrap();
}

/// xorshift: chance that is the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A session as users open it, under the real clock.
pub(crate) async fn session(folder: &Path) -> Result<Arc<dyn Broker>, Error> {
    let url: BrokerUrl = format!("local:{}", folder.display()).parse()?;
    connect(&url).await
}

pub(crate) async fn session_at(folder: &Path, clock: impl Clock) -> Arc<dyn Broker> {
    let config = LocalConfig::new(folder, Namespace::default()).with_clock(Arc::new(clock));
    Arc::new(Guard::new(LocalBroker::open(config).await.unwrap()))
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// Enqueues tasks under given ids, all of which must be new.
pub(crate) async fn enqueue(
    broker: &dyn Broker,
    q: &QueueName,
    ids: &[impl AsRef<str>],
) -> Result<(), Error> {
    let task = |id: &str| {
        let task = NewTask::new(q.clone(), TaskName::new("work").unwrap(), Payload::encode(id).unwrap());
        task.with_id(TaskId::new(id).unwrap())
    };
    let tasks: Vec<NewTask> = ids.iter().map(|id| task(id.as_ref())).collect();
    let answers = broker.enqueue(&tasks, None).await?;
    assert_eq!(answers, vec![Enqueued::Enqueued; tasks.len()]);
    Ok(())
}

pub(crate) async fn settle(broker: &dyn Broker, task: &ClaimedTask, end: End) -> Settled {
    broker.settle(&[Settlement::new(task.lease.clone(), end)]).await.unwrap()[0]
}

pub(crate) fn complete() -> End {
    End::complete(Vec::new())
}

/// Ready, scheduled, leased, dead; zeros for a queue that does not exist.
pub(crate) async fn counts(broker: &dyn Broker, q: &QueueName) -> [u64; 4] {
    let status = broker.status(q).await.unwrap();
    status.map_or([0; 4], |status| [status.ready, status.scheduled, status.leased, status.dead])
}

/// Whatever happened, the tables are whole.
pub(crate) async fn whole(broker: &dyn Broker) {
    let report = broker.fsck().unwrap().fsck(false).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// Waits until the queue, where there is one, stands as the test says.
pub(crate) async fn until(
    broker: &dyn Broker,
    q: &QueueName,
    stands: impl Fn(&QueueStatus) -> bool,
) -> QueueStatus {
    let wait = async {
        loop {
            let changed = broker.wait(std::slice::from_ref(q));
            let status = broker.declare(q, None).await.unwrap();
            if stands(&status) {
                return status;
            }
            // Whether it was the hint or the time-out does not matter: both ask again.
            let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the queue comes to stand as it should")
}

/// Waits until a file is gone, of which no event of the broker tells.
pub(crate) async fn gone(file: &Path) {
    let wait = async {
        let mut look = tokio::time::interval(LOOK);
        while file.exists() {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the file goes away");
}
