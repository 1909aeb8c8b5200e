//! A producer at a rate, while its server comes and goes.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use manyhands::{Client, Enqueued, NewTask};
use manyhands_test_support::ledger::{Ledger, Outcome, now};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use super::{Accepted, Orders, say};
use crate::{
    machine::own_cpu_nanos,
    roles::Produced,
    work::{Work, queue},
};

/// For how long a call is repeated: its outcome shall be known in the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Puts tasks on the queue at a rate until it is told to stop, and writes down what the broker answers. Says when a call was accepted, and
/// closes the queue in the end.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Feed {
    /// The broker.
    pub(crate) broker: String,
    /// The folder of its ledger.
    pub(crate) ledgers: PathBuf,
    /// How many tasks in one call.
    pub(crate) batch: usize,
    /// How long from the beginning of a call to that of the next one.
    pub(crate) every: Duration,
}

impl Feed {
    pub(super) async fn play(self, mut orders: Orders) -> Result<()> {
        let client = Client::connect(&self.broker.parse()?).await?.with_patience(PATIENCE);
        let ledger = Ledger::open(&self.ledgers, "producer")?;
        orders.wait().await?;
        let (began, before) = (now(), own_cpu_nanos());
        let mut turn = interval(self.every);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                stop = orders.next() => break stop?,
                _ = turn.tick() => {}
            }
            self.call(&client, &ledger).await?;
            say(&Accepted { accepted: now() })?;
        }
        let (ended, cpu) = (now(), own_cpu_nanos() - before);
        client.close(&queue()?).await?;
        say(&Produced { began, ended, cpu, call: 0.0 })
    }

    async fn call(&self, client: &Client, ledger: &Ledger) -> Result<()> {
        let tasks = (0..self.batch).map(|_| Ok(Work::task(now())?)).collect::<Result<Vec<NewTask>>>()?;
        for (task, answer) in tasks.iter().zip(client.send_all(&tasks).await?) {
            let outcome = match answer {
                Enqueued::Enqueued | Enqueued::Exists => Outcome::Confirmed,
                _ => Outcome::Refused,
            };
            ledger.sent(task.id.to_string(), outcome)?;
        }
        Ok(())
    }
}
