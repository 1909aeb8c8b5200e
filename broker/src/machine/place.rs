//! The order of a queue, as two numbers a task: its rank and its place. The lowest rank is claimed first, then the lowest place.

use crate::{Error, NewTask, Order, QueueOptions, Result};

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

/// The place of a held task among those of its rank and key. One that was given back goes first: its sequence is from when it
/// got its permit, and those that wait since before that have lower ones.
#[must_use]
pub fn held_place(order: Order, sequence: u64, returned: bool) -> i64 {
    let place = place(order, sequence, returned);
    match order {
        Order::Fifo | Order::Priority if returned => place.saturating_sub(RETURNED),
        Order::Fifo | Order::Priority | Order::Lifo => place,
    }
}

/// Refuses a priority and a key where they would mean nothing: in a queue with these options.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
pub fn check_fits(operation: &'static str, task: &NewTask, options: &QueueOptions) -> Result<()> {
    let (NewTask { id, queue, .. }, order) = (task, options.order);
    if let Some(priority) = task.priority.filter(|_| order != Order::Priority) {
        let message =
            format!("task {id} has priority {priority}, but the order of queue \"{queue}\" is {order}");
        let advice = "leave the priority out, or configure the queue with order priority while it is empty";
        return Err(Error::invalid(operation, message).advise(advice));
    }
    if let Some(key) = task.key.as_ref().filter(|_| !options.limits_keys()) {
        let message = format!("task {id} has the key {key}, but queue \"{queue}\" limits no keys");
        let advice = "leave the key out, or configure the queue with key_limit or key_interval";
        return Err(Error::invalid(operation, message).advise(advice));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_goes_first() {
        for order in [Order::Fifo, Order::Lifo, Order::Priority] {
            assert!(place(order, 1, true) < place(order, 2, false), "{order}");
        }
        for order in [Order::Fifo, Order::Lifo, Order::Priority] {
            assert!(held_place(order, 7, true) < held_place(order, 2, false), "{order}");
            assert!(held_place(order, 7, true) < held_place(order, 9, false), "{order}");
        }
        assert!(held_place(Order::Fifo, 1, true) < held_place(Order::Fifo, 2, true));
        assert!(place(Order::Lifo, 1, false) > place(Order::Lifo, 2, false), "the last one first");
        assert!(place(Order::Lifo, u64::MAX >> 11, false) > place(Order::Lifo, 1, true));
    }
}
