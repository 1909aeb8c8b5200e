//! Dead tasks, as an operator sees them.

use async_trait::async_trait;
use redis::Value;

use super::{
    RedisBroker,
    reply::{self, each, unexpected},
    scripts,
};
use crate::{DeadLetters, DeadTask, QueueName, Result, Revived, TaskId};

#[async_trait]
impl DeadLetters for RedisBroker {
    async fn list(&self, queue: &QueueName, after: Option<u64>, max: usize) -> Result<Vec<DeadTask>> {
        let mut after = after.map_or("-inf".to_owned(), |mark| mark.to_string());
        let mut tasks = Vec::new();
        // A reply with large tasks has fewer than were asked for, though there are more.
        while tasks.len() < max {
            let arguments = vec![after.into_bytes(), (max - tasks.len()).to_string().into_bytes()];
            let reply: Vec<Value> = self.call("list", &scripts::DEAD, self.keys_of(queue), arguments).await?;
            let (last, found) = reply.split_first().ok_or_else(|| unexpected("list"))?;
            for task in found.chunks(8) {
                tasks.extend(reply::dead(task)?);
            }
            match reply::uint(last) {
                Some(last) => after = last.to_string(),
                None => break,
            }
        }
        Ok(tasks)
    }

    async fn revive(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Revived>> {
        let arguments = self.told_ids(ids);
        let reply: Vec<Value> = self.call("revive", &scripts::REVIVE, self.keys_of(queue), arguments).await?;
        each(&reply, ids.len(), "revive", reply::revived)
    }

    async fn purge(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<bool>> {
        let arguments = ids.iter().map(super::keys::id).collect();
        let reply: Vec<i64> = self.call("purge", &scripts::PURGE, self.keys_of(queue), arguments).await?;
        each(&reply, ids.len(), "purge", |answer| Some(*answer == 1))
    }
}
