//! What workers told of themselves, beside the machine.

use std::time::Duration;

use async_trait::async_trait;

use super::MemoryBroker;
use crate::{Incarnation, LiveWorker, Request, Result, WorkerReport, Workers, limits, workers::page};

/// What one worker told last.
#[derive(Debug)]
pub(super) struct Told {
    report: WorkerReport,
    /// When, in ms of the steady clock.
    at: u64,
    /// Somebody asked it to drain.
    drain: bool,
}

#[async_trait]
impl Workers for MemoryBroker {
    async fn report(&self, report: &WorkerReport) -> Result<Request> {
        let at = self.shared.now().steady;
        let mut workers = self.shared.workers();
        let drain = workers.get(&self.incarnation).is_some_and(|told| told.drain);
        workers.insert(self.incarnation, Told { report: report.clone(), at, drain });
        Ok(if drain { Request::Drain } else { Request::Nothing })
    }

    async fn leave(&self) -> Result<()> {
        self.shared.workers().remove(&self.incarnation);
        Ok(())
    }

    async fn live(&self, after: Option<Incarnation>, max: usize) -> Result<Vec<LiveWorker>> {
        let now = self.shared.now().steady;
        let live = |(incarnation, told): (&Incarnation, &Told)| {
            LiveWorker::new(*incarnation, told.heard(now), told.drain, told.report.clone())
        };
        Ok(page(self.shared.workers().iter().map(live).collect(), after, max))
    }

    async fn drain(&self, worker: Incarnation) -> Result<bool> {
        let now = self.shared.now().steady;
        let mut workers = self.shared.workers();
        let told = workers.get_mut(&worker).filter(|told| told.heard(now) <= limits::WORKER_SILENT);
        Ok(told.map(|told| told.drain = true).is_some())
    }
}

impl Told {
    fn heard(&self, now: u64) -> Duration {
        Duration::from_millis(now.saturating_sub(self.at))
    }
}
