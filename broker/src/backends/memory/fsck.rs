//! The machine's own invariants, as findings.

use async_trait::async_trait;

use super::MemoryBroker;
use crate::{
    Fsck, QueueName, Result,
    fsck::{Finding, Report},
};

#[async_trait]
impl Fsck for MemoryBroker {
    /// Nothing but a defect of the machine can be found; there is no repair.
    async fn fsck(&self, _repair: bool) -> Result<Report> {
        let machine = self.shared.lock();
        let (queues, tasks) = machine.size();
        let mut report = Report { queues, tasks, ..Report::default() };
        for (queue, wrong) in machine.wrong() {
            report.add(Finding::new(queue.map(QueueName::as_str), wrong));
        }
        Ok(report)
    }
}
