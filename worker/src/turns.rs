//! Whose turn it is: a worker on several queues serves them fairly, by weight, or in strict order.

use manyhands_broker::QueueName;

use crate::handler::Mode;

/// A queue that a worker serves.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) queue: QueueName,
    pub(crate) weight: u32,
    pub(crate) mode: Mode,
    pub(crate) feeds: Vec<QueueName>,
}

/// The order in which queues are asked, and for how much.
#[derive(Debug)]
pub(crate) struct Turns {
    served: Vec<Served>,
    strict: bool,
    /// Which queue is asked first in the next round.
    first: usize,
}

impl Turns {
    pub(crate) fn new(served: Vec<Served>, strict: bool) -> Self {
        Self { served, strict, first: 0 }
    }

    pub(crate) fn served(&self) -> &[Served] {
        &self.served
    }

    /// The indexes of the queues in the order of the next round.
    pub(crate) fn round(&mut self) -> Vec<usize> {
        let len = self.served.len();
        if self.strict {
            return (0..len).collect();
        }
        let first = self.first;
        self.first = (first + 1) % len.max(1);
        (0..len).map(|n| (first + n) % len).collect()
    }

    /// How many of `free` slots a queue may fill before the others were asked: all in strict order, else its share by
    /// weight, at least one.
    pub(crate) fn share(&self, index: usize, free: usize) -> usize {
        let rivals = self.served.iter().filter(|served| served.mode == self.served[index].mode);
        let total: usize = rivals.map(|served| served.weight as usize).sum();
        if self.strict || free == 0 {
            return free;
        }
        (free * self.served[index].weight as usize).div_ceil(total.max(1)).clamp(1, free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(weights: &[u32], strict: bool) -> Turns {
        let served = |(n, weight): (usize, &u32)| Served {
            queue: QueueName::new(&format!("q{n}")).unwrap(),
            weight: *weight,
            mode: Mode::Async,
            feeds: Vec::new(),
        };
        Turns::new(weights.iter().enumerate().map(served).collect(), strict)
    }

    #[test]
    fn everybody_is_first_in_turn() {
        let mut turns = turns(&[1, 1, 1], false);
        assert_eq!(
            [turns.round(), turns.round(), turns.round()],
            [vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1]]
        );
        assert_eq!(turns.round(), [0, 1, 2]);
    }

    #[test]
    fn shares_go_by_weight() {
        let turns = turns(&[3, 1], false);
        assert_eq!((turns.share(0, 100), turns.share(1, 100)), (75, 25));
        assert_eq!((turns.share(0, 1), turns.share(1, 1), turns.share(1, 0)), (1, 1, 0));
    }

    #[test]
    fn strict_order_gives_all_to_the_first() {
        let mut turns = turns(&[1, 5], true);
        assert_eq!((turns.round(), turns.round(), turns.share(0, 9)), (vec![0, 1], vec![0, 1], 9));
    }
}
