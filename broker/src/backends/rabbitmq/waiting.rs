//! Tasks that start later go through a ladder of waiting lines of 1, 2, 4 … seconds: one for each bit of their delay, the
//! longest first. The server hands them from line to line and at last to their queue, whoever is alive.
//!
//! A line is a queue whose messages all wait for the same time, so none waits behind one that waits longer. Each queue has lines
//! of its own: so its waiting tasks can be counted, and what the server does not let into one queue holds up no other's.
//!
//! The way is told by the routing key, which stays the same: the bits of the delay, the highest first, then the queue, and `~1` to `~3`
//! where the task has that priority. A message
//! comes in by the exchange `delay`, which finds its first line. From a line of 2^i seconds it goes to the exchange of the next
//! lower step, which sends it into its own line if that bit is set, and else on to the exchange below. The last is `due`, which
//! finds the queue.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use lapin::{
    ExchangeKind,
    options::{ExchangeBindOptions, QueueBindOptions},
    types::{FieldTable, ShortString},
};

use super::{
    class::Class, directory::Change, error::Doing, link::Link, live::Live, plan::Planned, publish::To,
};
use crate::{NewTask, QueueName, Result, TaskId};

/// The steps of the ladder: lines of 2^0 to 2^20 seconds.
const LEVELS: u32 = 21;

/// How long the server may take to hand over what has waited, until nobody answers for it any more.
const HANDOVER: Duration = Duration::from_secs(1);

impl Live {
    /// Where a new task goes first, whether its queue is closed or not. A time to come is measured by this process's clock: there is no other
    /// one that could be asked.
    pub(super) async fn way_in(
        self: &Arc<Self>,
        link: &Link,
        operation: &'static str,
        task: &NewTask,
    ) -> Result<To> {
        let queue = &task.queue;
        let wall = link.config.clock.now().wall;
        let delay = task.start.due(wall).map_or(Duration::ZERO, |due| Duration::from_millis(due - wall));
        if delay > Duration::ZERO {
            // While it is handed over, it is in no line: who asks then must hear of it from here.
            self.become_holder(operation, queue).await?;
        }
        let class = self.class(queue, task.priority);
        self.put_off(operation, queue, class, &task.id, delay).await
    }

    /// Where a task of the queue goes that waits for so long, and notes that it does.
    pub(super) async fn put_off(
        self: &Arc<Self>,
        operation: &'static str,
        queue: &QueueName,
        class: Class,
        id: &TaskId,
        delay: Duration,
    ) -> Result<To> {
        let Some(seconds) = seconds(delay) else {
            return Ok(To::queue(self.names.work(queue, class)));
        };
        self.ensure_lines(operation, queue, class, seconds).await?;
        // Before it is published: who asks at any moment must hear of it.
        let over = Instant::now() + Duration::from_secs(seconds.into()) + HANDOVER;
        self.intake().put_off(queue, id.clone(), over);
        Ok(To::exchange(self.names.delay(), key(queue, class, seconds)))
    }

    /// Makes sure that tasks of one class of a queue can wait for so long, in lines that all classes share. What has waited goes to the end of the queue; the server hands it over
    /// as it would to a publisher that waits for the confirm.
    async fn ensure_lines(
        self: &Arc<Self>,
        operation: &'static str,
        queue: &QueueName,
        class: Class,
        seconds: u32,
    ) -> Result<()> {
        self.ensure_steps(operation, seconds.ilog2()).await?;
        let levels: BTreeSet<u32> = (0..LEVELS).filter(|level| seconds >> level & 1 == 1).collect();
        for level in &levels {
            let name = self.names.line(queue, *level);
            // What is known is that tasks of this class find the line.
            let found: ShortString = format!("{name}{}", mark(class)).into();
            if self.known().contains(&found) {
                continue;
            }
            self.create(operation, &Planned::line(&self.names, queue, *level)).await?;
            let bind = [(self.names.delay(), '0'), (self.names.step(*level), '*')];
            for (exchange, above) in bind {
                self.bind(operation, &name, &exchange, &pattern(queue, class, *level, above)).await?;
            }
            self.known().insert(found);
        }
        if !self.entry(queue).is_some_and(|entry| entry.steps.is_superset(&levels)) {
            self.tell(operation, &Change::Wait(queue.clone(), levels)).await?;
        }
        Ok(())
    }

    /// Makes sure of the exchanges up to the step of 2^`highest` seconds, of the one by which messages come in, and of where those go
    /// that find no queue in the end.
    /// They are declared anew by every session: that costs little, and mends what somebody removed.
    async fn ensure_steps(&self, operation: &'static str, highest: u32) -> Result<()> {
        let none = || FieldTable::default();
        if !self.known().contains(&self.names.delay()) {
            let unrouted = self.names.unrouted();
            let fanout = Planned::exchange(unrouted.clone(), ExchangeKind::Fanout);
            self.declare_exchange(operation, &fanout).await?;
            self.create(operation, &Planned::unrouted(&self.names)).await?;
            self.bind(operation, &unrouted, &unrouted, "").await?;
            // Without an alternative: who publishes must hear that a line is missing.
            let delay = Planned::exchange(self.names.delay(), ExchangeKind::Topic);
            self.declare_exchange(operation, &delay).await?;
            self.known().insert(self.names.delay());
        }
        for level in 0..=highest {
            let step = self.names.step(level);
            if self.known().contains(&step) {
                continue;
            }
            let planned = Planned::exchange_or_unrouted(&self.names, step.clone());
            self.declare_exchange(operation, &planned).await?;
            let unset = format!("{}0.#", "*.".repeat((LEVELS - 1 - level) as usize));
            let bind = self.control.exchange_bind(
                self.names.below(level),
                step.clone(),
                unset.into(),
                ExchangeBindOptions::default(),
                none(),
            );
            self.call_doing(operation, Doing::Binding, bind).await?;
            self.known().insert(step);
        }
        Ok(())
    }

