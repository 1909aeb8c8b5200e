//! Requests on their way into the queue: whatever came while one call was under way makes up the next one.

use std::time::Duration;

use manyhands::{Client, Enqueued, ErrorKind, NewTask, Outcome, QueueName, QueueOptions, TaskId};
use tokio::sync::{mpsc, oneshot};

/// The most tasks that a broker takes in one call.
const CALL: usize = 256;

/// How long a call is repeated while the broker is away. Short, as people wait; long enough for a connection that only broke.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

/// One request.
pub(crate) struct Asked {
    pub(crate) task: NewTask,
    /// Whether it is enough to know that the task is queued.
    pub(crate) later: bool,
    /// Who asked. Closed when nobody waits any more.
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// What is told to who asked, once.
pub(crate) enum Reply {
    /// The task is queued, and who asked will come back for the answer.
    Queued,
    /// There is no room.
    Full,
    /// The broker is away. It may have taken the task all the same.
    Away,
    /// The queue takes nothing, for this reason.
    Refused(String),
    /// What became of the task.
    Ended(Outcome),
}

/// A task that is queued, and who waits for what becomes of it.
pub(crate) type Waiting = (TaskId, oneshot::Sender<Reply>);

/// Where the tasks go.
pub(crate) struct Intake {
    pub(crate) client: Client,
    pub(crate) queue: QueueName,
    pub(crate) options: QueueOptions,
    /// Those who wait are handed on.
    pub(crate) waiting: mpsc::Sender<Vec<Waiting>>,
}

impl Intake {
    /// Queues what is asked until nobody can ask any more.
    pub(crate) async fn run(self, mut asked: mpsc::Receiver<Asked>) {
        let (mut batch, mut away) = (Vec::new(), false);
        while asked.recv_many(&mut batch, CALL).await > 0 {
            // Who gave up while the call before this one was under way is not worked for.
            batch.retain(|asked| !asked.reply.is_closed());
            match self.enqueue(&batch, away).await {
                Ok(answers) => {
                    if std::mem::take(&mut away) {
                        eprintln!("the broker is back");
                    }
                    self.tell(batch.drain(..), answers).await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        eprintln!("warning: nothing can be queued: {}", error.report());
                    }
                    // Those who asked meanwhile need not wait for their own failure.
                    while let Ok(asked) = asked.try_recv() {
                        batch.push(asked);
                    }
                    let reply = || match error.kind() {
                        ErrorKind::Unavailable | ErrorKind::Timeout => Reply::Away,
                        _ => Reply::Refused(error.to_string()),
                    };
                    batch.drain(..).for_each(|asked| drop(asked.reply.send(reply())));
                }
            }
        }
    }

    async fn enqueue(&self, batch: &[Asked], was_away: bool) -> manyhands::Result<Vec<Enqueued>> {
        if was_away {
            self.configure().await?;
        }
        let tasks: Vec<_> = batch.iter().map(|asked| asked.task.clone()).collect();
        self.client.send_all(&tasks).await
    }

    /// A broker that lost its data has lost the queue's capacity, too: without this the queue would be made anew, as long as can be.
    async fn configure(&self) -> manyhands::Result<()> {
        match self.client.broker().declare(&self.queue, Some(&self.options)).await {
            // Somebody has changed it meanwhile, and knows why.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            declared => declared.map(drop),
        }
    }

    async fn tell(&self, batch: impl Iterator<Item = Asked>, answers: Vec<Enqueued>) {
        let mut waiting = Vec::new();
        for (Asked { task, later, reply }, answer) in batch.zip(answers) {
            // Who does not wait any more needs no answer.
            let _ = match answer {
                Enqueued::Enqueued | Enqueued::Exists if !later => {
                    waiting.push((task.id, reply));
                    continue;
                }
                Enqueued::Enqueued | Enqueued::Exists => reply.send(Reply::Queued),
                Enqueued::Full => reply.send(Reply::Full),
                Enqueued::Closed | Enqueued::Duplicate(_) => {
                    reply.send(Reply::Refused("the queue is closed".to_owned()))
                }
            };
        }
        if !waiting.is_empty() {
            // The other end goes only when the program does.
            let _ = self.waiting.send(waiting).await;
        }
    }
}
