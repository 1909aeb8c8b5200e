//! Units become tasks.

use std::time::Duration;

use manyhands_broker::{BrokerExt, Enqueued, Error, ErrorKind, Interest, NewTask, Payload, limits};

use super::Workers;
use crate::{
    CallError,
    pool::{
        line::Standing,
        unit::{Ended, Unit},
    },
};

/// How long it is at most until a full queue is tried again.
const FULL: Duration = Duration::from_secs(1);

impl Workers {
    /// Sends what stands in the line, until that has ended.
    pub(super) async fn send(&self) {
        loop {
            let news = self.line.news();
            tokio::pin!(news);
            news.as_mut().enable();
            let room = self.under_way.room().min(limits::MAX_BATCH);
            let mut units = Vec::new();
            let standing = self.line.take(room, limits::MAX_BATCH_BYTES, true, &mut units);
            if standing != Standing::Open {
                self.done.cancel();
                self.under_way.more.notify_one();
                return;
            }
            if !units.is_empty() {
                self.send_all(units).await;
                continue;
            }
            // A line that is stopped is news, too.
            tokio::select! {
                () = &mut news => {}
                () = self.under_way.less.notified() => {}
            }
        }
    }

    async fn send_all(&self, units: Vec<Unit>) {
        let (fit, large): (Vec<_>, Vec<_>) =
            units.into_iter().partition(|unit| unit.calls.len() <= limits::MAX_PAYLOAD);
        for unit in large {
            let message = format!(
                "{} calls of {} have {} bytes of arguments: a task has at most 1 MiB",
                unit.count,
                unit.function,
                unit.calls.len()
            );
            self.fail(
                [unit],
                Error::invalid("call", message).advise("use smaller chunks, or pass a reference"),
            );
        }
        let mut sent: Vec<(NewTask, Option<Unit>)> =
            fit.into_iter().filter_map(|unit| Some((self.task(&unit)?, Some(unit)))).collect();
        while !sent.is_empty() {
            // Before it is known that the queue is full.
            let room = self.broker.wait_for(Interest::Settled, std::slice::from_ref(&self.queue));
            let tasks: Vec<NewTask> = sent.iter().map(|(task, _)| task.clone()).collect();
            let answers = match self.broker.enqueue_repeatedly(&tasks, self.terms.patience).await {
                Ok(answers) => answers,
                Err(error) => {
                    self.fail(sent.into_iter().filter_map(|(_, unit)| unit), error);
                    return;
                }
            };
            let (mut stored, mut again) = (Vec::new(), Vec::new());
            for ((task, unit), answer) in sent.into_iter().zip(answers) {
                let Some(unit) = unit else { continue };
                match answer {
                    Enqueued::Enqueued | Enqueued::Exists => stored.push((task.id, unit)),
                    Enqueued::Full => again.push((task, Some(unit))),
                    other => {
                        let message = format!("queue \"{}\" takes no calls: {other:?}", self.queue);
                        let error = Error::new(ErrorKind::Closed, "call", message);
                        self.fail([unit], error.advise("use a pool on another queue"));
                    }
                }
            }
            self.under_way.add(stored);
            sent = again;
            if let (Some(over), false) = (self.line.over(), sent.is_empty()) {
                for (_, unit) in sent {
                    unit.into_iter().for_each(|unit| self.line.end(unit, Ended::Failed(over.clone())));
                }
                return;
            }
            if !sent.is_empty() {
                let _ = tokio::time::timeout(FULL, room).await;
            }
        }
    }

    /// The task of a unit; a unit whose arguments are no text has none, and ends.
    fn task(&self, unit: &Unit) -> Option<NewTask> {
        // It was written as JSON.
        let text = String::from_utf8(unit.calls.clone()).ok()?;
        let task = NewTask::new(self.queue.clone(), unit.function.clone(), Payload::from_stored(text))
            .with_result(self.wanted())
            .with_max_attempts(1)
            .with_max_crashes(self.terms.max_crashes);
        Some(match self.terms.run_limit {
            Some(limit) => task.with_run_limit(limit),
            None => task,
        })
    }

    /// Ends a unit whose task has an outcome.
    pub(super) fn end(&self, unit: Unit, ended: Ended) {
        self.line.end(unit, ended);
    }

    /// What a dead task is to who called.
    pub(super) async fn dead(&self, id: &manyhands_broker::TaskId, why: String) -> CallError {
        let lookup = match self.broker.lookup() {
            Some(lookup) => lookup.get(&self.queue, id).await.ok().flatten(),
            None => None,
        };
        let crashes = lookup.map_or(0, |task| task.info.crashes);
        if crashes >= self.terms.max_crashes {
            return CallError::Crashed { crashes, exit: None, how: why };
        }
        let message = format!("task {id} of queue \"{}\" is dead: {why}", self.queue);
        Error::new(ErrorKind::Failed, "call", message)
            .advise("mend the cause; the task is among the dead of its queue")
            .into()
    }
}
