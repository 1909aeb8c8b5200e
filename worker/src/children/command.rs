//! A handler that is a program, started for each task.

use std::{
    ffi::OsString,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use manyhands_broker::{Payload, limits};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    task::JoinHandle,
};

use super::{
    Children, Outfit, Template,
    exit::Exit,
    log::Log,
    memory,
    process::Process,
    room::Room,
    spawner::{Plan, Spawner, Start},
    verdict::{over, stopped, too_long, too_much},
};
use crate::{
    Context, TaskError,
    handler::{Handler, Mode, Run},
    runner::expired,
};

/// The exit code by which a program says that the task can never succeed: `EX_DATAERR` of `sysexits.h`.
const BURY: i32 = 65;

/// How long the end of a pipe is waited for whose writers are killed: somebody who left the group may hold it.
pub(super) const DRAIN: Duration = Duration::from_secs(1);

/// The error of the system for arguments that are too long: `E2BIG`.
const TOO_LONG: i32 = 7;

/// A program and how it is to be called.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    spawner: Spawner,
    outfit: Outfit,
    template: Template,
    processes: usize,
    room: Arc<Room>,
}

impl Command {
    pub(crate) fn new(children: &Children, outfit: Outfit, template: Template, processes: usize) -> Self {
        let room = Arc::new(Room::new(processes));
        Self { spawner: children.spawner.clone(), outfit, template, processes, room }
    }
}

impl Handler for Command {
    fn mode(&self) -> Mode {
        Mode::Process
    }

    fn room(&self) -> Option<usize> {
        Some(self.room.free())
    }

    fn reserve(&self) {
        self.room.reserve();
    }

    fn run_limit(&self) -> Option<Duration> {
        self.outfit.limit
    }

    fn processes(&self) -> usize {
        self.processes
    }

    fn run(&self, payload: &Payload, context: Context) -> Run {
        let (this, payload) = (self.clone(), payload.clone());
        Box::pin(async move {
            tokio::select! {
                biased;
                () = this.room.enter() => {}
                () = context.stopped() => return Err(stopped()),
            }
            let words = this.template.fill(&payload).map_err(TaskError::bury);
            let ended = match words {
                Ok(words) => this.call(words, &payload, &context).await,
                Err(error) => Err(error),
            };
            // It returns whatever happens: a run in a process is never dropped.
            this.room.offer(1);
            ended
        })
    }
}

impl Command {
    async fn call(
        &self,
        words: Vec<OsString>,
        payload: &Payload,
        context: &Context,
    ) -> Result<Option<Payload>, TaskError> {
        let env = vec![
            ("MANYHANDS_TASK_ID", context.id().to_string()),
            ("MANYHANDS_TASK", self.outfit.name.to_string()),
            ("MANYHANDS_QUEUE", context.queue().to_string()),
            ("MANYHANDS_ATTEMPT", context.attempt().to_string()),
            ("MANYHANDS_FENCE", context.fence().to_string()),
        ];
        let limits = self.outfit.limits;
        let plan = Plan { start: Start::Program(words), folder: self.outfit.folder.clone(), env, limits };
        let mut process = self.spawner.start(plan).await.map_err(not_started)?;
        let log = Log::new(self.outfit.name.clone(), process.pid());
        let log_task = process.stderr.take().map(|pipe| tokio::spawn(log.clone().follow(pipe)));
        let output = Arc::new(Mutex::new(Output::default()));
        let reading = process.stdout.take().map(|pipe| tokio::spawn(collect(pipe, Arc::clone(&output))));
        let input = process.stdin.take().map(|pipe| tokio::spawn(write(pipe, payload.clone())));
        let end = watch(&process, context.limit(self.outfit.limit), limits.memory, context).await;
        let status = process.reap().await;
        if let Some(input) = input {
            input.abort();
        }
        // Who wrote to them is dead, so they end at once.
        drain(log_task).await;
        drain(reading).await;
        let output = std::mem::take(&mut *output.lock().unwrap_or_else(PoisonError::into_inner));
        match (end, status) {
            (End::Stopped, _) => Err(stopped()),
            (End::Limit(limit), _) => Err(over(limit)),
            (End::Memory(has), _) => Err(too_much(has, limits.memory, &log.last_words())),
            (End::Ended, Ok(exit)) => judge(exit, output, &log, context.result_wanted()),
            (End::Ended, Err(error)) => Err(TaskError::retry(format!("its end is not known: {error}"))),
        }
    }
}

/// Why a child is waited for no longer.
#[derive(Clone, Copy, Debug)]
enum End {
    Ended,
    Limit(Duration),
    /// It has so much memory.
    Memory(u64),
    Stopped,
}

