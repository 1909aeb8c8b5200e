//! One test under way: who sends, who works, and what they say.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, PipeWriter},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use manyhands::{Client, NewTask, QueueName, Task, TaskId, capabilities::Ids};
use manyhands_broker::crash::Point;
use manyhands_test_support::{
    checker::{self, Pair, Report},
    kill::{self, Signal},
    ledger::{Ledger, Outcome},
};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::{
    insistence::{insist, outcome},
    runtime,
    worker::{BROKER, FOLDER, POINT, Work},
};

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) tasks: usize,
    /// How far ahead of what is done.
    pub(crate) lead: usize,
    /// How many of the last are tasks that never end where they begin first.
    pub(crate) held: usize,
}

/// Workers at a time.
const WORKERS: usize = 3;

/// Where a handler has ended, and the broker was not asked to settle its task. At `handler.handed` it may have been.
const BETWEEN: [Point; 2] = [Point::HandlerEnded, Point::SettlerAsking];

/// How long nobody may finish anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Sends everything, as far ahead as `lead` lets it, and closes the queue. Returns what may be there twice: what was sent again where
/// the broker does not know ids.
async fn produce(url: &str, ledger: &Ledger, lead: &Semaphore, sending: Sending) -> BTreeSet<String> {
    let Sending { tasks, held, .. } = sending;
    let client = insist(async || Client::connect(&url.parse()?).await).await;
    let ids = client.broker().capabilities().ids;
    // Where a call that is made again may double its task, that is done here, where it is noted.
    let client = if ids == Ids::Unknown { client.with_patience(Duration::ZERO) } else { client };
    let mut twins = BTreeSet::new();
    for number in 0..tasks {
        // Closed when nobody is there any more.
        let _ = lead.acquire().await.map(tokio::sync::SemaphorePermit::forget);
        let mut task = NewTask::of(&Work { number, held: number >= tasks - held }).unwrap();
        // However often whoever runs it is killed.
        task.max_crashes = 1000;
        if ids == Ids::Remembered {
            task = task.with_id(TaskId::new(&format!("task-{number}")).unwrap());
        }
        let id = task.id.to_string();
        insist(async || {
            let sent = client.send_task(task.clone()).await;
            let outcome = outcome(&sent);
            ledger.sent(&id, outcome).unwrap();
            if outcome == Outcome::Unknown && ids == Ids::Unknown {
                twins.insert(id.clone());
            }
            sent
        })
        .await;
    }
    insist(async || client.close(&QueueName::new(Work::QUEUE)?).await).await;
    twins
}

/// One test under way.
pub(crate) struct Scene {
    test: &'static str,
    sending: Sending,
    /// For the workers.
    url: String,
    folder: TempDir,
    /// Of what fails.
    pub(crate) ledger: Ledger,
    pub(crate) workers: Vec<Child>,
    /// How many did not say that they ended.
    busy: usize,
    pub(crate) done: BTreeSet<String>,
    /// Tasks that never end, and who runs them.
    pub(crate) held: BTreeMap<String, u32>,
    /// Workers that stand still between the end of a handler and its settlement.
    pub(crate) between: BTreeSet<u32>,
    /// How many workers that are started next do so.
    standing: usize,
    /// What all workers say: one pipe, so it ends with the last of them.
    lines: mpsc::Receiver<String>,
    pipe: Option<PipeWriter>,
    /// How many more tasks may be sent.
    lead: Arc<Semaphore>,
    producer: Option<JoinHandle<BTreeSet<String>>>,
}

impl Scene {
    pub(crate) fn start(test: &'static str, url: &str, senders: &str, sending: Sending) -> Self {
        let mut scene = Self::empty(test, url, senders, sending);
        (0..WORKERS).for_each(|_| scene.start_worker());
        scene
    }

    /// One in which so many workers, one after the other, stand still when a handler has ended.
    pub(crate) fn standing(test: &'static str, url: &str, sending: Sending, standing: usize) -> Self {
        let mut scene = Self::empty(test, url, url, sending);
        scene.standing = standing;
        (0..WORKERS).for_each(|_| scene.start_worker());
        scene
    }

