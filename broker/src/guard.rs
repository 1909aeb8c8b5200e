//! What holds for every broker, checked before any of them does I/O.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Beaten, Broker, Claim, ClaimReply, End, Enqueued, Error, Incarnation, Lease, NewTask, QueueName,
    QueueOptions, QueueStatus, Result, Settled, Settlement, Waiter, limits,
};

/// Wraps a backend and refuses what no broker accepts, before any I/O.
#[derive(Debug)]
pub struct Guard<B>(B);

impl<B: Broker> Guard<B> {
    /// Puts the guard around a backend.
    #[must_use]
    pub fn new(backend: B) -> Self {
        Self(backend)
    }
}

// A method that is forgotten here would silently go around the backend's own.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Broker> Broker for Guard<B> {
    fn backend(&self) -> &'static str {
        self.0.backend()
    }

    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        if let Some(options) = options {
            check_options(queue, options)?;
        }
        self.0.declare(queue, options).await
    }

    async fn enqueue(&self, tasks: &[NewTask]) -> Result<Vec<Enqueued>> {
        check_batch("enqueue", tasks.len())?;
        check_tasks("enqueue", tasks.iter())?;
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        self.0.enqueue(tasks).await
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        if claim.max == 0 || claim.max > limits::MAX_BATCH {
            let max = limits::MAX_BATCH;
            return Err(Error::invalid(
                "claim",
                format!("a claim takes 1 to {max} tasks, not {}", claim.max),
            ));
        }
        check_lease("claim", claim.lease)?;
        self.0.claim(claim).await
    }

    async fn beat(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Beaten>> {
        check_batch("beat", leases.len())?;
        check_lease("beat", lease)?;
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        self.0.beat(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        check_batch("settle", settlements.len())?;
        let children = settlements.iter().flat_map(|settlement| match &settlement.end {
            End::Complete { children } => children.as_slice(),
            _ => &[],
        });
        check_tasks("settle", children)?;
        for Settlement { lease, end } in settlements {
            if let End::Retry { delay, .. } = end
                && *delay > limits::MAX_DELAY
            {
                let (id, queue) = (&lease.id, &lease.queue);
                let message =
                    format!("task {id} of queue \"{queue}\" cannot be put off by more than ten years");
                return Err(Error::invalid("settle", message));
            }
        }
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        self.0.settle(settlements).await
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        self.0.close(queue).await
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        self.0.status(queue).await
    }

    fn wait(&self, queues: &[QueueName]) -> Waiter {
        self.0.wait(queues)
    }
}

fn check_options(queue: &QueueName, options: &QueueOptions) -> Result<()> {
    // What is stored is a signed 64-bit number, and one that JSON carries exactly.
    const MOST: u64 = 1 << 53;
    if options.capacity == 0 || options.capacity > MOST {
        let message = format!("queue \"{queue}\": the capacity is 1 to 2^53 tasks, not {}", options.capacity);
        return Err(Error::invalid("declare", message));
    }
    if options.remember_ids > limits::MAX_DELAY {
        return Err(Error::invalid(
            "declare",
            format!("queue \"{queue}\": ids are remembered for ten years at most"),
        ));
    }
    Ok(())
}

fn check_batch(operation: &'static str, len: usize) -> Result<()> {
    if len <= limits::MAX_BATCH {
        return Ok(());
    }
    let message = format!("a call takes at most {} tasks, not {len}", limits::MAX_BATCH);
    Err(Error::invalid(operation, message).advise("split it into several calls"))
}

fn check_lease(operation: &'static str, lease: Duration) -> Result<()> {
    if (limits::MIN_LEASE..=limits::MAX_LEASE).contains(&lease) {
        return Ok(());
    }
    Err(Error::invalid(operation, format!("a lease lasts 100 ms to 24 h, not {} ms", lease.as_millis())))
}

fn check_tasks<'a>(operation: &'static str, tasks: impl Iterator<Item = &'a NewTask>) -> Result<()> {
    let mut bytes = 0;
    let mut count = 0;
    for task in tasks {
        check_task(operation, task)?;
        bytes += task.payload.len();
        count += 1;
    }
    check_batch(operation, count)?;
    if bytes > limits::MAX_BATCH_BYTES {
        let message = format!("a call takes at most {} payload bytes, not {bytes}", limits::MAX_BATCH_BYTES);
        return Err(Error::invalid(operation, message).advise("split it into several calls"));
    }
    Ok(())
}

fn check_task(operation: &'static str, task: &NewTask) -> Result<()> {
    let NewTask { queue, id, payload, .. } = task;
    if payload.len() > limits::MAX_PAYLOAD {
        let (len, most) = (payload.len(), limits::MAX_PAYLOAD);
        let message = format!(
            "task {id} for queue \"{queue}\": the payload has {len} bytes, at most {most} are allowed"
        );
        let advice = "store it elsewhere and send a reference";
        return Err(Error::invalid(operation, message).advise(advice));
    }
    if payload.is_empty() {
        return Err(Error::invalid(
            operation,
            format!("task {id} for queue \"{queue}\": the payload is empty"),
        ));
    }
    if task.max_attempts == 0 || task.max_crashes == 0 {
        let message = format!("task {id} for queue \"{queue}\": max_attempts and max_crashes are at least 1");
        return Err(Error::invalid(operation, message));
    }
    Ok(())
}
