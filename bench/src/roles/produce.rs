//! Producers.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt};
use manyhands::{Client, Enqueued, NewTask, Order, QueueOptions};
use manyhands_test_support::ledger::now;
use serde::{Deserialize, Serialize};

use super::{Orders, say};
use crate::{
    figures::{millis, percentile},
    machine::own_cpu_nanos,
    work::{Work, queue},
};

/// Puts tasks on the queue, batch after batch.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Produce {
    /// The broker.
    pub(crate) broker: String,
    /// How many.
    pub(crate) tasks: u64,
    /// How many in one call.
    pub(crate) batch: usize,
    /// How many calls at a time.
    pub(crate) calls: usize,
    /// The queue's capacity, unless it is the default.
    pub(crate) capacity: Option<u64>,
    /// How much later they may start, in seconds; 0 is at once.
    pub(crate) delay: u64,
    /// How many priorities they have in turns; 0 is a queue without any.
    pub(crate) priorities: u64,
    /// Whether nothing more will come.
    pub(crate) close: bool,
}

/// When it did so: nanoseconds since the boot.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Produced {
    /// Before the first call.
    pub(crate) began: u64,
    /// After the last answer.
    pub(crate) ended: u64,
    /// Processor time of this process, in nanoseconds.
    pub(crate) cpu: u64,
    /// How long a call took, where each was timed: p50 in milliseconds.
    pub(crate) call: f64,
}

impl Produce {
    /// One call at a time, of batches as the raw limits have.
    pub(crate) fn new(broker: &str, tasks: u64) -> Self {
        let broker = broker.to_owned();
        let batch = crate::work::BATCH;
        Self { broker, tasks, batch, calls: 1, capacity: None, delay: 0, priorities: 0, close: false }
    }

    pub(super) async fn play(self, mut orders: Orders) -> Result<()> {
        let client = Client::connect(&self.broker.parse()?).await?;
        client.broker().declare(&queue()?, self.options().as_ref()).await?;
        orders.wait().await?;
        let (began, before) = (now(), own_cpu_nanos());
        let batch = self.batch as u64;
        let sizes = (0..self.tasks.div_ceil(batch)).map(|at| batch.min(self.tasks - at * batch));
        let calls = futures_util::stream::iter(sizes.map(|size| self.call(&client, size)));
        calls.buffered(self.calls).try_collect::<Vec<()>>().await?;
        let (ended, cpu) = (now(), own_cpu_nanos() - before);
        if self.close {
            client.close(&queue()?).await?;
        }
        say(&Produced { began, ended, cpu, call: 0.0 })
    }

    /// What the queue is declared with, unless it is a usual one.
    fn options(&self) -> Option<QueueOptions> {
        let options = self.capacity.map(|capacity| QueueOptions::default().with_capacity(capacity));
        if self.priorities == 0 {
            return options;
        }
        Some(options.unwrap_or_default().with_order(Order::Priority))
    }

    async fn call(&self, client: &Client, size: u64) -> Result<()> {
        let task = |at: u64| {
            let mut task = Work::task(now())?;
            if self.delay > 0 {
                task = task.with_start(manyhands::Start::After(Duration::from_secs(self.delay)));
            }
            if let Some(priority) = at.checked_rem(self.priorities) {
                task = task.with_priority(i64::try_from(priority)?);
            }
            Ok(task)
        };
        let tasks = (0..size).map(task).collect::<Result<Vec<NewTask>>>()?;
        let answers = client.send_all(&tasks).await?;
        ensure!(
            answers.iter().all(|answer| *answer == Enqueued::Enqueued),
            "not all tasks were taken: {answers:?}"
        );
        Ok(())
    }
}

/// Puts one task after the other on the queue, so slowly that the worker is idle each time.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Trickle {
    /// The broker.
    pub(crate) broker: String,
    /// How many.
    pub(crate) tasks: u64,
    /// How long to wait after each answer.
    pub(crate) pause: Duration,
}

impl Trickle {
    pub(super) async fn play(self, mut orders: Orders) -> Result<()> {
        let client = Client::connect(&self.broker.parse()?).await?;
        orders.wait().await?;
        let (began, before) = (now(), own_cpu_nanos());
        let mut calls = Vec::new();
        for _ in 0..self.tasks {
            let at = now();
            client.send(Work::new(at)).await?;
            calls.push(millis(now() - at));
            tokio::time::sleep(self.pause).await;
        }
        let (ended, cpu) = (now(), own_cpu_nanos() - before);
        client.close(&queue()?).await?;
        say(&Produced { began, ended, cpu, call: percentile(&mut calls, 0.5) })
    }
}

/// Sends one task after the other, and waits for what each returns.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Ask {
    /// The broker.
    pub(crate) broker: String,
    /// How many.
    pub(crate) tasks: u64,
}

impl Ask {
    /// The longest that one result may take.
    const PATIENCE: Duration = Duration::from_secs(30);

    pub(super) async fn play(self, mut orders: Orders) -> Result<()> {
        let client = Client::connect(&self.broker.parse()?).await?;
        orders.wait().await?;
        let (began, before) = (now(), own_cpu_nanos());
        let mut calls = Vec::new();
        for _ in 0..self.tasks {
            let at = now();
            client.send(Work::new(at)).wait(Self::PATIENCE).await?;
            calls.push(millis(now() - at));
        }
        let (ended, cpu) = (now(), own_cpu_nanos() - before);
        client.close(&queue()?).await?;
        say(&Produced { began, ended, cpu, call: percentile(&mut calls, 0.5) })
    }
}
