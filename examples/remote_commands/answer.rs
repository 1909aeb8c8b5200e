//! What callers say, and what is answered.

use serde::{Deserialize, Serialize};

/// What a caller asks for, as it comes in a frame, and goes into the task.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) command: String,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// What the command reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<String>,
    /// How long the caller waits. The front's own deadline, unless this is sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_ms: Option<u64>,
}

/// What comes first in an answer: the one frame of it. Only after `ran` is there more.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The command came to its end. So many bytes of its output follow.
    Ran(Ran),
    /// It is not allowed, or the request is no request. Nothing was run.
    Refused(String),
    /// It was not done in time, and was killed if it had begun.
    Late(String),
    /// Something else is in the way.
    Failed(String),
}

/// How a command ended.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Ran {
    /// Not there if a signal killed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<i32>,
    /// How many bytes of it follow; those of `stdout` first.
    pub(crate) stdout: u64,
    pub(crate) stderr: u64,
    /// Who ran it.
    pub(crate) worker: Host,
    /// How often it was begun: more than once where a worker was lost.
    pub(crate) runs: u32,
}

/// A process somewhere.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Host {
    pub(crate) host: String,
    pub(crate) pid: u32,
}
