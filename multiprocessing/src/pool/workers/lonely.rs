//! Whether there is anybody who will do calls: a pool that nobody serves says so, instead of waiting for ever.

use std::sync::Arc;

use manyhands_broker::{Broker, Error, ErrorKind, LiveWorker, QueueName, Result, limits};

use super::Workers;

/// The workers of a queue.
async fn serving(broker: &Arc<dyn Broker>, queue: &QueueName) -> Result<Vec<LiveWorker>> {
    let Some(workers) = broker.workers() else { return Ok(Vec::new()) };
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let some = workers.live(after, limits::MAX_BATCH).await?;
        after = some.last().map(|worker| worker.incarnation);
        let last = some.len() < limits::MAX_BATCH;
        // Of those who serve more queues than they tell, nothing is known.
        let serves = |worker: &LiveWorker| {
            worker.report.queues.contains(queue) || worker.report.queues.len() >= limits::MAX_TOLD
        };
        all.extend(some.into_iter().filter(serves));
        if last || after.is_none() {
            return Ok(all);
        }
    }
}

/// How many tasks the workers of a queue do at a time; at least 1.
pub(in crate::pool) async fn slots(broker: &Arc<dyn Broker>, queue: &QueueName) -> Result<usize> {
    let workers = serving(broker, queue).await?;
    Ok(workers.iter().map(|worker| worker.report.slots).sum::<usize>().max(1))
}

impl Workers {
    /// Why what is under way will not be done, if that is so.
    pub(super) async fn lonely(&self) -> Option<Error> {
        let workers = match serving(&self.broker, &self.queue).await {
            Ok(workers) => workers,
            Err(error) if error.is_retryable() => return Some(error),
            Err(error) => {
                tracing::debug!(error = %error.report(), "the workers of a pool cannot be listed");
                return None;
            }
        };
        let error = |message| Some(Error::new(ErrorKind::Unavailable, "call", message));
        if workers.is_empty() {
            let message = format!("no worker serves queue \"{}\"", self.queue);
            return Some(error(message)?.advise(
                "start one: a program whose main function is manyhands::main(|app| app.function(…))",
            ));
        }
        let knows = |worker: &LiveWorker, name| {
            worker.report.handlers.contains(name) || worker.report.handlers.len() >= limits::MAX_TOLD
        };
        let functions = self.under_way.functions();
        let unknown = functions.iter().find(|name| !workers.iter().any(|worker| knows(worker, name)))?;
        let message = format!("no worker of queue \"{}\" has the function {unknown}", self.queue);
        Some(error(message)?.advise(
            "add it to the workers, app.function(…), and build them from the sources of this program",
        ))
    }
}
