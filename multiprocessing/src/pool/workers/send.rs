//! Units become tasks.

use std::time::Duration;

use manyhands_broker::{BrokerExt, Enqueued, Error, ErrorKind, Interest, NewTask, Payload, TaskId, limits};
use tokio::time::Instant;

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
        let mut sent: Vec<(NewTask, Unit)> = units.into_iter().map(|unit| (self.task(&unit), unit)).collect();
        let began = Instant::now();
        while !sent.is_empty() {
            // Before it is known that the queue is full.
            let room = self.broker.wait_for(Interest::Settled, std::slice::from_ref(&self.queue));
            let tasks: Vec<NewTask> = sent.iter().map(|(task, _)| task.clone()).collect();
            let answers = match self.broker.enqueue_repeatedly(&tasks, self.terms.patience).await {
                Ok(answers) => answers,
                Err(error) => return self.give_up(sent.into_iter().map(|(_, unit)| unit), error),
            };
            let (mut stored, mut again) = (Vec::new(), Vec::new());
            for ((task, unit), answer) in sent.into_iter().zip(answers) {
                match answer {
                    Enqueued::Enqueued | Enqueued::Exists => stored.push((task.id, unit)),
                    Enqueued::Full => again.push((task, unit)),
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
                    self.line.end(unit, Ended::Failed(over.clone()));
                }
                return;
            }
            if !sent.is_empty() {
                // It may be full of what others sent, and nobody there who makes room.
                if began.elapsed() >= self.terms.patience
                    && let Some(error) = self.lonely().await
                {
                    return self.give_up(sent.into_iter().map(|(_, unit)| unit), error);
                }
                let _ = tokio::time::timeout(FULL, room).await;
            }
        }
    }

    /// The task of a unit.
    fn task(&self, unit: &Unit) -> NewTask {
        let payload = Payload::from_stored(unit.calls.as_str());
        let task = NewTask::new(self.queue.clone(), unit.function.clone(), payload)
            .with_result(self.wanted())
            .with_max_attempts(1)
            .with_max_crashes(self.terms.max_crashes);
        match self.terms.run_limit {
            Some(limit) => task.with_run_limit(limit),
            None => task,
        }
    }

    /// What a dead task is to who called.
    pub(super) async fn dead(&self, id: &TaskId, why: String) -> CallError {
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
