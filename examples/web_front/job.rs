//! What is asked for.

use manyhands::Task;
use serde::{Deserialize, Serialize};

/// A request, as it comes in the body and goes into the queue.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Square {
    pub(crate) number: i64,
}

/// Its answer. It repeats the number, so that who asks can tell that it is the answer to its question.
#[derive(Deserialize, Serialize)]
pub(crate) struct Squared {
    pub(crate) number: i64,
    pub(crate) square: i64,
}

impl Task for Square {
    const NAME: &'static str = "square";
    const QUEUE: &'static str = "web";
    type Output = Squared;
}
