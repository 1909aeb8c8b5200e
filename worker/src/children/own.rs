//! The other side of the pipe for handlers in Rust: a process of our own program that runs one of its handlers.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{FutureExt, future::BoxFuture};
use manyhands_broker::{BatchName, Enqueued, Error, NewTask, Payload, QueueName, TaskId, TaskName, limits};
use serde::Serialize;
use serde_json::value::RawValue;

use super::protocol::{Given, HandedOn, LONGEST, MOST_AHEAD, PutAnswer, VERSION};
use crate::{
    App, Context, TaskError,
    app::Registered,
    context::{Parent, Told},
    runner::panic_message,
    task_error::Verdict,
};

/// A process that runs one handler.
#[derive(Debug)]
pub struct Own {
    name: TaskName,
    args: Vec<OsString>,
}

/// The pipes to the worker.
#[derive(Debug)]
struct Pipes {
    output: Mutex<File>,
    input: Arc<Mutex<Input>>,
    /// Numbers what is put.
    puts: AtomicU64,
    /// One at a time.
    putting: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Input {
    pipe: BufReader<File>,
    /// What came while an answer was waited for.
    early: VecDeque<Vec<u8>>,
}

/// What is said, in the fields of the protocol.
#[derive(Default, Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    hello: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<Then<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_in_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    put: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<HandedOn>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Then<'a> {
    Bury(&'static str),
    Tasks([&'a RawValue; 1]),
}

impl Own {
    pub(super) fn new(name: TaskName, args: Vec<OsString>) -> Self {
        Self { name, args }
    }

    /// The arguments of the worker that started this process.
    pub(crate) fn args(&self) -> &[OsString] {
        &self.args
    }

    /// Runs tasks until the worker has no more.
    ///
    /// # Errors
    /// Why that cannot begin.
    pub fn serve(self, app: App) -> Result<ExitCode, Error> {
        let failed = |e: io::Error| Error::invalid("run", format!("the worker's pipes cannot be used: {e}"));
        let app = app.checked()?;
        let Some(handler) = app.handlers.get(&self.name) else {
            return Err(Error::invalid(
                "run",
                format!("this program has no handler for tasks named \"{}\"", self.name),
            ));
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let pipes = Arc::new(Pipes::take().map_err(failed)?);
        let (tasks, ahead) = (Some([self.name.as_str()]), Some(MOST_AHEAD));
        let hello = Message { hello: Some(VERSION), tasks, ahead, ..Message::default() };
        // A pipe that is closed is the worker's end: then there is nothing more to be done.
        if pipes.say(&hello).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            let line = pipes.input().next();
            let Ok(Some(line)) = line else { break };
            let Ok(given) = serde_json::from_slice::<Given<'_>>(&line) else { break };
            if runtime.block_on(run(handler, &pipes, &given)).is_err() {
                break;
            }
        }
        // What a handler left behind must not keep the process.
        runtime.shutdown_background();
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs one task and says what became of it.
async fn run(handler: &Registered, pipes: &Arc<Pipes>, given: &Given<'_>) -> io::Result<()> {
    let id = Some(given.id);
    let (result, handed_on) = match told(given) {
        Ok(told) => {
            let context = Context::away(Arc::clone(pipes) as Arc<dyn Parent>, told);
            let payload = Payload::from_stored(given.payload.get());
            let run = catch_unwind(AssertUnwindSafe(|| handler.handler.run(&payload, context.clone())));
            let ended = match run {
                Ok(run) => AssertUnwindSafe(run).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            let panicked = |panic: Box<dyn std::any::Any + Send>| {
                TaskError::retry(format!("the handler panicked: {}", panic_message(&*panic)))
            };
            (ended.unwrap_or_else(|panic| Err(panicked(panic))), context.take_children())
        }
        Err(error) => (Err(TaskError::retry(error.report())), Vec::new()),
    };
    match result {
        Ok(result) => {
            for task in &handed_on {
                // One a message, as each may be as long as one may be.
                let task = serde_json::value::to_raw_value(&HandedOn::of(task)?)?;
                pipes.say(&Message { id, then: Some(Then::Tasks([&task])), ..Message::default() })?;
            }
            let result = result.unwrap_or_else(Payload::null);
            let result: Box<RawValue> = RawValue::from_string(result.as_str().replace(['\n', '\r'], " "))?;
            pipes.say(&Message { id, result: Some(&result), ..Message::default() })
        }
        Err(error) => {
            let message = error.message();
            let error_text = Some(&message[..message.floor_char_boundary(limits::MAX_ERROR)]);
            let message = Message { id, error: error_text, ..Message::default() };
            pipes.say(&match error.verdict {
                Verdict::Bury => Message { then: Some(Then::Bury("bury")), ..message },
                Verdict::Retry(after) => {
                    let millis =
                        |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                    Message { retry_in_ms: after.map(millis), ..message }
                }
                Verdict::Crash | Verdict::Release => message,
            })
        }
    }
}

fn told(given: &Given<'_>) -> Result<Told, Error> {
    Ok(Told {
        id: TaskId::new(given.id)?,
        queue: QueueName::new(given.queue)?,
        epoch: given.fence,
        attempt: given.attempt,
        batch: given.batch.map(BatchName::new).transpose()?,
        result_wanted: given.wanted,
    })
}

impl Pipes {
    /// Takes standard input and output for the worker. What the handler prints goes to standard error, which is its log, and it reads
    /// nothing.
    fn take() -> io::Result<Self> {
        let output = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?);
        let input = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
        rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        let input = Input { pipe: BufReader::with_capacity(64 * 1024, input), early: VecDeque::new() };
        Ok(Self {
            output: Mutex::new(output),
            input: Arc::new(Mutex::new(input)),
            puts: AtomicU64::new(0),
            putting: tokio::sync::Mutex::new(()),
        })
    }

    fn input(&self) -> MutexGuard<'_, Input> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, message: &Message<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.output.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }

    /// Asks the worker to enqueue a task, and waits for its answer.
    async fn ask(&self, id: &TaskId, task: &NewTask) -> Result<Enqueued, TaskError> {
        let gone = |e: io::Error| TaskError::retry(format!("the worker cannot be asked: {e}"));
        let task = HandedOn::of(task).map_err(|e| TaskError::bury(e.to_string()))?;
        let _turn = self.putting.lock().await;
        let number = self.puts.fetch_add(1, Ordering::Relaxed);
        let id = id.to_string();
        let message = Message { id: Some(&id), put: Some(number), task: Some(task), ..Message::default() };
        self.say(&message).map_err(gone)?;
        let input = Arc::clone(&self.input);
        // The main thread reads nothing while the handler runs.
        let wait = move || input.lock().unwrap_or_else(PoisonError::into_inner).answer(number);
        match tokio::task::spawn_blocking(wait).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(gone(error)),
            Err(_) => Err(TaskError::retry("the process is about to end")),
        }
    }
}

impl Parent for Pipes {
    fn tell(&self, id: &TaskId, progress: &Payload) {
        let id = id.to_string();
        // It was written as JSON a moment ago, on one line.
        if let Ok(progress) = serde_json::from_str::<&RawValue>(progress.as_str()) {
            // A worker that is gone has no use for it.
            let _ = self.say(&Message { id: Some(&id), progress: Some(progress), ..Message::default() });
        }
    }

    fn put(&self, id: &TaskId, task: NewTask) -> BoxFuture<'_, Result<Enqueued, TaskError>> {
        let id = id.clone();
        Box::pin(async move { self.ask(&id, &task).await })
    }
}

impl Input {
    /// The next task; `None` when there are no more.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.early.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.read(),
        }
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        self.pipe.read_until(b'\n', &mut line)?;
        Ok((line.last() == Some(&b'\n')).then_some(line))
    }

    /// Waits for the answer to what has this number.
    fn answer(&mut self, number: u64) -> io::Result<Result<Enqueued, TaskError>> {
        loop {
            let line = self.read()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match PutAnswer::read(&line, number) {
                Some(answer) => return Ok(answer),
                None => self.early.push_back(line),
            }
        }
    }
}

// A task that is handed on fits a line: its payload, and what else is said of it.
const _: () = assert!(LONGEST >= limits::MAX_PAYLOAD + 16 * 1024);
