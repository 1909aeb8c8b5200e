//! The kinds of task, and the queues and batches that they are in.
//!
//! ```text
//! begin ──▶ found ──▶ pages-0, pages-1 … ──▶ save
//!             ▲               │
//!             └─── links ◀────┘
//! ```

use manyhands::{BatchName, NewTask, QueueName, Result, Task};
use serde::{Deserialize, Serialize};
use url::Url;

/// Begins the crawl: the first task of all.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Begin {}

impl Task for Begin {
    const NAME: &'static str = "begin";
    const QUEUE: &'static str = "control";
    type Output = ();
}

/// Waits until a level is done, and opens the next one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gate {
    pub(crate) level: u32,
}

impl Task for Gate {
    const NAME: &'static str = "gate";
    const QUEUE: &'static str = "control";
    type Output = ();
}

/// A URL that was found, and not seen before: its unique key says so.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) url: Url,
    /// How many links lead from the first page to it.
    pub(crate) depth: u32,
}

impl Task for Found {
    const NAME: &'static str = "found";
    const QUEUE: &'static str = "found";
    type Output = ();
}

/// Some of the links of a page that has more than a settlement can carry.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Links {
    pub(crate) urls: Vec<Url>,
    pub(crate) depth: u32,
}

impl Task for Links {
    const NAME: &'static str = "links";
    const QUEUE: &'static str = Found::QUEUE;
    type Output = ();
}

/// A page to be fetched.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) depth: u32,
}

impl Task for Page {
    const NAME: &'static str = "page";
    const QUEUE: &'static str = "pages-0";
    type Output = ();
}

/// What is known of a page: a line of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Save {
    pub(crate) url: String,
    pub(crate) depth: u32,
    /// What the server answered; nothing if it never did.
    pub(crate) status: Option<u16>,
    pub(crate) content_type: Option<String>,
    pub(crate) title: Option<String>,
    /// Where its links lead to, on any host, each once.
    pub(crate) links: Vec<Url>,
    /// How many more links there are: see `html.rs`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) links_left_out: usize,
    /// Where it has moved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redirect: Option<String>,
    /// Why there is no more to say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Task for Save {
    const NAME: &'static str = "save";
    const QUEUE: &'static str = "save";
    type Output = ();
}

/// A task that only fails when the broker cannot be reached, or its worker is killed: it is never given up for that.
pub(crate) fn patient<T: Task>(task: &T) -> Result<NewTask> {
    let mut task = NewTask::of(task)?.with_max_attempts(1_000_000);
    task.max_crashes = 1_000_000;
    Ok(task)
}

/// The queue of the tasks of a type.
pub(crate) fn queue<T: Task>() -> Result<QueueName> {
    QueueName::new(T::QUEUE)
}

/// The pages of a level: of a depth, where the depth is limited; else there is one level.
pub(crate) fn pages(level: u32) -> Result<QueueName> {
    QueueName::new(&format!("pages-{level}"))
}

/// What leads to pages: it has ended when there are no more.
pub(crate) fn crawl() -> Result<BatchName> {
    BatchName::new("crawl")
}

/// What was found on them.
pub(crate) fn saved() -> Result<BatchName> {
    BatchName::new("saved")
}
