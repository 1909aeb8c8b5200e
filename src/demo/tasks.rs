//! The three kinds of task, and the queues that they go through.

use manyhands::{App, QueueOptions, Task};
use serde::{Deserialize, Serialize};

use super::films::Film;

/// How many pages may wait for the parser: then the fetchers claim no more.
const PAGES: u64 = 3;

/// A page to be fetched.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Fetch {
    pub(super) url: String,
}

impl Task for Fetch {
    const NAME: &'static str = "fetch";
    const QUEUE: &'static str = "fetch";
    type Output = ();
}

/// A page that was fetched.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parse {
    /// Which: the id of the task that fetched it.
    pub(super) page: String,
    pub(super) html: String,
}

impl Task for Parse {
    const NAME: &'static str = "parse";
    const QUEUE: &'static str = "parse";
    type Output = ();
}

/// A film that was found.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Save {
    pub(super) film: Film,
}

impl Task for Save {
    const NAME: &'static str = "save";
    const QUEUE: &'static str = "save";
    type Output = ();
}

/// The queues as every process of the demo configures them.
pub(super) fn app() -> App {
    App::new()
        .queue(Parse::QUEUE, QueueOptions::default().with_capacity(PAGES))
        .feeds(Fetch::QUEUE, Parse::QUEUE)
}
