//! Whose turn it is: a worker on several queues serves them fairly, by weight, or in strict order.
//!
//! Fair turns are stride scheduling (Waldspurger and Weihl, 1995): each task that a queue gets moves it on by a step that is
//! shorter the more it weighs, and the queue that is the furthest behind is next. So the weights hold also where
//! slots become free one at a time.

use manyhands_broker::QueueName;

use crate::handler::Mode;

/// The step of a queue of weight 1. Long enough that weights up to this are told apart.
const STEP: u64 = 1 << 32;

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
    /// How far each queue is.
    passed: Vec<u64>,
    /// How far the queue was that was served last: one that had nothing to do goes on from there, without arrears.
    now: u64,
}

impl Turns {
    pub(crate) fn new(served: Vec<Served>, strict: bool) -> Self {
        Self { passed: vec![0; served.len()], served, strict, now: 0 }
    }

    pub(crate) fn served(&self) -> &[Served] {
        &self.served
    }

    /// The queues to ask, in order, each with its share of the free slots of its mode. Those without a share come last: they
    /// get what others leave.
    pub(crate) fn round(&self, free: impl Fn(Mode) -> usize) -> Vec<(usize, usize)> {
        if self.strict {
            return self
                .served
                .iter()
                .enumerate()
                .map(|(index, served)| (index, free(served.mode)))
                .collect();
        }
        let mut passed = self.passed.clone();
        let mut shares: Vec<(usize, usize)> = Vec::new();
        for mode in [Mode::Async, Mode::Blocking, Mode::Function, Mode::Process] {
            let free = free(mode);
            let mut of_mode = (0..self.served.len()).filter(|index| self.served[*index].mode == mode);
            if let (Some(only), None) = (of_mode.next(), of_mode.next()) {
                shares.extend((free > 0).then_some((only, free)));
                continue;
            }
            for _ in 0..free {
                let rivals = (0..self.served.len()).filter(|index| self.served[*index].mode == mode);
                let Some(next) = rivals.min_by_key(|index| (passed[*index], *index)) else { break };
                passed[next] += self.step(next);
                match shares.iter_mut().find(|(index, _)| *index == next) {
                    Some((_, share)) => *share += 1,
                    None => shares.push((next, 1)),
                }
            }
        }
        let mut others: Vec<usize> = (0..self.served.len()).collect();
        others.retain(|index| !shares.iter().any(|(shared, _)| shared == index));
        others.sort_by_key(|index| (passed[*index], *index));
        shares.into_iter().chain(others.into_iter().map(|index| (index, 0))).collect()
    }

    /// Notes that a queue got so many tasks, and whether it had no more.
    pub(crate) fn got(&mut self, index: usize, tasks: usize, empty: bool) {
        if tasks > 0 {
            self.now = self.now.max(self.passed[index]);
            self.passed[index] += self.step(index) * tasks as u64;
        }
        if empty {
            self.passed[index] = self.passed[index].max(self.now);
        }
    }

    fn step(&self, index: usize) -> u64 {
        STEP / u64::from(self.served[index].weight.max(1))
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

    /// Gives one slot at a time to queues that always have tasks.
    fn one_by_one(turns: &mut Turns, slots: usize) -> Vec<usize> {
        let mut order = Vec::new();
        for _ in 0..slots {
            let (index, share) = turns.round(|_| 1)[0];
            turns.got(index, share, false);
            order.push(index);
        }
        order
    }

    #[test]
    fn equal_queues_take_turns() {
        assert_eq!(one_by_one(&mut turns(&[1, 1, 1], false), 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn shares_go_by_weight() {
        assert_eq!(turns(&[3, 1], false).round(|_| 100), [(0, 75), (1, 25)]);
        assert_eq!(turns(&[3, 1], false).round(|_| 0), [(0, 0), (1, 0)]);
        let order = one_by_one(&mut turns(&[3, 1], false), 40);
        assert_eq!(order.iter().filter(|index| **index == 0).count(), 30);
    }

    #[test]
    fn who_had_nothing_to_do_has_no_arrears() {
        let mut turns = turns(&[1, 1], false);
        for _ in 0..100 {
            turns.got(1, 0, true);
            turns.got(0, 1, false);
        }
        turns.got(1, 0, true);
        assert_eq!(one_by_one(&mut turns, 4).iter().sum::<usize>(), 2, "from now on they take turns");
    }

    #[test]
    fn strict_order_gives_all_to_the_first() {
        assert_eq!(turns(&[1, 5], true).round(|_| 9), [(0, 9), (1, 9)]);
    }
}
