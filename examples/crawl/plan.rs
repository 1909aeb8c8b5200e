//! What was asked for: the same for all processes of a crawl, so it is kept with the broker.

use std::time::Duration;

use anyhow::{Context, Result};
use manyhands::{
    Broker, NewTask, Payload, QueueName, QueueOptions, TaskId, TaskName, capabilities::Operators,
};
use robotxt::Robots;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{
    fetch,
    tasks::{self, Found},
};

/// Nobody serves this queue: its only task is the plan.
const PLAN: &str = "plan";

/// Nor this one, which has room for as many tasks as pages may be fetched: see `follow.rs`.
const ADMITTED: &str = "admitted";

/// What was asked for, and the rules of the host.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) start: Url,
    /// The most links from the first page to another; `None` for as many as there are.
    pub(crate) depth: Option<u32>,
    /// The most pages.
    pub(crate) pages: u64,
    /// How many requests the host gets at a time.
    pub(crate) at_once: u32,
    /// How long after one request the next may begin, if the host does not ask for more.
    pub(crate) interval: Duration,
    /// How often a page is tried that cannot be fetched.
    pub(crate) attempts: u32,
    /// What `robots.txt` says; nothing if there is none.
    pub(crate) robots: String,
}

impl Plan {
    /// The rules of the host for this program.
    pub(crate) fn rules(&self) -> Robots {
        Robots::parse(self.robots.as_bytes(), fetch::NAME)
    }

    /// How long after one request the next may begin.
    pub(crate) fn pace(&self) -> Duration {
        self.interval.max(self.rules().crawl_delay().unwrap_or_default())
    }

    /// The levels: of each depth one, where it is limited.
    pub(crate) fn levels(&self) -> std::ops::RangeInclusive<u32> {
        0..=self.depth.unwrap_or(0)
    }

    /// The level of pages of a depth.
    pub(crate) fn level(&self, depth: u32) -> u32 {
        self.depth.map_or(0, |_| depth)
    }

    /// The queues, and how they are configured.
    pub(crate) fn queues(&self) -> Result<Vec<(QueueName, QueueOptions)>> {
        let polite = QueueOptions::default().with_key_limit(self.at_once).with_key_interval(self.pace());
        let mut queues = vec![
            (QueueName::new(PLAN)?, QueueOptions::default()),
            (admitted()?, QueueOptions::default().with_capacity(self.pages)),
            (tasks::queue::<Found>()?, QueueOptions::default()),
        ];
        for level in self.levels() {
            queues.push((tasks::pages(level)?, polite.clone()));
        }
        Ok(queues)
    }

    /// The task that keeps the plan.
    pub(crate) fn task(&self) -> Result<NewTask> {
        let task = NewTask::new(QueueName::new(PLAN)?, TaskName::new(PLAN)?, Payload::encode(self)?);
        Ok(task.with_id(TaskId::new(PLAN)?))
    }

    /// The plan that is there already.
    pub(crate) async fn find(broker: &dyn Broker) -> Result<Option<Self>> {
        let lookup = broker.lookup().context("this broker cannot look at single tasks")?;
        let task = lookup.get(&QueueName::new(PLAN)?, &TaskId::new(PLAN)?).await?;
        Ok(task.map(|task| task.payload.decode()).transpose()?)
    }

    /// Whether the same was asked for. The rules of the host may have changed since.
    pub(crate) fn asks_as(&self, other: &Self) -> bool {
        let Self { start, depth, pages, at_once, interval, attempts, robots: _ } = self;
        (start, depth, pages, at_once, interval, attempts)
            == (&other.start, &other.depth, &other.pages, &other.at_once, &other.interval, &other.attempts)
    }
}

/// The queue whose capacity is the limit of pages.
pub(crate) fn admitted() -> Result<QueueName> {
    Ok(QueueName::new(ADMITTED)?)
}

/// The task that stands for a page that may be fetched.
pub(crate) fn admission(id: TaskId) -> Result<NewTask> {
    Ok(NewTask::new(admitted()?, TaskName::new(ADMITTED)?, Payload::encode(&())?).with_id(id))
}

/// Whether a broker can find the plan again.
pub(crate) fn can_keep(broker: &dyn Broker) -> bool {
    broker.capabilities().operators == Operators::All
}
