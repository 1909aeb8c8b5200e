//! What things are called in RabbitMQ.

use lapin::types::ShortString;

use super::class::Class;
use crate::{Incarnation, Namespace, QueueName};

/// The names of a namespace. Our own names have no colon, so no two of these are equal.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(namespace: &Namespace) -> Self {
        Self { prefix: format!("mh:{namespace}") }
    }

    /// How all of them begin.
    pub(super) fn prefix(&self) -> String {
        format!("{}:", self.prefix)
    }

    /// The register that tells which queues there are.
    pub(super) fn directory(&self) -> ShortString {
        format!("{}:directory", self.prefix).into()
    }

    /// The exchange that copies to every session what may concern it.
    pub(super) fn news(&self) -> ShortString {
        format!("{}:news", self.prefix).into()
    }

    /// The exchange that knows by its incarnation the session that waits for what becomes of a task.
    pub(super) fn replies(&self) -> ShortString {
        format!("{}:replies", self.prefix).into()
    }

    /// Where a session gets news, questions and answers. A new one a connection: what was sent to the old one is lost.
    pub(super) fn inbox(&self, incarnation: Incarnation, connection: u64) -> ShortString {
        format!("{}:inbox:{incarnation}:{connection}", self.prefix).into()
    }

    /// The exchange that finds the queues that are not closed.
    pub(super) fn open(&self) -> ShortString {
        format!("{}:open", self.prefix).into()
    }

    /// The tasks of a queue that are ready or leased: those of one class.
    pub(super) fn work(&self, queue: &QueueName, class: Class) -> ShortString {
        match class {
            Class::FIRST => format!("{}:work:{queue}", self.prefix).into(),
            class => format!("{}:work-{class}:{queue}", self.prefix).into(),
        }
    }

    /// The tasks of a queue that were given up.
    pub(super) fn dead(&self, queue: &QueueName) -> ShortString {
        format!("{}:dead:{queue}", self.prefix).into()
    }

    /// The tasks of a queue that wait for 2^`level` seconds, on their way through such lines.
    pub(super) fn line(&self, queue: &QueueName, level: u32) -> ShortString {
        format!("{}:delay-{}s:{queue}", self.prefix, 1_u64 << level).into()
    }

    /// The same of a version that rounded delays up to a power of two: from there they go to the work queue.
    pub(super) fn old_line(&self, queue: &QueueName, level: u32) -> ShortString {
        format!("{}:waiting-{}s:{queue}", self.prefix, 1_u64 << level).into()
    }

    /// The exchange by which a task that is to wait comes into its first line.
    pub(super) fn delay(&self) -> ShortString {
        format!("{}:delay", self.prefix).into()
    }

    /// The exchange that decides whether a task that has waited in longer lines also waits for 2^`level` seconds.
    pub(super) fn step(&self, level: u32) -> ShortString {
        format!("{}:delay-{}s", self.prefix, 1_u64 << level).into()
    }

    /// The exchange by which a task that has waited comes to its queue.
    pub(super) fn due(&self) -> ShortString {
        format!("{}:due", self.prefix).into()
    }

    /// Where a message goes from a line of 2^`level` seconds, and from the exchange of that step if it need not wait there.
    pub(super) fn below(&self, level: u32) -> ShortString {
        level.checked_sub(1).map_or_else(|| self.due(), |below| self.step(below))
    }

    /// The exchange, and the queue behind it, for what has waited and finds no queue any more.
    pub(super) fn unrouted(&self) -> ShortString {
        format!("{}:unrouted", self.prefix).into()
    }

    /// A queue that is there while a session looks at the dead of `queue`, and belongs to it.
    pub(super) fn looking(&self, queue: &QueueName) -> ShortString {
        format!("{}:looking:{queue}", self.prefix).into()
    }

    /// A queue on which a session of that incarnation tries how long calls take; it belongs to its connection.
    pub(super) fn tried(&self, incarnation: Incarnation) -> ShortString {
        format!("{}:tried:{incarnation}", self.prefix).into()
    }

    /// A queue without messages: each session that may hold tasks of `queue` is a consumer of it, so that they can be
    /// counted.
    pub(super) fn holders(&self, queue: &QueueName) -> ShortString {
        format!("{}:holders:{queue}", self.prefix).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_names_fit() {
        let names = Names::new(&Namespace::new(&"n".repeat(64)).unwrap());
        let queue = QueueName::new(&"q".repeat(128)).unwrap();
        let longest =
            [names.line(&queue, 20), names.holders(&queue), names.inbox(Incarnation::generate(), u64::MAX)];
        assert!(longest.iter().all(|name| name.as_str().len() <= 255));
    }
}
