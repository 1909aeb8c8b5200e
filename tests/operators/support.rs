//! Brokers with something on them, and the command run over them.

use std::{
    process::{Command, Stdio},
    sync::Arc,
};

use manyhands_broker::{
    Broker, Claim, ClaimedTask, End, Enqueued, NewTask, Payload, QueueName, QueueOptions, Settlement, TaskId,
    TaskName, connect,
};
use manyhands_test_support::servers::Redis;
use serde_json::Value;
use tempfile::TempDir;

/// What a process ended with: its exit code, what it printed, and what it said.
pub(crate) type Ended = (Option<i32>, String, String);

/// A broker of the test's own, and the command over it.
pub(crate) struct Place {
    pub(crate) url: String,
    _kept: Kept,
}

enum Kept {
    Folder { _folder: TempDir },
    Server { _server: Redis },
    Nothing,
}

/// One broker of each kind that finds tasks by their ids.
pub(crate) fn places() -> Vec<Place> {
    let folder = tempfile::tempdir().unwrap();
    // It keeps what it is given, so that no command has to warn of it.
    let server = Redis::options().append_only().start().unwrap();
    vec![
        Place { url: format!("local:{}", folder.path().display()), _kept: Kept::Folder { _folder: folder } },
        Place { url: server.url(), _kept: Kept::Server { _server: server } },
    ]
}

/// A local store of its own.
pub(crate) fn local() -> Place {
    places().swap_remove(0)
}

impl Place {
    /// A broker that somebody else keeps.
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.to_owned(), _kept: Kept::Nothing }
    }

    /// Another session with it.
    pub(crate) async fn session(&self) -> Arc<dyn Broker> {
        connect(&self.url.parse().unwrap()).await.unwrap()
    }

    /// The command with nothing else of this process's environment that matters to it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
        command.args(args).env("MANYHANDS_BROKER", &self.url).stdin(Stdio::null());
        for name in ["COLUMNS", "NO_COLOR", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        ended(&mut self.command(args))
    }

    /// What a command prints that must succeed and say nothing.
    pub(crate) fn answer(&self, args: &[&str]) -> String {
        let (code, out, said) = self.run(args);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{args:?}: {out}");
        out
    }

    /// The objects that a command prints with `--json`, which must succeed.
    pub(crate) fn objects(&self, args: &[&str]) -> Vec<Value> {
        let out = self.answer(&[args, &["--json"]].concat());
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Does something over a session of this process.
    pub(crate) fn with<T>(&self, work: impl AsyncFnOnce(Arc<dyn Broker>) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { work(connect(&self.url.parse().unwrap()).await.unwrap()).await })
    }
}

pub(crate) fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// A task with an id of its own.
pub(crate) fn task(queue_name: &str, id: &str) -> NewTask {
    let payload = Payload::from_json(&format!("{{\"n\":\"{id}\"}}")).unwrap();
    NewTask::new(queue(queue_name), TaskName::new("work").unwrap(), payload).with_id(TaskId::new(id).unwrap())
}

pub(crate) async fn enqueue(broker: &dyn Broker, tasks: &[NewTask]) {
    for tasks in tasks.chunks(256) {
        let answers = broker.enqueue(tasks, None).await.unwrap();
        assert!(answers.iter().all(|answer| *answer == Enqueued::Enqueued), "{answers:?}");
    }
}

pub(crate) async fn claim(broker: &dyn Broker, name: &str, max: usize) -> Vec<ClaimedTask> {
    broker.claim(&Claim::new(queue(name), max)).await.unwrap().tasks
}

pub(crate) async fn settle(broker: &dyn Broker, tasks: Vec<ClaimedTask>, end: &End) {
    let ends: Vec<_> = tasks.into_iter().map(|task| Settlement::new(task.lease, end.clone())).collect();
    broker.settle(&ends).await.unwrap();
}

pub(crate) fn bury(error: &str) -> End {
    End::Bury { error: error.to_owned() }
}

/// Three dead tasks, `d1` to `d3`, in the queue `default`.
pub(crate) async fn three_dead(broker: &dyn Broker) {
    for id in ["d1", "d2", "d3"] {
        enqueue(broker, &[task("default", id)]).await;
        let claimed = claim(broker, "default", 1).await;
        settle(broker, claimed, &bury(&format!("no {id}"))).await;
    }
}

pub(crate) async fn declare(broker: &dyn Broker, name: &str, options: QueueOptions) {
    broker.declare(&queue(name), Some(&options)).await.unwrap();
}

/// The names of an object's fields.
pub(crate) fn fields(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}
