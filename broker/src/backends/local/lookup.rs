//! Single tasks and the options of queues, as an operator sees them.

use async_trait::async_trait;

use super::{LocalBroker, error::sqlite, liveness, writer::Call};
use crate::{
    Durability::Power, Holder, Incarnation, Lookup, Mark, QueueName, QueueOptions, QueueStatus, Result,
    State, TaskDetail, TaskId, TaskPage, Why,
};

#[async_trait]
impl Lookup for LocalBroker {
    async fn get(&self, queue: &QueueName, id: &TaskId) -> Result<Option<TaskDetail>> {
        let (queue, id) = (queue.clone(), id.clone());
        let call = Call::read("get", move |steps| steps.get(&queue, &id).map_err(|e| sqlite("get", e)));
        self.call("get", call).await
    }

    async fn list(
        &self,
        queue: &QueueName,
        state: State,
        after: Option<&Mark>,
        max: usize,
    ) -> Result<TaskPage> {
        let (queue, after) = (queue.clone(), after.cloned());
        let call = Call::read("list", move |steps| {
            steps.look_through(&queue, state, after.as_ref(), max).map_err(|e| sqlite("list", e))
        });
        self.call("list", call).await
    }

    async fn why(&self, queue: &QueueName, id: &TaskId) -> Result<Why> {
        let (queue, id) = (queue.clone(), id.clone());
        let call = Call::read("why", move |steps| steps.why(&queue, &id).map_err(|e| sqlite("why", e)));
        self.call("why", call).await
    }

    async fn holders(&self, incarnations: &[Incarnation]) -> Result<Vec<Option<Holder>>> {
        let (folder, incarnations) = (self.config.incarnations(), incarnations.to_vec());
        // Small files, read where no runtime is kept waiting by it.
        let call = Call::read("holders", move |_| {
            Ok(incarnations.iter().map(|incarnation| liveness::holder(&folder, *incarnation)).collect())
        });
        self.call("holders", call).await
    }

    async fn set(&self, queue: &QueueName, options: &QueueOptions, revision: u64) -> Result<QueueStatus> {
        let (queue, options) = (queue.clone(), options.clone());
        let call = Call::write("set", Power, move |steps| steps.set(&queue, &options, revision));
        self.call("set", call).await
    }

    async fn purge(&self, queue: &QueueName, states: &[State], max: usize) -> Result<u64> {
        let (queue, states) = (queue.clone(), states.to_vec());
        let call = Call::write("purge", Power, move |steps| steps.purge_waiting(&queue, &states, max));
        self.call("purge", call).await
    }
}
