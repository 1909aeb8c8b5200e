//! Arrow `cancel`: ready, scheduled or held → (gone).

use super::{Steps, TaskRow};
use crate::{
    Cancel, QueueName, TaskId,
    backends::local::{
        keys::{IdKey, state},
        statements,
    },
    machine::Fate,
};

impl Steps<'_, '_> {
    /// As `Machine::cancel`.
    pub(in super::super) fn cancel(
        &mut self,
        name: &QueueName,
        ids: &[TaskId],
    ) -> rusqlite::Result<Vec<Cancel>> {
        let Some(queue) = self.load_queue(name)? else { return Ok(vec![Cancel::Unknown; ids.len()]) };
        let queue = queue.key;
        let answers: rusqlite::Result<_> = ids.iter().map(|id| self.cancel_one(name, queue, id)).collect();
        self.save_shares()?;
        self.count_settled()?;
        answers
    }

    fn cancel_one(&mut self, name: &QueueName, queue: i64, id: &TaskId) -> rusqlite::Result<Cancel> {
        self.unpack_id(name, id)?;
        let Some(task) = self.find(statements::TASK, (queue, IdKey(id)), TaskRow::read)? else {
            return Ok(Cancel::Unknown);
        };
        match task.state {
            state::READY | state::SCHEDULED | state::HELD => {
                self.go(name, &task, Fate::Cancelled)?;
                Ok(Cancel::Cancelled)
            }
            state::LEASED => {
                self.execute(statements::ASK_TO_CANCEL, [task.key])?;
                Ok(Cancel::Asked)
            }
            _ => Ok(Cancel::Unknown),
        }
    }
}
