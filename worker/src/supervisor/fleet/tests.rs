use std::collections::BTreeSet;

use super::*;

const MOMENT: Duration = Duration::from_millis(1);

/// A fleet whose orders are carried out at once, but for ends and readiness, which are the test's.
struct Play {
    fleet: Fleet,
    now: Instant,
    alive: BTreeSet<Number>,
    asked: BTreeSet<Number>,
    replaced: usize,
    /// Until when nothing is to be done.
    rest: Option<Instant>,
}

impl Play {
    fn new(wanted: usize) -> Self {
        let (alive, asked) = (BTreeSet::new(), BTreeSet::new());
        let mut play =
            Self { fleet: Fleet::new(wanted), now: Instant::now(), alive, asked, replaced: 0, rest: None };
        play.act();
        play
    }

    fn act(&mut self) {
        loop {
            match self.fleet.step(self.now) {
                Step::Start { number, .. } => assert!(self.alive.insert(number)),
                Step::Drain(number) => assert!(self.alive.contains(&number) && self.asked.insert(number)),
                Step::Replaced(count) => self.replaced += count,
                Step::Rest(until) => return self.rest = until,
            }
        }
    }

    fn ready(&mut self, number: Number) {
        self.fleet.is_ready(number);
        self.act();
    }

    fn end(&mut self, number: Number) -> End {
        assert!(self.alive.remove(&number));
        let end = self.fleet.ended(number, false, self.now);
        self.act();
        end
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.act();
    }

    /// Those that live and were not told to end.
    fn staying(&self) -> Vec<Number> {
        self.alive.difference(&self.asked).copied().collect()
    }
}

/// So many that are ready.
fn running(wanted: usize) -> Play {
    let mut play = Play::new(wanted);
    assert_eq!(play.staying(), [0], "one shows what becomes of all");
    play.ready(0);
    (1..wanted as Number).for_each(|number| play.ready(number));
    play.pass(Duration::from_secs(60));
    assert_eq!((play.staying().len(), play.fleet.ready_ones()), (wanted, wanted));
    play
}

#[test]
fn who_falls_is_replaced_at_once_and_then_ever_later() {
    let mut play = running(3);
    assert_eq!(play.end(1), End::Fell { pause: Duration::ZERO, begun: true });
    assert_eq!(play.staying(), [0, 2, 3]);
    play.pass(MOMENT);
    assert_eq!(play.end(3), End::Fell { pause: 100 * MOMENT, begun: true });
    assert_eq!(play.end(2), End::Fell { pause: Duration::ZERO, begun: true }, "that one had run for long");
    assert_eq!(play.staying(), [0, 4, 5]);
}

#[test]
fn none_is_started_while_the_last_one_shows_what_becomes_of_all() {
    let mut play = running(3);
    [0, 1, 2].into_iter().for_each(|number| {
        play.end(number);
    });
    assert_eq!(play.staying(), [3, 4, 5]);
    play.pass(MOMENT);
    [3, 4, 5].into_iter().for_each(|number| {
        play.end(number);
    });
    assert_eq!((play.staying(), play.rest), (vec![], Some(play.now + 100 * MOMENT)));
    play.pass(100 * MOMENT);
    assert_eq!((play.staying(), play.rest), (vec![6], None));
    play.ready(6);
    assert_eq!(play.staying(), [6, 7]);
    play.ready(7);
    assert_eq!(play.staying(), [6, 7, 8]);
}

#[test]
fn before_any_was_ready_one_is_tried_at_a_time() {
    let mut play = Play::new(4);
    play.pass(MOMENT);
    assert_eq!(play.end(0), End::Fell { pause: 100 * MOMENT, begun: false });
    assert!(play.staying().is_empty());
    play.pass(100 * MOMENT);
    assert_eq!(play.staying(), [1]);
    play.fleet.replace();
    play.act();
    assert_eq!(play.staying(), [1], "nothing is replaced before that");
}

