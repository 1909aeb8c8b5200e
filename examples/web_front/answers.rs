//! Answers on their way back: one loop asks for all who wait, so that a thousand of them cost a few calls, not a thousand.

use std::{collections::HashMap, sync::Arc, time::Duration};

use manyhands::{Broker, Interest, Outcome, QueueName, TaskId, capabilities::Results};
use tokio::sync::{mpsc, oneshot};

use crate::intake::{Reply, Waiting};

/// The most tasks that a broker is asked about in one call.
const CALL: usize = 256;

/// How long a hint that something changed is waited for. Hints can be lost.
const POLL: Duration = Duration::from_millis(250);

/// Between two rounds: under load there is always news, and a broker should do more than tell it.
const BREATH: Duration = Duration::from_millis(5);

/// Asks what became of tasks, and tells who waits.
pub(crate) struct Answers {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) queue: QueueName,
}

impl Answers {
    /// Answers until nobody can begin to wait any more.
    pub(crate) async fn run(self, mut newcomers: mpsc::Receiver<Vec<Waiting>>) {
        let mut waiting: HashMap<TaskId, oneshot::Sender<Reply>> = HashMap::new();
        loop {
            if waiting.is_empty() {
                let Some(first) = newcomers.recv().await else { return };
                waiting.extend(first);
            }
            // Registered before it is asked: what happens in between is not missed.
            let changed = self.broker.wait_for(Interest::Settled, std::slice::from_ref(&self.queue));
            while let Ok(more) = newcomers.try_recv() {
                waiting.extend(more);
            }
            // Those whose deadline is over, or who went away.
            waiting.retain(|_, reply| !reply.is_closed());
            self.round(&mut waiting).await;
            tokio::time::sleep(BREATH).await;
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(POLL) => {}
                // Their tasks may have ended before the hint was registered.
                Some(more) = newcomers.recv() => waiting.extend(more),
            }
        }
    }

    /// Asks once for each who waits. Where the broker is away, they go on waiting: it may come back before their deadlines.
    async fn round(&self, waiting: &mut HashMap<TaskId, oneshot::Sender<Reply>>) {
        let only_sent = self.broker.capabilities().results == Results::ToSender;
        let ids: Vec<_> = waiting.keys().cloned().collect();
        for ids in ids.chunks(CALL) {
            let Ok(outcomes) = self.broker.outcomes(&self.queue, ids).await else { return };
            for (id, outcome) in ids.iter().zip(outcomes) {
                let open = match outcome {
                    Outcome::Pending { .. } => true,
                    // It may have been sent while the connection was gone, and may still come.
                    Outcome::Unknown => only_sent,
                    _ => false,
                };
                if let Some(reply) = (!open).then(|| waiting.remove(id)).flatten() {
                    let _ = reply.send(Reply::Ended(outcome));
                }
            }
        }
    }
}
