//! What is refused before any broker does I/O: what none accepts, and what this one does not claim to do.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Beaten, Broker, Capabilities, Claim, ClaimReply, End, Enqueued, Error, ErrorKind, Fsck, Incarnation,
    Lease, NewTask, QueueName, QueueOptions, QueueStatus, Result, Settled, Settlement, Waiter,
    capabilities::Ids, limits,
};

/// Wraps a backend and refuses, before any I/O, what no broker accepts and what this one cannot do.
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

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        if let Some(options) = options {
            check_options(queue, options)?;
            self.check_remember_ids(queue, options)?;
        }
        self.0.declare(queue, options).await
    }

    async fn enqueue(&self, tasks: &[NewTask]) -> Result<Vec<Enqueued>> {
        check_batch("enqueue", tasks.len())?;
        check_tasks("enqueue", tasks.iter())?;
        self.check_ids("enqueue", tasks.iter())?;
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
        self.check_lease("claim", claim.lease)?;
        self.0.claim(claim).await
    }

    async fn beat(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Beaten>> {
        check_batch("beat", leases.len())?;
        self.check_lease("beat", lease)?;
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        self.0.beat(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        check_batch("settle", settlements.len())?;
        let children = || {
            settlements.iter().flat_map(|settlement| match &settlement.end {
                End::Complete { children } => children.as_slice(),
                _ => &[],
            })
        };
        check_tasks("settle", children())?;
        self.check_ids("settle", children())?;
        for Settlement { lease, end } in settlements {
            if let End::Retry { delay, .. } = end {
                self.check_delay(lease, *delay)?;
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

    fn fsck(&self) -> Option<&dyn Fsck> {
        self.0.fsck()
    }

    fn wait(&self, queues: &[QueueName]) -> Waiter {
        self.0.wait(queues)
    }
}

impl<B: Broker> Guard<B> {
    /// Refuses an option that this backend cannot keep, before any I/O.
    fn unsupported(&self, operation: &'static str, what: &str, instead: &str) -> Error {
        let message = format!("{} cannot do that: {what}", self.0.backend());
        Error::new(ErrorKind::Unsupported, operation, message).advise(instead)
    }

    /// An id is given so that the same task is not enqueued twice: where nothing can be looked up, that cannot be promised.
    fn check_ids<'a>(&self, operation: &'static str, tasks: impl Iterator<Item = &'a NewTask>) -> Result<()> {
        if self.0.capabilities().ids == Ids::Remembered {
            return Ok(());
        }
        match { tasks }.find(|task| task.id_given) {
            Some(NewTask { id, queue, .. }) => {
                let what = format!(
                    "task {id} for queue \"{queue}\" has an id that was given, and no id is remembered"
                );
                Err(self.unsupported(
                    operation,
                    &what,
                    "leave the id to be generated, or use a local: or redis:// broker",
                ))
            }
            None => Ok(()),
        }
    }

    fn check_remember_ids(&self, queue: &QueueName, options: &QueueOptions) -> Result<()> {
        if self.0.capabilities().ids == Ids::Remembered || options.remember_ids == limits::REMEMBER_IDS {
            return Ok(());
        }
        let what =
            format!("queue \"{queue}\" is to remember ids for a time of its own, and no id is remembered");
        Err(self.unsupported("declare", &what, "leave remember_ids out, or use a local: or redis:// broker"))
    }

    fn check_delay(&self, lease: &Lease, delay: Duration) -> Result<()> {
        let (id, queue, max) = (&lease.id, &lease.queue, self.0.capabilities().max_delay());
        if delay > limits::MAX_DELAY {
            let message = format!("task {id} of queue \"{queue}\" cannot be put off by more than ten years");
            return Err(Error::invalid("settle", message));
        }
        if delay > max {
            let (days, max) = (delay.as_secs() / 86_400, max.as_secs() / 86_400);
            let what = format!(
                "task {id} of queue \"{queue}\" is to be put off by {days} days, at most {max} are possible"
            );
            return Err(self.unsupported("settle", &what, "put it off by less, again if need be"));
        }
        Ok(())
    }

    fn check_lease(&self, operation: &'static str, lease: Duration) -> Result<()> {
        let max = self.0.capabilities().max_lease();
        if !(limits::MIN_LEASE..=limits::MAX_LEASE).contains(&lease) {
            let message = format!("a lease lasts 100 ms to 24 h, not {} ms", lease.as_millis());
            return Err(Error::invalid(operation, message));
        }
        if lease > max {
            let what =
                format!("a lease of {} s, when a silent connection is given up before", lease.as_secs());
            let instead = format!("leases of {} s at most", max.as_secs());
            return Err(self.unsupported(operation, &what, &instead));
        }
        Ok(())
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
