//! What one backend does not claim to do.

use std::time::{Duration, SystemTime};

use super::{Guard, checks::check_options};
use crate::{
    Beat, Broker, DeadLetters, Error, ErrorKind, Lease, Lookup, NewTask, Order, QueueName, QueueOptions,
    Result, Start, Token, Wanted, Workers,
    capabilities::{Control, Ids, Orders, Results},
    limits,
};

/// What does all of it.
const INSTEAD: &str = "use a local: or redis:// broker";

impl<B: Broker> Guard<B> {
    /// Refuses an option that this backend cannot keep, before any I/O.
    fn unsupported(&self, operation: &'static str, what: &str, instead: &str) -> Error {
        let message = format!("{} cannot do that: {what}", self.0.backend());
        Error::new(ErrorKind::Unsupported, operation, message).advise(instead)
    }

    /// Refuses what a task asks for and this backend does not claim to do.
    pub(super) fn check_supported<'a>(
        &self,
        operation: &'static str,
        tasks: impl Iterator<Item = &'a NewTask> + Clone,
    ) -> Result<()> {
        self.check_ids(operation, tasks.clone())?;
        for task in tasks {
            let NewTask { id, queue, .. } = task;
            let about = |what: &str| format!("task {id} for queue \"{queue}\" {what}");
            let priorities = self.0.capabilities().priorities();
            if let Some(priority) = task.priority.filter(|priority| !priorities.contains(priority)) {
                let (lowest, highest) = (priorities.start(), priorities.end());
                let what = about(&format!(
                    "has priority {priority}, and there are those from {lowest} to {highest}, the lowest first"
                ));
                let instead = format!("use {lowest} to {highest}, or a local: or redis:// broker");
                return Err(self.unsupported(operation, &what, &instead));
            }
            if task.unique.is_some() {
                self.check_control(operation, || about("has a unique key"))?;
            }
            if task.key.is_some() {
                self.check_control(operation, || about("has a limited key"))?;
            }
            if task.batch.is_some() {
                self.check_control(operation, || about("is in a batch"))?;
            }
            if task.expires.is_some() {
                self.check_control(operation, || about("expires"))?;
            }
            let keeps = self.0.capabilities().results == Results::Kept;
            if !keeps && matches!(task.result, Wanted::Keep(_)) {
                let what =
                    about("has a result that is to be kept, and results are only sent to whoever waits");
                let instead = "wait for it where it is sent, or use a local: or redis:// broker";
                return Err(self.unsupported(operation, &what, instead));
            }
            self.check_start(operation, task)?;
        }
        Ok(())
    }

    fn check_start(&self, operation: &'static str, NewTask { id, queue, start, .. }: &NewTask) -> Result<()> {
        let delay = match start {
            Start::Now => return Ok(()),
            Start::After(delay) => *delay,
            Start::At(time) => time.duration_since(SystemTime::now()).unwrap_or_default(),
        };
        let about = format!("task {id} for queue \"{queue}\"");
        let max = self.0.capabilities().max_delay();
        if delay > max {
            let (days, max) = (delay.as_secs() / 86_400, max.as_secs() / 86_400);
            let what = format!("{about} is to start in {days} days, at most {max} are possible");
            return Err(self.unsupported(operation, &what, "enqueue it later"));
        }
        Ok(())
    }

    /// Refuses what needs tasks to be looked up, where none can be.
    pub(super) fn check_control(&self, operation: &'static str, what: impl FnOnce() -> String) -> Result<()> {
        match self.0.capabilities().control {
            Control::Full => Ok(()),
            Control::None => {
                let what = format!("{}, and no task can be looked up", what());
                Err(self.unsupported(operation, &what, INSTEAD))
            }
        }
    }

    /// Refuses to tell of the progress of a task, where nobody can ask.
    pub(super) fn check_progress(&self, Beat { lease, progress }: &Beat) -> Result<()> {
        let Some(progress) = progress else { return Ok(()) };
        let (id, queue, len) = (&lease.id, &lease.queue, progress.len());
        if len > limits::MAX_PROGRESS {
            let message = format!(
                "task {id} of queue \"{queue}\": the progress has {len} bytes, at most {} are allowed",
                limits::MAX_PROGRESS
            );
            return Err(Error::invalid("beat", message));
        }
        self.check_control("beat", || format!("task {id} of queue \"{queue}\" tells its progress"))
    }

    /// Refuses a promise to know a call again, where none is remembered.
    pub(super) fn check_token(&self, token: Option<Token>) -> Result<()> {
        if token.is_none() || self.0.capabilities().ids == Ids::Remembered {
            return Ok(());
        }
        let what = "a call is to be known again when it is repeated, and none is remembered";
        Err(self.unsupported("enqueue", what, "leave the token out, or use a local: or redis:// broker"))
    }

    /// Refuses options of a queue that no broker accepts, or this one cannot keep.
    pub(super) fn check_configuration(
        &self,
        operation: &'static str,
        queue: &QueueName,
        options: &QueueOptions,
    ) -> Result<()> {
        check_options(operation, queue, options)?;
        self.check_remember_ids(operation, queue, options)?;
        self.check_order(operation, queue, options)?;
        if options.limits_keys() {
            self.check_control(operation, || format!("queue \"{queue}\" is to limit keys"))?;
        }
        Ok(())
    }

    /// The power over single tasks, of a backend that has it.
    pub(super) fn look(&self, operation: &'static str) -> Result<&dyn Lookup> {
        let missing =
            || self.unsupported(operation, "single tasks are to be looked at, or a queue changed", INSTEAD);
        self.0.lookup().ok_or_else(missing)
    }

    /// The power to see workers, of a backend that has it.
    pub(super) fn seen(&self, operation: &'static str) -> Result<&dyn Workers> {
        let missing = || self.unsupported(operation, "workers are to be seen", INSTEAD);
        self.0.workers().ok_or_else(missing)
    }

    /// Refuses an order that this backend does not have.
    fn check_order(&self, operation: &'static str, queue: &QueueName, options: &QueueOptions) -> Result<()> {
        if options.order != Order::Lifo || self.0.capabilities().orders == Orders::All {
            return Ok(());
        }
        let what = format!(
            "queue \"{queue}\" is to have the order {}, and there are fifo and priority",
            options.order
        );
        Err(self.unsupported(operation, &what, INSTEAD))
    }

    /// The power over dead tasks, of a backend that has it.
    pub(super) fn dead(&self, operation: &'static str) -> Result<&dyn DeadLetters> {
        let missing = || self.unsupported(operation, "dead tasks are to be looked at", INSTEAD);
        self.0.dead_letters().ok_or_else(missing)
    }

    /// An id is given so that the same task is not enqueued twice: where nothing can be looked up, that cannot be promised.
    pub(super) fn check_ids<'a>(
        &self,
        operation: &'static str,
        tasks: impl Iterator<Item = &'a NewTask>,
    ) -> Result<()> {
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

    fn check_remember_ids(
        &self,
        operation: &'static str,
        queue: &QueueName,
        options: &QueueOptions,
    ) -> Result<()> {
        if self.0.capabilities().ids == Ids::Remembered || options.remember_ids == limits::REMEMBER_IDS {
            return Ok(());
        }
        let what =
            format!("queue \"{queue}\" is to remember ids for a time of its own, and no id is remembered");
        Err(self.unsupported(operation, &what, "leave remember_ids out, or use a local: or redis:// broker"))
    }

    pub(super) fn check_delay(&self, lease: &Lease, delay: Duration) -> Result<()> {
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

    pub(super) fn check_lease(&self, operation: &'static str, lease: Duration) -> Result<()> {
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
