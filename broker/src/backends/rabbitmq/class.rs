//! Priority classes: the server knows no order but that of arrival, so each priority has a queue of its own.

use std::fmt;

use crate::{Order, limits};

/// The priority of a task, which is one of a few. A queue in another order has the first one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Class(u8);

impl Class {
    /// The most urgent one; that of tasks without a priority, as they have the priority 0 everywhere.
    pub(super) const FIRST: Self = Self(0);

    /// How many there are at most.
    pub(super) const MOST: usize = (*limits::PRIORITY_CLASSES.end() + 1) as usize;

    /// The classes of a queue, the most urgent first.
    pub(super) fn of_queue(order: Order) -> impl DoubleEndedIterator<Item = Self> + Clone {
        let count = match order {
            Order::Priority => Self::MOST as u8,
            Order::Fifo | Order::Lifo => 1,
        };
        (0..count).map(Self)
    }

    /// The class of a task in a queue of this order. The guard has let through no priority that has none.
    pub(super) fn of_task(order: Order, priority: Option<i64>) -> Self {
        let classes = limits::PRIORITY_CLASSES;
        match (order, priority) {
            (Order::Priority, Some(priority)) => Self(priority.clamp(*classes.start(), *classes.end()) as u8),
            _ => Self::FIRST,
        }
    }

    /// Its place among all.
    pub(super) fn index(self) -> usize {
        self.0.into()
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// The class is the priority itself.
const _: () = assert!(*limits::PRIORITY_CLASSES.start() == 0 && Class::MOST <= 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_a_class_where_there_are_classes() {
        let of = |order, priority| Class::of_task(order, priority).index();
        assert_eq!(
            [None, Some(0), Some(3), Some(9), Some(-9)].map(|p| of(Order::Priority, p)),
            [0, 0, 3, 3, 0]
        );
        assert_eq!(of(Order::Fifo, Some(3)), 0);
        assert_eq!(Class::of_queue(Order::Fifo).count(), 1);
        assert_eq!(Class::of_queue(Order::Priority).map(Class::index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
