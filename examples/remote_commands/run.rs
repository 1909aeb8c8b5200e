//! What is between a worker and the front whose task it runs.

use std::net::SocketAddr;

use manyhands::Task;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::answer::{Host, Request};

/// A command to be run.
#[derive(Deserialize, Serialize)]
pub(crate) struct Run {
    pub(crate) request: Request,
    /// Where the answer goes.
    pub(crate) front: SocketAddr,
    /// Which call it is for. Nobody can guess it, so nobody else can answer.
    pub(crate) call: Uuid,
}

impl Task for Run {
    const NAME: &'static str = "run";
    const QUEUE: &'static str = "commands";
    type Output = ();
}

/// The first frame of a worker.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Hello {
    pub(crate) call: Uuid,
    /// The task's fence: of two workers, the one with the higher has the task.
    pub(crate) fence: u64,
    pub(crate) worker: Host,
}

/// A frame of the front.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Run it: somebody waits, for so long.
    Go { limit_ms: u64 },
    /// The task is over: the answer is there, or nobody waits for it.
    Over,
}

/// The first byte of a worker's further frames: what the rest is.
pub(crate) const STDOUT: u8 = b'o';
pub(crate) const STDERR: u8 = b'e';
/// The last frame, of which the rest is an [`Ended`].
pub(crate) const ENDED: u8 = b'.';

/// How a run ended, where it did.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ended {
    /// With these numbers of bytes, so that none is missing.
    Exited { exit_code: Option<i32>, signal: Option<i32>, stdout: u64, stderr: u64 },
    /// The worker's list does not allow it.
    Refused(String),
    /// The worker cannot start it.
    Failed(String),
}
