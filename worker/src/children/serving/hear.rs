//! What a child at work says of its tasks.

use manyhands_broker::Payload;

use super::{
    super::{
        memory,
        protocol::{self, Level, Put, Said},
        verdict,
        warm::Wrong,
    },
    Serving,
};
use crate::TaskError;

impl Serving<'_> {
    /// Takes in what the child says of a task.
    ///
    /// # Errors
    /// Why it should not have said that.
    pub(super) fn hear(&mut self, said: Said) -> Result<(), Wrong> {
        let wrong = |why: String| Err(Wrong::NotNow(why));
        let (id, news) = match said {
            Said::Of { id, news } => (id, news),
            Said::Hello(_) => return wrong("the handler said hello twice".to_owned()),
            // They are in the log already.
            Said::Log { .. } => return Ok(()),
        };
        let Some(first) = self.window.front().filter(|given| given.job.context.id().to_string() == id) else {
            let id: String = id.chars().take(200).collect();
            return wrong(match self.window.is_empty() {
                true => format!("it spoke of the task {id:?} while it had none"),
                false => format!("the handler spoke of another task than the one that it is to run: {id:?}"),
            });
        };
        let context = &first.job.context;
        match news {
            protocol::News::Answer(answer) => {
                let answer = verdict::answered(answer, context, &self.keeper.pool.outfit.routes);
                self.putting = None;
                self.answered(answer);
            }
            protocol::News::Progress(progress) => {
                if let Err(error) = context.tell(progress) {
                    let why = format!("its progress is not told: {}", error.message());
                    self.child.log().message(Level::Warn, &why, Some(&id));
                }
            }
            protocol::News::Then(tasks) => {
                for task in tasks {
                    let handed_on =
                        task.task(&self.keeper.pool.outfit.routes).map_err(verdict::not_handed_on);
                    if let Err(error) = handed_on.and_then(|task| context.then_task(task)) {
                        // As it goes on with what can never be settled, it is ended.
                        return Err(Wrong::HandedOn(error));
                    }
                }
            }
            protocol::News::Put(_) if self.putting.is_some() => {
                return wrong("it enqueues a task before it has the answer for the last one".to_owned());
            }
            protocol::News::Put(Put { number, task }) => {
                let (context, task) = (context.clone(), task.task(&self.keeper.pool.outfit.routes));
                self.putting = Some(Box::pin(async move {
                    let put = match task {
                        Ok(task) => context.put(task).await,
                        Err(error) => Err(TaskError::bury(error.report())),
                    };
                    (number, put)
                }));
            }
        }
        Ok(())
    }

    /// The first task has an answer.
    fn answered(&mut self, answer: Result<Option<Payload>, TaskError>) {
        self.answered += 1;
        let took = self.began.elapsed();
        self.pace = Some(self.pace.map_or(took, |pace| pace.saturating_mul(7).saturating_add(took) / 8));
        self.keeper.pool.failures.well();
        if let Some(first) = self.window.pop_front() {
            first.job.answer(answer);
        }
        self.begin_first();
        let most = self.keeper.pool.outfit.most_memory;
        if most.is_some_and(|most| memory::resident(self.child.pid()) > most) {
            self.retire();
        }
    }
}