    fn empty(test: &'static str, url: &str, senders: &str, sending: Sending) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), "test").unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
            // The rest is what the test harness prints.
            lines.all(|line| line.strip_prefix('@').is_none_or(|word| sender.send(word.to_owned()).is_ok()))
        });
        let lead = Arc::new(Semaphore::new(sending.lead));
        let sent = Ledger::open(folder.path(), "producer").unwrap();
        let (at, room) = (senders.to_owned(), Arc::clone(&lead));
        let producer = move || runtime().block_on(produce(&at, &sent, &room, sending));
        Self {
            test,
            sending,
            url: url.to_owned(),
            folder,
            ledger,
            workers: Vec::new(),
            busy: 0,
            done: BTreeSet::new(),
            held: BTreeMap::new(),
            between: BTreeSet::new(),
            standing: 0,
            lines,
            pipe: Some(writer),
            lead,
            producer: Some(std::thread::spawn(producer)),
        }
    }

    fn start_worker(&mut self) {
        let mut worker = Command::new(std::env::current_exe().unwrap());
        if let Some(left) = self.standing.checked_sub(1) {
            self.standing = left;
            // Each of the points, at its first passages.
            let place = format!("{}#{}", BETWEEN[left % BETWEEN.len()].name(), 1 + left / BETWEEN.len() % 3);
            worker.env(POINT, place);
        }
        let worker = worker
            .args(["--exact", self.test, "--nocapture", "--test-threads=1"])
            .env(BROKER, &self.url)
            .env(FOLDER, self.folder.path())
            .stdin(Stdio::null())
            .stdout(self.pipe.as_ref().unwrap().try_clone().unwrap())
            .spawn();
        self.workers.push(worker.unwrap());
        self.busy += 1;
    }

    /// Waits for the next word of a worker; false when there are none to come.
    fn hear(&mut self) -> bool {
        let line = match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => return false,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("all stands still: {}", self.check()),
        };
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["done", _, id] => {
                self.lead.add_permits(1);
                self.held.remove(id);
                self.done.insert(id.to_owned());
            }
            ["between", pid, _] => drop(self.between.insert(pid.parse().unwrap())),
            ["held", pid, id] => drop(self.held.insert(id.to_owned(), pid.parse().unwrap())),
            _ => self.busy -= 1,
        }
        true
    }

    /// Waits until enough was said.
    pub(crate) fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            assert!(self.busy > 0, "all ended too early: {}", self.check());
            self.hear();
        }
    }

    /// Lets all go on to their end, and reads what they wrote.
    pub(crate) fn end(mut self) -> Report {
        // The workers have theirs still.
        self.pipe = None;
        while self.hear() {}
        self.lead.close();
        let twins = self.producer.take().unwrap().join().unwrap();
        let mut report = self.check();
        // Two tasks of one id, which nobody can tell from one that is run twice.
        let once = |pair: &Pair| !twins.contains(&pair.first.id);
        for pairs in [&mut report.doubled, &mut report.overlapping, &mut report.stale, &mut report.reused] {
            pairs.retain(once);
        }
        println!("{}: {} may be there twice; the others: {report}", self.test, twins.len());
        if !report.defects().is_empty() {
            self.tell_what_was_written(&report);
        }
        assert_eq!(report.defects(), Vec::<String>::new());
        // The broker itself never failed.
        let forgotten: Vec<_> = report.doubled.iter().filter(|pair| pair.after_accepted).collect();
        assert!(forgotten.is_empty(), "accepted, and run again: {forgotten:?}");
        assert_eq!((report.confirmed, report.unknown), (self.sending.tasks, 0));
        assert!(report.completed >= self.sending.tasks);
        self.books_are_whole();
        for mut worker in self.workers.drain(..) {
            assert!(worker.wait().unwrap().success());
        }
        report
    }

    /// Prints all that the ledgers say of the tasks and the processes of what nobody explains.
    fn tell_what_was_written(&self, report: &Report) {
        let pairs =
            [&report.doubled, &report.overlapping, &report.stale, &report.reused].into_iter().flatten();
        let words = pairs.filter(|pair| pair.fault.is_none()).flat_map(|Pair { first, second, .. }| {
            [first.id.clone(), format!("\"pid\":{}", first.pid), format!("\"pid\":{}", second.pid)]
        });
        let words: BTreeSet<_> = words.collect();
        for file in std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "jsonl") {
                let ledger = std::fs::read_to_string(&file).unwrap();
                let told =
                    ledger.lines().filter(|line| words.iter().any(|word| line.contains(word.as_str())));
                told.for_each(|line| println!("{}: {line}", file.display()));
            }
        }
    }

    /// Where the broker has the power to look its books through, nothing is found.
    fn books_are_whole(&self) {
        let looked = runtime().block_on(async {
            let broker = insist(async || manyhands::connect(&self.url.parse()?).await).await;
            insist(async || match broker.fsck() {
                Some(fsck) => fsck.fsck(false).await,
                None => Ok(manyhands::Report::default()),
            })
            .await
        });
        assert_eq!(looked.findings, [], "what was left behind");
    }

    /// How many tasks are held, as the broker says.
    pub(crate) fn leased(&self) -> u64 {
        runtime().block_on(async {
            let broker = insist(async || manyhands::connect(&self.url.parse()?).await).await;
            let status = insist(async || broker.status(&QueueName::new(Work::QUEUE)?).await).await;
            status.map_or(0, |status| status.leased)
        })
    }

    fn check(&self) -> Report {
        checker::check(self.folder.path()).unwrap()
    }

    /// Kills a worker, and starts another.
    pub(crate) fn kill(&mut self, pid: u32) {
        let number = self.workers.iter().position(|worker| worker.id() == pid).unwrap();
        let mut victim = self.workers.remove(number);
        // Its last record is older than what is written down of its death.
        kill::stop(pid).unwrap();
        self.ledger.kill(pid).unwrap();
        let status = victim.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "it ended before: {}", self.check());
        self.held.retain(|_, holder| *holder != pid);
        self.busy -= 1;
        self.start_worker();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.workers.iter_mut().for_each(|worker| {
            let _ = worker.kill();
            let _ = worker.wait();
        });
    }
}
