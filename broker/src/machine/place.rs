//! The order of a queue, as two numbers a task: its rank and its place. The lowest rank is claimed first, then the lowest place.

use crate::{Error, NewTask, Order, QueueName, Result};

/// Behind all places of tasks that were never claimed. Sequences are far below: there are not so many tasks in a queue's life.
const RETURNED: i64 = 1 << 60;

/// The place of a ready task among those of its rank, from its sequence and whether it was given back under it.
///
/// In a queue that is first in, first out, a task that was given back has an old sequence, and so is before all that were never
/// claimed. One that is last in, first out needs to be told.
#[must_use]
pub fn place(order: Order, sequence: u64, returned: bool) -> i64 {
    let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
    match order {
        Order::Fifo | Order::Priority => sequence,
        Order::Lifo if returned => (-RETURNED).saturating_sub(sequence),
        Order::Lifo => -sequence,
    }
}

/// Refuses a priority where it would mean nothing.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
pub fn check_priority(
    operation: &'static str,
    task: &NewTask,
    order: Order,
    queue: &QueueName,
) -> Result<()> {
    match task.priority {
        Some(priority) if order != Order::Priority => {
            let id = &task.id;
            let message =
                format!("task {id} has priority {priority}, but the order of queue \"{queue}\" is {order}");
            let advice =
                "leave the priority out, or configure the queue with order priority while it is empty";
            Err(Error::invalid(operation, message).advise(advice))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_goes_first() {
        for order in [Order::Fifo, Order::Lifo, Order::Priority] {
            assert!(place(order, 1, true) < place(order, 2, false), "{order}");
        }
        assert!(place(Order::Lifo, 1, false) > place(Order::Lifo, 2, false), "the last one first");
        assert!(place(Order::Lifo, u64::MAX >> 11, false) > place(Order::Lifo, 1, true));
    }
}
