//! Outcomes become results.

use std::time::Duration;

use manyhands_broker::{Error, ErrorKind, Interest, Outcome, Result, limits};
use tokio::time::Instant;

use super::Workers;
use crate::{CallError, pool::unit::Ended};

/// How long a hint is waited for before the broker is asked again.
const POLL: Duration = Duration::from_secs(1);

impl Workers {
    /// Collects results, until all that was sent has ended and no more is.
    pub(super) async fn collect(&self) {
        let mut heard = Instant::now();
        while !self.killing.is_cancelled() {
            if self.under_way.len() == 0 {
                if self.done.is_cancelled() {
                    return;
                }
                self.under_way.more.notified().await;
                heard = Instant::now();
                continue;
            }
            // Before it is asked, so that nothing is missed in between.
            let hint = self.broker.wait_for(Interest::Settled, std::slice::from_ref(&self.queue));
            match self.round().await {
                Ok(0) => {
                    tokio::select! {
                        () = hint => {}
                        () = tokio::time::sleep(POLL) => {}
                        () = self.killing.cancelled() => {}
                    }
                }
                Ok(_) => {
                    heard = Instant::now();
                    continue;
                }
                Err(error) if error.is_retryable() => {
                    tracing::warn!(queue = %self.queue, error = %error.report(), "results of a pool cannot be asked for; trying again");
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => {
                    let units = self.under_way.drain().into_iter().map(|(_, unit)| unit);
                    self.give_up(units, error);
                    continue;
                }
            }
            if heard.elapsed() >= self.terms.patience {
                self.look_around().await;
                heard = Instant::now();
            }
        }
    }

    /// Nothing has ended for long: either calls take long, or nobody does them.
    async fn look_around(&self) {
        let Some(error) = self.lonely().await else { return };
        let left = self.under_way.drain();
        let ids: Vec<_> = left.iter().map(|(id, _)| id.clone()).collect();
        self.give_up(left.into_iter().map(|(_, unit)| unit), error);
        self.under_way.less.notify_one();
        self.cancel(&ids).await;
    }

    /// Asks for what was sent first, and where nothing of that has ended, for the rest; tells how many have.
    async fn round(&self) -> Result<usize> {
        let mut from = 0;
        loop {
            let ids = self.under_way.ids(from, limits::MAX_BATCH);
            if ids.is_empty() {
                return Ok(0);
            }
            let outcomes = self.broker.outcomes(&self.queue, &ids).await?;
            let ended = self.under_way.take(from, outcomes);
            if !ended.is_empty() {
                let count = ended.len();
                for (id, unit, outcome) in ended {
                    let ended = match outcome {
                        Outcome::Done(result) => Ended::Replied(result.as_str().to_owned()),
                        Outcome::Dead(why) => Ended::Failed(self.dead(&id, why).await),
                        Outcome::Cancelled => Ended::Failed(CallError::Terminated),
                        Outcome::Pending { .. } | Outcome::Unknown => {
                            let message =
                                format!("the result of task {id} of queue \"{}\" was lost", self.queue);
                            let error = Error::new(ErrorKind::Failed, "call", message);
                            Ended::Failed(error.advise("call it again; results are kept for a minute, on RabbitMQ as long as the connection lives").into())
                        }
                    };
                    self.line.end(unit, ended);
                }
                return Ok(count);
            }
            from += ids.len();
        }
    }
}
