//! What workers told of themselves. Three keys of the namespace, which are gone some time after the last worker:
//!
//! * `workers` HASH: incarnation → what it told, JSON
//! * `workers:heard` ZSET: incarnations, by when they told it, in ms of the server's clock
//! * `workers:drain` SET: incarnations that were asked to drain

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;
use uuid::Uuid;

use super::{
    RedisBroker,
    arguments::text,
    reply::{int, uint, unexpected},
    scripts,
};
use crate::{
    Incarnation, LiveWorker, Request, Result, WorkerReport, Workers, clock::millis, limits, workers::page,
};

#[async_trait]
impl Workers for RedisBroker {
    async fn report(&self, report: &WorkerReport) -> Result<Request> {
        let arguments = vec![text(self.incarnation), report.to_json(), text(silent())];
        let drain: i64 = self.call("report", &scripts::REPORT, self.keys.of_workers(), arguments).await?;
        Ok(if drain == 1 { Request::Drain } else { Request::Nothing })
    }

    async fn leave(&self) -> Result<()> {
        let arguments = vec![text(self.incarnation)];
        self.call::<i64>("leave", &scripts::LEAVE, self.keys.of_workers(), arguments).await.map(drop)
    }

    async fn live(&self, after: Option<Incarnation>, max: usize) -> Result<Vec<LiveWorker>> {
        let (mut all, mut last) = (Vec::new(), after);
        // A reply with long reports has fewer than were asked for.
        while all.len() < max {
            let arguments = vec![last.map(text).unwrap_or_default(), text(max - all.len()), text(silent())];
            let reply: Vec<Value> =
                self.call("live", &scripts::LIVE, self.keys.of_workers(), arguments).await?;
            let some: Option<Vec<_>> = reply.chunks(4).map(live).collect();
            let some = some.ok_or_else(|| unexpected("live"))?;
            let Some(worker) = some.last() else { break };
            last = Some(worker.incarnation);
            all.extend(some);
        }
        Ok(page(all, after, max))
    }

    async fn drain(&self, worker: Incarnation) -> Result<bool> {
        let arguments = vec![text(worker), text(silent())];
        let there: i64 = self.call("drain", &scripts::DRAIN, self.keys.of_workers(), arguments).await?;
        Ok(there == 1)
    }
}

fn silent() -> u64 {
    millis(limits::WORKER_SILENT)
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

fn live(values: &[Value]) -> Option<LiveWorker> {
    let [worker, heard, drain, report] = values else { return None };
    let worker = Uuid::try_parse_ascii(bytes(worker)?).ok()?;
    let heard = Duration::from_millis(uint(heard)?);
    Some(LiveWorker::new(worker.into(), heard, int(drain)? == 1, WorkerReport::from_json(bytes(report)?)))
}
