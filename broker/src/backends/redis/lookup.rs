//! Single tasks and the options of queues, as an operator sees them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use redis::Value;

use super::{
    RedisBroker,
    arguments::text,
    client, keys,
    look::{self, Found, mark_arguments},
    reply::{self, unexpected},
    scripts,
};
use crate::{
    Holder, Incarnation, Lookup, Mark, QueueName, QueueOptions, QueueStatus, Result, State, TaskDetail,
    TaskId, TaskPage, Why,
    clock::millis,
    machine::{Configuration, purged, reason},
};

#[async_trait]
impl Lookup for RedisBroker {
    async fn get(&self, queue: &QueueName, id: &TaskId) -> Result<Option<TaskDetail>> {
        match self.look_for("get", queue, id, true).await? {
            Found::Task(task, _) => Ok(Some(*task)),
            Found::Ended(_) => Ok(None),
        }
    }

    async fn list(
        &self,
        queue: &QueueName,
        state: State,
        after: Option<&Mark>,
        max: usize,
    ) -> Result<TaskPage> {
        let mut page = TaskPage { tasks: Vec::new(), next: after.cloned() };
        // A reply with large tasks, or with tasks that left their place, has fewer than were asked for.
        loop {
            let mut arguments = vec![text(look::letter(state)), text(max - page.tasks.len())];
            arguments.extend(page.next.iter().flat_map(|mark| mark_arguments(state, mark)));
            let reply: Vec<Value> = self.call("list", &scripts::LIST, self.keys_of(queue), arguments).await?;
            let (head, tasks) = reply.split_first_chunk().ok_or_else(|| unexpected("list"))?;
            let (more, last) = look::next(state, head).ok_or_else(|| unexpected("list"))?;
            for task in tasks.chunks(look::VALUES) {
                page.tasks.extend(look::info("list", task)?);
            }
            page.next = more.then_some(last);
            if page.next.is_none() || page.tasks.len() >= max {
                return Ok(page);
            }
        }
    }

    async fn why(&self, queue: &QueueName, id: &TaskId) -> Result<Why> {
        match self.look_for("why", queue, id, false).await? {
            Found::Task(task, facts) => Ok(reason(*task, facts)),
            Found::Ended(why) => Ok(why),
        }
    }

    async fn holders(&self, incarnations: &[Incarnation]) -> Result<Vec<Option<Holder>>> {
        let clients = self.clients().await?;
        Ok(incarnations.iter().map(|incarnation| client::holder(&clients, *incarnation)).collect())
    }

    async fn set(&self, queue: &QueueName, options: &QueueOptions, revision: u64) -> Result<QueueStatus> {
        let arguments = vec![
            text(self.keys.channel()),
            text(revision),
            text(options.capacity),
            text(millis(options.remember_ids)),
            text(reply::order(options.order)),
            options.key_limit.map(text).unwrap_or_default(),
            text(millis(options.key_interval)),
        ];
        let reply: Vec<Value> = self.call("set", &scripts::SET, self.keys_of(queue), arguments).await?;
        if reply.is_empty() {
            // It was not even made, and this says why.
            Configuration::default().change(queue, options, revision, 0, 0)?;
            return Err(unexpected("set"));
        }
        let (status, configured) = reply::status(&reply).ok_or_else(|| unexpected("set"))?;
        if status.options != *options {
            // It was not taken, and this says why.
            let (unsettled, dead) = (status.unsettled(), status.dead);
            let mut stored = Configuration { options: status.options, revision: status.revision, configured };
            stored.change(queue, options, revision, unsettled, dead)?;
            return Err(unexpected("set"));
        }
        Ok(status)
    }

    async fn purge(&self, queue: &QueueName, states: &[State], max: usize) -> Result<u64> {
        let mut arguments = vec![text(self.keys.channel()), text(max)];
        arguments.extend(purged(states)?.into_iter().map(|state| text(look::letter(state))));
        self.call("purge", &scripts::PURGE_WAITING, self.keys_of(queue), arguments).await
    }
}

impl RedisBroker {
    /// Looks for the names of queues among all keys of the server, some at a time: nothing else says which there are.
    pub(super) async fn names(&self, after: Option<&QueueName>, max: usize) -> Result<Vec<QueueName>> {
        let pattern = format!("{}info:*", self.keys.of_queues()).into_bytes();
        let (mut names, mut cursor) = (BTreeSet::new(), "0".to_owned());
        loop {
            let arguments = vec![pattern.clone(), cursor.into_bytes()];
            let keys = vec![self.keys.namespace()];
            let (next, found): (String, Vec<String>) =
                self.call("queues", &scripts::QUEUES, keys, arguments).await?;
            let found = found.iter().filter_map(|key| self.keys.queue_of(key));
            names.extend(found.filter(|name| after.is_none_or(|after| name > after)));
            while names.len() > max {
                names.pop_last();
            }
            if next == "0" {
                return Ok(names.into_iter().collect());
            }
            cursor = next;
        }
    }

    async fn look_for(
        &self,
        operation: &'static str,
        queue: &QueueName,
        id: &TaskId,
        body: bool,
    ) -> Result<Found> {
        let arguments = vec![keys::id(id), text(u8::from(body))];
        let reply: Vec<Value> = self.call(operation, &scripts::TASK, self.keys_of(queue), arguments).await?;
        look::found(operation, &reply)
    }
}