    /// Lets what has waited find the work queue of its class.
    pub(super) async fn bind_due(
        &self,
        operation: &'static str,
        queue: &QueueName,
        class: Class,
    ) -> Result<()> {
        let due = self.names.due();
        if !self.known().contains(&due) {
            let planned = Planned::exchange_or_unrouted(&self.names, due.clone());
            self.declare_exchange(operation, &planned).await?;
            self.known().insert(due.clone());
        }
        let key = format!("{}{queue}{}", "*.".repeat(LEVELS as usize), mark(class));
        self.bind(operation, &self.names.work(queue, class), &due, &key).await
    }

    /// Lets an exchange find a queue by this key.
    pub(super) async fn bind(
        &self,
        operation: &'static str,
        queue: &ShortString,
        exchange: &ShortString,
        key: &str,
    ) -> Result<()> {
        let options = QueueBindOptions::default();
        let (queue, exchange) = (queue.clone(), exchange.clone());
        let bind = self.control.queue_bind(queue, exchange, key.into(), options, FieldTable::default());
        self.call_doing(operation, Doing::Binding, bind).await
    }
}

/// For how many whole seconds something waits; none for what need not wait.
fn seconds(delay: Duration) -> Option<u32> {
    let seconds = delay.as_millis().div_ceil(1000);
    (seconds > 0).then(|| u32::try_from(seconds).unwrap_or(u32::MAX).min(1 << (LEVELS - 1)))
}

/// What is behind the queue in the routing key of a task of this class. No queue's name has such an end.
fn mark(class: Class) -> String {
    if class == Class::FIRST { String::new() } else { format!("~{class}") }
}

/// The routing key of a task of the queue that need not wait.
pub(super) fn short_key(queue: &QueueName, class: Class) -> ShortString {
    format!("{queue}{}", mark(class)).into()
}

/// The routing key of a task of the queue that waits for so long.
fn key(queue: &QueueName, class: Class, seconds: u32) -> ShortString {
    let bits = (0..LEVELS).rev().map(|level| if seconds >> level & 1 == 1 { "1." } else { "0." });
    format!("{}{queue}{}", bits.collect::<String>(), mark(class)).into()
}

/// The keys of the queue's tasks of this class that wait for 2^`level` seconds: all of them, or, with '0' for the bits above, those that
/// have not waited in a longer line. No queue's key is taken for another's, as each `*` is one word.
fn pattern(queue: &QueueName, class: Class, level: u32, above: char) -> String {
    let above = format!("{above}.").repeat((LEVELS - 1 - level) as usize);
    format!("{above}1.{}{queue}{}", "*.".repeat(level as usize), mark(class))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Order, limits};

    #[test]
    fn a_delay_is_rounded_up_to_a_second() {
        let of = |ms| seconds(Duration::from_millis(ms));
        assert_eq!(
            [of(0), of(1), of(1000), of(1001), of(4001), of(5000)],
            [None, Some(1), Some(1), Some(2), Some(5), Some(5)]
        );
        assert_eq!(seconds(limits::MAX_LADDER_DELAY), Some(1 << (LEVELS - 1)));
    }

    /// Whether a topic exchange takes this key for this pattern, without `#`.
    fn fits(key: &str, pattern: &str) -> bool {
        let (key, pattern): (Vec<_>, Vec<_>) = (key.split('.').collect(), pattern.split('.').collect());
        key.len() == pattern.len() && key.iter().zip(pattern).all(|(word, of)| of == "*" || of == *word)
    }

    fn classes() -> impl Iterator<Item = Class> + Clone {
        Class::of_queue(Order::Priority)
    }

    /// Walks the ladder as the server does.
    #[test]
    fn each_delay_is_the_sum_of_its_lines() {
        let queue = QueueName::new("1.0.q").unwrap();
        for (delay, class) in
            [1, 2, 3, 5, 6, 7, 90, 600, 4095, 1_048_575, 1_048_576].into_iter().zip(classes().cycle())
        {
            let key = key(&queue, class, delay);
            let through = |above| -> Vec<u32> {
                let lines = (0..LEVELS).rev();
                lines.filter(|level| fits(key.as_str(), &pattern(&queue, class, *level, above))).collect()
            };
            assert_eq!(through('*').iter().map(|level| 1 << level).sum::<u32>(), delay);
            assert_eq!(through('0'), [delay.ilog2()], "one way in for {delay}");
        }
    }

    #[test]
    fn the_longest_key_fits_and_is_no_other_queues() {
        let longest = QueueName::new(&"q".repeat(128)).unwrap();
        assert!(classes().all(|class| key(&longest, class, 1).as_str().len() <= 255));
        let (short, long) = (QueueName::new("b").unwrap(), QueueName::new("a.b").unwrap());
        let all: Vec<_> = [&short, &long]
            .into_iter()
            .flat_map(|queue| classes().map(move |class| (queue, class)))
            .collect();
        for (ours, class) in &all {
            for (other, of) in &all {
                let same = (ours, class) == (other, of);
                assert_eq!(fits(key(ours, *class, 3).as_str(), &pattern(other, *of, 0, '*')), same);
            }
        }
    }
}
