//! The client.

use std::{sync::Arc, time::Duration};

use manyhands_broker::{
    BatchName, BatchStatus, Broker, BrokerExt, BrokerUrl, Enqueued, NewTask, QueueName, Result, Task,
    connect,
    crash::{Point, at},
    limits,
};

use crate::Sending;

/// Puts tasks on the queues of one broker. Clones share the session.
#[derive(Clone, Debug)]
pub struct Client {
    broker: Arc<dyn Broker>,
    patience: Duration,
}

impl Client {
    /// Opens a session with the broker of a URL.
    ///
    /// # Errors
    /// What [`connect`] says.
    pub async fn connect(url: &BrokerUrl) -> Result<Self> {
        Ok(Self::new(connect(url).await?))
    }

    /// Uses a session that is open.
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, patience: limits::PATIENCE }
    }

    /// Sets for how long a call that enqueues is repeated while the broker cannot be reached: 5 s unless set, 0 for not at all.
    /// A repeated call is the same call, so nothing is doubled. On RabbitMQ, where no call is known again, nothing is
    /// repeated.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// The session, for what a client has no word for.
    #[must_use]
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// Sends one task: await what this returns, and get its id. The task is durable then.
    pub fn send<T: Task>(&self, task: T) -> Sending<'_, T> {
        // Taken by value, as the handler will get it: a producer has no more use for it.
        Sending::new(self, NewTask::of(&task))
    }

    /// Sends many tasks in as few calls as the limits allow, and answers for each in order. What is refused is said
    /// in the answers; the tasks of one call are enqueued in one step, those of several are not.
    ///
    /// # Errors
    /// What [`Broker::enqueue`] says. What the calls before the failed one enqueued is on the queues: sending
    /// the same tasks again is answered `Exists` for those that are not settled yet, and for those whose ids were given.
    ///
    /// # Cancel safety
    /// Some of the tasks may be enqueued.
    pub async fn send_all(&self, tasks: &[NewTask]) -> Result<Vec<Enqueued>> {
        let mut answers = Vec::with_capacity(tasks.len());
        while let Some(rest) = tasks.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            at(Point::BatchAsking);
            answers.extend(self.broker.enqueue_repeatedly(&rest[..call_size(rest)], self.patience).await?);
            at(Point::BatchAnswered);
        }
        Ok(answers)
    }

    /// Waits until a batch has ended, and returns how; `None` when there is none, or it ended long ago.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](manyhands_broker::ErrorKind::Timeout) when it has not after `timeout`; what [`Broker::batch`] says.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn join_batch(&self, batch: &BatchName, timeout: Duration) -> Result<Option<BatchStatus>> {
        self.broker.join_batch(batch, Some(timeout)).await
    }

    /// Says that no more will come to a queue: its workers may end when it is empty.
    ///
    /// # Errors
    /// What [`Broker::close`] says.
    pub async fn close(&self, queue: &QueueName) -> Result<()> {
        at(Point::CloseAsking);
        self.broker.close(queue).await?;
        at(Point::CloseAnswered);
        Ok(())
    }
}

/// How many of the tasks go into one call; at least one, which the broker refuses if it is too large.
fn call_size(tasks: &[NewTask]) -> usize {
    let mut bytes = 0;
    let fits = |task: &&NewTask| {
        bytes += task.payload.len();
        bytes <= limits::MAX_BATCH_BYTES
    };
    tasks.iter().take(limits::MAX_BATCH).take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use manyhands_broker::{Payload, TaskName};

    use super::*;

    fn task(bytes: usize) -> NewTask {
        let payload = Payload::from_json(&format!("\"{}\"", "x".repeat(bytes - 2))).unwrap();
        NewTask::new(QueueName::new("q").unwrap(), TaskName::new("t").unwrap(), payload)
    }

    #[test]
    fn calls_keep_the_limits() {
        assert_eq!(call_size(&vec![task(10); 1000]), limits::MAX_BATCH);
        assert_eq!(call_size(&vec![task(limits::MAX_PAYLOAD); 9]), 4);
        assert_eq!(call_size(&[task(limits::MAX_BATCH_BYTES + 1)]), 1);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn more_than_a_call_takes_is_sent_in_several() {
        let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
        let tasks: Vec<_> = (0..600).map(|_| task(100)).collect();
        assert_eq!(client.send_all(&tasks).await.unwrap(), vec![Enqueued::Enqueued; 600]);
        assert_eq!(client.send_all(&tasks).await.unwrap(), vec![Enqueued::Exists; 600]);
    }
}
