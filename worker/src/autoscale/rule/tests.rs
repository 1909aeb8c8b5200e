use manyhands_broker::QueueName;

use super::*;
use crate::autoscale::{QueueSample, Sample, Watch};

const SECOND: Duration = Duration::from_secs(1);

/// A queue and its workers, second by second: what comes waits, and is done at the pace of the slots.
struct World {
    now: Instant,
    watch: Watch,
    scaler: Scaler,
    bounds: Bounds,
    slots: usize,
    /// How long one task takes.
    takes: f64,
    came: f64,
    ready: f64,
    workers: usize,
    /// Whether the broker counts what comes.
    counts: bool,
    /// How often the number changed.
    changes: usize,
}

impl World {
    fn new(bounds: &str, slots: usize, takes: f64) -> Self {
        let bounds: Bounds = bounds.parse().unwrap();
        let workers = bounds.min();
        let scaler = Scaler::new(bounds, workers);
        let (now, watch) = (Instant::now(), Watch::default());
        Self {
            now,
            watch,
            scaler,
            bounds,
            slots,
            takes,
            came: 0.0,
            ready: 0.0,
            workers,
            counts: true,
            changes: 0,
        }
    }

    /// Lets so many seconds pass in which so many tasks come in each.
    fn pass(&mut self, seconds: usize, come: f64) {
        for _ in 0..seconds {
            self.now += SECOND;
            self.came += come;
            self.ready += come;
            let pace = self.workers as f64 * self.slots as f64 / self.takes;
            let done = self.ready.min(pace);
            self.ready -= done;
            let leased = (done * self.takes).round() as u64;
            let sequence = self.counts.then_some(self.came as u64);
            let one = QueueSample { ready: self.ready as u64, leased, sequence };
            let sample = Sample { queues: [(QueueName::new("q").unwrap(), one)].into() };
            let load = self.watch.add(self.now, &sample);
            let staff = Staff { workers: self.workers, slots: self.slots };
            let wanted = self.scaler.scale(self.now, &load, staff);
            assert!((self.bounds.min()..=self.bounds.max()).contains(&wanted), "{wanted}");
            self.changes += usize::from(wanted != self.workers);
            // Whoever is started is ready a second later, and so is whoever drains gone.
            self.workers = wanted;
        }
    }
}

/// Some number below `below`, from a seed.
fn dice(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

#[test]
fn a_burst_reaches_the_most_and_calm_the_fewest() {
    for counts in [true, false] {
        let mut world = World { counts, ..World::new("1..8", 2, 0.1) };
        world.pass(60, 8.0);
        assert_eq!((world.workers, world.changes), (1, 0), "one does it");
        world.pass(20, 160.0);
        assert_eq!(world.workers, 8, "{counts}: twenty times as much");
        world.pass(120, 8.0);
        assert_eq!((world.workers, world.ready), (1, 0.0), "{counts}");
        world.pass(60, 0.0);
        assert_eq!(world.workers, 1);
    }
}

/// There are as many as are needed, and it stays so.
#[test]
fn a_constant_load_changes_nothing_for_long() {
    let mut seed = 7;
    for _ in 0..300 {
        let slots = 1 + dice(&mut seed, 10) as usize;
        let takes = [0.01, 0.1, 1.0][dice(&mut seed, 3) as usize];
        let most = 1 + dice(&mut seed, 20) as usize;
        let mut world = World::new(&format!("1..{most}"), slots, takes);
        world.counts = dice(&mut seed, 4) > 0;
        let one = slots as f64 / takes;
        let come = one * dice(&mut seed, 1500) as f64 / 100.0;
        world.pass(300, come);
        let (workers, changes) = (world.workers, world.changes);
        assert!(workers as f64 * one >= come || workers == most, "{workers} of {most} for {come} of {one}");
        world.pass(600, come);
        assert_eq!(
            (world.workers, world.changes),
            (workers, changes),
            "{come} a second of {one}, {slots} slots"
        );
    }
}

/// Whatever comes: never outside the bounds, and back to the fewest when nothing does.
#[test]
fn any_load_stays_within_the_bounds() {
    let mut seed = 3;
    for _ in 0..100 {
        let min = 1 + dice(&mut seed, 4) as usize;
        let max = min + dice(&mut seed, 10) as usize;
        let mut world = World::new(&format!("{min}..{max}"), 1 + dice(&mut seed, 4) as usize, 0.1);
        for _ in 0..20 {
            let (seconds, come) = (1 + dice(&mut seed, 30) as usize, dice(&mut seed, 300) as f64);
            world.pass(seconds, come);
        }
        while world.ready > 0.0 {
            world.pass(1, 0.0);
        }
        world.pass(2 * CALM.as_secs() as usize, 0.0);
        assert_eq!(world.workers, min);
    }
}

#[test]
fn what_is_late_needs_more_and_what_is_not_needs_no_more() {
    let staff = Staff { workers: 3, slots: 2 };
    let load = |ready, leased, oldest: u64, rates: Option<(f64, f64)>| {
        let oldest = Duration::from_secs(oldest);
        let (arrivals, claims) = (rates.map(|rates| rates.0), rates.map(|rates| rates.1));
        need(&Load { ready, leased, oldest, arrivals, claims }, staff)
    };
    assert_eq!(load(0, 0, 0, Some((0.0, 0.0))), 1, "nothing to do");
    assert_eq!(load(50, 6, 0, Some((50.0, 50.0))), 3, "they come and go");
    assert_eq!(load(0, 3, 0, Some((9.0, 9.0))), 2, "three of six slots");
    assert_eq!(load(100, 6, 2, Some((10.0, 10.0))), 6, "ten come a second, and another ten should be taken");
    assert_eq!(load(100, 6, 2, Some((10.0, 30.0))), 3, "it falls fast enough");
    assert_eq!(load(1000, 6, 2, Some((10.0, 0.0))), 7, "nothing is taken");
    assert_eq!(load(1000, 6, 2, Some((1000.0, 10.0))), 7, "by four at once, as the double is less");
    assert_eq!(load(6, 6, 100, None), 3, "no more wait than there are slots");
    assert_eq!(load(7, 6, 100, None), 7);
    let nobody = Staff { workers: 0, slots: 0 };
    assert_eq!(need(&Load { ready: 1, ..Load::default() }, nobody), 1);
    assert_eq!(need(&Load::default(), nobody), 0);
}

#[test]
fn other_bounds_hold_at_once() {
    let mut scaler = Scaler::new("2..8".parse().unwrap(), 1);
    assert_eq!(scaler.wanted(), 2);
    scaler.bind("3..4".parse().unwrap());
    assert_eq!(scaler.wanted(), 3);
    scaler.bind("1..2".parse().unwrap());
    assert_eq!(scaler.wanted(), 2);
}

/// A short peak within a while of its kind is no reason to go in and out again.
#[test]
fn what_comes_again_finds_them_there() {
    let mut world = World::new("1..8", 2, 0.1);
    world.pass(10, 100.0);
    let changes = world.changes;
    for _ in 0..20 {
        world.pass(15, 8.0);
        world.pass(5, 100.0);
    }
    assert!(world.workers >= 5 && world.changes <= changes + 2, "{} changes", world.changes - changes);
}