#[test]
fn all_are_replaced_one_after_another() {
    let mut play = running(2);
    play.fleet.replace();
    play.act();
    assert_eq!(play.staying(), [0, 1, 2]);
    play.ready(2);
    assert_eq!((play.staying(), play.alive.len()), (vec![1, 2], 3), "the first drains");
    assert_eq!(play.end(0), End::Asked);
    assert_eq!(play.staying(), [1, 2, 3]);
    // Once more, while it is under way: the new ones too.
    play.fleet.replace();
    play.ready(3);
    assert_eq!((play.staying(), play.replaced), (vec![2, 3], 0));
    play.end(1);
    assert_eq!((play.staying(), play.replaced), (vec![2, 3, 4], 2));
    for (new, old) in [(4, 2), (5, 3)] {
        play.ready(new);
        assert_eq!(play.end(old), End::Asked);
    }
    assert_eq!((play.staying(), play.replaced), (vec![4, 5], 4));
}

#[test]
fn one_that_is_never_ready_stops_the_replacement() {
    let mut play = running(2);
    play.fleet.replace();
    play.act();
    assert_eq!(play.end(2), End::NotReady);
    assert_eq!((play.staying(), play.rest), (vec![0, 1], None), "the others go on");
    play.fleet.replace();
    play.act();
    assert_eq!(play.staying(), [0, 1, 3], "tried again when it is asked for again");
}

#[test]
fn who_falls_during_a_replacement_is_replaced_by_that() {
    let mut play = running(3);
    play.fleet.replace();
    play.act();
    assert_eq!(play.staying(), [0, 1, 2, 3]);
    play.end(1);
    assert_eq!(play.staying(), [0, 2, 3, 4]);
    play.ready(4);
    play.ready(3);
    play.end(0);
    play.ready(5);
    play.end(2);
    assert_eq!((play.staying(), play.replaced), (vec![3, 4, 5], 2), "three are new");
}

#[test]
fn fewer_are_wanted() {
    let mut play = running(3);
    play.fleet.want(1);
    play.act();
    assert_eq!((play.staying(), play.asked.len()), (vec![0], 2));
    play.fleet.want(2);
    play.act();
    assert_eq!(play.staying(), [0, 3], "those that drain do not come back");
    assert_eq!(play.end(1), End::Asked);
}

#[test]
fn who_is_over_is_not_replaced() {
    let mut play = running(2);
    for number in [0, 1] {
        play.alive.remove(&number);
        assert_eq!(play.fleet.ended(number, true, play.now), End::Over);
        play.act();
    }
    assert_eq!((play.fleet.wanted(), play.staying()), (0, vec![]));
}

/// Whatever happens in whatever order: never more than are wanted and a newcomer, and as many as are wanted in the end.
#[test]
fn any_history_ends_with_as_many_as_are_wanted() {
    // A generator of our own keeps the crate without another dependency: the low bits of the state are not used.
    let mut seed = 1_u64;
    let mut dice = |sides: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % sides
    };
    for _ in 0..200 {
        let mut play = running(1 + dice(4));
        for _ in 0..100 {
            let one = play.alive.iter().copied().nth(dice(play.alive.len().max(1)));
            match (dice(8), one) {
                (0, _) => {
                    play.fleet.replace();
                    play.act();
                }
                (1, _) => {
                    play.fleet.want(1 + dice(4));
                    play.act();
                }
                (2, Some(number)) => {
                    play.end(number);
                }
                (3 | 4, Some(number)) => play.ready(number),
                (5, _) => {
                    if let Some(number) =
                        play.asked.iter().copied().find(|number| play.alive.contains(number))
                    {
                        play.end(number);
                    }
                }
                _ => play.pass(MOMENT * dice(20_000) as u32),
            }
            let most = play.fleet.wanted() + usize::from(play.fleet.newcomer().is_some());
            assert!(play.staying().len() <= most, "{:?}", play.fleet);
        }
        for _ in 0..100 {
            play.alive.clone().into_iter().for_each(|number| play.ready(number));
            for number in play.asked.clone() {
                if play.alive.contains(&number) {
                    play.end(number);
                }
            }
            play.pass(Duration::from_secs(60));
        }
        assert_eq!(
            (play.staying().len(), play.fleet.ready_ones()),
            (play.fleet.wanted(), play.fleet.wanted())
        );
        assert!(play.fleet.replacement.is_none() && !play.fleet.replace, "{:?}", play.fleet);
    }
}
