//! One task on its way.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
};

use manyhands_broker::{
    Enqueued, Error, ErrorKind, NewTask, QueueName, Result, TaskId,
    crash::{Point, at},
};

use crate::Client;

/// A task that is sent when this is awaited; nothing happens before.
///
/// # Errors
/// [`ErrorKind::Full`] when its queue has no room, [`ErrorKind::Closed`] when its queue is closed,
/// [`ErrorKind::Invalid`] when something about it is wrong, and what [`Broker::enqueue`] says.
///
/// # Cancel safety
/// The task may be enqueued. With an id of your own, sending it again is harmless.
///
/// [`Broker::enqueue`]: manyhands_broker::Broker::enqueue
#[derive(Debug)]
#[must_use = "a task is sent when this is awaited"]
pub struct Sending<'c> {
    client: &'c Client,
    task: Result<NewTask>,
}

impl<'c> Sending<'c> {
    pub(crate) fn new(client: &'c Client, task: Result<NewTask>) -> Self {
        Self { client, task }
    }

    /// Sends it to another queue than its type's.
    pub fn queue(mut self, queue: &str) -> Self {
        self.task = self.task.and_then(|task| Ok(task.on(QueueName::new(queue)?)));
        self
    }

    /// Gives it an id. Sending the same id again, also for a while after the task was settled, changes nothing and
    /// returns the id.
    pub fn id(mut self, id: &str) -> Self {
        self.task = self.task.and_then(|task| Ok(task.with_id(TaskId::new(id)?)));
        self
    }

    /// Sets how many failures of the handler make it dead.
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.task = self.task.map(|task| task.with_max_attempts(max_attempts));
        self
    }
}

impl Client {
    /// Sends a task that was built by hand and returns its id. The task is durable then.
    ///
    /// # Errors
    /// As awaiting a [`Sending`].
    ///
    /// # Cancel safety
    /// As a [`Sending`].
    pub async fn send_task(&self, task: NewTask) -> Result<TaskId> {
        at(Point::SendAsking);
        let answers = self.broker().enqueue(std::slice::from_ref(&task)).await?;
        at(Point::SendAnswered);
        let queue = &task.queue;
        match answers.first() {
            Some(Enqueued::Enqueued | Enqueued::Exists) => Ok(task.id),
            Some(Enqueued::Full) => {
                let status = self.broker().status(queue).await?;
                let capacity = status.map_or(0, |status| status.options.capacity);
                let message = format!("queue \"{queue}\" is full ({capacity} tasks are not settled)");
                Err(Error::new(ErrorKind::Full, "send", message)
                    .advise("start more workers, or send it later"))
            }
            Some(Enqueued::Closed) => {
                let message = format!("queue \"{queue}\" is closed: somebody said that no more will come");
                Err(Error::new(ErrorKind::Closed, "send", message).advise("use another queue"))
            }
            None => Err(Error::new(
                ErrorKind::Internal,
                "send",
                format!("no answer for a task of queue \"{queue}\""),
            )),
        }
    }
}

impl<'c> IntoFuture for Sending<'c> {
    type Output = Result<TaskId>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<TaskId>> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.client.send_task(self.task?).await })
    }
}

#[cfg(test)]
mod tests {
    use manyhands_broker::{QueueOptions, Task};
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Work(u32);

    impl Task for Work {
        const NAME: &'static str = "work";
        type Output = ();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn refusals_name_the_queue() {
        let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
        let q = QueueName::new("q").unwrap();
        client.broker().declare(&q, Some(&QueueOptions::default().with_capacity(1))).await.unwrap();
        assert_eq!(client.send(Work(1)).queue("q").id("a").await.unwrap().to_string(), "a");
        assert_eq!(client.send(Work(1)).queue("q").id("a").await.unwrap().to_string(), "a");
        let full = client.send(Work(2)).queue("q").await.unwrap_err();
        assert_eq!(
            (full.kind(), full.to_string().as_str()),
            (ErrorKind::Full, "queue \"q\" is full (1 tasks are not settled)")
        );
        client.close(&q).await.unwrap();
        let closed = client.send(Work(3)).queue("q").await.unwrap_err();
        assert_eq!(closed.kind(), ErrorKind::Closed);
        assert_eq!(client.send(Work(4)).queue("no such name").await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(client.send(Work(5)).id("").await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
