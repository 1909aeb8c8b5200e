//! Where tasks of one name go, by the flags and by the configuration file.

use manyhands_broker::{Broker, NewTask, Payload, QueueName, QueueOptions, Result, TaskName};
use manyhands_cli::config::Configuration;

/// The queue of tasks that neither a flag nor the configuration sends elsewhere.
const QUEUE: &str = "default";

/// A kind of task, and its queue.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) queue: QueueName,
    pub(super) name: TaskName,
    /// How the queue is configured, if this configuration does so.
    options: Option<QueueOptions>,
    max_attempts: Option<u32>,
    max_crashes: Option<u32>,
}

impl Target {
    /// What a flag says, else the configuration.
    pub(super) fn of(name: &str, queue: Option<&str>, configuration: &Configuration) -> Result<Self> {
        let name = TaskName::new(name)?;
        let settings = configuration.settings();
        let task = settings.tasks.get(&name);
        let queue = match (queue, task.and_then(|task| task.queue.as_ref())) {
            (Some(queue), _) => QueueName::new(queue)?,
            (None, Some(queue)) => queue.clone(),
            (None, None) => QueueName::new(QUEUE)?,
        };
        let options = settings.queues.get(&queue).cloned();
        let (max_attempts, max_crashes) =
            task.map_or((None, None), |task| (task.max_attempts, task.max_crashes));
        Ok(Self { queue, options, max_attempts, max_crashes, name })
    }

    /// Who configures a queue creates it so, before anything else uses it.
    pub(super) async fn declare(&self, broker: &dyn Broker) -> Result<()> {
        match &self.options {
            Some(options) => broker.declare(&self.queue, Some(options)).await.map(drop),
            None => Ok(()),
        }
    }

    /// A task of this kind.
    pub(super) fn task(&self, payload: Payload) -> NewTask {
        let mut task = NewTask::new(self.queue.clone(), self.name.clone(), payload);
        task.max_attempts = self.max_attempts.unwrap_or(task.max_attempts);
        task.max_crashes = self.max_crashes.unwrap_or(task.max_crashes);
        task
    }
}
