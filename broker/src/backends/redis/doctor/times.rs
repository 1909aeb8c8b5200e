//! How long the calls of a task take, each measured a few times.

use std::time::{Duration, Instant};

use crate::{
    Beat, Broker, Check, Claim, End, Enqueued, ErrorKind, Namespace, NewTask, Payload, QueueName, Result,
    Settlement, TaskName, backends::redis::RedisBroker, doctor::calls, limits,
};

/// How many tasks are tried.
const ROUNDS: usize = 20;

/// How long a call may take in the middle of all, before somebody should look.
const SLOW: Duration = Duration::from_millis(5);

/// The calls, in the order in which a task needs them.
const CALLS: [&str; 5] = ["ping", "enqueue", "claim", "beat", "settle"];

impl RedisBroker {
    /// Measures all calls of a task, in a namespace that is there only for that.
    pub(super) async fn times(&self) -> Check {
        match self.measured().await {
            Ok(times) => said(times),
            Err(error) if error.kind() == ErrorKind::Full => Check::bad(
                "calls",
                "the server takes no task: it is out of memory",
                "raise maxmemory, or start workers",
            ),
            Err(error) => Check::warn(
                "calls",
                format!("they could not be measured: {}", error.report()),
                error.advice().unwrap_or("see the server's log"),
            ),
        }
    }

    async fn measured(&self) -> Result<[Vec<Duration>; CALLS.len()]> {
        let namespace = Namespace::new(&format!("doctor.{}", self.incarnation))?;
        let scratch = Self::open(self.config.clone().with_namespace(namespace)).await?;
        let queue = QueueName::new("tried")?;
        let times = scratch.rounds(&queue).await;
        let mut forget = redis::cmd("UNLINK");
        forget.arg(scratch.keys_of(&queue));
        let forgotten = scratch.ask::<u64>("doctor", forget).await;
        times.and_then(|times| forgotten.map(|_| times))
    }

    async fn rounds(&self, queue: &QueueName) -> Result<[Vec<Duration>; CALLS.len()]> {
        let mut times: [Vec<Duration>; CALLS.len()] = Default::default();
        // The first round tells the server its scripts, and is not counted.
        for round in 0..=ROUNDS {
            for (all, took) in times.iter_mut().zip(self.round(queue).await?).filter(|_| round > 0) {
                all.push(took);
            }
        }
        Ok(times)
    }

    /// Lets one task go through its life.
    async fn round(&self, queue: &QueueName) -> Result<[Duration; CALLS.len()]> {
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed();
        self.ask::<String>("doctor", redis::cmd("PING")).await?;
        let ping = lap();
        let task = NewTask::new(queue.clone(), TaskName::new("tried")?, Payload::from_json("null")?);
        let enqueued = self.enqueue(std::slice::from_ref(&task), None).await?;
        debug_assert_eq!(enqueued, [Enqueued::Enqueued]);
        let enqueue = lap();
        let claimed = Broker::claim(self, &Claim::new(queue.clone(), 1)).await?.tasks;
        let claim = lap();
        let leases: Vec<_> = claimed.into_iter().map(|task| task.lease).collect();
        self.beat(&Beat::all(&leases), limits::LEASE).await?;
        let beat = lap();
        let ends: Vec<_> =
            leases.into_iter().map(|lease| Settlement::new(lease, End::complete(Vec::new()))).collect();
        self.settle(&ends).await?;
        Ok([ping, enqueue, claim, beat, lap()])
    }
}

fn said(times: [Vec<Duration>; CALLS.len()]) -> Check {
    let remark = format!("the middle of {ROUNDS}, one task each");
    let advice = "the server or the network is slow: redis-cli --latency, redis-cli slowlog get, and what else the host does";
    calls(CALLS, times, &remark, SLOW, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    #[test]
    fn the_middle_counts() {
        let times = |ms: [u64; 3]| std::array::from_fn(|_| ms.map(Duration::from_millis).to_vec());
        let check = said(times([90, 1, 2]));
        assert!(check.found.starts_with("ping 2.00 ms, enqueue 2.00 ms,"), "{check:?}");
        assert_eq!(check.verdict, Verdict::Ok);
        assert_eq!(said(times([90, 6, 2])).verdict, Verdict::Warn);
    }
}