/// Waits for the end of a child, of its time, of its memory, or of the worker's patience.
async fn watch(process: &Process, limit: Option<Duration>, memory: Option<u64>, context: &Context) -> End {
    let mut looked = Instant::now();
    tokio::select! {
        biased;
        () = process.ended() => End::Ended,
        () = context.stopped() => End::Stopped,
        limit = expired(limit) => End::Limit(limit),
        has = memory::exceeded(process.pid(), memory, &mut looked) => End::Memory(has),
    }
}

/// What ends a run that could not begin.
fn not_started(error: std::io::Error) -> TaskError {
    if error.raw_os_error() == Some(TOO_LONG) {
        return TaskError::bury(
            "its arguments are too long for a program; all of the payload is on its standard input",
        );
    }
    TaskError::retry(format!("its process cannot be started: {error}"))
}

/// What a program's end says of its task.
fn judge(exit: Exit, output: Output, log: &Log, wanted: bool) -> Result<Option<Payload>, TaskError> {
    match exit.status.code() {
        Some(0) if wanted => result(output).map(Some).map_err(TaskError::bury),
        Some(0) => Ok(None),
        Some(BURY) => Err(TaskError::bury(format!("exit code {BURY}{}", log.last_words()))),
        _ if exit.by_signal() => {
            Err(TaskError::crash(format!("the handler's process crashed: {exit:#}{}", log.last_words())))
        }
        _ => Err(TaskError::retry(format!("{exit}{}", log.last_words()))),
    }
}

/// What a program wrote to standard output, as far as it can be a result.
#[derive(Debug, Default)]
struct Output {
    text: Vec<u8>,
    bytes: usize,
}

/// Reads to the end and keeps what a result may be long, and a bit more for the white space around it.
async fn collect(mut pipe: impl AsyncRead + Unpin, output: Arc<Mutex<Output>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        let room = (limits::MAX_PAYLOAD + 1024).saturating_sub(output.text.len());
        output.text.extend_from_slice(&buffer[..read.min(room)]);
        output.bytes += read;
    }
}

/// JSON if it is JSON, else a string; nothing is `null`.
fn result(output: Output) -> Result<Payload, String> {
    if output.bytes > output.text.len() {
        return Err(too_long(output.bytes));
    }
    let Ok(text) = std::str::from_utf8(&output.text) else {
        return Err("it ran, but its result cannot be kept: it is neither JSON nor text in UTF-8".to_owned());
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok(Payload::null());
    }
    let result = Payload::from_json(text).or_else(|_| Payload::encode(text)).map_err(|e| e.report())?;
    if result.len() > limits::MAX_PAYLOAD { Err(too_long(result.len())) } else { Ok(result) }
}

/// Gives a program its payload as one text with a line's end. One that does not read it is not to blame.
async fn write(mut pipe: pipe::Sender, payload: Payload) {
    if pipe.write_all(payload.as_str().as_bytes()).await.is_ok() {
        let _ = pipe.write_all(b"\n").await;
    }
}

/// Waits for a reader whose pipe is about to end.
pub(super) async fn drain(reader: Option<JoinHandle<()>>) {
    if let Some(mut reader) = reader
        && tokio::time::timeout(DRAIN, &mut reader).await.is_err()
    {
        reader.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &[u8]) -> Output {
        Output { text: text.to_vec(), bytes: text.len() }
    }

    #[test]
    fn output_is_json_if_it_is_json() {
        for (text, json) in [
            (&b"{\"a\": 1}\n"[..], "{\"a\": 1}"),
            (b" 7 \n", "7"),
            (b"two words\n", "\"two words\""),
            (b"{a}", "\"{a}\""),
            (b"", "null"),
            (b"\n", "null"),
        ] {
            assert_eq!(result(output(text)).unwrap().as_str(), json);
        }
        assert!(result(output(b"\xff")).is_err_and(|e| e.contains("neither JSON nor text")));
        let long = output(&vec![b'x'; limits::MAX_PAYLOAD]);
        assert!(result(long).is_err_and(|e| e.contains("1048578 bytes cannot be kept")), "with its quotes");
    }

    #[tokio::test]
    async fn a_flood_is_read_and_not_held() {
        let bytes = 40 * limits::MAX_PAYLOAD;
        let flood = Arc::new(Mutex::new(Output::default()));
        collect(tokio::io::repeat(b'x').take(bytes as u64), Arc::clone(&flood)).await;
        let flood = std::mem::take(&mut *flood.lock().unwrap());
        assert_eq!(flood.bytes, bytes);
        assert!(flood.text.len() < 2 * limits::MAX_PAYLOAD);
        assert!(result(flood).is_err_and(|e| e.contains("41943040 bytes cannot be kept")));
    }
}
