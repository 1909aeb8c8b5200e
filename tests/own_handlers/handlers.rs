//! A worker program with handlers in Rust, and what they can do to it.

use std::{process::ExitCode, time::Duration};

use manyhands::{App, Context, Task, TaskError};
use manyhands_broker::{NewTask, Payload, QueueName, TaskName};
use serde::{Deserialize, Serialize};

/// What a handler is to do.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Do {
    Tell,
    HandOn,
    Put,
    Progress,
    Print,
    Panic,
    Abort,
    Bury,
    Later,
    Spin,
    Eat,
    Large,
}

/// A task for a handler that waits.
#[derive(Serialize, Deserialize)]
pub(crate) struct Waits(pub(crate) Do);

/// A task for a handler that computes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Computes(pub(crate) Do);

/// What a handler knows.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) pid: u32,
    pub(crate) id: String,
    pub(crate) queue: String,
    pub(crate) attempt: u32,
    pub(crate) has_fence: bool,
    pub(crate) batch: Option<String>,
    pub(crate) wanted: bool,
}

impl Task for Waits {
    const NAME: &'static str = "waits";
    type Output = Known;
}

impl Task for Computes {
    const NAME: &'static str = "computes";
    const QUEUE: &'static str = "computing";
    type Output = Known;
}

async fn waits(task: Waits, ctx: Context) -> Result<Known, TaskError> {
    if matches!(task.0, Do::Put) {
        let name = |n: &str| TaskName::new(n);
        for n in 0..2 {
            let task = NewTask::new(QueueName::new("put")?, name("nobody")?, Payload::encode(&n)?);
            let answer = ctx.put(task.with_id("twice".parse()?)).await?;
            ctx.progress(&format!("{answer:?}"))?;
        }
        // What it told is looked at before it ends.
        std::future::pending::<()>().await;
    }
    tokio::task::yield_now().await;
    common(task.0, &ctx)
}

fn computes(task: Computes, ctx: &Context) -> Result<Known, TaskError> {
    if matches!(task.0, Do::Put) {
        let task = NewTask::new(QueueName::new("put")?, TaskName::new("nobody")?, Payload::null());
        ctx.put_blocking(task)?;
    }
    common(task.0, ctx)
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "it is what handlers do")]
fn common(what: Do, ctx: &Context) -> Result<Known, TaskError> {
    match what {
        Do::HandOn => {
            for n in 0..100 {
                let payload = Payload::encode(&format!("{n:03} {}", "x".repeat(20_000)))?;
                ctx.then_task(NewTask::new(QueueName::new("put")?, TaskName::new("nobody")?, payload))?;
            }
        }
        Do::Progress => ctx.progress(&7)?,
        Do::Print => {
            print!("{{\"id\": no protocol");
            println!("!");
            eprintln!("to standard error");
        }
        Do::Panic => return Err(panics()),
        Do::Abort => std::process::abort(),
        Do::Bury => return Err(TaskError::bury("never")),
        Do::Later => return Err(TaskError::retry("later").after(Duration::from_secs(3600))),
        Do::Spin => loop {
            std::hint::spin_loop();
        },
        Do::Eat => {
            let hog = vec![1_u8; 400 << 20];
            loop {
                std::hint::black_box(&hog);
            }
        }
        Do::Large => return Err(TaskError::retry("x".repeat(3 << 20))),
        Do::Tell | Do::Put => {}
    }
    Ok(Known {
        pid: std::process::id(),
        id: ctx.id().to_string(),
        queue: ctx.queue().to_string(),
        attempt: ctx.attempt(),
        has_fence: ctx.fence() > 0,
        batch: ctx.batch().map(ToString::to_string),
        wanted: ctx.result_wanted(),
    })
}

#[allow(clippy::panic, reason = "that is what it is for")]
fn panics() -> TaskError {
    panic!("all is lost")
}

pub(crate) fn worker() -> ExitCode {
    manyhands::main(|app: App| app.handle(waits).handle_blocking(computes))
}
