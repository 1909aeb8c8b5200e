//! What a worker and a warm child say to each other: one JSON object a line. `docs/handler-protocol.md` is written for who
//! writes the other side.

mod given;
mod handed_on;
mod said;

use std::{collections::BTreeMap, sync::Arc};

use manyhands_broker::{QueueName, TaskName, limits};

pub(super) use self::{
    given::{Given, PutAnswer, put_answer, task},
    handed_on::HandedOn,
    said::{Answer, Level, News, Put, Said, read},
};

/// Where tasks go for which a handler names no queue, by their names: where a producer sends them, too.
pub(crate) type Routes = Arc<BTreeMap<TaskName, QueueName>>;

/// The version of the protocol.
pub(super) const VERSION: u32 = 1;

/// The longest line that a child may say: a result of the largest size, with what is around it.
pub(super) const LONGEST: usize = limits::MAX_PAYLOAD + 64 * 1024;

/// How many tasks a child may be given beside the one that it runs.
pub(super) const MOST_AHEAD: usize = 64;
